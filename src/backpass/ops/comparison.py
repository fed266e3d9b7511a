"""Comparisons and logic: true or false, element by element. No error flows through them."""

from typing import Any

import numpy as np

from backpass.ops.apply import apply
from backpass.ops.kinds import Pointwise, Value
from backpass.ops.samples import Case, between

_PAIR = between(-2.0, 2.0, -2.0, 2.0)


def _booleans(count: int) -> Any:
    def cases(rng: "np.random.Generator") -> list[Case]:
        return [Case(tuple(rng.random(shape) < 0.5 for _ in range(count)), {}) for shape in [(3, 4), (0,), (1,), ()]]

    return cases


LESS = Pointwise(name="less", forward=np.less, result="bool", samples=_PAIR, lower=lambda e, a, b: e.less(a, b))
LESS_EQUAL = Pointwise(
    name="less_equal", forward=np.less_equal, result="bool", samples=_PAIR, lower=lambda e, a, b: e.less_equal(a, b)
)
EQUAL = Pointwise(name="equal", forward=np.equal, result="bool", samples=_PAIR, lower=lambda e, a, b: e.equal(a, b))
NOT_EQUAL = Pointwise(
    name="not_equal",
    forward=np.not_equal,
    result="bool",
    samples=_PAIR,
    lower=lambda e, a, b: e.not_equal(a, b),
)
AND = Pointwise(
    name="and",
    forward=np.logical_and,
    result="bool",
    samples=_booleans(2),
    lower=lambda e, a, b: e.logical_and(a, b),
)
OR = Pointwise(
    name="or",
    forward=np.logical_or,
    result="bool",
    samples=_booleans(2),
    lower=lambda e, a, b: e.logical_or(a, b),
)
NOT = Pointwise(
    name="not", forward=np.logical_not, result="bool", samples=_booleans(1), lower=lambda e, x: e.logical_not(x)
)
IS_FINITE = Pointwise(
    name="is_finite",
    forward=np.isfinite,
    result="bool",
    takes="real",
    samples=between(-2.0, 2.0),
    lower=lambda e, x: e.is_finite(x),
)


def less(a: Value, b: Value) -> Any:
    return apply(LESS, a, b)


def less_equal(a: Value, b: Value) -> Any:
    return apply(LESS_EQUAL, a, b)


def greater(a: Value, b: Value) -> Any:
    return apply(LESS, b, a)


def greater_equal(a: Value, b: Value) -> Any:
    return apply(LESS_EQUAL, b, a)


def equal(a: Value, b: Value) -> Any:
    return apply(EQUAL, a, b)


def not_equal(a: Value, b: Value) -> Any:
    return apply(NOT_EQUAL, a, b)


def logical_and(a: Value, b: Value) -> Any:
    return apply(AND, a, b)


def logical_or(a: Value, b: Value) -> Any:
    return apply(OR, a, b)


def logical_not(x: Value) -> Any:
    return apply(NOT, x)


def is_finite(x: Value) -> Any:
    """True where x is neither infinite nor a NaN."""
    return apply(IS_FINITE, x)
