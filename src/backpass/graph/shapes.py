"""Shapes: tuples of whole numbers, in which one axis may be the batch, a number of rows known later."""

from collections.abc import Iterable
from math import prod
from typing import Any, Final, TypeAlias

from backpass.errors import ShapeError


class Batch:
    """The one symbolic axis: the number of rows of the batch, known when the graph runs."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "batch"

    def __reduce__(self) -> str:
        return "BATCH"  # copies and pickles are the one itself


BATCH: Final = Batch()
Axis: TypeAlias = int | Batch
Shape: TypeAlias = tuple[Axis, ...]


def is_static(shape: Shape) -> bool:
    return BATCH not in shape


def size(shape: Shape) -> int:
    """How many elements one row (or the whole, where no axis is the batch) has."""
    return prod(axis for axis in shape if isinstance(axis, int))


def show_shape(shape: Shape) -> str:
    return "[" + ", ".join(str(axis) for axis in shape) + "]"


def broadcast(shapes: Iterable[Shape]) -> Shape:
    """The shape that all of `shapes` stretch to, by NumPy's rule: aligned at the right, an axis of 1 stretches.

    Raises:
        ShapeError: two axes differ and neither is 1.
    """
    shapes = list(shapes)
    rank = max((len(shape) for shape in shapes), default=0)
    result: list[Axis] = [1] * rank
    for shape in shapes:
        for position, axis in enumerate(shape, start=rank - len(shape)):
            if axis == 1 or axis == result[position]:
                continue
            if result[position] != 1:
                raise ShapeError(f"shapes {' and '.join(map(show_shape, shapes))} do not broadcast together")
            result[position] = axis
    return tuple(result)


def bind_rows(value: Any, rows: int | None) -> Any:
    """`value` (an attribute of a node) with every batch axis in it replaced by the number of rows."""
    if value is BATCH:
        if rows is None:
            raise ShapeError("the graph has a batch axis but none of its inputs does: the number of rows is not known")
        return rows
    if isinstance(value, tuple):
        return tuple(bind_rows(part, rows) for part in value)
    return value
