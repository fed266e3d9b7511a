"""How a date, a moment or a time of day may be written, and its place in time in seconds."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

from backpass.data.lazy import pl
from backpass.records import dataclass

if TYPE_CHECKING:
    from polars import Series

# Typed columns have no written form: these stand in place of a format.
TYPED_DATE, TYPED_CLOCK = "date", "time of day"

# (format, how it looks): the order is the order of preference, ISO first, the day before the month.
_DAYS = (
    ("%Y-%m-%d", r"\d{4}-\d{1,2}-\d{1,2}"),
    ("%Y/%m/%d", r"\d{4}/\d{1,2}/\d{1,2}"),
    ("%Y.%m.%d", r"\d{4}\.\d{1,2}\.\d{1,2}"),
    ("%d/%m/%Y", r"\d{1,2}/\d{1,2}/\d{4}"),
    ("%m/%d/%Y", r"\d{1,2}/\d{1,2}/\d{4}"),
    ("%d-%m-%Y", r"\d{1,2}-\d{1,2}-\d{4}"),
    ("%m-%d-%Y", r"\d{1,2}-\d{1,2}-\d{4}"),
    ("%d.%m.%Y", r"\d{1,2}\.\d{1,2}\.\d{4}"),
    ("%d/%m/%y", r"\d{1,2}/\d{1,2}/\d{2}"),
    ("%m/%d/%y", r"\d{1,2}/\d{1,2}/\d{2}"),
    ("%d.%m.%y", r"\d{1,2}\.\d{1,2}\.\d{2}"),
    ("%d %b %Y", r"\d{1,2} [A-Za-z]{3} \d{4}"),
    ("%d-%b-%Y", r"\d{1,2}-[A-Za-z]{3}-\d{4}"),
    ("%b %d, %Y", r"[A-Za-z]{3} \d{1,2}, \d{4}"),
    ("%d %B %Y", r"\d{1,2} [A-Za-z]{3,9} \d{4}"),
    ("%B %d, %Y", r"[A-Za-z]{3,9} \d{1,2}, \d{4}"),
)
_CLOCKS = (
    ("%H:%M", r"\d{1,2}:\d{2}"),
    ("%H:%M:%S", r"\d{1,2}:\d{2}:\d{2}"),
    ("%H:%M:%S%.f", r"\d{1,2}:\d{2}:\d{2}(\.\d+)?"),
    ("%I:%M %p", r"\d{1,2}:\d{2} [AaPp][Mm]"),
    ("%I:%M:%S %p", r"\d{1,2}:\d{2}:\d{2} [AaPp][Mm]"),
)
_EPOCH = dt.date(1970, 1, 1).toordinal()
# What a date can be: the first day of year 1 and the day after the last of year 9999, counted from 1970.
_CALENDAR = (dt.date.min.toordinal() - _EPOCH, dt.date.max.toordinal() + 1 - _EPOCH)
_A_DAY = {unit: 86_400 * parts for unit, parts in (("ms", 10**3), ("us", 10**6), ("ns", 10**9))}
_ZONES = (("", ""), ("Z", "Z"), ("%#z", r" ?(Z|[+-]\d{2}(:?\d{2})?)"))


@dataclass(frozen=True)
class DateFormat:
    """One way to write dates: a format of strptime, and a regular expression for its shape."""

    name: str
    pattern: str

    @property
    def clock_only(self) -> bool:
        """If it is a time of day without a date."""
        return self.name.startswith(("%H", "%I"))

    def read(self, texts: Series) -> Series:
        """Microseconds, since 1970 or since midnight; null where a text is not so written."""
        # The shape is checked first: strptime alone takes "20" as the year 20.
        shaped = texts.zip_with(
            texts.str.contains(f"^{self.pattern}$").fill_null(value=False), pl.Series([None], dtype=pl.String)
        )
        if self.clock_only:
            return shaped.str.to_time(self.name, strict=False).cast(pl.Int64) // 1000
        moments = shaped.str.to_datetime(self.name, strict=False, time_unit="us")
        return moments.cast(pl.Int64)


def _moments() -> list[DateFormat]:
    return [
        DateFormat(f"{day}{mark}{clock}{zone}", f"{day_shape}{mark}{clock_shape}{zone_shape}")
        for day, day_shape in _DAYS
        for mark in (" ", "T")
        for clock, clock_shape in _CLOCKS
        for zone, zone_shape in _ZONES
    ]


FORMATS = {
    each.name: each
    for each in [DateFormat(*day) for day in _DAYS] + [DateFormat(*clock) for clock in _CLOCKS] + _moments()
}
# What is always understood, however dates were written in training.
ISO_CLOCKS = (FORMATS["%H:%M"], FORMATS["%H:%M:%S%.f"])
ISO_MOMENTS = tuple(
    FORMATS[name]
    for name in ("%Y-%m-%d", *(f"%Y-%m-%d{mark}{clock}" for mark in " T" for clock in ("%H:%M", "%H:%M:%S%.f")))
)
FORMAT_NAMES = (TYPED_DATE, TYPED_CLOCK, *FORMATS)


def is_clock(name: str) -> bool:
    """If a column of this format holds times of day."""
    return name == TYPED_CLOCK or (name in FORMATS and FORMATS[name].clock_only)


def fitting_formats(texts: Series) -> list[DateFormat]:
    """The formats in which every one of these texts is a date, the preferred first."""
    if not texts.len():
        return []
    return [each for each in _likely(texts[0]) if not each.read(texts).has_nulls()]


def _likely(text: str) -> list[DateFormat]:
    """The formats that one text has the shape of; days are matched first, for there are hundreds of formats."""
    days = tuple(day for day, shape in _DAYS if re.match(shape, text))
    if not days and not re.match(r"\d{1,2}:", text):
        return []
    near = [each for each in FORMATS.values() if each.name.startswith(days) or each.clock_only]
    return [each for each in near if re.fullmatch(each.pattern, text)]


def rival_of(chosen: DateFormat, fitting: list[DateFormat]) -> DateFormat | None:
    """A fitting format that reads the same texts as other dates: the month before the day."""
    swapped = chosen.name.replace("%d", "?").replace("%m", "%d").replace("?", "%m")
    return next((each for each in fitting if each.name == swapped and swapped != chosen.name), None)


def beyond_calendar(column: Series) -> int | None:
    """The place of the first date outside the years 1 to 9999; None where there is none.

    A damaged file may hold such dates, and polars panics when it is to convert or to show them. Times of day beyond 24
    hours it reads as missing.
    """
    if column.dtype == pl.Date:
        first, end = _CALENDAR
    elif isinstance(column.dtype, pl.Datetime):
        first, end = (day * _A_DAY[column.dtype.time_unit] for day in _CALENDAR)
    else:
        return None
    # Nanoseconds reach from 1677 to 2262 only, in 64 bits.
    inside = column.to_physical().is_between(max(first, -(1 << 63)), min(end - 1, (1 << 63) - 1))
    return None if inside.all() else (~inside).arg_max()


def typed_microseconds(column: Series) -> Series:
    """Microseconds of a column of dates, moments (by their local clock) or times of day; null stays null."""
    if column.dtype == pl.Time:
        return column.cast(pl.Int64) // 1000
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone is not None:
        column = column.dt.replace_time_zone(None)
    return column.cast(pl.Datetime("us")).cast(pl.Int64)
