"""`backpass report`, and the page that every training leaves."""

import builtins
import importlib.util
import json
import shlex
import shutil

import pytest
from cli_helpers import IRIS, PENGUINS, QUICK, status_of

import backpass as bp
from backpass.errors import UsageError
from backpass.recipes.command import call_of, command_of
from backpass.recipes.report_page import facts_of_run

LEARNED = ["--effort", "fast", "--hidden", "32", "--epochs", "150"]
"""Of iris: so well that the doctor, whom every report asks, has nothing to try out."""


@pytest.fixture(scope="module")
def learned_run(tmp_path_factory):
    """The folder of a run on iris that went well."""
    folder = tmp_path_factory.mktemp("runs") / "learned"
    assert status_of(["train", IRIS, "--target", "species", "--quiet", "--out", folder, *LEARNED]) == 0
    return folder


def test_a_training_leaves_its_page_and_says_where(run, tmp_path):
    """Last of what it prints; --no-report leaves both out."""
    ran = run("train", IRIS, "--target", "species", "--out", "r", *QUICK)
    assert "look:  r/report.html" in ran.out.splitlines()
    assert (tmp_path / "r" / "report.html").read_text().startswith("<!doctype html>")
    ran = run("train", IRIS, "--target", "species", "--out", "none", "--no-report", *QUICK)
    assert "report.html" not in ran.out
    assert not (tmp_path / "none" / "report.html").exists()


def test_report_writes_the_page_again_or_another(run, learned_run, tmp_path):
    """Into the run's folder; with --html there alone. The same run gives the same bytes."""
    page = learned_run / "report.html"
    page.unlink()
    ran = run("report", learned_run)
    first = page.read_bytes()
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == f"{page}: {len(first) / 1000:,.0f} kB\n"
    assert run("report", learned_run, "--html", "other.html").status == 0
    assert (tmp_path / "other.html").read_bytes() == first


def test_json_prints_the_facts_and_writes_nothing(run, tmp_path):
    """The doctor's findings among them; of a run that learned nothing there is one."""
    options = ["--effort", "fast", "--hidden", "8", "--epochs", "40", "--learning-rate", "1e-7"]
    run("train", IRIS, "--target", "species", "--out", "slow", "--no-report", "--quiet", *options)
    ran = run("report", "slow", "--json")
    found = json.loads(ran.out)
    about = json.loads((tmp_path / "slow/run.json").read_text())
    assert found["scores"]["of"][0]["metrics"] == about["outcome"]["metrics"]
    assert found["reproduce"]["weights"] == bp.load("slow").weights
    assert found["findings"] == json.loads(run("doctor", "slow", "--json").out)["findings"]
    assert found["findings"][0]["name"] == "learning rate too low"
    assert not (tmp_path / "slow/report.html").exists()


def test_what_is_no_run_or_would_be_written_over_is_one_line(run, tmp_path):
    """The folder that is none; a page in the place of a file of the run, or of its table."""
    assert "is no folder" in run("report", "nowhere").err
    shutil.copy(IRIS, tmp_path / "t.csv")
    run("train", "t.csv", "--target", "species", "--out", "r", "--quiet", *LEARNED)
    for place in ("r/model.safetensors", "t.csv"):
        ran = run("report", "r", "--html", place)
        assert (ran.status, ran.out) == (2, "")
        assert "is a file of the run or its table" in ran.err
    assert run("report", "r", "--html", tmp_path / "no" / "such.html").status == 2
    assert bp.load("r").weights


def test_without_matplotlib_plots_are_refused_before_any_work(run, iris_run, tmp_path, monkeypatch):
    """One line that says what to install; without --plots nobody asks for it."""
    found = importlib.util.find_spec
    monkeypatch.setattr("backpass.recipes.plots.find_spec", lambda name: None if name == "matplotlib" else found(name))
    ran = run("report", iris_run, "--plots", "png")
    assert ran.status == 2
    assert ran.err == "backpass: --plots needs matplotlib, which is not installed: pip install 'backpass[plots]'\n"
    assert not (iris_run / "plots").exists()
    ran = run("train", IRIS, "--target", "species", "--out", "r", "--plots", "png", *QUICK)
    assert ran.err == "backpass: --plots needs matplotlib, which is not installed: pip install 'backpass[plots]'\n"
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_plots_are_files_of_their_kind(run, iris_run, kind):
    """Curves, importance, confusion, reliability; the same facts give the same bytes of SVG."""
    pytest.importorskip(
        "matplotlib", reason="matplotlib, which draws the pictures, is not there: pip install '.[plots]'"
    )
    ran = run("report", iris_run, "--plots", kind)
    assert ran.status == 0, ran.err
    names = {path.name for path in (iris_run / "plots").glob(f"*.{kind}")}
    assert names == {f"{name}.{kind}" for name in ("loss", "importance", "confusion", "reliability")}
    files = {path: path.read_bytes() for path in (iris_run / "plots").glob(f"*.{kind}")}
    assert all(content.startswith(b"\x89PNG" if kind == "png" else b"<?xml") for content in files.values())
    run("report", iris_run, "--plots", kind)
    assert kind == "png" or all(path.read_bytes() == content for path, content in files.items())


def test_a_training_leaves_the_pictures_that_are_asked_for(run, tmp_path):
    """Those that the report writes of the same run, with or without the page; from Python they need a folder."""
    pytest.importorskip(
        "matplotlib", reason="matplotlib, which draws the pictures, is not there: pip install '.[plots]'"
    )
    ran = run("train", IRIS, "--target", "species", "--out", "r", "--plots", "svg", "--no-report", *QUICK)
    assert (ran.status, ran.err) == (0, "")
    assert "checkpoints/  plots/" in ran.out
    assert not (tmp_path / "r" / "report.html").exists()
    written = {path.name: path.read_bytes() for path in (tmp_path / "r" / "plots").iterdir()}
    run("report", "r", "--plots", "svg")
    assert written == {path.name: path.read_bytes() for path in (tmp_path / "r" / "plots").iterdir()}
    with pytest.raises(UsageError, match="plots='svg' writes files into the folder of a run: name one with out="):
        bp.train(IRIS, "species", plots="svg")


# How to do it again


def test_the_command_that_a_report_shows_asks_for_the_same(run, tmp_path):
    """It is run as it stands: what it asks for, and the weights, are those of the run; so is the call from Python."""
    words = [
        *("--exclude", "sex", "--column", "bill_length_mm=number", "--seed", "3"),
        *("--class-weights", "Adelie=2,Chinstrap=1,Gentoo=1"),
        *("--dropout", "0.1", "--learning-rate", "0.003", "--test-part", "0.25", "--batch-size", "64", "--no-report"),
    ]
    ran = run("train", PENGUINS, "--target", "species", "--out", "a", *words, *QUICK)
    assert ran.status == 0, ran.err
    told = facts_of_run(bp.open_run("a"))["reproduce"]
    again = run(*shlex.split(told["command"])[1:], "--out", "b", "--no-report")
    assert again.status == 0, again.err
    asked = [json.loads((tmp_path / name / "run.json").read_text())["asked"] for name in "ab"]
    assert asked[0] == asked[1]
    outcome = eval(told["call"], {"backpass": bp, "__builtins__": builtins})  # noqa: S307
    assert bp.load("a").weights == bp.load("b").weights == outcome.model.weights


def test_what_only_python_can_ask_has_no_command():
    """A number of members, a table that was no file; what was fitted into a time is not asked for again."""
    asked = {"table": "t.csv", "target": ["a", "b,c"], "seed": 0, "recipe": {"members": 3}}
    assert command_of(asked) is None
    assert call_of(asked) == "backpass.train('t.csv', ['a', 'b,c'], recipe={'members': 3})"
    assert command_of({"table": "-", "target": "y"}) is None
    timed = asked | {"seconds": 90.0, "recipe": {"members": 8, "epochs": 40, "hidden": []}}
    assert command_of(timed) == "backpass train t.csv --target 'a,\"b,c\"' --time 90s --hidden 0"
