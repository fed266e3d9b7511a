"""From a path or standard input to clean bytes: UTF-8, LF, no byte order mark; or one line on why not."""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
import zlib
from pathlib import Path
from typing import BinaryIO

from backpass.data.limits import READING, free_memory, require_room
from backpass.data.naming import closest
from backpass.errors import TableError

STANDARD_INPUT = "-"
GZIP_MAGIC = b"\x1f\x8b"
PIECE = 1 << 20  # bytes that are read at once where it is not known how many there are
# Files that people pass by mistake, by their first bytes.
STRANGERS = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array file"),
    (b"\x7fELF", "a program"),
    (b"BZh", "packed with bzip2"),
    (b"\xfd7zXZ", "packed with xz"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
)
BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
# Control characters that no text table holds: all but tab, line feed, vertical tab, form feed, carriage return, escape.
CONTROLS = bytes([*range(9), *range(14, 27), *range(28, 32)])


def read_bytes(source: str | os.PathLike[str]) -> tuple[str, bytes]:
    """The name to use in messages, and everything in the file or in standard input.

    Raises:
        TableError: it cannot be read, or is more than there is memory for.
    """
    if os.fspath(source) == STANDARD_INPUT:
        stream = getattr(sys.stdin, "buffer", None)
        name = "standard input"
        return name, _bounded(name, stream) if stream is not None else sys.stdin.read().encode()
    path = Path(source)
    try:
        return path.name, _file(path)
    except (OSError, ValueError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError(_why_unreadable(path, error)) from error


def _file(path: Path) -> bytes:
    known = path.stat()
    if not stat.S_ISREG(known.st_mode) and not stat.S_ISDIR(known.st_mode):  # a pipe or a device may never end
        with path.open("rb") as stream:
            return _bounded(path.name, stream)
    require_room(path.name, READING * known.st_size)
    return path.read_bytes()


def _bounded(name: str, stream: BinaryIO) -> bytes:
    """All that a stream gives, as long as there is memory for it."""
    free = free_memory()
    pieces, size = [], 0
    while piece := stream.read(PIECE):
        pieces.append(piece)
        size += len(piece)
        require_room(name, READING * size, free=free)
    return b"".join(pieces)


def _why_unreadable(path: Path, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return no_such_file(path)
    if isinstance(error, IsADirectoryError) or (isinstance(error, PermissionError) and path.is_dir()):
        return f"{path}: is a folder, where a table is expected: name a file in it"
    if isinstance(error, PermissionError):
        return f"{path}: may not be read: change its permissions, or copy it to a place of yours"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{path}: cannot be read ({reason}): check the path"


def no_such_file(path: Path) -> str:
    """That there is none, in words, and what may have been meant."""
    return f"{path}: no such file. {_nearby(path)}"


def _nearby(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f'There is no folder "{folder}" either: check the path.'
    try:
        near = closest(path.name, [entry.name for entry in folder.iterdir()])
    except OSError:
        near = None
    return f'Did you mean "{folder / near}"?' if near is not None else "Check the path."


def decompressed(name: str, data: bytes) -> bytes:
    """The bytes themselves, or what gzip packed, whatever the file's name says.

    Raises:
        TableError: what is packed is damaged, or more than there is memory for.
    """
    if not data.startswith(GZIP_MAGIC):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as unpacked:
            return _bounded(name, unpacked)  # type: ignore[arg-type]
    except EOFError as error:
        raise TableError(f"{name}: the gzip data ends too early: the file was cut off, fetch it again") from error
    except (OSError, zlib.error) as error:
        raise TableError(f"{name}: the gzip data is damaged: fetch the file again") from error


def clean_text(name: str, data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """UTF-8 bytes with lines ended by LF, and notes. Raises TableError for what is not text."""
    _refuse_strangers(name, data)
    text, notes = _as_utf8(name, data)
    _refuse_controls(name, text)
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text, notes


def _refuse_strangers(name: str, data: bytes) -> None:
    what = next((what for magic, what in STRANGERS if data.startswith(magic)), None)
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        what = "a Python pickle"
    if what is not None and not _is_plain(data[:4096]):
        raise _not_a_table(name, what)


def _is_plain(data: bytes) -> bool:
    return data.isascii() and not _controls_in(data)


def _controls_in(data: bytes) -> int:
    return len(data) - len(data.translate(None, CONTROLS))


def _as_utf8(name: str, data: bytes) -> tuple[bytes, tuple[str, ...]]:
    if data.isascii():
        return data, ()
    encoding = next((encoding for bom, encoding in BOMS if data.startswith(bom)), None)
    try:
        if encoding is not None:
            return data.decode(encoding).encode(), ()
        data.decode()
    except UnicodeError:
        return _from_western(name, data, encoding)
    return data, ()


def _from_western(name: str, data: bytes, encoding: str | None) -> tuple[bytes, tuple[str, ...]]:
    if encoding is not None and encoding != "utf-8-sig":
        raise TableError(f"{name}: starts as {encoding.upper()} text but is not: save it again as UTF-8")
    if _controls_in(data[:65536]):
        raise _not_a_table(name, "binary data")
    try:
        text = data.decode("cp1252")
    except UnicodeError:
        text = data.decode("latin-1")
    return text.encode(), ("the file is not UTF-8: read as Western European (Windows-1252)",)


def _refuse_controls(name: str, text: bytes) -> None:
    if b"\0" in text or _controls_in(text[:65536]) > len(text[:65536]) // 200:
        raise _not_a_table(name, "binary data")


def _not_a_table(name: str, what: str) -> TableError:
    return TableError(
        f"{name}: is not a table but {what}: give CSV, TSV, JSON lines (each also gzipped), Parquet or Arrow"
    )
