"""Every operation of the catalogue, under the same tests. A new one is under them by its one line there."""

import math
from functools import reduce

import numpy as np
import philox
import pytest
from engine_cases import (
    as_float32,
    called,
    cases,
    drawn,
    every_case,
    every_differentiable_case,
    every_op,
    real,
    same_bits,
    traced,
    value_of,
)

import backpass as bp
from backpass import ops
from backpass.forward import Program, Spec, trace
from backpass.graph import BATCH, verify
from backpass.ops.catalogue import CATALOGUE
from backpass.ops.kinds import Pointwise, Random
from backpass.ops.samples import Domain


def _slice(x, *, spans):
    for axis, span in enumerate(spans):
        if span is not None:
            x = np.take(x, list(range(*span)), axis)
    return x


def _pad(x, *, margins):
    for axis, margin in enumerate(margins):
        if margin is None:
            continue
        before, after, between = margin
        rows = list(np.moveaxis(x, axis, 0))
        spread = [part for row in rows for part in [row, *[np.zeros_like(row)] * between]]
        spread = spread[: len(spread) - between] if rows else []
        zero = np.zeros(np.moveaxis(x, axis, 0).shape[1:])
        grown = [zero] * before + spread + [zero] * after
        x = np.moveaxis(np.stack(grown), 0, axis)
    return x


def _scatter_add(values, indices, *, length):
    result = np.zeros((length, *values.shape[indices.ndim :]))
    np.add.at(result, indices, values)
    return result


def _uniform(state, *, shape, dtype, stream):
    key = (*map(int, state), stream, shape)
    pairs = zip(philox.words(*key), philox.second_words(*key), strict=True)
    bits = {"float32": 24, "float64": 53}[dtype.name]
    return np.array([((first << 32 | second) >> 64 - bits) / 2**bits for first, second in pairs]).reshape(shape)


def _bernoulli(state, *, shape, dtype, stream, probability):
    del dtype
    drawn_words = philox.words(*map(int, state), stream, shape)
    return np.array([float(w < round(probability * 2.0**32)) for w in drawn_words]).reshape(shape)


def _each(function):
    return np.vectorize(function, otypes=[float])


# What each operation means, written a second time and in another way than in its record.
FORMULAS = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a + (-1.0) * b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a * (1 / b),
    "negative": lambda x: 0 - x,
    "absolute": lambda x: np.sqrt(x * x),
    "sign": lambda x: (x > 0) * 1.0 - (x < 0) * 1.0,
    "floor": _each(math.floor),
    "maximum": lambda a, b: (a + b + abs(a - b)) / 2,
    "minimum": lambda a, b: (a + b - abs(a - b)) / 2,
    "where": lambda c, a, b: c * a + (1 - c * 1.0) * b,
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "not": lambda x: ~x,
    "is_finite": lambda x: ~(np.isnan(x) | np.isinf(x)),
    "exp": _each(math.exp),
    "expm1": _each(math.expm1),
    "log": _each(math.log),
    "log1p": _each(math.log1p),
    "sqrt": lambda x: x**0.5,
    "power": lambda a, b: np.exp(b * np.log(a)),
    "sin": _each(math.sin),
    "cos": _each(math.cos),
    "tan": lambda x: np.sin(x) / np.cos(x),
    "arctan": _each(math.atan),
    "erf": _each(math.erf),
    "sigmoid": lambda x: 0.5 + 0.5 * np.tanh(x / 2),
    "tanh": lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1),
    "softplus": lambda x: np.log(1 + np.exp(x)),
    "relu": lambda x: (x > 0) * x,
    "sum": lambda x, *, axes, keepdims: x.sum(axes, keepdims=keepdims),
    "max": lambda x, *, axes, keepdims: x.max(axes, keepdims=keepdims),
    "log_sum_exp": lambda x, *, axes, keepdims: np.log(np.exp(x).sum(axes, keepdims=keepdims)),
    "argmax": lambda x, *, axes, keepdims: np.expand_dims(x.argmax(axes[0]), axes[0]) if keepdims else x.argmax(*axes),
    "reshape": lambda x, *, shape: np.array(x.ravel().tolist()).reshape(shape),
    "transpose": lambda x, *, axes: np.einsum(x, list(range(x.ndim)), list(axes)),
    "broadcast": lambda x, *, shape: x + np.zeros(shape),
    "slice": _slice,
    "pad": _pad,
    "flip": lambda x, *, axes: reduce(lambda y, axis: np.take(y, range(y.shape[axis])[::-1], axis), axes, x),
    "concatenate": lambda *parts, axis: np.moveaxis(
        np.array([row for part in parts for row in np.moveaxis(part, axis, 0)]), 0, axis
    ),
    "contract": lambda a, b, *, spec: np.einsum(spec, a, b),
    "gather": lambda table, indices: np.take(table, indices, 0),
    "scatter_add": _scatter_add,
    "one_hot": lambda indices, *, classes, dtype: np.eye(classes, dtype=dtype)[indices],
    "uniform": _uniform,
    "bernoulli": _bernoulli,
    "cast": lambda x, *, dtype: np.array(x, dtype),
    "identity": lambda x: x,
    "stop_gradient": lambda x: x,
}


def weighed(op, case, seed=1):
    """A real number from the operation: its result, weighed by random numbers and summed."""
    weights = np.random.default_rng(seed).normal(size=np.shape(called(op, case)))
    return lambda *inputs: ops.sum(ops.cast(called(op, case, inputs), np.float64) * weights)


def test_every_operation_has_a_formula():
    """The table above has an entry for every operation of the catalogue, and for nothing else."""
    assert set(FORMULAS) == {op.name for op in CATALOGUE}


def test_names_are_unique():
    """No two operations share a name."""
    assert len({op.name for op in CATALOGUE}) == len(CATALOGUE)


@every_op
def test_samples_cover_the_awkward_sizes(op):
    """The samples of an operation hold a call with a single element and, unless it needs one, an empty one."""
    sizes = {x.size for case in cases(op) for x in case.inputs} | {np.size(called(op, case)) for case in cases(op)}
    assert 1 in sizes or op.name == "argmax"
    assert 0 in sizes or op.name in {"max", "log_sum_exp", "argmax"}


@every_case
def test_value_is_the_formula(op, case):
    """The value of an operation is that of an independent formula."""
    expected = FORMULAS[op.name](*case.inputs, **case.attributes)
    found = called(op, case)
    assert np.shape(found) == np.shape(expected)
    tolerance = 1e-6 if np.asarray(found).dtype == np.float32 else 1e-12
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@every_case
def test_inferred_shape_and_type_are_those_of_the_value(op, case):
    """Shape and dtype known when traced are those that the evaluator gives, in both precisions."""
    for inputs in (case.inputs, as_float32(case.inputs)):
        graph = verify(traced(op, case, inputs).graph)
        for node, value in Program(graph).every_value(*inputs).items():
            assert value.shape == node.shape
            assert value.dtype == node.dtype


@every_case
def test_at_once_or_traced_gives_the_same_bits(op, case):
    """An operation of arrays, calculated at once, gives bit for bit what the traced graph gives."""
    for inputs in (case.inputs, as_float32(case.inputs)):
        (value,) = Program(traced(op, case, inputs).graph)(*inputs)
        assert same_bits(called(op, case, inputs), value)


@every_case
def test_float32_in_float32_out(op, case):
    """An operation of float32 inputs stays in float32, near its value in float64."""
    single = np.asarray(called(op, case, as_float32(case.inputs)))
    double = np.asarray(called(op, case))
    if "dtype" in case.attributes:
        assert single.dtype == case.attributes["dtype"]
    elif double.dtype.kind == "f":
        assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=2e-5, atol=2e-5)


@every_case
def test_a_float32_graph_runs_in_float64(op, case):
    """Of a graph traced in float32, the override to float64 gives the values of the graph traced in float64."""
    graph = traced(op, case, as_float32(case.inputs)).graph
    (value,) = Program(graph, precision="float64")(*case.inputs)
    assert np.asarray(value).dtype != np.float32
    np.testing.assert_allclose(value, called(op, case), rtol=1e-7, atol=1e-7 if isinstance(op, Random) else 0)


@every_differentiable_case
def test_gradient_is_the_finite_difference(op, case):
    """The derivative rule of an operation agrees with central differences, for every input."""
    report = bp.check_gradients(weighed(op, case), *case.inputs)
    assert report, f"\n{report}"
    assert report.kinks == 0


@every_differentiable_case
def test_gradient_of_the_gradient_is_the_finite_difference(op, case):
    """The derivative of a random projection of the gradient agrees with central differences."""
    places = real(case)
    first = bp.grad(weighed(op, case), places)
    ways = [np.random.default_rng(2).normal(size=case.inputs[place].shape) for place in places]

    def projected(*inputs):
        return sum(ops.sum(g * way) for g, way in zip(first(*inputs), ways, strict=True))

    report = bp.check_gradients(projected, *case.inputs)
    assert report, f"\n{report}"


@every_differentiable_case
def test_gradient_has_shape_and_type_of_its_input(op, case):
    """A gradient has the shape and dtype of what it is taken by, in float32 too."""
    places = real(case)
    for inputs in (case.inputs, as_float32(case.inputs)):
        for place, gradient in zip(places, bp.grad(weighed(op, case), places)(*inputs), strict=True):
            assert np.shape(gradient) == inputs[place].shape
            assert np.asarray(gradient).dtype == inputs[place].dtype


POINTWISE = [op for op in CATALOGUE if isinstance(op, Pointwise) and isinstance(op.samples, Domain)]


@pytest.mark.parametrize("rows", [0, 1, 5])
@pytest.mark.parametrize("op", POINTWISE, ids=lambda op: op.name)
def test_pointwise_operations_stretch_along_the_batch(op, rows):
    """A pointwise operation of a batch and of what stretches along it gives, at any number of rows, the formula."""
    rng = np.random.default_rng(3)
    count = len(op.samples.bounds)
    shapes = [((BATCH, 4), (4,), ()), ((BATCH, 1), (1, 4), (BATCH, 4)), ((BATCH,), (1,), ())]
    for given in shapes:
        specs = [Spec(shape, np.float64) for shape in given[:count]]
        graph = verify(trace(lambda *xs: ops.apply(op, *xs, **op.samples.attributes), *specs).graph)
        inputs = [
            drawn(rng, *bounds, tuple(rows if axis is BATCH else axis for axis in shape), op.kinks)
            for bounds, shape in zip(op.samples.bounds, given, strict=False)
        ]
        (value,) = Program(graph)(*inputs)
        expected = FORMULAS[op.name](*inputs, **op.samples.attributes)
        bound = tuple(rows if axis is BATCH else axis for axis in graph.outputs[0].shape)
        assert np.shape(value) == bound == np.shape(expected)
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


def test_gradient_stretches_along_the_batch():
    """The gradient by what was stretched along the batch is the sum over its rows, at any number of rows."""

    def total(x, b):
        return ops.sum(x * ops.tanh(b) + b)

    graph = trace(bp.grad(total, (0, 1)), Spec((BATCH, 3), np.float64), Spec((3,), np.float64)).graph
    verify(graph)
    b = np.array([0.1, -0.2, 0.3])
    for rows in (0, 1, 4):
        x = np.arange(3.0 * rows).reshape(rows, 3)
        dx, db = Program(graph)(x, b)
        np.testing.assert_allclose(dx, np.broadcast_to(np.tanh(b), (rows, 3)))
        np.testing.assert_allclose(db, x.sum(0) * (1 - np.tanh(b) ** 2) + rows)


def test_no_error_flows_through_stop_gradient():
    """The value passes through stop_gradient, its error does not."""
    assert bp.grad(lambda x: x * ops.stop_gradient(x))(3.0) == 3.0


def test_mean_over_the_batch_divides_by_its_rows():
    """The mean over the batch axis divides by the number of rows that there are when it runs."""
    graph = trace(lambda x: ops.mean(x, 0), Spec((BATCH, 2), np.float64)).graph
    np.testing.assert_array_equal(Program(graph)([[1.0, 2.0], [3.0, 6.0]])[0], [2.0, 4.0])


@pytest.mark.parametrize(
    ("function", "formula"),
    [
        (ops.softmax, lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
        (lambda x: ops.log_softmax(x, 0), lambda x: np.log(np.exp(x) / np.exp(x).sum(0, keepdims=True))),
        (lambda x: ops.mean(x, (0, 1)), np.mean),
        (lambda x: ops.min(x, 1), lambda x: x.min(1)),
        (lambda x: ops.clip(x, -0.5, 0.5), lambda x: np.clip(x, -0.5, 0.5)),
        (ops.square, lambda x: x**2),
        (lambda x: ops.power(x, 3), lambda x: x**3),
        (lambda x: ops.stack([x, 2 * x], 1), lambda x: np.stack([x, 2 * x], 1)),
        (lambda x: ops.stack([x, 2 * x], -1), lambda x: np.stack([x, 2 * x], -1)),
        (lambda x: ops.flip(x, -1), lambda x: x[:, ::-1]),
        (ops.transpose, lambda x: x.T),
        (lambda x: ops.greater(x, 0.0), lambda x: x > 0),
        (lambda x: ops.greater_equal(x, 0.0), lambda x: x >= 0),
        (lambda x: 2.0**x - 1.0 / (x + 9.0), lambda x: 2.0**x - 1.0 / (x + 9.0)),
    ],
)
def test_composed_functions(function, formula):
    """What is composed of operations gives NumPy's value, traced and at once, and the right gradient."""
    x = np.random.default_rng(4).normal(size=(3, 4))
    np.testing.assert_allclose(function(x), formula(x), rtol=1e-12)
    np.testing.assert_allclose(value_of(function, x), formula(x), rtol=1e-12)
    assert bp.check_gradients(lambda x: ops.sum(ops.cast(function(x), np.float64) * 1.5), x)
