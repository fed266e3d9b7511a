"""CSV and its like: every column is read as text, so that nothing of the file is lost."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from backpass.data.headers import checked_header
from backpass.data.lazy import pl
from backpass.data.records import Records, find_records, well_quoted
from backpass.errors import TableError

if TYPE_CHECKING:
    from polars import DataFrame

# The longest field that the csv module may meet, in characters.
WIDEST_FIELD = 1 << 24


def read_delimited(name: str, data: bytes, delimiter: str) -> tuple[DataFrame, tuple[str, ...]]:
    """Columns of text, and notes. `data` is UTF-8 with LF; raises TableError for ragged rows and bad headers.

    Text that is quoted by the book, or not at all, is checked by NumPy and parsed by polars; the rest goes through
    Python's csv module, which is slower and takes quotes in more places.
    """
    if not data or data.isspace():
        raise TableError(f"{name}: is empty: a table needs a line of column names and rows under it")
    by_the_book = delimiter.isascii() and (b'"' not in data or (delimiter != " " and well_quoted(data, delimiter)))
    if not by_the_book:
        return _read_slowly(name, data, delimiter)
    return _read_quickly(name, _single_spaces(data) if delimiter == " " else data, delimiter)


def _single_spaces(data: bytes) -> bytes:
    """Columns aligned by runs of spaces become columns separated by one; lines stay lines."""
    return re.sub(rb"(?m)^ +| +$", b"", re.sub(rb" {2,}", b" ", data))


def _read_quickly(name: str, data: bytes, delimiter: str) -> tuple[DataFrame, tuple[str, ...]]:
    records = find_records(data, delimiter)
    first, *_ = np.flatnonzero(~records.blank)
    names, notes = _header(name, data[records.starts[first] : records.ends[first]], delimiter)
    _refuse_ragged(name, data, records, delimiter)
    body = data[records.ends[first] + 1 :]
    if records.blank[first:].any():
        body = _without_blank(data, records, int(first))
    rows = int((~records.blank).sum()) - 1
    frame = _parse(name, body, delimiter, names, rows)
    return (_stripped(frame) if _has_padding(body, delimiter) else frame), notes


def _header(name: str, line: bytes, delimiter: str) -> tuple[list[str], tuple[str, ...]]:
    text = line.decode().strip(" ")
    return checked_header(name, next(csv.reader([text], delimiter=delimiter, skipinitialspace=delimiter != " ")))


def _refuse_ragged(name: str, data: bytes, records: Records, delimiter: str) -> None:
    kept = np.flatnonzero(~records.blank)
    expected = records.fields[kept[0]]
    wrong = kept[records.fields[kept] != expected]
    if len(wrong):
        line = 1 + data.count(b"\n", 0, int(records.starts[wrong[0]]))
        raise _ragged(name, line, int(records.fields[wrong[0]]), int(expected), delimiter)
    if len(kept) == 1:
        raise _no_rows(name)


def _ragged(name: str, line: int, found: int, expected: int, delimiter: str) -> TableError:
    shown = {"\t": "tab", " ": "space"}.get(delimiter, delimiter)
    return TableError(
        f"{name}: line {line:,} has {found:,} field{'s' * (found != 1)}, expected {expected:,} as in the header: "
        f'correct the line, or quote fields that hold the delimiter "{shown}"'
    )


def _no_rows(name: str) -> TableError:
    return TableError(f"{name}: has a header but no data rows: add rows under the line of column names")


def _without_blank(data: bytes, records: Records, first: int) -> bytes:
    kept = np.flatnonzero(~records.blank)
    kept = kept[kept > first]
    # +1 and -1 at the edges of what stays, summed up, mark every byte that stays.
    edges = np.zeros(len(data) + 2, dtype=np.int8)
    np.add.at(edges, records.starts[kept], 1)
    np.add.at(edges, records.ends[kept] + 1, -1)
    stays = np.cumsum(edges, dtype=np.int8)[: len(data)].astype(np.bool_)
    return np.frombuffer(data, np.uint8)[stays].tobytes()


def _parse(name: str, body: bytes, delimiter: str, names: list[str], rows: int) -> DataFrame:
    frame = pl.read_csv(
        body,
        has_header=False,
        schema=dict.fromkeys(names, pl.String),
        separator=delimiter,
        quote_char='"' if b'"' in body else None,
    )
    if frame.height != rows:
        raise TableError(f"{name}: has {rows:,} rows of which {frame.height:,} can be read: check its quotes")
    return frame


def _has_padding(data: bytes, delimiter: str) -> bool:
    # Looking for one byte is ten times as fast as for two, and most tables have no blank at all.
    if b" " not in data:
        return False
    mark = delimiter.encode()
    pairs = (mark + b" ", b" " + mark, b" \n", b"\n ", b'" ', b' "')
    return data.startswith(b" ") or data.endswith(b" ") or any(pair in data for pair in pairs)


def _stripped(frame: DataFrame) -> DataFrame:
    return frame.with_columns(pl.all().str.strip_chars())


def _read_slowly(name: str, data: bytes, delimiter: str) -> tuple[DataFrame, tuple[str, ...]]:
    records = _csv_records(name, data.decode(), delimiter)
    with _wide_fields():
        _, header = next(records)
    names, notes = checked_header(name, header)
    with _wide_fields():
        rows = [_as_wide(name, line, record, len(names), delimiter) for line, record in records]
    if not rows:
        raise _no_rows(name)
    columns = zip(names, zip(*rows, strict=True), strict=True)
    return _stripped(pl.DataFrame({column: pl.Series(column, cells, pl.String) for column, cells in columns})), notes


@contextmanager
def _wide_fields() -> Iterator[None]:
    """Lets the csv module read long fields; its limit is one for the whole process, so it is put back."""
    before = csv.field_size_limit(WIDEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _as_wide(name: str, line: int, record: list[str], expected: int, delimiter: str) -> list[str]:
    if len(record) != expected:
        raise _ragged(name, line, len(record), expected, delimiter)
    return record


def _csv_records(name: str, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Every record that is not blank, with the line of the file that it starts on."""
    spaced = delimiter == " "
    lines = _lines(text) if not spaced else [re.sub(" +", " ", line.strip(" ")) for line in _lines(text)]
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=not spaced, strict=True)
    line = 1
    try:
        for record in reader:
            if any(field.strip() for field in record) or len(record) > 1:
                yield line, record
            line = reader.line_num + 1
    except csv.Error as error:
        raise _bad_quotes(name, line, str(error)) from error


def _lines(text: str) -> list[str]:
    """The lines with their ends. str.splitlines would cut at form feeds and Unicode's separators too."""
    return [*io.StringIO(text, newline="\n")]


def _bad_quotes(name: str, line: int, reason: str) -> TableError:
    what = "opens a quote that is never closed" if "end of data" in reason else f"is quoted wrongly ({reason})"
    return TableError(f"{name}: line {line:,} {what}: correct its quotes")
