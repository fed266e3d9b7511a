"""The folder of a run: what run.json keeps of what was asked, what a full disk leaves, what a stranger may write."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

import backpass as bp
from backpass.errors import NotSavedError, OutputError, UsageError
from backpass.recipes import again, defaults, fields, plan, run
from backpass.recipes.main_job import fit_into
from backpass.storage import disk

IRIS = Path(__file__).parents[2] / "examples" / "data" / "iris.csv"
QUICK = {"epochs": 2, "hidden": (4,), "members": 1}


def iris():
    return bp.read_table(IRIS).frame.to_dict(as_series=False)


@pytest.fixture
def folder(tmp_path):
    """The folder of a finished run on a copy of iris."""
    (tmp_path / "t.csv").write_bytes(IRIS.read_bytes())
    bp.train(tmp_path / "t.csv", "species", out=tmp_path / "run", recipe=QUICK)
    return tmp_path / "run"


def change(folder, **fields):
    """Put other values in the run.json, or take them out where they are None."""
    content = json.loads((folder / "run.json").read_text()) | fields
    kept = {name: value for name, value in content.items() if value is not None}
    (folder / "run.json").write_text(json.dumps(kept))


# Arguments


class Index:
    """As pandas has them: no sequence, but it can become a list."""

    def __init__(self, *names):
        self.names = names

    def __repr__(self):
        return f"Index{self.names}"

    def to_list(self):
        return list(self.names)


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"seed": np.int64(3), "threads": np.int64(1)}, {"seed": 3, "threads": 1}),
        ({"test": np.float32(0.25), "scale": np.bool_(True)}, {"test": 0.25, "scale": True}),
        ({"exclude": np.array(["sepal_width"])}, {"exclude": ["sepal_width"]}),
        ({"exclude": {"sepal_width", "sepal_length"}}, {"exclude": ["sepal_length", "sepal_width"]}),
        ({"columns": {np.str_("sepal_width"): "skip"}}, {"columns": {"sepal_width": "skip"}}),
        (
            {"recipe": {"learning_rate": np.float32(0.5), "epochs": np.int64(2), "hidden": np.array([4, 3])}},
            {"recipe": {"learning_rate": 0.5, "epochs": 2, "hidden": [4, 3]}},
        ),
    ],
    ids=["whole numbers", "real numbers", "an array of names", "a set of names", "names as keys", "recipe"],
)
def test_arguments_from_numpy_are_those_of_python(given, same):
    """They give the same plan, and the same words in run.json."""
    found, expected = plan(IRIS, "species", **given), plan(IRIS, "species", **same)
    assert found.asked == expected.asked
    assert json.loads(json.dumps(found.asked)) == found.asked
    assert (found.recipe, found.seed) == (expected.recipe, expected.seed)


@pytest.mark.parametrize(
    "target", [np.array(["petal_length"]), np.array("petal_length"), Index("petal_length")], ids=str
)
def test_a_target_may_be_an_array_or_an_index_of_names(target):
    assert plan(IRIS, target).prepared.division.schema.target_names == ("petal_length",)


def test_a_number_is_used_as_it_is_kept():
    """A learning rate in float32 gives the network that the one in run.json gives."""
    recipe = QUICK | {"learning_rate": np.float32(0.01)}
    outcome = bp.train(IRIS, "species", recipe=recipe)
    kept = plan(IRIS, "species", recipe=recipe).asked["recipe"]
    assert outcome.model.weights == bp.train(IRIS, "species", recipe=kept).model.weights


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"seed": "x"}, "seed is 'x', expected a whole number"),
        ({"seed": None}, "seed is None"),
        ({"threads": 1.5}, "threads is 1.5"),
        ({"test": "half"}, "--test-part is 'half', expected a number"),
        ({"exclude": "species"}, "exclude is 'species', expected a list of names"),
        ({"columns": ["a"]}, r"--column is \['a'\], expected kinds by the names of columns"),
        ({"recipe": {"epochs": 2.0}}, "recipe.epochs is 2.0, expected a whole number"),
        ({"recipe": {"hidden": 8}}, "recipe.hidden is 8, expected whole numbers"),
        ({"recipe": [1]}, "expected choices by name"),
        ({"precision": "float16"}, "precision is 'float16', expected float32 or float64"),
        ({"class_weights": 2}, "expected balanced or a number by label"),
        ({"save_every": -1}, "--save-every is -1, expected a number of 0 or more"),
        ({"nonsense": 1}, "nonsense is not understood"),
    ],
    ids=str,
)
def test_an_argument_of_another_kind_is_named_in_one_line(given, told):
    with pytest.raises(UsageError, match=told) as caught:
        plan(IRIS, "species", **given)
    assert "\n" not in str(caught.value)


# Tables


def test_a_table_that_was_no_file_is_asked_for_by_name(tmp_path):
    """Also the one given to test on; named, the run is done again."""
    bp.train(iris(), "species", test_table=iris(), out=tmp_path / "run", recipe=QUICK)
    with pytest.raises(UsageError, match="its table was no file: save it as one, and name it with --table"):
        again.plan_of(tmp_path / "run")
    with pytest.raises(UsageError, match="its test table was no file: save it as one, and name it with --test"):
        again.plan_of(tmp_path / "run", str(IRIS))
    planned = again.plan_of(tmp_path / "run", str(IRIS), str(IRIS))
    assert planned.prepared.rows()["test"] == 150
    assert again.compare(tmp_path / "run", planned).same


def test_a_relative_path_is_found_from_elsewhere(tmp_path, monkeypatch):
    """By the place in full that it was; where that is gone too, the line says what to give."""
    (tmp_path / "t.csv").write_bytes(IRIS.read_bytes())
    monkeypatch.chdir(tmp_path)
    bp.train("t.csv", "species", test_table="t.csv", out="run", recipe=QUICK)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    planned = again.plan_of(tmp_path / "run")
    assert planned.asked["table"] == planned.asked["test_table"] == str(tmp_path / "t.csv")
    (tmp_path / "other/t.csv").write_bytes(IRIS.read_bytes().replace(b"5.1", b"5.2"))
    with pytest.raises(UsageError, match="the data changed"):  # what it was called comes first
        again.plan_of(tmp_path / "run")
    (tmp_path / "other/t.csv").unlink()
    (tmp_path / "t.csv").unlink()
    with pytest.raises(
        UsageError, match=r"t.csv and .*t.csv: no such file: say where the table of .*run is with --table"
    ):
        again.plan_of(tmp_path / "run")


def test_columns_in_another_order_are_told(folder, tmp_path):
    frame = bp.read_table(IRIS).frame
    frame.select(frame.columns[::-1]).write_csv(tmp_path / "back.csv")
    with pytest.raises(UsageError, match="the columns are in another order"):
        again.plan_of(folder, str(tmp_path / "back.csv"))


def test_a_run_that_does_not_say_what_its_data_was_is_told(folder):
    change(folder, data=None)
    with pytest.raises(UsageError, match="this run does not say what its data was"):
        again.plan_of(folder)


# The history


def test_the_history_is_there_without_the_checkpoints(folder):
    """The same records; of a file that is none of ours the line is named."""
    found = bp.open_run(folder).history
    for file in (folder / "checkpoints").iterdir():
        file.unlink()
    assert bp.open_run(folder).history == found
    assert len(found) == 2
    good = (folder / "history.jsonl").read_text().splitlines()[0]
    for bad in ("{}", "[]", "x", '{"epoch": "1"}', '{"epoch": 1, "loss": []}', '{"epoch": 0}', "[" * 100_000):
        (folder / "history.jsonl").write_text(f"{good}\n{bad}\n")
        with pytest.raises(UsageError, match="line 2 is no record of an epoch"):
            _ = bp.open_run(folder).history
    (folder / "history.jsonl").unlink()
    assert bp.open_run(folder).history == []


# A disk that is full


def full_after(monkeypatch, *, names=(), whole=False):
    """Files whose names have these in them cannot be written; or nothing at all."""
    create = disk.create

    def refused(path):
        if whole or any(name in path.name for name in names):
            raise OSError(errno.ENOSPC, "No space left on device")
        return create(path)

    monkeypatch.setattr(disk, "create", refused)


@pytest.mark.parametrize("name", ["model.safetensors", "history.jsonl"])
def test_a_full_disk_at_the_end_removes_nothing_and_keeps_the_outcome(tmp_path, monkeypatch, name):
    """The line says what was not written, what stays and what to do; after that the run is finished."""
    full_after(monkeypatch, names=[name])
    with pytest.raises(OutputError) as caught:
        bp.train(IRIS, "species", out=tmp_path / "run", recipe=QUICK)
    error = caught.value
    assert isinstance(error, NotSavedError)
    told = f"run/{name}: cannot be written (No space left on device): see to the disk; the training ended, and its "
    assert f"{told}checkpoints stay: then backpass resume {tmp_path / 'run'}" in str(error)
    assert (len(error.outcome.history), error.outcome.finished) == (2, True)
    assert run.has_saved(tmp_path / "run")
    monkeypatch.undo()
    done = fit_into(tmp_path / "run", again.plan_of(tmp_path / "run"), begins=False)
    assert done.model.weights == error.outcome.model.weights
    assert bp.open_run(tmp_path / "run").about["state"] == "finished"


def test_where_no_checkpoint_could_be_saved_either_the_folder_stays_and_the_line_says_so(tmp_path, monkeypatch):
    full_after(monkeypatch, names=["step-", "model", "history"])
    with pytest.warns(RuntimeWarning, match="No space left"), pytest.raises(NotSavedError) as caught:
        bp.train(IRIS, "species", out=tmp_path / "run", recipe=QUICK)
    assert f"no checkpoint could be saved: backpass resume {tmp_path / 'run'} begins anew" in str(caught.value)
    assert caught.value.outcome.model.predict(IRIS).shape == (150,)
    assert (tmp_path / "run/run.json").is_file()


def test_a_full_disk_at_the_beginning_leaves_nothing(tmp_path, monkeypatch):
    full_after(monkeypatch, whole=True)
    with pytest.raises(OutputError, match=r"run.json: cannot be written") as caught:
        bp.train(IRIS, "species", out=tmp_path / "run", recipe=QUICK)
    assert not isinstance(caught.value, NotSavedError)
    assert list(tmp_path.iterdir()) == []


def test_a_run_whose_folder_was_removed_under_it_keeps_its_outcome(tmp_path, monkeypatch):
    keep = run.keep

    def without(folder, *rest, **more):
        (folder / "run.json").unlink()
        keep(folder, *rest, **more)

    monkeypatch.setattr(run, "keep", without)
    with pytest.raises(NotSavedError, match="cannot be gone on with") as caught:
        bp.train(IRIS, "species", out=tmp_path / "run", recipe=QUICK)
    assert len(caught.value.outcome.history) == 2


def test_who_finds_a_run_in_the_way_is_told_of_resume_where_that_works(folder):
    """Not of a finished one; but of one that was killed before its first checkpoint, which begins anew."""
    with pytest.raises(OutputError, match=r"choose another --out$"):
        run.check_free(folder)
    change(folder, state="training", outcome=None)
    for file in [*(folder / "checkpoints").iterdir(), folder / "model.safetensors"]:
        file.unlink()
    assert not run.has_saved(folder)
    with pytest.raises(OutputError, match=f"choose another --out, or backpass resume {folder}$"):
        run.check_free(folder)
    again.require_unfinished(folder)


def test_a_folder_that_cannot_be_made_is_told_before_any_work(tmp_path, monkeypatch):
    """To look is to try, and leaves nothing; as in a place where the system lets nobody make folders."""
    run.check_free(tmp_path / "deep" / "er")
    assert list(tmp_path.iterdir()) == []

    def refused(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(OutputError, match=r"er: cannot be made a folder \(Operation not permitted\): choose another"):
        run.check_free(tmp_path / "deep" / "er")


# A stranger's run.json


def test_what_is_no_plain_file_is_not_read(folder, tmp_path):
    """Neither links, nor pipes and devices without an end, nor what is too large; nothing waits."""
    file = folder / "run.json"
    content = file.read_bytes()
    (tmp_path / "real.json").write_bytes(content)

    def refused(told):
        with pytest.raises(UsageError, match=told):
            bp.open_run(folder)
        file.rmdir() if file.is_dir() else file.unlink()

    file.unlink()
    file.symlink_to(tmp_path / "real.json")
    refused("is a link")
    file.mkdir()
    refused("expected a file")
    if hasattr(os, "mkfifo"):
        file.symlink_to("/dev/zero")
        refused("is a link")
        os.mkfifo(file)
        refused("expected a file")
    with file.open("wb") as made:
        made.truncate(run.LARGEST + 1)
    refused("more than any such file")


def test_what_run_json_holds_beside_its_fields_is_left_out(folder):
    """It may be of any depth, and must not come in the way when the run is written again."""
    (folder / "run.json").write_text(
        (folder / "run.json").read_text().replace("{", '{"x": ' + "[" * 400 + "]" * 400 + ",", 1)
    )
    assert set(bp.open_run(folder).about) <= set(fields.RUN)


def test_the_model_of_another_run_is_not_taken_for_this_ones(folder, tmp_path):
    """Neither to compare with, nor to explain a prediction by."""
    other = bp.train(IRIS, "species", seed=5, recipe=QUICK, out=tmp_path / "other").run
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    opened = bp.open_run(folder)
    for look in (lambda: opened.model, lambda: opened.why(1), lambda: again.compare(folder, opened.plan)):
        with pytest.raises(UsageError, match="is not the network that this run ended with"):
            look()


def test_networks_side_by_side_of_an_older_format_predict_and_are_trained_no_further(tmp_path):
    """Their folds were none then: that is told in one line, and not that something is wrong."""
    several = bp.train(IRIS, "species", recipe=QUICK | {"members": 2}, out=tmp_path / "run").run
    change(several, format=2, recipe=None)
    assert len(bp.load(several).predict(iris())) == 150
    for look in (lambda: bp.open_run(several).replay(1), lambda: again.plan_of(several)):
        with pytest.raises(UsageError, match=r"is of format 2, .* train anew") as told:
            look()
        assert "\n" not in str(told.value)


def test_a_run_goes_on_with_the_recipe_that_it_began_with_whatever_the_defaults_are_now(folder, monkeypatch):
    begun = json.loads((folder / "run.json").read_text())["recipe"]
    monkeypatch.setitem(defaults.STEPS, "standard", 1)
    monkeypatch.setitem(defaults.MEMBERS, "standard", 9)
    assert again.plan_of(folder).recipe.to_json() == begun


def test_a_run_of_a_format_without_its_recipe_is_done_again_only_where_its_length_was_chosen(folder):
    change(folder, format=3, recipe=None)
    chosen = again.plan_of(folder).recipe
    assert (chosen.averaging, chosen.label_smoothing, chosen.epochs) == (0, 0, 2)
    asked = json.loads((folder / "run.json").read_text())["asked"]
    change(folder, asked=asked | {"recipe": {"hidden": [4]}})
    with pytest.raises(UsageError, match=r"is of format 3, of which trainings had another length .* train anew"):
        again.plan_of(folder)
