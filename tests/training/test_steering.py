"""A training steered from another thread."""

import threading
import time

import numpy as np

import backpass as bp
from backpass import losses, nn
from backpass.forward import flatten
from backpass.training import Steering

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
