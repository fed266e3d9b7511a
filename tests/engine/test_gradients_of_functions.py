"""`grad` and `value_and_grad` of Python functions, and what is said where there is no gradient."""

import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest

import backpass as bp
from backpass import ops
from backpass.errors import ShapeError
from backpass.forward import Program, Spec, trace
from backpass.graph import BATCH


class Layer(NamedTuple):
    weight: object
    bias: object


def test_gradient_of_nested_parameters_has_their_structure():
    """The gradient by dictionaries, lists, tuples and named tuples, nested, has their structure and order."""
    parameters = {"b": [np.array([1.0, 2.0]), (np.array(3.0),)], "a": Layer(np.ones((2, 2)), None)}

    def f(p):
        return ops.sum(p["b"][0] * p["b"][1][0]) + ops.sum(ops.square(p["a"].weight))

    value, gradient = bp.value_and_grad(f)(parameters)
    assert value == 13.0
    assert list(gradient) == ["b", "a"]
    np.testing.assert_array_equal(gradient["b"][0], [3.0, 3.0])
    assert gradient["b"][1] == (3.0,)
    assert isinstance(gradient["a"], Layer)
    np.testing.assert_array_equal(gradient["a"].weight, 2 * np.ones((2, 2)))
    assert gradient["a"].bias is None


def test_several_arguments():
    """By several arguments the gradient is a tuple, in the order in which they were asked for."""
    assert bp.grad(lambda x, y, z: x * y * y + z, (1, 0))(2.0, 3.0, 1.0) == (12.0, 9.0)
    assert bp.grad(lambda x, y: x * y, 1)(2.0, 3.0) == 2.0


def test_third_derivative_of_a_polynomial():
    """grad of grad of grad of x^5 - 2 x^3 is 60 x^2 - 12."""
    third = bp.grad(bp.grad(bp.grad(lambda x: x**5 - 2 * x**3)))
    for x in (-1.5, 0.0, 2.0):
        assert third(x) == pytest.approx(60 * x * x - 12)


@pytest.mark.parametrize("function", [ops.tanh, ops.sigmoid, ops.exp, ops.sin, ops.erf, ops.softplus])
def test_third_derivatives_by_differences_of_the_second(function):
    """The third derivative is the slope of the second, so rules can be differentiated as often as one likes."""
    second = bp.grad(bp.grad(function))
    h = 1e-5
    assert bp.grad(second)(0.3) == pytest.approx((second(0.3 + h) - second(0.3 - h)) / (2 * h), rel=1e-7)


def test_no_confusion_of_perturbations():
    """In grad(x * grad(x y by y)) the inner x is a constant to the inner gradient and a variable to the outer one."""
    assert bp.grad(lambda x: x * bp.grad(lambda y: x * y)(x))(3.0) == 6.0
    assert bp.grad(lambda x: x * bp.grad(lambda y: x + y)(1.0))(3.0) == 1.0


def test_inner_gradient_at_numbers_uses_outer_tensors():
    """A gradient taken at plain numbers, inside a function being traced, may use that function's Tensors."""
    assert bp.grad(lambda x: bp.grad(lambda y: x * x * y * y)(2.0))(3.0) == 24.0
    assert bp.grad(lambda x: bp.grad(lambda z, y: z * y * y, 1)(x, 2.0))(3.0) == 4.0
    value, gradient = bp.grad(lambda x: bp.value_and_grad(lambda y: x * y)(2.0)[0])(3.0), 2.0
    assert value == gradient


def test_ignored_arguments_have_zero_gradient():
    """An argument that the function ignores has a gradient of zeros, in its own shape and type."""
    gx, gy = bp.grad(lambda x, y: x * 2.0, (0, 1))(1.0, np.ones((2, 3), np.float32))
    assert gx == 2.0
    assert gy.dtype == np.float32
    np.testing.assert_array_equal(gy, np.zeros((2, 3)))
    assert bp.value_and_grad(lambda x: 3.5)(1.0) == (3.5, 0.0)


def test_whole_arguments_beside_real_ones():
    """Whole numbers that are not differentiated by stay whole: labels, row numbers, powers."""
    table = np.arange(6.0).reshape(3, 2)
    gradient = bp.grad(lambda t, i: ops.sum(t[i] ** 2))(table, np.array([2, 2]))
    np.testing.assert_array_equal(gradient, [[0, 0], [0, 0], [16, 20]])
    np.testing.assert_array_equal(bp.grad(lambda t, i: ops.sum(t[i]))(table, 1), [[0, 0], [1, 1], [0, 0]])


def test_whole_numbers_are_varied_as_real_ones():
    """A whole number differentiated by is taken as a float64, at once and inside another function."""
    gradient = bp.grad(lambda x: ops.sum(x * x))(np.array([1, 2]))
    assert gradient.dtype == np.float64
    np.testing.assert_array_equal(gradient, [2.0, 4.0])
    inner = trace(bp.grad(lambda x: x * x * 0.25), Spec((), np.int64))
    assert bp.evaluate(inner, 3) == 1.5


def test_gradients_are_own_arrays():
    """Gradients can be written into without changing one another or the arguments."""
    x = np.ones(3)
    value, (ga, gb) = bp.value_and_grad(lambda a, b: ops.sum(a + b), (0, 1))(x, x)
    ga *= 5
    assert value == 6.0
    np.testing.assert_array_equal(gb, np.ones(3))
    np.testing.assert_array_equal(x, np.ones(3))


def test_float32_stays_float32():
    """Value and gradient of a float32 function, with plain numbers in it, are float32."""
    value, gradient = bp.value_and_grad(lambda x: ops.mean(ops.sigmoid(2.0 * x + 1) ** 2 / 3))(np.ones(4, np.float32))
    assert value.dtype == gradient.dtype == np.float32


def test_gradient_flows_through_a_change_of_type():
    """The error flows back through a cast, in the type of its input."""
    gradient = bp.grad(lambda x: ops.sum(ops.cast(x, np.float64) * 3.0))(np.ones(2, np.float32))
    assert gradient.dtype == np.float32
    np.testing.assert_array_equal(gradient, [3.0, 3.0])
    assert bp.grad(lambda x: ops.cast(ops.cast(x, np.int64), np.float64) + x)(2.5) == 1.0


def test_a_value_used_twice_has_the_sum_of_the_errors():
    """The error of a value is the sum over everything that uses it."""
    assert bp.grad(lambda x: x * x + x * 3.0 - x / 2.0)(5.0) == pytest.approx(12.5)


SHAPES = [shape for rank in range(4) for shape in itertools.product((1, 2), repeat=rank)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_was_stretched_has_the_sum_of_its_errors(shape):
    """Of a value of any shape that is stretched to any other, the error is the sum over what it was stretched to."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=shape)
    for other in SHAPES:
        w = rng.normal(size=other)
        _, pull = np.broadcast_arrays(x, w)
        wanted = pull.sum(tuple(range(pull.ndim - x.ndim)))
        wanted = wanted.sum(tuple(i for i in range(x.ndim) if x.shape[i] != wanted.shape[i]), keepdims=True)
        found = bp.grad(lambda x, w=w: ops.sum(x * w))(x)
        assert found.shape == shape
        assert np.allclose(found, wanted.reshape(shape))


def test_hessian_of_a_quadratic_form():
    """The gradient of the gradient's projections gives the rows of the Hessian, here A + A'."""
    a = np.random.default_rng(7).normal(size=(3, 3))
    first = bp.grad(lambda x: ops.sum(x * ops.matmul(a, x)))
    rows = [bp.grad(lambda x, unit=unit: ops.sum(first(x) * unit))(np.ones(3)) for unit in np.eye(3)]
    np.testing.assert_allclose(rows, a + a.T)


def raised_by(function, *arguments):
    with pytest.raises(ShapeError) as caught:
        bp.grad(function)(*(arguments or (np.ones(3),)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_gradient_is_of_one_number():
    """A function of several numbers has no gradient, and the message says what to do."""
    assert raised_by(lambda x: x * 2.0).endswith("a value of shape [3]: sum or average it")
    assert "tuple" in raised_by(lambda x: (ops.sum(x), ops.sum(x)))
    assert "NoneType" in raised_by(lambda x: None)
    assert "real number" in raised_by(ops.argmax)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda x: x if x > 0 else -x, "ops.where"),
        (lambda x: max(x, 2.0), "ops.where"),
        (lambda x: x in [1.0, 2.0], "ops.where"),
        (float, "no number yet"),
        (int, "no number yet"),
        (lambda x: list(range(x)), "no number yet"),
        (math.sin, "no number yet"),
        (np.asarray, "backpass.ops"),
        (list, "length"),
        (len, "length"),
        (lambda x: x + None, "type object"),
        (lambda x: x + "a", "type"),
        (lambda x: x * np.complex128(1j), "complex"),
        (lambda x: ops.cast(x, np.float16), "float16"),
    ],
)
def test_what_a_tensor_cannot_do_is_said(use, message):
    """Asking a Tensor for a number, a truth or an array raises an error that names the way out."""
    assert message in raised_by(use, 1.0)


def test_iterating_over_rows():
    """A Tensor with a known first axis can be iterated over; one of unknown length says so."""
    assert bp.evaluate(trace(lambda x: sum(ops.sum(row) for row in x), np.ones((3, 2))), np.ones((3, 2))) == 6.0
    with pytest.raises(ShapeError, match=r"\[batch, 2\] has no length"):
        trace(lambda x: [*x], Spec((BATCH, 2)))


def test_shapes_that_do_not_fit_are_named_with_the_place():
    """A mismatch names the operation, the place in the user's code and both shapes, once."""
    from backpass.graph import scope

    def f(x):
        with scope("hidden_1"):
            return x + np.ones(4)

    with pytest.raises(ShapeError) as caught:
        trace(f, np.ones(3))
    assert str(caught.value) == "add in hidden_1: shapes [3] and [4] do not broadcast together"


def test_a_derivative_has_the_name_of_what_it_is_of():
    """With a prime; that of a node without a name has none."""
    from backpass.graph import scope

    def f(x):
        with scope("hidden_1"):
            y = ops.tanh(x)
        return ops.sin(y)

    assert {node.name for node in trace(bp.grad(f), 1.0).graph.nodes if node.inputs} == {"hidden_1", "hidden_1'", ""}


def test_a_tensor_of_another_trace_is_refused():
    """A Tensor kept from another trace has no value, and that is said before anything runs."""
    kept = []
    trace(lambda x: kept.append(x) or x, Spec((), np.float64))
    with pytest.raises(ShapeError, match="another"):
        Program(trace(lambda y: y + kept[0], 1.0).graph)


def test_arguments_are_matched_by_structure():
    """Arguments whose structure is not that of the trace are refused, not mixed up."""
    traced = trace(lambda p: p["a"] - p["b"], {"a": 1.0, "b": 2.0})
    assert bp.evaluate(traced, {"a": 5.0, "b": 3.0}) == 2.0
    with pytest.raises(ShapeError, match="traced for"):
        bp.evaluate(traced, {"b": 3.0, "a": 5.0})
    with pytest.raises(ShapeError, match="traced for"):
        bp.evaluate(traced, {"a": 5.0})


@pytest.mark.parametrize("result", [None, {}, []])
def test_a_function_that_returns_nothing_cannot_be_traced(result):
    """Tracing a function that returns no value says so."""
    with pytest.raises(ShapeError, match="returned nothing"):
        trace(lambda x: result, 1.0)
