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
    from backpass.recipes.main_job import fit_into

    path, folder = tmp_path / "t.parquet", tmp_path / "run"
    bp.Table.from_data({"x": RNG.normal(size=90), "y": RNG.normal(size=90)}).frame.write_parquet(path)
    recipe = {"hidden": (), "epochs": 4}
    outcome = bp.train(path, "y", seconds=1e4, recipe=recipe, out=folder, page=False)
    before = duration.trained_before(run.checkpoints(folder))
    assert before == pytest.approx(sum(outcome.history.column("seconds")))
    assert before > 0
    asked = []
    monkeypatch.setattr(duration, "left", lambda planned: asked.append(planned) or 1.0)
    monkeypatch.setattr(duration, "trained_before", lambda found: 5000.0 if found.folder.name == "checkpoints" else 7.0)
    fit_into(folder, again.plan_of(folder), begins=False, page=False)
    assert 5007 < asked[0].gone < 5107


def planned_for(seconds, **options):
    columns = {"x": RNG.normal(size=90), "when": np.arange(90), "y": RNG.normal(size=90)}
    return plan(columns, "y", seconds=seconds, recipe={"hidden": (), "epochs": 4}, **options)


def test_trainings_share_what_is_left_of_the_time_by_their_rows(monkeypatch):
    """Each of three folds of 60 rows, of which 54 train, and then all 90."""
    from backpass.recipes import duration

    monkeypatch.setattr(type(planned_for(1.0)), "gone", 40.0)
    planned = planned_for(292.0, folds=3, refit=True)
    assert planned.prepared.train.rows == 54
    assert duration.part_of(planned) == pytest.approx(54 / (3 * 54 + 90))
    assert [planned.fold(place).seconds for place in range(2)] == pytest.approx([252 * 54 / 198, 252 * 54 / 144])


def test_a_second_training_that_the_time_does_not_suffice_for_leaves_the_first(monkeypatch):
    from backpass.recipes import duration

    planned = planned_for(1e4, refit=True)
    outcome = planned.fit()
    monkeypatch.setattr(type(planned), "gone", 1e4)
    monkeypatch.setattr(duration, "LEAST", 1e-6)
    again = planned.fit_again(outcome)
    assert (again.scored, again.model) == (None, outcome.model)
    assert again.refit_failed == "the time was over in epoch 2 of 4"


def test_a_time_that_is_short_for_a_table_is_told():
    from backpass.cli.train import _hurry

    columns = {"x": RNG.normal(size=300), "z": RNG.normal(size=300), "y": RNG.normal(size=300)}
    hurried = plan(columns, "y", seconds=0.01)
    outcome = hurried.fit()
    (told,) = _hurry(hurried, outcome)
    assert told.startswith("the time was short, and the score may be low for it: 1 epoch of the usual 200")
    unhurried = plan(columns, "y", seconds=1e4, recipe={"hidden": ()})
    outcome.history.reason = "no better validation loss for 8 epochs"
    assert _hurry(unhurried, outcome) == []


def test_epochs_that_were_asked_for_are_not_laid_to_the_time():
    from backpass.cli.train import _hurry

    columns = {"x": RNG.normal(size=300), "z": RNG.normal(size=300), "y": RNG.normal(size=300)}
    asked = plan(columns, "y", seconds=1e4, recipe={"hidden": (), "epochs": 2})
    assert _hurry(asked, asked.fit()) == []


def test_what_a_training_takes_is_guessed_from_its_parts(monkeypatch):
    """Twice the epochs take twice as long but for the programs and scores; each fold as long again; others, more."""
    from dataclasses import replace

    from backpass.recipes import duration

    monkeypatch.setattr(duration, "speed", lambda: duration.Speed(1e9, 1.0, 1.0))
    one = planned_for(None)
    each = duration.guess(one)
    assert duration.most_seconds(one) == pytest.approx(each.begin + 4 * (each.learn + each.validate) + each.end)
    double = replace(one, recipe=replace(one.recipe, epochs=8))
    assert duration.most_seconds(double) - duration.most_seconds(one) == pytest.approx(4 * (each.learn + each.validate))
    crowded = {"takes": duration.most_seconds(one) + 1e-6}
    assert duration.fitting(one, crowded["takes"])["epochs"] == 4
    monkeypatch.setattr(duration, "speed", lambda: duration.Speed(1e9, 1.0, 1e6))
    assert duration.fitting(one, crowded["takes"])["epochs"] == 1
    monkeypatch.setattr(duration, "speed", lambda: duration.Speed(1e9, 2.0, 1.0))
    assert duration.guess(one).begin == pytest.approx(2 * each.begin)


def test_programs_that_are_made_are_not_waited_for_again(monkeypatch, tmp_path):
    """The guess knows those of the same training, and of no other."""
    from dataclasses import replace

    from backpass.recipes import duration

    monkeypatch.setenv("BACKPASS_CACHE", str(tmp_path))
    monkeypatch.setattr(duration, "speed", lambda: duration.Speed(1e9, 1.0, 1.0))
    one = planned_for(None)
    before = duration.guess(one).begin
    one.fit()
    assert duration.guess(one).begin < before / 10
    assert duration.guess(replace(one, precision="float64")).begin == before
    assert duration.guess(one, replace(one.recipe, members=2)).begin > before


def test_the_speed_that_is_shown_is_that_of_whole_epochs_without_the_first(monkeypatch):
    """In which a program is made, too; before, that since the steps began."""
    from backpass.training import progress
    from backpass.training.events import EpochFinished, StepFinished, TrainingStarted

    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    watch = progress.Watch(lambda _: None)
    watch(TrainingStarted(epochs=10, rows=100, batch_size=50, parameters=1))
    shown = []
    for seconds in (20, 2, 2):
        now[0] += seconds / 2
        watch(StepFinished(step=1, epoch=1, loss=0.5, rows=50))
        shown.append(watch.rows_per_second)
        now[0] += seconds / 2
        watch(StepFinished(step=2, epoch=1, loss=0.5, rows=100))
        watch(EpochFinished({}, best=False))
    assert shown == [5.0, 5.0, 50.0]
    assert watch.left == "0:14 left  "


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
