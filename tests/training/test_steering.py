"""A training steered from another thread."""

import threading
import time

import numpy as np

import backpass as bp
from backpass import losses, nn
from backpass.forward import flatten
from backpass.ledger import look
from backpass.training import Steering, measuring

X = np.random.default_rng(0).normal(size=(64, 3))
Y = (X[:, 0] > 0).astype(int)


def trainer(steering=None):
    return bp.Trainer(
        nn.Sequential(nn.Dense(4), nn.Tanh(), nn.Dense(2)), losses.CrossEntropy(), batch_size=16, steering=steering
    )


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_it_waits_makes_single_steps_and_goes_on_to_the_same_bits(tmp_path):
    """Held before its first step, led step by step, then let go: the weights are those of a training left alone."""
    steering = Steering()
    steering.hold()
    steered = trainer(steering)
    thread = threading.Thread(target=steered.fit, args=(X, Y), kwargs={"epochs": 5, "checkpoints": tmp_path / "a"})
    thread.start()
    until(lambda: steering.waits)
    assert steering.step == 0
    for step in (1, 2, 3):
        steering.make()
        until(lambda step=step: steering.waits and steering.step == step)
    steering.make(4)
    until(lambda: steering.waits and steering.step == 7)
    assert len(steering.history) == 1  # of epochs of 4 steps
    steering.save()
    steering.go_on()
    thread.join()
    alone = trainer()
    alone.fit(X, Y, epochs=5)
    for one, other in zip(flatten(steered.parameters), flatten(alone.parameters), strict=True):
        assert np.array_equal(one, other)


def test_each_stop_is_saved_so_that_the_step_before_it_can_be_looked_into(tmp_path):
    """Where it waits a checkpoint stands; the step that comes next can be made ahead, and is then made so."""
    steering = Steering()
    steering.make(6)
    steered = trainer(steering)
    thread = threading.Thread(target=steered.fit, args=(X, Y), kwargs={"epochs": 4, "checkpoints": tmp_path / "a"})
    thread.start()
    until(lambda: steering.waits and steering.step == 6)
    until((tmp_path / "a" / "step-000000000006.safetensors").exists)
    (ahead,) = trainer().replays([7], tmp_path / "a", X, Y, ahead=True)
    steering.go_on()
    thread.join()
    made = trainer().replay(7, tmp_path / "a", X, Y)
    assert np.array_equal(flatten(ahead.after)[0], flatten(made.after)[0])


def test_it_ends_as_by_a_signal_and_can_be_gone_on_with(tmp_path):
    """A stop ends it after the step, whether it waits or runs; the rest comes to the same bits."""
    steering = Steering()
    steering.make(5)
    steered = trainer(steering)
    thread = threading.Thread(target=steered.fit, args=(X, Y), kwargs={"epochs": 4, "checkpoints": tmp_path / "a"})
    thread.start()
    until(lambda: steering.waits and steering.step == 5)
    steering.stop()
    thread.join()
    assert (steered.interrupted_by, steered.steps) == (2, 5)
    rest = trainer()
    rest.resume(tmp_path / "a", X, Y)
    alone = trainer()
    alone.fit(X, Y, epochs=4)
    assert np.array_equal(flatten(rest.parameters)[0], flatten(alone.parameters)[0])


def test_several_steps_are_made_again_each_from_where_the_last_one_ended(tmp_path):
    """They are those that are made again one at a time."""
    trainer().fit(X, Y, epochs=4, checkpoints=tmp_path / "a")
    for step, found in zip((2, 3, 11), trainer().replays([2, 3, 11], tmp_path / "a", X, Y), strict=True):
        alone = trainer().replay(step, tmp_path / "a", X, Y)
        assert (found.step, found.rows.tolist()) == (step, alone.rows.tolist())
        assert np.array_equal(flatten(found.after)[0], flatten(alone.after)[0])


def test_the_norm_of_the_gradient_is_noted_where_it_is_asked_for(tmp_path, monkeypatch):
    """It is that of the step after the epoch; without being asked for, no record has it."""
    monkeypatch.setattr(measuring, "PART", 1e9)
    watched = trainer(Steering(measures=True))
    watched.fit(X, Y, epochs=30, checkpoints=tmp_path / "a", validation=(X, Y))
    noted = [record for record in watched.history[:-1] if "gradient_norm" in record]
    assert noted
    for record in noted[-2:]:
        step = watched.replay(4 * record["epoch"] + 1, tmp_path / "a", X, Y, validation=(X, Y))
        slopes = look(step.moment, 0).batch_slopes.values()
        norm = np.sqrt(sum(np.sum(np.square(each, dtype=np.float64)) for each in slopes))
        assert np.isclose(record["gradient_norm"], norm, rtol=1e-4)
    alone = trainer(Steering())
    alone.fit(X, Y, epochs=2)
    assert not any("gradient_norm" in record for record in alone.history)


def test_measuring_takes_no_more_than_its_part_of_the_time(monkeypatch):
    """By a clock that the measure itself moves on: the first not at once, and over a long time less than that part."""
    now = [0.0]
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: now[0])
    spent = []

    def measure():
        now[0] += 0.02
        spent.append(0.02)
        return 1.0

    found = measuring.Measuring()
    assert found.measured(lambda: measure) is None
    for _ in range(10_000):
        now[0] += 0.05
        found.measured(lambda: measure)
    assert 0.9 * measuring.PART < sum(spent) / now[0] <= measuring.PART
