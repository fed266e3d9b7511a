"""Where formulas have their edges: zeros, ties, infinities, overflow, and the types of mixed arguments."""

import math

import numpy as np
import pytest
from engine_cases import value_of

import backpass as bp
from backpass import ops
from backpass.errors import ShapeError
from backpass.forward import Spec, evaluate, trace
from backpass.graph import BATCH

INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    ("a", "b", "da", "db"),
    [
        (0.0, 0.0, 0.0, 0.0),
        (0.0, 1.0, 1.0, 0.0),
        (0.0, 2.0, 0.0, 0.0),
        (0.0, 2.5, 0.0, 0.0),
        (0.0, 0.5, INF, 0.0),
        (0.0, -1.0, -INF, -INF),
        (2.0, 0.0, 0.0, math.log(2)),
        (-2.0, 2.0, -4.0, NAN),
        (-2.0, 3.0, 12.0, NAN),
    ],
)
def test_power(a, b, da, db):
    """a^b at 0 and below has the derivatives that PyTorch gives; of a negative base there is none by the exponent."""
    np.testing.assert_allclose(bp.grad(ops.power, (0, 1))(a, b), (da, db), rtol=1e-15)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, 2.0])
def test_fixed_powers_at_zero(exponent):
    """x^n at 0 for a fixed n has its first and second derivative, without NaN."""
    first = bp.grad(lambda x: x**exponent)
    assert first(0.0) == (1.0 if exponent == 1 else 0.0)
    assert bp.grad(first)(0.0) == (2.0 if exponent == 2 else 0.0)


def test_mixed_derivative_of_power_at_exponent_zero():
    """d/da d/db of a^b at b = 0 is 1/a: the limit taken at a = 0 does not disturb it."""
    mixed = bp.grad(lambda b: bp.grad(lambda a: ops.power(a, b))(2.0))
    assert mixed(0.0) == pytest.approx(0.5)


def test_ties_share_the_error():
    """Equal largest elements share the error equally, whichever operation compares them."""
    x = np.array([3.0, 1.0, 3.0, 3.0])
    np.testing.assert_allclose(bp.grad(ops.max)(x), [1 / 3, 0, 1 / 3, 1 / 3])
    np.testing.assert_allclose(bp.grad(ops.min)(-x), [1 / 3, 0, 1 / 3, 1 / 3])
    assert bp.grad(ops.maximum, (0, 1))(2.0, 2.0) == (0.5, 0.5)
    assert bp.grad(lambda x: ops.maximum(x, x))(2.0) == 1.0
    np.testing.assert_allclose(bp.grad(ops.max)(np.array([INF, INF, 0.0])), [0.5, 0.5, 0])


def test_relu_and_absolute_at_zero():
    """relu and |x| have derivative 0 at 0, and at -0."""
    for zero in (0.0, -0.0):
        assert bp.grad(ops.relu)(zero) == 0.0
        assert bp.grad(ops.absolute)(zero) == 0.0


def test_clip():
    """clip passes the error inside, stops it outside, and halves it at the bounds, where left and right differ."""
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    np.testing.assert_array_equal(bp.grad(lambda x: ops.sum(ops.clip(x, -1, 1)))(x), [0, 0.5, 1, 0.5, 0])


def test_where_lets_no_nan_through_from_the_branch_not_taken():
    """A NaN or infinity in the branch not taken reaches neither the value nor the error of the other."""
    condition, a, b = np.array([True, False]), np.array([1.0, NAN]), np.array([INF, 2.0])
    value, (da, db) = bp.value_and_grad(lambda a, b: ops.sum(ops.where(condition, a * a, b * b)), (0, 1))(
        np.array([1.0, 3.0]), np.array([3.0, 2.0])
    )
    assert value == 5.0
    np.testing.assert_array_equal(da, [2, 0])
    np.testing.assert_array_equal(db, [0, 4])
    value, (da, db) = bp.value_and_grad(lambda a, b: ops.sum(ops.where(condition, a, b)), (0, 1))(a, b)
    assert value == 3.0
    np.testing.assert_array_equal(da, [1, 0])
    np.testing.assert_array_equal(db, [0, 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_and_softplus_far_out(dtype):
    """sigmoid and softplus of ±1000 and of the infinities have their limits, value and derivative, without NaN."""
    x = np.array([-INF, -1000.0, 1000.0, INF], dtype)
    value = value_of(ops.sigmoid, x)
    assert value.dtype == dtype
    np.testing.assert_array_equal(value, [0, 0, 1, 1])
    np.testing.assert_array_equal(bp.grad(lambda x: ops.sum(ops.sigmoid(x)))(x), [0, 0, 0, 0])
    np.testing.assert_array_equal(value_of(ops.softplus, x), [0, 0, 1000, INF])
    np.testing.assert_array_equal(bp.grad(lambda x: ops.sum(ops.softplus(x)))(x), [0, 0, 1, 1])
    np.testing.assert_array_equal(bp.grad(lambda x: ops.sum(ops.tanh(x)))(x), [0, 0, 0, 0])


def test_small_values_keep_their_digits():
    """softplus, expm1, log1p, sigmoid and erf of small or far arguments keep all their digits."""
    np.testing.assert_allclose(ops.softplus(-40.0), math.exp(-40), rtol=1e-15)
    np.testing.assert_allclose(ops.sigmoid(-40.0), math.exp(-40), rtol=1e-15)
    np.testing.assert_allclose(ops.expm1(1e-12), 1e-12, rtol=1e-11)
    np.testing.assert_allclose(ops.log1p(1e-12), 1e-12, rtol=1e-11)
    np.testing.assert_allclose(ops.erf(1e-300), 2 / math.sqrt(math.pi) * 1e-300, rtol=1e-15)


def test_erf_is_exact_to_a_few_units():
    """erf agrees with the C library's to 4 units in the last place, in both precisions, with its limits and NaN."""
    x = np.concatenate([np.linspace(-7, 7, 20_001), 10.0 ** np.arange(-12, 1)])
    expected = np.array([math.erf(v) for v in x])
    assert np.max(np.abs(ops.erf(x) - expected) / np.spacing(np.abs(expected))) <= 4
    single = x.astype(np.float32)
    expected = np.array([math.erf(v) for v in single]).astype(np.float32)
    assert np.max(np.abs(ops.erf(single) - expected) / np.spacing(np.abs(expected))) <= 1
    np.testing.assert_array_equal(ops.erf(np.array([-INF, INF, NAN, 0.0])), [-1, 1, NAN, 0])
    assert np.signbit(ops.erf(-0.0))


def test_log_sum_exp_far_out():
    """log_sum_exp neither overflows nor loses its limits: all -inf is -inf, one inf is inf, of nothing it is -inf."""
    big = np.array([1000.0, 1000.0])
    assert ops.log_sum_exp(big) == pytest.approx(1000 + math.log(2))
    np.testing.assert_allclose(bp.grad(ops.log_sum_exp)(big), [0.5, 0.5])
    assert ops.log_sum_exp(-big) == pytest.approx(-1000 + math.log(2))
    assert ops.log_sum_exp(np.array([-INF, -INF])) == -INF
    assert ops.log_sum_exp(np.array([INF, 0.0])) == INF
    assert ops.log_sum_exp(np.zeros(0)) == -INF
    assert np.isnan(ops.log_sum_exp(np.array([NAN, 0.0])))
    value, gradient = bp.value_and_grad(ops.log_sum_exp)(np.array([-INF, 2.0]))
    assert value == 2.0
    np.testing.assert_array_equal(gradient, [0, 1])


def test_there_is_no_derivative_where_all_are_minus_infinity():
    """Of log_sum_exp of nothing but -inf the derivative is NaN, as PyTorch's: there is none, and it is not hidden."""
    assert np.isnan(bp.grad(ops.log_sum_exp)(np.array([-INF, -INF]))).all()


def test_softmax_of_large_numbers():
    """softmax of numbers far apart is exact at its limits, and its gradient stays finite."""
    x = np.array([1e4, 0.0, -1e4], np.float32)
    np.testing.assert_array_equal(ops.softmax(x), [1, 0, 0])
    assert np.isfinite(bp.grad(lambda x: ops.sum(ops.softmax(x) * np.arange(3.0, dtype=np.float32)))(x)).all()


def test_root_and_logarithm_at_zero():
    """sqrt and log at 0 have infinite derivatives, log of 0 is -inf, of a negative number both are NaN."""
    assert bp.value_and_grad(ops.sqrt)(0.0) == (0.0, INF)
    assert bp.value_and_grad(ops.log)(0.0) == (-INF, INF)
    assert np.isnan(ops.sqrt(-1.0))
    assert np.isnan(ops.log(-1.0))


def test_nan_stays_nan():
    """No operation that compares or reduces turns a NaN into a number."""
    x = np.array([1.0, NAN])
    for value in (
        ops.relu(NAN),
        ops.max(x),
        ops.min(x),
        ops.sum(x),
        ops.maximum(1.0, NAN),
        ops.minimum(NAN, 1.0),
        ops.sign(NAN),
    ):
        assert np.isnan(value)
    assert np.isnan(ops.clip(NAN, 0.0, 1.0))


def dtype_of(function, *arguments):
    """The dtype of the traced function, which its value must have too; at once it must be the same."""
    (node,) = trace(function, *arguments).graph.outputs
    value = value_of(function, *arguments)
    assert value.dtype == node.dtype
    assert value.shape == node.shape
    return node.dtype.name


F32, F64 = np.ones(2, np.float32), np.ones(2)
I32, I64, YES = np.ones(2, np.int32), np.ones(2, np.int64), np.array([True, False])


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (lambda x: x + 1, (F32,), "float32"),
        (lambda x: 2.5 * x, (F32,), "float32"),
        (lambda x: x / 3, (F32,), "float32"),
        (lambda x: x**2.5, (F32,), "float32"),
        (lambda x: x + np.float64(2), (F32,), "float32"),
        (lambda x, y: x + y, (F32, F64), "float64"),
        (lambda x, n: x * n, (F32, I64), "float32"),
        (lambda x, b: x * b, (F32, YES), "float32"),
        (lambda n: n + 1, (I64,), "int64"),
        (lambda n: n + 1, (I32,), "int32"),
        (lambda n: n / 2, (I64,), "float64"),
        (lambda n: n * 0.5, (I64,), "float64"),
        (ops.exp, (I64,), "float64"),
        (lambda n, m: n + m, (I32, I64), "int64"),
        (lambda b: b + 1, (YES,), "int64"),
        (lambda b: 1 - b, (YES,), "int64"),
        (lambda b: -b, (YES,), "int64"),
        (lambda a, b: a - b, (YES, YES), "int64"),
        (ops.sign, (YES,), "int64"),
        (ops.relu, (YES,), "int64"),
        (ops.sum, (YES,), "int64"),
        (ops.sum, (I32,), "int64"),
        (ops.mean, (YES,), "float64"),
        (ops.max, (YES,), "bool"),
        (ops.min, (YES,), "int64"),
        (ops.argmax, (YES,), "int64"),
        (ops.argmax, (F32,), "int64"),
        (lambda x: x > 0, (F32,), "bool"),
        (lambda x: ops.where(x > 0, x, 0), (F32,), "float32"),
        (lambda x: ops.where(x > 0, 1, 0), (F32,), "int64"),
        (lambda x: ops.maximum(x, 0), (F32,), "float32"),
        (lambda x: ops.cast(x, "int32"), (F64,), "int32"),
        *[(lambda n, power=power: n**power, (I64,), "int64") for power in (1, 2, 3)],
        (lambda n: n**4, (I64,), "float64"),
        (ops.mean, (F32,), "float32"),
        (ops.softmax, (F32,), "float32"),
        (lambda x: ops.one_hot(ops.argmax(x), 2), (F64,), "float32"),
        (lambda x: ops.log_softmax(x) @ np.ones((2, 2), np.float32), (F32,), "float32"),
    ],
)
def test_types_of_mixed_arguments(function, arguments, expected):
    """Plain numbers take the type of the arrays; whole numbers never widen a float; halves of them are real."""
    assert dtype_of(function, *arguments) == expected


REAL = [ops.exp, ops.expm1, ops.log, ops.log1p, ops.sqrt, ops.sin, ops.cos, ops.tan, ops.arctan, ops.erf, ops.sigmoid]
REAL += [ops.tanh, ops.softplus, ops.floor, ops.log_sum_exp, lambda x: x / x, lambda x: ops.power(x, 0.5 * x)]


@pytest.mark.parametrize("function", REAL)
def test_real_functions_take_whole_numbers_and_booleans_as_real_ones(function):
    """Of them the result is float64; float32 stays what it is."""
    assert [dtype_of(function, x) for x in (I32, I64, YES, F32)] == ["float64"] * 3 + ["float32"]


def test_masks_count():
    """The sum of a mask counts, its mean is a share, and differences of masks are whole numbers."""
    mask = np.array([True, True, False])
    assert value_of(ops.sum, mask) == ops.sum(mask) == 2
    assert value_of(ops.mean, mask) == ops.mean(mask) == 2 / 3
    np.testing.assert_array_equal(value_of(lambda m: 1 - m, mask), [0, 0, 1])
    assert value_of(ops.min, mask) == ops.min(mask) == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.int8, np.complex128, object, "U3", "M8[s]"])
def test_types_that_are_not_taken_are_named(dtype):
    """Arrays of other types are refused with their type's name, by operations and as constants."""
    x = np.zeros(2, dtype)
    for function in (lambda: ops.exp(x), lambda: trace(lambda y: y + x, 1.0), lambda: ops.constant(x)):
        with pytest.raises(bp.BackpassError, match=str(np.dtype(dtype)).replace("[", r"\[")):
            function()


@pytest.mark.parametrize("value", [2.0, 2, np.float32(2), np.array(2.0), [1.0, 2.0]])
def test_plain_numbers_and_lists_are_taken(value):
    """Functions of operations take plain numbers, NumPy numbers and lists as well as arrays."""
    for function in (
        ops.exp,
        ops.relu,
        ops.softmax,
        ops.sum,
        ops.mean,
        ops.max,
        ops.log_sum_exp,
        ops.flip,
        ops.transpose,
    ):
        if np.ndim(value) or function not in (ops.softmax, ops.flip):
            arguments = (value, 0) if function is ops.flip else (value,)
            assert np.isfinite(function(*arguments)).all()


def test_a_mean_over_two_batch_axes_counts_both():
    """The mean of all products of rows divides by the square of the number of rows."""
    traced = trace(lambda x: ops.mean(x @ ops.transpose(x)), Spec((BATCH, 3), np.float64))
    x = np.random.default_rng(0).normal(size=(5, 3))
    assert float(evaluate(traced, x)) == pytest.approx(float(np.mean(x @ x.T)), rel=1e-12)


def test_a_reshape_that_loses_a_batch_axis_is_refused_when_traced():
    """Two batch axes are not one."""
    with pytest.raises(ShapeError, match="as many elements"):
        trace(lambda x: ops.reshape(x @ ops.transpose(x), (BATCH,)), Spec((BATCH, 3), np.float64))


def test_softmax_of_large_logits_keeps_its_digits():
    """Equal logits of 10,000 have equal shares in float32, which add up to 1."""
    shares = ops.softmax(np.array([1e4, 1e4], np.float32))
    assert shares.tolist() == [0.5, 0.5]


def test_a_product_of_too_many_axes_is_refused():
    """There are as many outer axes as letters, and no more."""
    with pytest.raises(ShapeError, match="at most"):
        ops.matmul(np.zeros((1,) * 40), np.zeros((1, 1)))


def test_numpy_functions_of_a_tensor_say_what_to_use():
    """np.sin of a Tensor names backpass.ops; operators with an array on the left work."""
    with pytest.raises(ShapeError, match=r"np\.sin needs numbers.*backpass\.ops"):
        trace(lambda x: ops.sum(np.sin(x)), np.ones(3))
    traced = trace(lambda x: (np.arange(3.0) + x) * 2.0 > np.ones(3), np.ones(3))
    assert evaluate(traced, np.ones(3)).tolist() == [True, True, True]


def test_a_number_too_large_for_the_type_is_infinite_without_a_warning():
    """1e300 times a float32 is infinite, at once and traced."""
    x = np.ones(2, np.float32)
    assert np.isinf(ops.maximum(x, 1e300)).all()
    assert np.isinf(evaluate(trace(lambda x: x * 1e300, x), x)).all()
