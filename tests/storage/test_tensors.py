"""Files of tensors: the same bits again, every flipped bit found, and nothing believed that does not fit."""

import hashlib
import json
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors import numpy as library

from backpass.errors import CheckpointError
from backpass.storage import tensors as module
from backpass.storage.tensors import pack, pieces, unpack

TYPES = [
    "float64",
    "float32",
    "float16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint64",
    "uint32",
    "uint16",
    "uint8",
    "bool",
]
ODD = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-310, -1e-45, 1.5])


def bits(array):
    return array.dtype.str, array.shape, array.tobytes()


def read(data, version=1):
    """What `unpack` makes of bytes, after it is seen that safetensors' own library reads the same."""
    found, about = unpack(data, version=version)
    assert {name: bits(value) for name, value in library.load(data).items()} == {n: bits(v) for n, v in found.items()}
    return found, about


def refused(data, match="^damaged", version=1):
    with pytest.raises(CheckpointError, match=match) as caught:
        unpack(data, version=version)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def apart(data):
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def together(header, data):
    """A file under a right digest."""
    metadata = {"sha256": "0" * 64} | {k: v for k, v in header.get("__metadata__", {}).items() if k != "sha256"}
    rest = {name: entry for name, entry in header.items() if name != "__metadata__"}
    return sealed(json.dumps({"__metadata__": metadata, **rest}, separators=(",", ":")).encode(), data)


def sealed(text, data):
    zeros = struct.pack("<Q", len(text)) + text + data
    place = zeros.find(b"0" * 64)
    return zeros[:place] + hashlib.sha256(zeros).hexdigest().encode() + zeros[place + 64 :]


# The same again


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (7,), (2, 3), (1, 1, 1, 5)])
def test_every_type_and_shape_comes_back(name, shape):
    """Types, shapes and bits are those that were written, for sizes 0 and 1 and no axes too."""
    value = (np.arange(np.prod(shape, dtype=int)) % 2).astype(name).reshape(shape)
    found, about = read(pack({"a": value, "b": value.astype("uint8")}, {"x": 1}, version=1))
    assert bits(found["a"]) == bits(value)
    assert about == {"x": 1}


@pytest.mark.parametrize("name", ["float64", "float32", "float16"])
def test_odd_numbers_come_back(name):
    """NaN with its sign and payload, infinities, -0.0 and numbers too small to be normal keep their bits."""
    with np.errstate(over="ignore"):
        value = ODD.astype(name)
    found, _ = read(pack({"a": value}, {}, version=1))
    assert bits(found["a"]) == bits(value)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda name: name != "__metadata__"),
        st.sampled_from(TYPES).flatmap(lambda name: arrays.arrays(name, arrays.array_shapes(min_dims=0, min_side=0))),
        max_size=5,
    )
)
def test_any_tensors_come_back(values):
    """Any names, types, shapes and values come back, and the library of safetensors reads the same."""
    found, _ = read(pack(values, {"n": len(values)}, version=1))
    assert {name: bits(value) for name, value in found.items()} == {name: bits(value) for name, value in values.items()}


def test_arrays_that_are_not_in_one_piece_come_back():
    """Views with strides are written as what they show."""
    whole = np.arange(24.0).reshape(4, 6)
    for value in (whole.T, whole[::2, 1::3], whole[::-1], np.broadcast_to(whole[:1], (3, 6)), np.asfortranarray(whole)):
        assert bits(read(pack({"a": value}, {}, version=1))[0]["a"]) == ("<f8", value.shape, value.tobytes())


def test_plain_data_comes_back():
    """Numbers of any size, NaN, infinities, other alphabets and quotes are as they were."""
    about = {"n": [1.1e-310, -0.0, 10**30, None, True], 'é\n"': {"": "\u2028\\"}, "x": [float("inf"), float("nan")]}
    assert repr(unpack(pack({}, about, version=1), version=1)[1]) == repr(about)


def test_equal_contents_are_equal_bytes_and_pieces_share_memory():
    """The bytes follow from the content alone; what is written is the arrays' own memory."""
    value = np.arange(1000.0)
    assert pack({"a": value}, {"b": 1}, version=1) == pack({"a": value.copy()}, {"b": 1}, version=1)
    assert np.shares_memory(np.frombuffer(pieces({"a": value}, {}, version=1)[1]), value)


def test_what_is_read_is_aligned_and_can_be_written_to():
    """Each array begins at a multiple of the size of its numbers, and is free to change."""
    values = {"a": np.ones(3, "int8"), "b": np.ones(3), "c": np.ones(1, "float32"), "d": np.ones((), "int64")}
    for value in read(pack(values, {}, version=1))[0].values():
        assert value.flags.aligned
        value[...] = 0


def test_tensors_of_files_made_otherwise_are_aligned_too():
    """A file that puts a tensor at an odd place is read all the same."""
    header = {
        "__metadata__": {"format": "1", "about": "{}"},
        "a": {"dtype": "I8", "shape": [1], "data_offsets": [0, 1]},
        "b": {"dtype": "F64", "shape": [], "data_offsets": [1, 9]},
    }
    found, _ = unpack(together(header, b"\1" + np.array(0.5).tobytes()), version=1)
    assert found["b"] == 0.5
    assert found["b"].flags.aligned


def test_a_file_is_read_as_its_bytes_are(tmp_path):
    """A path stands for its content."""
    data = pack({"a": np.arange(5.0)}, {"b": 2}, version=1)
    (tmp_path / "f").write_bytes(data)
    found, about = unpack(tmp_path / "f", version=1)
    assert (bits(found["a"]), about) == (bits(np.arange(5.0)), {"b": 2})


def test_what_has_no_place_is_refused():
    """Types that the format does not have, and data that is not plain, are faults of the caller."""
    with pytest.raises(TypeError, match="complex128"):
        pack({"a": np.ones(2, complex)}, {}, version=1)
    with pytest.raises(TypeError, match="not JSON"):
        pack({}, {"a": np.ones(2)}, version=1)


def test_more_than_a_reader_believes_is_not_written(monkeypatch):
    """Plain data beyond the limit is refused by who writes it, not only by who reads it."""
    monkeypatch.setattr(module, "MOST_TEXT", 1000)
    with pytest.raises(CheckpointError, match="at most 1,000 can be read"):
        pack({}, {"a": "x" * 1000}, version=1)


# Damage


@pytest.fixture(scope="module")
def good():
    return pack({"a": np.arange(6, dtype="float32"), "b": ODD}, {"x": [1, "é"]}, version=1)


def test_any_flipped_bit_is_found(good):
    """Each bit of the file, of the digest too, is flipped in turn, and each time the file is refused."""
    for place in range(len(good)):
        for bit in range(8):
            changed = bytearray(good)
            changed[place] ^= 1 << bit
            refused(bytes(changed), match="^(damaged|of format)")


def test_a_file_cut_anywhere_is_refused(good):
    """No beginning of a file is a file."""
    for size in range(len(good)):
        refused(good[:size])


def test_a_longer_file_is_refused(good):
    """Neither is a file with more at its end."""
    refused(good + b"\0")
    refused(good + good)


@pytest.mark.parametrize("length", [0, 1, 1 << 20, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_a_lie_about_the_length_is_refused(length, good):
    """The length of the header is held against the file before anything is made of it."""
    refused(struct.pack("<Q", length) + good[8:])


def test_files_of_others_are_refused(tmp_path):
    """Nothing, text, other safetensors files and folders are no files of ours."""
    for data in (b"", b"\0", b"\0" * 8, b"hello, this is a text of some length", library.save({"a": np.ones(3)})):
        refused(data)
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(CheckpointError, match=r"^cannot be read \("):
            unpack(place, version=1)


ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
FORGERIES = {
    "not all data": {"a": ENTRY | {"shape": [5], "data_offsets": [0, 20]}},
    "more data": {"a": ENTRY | {"shape": [7], "data_offsets": [0, 28]}},
    "wrong shape": {"a": ENTRY | {"shape": [2, 4]}},
    "huge shape": {"a": ENTRY | {"shape": [1 << 60, 1 << 60]}},
    "huge data": {"a": ENTRY | {"shape": [1 << 60], "data_offsets": [0, 1 << 62]}},
    "huge empty": {"a": ENTRY | {"shape": [0, 1 << 63], "data_offsets": [0, 0]}},
    "many axes": {"a": ENTRY | {"shape": [1] * 1000 + [6]}},
    "many huge axes": {"a": ENTRY | {"shape": [1 << 62] * 100_000}},
    "negative": {"a": ENTRY | {"shape": [-2, -3]}},
    "negative place": {"a": ENTRY | {"data_offsets": [-24, 0]}},
    "backwards": {"a": ENTRY | {"data_offsets": [24, 0]}},
    "fraction": {"a": ENTRY | {"shape": [2.0, 3]}},
    "truth": {"a": ENTRY | {"shape": [6, True]}},
    "place a text": {"a": ENTRY | {"data_offsets": ["0", "24"]}},
    "three places": {"a": ENTRY | {"data_offsets": [0, 24, 24]}},
    "shape a number": {"a": ENTRY | {"shape": 6}},
    "type unknown": {"a": ENTRY | {"dtype": "BF16", "shape": [12]}},
    "type a list": {"a": ENTRY | {"dtype": []}},
    "no type": {"a": {"shape": [6], "data_offsets": [0, 24]}},
    "no entry": {"a": 3},
    "overlap": {"a": ENTRY, "b": ENTRY},
    "hole": {
        "a": ENTRY | {"shape": [2], "data_offsets": [0, 8]},
        "b": ENTRY | {"shape": [3], "data_offsets": [12, 24]},
    },
    "truths that are none": {"a": {"dtype": "BOOL", "shape": [24], "data_offsets": [0, 24]}},
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES.keys())
def test_sizes_and_places_that_do_not_fit_are_refused(forgery):
    """What the header declares must be what is there, also under a right digest."""
    metadata = {"__metadata__": {"format": "1", "about": "{}"}}
    data = np.arange(6, dtype="float32").tobytes()
    assert unpack(together(metadata | {"a": ENTRY}, data), version=1)[0]["a"].shape == (2, 3)
    refused(together(metadata | forgery, data))


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"format": "1"},
        {"about": "{}"},
        {"format": "1", "about": "[]"},
        {"format": "1", "about": "{"},
        {"format": "1", "about": 3},
        {"format": "x", "about": "{}"},
        {"format": None, "about": "{}"},
        {"format": "9" * 5000, "about": "{}"},
        {"format": "9" * 10, "about": "{}"},
        {"format": 1, "about": "{}"},
        {"format": "1", "about": '{"a":' + "[" * 40 + "]" * 40 + "}"},
        {"format": "1", "about": '{"a":' * 40 + "1" + "}" * 40},
        {"format": "1", "about": '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"},
        {"format": "1", "about": '{"a":' + "9" * 5000 + "}"},
    ],
)
def test_metadata_that_does_not_fit_is_refused(metadata):
    """What stands beside the tensors must be there, and plain data of no great depth."""
    refused(together({"__metadata__": metadata}, b""))


@pytest.mark.parametrize(
    "text", [b"[]", b"[" * 200_000, b'{"a":1,"a":1}', b"\xff\xfe{}", b"1", b'"' + b"x" * 90 + b'"']
)
def test_headers_that_are_none_are_refused(text):
    """Whatever stands where the header should be, it is refused."""
    start = b'{"__metadata__":{"sha256":"' + b"0" * 64 + b'","format":"1","about":"{}"},"a":'
    refused(sealed(start + text + b"}", b""))
    refused(struct.pack("<Q", len(text)) + text)


def test_a_key_that_stands_twice_is_refused():
    """Two readers could take two different ones."""
    start = b'{"__metadata__":{"sha256":"' + b"0" * 64 + b'","format":"1","about":"{}"},'
    entry = b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
    assert unpack(sealed(start + entry + b"}", b"x"), version=1)[0]["a"] == ord("x")
    refused(sealed(start + entry + b"," + entry + b"}", b"x"))


def test_a_newer_format_is_named():
    """The line says which format is found, which can be read, and what to do; also where the digest is another."""
    newer = pack({"a": np.ones(2)}, {}, version=3)
    refused(newer, r"^of format 3; this version of backpass reads up to 1: update backpass$")
    refused(newer[:-1] + b"x", r"^of format 3, or damaged; this version")
    assert unpack(newer, version=3)[1] == {}
    refused(pack({}, {}, version=0), "^of format 0, which never was$")


def test_reading_takes_no_more_memory_than_the_file(tmp_path):
    """A file of 20 MB is read into 20 MB, and a lie about sizes takes none."""
    values = {f"{place}": np.ones(500_000, "float32") for place in range(10)}
    data = pack(values, {}, version=1)
    (tmp_path / "f").write_bytes(data)
    header, body = apart(data)
    header["0"]["shape"] = [1 << 40]
    (tmp_path / "forged").write_bytes(together(header, body))
    tracemalloc.start()
    unpack(tmp_path / "f", version=1)
    assert tracemalloc.get_traced_memory()[1] < 1.1 * len(data)
    tracemalloc.reset_peak()
    with pytest.raises(CheckpointError):
        unpack(tmp_path / "forged", version=1)
    assert tracemalloc.get_traced_memory()[1] < 1.1 * len(data)
    tracemalloc.stop()
