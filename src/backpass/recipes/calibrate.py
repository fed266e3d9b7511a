"""What held-out rows teach of a trained network; see `backpass.model.calibration`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from backpass.data import TargetEncoder
from backpass.data.arrays import Array, Inputs, take_rows
from backpass.errors import UsageError
from backpass.losses import Heads, Loss
from backpass.model.calibration import (
    Calibration,
    Intervals,
    Threshold,
    choose_threshold,
    conform,
    fewest,
    fit_temperature,
    promised,
    require_enough,
)
from backpass.model.tabular import answers
from backpass.recipes.blending import Blended
from backpass.recipes.prepare import Part, Prepared
from backpass.records import dataclass
from backpass.training import Trainer
from backpass.training.rows import weights_by_label

Value = TypeVar("Value")
_MOST_ROWS = 20_000  # of those trained on, that tell where errors are large


def require_rows(prepared: Prepared, interval: float | None, threshold: float | str | None) -> None:
    """See, before any step is made, that what is asked for goes with the target and the rows held out.

    Raises:
        UsageError: it does not.
    """
    heads = prepared.apart()
    counts = [len(head.tabular.targets.classes) for head in heads]
    if interval is not None:
        if all(counts):
            raise UsageError("--interval goes with numbers, and the target is classes: leave it out")
        if not 0 < interval < 1:
            raise UsageError(f"--interval is {interval:g}, expected a part of the rows between 0 and 1, such as 0.9")
        if prepared.calibration is None:
            raise UsageError("--interval needs rows held out to calibrate: give a --validation-part above 0")
        require_enough(interval, prepared.calibration.rows)
    if threshold is not None and 2 not in counts:
        found = " and ".join(f"{count} classes" if count else "a number" for count in counts)
        raise UsageError(f"--threshold goes with two classes, and the target is {found}: leave it out")
    for head, count in zip(heads, counts, strict=True):
        if isinstance(threshold, str) and count == 2:
            _require_both(threshold, head.validation)


def few_groups(prepared: Prepared, interval: float | None) -> tuple[str, ...]:
    """A note where so few groups calibrate that intervals promise less for rows of new ones."""
    groups = None if interval is None or prepared.calibration is None else prepared.calibration.groups
    count = 0 if groups is None else len(np.unique(groups))
    if interval is None or not count or count >= fewest(interval):
        return ()
    held = "1 group is" if count == 1 else f"{count} groups are"
    note = (
        f"--interval {interval:g} takes {fewest(interval):,} groups to calibrate, and {held} held out for it: "
        f"intervals promise to hold {100 * promised(interval, count):.3g} % of rows of new groups; "
        "hold out more with --validation-part"
    )
    return (note,)


def _require_both(threshold: str, validation: Part | None) -> None:
    """See that a threshold can be chosen on these rows."""
    if validation is None:
        raise UsageError(f"--threshold {threshold} is chosen on rows held out: give a --validation-part above 0")
    if len(np.unique(validation.targets)) < 2:
        raise UsageError(
            f"--threshold {threshold} is chosen on rows of both classes, and the {validation.rows:,} that validate "
            "are of one: give a larger --validation-part, or a number"
        )


def calibrate(
    prepared: Prepared,
    trainer: Trainer | Blended,
    *,
    class_weights: Mapping[str, float] | str | None,
    interval: float | None,
    threshold: float | str | None,
) -> Calibration:
    """For classes the temperature and the threshold, of the rows that validate; for numbers the intervals."""
    options: dict[str, Any] = {"class_weights": class_weights, "interval": interval, "threshold": threshold}
    if not isinstance(trainer.loss, Heads):
        return _of_head(prepared, _Answering(trainer.loss, trainer.outputs), **options)
    answering = _apart(trainer.loss, trainer.outputs)
    found = [_of_head(head, own, **options) for head, own in zip(prepared.apart(), answering, strict=True)]
    return Calibration(parts=tuple(found))


@dataclass(frozen=True, eq=False)
class _Answering:
    """What a network answers to one question: its loss, and from inputs its outputs."""

    loss: Loss
    outputs: Callable[[Inputs], Array]


def _apart(loss: Heads, outputs: Callable[[Inputs], Array]) -> list[_Answering]:
    """Of each head; the outputs of all are calculated once."""
    known: dict[int, tuple[Inputs, Array]] = {}

    def own(place: int, inputs: Inputs) -> Array:
        if id(inputs) not in known:
            known[id(inputs)] = inputs, outputs(inputs)  # held, so that no other inputs come to have their number
        return np.asarray([each for _, each in loss.apart(known[id(inputs)][1])][place])

    return [_Answering(head.loss, partial(own, place)) for place, head in enumerate(loss.heads)]


def _of_head(
    prepared: Prepared,
    trainer: _Answering,
    *,
    class_weights: Mapping[str, float] | str | None,
    interval: float | None,
    threshold: float | str | None,
) -> Calibration:
    count = len(prepared.tabular.targets.classes)
    if not count:
        return Calibration(intervals=None if interval is None else _intervals(prepared, trainer, interval))
    found = _temperature(prepared, trainer, class_weights)
    if threshold is None or count != 2:
        return found
    if not isinstance(threshold, str):
        return replace(found, threshold=Threshold(float(threshold)))
    validation = _present(prepared.validation)
    tabular = replace(prepared.tabular, calibration=found)
    answered = answers(tabular, found.predictions(trainer.loss, trainer.outputs(validation.inputs)))
    return replace(found, threshold=choose_threshold(threshold, _present(answered.probabilities), validation.targets))


def _intervals(prepared: Prepared, trainer: _Answering, level: float) -> Intervals:
    """Those that the rows to calibrate ask for; other rows, whatever say they had, tell where errors are large."""
    tabular, train = prepared.tabular, prepared.train

    def amounts(part: Part) -> tuple[Array, Array]:
        """Predicted and right."""
        predicted = tabular.calibration.predictions(trainer.loss, trainer.outputs(part.inputs))
        return answers(tabular, predicted).values, np.asarray(tabular.targets.decode(part.targets))

    some = np.arange(0, train.rows, -(-train.rows // _MOST_ROWS))
    seen = amounts(Part(take_rows(train.inputs, some), train.targets[some]))
    others, right = map(np.concatenate, zip(seen, amounts(_present(prepared.validation)), strict=True))
    calibrating = _present(prepared.calibration)
    return conform(level, *amounts(calibrating), others, right, calibrating.groups)


def _temperature(
    prepared: Prepared, trainer: _Answering, class_weights: Mapping[str, float] | str | None
) -> Calibration:
    validation = prepared.validation
    of_class = class_weights_of(prepared, class_weights)
    if validation is None:
        return Calibration(class_weights=of_class)
    weights = np.array(of_class)[validation.targets] if of_class else None
    temperature = fit_temperature(trainer.loss, trainer.outputs(validation.inputs), validation.targets, weights)
    return Calibration(temperature, of_class)


def _present(value: Value | None) -> Value:
    if value is None:
        raise AssertionError("`require_rows` saw to it")
    return value


def class_weights_of(prepared: Prepared, class_weights: Mapping[str, float] | str | None) -> tuple[float, ...]:
    """Of one head the weight of each class, in their order; empty where all rows count alike."""
    if class_weights is None or not _fit(class_weights, prepared.tabular.targets):
        return ()
    targets = prepared.tabular.targets
    by_number = weights_by_label(prepared.train.targets, numbered(class_weights, targets))
    return tuple(by_number.get(number, 1.0) for number in range(len(targets.classes)))


def require_weights(class_weights: Mapping[str, float] | str, targets: TargetEncoder) -> None:
    """See that weights of classes are those of one head, or of more.

    Raises:
        UsageError: they fit none; see `numbered`.
    """
    if not any(_fit(class_weights, head) for head in targets.heads):
        numbered(class_weights, next((head for head in targets.heads if head.classes), targets))


def _fit(class_weights: Mapping[str, float] | str, targets: TargetEncoder) -> bool:
    try:
        numbered(class_weights, targets)
    except UsageError:
        return False
    return True


def numbered(class_weights: Mapping[str, float] | str, targets: TargetEncoder) -> dict[int, float] | str:
    """Weights by the numbers of the classes, from weights by their labels; "balanced" is what it is.

    Raises:
        UsageError: the target is a number, a label is no class, a class has no weight, or a weight is not above 0.
    """
    if not targets.classes:
        raise UsageError("--class-weights goes with classes, and the target is a number: leave it out")
    if isinstance(class_weights, str):
        return class_weights
    _require_weights(class_weights)
    alike = len({label.casefold() for label in targets.classes}) < len(targets.classes)
    key = str if alike else str.casefold
    numbers = {key(label): number for number, label in enumerate(targets.classes)}
    given = {key(label) for label in class_weights}
    unknown = next((label for label in class_weights if key(label) not in numbers), None)
    lacking = next((label for label in targets.classes if key(label) not in given), None)
    if unknown is not None or lacking is not None:
        what = f'names "{unknown}", which is no class' if unknown is not None else f'has no weight for "{lacking}"'
        shown = ", ".join(targets.classes[:20])
        raise UsageError(f"--class-weights {what}: expected a weight for each of {shown}")
    return {numbers[key(label)]: float(weight) for label, weight in class_weights.items()}


def _require_weights(class_weights: Mapping[str, float]) -> None:
    """See that each weight can be one, before it is asked whether there is one for each class."""
    for label, weight in class_weights.items():
        if not 0 < weight < np.inf:
            more = "; to learn without a class, leave its rows out" if weight == 0 else ""
            raise UsageError(f"--class-weights {label}={weight:g}: expected a number above 0, such as {label}=5{more}")
