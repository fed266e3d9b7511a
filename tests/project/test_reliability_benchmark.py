"""The trials of what is promised about crashes run, and tell where a promise is broken."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def python(*arguments):
    """How a fresh process ends: it forks, and here are threads. Its status and what it printed."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300, check=False)


def test_what_was_killed_goes_on_to_the_same_weights():
    """Two trainings are killed, and go on; their number and what came of them is the last line."""
    small = ("--table", BENCHMARKS.parent / "examples" / "data" / "penguins.csv", "--target", "species")
    ended = python(BENCHMARKS / "reliability.py", "kill", "--times", "2", "--epochs", "20", *small)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    last = ended.stdout.splitlines()[-1]
    assert last.startswith("2 trainings of ")
    assert last.endswith(": 2 ended with the same weights, 0 files damaged")


def test_a_run_that_cannot_go_on_is_told():
    """With the trial, the error that its process ended with, and status 1."""
    broken = f"""
import sys

sys.path.insert(0, {str(BENCHMARKS)!r})
import reliability


def plan_of(folder, **options):
    raise LookupError("nothing of it is left")


reliability.again.plan_of = plan_of
reliability.run.read = lambda folder: {{"state": "begun"}}
sys.argv = ["reliability.py", "kill", "--times", "2", "--epochs", "4"]
sys.exit(reliability.main())
"""
    ended = python("-c", broken)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1] == "trial 1: what was killed could not go on, see above"
    assert "LookupError: nothing of it is left" in ended.stderr
