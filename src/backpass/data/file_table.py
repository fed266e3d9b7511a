"""A table that stays in its file: a column is read when it is asked for, or some rows of several columns.

So all that is learned of a table column by column (the split, kinds, levels, means, quantiles) is learned of one that
does not fit into memory too, by the same code, to the same bits.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backpass.data.damage import brief, native_code_silent, told_in_one_line
from backpass.data.dates import beyond_calendar
from backpass.data.headers import checked_header
from backpass.data.lazy import pl
from backpass.data.limits import free_memory, require_room
from backpass.data.memory import beyond_calendar_error
from backpass.data.native_check import survives_scan
from backpass.data.table import Indices, Table
from backpass.errors import TableError, UsageError
from backpass.records import dataclass

if TYPE_CHECKING:
    from polars import LazyFrame, Series

# The first bytes of a file of columns, what it is called, and the function of polars that looks into it.
FORMATS = ((b"PAR1", "Parquet", "scan_parquet"), (b"ARROW1", "Arrow", "scan_ipc"))
ROWS_AT_ONCE = 1 << 17
# Of what a table's columns take in memory, how often that is taken while it is read and encoded whole: measured.
AS_READ = 4
# Bytes for each row that are taken while one column is looked at, and the rows of the parts are noted: measured.
A_ROW = 80


@dataclass(frozen=True, eq=False)
class FileTable(Table):
    """A Table of which `frame` says how to read it; `names` and `height` are those of the file."""

    names: tuple[str, ...] = ()
    height: int = 0
    _last: dict[str, Series] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        return list(self.names)

    @property
    def rows(self) -> int:
        return self.height if self.numbering is None else len(self.numbering)

    def _read(self, name: str) -> Series:
        if name not in self._last:
            with told_in_one_line(self.name), native_code_silent():
                found = self._scan.select(pl.col(name)).collect().get_column(name)
            self._last.clear()
            self._last[name] = found
        found = self._last[name]
        return found if self.numbering is None else found.gather(self.numbering)

    def holds_text(self, name: str) -> bool:
        return self._scan.collect_schema()[name] in (pl.String, pl.Categorical, pl.Enum)

    def take(self, indices: npt.ArrayLike) -> Table:
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(self, numbering=chosen if self.numbering is None else self.numbering[chosen])

    def pieces(self, columns: Collection[str]) -> Iterator[Table]:
        """Its rows, with these columns, as tables in memory; they must be in the order of the file."""
        scan = self._scan.select([name for name in self.names if name in columns])
        for first in range(0, self.height, ROWS_AT_ONCE):
            last = min(self.height, first + ROWS_AT_ONCE)
            chosen: Indices = np.arange(first, last)
            if self.numbering is not None:
                chosen = self.numbering[slice(*np.searchsorted(self.numbering, (first, last)))]
            if len(chosen):
                with told_in_one_line(self.name), native_code_silent():
                    frame = scan.slice(first, last - first).collect()
                yield Table(self.name, frame[chosen - first], numbering=chosen)

    @property
    def _scan(self) -> LazyFrame:
        scan: Any = self.frame
        return scan  # type: ignore[no-any-return]


def file_table(source: str | os.PathLike[str], stream: bool | None) -> FileTable | None:
    """The table in a file, to be left there: where it is wanted, or where it may not fit into memory (None).

    Raises:
        UsageError: it is wanted, and the file is none of columns.
        TableError: it is damaged, or one column is more than there is memory for.
    """
    path = Path(source)
    kind, scanner = _format_of(path)
    if not scanner:
        if stream:
            raise UsageError(
                f"--stream goes with files of columns, and {path.name} is none: write it as Parquet or Arrow"
            )
        return None
    with native_code_silent():
        try:
            scan = getattr(pl, scanner)(path.absolute(), glob=False)
            schema = scan.collect_schema()
            rows = int(scan.select(pl.len()).collect().item())
        except Exception as error:
            if stream is None:
                return None  # to be read whole, which tells what is wrong with it
            raise TableError(
                f"{path.name}: the {kind} data is cut off or damaged ({brief(error)}): write it again"
            ) from error
    free = free_memory()
    whole = path.stat().st_size + AS_READ * rows * sum(map(_bytes_of, schema.dtypes()))
    if not stream and (free is None or whole <= free):
        return None
    require_room(path.name, A_ROW * rows, free=free)
    if not survives_scan(path, scanner):
        raise TableError(f"{path.name}: the {kind} data is damaged: write it again")
    return _checked(path.name, scan, list(schema.names()), rows)


def _format_of(path: Path) -> tuple[str, str]:
    """What a file of columns is called and read by; nothing of another, or of what is no file."""
    try:
        if str(path) == "-" or not stat.S_ISREG(path.stat().st_mode):
            return "", ""
        with path.open("rb") as file:
            begin = file.read(8)
    except (OSError, ValueError):  # which is told where it is read
        return "", ""
    return next(((kind, scanner) for magic, kind, scanner in FORMATS if begin.startswith(magic)), ("", ""))


def _bytes_of(dtype: Any) -> int:
    """What a cell of a type takes in memory, about."""
    return 24 if not dtype.is_numeric() else 4 if dtype in (pl.Float32, pl.Int32, pl.UInt32) else 8


def _checked(name: str, scan: LazyFrame, found: list[str], rows: int) -> FileTable:
    """As `memory.checked_table`."""
    if not found:
        raise TableError(f"{name}: has no columns: a table needs at least one input and a target")
    if not rows:
        raise TableError(f"{name}: has columns but no data rows: add rows")
    names, notes = checked_header(name, found)
    scan = scan.rename(dict(zip(found, names, strict=True))).with_columns(pl.col(pl.String).str.strip_chars())
    scanned: Any = scan
    table = FileTable(name, scanned, tuple(x for x in notes if "has no name" in x), names=tuple(names), height=rows)
    for column, dtype in scan.collect_schema().items():
        if dtype.is_temporal():
            place = beyond_calendar(table.column(column))
            if place is not None:
                raise beyond_calendar_error(name, column, place)
    return table
