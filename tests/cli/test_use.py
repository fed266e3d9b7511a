"""`backpass predict`, `evaluate`, `check`, `demo` and the command itself."""

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import ABALONE, IRIS, QUICK, command, process, write

import backpass as bp
from backpass.cli.output import working

CLASSES = ["setosa", "versicolor", "virginica"]


def test_python_m_backpass_is_the_command():
    run = subprocess.run([sys.executable, "-m", "backpass", "--version"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, f"backpass, version {bp.__version__}\n", "")
    run = subprocess.run([sys.executable, "-m", "backpass", "nothing"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (2, "backpass: No such command 'nothing'.\n")


# predict


def test_predictions_are_csv_with_one_column_in_the_order_of_the_rows(run, iris_run):
    ran = run("predict", iris_run, IRIS)
    assert (ran.status, ran.err) == (0, "")
    assert ran.rows[0] == ["prediction"]
    expected = bp.load(iris_run).predict(IRIS)
    assert [row[0] for row in ran.rows[1:]] == expected.tolist()


def test_the_order_of_the_rows_is_that_of_the_table(run, iris_run, tmp_path):
    lines = Path(IRIS).read_text().splitlines()
    (tmp_path / "turned.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    straight, turned = (run("predict", iris_run, path, "--proba").rows[1:] for path in (IRIS, "turned.csv"))
    assert [row[0] for row in straight] == [row[0] for row in turned[::-1]]
    numbers = [np.array([row[1:] for row in rows], float) for rows in (straight, turned[::-1])]
    np.testing.assert_allclose(*numbers, rtol=1e-5)


def test_probabilities_have_a_column_a_class_and_sum_to_1(run, iris_run):
    rows = run("predict", iris_run, IRIS, "--proba").rows
    assert rows[0] == ["prediction", *(f"p_{name}" for name in CLASSES)]
    values = np.array([row[1:] for row in rows[1:]], float)
    np.testing.assert_allclose(values.sum(1), 1, atol=1e-5)
    assert [CLASSES[place] for place in values.argmax(1)] == [row[0] for row in rows[1:]]


def test_the_model_file_serves_as_well_as_the_folder(run, iris_run):
    assert run("predict", iris_run / "model.safetensors", IRIS).out == run("predict", iris_run, IRIS).out


def test_out_writes_a_file_and_says_so_on_standard_error(run, iris_run, tmp_path):
    ran = run("predict", iris_run, IRIS, "--out", "answers.csv")
    assert (ran.out, ran.err) == ("", "answers.csv: 150 predictions\n")
    assert (tmp_path / "answers.csv").read_text() == run("predict", iris_run, IRIS).out


def test_out_to_a_dash_is_standard_output(run, iris_run, tmp_path):
    assert run("predict", iris_run, IRIS, "--out", "-").out == run("predict", iris_run, IRIS).out
    assert not (tmp_path / "-").exists()


def test_tables_come_from_standard_input(run, iris_run, tmp_path):
    ran = process("predict", iris_run, "-", cwd=tmp_path, input=Path(IRIS).read_text())
    assert ran.out == run("predict", iris_run, IRIS).out


def test_columns_in_another_order_and_columns_that_nobody_asked_for_change_nothing(run, iris_run, tmp_path):
    rows = list(csv.reader(io.StringIO(Path(IRIS).read_text())))
    write(tmp_path / "t.csv", ["more", *rows[0][::-1]], [["?", *row[::-1]] for row in rows[1:]])
    assert run("predict", iris_run, "t.csv").out == run("predict", iris_run, IRIS).out


def test_the_target_need_not_be_there(run, iris_run, tmp_path):
    rows = list(csv.reader(io.StringIO(Path(IRIS).read_text())))
    write(tmp_path / "t.csv", rows[0][:-1], [row[:-1] for row in rows[1:]])
    assert run("predict", iris_run, "t.csv").out == run("predict", iris_run, IRIS).out


def test_missing_values_and_unseen_categories_are_predicted_for(run, tmp_path):
    rows = [[place % 17, ["red", "blue"][place % 2], f"town {place % 36}", place * 1.5] for place in range(90)]
    path = write(tmp_path / "t.csv", ["x", "colour", "town", "y"], rows)
    assert run("train", path, "--target", "y", "--out", "m", *QUICK).status == 0
    write(
        tmp_path / "new.csv", ["x", "colour", "town"], [["", "green", "nowhere"], [3, "", ""], ["NA", "red", "town 1"]]
    )
    ran = run("predict", "m", "new.csv")
    assert ran.status == 0, ran.err
    assert len(ran.rows) == 4
    assert np.isfinite([float(row[0]) for row in ran.rows[1:]]).all()


def test_text_among_numbers_is_refused_by_row_or_read_as_missing_where_asked(run, iris_run, tmp_path):
    lines = Path(IRIS).read_text().splitlines()
    lines[118] = lines[118].replace(lines[118].split(",")[0], "12k", 1)
    (tmp_path / "new.csv").write_text("\n".join(lines) + "\n")
    ran = run("predict", iris_run, "new.csv")
    assert ran.status == 2
    assert all(part in ran.err for part in ("new.csv", '"sepal_length"', "row 118", "12k", "--coerce sepal_length"))
    ran = run("predict", iris_run, "new.csv", "--coerce", "sepal_length")
    assert ran.status == 0
    assert len(ran.rows) == 151
    assert ran.err.startswith("note: ")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(["yes", "no"], {"yes", "no"}), (["1", "0"], {"1", "0"}), (["True", "False"], {"true", "false"})],
    ids=["text", "numbers", "booleans"],
)
def test_predictions_are_the_labels_of_the_table(run, tmp_path, labels, expected):
    rows = [[place, labels[place >= 30]] for place in range(60)]
    path = write(tmp_path / "t.csv", ["x", "y"], rows)
    assert run("train", path, "--target", "y", "--out", "m", "--epochs", "40").status == 0
    assert {row[0].lower() for row in run("predict", "m", path).rows[1:]} == {label.lower() for label in expected}


def test_predicted_classes_with_commas_and_quotes_read_back(run, tmp_path):
    rows = [[place, ['a,"b"', "c\nd"][place >= 30]] for place in range(60)]
    path = write(tmp_path / "t.csv", ["x", "y"], rows)
    assert run("train", path, "--target", "y", "--out", "m", "--epochs", "40").status == 0
    found = run("predict", "m", path, "--proba").rows
    assert set(found[0]) == {"prediction", 'p_a,"b"', "p_c\nd"}
    assert {row[0] for row in found[1:]} == {'a,"b"', "c\nd"}


# evaluate


def test_evaluate_prints_metrics_for_people_and_one_object_for_programs(run, iris_run):
    lines = run("evaluate", iris_run, IRIS).out.splitlines()
    assert lines[0].startswith("iris.csv    150 rows")
    assert [line.split()[0] for line in lines[1:4]] == ["accuracy", "log_loss", "calibration_error"]
    ran = run("evaluate", iris_run, IRIS, "--json")
    found = json.loads(ran.out)
    assert {"rows", "columns", "seconds", "epochs", "parameters", "metrics", "weights", "run"} <= set(found)
    assert (found["rows"], found["columns"], found["epochs"], found["run"]) == (150, 5, 2, str(iris_run))
    assert found["weights"] == bp.load(iris_run).weights
    assert found["metrics"] == bp.load(iris_run).evaluate(IRIS)
    assert float(lines[1].split()[1]) == pytest.approx(found["metrics"]["accuracy"], rel=1e-5)


def test_a_metric_that_rows_of_one_class_do_not_tell_is_a_dash_for_people_and_null_for_programs(run, tmp_path):
    write(tmp_path / "t.csv", ["x", "y"], [[place, "no" if place < 30 else "yes"] for place in range(60)])
    write(tmp_path / "one.csv", ["x", "y"], [[place, "yes"] for place in range(40, 60)])
    assert run("train", "t.csv", "--target", "y", "--out", "m", *QUICK).status == 0
    assert "  auc                -  these rows do not tell it" in run("evaluate", "m", "one.csv").out.splitlines()
    assert json.loads(run("evaluate", "m", "one.csv", "--json").out)["metrics"]["auc"] is None


def test_evaluating_on_the_test_rows_gives_the_score_of_the_training(run, tmp_path):
    lines = Path(ABALONE).read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join(lines[:1000]) + "\n")
    (tmp_path / "b.csv").write_text("\n".join([lines[0], *lines[1000:1500]]) + "\n")
    asked = ("a.csv", "--target", "Rings", "--test", "b.csv", "--json", "--quiet")
    trained = json.loads(run("train", *asked, *QUICK).out)
    found = json.loads(run("evaluate", trained["run"], "b.csv", "--json").out)
    assert found["metrics"] == pytest.approx(trained["metrics"], rel=1e-6)


def test_rows_without_a_target_are_left_out_and_told_of(run, iris_run, tmp_path):
    lines = Path(IRIS).read_text().splitlines()
    lines[5] = lines[5].replace("setosa", "")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    assert "1 row" in run("evaluate", iris_run, "t.csv").out


def test_a_class_that_training_never_saw_is_named(run, iris_run, tmp_path):
    (tmp_path / "t.csv").write_text(Path(IRIS).read_text().replace("virginica", "rose"))
    ran = run("evaluate", iris_run, "t.csv")
    assert ran.status == 2
    assert '"rose"' in ran.err


# check


def test_check_certifies_every_layer_to_1e_6(run, iris_run):
    ran = run("check", iris_run, IRIS)
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert [line.split()[0] for line in lines[2:-1]] == ["hidden_1", "output"]
    assert all(float(line.split()[1]) < 1e-6 for line in lines[2:-1])
    assert lines[-1].endswith("every gradient is right")
    found = json.loads(run("check", iris_run, IRIS, "--json", "--rows", "200").out)
    assert found["ok"] is True
    assert found["rows"] == 150
    assert found["largest_error"] < 1e-6


@pytest.mark.parametrize("activation", ["sigmoid", "relu", "selu", "mish"])
def test_check_certifies_numbers_embeddings_and_any_activation(run, tmp_path, activation):
    rng = np.random.default_rng(0)
    rows = [[f"{rng.normal():.3f}", f"town {place % 36}", f"{rng.normal():.4f}"] for place in range(80)]
    path = write(tmp_path / "t.csv", ["x", "town", "y"], rows)
    assert run("train", path, "--target", "y", "--activation", activation, "--out", "m", *QUICK).status == 0
    assert run("check", "m", path).status == 0


def test_a_wrong_gradient_is_told_with_status_1(run, iris_run, monkeypatch):
    from backpass import nn
    from backpass.ops import where

    # A relu whose derivative is not that of its value: it looks at the wrong side.
    monkeypatch.setattr(nn.ReLU, "apply", lambda self, x: where(x > 0, x, 0 * x) + _stopped(x))
    ran = run("check", iris_run, IRIS)
    assert ran.status == 1
    assert "a gradient is WRONG" in ran.out


def _stopped(x):
    from backpass.ops import stop_gradient

    return stop_gradient(x * x)


# The command


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], *([name, "--help"] for name in ("train", "predict"))])
def test_help_is_help(run, arguments):
    ran = run(*arguments)
    assert ran.status == 0
    assert "Usage: backpass" in ran.out
    assert ran.err == ""


def test_the_version_is_told(run):
    assert run("--version").out == f"backpass, version {bp.__version__}\n"


@pytest.mark.parametrize("story", ["iris", "xor"])
def test_demos_tell_their_story(run, story):
    ran = run("demo", story)
    assert (ran.status, ran.err) == (0, "")
    assert len(ran.out.splitlines()) > 10


def test_a_reader_that_goes_away_is_no_error(tmp_path, iris_run):
    for arguments in (["predict", iris_run, IRIS], ["evaluate", iris_run, IRIS], ["demo", "xor"]):
        started = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
        started.stdout.close()
        err = started.stderr.read()
        started.stderr.close()
        assert (started.wait(60), err) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")  # noqa: PTH110
def test_a_full_disk_behind_standard_output_is_told_in_one_line(tmp_path, iris_run):
    for arguments in (["predict", iris_run, IRIS], ["evaluate", iris_run, IRIS, "--json"]):
        with open("/dev/full", "w") as full:  # noqa: PTH123
            ran = subprocess.run(command(*arguments), stdout=full, stderr=subprocess.PIPE, cwd=tmp_path, check=False)
        assert ran.returncode == 2
        assert ran.stderr.decode().splitlines()[-1] == (
            "backpass: standard output: cannot be written (No space left on device): write to another place"
        )
        assert b"Traceback" not in ran.stderr


def test_json_stands_on_ascii_whatever_the_names(tmp_path):
    rows = [[place % 7, f"{place}.5"] for place in range(40)]
    write(tmp_path / "t.csv", ["größe", "値"], rows)
    ran = process("train", "t.csv", "--target", "値", "--json", "--quiet", *QUICK, cwd=tmp_path)
    assert ran.status == 0, ran.err
    assert ran.out.isascii()
    assert json.loads(ran.out)["table"]["targets"] == ["値"]


def test_a_name_that_the_terminal_cannot_show_is_no_error(tmp_path):
    rows = [[place % 7, f"{place}.5"] for place in range(40)]
    write(tmp_path / "t.csv", ["größe", "値"], rows)
    ran = subprocess.run(
        command("train", "t.csv", "--target", "値", *QUICK),
        capture_output=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_what_takes_long_says_so_now_and_then_where_no_terminal_shows_it(monkeypatch, capsys):
    """With the last news of it; and nothing where all is to be quiet."""
    monkeypatch.setattr("backpass.cli.output.SECONDS_BETWEEN_LINES", 0.01)
    with working("counting"):
        time.sleep(0.1)
    assert capsys.readouterr().err.startswith("counting, 0 s\n")
    with working("counting") as tell:
        tell("at seven")
        time.sleep(0.1)
    assert "counting, 0 s: at seven\n" in capsys.readouterr().err
    with working("counting", quiet=True) as tell:
        tell("at eight")
        time.sleep(0.1)
    assert capsys.readouterr().err == ""
