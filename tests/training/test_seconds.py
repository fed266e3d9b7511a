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


def test_what_goes_on_has_what_is_left_of_the_time(tmp_path, monkeypatch):
    """The seconds that the epochs before took are not given anew."""
    from backpass.recipes import again, duration, run

    path, folder = tmp_path / "t.parquet", tmp_path / "run"
    bp.Table.from_data({"x": RNG.normal(size=90), "y": RNG.normal(size=90)}).frame.write_parquet(path)
    recipe = {"hidden": (), "epochs": 4}
    outcome = bp.train(path, "y", seconds=1e4, recipe=recipe, out=folder, page=False)
    before = duration.trained_before(run.checkpoints(folder))
    assert before == pytest.approx(sum(outcome.history.column("seconds")))
    assert before > 0
    asked = []
    monkeypatch.setattr(duration, "left", lambda seconds, gone: asked.append((seconds, gone)) or 1.0)
    monkeypatch.setattr(duration, "trained_before", lambda _: 5000.0)
    again.plan_of(folder).fit(checkpoints=run.checkpoints(folder))
    assert asked[0][0] == 1e4
    assert 5000 < asked[0][1] < 5100


def test_the_time_that_is_left_is_shown_by_the_clock_where_that_ends_it():
    """Where the epochs would take longer; without a time it is theirs."""
    from backpass.training.events import StepFinished, TrainingStarted
    from backpass.training.progress import Watch

    shown = {}
    for seconds in (None, 90.0, 1e9):
        watch = Watch(lambda _: None)
        watch(TrainingStarted(epochs=1000, rows=100, batch_size=50, parameters=1, seconds=seconds))
        watch._started -= 10
        watch(StepFinished(step=1, epoch=1, loss=0.5, rows=50))
        shown[seconds] = watch.left
    assert shown[90.0] == "1:20 left  "
    assert shown[None][:3] == shown[1e9][:3] == "333"


def test_a_time_that_allows_more_networks_than_there_are_is_told():
    from backpass.cli.train import _effort

    columns = {"x": RNG.normal(size=60), "z": RNG.normal(size=60), "y": RNG.normal(size=60)}
    told = _effort(plan(columns, "y", seconds=1e5))
    assert "mean of 32 networks (never more), up to " in told
    assert ": over after about " in told
    assert "more" not in _effort(plan(columns, "y", seconds=0.01))
