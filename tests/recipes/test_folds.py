"""Cross-validation: which rows test, what the mean and its interval are, and that what is done is not done again."""

import json
import signal

import numpy as np
import pytest

import backpass as bp
from backpass.cli.train import _of_folds
from backpass.errors import NotFiniteError, TableError, UsageError
from backpass.recipes import again, crossed, main_job, plan, run
from backpass.recipes.main_job import fit_into

QUICK = {"hidden": (), "epochs": 2, "waves": 0}


def table(rows=90, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    labels = np.where(x + rng.normal(size=rows) > 0, "yes", "no").tolist()
    labels[7] = "once"
    return {"x": x, "when": rng.permutation(rows), "whose": [f"g{place // 9}" for place in range(rows)], "y": labels}


def parts_of(**options):
    """The rows that each fold tests and trains, by their places."""
    planned = plan(table(), "y", folds=3, recipe=QUICK, exclude=["whose"], **options)
    splits = [planned.fold(place).prepared.division.split for place in range(2)] + [planned.prepared.division.split]
    return [(each.test.tolist(), [*each.train.tolist(), *each.validation.tolist()]) for each in splits]


def test_every_row_tests_once_and_classes_keep_their_proportions():
    """But for a class of a single row, which always trains."""
    folds, labels = parts_of(), np.array(table()["y"])
    assert sorted(row for rows, _ in folds for row in rows) == [row for row in range(90) if row != 7]
    for rows, others in folds:
        assert sorted(rows + others) == list(range(90))
        assert abs((labels[rows] == "yes").mean() - (labels == "yes").mean()) < 0.04


def test_groups_stay_whole():
    whose = np.array(table()["whose"])
    planned = plan(table(), "x", folds=3, group="whose", recipe=QUICK, exclude=["y"])
    splits = [planned.fold(place).prepared.division.split for place in range(2)] + [planned.prepared.division.split]
    assert sorted(row for split in splits for row in split.test.tolist()) == list(range(90))
    for split in splits:
        assert not set(whose[split.test]) & set(whose[[*split.train, *split.validation]])
        assert 27 <= len(split.test) <= 36


def test_in_an_order_each_part_is_tested_by_what_came_before():
    """The rows are cut into one part more than there are folds; of the first nothing is tested."""
    when = table()["when"]
    planned = plan(table(), "x", folds=2, order="when", recipe=QUICK, exclude=["y", "whose"])
    splits = [planned.fold(0).prepared.division.split, planned.prepared.division.split]
    assert [sorted(when[split.test].tolist()) for split in splits] == [list(range(30, 60)), list(range(60, 90))]
    for split in splits:
        assert when[split.validation].min() > when[split.train].max()
        assert when[split.validation].max() < when[split.test].min()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"folds": 1}, "folds is 1, expected a whole number from 2 to 100"),
        ({"folds": 3, "test": 0.2}, "--folds and --test-part both say which rows are scored"),
        ({"folds": 3, "test_table": table()}, "--folds and --test both say which rows are scored"),
        ({"folds": 90}, "has 90 usable rows, too few for 90 folds"),
        ({"folds": 11, "group": "whose"}, "the rows are of 10 groups, fewer than 11 folds"),
        ({"folds": 9, "group": "whose", "order": "when"}, "--group and --order both say"),
        ({"folds": 2, "order": "same"}, "--order: its rows are of too few times for 2 folds"),
    ],
)
def test_what_does_not_go_with_folds_is_one_line_before_training(options, told):
    with pytest.raises((UsageError, TableError), match=told):
        plan({**table(), "same": [1.0] * 89 + [2.0]}, "x", **options)


def fold(accuracy, trained=80, tested=20):
    return crossed.Fold(trained, tested, (("ours", {"accuracy": accuracy, "auc": None}),))


def test_the_interval_of_the_mean_counts_that_folds_share_rows():
    """By hand: of 0.8, 0.9 and 1.0 the deviation is 0.1; Student's t of two degrees is 4.303; 1/3 + 20/80."""
    (found,) = crossed.means([fold(0.8), fold(0.9), fold(1.0)])
    assert found.metrics == {"accuracy": pytest.approx(0.9)}
    assert found.margins["accuracy"] == pytest.approx(4.303 * 0.1 * np.sqrt(1 / 3 + 1 / 4), rel=1e-3)
    assert crossed.spreads([fold(0.8), fold(1.0)]) == ["accuracy 0.800 to 1.000"]
    several = [
        crossed.Fold(80, 20, (("ours", {"rmse": 1.0, "r2": each, "rmse_a": 2.0, "r2_a": each, "r2_b": 0.5}),))
        for each in (0.25, 0.75)
    ]
    assert crossed.spreads(several) == ["R² a 0.250 to 0.750", "R² b 0.500 to 0.500"]


@pytest.mark.parametrize(("degrees", "expected"), [(1, 12.706), (4, 2.776), (99, 1.984)])
def test_students_t_is_that_of_the_tables(degrees, expected):
    assert crossed.student(degrees) == pytest.approx(expected, abs=1e-3)


def test_a_fold_is_the_training_that_it_would_be_alone_and_nothing_is_done_twice(tmp_path, monkeypatch):
    """Stopped in its second fold a run goes on there; the scores are those of a run that was never stopped."""
    path = tmp_path / "t.parquet"
    bp.Table.from_data({name: table()[name] for name in ("x", "when")}).frame.write_parquet(path)
    whole = bp.train(path, "when", folds=3, recipe=QUICK, out=tmp_path / "whole", page=False)
    planned, trained = plan(str(path), "when", folds=3, recipe=QUICK), []
    assert planned.fold(0).fit().metrics == whole.folds[0].scores[0][1]
    assert whole.metrics == whole.folds[2].scores[0][1]
    original = type(planned).fold

    def stopping(self, place):
        trained.append(place)
        if place == 1 and len(trained) == 2:
            return Stopped()
        return original(self, place)

    class Stopped:
        def fit(self, **_):
            from dataclasses import replace

            return replace(whole, interrupted_by=signal.SIGINT)

    monkeypatch.setattr(type(planned), "fold", stopping)
    (tmp_path / "cut").mkdir()
    cut = fit_into(tmp_path / "cut", planned, page=False)
    assert (cut.finished, cut.interrupted_by, cut.folds) == (False, signal.SIGINT, ())
    on = fit_into(tmp_path / "cut", again.plan_of(tmp_path / "cut"), begins=False, page=False)
    assert trained == [0, 1, 1]
    assert crossed.told(on.folds) == crossed.told(whole.folds)
    about = json.loads((tmp_path / "cut" / "run.json").read_text())
    assert about["outcome"]["folds"] == crossed.told(whole.folds)
    (tmp_path / "cut" / run.FOLDS).write_text('[{"trained": 1}]')
    with pytest.raises(UsageError, match=r"folds.json: tested is not there"):
        crossed._read(tmp_path / "cut" / run.FOLDS, 2)


def ordered(rows=120):
    """By time all rows of the early ones but a few are of one class."""
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(rows) > 0.5, "yes", "no")
    labels[30:60] = "no"  # of which the last validate in the first fold
    return {"x": rng.normal(size=rows), "when": np.arange(rows), "y": labels.tolist(), "z": rng.normal(size=rows)}


@pytest.mark.parametrize(
    ("target", "options", "told"),
    [
        ("y", {"order": "when", "threshold": "f1"}, "--folds 3: in fold 1 --threshold f1 is chosen on rows of both"),
        ("z", {"order": "when", "interval": 0.85}, "--folds 3: in fold 1 --interval 0.85 needs 6 rows to calibrate"),
    ],
)
def test_a_fold_that_cannot_be_made_is_told_before_anything_is_trained(tmp_path, target, options, told):
    """The last fold, which is the run's own, could be."""
    planned = plan(ordered(), target, folds=3, recipe=QUICK, **options)
    with pytest.raises(UsageError, match=told) as caught:
        planned.require_folds()
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=told):
        bp.train(ordered(), target, folds=3, recipe=QUICK, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_fold_that_fails_in_training_is_told_and_costs_nothing_else(tmp_path, monkeypatch):
    """The model, its scores and report stay; the means are of the folds that have scores, of fewer than two none."""
    original, failing = main_job.Plan.fold, {0}

    class Failing:
        def __init__(self, plan):
            self.prepared = plan.prepared

        def fit(self, **_):
            raise NotFiniteError("the loss became nan in step 3")

    def fold(self, place):
        return Failing(original(self, place)) if place in failing else original(self, place)

    bp.Table.from_data({name: table()[name] for name in ("x", "when")}).frame.write_parquet(tmp_path / "t.parquet")
    monkeypatch.setattr(main_job.Plan, "fold", fold)
    outcome = bp.train(tmp_path / "t.parquet", "when", folds=3, recipe=QUICK, out=tmp_path / "run", refit=True)
    assert outcome.finished
    assert outcome.scored is not None
    assert [each.failed for each in outcome.folds] == ["the loss became nan in step 3", "", ""]
    found, rest = (crossed.means(each)[0].metrics for each in (outcome.folds, outcome.folds[1:]))
    assert found == rest
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["state"] == "finished"
    assert about["outcome"]["folds"]["each"][0]["failed"] == "the loss became nan in step 3"
    assert "the loss became nan in step 3" in (tmp_path / "run" / "report.html").read_text()
    assert _of_folds(outcome)[0].startswith("mean of 2 of 3 folds")
    assert _of_folds(outcome)[-1] == "  fold 1 failed: the loss became nan in step 3"
    kept = crossed._read(tmp_path / "run" / run.FOLDS, 2)
    assert [each.to_json() for each in kept] == [each.to_json() for each in outcome.folds[:2]]
    failing.add(1)
    told = crossed.told(bp.train(table(), "x", exclude=["y", "whose"], folds=3, recipe=QUICK).folds)
    assert (told["scores"], len(told["each"])) == ([], 3)
