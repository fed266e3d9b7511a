"""Graphs: the verifier, the text form, the walk, the batch axis."""

import time
from dataclasses import replace

import numpy as np
import pytest

import backpass as bp
from backpass import ops
from backpass.errors import ShapeError
from backpass.forward import Program, Spec, trace
from backpass.graph import BATCH, Graph, bind_rows, broadcast, rewrite, scope, verify, walk
from backpass.simplify import simplify


def small():
    def f(x, w):
        with scope("hidden_1"):
            h = ops.tanh(x @ w + 1.0)
        return ops.mean(h, 0), h

    return trace(f, Spec((BATCH, 2)), Spec((2, 3)), names=("x", "w")).graph


def test_text_form():
    """A graph prints one node a line: number, operation, inputs, attributes, type, shape, and the name in the code."""
    assert str(small()).splitlines() == [
        "%0 = input(shape=(batch, 2), dtype=float32)  float32[batch, 2]  # x",
        "%1 = input(shape=(2, 3), dtype=float32)  float32[2, 3]  # w",
        "%2 = contract(%0, %1, spec=ik,kj->ij)  float32[batch, 3]  # hidden_1",
        "%3 = constant(value=1.0)  float32[]  # hidden_1",
        "%4 = add(%2, %3)  float32[batch, 3]  # hidden_1",
        "%5 = tanh(%4)  float32[batch, 3]  # hidden_1",
        "%6 = sum(%5, axes=(0,), keepdims=False)  float32[3]",
        "%7 = rows(count=batch, shape=(), dtype=float32)  float32[]",
        "%8 = constant(value=1.0)  float32[]",
        "%9 = multiply(%7, %8)  float32[]",
        "%10 = divide(%6, %9)  float32[3]",
        "return %10, %5",
    ]


def test_nodes_of_the_backward_pass_carry_a_dash():
    """The errors of a node are named after it with a dash, so that they can be found in the text form; or not named."""

    def f(x):
        with scope("hidden_1"):
            y = ops.exp(x)
        return ops.sum(y * y)

    nodes = trace(bp.grad(f), Spec((3,)), names=("given",)).graph.nodes
    assert {node.name for node in nodes} == {"given", "hidden_1", "hidden_1'", ""}


def tampered(**changes):
    """The small graph with its tanh changed."""
    graph = small()
    return rewrite(graph, lambda node: replace(node, **changes) if node.op.name == "tanh" else node)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (lambda: tampered(shape=(BATCH, 4)), "gives shape"),
        (lambda: tampered(dtype=np.dtype(np.float64)), "gives dtype"),
        (lambda: tampered(shape=(BATCH, -3)), "is no size"),
        (lambda: tampered(shape=(BATCH, True)), "is no size"),
        (lambda: tampered(shape=(BATCH, 3.0)), "is no size"),
        (lambda: tampered(attributes={"axes": [1]}), "can be changed"),
        (lambda: tampered(attributes={"value": np.ones(2)}), "can be changed"),
        (lambda: Graph(small().inputs, small().outputs), "does not list"),
        (lambda: Graph((g := small()).inputs * 2, g.outputs), "stands twice"),
    ],
)
def test_the_verifier_finds_what_was_tampered_with(graph, message):
    """A node with another shape, type or attributes than its operation gives is found, and so are foreign inputs."""
    assert verify(small()) is not None
    with pytest.raises(AssertionError, match=message):
        verify(graph())


def test_the_walk_gives_inputs_before_their_users_and_each_once():
    """In the order of the walk every node stands once, after all that it needs."""
    graph = small()
    order = walk(graph.outputs)
    assert len(order) == len(set(order)) == len(graph.nodes)
    place = {node: i for i, node in enumerate(order)}
    assert all(place[x] < place[node] for node in order for x in node.inputs)


def test_nodes_are_frozen_and_equal_only_to_themselves():
    """A node cannot be changed, and two nodes of the same meaning are two nodes."""
    node = small().outputs[0]
    with pytest.raises(AttributeError):
        node.shape = ()
    assert len({ops.constant(1.0), ops.constant(1.0)}) == 2


def chain(x, length):
    for _ in range(length // 2):
        x = ops.sin(ops.tanh(x))
    return x


def test_deep_graphs_need_no_recursion():
    """A chain of 50,000 nodes is traced, verified, simplified, printed and run, in seconds."""
    start = time.perf_counter()
    graph = verify(trace(lambda x: chain(x, 50_000), Spec((), np.float64)).graph)
    program = Program(simplify(graph))
    assert len(graph.nodes) == 50_001
    assert str(graph).count("\n") == 50_001
    assert program(0.5)[0] == program.every_value(0.5)[program.graph.outputs[0]]
    assert time.perf_counter() - start < 60  # seconds: it is 2 or 3 on a quiet machine, hours if it were quadratic


def test_deep_graphs_are_differentiated_without_recursion():
    """The derivative of a chain of 10,000 nodes is that of the chain rule."""
    value, slope = bp.value_and_grad(lambda x: chain(x, 10_000))(0.5)
    x, expected = 0.5, 1.0
    for _ in range(5_000):
        h = np.tanh(x)
        expected *= (1 - h * h) * np.cos(h)
        x = np.sin(h)
    assert value == pytest.approx(x)
    assert slope == pytest.approx(expected)


def two_inputs():
    return trace(lambda x, y: (ops.sum(x, 1) + y, ops.sum(x)), Spec((BATCH, 2)), Spec((BATCH,)), names=("x", "y")).graph


@pytest.mark.parametrize("rows", [0, 1, 2, 7])
def test_any_number_of_rows(rows):
    """The batch axis takes any number of rows, none and one included."""
    per_row, total = Program(two_inputs())(np.ones((rows, 2)), np.ones(rows))
    np.testing.assert_array_equal(per_row, np.full(rows, 3.0))
    assert total == 2 * rows


def test_mismatched_rows_are_named():
    """Two inputs with different numbers of rows are refused by name and number; so is another number of columns."""
    program = Program(two_inputs())
    with pytest.raises(ShapeError, match=r"input 'y' has 4 rows where another input has 3"):
        program(np.ones((3, 2)), np.ones(4))
    with pytest.raises(ShapeError, match=r"input 'x' has shape \[3, 5\], expected \[batch, 2\]"):
        program(np.ones((3, 5)), np.ones(3))
    with pytest.raises(ShapeError, match="takes 2 inputs, found 1"):
        program(np.ones((3, 2)))


def test_the_batch_needs_an_input_that_has_it():
    """A graph with a batch axis that no input has cannot know its rows, and says so."""
    graph = trace(lambda x: ops.broadcast_to(x, (BATCH, 2)), Spec((2,))).graph
    with pytest.raises(ShapeError, match="number of rows is not known"):
        Program(graph)(np.ones(2))


def test_the_batch_axis_keeps_its_rows():
    """The batch axis cannot be merged, indexed, padded, joined or moved by a reshape; it can be kept by -1."""
    x = Spec((BATCH, 6))
    assert trace(lambda x: ops.reshape(x, (-1, 2, 3)), x).graph.outputs[0].shape == (BATCH, 2, 3)
    assert trace(lambda x: ops.reshape(x, (BATCH, -1)), x).graph.outputs[0].shape == (BATCH, 6)
    assert trace(lambda x: x[:, None, ::2], x).graph.outputs[0].shape == (BATCH, 1, 3)
    assert trace(lambda x: x.T, x).graph.outputs[0].shape == (6, BATCH)
    for refused in (
        lambda x: ops.reshape(x, (6, BATCH)),
        lambda x: ops.reshape(x, (2, BATCH, 3)),
        lambda x: ops.reshape(x, (12,)),
        lambda x: ops.reshape(x, (-1, 4)),
        lambda x: x[0],
        lambda x: x[1:],
        lambda x: ops.concatenate([x, x], 0),
        lambda x: x + ops.transpose(x),
        lambda x: ops.pad(x, [(1, 0, 0), None]),
    ):
        with pytest.raises(ShapeError):
            trace(refused, x)


def test_broadcasting_of_shapes():
    """Shapes stretch by NumPy's rule; the batch stretches ones alone."""
    assert broadcast([(3, 1), (4,)]) == (3, 4)
    assert broadcast([(0,), (1,)]) == (0,)
    assert broadcast([]) == ()
    assert broadcast([(BATCH, 1), (1, 5), ()]) == (BATCH, 5)
    for shapes in ([(2,), (3,)], [(BATCH,), (2,)], [(0,), (2,)]):
        with pytest.raises(ShapeError, match="do not broadcast"):
            broadcast(shapes)


def test_bind_rows_reaches_into_tuples():
    """Every batch axis in an attribute, however deep, becomes the number of rows."""
    assert bind_rows(((BATCH, 2), "a", BATCH), 5) == ((5, 2), "a", 5)


def test_scopes_nest_and_end_with_an_error():
    """Names nest with dots, and an error inside leaves the name outside as it was."""
    from backpass.graph import current_scope

    with scope("a"), scope("b"):
        assert current_scope() == "a.b"
    with pytest.raises(ValueError, match="x"), scope("a"):
        raise ValueError("x")
    assert current_scope() == ""
