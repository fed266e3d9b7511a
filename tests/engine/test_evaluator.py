"""The reference evaluator: every value on request; and, where memory is used again, never the wrong one."""

import numpy as np
import pytest
from engine_cases import same_bits
from hypothesis import given
from random_graphs import graphs

import backpass as bp
from backpass import ops
from backpass.forward import Program, Spec, trace
from backpass.graph import BATCH
from backpass.ops.kinds import Pointwise


def agrees(graph, inputs):
    """Run the graph by both ways; True where each output has the same bits, and nothing given was written into."""
    program = Program(graph)
    kept = [np.array(x) for x in inputs]
    constants = {n: n.attributes["value"].copy() for n in graph.nodes if "value" in n.attributes}
    values = program.every_value(*inputs)
    expected = [np.array(values[node]) for node in graph.outputs]
    found = program(*inputs)
    again = program(*inputs)
    return (
        all(map(same_bits, expected, found))
        and all(map(same_bits, expected, again))
        and all(same_bits(values[node], copy) for node, copy in zip(graph.outputs, expected, strict=True))
        and all(map(same_bits, kept, inputs))
        and all(same_bits(n.attributes["value"], copy) for n, copy in constants.items())
    )


@given(graphs())
def test_reused_memory_never_changes_a_value(drawn):
    """Outputs are bit for bit those of `every_value`, which reuses nothing, and neither inputs nor constants change."""
    graph, inputs = drawn
    assert agrees(graph, inputs)


@given(graphs())
def test_read_only_and_shared_arguments_will_do(drawn):
    """The evaluator takes read-only arrays, and the same array for every input."""
    graph, inputs = drawn
    for x in inputs:
        x.flags.writeable = False
    assert agrees(graph, inputs)
    assert agrees(graph, [inputs[0]] * len(inputs))


def row(x):
    """A row of x found by a number that is calculated."""
    return ops.gather(x, ops.argmax(ops.sum(x, 1)))


X = np.arange(9.0).reshape(3, 3) / 4


@pytest.mark.parametrize(
    "function",
    [
        lambda x: [(h := x + 1.0), h * 2.0],
        lambda x: [(h := x + 1.0), h, -h],
        lambda x: [x, -x, x],
        lambda x: [(h := x + 1.0).T, h * 2.0],
        lambda x: [(h := x + 1.0).T * 1.5 + h],
        lambda x: [(h := x + 1.0)[1:], -h],
        lambda x: [ops.broadcast_to((h := -x)[0], (3, 3)) + (h + h)],
        lambda x: [ops.reshape((h := -x), (9,)), h - 1.0],
        lambda x: [ops.identity(h := -x), h - 1.0],
        lambda x: [ops.stop_gradient(h := -x), h * h],
        lambda x: [ops.flip((h := -x), 0), h * h],
        lambda x: [row(h := -x), h * h],
        lambda x: [ops.sum((h := -x), ()), h * h],
        lambda x: [ops.max((h := -x), ()), h * h],
        lambda x: [ops.concatenate([(h := -x)]), h * h],
        lambda x: [ops.pad((h := -x), [None, None]), h * h],
        lambda x: [ops.cast((h := -x), np.float64), h * h],
        lambda x: [ops.where(x > 0, (h := -x), 0.0), h * h],
        lambda x: [(h := x + 1.0) * h, h / (h + 1.0)],
        lambda x: [(h := x[0] + 1.0) * (x + 1.0), h],
        lambda x: [-x > 0.5, ops.equal(-x, -x)],
        lambda x: [-x[0] + x, x * -x[0]],
        lambda x: [(h := x + 1.0) @ h, h * 2.0],
        lambda x: [(h := x + 1.0) @ h.T, h * 2.0],
        lambda x: [ops.einsum("ij,ij->j", (h := -x), h), -h],
        lambda x: [(h := ops.constant(X) * 1.0), h + x, ops.constant(X)],
        lambda x: [ops.constant(X), ops.constant(X).T, ops.constant(X) + x],
        lambda x: [(x > 0), ops.logical_and(x > 0, x < 1), ops.logical_not(x > 0)],
    ],
)
def test_views_and_outputs_keep_their_values(function):
    """Outputs that are inputs, inner values, constants, views of a value, or the same twice keep their values."""
    graph = trace(function, X).graph
    assert agrees(graph, [X.copy()])


def test_memory_is_reused_at_all():
    """In a chain of pointwise operations one array is enough: the tests above are about something."""
    program = Program(trace(lambda x: ops.exp(-ops.exp(-x)), X).graph)
    assert sum(step.into >= 0 for step in program._steps) == 3


def test_an_operation_that_is_no_ufunc_is_never_given_memory():
    """An operation of one's own may return its input; its value is never written over."""
    same = Pointwise(name="same", forward=lambda x: x, derivative=lambda dy, y, x: (dy,))
    graph = trace(lambda x: [(h := -x), ops.apply(same, h + 1.0), -ops.apply(same, h)], X).graph
    assert agrees(graph, [X.copy()])


def test_constants_are_safe_from_the_caller():
    """Writing into an output that is a constant, or a view of one, is refused: the next run gives the same."""
    for precision in (None, "float32", "float64"):
        program = Program(trace(lambda x: [ops.constant(X), ops.constant(X).T], 1.0).graph, precision=precision)
        for output in program(1.0):
            with pytest.raises(ValueError, match="read-only"):
                output[0, 0] = 1


def test_every_value_has_every_node():
    """`every_value` returns the value of every node, inputs and constants included, each of its shape and type."""
    graph = trace(lambda p, x: bp.value_and_grad(lambda p: ops.sum(ops.tanh(x @ p)))(p), X, Spec((BATCH, 3))).graph
    values = Program(graph).every_value(X, np.ones((4, 3)))
    assert set(values) == set(graph.nodes)
    for node, value in values.items():
        assert isinstance(value, np.ndarray)
        assert value.dtype == node.dtype
        assert value.shape == tuple(4 if axis is BATCH else axis for axis in node.shape)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_precision_is_that_of_every_real_value(precision):
    """With a precision every real value has it, and whole numbers and booleans stay as they are."""
    graph = trace(
        lambda x, i: [x[i] * 1.5 + ops.uniform(ops.Key.of(0), (3,)), x > 0, i, ops.cast(i, np.float32)], X, np.arange(2)
    ).graph
    for node, value in Program(graph, precision=precision).every_value(X, np.arange(2)).items():
        assert value.dtype == (np.dtype(precision) if node.dtype.kind == "f" else node.dtype)


def test_precision_reaches_the_constants():
    """In float64, a float32 graph calculates with all the digits of the inputs."""
    graph = trace(lambda x: x / 3.0, Spec((), np.float32)).graph
    assert Program(graph, precision="float64")(0.1)[0] == 0.1 / 3.0
    assert Program(graph)(0.1)[0] == np.float32(0.1) / np.float32(3.0)


def test_no_warnings_and_nan_stays_nan():
    """Overflow, division by 0 and NaN pass without warnings, in both ways and at once."""
    graph = trace(
        lambda x: [ops.exp(x) / 0.0 - np.inf, ops.relu(x), ops.maximum(x, 0.0), ops.max(x), ops.sigmoid(x)], X[0]
    )
    bad = np.array([np.nan, 1e9, -1e9])
    for outputs in (Program(graph.graph)(bad), [ops.relu(bad)]):
        assert all(np.isnan(output).any() for output in outputs)
