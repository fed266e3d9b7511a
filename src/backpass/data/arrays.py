"""Arrays as a network takes them: checked, of one floating type, rows first."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from backpass.errors import ShapeError

Array: TypeAlias = np.ndarray[Any, Any]
Inputs: TypeAlias = Array | dict[str, Array]


def as_inputs(values: Any, dtype: Any) -> Inputs:
    """`values`, an array of rows or a dictionary of such, with real numbers in `dtype` and whole numbers as int64.

    Raises:
        ShapeError: there are no rows, the parts differ in their number of rows, or a value is not a finite number.
    """
    if isinstance(values, Mapping):
        parts = {str(name): _rows(part, f'input "{name}"', dtype) for name, part in values.items()}
        if len({len(part) for part in parts.values()}) != 1:
            found = ", ".join(f"{name} {len(part):,}" for name, part in parts.items())
            raise ShapeError(f"the inputs differ in their number of rows: {found or 'there are none'}")
        return parts
    return _rows(values, "the input", dtype)


def as_targets(values: Any, rows: int, dtype: Any) -> Array:
    """`values`, one target a row, as int64 labels or real numbers in `dtype`."""
    targets = _rows(values, "the targets", dtype)
    if len(targets) != rows:
        raise ShapeError(f"there are {len(targets):,} targets for {rows:,} rows of input")
    return targets


def as_weights(values: Any, rows: int, dtype: Any) -> Array:
    """`values`, one weight a row, none of them negative."""
    weights = _rows(values, "the row weights", dtype).astype(dtype)
    if weights.shape != (rows,):
        raise ShapeError(f"row weights have shape {list(weights.shape)}, expected one for each of {rows:,} rows")
    if (weights < 0).any():
        raise ShapeError(f"row {int(np.argmax(weights < 0)) + 1} has the weight {weights.min():g}, expected 0 or more")
    return weights


def count_rows(inputs: Inputs) -> int:
    return len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs)


def take_rows(inputs: Inputs, rows: Any) -> Inputs:
    """The given rows (numbers or a slice) of every part."""
    if isinstance(inputs, dict):
        return {name: part[rows] for name, part in inputs.items()}
    taken: Array = inputs[rows]
    return taken


def row_shape(inputs: Inputs) -> Any:
    """The shape of one row, as `Layer.init` takes it: whole numbers come with their type."""
    if isinstance(inputs, dict):
        return {name: row_shape(part) for name, part in inputs.items()}
    return inputs.shape[1:] if inputs.dtype.kind == "f" else (inputs.shape[1:], "int64")


def _rows(values: Any, label: str, dtype: Any) -> Array:
    try:
        array: Array = np.asarray(values)
    except ValueError:
        raise ShapeError(f"{label}: rows differ in length") from None
    if array.ndim == 0 or len(array) == 0:
        raise ShapeError(f"{label} has no rows")
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    if array.dtype.kind != "f":
        raise ShapeError(
            f"{label} holds {array.dtype}, expected numbers: a table with text goes through backpass.train"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        real: Array = array.astype(dtype, copy=False)
        if np.isfinite(real.sum()):  # then all are; a sum is quicker than as many answers
            return real
    finite = np.isfinite(real)
    if not finite.all():
        place = np.unravel_index(int(np.argmin(finite)), array.shape)
        column = f", column {int(place[1]) + 1}" if len(place) > 1 else ""
        found = f"{label} holds {array[place]} in row {int(place[0]) + 1}{column}"
        raise ShapeError(f"{found}, expected numbers that are finite in {dtype}")
    return real
