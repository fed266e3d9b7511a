"""What rows hold that no training row was like: a network answers for them, too, and nobody would know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backpass.data.naming import quoted
from backpass.records import dataclass

if TYPE_CHECKING:
    from backpass.data.table import Table


MOST = 5  # columns that are told of one by one
UNLIKE = "unlike all that was learned from"
RARE = "of a level of which one row was learned from at most"


@dataclass
class _Found:
    known: str
    how: str
    rows: int = 0
    example: str = ""
    row: int = 0


class Unlike:
    """Counts such rows, column by column, over all pieces of a table.

    Attributes:
        rows: that were looked at.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._found: dict[str, _Found] = {}

    def add(
        self, table: Table, column: str, strange: npt.NDArray[np.bool_], values: Any, known: str, how: str = UNLIKE
    ) -> None:
        """Of a column of `table` the (rows,) that are strange, its values, what was learned from instead, and how
        strange they are.
        """
        found = self._found.setdefault(column, _Found(known, how))
        count = int(np.count_nonzero(strange))
        if count and not found.rows:
            place = int(np.argmax(strange))
            value = values[place]
            found.example = f"{value:.6g}" if isinstance(value, (int, float)) else quoted(str(value))
            found.row = table.row_number(place)
        found.rows += count

    def notes(self) -> list[str]:
        """A line for each of the first columns that have such rows, and one for the rest."""
        told = [
            f"column {quoted(name)}: {found.rows:,} of {self.rows:,} rows {'is' if found.rows == 1 else 'are'} "
            f"{found.how}, such as {found.example} in row {found.row:,}: {found.known}"
            for name, found in self._found.items()
            if found.rows
        ]
        more = len(told) - MOST
        return told if more <= 0 else [*told[:MOST], f"and so it is with {more:,} more column{'s' * (more > 1)}"]
