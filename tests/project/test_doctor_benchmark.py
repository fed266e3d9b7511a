"""The doctor's ward: that it is told as it was found, kept, and gone on with."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def ward(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.delitem(sys.modules, "doctor", raising=False)
    import doctor

    return doctor


@pytest.fixture
def go_round(ward, monkeypatch, capsys):
    """What it returns and prints."""

    def ran(*options):
        monkeypatch.setattr(sys, "argv", ["doctor.py", *map(str, options)])
        return ward.main(), capsys.readouterr().out

    return ran


def test_a_sick_network_is_named_and_cured_and_not_asked_about_again(ward, go_round, monkeypatch, tmp_path):
    """A row of the table is of one sickness; what stands in the file of lines is taken as it is."""
    lines = tmp_path / "lines.jsonl"
    asked = ["--seed", 3, "--sick", len(ward.SICKNESSES), "--only", "leakage", "--lines", lines]
    status, out = go_round(*asked)
    assert status == 0
    assert "| leakage | 1 | 1 | 1 of 1 | 1 of 1 | 0 |" in out.splitlines()
    monkeypatch.setattr(ward, "sick", lambda *_: pytest.fail("asked again"))
    assert go_round(*asked)[1].splitlines()[:3] == out.splitlines()[:3]


def test_the_table_of_all_parts_counts_misses_and_false_alarms_and_is_written(ward, go_round, monkeypatch, tmp_path):
    """A sickness that is not named, one that is not cured, one for a person and a finding of a healthy one."""
    told = {"sickness": "a", "degree": "1", "setting": "s", "twin": 0.9, "sick": 0.1, "seconds": 1.0, "found": ["a"]}
    patients = {
        "a/0": told | {"named": True, "cured": True, "close": False, "after": 0.82},
        "a/1": told | {"named": False, "cured": False, "close": False, "after": 0.1, "found": []},
        "a/2": None,
        "b/0": told | {"sickness": "b", "named": True, "cured": None, "close": None, "after": 0.1},
        "healthy/0": {"setting": "h", "skill": 0.8, "found": ["a"], "seconds": 3.0},
        "healthy/1": None,
    }
    for part in (0, 1):
        written = [json.dumps({"patient": p, "told": t}) + "\n" for p, t in [*patients.items()][part::2]]
        (tmp_path / f"{part}.jsonl").write_text("".join(written))
    monkeypatch.setattr(ward, "RESULTS", tmp_path)
    status, out = go_round("--read", tmp_path / "0.jsonl", tmp_path / "1.jsonl", "--write")
    assert status == 1
    assert [line for line in out.splitlines() if line.startswith("| ")][2:] == [
        "| a | 2 | 1 | 1 of 2 | 0 of 2 | 1 |",
        "| b | 1 | 1 | a person's |  | 0 |",
        "| all | 3 | 2 | 1 of 2 | 0 of 2 | 1 |",
    ]
    assert "healthy networks 1, false alarms 1" in out
    assert "- a 1, s: found nothing; skill 0.10, treated 0.10, twin 0.90" in out
    written = next(tmp_path.glob("*-doctor.md")).read_text()
    assert "| all | 3 | 2 | 1 of 2 | 0 of 2 | 1 |" in written
    assert len(json.loads(next(tmp_path.glob("*-doctor.json")).read_text())["sick"]) == 3
