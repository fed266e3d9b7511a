"""`check_gradients`: it finds what is wrong and does not blame what is right."""

import numpy as np
import pytest

import backpass as bp
from backpass import ops
from backpass.backward.check import _ways
from backpass.errors import NotFiniteError, ShapeError
from backpass.ops.kinds import Pointwise


def wrong(factor):
    """sin with a derivative that is off by a factor."""
    return Pointwise(name="wrong_sin", forward=np.sin, derivative=lambda dy, y, x: (factor * dy * ops.cos(x),))


@pytest.mark.parametrize("factor", [0.0, -1.0, 2.0, 1.001, 1 + 1e-5, 1 + 1.5e-6, np.nan, np.inf])
@pytest.mark.parametrize("size", [1, 10, 1000])
def test_a_wrong_rule_is_found(factor, size):
    """A derivative that is off by a factor, even by 1.5e-6, or not finite, is found at any size of the input."""
    x = np.random.default_rng(8).uniform(-1, 1, size)
    report = bp.check_gradients(lambda x: ops.sum(ops.apply(wrong(factor), x)), x)
    assert not report
    assert str(report).splitlines()[1].endswith(" WRONG")
    assert report.kinks == 0


@pytest.mark.parametrize(("factor", "error"), [(2.0, 0.5), (0.5, 0.5), (-1.0, 2.0), (0.0, 1.0), (1.001, 0.001 / 1.001)])
def test_the_largest_error_is_told(factor, error):
    """The error is the difference as a part of the larger of both slopes."""
    report = bp.check_gradients(lambda x: ops.sum(ops.apply(wrong(factor), x)), np.array([0.3, -0.5]))
    assert report.largest_error == pytest.approx(error, rel=1e-5)
    assert [leaf.largest_error for leaf in report.leaves] == [report.largest_error]
    assert f"{report.largest_error:.1e}" in str(report)


def test_an_error_as_large_as_the_tolerance_is_within_it():
    """And the same error is beyond a tolerance that is smaller."""

    def check(**options):
        return bp.check_gradients(lambda x: ops.sum(ops.apply(wrong(1.01), x)), np.array([0.3, -0.5]), **options)

    largest = check().largest_error
    assert check(tolerance=largest)
    assert not check(tolerance=np.nextafter(largest, 0.0))


def test_only_the_wrong_input_is_blamed():
    """The report tells for each input whether its derivative is right."""
    parameters = {"good": np.ones(3), "bad": np.ones(2), "inf": np.zeros(1)}

    def f(p):
        return ops.sum(p["good"] ** 2) + ops.sum(ops.apply(wrong(3.0), p["bad"])) + ops.sum(ops.sqrt(p["inf"]))

    leaves = {leaf.label: leaf.ok for leaf in bp.check_gradients(f, parameters).leaves}
    assert leaves == {"good": True, "bad": False, "inf": False}


def test_an_infinite_derivative_does_not_hide_a_wrong_one():
    """Beside an input with an infinite derivative, a wrong rule is still found."""
    report = bp.check_gradients(lambda x, y: ops.sqrt(x) + ops.apply(wrong(2.0), y), 0.0, 1.0)
    assert [leaf.ok for leaf in report.leaves] == [False, False]


@pytest.mark.parametrize(
    "function", [ops.relu, ops.absolute, lambda x: ops.maximum(x, 0.0), lambda x: ops.clip(x, 0, 1)]
)
def test_a_kink_is_reported_apart(function):
    """relu, |x|, maximum and clip at a kink are no errors: the kink is counted, the rest is checked."""
    report = bp.check_gradients(lambda x: ops.sum(function(x) * 2.0), np.array([0.0, 0.5, -0.5]))
    assert report
    assert report.kinks == 1
    assert report.largest_error < 1e-6


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_a_kink_of_any_size_is_one(scale):
    """The slopes on both sides may be small or large."""
    report = bp.check_gradients(lambda x: ops.sum(ops.relu(x)) * scale, np.array([0.0, 0.5, -0.5]))
    assert report
    assert report.kinks == 1


def test_a_wrong_value_at_a_kink_is_an_error():
    """A derivative at a kink that does not lie between the left and the right one is an error."""
    bad = Pointwise(name="bad_relu", forward=lambda x: np.maximum(x, 0), derivative=lambda dy, y, x: (dy * 3.0,))
    assert not bp.check_gradients(lambda x: ops.apply(bad, x), 0.0)


@pytest.mark.parametrize("slope", [-2.5, -1.5, -1.05, 1.05, 1.5, 2.5])
def test_a_kink_is_measured_near_it(slope):
    """Of |x| with much curvature, what the steps further away would allow at 0 is an error: the slopes there are 1."""
    bad = Pointwise(
        name="bad",
        forward=lambda x: np.abs(x) + 1e4 * x * x,
        derivative=lambda dy, y, x: (dy * ops.where(ops.equal(x, 0.0), slope, ops.sign(x) + 2e4 * x),),
    )
    assert bp.check_gradients(lambda x: ops.apply(bad, x), 0.5)
    assert not bp.check_gradients(lambda x: ops.apply(bad, x), 0.0)


@pytest.mark.parametrize("constant", [1e3, 1e4, 12_345.678, -98_765.4321])
@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_the_slope_of_either_side_will_do_at_a_kink(slope, constant):
    """Beside a constant whose rounding hides the last digits, the left or right slope of relu itself is no error."""
    relu = Pointwise(
        name="relu_",
        forward=lambda x: np.maximum(x, 0),
        derivative=lambda dy, y, x: (dy * ops.where(ops.equal(x, 0.0), slope, ops.cast(x > 0, np.float64)),),
    )
    report = bp.check_gradients(lambda x: ops.sum(ops.apply(relu, x)) + constant, np.array([0.0, 0.5, -0.5]))
    assert report
    assert report.kinks == 1


def test_float32_functions_are_not_blamed():
    """Functions of float32 arrays are checked in float64, casts and random numbers inside them included."""
    rng = np.random.default_rng(9)
    x = rng.normal(size=(20, 5)).astype(np.float32)
    w = rng.normal(size=(5, 3)).astype(np.float32)

    def f(w):
        h = ops.tanh(ops.matmul(x, ops.cast(w, np.float32)))
        h = h * ops.bernoulli(ops.Key.of(1), 0.5, (20, 3)) + ops.normal(ops.Key.of(2), (20, 3)) * h
        return ops.mean(ops.cast(h, np.float32) ** 2)

    report = bp.check_gradients(f, w)
    assert report
    assert report.largest_error < 1e-7


def test_small_arguments_of_steep_functions_are_not_blamed():
    """log and reciprocal near 0, where a difference quotient of one fixed step is far off, are found right."""
    assert bp.check_gradients(lambda x: ops.sum(ops.log(x)), np.array([1e-4, 1.0]))
    assert bp.check_gradients(lambda x: ops.sum(1.0 / x), np.array([1e-3, 3.0]))


def test_large_and_tiny_functions_are_not_blamed():
    """Neither a large constant beside the function nor a large or small scale of it makes a right derivative wrong."""
    x = np.linspace(-1, 1, 5)
    for scale in (1e-8, 1.0, 1e8):
        assert bp.check_gradients(lambda x, scale=scale: ops.sum(ops.tanh(x)) * scale, x)
    assert bp.check_gradients(lambda x: ops.sum(ops.tanh(x)) + 1e4, x)
    assert bp.check_gradients(lambda x: ops.sum(ops.tanh(x)) * 1e-3 + 1e6, x)


def test_large_inputs_are_checked_along_random_directions():
    """An input of many elements is varied along a few random directions, one of few element by element."""
    report = bp.check_gradients(lambda a, b: ops.sum(ops.sin(a)) + ops.sum(b * b), np.ones((40, 50)), np.ones(5))
    assert report
    assert [leaf.directions for leaf in report.leaves] == [8, 5]


@pytest.mark.parametrize("shape", [(), (32,), (11, 3), (40, 50)])
def test_directions_have_length_1(shape):
    """Whatever the size of the input; up to 32 elements they are the axes, and beyond every element takes part."""
    ways = _ways(np.ones(shape), 8, np.random.default_rng(0))
    assert {way.shape for way in ways} == {shape}
    np.testing.assert_allclose([np.sum(way**2) for way in ways], 1.0, rtol=1e-12)
    assert {np.count_nonzero(way) for way in ways} == {1 if np.prod(shape) <= 32 else np.prod(shape)}


def test_one_wrong_element_among_many_is_found():
    """A derivative that is wrong in one of 1,000 elements is found by the random directions."""
    mask = np.zeros(1000)
    mask[123] = 1.0
    bad = Pointwise(name="bad", forward=lambda x: x * x, derivative=lambda dy, y, x: (2 * dy * x * (1 + mask),))
    assert not bp.check_gradients(lambda x: ops.sum(ops.apply(bad, x)), np.linspace(1, 2, 1000))


def test_reports_are_tables():
    """The report prints a line for each input with its name, and is true where all is right."""
    report = bp.check_gradients(lambda p: ops.sum(p["weight"] * 2.0), {"weight": np.ones(2)})
    assert report
    assert [leaf.label for leaf in bp.check_gradients(lambda a, b: a * b, 1, 2.0).leaves] == ["0", "1"]
    assert [leaf.label for leaf in bp.check_gradients(ops.sum, np.ones(2)).leaves] == ["x"]
    lines = str(report).splitlines()
    assert lines[0].split() == ["input", "largest", "error", "directions", "kinks"]
    assert lines[1].startswith("weight ")
    assert lines[1].endswith("right")


@pytest.mark.parametrize("start", [np.inf, np.nan])
def test_a_function_that_is_not_finite_has_no_gradient_to_check(start):
    """A function whose value is infinite or NaN at the arguments is refused."""
    with pytest.raises(NotFiniteError, match="no gradient"):
        bp.check_gradients(lambda x: x * start, 1.0)


def test_there_must_be_something_to_check():
    """Without a real input, or without a single real result, the check says so; a plain number is a real one."""
    with pytest.raises(ShapeError, match="real number"):
        bp.check_gradients(ops.sum, np.array([1, 2]))
    with pytest.raises(ShapeError, match="single number"):
        bp.check_gradients(lambda x: x, np.ones(2))


def test_empty_inputs_are_right():
    """An input without elements has nothing that could be wrong."""
    assert bp.check_gradients(ops.sum, np.zeros((0, 3)))
