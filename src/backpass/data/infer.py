"""What kind of column each one is, told from its training rows without surprises."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from backpass.data.codes import codes_among, codes_in, told
from backpass.data.dates import TYPED_CLOCK, TYPED_DATE, fitting_formats, rival_of
from backpass.data.families import SPOKEN, as_floats, as_text, family_of
from backpass.data.kinds import PLAIN, Column, Kind
from backpass.data.lazy import pl
from backpass.data.naming import listed, quoted
from backpass.data.numerals import MISSING_NUMBER, MISSING_TEXT, NumberStyle, fitting_styles, nearest_style
from backpass.data.table import Table
from backpass.data.tally import Tally, tally_of
from backpass.data.values import FALSE_WORDS, TRUE_WORDS, infinite_value
from backpass.errors import TableError

if TYPE_CHECKING:
    from polars import Series

BOOLEAN_PAIRS = tuple({true, false} for true, false in zip(TRUE_WORDS, FALSE_WORDS, strict=True) if true.isalpha())
# A column of numbers may hold this share of stray texts, of so many kinds.
STRAY_SHARE, STRAY_KINDS, FORCED_STRAY_KINDS = 0.05, 3, 20
# From this many rows on, a text that differs from row to row names the row and says nothing of others.
ENOUGH_ROWS = 10
NEARLY_ALL, MOSTLY, MANY_LEVELS = 0.95, 0.5, 100
SENTENCE_LETTERS, SENTENCE_WORDS = 30, 5
ROW_NUMBERS = "row numbers"
IDENTIFIER_NAME = re.compile(
    r"(?i:(^|[\W_])(id|ids|uuid|guid|key|index|idx|row|rowid|rownum|serial|unnamed: 0))$|[a-z](Id|ID|Key|Index)$",
)
Found = tuple[Column, tuple[str, ...]]


def infer_column(table: Table, name: str, override: Kind | None = None) -> Found:
    """The column's record, and notes for people. `override` is what the user says it is.

    Raises TableError for infinite numbers, and for an override that the cells do not bear out.
    """
    series = table.column(name)
    if override == "skip":
        return Column(name, "skip", "left out as asked"), ()
    family = family_of(series)
    if family in ("empty", "other"):
        reason = "has no values" if family == "empty" else f"holds {SPOKEN[family]}"
        return Column(name, "skip", reason, missing=series.null_count()), ()
    if override == "category" or family == "text":
        return _from_text(table, name, as_text(series), override)
    if override is not None and override not in _bearable(family):
        raise TableError(
            f"{table.name}: column {quoted(name)} holds {SPOKEN[family]}, and cannot be read as {override}"
        )
    return _from_typed(table, series, override)


def _bearable(family: str) -> tuple[Kind, ...]:
    return ("date",) if family in ("date", "clock") else ("number", "boolean")


# Typed columns


def _from_typed(table: Table, series: Series, override: Kind | None) -> Found:
    name, family = series.name, family_of(series)
    present = series.drop_nulls()
    if series.dtype.is_float():
        present = present.drop_nans()
    missing, distinct = series.len() - present.len(), present.n_unique()
    skipped = None if override else _constant(name, present, distinct, missing)
    if skipped is not None:
        return skipped, ()
    if family in ("date", "clock"):
        written = TYPED_CLOCK if family == "clock" else TYPED_DATE
        return Column(name, "date", missing=missing, distinct=distinct, format=written), ()
    if family == "boolean" or override == "boolean":
        _refuse_more_than_two(table, name, distinct)
        return Column(name, "boolean", missing=missing, distinct=distinct), ()
    _refuse_infinite(table, series)
    column = _number(Column(name, "number", missing=missing, distinct=distinct), series, override)
    return (column, ()) if override else _with_codes(column, *codes_in(as_floats(present)), present.len())


def _constant(name: str, present: Series, distinct: int, missing: int) -> Column | None:
    if not distinct:
        return Column(name, "skip", "has no values", missing=missing)
    # One value beside missing ones still tells the two apart.
    if distinct == 1 and not missing:
        return Column(name, "skip", f"always {quoted(as_text(present.head(1))[0])}", distinct=1)
    return None


def _refuse_more_than_two(table: Table, name: str, distinct: int) -> None:
    if distinct > 2:
        raise TableError(f"{table.name}: column {quoted(name)} has {distinct:,} values, and cannot be read as boolean")


def _refuse_infinite(table: Table, series: Series) -> None:
    infinite = np.isinf(as_floats(series))
    if infinite.any():
        raise infinite_value(table, series.name, int(np.argmax(infinite)))


# Columns of text


def _from_text(table: Table, name: str, texts: Series, override: Kind | None) -> Found:
    tally = tally_of(texts, MISSING_TEXT)
    skipped = None if override else _constant(name, tally.levels, tally.distinct, tally.missing)
    if skipped is not None:
        return skipped, ()
    if override is not None:
        return _FORCED[override](table, name, texts, tally)
    numeric = tally.without(MISSING_NUMBER)
    if not numeric.distinct:
        return Column(name, "skip", "has no values", missing=numeric.missing), ()
    found = _as_boolean(name, tally) or _as_number(table, name, texts, numeric) or _as_date(name, tally)
    return found or (_as_category(name, tally), ())


def _as_boolean(name: str, tally: Tally) -> Found | None:
    if tally.distinct > 6:
        return None
    words = set(tally.levels.str.to_lowercase())
    if len(words) == 2 and words in BOOLEAN_PAIRS:
        return Column(name, "boolean", missing=tally.missing, distinct=2), ()
    return None


def _as_number(table: Table, name: str, texts: Series, tally: Tally) -> Found | None:
    values = tally.levels.cast(pl.Float64, strict=False)
    if values.null_count() == tally.distinct:
        return _as_styled(name, tally, table.delimiter) or _as_mostly_numbers(name, tally, table.delimiter)
    if is_padded_code(tally.levels):
        return None
    if values.is_infinite().any():
        level = tally.levels.filter(values.is_infinite())[0]
        raise infinite_value(table, name, (texts == level).arg_max() or 0)
    if values.has_nulls():
        return _as_styled(name, tally, table.delimiter) or _as_mostly_numbers(name, tally, table.delimiter)
    column = Column(name, "number", missing=tally.missing, distinct=tally.distinct)
    notes = _maybe_thousands(table, name, tally.levels) if table.delimiter else (_from_typed_text(name),)
    codes = codes_among(as_floats(values), tally.counts)
    rows = int(tally.counts[np.isin(as_floats(values), codes)].sum())
    column, remarks = _with_codes(_number(column, texts, None), codes, rows, tally.present)
    return column, (*notes, *remarks) if column.kind == "number" else ()


def _with_codes(column: Column, codes: tuple[float, ...], rows: int, present: int) -> Found:
    """The column with codes, that so many rows of those with a number hold, read as missing."""
    if not codes or column.kind != "number":
        return column, ()
    note = told(column.name, codes, rows / (present + column.missing))
    return replace(column, missing=column.missing + rows, distinct=column.distinct - len(codes), codes=codes), (note,)


def _maybe_thousands(table: Table, name: str, levels: Series) -> tuple[str, ...]:
    """A note where dots may well stand between thousands: fields are separated by semicolons, as commas are decimal."""
    if table.delimiter != ";" or not levels.str.contains(r"^[1-9]\d{0,2}\.\d{3}$").all():
        return ()
    example = levels.sort()[0]
    other = example.replace(".", "")
    return (f"column {quoted(name)}: {quoted(example)} is read as {float(example):g}, not as {other}",)


def _from_typed_text(name: str) -> str:
    return f"column {quoted(name)} is text that holds numbers: read as numbers; --column {name}=category for codes"


def is_padded_code(levels: Series) -> bool:
    """If all texts are digits and some begin with a needless zero, as post codes do."""
    return bool(levels.str.contains(r"^0\d+$").any()) and bool(levels.str.contains(r"^\d+$").all())


def holds_numbers(cells: Series) -> bool:
    """If all cells are numbers, plainly written where they are text, and no codes."""
    if family_of(cells) != "text":
        return family_of(cells) == "number"
    levels = tally_of(as_text(cells), MISSING_NUMBER).levels
    return not PLAIN.read(levels).has_nulls() and not is_padded_code(levels)


def _as_styled(name: str, tally: Tally, delimiter: str | None) -> Found | None:
    styles = fitting_styles(tally.levels, delimiter)
    if not styles:
        return None
    column = Column(name, "number", missing=tally.missing, distinct=tally.distinct, style=styles[0])
    return column, _style_notes(name, tally, styles)


def told_how_read(table: Table, name: str) -> tuple[str, ...]:
    """The note that a column of numbers gets which are not written plainly, or may be meant otherwise."""
    cells = table.column(name)
    if family_of(cells) != "text":
        return ()
    tally = tally_of(as_text(cells), MISSING_NUMBER)
    if not PLAIN.read(tally.levels).has_nulls():
        return _maybe_thousands(table, name, tally.levels)
    styles = fitting_styles(tally.levels, table.delimiter)
    return _style_notes(name, tally, styles) if styles else ()


def _style_notes(name: str, tally: Tally, styles: list[NumberStyle]) -> tuple[str, ...]:
    # Most cells may be plain: the example is one that the style is needed for.
    styled = tally.levels.filter(PLAIN.read(tally.levels).is_null())
    example = (styled if len(styled) else tally.levels).sort(descending=True).head(1)
    read = [style.read(example)[0] for style in styles]
    rival = next((value for value in read[1:] if value != read[0]), None)
    notes = f"column {quoted(name)}: {quoted(example[0])} is read as {read[0]:g}"
    return (notes + (f", not as {rival:g}" if rival is not None else ""),)


def _as_mostly_numbers(name: str, tally: Tally, delimiter: str | None) -> Found | None:
    style = nearest_style(tally.levels, delimiter)
    if style is None:
        return None
    values = style.read(tally.levels)
    strays = tally.where(values.is_null())
    finite = not values.is_infinite().any()
    if strays.present > STRAY_SHARE * tally.present or strays.distinct > STRAY_KINDS or not finite:
        return None
    return _with_strays(name, tally, strays, style)


def _with_strays(name: str, tally: Tally, strays: Tally, style: NumberStyle) -> Found:
    texts = tuple(sorted(strays.levels))
    column = Column(
        name,
        "number",
        missing=tally.missing + strays.present,
        distinct=tally.distinct - strays.distinct,
        style=style,
        strays=texts,
    )
    cells = "1 cell" if strays.present == 1 else f"{strays.present:,} cells"
    return column, (f"column {quoted(name)} is numbers but for {listed(texts)} in {cells}: read as missing",)


def _as_date(name: str, tally: Tally) -> Found | None:
    formats = fitting_formats(tally.levels)
    if not formats:
        return None
    chosen = formats[0]
    column = Column(name, "date", missing=tally.missing, distinct=tally.distinct, format=chosen.name)
    if rival_of(chosen, formats) is None:
        return column, ()
    example = tally.levels.sort()[0]
    return column, (f"column {quoted(name)}: dates such as {quoted(example)} are read as day before month",)


def _as_category(name: str, tally: Tally) -> Column:
    reason = _why_no_category(tally)
    kind: Kind = "skip" if reason else "category"
    return Column(name, kind, reason, missing=tally.missing, distinct=tally.distinct)


def _why_no_category(tally: Tally) -> str:
    if tally.present < ENOUGH_ROWS:
        return ""
    share = tally.distinct / tally.present
    if share > MOSTLY and _is_prose(tally):
        return "free text"
    if share >= NEARLY_ALL:
        return "all different" if share == 1 else "nearly all different"
    return "mostly different" if share > MOSTLY and tally.distinct > MANY_LEVELS else ""


def _is_prose(tally: Tally) -> bool:
    letters = tally.levels.str.len_chars().mean()
    words = tally.levels.str.count_matches(r"\s+").mean()
    return float(letters) >= SENTENCE_LETTERS and float(words) + 1 >= SENTENCE_WORDS  # type: ignore[arg-type]


def _number(column: Column, cells: Series, override: Kind | None) -> Column:
    """The column, or a skipped one where its integers only number or name the rows."""
    reason = "" if override else _why_no_number(column, cells)
    return Column(column.name, "skip", reason, column.missing, column.distinct) if reason else column


def _why_no_number(column: Column, cells: Series) -> str:
    if column.missing or column.distinct < cells.len() or cells.len() < ENOUGH_ROWS:
        return ""
    values = as_floats(cells)
    if np.any(values != np.round(values)):
        return ""
    if IDENTIFIER_NAME.search(column.name):
        return "all different"
    steps = np.diff(values)
    # Row numbers begin near 0 and rise; those of a part of the rows leave gaps.
    counting = steps.min() >= 1 and -1 <= values[0] <= ENOUGH_ROWS and values[-1] <= 2 * len(values) + ENOUGH_ROWS
    return ROW_NUMBERS if counting else ""


# Columns that the user names the kind of


def _force_number(table: Table, name: str, texts: Series, tally: Tally) -> Found:
    numeric = tally.without(MISSING_NUMBER)
    values = numeric.levels.cast(pl.Float64, strict=False)
    styled = _as_styled(name, numeric, table.delimiter) if values.has_nulls() else None
    if styled is not None and numeric.distinct:
        return styled
    style = nearest_style(numeric.levels, table.delimiter) or PLAIN
    values = style.read(numeric.levels)
    strays = numeric.where(values.is_null())
    if strays.distinct == numeric.distinct or strays.distinct > FORCED_STRAY_KINDS:
        raise _unfit(table, name, texts, strays, "number")
    _refuse_infinite_text(table, name, texts, values, numeric)
    if strays.distinct:
        return _with_strays(name, numeric, strays, style)
    return Column(name, "number", missing=numeric.missing, distinct=numeric.distinct), ()


def _refuse_infinite_text(table: Table, name: str, texts: Series, values: Series, tally: Tally) -> None:
    infinite = tally.levels.filter(values.is_infinite().fill_null(value=False))
    if infinite.len():
        raise infinite_value(table, name, (texts == infinite[0]).arg_max() or 0)


def _force_category(_table: Table, name: str, _texts: Series, tally: Tally) -> Found:
    return Column(name, "category", missing=tally.missing, distinct=tally.distinct), ()


def _force_boolean(table: Table, name: str, texts: Series, tally: Tally) -> Found:
    words = tally.levels.str.to_lowercase()
    strange = tally.where(~words.is_in([*TRUE_WORDS, *FALSE_WORDS]))
    if strange.distinct:
        raise _unfit(table, name, texts, strange, "boolean")
    return Column(name, "boolean", missing=tally.missing, distinct=tally.distinct), ()


def _force_date(table: Table, name: str, texts: Series, tally: Tally) -> Found:
    found = _as_date(name, tally.without(MISSING_NUMBER))
    if found is None:
        raise _unfit(table, name, texts, tally, "date")
    return found


def _unfit(table: Table, name: str, texts: Series, strange: Tally, kind: Kind) -> TableError:
    known = strange.levels.to_list()
    position = texts.is_in(known).arg_max() or 0 if known else 0
    return TableError(
        f"{table.name}: column {quoted(name)} cannot be read as {kind}: row {table.row_number(position):,} holds "
        f"{quoted(str(texts[position] or ''))}: correct the row, or name another kind with --column"
    )


_FORCED: dict[Kind, Callable[[Table, str, Series, Tally], Found]] = {
    "number": _force_number,
    "category": _force_category,
    "boolean": _force_boolean,
    "date": _force_date,
}
