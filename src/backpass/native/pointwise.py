"""The vocabulary in which operations say how they become machine code: `lower=lambda e, x: e.tanh(x)`.

Every method takes and returns values of one element or one vector; NaN stays NaN.
"""

from typing import Any

import numpy as np

from backpass.native import arithmetic, ir, mathematics
from backpass.native.ir import Builder, Type, Value

SCALARS = {
    np.dtype(np.float32): ir.F32,
    np.dtype(np.float64): ir.F64,
    np.dtype(np.bool_): ir.I1,
    np.dtype(np.int32): ir.I32,
    np.dtype(np.int64): ir.I64,
    np.dtype(np.uint64): ir.I64,
}
"""The type of LLVM for each dtype that a graph may hold."""


class Lowering:
    """Writes elementwise operations through a Builder."""

    def __init__(self, builder: Builder) -> None:
        self.b = builder
        self.quick = False
        """Whether quotients by roots may leave out extremes: where these end the training anyway."""

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """a b + c, rounded once where the machine can."""
        return self.b.fma(a, b, c)

    # Arithmetic. Booleans add as "or" and multiply as "and", as in NumPy.

    def add(self, a: Value, b: Value) -> Value:
        return self.b.bit_or(a, b) if _is_bool(a) else self.b.add(a, b)

    def subtract(self, a: Value, b: Value) -> Value:
        return self.b.sub(a, b)

    def multiply(self, a: Value, b: Value) -> Value:
        return self.b.bit_and(a, b) if _is_bool(a) else self.b.mul(a, b)

    def divide(self, a: Value, b: Value) -> Value:
        return arithmetic.divide(self.b, a, b)

    def over_root(self, a: Value, f: Value, v: Value, e: Value, x: Value | None = None) -> Value:
        """x + a f / (sqrt(v) + e)."""
        if self.quick and arithmetic.are_estimated(self.b.estimates, v.type):
            return arithmetic.over_root(self.b, a, f, v, e, x)
        quotient = self.divide(self.b.mul(a, f), self.b.add(self.sqrt(v), e))
        return quotient if x is None else self.b.add(x, quotient)

    def negative(self, x: Value) -> Value:
        return self.b.neg(x)

    def absolute(self, x: Value) -> Value:
        return x if _is_bool(x) else self.b.abs(x)

    def sign(self, x: Value) -> Value:
        """-1, 0 or 1; of a NaN the NaN."""
        one, zero = self.b.constant(1, x.type), self.b.constant(0, x.type)
        if not x.type.is_float:
            positive = self.b.select(self.b.compare("gt", x, 0), one, zero)
            return self.b.select(self.b.compare("lt", x, 0), self.b.constant(-1, x.type), positive)
        signed = self.b.select(self.b.compare("ne", x, 0.0), self.b.copysign(one, x), zero)
        return self.b.select(self.b.is_nan(x), x, signed)

    def floor(self, x: Value) -> Value:
        return self.b.floor(x)

    def maximum(self, a: Value, b: Value) -> Value:
        if _is_bool(a):
            return self.b.bit_or(a, b)
        if not a.type.is_float:
            return self.b.largest(a, b)
        larger = self.b.select(self.b.compare("gt", a, b), a, b)  # b where one of them is a NaN
        return self.b.select(self.b.is_nan(a), a, larger)

    def minimum(self, a: Value, b: Value) -> Value:
        if _is_bool(a):
            return self.b.bit_and(a, b)
        if not a.type.is_float:
            return self.b.smallest(a, b)
        smaller = self.b.select(self.b.compare("lt", a, b), a, b)  # b where one of them is a NaN
        return self.b.select(self.b.is_nan(a), a, smaller)

    def where(self, condition: Value, a: Value, b: Value) -> Value:
        return self.b.select(condition, a, b)

    # Comparison and logic

    def less(self, a: Value, b: Value) -> Value:
        return self._compare("lt", a, b)

    def less_equal(self, a: Value, b: Value) -> Value:
        return self._compare("le", a, b)

    def equal(self, a: Value, b: Value) -> Value:
        return self._compare("eq", a, b)

    def not_equal(self, a: Value, b: Value) -> Value:
        return self._compare("ne", a, b)

    def _compare(self, relation: str, a: Value, b: Value) -> Value:
        if _is_bool(a):
            a, b = self.b.convert(a, ir.I8), self.b.convert(b, ir.I8)
        return self.b.compare(relation, a, b)

    def logical_and(self, a: Value, b: Value) -> Value:
        return self.b.bit_and(self.truth(a), self.truth(b))

    def logical_or(self, a: Value, b: Value) -> Value:
        return self.b.bit_or(self.truth(a), self.truth(b))

    def logical_not(self, x: Value) -> Value:
        return self.b.bit_xor(self.truth(x), True)

    def is_finite(self, x: Value) -> Value:
        return self.b.compare("lt", self.b.abs(x), float("inf"))

    def truth(self, x: Value) -> Value:
        """Whether x is not 0."""
        return x if _is_bool(x) else self.b.compare("ne", x, 0)

    def cast(self, x: Value, dtype: np.dtype[Any]) -> Value:
        target = SCALARS[dtype]
        return self.truth(x) if target == ir.I1 else self.b.convert(x, target)

    # Functions

    def sqrt(self, x: Value) -> Value:
        return arithmetic.sqrt(self.b, x)

    def exp(self, x: Value) -> Value:
        return mathematics.exp(self.b, x)

    def expm1(self, x: Value) -> Value:
        return mathematics.expm1(self.b, x)

    def log(self, x: Value) -> Value:
        return mathematics.log(self.b, x)

    def log1p(self, x: Value) -> Value:
        return mathematics.log1p(self.b, x)

    def power(self, a: Value, b: Value) -> Value:
        return mathematics.power(self.b, a, b)

    def sin(self, x: Value) -> Value:
        return mathematics.sin(self.b, x)

    def cos(self, x: Value) -> Value:
        return mathematics.cos(self.b, x)

    def tan(self, x: Value) -> Value:
        return mathematics.tan(self.b, x)

    def arctan(self, x: Value) -> Value:
        return mathematics.arctan(self.b, x)

    def erf(self, x: Value) -> Value:
        return mathematics.erf(self.b, x)

    def sigmoid(self, x: Value) -> Value:
        return mathematics.sigmoid(self.b, x)

    def tanh(self, x: Value) -> Value:
        return mathematics.tanh(self.b, x)

    def softplus(self, x: Value) -> Value:
        return mathematics.softplus(self.b, x)

    def relu(self, x: Value) -> Value:
        """0 where x is below 0: a NaN is not."""
        return self.b.select(self.b.compare("gt", self.b.constant(0, x.type), x), self.b.constant(0, x.type), x)


def memory_type(scalar: Type) -> Type:
    """The type of what stands in memory: truth values have a byte each."""
    return Type("i8") if scalar.scalar == "i1" else scalar


def _is_bool(x: Value) -> bool:
    return x.type.scalar == "i1"
