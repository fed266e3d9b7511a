"""Feeds damaged and forged model files to backpass.load: each must be loaded and used, or refused in one line.

    python tests/fuzz/fuzz_models.py --cases 20000 --seed 0

Bytes are damaged as accidents do, and values of the two headers changed as a forger would, most often under a right
checksum. Anything but success or a BackpassError of one line is a failure, and so is a case that takes more than a few
seconds or gigabytes: it is printed, and its input is saved in the folder given by --keep. The input of the case at
work is in that folder too, as current.safetensors, should the whole process fall. With --loader models are loaded, and
not used: many more cases a second.
"""

# ruff: noqa: ARG001  (changes all take the same arguments)
from __future__ import annotations

import argparse
import hashlib
import json
import random
import struct
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import harness
import numpy as np
from safetensors.numpy import load as load_tensors

import backpass as bp
from backpass import losses, nn, optimizers
from backpass.data import Table
from backpass.errors import BackpassError
from backpass.model.file import to_bytes

ROWS, GIGABYTES = 12, 2
INTERESTING: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 255, 1 << 24, 1 << 31, 1 << 40, 1 << 53, 1 << 63, 1 << 64, -(1 << 63), 10**400,
    0.0, -0.5, 0.5, 1e-320, 1e308, -1e308, 1e38, "", " ", "a", "float32", "float64", "category", "number", "date",
    "boolean", "text", "integer", "relu", "numbers", "self",
    "\0", "\ud800", "é", "x" * 5000, "%Y", "1e999", "__class__", [], {}, [[]],
    [None], [0], ["a"], [1 << 40], [[2], "int64"], [[], "int64"], {"type": "ReLU"}, {"type": "He"}, {"type": "Flatten"},
    {"type": "OneHot", "levels": 1 << 22}, {"type": "Softmax"}, {"type": "Dropout", "rate": 0.5},
    {"type": "Sequential", "layers": []}, {"a": {"b": {}}},
]  # fmt: skip


def columns(rows: int = ROWS * 5) -> dict[str, list[Any]]:
    """A small table with every kind of column."""
    draw = random.Random(7)
    return {
        "age": [draw.randint(18, 90) if draw.random() > 0.1 else None for _ in range(rows)],
        "income": [round(draw.lognormvariate(10, 2), 2) for _ in range(rows)],
        "city": [draw.choice(["Rome", "Oslo", "Bonn, West", "é"]) for _ in range(rows)],
        "street": [f"street {place % 36}" for place in range(rows)],
        "member": [draw.choice(["yes", "no"]) for _ in range(rows)],
        "day": [f"20{draw.randint(10, 24)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}" for _ in range(rows)],
        "label": [draw.choice(["yes", "no", "perhaps"]) for _ in range(rows)],
        "amount": [draw.gauss(0, 1) for _ in range(rows)],
    }


def seeds() -> dict[str, bytes]:
    """Valid files of every kind of model."""
    table = Table.from_data(columns())
    quick = {"epochs": 1, "hidden": (3,)}
    x = np.random.default_rng(0).normal(size=(ROWS, 3))
    layers = (nn.Input(3), nn.Dense(4), nn.ELU(0.5), nn.Residual(nn.Dense(4), nn.Mish()), nn.Dropout(0.1), nn.Dense(2))
    arrays = bp.Trainer(nn.Sequential(*layers), losses.Huber(0.7), optimizers.SGD(0.01))
    arrays.fit(x, x[:, :2], epochs=1)
    return {
        "classes": to_bytes(bp.train(table, "label", recipe=quick).model),
        "two": to_bytes(bp.train(table, "member", recipe=quick, precision="float64").model),
        "amounts": to_bytes(bp.train(table, "amount,income", recipe=quick | {"activation": "selu"}).model),
        "arrays": to_bytes(arrays.model()),
    }


# Taking a file apart and putting it together again


def apart(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """The header, the metadata and the tensors' bytes."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["backpass"]), data[8 + length :]


def together(header: dict[str, Any], content: Any, tensors: bytes, *, sealed: bool) -> bytes:
    if sealed and isinstance(content, dict):
        with suppress(Exception):
            content["weights"] = weights(content, file_of(header, tensors))
        content["checksum"] = seal(content)
    if isinstance(header.get("__metadata__"), dict):
        header["__metadata__"]["backpass"] = json.dumps(content)
    return file_of(header, tensors)


def file_of(header: dict[str, Any], tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def seal(content: dict[str, Any]) -> str:
    rest = {key: value for key, value in content.items() if key != "checksum"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def weights(content: dict[str, Any], file: bytes) -> str:
    """The digest of the weights, as the model file counts it."""
    tensors, digest = load_tensors(file), hashlib.sha256()
    for entry in content["parameters"]:
        value = tensors[entry["name"]]
        digest.update(f"{'.'.join(entry['path'])}{value.dtype.str}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


# Accidents to bytes


def bytes_damaged(data: bytes, draw: random.Random) -> bytes:
    return draw.choice([flipped, cut_off, inserted, doubled, length_lied])(data, draw)


def flipped(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.randint(1, 5)):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut_off(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randint(0, len(data) - 1)]


def inserted(data: bytes, draw: random.Random) -> bytes:
    place = draw.randint(0, len(data))
    return (
        data[:place]
        + draw.choice([b"\0", b'"', b"{", b"}", b"[" * 3000, b"\\ud800", b"\xff", b"9" * 400])
        + data[place:]
    )


def doubled(data: bytes, draw: random.Random) -> bytes:
    first, last = sorted(draw.randint(0, len(data)) for _ in range(2))
    return data[:last] + data[first:]


def length_lied(data: bytes, draw: random.Random) -> bytes:
    return struct.pack("<Q", draw.choice([0, 1, len(data), 1 << 20, 1 << 40, (1 << 64) - 1])) + data[8:]


# Forgeries of the header and of the metadata


def header_forged(data: bytes, draw: random.Random) -> bytes:
    header, content, tensors = apart(data)
    if draw.random() < 0.2:
        first, second = (draw.choice([name for name in header if name != "__metadata__"]) for _ in range(2))
        header[first], header[second] = header[second], header[first]
    else:
        value_changed(header, draw)
    return together(header, content, tensors, sealed=draw.random() < 0.3)


def metadata_forged(data: bytes, draw: random.Random) -> bytes:
    header, content, tensors = apart(data)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        value_changed(content, draw)
    return together(header, content, tensors, sealed=draw.random() < 0.9)


def weights_forged(data: bytes, draw: random.Random) -> bytes:
    header, content, tensors = apart(data)
    kind = "<f8" if any(isinstance(each, dict) and each.get("dtype") == "F64" for each in header.values()) else "<f4"
    values = np.frombuffer(tensors, kind).copy()
    for _ in range(draw.randint(1, 9)):
        values[draw.randrange(len(values))] = draw.choice([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0.0])
    return together(header, content, values.tobytes(), sealed=True)


def value_changed(root: Any, draw: random.Random) -> None:
    """One change somewhere inside nested lists and dictionaries."""
    places: list[tuple[Any, Any]] = []
    waiting = [root]
    while waiting:
        inner = waiting.pop()
        pairs = list(inner.items()) if isinstance(inner, dict) else list(enumerate(inner))
        places += [(inner, key) for key, _ in pairs]
        waiting += [value for _, value in pairs if isinstance(value, (dict, list))]
    if places:
        draw.choice([replaced, replaced, replaced, nudged, dropped, copied, renamed])(
            *draw.choice(places), places, draw
        )


def replaced(inner: Any, key: Any, places: list[tuple[Any, Any]], draw: random.Random) -> None:
    inner[key] = json.loads(json.dumps(draw.choice(INTERESTING)))


def nudged(inner: Any, key: Any, places: list[tuple[Any, Any]], draw: random.Random) -> None:
    value = inner[key]
    if isinstance(value, bool):
        inner[key] = not value
    elif isinstance(value, (int, float)):
        inner[key] = draw.choice(
            [-value, value + 1, value - 1, value * 1000, float(max(-1e308, min(value, 1e308))), str(value)]
        )
    elif isinstance(value, str):
        inner[key] = draw.choice([value.upper(), value + "x", value[1:], value * 3])
    elif isinstance(value, list):
        inner[key] = draw.choice([value[::-1], value[1:], value + value, [value], value * 50])


def dropped(inner: Any, key: Any, places: list[tuple[Any, Any]], draw: random.Random) -> None:
    del inner[key]


def copied(inner: Any, key: Any, places: list[tuple[Any, Any]], draw: random.Random) -> None:
    other, place = draw.choice(places)
    with suppress(KeyError, IndexError, TypeError):
        inner[key] = json.loads(json.dumps(other[place]))


def renamed(inner: Any, key: Any, places: list[tuple[Any, Any]], draw: random.Random) -> None:
    if isinstance(inner, dict):
        inner[str(draw.choice([*inner, "type", "self", "", "layers", "weight"]))] = inner.pop(key)


ACCIDENTS: list[Callable[[bytes, random.Random], bytes]] = [
    *[metadata_forged] * 6, header_forged, header_forged, weights_forged, bytes_damaged, bytes_damaged,
]  # fmt: skip


# One case


def refusal(error: BackpassError) -> str:
    assert "\n" not in str(error), f"not one line: {error!r}"
    assert len(str(error)) < 2000, f"too long: {error!r}"
    return type(error).__name__


def run_case(path: Path, table: Table, rows: np.ndarray, *, loader: bool) -> str:
    """What came of loading and using the file: a success, or the kind of the error."""
    try:
        model = bp.load(path)
        if loader:
            return "loaded"
        str(model)
        if model.tabular is None:
            model.predict(rows)
            return "used on arrays"
        found = model.predict_table(table)
        assert len(found.values) == table.rows, "an answer is lacking"
        model.evaluate(table)
        json.dumps([model.about, model.weights])
    except BackpassError as error:
        return refusal(error)
    return "used on a table"


def case(number: int, seed: int, files: dict[str, bytes]) -> bytes:
    """The content of one case, which follows from its number and the seed."""
    draw = random.Random(f"{seed}/{number}")
    name = draw.choice(sorted(files))
    return draw.choice(ACCIDENTS)(files[name], draw)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--loader", action="store_true", help="load the models, and leave it at that")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzz_models")
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    files, path = seeds(), options.keep / "current.safetensors"
    table, rows = Table.from_data(columns(ROWS)), np.ones((ROWS, 3))
    for data in files.values():
        path.write_bytes(data)
        assert run_case(path, table, rows, loader=False).startswith("used")

    def attempt(number: int) -> str:
        path.write_bytes(case(number, options.seed, files))
        return run_case(path, table, rows, loader=options.loader)

    harness.limit_addresses(GIGABYTES)
    kept = f"failure-{options.seed}-{{}}.safetensors"
    return harness.run(
        options.cases, attempt, lambda number: path.rename(options.keep / kept.format(number)), gigabytes=GIGABYTES
    )


if __name__ == "__main__":
    sys.exit(main())
