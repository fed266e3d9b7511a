"""The model file: saved and loaded to the same bits, written whole or not at all, and refused where it is damaged."""

import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from model_helpers import X, array_model, columns, edited, joined, parts, table, table_model
from safetensors.numpy import save

import backpass as bp
from backpass import nn
from backpass.errors import ModelFileError, OutputError, UsageError
from backpass.forward import flatten, labels
from backpass.model.file import to_bytes
from backpass.storage.atomic import write_whole

MODELS = pytest.mark.parametrize("make", [array_model, table_model], ids=["arrays", "table"])


@pytest.fixture(scope="module")
def good():
    return to_bytes(table_model())


@pytest.fixture(scope="module")
def plain():
    return to_bytes(array_model())


def refused(tmp_path, data, match=None):
    """That the bytes are refused as a model file, in one line that names the file."""
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=match) as caught:
        bp.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 600
    return message


# Saving and loading


@MODELS
def test_a_loaded_model_has_the_same_bits(make, tmp_path):
    model = make()
    model.save(tmp_path / "m.safetensors")
    again = bp.load(tmp_path / "m.safetensors")
    assert labels(again.parameters) == labels(model.parameters)
    for first, second in zip(flatten(model.parameters), flatten(again.parameters), strict=True):
        assert first.dtype == second.dtype
        np.testing.assert_array_equal(first, second)
    assert (again.weights, again.network, again.loss) == (model.weights, model.network, model.loss)
    assert (again.row_shape, again.precision, again.about) == (model.row_shape, model.precision, model.about)
    assert str(again) == str(model)


def test_a_loaded_model_predicts_the_same_for_arrays(tmp_path):
    array_model().save(tmp_path / "m")
    np.testing.assert_array_equal(bp.load(tmp_path / "m").predict(X), array_model().predict(X))


def test_a_loaded_model_predicts_the_same_for_a_table(tmp_path):
    table_model().save(tmp_path / "m")
    first, second = (model.predict_table(table()) for model in (table_model(), bp.load(tmp_path / "m")))
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    assert bp.load(tmp_path / "m").evaluate(table()) == table_model().evaluate(table())


@MODELS
def test_two_saves_of_a_model_are_the_same_bytes_and_so_is_a_save_of_the_loaded_one(make, tmp_path):
    make().save(tmp_path / "first")
    make().save(tmp_path / "second")
    bp.load(tmp_path / "first").save(tmp_path / "third")
    first = (tmp_path / "first").read_bytes()
    assert first == (tmp_path / "second").read_bytes() == (tmp_path / "third").read_bytes()


def test_a_folder_stands_for_the_model_in_it(tmp_path):
    array_model().save(tmp_path / "model.safetensors")
    assert bp.load(tmp_path).weights == array_model().weights
    assert bp.load(str(tmp_path)).weights == array_model().weights


def test_float64_stays_float64(tmp_path):
    trainer = bp.Trainer(nn.Dense(1), bp.losses.Squared(), precision="float64")
    trainer.fit(X, X[:, 0], epochs=1)
    trainer.save(tmp_path / "m")
    again = bp.load(tmp_path / "m")
    assert again.precision == "float64"
    np.testing.assert_array_equal(again.predict(X), trainer.predict(X))


def test_a_dictionary_of_inputs_survives(tmp_path):
    net = nn.Sequential(nn.Concatenate(a=nn.Identity(), b=nn.Embedding(4, 2)), nn.Dense(1))
    inputs = {"a": X, "b": np.arange(7) % 4}
    trainer = bp.Trainer(net, bp.losses.Squared())
    trainer.fit(inputs, X[:, 0], epochs=1)
    trainer.save(tmp_path / "m")
    np.testing.assert_array_equal(bp.load(tmp_path / "m").predict(inputs), trainer.predict(inputs))


def test_columns_may_stand_in_any_order_and_others_are_passed_over():
    given = columns()
    turned = {"extra": [1] * 60} | {name: given[name] for name in reversed(given)}
    first, second = (table_model().predict_table(bp.Table.from_data(data)) for data in (given, turned))
    np.testing.assert_array_equal(first.probabilities, second.probabilities)


def test_missing_values_and_unseen_categories_are_no_error():
    strange = {"size": [None, 1e9], "colour": ["violet", None], "town": ["nowhere", None], "day": [None, "1999-01-01"]}
    found = table_model().predict_table(bp.Table.from_data(strange))
    assert np.isfinite(found.probabilities).all()


def test_a_model_of_arrays_has_no_columns_to_predict_from():
    with pytest.raises(UsageError, match="trained on arrays"):
        array_model().predict_table(table())


def test_a_network_with_a_function_cannot_be_saved_and_leaves_nothing(tmp_path):
    trainer = bp.Trainer(nn.Function(lambda p, x: x * p["w"], {"w": 1.0}), bp.losses.Squared())
    trainer.fit(X, X, epochs=1)
    with pytest.raises(UsageError, match="a Function cannot be saved"):
        trainer.save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


# Damage


def test_a_file_cut_anywhere_is_refused(good, tmp_path):
    for end in [*range(0, len(good), 97), len(good) - 1]:
        refused(tmp_path, good[:end])


def test_a_file_with_more_at_its_end_is_refused(good, tmp_path):
    refused(tmp_path, good + b"\0")


def test_any_flipped_bit_of_a_weight_is_noticed(plain, tmp_path):
    header, tensors = parts(plain)
    start = len(plain) - len(tensors)
    for place in range(start, len(plain), 41):
        data = bytearray(plain)
        data[place] ^= 1
        refused(tmp_path, bytes(data), "weights are not those that were saved")
    assert header


def foreign():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("model.safetensors", b"x" * 100)
    return {
        "nothing": b"",
        "one byte": b"\0",
        "eight zeros": b"\0" * 8,
        "an empty header": struct.pack("<Q", 2) + b"{}",
        "a pickle": pickle.dumps({"weights": [1.0] * 50}),
        "a zip": packed.getvalue(),
        "text": b"size,colour,kind\n1,red,big\n" * 9,
        "another's safetensors": save({"a": np.ones(3)}),
        "another's metadata": save({"a": np.ones(3)}, {"format": "pt"}),
        "metadata that is no JSON": save({"a": np.ones(3)}, {"backpass": "{"}),
        "metadata that is a list": save({"a": np.ones(3)}, {"backpass": "[]"}),
        "metadata that is a number": save({"a": np.ones(3)}, {"backpass": "3"}),
        "metadata without fields": save({"a": np.ones(3)}, {"backpass": "{}"}),
        "metadata nested without end": save({"a": np.ones(3)}, {"backpass": "[" * 100_000}),
        "a huge number": save({"a": np.ones(3)}, {"backpass": "9" * 100_000}),
        "a header of a terabyte": struct.pack("<Q", 1 << 40) + b"{}" * 50,
        "a header of all bytes there are": struct.pack("<Q", (1 << 64) - 1) + b"{}" * 50,
    }


@pytest.mark.parametrize("name", foreign())
def test_what_is_no_model_is_refused(name, tmp_path):
    refused(tmp_path, foreign()[name])


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_loading_executes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(tmp_path, pickle.dumps(Bomb()))
    assert not (tmp_path / "executed").exists()


def test_offsets_out_of_range_or_overlapping_are_refused(plain, tmp_path):
    header, tensors = parts(plain)
    names = [name for name in header if name != "__metadata__"]
    first, second = header[names[0]]["data_offsets"], header[names[1]]["data_offsets"]
    for offsets in (
        [0, len(tensors) + 4],
        [-4, 8],
        [8, 0],
        [1 << 60, (1 << 60) + 48],
        [0, 1 << 63],
        second,
        [first[0] + 4, first[1] + 4],
        [0],
        "all",
        None,
    ):
        changed = json.loads(json.dumps(header))
        changed[names[0]]["data_offsets"] = offsets
        refused(tmp_path, joined(changed, tensors))


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "F64"},
        {"dtype": "F16"},
        {"dtype": "I32"},
        {"dtype": "BF16"},
        {"dtype": "F8_E4M3"},
        {"dtype": "nonsense"},
        {"dtype": None},
        {"shape": [1 << 40, 1 << 40]},
        {"shape": [-1]},
        {"shape": [1]},
        {"shape": "3"},
        {"shape": []},
    ],
    ids=str,
)
def test_dtypes_and_shapes_that_do_not_fit_are_refused(plain, tmp_path, change):
    header, tensors = parts(plain)
    name = next(name for name in header if name != "__metadata__")
    header[name] |= change
    refused(tmp_path, joined(header, tensors))


def test_swapped_tensors_are_noticed(plain, tmp_path):
    header, tensors = parts(plain)
    a, b = "dense_2.bias", "dense_1.bias"
    a, b = (a, b) if a in header else [name for name in header if name.endswith("bias")][:2]
    header[a], header[b] = header[b], header[a]
    refused(tmp_path, joined(header, tensors))


def test_metadata_that_was_edited_is_noticed(good, tmp_path):
    refused(
        tmp_path, edited(good, lambda c: c["about"].update(seed=99), sealed=False), "metadata is not what was saved"
    )


def test_a_newer_format_says_so_whatever_else_it_holds(good, tmp_path):
    def change(content):
        content.clear()
        content.update(format=4, future=True)

    refused(tmp_path, edited(good, change, sealed=False), "format 4.*reads up to 3: update it")
    refused(tmp_path, edited(good, lambda c: c.update(format=7)), "format 7")


@pytest.mark.parametrize("value", [0, -1, 1.5, "1", None, True, [1]])
def test_a_format_that_never_was_is_refused(good, tmp_path, value):
    refused(tmp_path, edited(good, lambda c: c.update(format=value)))


FIELDS = ["format", "precision", "network", "row_shape", "loss", "parameters", "tabular", "about", "weights"]


def test_every_field_of_the_metadata_is_tested_here(good):
    content = json.loads(parts(good)[0]["__metadata__"]["backpass"])
    assert set(content) == {*FIELDS, "checksum"}


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_is_lacking_or_of_another_type_is_refused_even_under_a_right_checksum(good, tmp_path, field):
    refused(tmp_path, edited(good, lambda c: c.pop(field) and None))
    for value in (5, -1, 1e300, "text", "\ud800", [], {}, [[]], True, {"type": "Dense"}, [{"path": []}]):
        if field == "about" and isinstance(value, dict):
            continue
        refused(tmp_path, edited(good, lambda c, value=value: c.update({field: value})))


def test_a_field_too_many_is_refused(good, tmp_path):
    refused(tmp_path, edited(good, lambda c: c.update(code="print()")), "code")


FORGERIES = {
    "no table, but its inputs": lambda c: c.update(tabular=None, row_shape=[4]),
    "more units than weights": lambda c: c["network"]["layers"][1][1].update(units=5),
    "another layer": lambda c: c["network"]["layers"].append(["more", {"type": "OneHot", "levels": 1 << 50}]),
    "a layer that takes itself": lambda c: c["network"].update(layers=[["a", c["network"]["layers"]]]),
    "an unknown layer": lambda c: c["network"]["layers"][1][1].update(type="Lambda"),
    "a huge one-hot": lambda c: c.update(network={"type": "OneHot", "levels": 1 << 40}),
    "an unknown loss": lambda c: c["loss"].update(name="os.system"),
    "options of a loss": lambda c: c["loss"].update(options={"delta": "x"}),
    "options that are a list": lambda c: c["loss"].update(options=[1]),
    "a parameter without place": lambda c: c["parameters"][0].update(path=[]),
    "a parameter twice": lambda c: c["parameters"].append(c["parameters"][0]),
    "a parameter too few": lambda c: c["parameters"].pop() and None,
    "a parameter elsewhere": lambda c: c["parameters"][0].update(path=["hidden_1", "weight", "more"]),
    "a parameter of another name": lambda c: c["parameters"][0].update(name="__metadata__"),
    "a row of strange shape": lambda c: c.update(row_shape=[1 << 41]),
    "a row of negative shape": lambda c: c.update(row_shape=[-3]),
    "another precision": lambda c: c.update(precision="float64"),
    "one class fewer": lambda c: c["tabular"]["targets"]["schema"]["classes"].pop() and None,
    "inputs without columns": lambda c: c["tabular"]["inputs"].update(block=[], embedded=[]),
    "one column fewer": lambda c: c["tabular"]["inputs"]["block"].pop() and None,
    "nested without end": lambda c: c.update(about=_deep(900)),
}


def _deep(levels):
    value = {}
    for _ in range(levels):
        value = {"inner": value}
    return value


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_under_a_right_checksum_is_refused_or_harmless(good, tmp_path, name):
    data = edited(good, FORGERIES[name])
    if name != "nested without end":
        refused(tmp_path, data)
        return
    (tmp_path / "m").write_bytes(data)
    assert bp.load(tmp_path / "m").predict_table(table()).values.shape == (60,)


def test_a_network_that_doubles_its_width_again_and_again_is_refused_before_anything_is_allocated(tmp_path):
    double = nn.Concatenate(nn.Identity(), nn.Identity())
    small = bp.Trainer(nn.Sequential(nn.Dense(2)), bp.losses.Squared())
    small.fit(X, X[:, :2], epochs=1)
    layers = [["dense_1", {"type": "Dense", "units": 2}]] + [[f"d{n}", nn.describe(double)] for n in range(50)]
    data = edited(to_bytes(small.model()), lambda c: c["network"].update(layers=layers))
    refused(tmp_path, data, "too large to be true")


def test_numbers_that_json_does_not_have_are_refused(good, tmp_path):
    refused(tmp_path, edited(good, lambda c: c["about"].update(epochs=float("nan"))))


# Places


def test_a_place_without_a_model_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for path, match in (
        (tmp_path / "none", "there is no such file"),
        (tmp_path / "empty", "holds no model.safetensors"),
        ("a\0b", None),
        ("x" * 5000, "too long"),
        (tmp_path / "none" / "deeper", None),
        ("/dev/null", None),
    ):
        with pytest.raises(ModelFileError, match=match) as caught:
            bp.load(path)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600


@pytest.mark.parametrize("place", ["missing/m.safetensors", "folder", "file/m.safetensors", "n" * 300])
def test_a_place_that_cannot_be_written_is_refused_and_nothing_is_left(tmp_path, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("here")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="cannot be written") as caught:
        array_model().save(tmp_path / place)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_write_that_fails_midway_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "m"
    path.write_bytes(b"old")

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_in_the_middle_of_a_write_leaves_no_file(tmp_path, monkeypatch):
    def interrupted(_handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "m", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_written_over_keeps_its_links(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(path, b"content")
    assert os.read(reader, 100) == b"content"
    os.close(reader)
    assert path.is_fifo()


def test_a_new_file_can_be_read_by_whom_the_system_lets(tmp_path):
    write_whole(tmp_path / "m", b"x")
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o666 & ~mask
