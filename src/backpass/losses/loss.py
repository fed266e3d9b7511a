"""What every loss has in common: a number for each row, the weighted mean of them, and the checks of shapes."""

from math import prod
from typing import Any

import numpy as np

from backpass.errors import ShapeError
from backpass.graph import Node, show_shape
from backpass.losses.checks import Array, is_not_finite, refuse, require_numbers
from backpass.ops import cast, equal, mean, reshape, where
from backpass.ops import sum as sum_
from backpass.ops.kinds import Value
from backpass.records import dataclass


@dataclass(frozen=True)
class Loss:
    """How far the outputs of a network are from the targets. A frozen record: its fields are its options.

    A subclass writes `rows` in `backpass.ops`, so that it runs on arrays, traces, differentiates and compiles.
    Outputs are the raw values of the last layer, with no activation: (rows, outputs), or (rows,) for one output.
    """

    def rows(self, outputs: Value, targets: Value) -> Any:
        """The loss of each row: shape (rows,), in the dtype of the outputs.

        Raises:
            ShapeError: the outputs are not real numbers, or the targets do not fit them.
        """
        raise NotImplementedError

    def __call__(self, outputs: Value | tuple[Value, ...], targets: Value, weights: Value | None = None) -> Any:
        """The mean over the rows, sum(w * loss) / sum(w); 0, with a gradient of 0, where all weights are 0.

        `weights` has shape (rows,), one number of at least 0 for each row; without it every row counts alike. Of a
        tuple of outputs, those of the members of an `nn.Ensemble`, it is the mean of their losses.

        Raises:
            ShapeError: outputs, targets and weights do not fit one another, or there are no rows.
        """
        if isinstance(outputs, tuple):
            return sum(self(each, targets, weights) for each in outputs) * (1 / len(outputs))
        losses = self.rows(outputs, targets)
        if len(losses.shape) != 1:
            raise ShapeError(f"{self._name}: rows gave {show_shape(losses.shape)}, expected one number for each row")
        if losses.shape == (0,):
            raise ShapeError(f"{self._name}: there are no rows, and so no mean of their losses")
        if weights is None:
            return mean(losses)
        weights = cast(numbers(weights, f"{self._name}: weights"), losses.dtype)
        if weights.shape != losses.shape:
            raise ShapeError(
                f"{self._name}: weights {show_shape(weights.shape)} for losses {show_shape(losses.shape)}: "
                "expected one weight for each row"
            )
        total = sum_(weights)
        shares = weights / where(equal(total, 0), 1.0, total)  # first, so that large weights of large losses are finite
        return sum_(shares * losses)

    def predictions(self, outputs: Value) -> Any:
        """What a person reads, from the network's raw outputs: here the outputs themselves."""
        return outputs

    def check_targets(self, targets: Array, outputs: int) -> None:
        """Check targets once, before training with a network of so many `outputs`: a graph cannot raise errors.

        Raises:
            ShapeError: their shape or dtype does not fit.
            UsageError: a target cannot be learned with this loss; the message names its row and what was found.
        """
        require_numbers(self._name, targets)
        if targets.ndim == 0 or prod(targets.shape[1:]) != outputs:
            raise self._misfit(targets, outputs)
        refuse(self._name, targets, is_not_finite(targets), "a finite number")

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _misfit(self, targets: Array, outputs: int, expected: str = "") -> ShapeError:
        """The error for targets whose shape does not fit the network."""
        shapes = expected or f"[rows, {outputs}]{' or [rows]' if outputs == 1 else ''}"
        found = f"targets {targets.dtype}{show_shape(targets.shape)} for a network with {outputs} output"
        found += "" if outputs == 1 else "s"
        return ShapeError(f"{self._name}: {found}: expected {shapes}")

    def _real(self, outputs: Value) -> Any:
        """The outputs, once it is seen that they are real numbers."""
        outputs = numbers(outputs, f"{self._name}: outputs")
        if outputs.dtype.kind != "f":
            raise ShapeError(f"{self._name}: outputs are {outputs.dtype}, expected float32 or float64")
        return outputs

    def _paired(self, outputs: Value, targets: Value) -> tuple[Any, Any]:
        """Outputs and targets, one target for each output, in the shape and dtype of the outputs.

        (rows, 1) and (rows,) fit each other; nothing else that differs does, so nothing is ever stretched.
        """
        outputs, targets = self._real(outputs), numbers(targets, f"{self._name}: targets")
        alike = targets.shape in (outputs.shape, (*outputs.shape, 1)) or outputs.shape == (*targets.shape, 1)
        if not outputs.shape or not targets.shape or not alike:
            raise self._unlike(outputs, targets, "one target for each output")
        return outputs, reshape(cast(targets, outputs.dtype), outputs.shape)

    def _unlike(self, outputs: Value, targets: Value, expected: str) -> ShapeError:
        """The error for outputs and targets that do not fit each other."""
        return ShapeError(
            f"{self._name}: outputs {outputs.dtype}{show_shape(outputs.shape)} and "
            f"targets {targets.dtype}{show_shape(targets.shape)} do not fit: expected {expected}"
        )


def numbers(value: Value, what: str) -> Any:
    """`value` as a Tensor or array of numbers or truth values."""
    value = value if isinstance(value, Node) else np.asarray(value)
    if value.dtype.kind not in "biuf":
        raise ShapeError(f"{what} are {value.dtype}, expected numbers")
    return value


def mean_over_outputs(losses: Value) -> Any:
    """The mean over all axes but the first, the rows."""
    return mean(losses, range(1, len(losses.shape))) if len(losses.shape) > 1 else losses
