"""The benchmark of tables: what it scores and sums up, and that it goes on where it was."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import tables

    return tables


@pytest.fixture
def standing(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import table_standing

    return table_standing


def test_a_run_keeps_its_results_and_does_none_again(tmp_path):
    """What stands in the file of results is taken as it is, and told, on paper too."""
    kept, out = tmp_path / "results.json", tmp_path / "out"
    known = {"log_loss": 0.25, "error": 0.125, "processor": 1.0}
    kept.write_text(json.dumps({"iris/0/backpass": known}))
    options = ["--tables", "iris", "adult", "--splits", "1", "--only", "backpass", "backpass fast"]
    command = [sys.executable, BENCHMARKS / "tables.py", *options, "--results", kept, "--out", out]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    results = json.loads(kept.read_text())
    assert results["iris/0/backpass"] == known
    assert 0 <= results["iris/0/backpass fast"]["error"] < 0.4
    assert 0 < results["iris/0/backpass fast"]["ece"] < 0.3
    assert "not measured: adult_train.csv.gz is not in" in ran.stdout
    assert any(line.split()[:3] == ["iris", "log_loss", "0.2500"] for line in ran.stdout.splitlines())
    (written,) = out.glob("*-tables.json")
    assert json.loads(written.read_text())["results"] == results
    assert written.with_suffix(".svg").read_text().count("backpass fast") == 2  # beside each row of panels
    (markdown,) = out.glob("*.md")
    assert "| iris | log_loss | 0.2500 |" in markdown.read_text()


def test_ranks_and_normalized_scores_are_those_worked_by_hand(standing):
    """The best has rank 1 and score 1, the worst score 0; equal ones share their ranks."""
    row = np.array([0.5, 0.25, 0.5, 1.25])
    assert standing._ranks(row).tolist() == [2.5, 1.0, 2.5, 4.0]
    assert standing._normalized(row).tolist() == [0.75, 1.0, 0.75, 0.0]


def test_where_contenders_stand_is_a_mean_over_tables_with_an_interval(standing):
    """A table counts once however many its splits; who is first everywhere is so in every drawing of the tables."""
    results = {}
    for table, splits in (("a", 3), ("b", 1), ("c", 1)):
        for split in range(splits):
            for name, nrmse in (("ours", 0.1), ("theirs", 0.4 if table == "a" else 0.2), ("others", 0.3)):
                results[f"{table}/{split}/{name}"] = {"nrmse": nrmse, "processor": 1.0, "rows": 10}
    found = standing.sections(results, ["ours", "theirs", "others"], rows=5, asked=["ours"])
    assert [section.name for section in found] == ["tables", "tables-scores"]
    ours, theirs, _ = found[0].rows
    key = "rank, log loss and RMSE"
    assert (ours[key], ours[f"{key}, low"], ours[f"{key}, high"]) == (1, 1, 1)
    assert (theirs[key], theirs[f"{key}, low"], theirs[f"{key}, high"]) == (7 / 3, 2, 3)
    assert theirs["score, log loss and RMSE"] == pytest.approx((0 + 0.5 + 0.5) / 3)
    assert found[1].rows[0]["theirs"] == pytest.approx(0.4)


def test_the_bootstrap_interval_of_a_mean_is_that_of_its_standard_error(standing):
    """Of 200 normal numbers: 1.96 standard errors either side, and the same at each call."""
    values = np.random.default_rng(0).normal(3, 2, (200, 1))
    ((mean, low, high),) = standing.bootstrap(values)
    error = 1.96 * values.std() / np.sqrt(200)
    assert mean == pytest.approx(values.mean())
    assert [mean - low, high - mean] == pytest.approx([error, error], rel=0.08)
    assert standing.bootstrap(values) == [(mean, low, high)]


def test_what_was_promised_is_told_beside_what_was_measured(standing):
    """Coverage is to be within 2 points, the calibration error below 0.03 where a table has more than 5,000 rows."""
    name = standing.INTERVALS
    results = {
        **{f"near/{n}/{name}": {"coverage": each, "rows": 100} for n, each in enumerate((0.87, 0.91))},
        f"far/0/{name}": {"coverage": 0.93, "rows": 100},
        "small/0/backpass": {"log_loss": 1.0, "error": 0.5, "ece": 0.2, "processor": 1.0, "rows": 5000},
        "large/0/backpass": {"log_loss": 1.0, "error": 0.5, "ece": 0.03, "processor": 1.0, "rows": 5001},
        "older/0/backpass": {"log_loss": 1.0, "error": 0.5, "processor": 1.0},
    }
    told = standing.sections(results, [], rows=5, asked=["backpass", name])[0]
    assert [(row["table"], row["kept"]) for row in told.rows] == [
        *(("near", "yes"), ("far", "NO"), ("small", None), ("large", "NO")),
    ]
    assert told.rows[0]["told"] == "0.890 (0.870-0.910)"


def test_the_ends_of_intervals_are_counted_and_measured(tables):
    """Those that hold the right number, their ends included; the width is told in spreads of the numbers."""
    from table_contenders import Ends

    table = tables.Table.from_data({"y": [0.0, 2.0, 4.0, 6.0]})
    problem = tables.Problem(table, table, "y", (), (), 0)
    ends = Ends(np.array([0.0, 1.0, 5.0, 0.0]), np.array([0.5, 3.0, 6.0, 6.0]))
    assert tables.scores(ends, problem) == {"coverage": 0.75, "width": pytest.approx(9.5 / 4 / np.sqrt(5))}


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_every_contender_answers_for_all_classes_in_the_order_of_their_names(tables):
    """Each is right for most rows of an easy table, its probabilities of a row sum to 1."""
    from table_contenders import CONTENDERS

    table = tables.read_table(BENCHMARKS.parent / "examples" / "data" / "iris.csv")
    problem = tables.divide(table, tables.SOURCES["iris"], 100, split=0)
    assert (problem.train.rows, problem.test.rows) == (100, 50)
    for name in ("backpass fast", *(name for name in CONTENDERS if name.startswith("sklearn"))):
        found = CONTENDERS[name](problem)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
        assert tables.scores(found, problem)["error"] < 0.3, name
