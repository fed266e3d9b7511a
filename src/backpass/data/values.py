"""A column's cells read as the schema says: in training, and later in tables that may hold anything."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from backpass.data.codes import are_codes
from backpass.data.dates import FORMATS, ISO_CLOCKS, ISO_MOMENTS, is_clock, typed_microseconds
from backpass.data.families import SPOKEN, Floats, as_floats, as_text, family_of
from backpass.data.kinds import Column
from backpass.data.lazy import pl
from backpass.data.naming import quoted
from backpass.data.numerals import MISSING_NUMBER, MISSING_TEXT, missing_among
from backpass.data.table import Indices, Table
from backpass.errors import TableError

if TYPE_CHECKING:
    from polars import Series

    from backpass.data.encoders.unlike import Unlike

TRUE_WORDS = ("true", "t", "yes", "y", "1", "1.0")
FALSE_WORDS = ("false", "f", "no", "n", "0", "0.0")
AT_ONCE = 8  # columns
TRAINED_ON = {"number": "numbers", "boolean": "booleans", "date": "dates"}


class Reader:
    """Reads a table's columns; `coerce` names those whose stray texts are read as missing, `notes` collects remarks.

    `unlike`, where it is given, counts rows that no training row was like, as encoders find them.
    """

    def __init__(
        self,
        table: Table,
        coerce: Collection[str] = (),
        notes: list[str] | None = None,
        unlike: Unlike | None = None,
    ) -> None:
        self.table = table
        self.coerce = coerce
        self.unlike = unlike
        self.notes = notes if notes is not None else []

    def numbers(self, column: Column) -> Floats:
        """(rows,) 64-bit floats, NaN where missing. Booleans are 0 and 1.

        Raises TableError for a column that is lacking or of another type, for text among numbers, and for infinity.
        """
        series = self.table.column(column.name)
        family = family_of(series)
        if family == "text":
            read = _read_booleans if column.kind == "boolean" else _read_numbers
            found = self._or_strays(column, as_text(series), read)
        elif family in ("number", "boolean", "empty"):
            found = as_floats(series)
        else:
            raise self._mismatch(column, SPOKEN[family])
        self._refuse_infinite(column, found)
        return np.where(are_codes(found, column.codes), np.nan, found) if column.codes else found

    def seconds(self, column: Column) -> Floats:
        """(rows,) seconds since 1970 (or since midnight for times of day), NaN where missing."""
        series = self.table.column(column.name)
        family = family_of(series)
        if family == "text":
            return self._or_strays(column, as_text(series), _read_dates) / 1e6
        if family == "empty":
            return as_floats(series)
        if family != ("clock" if is_clock(column.format) else "date"):
            raise self._mismatch(column, SPOKEN[family])
        return as_floats(typed_microseconds(series)) / 1e6

    def texts(self, column: Column) -> Series:
        """The cells as text, null where missing."""
        series = self.table.column(column.name)
        family = family_of(series)
        if family not in ("text", "number", "boolean", "empty"):
            raise self._mismatch(column, SPOKEN[family])
        texts = as_text(series)
        return texts.set(missing_among(texts, MISSING_TEXT), None)

    def _or_strays(self, column: Column, texts: Series, read: Callable[[Column, Series], Series]) -> Floats:
        found = read(column, texts)
        if found.has_nulls():
            self._judge_strays(column, texts, found.is_null() & ~missing_among(texts, MISSING_NUMBER))
        return as_floats(found)

    def _judge_strays(self, column: Column, texts: Series, stray: Series) -> None:
        stray = stray & ~texts.is_in(list(column.strays)) if column.strays else stray
        count = int(stray.fill_null(value=False).sum())
        if not count:
            return
        if column.name not in self.coerce:
            position = stray.arg_max() or 0
            raise self._stray(column, position, texts[position])
        example = quoted(texts[stray.arg_max() or 0])
        amount = f"{count:,} text{'s' * (count != 1)}"
        self.notes.append(f"column {quoted(column.name)}: {amount} read as missing, such as {example}")

    def _stray(self, column: Column, position: int, text: str) -> TableError:
        row = self.table.row_number(position)
        return TableError(
            f"{self.table.name}: column {quoted(column.name)} holds text in row {row:,} ({quoted(text)}), where the "
            f"model was trained on {TRAINED_ON[column.kind]}. Correct the row, or read it as missing with "
            f"--coerce {shlex.quote(column.name)}."
        )

    def _mismatch(self, column: Column, found: str) -> TableError:
        expected = TRAINED_ON.get(column.kind, "text")
        return TableError(
            f"{self.table.name}: column {quoted(column.name)} holds {found}, where the model was trained on "
            f"{expected}: give the column in that type"
        )

    def _refuse_infinite(self, column: Column, found: Floats) -> None:
        infinite = np.isinf(found)
        if infinite.any():
            raise infinite_value(self.table, column.name, int(np.argmax(infinite)))


def with_numbers(table: Table, columns: Iterable[Column], rows: Indices) -> Table:
    """These rows, with numbers where the columns have them as text: for whoever looks at them more than once.

    Of their text, which takes twice the memory, only some columns are held at a time.
    """
    numeric = [column for column in columns if column.kind in ("number", "boolean")]
    of_text = [column for column in numeric if family_of(table.column(column.name)) == "text"]
    kept = replace(table, frame=table.frame.drop(column.name for column in of_text)).take(rows)
    read = []
    for first in range(0, len(of_text), AT_ONCE):
        some = of_text[first : first + AT_ONCE]
        reader = Reader(replace(table, frame=table.frame.select(column.name for column in some)).take(rows))
        read += [pl.Series(column.name, reader.numbers(column)) for column in some]
    return replace(kept, frame=kept.frame.with_columns(read))


def infinite_value(table: Table, name: str, position: int) -> TableError:
    """The error for a number that is not finite, or too large to be one."""
    shown = quoted(str(table.column(name)[position]))
    return TableError(
        f"{table.name}: column {quoted(name)} is infinite in row {table.row_number(position):,} ({shown}): "
        "correct the row, or leave its cell empty"
    )


def _read_numbers(column: Column, texts: Series) -> Series:
    return column.style.read(texts)


def _read_dates(column: Column, texts: Series) -> Series:
    """As they were written in training; what was not is read as ISO writes it, which nothing else can mean."""
    if column.format in FORMATS:
        found = FORMATS[column.format].read(texts)
        if not found.has_nulls():
            return found
    else:
        found = pl.Series([None], dtype=pl.Int64).new_from_index(0, texts.len())
    for each in ISO_CLOCKS if is_clock(column.format) else ISO_MOMENTS:
        found = found.fill_null(each.read(texts))
    return found


def _read_booleans(_column: Column, texts: Series) -> Series:
    words = dict.fromkeys(TRUE_WORDS, 1.0) | dict.fromkeys(FALSE_WORDS, 0.0)
    return texts.str.to_lowercase().replace_strict(
        list(words), list(words.values()), default=None, return_dtype=pl.Float64
    )
