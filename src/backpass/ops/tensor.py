"""A Tensor: a node that can be calculated with."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from backpass.errors import ShapeError
from backpass.graph import Node, Shape, current_scope, show_shape
from backpass.ops.apply import CONSTANT, allowed, apply, cast
from backpass.ops.arithmetic import ABSOLUTE, ADD, DIVIDE, MULTIPLY, NEGATIVE, SUBTRACT
from backpass.ops.comparison import EQUAL, LESS, LESS_EQUAL, NOT_EQUAL
from backpass.ops.contraction import matmul
from backpass.ops.elementary import power
from backpass.ops.kinds import Value
from backpass.ops.lookup import gather
from backpass.ops.movement import reshape, take, transpose
from backpass.ops.reduction import Axes, mean
from backpass.ops.reduction import max as max_
from backpass.ops.reduction import min as min_
from backpass.ops.reduction import sum as sum_
from backpass.ops.source import INPUT


class Tensor(Node):
    """A value of a function that is being traced. It has a shape and a dtype, but no numbers yet."""

    __hash__ = Node.__hash__  # == makes a Tensor, so sets and tables tell Tensors apart by identity

    def __add__(self, other: Value) -> "Tensor":
        return apply(ADD, self, other)

    def __radd__(self, other: Value) -> "Tensor":
        return apply(ADD, other, self)

    def __sub__(self, other: Value) -> "Tensor":
        return apply(SUBTRACT, self, other)

    def __rsub__(self, other: Value) -> "Tensor":
        return apply(SUBTRACT, other, self)

    def __mul__(self, other: Value) -> "Tensor":
        return apply(MULTIPLY, self, other)

    def __rmul__(self, other: Value) -> "Tensor":
        return apply(MULTIPLY, other, self)

    def __truediv__(self, other: Value) -> "Tensor":
        return apply(DIVIDE, self, other)

    def __rtruediv__(self, other: Value) -> "Tensor":
        return apply(DIVIDE, other, self)

    def __pow__(self, other: Value) -> "Tensor":
        return power(self, other)

    def __rpow__(self, other: Value) -> "Tensor":
        return power(other, self)

    def __matmul__(self, other: Value) -> "Tensor":
        return matmul(self, other)

    def __rmatmul__(self, other: Value) -> "Tensor":
        return matmul(other, self)

    def __neg__(self) -> "Tensor":
        return apply(NEGATIVE, self)

    def __abs__(self) -> "Tensor":
        return apply(ABSOLUTE, self)

    def __lt__(self, other: Value) -> "Tensor":
        return apply(LESS, self, other)

    def __le__(self, other: Value) -> "Tensor":
        return apply(LESS_EQUAL, self, other)

    def __gt__(self, other: Value) -> "Tensor":
        return apply(LESS, other, self)

    def __ge__(self, other: Value) -> "Tensor":
        return apply(LESS_EQUAL, other, self)

    def __eq__(self, other: Value) -> "Tensor":  # type: ignore[override]
        return apply(EQUAL, self, other)

    def __ne__(self, other: Value) -> "Tensor":  # type: ignore[override]
        return apply(NOT_EQUAL, self, other)

    def __getitem__(self, index: Any) -> "Tensor":
        """Whole numbers, slices, `...` and `None` as in NumPy, or a Tensor or array of row numbers."""
        if isinstance(index, (Node, np.ndarray, list)):
            return gather(self, index)
        return take(self, index)

    def __len__(self) -> int:
        if not self.shape or not isinstance(self.shape[0], int):
            raise ShapeError(f"a value of shape {show_shape(self.shape)} has no length that is known before it runs")
        return self.shape[0]

    def __iter__(self) -> Iterator["Tensor"]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        raise ShapeError(
            "a Tensor is neither true nor false while a function is traced: use ops.where(condition, a, b) to choose"
        )

    def __float__(self) -> float:
        raise ShapeError("a Tensor has no number yet while a function is traced: keep to backpass.ops inside it")

    def __index__(self) -> int:
        raise ShapeError(
            "a Tensor has no number yet while a function is traced: sizes and counts must be plain numbers"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **_: Any) -> "Tensor":
        """The operators with a NumPy array on the left; NumPy's other functions need numbers."""
        operation = _OPERATORS.get(ufunc) if method == "__call__" else None
        if operation is None:
            raise ShapeError(
                f"np.{ufunc.__name__} needs numbers, and a Tensor has none yet while a function is traced: "
                "use what backpass.ops has of that name"
            )
        return operation(*inputs)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise ShapeError("a Tensor is no array yet while a function is traced: use backpass.ops in place of NumPy")

    @property
    def T(self) -> "Tensor":  # noqa: N802 - the name of the transpose
        return transpose(self)

    def reshape(self, *shape: Any) -> "Tensor":
        return reshape(self, shape[0] if len(shape) == 1 else shape)

    def sum(self, axis: Axes = None, *, keepdims: bool = False) -> "Tensor":
        return sum_(self, axis, keepdims=keepdims)

    def mean(self, axis: Axes = None, *, keepdims: bool = False) -> "Tensor":
        return mean(self, axis, keepdims=keepdims)

    def max(self, axis: Axes = None, *, keepdims: bool = False) -> "Tensor":
        return max_(self, axis, keepdims=keepdims)

    def min(self, axis: Axes = None, *, keepdims: bool = False) -> "Tensor":
        return min_(self, axis, keepdims=keepdims)

    def astype(self, dtype: Any) -> "Tensor":
        return cast(self, dtype)


_OPERATORS: dict[Any, Callable[..., Any]] = {
    **{op.forward: partial(apply, op) for op in (ADD, SUBTRACT, MULTIPLY, DIVIDE, EQUAL, NOT_EQUAL, LESS, LESS_EQUAL)},
    np.greater: lambda a, b: apply(LESS, b, a),
    np.greater_equal: lambda a, b: apply(LESS_EQUAL, b, a),
    np.matmul: matmul,
    np.power: power,
}


def new_input(shape: Shape, dtype: Any, name: str = "") -> Tensor:
    """An input of a graph: a Tensor of the given shape and dtype, whose numbers come when the graph runs."""
    dtype = np.dtype(dtype)
    return Tensor(INPUT, (), tuple(shape), dtype, {"shape": tuple(shape), "dtype": dtype}, name)


def constant(value: Value, dtype: Any = None) -> Tensor:
    """`value` as a Tensor: a number or array that is written into the graph."""
    if isinstance(value, Tensor):
        return value
    array = np.array(value, dtype)
    allowed(array.dtype)
    array.flags.writeable = False
    return Tensor(CONSTANT, (), array.shape, array.dtype, {"value": array}, current_scope())
