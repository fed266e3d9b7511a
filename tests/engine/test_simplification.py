"""Simplification: every output keeps its bits, and the graph gets smaller."""

import numpy as np
import pytest
from engine_cases import same_bits
from hypothesis import given
from random_graphs import graphs

import backpass as bp
from backpass import ops
from backpass.forward import Program, Spec, trace
from backpass.graph import BATCH, verify
from backpass.ops.catalogue import CATALOGUE
from backpass.ops.elementary import POWER
from backpass.simplify import PASSES, simplify


@given(graphs())
def test_no_pass_changes_a_bit(drawn):
    """After every pass the graph is sound, and every output has the bits it had, infinities, NaN and -0 included."""
    graph, inputs = drawn
    before = Program(graph).every_value(*inputs)
    expected = [before[node] for node in graph.outputs]
    for one_pass in PASSES:
        graph = verify(one_pass(graph))
        after = Program(graph).every_value(*inputs)
        assert all(same_bits(after[node], value) for node, value in zip(graph.outputs, expected, strict=True))


@given(graphs())
def test_simplifying_twice_is_simplifying_once(drawn):
    """A simplified graph has no more nodes than before and stays as it is when simplified again."""
    graph, _ = drawn
    once = simplify(graph)
    assert len(once.nodes) <= len(graph.nodes)
    assert len(simplify(once).nodes) == len(once.nodes)


def names(function, *arguments):
    graph = simplify(trace(function, *arguments).graph)
    return [node.op.name for node in graph.nodes if node.op.name != "input"]


X = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    "function",
    [
        ops.identity,
        lambda x: x * 1.0,
        lambda x: 1.0 * x,
        lambda x: x * np.ones((1, 3), np.float32),
        lambda x: x / 1.0,
        lambda x: x - 0.0,
        lambda x: x + -0.0,
        lambda x: -0.0 + x,
        lambda x: ops.apply(POWER, x, 1.0),
        lambda x: ops.power(x, 1.0),
        lambda x: x[:],
        lambda x: x[0:2, ::1],
        lambda x: ops.reshape(x, (2, -1)),
        lambda x: ops.transpose(x, (0, 1)),
        lambda x: ops.concatenate([x]),
        lambda x: ops.pad(x, [(0, 0, 0), None]),
        lambda x: ops.stop_gradient(x * (ops.constant(np.float32(3.0)) - 2.0)),
    ],
)
def test_what_changes_nothing_falls_away(function):
    """Identities, neutral elements and movements that move nothing leave the input itself."""
    assert names(function, X) == []


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + 0.0,
        lambda x: 1.0 / x,
        lambda x: 0.0 - x,
        lambda x: x * np.ones((2, 2, 3), np.float32),
        lambda x: np.ones((2, 2, 3), np.float32) * x,
        lambda x: ops.transpose(x[:, :2]),
        lambda x: ops.flip(x, 0),
        lambda x: ops.cast(x, np.float64),
    ],
)
def test_what_changes_something_stays(function):
    """x + 0 (which makes -0 to 0), neutral elements on the wrong side or that stretch, and true movements stay."""
    assert names(function, X) != []


def test_a_neutral_number_changes_no_bit():
    """What an operation names as neutral on the right, and on the left if it commutes, gives the same bits back."""
    values = np.array([0.0, -0.0, 1.0, -1.5, 3e-310, 1e300, np.inf, -np.inf, np.nan])
    for op in (op for op in CATALOGUE if getattr(op, "neutral", None) is not None):
        for dtype in (np.float32, np.float64):
            with np.errstate(over="ignore"):
                x, neutral = values.astype(dtype), dtype(op.neutral)
            sides = [(x, neutral), (neutral, x)] if op.commutative else [(x, neutral)]
            for operands in sides:
                found = op.forward(*operands)
                assert found.dtype == dtype
                np.testing.assert_array_equal(found, x)
                np.testing.assert_array_equal(np.signbit(found), np.signbit(x))


def test_whole_numbers_lose_their_zero():
    """x + 0 of whole numbers is x."""
    assert names(lambda n: n + 0, np.array([1, 2])) == []


def test_equal_operations_are_shared():
    """The same operation of the same inputs stands once; different attributes keep two apart."""
    assert names(lambda x: ops.exp(x) * ops.exp(x), X) == ["exp", "multiply"]
    assert names(lambda x, y: (x - y, y - x), X, X) == ["subtract", "subtract"]
    assert names(lambda x: (ops.sum(x, 0), ops.sum(x, 0), ops.sum(x, 1)), X) == ["sum", "sum"]
    assert names(lambda x: (x * 2.0, x * 2.0, x * -0.0, x * 0.0), X).count("multiply") == 3


def test_equal_random_numbers_are_shared_and_different_ones_are_not():
    """The same key draws the same numbers, once; other streams stay apart."""

    def f(state):
        key = ops.Key(state)
        return [ops.uniform(k, (2,)) for k in (key, key, key.fold("a"))]

    assert names(f, np.array([0, 0])) == ["uniform", "uniform"]


def test_constants_are_folded():
    """What depends on constants alone is one constant, and random numbers are not folded."""
    assert names(lambda x: x * ops.exp(ops.constant(np.float32(1.0)) + 2.0), X) == ["constant", "multiply"]
    assert "uniform" in names(lambda x: x * ops.uniform(ops.Key(ops.constant(np.array([1, 2]))), (3,)), X)


def test_large_constants_are_not_folded():
    """A constant that would hold more than 4,096 elements stays a calculation."""
    assert "broadcast" in names(lambda x: x @ ops.broadcast_to(ops.constant(1.0), (100, 100)), np.ones((100, 100)))


def test_what_no_output_needs_falls_away():
    """Nodes that no output needs are gone; inputs stay, needed or not."""
    graph = simplify(trace(lambda x, y: x * 2.0, X, X).graph)
    assert len(graph.inputs) == 2
    assert len(graph.nodes) == 4


def test_a_training_step_over_the_batch_keeps_its_value():
    """The gradients of a network, simplified, are bit for bit those before, at any number of rows."""

    def loss(p, x):
        return ops.mean(ops.log_sum_exp(ops.relu(x @ p["w"] + p["b"]) @ p["v"], 1))

    spec = {"w": Spec((4, 5)), "b": Spec((5,)), "v": Spec((5, 2))}
    graph = trace(bp.value_and_grad(loss), spec, Spec((BATCH, 4))).graph
    smaller = verify(simplify(graph))
    assert len(smaller.nodes) < len(graph.nodes)
    rng = np.random.default_rng(10)
    parameters = [rng.normal(size=s.shape).astype(np.float32) for s in spec.values()]
    for rows in (0, 1, 6):
        x = rng.normal(size=(rows, 4)).astype(np.float32)
        pairs = zip(Program(graph)(*parameters, x), Program(smaller)(*parameters, x), strict=True)
        assert all(same_bits(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (slice(2, 17, 3), slice(1, 4, 2)),
        (slice(None), slice(3, 5)),
        (slice(4, 9), slice(None, None, 2)),
        (slice(3, 8), slice(5, 9)),
    ],
)
def test_a_part_of_a_part_is_taken_at_once(first, second):
    x = np.arange(60, dtype=np.float32).reshape(3, 20)
    graph = simplify(trace(lambda x: x[1:, first][:, second], Spec(x.shape, x.dtype)).graph)
    assert [node.op.name for node in graph.nodes if node.inputs] == ["slice"]
    assert np.array_equal(Program(graph)(x)[0], x[1:, first][:, second])
