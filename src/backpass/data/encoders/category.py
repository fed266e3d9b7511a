"""Categories: one feature a level where there are few, a level's number for an embedding where there are many."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from backpass.data.checked_json import Record, fault
from backpass.data.encoders.unlike import RARE, UNLIKE
from backpass.data.kinds import Column
from backpass.data.lazy import pl
from backpass.data.numerals import MISSING_TEXT
from backpass.data.values import Reader
from backpass.records import dataclass

# Among many levels, one of a single row cannot be learned: it counts as unseen, which so gets rows to learn from.
LEAST_ROWS_OF_MANY = 2
MOST_LEVELS = 100_000


@dataclass(frozen=True, eq=False)
class Levels:
    """A column's levels in the order of their numbers from 1; 0 is for all others.

    Where training rows lacked values, missing is a level of its own, the last; else it is 0.
    """

    column: Column
    texts: tuple[str, ...]
    marks_missing: bool

    @classmethod
    def fit(cls, reader: Reader, column: Column, few: int) -> tuple[Levels, bool]:
        """The levels of training rows, and if they are more than `few`: then only those of two rows or more stay."""
        texts = reader.texts(column)
        counted = texts.drop_nulls().alias("level").value_counts(name="rows")
        marks_missing = texts.has_nulls()
        many = counted.height + marks_missing > few
        if many:
            # The commonest stay if there are more than any network could tell apart.
            counted = counted.filter(counted["rows"] >= LEAST_ROWS_OF_MANY).sort("rows", "level", descending=True)
            counted = counted.head(MOST_LEVELS)
        return cls(column, tuple(counted["level"].sort()), marks_missing), many

    @property
    def size(self) -> int:
        """How many level numbers there are, 0 for unseen levels among them."""
        return 1 + len(self.texts) + self.marks_missing

    def codes(self, reader: Reader, *, many: bool = False) -> npt.NDArray[np.int32]:
        """(rows,) the number of each row's level; of many levels the rarest were left out."""
        texts = reader.texts(self.column)
        numbers = np.arange(1, 1 + len(self.texts), dtype=np.int32)
        codes = texts.replace_strict(list(self.texts), numbers, default=0, return_dtype=pl.Int32)
        if reader.unlike is not None:
            strange = ((codes == 0) & texts.is_not_null()).to_numpy()
            how = RARE if many else UNLIKE
            reader.unlike.add(reader.table, self.column.name, strange, texts, "it counts as unknown", how)
        if self.marks_missing:
            codes = codes.set(texts.is_null(), self.size - 1)
        return codes.to_numpy()

    def few(self, cells: Sequence[Any]) -> list[int] | None:
        """The numbers of the levels of a few rows, for texts and whole numbers; None where `codes` must judge them."""
        if not all(cell is None or type(cell) in (str, int) for cell in cells):
            return None
        texts = ["" if cell is None else str(cell).strip() for cell in cells]
        missing = self.size - 1 if self.marks_missing else 0
        return [missing if text.lower() in MISSING_TEXT else self._numbers.get(text, 0) for text in texts]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {text: number for number, text in enumerate(self.texts, start=1)}

    def to_json(self) -> dict[str, Any]:
        return {"levels": list(self.texts), "marks_missing": self.marks_missing}

    @classmethod
    def from_json(cls, record: Record, column: Column) -> Levels:
        levels = cls(column, record.texts("levels"), record.flag("marks_missing"))
        record.finish()
        if len(set(levels.texts)) < len(levels.texts):
            raise fault(f"{record.where}.levels", "a list of different levels")
        return levels


@dataclass(frozen=True, eq=False)
class OneHotEncoder:
    """One feature a level; all are 0 for a level that training did not have."""

    levels: Levels

    @property
    def column(self) -> Column:
        return self.levels.column

    @property
    def feature_names(self) -> list[str]:
        name = self.column.name
        named = [f"{name}={text}" for text in self.levels.texts]
        return [*named, f"{name} is missing"] if self.levels.marks_missing else named

    def fill(self, block: npt.NDArray[Any], reader: Reader) -> None:
        """Writes this column's features, (rows, features), into the block."""
        codes = self.levels.codes(reader)
        block[:] = 0
        known = np.flatnonzero(codes)
        block[known, codes[known] - 1] = 1

    def few(self, cells: Sequence[Any]) -> list[list[float]] | None:
        """The features of a few rows; see `Levels.few`."""
        codes, width = self.levels.few(cells), self.levels.size - 1
        return None if codes is None else [[float(code == place) for place in range(1, 1 + width)] for code in codes]

    def to_json(self) -> dict[str, Any]:
        return self.levels.to_json()

    @classmethod
    def from_json(cls, record: Record, column: Column) -> OneHotEncoder:
        return cls(Levels.from_json(record, column))
