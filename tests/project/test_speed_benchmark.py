"""The benchmark of speed runs, with whatever peers are installed, and says which are not."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
NEEDED = {"torch": "torch", "jax": "optax", "sklearn": "sklearn"}
TINY = ("--quick", "--repeats", "1", "--seconds", "0.005", "--executor", "reference")


def speed(*arguments):
    """What `benchmarks/speed.py` prints, in a fresh process."""
    command = [sys.executable, BENCHMARKS / "speed.py", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture
def works(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from speed import works

    return works


def test_a_work_is_measured_against_everyone(tmp_path):
    """The result has a row for us and for each peer that is installed, and a note on each that is not."""
    speed("iris", *TINY, "--out", tmp_path)
    (path,) = tmp_path.glob("*-iris.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    there = {name for name, package in NEEDED.items() if find_spec(package) is not None}
    assert {row["contender"] for row in found["rows"]} == {"backpass", *there}
    assert all(0 < row["least"] <= row["microseconds"] <= row["most"] for row in found["rows"])
    for name in set(NEEDED) - there:
        assert f"{name} is not installed: not measured" in found["notes"]
    assert found["machine"]["versions"]["numpy"]


def test_every_part_runs_alone_of_peers(tmp_path):
    """All parts but the works are measured, shown on 80 columns and written: JSON each, one Markdown, one drawing."""
    parts = ("textbook", "first-epoch", "predict", "widths", "scaling", "memory", "command")
    printed = speed(*parts, *TINY, "--peers", "", "--out", tmp_path)
    assert max(map(len, printed.splitlines())) <= 80
    names = {path.name.split("-", 3)[-1] for path in tmp_path.glob("*.json")}
    assert names == {f"{part}.json" for part in parts}
    (markdown,) = tmp_path.glob("*.md")
    assert markdown.read_text(encoding="utf-8").count("\n## ") == len(parts)
    (drawing,) = tmp_path.glob("*.svg")
    assert drawing.read_text(encoding="utf-8").startswith("<svg")


def test_an_unknown_part_is_refused():
    """The message names the part and what there is."""
    finished = subprocess.run(
        [sys.executable, BENCHMARKS / "speed.py", "irsi"], capture_output=True, text=True, timeout=60, check=False
    )
    assert finished.returncode == 2
    assert "irsi" in finished.stderr
    assert "iris" in finished.stderr


def test_the_operations_of_a_step(works):
    """4-16-3 on 150 rows in 5 steps: 131 parameters, (6 * 131 - 2 * 4 * 16) * 30 operations a step on average."""
    iris = works.WORKS["iris"]
    assert (iris.parameters, iris.steps) == (131, 5)
    assert iris.operations == (6 * 131 - 2 * 4 * 16) * 30
