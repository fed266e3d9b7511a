"""Arithmetic: the operations behind Python's operators, and the choice between two values."""

from typing import Any

import numpy as np

from backpass.ops.apply import apply, cast
from backpass.ops.comparison import equal
from backpass.ops.kinds import Pointwise, Value
from backpass.ops.samples import Case, between

_PAIR = between(-2.0, 2.0, -2.0, 2.0)

ADD = Pointwise(
    name="add",
    forward=np.add,
    derivative=lambda dy, y, a, b: (dy, dy),
    neutral=-0.0,  # x + 0 would turn the zero -0 into 0
    commutative=True,
    lower=lambda e, a, b: e.add(a, b),
    samples=_PAIR,
)
SUBTRACT = Pointwise(
    name="subtract",
    forward=np.subtract,
    derivative=lambda dy, y, a, b: (dy, -dy),
    neutral=0.0,
    takes="number",
    lower=lambda e, a, b: e.subtract(a, b),
    samples=_PAIR,
)
MULTIPLY = Pointwise(
    name="multiply",
    forward=np.multiply,
    derivative=lambda dy, y, a, b: (dy * b, dy * a),
    neutral=1.0,
    commutative=True,
    lower=lambda e, a, b: e.multiply(a, b),
    samples=_PAIR,
)
DIVIDE = Pointwise(
    name="divide",
    forward=np.divide,
    derivative=lambda dy, y, a, b: (dy / b, -dy * y / b),
    neutral=1.0,
    takes="real",
    lower=lambda e, a, b: e.divide(a, b),
    cost=5,
    samples=between(-2.0, 2.0, 0.5, 2.0),
)
NEGATIVE = Pointwise(
    name="negative",
    forward=np.negative,
    derivative=lambda dy, y, x: (-dy,),
    takes="number",
    lower=lambda e, x: e.negative(x),
    samples=between(-2.0, 2.0),
)
ABSOLUTE = Pointwise(
    name="absolute",
    forward=np.absolute,
    derivative=lambda dy, y, x: (dy * sign(x),),
    kinks=(0.0,),
    lower=lambda e, x: e.absolute(x),
    samples=between(-2.0, 2.0),
)
SIGN = Pointwise(
    name="sign", forward=np.sign, takes="number", kinks=(0.0,), samples=between(-2.0, 2.0), lower=lambda e, x: e.sign(x)
)
FLOOR = Pointwise(
    name="floor",
    forward=np.floor,
    takes="real",
    kinks=(-1.0, 0.0, 1.0),
    samples=between(-1.9, 1.9),
    lower=lambda e, x: e.floor(x),
)
MAXIMUM = Pointwise(
    name="maximum",
    forward=np.maximum,
    derivative=lambda dy, y, a, b: _to_the_chosen(dy, a, b, y),
    lower=lambda e, a, b: e.maximum(a, b),
    samples=_PAIR,
)
MINIMUM = Pointwise(
    name="minimum",
    forward=np.minimum,
    derivative=lambda dy, y, a, b: _to_the_chosen(dy, a, b, y),
    lower=lambda e, a, b: e.minimum(a, b),
    samples=_PAIR,
)


def _where_samples(rng: "np.random.Generator") -> list[Case]:
    shapes: list[tuple[tuple[int, ...], ...]] = [
        ((4,), (4,), (4,)),
        ((3, 1), (4,), (3, 4)),
        ((0,), (0,), (0,)),
        ((), (2,), (1,)),
    ]
    return [Case((rng.random(c) < 0.5, rng.normal(size=a), rng.normal(size=b)), {}) for c, a, b in shapes]


WHERE = Pointwise(
    name="where",
    forward=np.where,
    derivative=lambda dy, y, condition, a, b: (None, where(condition, dy, 0.0), where(condition, 0.0, dy)),
    takes="choice",
    lower=lambda e, condition, a, b: e.where(condition, a, b),
    samples=_where_samples,
)


def _to_the_chosen(dy: Value, a: Value, b: Value, y: Value) -> tuple[Value, Value]:
    """The error goes to the operand that was chosen; equal ones share it by halves."""
    chosen_a, chosen_b = cast(equal(a, y), dy.dtype), cast(equal(b, y), dy.dtype)
    share = dy / (chosen_a + chosen_b)
    return share * chosen_a, share * chosen_b


def absolute(x: Value) -> Any:
    """|x|. At 0 its derivative is taken as 0."""
    return apply(ABSOLUTE, x)


def sign(x: Value) -> Any:
    """-1, 0 or 1. Its derivative is 0 everywhere."""
    return apply(SIGN, x)


def floor(x: Value) -> Any:
    """The largest whole number not above x. Its derivative is 0 everywhere."""
    return apply(FLOOR, x)


def maximum(a: Value, b: Value) -> Any:
    """The larger of a and b, element by element. Equal ones share the error by halves."""
    return apply(MAXIMUM, a, b)


def minimum(a: Value, b: Value) -> Any:
    """The smaller of a and b, element by element. Equal ones share the error by halves."""
    return apply(MINIMUM, a, b)


def clip(x: Value, low: Value, high: Value) -> Any:
    """x held between `low` and `high`; no error flows where it was outside."""
    return minimum(maximum(x, low), high)


def where(condition: Value, a: Value, b: Value) -> Any:
    """a where the condition holds, b elsewhere; the error flows only to the one that was taken."""
    return apply(WHERE, condition, a, b)
