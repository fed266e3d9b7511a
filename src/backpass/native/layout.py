"""How a value stands in memory: strides of whole numbers, or panels for the matrices that products read."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from backpass.graph import Batch, Node, Shape, size
from backpass.native.pointwise import SCALARS
from backpass.native.target import Target
from backpass.native.tiles import Panels, padded_stride, panel_vectors
from backpass.records import dataclass

SPARE = 256  # bytes after each value, since whole vectors are read where a value ends in the middle of one
LEAST_LANES = 4
COLUMNS_AT_ONCE = 4  # vectors of one row that are worked on together


@dataclass(frozen=True)
class Strided:
    """Element (i, j, ...) at i * strides[0] + j * strides[1] + ...; `elements` is the room in all."""

    shape: Shape
    strides: tuple[int, ...]
    elements: int

    def put(self, flat: Any, array: Any) -> None:
        """Write `array` into the memory `flat`, a NumPy array of the elements."""
        self.view(flat, array.shape)[...] = array

    def take(self, flat: Any, shape: Sequence[int]) -> Any:
        """The value of `shape` out of the memory `flat`, as an array of its own."""
        return np.array(self.view(flat, shape))

    def view(self, flat: Any, shape: Sequence[int]) -> Any:
        """The value of `shape` as it stands in the memory `flat`."""
        return np.ndarray(shape, flat.dtype, flat, strides=[stride * flat.itemsize for stride in self.strides])


@dataclass(frozen=True)
class Panelled:
    """A matrix in panels; see `tiles.Panels`."""

    shape: Shape
    panels: Panels

    @property
    def elements(self) -> int:
        return self.panels.size

    def put(self, flat: Any, array: Any) -> None:
        flat[: self.panels.size] = self.panels.pack(array)

    def take(self, flat: Any, shape: Sequence[int]) -> Any:
        del shape
        return np.array(self.panels.unpack(flat[: self.panels.size]))  # never a view of the memory


Layout = Strided | Panelled


def layout_of(node: Node, target: Target, rows: int, lanes: int) -> Layout:
    """The layout of a value, a function of its shape and dtype alone: equal shapes stand equally.

    `rows` is the largest number of rows of a batch, with the room that tiles of rows need; `lanes` is how many
    elements of a row, of any type, are written at a time: a row has room for whole vectors.
    """
    shape, scalar = node.shape, SCALARS[node.dtype]
    if _is_batch_first(shape):
        inner = size(shape[1:])
        if inner == 1:
            return Strided(shape, (1, *_dense(shape[1:], rows)), _up(rows, lanes))
        stride = _up(inner, lanes)
        if scalar.is_float:
            stride = max(stride, _row_stride(inner, scalar, target))
        return Strided(shape, (stride, *_dense(shape[1:], rows)), rows * stride)
    if len(shape) == 2 and scalar.is_float and all(isinstance(axis, int) and axis > 0 for axis in shape):
        return Panelled(shape, panels_of(shape, node.dtype, target))
    bound = [_up(rows, lanes) if isinstance(axis, Batch) else axis for axis in shape]
    return Strided(shape, _dense(shape, _up(rows, lanes)), _up(prod(bound), lanes * COLUMNS_AT_ONCE))


def panels_of(shape: Shape, dtype: Any, target: Target) -> Panels:
    """The panels of a matrix of numbers."""
    scalar = SCALARS[np.dtype(dtype)]
    depth, columns = (int(axis) for axis in shape)  # type: ignore[arg-type]
    lanes = lanes_for(columns, target.lanes(scalar))
    vectors = panel_vectors(target, scalar, columns) if columns > lanes else 1
    return Panels(scalar, lanes, vectors, depth, columns)


def lanes_for(length: int, most: int) -> int:
    """Lanes of the vectors along an axis: fewer than the machine has where the axis is short.

    Half a vector costs no more than a whole one, and often less: there are more units for it, and slow instructions
    are slow in proportion.
    """
    lanes = most
    while lanes > LEAST_LANES and lanes // 2 >= length:
        lanes //= 2
    return lanes


def _row_stride(inner: int, scalar: Any, target: Target) -> int:
    panels = panels_of((1, inner), {32: np.float32, 64: np.float64}[scalar.bits], target)
    return padded_stride(inner, panels)


def _is_batch_first(shape: Shape) -> bool:
    return bool(shape) and isinstance(shape[0], Batch) and not any(isinstance(axis, Batch) for axis in shape[1:])


def _dense(shape: Shape, rows: int) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for axis in reversed(shape):
        strides.append(step)
        step *= rows if isinstance(axis, Batch) else axis
    return tuple(reversed(strides))


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
