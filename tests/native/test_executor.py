"""The native executor under the Trainer: when it stops, what it says then, and what it leaves behind."""

import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from native_helpers import Work, digest, trained

import backpass as bp
from backpass import losses, nn, optimizers
from backpass.errors import NotFiniteError, ShapeError
from backpass.forward import flatten
from backpass.training import EpochFinished, StepFinished

rng = np.random.default_rng(4)
X = rng.normal(size=(50, 3))
Y = X[:, :1] * 2 + 1


def trainer_of(executor, rule, *, net=None, **options):
    net = nn.Sequential(nn.Dense(7), nn.Tanh(), nn.Dense(1)) if net is None else net
    return bp.Trainer(net, losses.Squared(), rule, executor=executor, batch_size=16, **options)


def outcome(executor, rule, *, net=None, epochs=30, x=X, **options):
    """What stopped it, the history until then, and the parameters that are left."""
    trainer = trainer_of(executor, rule, net=net, **options)
    with pytest.raises(NotFiniteError) as error:
        trainer.fit(x, Y, epochs=epochs)
    return str(error.value), len(trainer.history), flatten(trainer.parameters), trainer


# Not finite


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("rate", [1e6, 1e200, 2.0])
def test_both_executors_stop_at_the_same_step_and_say_the_same(rate, precision):
    """Linear networks: they grow until something overflows. What is left are the parameters before that epoch."""
    net = nn.Sequential(nn.Dense(4), nn.Dense(1))
    rule = optimizers.SGD(min(rate, 1e30) if precision == "float32" else rate)
    ours, theirs = (outcome(e, rule, net=net, precision=precision) for e in ("native", "reference"))
    assert ours[:2] == theirs[:2]
    assert re.search(r"is no longer finite after step \d+, in epoch \d+", ours[0])
    for a, b in zip(ours[2], theirs[2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3)
        assert np.isfinite(a).all()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_first_step_that_is_not_finite_is_named(threads):
    """A row that overflows stands in the 3rd batch of an epoch that is not shuffled."""
    x = X.copy()
    x[40] = 1e200
    net = nn.Dense(1)
    messages = []
    for executor in ("native", "reference"):
        trainer = trainer_of(executor, optimizers.SGD(0.01), net=net, precision="float64", threads=threads)
        trainer.build(x)
        with pytest.raises(NotFiniteError) as error:
            trainer.fit(x, Y, epochs=2, shuffle=False)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert "after step 3, in epoch 1" in messages[0]


def test_a_parameter_that_overflows_is_named_though_the_loss_is_finite():
    """The loss of a step is that before its update."""
    trainers = [
        trainer_of(e, optimizers.SGD(1e308), net=nn.Dense(1), precision="float64") for e in ("native", "reference")
    ]
    messages = []
    for trainer in trainers:
        with pytest.raises(NotFiniteError) as error:
            trainer.fit(X * 100, Y * 100, epochs=1)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert messages[0].startswith("weight is no longer finite after step 1,")


def test_after_an_error_training_goes_on_from_before_that_epoch():
    """To the bits of a Trainer that never saw the rows at which the other failed."""
    failed, other = (trainer_of("native", optimizers.Adam(), threads=threads) for threads in (2, 1))
    bad = X.copy()
    bad[40] = np.inf
    for trainer in (failed, other):
        trainer.fit(X, Y, epochs=2)
    with pytest.raises(NotFiniteError):
        failed.fit(np.nan_to_num(bad, posinf=1e38), Y * 1e30, epochs=2)
    for trainer in (failed, other):
        trainer.fit(X, Y, epochs=2)
    assert digest(failed) == digest(other)


def test_a_number_that_names_no_row_of_a_table_stops_training():
    """A ShapeError in both, and the parameters are those before the epoch."""
    levels = rng.integers(0, 5, 50)
    levels[30] = 5
    net = nn.Sequential(nn.Embedding(5, 3), nn.Dense(1))
    for executor in ("native", "reference"):
        trainer = trainer_of(executor, optimizers.Adam(), net=net, threads=2)
        before = [value.copy() for value in flatten(trainer.build(levels).parameters)]
        with pytest.raises(ShapeError, match="table"):
            trainer.fit(levels, Y, epochs=3)
        for a, b in zip(before, flatten(trainer.parameters), strict=True):
            np.testing.assert_array_equal(a, b)


# Told on the way


def test_listeners_hear_the_same_in_both_executors():
    """Each step with its number, epoch, rows and loss so far; each epoch after its steps."""
    heard = []
    for executor in ("native", "reference"):
        events = []
        trainer_of(executor, optimizers.Momentum(0.01), precision="float64", listeners=[events.append]).fit(
            X, Y, epochs=3
        )
        heard.append([event for event in events if isinstance(event, (StepFinished, EpochFinished))])
    ours, theirs = heard
    assert [type(event) for event in ours] == [type(event) for event in theirs]
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(a, StepFinished):
            assert (a.step, a.epoch, a.rows) == (b.step, b.epoch, b.rows)
            assert a.loss == pytest.approx(b.loss, rel=1e-12)
        else:
            assert a.record["loss"] == pytest.approx(b.record["loss"], rel=1e-12)


def test_a_listener_that_raises_ends_the_training():
    """Its error comes out, and what is left are the parameters of whole epochs."""

    def listener(event):
        if isinstance(event, StepFinished) and event.step == 6:
            raise ZeroDivisionError

    trainer = trainer_of("native", optimizers.SGD(0.01), listeners=[listener])
    with pytest.raises(ZeroDivisionError):
        trainer.fit(X, Y, epochs=5)
    assert np.isfinite(flatten(trainer.parameters)[0]).all()


# Ctrl-C


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_in_mid_epoch_ends_after_the_step_and_the_next_fit_ends_the_epoch(threads):
    """The parameters are then, to the bit, those of as many epochs as the history tells of."""
    x = rng.normal(size=(20_000, 20))
    work = Work(
        nn.Sequential(nn.Dense(50), nn.Tanh(), nn.Dense(1)), losses.Squared(), optimizers.Adam(), x, x[:, :1], None, 100
    )
    trained(work, "native", epochs=1, threads=threads)  # compiled before
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    stopped = trained(work, "native", epochs=10**6, threads=threads, stop_on_interrupt=True)
    timer.join()
    assert "interrupt" in stopped.history.reason.lower()
    epochs = len(stopped.history)
    assert epochs < 10**6
    assert epochs * 200 <= stopped.steps <= (epochs + 1) * 200
    stopped.fit(x, x[:, :1], epochs=1)
    assert digest(stopped) == digest(trained(work, "native", epochs=epochs + 1, threads=threads))


# Memory

GROWTH = """
import resource, sys
import numpy as np, backpass as bp
from backpass import losses, nn, optimizers

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

x = np.random.default_rng(0).normal(size=(64, 5))
net = nn.Sequential(nn.Dense(16), nn.ReLU(), nn.Dropout(0.2), nn.Dense(1))
trainer = bp.Trainer(net, losses.Squared(), optimizers.Adam(), batch_size=16, threads=2)
held_out = (x, x[:, :1])
trainer.fit(x, x[:, :1], epochs=300, validation=held_out)
before = resident()
trainer.fit(x, x[:, :1], epochs=1000, validation=held_out)
trainer.fit(x, x[:, :1], epochs=1000)
for _ in range(20):
    trainer.predict(x)
print(resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux for the memory in use")
def test_two_thousand_epochs_take_no_more_memory():
    found = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 4 << 20


# Ensembles


@pytest.mark.parametrize("threads", [1, 2])
def test_an_ensemble_learns_the_same_in_both_executors(threads):
    """Members that share waves, each with a loss and dropout of its own."""
    member = nn.Sequential(nn.Dense(7), nn.ReLU(), nn.Dropout(0.25), nn.Dense(1))
    net = nn.Ensemble(member, 3, nn.Periodic((0, 2), 5))
    options = {"net": net, "precision": "float64", "threads": threads}
    ours, theirs = (trainer_of(e, optimizers.Adam(0.01), **options) for e in ("native", "reference"))
    histories = [each.fit(X, Y, epochs=4, validation=(X[:20], Y[:20])) for each in (ours, theirs)]
    for a, b in zip(flatten(ours.parameters), flatten(theirs.parameters), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    for name in ("loss", "validation_loss"):
        np.testing.assert_allclose(*([record[name] for record in each] for each in histories), rtol=1e-9)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9)


@pytest.mark.parametrize("threads", [1, 2])
def test_members_with_rows_held_out_learn_the_same_in_both_executors(threads):
    net = nn.CrossFitted(nn.Ensemble(nn.Sequential(nn.Dense(7), nn.ReLU(), nn.Dense(1)), 3), 3, alone="x")
    rows = {"x": X, "fold": np.arange(len(X)) % 3}
    options = {"net": net, "precision": "float64", "threads": threads}
    ours, theirs = (trainer_of(e, optimizers.Adam(0.01), **options) for e in ("native", "reference"))
    histories = [each.fit(rows, Y, epochs=4, validation=(rows, Y)) for each in (ours, theirs)]
    for a, b in zip(flatten(ours.parameters), flatten(theirs.parameters), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    for name in ("loss", "validation_loss"):
        np.testing.assert_allclose(*([record[name] for record in each] for each in histories), rtol=1e-9)
