"""Roots and quotients of floats from the machine's estimates, where it has them: rounded right but for rare last bits.

The instructions made for them take 16 to 20 cycles for a vector of 16, in which nothing else is divided: an update rule
with one of each would spend most of its time there. Newton's steps and the residual: Markstein, "Computation of
elementary functions on the IBM RISC System/6000 processor" (1990).
"""

from backpass.native.ir import Builder, Type, Value

_SMALLEST = 2.0**-126  # the smallest normal float
_LARGER_OF_SIZE = 0b0111  # of two numbers the one that is farther from 0


def sqrt(b: Builder, x: Value) -> Value:
    """Square roots: h + h (1/2 - h y / 2) with y the estimate of 1 over the root of x, and h = x y."""
    if not are_estimated(b.estimates, x.type):
        return b.sqrt(x)
    y = b.avx512("rsqrt14", x)
    h = b.mul(x, y)
    rest = b.fma(b.neg(h), b.mul(y, 0.5), b.constant(0.5, x.type))
    return b.select(b.is_class(x, zero=True, infinite=True), x, b.fma(h, rest, h))


def divide(b: Builder, a: Value, d: Value) -> Value:
    """a / d. Exponents are put aside, and what is left lies from 1 to 2: so nothing overflows on the way."""
    if not are_estimated(b.estimates, d.type):
        return b.div(a, d)
    over, under = (b.avx512("mask.getmant", x, whole=0) for x in (a, d))
    y = b.avx512("rcp14", under)
    y = b.fma(b.fma(b.neg(under), y, b.constant(1.0, d.type)), y, y)
    q = b.mul(over, y)
    q = b.fma(b.fma(b.neg(under), q, over), y, q)
    return b.avx512("mask.scalef", q, b.sub(b.avx512("mask.getexp", a), b.avx512("mask.getexp", d)))


def over_root(b: Builder, a: Value, f: Value, v: Value, e: Value, x: Value | None = None) -> Value:
    """x + a f / (sqrt(v) + e), with few operations one after the other; the quotient within 4 units in the last place.

    With y the estimate of 1 over the root of v, and h = v y: twice the divisor is d = 2 h + 2 e + h (1 - h y). With z
    the estimate of its reciprocal the quotient is 2 a f z (2 - z d). Of an infinite v it is a NaN, as of a negative
    one, and so it may be of an a f or a divisor of 2^125 and more.
    """
    one, two = b.constant(1.0, v.type), b.constant(2.0, v.type)
    y = b.avx512("rsqrt14", b.avx512("mask.range", v, b.constant(_SMALLEST, v.type), whole=_LARGER_OF_SIZE))
    h = b.mul(v, y)
    d = b.fma(h, b.fma(b.neg(h), y, one), b.fma(h, two, b.add(e, e)))
    z = b.avx512("rcp14", d)
    rest, quotient = b.fma(b.neg(z), d, two), b.mul(b.mul(a, b.add(f, f)), z)
    return b.mul(quotient, rest) if x is None else b.fma(quotient, rest, x)


def divide_normal(b: Builder, a: Value, d: Value) -> Value:
    """a / d where neither is denormal and the reciprocal of d is not, within half a unit and a bit in the last place.

    Vectors narrower than the widest are divided as fast by the machine.
    """
    if not (b.estimates and d.type.lanes * d.type.bits == 512):
        return b.div(a, d)
    y = b.avx512("rcp14", d)
    if d.type.scalar == "double":  # 28 bits
        y = b.fma(b.fma(b.neg(d), y, b.constant(1.0, d.type)), y, y)
    q = b.mul(a, y)
    return b.fma(b.fma(b.neg(d), q, a), y, q)


def are_estimated(estimates: bool, type_: Type) -> bool:
    """Are roots and quotients of this type made from estimates, on a machine that has them?"""
    return estimates and type_.scalar == "float" and type_.lanes in (4, 8, 16)
