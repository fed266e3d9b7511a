"""Tables from data that Python already holds: dicts of arrays or lists, and data frames."""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from backpass.data.dates import beyond_calendar
from backpass.data.headers import checked_header
from backpass.data.lazy import pl
from backpass.data.naming import quoted
from backpass.data.table import Table
from backpass.errors import TableError

if TYPE_CHECKING:
    from polars import DataFrame, Series

LARGEST_INTEGER = 2**63
# Missing values of pandas, known by the names of their types, so that pandas need not be imported.
MISSING_TYPES = ("NAType", "NaTType")
TEMPORAL = (dt.datetime, dt.date, dt.time, dt.timedelta)


def table_from_data(data: Any, *, name: str) -> Table:
    """See `Table.from_data`."""
    frame, notes = _as_frame(name, data)
    return checked_table(name, frame, notes)


def checked_table(name: str, frame: DataFrame, notes: tuple[str, ...] = ()) -> Table:
    """A typed table, once it is known to have columns with names, rows, and dates that there can be."""
    if not frame.width:
        raise TableError(f"{name}: has no columns: a table needs at least one input and a target")
    if not frame.height:
        raise TableError(f"{name}: has columns but no data rows: add rows")
    names, naming_notes = checked_header(name, frame.columns)
    # Typed formats name their columns themselves: a number as a name is meant.
    named = tuple(note for note in naming_notes if "has no name" in note)
    frame = frame.with_columns(pl.col(pl.String).str.strip_chars())
    frame.columns = names
    for column in frame:
        place = beyond_calendar(column)
        if place is not None:
            raise beyond_calendar_error(name, column.name, place)
    return Table(name, frame, notes + named)


def beyond_calendar_error(name: str, column: str, place: int) -> TableError:
    """For a date that Python does not have, in the row at a place from 0 on."""
    return TableError(
        f"{name}: column {quoted(column)} holds a date beyond the years 1 to 9999 in row {place + 1:,}: "
        "correct the row, or leave its cell empty"
    )


def _as_frame(name: str, data: Any) -> tuple[DataFrame, tuple[str, ...]]:
    if isinstance(data, Mapping):
        return frame_of(name, data)
    if isinstance(data, pl.DataFrame):
        return data, ()
    if isinstance(data, pl.LazyFrame):
        return data.collect(), ()
    if hasattr(data, "to_dict") and hasattr(data, "columns"):
        return frame_of(name, data.to_dict("list"))
    if hasattr(data, "__arrow_c_stream__"):
        return pl.DataFrame(data), ()
    raise TableError(f"{name}: is {type(data).__name__}: give a path, a dict of columns, or a data frame")


def frame_of(name: str, columns: Mapping[Any, Any]) -> tuple[DataFrame, tuple[str, ...]]:
    """A frame from columns of Python or NumPy values, and notes on columns that mix types."""
    notes: list[str] = []
    for column, values in columns.items():
        if not is_unicode(str(column)):
            raise TableError(
                f"{name}: the name {str(column)!a:.40} holds half of a pair of surrogates: rename the column"
            )
        if not isinstance(values, Iterable) or isinstance(values, (str, bytes)):
            raise TableError(f"{name}: column {quoted(str(column))} is {values!r:.40}: give one value for each row")
    series = [_series(name, str(column), values, notes) for column, values in columns.items()]
    lengths = {each.len() for each in series}
    if len(lengths) > 1:
        first, other = series[0], next(each for each in series if each.len() != series[0].len())
        raise TableError(
            f"{name}: column {quoted(first.name)} has {first.len():,} rows but {quoted(other.name)} has "
            f"{other.len():,}: give columns of equal length"
        )
    checked_header(name, [each.name for each in series])
    return pl.DataFrame(series), tuple(notes)


def _series(name: str, column: str, values: Any, notes: list[str]) -> Series:
    if isinstance(values, pl.Series):
        return values.alias(column)
    array = values if isinstance(values, np.ndarray) else None
    if array is not None and array.ndim != 1:
        raise TableError(f"{name}: column {quoted(column)} has {array.ndim} dimensions: give one-dimensional columns")
    if array is not None and array.dtype.kind in "biuf":
        return pl.Series(column, array.astype(np.float32) if array.dtype == np.float16 else array)
    if array is not None and array.dtype.kind in "mM":
        array = array.astype(f"{array.dtype.kind}8[us]")
    return _from_values(name, column, [_plain(value) for value in (values if array is None else array.tolist())], notes)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if type(value).__name__ in MISSING_TYPES:
        return None
    if isinstance(value, decimal.Decimal):
        return float(value)
    return _as_float(value) if type(value) is int and abs(value) >= LARGEST_INTEGER else value


def _as_float(value: int) -> float:
    """A number too large for a column of integers; infinite, which is refused later by its row, if for floats too."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _from_values(name: str, column: str, values: list[Any], notes: list[str]) -> Series:
    types = {type(value) for value in values if value is not None}
    if any(issubclass(kind, float) for kind in types) and not types <= {int, float}:
        # NaN is how pandas writes a missing text.
        values = [None if isinstance(value, float) and math.isnan(value) else value for value in values]
        types = {type(value) for value in values if value is not None}
    if types <= {int, float}:
        return pl.Series(column, values, pl.Float64 if float in types else pl.Int64 if types else pl.Null)
    if len(types) == 1 and issubclass(next(iter(types)), (bool, *TEMPORAL)):
        return pl.Series(column, values)
    return _as_text(name, column, values, types, notes)


def _as_text(name: str, column: str, values: Sequence[Any], types: set[type], notes: list[str]) -> Series:
    strange = next((kind for kind in types if not issubclass(kind, (str, int, float, *TEMPORAL))), None)
    if strange is not None:
        raise TableError(
            f"{name}: column {quoted(column)} holds {strange.__name__} values: give numbers, text or dates"
        )
    if types != {str}:
        notes.append(
            f"column {quoted(column)} mixes {' and '.join(sorted(kind.__name__ for kind in types))}: read as text"
        )
    texts = [None if value is None else str(value).strip() for value in values]
    broken = next((row for row, text in enumerate(texts, start=1) if text is not None and not is_unicode(text)), None)
    if broken is not None:
        raise TableError(
            f"{name}: column {quoted(column)} holds half of a pair of surrogates in row {broken:,} "
            f"({texts[broken - 1]!a:.40}), which is no character: correct the row"
        )
    return pl.Series(column, texts, pl.String)


def is_unicode(text: str) -> bool:
    """Whether files can hold a text: a Python string may have halves of characters, which no encoding has."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
