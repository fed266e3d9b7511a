"""A hidden layer in halves: the same sums in two parts, whatever the threads, and only where it is worth it."""

import subprocess
import sys
from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_helpers import RULES, Work, assert_agree, digest, random_work, trained
from random_programs import Choices

from backpass import losses, nn, ops, optimizers
from backpass.errors import NotFiniteError
from backpass.forward import Program, Spec, trace
from backpass.graph import BATCH
from backpass.native import compile as compiling
from backpass.native import halves
from backpass.native.compile import Compiler, Job
from backpass.native.halves import halved
from backpass.native.plan import EVERYONES
from backpass.native.prepare import prepare
from backpass.native.program import Machine
from backpass.native.target import host, named

rng = np.random.default_rng(11)
ROWS, FEATURES, CLASSES = 150, 13, 3
X, LABELS = rng.normal(size=(ROWS, FEATURES)), rng.integers(0, CLASSES, ROWS)


def work_of(*layers, rule=None, weights=None, batch_size=32):
    network = nn.Sequential(*layers, nn.Dense(CLASSES))
    return Work(network, losses.CrossEntropy(), rule or optimizers.Adam(0.01), X, LABELS, weights, batch_size)


def graph_of(function, *shapes, dtype=np.float64):
    return trace(function, *(Spec(shape, dtype) for shape in shapes)).graph


def compiler_of(work, threads=2, **options):
    trainer = trained(work, "native", epochs=1, threads=threads, **options)
    ((_, machine, _),) = trainer._kept.held
    return machine.compiler


def cut_all(patch, *, narrowly=False):
    """Whatever can be cut is cut; if `narrowly` also where it takes several waits, into vectors of two."""
    patch.setenv("BACKPASS_CACHE", "off")
    patch.setattr(halves, "SMALL", inf)
    patch.setattr(halves, "WORTH", -inf)
    if narrowly:
        patch.setattr(compiling, "MOST_PHASES", 99)
        patch.setattr(compiling, "halved", lambda graph, carried, rows, lanes: halved(graph, carried, rows, 2))


@pytest.fixture
def _always(monkeypatch):
    cut_all(monkeypatch)


@pytest.fixture
def _anyhow(monkeypatch):
    cut_all(monkeypatch, narrowly=True)


ALWAYS, ANYHOW = pytest.mark.usefixtures("_always"), pytest.mark.usefixtures("_anyhow")


# What is cut


@pytest.mark.parametrize(
    ("widths", "batch", "cut"),
    [
        ((64, 64, 10), 32, True),
        ((64, 100, 3), 64, True),
        ((4, 16, 3), 32, False),  # too short a step
        ((64, 64, 10), 1, False),  # so is this
        ((784, 256, 10), 128, False),  # too long a one: several threads share out its rows and columns
        ((64, 64, 64, 10), 32, False),  # nobody could tell a layer of 64 as quickly as it is calculated
        ((64, 64), 32, False),  # no hidden layer
    ],
)
def test_small_steps_with_one_hidden_layer_are_cut_and_no_others(widths, batch, cut):
    features, *hidden, outputs = widths
    layers = [layer for width in hidden for layer in (nn.Dense(width), nn.ReLU())]
    data = rng.normal(size=(2 * batch, features)).astype(np.float32), rng.integers(0, outputs, 2 * batch)
    work = Work(nn.Sequential(*layers, nn.Dense(outputs)), losses.CrossEntropy(), optimizers.Adam(), *data, None, batch)
    for threads in (1, 2, 3):  # whatever the number of threads, for the bits depend on it
        assert bool(compiler_of(work, threads, precision="float32").arranged.splits) == cut


def test_a_training_in_halves_may_have_one_thread_or_two():
    compiler = compiler_of(work_of(nn.Dense(128), nn.Tanh()), threads=2)
    assert compiler.arranged.splits
    chosen = [Compiler(replace(compiler.job, threads=0, available=n), host()).choices for n in (1, 2, 8)]
    assert chosen == [(1,), (2, 1), (2, 1)]


@ALWAYS
def test_halves_are_whole_vectors_and_the_first_is_the_larger():
    splits = compiler_of(work_of(nn.Dense(40), nn.Tanh())).arranged.splits
    assert {cut.at for cut in splits.values()} == {32}


def test_threads_tell_each_other_nothing_but_their_parts_of_the_outputs():
    """And begin the next step meanwhile, for of these parts there are two."""
    compiler = compiler_of(work_of(nn.Dense(128), nn.Tanh()))
    assert [node.shape for node in compiler.plan.told] == [(BATCH, CLASSES)] * 2
    assert all(compiler.buffers[node].again for node in compiler.plan.told)
    assert len(compiler.plan.phases) == 2
    assert compiler.runs_on


@ANYHOW
def test_what_is_carried_on_belongs_to_one_half():
    """Were it everyone's, two threads would write it."""
    for number in range(40):
        compiler = compiler_of(random_work(Choices(np.random.default_rng(number).integers(0, 1000, 60).tolist())))
        kept = {compiler.graph.outputs[place] for place in compiler.carried}
        for kernel in compiler.plan.kernels if compiler.arranged.splits else []:
            assert kernel.network != EVERYONES or kept.isdisjoint(kernel.nodes)


# What comes of it


def loss_of(activation, normalised):
    """A step by hand: a loss of rows, and weights that are moved against its gradient, as far as it goes."""

    def function(x, y, w, b, v, c):
        h = activation(x @ w + b)
        if normalised:  # along the batch
            h = (h - h.mean(axis=0)) / ops.sqrt((h * h).mean(axis=0) + 1.0)
        outputs = h @ v + c
        errors = outputs - y
        loss = (errors * errors).sum()
        back = errors @ v.T * h
        moved = w - x.T @ back, b - back.sum(axis=0) + h.sum(), v - h.T @ errors, c - errors.sum(axis=0) * (v * v).sum()
        return [loss, *moved]

    return function


@pytest.mark.parametrize("normalised", [False, True], ids=("plain", "normalised"))
@given(hidden=st.integers(5, 41), lanes=st.sampled_from([1, 2, 4, 16]), rows=st.integers(2, 9))
def test_a_graph_in_halves_means_the_same(normalised, hidden, lanes, rows):
    """Cut at any vector, its halves put together are what the graph gives."""
    shapes = [(BATCH, 3), (BATCH, 2), (3, hidden), (hidden,), (hidden, 2), (2,)]
    whole = graph_of(loss_of(ops.tanh, normalised), *shapes)
    carried = {1: 2, 2: 3, 3: 4, 4: 5}
    with pytest.MonkeyPatch.context() as patch:
        cut_all(patch)
        cut = halved(prepare(whole, rows, whole=True, carried=carried), carried, rows, lanes)
    if -(-hidden // lanes) < 2:
        assert cut is None
        return
    assert cut is not None
    local = np.random.default_rng(hidden)
    given_ = [local.normal(size=[rows if axis is BATCH else axis for axis in shape]) for shape in shapes]
    inputs = list(given_)
    for place, each in cut.splits.items():
        inputs[place], second = np.split(given_[place], [each.at], each.axis)
        assert each.second == len(inputs)
        assert each.at % lanes == 0
        inputs.append(second)
    found = Program(cut.graph)(*inputs)
    behind = {target: place for place, target in cut.carried.items()}
    for place, wanted in enumerate(Program(whole)(*given_)):
        got = found[place]
        if (each := cut.splits.get(carried.get(place, -1))) is not None:
            got = np.concatenate([got, found[behind[each.second]]], each.axis)
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)


@ANYHOW
def test_two_parts_of_a_sum_worked_by_hand():
    """x = 1, weights 1 to 4 in halves of 2: a row's output is (1 + 2) + (3 + 4) = 10, and its error moves each half."""

    def function(x, w, v):
        h = x @ w
        outputs = h @ v
        return [outputs.sum(), w - (x.T @ (outputs @ v.T)), v - h.T @ outputs]

    graph = graph_of(function, (BATCH, 1), (1, 4), (4, 1))
    machine = Machine(Job(graph, {1: 1, 2: 2}, None, 0, rows=2, threads=2))
    assert {place: (cut.axis, cut.at) for place, cut in machine.compiler.arranged.splits.items()} == {
        1: (1, 2),
        2: (0, 2),
    }
    machine.put(1, np.array([[1.0, 2, 3, 4]]))
    machine.put(2, np.ones((4, 1)))
    machine.data([np.ones((1, 1))], count=1)
    machine.run()
    assert machine.running == (10.0, 1.0)
    assert machine.take_output(0, 1) == 10.0
    assert machine.take_output(1, 1).tolist() == machine.take_input(1).tolist()
    assert machine.take_input(1).tolist() == [[-9, -8, -7, -6]]  # 1 - 10, 2 - 10, ...
    assert machine.take_input(2).tolist() == [[-9], [-19], [-29], [-39]]  # 1 - 1 * 10, 1 - 2 * 10, ...


@pytest.mark.parametrize("rule", RULES, ids=[f"{number}-{type(rule).__name__}" for number, rule in enumerate(RULES)])
def test_every_rule_moves_halves_as_the_reference_moves_the_whole(rule):
    assert_agree(work_of(nn.Dense(37), nn.Tanh(), rule=rule), within=1e-8, epochs=1, threads=2)


@ALWAYS
@pytest.mark.parametrize(
    "layers",
    [
        [nn.Dense(37), nn.ReLU(), nn.Dropout(0.3)],
        [nn.Dense(64, bias=False), nn.GELU()],
        [nn.Dense(129), nn.Softplus()],
    ],
    ids=("dropout", "no bias", "wide"),
)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_halves_give_the_same_bits_at_any_number_of_threads(layers, precision):
    work = work_of(*layers, weights=rng.uniform(0.1, 2, ROWS))
    assert len({digest(trained(work, "native", threads=n, precision=precision)) for n in (1, 2, 3, 7)}) == 1
    assert_agree(work, within=1e-9 if precision == "float64" else 2e-3, precision=precision, threads=2)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 2**20), min_size=10, max_size=60))
def test_random_networks_in_halves_are_the_references(numbers):
    """Of any kind, with any rule, and with as many waits as it takes."""
    with pytest.MonkeyPatch.context() as patch:
        cut_all(patch, narrowly=True)
        work = random_work(Choices(numbers))
        assert len({digest(trained(work, "native", epochs=1, threads=n)) for n in (1, 2, 3)}) == 1
        assert_agree(work, within=1e-7, epochs=1, threads=2)


@ALWAYS
@pytest.mark.parametrize("name", ["sse2", "avx2", "avx512"])
def test_narrower_machines_cut_at_their_own_vectors(name):
    job = compiler_of(work_of(nn.Dense(40), nn.Tanh()), precision="float32").job
    (at,) = {cut.at for cut in Compiler(job, named(name)).arranged.splits.values()}
    assert at == {"sse2": 20, "avx2": 24, "avx512": 32}[name]


@ALWAYS
def test_a_loss_that_is_not_finite_stops_both_halves_at_the_same_step():
    """The step that is told is the reference's."""
    work = work_of(nn.Dense(64), nn.ReLU(), rule=optimizers.SGD(1e25))
    told = []
    for options in ({"executor": "reference"}, *({"executor": "native", "threads": n} for n in (1, 2, 3))):
        with pytest.raises(NotFiniteError) as error:
            trained(work, precision="float32", **options)
        told.append(str(error.value))
    assert len(set(told)) == 1


STUCK = """
import numpy as np
import backpass as bp
from backpass import losses, nn, ops, optimizers
from backpass.errors import ShapeError

rng = np.random.default_rng(0)
table, rows = rng.normal(size=(50, 64)).astype(np.float32), rng.integers(0, 50, 384)
rows[200] = 77
network = nn.Sequential(
    nn.Function(lambda p, i: ops.gather(ops.constant(table), i)), nn.Dense(128), nn.ReLU(), nn.Dense(3)
)
for _ in range(20):
    trainer = bp.Trainer(network, losses.CrossEntropy(), optimizers.Adam(), batch_size=32, seed=3, threads=2)
    try:
        trainer.fit(rows, rng.integers(0, 3, 384), epochs=1)
    except ShapeError as error:
        assert "at step 7 in epoch 1" in str(error), error
    else:
        raise AssertionError("no error")
"""


def test_a_step_that_goes_wrong_at_its_very_beginning_leaves_no_thread_waiting():
    """Before all have heard of the step before the last: in a process of its own, for it may be waited for in vain."""
    subprocess.run([sys.executable, "-c", STUCK], check=True, timeout=120)


@ALWAYS
def test_values_go_into_halves_and_come_back_whole():
    compiler = compiler_of(work_of(nn.Dense(37), nn.Tanh()))
    machine = Machine(compiler.job)
    for place, node in enumerate(compiler.job.graph.inputs):
        if node.shape[:1] == (BATCH,) or place == compiler.job.moment:
            continue
        value = rng.normal(size=node.shape).astype(node.dtype)
        machine.put(place, value)
        np.testing.assert_array_equal(machine.take_input(place), value)


@ALWAYS
def test_a_graph_that_does_something_else_along_its_layer_is_left_whole():
    """A softmax over the hidden values, or a sort of them, has no halves."""

    def function(x, w, v):
        h = ops.softmax(x @ w)
        return [(h @ v).sum(), w - x.T @ h, v]

    graph = graph_of(function, (BATCH, 3), (3, 64), (64, 2))
    assert halved(prepare(graph, 8, whole=True, carried={1: 1, 2: 2}), {1: 1, 2: 2}, 8, 16) is None
