"""Functions written out as IR: near the true value everywhere, and with NumPy's special cases."""

import ctypes
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backpass.native import mathematics
from backpass.native.barrier import emit_flush_denormals
from backpass.native.engine import compile_text, load
from backpass.native.ir import F32, F64, I64, PTR, VOID, Module, Type, define
from backpass.native.target import host, named

TYPES = {"float": (F32, np.float32), "double": (F64, np.float64)}
ONE_ARGUMENT = ["exp", "expm1", "log", "log1p", "sin", "cos", "tan", "arctan", "tanh", "sigmoid", "softplus", "erf"]
LIMIT = 2
"""Units in the last place; the worst that samples have met is 1.95."""
WORST = {
    "exp": [(-10, 10)],
    "sigmoid": [(-38.5, -34.5), (-17.2, -15.2), (-7, 0)],
    "tanh": [(0.09, 0.23), (0.48, 0.56), (0.05, 2)],
    "tan": [(0.68, 0.79), (2.35, 2.45), (0, 3.2)],
    "softplus": [(-1.5, 0.5)],
    "expm1": [(-0.8, 0.8)],
    "log1p": [(-0.5, 0.8)],
    "arctan": [(0.3, 1)],
}
"""Where their errors are the largest."""

SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 3e38, -3e38, 88.5, 88.72283, 88.72284, 89.0]
SPECIAL += [-87.3365, -87.4, -103.0, -150.0, 709.782712893384, 709.7827128933841, -708.3964185322641, -746.0, 1e5, 1e22]
POWERS = [0.0, -0.0, 1, -1, 2, -2, 3, -3, 0.5, -0.5, np.inf, -np.inf, np.nan, 1e30, -1e30, 1.5, -1.5, 2.0**24, 7]


@cache
def compiled(name: str, scalar: str, target: str, lanes: int | None = None, *, flush: bool = False):
    """The function of arrays whose length is a whole number of vectors, and its number of lanes."""
    machine = named(target)
    if not set(machine.features.split(",")) <= set(host().features.split(",")):
        pytest.skip(f"this machine has no {target}")
    type_, _ = TYPES[scalar]
    lanes = machine.lanes(type_) if lanes is None else lanes
    vector = Type(scalar, lanes)
    module = Module()
    arguments = [("x", PTR), ("y", PTR), ("result", PTR), ("count", I64)]
    b, (x, y, result, count) = define(module, "run", arguments, fused=machine.fused, estimates=machine.estimates)
    b.function.attributes = "nounwind noinline"
    outer, values = define(module, "main", arguments, fused=machine.fused)
    outer.function.internal = False
    restore = emit_flush_denormals(outer, machine) if flush else bool
    outer.call("run", VOID, *values)
    restore()
    outer.ret()
    with b.loop(0, count, max(lanes, 1)) as loop:
        operands = [b.load(vector, x, loop.index)]
        if name == "power":
            operands.append(b.load(vector, y, loop.index))
        b.store(getattr(mathematics, name)(b, *operands), result, loop.index)
    b.ret()
    library = load(compile_text(module.text(), machine))
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)(library.address("main"))
    return library, call, max(lanes, 1)


def run(name, scalar, target, x, y=None, lanes=None, *, flush=False):
    _, call, step = compiled(name, scalar, target, lanes, flush=flush)
    dtype = TYPES[scalar][1]
    filling = -len(x) % step
    x, y = (np.append(np.asarray(x if v is None else v, dtype), np.ones(filling, dtype)) for v in (x, y))
    result = np.empty_like(x)
    call(x.ctypes.data, y.ctypes.data, result.ctypes.data, len(x))
    return result[: len(result) - filling]


def points(scalar: str, count: int) -> np.ndarray:
    """Of every size, and densely where most work is done; no denormal ones."""
    random = np.random.default_rng(0)
    dtype = TYPES[scalar][1]
    bits = random.integers(0, 2**64, count, dtype=np.uint64)
    of_every_size = bits.view(np.float64) if scalar == "double" else bits.astype(np.uint32).view(np.float32)
    signs = random.choice([-1.0, 1.0], count)
    parts = [SPECIAL, of_every_size, signs * 2.0 ** random.uniform(-30, 7, count), random.uniform(-3, 3, count)]
    parts += [random.uniform(-100, 100, count), random.uniform(0, 1e5, count), np.arange(1, count) * (np.pi / 2)]
    with np.errstate(over="ignore"):
        x = np.concatenate([np.asarray(part).astype(dtype) for part in parts])
    return x[(np.abs(x) >= np.finfo(dtype).tiny) | (x == 0) | np.isnan(x)]


def units_off(got: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The distance in units of the last place; 0 where both are infinite, NaN, or below the smallest normal number."""
    kind = np.finfo(got.dtype)
    nearest = true.astype(got.dtype)
    size = np.clip(np.abs(nearest), kind.tiny, kind.max)
    units = np.abs(got.astype(true.dtype) - true) / np.spacing(size).astype(true.dtype)
    alike = (got == nearest) & np.isinf(got) | np.isnan(got) & np.isnan(nearest)
    alike |= (np.abs(nearest) < kind.tiny) & (np.abs(got) <= kind.tiny)
    return np.where(alike, 0.0, np.where(np.isnan(units), np.inf, units))


def true_values(name: str, x: np.ndarray) -> np.ndarray:
    """Of doubles in long double, of floats in double precision; the error function in 30 digits."""
    wide = x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)
    if name == "sigmoid":
        return 1 / (1 + np.exp(-wide))
    if name == "softplus":
        return np.maximum(wide, 0) + np.log1p(np.exp(-np.abs(wide)))
    if name == "erf":
        mpmath = pytest.importorskip("mpmath")
        with mpmath.workdps(30):
            digits = [mpmath.nstr(mpmath.erf(float(v)), 25) if np.isfinite(v) else str(np.sign(v)) for v in x]
        return np.array([wide.dtype.type(text) for text in digits])
    return getattr(np, name)(wide)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("target", ["sse2", "avx2", "avx512", "arm64"])
@pytest.mark.parametrize("scalar", TYPES)
@pytest.mark.parametrize("name", ONE_ARGUMENT)
def test_it_is_within_its_limit_for_numbers_of_every_size(name, scalar, target):
    if scalar == "double" and np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("long double is no better than double here")
    x = points(scalar, 200 if name == "erf" else 5000)
    off = units_off(run(name, scalar, target, x), true_values(name, x))
    worst = np.argmax(off)
    assert off[worst] < LIMIT, f"{name}({x[worst]!r})"


@pytest.mark.parametrize("target", ["sse2", "avx2", "avx512", "arm64"])
@pytest.mark.parametrize("scalar", TYPES)
@pytest.mark.parametrize("name", WORST)
def test_it_is_within_its_limit_where_its_errors_are_the_largest(name, scalar, target):
    if scalar == "double" and np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("long double is no better than double here")
    random = np.random.default_rng(2)
    x = np.concatenate([random.uniform(*ends, 100_000) for ends in WORST[name]]).astype(TYPES[scalar][1])
    off = units_off(run(name, scalar, target, x), true_values(name, x))
    worst = np.argmax(off)
    assert off[worst] < LIMIT, f"{name}({x[worst]!r})"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("target", ["sse2", "avx2", "avx512", "arm64"])
@pytest.mark.parametrize("scalar", TYPES)
@pytest.mark.parametrize("name", ONE_ARGUMENT)
def test_with_denormals_flushed_a_denormal_counts_as_zero_or_as_itself(name, scalar, target):
    tiny = np.finfo(TYPES[scalar][1]).tiny
    x = np.array([tiny / 2, tiny / 1000, np.nextafter(0, 1, dtype=TYPES[scalar][1])], TYPES[scalar][1])
    x = np.concatenate([x, -x])
    got = run(name, scalar, target, x, flush=True)
    as_zero = units_off(got, true_values(name, np.zeros_like(x))) < LIMIT
    assert (as_zero | (units_off(got, true_values(name, x)) < LIMIT)).all(), (x, got)


@pytest.mark.parametrize("target", ["sse2", "avx2", "avx512", "arm64"])
@pytest.mark.parametrize("name", ["exp", "sigmoid", "softplus"])
def test_with_denormals_flushed_small_normal_results_are_as_exact_as_others(name, target):
    x = np.linspace(-87, -80, 10_000, dtype=np.float32)
    assert units_off(run(name, "float", target, x, flush=True), true_values(name, x)).max() < LIMIT


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("scalar", TYPES)
@pytest.mark.parametrize("name", ["expm1", "log1p", "sin", "tan", "arctan", "tanh", "erf"])
def test_odd_functions_and_their_like_keep_the_sign_of_zero(name, scalar):
    result = run(name, scalar, "sse2" if not host().is_arm else "arm64", [0.0, -0.0])
    assert list(np.signbit(result)) == [False, True]
    assert not result.any()


@pytest.mark.parametrize("scalar", TYPES)
@pytest.mark.parametrize("name", [*ONE_ARGUMENT, "power"])
def test_a_scalar_and_a_vector_of_any_width_give_the_same(name, scalar):
    target = "arm64" if host().is_arm else "sse2"
    x = np.abs(points(scalar, 20)[25:])
    x = x[: len(x) // 16 * 16]
    expected = run(name, scalar, target, x, x[::-1])
    for lanes in (0, 2, 8, 16):
        np.testing.assert_array_equal(run(name, scalar, target, x, x[::-1], lanes), expected)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("target", ["sse2", "avx2", "avx512", "arm64"])
@pytest.mark.parametrize("scalar", TYPES)
def test_powers_have_the_special_cases_of_numpy(scalar, target):
    dtype = TYPES[scalar][1]
    base, exponent = (grid.ravel().astype(dtype) for grid in np.meshgrid(POWERS, POWERS))
    got, expected = run("power", scalar, target, base, exponent), np.power(base, exponent)
    close = units_off(got, expected.astype(np.longdouble)) <= 2
    signed_alike = np.isnan(expected) | (np.signbit(got) == np.signbit(expected))
    wrong = np.flatnonzero(~(close & signed_alike))
    assert [(base[i], exponent[i], got[i], expected[i]) for i in wrong] == []


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("target", ["sse2", "avx2", "avx512", "arm64"])
@pytest.mark.parametrize("scalar", TYPES)
def test_powers_of_positive_numbers_are_at_most_2_units_off(scalar, target):
    if scalar == "double" and np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("long double is no better than double here")
    random = np.random.default_rng(1)
    base = np.concatenate([2.0 ** random.uniform(-100, 100, 5000), random.uniform(0.9, 1.1, 5000)])
    exponent = np.concatenate([random.uniform(-8, 8, 5000), random.uniform(-800, 800, 5000)])
    base, exponent = base.astype(TYPES[scalar][1]), exponent.astype(TYPES[scalar][1])
    wide = np.float64 if scalar == "float" else np.longdouble
    true = np.power(base.astype(wide), exponent.astype(wide))
    assert units_off(run("power", scalar, target, base, exponent), true).max() < LIMIT


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(deadline=None)
@given(
    st.lists(st.floats(width=32, allow_subnormal=False), min_size=1, max_size=40), st.sampled_from(ONE_ARGUMENT[:11])
)
def test_every_float_in_any_company_is_near_the_true_value(numbers, name):
    x = np.array(numbers, np.float32)
    target = "arm64" if host().is_arm else "sse2"
    assert units_off(run(name, "float", target, x), true_values(name, x)).max() < LIMIT
