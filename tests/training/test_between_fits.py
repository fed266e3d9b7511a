"""Trainers and models between, beside and after trainings: copies, threads, errors of listeners, changed attributes."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest

from backpass import Trainer, losses, nn, ops, optimizers
from backpass.errors import UsageError
from backpass.forward import flatten, unflatten
from backpass.training.events import EpochFinished, StepFinished
from backpass.training.executors import EXECUTORS, NativeExecutor

ROWS = np.random.default_rng(0)
X, Y = ROWS.normal(size=(100, 5)), ROWS.integers(0, 3, 100)
NETWORK = nn.Sequential(nn.Dense(7), nn.Tanh(), nn.Dense(3))


class StopError(Exception):
    """What a listener raises to end a training."""


def new(**options):
    return Trainer(NETWORK, losses.CrossEntropy(), precision="float64", **options)


def same(first, second):
    pairs = zip(flatten(first.parameters), flatten(second.parameters), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])  # noqa: S301
def test_trainers_and_models_are_copied_without_their_programs(copied):
    trainer = new()
    trainer.fit(X, Y, epochs=1)
    model = trainer.model()
    expected = model.predict(X)
    assert np.array_equal(copied(model).predict(X), expected)
    other = copied(trainer)
    assert np.array_equal(other.predict(X), expected)
    other.fit(X, Y, epochs=1)
    assert np.array_equal(trainer.predict(X), expected)
    trainer.fit(X, Y, epochs=1)
    assert same(trainer, other)


def test_threads_may_share_a_model():
    trainer = new()
    trainer.fit(X, Y, epochs=1)
    model = trainer.model()
    parts = [X[at : at + 9] for at in range(90)]
    expected = [model.predict(part) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for found, wanted in zip(pool.map(model.predict, parts), expected, strict=True):
                assert np.array_equal(found, wanted)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("event", [EpochFinished, StepFinished])
def test_an_error_of_a_listener_keeps_the_epochs_that_are_done(executor, event):
    def stop(found):
        if isinstance(found, event) and (found.epoch if event is StepFinished else found.record["epoch"]) == 5:
            raise StopError

    trainer, other = new(executor=executor, listeners=[stop]), new(executor=executor)
    with pytest.raises(StopError):
        trainer.fit(X, Y, epochs=10)
    done = 5 if event is EpochFinished else 4
    assert [record["epoch"] for record in trainer.history] == list(range(1, done + 1))
    other.fit(X, Y, epochs=done)
    assert same(trainer, other)
    trainer.listeners.clear()
    trainer.fit(X, Y, epochs=3)
    other.fit(X, Y, epochs=3)
    assert same(trainer, other)
    assert len(trainer.history) == done + 3


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_error_of_a_metric_costs_no_epoch_of_the_next_fit(executor):
    def metric(*_):
        raise StopError

    trainer = new(executor=executor, metrics={"metric": metric})
    with pytest.raises(StopError):
        trainer.fit(X, Y, epochs=3, validation=(X, Y))
    trainer.fit(X, Y, epochs=2)
    assert [record["epoch"] for record in trainer.history] == [2, 3]


@pytest.mark.parametrize("stops", [True, False])
def test_ctrl_c_twice_leaves_history_and_weights_at_the_same_epoch(monkeypatch, stops):
    call, calls = NativeExecutor._call, []

    def interrupted(self, epochs, **options):
        call(self, epochs, **options)
        calls.append(epochs)
        if len(calls) in (6, 7):
            raise KeyboardInterrupt

    trainer, other = new(), new()
    monkeypatch.setattr(NativeExecutor, "_call", interrupted)
    monkeypatch.setattr("backpass.training.executors.FETCHING", 1e9)
    try:
        trainer.fit(X, Y, epochs=100_000, stop_on_interrupt=stops)
    except KeyboardInterrupt:
        assert not stops
    monkeypatch.undo()
    assert len(calls) == 7
    epoch = len(trainer.history)
    if epoch:
        other.fit(X, Y, epochs=epoch)
        assert same(trainer, other)
    trainer.fit(X, Y, epochs=2)
    assert len(trainer.history) == epoch + 2


def test_a_listener_may_train_the_same_trainer():
    def again(event):
        if isinstance(event, StepFinished) and event.step == 2:
            trainer.listeners.clear()
            trainer.fit(X, Y, epochs=1)

    trainer = new(listeners=[again])
    trainer.fit(X, Y, epochs=3)
    assert all(np.isfinite(value).all() for value in flatten(trainer.parameters))


@pytest.mark.parametrize(
    ("name", "value"), [("batch_size", 0), ("batch_size", -3), ("threads", 0), ("threads", "x"), ("executor", "jit")]
)
def test_options_set_later_are_checked(name, value):
    trainer = new()
    trainer.fit(X, Y, epochs=1)
    setattr(trainer, name, value)
    with pytest.raises(UsageError, match=f"{name} is {value!r}, expected"):
        trainer.fit(X, Y, epochs=1)


@dataclass(frozen=True)
class Costs(losses.CrossEntropy):
    """A loss that holds an array, and so has no hash and no one truth of equality."""

    costs: object = None

    def rows(self, outputs, targets):
        return super().rows(outputs, targets) * ops.sum(ops.square(outputs) * self.costs, axis=1)


def test_a_loss_may_hold_an_array():
    results = []
    for executor in EXECUTORS:
        costs = np.array([0.1, 0.2, 0.3])
        trainer = Trainer(NETWORK, Costs(costs=costs), optimizers.SGD(0.01), executor=executor, precision="float64")
        trainer.fit(X, Y, epochs=1)
        trainer.loss = Costs(costs=2 * costs)
        trainer.fit(X, Y, epochs=1)
        results.append([*flatten(trainer.parameters), trainer.predict(X)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_another_network_of_the_same_shapes_is_trained_by_a_program_of_its_own():
    results = []
    for executor in EXECUTORS:
        trainer = new(executor=executor)
        trainer.fit(X, Y, epochs=1)
        trainer.network = nn.Sequential(nn.Dense(7), nn.ReLU(), nn.Dense(3))
        trainer.fit(X, Y, epochs=1)
        results.append(flatten(trainer.parameters))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_the_reference_too_starts_from_a_state_that_is_infinite():
    trainer = new(executor="reference")
    trainer.optimizer = optimizers.SGD(optimizers.ReduceOnPlateau(0.1))
    assert len(trainer.fit(X, Y, epochs=2)) == 2


def test_a_program_that_still_holds_the_weights_goes_on_from_them_and_from_no_others():
    """Two fits are one fit; begun anew from other weights, or only some of them, it is a Trainer that began there."""
    once, twice = new(), new()
    once.fit(X, Y, epochs=2)
    for _ in range(2):
        twice.fit(X, Y, epochs=1)
    assert same(once, twice)
    first, *others = flatten(twice.parameters)
    start = unflatten(twice.parameters, [2 * first, *others])
    twice.restart(start).fit(X, Y, epochs=1)
    fresh = new().build(X).restart(start)
    fresh.fit(X, Y, epochs=1)
    assert same(fresh, twice)


def test_weights_that_were_made_writeable_and_changed_are_those_that_it_goes_on_from():
    changed, fresh = new(), new().build(X)
    changed.fit(X, Y, epochs=1)
    for array in flatten(changed.parameters):
        array.flags.writeable = True
        array[...] = 0.5
    fresh.restart(unflatten(changed.parameters, [array.copy() for array in flatten(changed.parameters)]))
    changed.restart(changed.parameters).fit(X, Y, epochs=1)
    fresh.fit(X, Y, epochs=1)
    assert same(changed, fresh)
