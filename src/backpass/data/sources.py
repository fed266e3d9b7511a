"""From a file or standard input to a Table, whatever its format; from a bad one to one clear line."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backpass.data.delimited import read_delimited
from backpass.data.jsonlines import looks_like_json_lines, read_json_lines
from backpass.data.lazy import pl
from backpass.data.memory import checked_table
from backpass.data.native_check import survives
from backpass.data.sniff import checked_delimiter, sniff_delimiter
from backpass.data.table import Table
from backpass.data.textfile import clean_text, decompressed, read_bytes
from backpass.errors import TableError

if TYPE_CHECKING:
    from polars import DataFrame

# The first bytes of a typed file, what it is called, and the function of polars that reads it.
TYPED_FORMATS = (
    (b"PAR1", "Parquet", "read_parquet"),
    (b"ARROW1", "Arrow", "read_ipc"),
    (b"\xff\xff\xff\xff", "Arrow", "read_ipc_stream"),
)


def read_table(source: str | os.PathLike[str], *, delimiter: str | None = None) -> Table:
    """The table in a file, or in standard input where `source` is "-".

    CSV of any delimiter (found by itself unless given), TSV and JSON lines, each also gzipped, Parquet, Arrow IPC
    and Feather: told apart by what is in them. Text formats give columns of text, with surrounding blanks stripped;
    typed formats keep their types. Raises TableError, in one line, for everything that is not a readable table, and
    UsageError for a delimiter that is not one character.
    """
    chosen = None if delimiter is None else checked_delimiter(delimiter)
    name, packed = read_bytes(source)
    data = decompressed(name, packed)
    if not data or data.isspace():
        raise TableError(f"{name}: is empty: a table needs a line of column names and rows under it")
    with _reading(name):
        return _typed_table(name, data) or _text_table(name, data, chosen)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turns what polars raises, panics of its native code included, into one line."""
    try:
        yield
    except TableError:
        raise
    except BaseException as error:
        if not (isinstance(error, pl.exceptions.PolarsError) or type(error).__name__ == "PanicException"):
            raise
        raise TableError(f"{name}: is damaged or of an unknown kind ({_brief(error)}): write it again") from error


def _brief(error: BaseException) -> str:
    """The beginning of a reason given by native code, without the innards that it prints after it."""
    return " ".join(str(error).partition("{")[0].split())[:80].rstrip(" .:") or type(error).__name__


@contextmanager
def _native_code_silent() -> Iterator[None]:
    """Keeps what native code prints when it panics off the screen: the error that follows says it in one line."""
    try:
        screen = os.dup(2)
    except OSError:
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)


def _typed_table(name: str, data: bytes) -> Table | None:
    """The table of a Parquet or Arrow file, or None where the bytes are of neither."""
    known = next(((kind, reader) for magic, kind, reader in TYPED_FORMATS if data.startswith(magic)), None)
    return None if known is None else checked_table(name, _typed_frame(name, *known, data))


def _typed_frame(name: str, kind: str, reader: str, data: bytes) -> DataFrame:
    if not survives(name, reader, data):
        raise TableError(f"{name}: the {kind} data is damaged: write it again")
    read: Callable[[io.BytesIO], DataFrame] = getattr(pl, reader)
    try:
        with _native_code_silent():
            return read(io.BytesIO(data))
    except Exception as error:
        raise TableError(f"{name}: the {kind} data is cut off or damaged ({_brief(error)}): write it again") from error


def _text_table(name: str, data: bytes, delimiter: str | None) -> Table:
    text, notes = clean_text(name, data)
    if delimiter is None and looks_like_json_lines(name, text):
        frame, more = read_json_lines(name, text)
        return checked_table(name, frame, notes + more)
    if delimiter is None and text.lstrip().startswith((b"[{", b"[\n", b"[ ")):
        raise TableError(f"{name}: is one JSON array, expected JSON lines: write one object a line, without brackets")
    separator = delimiter or sniff_delimiter(text)
    frame, more = read_delimited(name, text, separator)
    return Table(name, frame, notes + more, delimiter=separator)
