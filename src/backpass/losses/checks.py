"""Checks that name what was found: options of losses, and targets before training starts."""

from math import isfinite
from numbers import Real
from typing import Any, TypeAlias

import numpy as np

from backpass.errors import ShapeError, UsageError
from backpass.graph import show_shape

Array: TypeAlias = np.ndarray[Any, Any]

_SUM_TOLERANCE = 1e-4  # a distribution of float32 numbers sums to 1 within this


def number(value: object) -> float | None:
    """`value` as a plain float, None where it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if isfinite(found) else None


def smoothing(loss: str, value: object) -> float:
    """The option `label_smoothing` as a plain float."""
    found = number(value)
    if found is None or not 0 <= found < 1:
        raise UsageError(f"{loss}: label_smoothing is {value!r}, expected a number from 0 to below 1")
    return found


def require_numbers(loss: str, targets: Array) -> None:
    if targets.dtype.kind not in "biuf":
        raise ShapeError(f"{loss}: targets are {targets.dtype}, expected numbers: encode them first")


def is_not_finite(targets: Array) -> Array:
    """True where a target is infinite or a NaN."""
    return ~np.isfinite(targets)


def refuse(loss: str, targets: Array, bad: Array, expected: str) -> None:
    """Raise a UsageError for the first target that is bad."""
    if not bad.any():
        return
    place = np.unravel_index(int(np.argmax(bad)), bad.shape)
    column = f", output {place[1]}" if len(place) > 1 and bad.shape[1] > 1 else ""
    raise UsageError(
        f"{loss}: the target of row {place[0]}{column} (counted from 0) is {targets[place]}, expected {expected}"
    )


def check_labels(loss: str, labels: Array, classes: int) -> None:
    """Labels, shape (rows,) or (rows, 1), are whole numbers from 0 to classes - 1."""
    if labels.dtype.kind not in "biu":
        raise ShapeError(
            f"{loss}: targets {labels.dtype}{show_shape(labels.shape)} for {classes} outputs: "
            f"expected labels of an integer type, from 0 to {classes - 1}"
        )
    refuse(loss, labels, (labels < 0) | (labels >= classes), f"a label from 0 to {classes - 1}")


def check_distributions(loss: str, targets: Array) -> None:
    """Each row of `targets` holds probabilities that sum to 1."""
    refuse(loss, targets, is_not_finite(targets) | (targets < 0), "a probability, from 0 to 1")
    sums = targets.sum(axis=1, dtype=np.float64)
    bad = np.abs(sums - 1) > _SUM_TOLERANCE
    if bad.any():
        row = int(np.argmax(bad))
        raise UsageError(f"{loss}: the targets of row {row} (counted from 0) sum to {sums[row]:g}, expected 1")
