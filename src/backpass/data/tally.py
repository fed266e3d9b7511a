"""The different texts of a column and how often each occurs: what kinds are told by, whatever the number of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from backpass.data.numerals import missing_among
from backpass.records import dataclass

if TYPE_CHECKING:
    from polars import Series


@dataclass(frozen=True, eq=False)
class Tally:
    """Different texts, none of them missing, each with its number of rows; and how many rows are missing."""

    levels: Series
    counts: npt.NDArray[np.int64]
    missing: int

    @property
    def distinct(self) -> int:
        return self.levels.len()

    @property
    def present(self) -> int:
        """Rows with a value."""
        return int(self.counts.sum())

    def where(self, mask: Series) -> Tally:
        """Only the levels where the mask is true; the rows of the others count as neither present nor missing."""
        return Tally(self.levels.filter(mask), self.counts[mask.to_numpy()], self.missing)

    def without(self, tokens: tuple[str, ...]) -> Tally:
        """The same with further texts counted as missing."""
        kept = ~missing_among(self.levels, tokens)
        counts = self.counts[kept.to_numpy()]
        return Tally(self.levels.filter(kept), counts, self.missing + self.present - int(counts.sum()))


def tally_of(texts: Series, missing: tuple[str, ...]) -> Tally:
    """Counts the texts of a column; those among `missing`, in any case, and nulls are missing."""
    counted = texts.alias("level").value_counts(name="rows")
    counts = counted.get_column("rows").to_numpy().astype(np.int64)
    return Tally(counted.get_column("level"), counts, 0).without(missing)
