"""Lookups: elements found by number."""

from typing import Any

import numpy as np

from backpass.errors import ShapeError
from backpass.graph import Axis, Shape, show_shape
from backpass.ops.apply import apply, cast
from backpass.ops.comparison import equal
from backpass.ops.kinds import FLOAT32, DType, Lookup, Value
from backpass.ops.movement import reshape
from backpass.ops.samples import Case


def _gathered(table: Shape, indices: Shape) -> Shape:
    if not table:
        raise ShapeError("a table to gather from has at least one axis, found a single number")
    return indices + table[1:]


def _scattered(values: Shape, indices: Shape, *, length: Axis) -> Shape:
    if values[: len(indices)] != indices:
        raise ShapeError(f"scatter_add: values of shape {show_shape(values)} for indices of {show_shape(indices)}")
    return (length, *values[len(indices) :])


def _require_inside(indices: Any, length: int) -> None:
    if indices.dtype.kind not in "iu":
        raise ShapeError(f"an index is a whole number, found {indices.dtype}")
    if indices.size and not 0 <= indices.min() <= indices.max() < length:
        raise ShapeError(f"indices from {indices.min()} to {indices.max()} in a table of {length} rows")


def _gather(table: Any, indices: Any) -> Any:
    _require_inside(indices, len(table))
    return table[np.asarray(indices)]  # a plain number would make a view of the table, an array never does


def _scatter_add(values: Any, indices: Any, *, length: int) -> Any:
    """Summed by bincount: in float64, in the order of the values, and many times as fast as np.add.at."""
    _require_inside(indices, length)
    row = values.shape[indices.ndim :]
    width = int(np.prod(row))
    places = (indices.reshape(-1, 1).astype(np.int64) * width + np.arange(width)).ravel()
    total = np.bincount(places, weights=values.ravel(), minlength=length * width)
    return total.astype(values.dtype).reshape((length, *row))


def _one_hot(indices: Any, *, classes: int, dtype: DType) -> Any:
    return (np.asarray(indices)[..., None] == np.arange(classes)).astype(dtype)


def _gather_samples(rng: "np.random.Generator") -> list[Case]:
    calls: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((5, 3), (4,)),
        ((5,), (2, 3)),
        ((1, 2), (1,)),
        ((3, 2), (0,)),
        ((4, 2), ()),
    ]
    return [Case((rng.normal(size=table), rng.integers(0, table[0], size)), {}) for table, size in calls]


def _scatter_samples(rng: "np.random.Generator") -> list[Case]:
    calls: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((4, 3), (4,)),
        ((2, 3), (2, 3)),
        ((0, 2), (0,)),
        ((1,), (1,)),
    ]
    return [Case((rng.normal(size=values), rng.integers(0, 5, size)), {"length": 5}) for values, size in calls]


GATHER = Lookup(
    name="gather",
    forward=_gather,
    derivative=lambda dy, y, table, indices: (scatter_add(dy, indices, table.shape[0]), None),
    takes="mixed",
    shape=_gathered,
    lower=lambda e, index, table, indices: e.read(
        table, [e.number(indices, index[: indices.ndim], table.shape[0]), *index[indices.ndim :]]
    ),
    samples=_gather_samples,
)
SCATTER_ADD = Lookup(
    name="scatter_add",
    forward=_scatter_add,
    derivative=lambda dy, y, values, indices, *, length: (apply(GATHER, dy, indices), None),
    takes="mixed",
    shape=_scattered,
    scatters=True,
    samples=_scatter_samples,
)
ONE_HOT = Lookup(
    name="one_hot",
    forward=_one_hot,
    takes="mixed",
    shape=lambda indices, *, classes, dtype: (*indices, classes),
    expand=lambda indices, *, classes, dtype: cast(
        equal(reshape(indices, (*indices.shape, 1)), np.arange(classes, dtype=indices.dtype)), dtype
    ),
    samples=lambda rng: [
        Case((rng.integers(0, 4, shape),), {"classes": 4, "dtype": np.dtype(np.float64)})
        for shape in [(5,), (2, 3), (0,), ()]
    ],
)


def gather(table: Value, indices: Value) -> Any:
    """Rows of `table` by number: shape `indices.shape + table.shape[1:]`. Errors flow back by scatter-add."""
    return apply(GATHER, table, indices)


def scatter_add(values: Value, indices: Value, length: int) -> Any:
    """A table of `length` rows in which row i is the sum of the `values` whose index is i.

    `values` has shape `indices.shape + row`; the result has shape `(length, *row)`.
    """
    return apply(SCATTER_ADD, values, indices, length=length)


def one_hot(indices: Value, classes: int, dtype: Any = FLOAT32) -> Any:
    """1 at the place that the index names along a new last axis, 0 elsewhere; all 0 for an index outside `classes`."""
    return apply(ONE_HOT, indices, classes=classes, dtype=np.dtype(dtype))
