"""Dates: their place in time, and month, day of the week and hour as places on a circle."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from backpass.data.checked_json import Record, fault
from backpass.data.encoders.scaling import Scaling
from backpass.data.families import Floats
from backpass.data.kinds import Column
from backpass.data.values import Reader
from backpass.records import dataclass

DAY = 86_400.0
CIRCLES = ("month", "weekday", "hour")


def turns(seconds: Floats, circle: str) -> Floats:
    """(rows,) the place on a circle, from 0 to 1: January, Monday and midnight are 0. Seconds are since 1970."""
    if circle == "hour":
        return np.asarray(np.mod(seconds, DAY) / DAY)
    days = np.floor(seconds / DAY)
    if circle == "weekday":
        # 1 January 1970 was a Thursday.
        return np.asarray(np.mod(days + 3, 7) / 7)
    return np.mod(days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64), 12) / 12


@dataclass(frozen=True, eq=False)
class DateEncoder:
    """One column of dates, moments or times of day; circles that training rows do not move on are left out."""

    column: Column
    scaling: Scaling
    circles: tuple[str, ...]
    marks_missing: bool

    @classmethod
    def fit(cls, reader: Reader, column: Column, *, scale: bool) -> DateEncoder:
        seconds = reader.seconds(column)
        present = seconds[~np.isnan(seconds)]
        moving = tuple(circle for circle in CIRCLES if len(present) and np.ptp(turns(present, circle)) > 0)
        return cls(column, Scaling.fit(seconds, scale=scale), moving, len(present) < len(seconds))

    @property
    def feature_names(self) -> list[str]:
        name = self.column.name
        waves = [f"{name} {circle} {wave}" for circle in self.circles for wave in ("sin", "cos")]
        return [name, *waves, *([f"{name} is missing"] if self.marks_missing else [])]

    def fill(self, block: npt.NDArray[Any], reader: Reader) -> None:
        """Writes this column's features, (rows, features), into the block; missing dates stand at no place."""
        seconds = reader.seconds(self.column)
        missing = np.isnan(seconds)
        if reader.unlike is not None:
            cells = reader.table.column(self.column.name)
            reader.unlike.add(reader.table, self.column.name, self.scaling.far(seconds), cells, "no other is near")
        known = np.where(missing, 0.0, seconds)
        block[:, 0] = self.scaling.apply(seconds)
        for place, circle in enumerate(self.circles):
            angle = 2 * np.pi * turns(known, circle)
            block[:, 1 + 2 * place] = np.where(missing, 0.0, np.sin(angle))
            block[:, 2 + 2 * place] = np.where(missing, 0.0, np.cos(angle))
        if self.marks_missing:
            block[:, -1] = missing

    def to_json(self) -> dict[str, Any]:
        return {
            "scaling": self.scaling.to_json(),
            "circles": list(self.circles),
            "marks_missing": self.marks_missing,
        }

    @classmethod
    def from_json(cls, record: Record, column: Column) -> DateEncoder:
        scaling, circles = Scaling.from_json(record.record("scaling")), record.texts("circles")
        encoder = cls(column, scaling, circles, record.flag("marks_missing"))
        record.finish()
        if circles != tuple(circle for circle in CIRCLES if circle in circles):
            raise fault(f"{record.where}.circles", f"some of {', '.join(CIRCLES)}, in this order")
        return encoder
