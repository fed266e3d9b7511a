"""Arrays as a network takes them: checked, of one floating type, rows first; in memory, or in files (np.memmap)."""

import mmap
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Any, TypeAlias

import numpy as np

from backpass.errors import ShapeError

Array: TypeAlias = np.ndarray[Any, Any]
Inputs: TypeAlias = Array | dict[str, Array]

FEW = 1 << 12  # numbers
PIECE = 1 << 25  # bytes that are looked at together


def as_inputs(values: Any, dtype: Any) -> Inputs:
    """`values`, an array of rows or a dictionary of such, with real numbers in `dtype` and whole numbers as int64.

    What lies in a file stays there, whole numbers in their own type.

    Raises:
        ShapeError: there are no rows, the parts differ in their number of rows, or a value is not a finite number.
    """
    if not isinstance(values, np.ndarray) and isinstance(values, Mapping):
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


def pieces(array: Array) -> Iterator[Array]:
    """The array, some rows at a time; what is in a file takes memory only while it is looked at."""
    rows = max(1, PIECE // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        piece = array[start : start + rows]
        yield piece
        let_go(piece)


def let_go(*arrays: Array) -> None:
    """Give back the memory of rows that lie in files, where they stay."""
    _advise(arrays, "MADV_DONTNEED")


def ask_for(*arrays: Array) -> None:
    """Have rows that lie in files read from the disk while other work goes on."""
    _advise(arrays, "MADV_WILLNEED")


def _advise(arrays: Iterable[Array], advice: str) -> None:
    """Tell the system; where it takes no advice, it does what it thinks best."""
    for part in arrays:
        # Where the mode is "c", what was changed is in memory alone.
        if isinstance(part, np.memmap) and part.mode != "c" and part.size and hasattr(mmap, advice):
            mapped: mmap.mmap = part._mmap  # type: ignore[attr-defined]  # noqa: SLF001
            first = part.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
            start = first // mmap.PAGESIZE * mmap.PAGESIZE
            mapped.madvise(getattr(mmap, advice), start, first + part.nbytes - start)


def row_shape(inputs: Inputs) -> Any:
    """The shape of one row, as `Layer.init` takes it: whole numbers come with their type."""
    if isinstance(inputs, dict):
        return {name: row_shape(part) for name, part in inputs.items()}
    return inputs.shape[1:] if inputs.dtype.kind == "f" else (inputs.shape[1:], "int64")


def _rows(values: Any, label: str, dtype: Any) -> Array:
    try:
        array: Array = values if isinstance(values, np.memmap) else np.asarray(values)
    except ValueError:
        raise ShapeError(f"{label}: rows differ in length") from None
    if array.ndim == 0 or len(array) == 0:
        raise ShapeError(f"{label} has no rows")
    if array.dtype.kind in "iub":
        return array if isinstance(array, np.memmap) else array.astype(np.int64)
    if array.dtype.kind != "f":
        raise ShapeError(
            f"{label} holds {array.dtype}, expected numbers: a table with text goes through backpass.train"
        )
    real: Array = array if array.dtype == dtype else _as_type(array, dtype)
    before = 0
    for piece in pieces(real) if isinstance(real, np.memmap) else [real]:
        if not looks_finite(piece):
            _refuse_infinite(array, piece, before, label, dtype)
        before += len(piece)
    return real


@np.errstate(over="ignore")
def _as_type(array: Array, dtype: Any) -> Array:
    return np.asarray(array).astype(dtype)


def looks_finite(array: Array) -> bool:
    """Then all numbers are finite. Of a large array a sum tells it sooner than as many answers, if it is finite."""
    if array.size <= FEW:
        return int(np.count_nonzero(np.isfinite(array))) == array.size
    return _sum_is_finite(array)


@np.errstate(over="ignore", invalid="ignore")
def _sum_is_finite(array: Array) -> bool:
    return isfinite(array.sum())


def _refuse_infinite(array: Array, piece: Array, before: int, label: str, dtype: Any) -> None:
    """`piece` is of `array`, in `dtype`, after so many rows."""
    finite = np.isfinite(piece)
    if not finite.all():
        row, *inside = (int(place) for place in np.unravel_index(int(np.argmin(finite)), piece.shape))
        column = f", column {inside[0] + 1}" if inside else ""
        found = f"{label} holds {array[before + row, *inside]} in row {before + row + 1}{column}"
        raise ShapeError(f"{found}, expected numbers that are finite in {dtype}")
