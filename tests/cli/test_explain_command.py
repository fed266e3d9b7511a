"""`backpass explain`, and the option --threads."""

import json

import numpy as np
import pytest
from cli_helpers import IRIS, QUICK

import backpass as bp


def test_it_tells_of_the_forward_pass(run, iris_run):
    """Phases, kernels with the layers' names and times, in 80 columns."""
    ran = run("explain", iris_run)
    assert (ran.status, ran.err) == (0, "")
    assert max(map(len, ran.out.splitlines())) <= 80
    assert ran.out.startswith("predictions for 1,024 rows at a time\n")
    assert all(word in ran.out for word in ("phase 0", "product of rows", "hidden_1: contract, add", "threads"))
    assert "value " not in ran.out
    assert "define" not in ran.out


def test_it_tells_of_a_training_step(run, iris_run):
    ran = run("explain", iris_run, "--training", "--batch-size", "50", "--memory")
    assert ran.out.startswith("a training step on 50 rows\n")
    assert "product of weights" in ran.out
    assert "state." in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80


def test_code_of_one_kernel(run, iris_run):
    """IR and assembly on request, of the kernel that is asked for alone."""
    ran = run("explain", iris_run, "--kernel", "hidden_1", "--llvm", "--assembly")
    assert ran.status == 0
    assert ran.out.count("define internal void @kernel.") == 1
    assert "; hidden_1: add" in ran.out
    assert "kernel.0.0:" in ran.out


def test_one_object_for_programs(run, iris_run):
    ran = run("explain", iris_run, "--batch-size", "64", "--threads", "2", "--llvm", "--json")
    assert ran.err == ""
    found = json.loads(ran.out)
    assert (found["rows"], found["threads"]) == (64, 2)
    assert found["seconds"] > 0
    assert found["kernels"][0]["nodes"][0]["name"] == "hidden_1"
    assert "define" in found["kernels"][0]["llvm"]
    assert {"offset", "bytes", "layout"} <= set(found["values"][0])


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--kernel", "none"], ["no kernel is called 'none'", "0.0"]),
        (["--batch-size", "0"], ["--batch-size", "0 is not in the range"]),
        (["--threads", "257"], ["--threads", "257 is not in the range"]),
    ],
)
def test_what_cannot_be_explained_is_said_in_one_line(run, iris_run, arguments, parts):
    ran = run("explain", iris_run, *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert all(part in ran.err for part in parts)


def test_help_has_an_example(run):
    ran = run("explain", "--help")
    assert "backpass explain runs/" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80


# --threads


def test_threads_change_no_weight(run):
    """The same model, to the bit, on one thread and on three."""
    for threads in (1, 3):
        ran = run("train", IRIS, "--target", "species", "--out", f"m{threads}", "--threads", threads, *QUICK)
        assert ran.status == 0, ran.err
    assert bp.load("m1").weights == bp.load("m3").weights


def test_threads_change_no_answer(run, iris_run):
    ran = [run("predict", iris_run, IRIS, "--proba", "--threads", threads) for threads in (1, 2, 5)]
    assert len({each.out for each in ran}) == 1
    scores = [json.loads(run("evaluate", iris_run, IRIS, "--json", "--threads", n).out)["metrics"] for n in (1, 2)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("command", ["train", "predict", "evaluate"])
@pytest.mark.parametrize("threads", ["0", "-1", "257", "many"])
def test_a_number_of_threads_that_cannot_be(run, iris_run, command, threads):
    arguments = [IRIS, "--target", "species"] if command == "train" else [iris_run, IRIS]
    ran = run(command, *arguments, "--threads", threads)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert "--threads" in ran.err


@pytest.mark.parametrize("threads", [0, 257, 1.5, True])
def test_from_python_too(iris_run, threads):
    model = bp.load(iris_run)
    for call in (
        lambda: model.predict(IRIS, threads=threads),
        lambda: model.evaluate(IRIS, threads=threads),
        lambda: model.explain(threads=threads),
        lambda: bp.train(IRIS, "species", threads=threads),
    ):
        with pytest.raises(bp.BackpassError, match=r"threads is .*, expected a whole number from 1 to 256"):
            call()
    assert (model.predict(IRIS, threads=np.int64(2)) == model.predict(IRIS)).all()
