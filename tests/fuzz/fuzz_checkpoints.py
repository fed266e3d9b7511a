"""Feeds damaged and forged checkpoints to a CheckpointFolder: each is read, or named in one line, and nothing else.

    python tests/fuzz/fuzz_checkpoints.py --cases 100000 --seed 0

Bytes are damaged as accidents do, and values of the header and of the plain data changed as a forger would, most often
under a right digest. An error, a line that is none, tensors that safetensors' own library reads otherwise, a case that
takes more than a few seconds or gigabytes, or memory that grows from case to case, is a failure: it is printed, and
its input saved in the folder given by --keep. That of the case at work is there too, as current/step-*.safetensors,
should the whole process fall.
"""

# ruff: noqa: ARG001  (changes all take the same arguments)
from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import harness
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from backpass.storage.tensors import unpack
from backpass.training.checkpoints import CheckpointFolder, Snapshot

STEP, GIGABYTES = 12, 1
INTERESTING: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 8, 255, STEP, 1 << 24, 1 << 31, 1 << 40, 1 << 53, 1 << 62, (1 << 63) - 1,
    1 << 63, 1 << 64, -(1 << 63), 10**400, 0.0, -0.5, 0.5, 1e308, "", " ", "a", "1", "2", "-1", "F64", "F32", "BOOL",
    "BF16", "I64",
    "\0", "\ud800", "é", "x" * 5000, [], {}, [[]], [None], [0], ["a"], [1 << 40], [0, 1 << 62], [1] * 70,
    [1 << 62] * 400,
    {"parameters": 1}, {"a": {"b": {}}}, "{}", "[" * 400, '{"format":1}',
]  # fmt: skip


def seeds() -> dict[str, bytes]:
    """Whole checkpoints of every kind."""
    draw = np.random.default_rng(0)
    parameters = [draw.normal(size=shape).astype(np.float32) for shape in ((3, 4), (4,), (4, 1), ())]
    state = [np.array(7, np.int64), draw.normal(size=(3, 4)), np.array([True, False]), np.zeros((0, 2), np.uint32)]
    about = {"history": [{"epoch": 1, "loss": 0.5, "best": float("nan")}], "plan": {"name": "é", "seed": 1 << 60}}
    kinds = {
        "usual": Snapshot(STEP, 1, 2, (0.5, 2.0), parameters, state, None, about),
        "best": Snapshot(STEP, 1, 0, (0.0, 0.0), parameters, state, parameters, {}),
        "bare": Snapshot(STEP, 0, STEP, (1.0, 1.0), [], [], None, {}),
    }
    with tempfile.TemporaryDirectory() as folder:
        return {name: CheckpointFolder(Path(folder)).write(kind).read_bytes() for name, kind in kinds.items()}


# Taking a file apart and putting it together again


def apart(data: bytes) -> tuple[dict[str, Any], Any, bytes]:
    """The header, the plain data and the tensors' bytes."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["about"]), data[8 + length :]


def together(header: dict[str, Any], about: Any, tensors: bytes, *, sealed: bool) -> bytes:
    if isinstance(header.get("__metadata__"), dict) and "about" in header["__metadata__"]:
        header["__metadata__"]["about"] = json.dumps(about)
    text = json.dumps(header, separators=(",", ":")).encode()
    data = struct.pack("<Q", len(text)) + text + tensors
    return seal(data) if sealed else data


def seal(data: bytes) -> bytes:
    """The same bytes under a right digest, if there is the place for one."""
    start = data.find(b'"sha256":"') + len(b'"sha256":"')
    zeros = data[:start] + b"0" * 64 + data[start + 64 :]
    return data[:start] + hashlib.sha256(zeros).hexdigest().encode() + data[start + 64 :]


# Accidents to bytes


def bytes_damaged(data: bytes, draw: random.Random) -> bytes:
    return draw.choice([flipped, cut_off, inserted, doubled, length_lied])(data, draw)


def bytes_forged(data: bytes, draw: random.Random) -> bytes:
    return seal(draw.choice([flipped, inserted, doubled])(data, draw))


def flipped(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.randint(1, 5)):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut_off(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randint(0, len(data) - 1)]


def inserted(data: bytes, draw: random.Random) -> bytes:
    place = draw.randint(0, len(data))
    strange = [b"\0", b'"', b"{", b"}", b"[" * 3000, b"\\ud800", b"\xff", b"9" * 400, b" " * 8]
    return data[:place] + draw.choice(strange) + data[place:]


def doubled(data: bytes, draw: random.Random) -> bytes:
    first, last = sorted(draw.randint(0, len(data)) for _ in range(2))
    return data[:last] + data[first:]


def length_lied(data: bytes, draw: random.Random) -> bytes:
    return struct.pack("<Q", draw.choice([0, 1, len(data), 1 << 20, 1 << 40, (1 << 64) - 1])) + data[8:]


# Forgeries of the header and of the plain data


def header_forged(data: bytes, draw: random.Random) -> bytes:
    header, about, tensors = apart(data)
    for _ in range(draw.choice([1, 1, 2])):
        value_changed(header, draw)
    return together(header, about, tensors, sealed=draw.random() < 0.9)


def about_forged(data: bytes, draw: random.Random) -> bytes:
    header, about, tensors = apart(data)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        value_changed(about, draw)
    return together(header, about, tensors, sealed=draw.random() < 0.9)


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
        change = draw.choice([replaced, replaced, replaced, nudged, dropped, copied, renamed])
        change(*draw.choice(places), places, draw)


def replaced(inner: Any, key: Any, places: list[tuple[Any, Any]], draw: random.Random) -> None:
    inner[key] = json.loads(json.dumps(draw.choice(INTERESTING)))


def nudged(inner: Any, key: Any, places: list[tuple[Any, Any]], draw: random.Random) -> None:
    value = inner[key]
    if isinstance(value, bool):
        inner[key] = not value
    elif isinstance(value, (int, float)):
        inner[key] = draw.choice(
            [-value, value + 1, value - 1, value * 1000, str(value), float(max(-1e308, min(value, 1e308)))]
        )
    elif isinstance(value, str):
        inner[key] = draw.choice([value.lower(), value + "x", value[1:], value * 3])
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
        inner[str(draw.choice([*inner, "best.0", "sums", "parameters.9", "", "__metadata__"]))] = inner.pop(key)


ACCIDENTS: list[Callable[[bytes, random.Random], bytes]] = [
    header_forged, header_forged, header_forged, about_forged, about_forged, bytes_damaged, bytes_damaged, bytes_forged,
]  # fmt: skip


# One case


def run_case(folder: Path, data: bytes) -> str:
    """What came of a folder whose one checkpoint has this content."""
    path = folder / f"step-{STEP:012}.safetensors"
    path.write_bytes(data)
    found = CheckpointFolder(folder).newest()
    if found.snapshot is None:
        (line,) = found.damaged
        assert "\n" not in line, f"not one line: {line!r}"
        assert line.startswith(f"{path}: "), f"does not name the file: {line!r}"
        assert len(line) < len(str(path)) + 200, f"too long: {line!r}"
        return " ".join(line[len(str(path)) + 2 :].split()[:2])
    assert not found.damaged, f"read, and damaged: {found.damaged}"
    assert found.snapshot.step == STEP, "the name says another step"
    json.dumps(found.snapshot.about)
    check_against_library(data)
    return "read"


def check_against_library(data: bytes) -> None:
    """What is read must be what safetensors' own library reads."""
    own = {name: (value.dtype, value.shape, value.tobytes()) for name, value in unpack(data, version=1)[0].items()}
    with suppress(SafetensorError):  # it is stricter: metadata must be texts
        theirs = load_tensors(data)
        assert own == {name: (value.dtype, value.shape, value.tobytes()) for name, value in theirs.items()}


def case(number: int, seed: int, files: dict[str, bytes]) -> bytes:
    """The content of one case, which follows from its number and the seed."""
    draw = random.Random(f"{seed}/{number}")
    return draw.choice(ACCIDENTS)(files[draw.choice(sorted(files))], draw)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzz_checkpoints")
    options = parser.parse_args()
    folder = options.keep / "current"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = seeds()
    for name, data in files.items():
        assert run_case(folder, data) == "read", name

    def keep(number: int) -> Path:
        kept = options.keep / f"failure-{options.seed}-{number}.safetensors"
        kept.write_bytes(case(number, options.seed, files))
        return kept

    harness.limit_addresses(GIGABYTES)
    return harness.run(
        options.cases,
        lambda number: run_case(folder, case(number, options.seed, files)),
        keep,
        gigabytes=GIGABYTES,
    )


if __name__ == "__main__":
    sys.exit(main())
