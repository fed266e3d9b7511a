"""Model files from strangers that ask for more memory or time than they are worth: refused in one line, at once."""

import json
import os
import struct
import time
import tracemalloc

import numpy as np
import pytest
from model_helpers import array_model, edited, joined, parts

import backpass as bp
from backpass.errors import ModelFileError
from backpass.model.file import to_bytes

MIB = 1 << 20


@pytest.fixture(scope="module")
def plain():
    return to_bytes(array_model())


def refused(path, match):
    """That the file is refused in one line, within seconds, and with little memory beside that of its header."""
    started = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=match) as told:
            bp.load(path)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(told.value)
    assert time.perf_counter() - started < 20
    assert taken < 8 * min(path.stat().st_size, 16 * MIB) + 8 * MIB


def test_a_file_larger_than_memory_is_refused_before_it_is_read(plain, tmp_path, monkeypatch):
    """A file of 8 GiB of zeros takes no place on the disk, and would take 8 GiB of memory."""
    header, tensors = parts(plain)
    header["zeros"] = {"dtype": "F32", "shape": [2 << 30], "data_offsets": [len(tensors), len(tensors) + (8 << 30)]}
    path = tmp_path / "sparse.safetensors"
    path.write_bytes(joined(header, tensors))
    os.truncate(path, path.stat().st_size + (8 << 30))
    monkeypatch.setattr("backpass.model.file.free_memory", lambda: 4 << 30)
    refused(path, r"reading it needs 16 GiB, and 4.0 GiB are free here")


@pytest.mark.parametrize("shape", [[1 << 40], [1 << 20, 1 << 20], [1 << 62, 4], [(1 << 63) - 1]], ids=str)
def test_a_tensor_that_says_it_is_larger_than_its_file_is_refused(plain, tmp_path, shape):
    """Declared shapes are checked against the bytes that are there."""
    header, tensors = parts(plain)
    name = next(key for key in header if key != "__metadata__")
    header[name]["shape"] = shape
    path = tmp_path / "declared.safetensors"
    path.write_bytes(joined(header, tensors))
    refused(path, "not a model file, or a damaged one")


@pytest.mark.parametrize("length", [1 << 30, 1 << 62, (1 << 64) - 1])
def test_a_header_that_says_it_is_longer_than_its_file_is_refused(plain, tmp_path, length):
    path = tmp_path / "long.safetensors"
    path.write_bytes(struct.pack("<Q", length) + plain[8:])
    refused(path, "not a model file, or a damaged one")


@pytest.mark.parametrize("part", [[], {}, 0], ids=str)
def test_metadata_of_millions_of_small_parts_is_refused_unread(plain, tmp_path, part):
    """Each would take a hundred bytes of memory for three in the file."""
    path = tmp_path / "parts.safetensors"
    path.write_bytes(edited(plain, lambda c: c["about"].update(many=[part] * 5_000_000)))
    refused(path, "too many parts to be true")


def test_a_network_of_endless_layers_is_refused(plain, tmp_path):
    """Each costs time to look into; a hundred thousand fit into a small file."""
    layers = [[f"l{n}", {"type": "ReLU"}] for n in range(20_000)]
    path = tmp_path / "layers.safetensors"
    path.write_bytes(edited(plain, lambda c: c["network"].update(layers=layers)))
    refused(path, r"the network has 20,001 parts, expected at most 10,000")


@pytest.mark.parametrize("depth", [500, 5_000, 1_000_000])
@pytest.mark.parametrize("field", ["about", "network"])
def test_json_without_a_bottom_is_refused(plain, tmp_path, depth, field):
    """Neither the parser's own depth nor Python's is a crash."""
    header, tensors = parts(plain)
    text = header["__metadata__"]["backpass"]
    deep = '{"type": "Sequential", "layers": [["a", ' * depth + "1" + "]]}" * depth
    content = json.loads(text) | {field: "HERE"}
    header["__metadata__"]["backpass"] = json.dumps(content).replace('"HERE"', deep)
    path = tmp_path / "deep.safetensors"
    path.write_bytes(joined(header, tensors))
    refused(path, "no JSON|not what was saved|too many parts|damaged or was changed")


@pytest.mark.parametrize("name", ["../../up", "/etc/passwd", "..", "a/../b", "\x00", "C:\\x"])
def test_names_are_names_and_never_places(tmp_path, name, monkeypatch):
    """Layers and tensors may be called what they like: nothing is opened or written by these names."""
    model = array_model()
    data = to_bytes(model)
    header, tensors = parts(data)
    old = next(key for key in header if key != "__metadata__")
    header = {name if key == old else key: value for key, value in header.items()}
    path = tmp_path / "named.safetensors"

    def rename(content):
        for entry in content["parameters"]:
            entry["name"] = name if entry["name"] == old else entry["name"]

    path.write_bytes(edited(joined(header, tensors), rename))
    monkeypatch.chdir(tmp_path)
    loaded = bp.load(path)
    assert loaded.weights == model.weights
    assert np.isfinite(loaded.predict(np.zeros((1, 3)))).all()
    assert [each.name for each in tmp_path.iterdir()] == ["named.safetensors"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_folder_whose_model_is_no_file_is_refused(tmp_path):
    """A pipe, a folder or a link to a device in the place of the model is not waited for."""
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "model.safetensors")
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "model.safetensors").symlink_to("/dev/zero")
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "model.safetensors").symlink_to("model.safetensors")
    for folder in ("pipe", "device", "loop"):
        with pytest.raises(ModelFileError, match=r"the folder holds no model\.safetensors"):
            bp.load(tmp_path / folder)
