"""Training again on all rows: what the model is then, and that scores, history and steps stay those of the first."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

import backpass as bp
from backpass.cli.main import main
from backpass.errors import NotFiniteError, UsageError
from backpass.recipes import again, main_job, plan, report_page, run
from backpass.recipes.main_job import fit_into
from backpass.recipes.report_page import facts_of_run

QUICK = {"hidden": (4,), "epochs": 6, "patience": 1, "waves": 0, "members": 1, "dropout": 0.0}


def table(rows=120, seed=0):
    """Two numbers, and two classes."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(2, rows))
    return {"x": x, "z": z, "y": np.where(x + z + rng.normal(size=rows) > 0, "yes", "no").tolist()}


def same(first, second):
    return first.weights == second.weights


@pytest.mark.parametrize("members", [1, 2])
def test_the_model_is_the_network_trained_on_all_rows_for_as_many_epochs_as_were_kept(members):
    """With the scores of the network before, which stays beside it; also of networks that each left out rows."""
    recipe = QUICK | {"members": members}
    plain, refitted = (bp.train(table(), "y", recipe=recipe, refit=refit) for refit in (False, True))
    assert same(plain.model, refitted.scored)
    assert plain.metrics == refitted.metrics
    assert refitted.history == plain.history or len(refitted.history) == len(plain.history)
    whole = plan(table(), "y", recipe=recipe, test=0, validation=0)
    assert whole.prepared.train.rows == 120
    trainer = whole.trainer()
    trainer.fit(epochs=plain.history.kept, **whole.arguments())
    assert trainer.model().weights == refitted.model.weights
    assert refitted.model.about["rows"] == 120
    assert refitted.model.about["epochs"] == plain.history.kept


def test_what_columns_hold_is_learned_from_all_rows_and_the_calibration_stays():
    """Numbers have the mean of all rows, and class weights are theirs; the temperature is that of the first network."""
    outcome = bp.train(table(), "y", class_weights="balanced", recipe=QUICK, refit=True)
    first, last = outcome.scored.tabular, outcome.model.tabular
    assert last.inputs.block[0].scaling.center == pytest.approx(table()["x"].mean())
    assert last.calibration.temperature == first.calibration.temperature
    share = np.mean(np.array(table()["y"]) == "yes")
    np.testing.assert_allclose(last.calibration.class_weights, (0.5 / (1 - share), 0.5 / share))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"test": 0, "validation": 0}, "--refit trains again with the rows that were held out, and none are"),
        ({"interval": 0.5, "task": "regression"}, "--refit trains on the rows that --interval calibrates with"),
        ({"refit": "yes"}, "refit is 'yes', expected true or false"),
    ],
)
def test_where_it_makes_no_sense_it_is_refused(options, told):
    with pytest.raises(UsageError, match=told):
        plan(table(), "x" if "interval" in options else "y", **{"refit": True} | options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a finished run that was trained again, on a table beside it."""
    place = tmp_path_factory.mktemp("refit")
    bp.Table.from_data(table()).frame.write_parquet(place / "t.parquet")
    bp.train(place / "t.parquet", "y", recipe=QUICK, refit=True, out=place / "run")
    return place / "run"


def test_a_run_predicts_with_the_one_and_tells_of_the_other(folder):
    """`load` gives the model; scores, report and steps are of the network that was scored."""
    opened, final = bp.open_run(folder), bp.load(folder)
    about = opened.about["outcome"]
    assert about["refit"] == {
        "rows": 120,
        "epochs": opened.about["outcome"]["kept_epoch"],
        "scored_weights": opened.model.weights,
    }
    assert (about["weights"], final.weights != opened.model.weights) == (final.weights, True)
    assert opened.replay(1).step == 1
    assert opened.why(row=1).row == 1
    told = facts_of_run(opened)
    assert told["training"]["refit"] == about["refit"]
    assert told["scores"]["of"][0]["metrics"]["accuracy"] == pytest.approx(about["metrics"]["accuracy"])
    assert not (folder / run.AGAIN).exists()


def test_it_is_done_again_to_the_same_bits(folder, tmp_path):
    """Both networks are compared: one that was changed is told."""
    found = again.compare(folder, again.plan_of(folder))
    assert (found.same, found.sha256[0]) == (True, bp.load(folder).weights)
    shutil.copytree(folder, tmp_path / "changed")
    bp.open_run(folder).model.save(tmp_path / "changed" / run.MODEL)
    with pytest.raises(UsageError, match=r"model\.safetensors: is not the network that this run ended with"):
        again.compare(tmp_path / "changed", again.plan_of(folder))


@pytest.mark.parametrize("when", ["first", "again"])
def test_interrupted_in_either_training_it_goes_on_to_the_same_bits(folder, tmp_path, when):
    """Where the second is interrupted the first network is the model for the time being."""
    other = tmp_path / "other"
    planned = plan(str(folder.parent / "t.parquet"), "y", recipe=QUICK, refit=True)
    other.mkdir()

    def stop(event):
        if type(event).__name__ == "StepFinished" and event.step == 5:
            signal.raise_signal(signal.SIGINT)

    class Stopping(type(planned)):
        def trainer(self, listeners=(), steering=None):
            own = self.prepared.validation is None if when == "again" else self.prepared.validation is not None
            return super().trainer([*listeners, *([stop] if own else [])], steering)

    stopping = Stopping(**{name: getattr(planned, name) for name in planned.__dataclass_fields__})
    outcome = fit_into(other, stopping, stop_on_interrupt=True, page=False)
    assert (outcome.finished, outcome.interrupted_by) == (False, signal.SIGINT)
    assert json.loads((other / "run.json").read_text())["state"] == "interrupted"
    if when == "again":
        assert same(bp.load(other), bp.open_run(folder).model)
    outcome = fit_into(other, again.plan_of(other), begins=False, page=False)
    assert outcome.finished
    assert same(bp.load(other), bp.load(folder))
    assert same(outcome.scored, bp.open_run(folder).model)


def test_a_second_training_that_fails_leaves_the_first_network_and_says_why(tmp_path, monkeypatch):
    """And the run is finished: to go on would only fail again."""
    whole = main_job.Plan.whole

    def failing(_):
        raise NotFiniteError("the loss became nan in step 9")

    bp.Table.from_data(table()).frame.write_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr(main_job.Plan, "whole", failing)
    outcome = bp.train(tmp_path / "t.parquet", "y", recipe=QUICK, refit=True, out=tmp_path / "run")
    monkeypatch.setattr(main_job.Plan, "whole", whole)
    assert (outcome.finished, outcome.scored, outcome.refit_failed) == (True, None, "the loss became nan in step 9")
    about = bp.open_run(tmp_path / "run").about
    assert (about["state"], about["outcome"]["refit"]) == ("finished", None)
    assert about["outcome"]["refit_failed"] == outcome.refit_failed
    assert "the loss became nan in step 9" in (tmp_path / "run/report.html").read_text()
    assert again.compare(tmp_path / "run", again.plan_of(tmp_path / "run")).same


def status_of(arguments):
    """The exit status of the command, run in this process."""
    try:
        main([str(each) for each in arguments])
    except SystemExit as end:
        return end.code
    return 0


def test_a_kill_at_any_point_of_the_end_leaves_a_run_that_resume_finishes(folder, tmp_path, monkeypatch):
    """Before its last files are written, and before what it needs no more goes: `resume` leaves page and networks."""
    run_folder, points = tmp_path / "run", []

    def noticed(own):
        """Keeps how things stand before, which is what a kill there leaves."""

        def ran(path, *arguments, **options):
            points.append(Path(path).name)
            shutil.copytree(run_folder, tmp_path / str(len(points)))
            return own(path, *arguments, **options)

        return ran

    monkeypatch.setattr(run, "write_whole", noticed(run.write_whole))
    monkeypatch.setattr(report_page, "write_whole", noticed(report_page.write_whole))
    monkeypatch.setattr(run.shutil, "rmtree", noticed(shutil.rmtree))
    run_folder.mkdir()
    fit_into(run_folder, plan(str(folder.parent / "t.parquet"), "y", recipe=QUICK, refit=True))
    monkeypatch.undo()
    end = ["scored.safetensors", "model.safetensors", "history.jsonl", "report.html", "run.json", "checkpoints-again"]
    assert points[-6:] == end
    for killed in ("scored.safetensors", "run.json", "checkpoints-again"):
        place = tmp_path / str(len(points) - 5 + end.index(killed))
        assert status_of(["resume", place, "--quiet"]) == 0, killed
        assert json.loads((place / "run.json").read_text())["state"] == "finished"
        assert (place / "report.html").exists()
        assert not (place / run.AGAIN).exists()
        assert same(bp.load(place), bp.load(folder))
        assert status_of(["resume", place, "--quiet"]) == 2
