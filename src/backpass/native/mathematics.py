"""Functions of mathematics, written out as LLVM IR: for float and double, for a scalar or a vector of any width.

Each is a range reduction, a polynomial and a reconstruction. The largest errors met, in all floats and in dense samples
of doubles, are below 2 ulp.
The schemes are those of W. J. Cody and W. Waite, Software Manual for the Elementary Functions (1980), and of
J.-M. Muller, Elementary Functions (3rd ed., 2016). The coefficients are minimax: found for this file with Remez'
exchange algorithm in 50 and 60 digits, weighted for relative error of the function, then rounded.

Results below the smallest normal number, of `expm1` below twice that, may be 0: the program runs with denormal numbers
flushed.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache

from backpass.native.arithmetic import divide_normal
from backpass.native.ir import F32, F64, I32, I64, Builder, Number, Type, Value, define
from backpass.records import dataclass

# Constants


@cache
def _inverse_series(n: int, sign: int, bits: int) -> int:
    """arctan(1/n) for `sign` -1, artanh(1/n) for 1, in units of 2^-bits: sum of sign^k / ((2k + 1) n^(2k + 1))."""
    term, total, k = (1 << bits) // n, 0, 0
    while term:
        total += sign**k * (term // (2 * k + 1))
        term //= n * n
        k += 1
    return total


@cache
def _pi(bits: int) -> Fraction:
    """By Machin's formula: pi / 4 = 4 arctan(1/5) - arctan(1/239)."""
    total = 16 * _inverse_series(5, -1, bits) - 4 * _inverse_series(239, -1, bits)
    return Fraction(total, 1 << bits)


_LN2 = Fraction(2 * _inverse_series(3, 1, 256), 1 << 256)
_HALF_PI = _pi(256) / 2


def _parts(number: Fraction, *widths: int) -> list[float]:
    """`number` as a sum of floats, of so many bits each."""
    parts = []
    for width in widths:
        exponent = math.frexp(float(number))[1] - width
        scale = Fraction(2) ** exponent
        part = round(number / scale) * scale
        parts.append(float(part))
        number -= part
    return parts


@dataclass(frozen=True)
class _Format:
    """How a floating-point number is laid out, and what depends on its precision.

    Attributes:
        whole: whole numbers of the same size.
        mantissa: bits of the fraction.
        bias: of the exponent.
        digits: bits of the significand.
        ln2: parts of ln 2, the first so short that a whole exponent times it is exact.
        exp_over: the largest number below (bias + 1) ln 2.
        exp_under: the smallest number above (1 - bias) ln 2.
    """

    whole: Type
    mantissa: int
    bias: int
    ln2: tuple[float, ...]
    exp: tuple[float, ...]
    exp_over: float
    exp_under: float
    sigmoid: tuple[float, ...]
    log: tuple[float, ...]
    sin: tuple[float, ...]
    cos: tuple[float, ...]
    arctan: tuple[float, ...]
    erf: tuple[float, ...]
    erf_end: float

    @property
    def digits(self) -> int:
        return self.mantissa + 1

    @property
    def shifter(self) -> float:
        """Added to a small number, it leaves the nearest whole one in the low bits."""
        return 1.5 * 2.0**self.mantissa

    @property
    def one(self) -> int:
        """The bits of 1."""
        return self.bias << self.mantissa

    @property
    def tiny(self) -> float:
        """The smallest normal number."""
        return 2.0 ** (1 - self.bias)

    @property
    def sign(self) -> int:
        """The bit of the sign, as a signed whole number."""
        return -(1 << (self.whole.bits - 1))


_FLOAT = _Format(
    whole=I32,
    mantissa=23,
    bias=127,
    ln2=tuple(_parts(_LN2, 15, 24)),
    exp=(0.4999999701976776, 0.16666539013385773, 0.041667744517326355, 0.008367069065570831, 0.0013839078601449728),
    exp_over=88.72283172607422,
    exp_under=-87.33654022216797,
    sigmoid=(2.0, 0.16666613519191742, -0.0027658818289637566),
    log=(
        *(0.3333333134651184, -0.250008225440979, 0.20001260936260223, -0.16623324155807495),
        *(0.1420091837644577, -0.13159650564193726, 0.12767542898654938, -0.07643640786409378),
    ),
    sin=(-0.16666655242443085, 0.008332191035151482, -0.00019518604676704854),
    cos=(0.04166664555668831, -0.0013887309469282627, 2.4432327336398885e-05),
    arctan=(
        *(-0.33333316445350647, 0.1999853104352951, -0.14244462549686432, 0.1059970110654831),
        -0.06091298535466194,
    ),
    erf=(
        *(-0.636619508266449, -0.10277688503265381, 0.019150052219629288, 0.00016525575483683497),
        *(-0.0016712866490706801, 0.0006348719471134245, -0.00011813404125859961, 9.302956641477067e-06),
    ),
    erf_end=4.0,
)
_DOUBLE = _Format(
    whole=I64,
    mantissa=52,
    bias=1023,
    ln2=tuple(_parts(_LN2, 42, 53)),
    exp=(
        *(0.5000000000000006, 0.16666666666666588, 0.04166666666657611, 0.008333333333389955, 0.0013888888931794748),
        *(0.00019841269718352746, 2.4801504979152585e-05, 2.755740785526283e-06),
        *(2.7626161324654994e-07, 2.5053779620534563e-08),
    ),
    exp_over=709.782712893384,
    exp_under=-708.3964185322641,
    sigmoid=(
        *(2.0, 0.16666666666666574, -0.002777777777687715, 6.613756294234948e-05),
        *(-1.6533878959313665e-06, 4.1374167484866806e-08),
    ),
    log=(
        *(0.6666666666666734, 0.3999999999941653, 0.28571428742253535, 0.2222219855892933),
        *(0.1818356639114605, 0.1531396754338481, 0.14797046732200833),
    ),
    sin=(
        *(-0.16666666666666632, 0.008333333333322474, -0.00019841269829808233),
        *(2.7557313676964514e-06, -2.5050753745395228e-08, 1.589644177027733e-10),
    ),
    cos=(
        *(0.041666666666666595, -0.0013888888888873327, 2.480158728898559e-05),
        *(-2.755731421065913e-07, 2.087570434540342e-09, -1.1358686661020223e-11),
    ),
    arctan=(
        *(-0.333333333333332, 0.19999999999953819, -0.14285714280220685, 0.11111110784704652),
        *(-0.09090897794495224, 0.07692060882475427, -0.06663111732790611, 0.05847945431599255),
        *(-0.050395565812541586, 0.03807089038473533, -0.017914024605037313),
    ),
    erf=(
        *(-0.6366197723675828, -0.10277260330182048, 0.019128447005656232, 0.00020919468869374938),
        *(-0.0016962063446232698, 0.0005901253645230877, -2.587798356948642e-05, -6.449338436630135e-05),
        *(2.9726903641816397e-05, -3.411439250997697e-06, -2.8303257075912574e-06, 1.7371171549832227e-06),
        *(-3.3309032649759304e-07, -1.3913323784053606e-07, 1.4270031858532043e-07, -6.609702666963271e-08),
        *(2.1075505274435896e-08, -5.0255115584802255e-09, 9.135801405489174e-10, -1.256295611997896e-10),
        *(1.2696513291949774e-11, -8.909882680323968e-13, 3.8804466767181834e-14, -7.898996418066096e-16),
    ),
    erf_end=6.0,
)


def _format(x: Value) -> _Format:
    return _FLOAT if x.type.scalar == "float" else _DOUBLE


# Steps of all


def _fma(b: Builder, x: Value, y: Value | Number, z: Value | Number) -> Value:
    """x y + z, where y and z may be plain numbers."""
    y = y if isinstance(y, Value) else b.constant(y, x.type)
    z = z if isinstance(z, Value) else b.constant(z, x.type)
    return b.fma(x, y, z)


def _polynomial(b: Builder, x: Value, coefficients: Sequence[float]) -> Value:
    """The sum of coefficients[k] x^k by G. Estrin's scheme: neighbours first, so that the chain is short."""
    level: list[Value | Number] = list(coefficients)
    power = x
    while len(level) > 3:
        pairs: list[Value | Number] = []
        for low, high in zip(level[::2], level[1::2], strict=False):
            pairs.append(_fma(b, power, high, low))
        level = pairs + level[2 * len(pairs) :]
        power = b.mul(power, power)
    total = level.pop()
    while level:  # of three W. G. Horner's scheme is as quick, and one multiplication shorter
        total = _fma(b, power, total, level.pop())
    return total if isinstance(total, Value) else b.constant(total, x.type)


def _at_most(b: Builder, limit: float, x: Value) -> Value:
    """The smaller of both; NaN where x is (the instruction takes its second operand then)."""
    return b.select(b.compare("lt", limit, x), limit, x)


def _at_least(b: Builder, limit: float, x: Value) -> Value:
    return b.select(b.compare("gt", limit, x), limit, x)


def _whole(b: Builder, x: Value, type_: Type) -> Value:
    """The bits of a float as a whole number, or back, lane by lane."""
    return b.bits(x, type_.vector(x.type.lanes))


# exp and its relations


@dataclass
class _Exponential:
    """e^(k x) = 2^n (1 + k r + k square E): `shifted` has n in its low bits, and square is r^2."""

    shifted: Value
    r: Value
    square: Value
    E: Value

    def power_of_two(self, b: Builder) -> Value:
        """2^n as `_exponential` was told to shift it, where that is in range."""
        return _power_of_two(b, self.shifted, self.r.type)

    def q(self, b: Builder) -> Value:
        """(e^(k r) - 1) / k."""
        return b.fma(self.square, self.E, self.r)

    def minus_one(self, b: Builder, factor: Value, start: Value) -> Value:
        """start + factor (e^(k r) - 1) / k, for a power of two as factor.

        Only the last operation waits for the polynomial. The one before is exact, or nearly, where much cancels.
        """
        return b.fma(b.mul(factor, self.square), self.E, b.fma(factor, self.r, start))


def _exponential(
    b: Builder,
    x: Value,
    k: int = 1,
    *,
    offset: int = 0,
    near: bool = False,
    tail: Value | None = None,
) -> _Exponential:
    """Range reduction and polynomial of e^(k x), for k = 1, -1 or 2 and x in range.

    k x = n ln 2 + k r with |k r| <= ln 2 / 2, and e^(k r) = 1 + k r + k r^2 E(r). The low bits of `shifted` are those
    of n + offset. `near` promises a small n, or that errors in proportion to it do no harm: one part of ln 2 is
    enough. `tail` is a small part of x still to be added.
    """
    form = _format(x)
    shifted, r = _reduced(b, x, k, offset=offset, near=near)
    r = r if tail is None else b.add(r, tail)
    scaled = [c * float(k) ** (i + 1) for i, c in enumerate(form.exp)]
    return _Exponential(shifted, r, b.mul(r, r), _polynomial(b, r, scaled))


def _reduced(b: Builder, x: Value, k: int, *, offset: int, near: bool = False) -> tuple[Value, Value]:
    """`shifted` and r, as `_exponential` has them."""
    form = _format(x)
    shifter = form.shifter + offset
    shifted = _fma(b, x, k / float(_LN2), shifter)
    n = b.sub(shifted, shifter)
    high, low = _parts(_LN2, form.digits, form.digits) if b.fused else form.ln2
    r = _fma(b, n, -high / k, x)
    if not (near and b.fused):
        r = _fma(b, n, -low / k, r)
    return shifted, r


def _power_of_two(b: Builder, shifted: Value, type_: Type) -> Value:
    """2^n, of which the exponent stands in the low bits of `shifted`, where that is in range."""
    form = _FLOAT if type_.scalar == "float" else _DOUBLE
    return _whole(b, b.shift_left(_whole(b, shifted, form.whole), form.mantissa), type_.element)


def exp(b: Builder, x: Value) -> Value:
    """e^x."""
    return _with_ends(b, x, _exponential(b, x))


def _with_ends(b: Builder, x: Value, parts: _Exponential) -> Value:
    """2^n e^r = e^x for any x: n is added to the exponent, which reaches all binades; then 0, infinity and NaN."""
    form = _format(x)
    n = b.shift_left(_whole(b, parts.shifted, form.whole), form.mantissa)
    significand = b.fma(parts.square, parts.E, b.add(parts.r, 1.0))
    result = _whole(b, b.add(_whole(b, significand, form.whole), n), x.type.element)
    result = b.select(b.compare("ge", x, form.exp_under), result, 0.0)
    return b.select(b.compare("le", x, form.exp_over), result, b.add(x, math.inf))


def expm1(b: Builder, x: Value) -> Value:
    """e^x - 1, exact where x is small.

    2^n (e^r - 1) + (2^n - 1), where both are halved: so 2^n stays in range up to the largest result.
    """
    form = _format(x)
    under = -(form.digits + 1) * float(_LN2)  # the result is -1 beyond
    inside = _at_least(b, under, _at_most(b, form.exp_over + 0.1, x))
    parts = _exponential(b, inside, offset=form.bias - 1)
    half = parts.power_of_two(b)
    result = parts.minus_one(b, half, b.sub(half, 0.5))
    return b.copysign(b.add(result, result), x)


def sigmoid(b: Builder, x: Value) -> Value:
    """1 / (1 + e^-x) = N / (N + 2^n (N - 2 r)), N = c + r, where -x = n ln 2 - r and e^-r = (c - r) / (c + r).

    c = r coth(r / 2) is even, so it takes half the terms of e^r, and an error of it counts little, for N is above and
    below. All is multiplied by 0.82: N, and the denominator where the quotient is near 1, lie right below 2 then,
    where rounding is finest; and by 1/16, so that the reciprocal of the denominator is a normal number.
    """
    form, scale = _format(x), 0.82 / 16
    limit = (form.bias + 0.4) * float(_LN2)  # 2^n is finite and normal up to there, and the result 0 or 1 beyond
    inside = _at_least(b, -limit, _at_most(b, limit - 1.0, x))
    shifted, r = _reduced(b, inside, -1, offset=form.bias)
    power = _power_of_two(b, shifted, x.type)
    even = _polynomial(b, b.mul(r, r), [scale * c for c in form.sigmoid])
    over = _fma(b, r, scale, even)
    rest = _fma(b, b.mul(power, r), -2.0 * scale, over)
    return divide_normal(b, over, b.fma(over, power, rest))


def tanh(b: Builder, x: Value) -> Value:
    """-T with T = (y - 1) / (y + 1) and y = e^(-2 |x|) = 2^n (1 + 2 q), both halved; then the sign of x.

    2^n -+ 1 is exact, so either sum is rounded once; and y - 1 is exact where x is small. Of doubles the quotient is
    corrected: with (y - 1) / 2 = over + lost, 1 / under = 1 - T, and T misses (over + lost) (1 - T) - T of it.
    """
    form = _format(x)
    limit = (form.digits + 2) / 2 * float(_LN2)  # the result is 1 beyond
    parts = _exponential(b, _at_least(b, -limit, b.neg(b.abs(x))), 2, offset=form.bias, near=True)
    power, q = parts.power_of_two(b), parts.q(b)
    begin = _fma(b, power, 0.5, -0.5)
    over, under = b.fma(power, q, begin), b.fma(power, q, _fma(b, power, 0.5, 0.5))
    T = b.div(over, under)
    if form is _DOUBLE:
        lost = b.fma(power, q, b.sub(begin, over))
        surplus = b.fma(T, over, b.sub(T, over))
        inverse = b.sub(T, 1.0)  # negative, as `surplus` is what T has too much
        T = b.fma(b.fma(lost, inverse, surplus), inverse, T)
    return b.copysign(T, x)


# log and its relations


def _log_near_one(b: Builder, f: Value) -> Value:
    """log(1 + f) - f, for 1 + f from sqrt(1/2) to sqrt(2)."""
    form = _format(f)
    square = b.mul(f, f)
    if form is _FLOAT:
        rest = b.mul(b.mul(f, square), _polynomial(b, f, form.log))
        return _fma(b, square, -0.5, rest)
    # log(1 + f) = 2 artanh s = f - s (f - R), with s = f / (2 + f) and R = s^2 A(s^2)
    s = b.div(f, b.add(f, 2.0))
    z = b.mul(s, s)
    rest = b.mul(z, _polynomial(b, z, form.log))
    return b.mul(s, b.sub(rest, f))


def _split(b: Builder, x: Value) -> tuple[Value, Value, Value]:
    """A positive normal x = 2^e m with m from sqrt(1/2) to sqrt(2): e + bias as a whole number, e, and m."""
    form = _format(x)
    root = _bits_of_root(form)
    lifted = b.add(_whole(b, x, form.whole), form.one - root)
    biased = b.shift_right(lifted, form.mantissa)
    m = _whole(b, b.add(b.bit_and(lifted, (1 << form.mantissa) - 1), root), x.type.element)
    if form is _FLOAT:
        e = b.convert(b.sub(biased, form.bias), x.type.element)
    else:  # few machines convert long whole numbers: they become the low bits of 2^mantissa instead
        unit = 2.0**form.mantissa
        bits = b.bit_or(biased, form.one + (form.mantissa << form.mantissa))
        e = b.sub(_whole(b, bits, x.type.element), unit + form.bias)
    return biased, e, m


def _bits_of_root(form: _Format) -> int:
    """The bits of sqrt(1/2), where e steps."""
    fraction = math.isqrt(1 << (2 * form.mantissa + 1)) - (1 << form.mantissa)
    return ((form.bias - 1) << form.mantissa) + fraction


def _add_exponent(b: Builder, e: Value, f: Value) -> Value:
    """e ln 2 + log(1 + f)."""
    rest = _log_near_one(b, f)
    if b.fused and _format(f) is _FLOAT:  # ln 2 happens to be a float to 28 bits
        return _fma(b, e, float(_LN2), b.add(f, rest))
    high, low = _format(f).ln2
    return _fma(b, e, high, b.add(f, _fma(b, e, low, rest)))


def log(b: Builder, x: Value) -> Value:
    """The natural logarithm; a denormal number counts as 0."""
    _, e, m = _split(b, x)
    result = _add_exponent(b, e, b.sub(m, 1.0))
    outside = b.select(b.compare("lt", x, 0.0), b.constant(math.nan, x.type), -math.inf)
    result = b.select(b.compare("ge", x, _format(x).tiny), result, outside)
    return b.select(b.compare("lt", x, math.inf), result, x)


def log1p(b: Builder, x: Value) -> Value:
    """log(1 + x), exact where x is small: what 1 + x loses in rounding is scaled and added to the reduced argument."""
    form = _format(x)
    y = b.add(x, 1.0)
    lost = b.sub(x, b.sub(y, 1.0))
    biased, e, m = _split(b, y)
    scale = b.shift_left(b.largest(b.sub(2 * form.bias, biased), 0), form.mantissa)  # the bits of 2^-e
    f = b.fma(lost, _whole(b, scale, x.type.element), b.sub(m, 1.0))
    result = _add_exponent(b, e, f)
    outside = b.select(b.compare("eq", x, -1.0), b.constant(-math.inf, x.type), math.nan)
    result = b.select(b.compare("gt", x, -1.0), result, outside)
    return b.copysign(b.select(b.compare("lt", x, math.inf), result, x), x)


def softplus(b: Builder, x: Value) -> Value:
    """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)."""
    form = _format(x)
    limit = (form.bias + 0.3) * float(_LN2)  # 2^n is 0 there
    parts = _exponential(b, b.neg(_at_most(b, limit, b.abs(x))), offset=form.bias)
    power = parts.power_of_two(b)
    y = b.mul(power, b.add(parts.q(b), 1.0))  # no part of it is flushed to 0
    # 1 + y lies between 1 and 2; from sqrt(2) on it is 2 (1 + (y - 1) / 2)
    upper = b.compare("gt", y, math.sqrt(2) - 1)
    f = b.select(upper, _fma(b, y, 0.5, -0.5), y)
    e = b.select(upper, b.constant(1.0, x.type), 0.0)
    return b.add(_add_exponent(b, e, f), _at_least(b, 0.0, x))


# The error function


def erf(b: Builder, x: Value) -> Value:
    """-(e^L - 1) with L = log(1 - erf |x|), which is nearly a parabola; then the sign of x."""
    form = _format(x)
    a = _at_most(b, form.erf_end, b.abs(x))
    high, low = _parts(-2 / _sqrt(_pi(256)), form.digits, form.digits)
    first, *rest = form.erf
    curve = _fma(b, a, _fma(b, a, _polynomial(b, a, rest), first), low)
    parts = _exponential(b, _rounded_once(b, a, b.constant(high, x.type), b.mul(a, curve)), offset=form.bias, near=True)
    power = parts.power_of_two(b)
    return b.copysign(parts.minus_one(b, power, b.sub(power, 1.0)), x)


def _rounded_once(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """x y + z, on every machine nearly as exact as fused, for a small z."""
    if b.fused:
        return b.fma(x, y, z)
    product, error = _two_product(b, x, y)
    return b.add(product, b.add(error, z))


def _sqrt(number: Fraction) -> Fraction:
    return Fraction(math.isqrt(int(number * 4**200)), 2**200)


# Trigonometric functions

_FAR = 1e5
"""Up to here the subtraction of a multiple of pi / 2 in parts is exact enough."""


def _quadrant(b: Builder, x: Value, *, tail: bool = False) -> list[Value]:
    """x = r + q pi/2 with |r| <= pi/4, for x of 0 or more: r, and q modulo 4 in the low bits of a whole number.

    With `tail` also, between them, what r misses by rounding.
    """
    if _format(x) is _FLOAT and not b.fused:
        # In double precision two parts do; in single precision it would be nine.
        r, q = _subtract_quadrants(b, b.convert(x, F64), tail=False)
        values = [b.convert(r, x.type.element), b.convert(q, I32)]
    else:
        values = _subtract_quadrants(b, x, tail=tail)
    return _far_lanes(b, x, values)


def _subtract_quadrants(b: Builder, x: Value, *, tail: bool) -> list[Value]:
    form = _format(x)
    shifted = _fma(b, x, 1 / float(_HALF_PI), form.shifter)
    n = b.sub(shifted, form.shifter)
    # Without a fused multiply-add each product must be exact: n has 17 bits.
    widths = [form.digits] * 3 if b.fused else [form.digits - 17] * 4
    first, *others = _parts(_HALF_PI, *widths)
    r, q = _fma(b, n, -first, x), _whole(b, shifted, form.whole)
    if not tail:
        for part in others:
            r = _fma(b, n, -part, r)
        return [r, q]
    lost = b.constant(0.0, x.type)
    for part in others:
        product = b.mul(n, part)
        before, r = r, b.sub(r, product)
        lost = b.add(lost, b.sub(b.sub(before, r), product))
        if b.fused:
            lost = b.sub(lost, _fma(b, n, part, b.neg(product)))
    r, rest = _fast_two_sum(b, r, lost)
    return [r, rest, q]


def _far_lanes(b: Builder, x: Value, values: list[Value]) -> list[Value]:
    """Where x is far out, r and q (and the tail) exactly, lane by lane; no lane is visited where none is."""
    lanes = x.type.lanes
    far = b.bit_and(b.compare("gt", x, _FAR), b.compare("lt", x, math.inf))
    name = _define_far_quadrant(b)
    flags = b.bits(far, Type(f"i{lanes}")) if lanes else far
    distant = b.select(far, x, 2 * _FAR)  # the other lanes are visited as well
    count = b.select(b.compare("ne", flags, 0), b.i64(max(lanes, 1)), b.i64(0))
    with b.loop(0, count, carried=values) as loop:
        lane = b.extract(distant, loop.index) if lanes else distant
        found = b.call(name, _REDUCED, b.convert(lane, F64))
        here = far
        if lanes:
            here = b.bit_and(far, b.compare("eq", b.lane_numbers(lanes), b.splat(loop.index, lanes)))
        numbers = [(0, F64), (1, F64), (2, I64)] if len(values) == 3 else [(0, F64), (2, I64)]
        for i, (place, type_) in enumerate(numbers):
            part = b.emit(f"extractvalue {_REDUCED.text} {found.text}, {place}", type_)
            part = b.convert(part, values[i].type.element)
            loop.next[i] = b.select(here, b.splat(part, lanes), loop.carried[i])
    return loop.results


_REDUCED = Type("{ double, double, i64 }")
_I128 = Type("i128")


def _define_far_quadrant(b: Builder) -> str:
    """The function that reduces one double from `_FAR` to the largest: r, what it misses by rounding, and q.

    M. H. Payne and R. N. Hanek, Radian reduction for trigonometric functions (1983). x = M 2^E with a whole M; of the
    bits of 2 / pi only those count that times x make no multiple of 4, and 192 of them are enough: no double comes
    nearer to a multiple of pi / 2 than 2^-61 of it.
    """
    name = "quadrant.far"
    if any(function.name == name for function in b.module.functions):
        return name
    far, (x,) = define(b.module, name, [("x", F64)], _REDUCED, fused=b.fused)
    far.function.comment = "x = r + q pi/2, far from 0"
    far.function.attributes = "nounwind noinline"
    bits = far.bits(x, I64)
    exponent = far.sub(far.shift_right(bits, 52), 1075)
    M = far.bit_or(far.bit_and(bits, (1 << 52) - 1), 1 << 52)
    # A table of 2 / pi behind 64 zeros, cut in words; the window begins at the bit of weight 2^(1 - E).
    size = 64 * 20
    digits = int(2 / _pi(size + 64) * (1 << (size - 64)))
    words = [(digits >> (size - 64 * (i + 1))) & ((1 << 64) - 1) for i in range(size // 64)]
    table = b.module.table([w - (1 << 64) if w >> 63 else w for w in words], I64)
    begin = far.add(exponent, 62)
    word, shift = far.shift_right(begin, 6), far.bit_and(begin, 63)
    loaded = [far.load(I64, table, far.add(word, i)) for i in range(4)]
    high, middle, low = (far.intrinsic("fshl", I64, loaded[i], loaded[i + 1], shift) for i in range(3))
    # M times the window, modulo 2^192, in units of 2^-190: `top` and `middle` keep 128 bits of it
    wide = far.extend_unsigned(M, _I128)
    carry = far.shift_right(far.mul(wide, far.extend_unsigned(low, _I128)), 64)
    middle_product = far.add(far.mul(wide, far.extend_unsigned(middle, _I128)), carry)
    top = far.add(far.mul(M, high), far.convert(far.shift_right(middle_product, 64), I64))
    q = far.shift_right(far.add(top, 1 << 61), 62)
    joined = far.shift_left(far.extend_unsigned(top, _I128), 64)
    joined = far.bit_or(joined, far.extend_unsigned(far.convert(middle_product, I64), _I128))
    fraction = far.shift_left(joined, 2)  # signed, in units of 2^-128
    negative = far.compare("lt", fraction, 0)
    size_of = far.select(negative, far.sub(0, fraction), fraction)
    zeros = far.intrinsic("ctlz", _I128, size_of, far.constant(False, Type("i1")))
    leading = far.convert(far.shift_right(far.shift_left(size_of, zeros), 64), I64)
    # leading 2^(-64 - zeros) pi/2, with leading as two short whole numbers so that the largest product is exact
    upper = far.convert(far.shift_right(leading, 32), F64)
    lower = far.convert(far.bit_and(leading, (1 << 32) - 1), F64)
    first, second = _parts(_HALF_PI, 21, 53)
    rest = far.add(far.mul(upper, second * 2.0**32), far.mul(lower, float(_HALF_PI)))
    scale = far.bits(far.shift_left(far.sub(1023 - 64, far.convert(zeros, I64)), 52), F64)
    scale = far.select(negative, far.neg(scale), scale)
    r, lost = _fast_two_sum(far, far.mul(upper, first * 2.0**32), rest)
    result = far.undefined(_REDUCED)
    for place, value in enumerate((far.mul(r, scale), far.mul(lost, scale), q)):
        result = far.emit(
            f"insertvalue {_REDUCED.text} {result.text}, {value.type.text} {value.text}, {place}", _REDUCED
        )
    far.ret(result)
    return name


def _sin_near(b: Builder, r: Value, z: Value) -> Value:
    """sin r, with z = r^2 and |r| <= pi / 4."""
    return b.fma(b.mul(r, z), _polynomial(b, z, _format(r).sin), r)


def _cos_near(b: Builder, z: Value) -> Value:
    """cos sqrt z = 1 - z / 2 + z^2 C(z)."""
    return b.fma(b.mul(z, z), _polynomial(b, z, _format(z).cos), _fma(b, z, -0.5, 1.0))


def _turned(b: Builder, value: Value, bits: Value) -> Value:
    """`value` with the sign changed where the sign bit of `bits` is set."""
    form = _format(value)
    flipped = b.bit_xor(_whole(b, value, form.whole), b.bit_and(bits, form.sign))
    return _whole(b, flipped, value.type.element)


def _is_odd(b: Builder, q: Value) -> Value:
    return b.compare("ne", b.bit_and(q, 1), 0)


def sin(b: Builder, x: Value) -> Value:
    form = _format(x)
    r, q = _quadrant(b, b.abs(x))
    z = b.mul(r, r)
    value = b.select(_is_odd(b, q), _cos_near(b, z), _sin_near(b, r, z))
    signs = b.bit_xor(b.shift_left(q, form.whole.bits - 2), _whole(b, x, form.whole))
    return _turned(b, value, signs)


def cos(b: Builder, x: Value) -> Value:
    form = _format(x)
    r, q = _quadrant(b, b.abs(x))
    z = b.mul(r, r)
    value = b.select(_is_odd(b, q), _sin_near(b, r, z), _cos_near(b, z))
    return _turned(b, value, b.shift_left(b.add(q, 1), form.whole.bits - 2))


# tan r = r P(r^2) / Q(r^2) for |r| <= pi / 4, to 2^-35
_TAN_OVER = (1.0, -0.11135524647883936, 0.001074725062632645)
_TAN_UNDER = (1.0, -0.444688578620357, 0.015970900541845134)


def tan(b: Builder, x: Value) -> Value:
    """sin / cos, and -cos / sin in odd quadrants, corrected by what the operands of the division miss by rounding."""
    form = _format(x)
    if form is _FLOAT:
        return _float_tan(b, x)
    r, tail, q = _quadrant(b, b.abs(x), tail=True)
    z = b.mul(r, r)
    cos_begin = _fma(b, z, -0.5, 1.0)
    cos_lost = _fma(b, z, -0.5, b.sub(1.0, cos_begin))
    s, s_lost = _fast_two_sum(b, r, b.fma(b.mul(r, z), _polynomial(b, z, form.sin), b.mul(tail, cos_begin)))
    rest = b.fma(b.mul(z, z), _polynomial(b, z, form.cos), b.fma(b.neg(r), tail, cos_lost))
    c, c_lost = _fast_two_sum(b, cos_begin, rest)
    odd = _is_odd(b, q)
    over, under = b.select(odd, c, s), b.select(odd, s, c)
    value = b.div(over, under)
    lost = b.fma(b.neg(value), b.select(odd, s_lost, c_lost), b.select(odd, c_lost, s_lost))
    value = b.fma(lost, b.fma(over, value, under), value)  # 1 / under, as over^2 + under^2 = 1
    signs = b.bit_xor(b.shift_left(q, form.whole.bits - 1), _whole(b, x, form.whole))
    return _turned(b, value, signs)


def _float_tan(b: Builder, x: Value) -> Value:
    """Of floats, in double precision, as errors add up here."""
    wide = b.convert(x, F64)
    size = b.abs(wide)
    r, q = _far_lanes(b, size, _subtract_quadrants(b, size, tail=False))
    z = b.mul(r, r)
    s = b.mul(r, _polynomial(b, z, _TAN_OVER))
    c = _polynomial(b, z, _TAN_UNDER)
    odd = _is_odd(b, q)
    value = b.div(b.select(odd, c, s), b.select(odd, s, c))
    signs = b.bit_xor(b.shift_left(q, 63), _whole(b, wide, I64))
    return b.convert(_turned(b, value, signs), F32)


def arctan(b: Builder, x: Value) -> Value:
    """base + arctan t, with t = x, (x - 1) / (x + 1) or -1 / x and base = 0, pi/4 or pi/2: |t| <= sqrt(2) - 1."""
    form = _format(x)
    a = b.abs(x)
    middle, upper = b.compare("gt", a, math.sqrt(2) - 1), b.compare("gt", a, math.sqrt(2) + 1)
    over = b.select(upper, b.constant(-1.0, x.type), b.select(middle, b.sub(a, 1.0), a))
    under = b.select(upper, a, b.select(middle, b.add(a, 1.0), b.constant(1.0, x.type)))
    t = b.div(over, under)
    z = b.mul(t, t)
    high, low = _parts(_HALF_PI, form.digits, form.digits)

    def base(part: float) -> Value:
        return b.select(upper, b.constant(part, x.type), b.select(middle, b.constant(part / 2, x.type), 0.0))

    rest = b.fma(b.mul(t, z), _polynomial(b, z, form.arctan), base(low))
    return b.copysign(b.add(base(high), b.add(t, rest)), x)


# Powers

_WHOLE_POWERS: dict[Number, Callable[[Builder, Value], Value]] = {
    1: lambda b, a: a,
    2: lambda b, a: b.mul(a, a),
    3: lambda b, a: b.mul(b.mul(a, a), a),
    -1: lambda b, a: b.div(b.constant(1.0, a.type), a),
}


def power(b: Builder, base: Value, exponent: Value) -> Value:
    """base^exponent, with the special cases of C and NumPy."""
    if exponent.constant in _WHOLE_POWERS:
        return _WHOLE_POWERS[exponent.constant](b, base)
    size = b.abs(base)
    of_size = _float_power if base.type.scalar == "float" else _double_power
    return _special_powers(b, base, exponent, of_size(b, size, exponent))


def _double_power(b: Builder, size: Value, exponent: Value) -> Value:
    """e^(exponent log size)."""
    high, low = _precise_log(b, size)
    product, error = _two_product(b, exponent, high)
    tail = b.fma(exponent, low, error)
    tail = b.select(b.compare("lt", b.abs(product), 1e3), tail, 0.0)  # not NaN where the product overflowed
    return _with_ends(b, product, _exponential(b, product, tail=tail))


# log2(1 + f) / f, and 2^r, of doubles, both to 2^-36 and better: for powers of floats
_ROUGH_LOG2 = (
    *(1.4426950408686783, -0.721347520869242, 0.4808983614114156, -0.36067367474782924, 0.28853729192793715),
    *(-0.24045316843563996, 0.20617541250886456, -0.1803005904229232, 0.15876904988654247),
    *(-0.1431558478256582, 0.1447522000861245, -0.14284494246522605, 0.07737038526297353),
)
_ROUGH_EXP2 = (
    *(1.0000000005550846, 0.6931472057674858, 0.24022646885740007, 0.0555032871108918),
    *(0.009618489286418232, 0.0013399957902117039, 0.00015345776244699767),
)


def _float_power(b: Builder, size: Value, exponent: Value) -> Value:
    """2^(exponent log2 size) of floats, in double precision: rounded well. A denormal size counts as 0."""
    _, e, m = _split(b, size)
    e = b.select(b.compare("ge", size, _FLOAT.tiny), e, -math.inf)
    e = b.select(b.compare("lt", size, math.inf), e, size)
    f = b.convert(b.sub(m, 1.0), F64)
    logarithm = b.fma(f, _polynomial(b, f, _ROUGH_LOG2), b.convert(e, F64))
    product = b.mul(b.convert(exponent, F64), logarithm)
    inside = _at_least(b, -300.0, _at_most(b, 300.0, product))
    shifted = b.add(inside, _DOUBLE.shifter)
    n = b.shift_left(_whole(b, shifted, I64), _DOUBLE.mantissa)
    fraction = _polynomial(b, b.sub(inside, b.sub(shifted, _DOUBLE.shifter)), _ROUGH_EXP2)
    return b.convert(_whole(b, b.add(_whole(b, fraction, I64), n), F64), F32)


def _special_powers(b: Builder, base: Value, exponent: Value, result: Value) -> Value:
    """What e^(exponent log |base|) misses: signs, and where one operand decides alone."""
    form = _format(base)
    whole, odd = _is_whole(b, exponent), b.bit_xor(_is_whole(b, b.mul(exponent, 0.5)), True)
    signs = b.select(b.bit_and(whole, odd), _whole(b, base, form.whole), 0)
    result = _turned(b, result, signs)
    finite_negative = b.bit_and(b.compare("lt", base, 0.0), b.compare("gt", base, -math.inf))
    result = b.select(b.bit_and(finite_negative, b.bit_xor(whole, True)), b.constant(math.nan, base.type), result)
    one = b.bit_or(b.compare("eq", exponent, 0.0), b.compare("eq", base, 1.0))
    edge = b.bit_and(b.compare("eq", base, -1.0), b.compare("eq", b.abs(exponent), math.inf))
    return b.select(b.bit_or(one, edge), b.constant(1.0, base.type), result)


def _is_whole(b: Builder, x: Value) -> Value:
    limit = 2.0 ** _format(x).mantissa
    size = b.abs(x)
    rounded = b.sub(b.add(size, limit), limit)
    return b.bit_or(b.compare("eq", rounded, size), b.compare("ge", size, limit))


def _two_product(b: Builder, x: Value, y: Value) -> tuple[Value, Value]:
    """x y as a sum of two: T. J. Dekker, A floating-point technique for extending the available precision (1971)."""
    product = b.mul(x, y)
    if b.fused:
        return product, b.fma(x, y, b.neg(product))
    (x1, x2), (y1, y2) = _halves(b, x), _halves(b, y)
    error = b.sub(b.mul(x1, y1), product)
    error = b.add(b.add(error, b.mul(x1, y2)), b.mul(x2, y1))
    return product, b.add(error, b.mul(x2, y2))


def _halves(b: Builder, x: Value) -> tuple[Value, Value]:
    """The upper bits of x, and the rest."""
    form = _format(x)
    mask = -(1 << (form.digits // 2 + 1))
    upper = _whole(b, b.bit_and(_whole(b, x, form.whole), mask), x.type.element)
    return upper, b.sub(x, upper)


def _fast_two_sum(b: Builder, x: Value, y: Value) -> tuple[Value, Value]:
    """x + y as a sum of two, for |x| >= |y|."""
    total = b.add(x, y)
    return total, b.sub(y, b.sub(total, x))


# 2 artanh s = 2 s + s^3 (2/3 + s^2 A(s^2)), to 2^-66
_PRECISE_LOG = (
    *(0.40000000000002256, 0.2857142857009965, 0.22222222519904491, 0.18181784368871085),
    *(0.1538675725371176, 0.13256819356695893, 0.13196316153922188),
)


def _precise_log(b: Builder, x: Value) -> tuple[Value, Value]:
    """log x of doubles of 0 or more, as a sum of two, to about 2^-64 of it; infinities and NaN in the first."""
    form = _format(x)
    _, e, m = _split(b, x)
    f = b.sub(m, 1.0)
    # The quotient s of f and 2 + f
    under = b.add(f, 2.0)
    under_low = b.sub(f, b.sub(under, 2.0))
    s = b.div(f, under)
    product, error = _two_product(b, s, under)
    s_low = b.div(b.sub(b.sub(b.sub(f, product), error), b.mul(s, under_low)), under)
    # Its square z
    z, z_low = _two_product(b, s, s)
    z_low = b.fma(b.add(s, s), s_low, z_low)
    # c = 2/3 + z A(z)
    third, third_low = _parts(Fraction(2, 3), 53, 53)
    c, c_low = _fast_two_sum(b, b.constant(third, x.type), b.mul(z, _polynomial(b, z, _PRECISE_LOG)))
    c_low = b.add(c_low, third_low)
    # w = z c and t = s w
    w, w_low = _two_product(b, z, c)
    w_low = b.add(w_low, b.fma(z, c_low, b.mul(z_low, c)))
    t, t_low = _two_product(b, s, w)
    t_low = b.add(t_low, b.fma(s, w_low, b.mul(s_low, w)))
    # 2 s + t, then e ln 2 to it
    near, near_low = _fast_two_sum(b, b.add(s, s), t)
    near_low = b.add(near_low, b.add(t_low, b.add(s_low, s_low)))
    high, low = form.ln2
    total, total_low = _fast_two_sum(b, b.mul(e, high), near)
    total = b.select(b.compare("eq", e, 0.0), near, total)
    total_low = b.select(b.compare("eq", e, 0.0), b.constant(0.0, x.type), total_low)
    total_low = b.add(total_low, _fma(b, e, low, near_low))
    # Once more, so that the first part is the nearest to the sum
    first, second = _fast_two_sum(b, total, total_low)
    first = b.select(b.compare("ge", x, form.tiny), first, -math.inf)
    first = b.select(b.compare("lt", x, math.inf), first, x)
    return first, second
