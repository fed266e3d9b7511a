"""The few families that the many types of columns come down to, and a column's cells as text or as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from backpass.data.lazy import pl

if TYPE_CHECKING:
    from polars import Series

Family = Literal["text", "number", "boolean", "date", "clock", "empty", "other"]
Floats = npt.NDArray[np.float64]
# How messages speak of what a column of each family holds.
SPOKEN: dict[Family, str] = {
    "text": "text",
    "number": "numbers",
    "boolean": "booleans",
    "date": "dates",
    "clock": "times of day",
    "empty": "nothing",
    "other": "lists or other nested values",
}


def family_of(column: Series) -> Family:
    """The family of a column's type."""
    kind = column.dtype
    if kind in (pl.String, pl.Categorical, pl.Enum):
        return "text"
    if kind.is_numeric() or kind == pl.Duration:
        return "number"
    if kind in (pl.Date, pl.Datetime):
        return "date"
    return {pl.Boolean: "boolean", pl.Time: "clock", pl.Null: "empty"}.get(kind, "other")  # type: ignore[call-overload, no-any-return]


def as_text(column: Series) -> Series:
    """Cells as stripped text: numbers as one would write them ("5", not "5.0"), durations in seconds; null if none."""
    family = family_of(column)
    if family == "text":
        # Tables hold stripped text already (see memory.py and delimited.py); the levels of categoricals are as given.
        return column if column.dtype == pl.String else column.cast(pl.String).str.strip_chars()
    if column.dtype == pl.Duration:
        return _floats_as_text(column.dt.total_microseconds() / 1e6)
    if column.dtype.is_float() or column.dtype.is_decimal():
        return _floats_as_text(column.cast(pl.Float64))
    return column.cast(pl.String)


def _floats_as_text(column: Series) -> Series:
    values = column.fill_nan(None)
    whole = ((values.round() == values) & (values.abs() < 2**53)).fill_null(value=False)
    return values.cast(pl.Int64, strict=False).cast(pl.String).zip_with(whole, values.cast(pl.String))


def as_floats(column: Series) -> Floats:
    """Numbers, durations (in seconds) and booleans as 64-bit floats, NaN where there is none."""
    if column.dtype == pl.Duration:
        return as_floats(column.dt.total_microseconds()) / 1e6
    numbers = column.cast(pl.Float64)
    return (numbers.fill_null(float("nan")) if numbers.has_nulls() else numbers).to_numpy()
