"""Files of tensors: safetensors with plain data as JSON beside them, and one sha256 over every byte of the file.

    8 bytes   the length of the header, little-endian, a multiple of 8
    header    {"__metadata__":{"sha256":"...","format":"1","about":"..."},"name":{"dtype":"F32",...},...} and spaces
    data      the tensors, larger numbers first, so that each begins at a multiple of its own size

The digest is counted with 64 zeros in its own place. The layout is that of safetensors, and its library reads these
files. They are written and read here without it, for two reasons: nothing is copied, so that a file takes its own size
in memory and no more; and a digest over all bytes needs a place of its own in the file. What is read is checked before
it is believed, and executes nothing.
"""

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from backpass.errors import CheckpointError
from backpass.storage import disk
from backpass.storage.atomic import reason

Array: TypeAlias = np.ndarray[Any, Any]

MOST_TEXT = 64 << 20  # bytes of header; as Python's objects they may take some thirty times as much
_DEEPEST = 32
_MOST_AXES = 32
_MOST_DIGITS = 9
_DAMAGED = "damaged: not what was written"
_PREFIX = b'{"__metadata__":{"sha256":"'
_DIGITS = slice(8 + len(_PREFIX), 8 + len(_PREFIX) + 64)
_ZEROS = b"0" * 64
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def pieces(tensors: Mapping[str, Array], about: Mapping[str, Any], *, version: int) -> list[bytes | memoryview]:
    """The file's content, in pieces that share the memory of `tensors`. Equal contents have equal bytes.

    `about` is plain data as JSON has it, whose NaN and infinities stay what they are. `version` is that of its meaning,
    and of the file's.

    Raises:
        CheckpointError: `about` is larger than a reader would believe.
        TypeError: a tensor's type is none of this format's, or `about` is not plain.
    """
    values = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    ordered = sorted(values, key=lambda name: -values[name].itemsize)  # stable
    entries, end = {}, 0
    for name in ordered:
        begin, end = end, end + values[name].nbytes
        entries[name] = {
            "dtype": _name_of(tensors[name]),
            "shape": list(np.shape(tensors[name])),
            "data_offsets": [begin, end],
        }
    metadata = {"sha256": _ZEROS.decode(), "format": str(version), "about": json.dumps(about, separators=(",", ":"))}
    text = json.dumps({"__metadata__": metadata, **entries}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MOST_TEXT:
        raise CheckpointError(
            f"there are {len(text):,} bytes to tell beside the tensors, at most {MOST_TEXT:,} can be read"
        )
    head = bytearray(struct.pack("<Q", len(text)) + text)
    body = [values[name].reshape(-1).view(np.uint8).data for name in ordered]
    digest = hashlib.sha256(head)
    for piece in body:
        digest.update(piece)
    head[_DIGITS] = digest.hexdigest().encode()
    return [bytes(head), *body]


def pack(tensors: Mapping[str, Array], about: Mapping[str, Any], *, version: int) -> bytes:
    """The file's content; see `pieces`."""
    return b"".join(pieces(tensors, about, version=version))


def unpack(source: bytes | Path, *, version: int) -> tuple[dict[str, Array], dict[str, Any]]:
    """The tensors and the plain data of a file or its content, bit for bit as they were.

    The tensors share one piece of memory, of the size of the file. They can be written to.

    Raises:
        CheckpointError: it cannot be read, is damaged, no such file, or of a version newer than `version`: one line,
            which does not name the file.
    """
    try:
        content = disk.read(source) if isinstance(source, Path) else np.frombuffer(bytearray(source), np.uint8)
    except OSError as error:
        raise CheckpointError(f"cannot be read ({reason(error)})") from None
    except MemoryError:
        raise CheckpointError("cannot be read (there is not enough memory for it)") from None
    try:
        return _unpacked(content, version)
    except CheckpointError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError, MemoryError):
        raise CheckpointError(_DAMAGED) from None


def _unpacked(content: NDArray[np.uint8], version: int) -> tuple[dict[str, Array], dict[str, Any]]:
    intact = _digest(content) == content[_DIGITS].tobytes()
    header, start = _header(content)
    metadata = header.pop("__metadata__")
    _check_version(_version(metadata["format"]), version, intact=intact)
    tensors = _tensors(header, content[start:])
    about = json.loads(metadata["about"])
    if not isinstance(about, dict) or _is_deep(about):
        raise CheckpointError(_DAMAGED)
    return tensors, about


def _digest(content: NDArray[np.uint8]) -> bytes:
    digest = hashlib.sha256(content[: _DIGITS.start].data)
    digest.update(_ZEROS)
    digest.update(content[_DIGITS.stop :].data)
    return digest.hexdigest().encode()


def _header(content: NDArray[np.uint8]) -> tuple[dict[str, Any], int]:
    """The header, and where the data begins."""
    if content.size < 8:
        raise CheckpointError("damaged: it is cut short")
    (length,) = struct.unpack("<Q", content[:8].tobytes())
    if length > min(content.size - 8, MOST_TEXT):
        raise CheckpointError("damaged: it is cut short, or no file of this kind")
    header = json.loads(content[8 : 8 + length].tobytes().decode(), object_pairs_hook=_object)
    if not isinstance(header, dict):
        raise CheckpointError(_DAMAGED)
    return header, 8 + length


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _version(text: str) -> int:
    if len(text) > _MOST_DIGITS:  # it will be shown
        raise ValueError("no version has so many digits")
    return int(text)


def _check_version(found: int, known: int, *, intact: bool) -> None:
    """A newer format may count its digest in another way: then its number is what must be told."""
    if found > known:
        doubt = "" if intact else ", or damaged"
        raise CheckpointError(
            f"of format {found}{doubt}; this version of backpass reads up to {known}: update backpass"
        )
    if not intact:
        raise CheckpointError(_DAMAGED)
    if found < 1:
        raise CheckpointError(f"of format {found}, which never was")


def _tensors(entries: dict[str, Any], data: NDArray[np.uint8]) -> dict[str, Array]:
    """All of them; each begins where the one before it ends, and together they are all the data."""
    found, end = {}, 0
    for name, entry in sorted(entries.items(), key=lambda item: _offsets(item[1])):
        begin, previous = _offsets(entry)[0], end
        end = _offsets(entry)[1]
        dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), _shape(entry["shape"])
        if begin != previous or end - begin != math.prod(shape) * dtype.itemsize or end > data.size:
            raise ValueError("sizes and places do not fit one another")
        if dtype.kind == "b" and data[begin:end].max(initial=0) > 1:
            raise ValueError("a boolean is neither true nor false")
        values = data[begin:end].view(dtype).reshape(shape)
        found[name] = values if values.flags.aligned else values.copy()
    if end != data.size:
        raise ValueError("the data is longer than its tensors")
    return found


def _offsets(entry: dict[str, Any]) -> tuple[int, int]:
    begin, end = entry["data_offsets"]
    if type(begin) is not int or type(end) is not int:
        raise TypeError("a place is no whole number")
    return begin, end


def _shape(shape: list[Any]) -> tuple[int, ...]:
    if (
        not isinstance(shape, list)
        or len(shape) > _MOST_AXES
        or any(type(axis) is not int or axis < 0 for axis in shape)
    ):
        raise TypeError("a shape is no shape")
    return tuple(shape)


def _is_deep(value: Any) -> bool:
    """Whether lists and dictionaries are nested so deep that what walks through them could fall."""
    level, depth = [value], 0
    while level and depth <= _DEEPEST:
        inner = (
            list(each.values()) if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list))
        )
        level, depth = [part for each in inner for part in each if isinstance(part, (dict, list))], depth + 1
    return depth > _DEEPEST


def _name_of(value: Array) -> str:
    name = _NAMES.get(value.dtype.str)
    if name is None:
        raise TypeError(f"numbers of type {value.dtype} have no place in a file of tensors")
    return name
