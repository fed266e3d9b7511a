"""What a graph becomes before it is cut into kernels."""

import numpy as np
import pytest

from backpass import losses, ops
from backpass.backward import grad
from backpass.forward import Program, Spec, trace
from backpass.graph import BATCH
from backpass.native import NativeProgram
from backpass.native.prepare import prepare

FLOATS = [np.float32, np.float64]


def _twice_times(factor):
    def double(x):
        y = x * factor
        return y + y

    return double


def _graph(function, dtype):
    return trace(function, Spec((BATCH, 5), dtype)).graph


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("factor", "left"), [(0.5, []), (3.0, ["multiply"])])
def test_a_product_that_is_added_to_itself_is_multiplied_once_at_most(dtype, factor, left):
    found = prepare(_graph(_twice_times(dtype(factor)), dtype))
    assert [node.op.name for node in found.nodes if node.inputs] == left


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("factor", [0.5, 0.3, 3.0, -7.0, "largest"])
def test_doubling_the_factor_changes_no_bit_and_overflows_nowhere(dtype, factor):
    factor = dtype(0.7) * np.finfo(dtype).max if factor == "largest" else dtype(factor)
    graph = _graph(_twice_times(factor), dtype)
    x = (0.1 * np.random.default_rng(0).normal(size=(7, 5))).astype(dtype)
    with np.errstate(over="raise"):
        (found,) = NativeProgram(graph, threads=1)(x)
    np.testing.assert_array_equal(found, Program(graph)(x)[0])


def test_the_error_of_half_the_squares_is_the_difference_and_nothing_else():
    loss = losses.HalfSumOfSquares()
    graph = trace(
        lambda outputs, targets: grad(lambda o: ops.sum(loss.rows(o, targets)))(outputs),
        Spec((BATCH, 3), np.float64),
        Spec((BATCH, 3), np.float64),
    ).graph
    assert [node.op.name for node in prepare(graph).nodes if node.inputs] == ["subtract"]
