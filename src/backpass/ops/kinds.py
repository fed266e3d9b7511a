"""The closed set of kinds of operation, and the record that holds all that one operation means.

Passes and executors match on the kind, never on an operation's name, so the set of operations stays open: a new one
is one record in one file, and its line in `catalogue.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, TypeAlias

import numpy as np

from backpass.errors import ShapeError
from backpass.graph import Axis, Node, Op, Shape, broadcast, show_shape
from backpass.ops.samples import Samples, between
from backpass.records import dataclass

DType: TypeAlias = np.dtype[Any]
Value: TypeAlias = Any
"""What an operation works on: a Tensor while a function is being traced, a NumPy array or a number otherwise."""

Attributes: TypeAlias = Mapping[str, Any]
Derivative: TypeAlias = Callable[..., tuple[Value | None, ...]]

BOOL = np.dtype(np.bool_)
INT64 = np.dtype(np.int64)
FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)


@dataclass(frozen=True, eq=False, kw_only=True)
class Record(Op):
    """All that an operation means, in one place.

    Attributes:
        forward: the value in NumPy, `forward(*inputs, **attributes)`.
        derivative: the rule of the backward pass, `derivative(dy, y, *inputs, **attributes)`: from the error at the
            output, the cached value and the inputs, one error for each input (None where none flows). Written with
            the operators of whatever it receives, so it can be traced, run and differentiated again.
            None as a whole: the result is flat or not a real number, and no error flows.
        samples: inputs on which every test of operations runs.
        kinks: input values at which the derivative jumps; tests stay away from them, gradient checks report them.
        takes: what inputs become before `forward` sees them: one common type ("any"), one common floating type
            ("real"), one common type that is no boolean ("number"), one common type for all but the first
            ("choice"), or each as it is ("mixed").
        lower: how it becomes machine code. Of a Pointwise operation `lower(e, *values, **attributes)`, by the
            vocabulary of `backpass.native.pointwise.Lowering`; of a Reduction `lower(e, a, b)`, which joins two
            elements; of a Movement or Lookup `lower(e, index, *inputs, **attributes)`, the element of the result at
            `index`, read from the inputs by `e.read(input, index)`.
        expand: how it is made of simpler operations, where there is no machine code for it as a whole:
            `expand(*inputs, **attributes)`, written as a derivative rule is.
    """

    forward: Callable[..., Any]
    derivative: Derivative | None = None
    samples: Samples = field(default_factory=lambda: between(-2.0, 2.0))
    kinks: tuple[float, ...] = ()
    takes: str = "any"
    lower: Callable[..., Any] | None = None
    expand: Callable[..., Value] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Source(Record):
    """A value that comes from outside: an input, a constant, the number of rows."""

    def infer(self, inputs: Sequence[Node], attributes: Attributes) -> tuple[Shape, DType]:
        del inputs
        if "value" in attributes:
            return attributes["value"].shape, attributes["value"].dtype
        return attributes["shape"], attributes["dtype"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Pointwise(Record):
    """Element by element; inputs stretch to a common shape.

    `result` is "same" (the type of the inputs), "bool", or "attribute" (the type named by the attribute `dtype`).
    `neutral` is the right-hand number that changes nothing (0 for addition); `commutative` says it works on the left;
    `transparent` says that the value itself passes through. `cost` is about how many instructions it takes.
    """

    result: str = "same"
    neutral: float | None = None
    commutative: bool = False
    transparent: bool = False
    cost: int = 1

    def infer(self, inputs: Sequence[Node], attributes: Attributes) -> tuple[Shape, DType]:
        shape = broadcast([x.shape for x in inputs])
        if self.result == "bool":
            return shape, BOOL
        if self.result == "attribute":
            return shape, attributes["dtype"]
        return shape, inputs[-1].dtype


@dataclass(frozen=True, eq=False, kw_only=True)
class Reduction(Record):
    """Many elements to one, over the attribute `axes`; the axes stay with size 1 where `keepdims` is set.

    In machine code it starts from `start(dtype)`, which changes nothing; `places` says that the result is the place of
    the element that `lower` would keep, the first of equal ones, and not the element.
    """

    result: DType | None = None
    start: Callable[[DType], Any] = lambda dtype: 0
    places: bool = False

    def infer(self, inputs: Sequence[Node], attributes: Attributes) -> tuple[Shape, DType]:
        (x,) = inputs
        axes = attributes["axes"]
        if not all(0 <= axis < x.ndim for axis in axes):
            raise ShapeError(f"{self.name}: axes {axes} do not fit shape {show_shape(x.shape)}")
        return reduced(x.shape, axes, keepdims=attributes["keepdims"]), self.result or x.dtype


@dataclass(frozen=True, eq=False, kw_only=True)
class Movement(Record):
    """The same elements at other places: reshape, transpose, slice, pad, broadcast, concatenate.

    `stretches` says that it does what every Pointwise operation does with its inputs by itself; `in_order` that the
    elements stay in their order, and only the shape is another;
    `unmoved(**attributes)` says whether a result of the shape of the one input has every element at its old place;
    `edges(*inputs, **attributes)` where along the last axis of the result it begins to read elsewhere.
    """

    shape: Callable[..., Shape]
    stretches: bool = False
    in_order: bool = False
    unmoved: Callable[..., bool] = lambda **attributes: True
    edges: Callable[..., list[int]] = lambda *inputs, **attributes: []

    def infer(self, inputs: Sequence[Node], attributes: Attributes) -> tuple[Shape, DType]:
        return self.shape(*(x.shape for x in inputs), **attributes), inputs[0].dtype


@dataclass(frozen=True, eq=False, kw_only=True)
class Contraction(Record):
    """Products summed over shared axes: matrix multiplication and its relatives."""

    shape: Callable[..., Shape]

    def infer(self, inputs: Sequence[Node], attributes: Attributes) -> tuple[Shape, DType]:
        return self.shape(*(x.shape for x in inputs), **attributes), inputs[0].dtype


@dataclass(frozen=True, eq=False, kw_only=True)
class Lookup(Record):
    """Elements found by number: gather, scatter-add, one-hot. The last input holds the numbers.

    `scatters` says that elements of the first input are added up at the places that the numbers name, rather than read.
    """

    shape: Callable[..., Shape]
    scatters: bool = False

    def infer(self, inputs: Sequence[Node], attributes: Attributes) -> tuple[Shape, DType]:
        if inputs[-1].dtype.kind not in "iu":
            raise ShapeError(f"{self.name}: an index is a whole number, found {inputs[-1].dtype}")
        shape = self.shape(*(x.shape for x in inputs), **attributes)
        return shape, attributes.get("dtype", inputs[0].dtype)


@dataclass(frozen=True, eq=False, kw_only=True)
class Random(Record):
    """Numbers drawn by counting: a function of (seed, step), the attribute `stream` and the element's place.

    `cost` is about how many instructions a vector of them takes.
    """

    cost: int = 20

    def infer(self, inputs: Sequence[Node], attributes: Attributes) -> tuple[Shape, DType]:
        (key,) = inputs
        if key.shape != (2,) or key.dtype != INT64:
            raise ShapeError(
                f"{self.name}: a key is int64[2] (seed and step), found {key.dtype}{show_shape(key.shape)}"
            )
        return attributes["shape"], attributes["dtype"]


def reduced(shape: Shape, axes: Sequence[int], *, keepdims: bool) -> Shape:
    """The shape left when `axes` are summed away."""
    kept: list[Axis] = []
    for position, axis in enumerate(shape):
        if position not in axes:
            kept.append(axis)
        elif keepdims:
            kept.append(1)
    return tuple(kept)
