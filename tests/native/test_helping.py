"""Threads that wait take units of what others offer; and whoever does a unit, the bits are the same."""

from dataclasses import replace

import numpy as np
import pytest
from native_helpers import Work, digest, trained
from random_programs import Choices
from random_trainings import disagreement, training_text

from backpass import losses, nn, optimizers
from backpass.native import Machine
from backpass.native import compile as compiling

rng = np.random.default_rng(11)
ROWS, FEATURES = 193, 23
X, LABELS = rng.normal(size=(ROWS, FEATURES)), rng.integers(0, 3, ROWS)


@pytest.fixture(autouse=True)
def offers(monkeypatch):
    """Every kernel that can be offered is, in as many units as there can be, however short it is."""
    monkeypatch.setattr(compiling, "UNIT", 1e-12)
    monkeypatch.setattr(compiling, "MOST_UNITS", 64)
    monkeypatch.setenv("BACKPASS_CACHE", "off")


def dense(*widths, outputs=3):
    hidden = [layer for width in widths for layer in (nn.Dense(width), nn.ReLU(), nn.Dropout(0.1))]
    return nn.Sequential(*hidden, nn.Dense(outputs))


def ensemble(count):
    return nn.Ensemble(dense(67, 34), count)


def work_of(network, batch_size=96, rows=ROWS):
    rule = optimizers.Adam(0.01)
    return Work(network, losses.CrossEntropy(), rule, X[:rows], LABELS[:rows], None, batch_size)


def machine_of(work, threads):
    """The program of a training."""
    trainer = trained(work, "native", epochs=1, threads=threads)
    ((_, machine, _),) = trainer._kept.held
    return machine


NETWORKS = {
    "by rows": dense(20, 7),
    "by columns": dense(130, 97),
    "few outputs": dense(64, 64, outputs=3),
    "ensemble": ensemble(3),
}


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_offers_change_no_bit_at_any_number_of_threads(name, precision, monkeypatch):
    """More threads than processors: so some wait while others have not begun, and help them."""
    work = work_of(NETWORKS[name])
    found = {digest(trained(work, "native", threads=threads, precision=precision)) for threads in (1, 2, 3, 5)}
    monkeypatch.setattr(compiling, "UNIT", 1e9)
    assert found == {digest(trained(work, "native", threads=2, precision=precision))}


@pytest.mark.parametrize("name", NETWORKS)
def test_something_is_offered_of_every_way_of_sharing(name):
    compiler = machine_of(work_of(NETWORKS[name]), 2).compiler
    assert any(compiler.units_of_share(kernel) for kernel in compiler.plan.kernels)


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
    run_of(timed, steps=400)
    kernels = sum(timed.times[:, timed.compiler.parts.kernel(kernel)] for kernel in timed.compiler.plan.kernels)
    assert (timed.helping <= kernels).all()


def run_of(machine, steps):
    """Run steps of a program on numbers that will do."""
    batch = machine.job.rows
    machine.times[:] = 0
    machine.data([X[:batch].astype(np.float64), LABELS[:batch]], count=batch * steps, order=order_of(batch, steps))
    machine.run(batch=batch)


def order_of(batch, steps):
    return np.tile(np.arange(batch, dtype=np.uint32), steps)


@pytest.mark.parametrize("seed", range(8000, 8012))
def test_random_networks_train_alike_where_all_is_offered_and_every_address_checked(seed, monkeypatch):
    monkeypatch.setenv("BACKPASS_CHECKED", "1")
    numbers = np.random.default_rng(seed).integers(0, 1 << 20, 60).tolist()
    assert not disagreement(training_text(Choices(numbers)))
