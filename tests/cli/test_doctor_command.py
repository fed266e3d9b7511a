"""`backpass doctor`: what it says of runs and tables, and what it says where it cannot."""

import json
import re
import shutil

import pytest
from cli_helpers import IRIS, status_of

from backpass.cli import output
from backpass.cli.output import Voice
from backpass.cli.train import going_on_told
from backpass.errors import NotFiniteError

FAST = ["--target", "species", "--effort", "fast", "--quiet", "--hidden", "8", "--epochs", "40"]


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """The folder of a run on iris with a learning rate that is far too low."""
    folder = tmp_path_factory.mktemp("runs") / "slow"
    assert status_of(["train", IRIS, *FAST, "--learning-rate", "1e-7", "--out", folder]) == 0
    return folder


def test_the_doctor_of_a_run_names_the_cause_and_treats_it(run, slow, tmp_path):
    """The finding has its numbers and what to try; --treat trains with that, and shows before and after."""
    ran = run("doctor", slow, "--treat", "--out", tmp_path / "treated")
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert lines[1] == "1  learning rate too low"
    assert any(line.startswith("training again with --learning-rate") for line in lines)
    assert max(map(len, lines)) <= 80 + len(str(tmp_path))
    name, before, after = next(line for line in lines if "accuracy" in line).split()
    assert name == "accuracy"
    assert float(after) > float(before) + 0.2
    assert (tmp_path / "treated" / "model.safetensors").exists()


def test_a_folder_that_is_taken_is_told_before_the_diagnosis(run, slow):
    """Not after it, when its time is spent."""
    ran = run("doctor", slow, "--treat", "--out", slow)
    assert (ran.status, ran.out) == (2, "")
    assert "nothing is written over" in ran.err


def test_the_doctor_of_a_run_that_did_not_end_for_programs(run, slow, tmp_path):
    """It looks at what was saved last; --json prints one object with the findings and their remedies."""
    copy = shutil.copytree(slow, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    told = json.loads(run("doctor", copy, "--json").out)
    assert told["findings"][0]["name"] == "learning rate too low"
    assert told["findings"][0]["remedy"]["rate"] >= 1000
    assert told["networks"] == {}


def test_a_training_that_is_not_finite_names_the_doctor_where_something_was_saved(slow):
    """Its one line ends with the command; where nothing is left of the run there is nothing to examine."""
    for folder, told in ((slow, f"what was saved stays in {slow}: backpass doctor {slow}"), (slow / "absent", "")):
        with pytest.raises(NotFiniteError) as failed, going_on_told(folder, Voice(as_json=False)):
            raise NotFiniteError("the loss is no longer finite")
        assert str(failed.value).endswith(told or "--no-scale)")


def test_a_bad_training_ends_with_a_line_of_the_doctor(run, tmp_path):
    """It names the finding and the command for more; a good one has no such line."""
    options = [each for each in FAST if each != "--quiet"]
    bad = run("train", IRIS, *options, "--learning-rate", "1e-7", "--out", tmp_path / "bad")
    assert "doctor: learning rate too low; try" in bad.out
    assert f"backpass doctor {tmp_path / 'bad'}" in " ".join(bad.out.split())
    good = run("train", IRIS, *options, "--hidden", "32", "--epochs", "80", "--out", tmp_path / "good")
    assert "doctor" not in good.out


def test_the_doctor_of_a_table(run, monkeypatch):
    """A table is examined before anything is trained on it; nothing is wrong with iris. What is tried is told
    meanwhile, where there is no terminal by lines on standard error.
    """
    monkeypatch.setattr(output, "SECONDS_BETWEEN_LINES", 0.001)
    ran = run("doctor", IRIS, "--target", "species")
    assert (ran.status, ran.out.splitlines()[1]) == (0, "nothing is wrong, as far as its numbers tell")
    told = ran.err.splitlines()
    assert all(re.fullmatch(r"examining \S*iris.csv, \d+ s(: .+)?", line) for line in told)
    assert all(any(what in line for line in told) for what in (": looking at the rows", " epochs"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([IRIS], "give --target COLUMN"),
        ([IRIS, "--target", "species", "--treat"], "--treat is for a run"),
        (["absent.csv", "--target", "x"], "absent.csv: no such file"),
        (["absent.csv"], "absent.csv: no such file"),
        ([IRIS, "--target", "species", "--out", "new"], "--out is the folder of what --treat trains"),
    ],
)
def test_what_the_doctor_cannot_do(run, arguments, told):
    """One line that says what to give, and status 2."""
    ran = run("doctor", *arguments)
    assert ran.status == 2
    assert told in ran.err
    assert ran.err.count("\n") == 1
