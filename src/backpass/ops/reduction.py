"""Reductions: many elements to one."""

import math
from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from backpass.errors import ShapeError
from backpass.graph import Batch, Node, show_shape
from backpass.ops.apply import apply, cast
from backpass.ops.arithmetic import NEGATIVE, SUBTRACT, where
from backpass.ops.comparison import equal, is_finite
from backpass.ops.elementary import exp, log
from backpass.ops.gradient_flow import stop_gradient
from backpass.ops.kinds import INT64, DType, Pointwise, Reduction, Value, reduced
from backpass.ops.movement import broadcast_to, reshape
from backpass.ops.samples import Case
from backpass.ops.source import rows


def _samples(rng: "np.random.Generator") -> list[Case]:
    calls = [
        ((3, 4), (0,)),
        ((3, 4), (1,)),
        ((3, 4), (0, 1)),
        ((2, 3, 2), (1,)),
        ((1,), (0,)),
        ((), ()),
        ((1, 1), (1,)),
    ]
    return [
        Case((rng.normal(size=shape),), {"axes": axes, "keepdims": keepdims})
        for shape, axes in calls
        for keepdims in (False, True)
    ]


def _sum_samples(rng: "np.random.Generator") -> list[Case]:
    return [*_samples(rng), Case((np.zeros((0, 3)),), {"axes": (0,), "keepdims": False})]


def _stretch(value: Value, x: Value, axes: Sequence[int]) -> Any:
    """`value`, a reduction of `x` over `axes`, stretched back to the shape of `x`."""
    return broadcast_to(reshape(value, reduced(x.shape, axes, keepdims=True)), x.shape)


# NumPy's own np.sum and np.max spend longer on their arguments than on a small array.
_ADD: Any = np.add.reduce
_MAXIMUM: Any = np.maximum.reduce


def _sum(x: Any, *, axes: tuple[int, ...], keepdims: bool) -> Any:
    return _ADD(x, axis=axes, keepdims=keepdims, dtype=x.dtype)


def _max(x: Any, *, axes: tuple[int, ...], keepdims: bool) -> Any:
    _require_some(x, axes)
    return _MAXIMUM(x, axis=axes, keepdims=keepdims)


def _log_sum_exp(x: Any, *, axes: tuple[int, ...], keepdims: bool) -> Any:
    largest = np.maximum.reduce(x, axis=axes, keepdims=True, initial=-np.inf)
    shift = np.where(np.isfinite(largest), largest, 0)
    total = np.log(np.add.reduce(np.exp(x - shift), axis=axes, keepdims=True)) + shift
    return total if keepdims else total.reshape(reduced(x.shape, axes, keepdims=False))


def _expanded_log_sum_exp(x: Value, axes: tuple[int, ...], *, keepdims: bool) -> Any:
    """Shifted by the largest element where that is finite, so that nothing overflows; not again where it is already."""
    if _is_below_own_largest(x, axes):
        total = log(sum(exp(x), axes, keepdims=True))
    else:
        largest = apply(MAX, x, axes=axes, keepdims=True)
        shift = where(is_finite(largest), largest, 0.0)
        total = log(sum(exp(x - shift), axes, keepdims=True)) + shift
    return total if keepdims else reshape(total, reduced(x.shape, axes, keepdims=False))


def _is_below_own_largest(x: Value, axes: tuple[int, ...]) -> bool:
    """Is it z - max(z)? Its largest element is 0 then, or there is a NaN."""
    if not isinstance(x, Node) or x.op is not SUBTRACT:
        return False
    whole, largest = x.inputs
    while isinstance(largest.op, Pointwise) and largest.op.transparent and largest.dtype == largest.inputs[0].dtype:
        (largest,) = largest.inputs
    wanted = {"axes": axes, "keepdims": True}
    return largest.op is MAX and largest.inputs[0] is whole and dict(largest.attributes) == wanted


def _lowest(dtype: DType) -> Any:
    """What is below every other number of a type."""
    if dtype.kind == "f":
        return -np.inf
    return False if dtype.kind == "b" else np.iinfo(dtype).min


def _argmax(x: Any, *, axes: tuple[int, ...], keepdims: bool) -> Any:
    _require_some(x, axes)
    return np.argmax(x, axis=axes[0], keepdims=keepdims)


def _require_some(x: Any, axes: tuple[int, ...]) -> None:
    if any(x.shape[axis] == 0 for axis in axes):
        raise ShapeError(f"there is no largest of no elements: shape {show_shape(x.shape)}, axes {axes}")


def _to_the_largest(dy: Value, y: Value, x: Value, axes: tuple[int, ...]) -> Any:
    """The error goes to the largest elements; where several are equal they share it."""
    chosen = cast(equal(x, _stretch(y, x, axes)), dy.dtype)
    share = _stretch(dy / reshape(sum(chosen, axes), dy.shape), x, axes)
    return share * chosen


SUM = Reduction(
    name="sum",
    forward=_sum,
    lower=lambda e, a, b: e.add(a, b),
    derivative=lambda dy, y, x, *, axes, keepdims: (_stretch(dy, x, axes),),
    samples=_sum_samples,
)
MAX = Reduction(
    name="max",
    forward=_max,
    lower=lambda e, a, b: e.maximum(a, b),
    start=_lowest,
    derivative=lambda dy, y, x, *, axes, keepdims: (_to_the_largest(dy, y, x, axes),),
    samples=_samples,
)
LOG_SUM_EXP = Reduction(
    name="log_sum_exp",
    forward=_log_sum_exp,
    expand=lambda x, *, axes, keepdims: _expanded_log_sum_exp(x, axes, keepdims=keepdims),
    derivative=lambda dy, y, x, *, axes, keepdims: (_stretch(dy, x, axes) * exp(x - _stretch(y, x, axes)),),
    takes="real",
    samples=_samples,
)
ARGMAX = Reduction(
    name="argmax",
    forward=_argmax,
    lower=lambda e, a, b: e.maximum(a, b),
    places=True,
    result=INT64,
    samples=lambda rng: [
        Case((rng.normal(size=(3, 4)),), {"axes": (a,), "keepdims": k}) for a in (0, 1) for k in (False, True)
    ],
)

Axes = int | Sequence[int] | None


def sum(x: Value, axis: Axes = None, *, keepdims: bool = False) -> Any:  # noqa: A001 - the field's name for it
    """The sum over `axis` (one, several, or all). Booleans and int32 are summed as int64."""
    return apply(SUM, _countable(x), axes=_axes(x, axis), keepdims=keepdims)


def mean(x: Value, axis: Axes = None, *, keepdims: bool = False) -> Any:
    """The mean over `axis` (one, several, or all)."""
    total = sum(x, axis, keepdims=keepdims)
    return total / _count(x, _axes(x, axis))


def max(x: Value, axis: Axes = None, *, keepdims: bool = False) -> Any:  # noqa: A001 - the field's name for it
    """The largest element over `axis`. Equal ones share the error."""
    return apply(MAX, x, axes=_axes(x, axis), keepdims=keepdims)


def min(x: Value, axis: Axes = None, *, keepdims: bool = False) -> Any:  # noqa: A001 - the field's name for it
    """The smallest element over `axis`. Equal ones share the error."""
    return apply(NEGATIVE, max(apply(NEGATIVE, x), axis, keepdims=keepdims))


def log_sum_exp(x: Value, axis: Axes = None, *, keepdims: bool = False) -> Any:
    """log(sum(exp(x))) over `axis`, without overflow."""
    return apply(LOG_SUM_EXP, x, axes=_axes(x, axis), keepdims=keepdims)


def argmax(x: Value, axis: int = -1, *, keepdims: bool = False) -> Any:
    """The place of the largest element along `axis`, the first of equal ones. No error flows."""
    axes = _axes(x, axis)
    if len(axes) != 1:
        raise ShapeError(f"argmax: it is along one axis, found {axis}")
    return apply(ARGMAX, x, axes=axes, keepdims=keepdims)


def softmax(x: Value, axis: int = -1) -> Any:
    """exp(x) / sum(exp(x)) along `axis`, without overflow."""
    e = exp(_below_largest(x, axis))
    return e / sum(e, axis, keepdims=True)


def log_softmax(x: Value, axis: int = -1) -> Any:
    """x - log(sum(exp(x))) along `axis`, without overflow."""
    shifted = _below_largest(x, axis)
    return shifted - log_sum_exp(shifted, axis, keepdims=True)


def _below_largest(x: Value, axis: int) -> Any:
    """x less its largest element along `axis`: what softmax makes of both is the same, and so are its derivatives.

    Near 0 a float has its digits behind the point: of logits around 10,000 float32 would lose three of seven.
    """
    return x - stop_gradient(max(x, axis, keepdims=True))


def _axes(x: Value, axis: Axes) -> tuple[int, ...]:
    """`axis` as sorted positions counted from the left."""
    rank = np.ndim(x)
    chosen = range(rank) if axis is None else axis if isinstance(axis, Sequence) else (axis,)
    axes = tuple(sorted(index(a) + rank if a < 0 else index(a) for a in chosen))
    if len(set(axes)) != len(axes) or not all(0 <= a < rank for a in axes):
        raise ShapeError(f"axis {axis} does not fit a value with {rank} axes")
    return axes


def _countable(x: Value) -> Any:
    dtype = x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype
    return cast(x, INT64) if dtype in (np.dtype(np.bool_), np.dtype(np.int32)) else x


def _count(x: Value, axes: Sequence[int]) -> Any:
    """How many elements a reduction over `axes` sums: a number, or a Tensor where the batch is among them."""
    lengths = [np.shape(x)[axis] for axis in axes]
    number: Any = float(math.prod(length for length in lengths if not isinstance(length, Batch)))
    for length in lengths:
        if isinstance(length, Batch) and isinstance(x, Node):
            number = rows(x) * number
    return number
