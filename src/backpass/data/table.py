"""A table in memory: named columns of equal length, and the name to call it by in messages."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backpass.data.naming import of_columns, quoted
from backpass.errors import TableError
from backpass.records import dataclass

if TYPE_CHECKING:
    import polars as pl

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Table:
    """Columns as they were in the file: text formats hold text alone, typed formats keep their types.

    `name` is for messages ("loans.csv"), `notes` says what reading had to decide, `delimiter` is that of a text
    table and None for typed ones. `numbering` keeps the file's row numbers when rows were taken out.
    """

    name: str
    frame: pl.DataFrame
    notes: tuple[str, ...] = ()
    delimiter: str | None = None
    numbering: Indices | None = None

    @staticmethod
    def from_data(data: Any, *, name: str = "the table") -> Table:
        """A table from a dict of columns, or from a polars, pandas or other data frame.

        Raises TableError for columns of different lengths, columns that are not one-dimensional, and no rows.
        """
        # Here, for memory.py builds Tables.
        from backpass.data.memory import table_from_data

        return table_from_data(data, name=name)

    @property
    def columns(self) -> list[str]:
        """The columns' names, in order."""
        return list(self.frame.columns)

    @property
    def rows(self) -> int:
        """How many data rows there are."""
        return self.frame.height

    def column(self, name: str) -> pl.Series:
        """One column; raises TableError, offering the closest name, where there is none."""
        if name not in self.columns:
            raise TableError(f"{self.name} has no column {quoted(name)}. {of_columns(name, self.columns)}")
        return self._read(name)

    def _read(self, name: str) -> pl.Series:
        return self.frame.get_column(name)

    def take(self, indices: npt.ArrayLike) -> Table:
        """The rows at these positions (from 0), in this order; messages keep naming the file's rows."""
        chosen = np.asarray(indices, dtype=np.int64)
        numbering = np.arange(self.rows) if self.numbering is None else self.numbering
        return replace(self, frame=self._rows(chosen), numbering=numbering[chosen])

    def _rows(self, chosen: Indices) -> pl.DataFrame:
        if np.any(np.diff(chosen, prepend=-1) <= 0):
            return self.frame[chosen]
        # A file that was read is a frame in pieces, of which a mask picks rising rows in a fifth of the time.
        mask = np.zeros(self.rows, np.bool_)
        mask[chosen] = True
        return self.frame.filter(mask)

    def fingerprint(self) -> dict[str, Any]:
        """The number of rows, and a sum over each column's values and their order, as text; and what made the sums.

        Equal tables have equal ones, by one version of polars.
        """
        from importlib.metadata import version

        weights = 2 * np.arange(self.rows, dtype=np.uint64) + np.uint64(1)
        with np.errstate(over="ignore"):
            sums = {name: int((self.column(name).hash().to_numpy() * weights).sum()) for name in self.columns}
        columns = {name: f"{value:016x}" for name, value in sums.items()}
        return {"rows": self.rows, "columns": columns, "sums": f"polars {version('polars')}"}

    def row_number(self, position: int) -> int:
        """The number of a data row in the file, from 1, the header not counted."""
        return 1 + (position if self.numbering is None else int(self.numbering[position]))
