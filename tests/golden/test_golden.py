"""Model files of every version that was released: each is read for ever, and predicts what it predicted then."""

import json
from pathlib import Path

import numpy as np
import pytest

import backpass as bp
from backpass.errors import ModelFileError
from backpass.forward import map_structure
from backpass.model.file import FORMAT, KEY
from backpass.recipes.run import FORMAT as RUN_FORMAT

HERE = Path(__file__).parent
MODELS = sorted(HERE.glob("backpass-*/*.safetensors"))
RUNS = sorted(HERE.glob("backpass-*/run"))
IRIS = HERE.parents[1] / "examples" / "data" / "iris.csv"
LARGEST = 20_000  # bytes


@pytest.mark.parametrize("path", MODELS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_model_of_any_version_predicts_what_it_did(path):
    """Values and probabilities agree to 1e-6, labels and the hash of the weights exactly."""
    model, expected = bp.load(path), json.loads(path.with_suffix(".json").read_text())
    assert model.weights == expected["weights"]
    if model.tabular is None:
        inputs = {name: np.array(values) for name, values in expected["inputs"].items()}
        np.testing.assert_allclose(model.predict(inputs), expected["values"], rtol=1e-6, atol=1e-6)
        return
    answers = model.predict_table(path.with_suffix(".csv"))
    assert len(answers.parts) == len(expected.get("parts", ()))
    for part, own in zip(answers.heads, expected.get("parts", [expected]), strict=True):
        _require_same(part, own)


def _require_same(answers, expected):
    """The answers of one head."""
    assert list(answers.classes) == expected["classes"]
    if answers.probabilities is None:
        np.testing.assert_allclose(answers.values, expected["values"], rtol=1e-6)
        assert (answers.lower is None) == ("lower" not in expected)
        for name in {"lower", "upper"} & set(expected):
            np.testing.assert_allclose(getattr(answers, name), expected[name], rtol=1e-6)
        return
    assert answers.values.tolist() == expected["values"]
    np.testing.assert_allclose(answers.probabilities, expected["probabilities"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("path", MODELS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_model_of_any_version_is_written_again_as_this_one_and_means_the_same(path, tmp_path):
    """Read, saved and read, it has the same weights: nothing of an old file is lost on the way."""
    model = bp.load(path)
    model.save(tmp_path / "again.safetensors")
    again = bp.load(tmp_path / "again.safetensors")
    assert again.weights == model.weights
    assert (again.network, again.loss, again.row_shape) == (model.network, model.loss, model.row_shape)
    assert again.about == model.about
    if model.tabular is not None:
        assert again.tabular.calibration == model.tabular.calibration


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.parent.name)
def test_a_run_of_any_version_is_opened_and_its_steps_made_again(folder):
    """Its history and its checkpoints are read, and a step has the rows it had, and the weights but for rounding."""
    expected = json.loads((folder.parent / "run.json").read_text())
    run = bp.open_run(folder, table=str(IRIS))
    assert len(run.history) == run.about["outcome"]["epochs"]
    assert run.model.weights == run.about["outcome"]["weights"]
    step = run.replay(expected["step"])
    assert step.rows.tolist() == expected["rows"]
    assert step.loss == pytest.approx(expected["loss"], rel=1e-5)
    after = _arrays(expected["after"])
    map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), step.after, after)


def _arrays(part):
    """Of JSON: what is no dictionary is an array."""
    return {name: _arrays(each) for name, each in part.items()} if isinstance(part, dict) else np.array(part)


def test_there_are_files_of_the_format_that_is_written_now():
    """Whoever changes the format makes files of it, by the README; each is small enough to live here."""
    assert any(folder.parent.name.endswith(f"-run-format-{RUN_FORMAT}") for folder in RUNS)
    newest = {path.stem for path in MODELS if path.parent.name.endswith(f"-format-{FORMAT}")}
    assert {"classification", "regression", "arrays"} <= newest
    assert max(path.stat().st_size for path in MODELS) <= LARGEST


@pytest.mark.parametrize("beside", [{}, {"what a later version adds": [1]}], ids=["alone", "with unknown fields"])
def test_a_file_of_a_newer_format_is_one_line_that_names_both_numbers(tmp_path, beside):
    """Whatever else has changed in it, its checksum too: the line says which format it is, and what to do."""
    from safetensors.numpy import save

    path = tmp_path / "later.safetensors"
    content = {"format": FORMAT + 1, "checksum": "of another kind"} | beside
    path.write_bytes(save({"w": np.zeros(2)}, {KEY: json.dumps(content)}))
    with pytest.raises(ModelFileError, match=rf"is of format {FORMAT + 1}, .* reads up to {FORMAT}: update") as told:
        bp.load(path)
    assert "\n" not in str(told.value)
