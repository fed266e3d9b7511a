"""One loss of several: for a network that answers several questions of each row."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from backpass.errors import ShapeError, UsageError
from backpass.losses.checks import Array, is_not_finite, number, refuse, require_numbers
from backpass.losses.classification import BinaryCrossEntropy, Brier, CrossEntropy, Hinge
from backpass.losses.loss import Loss, numbers
from backpass.ops import cast, concatenate, floor, one_hot, reshape
from backpass.ops import sum as sum_
from backpass.ops.kinds import Value
from backpass.records import dataclass

_OF_LABELS = CrossEntropy, Brier, Hinge


@dataclass(frozen=True)
class Head:
    """One of the questions: so many of the outputs, side by side, and their loss.

    Args:
        loss: how far these outputs are from their target.
        outputs: how many there are.
        scale: what the loss is divided by, above 0.
        class_weights: how much a row of each class counts, in their order; empty where all rows count alike.
    """

    loss: Loss
    outputs: int = 1
    scale: float = 1.0
    class_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.loss, Loss) or isinstance(self.loss, Heads):
            raise UsageError(f"Head: loss is {self.loss!r}, expected a loss, such as losses.CrossEntropy()")
        if isinstance(self.outputs, bool) or not isinstance(self.outputs, int) or self.outputs < 1:
            raise UsageError(f"Head: outputs is {self.outputs!r}, expected a whole number of 1 or more")
        scale = number(self.scale)
        if scale is None or scale <= 0:
            raise UsageError(f"Head: scale is {self.scale!r}, expected a number above 0")
        given = self.class_weights if isinstance(self.class_weights, (tuple, list)) else (self.class_weights,)
        weights = tuple(each for each in map(number, given) if each is not None and each >= 0)
        known = self.outputs if self.labels else 2 if self.yes_or_no else 0
        if len(weights) < len(given) or len(weights) not in (0, known):
            expected = f"{known} numbers of 0 or more" if known else "none, for it has no classes"
            raise UsageError(f"Head: class_weights is {self.class_weights!r}, expected {expected}")
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "class_weights", weights)

    @property
    def labels(self) -> bool:
        """Whether a target is the number of a class that has an output of its own."""
        return self.outputs > 1 and isinstance(self.loss, _OF_LABELS)

    @property
    def yes_or_no(self) -> bool:
        return self.outputs == 1 and isinstance(self.loss, (BinaryCrossEntropy, Brier, Hinge))

    def rows(self, outputs: Value, targets: Any) -> Any:
        """The loss of each row, scaled and weighted: `outputs` (rows, outputs), `targets` (rows,)."""
        return self.loss.rows(outputs, self.own(targets)) * self.weights(targets)

    def own(self, targets: Any) -> Any:
        """As the loss takes them: whole numbers where they are those of classes, of which a NaN is none."""
        return cast(floor(targets + 0.5), np.int64) if self.labels else targets

    def weights(self, targets: Any) -> Any:
        """What the loss of each row is multiplied by."""
        if not self.class_weights:
            return 1 / self.scale
        weights = np.array(self.class_weights, targets.dtype) / self.scale
        if self.labels:
            return sum_(one_hot(self.own(targets), self.outputs, targets.dtype) * weights, 1)
        return weights[0] + (weights[1] - weights[0]) * targets

    def check_targets(self, targets: Array) -> None:
        """See `Loss.check_targets`; `targets` (rows,) are numbers."""
        if self.labels:
            refuse(type(self.loss).__name__, targets, targets != np.round(targets), "the number of a class")
            targets = targets.astype(np.int64)
        self.loss.check_targets(targets, self.outputs)


@dataclass(frozen=True)
class Heads(Loss):
    """For several targets, each with outputs and a loss of its own: the mean of their losses, each by its scale.

    Outputs are those of the heads side by side, (rows, outputs); targets (rows, heads) are real numbers, those of
    classes their numbers 0, 1, 2 and so on. That several tasks are learned by one network, which shares its hidden
    layers: Caruana, Multitask learning, Machine Learning 28, 1997. Scales that make each loss 1 for what answers the
    same for every row make them comparable, whatever their units.
    """

    heads: tuple[Head, ...]

    def __post_init__(self) -> None:
        heads = self.heads if isinstance(self.heads, (tuple, list)) else (self.heads,)
        if not heads or not all(isinstance(head, Head) for head in heads):
            raise UsageError(f"Heads: heads is {self.heads!r}, expected one losses.Head or more")
        object.__setattr__(self, "heads", tuple(heads))

    @property
    def outputs(self) -> int:
        """Of all heads together."""
        return sum(head.outputs for head in self.heads)

    def apart(self, outputs: Any) -> Iterator[tuple[Head, Any]]:
        """Each head with its outputs."""
        after = 0
        for head in self.heads:
            before, after = after, after + head.outputs
            yield head, outputs[:, before:after]

    def rows(self, outputs: Value, targets: Value) -> Any:
        outputs, targets = self._real(outputs), numbers(targets, f"{self._name}: targets")
        targets = reshape(targets, (*targets.shape, 1)) if len(targets.shape) == 1 == len(self.heads) else targets
        if outputs.shape[1:] != (self.outputs,) or targets.shape != (outputs.shape[0], len(self.heads)):
            raise self._unlike(
                outputs, targets, f"outputs [rows, {self.outputs}] and targets [rows, {len(self.heads)}]"
            )
        targets = cast(targets, outputs.dtype)
        losses = [head.rows(own, targets[:, place]) for place, (head, own) in enumerate(self.apart(outputs))]
        total = losses[0]
        for each in losses[1:]:
            total = total + each
        return total * (1 / len(losses))

    def predictions(self, outputs: Value) -> Any:
        """What the outputs of each head mean, side by side."""
        return concatenate([head.loss.predictions(own) for head, own in self.apart(outputs)], 1)

    def check_targets(self, targets: Array, outputs: int) -> None:
        require_numbers(self._name, targets)
        if outputs != self.outputs:
            raise ShapeError(
                f"{self._name}: the network has {outputs} outputs, expected {self.outputs}, those of all heads"
            )
        own = targets.reshape(len(targets), -1) if targets.ndim else targets
        if own.ndim != 2 or own.shape[1] != len(self.heads) or targets.ndim > 2:
            raise self._misfit(targets, outputs, f"[rows, {len(self.heads)}], a column for each head")
        refuse(self._name, own, is_not_finite(own), "a finite number")
        for place, head in enumerate(self.heads):
            head.check_targets(own[:, place])
