"""Random graphs over the whole catalogue, and random networks: the program's values are the reference's."""

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from native_helpers import assert_agree, random_work, trained
from random_programs import Choices, made

from backpass.errors import NotFiniteError, ShapeError
from backpass.forward import Program, flatten
from backpass.native import NativeProgram

NUMBERS = st.lists(st.integers(0, 2**20), min_size=10, max_size=120)
LITTLE = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


def compared(program, rows, seed, native):
    """The results of both, where the reference has any."""
    inputs = program.inputs(rows, np.random.default_rng(seed))
    try:
        expected = Program(program.graph)(*inputs)
    except (ShapeError, ValueError):  # the largest of no rows
        assert rows == 0
        return []
    return list(zip(native(*inputs), map(np.asarray, expected), strict=True))


@LITTLE
@given(numbers=NUMBERS, steps=st.integers(1, 8), threads=st.integers(1, 3), rows=st.sampled_from([1, 5, 16, 17, 33]))
def test_graphs_of_small_halves_give_the_same_bits(numbers, steps, threads, rows):
    """Where no rounding is, the values are equal, whatever the operations, types, places of the batch and threads."""
    program = made(numbers, steps=steps, exact=True)
    native = NativeProgram(program.graph, threads=threads)
    for count in (rows, 0, 2):
        for ours, theirs in compared(program, count, 1, native):
            assert ours.dtype == theirs.dtype, program.chosen
            np.testing.assert_array_equal(ours, theirs, err_msg=str(program.chosen))


@LITTLE
@given(numbers=NUMBERS, steps=st.integers(1, 8), threads=st.integers(1, 3), rows=st.sampled_from([1, 5, 16, 17, 33]))
def test_smooth_graphs_give_the_same_values(numbers, steps, threads, rows):
    """To rounding, whatever the operations, types, places of the batch and threads."""
    program = made(numbers, steps=steps, exact=False)
    tolerance = 1e-4 if any(node.dtype == np.float32 for node in program.graph.nodes) else 1e-10
    for ours, theirs in compared(program, rows, 1, NativeProgram(program.graph, threads=threads)):
        assert ours.dtype == theirs.dtype, program.chosen
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, err_msg=str(program.chosen))


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(numbers=NUMBERS, threads=st.integers(1, 3))
def test_random_networks_are_trained_alike(numbers, threads):
    """Parameters, optimizer state, losses and outputs after three epochs, the last batch of each smaller."""
    work = random_work(Choices(numbers))
    assume(is_tame(work))
    assert_agree(work, threads=threads)


def is_tame(work):
    """Of a training that runs away the last digits of the first step are all of the last one: nothing is alike then."""
    try:
        learned = flatten(trained(work, "reference").parameters)
    except NotFiniteError:
        return False
    return max(float(np.abs(x).max(initial=0.0)) for x in learned) < 1e3
