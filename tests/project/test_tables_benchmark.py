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


def test_a_run_keeps_its_results_and_does_none_again(tmp_path):
    """What stands in the file of results is taken as it is, and told."""
    kept = tmp_path / "results.json"
    known = {"log_loss": 0.25, "error": 0.125, "seconds": 1.0}
    kept.write_text(json.dumps({"iris/0/backpass": known}))
    options = ["--results", kept, "--tables", "iris", "adult", "--splits", "1", "--only", "backpass", "backpass fast"]
    command = [sys.executable, BENCHMARKS / "tables.py", *options]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    results = json.loads(kept.read_text())
    assert results["iris/0/backpass"] == known
    assert 0 <= results["iris/0/backpass fast"]["error"] < 0.4
    assert "not measured: adult_train.csv.gz is not in" in ran.stdout
    assert any(line.split()[:3] == ["iris", "log_loss", "0.2500"] for line in ran.stdout.splitlines())


def test_ranks_and_normalized_scores_are_those_worked_by_hand(tables):
    """The best has rank 1 and score 1, the worst score 0; equal ones share their ranks."""
    row = np.array([0.5, 0.25, 0.5, 1.25])
    assert tables._ranks(row).tolist() == [2.5, 1.0, 2.5, 4.0]
    assert tables._normalized(row).tolist() == [0.75, 1.0, 0.75, 0.0]


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
