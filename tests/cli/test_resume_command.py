"""`backpass resume` and `reproduce`: strangers' runs, and what interrupts or fails."""

import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from cli_helpers import IRIS, QUICK, command

from backpass.errors import OutputError
from backpass.recipes import again, main_job
from backpass.training import TrainingStarted
from backpass.training.interrupts import Interrupted

VALUES = [None, -1, 10**30, 1.5, "x", [], [1], {}, {"a": 1}, True]


def every_place(content, before=()):
    """Each field of nested objects, as the names that lead to it."""
    for name, value in content.items():
        yield (*before, name)
        if isinstance(value, dict):
            yield from every_place(value, (*before, name))


def with_value(content, place, value):
    changed = copy.deepcopy(content)
    inner = changed
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    return changed


@pytest.fixture
def stranger(run, iris_run, tmp_path, monkeypatch):
    """Says what a command did with a run whose run.json holds this; trainings that would begin end with status 77."""

    def stopped(*_, **__):
        sys.exit(77)

    monkeypatch.setattr(main_job.Plan, "fit", stopped)
    monkeypatch.setattr(again, "compare", stopped)
    shutil.copytree(iris_run, tmp_path / "run")

    def did(content, word="reproduce"):
        (tmp_path / "run/run.json").write_text(json.dumps(content))
        return run(word, "run", "--quiet")

    return did


def test_no_field_of_a_strangers_run_json_gives_a_traceback(stranger, iris_run):
    """Each field with each of many wrong values: one line and status 2, or the value is right and it goes on."""
    content = json.loads((iris_run / "run.json").read_text()) | {"state": "training"}
    optional = (
        "test_table",
        "test",
        "validation",
        "group",
        "order",
        "columns",
        "exclude",
        "task",
        "delimiter",
        "threads",
    )
    content["asked"] |= dict.fromkeys((*optional, "class_weights"))
    content["asked"]["recipe"] |= dict.fromkeys(("activation", "dropout", "learning_rate", "batch_size", "patience"))
    unread = ("versions", "machine", "outcome")
    places = [place for place in every_place(content) if len(place) == 1 or place[0] not in unread]
    places += [("outcome", "epochs"), ("outcome", "stopped"), ("versions", "numpy"), ("machine", "vector_bits")]
    assert stranger(content, "resume").status == 77
    refused = 0
    for place in places:
        for value in VALUES:
            ran = stranger(with_value(content, place, value), "resume")
            assert ran.status in (2, 77), (place, value, ran.err)
            assert ran.err.count("\n") == (ran.status == 2), (place, value, ran.err)
            refused += ran.status == 2
    assert refused > 0.7 * len(places) * len(VALUES)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("asked", "target"), [1], r"run/run.json: asked.target is \[1\], expected the name of a column"),
        (("asked", "seed"), "x", "asked.seed is 'x', expected a whole number"),
        (("asked", "save_every"), "x", "asked.save_every is 'x', expected a number of 0 or more"),
        (("asked", "recipe"), [], r"asked.recipe is \[\], expected choices by name"),
        (("asked", "recipe", "epochs"), [1], r"asked.recipe.epochs is \[1\], expected a whole number"),
        (("data",), [], r"data is \[\], expected an object"),
        (("data", "sha256"), 5, "data.sha256 is 5, expected texts by name"),
        (("data", "columns"), 5, "data.columns is 5, expected texts by name"),
        (("data", "rows"), None, "data.rows is None, expected a whole number"),
        (("outcome",), [1], r"outcome is \[1\], expected an object"),
        (("state",), "begun", "state is 'begun', expected training or interrupted or finished"),
        (("paths",), {"table": 1}, "paths is .*, expected texts by name"),
        (("format",), 10**4000, "is of format 1000"),
    ],
    ids=str,
)
@pytest.mark.parametrize("word", ["resume", "reproduce"])
def test_the_line_names_the_field(stranger, iris_run, word, place, value, told):
    ran = stranger(with_value(json.loads((iris_run / "run.json").read_text()), place, value), word)
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert re.search(told, ran.err), ran.err


# Signals


def test_ctrl_c_while_the_linear_model_trains_leaves_that_out_and_says_so(run, tmp_path, monkeypatch):
    """The network was trained to its end: the run is finished, and no score of an untrained model is told."""
    own = main_job.Trainer.fit

    def once(event):
        if isinstance(event, TrainingStarted):
            os.kill(os.getpid(), signal.SIGINT)

    def interrupted(self, *arguments, **options):
        if "progress" not in options:  # the linear model's
            self.listeners.append(once)
        return own(self, *arguments, **options)

    monkeypatch.setattr(main_job.Trainer, "fit", interrupted)
    ran = run("train", IRIS, "--target", "species", "--out", "run", *QUICK)
    assert ran.status == 128 + signal.SIGINT, ran.err
    assert "the linear model was left out: interrupted" in ran.out
    assert "stopped at epoch 2" in ran.out
    assert not re.search(r"stopped by|go on:|linear model +\d", ran.out)
    about = json.loads((tmp_path / "run/run.json").read_text())
    assert about["state"] == "finished"
    assert [each["label"] for each in about["outcome"]["baselines"]] == ['always "setosa"']


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_first_step_saves_nothing_and_says_so(run, monkeypatch, tmp_path, number):
    def interrupted(self, *_, **__):
        self.interrupted_by = number

    monkeypatch.setattr(main_job.Trainer, "fit", interrupted)
    ran = run("train", IRIS, "--target", "species", "--out", "run", *QUICK)
    told = "backpass: stopped before anything was saved: nothing is left of this run\n"
    assert (ran.status, ran.err) == (128 + number, told)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_a_second_signal_ends_has_the_status_of_that_signal(run, monkeypatch, number):
    def ended(*_, **__):
        raise Interrupted(number)

    monkeypatch.setattr(main_job.Plan, "fit", ended)
    ran = run("train", IRIS, "--target", "species", *QUICK)
    assert (ran.status, ran.err) == (
        128 + number,
        "backpass: stopped before anything was saved: nothing is left of this run\n",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("_prepared", "interrupted"),  # which click begins on a new line
        ("_measured", "stopped at once; what was saved before stays: backpass resume run"),
    ],
    ids=["while it reads", "while it scores"],
)
def test_a_signal_where_nothing_trains_ends_with_a_line_and_its_status(run, monkeypatch, number, place, told):
    """SIGTERM as Ctrl-C does; afterwards signals are what they were."""

    def signalled(*_, **__):
        signal.raise_signal(number)
        raise AssertionError("the signal came")

    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    assert before[1] == signal.SIG_DFL
    monkeypatch.setattr(main_job.Plan if place == "_measured" else main_job, place, signalled)
    ran = run("train", IRIS, "--target", "species", "--out", "run", "--quiet", *QUICK)
    assert (ran.status, ran.err.lstrip()) == (128 + number, f"backpass: {told}\n")
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


SLOW = """
import time
from backpass.recipes.main_job import Plan

def never(event):
    print("begun", flush=True)
    time.sleep(1000)

own = Plan.trainer
Plan.trainer = lambda self, listeners=(), *more: own(self, [never], *more)
from backpass.cli.main import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_two_signals_end_says_which(tmp_path, number):
    """In a step that never ends, the second signal ends it at once."""
    words = command("train", IRIS, "--target", "species", "--quiet", *QUICK)
    words[2] = SLOW
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        assert started.stdout.readline() == "begun\n", started.stderr.read()
        for _ in range(2):
            time.sleep(0.5)
            started.send_signal(number)
        _, err = started.communicate(timeout=60)
    assert started.returncode == 128 + number, err
    assert "Traceback" not in err


# What fails on the way


@pytest.mark.parametrize("error", [OutputError("the disk is gone"), MemoryError()], ids=repr)
def test_what_fails_on_the_way_says_what_stays_in_one_line(run, tmp_path, monkeypatch, error):
    own = main_job.Plan._measured

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(main_job.Plan, "_measured", fails)
    ran = run("train", IRIS, "--target", "species", "--out", "run", *QUICK)
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert ran.err.endswith("what was saved before stays: backpass resume run\n")
    monkeypatch.setattr(main_job.Plan, "_measured", own)
    assert run("resume", "run").status == 0
    assert (tmp_path / "run/model.safetensors").is_file()
