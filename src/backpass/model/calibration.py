"""What held-out rows tell of a trained network: how sure it may be, from where on it says yes, how far off it is.

None of it changes a weight. It stands in the model file beside the encoders, and every answer goes through it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from backpass.data.arrays import Array
from backpass.data.checked_json import Record, fault
from backpass.errors import UsageError
from backpass.losses import Heads, Loss
from backpass.model.metrics import RATES, rounded
from backpass.records import dataclass

# Beyond these a temperature tells nothing but "certain" or "no idea".
LOWEST, HIGHEST = 0.05, 20.0
_TINIEST = 1e-15  # as in `metrics.log_loss`
_SPREAD = 0.5  # of the temperature's logarithm, before rows have told it
_SHOWN = 5  # classes
_WORTH_TELLING = (
    0.05  # of the temperature's logarithm: what is below moves no probability by much more than a hundredth
)
# So many rows make a range, and so many of them lie outside of its intervals. Since ranks are whole, an interval of n
# rows holds 1 / (2 * (n + 1)) more than was asked for in the mean: half a percent at 100.
_ROWS_A_RANGE, _ROWS_OUTSIDE, _MOST_RANGES = 100, 10, 10
# How large errors are at a prediction is the mean of those of the rows in its part, one of up to ten, and of so many
# rows with the mean of all: few rows must not say too much.
_ROWS_A_PART, _MOST_PARTS, _ROWS_OF_ALL = 20, 10, 5
_ROUNDING = 1e-9  # 10 * 0.9 is 9
_LARGEST = 1e300
_SECTIONS = 30  # each leaves 0.618 of an interval
_MOST_ROWS = 50_000  # that one temperature is found on


@dataclass(frozen=True)
class Threshold:
    """The probability of the second of two classes from which on it is the answer; 1/2 where nothing else is said.

    Attributes:
        value: that probability.
        metric: what it was chosen for, by its name in `metrics.RATES`; empty where it was given as a number.
    """

    value: float
    metric: str = ""

    def answers(self, probabilities: Array) -> Array:
        """The numbers of the classes that are answered, from probabilities (rows, 2)."""
        return (probabilities[:, 1].astype(np.float64) >= self.value).astype(np.int64)


@dataclass(frozen=True)
class Intervals:
    """Around every predicted number, how far the right one is off at most, in so many of all cases.

    Attributes:
        level: the promised part of the cases, such as 0.9.
        edges: for each target the predictions, ascending, at which another width begins.
        halves: for each target half the width before, between and after its edges, in the target's units.
    """

    level: float
    edges: tuple[tuple[float, ...], ...]
    halves: tuple[tuple[float, ...], ...]

    def around(self, predicted: Array) -> tuple[Array, Array]:
        """Lower and upper ends, each (rows, targets)."""
        half = np.stack(
            [
                np.array(halves)[_part(np.array(edges), predicted[:, target])]
                for target, (edges, halves) in enumerate(zip(self.edges, self.halves, strict=True))
            ],
            axis=1,
        )
        return predicted - half, predicted + half


@dataclass(frozen=True)
class Calibration:
    """How a network's outputs become answers; as it is made, nothing is changed.

    Attributes:
        temperature: what the outputs of a network for classes are divided by before they become probabilities.
        class_weights: how much a row of each class counted in training, in the order of the classes; empty for alike.
        threshold: of two classes, from which probability on the second one is answered; None for the more probable.
        intervals: around numbers; None where they were not asked for.
        parts: of a network of several heads that of each; all else is then as it is made.
    """

    temperature: float = 1.0
    class_weights: tuple[float, ...] = ()
    threshold: Threshold | None = None
    intervals: Intervals | None = None
    parts: tuple["Calibration", ...] = ()

    @property
    def heads(self) -> tuple["Calibration", ...]:
        return self.parts or (self,)

    def weighed(self, of_class: Sequence[tuple[float, ...]]) -> "Calibration":
        """The same with other weights of the classes, for each head."""
        heads = [replace(part, class_weights=own) for part, own in zip(self.heads, of_class, strict=True)]
        return replace(self, parts=tuple(heads)) if self.parts else heads[0]

    @property
    def reads_as_they_are(self) -> bool:
        """Whether outputs mean what the loss alone says."""
        return all(part.temperature == 1 for part in self.heads)

    def predictions(self, loss: Loss, outputs: Array) -> Array:
        """What raw outputs of a network that was trained by `loss` mean now."""
        if isinstance(loss, Heads) and self.parts:
            own = zip(self.parts, loss.apart(outputs), strict=True)
            return np.concatenate([part.predictions(head.loss, each) for part, (head, each) in own], axis=1)
        return np.asarray(loss.predictions(outputs / self.temperature))

    def told(
        self,
        classes: tuple[str, ...],
        scores: Mapping[str, float] = MappingProxyType({}),
        targets: tuple[str, ...] = ("",),
    ) -> list[str]:
        """What is changed, in lines for people, with those of the `scores` that belong to it, those of each target."""
        lines = []
        if self.intervals is not None:
            lines.append(f"intervals: {100 * self.intervals.level:g} % of rows like those held out are to lie inside")
            for target in targets if "interval_coverage" in scores else ():
                end, whose = (f"_{target}", f"{target}: ") if len(targets) > 1 else ("", "")
                inside, width = scores[f"interval_coverage{end}"], scores[f"interval_width{end}"]
                lines.append(f"  {whose}of these rows {100 * inside:.1f} % do; their mean width is {rounded(width)}")
        if self.threshold is not None:
            why = f", the best {self.threshold.metric} of the rows that validated" if self.threshold.metric else ""
            lines.append(
                f'threshold: the answer is "{classes[1]}" from a probability of {self.threshold.value:.3g} on{why}'
            )
            shown = ", ".join(
                f"{name} {scores[name]:.3f}" for name in RATES if math.isfinite(scores.get(name, math.nan))
            )
            lines += [f"  of these rows: {shown}"] if shown else []
        if abs(math.log(self.temperature)) > _WORTH_TELLING:
            more = "less" if self.temperature > 1 else "more"
            lines.append(
                f"probabilities are made {more} sure, as held-out rows ask (temperature {self.temperature:.3g})"
            )
        if self.class_weights:
            largest = sorted(zip(classes, self.class_weights, strict=True), key=lambda each: -each[1])[:_SHOWN]
            shown = ", ".join(f"{name} {weight:.3g}" for name, weight in largest)
            more = f" and {len(classes) - _SHOWN:,} more" if len(classes) > _SHOWN else ""
            lines += [
                f"class weights: {shown}{more}",
                "  probabilities are as if rows stood so often, the baseline's too; scores are of rows as they are",
                "  so accuracy and log loss may well be worse than without weights",
            ]
        return lines

    def to_json(self) -> dict[str, Any] | None:
        """Plain data; None where nothing is changed."""
        if self.parts:
            parts = [part.to_json() for part in self.parts]
            return {"heads": parts} if any(parts) else None
        if self == Calibration():
            return None
        plain: dict[str, Any] = {"temperature": self.temperature, "class_weights": list(self.class_weights)}
        if self.threshold is not None:
            plain["threshold"] = vars(self.threshold)
        if self.intervals is not None:
            plain["intervals"] = {
                "level": self.intervals.level,
                "targets": [
                    {"edges": list(edges), "halves": list(halves)}
                    for edges, halves in zip(self.intervals.edges, self.intervals.halves, strict=True)
                ],
            }
        return plain

    @classmethod
    def of_heads(cls, value: object, heads: Sequence[tuple[int, int]]) -> "Calibration":
        """As `from_json`; of each head how many classes and targets it has."""
        if len(heads) == 1:
            classes, targets = heads[0]
            return cls.from_json(value, classes=classes, targets=targets)
        if value is None:
            return cls(parts=tuple(cls() for _ in heads))
        record = Record(value, "calibration")
        parts = record.take("heads")
        record.finish()
        if not isinstance(parts, list) or len(parts) != len(heads):
            raise fault("calibration.heads", f"a list of {len(heads)}")
        own = zip(parts, heads, strict=True)
        return cls(
            parts=tuple(
                cls.from_json(part, classes=classes, targets=targets, where=f"calibration.heads[{place}]")
                for place, (part, (classes, targets)) in enumerate(own)
            )
        )

    @classmethod
    def from_json(cls, value: object, *, classes: int, targets: int, where: str = "calibration") -> "Calibration":
        """That of a model file; raises ModelFileError, naming the field, for anything that is off."""
        if value is None:
            return cls()
        record = Record(value, where)
        found = cls(
            record.number("temperature"),
            record.numbers("class_weights"),
            _threshold(record, classes),
            _intervals(record, 0 if classes else targets),
        )
        record.finish()
        if not LOWEST <= found.temperature <= HIGHEST or (found.temperature != 1 and not classes):
            raise fault(f"{where}.temperature", f"a number from {LOWEST} to {HIGHEST}, of a model of classes")
        if len(found.class_weights) not in (0, classes) or min(found.class_weights, default=0) < 0:
            raise fault(f"{where}.class_weights", f"{classes} numbers of 0 or more")
        return found


def _threshold(record: Record, classes: int) -> Threshold | None:
    if not record.has("threshold"):
        return None
    part = record.record("threshold")
    found = Threshold(part.number("value"), part.choice("metric", ("", *RATES)))
    part.finish()
    if not 0 <= found.value <= 1 or classes != 2:
        raise fault(f"{part.where}.value", "a number from 0 to 1, of a model of two classes")
    return found


def _intervals(record: Record, targets: int) -> Intervals | None:
    if not record.has("intervals"):
        return None
    whole = record.record("intervals")
    level, parts = whole.number("level"), whole.records("targets")
    edges, halves = (tuple(part.numbers(name) for part in parts) for name in ("edges", "halves"))
    for part in (*parts, whole):
        part.finish()
    if not 0 < level < 1:
        raise fault(f"{whole.where}.level", "a number between 0 and 1")
    fit = all(
        len(a) + 1 == len(b) and list(a) == sorted(set(a)) and min(b) >= 0 for a, b in zip(edges, halves, strict=True)
    )
    if len(parts) != targets or not targets or not fit:
        raise fault(f"{whole.where}.targets", f"{targets} lists of ascending edges, and of half widths of 0 or more")
    return Intervals(level, edges, halves)


def fit_temperature(loss: Loss, outputs: Array, labels: Array, weights: Array | None = None) -> float:
    """The temperature that the labels of held-out rows ask for; 1 where none lowers their log loss.

    Source: Guo, Pleiss, Sun, Weinberger, On calibration of modern neural networks, 2017. Few rows must not say too
    much: were they all right, the lowest log loss would be that of certainty. So its logarithm is taken to be 0, give
    or take 1/2, before they are looked at: a normal prior, which a few hundred rows outweigh. What is returned is the
    most probable one after them.

    Args:
        loss: what the network was trained by; it says what outputs mean.
        outputs: (rows, ...), raw.
        labels: (rows,), numbers of classes.
        weights: how much each row counts, in proportion to the others.
    """
    some = slice(None, None, -(-len(labels) // _MOST_ROWS))
    exact, labels = outputs[some].astype(np.float64), labels[some]
    rows, counts = np.arange(len(labels)), np.ones(len(labels)) if weights is None else weights[some].astype(np.float64)
    counts = counts * (len(labels) / (counts.sum() or 1.0))

    def log_loss(place: float) -> float:
        probabilities = both_classes(np.asarray(loss.predictions(exact / math.exp(place))))
        return -float(counts @ np.log(np.clip(probabilities[rows, labels], _TINIEST, 1.0)))

    best = _lowest(lambda place: log_loss(place) + (place / _SPREAD) ** 2 / 2, math.log(LOWEST), math.log(HIGHEST))
    return math.exp(best) if log_loss(best) < log_loss(0.0) else 1.0


def choose_threshold(metric: str, probabilities: Array, labels: Array) -> Threshold:
    """The threshold with the best metric on held-out rows, halfway between two of their probabilities.

    Of several the one nearest to 1/2. `probabilities` (rows, 2) are of both classes, `labels` (rows,) 0 and 1, both
    of which are among them.
    """
    yes = probabilities[:, 1].astype(np.float64)
    values, place = np.unique(yes, return_inverse=True)
    ups, downs = (np.bincount(place, labels == label, len(values)) for label in (1, 0))
    cuts = np.concatenate([[0.0], (values[1:] + values[:-1]) / 2])
    true_yes, false_yes = (np.cumsum(each[::-1])[::-1] for each in (ups, downs))  # from each cut upward
    scores = RATES[metric](true_yes, false_yes, ups.sum() - true_yes, downs.sum() - false_yes)
    best = np.flatnonzero(scores >= np.nanmax(scores) - 1e-12)
    return Threshold(float(cuts[best[np.argmin(np.abs(cuts[best] - 0.5))]]), metric)


def conform(
    level: float,
    predicted: Array,
    actual: Array,
    others: Array,
    others_actual: Array,
    groups: Array | None = None,
) -> Intervals:
    """Intervals that hold the right number of a new row in at least `level` of all cases, whatever the network is like.

    Split-conformal: half the width is the ceil((n + 1) * level)-th smallest of the n errors of held-out rows, each
    divided by how large errors are where its prediction is, times how large they are where the new one is. Other rows
    tell that. Where there are many rows, each range of predictions has a rank of its own, by its own rows: then the
    promise holds in each. It is of the mean over all draws of rows, not of every single row, and of new rows that are
    exchangeable with those held out, which they are not when things change with time.

    Of `groups` it is groups that are exchangeable, and the promise is of a row of a new one: each group counts as one
    row does, its rows have equal parts of that, and ranges take as many groups as rows elsewhere. Where so few groups
    cannot promise `level`, the level of the intervals is what they can.

    Sources: Papadopoulos, Proedrou, Vovk, Gammerman, Inductive confidence machines for regression, 2002; Lei et al.,
    Distribution-free predictive inference for regression, 2018, whose section 5.2 has errors that are divided so; the
    ranges, which are Mondrian categories: Vovk, Gammerman, Shafer, Algorithmic learning in a random world, 2005,
    section 4.5; groups: Lee, Barber, Willett, Distribution-free inference with hierarchical data, 2023.

    Args:
        level: the part of the cases, above 0 and below 1.
        predicted, actual: (rows, targets), of rows that had no say in the network nor in when its training ended.
        others, others_actual: (rows, targets), the same of other rows, which may have had it. They say where ranges
            begin, and how large errors are in proportion to each other: no row has a say in its own.
        groups: (rows,) what is equal for the rows of one group; None where rows are exchangeable.

    Raises:
        UsageError: there are too few rows for such a level.
    """
    errors, others_errors = _errors(predicted, actual), _errors(others, others_actual)
    if groups is None:
        groups = np.arange(len(errors))
    else:
        level = promised(level, len(np.unique(groups)))
    found = [
        _of_target(level, predicted[:, target], errors[:, target], groups, others[:, target], others_errors[:, target])
        for target in range(predicted.shape[1])
    ]
    return Intervals(level, tuple(edges for edges, _ in found), tuple(halves for _, halves in found))


def _errors(predicted: Array, actual: Array) -> Array:
    """How far off each prediction is; of a network that overflows a number that no error reaches."""
    off = np.abs(predicted - actual).astype(np.float64)
    return np.asarray(np.nan_to_num(off, nan=_LARGEST, posinf=_LARGEST))


def _of_target(
    level: float, predicted: Array, errors: Array, groups: Array, others: Array, others_errors: Array
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Edges and half widths."""
    require_enough(level, len(errors))
    finite = np.isfinite(others) & (others_errors < _LARGEST)
    others, others_errors = others[finite].astype(np.float64), others_errors[finite]
    cuts, sizes = _sizes(others, others_errors)
    scaled = errors / sizes[_part(cuts, predicted)]
    rows_a_range = max(_ROWS_A_RANGE, math.ceil(_ROWS_OUTSIDE / (1 - level) - _ROUNDING))
    starts = _cuts(others, min(_MOST_RANGES, len(np.unique(groups)) // rows_a_range))
    place = _part(starts, predicted)
    halves = [_half(level, scaled[place == number], groups[place == number]) for number in range(len(starts) + 1)]
    if None in halves:  # a range with next to no rows: then all rows have one rank
        starts, halves = starts[:0], [_half(level, scaled, groups)]
    edges = np.union1d(starts, cuts)
    begins = np.array([-np.inf, *edges])
    widths = np.array(halves, np.float64)[_part(starts, begins)] * sizes[_part(cuts, begins)]
    return tuple(map(float, edges)), tuple(map(float, widths))


def _sizes(predicted: Array, errors: Array) -> tuple[Array, Array]:
    """Where another size of errors begins along the predictions, and the sizes, in proportion to the mean of all."""
    cuts = _cuts(predicted, min(_MOST_PARTS, len(errors) // _ROWS_A_PART))
    mean = float(errors.mean()) if len(errors) else 0.0
    if not len(cuts) or not mean:
        return np.zeros(0), np.ones(1)
    place, parts = _part(cuts, predicted), len(cuts) + 1
    sums = np.bincount(place, errors / mean, parts) + _ROWS_OF_ALL
    return cuts, np.asarray(sums / (np.bincount(place, minlength=parts) + _ROWS_OF_ALL))


def _cuts(values: Array, parts: int) -> Array:
    """Where so many parts with equally many of the values begin; none for the first."""
    return np.unique(np.quantile(values, np.arange(1, parts) / parts)) if parts > 1 and len(values) else np.zeros(0)


def _part(cuts: Array, values: Array) -> Array:
    """The number of the part that each value is in."""
    return np.asarray(np.searchsorted(cuts, values, side="right"))


def require_enough(level: float, rows: int) -> None:
    """See that so many rows can promise so much.

    Raises:
        UsageError: they cannot.
    """
    needed = fewest(level)
    if rows < needed:
        raise UsageError(
            f"--interval {level:g} needs {needed:,} rows to calibrate, and {rows:,} are held out for it: "
            "ask for less, or hold out more with --validation-part"
        )


def fewest(level: float) -> int:
    """How many rows, or groups of them, it takes to promise so much."""
    return math.ceil(level / (1 - level) - _ROUNDING)


def promised(level: float, groups: int) -> float:
    """What so many groups can promise for rows of a new one: the level, or less."""
    return min(level, groups / (groups + 1))


def _half(level: float, errors: Array, groups: Array) -> float | None:
    """Half the width of an interval by the errors of held-out rows; None where their groups are too few.

    It is the error at which the groups before it, each counted by the part of its rows, are that part of all and a new
    one. Where each row is a group that is the ceil((n + 1) * level)-th smallest.
    """
    if not len(errors):
        return None
    order = np.argsort(errors, kind="stable")
    _, own, rows = np.unique(groups[order], return_inverse=True, return_counts=True)
    reached = np.cumsum(1 / rows[own])
    reached[-1] = len(rows)  # whatever was rounded
    rank = int(np.searchsorted(reached, (len(rows) + 1) * level - _ROUNDING))
    return None if rank == len(errors) else float(errors[order[rank]])


def _lowest(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function of one valley is lowest, by golden sections."""
    part = (math.sqrt(5.0) - 1) / 2
    left, right = high - part * (high - low), low + part * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(_SECTIONS):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - part * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + part * (high - low)
            at_right = function(right)
    return (low + high) / 2


def both_classes(predictions: Array) -> Array:
    """(rows, classes) from the probabilities of all classes, or from those of the second of two."""
    if predictions.ndim == 2 and predictions.shape[1] > 1:
        return predictions
    positive = predictions.reshape(len(predictions))
    return np.stack([1 - positive, positive], axis=1)
