"""Powers, exponentials, logarithms and circular functions."""

from typing import Any

import numpy as np

from backpass.ops.apply import apply
from backpass.ops.arithmetic import MULTIPLY, where
from backpass.ops.comparison import equal, less_equal, logical_and
from backpass.ops.kinds import Pointwise, Value
from backpass.ops.samples import between

EXP = Pointwise(
    name="exp",
    forward=np.exp,
    derivative=lambda dy, y, x: (dy * y,),
    takes="real",
    lower=lambda e, x: e.exp(x),
    cost=25,
    samples=between(-3.0, 3.0),
)
EXPM1 = Pointwise(
    name="expm1",
    forward=np.expm1,
    derivative=lambda dy, y, x: (dy * (y + 1),),
    takes="real",
    lower=lambda e, x: e.expm1(x),
    cost=25,
    samples=between(-3.0, 3.0),
)
LOG = Pointwise(
    name="log",
    forward=np.log,
    derivative=lambda dy, y, x: (dy / x,),
    takes="real",
    lower=lambda e, x: e.log(x),
    cost=25,
    samples=between(0.2, 4.0),
)
LOG1P = Pointwise(
    name="log1p",
    forward=np.log1p,
    derivative=lambda dy, y, x: (dy / (x + 1),),
    takes="real",
    lower=lambda e, x: e.log1p(x),
    cost=25,
    samples=between(-0.7, 4.0),
)
SQRT = Pointwise(
    name="sqrt",
    forward=np.sqrt,
    derivative=lambda dy, y, x: (dy * 0.5 / y,),
    takes="real",
    lower=lambda e, x: e.sqrt(x),
    cost=5,
    samples=between(0.2, 4.0),
)
POWER = Pointwise(
    name="power",
    forward=np.power,
    derivative=lambda dy, y, a, b: _errors_of_power(dy, y, a, b),  # noqa: PLW0108 - it stands below
    neutral=1.0,
    takes="real",
    lower=lambda e, a, b: e.power(a, b),
    cost=60,
    samples=between(0.3, 2.5, -2.0, 2.0),
)
SIN = Pointwise(
    name="sin",
    forward=np.sin,
    derivative=lambda dy, y, x: (dy * cos(x),),
    takes="real",
    lower=lambda e, x: e.sin(x),
    cost=25,
    samples=between(-4.0, 4.0),
)
COS = Pointwise(
    name="cos",
    forward=np.cos,
    derivative=lambda dy, y, x: (-dy * sin(x),),
    takes="real",
    lower=lambda e, x: e.cos(x),
    cost=25,
    samples=between(-4.0, 4.0),
)
TAN = Pointwise(
    name="tan",
    forward=np.tan,
    derivative=lambda dy, y, x: (dy * (1 + y * y),),
    takes="real",
    lower=lambda e, x: e.tan(x),
    cost=25,
    samples=between(-1.2, 1.2),
)
ARCTAN = Pointwise(
    name="arctan",
    forward=np.arctan,
    derivative=lambda dy, y, x: (dy / (1 + x * x),),
    takes="real",
    lower=lambda e, x: e.arctan(x),
    cost=25,
    samples=between(-4.0, 4.0),
)


def _errors_of_power(dy: Value, y: Value, a: Value, b: Value) -> tuple[Value, Value]:
    """dy b a^(b-1) and dy a^b log(a); where the base is 0, their limits: 0 if b = 0, and 0 if b >= 0."""
    zero = equal(a, 0)
    exponent = where(logical_and(zero, equal(b, 0)), 0.0, b - 1)
    return dy * b * power(a, exponent), dy * y * log(where(logical_and(zero, less_equal(0, b)), 1.0, a))


def exp(x: Value) -> Any:
    return apply(EXP, x)


def expm1(x: Value) -> Any:
    """exp(x) - 1, exact for small x."""
    return apply(EXPM1, x)


def log(x: Value) -> Any:
    """The natural logarithm."""
    return apply(LOG, x)


def log1p(x: Value) -> Any:
    """log(1 + x), exact for small x."""
    return apply(LOG1P, x)


def sqrt(x: Value) -> Any:
    return apply(SQRT, x)


def square(x: Value) -> Any:
    return x * x


def power(a: Value, b: Value) -> Any:
    """a to the power b, with NaN where a is negative and b is not whole, as in NumPy.

    Small whole powers become multiplications: they cost a fraction, and stay differentiable at 0 to any order.
    """
    if isinstance(b, (int, float)) and b in (1, 2, 3):
        return _product(a, int(b))
    return apply(POWER, a, b)


def _product(x: Value, times: int) -> Any:
    result = x
    for _ in range(times - 1):
        result = apply(MULTIPLY, result, x)
    return result


def sin(x: Value) -> Any:
    return apply(SIN, x)


def cos(x: Value) -> Any:
    return apply(COS, x)


def tan(x: Value) -> Any:
    return apply(TAN, x)


def arctan(x: Value) -> Any:
    return apply(ARCTAN, x)
