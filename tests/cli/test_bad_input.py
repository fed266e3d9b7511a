"""Bad input: one clear line on standard error, exit status 2, nothing left behind."""

import gzip
from pathlib import Path

import pytest
from cli_helpers import ABALONE, BRIEF, IRIS, QUICK, write

from backpass.storage import disk


@pytest.fixture
def refused(run, tmp_path):
    """That a command is refused in one line that holds some words, and leaves the folder as it was."""

    def check(*arguments, words=()):
        before = sorted(tmp_path.rglob("*"))
        ran = run(*arguments)
        assert ran.status == 2, (ran.out, ran.err)
        assert ran.err.startswith("backpass: ")
        assert ran.err.count("\n") == 1, ran.err
        assert len(ran.err) < 1000
        assert "Traceback" not in ran.err
        for word in [words] if isinstance(words, str) else words:
            assert word in ran.err
        assert sorted(tmp_path.rglob("*")) == before
        return ran

    return check


TABLES = {
    "empty": (b"", "empty"),
    "header only": (b"a,b,y\n", "no data rows"),
    "binary": (bytes(range(256)) * 20, ""),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(200), ""),
    "cut gzip": (gzip.compress(b"a,y\n" + b"1,2\n" * 5000)[:60], ""),
    "ragged": (b"a,y\n1,2\n3,4,5\n6,7\n", "line 3"),
    "duplicate names": (b"a,a,y\n1,2,3\n4,5,6\n", '"a"'),
    "no target": (b"a,yy\n" + b"1,2\n" * 30, 'has no column "y". Its columns: "a", "yy"'),
    "target missing everywhere": (b"a,y\n" + b"1,\n2,\n" * 20, "no values"),
    "one class": (b"a,y\n" + b"1,yes\n2,yes\n" * 20, '"yes" in every row'),
    "one number": (b"a,y\n" + b"1,5.5\n2,5.5\n" * 20, ""),
    "infinite": (b"a,y\n" + b"".join(b"%d,%d.5\n" % (n, n * n) for n in range(30)) + b"inf,3\n", "row 31"),
    "text among numbers": (b"a,y\n" + b"".join(b"%d,%d.5\n" % (n, n * n) for n in range(60)) + b"1,12k\n", "row 61"),
    "too few rows": (b"a,y\n1,x\n2,z\n", "rows"),
    "the target alone": (b"y\n" + b"".join(b"%d\n" % n for n in range(40)), "no column is left"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_cannot_be_learned_from(refused, tmp_path, name):
    data, words = TABLES[name]
    (tmp_path / "t.csv").write_bytes(data)
    refused("train", "t.csv", "--target", "y", words=["t.csv", words] if name != "too few rows" else words)


def test_places_where_there_is_no_table(refused, tmp_path):
    (tmp_path / "folder").mkdir()
    for place in ("none.csv", "folder", "folder/none.csv", "", "x" * 300):
        refused("train", place, "--target", "y")


OPTIONS = {
    "target absent": (["--target", "specie"], 'Did you mean "species"?'),
    "target empty": (["--target", ""], "--target"),
    "target twice": (["--target", "sepal_length,sepal_length"], "twice"),
    "no target": ([], "--target"),
    "a threshold among several targets": (["--target", "sepal_length,species", "--threshold", "0.3"], "two classes"),
    "no classes among several": (["--target", "sepal_length,petal_width", "--class-weights", "a=1"], "with classes"),
    "text as a number": (["--target", "species", "--task", "regression"], "species"),
    "unknown option": (["--target", "species", "--nonsense"], "--nonsense"),
    "unknown task": (["--target", "species", "--task", "ranking"], "--task"),
    "unknown activation": (["--target", "species", "--activation", "step"], "relu"),
    "unknown precision": (["--target", "species", "--precision", "float16"], "--precision"),
    "unknown kind": (["--target", "species", "--column", "sepal_length=colour"], "category"),
    "a kind without name": (["--target", "species", "--column", "=number"], "NAME=KIND"),
    "a name without kind": (["--target", "species", "--column", "sepal_length"], "NAME=KIND"),
    "a kind of an absent column": (["--target", "species", "--column", "nope=number"], "nope"),
    "a kind of the target": (["--target", "species", "--column", "species=number"], "target"),
    "exclude the target": (["--target", "species", "--exclude", "species"], "target"),
    "exclude an absent column": (["--target", "species", "--exclude", "nope"], "nope"),
    "exclude everything": (
        ["--target", "species", "--exclude", "sepal_length,sepal_width,petal_length,petal_width"],
        "no column is left",
    ),
    "group absent": (["--target", "species", "--group", "nope"], "nope"),
    "order absent": (["--target", "species", "--order", "nope"], "nope"),
    "group and order": (["--target", "species", "--group", "sepal_width", "--order", "sepal_length"], "one of them"),
    "test and test part": (["--target", "species", "--test", IRIS, "--test-part", "0.2"], "--test-part"),
    "class weights of a number": (["--target", "sepal_width", "--class-weights", "balanced"], "--class-weights"),
    "test part too large": (["--target", "species", "--test-part", "1.5"], "1.5"),
    "test part negative": (["--target", "species", "--test-part", "-0.1"], "-0.1"),
    "parts that leave nothing": (["--target", "species", "--test-part", "0.5", "--validation-part", "0.5"], "no rows"),
    "parts that are no numbers": (["--target", "species", "--test-part", "nan"], "nan"),
    "epochs 0": (["--target", "species", "--epochs", "0"], "--epochs is 0"),
    "one fold": (["--target", "species", "--folds", "1"], "--folds is 1, expected"),
    "a quantile of 2": (["--target", "sepal_width", "--quantiles", "0.5,2"], "--quantiles is [0.5, 2.0], expected"),
    "a part that leaves nothing": (
        ["--target", "species", "--validation-part", "0.9"],
        "--validation-part 0.9 and the usual 0.2 to test leave no rows",
    ),
    "an option that is spelt otherwise": (["--target", "species", "--quantile", "0.5"], "Did you mean '--quantiles'?"),
    "an option that is like none": (["--target", "species", "--lr", "1"], "No such option '--lr'.\n"),
    "a column that is like none": (["--target", "width"], 'Its columns: "sepal_length"'),
    "a file that is one column": (["--target", "species", "--delimiter", "~"], "--delimiter says what is between them"),
    "hidden layers that are too many by default": (
        ["--target", "species", "--hidden", "60000,60000"],
        "the hidden layers 60000,60000 make",
    ),
    "epochs text": (["--target", "species", "--epochs", "many"], "--epochs"),
    "batch size 0": (["--target", "species", "--batch-size", "0"], "--batch-size is 0"),
    "patience 0": (["--target", "species", "--patience", "0"], "--patience is 0"),
    "dropout 1": (["--target", "species", "--dropout", "1"], "--dropout is 1"),
    "dropout nan": (["--target", "species", "--dropout", "nan"], "--dropout is nan"),
    "learning rate 0": (["--target", "species", "--learning-rate", "0"], "--learning-rate is 0"),
    "learning rate inf": (["--target", "species", "--learning-rate", "inf"], "--learning-rate is inf"),
    "weight decay negative": (["--target", "species", "--weight-decay", "-1"], "--weight-decay is -1"),
    "hidden negative": (["--target", "species", "--hidden", "-4"], "--hidden"),
    "hidden text": (["--target", "species", "--hidden", "big"], "--hidden"),
    "hidden with a hole": (["--target", "species", "--hidden", "64,,32"], "--hidden"),
    "hidden huge": (["--target", "species", "--hidden", "99999999"], "--hidden"),
    "seed negative": (["--target", "species", "--seed", "-1"], "--seed is -1"),
    "seed huge": (["--target", "species", "--seed", "99999999999999999999"], "--seed is"),
    "delimiter of two": (["--target", "species", "--delimiter", "ab"], "one character"),
    "delimiter wrong": (["--target", "species", "--delimiter", ";"], "species"),
    "test table absent": (["--target", "species", "--test", "none.csv"], "none.csv"),
    "test table of others": (["--target", "species", "--test", ABALONE], "abalone.csv"),
    "a loss that explodes": (["--target", "species", "--learning-rate", "1e30", *QUICK], "learning rate"),
    "out is a file": (["--target", "species", "--out", IRIS], "--out"),
    "out below a file": (["--target", "species", "--out", f"{IRIS}/run"], "--out"),
    "out is taken": (["--target", "species", "--out", str(Path(IRIS).parent)], "nothing is written over"),
    "out too long": (["--target", "species", "--out", "x" * 300], "--out"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_cannot_be_used(refused, name):
    options, words = OPTIONS[name]
    refused("train", IRIS, *options, words=words)


@pytest.mark.parametrize(
    "options", [["--target", "specie"], ["--target", "species", "--learning-rate", "1e30", *QUICK]]
)
def test_a_named_folder_is_not_made_for_a_run_that_fails(refused, tmp_path, options):
    refused("train", IRIS, *options, "--out", "deep/er/run")
    (tmp_path / "mine").mkdir()
    refused("train", IRIS, *options, "--out", "mine")


def test_a_place_for_runs_that_is_a_file(refused, tmp_path):
    (tmp_path / "runs").write_text("a file")
    refused("train", IRIS, "--target", "species", *QUICK, words="runs: is a file")


def test_a_disk_that_is_full_when_a_run_begins_leaves_nothing(refused, monkeypatch):
    def full(_handle, _data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "write", full)
    refused("train", IRIS, "--target", "species", *QUICK, words="No space left")


def test_a_disk_that_fills_before_the_model_is_written_loses_nothing(run, monkeypatch, tmp_path):
    rename = disk.rename

    def full(old, new):
        if new.name == "model.safetensors":
            raise OSError(28, "No space left on device")
        rename(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(disk, "rename", full)
        ran = run("train", IRIS, "--target", "species", "--out", "r", *QUICK)
    assert ran.status == 2
    assert "No space left" in ran.err
    assert not (tmp_path / "r/model.safetensors").exists()
    assert run("resume", "r").status == 0
    assert (tmp_path / "r/model.safetensors").is_file()


def test_tables_that_do_not_fit_the_model(refused, iris_run, tmp_path):
    header, *rows = [line.split(",") for line in Path(IRIS).read_text().splitlines()]
    write(tmp_path / "lacks.csv", header[1:], [row[1:] for row in rows])
    write(tmp_path / "text.csv", header, [["long", *row[1:]] for row in rows])
    write(tmp_path / "none.csv", header, [])
    write(tmp_path / "infinite.csv", header, [*rows[:3], ["inf", *rows[3][1:]]])
    write(tmp_path / "renamed.csv", ["sepal length", *header[1:]], rows)
    for command in ("predict", "evaluate", "check"):
        refused(command, iris_run, "lacks.csv", words=["lacks.csv", '"sepal_length"'])
        refused(command, iris_run, "text.csv", words=['"sepal_length"', "row 1"])
        refused(command, iris_run, "none.csv", words="no data rows")
        refused(command, iris_run, "infinite.csv", words=['"sepal_length"', "row 4"])
        refused(command, iris_run, "renamed.csv", words='is it "sepal length" there?')
        refused(command, iris_run, "absent.csv", words="no such file")
    write(tmp_path / "unlabelled.csv", header[:-1], [row[:-1] for row in rows])
    for command in ("evaluate", "check"):
        refused(command, iris_run, "unlabelled.csv", words='"species"')


def test_numbers_so_large_that_the_network_overflows(run, refused, tmp_path):
    rows = [[place, f"{place * 2}.5"] for place in range(60)]
    path = write(tmp_path / "t.csv", ["x", "y"], rows)
    assert run("train", path, "--target", "y", "--no-scale", "--out", "m", *QUICK).status == 0
    write(tmp_path / "new.csv", ["x"], [[1], ["1e38"], ["3e38"]])
    ran = run("predict", "m", "new.csv")
    assert ran.status == 2 or "inf" not in ran.out
    write(tmp_path / "more.csv", ["x"], [[1], ["1e39"]])
    refused("predict", "m", "more.csv", words=['"x"', "row 2"])


def test_models_that_are_none(refused, iris_run, tmp_path):
    data = (iris_run / "model.safetensors").read_bytes()
    (tmp_path / "cut").write_bytes(data[:-100])
    (tmp_path / "changed").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (tmp_path / "other").write_text("not a model\n")
    (tmp_path / "newer").write_bytes(data.replace(b'\\"format\\": 2,', b'\\"format\\": 4,'))
    (tmp_path / "folder").mkdir()
    for command in ("predict", "evaluate", "check"):
        for name in ("cut", "changed", "other", "newer", "folder", "absent", IRIS):
            refused(command, name, IRIS, words=name)
    refused("predict", "newer", IRIS, words="update it")


def test_options_of_predict_that_cannot_be_used(run, refused, iris_run, tmp_path):
    refused("predict", iris_run, IRIS, "--coerce", "nope", words="nope")
    refused("predict", iris_run, "no-table.csv", "--out", "none/answers.csv", words="cannot be written")  # told first
    (tmp_path / "folder").mkdir()
    refused("predict", iris_run, IRIS, "--out", "folder", words="cannot be written")
    refused("check", iris_run, IRIS, "--rows", "0", words="--rows")
    assert run("train", ABALONE, "--target", "Rings", "--out", "m", *QUICK, *BRIEF).status == 0
    refused("predict", "m", ABALONE, "--proba", words="--proba")


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["train"], ["predict", "m"], ["demo", "nope"], ["demo", "--seed", "-1"], ["--nonsense"]]
)
def test_commands_that_are_none(refused, arguments):
    refused(*arguments)
