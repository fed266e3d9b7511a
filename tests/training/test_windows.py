"""Rows in files are trained on a window at a time: every row once an epoch, in bounded memory, to the same bits."""

import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from backpass import Trainer, losses, nn
from backpass.data.arrays import as_inputs, let_go
from backpass.data.batches import batches
from backpass.errors import CheckpointError, ShapeError, UsageError
from backpass.forward import flatten
from backpass.training.events import StepFinished

DRAWN = np.random.default_rng(0)
X = DRAWN.normal(size=(330, 6)).astype(np.float32)
Y = DRAWN.integers(0, 3, 330)
CODES = DRAWN.integers(0, 5, 330).astype(np.int32)
BATCH, WINDOW = 16, 64  # five whole windows, and 10 rows


def new(**options):
    network = nn.Sequential(nn.Dense(9), nn.Tanh(), nn.Dropout(0.2), nn.Dense(3))
    return Trainer(network, losses.CrossEntropy(), **{"batch_size": BATCH, "seed": 3, "window": WINDOW, **options})


def trained(inputs=X, epochs=3, **options):
    trainer = new(**options)
    trainer.fit(inputs, Y, epochs=epochs, validation=(inputs[:50], Y[:50]))
    return trainer


def weights(trainer):
    return trainer.model().weights


@pytest.fixture
def in_file(tmp_path):
    """An array, mapped from a file."""

    def mapped(array, name="x"):
        np.save(tmp_path / f"{name}.npy", array)
        return np.load(tmp_path / f"{name}.npy", mmap_mode="r")

    return mapped


def test_an_epoch_sees_every_row_once_and_windows_in_another_order_each_time():
    """Rows of a window come together; the smaller window comes last."""
    orders = []
    for epoch in range(6):
        found = list(batches(330, BATCH, seed=1, epoch=epoch, window=WINDOW))
        assert [len(batch) for batch in found] == [BATCH] * 20 + [10]
        rows = np.concatenate(found)
        assert sorted(rows) == list(range(330))
        orders.append(tuple(dict.fromkeys(rows // WINDOW)))
        assert len(orders[-1]) == 6
        assert orders[-1][-1] == 5
    assert len(set(orders)) == 6


def test_one_window_is_no_window():
    """Where all rows fit, the order is that of a training in memory."""
    assert weights(trained(window=400 // BATCH * BATCH)) == weights(trained(window=None))


def test_what_is_in_a_file_gives_the_bits_of_what_is_in_memory(in_file):
    """Also where inputs are several, and whole numbers stand in a type of their own."""
    assert weights(trained(in_file(X))) == weights(trained(X))
    several = {"x": X, "code": CODES}
    network = nn.Sequential(nn.Concatenate(x=nn.Identity(), code=nn.Embedding(5, 2)), nn.Dense(3))
    found = set()
    for inputs in (several, {name: in_file(array, name) for name, array in several.items()}):
        trainer = Trainer(network, losses.CrossEntropy(), batch_size=BATCH, window=WINDOW)
        trainer.fit(inputs, Y, epochs=2, class_weights="balanced")
        found.add(weights(trainer))
    assert len(found) == 1


def test_threads_change_no_bit():
    assert weights(trained(threads=1)) == weights(trained(threads=2))


def test_both_executors_take_the_rows_in_the_same_order():
    """The reference, step by step, comes to the same but for rounding; in another order it would not."""
    native, reference, other = trained(), trained(executor="reference"), trained(window=2 * WINDOW)
    pairs = list(zip(*(flatten(each.parameters) for each in (native, reference, other)), strict=True))
    assert all(np.allclose(a, b, atol=1e-4) for a, b, _ in pairs)
    assert not all(np.allclose(a, c, atol=1e-4) for a, _, c in pairs)


@pytest.mark.parametrize("step", [1, 4, 5, 21, 30])
def test_a_training_that_was_stopped_anywhere_goes_on_to_the_same_bits(tmp_path, step):
    """At the first step, at a window's last and at its first, and at an epoch's last."""

    def stop(event):
        if isinstance(event, StepFinished) and event.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    first = new(listeners=[stop])
    first.fit(X, Y, epochs=3, checkpoints=tmp_path / "saved", stop_on_interrupt=True)
    assert first.interrupted_by == signal.SIGINT
    assert first.steps < 63
    second = new()
    second.resume(tmp_path / "saved", X, Y)
    whole = new()
    history = whole.fit(X, Y, epochs=3)
    assert weights(second) == weights(whole)
    assert [each["loss"] for each in second.history] == [each["loss"] for each in history]


def test_another_window_is_another_training(tmp_path):
    new().fit(X, Y, epochs=1, checkpoints=tmp_path / "saved")
    with pytest.raises(CheckpointError, match="window was 64, is 128"):
        new(window=128).resume(tmp_path / "saved", X, Y)


def test_any_step_is_made_again(tmp_path):
    """A step of the second window, in the second epoch: its rows are of one window."""
    trainer = new()
    trainer.fit(X, Y, epochs=2, checkpoints=tmp_path / "saved")
    step = new().replay(21 + 6, tmp_path / "saved", X, Y)
    assert len(set(step.rows // WINDOW)) == 1
    order = list(batches(330, BATCH, seed=3, epoch=1, window=WINDOW))
    assert (step.rows == order[5]).all()


def test_each_step_is_told_of():
    told = []
    trained(epochs=2, listeners=[lambda event: told.append(event) if isinstance(event, StepFinished) else None])
    assert [event.step for event in told] == list(range(1, 43))
    assert [event.rows for event in told[:21]] == [*range(16, 321, 16), 330]


def test_a_window_that_cuts_a_batch_is_refused():
    with pytest.raises(UsageError, match=re.escape("window is 40, expected a multiple of the batch size, 16")):
        new(window=40)


def test_a_number_in_a_file_that_is_not_finite_is_named_by_its_row(in_file, monkeypatch):
    """Also beyond the rows that are looked at together."""
    monkeypatch.setattr("backpass.data.arrays.PIECE", 240)
    wrong = X.copy()
    wrong[123, 4] = np.inf
    with pytest.raises(ShapeError, match="the input holds inf in row 124, column 5"):
        as_inputs(in_file(wrong), "float32")


def test_what_was_changed_in_memory_alone_is_not_given_back(tmp_path):
    """A file mapped to be changed in memory: its pages are the only place where the changes are."""
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="c")
    mapped[:] = 7
    let_go(mapped)
    assert (mapped == 7).all()


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of mapped files is read from Linux's /proc")
def test_no_more_than_a_window_is_in_memory(in_file):
    """Of 64 MiB of rows in a file 4 at a time, as the system counts the pages of files in this process."""
    rows = 1 << 18
    inputs = in_file(np.tile(DRAWN.normal(size=(1024, 64)).astype(np.float32), (rows // 1024, 1)))
    targets = np.zeros((rows, 1), np.float32)

    def taken():
        return next(int(x.split()[1]) for x in Path("/proc/self/status").read_text().splitlines() if "RssFile" in x)

    seen = []
    trainer = Trainer(nn.Dense(1), losses.Squared(), batch_size=2048, window=1 << 14)
    trainer.listeners.append(lambda _: seen.append(taken()))
    before = taken()
    trainer.fit(inputs, targets, epochs=2, validation=(inputs, targets))
    assert max(seen) - before < 32 << 10
