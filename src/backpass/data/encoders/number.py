"""Numbers and booleans: one scaled feature, and a second one where training rows lacked values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from backpass.data.checked_json import Record
from backpass.data.codes import are_codes
from backpass.data.encoders.scaling import Scaling
from backpass.data.kinds import Column
from backpass.data.values import Reader
from backpass.records import dataclass


@dataclass(frozen=True, eq=False)
class NumberEncoder:
    """One column of numbers or booleans."""

    column: Column
    scaling: Scaling
    marks_missing: bool

    @classmethod
    def fit(cls, reader: Reader, column: Column, *, scale: bool) -> NumberEncoder:
        values = reader.numbers(column)
        return cls(column, Scaling.fit(values, scale=scale), bool(np.isnan(values).any()))

    @property
    def feature_names(self) -> list[str]:
        name = self.column.name
        return [name, f"{name} is missing"] if self.marks_missing else [name]

    def fill(self, block: npt.NDArray[Any], reader: Reader) -> None:
        """Writes this column's features, (rows, features), into the block."""
        values = reader.numbers(self.column)
        if reader.unlike is not None:
            reader.unlike.add(reader.table, self.column.name, self.scaling.far(values), values, self.scaling.known)
        block[:, 0] = self.scaling.apply(values)
        if self.marks_missing:
            block[:, 1] = np.isnan(values)

    def few(self, cells: Sequence[Any]) -> list[list[float]] | None:
        """The features of a few rows, for plain numbers; None where `fill` must judge them."""
        if any(isinstance(cell, str) for cell in cells):
            return None
        values = [math.nan if cell is None else float(cell) for cell in cells]
        if self.column.codes:
            values = np.where(are_codes(np.array(values), self.column.codes), np.nan, values).tolist()
        if any(map(math.isinf, values)):
            return None
        scaled = map(self.scaling.apply_one, values)
        return (
            [[x, float(math.isnan(v))] for x, v in zip(scaled, values, strict=True)]
            if self.marks_missing
            else [[x] for x in scaled]
        )

    def to_json(self) -> dict[str, Any]:
        return {"scaling": self.scaling.to_json(), "marks_missing": self.marks_missing}

    @classmethod
    def from_json(cls, record: Record, column: Column) -> NumberEncoder:
        encoder = cls(column, Scaling.from_json(record.record("scaling")), record.flag("marks_missing"))
        record.finish()
        return encoder
