"""`backpass train`: what it prints, what it leaves, and what each option does."""

import gzip
import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import (
    ABALONE,
    BRIEF,
    IRIS,
    PENGUINS,
    QUICK,
    SHARED,
    command,
    needs_shared,
    process,
    status_of,
    write,
)

import backpass as bp
from backpass.live import server
from backpass.storage.locks import FolderLock


def trained(run, *arguments):
    """The JSON object that training prints."""
    ran = run("train", *arguments, "--json", "--quiet")
    assert ran.status == 0, ran.err
    assert ran.out.count("\n") == 1
    return json.loads(ran.out)


# What is printed


def test_train_prints_what_it_understood_the_network_the_score_the_run_and_the_next_command(run):
    ran = run("train", PENGUINS, "--target", "species", *QUICK)
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert lines[0] == "penguins.csv    344 rows, 7 columns"
    assert lines[1] == "  target species: Adelie 44.2 %, Gentoo 36.0 %, Chinstrap 19.8 %"
    assert re.fullmatch(r"  4 numbers.*categor.*|  4 numbers.*", lines[2])
    assert any(re.fullmatch(r"network     \d+ inputs -> 4 -> 3    [\d,]+ parameters", line) for line in lines)
    assert any(
        re.fullmatch(r"effort      fast: one network, up to 2 epochs: about \d+ s for all", line) for line in lines
    )
    assert "training on 241 rows, validating on 34, testing on 69" in lines
    assert any(re.fullmatch(r"stopped at epoch 2 after [\d.]+ s: all 2 epochs done", line) for line in lines)
    scores = [line.split()[0:2] for line in lines if "±" in line]
    assert scores == [["this", "network"], ["linear", "model"], ["always", '"Adelie"']]
    assert lines[-5] == "runs/penguins-species-1/  model.safetensors  history.jsonl  run.json"
    assert lines[-4] == "  checkpoints/"
    assert lines[-3] == "look:  runs/penguins-species-1/report.html"
    assert lines[-2] == "next:  backpass predict runs/penguins-species-1 NEW.csv"
    assert lines[-1] == "       backpass evaluate runs/penguins-species-1 LABELLED.csv"


def test_the_next_command_that_is_printed_works(run):
    told = run("train", IRIS, "--target", "species", *QUICK).out.splitlines()[-2]
    words = re.search(r"backpass (predict \S+) NEW.csv", told)[1].split()
    assert run(*words, IRIS).status == 0


def test_json_is_one_object_on_standard_output_and_words_go_to_standard_error(run):
    ran = run("train", IRIS, "--target", "species", "--json", *QUICK)
    found = json.loads(ran.out)
    asked = {"rows", "columns", "seconds", "epochs", "parameters", "metrics", "weights", "run"}
    assert asked <= set(found)
    assert (found["rows"], found["columns"], found["epochs"], found["run"]) == (150, 5, 2, "runs/iris-species-1")
    assert set(found["metrics"]) == {"accuracy", "log_loss", "calibration_error"}
    assert re.fullmatch("[0-9a-f]{64}", found["weights"])
    assert len(found["baselines"]) == 2
    assert "iris.csv    150 rows" in ran.err


def test_quiet_says_nothing(run):
    ran = run("train", IRIS, "--target", "species", "--quiet", *QUICK)
    assert (ran.out, ran.err) == ("", "")
    ran = run("train", IRIS, "--target", "species", "--quiet", "--json", *QUICK)
    assert ran.err == ""
    assert json.loads(ran.out)["run"] == "runs/iris-species-2"


# What is left


def test_a_run_is_a_folder_with_the_model_its_history_and_what_was_asked(run, tmp_path):
    found = trained(run, IRIS, "--target", "species", "--seed", "3", "--dropout", "0", *QUICK)
    folder = tmp_path / found["run"]
    files = ["checkpoints", "history.jsonl", "model.safetensors", "report.html", "run.json"]
    assert sorted(file.name for file in folder.iterdir()) == files
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in history] == [1, 2]
    record = json.loads((folder / "run.json").read_text())
    assert record["asked"]["target"] == "species"
    assert record["asked"]["seed"] == 3
    assert record["asked"]["recipe"]["dropout"] == 0
    assert re.fullmatch("[0-9a-f]{64}", record["data"]["sha256"]["table"])
    assert record["outcome"]["weights"] == found["weights"] == bp.load(folder).weights
    assert set(record["versions"]) == {"backpass", "python", "numpy", "llvmlite"}
    assert {"processor", "vector_bits", "threads"} <= set(record["machine"])
    assert (record["format"], record["state"]) == (4, "finished")


def test_runs_are_numbered_and_never_written_over(run):
    names = [trained(run, IRIS, "--target", "species", *QUICK)["run"] for _ in range(2)]
    assert names == ["runs/iris-species-1", "runs/iris-species-2"]


def test_the_run_goes_where_it_is_told_to(run, tmp_path):
    assert trained(run, IRIS, "--target", "species", "--out", "deep/er/run", *QUICK)["run"] == "deep/er/run"
    assert (tmp_path / "deep/er/run/model.safetensors").is_file()
    assert not (tmp_path / "runs").exists()
    (tmp_path / "empty").mkdir()
    assert trained(run, IRIS, "--target", "species", "--out", "empty", *QUICK)["run"] == "empty"


def test_the_same_seed_gives_the_same_weights_and_another_others(run):
    arguments = (IRIS, "--target", "species", *QUICK, "--seed")
    first, again, other = (trained(run, *arguments, seed)["weights"] for seed in ("7", "7", "8"))
    assert first == again != other


def test_a_process_of_its_own_gives_the_same_weights(run, tmp_path):
    arguments = [IRIS, "--target", "species", "--json", *QUICK]
    ran = process("train", *arguments, cwd=tmp_path)
    assert json.loads(ran.out)["weights"] == trained(run, *arguments[:-1], QUICK[-1])["weights"]


# What each kind of target becomes


def rows_of(count=60):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 2))
    return [[f"{a:.4f}", f"{b:.4f}"] for a, b in x], x


def table(path, targets, names=("y",)):
    features, x = rows_of()
    return write(path, ["a", "b", *names], [row + list(targets(*each)) for row, each in zip(features, x, strict=True)])


@pytest.mark.parametrize(
    ("targets", "names", "metrics"),
    [
        (lambda a, b: ["yes" if a > 0 else "no"], ["y"], {"accuracy", "log_loss", "calibration_error", "auc"}),
        (lambda a, b: [a > 0], ["y"], {"accuracy", "log_loss", "calibration_error", "auc"}),
        (lambda a, b: [int(a > 0)], ["y"], {"accuracy", "log_loss", "calibration_error", "auc"}),
        (lambda a, b: ["xyz"[int(a > 0) + int(b > 0)]], ["y"], {"accuracy", "log_loss", "calibration_error"}),
        (lambda a, b: [a * 10 + 100], ["y"], {"rmse", "mae", "r2"}),
    ],
    ids=["two classes", "booleans", "0 and 1", "three classes", "numbers"],
)
def test_every_kind_of_target_has_its_metrics(run, tmp_path, targets, names, metrics):
    found = trained(run, table(tmp_path / "t.csv", targets, names), "--target", "y", *QUICK)
    assert set(found["metrics"]) == metrics
    assert all(isinstance(value, float) for value in found["metrics"].values())


def test_several_targets_are_learned_and_predicted_together(run, tmp_path):
    path = table(tmp_path / "t.csv", lambda a, b: [a * 10, b - 5], ["Y1", "Y2"])
    found = trained(run, path, "--target", "Y1,Y2", *QUICK)
    assert {"rmse", "mae", "r2", "rmse_Y1", "r2_Y2"} <= set(found["metrics"])
    assert run("predict", found["run"], path).rows[0] == ["prediction_Y1", "prediction_Y2"]


# Options


def test_classes_that_are_never_answered_are_named(run, tmp_path):
    draws = np.random.Generator(np.random.Philox(7)).normal(size=(200, 2)).round(3)
    labels = ["rare" if place % 10 == 0 else "yes" if a > 0 else "no" for place, (a, _) in enumerate(draws)]
    path = write(tmp_path / "t.csv", ["a", "b", "y"], [[*row, label] for row, label in zip(draws, labels, strict=True)])
    ran = run("train", path, "--target", "y", "--effort", "fast", "--hidden", "8", "--epochs", "30")
    said = 'never answered: "rare", 4 of these rows: --class-weights balanced lets them count more'
    assert said in " ".join(ran.out.split())


def test_exclude_leaves_columns_out(run):
    found = trained(run, IRIS, "--target", "species", "--exclude", "sepal_length,sepal_width", *QUICK)
    assert [column["name"] for column in found["table"]["inputs"]] == ["petal_length", "petal_width"]
    twice = trained(run, IRIS, "--target", "species", "--exclude", "sepal_length", "--exclude", "sepal_width", *QUICK)
    assert found["weights"] == twice["weights"]


def test_column_says_what_a_column_is(run):
    options = ["--column", "Sex=skip", "--column", "Height=category", *QUICK, *BRIEF]
    found = trained(run, ABALONE, "--target", "Rings", *options)
    kinds = {column["name"]: column["kind"] for column in found["table"]["inputs"]}
    assert "Sex" not in kinds
    assert kinds["Height"] == "category"


def test_task_says_what_the_target_is(run):
    assert "rmse" in trained(run, ABALONE, "--target", "Rings", *QUICK, *BRIEF)["metrics"]
    as_classes = trained(run, ABALONE, "--target", "Rings", "--task", "classification", *QUICK, *BRIEF)
    assert "accuracy" in as_classes["metrics"]


def test_order_tests_on_the_latest_rows(run, tmp_path):
    rows = [[place, f"{place % 7}", "ab"[place >= 80]] for place in range(100)]
    path = write(tmp_path / "t.csv", ["when", "x", "y"], rows)
    ran = run("train", path, "--target", "y", "--order", "when", *QUICK)
    assert ran.status == 2
    assert "class" in ran.err
    rows = [[place, f"{place % 7}", f"{place * 1.5}"] for place in range(100)]
    path = write(tmp_path / "u.csv", ["when", "x", "y"], rows)
    found = trained(run, path, "--target", "y", "--order", "when", *QUICK)
    # The mean of the earliest rows is far below the latest ones.
    assert found["baselines"][1]["metrics"]["r2"] < -5


def test_group_keeps_rows_of_a_group_together(run, tmp_path):
    rng = np.random.default_rng(0)
    # The answer is a property of the group alone: held-out groups cannot be known.
    answers = rng.normal(size=40)
    rows = [[group, f"{rng.normal():.3f}", f"{answers[group]:.4f}"] for group in range(40) for _ in range(10)]
    path = write(tmp_path / "t.csv", ["who", "x", "y"], rows)
    options = ["--target", "y", "--column", "who=category", "--epochs", "20"]
    apart = trained(run, path, *options)["metrics"]["r2"]
    together = trained(run, path, *options, "--group", "who")["metrics"]["r2"]
    assert apart > 0.5 > together


def test_parts_held_out_have_the_size_asked_for(run):
    found = trained(run, IRIS, "--target", "species", "--test-part", "0.4", "--validation-part", "0.2", *QUICK)
    assert found["table"]["split"] == {"train": 60, "validation": 30, "test": 60}
    found = trained(run, IRIS, "--target", "species", "--test-part", "0", "--validation-part", "0", *QUICK)
    assert (found["table"]["split"]["train"], found["metrics"], found["baselines"]) == (150, {}, [])


def test_a_test_table_of_its_own_is_scored_on(run, tmp_path):
    lines = Path(IRIS).read_text().splitlines()
    (tmp_path / "some.csv").write_text("\n".join([lines[0], *lines[1:60:5], *lines[60::5]]) + "\n")
    found = trained(run, IRIS, "--target", "species", "--test", "some.csv", *QUICK)
    assert found["scored_on"] == "test"
    assert found["table"]["split"]["test"] == len((tmp_path / "some.csv").read_text().splitlines()) - 1


def test_hidden_layers_have_the_sizes_asked_for(run):
    weights = {}
    for hidden, parameters in (("0", 15), ("none", 15), ("8", 67), ("5,4", 64)):
        found = trained(run, IRIS, "--target", "species", "--epochs", "1", "--effort", "fast", "--hidden", hidden)
        assert found["parameters"] == parameters
        weights[hidden] = found["weights"]
    assert weights["0"] == weights["none"]


@pytest.fixture(scope="module")
def plain_weights(tmp_path_factory):
    """The digest of what is learned of penguins without any other option."""
    folder = tmp_path_factory.mktemp("runs") / "plain"
    assert status_of(["train", PENGUINS, "--target", "species", "--quiet", "--out", folder, *QUICK]) == 0
    return bp.load(folder).weights


@pytest.mark.parametrize(
    "options",
    [
        ["--activation", "tanh"],
        ["--dropout", "0.4"],
        ["--learning-rate", "0.1"],
        ["--weight-decay", "3"],
        ["--batch-size", "64"],
        ["--class-weights", "balanced"],
        ["--no-scale"],
        ["--precision", "float64"],
        ["--seed", "5"],
        ["--epochs", "1"],
    ],
    ids=lambda options: options[0],
)
def test_every_option_of_the_recipe_changes_what_is_learned(run, plain_weights, options):
    assert trained(run, PENGUINS, "--target", "species", *QUICK, *options)["weights"] != plain_weights


def test_without_an_effort_it_is_the_mean_of_several_networks(run):
    ran = run("train", PENGUINS, "--target", "species", "--epochs", "2", "--hidden", "4")
    line = r"effort      standard: mean of 4 networks, up to 2 epochs: about \d+ s for all"
    assert any(re.fullmatch(line, each) for each in ran.out.splitlines())
    assert bp.load("runs/penguins-species-1").network.count == 4


def test_cosines_are_told_of_where_there_are_enough_rows_for_them(run):
    ran = run("train", ABALONE, "--target", "Rings", "--epochs", "1", "--hidden", "4", *BRIEF)
    assert "network     10 inputs, each number also as 16 cosines -> 4 -> 1" in ran.out


def test_patience_ends_the_training(run):
    found = trained(
        run, IRIS, "--target", "sepal_width", "--patience", "1", "--epochs", "200", "--learning-rate", "0.05"
    )
    assert found["epochs"] < 200
    assert found["stopped"] == "no better validation loss for 1 epochs"
    assert found["kept_epoch"] == found["epochs"] - 1


def test_activation_is_part_of_the_network(run):
    found = trained(run, IRIS, "--target", "species", "--activation", "selu", *QUICK)
    assert "SELU" in str(bp.load(found["run"]))


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "semicolon.csv", "t.tsv"])
def test_the_same_table_in_another_wrapping_gives_the_same_weights(run, tmp_path, name):
    text = Path(IRIS).read_text()
    delimiter = {"semicolon.csv": ";", "t.tsv": "\t"}.get(name, ",")
    data = text.replace(",", delimiter).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    expected = trained(run, IRIS, "--target", "species", *QUICK)["weights"]
    assert trained(run, name, "--target", "species", *QUICK)["weights"] == expected


def test_a_table_comes_from_standard_input(run, tmp_path):
    ran = process("train", "-", "--target", "species", "--json", *QUICK, cwd=tmp_path, input=Path(IRIS).read_text())
    assert ran.status == 0, ran.err
    assert json.loads(ran.out)["weights"] == trained(run, IRIS, "--target", "species", *QUICK)["weights"]


# Strange tables

NAMES = ["a b", "größe", "prediction", "numbers", "x.y", "p,q", 'say "hi"', "k=v", "self", "key", "layers", "日本", "1"]


def strange(path, rows=120):
    """Columns of forty levels each (they are embedded by name) under names that could trip something."""
    rng = np.random.default_rng(0)
    body = []
    for _ in range(rows):
        x = rng.normal()
        levels = [f"level {rng.integers(0, 40)}" for _ in NAMES]
        body.append(
            [*levels, f"{x:.3f}", "", "same", rng.choice(["1e300", "-1e300", "0"]), " big " if x > 0 else "small"]
        )
    return write(path, [*NAMES, "x", "all missing", "constant", "huge", "the answer"], body)


def test_names_of_columns_may_be_anything(run, tmp_path):
    path = strange(tmp_path / "strange name.csv")
    found = trained(run, path, "--target", "the answer", *QUICK)
    assert set(found["table"]["left_out"]) == {"all missing", "constant"}
    assert [column["name"] for column in found["table"]["inputs"]] == [*NAMES, "x", "huge"]
    ran = run("predict", found["run"], path, "--proba")
    assert ran.rows[0] == ["prediction", "p_big", "p_small"]
    assert run("check", found["run"], path).status == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_target_may_have_any_name(run, tmp_path, name):
    rows = [[f"{place % 11}", "ab"[place % 3 > 0]] for place in range(40)]
    path = write(tmp_path / "t.csv", ["x", name], rows)
    assert trained(run, path, "--target", name, *QUICK)["table"]["targets"] == [name]


def test_a_name_with_a_comma_is_quoted_among_others(run, tmp_path):
    rows = [[f"{place % 11}", f"{place}.5", f"{place * 3}.5"] for place in range(40)]
    path = write(tmp_path / "t.csv", ["x", "p,q", "r"], rows)
    assert trained(run, path, "--target", '"p,q",r', *QUICK)["table"]["targets"] == ["p,q", "r"]


def test_quoted_numbers_are_numbers(run, tmp_path):
    (tmp_path / "t.csv").write_text('"x","y"\n' + "".join(f'"{n}","{n * 2.5}"\n' for n in range(60)))
    found = trained(run, "t.csv", "--target", "y", *QUICK)
    assert found["table"]["inputs"][0]["kind"] == "number"
    assert "rmse" in found["metrics"]


def test_spaces_around_a_class_make_no_other_class(run, tmp_path):
    rows = [[place % 13, [" yes", "yes ", "yes", "no"][place % 4]] for place in range(80)]
    found = trained(run, write(tmp_path / "t.csv", ["x", "y"], rows), "--target", "y", *QUICK)
    assert set(found["table"]["classes"]) == {"yes", "no"}


def test_huge_targets_are_learned_without_a_warning(run, tmp_path):
    rows = [[place, f"{place - 30}e299"] for place in range(60)]
    ran = run("train", write(tmp_path / "t.csv", ["x", "y"], rows), "--target", "y", "--json", *QUICK)
    assert ran.status == 0
    assert "Warning" not in ran.err
    assert json.loads(ran.out)["metrics"]["rmse"] is None or json.loads(ran.out)["metrics"]["rmse"] > 0


# Ctrl-C


def begun(folder, *options):
    """A long training in a process of its own, with an epoch made."""
    started = subprocess.Popen(
        command("train", ABALONE, "--target", "Rings", "--patience", "1000000", "--out", "run", *options),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline, history = time.monotonic() + 60, folder / "run" / "history.jsonl"
    while not (history.is_file() and history.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return started


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "a signal to end")])
def test_a_signal_saves_all_and_says_how_to_go_on(tmp_path, number, name):
    started = begun(tmp_path, "--epochs", "1000000")
    os.kill(started.pid, number)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 128 + number, err
    assert "Traceback" not in err
    assert re.search(rf"stopped by {name} after step [\d,]+, with \d+ epochs done; all is saved", out)
    assert "go on: backpass resume run" in out
    assert json.loads((tmp_path / "run/run.json").read_text())["state"] == "interrupted"
    assert process("predict", "run", ABALONE, cwd=tmp_path).status == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_ended_goes_on_and_is_reproduced_to_the_bit(tmp_path, number):
    started = begun(tmp_path, "--epochs", "25")
    os.kill(started.pid, number)
    started.communicate(timeout=60)
    ran = process("resume", "run", "--json", cwd=tmp_path)
    assert ran.status == 0, ran.err
    assert json.loads(ran.out)["epochs"] == 25
    again = process("reproduce", "run", cwd=tmp_path)
    assert again.status == 0, again.out + again.err
    assert again.out.startswith("the same, bit for bit: 25 epochs")
    done = process("resume", "run", cwd=tmp_path)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "is finished" in done.err


def test_a_run_whose_table_changed_is_not_gone_on_with_and_the_difference_named(run, tmp_path):
    lines = Path(ABALONE).read_text().splitlines(keepends=True)
    (tmp_path / "a.csv").write_text("".join(lines[:600]))
    asked = ("train", "a.csv", "--target", "Rings", "--out", "run", "--epochs", "2", "--hidden", "8")
    assert run(*asked).status == 0
    changes = {
        "it had 599 rows, and has 598": "".join(lines[:599]),
        'the column "Length" is gone': "".join(lines[:600]).replace("Length", "Size"),
        'the column "Rings" has other values': "".join(lines[:599]) + lines[599].replace(",", ",", 1).rstrip() + "1\n",
    }
    for told, content in changes.items():
        (tmp_path / "a.csv").write_text(content)
        ran = run("reproduce", "run")
        assert (ran.status, told in ran.err) == (2, True), ran.err
    (tmp_path / "b.csv").write_text("".join(lines[:600]))
    assert run("reproduce", "run", "--table", "b.csv").status == 0
    (tmp_path / "a.csv").unlink()
    ran = run("reproduce", "run")
    assert ran.status == 2
    assert "no such file" in ran.err


def test_a_folder_that_is_no_run_is_said_to_be_none(run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    for content, told in [
        (None, "holds no run.json"),
        ("{", "is damaged"),
        ("[]", "is no run's"),
        ('{"format": 99, "asked": {}}', "is of format 99"),
        ('{"format": 2, "asked": {"table": "x.csv", "target": "b", "nonsense": 1}}', "is not understood"),
    ]:
        if content is not None:
            (tmp_path / "run/run.json").write_text(content)
        ran = run("resume", "run")
        assert (ran.status, ran.err.count("\n"), told in ran.err) == (2, 1, True), ran.err


# Real tables


def test_a_model_of_iris_predicts_iris(run):
    found = trained(run, IRIS, "--target", "species")
    assert found["metrics"]["accuracy"] >= 0.8
    predictions = [row[0] for row in run("predict", found["run"], IRIS).rows[1:]]
    actual = [line.rpartition(",")[2] for line in Path(IRIS).read_text().splitlines()[1:]]
    assert np.mean(np.array(predictions) == np.array(actual)) > 0.95


@needs_shared
def test_a_test_table_whose_labels_end_in_a_full_stop_is_understood(run):
    found = trained(
        run,
        SHARED / "adult_train.csv.gz",
        "--target",
        "income",
        "--test",
        SHARED / "adult_test.csv.gz",
        *("--epochs", "1", "--hidden", "16", "--batch-size", "512"),
    )
    assert found["rows"] == 32561
    assert found["table"]["split"]["test"] == 16281
    assert found["metrics"]["auc"] > 0.8


@needs_shared
def test_unscaled_numbers_are_trained_on_or_refused_in_one_line(run):
    ran = run(
        *("train", SHARED / "california_housing.csv", "--target", "median_house_value"),
        *("--no-scale", "--epochs", "1", "--hidden", "8", "--quiet"),
    )
    assert (ran.status == 0 and ran.err == "") or (ran.status == 2 and ran.err.count("\n") == 1)


def test_answers_are_never_written_over_the_table_or_the_model(run, iris_run, tmp_path):
    write(tmp_path / "new.csv", ["sepal_length", "sepal_width", "petal_length", "petal_width"], [[5, 3, 1, 1]])
    for place in (tmp_path / "new.csv", Path(iris_run) / "model.safetensors"):
        before = place.read_bytes()
        ran = run("predict", iris_run, tmp_path / "new.csv", "--out", place)
        assert (ran.status, "choose another file" in ran.err) == (2, True)
        assert place.read_bytes() == before


def test_a_text_that_is_new_among_numbers_of_held_out_rows_is_read_as_missing_and_told(run, tmp_path):
    rows = [[row * 37 % 101, row % 7, row % 2] for row in range(200)]
    for seed in range(4):
        stray = [[("12mm" if row == 50 + seed else x), z, y] for row, (x, z, y) in enumerate(rows)]
        write(tmp_path / "t.csv", ["x", "z", "y"], stray)
        ran = run(
            "train", tmp_path / "t.csv", "--target", "y", "--out", tmp_path / f"r{seed}", "--seed", str(seed), *QUICK
        )
        assert ran.status == 0
        assert '"12mm"' in ran.out
        assert "missing" in ran.out


def test_a_stray_text_among_decimal_commas_is_read_as_missing(run, tmp_path):
    rows = [[f"{row},{row % 10}" if row != 70 else "n.v.", row % 2] for row in range(200)]
    write(tmp_path / "t.csv", ["v", "y"], rows, delimiter=";")
    ran = run("train", tmp_path / "t.csv", "--target", "y", "--out", tmp_path / "r", *QUICK)
    assert ran.status == 0
    assert "1 number" in ran.out


def test_several_target_options_add_up(run, tmp_path):
    targets = ["--target", "Rings", "--target", "Height"]
    ran = run("train", ABALONE, *targets, "--out", tmp_path / "r", *QUICK, *BRIEF)
    assert ran.status == 0
    assert "R² Rings" in ran.out
    assert "R² Height" in ran.out


def test_dates_written_as_iso_are_understood_however_training_wrote_them(run, tmp_path):
    rows = [[f"{row % 28 + 1:02}/{row % 12 + 1:02}/2021", row, row % 2] for row in range(200)]
    write(tmp_path / "t.csv", ["when", "n", "y"], rows)
    assert run("train", tmp_path / "t.csv", "--target", "y", "--out", tmp_path / "r", *QUICK).status == 0
    write(tmp_path / "iso.csv", ["when", "n"], [["2021-04-13", 3], ["2021-12-31", 4]])
    write(tmp_path / "own.csv", ["when", "n"], [["13/04/2021", 3], ["31/12/2021", 4]])
    found = [run("predict", tmp_path / "r", tmp_path / name, "--proba").out for name in ("iso.csv", "own.csv")]
    assert found[0] == found[1]
    assert found[0].count("\n") == 3


def test_a_model_of_a_table_takes_every_form_of_table_and_no_bare_array(iris_run):
    import polars as pl

    model = bp.load(iris_run)
    frame = pl.read_csv(IRIS)
    shuffled = frame.select(frame.columns[::-1])
    expected = model.predict(IRIS)
    for table in (frame, shuffled, frame.to_dict(as_series=False), bp.read_table(IRIS)):
        assert (model.predict(table) == expected).all()
        assert model.evaluate(table) == model.evaluate(IRIS)
    with pytest.raises(bp.BackpassError, match="no columns to know by name"):
        model.predict(frame.drop("species").to_numpy())


# What is not finite


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_diverged_training_names_the_row_of_the_file_also_as_json(run, tmp_path, form):
    """Its numbers are those of the file, which is streamed where it is Parquet, and so in drawn order."""
    import polars as pl

    values = np.linspace(0.5, 1.5, 300)
    values[123] = 3e30
    frame = pl.DataFrame({"a": values, "b": np.tile([0.1, 0.2, 0.3], 100), "y": np.linspace(1, 3, 300)})
    path = tmp_path / f"t.{form}"
    _ = frame.write_csv(path) if form == "csv" else frame.write_parquet(path)
    options = ["--target", "y", "--no-scale", "--hidden", "4", "--effort", "fast", "--epochs", "3", "--test-part", "0"]
    options += ["--validation-part", "0", *(["--stream"] if form == "parquet" else [])]
    ran = run("train", str(path), *options, "--json")
    assert ran.status == 2
    told = json.loads(ran.out)
    found = told["not_finite"]
    assert (found["row"], found["table"], found["column"]) == (124, path.name, "a")
    assert f"row 124 of {path.name}" in ran.err
    assert told["error"] in ran.err


def test_a_percent_sign_and_a_misspelt_activation_are_told_what_was_meant(run):
    ran = run("train", ABALONE, "--target", "Rings", "--interval", "90%")
    assert "expected a number between 0 and 1, such as 0.9: 90% is 0.9" in ran.err
    ran = run("train", IRIS, "--target", "species", "--activation", "rellu")
    assert ran.err.endswith("; did you mean relu?\n")


def test_what_is_printed_of_a_run_with_a_long_name_is_cut_between_words(run):
    """Commands stay whole, to be copied."""
    name = "a-run-of-which-the-name-is-so-long-that-no-line-of-80-columns-can-hold-it"
    ran = run("train", IRIS, "--target", "species", "--out", name, *QUICK)
    long = [line for line in ran.out.splitlines() if len(line) > 80]
    assert long == [f"{name}/report.html", f"backpass predict {name} NEW.csv", f"backpass evaluate {name} LABELLED.csv"]


def test_a_page_that_watches_a_training_stays_and_the_folder_is_free(run, monkeypatch):
    """`--live` prints the address and opens it; after the training the run can be used while the page is there."""
    seen = {}

    def look():
        """What is done in place of waiting for Ctrl-C."""
        with urllib.request.urlopen(f"{seen['address']}about") as answer:  # noqa: S310
            seen["about"] = json.loads(answer.read())
        with FolderLock(Path("run")):
            seen["free"] = True

    monkeypatch.setattr(server, "open_browser", lambda address: seen.update(address=address) or True)
    monkeypatch.setattr("backpass.cli.train.wait", look)
    found = run("train", IRIS, "--target", "species", *QUICK, "--out", "run", "--live", "--port", "0", "--no-report")
    assert found.status == 0
    assert f"the page is at {seen['address']}" in found.err
    assert (seen["about"]["kind"], seen["about"]["runs"], seen["free"]) == ("live", ["run"], True)
    assert "on the test rows" in found.out


def test_each_hidden_layer_can_have_an_activation_of_its_own(run):
    """`--activation tanh,relu` gives the first and the second theirs; another number of them is refused."""
    found = run(
        "train", IRIS, "--target", "species", *QUICK, "--hidden", "4,3", "--activation", "tanh,relu", "--out", "two"
    )
    assert found.status == 0
    names = list(bp.load("two/model.safetensors").network.layers)
    assert names.index("tanh_1") < names.index("hidden_2") < names.index("relu_2")
    found = run("train", IRIS, "--target", "species", *QUICK, "--activation", "tanh,relu")
    assert found.status == 2
    assert "--activation is tanh,relu, expected one, or one for each of 1 hidden layer" in found.err
