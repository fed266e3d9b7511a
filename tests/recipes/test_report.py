"""The report of a run: its facts are the run's own numbers, and its page is one file that asks nobody for anything."""

import json
import re
import shutil

import numpy as np
import pytest

import backpass as bp
from backpass import open_run
from backpass.data import stored
from backpass.model.metrics import BINS
from backpass.recipes import report_page
from backpass.recipes.importance import FEWEST_COLUMNS, importances
from backpass.recipes.judged import judge
from backpass.recipes.main_job import plan

QUICK = {"effort": "fast", "recipe": {"epochs": 20, "hidden": (16,)}}


def columns(rows=600, seed=0):
    """Two columns that decide, a copy of none, and one that is noise; a class and an amount that follow from them."""
    rng = np.random.default_rng(seed)
    first, second, noise = rng.normal(size=(3, rows))
    kind = np.array(["one", "two", "three"])[rng.integers(0, 3, rows)]
    amount = 3 * first + (kind == "two") + 0.1 * rng.normal(size=rows)
    likely = first + 0.5 * second + 0.5 * rng.normal(size=rows) > 0
    labels = np.where(likely, "yes", "no")
    return {"first": first, "second": second, "noise": noise, "kind": kind, "amount": amount, "label": labels}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folders of finished runs: on two classes, on three, on an amount with intervals, each of 600 rows."""
    folder = tmp_path_factory.mktemp("reports")
    table, found = bp.Table.from_data(columns()).frame, {}
    for target, other, more in (
        ("label", "amount", {"recipe": {"epochs": 12, "hidden": (16,), "members": 2}}),
        ("kind", "label", QUICK),
        ("amount", "label", QUICK | {"interval": 0.9}),
    ):
        table.write_csv(folder / f"{target}.csv")
        bp.train(folder / f"{target}.csv", target, exclude=[other], out=folder / target, **more)
        found[target] = folder / target
    return found


def told(folder, **arguments):
    return report_page.facts_of_run(open_run(folder, **arguments))


def in_page(folder):
    """The facts that stand in a run's page."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    return json.loads(page.split('id="facts">', 1)[1].split("</script>", 1)[0])


# The facts are the run's own numbers


@pytest.mark.parametrize("target", ["label", "kind", "amount"])
def test_the_scores_are_those_of_the_run_and_of_its_model_on_the_same_rows(runs, target):
    """They are what run.json has, margins included, and what the model comes to on the rows that were held out."""
    found, opened = told(runs[target]), open_run(runs[target])
    outcome = opened.about["outcome"]
    assert found["scores"]["on"] == outcome["scored_on"] == "test"
    assert found["scores"]["of"][0]["metrics"] == outcome["metrics"]
    assert found["scores"]["of"][1:] == outcome["baselines"]
    assert [each["label"] for each in found["scores"]["of"]][:2] == ["this network", "linear model"]
    measured = opened.model.evaluate(opened.plan.prepared.division.test)
    assert measured == pytest.approx(outcome["metrics"])


@pytest.mark.parametrize("target", ["label", "kind"])
def test_the_confusion_matrix_holds_every_row_once(runs, target):
    """Its lines sum to the rows of each class, all to the rows tested on, the diagonal to the accuracy."""
    found = told(runs[target])
    counts = np.array(found["confusion"]["counts"])
    rows = found["held_out"]["rows"]
    assert counts.sum() == rows == found["data"]["split"]["test"] == found["held_out"]["of"]
    right = open_run(runs[target]).plan.prepared.test.targets
    assert counts.sum(axis=1).tolist() == np.bincount(right, minlength=len(counts)).tolist()
    assert np.trace(counts) / rows == pytest.approx(found["scores"]["of"][0]["metrics"]["accuracy"])


@pytest.mark.parametrize("target", ["label", "kind"])
def test_the_bins_of_the_reliability_diagram_come_to_the_calibration_error(runs, target):
    found = told(runs[target])
    bins, rows = found["calibration"]["bins"], found["held_out"]["rows"]
    assert sum(each["rows"] for each in bins) == rows
    assert all(each["high"] - each["low"] == pytest.approx(1 / BINS) for each in bins)
    error = sum(each["rows"] * abs(each["right"] - each["sure"]) for each in bins) / rows
    assert error == pytest.approx(found["calibration"]["error"])
    assert error == pytest.approx(found["scores"]["of"][0]["metrics"]["calibration_error"])


def test_the_curves_of_two_classes_have_the_area_that_was_scored(runs):
    """Trapezoids under the ROC curve are the AUC; both curves end where all rows are answered yes."""
    found = told(runs["label"])
    roc, pr = found["curves"]["roc"], found["curves"]["precision_recall"]
    area = np.trapezoid(roc["true_positive_rate"], roc["false_positive_rate"])
    assert area == pytest.approx(found["scores"]["of"][0]["metrics"]["auc"]) == pytest.approx(found["curves"]["auc"])
    assert (roc["true_positive_rate"][0], roc["false_positive_rate"][0], roc["threshold"][0]) == (0, 0, None)
    assert (roc["true_positive_rate"][-1], roc["false_positive_rate"][-1]) == (1, 1)
    assert pr["recall"][-1] == 1
    assert pr["precision"][-1] == pytest.approx(found["curves"]["share"])
    assert found["curves"]["share"] < found["curves"]["average_precision"] <= 1
    assert "curves" not in told(runs["kind"])


def test_the_residuals_come_to_the_error_that_was_scored(runs):
    """All rows are few enough to be shown: their errors have the run's RMSE, and fill the histogram."""
    found = told(runs["amount"])
    (target,) = found["residuals"]["targets"]
    errors = np.array(target["predicted"]) - target["actual"]
    metrics = found["scores"]["of"][0]["metrics"]
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(metrics["rmse"])
    assert np.mean(errors) == pytest.approx(target["mean_error"])
    assert sum(target["histogram"]["counts"]) == found["held_out"]["rows"]
    assert found["residuals"]["interval"]["level"] == 0.9
    assert found["residuals"]["interval"]["interval_coverage"] == pytest.approx(metrics["interval_coverage"])


@pytest.mark.parametrize(("target", "decides"), [("label", "first"), ("amount", "first")])
def test_a_column_that_decides_matters_and_noise_does_not(runs, target, decides):
    """The first column's rise is far beyond its spread, that of pure noise lies within its own of zero."""
    found = told(runs[target])["importance"]
    by_name = {each["column"]: each for each in found["columns"]}
    assert found["columns"][0]["column"] == decides
    assert by_name[decides]["rise"] > 3 * by_name[decides]["spread"]
    assert abs(by_name["noise"]["rise"]) <= by_name["noise"]["spread"]
    assert by_name["noise"]["spread"] < by_name[decides]["rise"] / 5
    assert found["metric"] == ("log_loss" if target == "label" else "rmse")


def test_the_importance_is_the_rise_of_the_models_own_score(runs):
    """A column shuffled by hand in the table makes the model's log loss rise by as much as is told."""
    opened = open_run(runs["label"])
    test, told_rise = opened.plan.prepared.division.test, told(runs["label"])["importance"]["columns"][0]
    before = opened.model.evaluate(test)["log_loss"]
    rng, rises = np.random.default_rng(5), []
    for _ in range(10):
        own = test.frame.to_dict(as_series=False)
        own["first"] = rng.permutation(own["first"]).tolist()
        rises.append(opened.model.evaluate(own)["log_loss"] - before)
    assert np.mean(rises) == pytest.approx(told_rise["rise"], abs=told_rise["spread"])


def test_of_too_many_columns_those_are_shuffled_that_may_matter(monkeypatch):
    """Where the work allows a few alone, the ones that decide are among them, and the others are counted."""
    rng = np.random.default_rng(0)
    block = rng.normal(size=(400, 40))
    table = {f"c{i}": block[:, i] for i in range(40)} | {"y": 2 * block[:, 7] - block[:, 31]}
    planned = plan(table, "y", effort="fast", recipe={"epochs": 15, "hidden": (8,)})
    outcome = planned.fit()
    monkeypatch.setattr("backpass.recipes.importance.MOST_WORK", 1.0)
    monkeypatch.setattr("backpass.recipes.importance.WORTH", 0.0)
    found = importances(outcome.model, judge(planned, outcome.model))
    assert (len(found.columns), found.passed_over) == (FEWEST_COLUMNS, 30)
    assert {each.column for each in found.columns[:2]} == {"c7", "c31"}


def test_embedded_categories_are_shuffled_too(tmp_path):
    """A category of many levels is an input of its own, and as the only thing that decides the first of all."""
    rng = np.random.default_rng(0)
    level, noise = rng.integers(0, 40, 900), rng.normal(size=900)
    table = {"level": [f"v{each}" for each in level], "noise": noise, "y": (level % 7).astype(float)}
    outcome = bp.train(table, "y", columns={"level": "category"}, out=tmp_path / "r", **QUICK)
    assert outcome.model.tabular.inputs.embeddings
    assert in_page(tmp_path / "r")["importance"]["columns"][0]["column"] == "level"


# Of which runs


def test_a_run_that_was_broken_off_is_told_as_far_as_it_came(runs, tmp_path):
    """Without a model file the newest checkpoint answers: curves, scores beside the baseline, importance."""
    shutil.copytree(runs["label"], tmp_path / "killed")
    (tmp_path / "killed" / "model.safetensors").unlink()
    about = json.loads((tmp_path / "killed" / "run.json").read_text())
    (tmp_path / "killed" / "run.json").write_text(json.dumps({**about, "state": "training", "outcome": None}))
    found, whole = told(tmp_path / "killed"), told(runs["label"])
    assert found["run"]["state"] == "training"
    assert found["scores"]["of"][0]["label"] == "this network"
    assert found["training"]["history"] == whole["training"]["history"]
    assert found["confusion"] == whole["confusion"]
    assert found["data"] == whole["data"]
    assert found["training"]["kept_epoch"] == whole["training"]["kept_epoch"]
    assert "</html>" in report_page.page(found)


def test_without_its_table_a_run_tells_what_it_noted_itself(runs, tmp_path):
    """Scores, curves, data and network stay; what needs the rows is absent, and the reason is told."""
    shutil.copytree(runs["label"], tmp_path / "alone")
    about = json.loads((tmp_path / "alone" / "run.json").read_text())
    about["asked"]["table"] = about["paths"]["table"] = "gone.csv"
    (tmp_path / "alone" / "run.json").write_text(json.dumps(about))
    found, whole = told(tmp_path / "alone"), told(runs["label"])
    assert "gone.csv: no such file" in found["absent"]
    assert not {"confusion", "importance", "calibration"} & set(found)
    assert (found["scores"], found["data"], found["training"]) == (whole["scores"], whole["data"], whole["training"])
    assert found["network"]["layers"] == whole["network"]["layers"]
    assert "gone.csv: no such file" in report_page.page(found)
    assert told(tmp_path / "alone", table=str(runs["label"].parent / "label.csv"))["confusion"] == whole["confusion"]


def test_without_rows_held_out_there_is_no_score_and_that_is_said(tmp_path):
    bp.train(columns(60), "label", exclude=["amount"], test=0.0, validation=0.0, out=tmp_path / "r", **QUICK)
    found = in_page(tmp_path / "r")
    assert (found["scores"], found["held_out"], found["absent"]) == (None, None, "no rows were held out")


def test_rows_in_folds_are_answered_by_networks_that_did_not_learn_from_them(tmp_path):
    """Without a test part the rows that validate are judged, out of their folds: all of them, to the run's score."""
    bp.train(
        columns(300), "label", exclude=["amount"], test=0.0, out=tmp_path / "r", recipe={"epochs": 5, "members": 2}
    )
    found = in_page(tmp_path / "r")
    counts = np.array(found["confusion"]["counts"])
    assert (found["held_out"], counts.sum()) == ({"part": "validation", "rows": 300, "of": 300}, 300)
    own = found["scores"]["of"][0]["metrics"]
    assert np.trace(counts) / 300 == pytest.approx(own["accuracy"], abs=1e-5)


def test_a_streamed_run_has_a_report(tmp_path, monkeypatch):
    """Its rows are on the disk; those that were held out are judged all the same, to the score of the run."""
    monkeypatch.setattr(stored, "WINDOW", 1 << 13)
    monkeypatch.setattr(stored, "LEAST_WINDOW", 64)
    bp.Table.from_data(columns(1200)).frame.write_parquet(tmp_path / "t.parquet")
    bp.train(tmp_path / "t.parquet", "amount", exclude=["label"], stream=True, out=tmp_path / "r", **QUICK)
    found = told(tmp_path / "r")
    (target,) = found["residuals"]["targets"]
    errors = np.array(target["predicted"]) - target["actual"]
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(found["scores"]["of"][0]["metrics"]["rmse"])
    assert found["importance"]["columns"][0]["column"] == "first"
    assert "--stream" in found["reproduce"]["command"]


def test_a_large_part_is_judged_by_some_of_its_rows_and_that_is_told(runs, monkeypatch):
    monkeypatch.setattr("backpass.recipes.judged.FEWEST", 50)
    monkeypatch.setattr("backpass.recipes.judged.MOST_WORK", 1.0)
    found = told(runs["label"])
    assert found["held_out"] == {"part": "test", "rows": 50, "of": 120}
    assert np.sum(found["confusion"]["counts"]) == 50


def test_findings_are_told_as_they_are_given(runs):
    """None leaves the section out; none found is a section that says so."""
    opened = open_run(runs["kind"])
    finding = {"name": "imbalance", "evidence": "one class has 1 row", "advice": "weigh it"}
    assert report_page.facts_of_run(opened, [finding])["findings"] == [finding]
    assert report_page.facts_of_run(opened, [])["findings"] == []
    assert "findings" not in report_page.facts_of_run(opened)


# The page


def test_every_training_that_is_saved_leaves_its_page(runs, tmp_path):
    """It holds the facts to six digits; `page=False` leaves it out."""
    for folder in runs.values():
        assert in_page(folder)["scores"] == report_page._rounded(told(folder))["scores"]
        assert in_page(folder)["importance"] == report_page._rounded(told(folder))["importance"]
    bp.train(columns(60), "label", out=tmp_path / "r", page=False, **QUICK)
    assert not (tmp_path / "r" / "report.html").exists()


def test_the_page_names_no_address_and_may_open_none(runs):
    """Addresses stand in uPlot's comment alone; nothing is loaded, and the page's policy forbids to."""
    page = (runs["label"] / "report.html").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"')]+", page)) == {"https://github.com/leeoniya/uPlot"}
    assert "default-src 'none'" in page
    assert not re.search(r"<(?:link|img|iframe|object)\b|\bsrc=|@import|url\(|\bfetch\(|XMLHttpRequest|innerHTML", page)


def test_the_page_of_a_wide_table_and_of_many_epochs_is_below_two_megabytes(runs):
    """Of 5,000 columns, 20,000 epochs and 1,000 answers the page shows some, and says how many there are."""
    found = told(runs["amount"]) | {"confusion": {"classes": ["x" * 100] * 100, "counts": [[1234] * 100] * 100}}
    name = "a rather long name of a column, as some surveys have them "
    found["data"]["inputs"] = [found["data"]["inputs"][0] | {"name": f"{name}{i}"} for i in range(5000)]
    found["data"]["left_out"] = {f"{name}{i}": "all values are the same" for i in range(5000)}
    found["importance"]["columns"] = [{"column": f"{name}{i}", "rise": i / 7, "spread": i / 9} for i in range(5000)]
    history = found["training"]["history"]
    found["training"]["history"] = {key: [values[0] / 3] * 20_000 for key, values in history.items()}
    found["training"]["history"]["epoch"] = list(range(1, 20_001))
    (target,) = found["residuals"]["targets"]
    target["predicted"], target["actual"] = [np.pi * 1e6] * 1000, [np.e * 1e6] * 1000
    page = report_page.page(found)
    assert len(page.encode()) < 2_000_000
    shown = json.loads(page.split('id="facts">', 1)[1].split("</script>", 1)[0])
    assert [len(shown["data"][key]) + shown["data"][f"{key}_cut"] for key in ("inputs", "left_out")] == [5000, 5000]
    assert (shown["training"]["history"]["epoch"][0], shown["training"]["history"]["epoch"][-1]) == (1, 20_000)


def test_no_name_from_a_table_can_end_the_pages_script(tmp_path):
    """Columns, labels, the table and its folder may be called what they want: in the page they are data."""
    evil = "</script><script>alert(1)</script>"
    rows = columns(120)
    labels = np.where(rows["label"] == "yes", "<img src=x onerror=alert(1)>", "{{data}}<!--")
    table = {evil: rows["first"], "{{title}}": rows["second"], "y<b>": labels}
    bp.train(table, "y<b>", out=tmp_path / "<b>&{{data}}", **QUICK)
    page = (tmp_path / "<b>&{{data}}" / "report.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 4
    assert "<img" not in page
    assert "<b>" not in page
    facts = in_page(tmp_path / "<b>&{{data}}")
    assert {each["name"] for each in facts["data"]["inputs"]} == {evil, "{{title}}"}
    assert set(facts["confusion"]["classes"]) == set(labels)


def test_a_page_that_cannot_be_written_is_a_warning_and_no_loss(tmp_path, monkeypatch):
    """The run is finished and whole; the line says what to do."""
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(60)))
    monkeypatch.setattr(report_page, "NAME", "no/such/folder.html")
    with pytest.warns(RuntimeWarning, match="no no/such/folder.html was written .* backpass report"):
        outcome = bp.train(tmp_path / "t.csv", "y", out=tmp_path / "r", **QUICK)
    assert bp.load(tmp_path / "r").weights == outcome.model.weights
    assert open_run(tmp_path / "r").about["state"] == "finished"
