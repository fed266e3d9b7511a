"""Trainings that are ended by the clock."""

import time

import numpy as np
import pytest

import backpass as bp
from backpass import Trainer, losses, nn, optimizers
from backpass.forward import flatten
from backpass.recipes import plan

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(512, 8)).astype(np.float32), RNG.integers(0, 3, 512)
ENDLESS = 10**7  # epochs


def trainer(executor="native"):
    network = nn.Sequential(nn.Dense(16), nn.ReLU(), nn.Dense(3))
    return Trainer(network, losses.CrossEntropy(), optimizers.Adam(1e-3), batch_size=32, executor=executor)


@pytest.mark.parametrize("executor", ["native", "reference"])
@pytest.mark.parametrize("validation", [None, (X[:50], Y[:50])], ids=["alone", "with validation"])
def test_a_training_ends_when_its_seconds_are_over_and_keeps_what_it_has(executor, validation):
    one, started = trainer(executor), time.perf_counter()
    history = one.fit(X, Y, epochs=ENDLESS, validation=validation, seconds=0.5)
    assert 0.5 <= time.perf_counter() - started < 60
    assert history.reason == "the time is over"
    assert one.steps > 0
    assert all(np.isfinite(part).all() for part in flatten(one.parameters))


def test_a_training_that_is_done_before_its_seconds_are_over_is_the_same_as_one_without():
    ends = [trainer(), trainer()]
    ends[0].fit(X, Y, epochs=3)
    ends[1].fit(X, Y, epochs=3, seconds=1e6)
    assert ends[0].history.reason == ends[1].history.reason == "all 3 epochs done"
    assert ends[0].model().weights == ends[1].model().weights


@pytest.mark.parametrize("seconds", [0, -1])
def test_no_seconds_at_all_are_refused(seconds):
    with pytest.raises(bp.errors.UsageError, match=r"seconds is .*, expected a number above 0"):
        trainer().fit(X, Y, epochs=1, seconds=seconds)


def test_what_fits_into_the_time_is_part_of_what_was_asked():
    """The run goes on with the same networks on a machine of another speed."""
    columns = {"x": RNG.normal(size=300), "z": RNG.normal(size=300), "y": RNG.normal(size=300)}
    planned = plan(columns, "y", seconds=1e5)
    assert planned.recipe.members == 32
    assert planned.asked["recipe"] == {"members": 32, "epochs": planned.recipe.epochs}
    hurried = plan(columns, "y", seconds=0.01)
    assert hurried.recipe.members == 1
    assert hurried.recipe.epochs < planned.recipe.epochs
    own = plan(columns, "y", seconds=1e5, recipe={"members": 2})
    assert own.recipe.members == 2


def test_the_second_fit_of_a_small_table_ends_by_the_clock_too():
    """Its epochs are so short that nothing is asked of the clock within them."""
    one, rows = trainer(), (X[:40], Y[:40])
    for _ in range(2):
        history = one.fit(*rows, epochs=ENDLESS, validation=rows, seconds=0.3)
        assert history.reason == "the time is over"


def test_a_wrong_time_leaves_no_folder_locked(tmp_path):
    one = trainer()
    with pytest.raises(bp.errors.UsageError, match="seconds is"):
        one.fit(X, Y, epochs=1, seconds="5", checkpoints=tmp_path / "run")
    assert not list(tmp_path.rglob("*.lock"))
    assert not list(tmp_path.rglob(".lock"))
