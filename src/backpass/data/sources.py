"""From a file or standard input to a Table, whatever its format; from a bad one to one clear line."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from backpass.data.damage import brief, native_code_silent, told_in_one_line
from backpass.data.delimited import read_delimited
from backpass.data.file_table import file_table
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


def read_table(source: str | os.PathLike[str], *, delimiter: str | None = None, stream: bool | None = None) -> Table:
    """The table in a file, or in standard input where `source` is "-".

    CSV of any delimiter (found by itself unless given), TSV and JSON lines, each also gzipped, Parquet, Arrow IPC
    and Feather: told apart by what is in them. Text formats give columns of text, with surrounding blanks stripped;
    typed formats keep their types. With `stream` the table of a Parquet or Arrow file is left there, and read in
    parts; with None it is where it may not fit into memory.

    Raises TableError, in one line, for everything that is not a readable table, and
    UsageError for a delimiter that is not one character, and for `stream` with another file.
    """
    chosen = None if delimiter is None else checked_delimiter(delimiter)
    if stream is not False and (left := file_table(source, stream)) is not None:
        return left
    name, packed = read_bytes(source)
    data = decompressed(name, packed)
    if not data or data.isspace():
        raise TableError(f"{name}: is empty: a table needs a line of column names and rows under it")
    with told_in_one_line(name):
        return _typed_table(name, data) or _text_table(name, data, chosen)


def _typed_table(name: str, data: bytes) -> Table | None:
    """The table of a Parquet or Arrow file, or None where the bytes are of neither."""
    known = next(((kind, reader) for magic, kind, reader in TYPED_FORMATS if data.startswith(magic)), None)
    return None if known is None else checked_table(name, _typed_frame(name, *known, data))


def _typed_frame(name: str, kind: str, reader: str, data: bytes) -> DataFrame:
    if not survives(name, reader, data):
        raise TableError(f"{name}: the {kind} data is damaged: write it again")
    read: Callable[[io.BytesIO], DataFrame] = getattr(pl, reader)
    try:
        with native_code_silent():
            return read(io.BytesIO(data))
    except Exception as error:
        raise TableError(f"{name}: the {kind} data is cut off or damaged ({brief(error)}): write it again") from error


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
