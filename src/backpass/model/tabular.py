"""What makes a network a model of a table: how columns become inputs, and outputs become answers."""

from collections.abc import Collection
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np

from backpass.data.arrays import Inputs
from backpass.data.checked_json import Record
from backpass.model import metrics
from backpass.model.calibration import Calibration, Threshold, both_classes
from backpass.records import dataclass

if TYPE_CHECKING:
    from backpass.data import Table, TableEncoder, TargetEncoder

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Tabular:
    """The encoders of a table's inputs and targets, learned from training rows; and what held-out rows taught of it."""

    inputs: "TableEncoder"
    targets: "TargetEncoder"
    calibration: Calibration = field(default_factory=Calibration)

    def encode(
        self, table: "Table", *, coerce: Collection[str] = (), notes: list[str] | None = None
    ) -> tuple[Inputs, Array]:
        """The rows of a table that have a target, as the network takes them: inputs and targets."""
        from backpass.data import usable_rows

        rows = usable_rows(table, self.targets.schema)
        inputs = network_inputs(self.inputs.encode(rows, coerce=coerce, notes=notes))
        return inputs, np.asarray(self.targets.encode(rows, notes=notes))

    def to_json(self) -> dict[str, Any]:
        return {
            "inputs": self.inputs.to_json(),
            "targets": self.targets.to_json(),
            "calibration": self.calibration.to_json(),
        }

    @property
    def heads(self) -> tuple["Tabular", ...]:
        """For each head what makes a network of it alone."""
        if not self.targets.parts:
            return (self,)
        calibrations = self.calibration.parts or (Calibration(),) * len(self.targets.parts)
        own = zip(self.targets.parts, calibrations, strict=True)
        return tuple(Tabular(self.inputs, targets, calibration) for targets, calibration in own)

    @classmethod
    def from_json(cls, value: object) -> "Tabular":
        from backpass.data import TableEncoder, TargetEncoder

        record = Record(value, "tabular")
        inputs = TableEncoder.from_json(record.take("inputs"))
        targets = TargetEncoder.from_json(record.take("targets"))
        calibration = Calibration.of_heads(
            record.take("calibration") if record.has("calibration") else None,
            [(len(head.classes), len(head.schema.targets)) for head in targets.heads],
        )
        record.finish()
        return cls(inputs, targets, calibration)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers for the rows of a table, in its order.

    Attributes:
        names: the names of the targets.
        values: the answers: labels (rows,), or numbers (rows, targets) in the units of the table; of several heads
            (rows,) with a field for each target, as `values["price"]`.
        classes: the labels of the classes as text; empty for numbers.
        probabilities: (rows, classes), in the order of `classes`; None for numbers.
        threshold: that told the answers, of two classes; None where the most probable class is the answer.
        lower, upper: the ends of intervals around numbers (rows, targets); None where they were not asked for.
        levels, quantiles: the quantiles that were learned, such as (0.1, 0.9), and what they are (rows, quantiles),
            ascending in each row; the answer is then the median by these, see `middle`.
        parts: of several heads the answers of each, as if it were alone; what is above is then empty, but for `names`
            and `values`.
    """

    names: tuple[str, ...]
    values: Array
    classes: tuple[str, ...] = ()
    probabilities: Array | None = None
    threshold: Threshold | None = None
    lower: Array | None = None
    upper: Array | None = None
    levels: tuple[float, ...] = ()
    quantiles: Array | None = None
    parts: tuple["Predictions", ...] = ()

    @property
    def heads(self) -> tuple["Predictions", ...]:
        return self.parts or (self,)

    def beside(self, actual: Array) -> list[tuple["Predictions", Array]]:
        """Each head's answers, and what was right for it of what `TargetEncoder.actual` gives."""
        from backpass.data.targets import columns_apart

        own = columns_apart(actual, [part.probabilities is not None for part in self.parts])
        return list(zip(self.heads, own, strict=True))

    @np.errstate(over="ignore", invalid="ignore")  # squares of numbers near 1e300: such a score is not finite
    def scores(self, actual: Array) -> dict[str, float]:
        """Metrics against what was right: class numbers (rows,), or numbers (rows, targets).

        Of classes accuracy, log_loss, calibration_error and of two auc, with a threshold also f1, balanced_accuracy
        and youden; of numbers rmse, mae and r2, with intervals also interval_coverage and interval_width, their mean
        width, with quantiles also pinball, the mean loss of theirs, and how many rows lie below each, as below_q0.1.
        Several numbers have the means of these, and each target its own, as rmse_<name>; several heads have their own.
        """
        if self.parts:
            each = [(part.names[0], part.scores(right)) for part, right in self.beside(actual)]
            return {f"{key}_{name}": value for name, found in each for key, value in found.items()}
        if self.probabilities is not None:
            return class_scores(self.probabilities, actual, self.threshold)
        own = [number_scores(self.values[:, i], actual[:, i]) for i in range(len(self.names))]
        if self.lower is not None and self.upper is not None:
            inside, width = (self.lower <= actual) & (actual <= self.upper), self.upper - self.lower
            for i, scores in enumerate(own):
                scores |= {"interval_coverage": float(inside[:, i].mean()), "interval_width": float(width[:, i].mean())}
        if self.quantiles is not None:
            own[0]["pinball"] = float(pinball(self.quantiles, actual, self.levels).mean())
            below = (actual < self.quantiles).mean(axis=0).tolist()
            own[0] |= {f"below_q{level}": part for level, part in zip(self.levels, below, strict=True)}
        return _with_means(own, self.names)


def pinball(quantiles: Array, actual: Array, levels: tuple[float, ...]) -> Array:
    """Of each row the mean over the quantiles of the loss that each makes small (Koenker and Bassett, 1978).

    `quantiles` (rows, levels) are answers, `actual` (rows, 1) is what was right.
    """
    above, parts = actual - quantiles, np.array(levels)
    return np.asarray(np.maximum(parts * above, (parts - 1) * above).mean(axis=1))


def answers(tabular: Tabular, predictions: Array) -> Predictions:
    """What a network's predictions say of rows: `predictions` are probabilities, or standardized numbers."""
    names = tabular.targets.schema.target_names
    if tabular.targets.parts:
        ends = np.cumsum([part.outputs for part in tabular.targets.parts])
        own = zip(tabular.heads, np.split(predictions, ends[:-1], axis=1), strict=True)
        return together(names, tuple(answers(head, each) for head, each in own))
    if not tabular.targets.classes:
        outputs, levels = predictions.reshape(len(predictions), tabular.targets.width), tabular.targets.quantiles
        if levels:
            # Put in order, they are nearer to the right ones, never farther (Chernozhukov, Fernandez-Val and Galichon,
            # Quantile and probability curves without crossing, 2010).
            outputs = np.sort(outputs, axis=1)
            between = tabular.targets.decode(outputs @ middle(levels).astype(outputs.dtype)[:, None])
            return Predictions(names, between, levels=levels, quantiles=tabular.targets.decode(outputs))
        amounts = tabular.targets.decode(outputs)
        intervals = tabular.calibration.intervals
        lower, upper = (None, None) if intervals is None else intervals.around(amounts)
        if lower is not None and tabular.targets.kind != "number":
            lower = np.maximum(lower, 0.0)
        return Predictions(names, amounts, lower=lower, upper=upper)
    probabilities, threshold = both_classes(predictions), tabular.calibration.threshold
    labels = tabular.targets.decode(chosen(probabilities, threshold))
    return Predictions(names, labels, tabular.targets.classes, probabilities, threshold)


def together(names: tuple[str, ...], parts: tuple[Predictions, ...]) -> Predictions:
    """The answers of several heads, of one target each."""
    columns = [part.values.reshape(len(part.values)) for part in parts]
    values = np.empty(len(columns[0]), [(name, column.dtype) for name, column in zip(names, columns, strict=True)])
    for name, column in zip(names, columns, strict=True):
        values[name] = column
    return Predictions(names, values, parts=parts)


def middle(levels: tuple[float, ...]) -> Array:
    """How much each of some quantiles, ascending, counts for the median: it is one of them, or lies on the line between
    the two around it; where all are on one side of it, the nearest stands for it.
    """
    return np.array([np.interp(0.5, levels, counted) for counted in np.eye(len(levels))])


def chosen(probabilities: Array, threshold: Threshold | None) -> Array:
    """The numbers of the classes that are answered."""
    return np.argmax(probabilities, axis=1) if threshold is None else threshold.answers(probabilities)


def class_scores(probabilities: Array, labels: Array, threshold: Threshold | None = None) -> dict[str, float]:
    """See `Predictions.scores`."""
    answered = chosen(probabilities, threshold)
    scores = {
        "accuracy": float(np.mean(answered == labels)),
        "log_loss": metrics.log_loss(probabilities, labels),
        "calibration_error": metrics.calibration_error(probabilities, labels),
    }
    if probabilities.shape[1] == 2:
        scores["auc"] = metrics.auc(probabilities[:, 1], labels == 1)
    return scores if threshold is None else scores | metrics.rates(answered, labels)


def _with_means(own: list[dict[str, float]], names: tuple[str, ...]) -> dict[str, float]:
    """The scores of the only target; for several their means, and each target's own as `rmse_<name>`."""
    scores = {key: float(np.mean([each[key] for each in own])) for key in own[0]}
    if len(names) > 1:
        scores |= {f"{key}_{name}": value for name, each in zip(names, own, strict=True) for key, value in each.items()}
    return scores


def number_scores(predicted: Array, actual: Array) -> dict[str, float]:
    """rmse, mae and r2 of one target."""
    return {
        "rmse": metrics.rmse(predicted, actual),
        "mae": metrics.mae(predicted, actual),
        "r2": metrics.r2(predicted, actual),
    }


def network_inputs(encoded: dict[str, Array]) -> Inputs:
    """What the encoder makes of a table, as the network takes it: a lone block of numbers stands by itself."""
    return encoded["numbers"] if list(encoded) == ["numbers"] else encoded
