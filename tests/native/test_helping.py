"""Threads that wait take units of what others offer; and whoever does a unit, the bits are the same."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_helpers import Work, digest, trained
from random_programs import Choices
from random_trainings import disagreement, training_text

from backpass import losses, nn, optimizers
from backpass.forward import Spec, flatten
from backpass.graph import BATCH
from backpass.model.network import typed
from backpass.native import Machine, training_job
from backpass.native import units as cutting
from backpass.native.compile import Compiler
from backpass.native.plan import Product, Space
from backpass.native.target import named
from backpass.native.units import units_of_share
from backpass.nn import specs
from backpass.ops import Key
from backpass.training.step import training_step

rng = np.random.default_rng(11)
ROWS, FEATURES = 193, 23
X, LABELS = rng.normal(size=(ROWS, FEATURES)), rng.integers(0, 3, ROWS)


@pytest.fixture(autouse=True, scope="module")
def offers():
    """Every kernel that can be offered is, in as many units as there can be, however short it is."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(cutting, "UNIT", 1e-12)
        monkeypatch.setattr(cutting, "MOST_UNITS", 64)
        monkeypatch.setenv("BACKPASS_CACHE", "off")
        yield


def dense(*widths, outputs=3):
    hidden = [layer for width in widths for layer in (nn.Dense(width), nn.ReLU(), nn.Dropout(0.1))]
    return nn.Sequential(*hidden, nn.Dense(outputs))


def ensemble(count):
    return nn.Ensemble(dense(67, 34), count)


def work_of(network, batch_size=96, rows=ROWS):
    rule = optimizers.Adam(0.01)
    return Work(network, losses.CrossEntropy(), rule, X[:rows], LABELS[:rows], None, batch_size)


def job_of(network, features, batch, threads, precision):
    """A training step, to be compiled."""
    parameters = typed(network.init((features,), Key.of(0)), precision)
    rule = optimizers.Adam(0.01)
    state = rule.init(parameters)
    given = {"inputs": specs((features,), np.dtype(precision)), "targets": Spec((BATCH,), np.int64), "weights": None}
    traced = training_step(network, losses.CrossEntropy(), rule, parameters=parameters, state=state, **given)
    counts = {"parameters": len(flatten(parameters)), "state": len(flatten(state))}
    return training_job(traced.graph, **counts, rows=batch, threads=threads, available=threads)


def machine_of(work, threads, precision="float64"):
    """The program of a training."""
    trainer = trained(work, "native", epochs=1, threads=threads, precision=precision)
    ((_, machine, _),) = trainer._kept.held
    return machine


NETWORKS = {
    "by rows": dense(20, 7),
    "by columns": dense(130, 97),
    "few outputs": dense(64, 64, outputs=3),
    "ensemble": ensemble(3),
}


@pytest.mark.parametrize(("precision", "batch"), [("float32", 96), ("float32", ROWS), ("float64", 96)])
@pytest.mark.parametrize("name", NETWORKS)
def test_offers_change_no_bit_at_any_number_of_threads(name, precision, batch, monkeypatch):
    """More threads than processors: so some wait while others have not begun, and help them."""
    work = work_of(NETWORKS[name], batch)
    found = {digest(trained(work, "native", threads=threads, precision=precision)) for threads in (1, 2, 3, 5)}
    monkeypatch.setattr(cutting, "UNIT", 1e9)
    assert found == {digest(trained(work, "native", threads=2, precision=precision))}


def test_sums_over_many_rows_are_cut_where_nothing_is_copied():
    compiler = machine_of(work_of(NETWORKS["by columns"], ROWS), 2, "float32").compiler
    tilings = [compiler.weights_tiling(each) for each in compiler.plan.kernels if each.product is Product.WEIGHTS]
    assert any(tiling.depth and not tiling.packed for tiling in tilings)


@pytest.mark.parametrize(
    ("widths", "batch", "compiled", "threads"),
    [((768, 512), 1024, 2, 1), ((768, 512), 1024, 2, 2), ((1168, 512), 2048, 5, 5), ((1168, 512), 2048, 5, 3)],
)
def test_copies_that_a_product_makes_are_made_anew_where_a_share_has_more_than_one_block(
    widths, batch, compiled, threads
):
    """With fewer threads than a program was made for, or where one thread has a panel more than others."""
    wide = rng.normal(size=(batch, 64)), rng.integers(0, 3, batch)
    work = Work(dense(*widths), losses.CrossEntropy(), optimizers.Adam(0.01), *wide, None, batch)
    before, found = machine_of(work, compiled, "float32"), []
    machine = Machine(before.job)
    products = [each for each in machine.compiler.plan.kernels if each.product is Product.WEIGHTS]
    assert any(
        machine.compiler.weights_tiling(each).packed and units_of_share(machine.compiler, each) for each in products
    )
    begun = {place: before.take_input(place) for place in machine.job.carried.values()}
    for count in (1, threads):
        for place, value in begun.items():
            machine.put(place, value)
        run_of(machine, steps=2, rows=wide, threads=count)
        found.append([machine.take_input(place) for place in begun])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=60, deadline=None)
@given(
    widths=st.lists(st.sampled_from([1, 2, 3, 6, 8, 17, 40, 64, 100, 300, 784]), min_size=2, max_size=4),
    batch=st.sampled_from([16, 33, 64, 100, 256, 300, 500]),
    threads=st.integers(2, 7),
    target=st.sampled_from(["sse2", "avx2", "avx512", "arm64"]),
    precision=st.sampled_from(["float32", "float64"]),
)
def test_no_unit_is_lower_than_a_tile_but_where_the_rows_of_the_step_end(widths, batch, threads, target, precision):
    """A tile of a lower one would reach into rows of another thread."""
    compiler = Compiler(job_of(dense(*widths[1:]), widths[0], batch, threads, precision), named(target))
    for kernel in compiler.plan.kernels:
        units = units_of_share(compiler, kernel)
        if units is None or kernel.space is not Space.ROWS:
            continue
        tile = compiler.rows_of_a_tile(kernel) if kernel.product else compiler.lanes
        if kernel.by_rows:  # whose shares have multiples of `row_unit` rows, and so have all units then
            assert compiler.row_unit >= tile
            assert units.size % compiler.row_unit == 0
        else:  # whose shares end with the step
            assert units.size >= tile


@pytest.mark.parametrize("name", NETWORKS)
def test_something_is_offered_of_every_way_of_sharing(name):
    compiler = machine_of(work_of(NETWORKS[name]), 2).compiler
    assert any(units_of_share(compiler, kernel) for kernel in compiler.plan.kernels)


def test_a_thread_that_has_less_to_do_helps():
    """Of three networks one thread has two, the other one: which then does units of the others' kernels."""
    machine = machine_of(work_of(NETWORKS["ensemble"]), 2)
    timed = Machine(replace(machine.job, timed=True))
    for _ in range(20):  # on a busy machine a thread may sleep through all of another's work
        run_of(timed, steps=100)
        if timed.helping.any():
            break
    assert timed.helping.any()
    assert (timed.times >= 0).all()


def test_what_was_done_for_others_counts_as_time_of_the_kernel_and_not_of_the_wait():
    machine = machine_of(work_of(NETWORKS["ensemble"]), 2)
    timed = Machine(replace(machine.job, timed=True))
    for _ in range(20):
        run_of(timed, steps=100)
    kernels = sum(timed.times[:, timed.compiler.parts.kernel(kernel)] for kernel in timed.compiler.plan.kernels)
    assert timed.helping.any()
    assert (timed.helping <= kernels).all()


def run_of(machine, steps, rows=(X, LABELS), threads=0):
    """Run steps of a program, from whatever its memory holds."""
    batch = machine.job.rows
    nodes = [node for _, node in machine.compiler.batch_inputs()]
    arrays = [part[:batch].astype(node.dtype) for part, node in zip(rows, nodes, strict=True)]
    machine.data(arrays, count=batch * steps, order=order_of(batch, steps))
    machine.run(batch=batch, threads=threads)


def order_of(batch, steps):
    return np.tile(np.arange(batch, dtype=np.uint32), steps)


@pytest.mark.parametrize("seed", range(8000, 8012))
def test_random_networks_train_alike_where_all_is_offered_and_every_address_checked(seed, monkeypatch):
    monkeypatch.setenv("BACKPASS_CHECKED", "1")
    numbers = np.random.default_rng(seed).integers(0, 1 << 20, 60).tolist()
    assert not disagreement(training_text(Choices(numbers)))
