"""Bringing numbers to a mean of 0 and a deviation of 1, heavy tails by way of their ranks."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from backpass.data.checked_json import Record, fault
from backpass.data.families import Floats
from backpass.records import dataclass

MOST_KNOTS = 256
# A column is heavy-tailed if a value lies this many deviations from the mean, or if it is skewed this much.
FAR, SKEWED = 6.0, 2.0
# Two-valued columns are never spread further than to a range of 10: a rare 1 among zeros would come out at hundreds.
LEAST_SPREAD_OF_TWO = 0.1
# Nothing, however far from all that training saw, comes out larger than this.
LIMIT = 1e4
# Twice as far from the mean as anything in a column that is not heavy-tailed. Of one that is, its range is known.
FAR_OFF = 2 * FAR


@dataclass(frozen=True, eq=False)
class Scaling:
    """x -> (g(x) - center) / spread, where g maps through knots to scores, or is x itself where there are none.

    `fill` stands in the result for missing values.
    """

    center: float = 0.0
    spread: float = 1.0
    fill: float = 0.0
    knots: Floats | None = None
    scores: Floats | None = None

    @classmethod
    def fit(cls, values: Floats, *, scale: bool = True) -> Scaling:
        """From training values, NaN where missing. Without `scale` numbers stay, and their mean stands for missing."""
        missing = np.isnan(values)
        present = values[~missing] if missing.any() else values
        if not len(present):
            return cls()
        center, spread = moments(present)
        if not scale:
            return cls(fill=center)
        low, high = float(present.min()), float(present.max())
        if np.all((present == low) | (present == high)):
            return cls(center, max(spread, LEAST_SPREAD_OF_TWO * (high / 2 - low / 2) * 2))
        if not _heavy_tailed(present, center, spread):
            return cls(center, spread)
        knots, scores = normal_knots(present)
        return cls(*moments(np.interp(present, knots, scores)), knots=knots, scores=scores)

    @property
    def scales(self) -> bool:
        """If it changes numbers at all."""
        return (self.center, self.spread) != (0.0, 1.0) or self.knots is not None

    def apply(self, values: Floats) -> Floats:
        """(rows,) scaled values, with `fill` for NaN."""
        mapped = values if self.knots is None or self.scores is None else np.interp(values, self.knots, self.scores)
        if self.scales:
            with np.errstate(over="ignore"):
                mapped = mapped - self.center
                mapped /= self.spread
                np.clip(mapped, -LIMIT, LIMIT, out=mapped)
        missing = np.isnan(values)
        return np.where(missing, self.fill, mapped) if missing.any() else mapped

    def far(self, values: Floats) -> npt.NDArray[np.bool_]:
        """(rows,) which values lie far from all that it was fitted to: none where numbers stay as they are."""
        with np.errstate(over="ignore"):
            if self.knots is not None:
                low, high = self.knots[0], self.knots[-1]
                far: npt.NDArray[np.bool_] = np.maximum(low - values, values - high) > high - low
            else:
                # The mean of huge values is known to some digits only.
                near = max(FAR_OFF * self.spread, 1e-9 * abs(self.center)) if self.scales else math.inf
                far = np.abs(values - self.center) > near
        return far

    @property
    def known(self) -> str:
        """Where all that it was fitted to lies, for people."""
        if self.knots is not None:
            return f"that was from {self.knots[0]:.6g} to {self.knots[-1]:.6g}"
        return f"that was within {FAR_OFF:g} times {self.spread:.6g} of {self.center:.6g}"

    def apply_one(self, value: float) -> float:
        """As `apply` of one number, without the cost of arrays."""
        if math.isnan(value):
            return self.fill
        mapped = (
            value if self.knots is None or self.scores is None else float(np.interp(value, self.knots, self.scores))
        )
        return min(max((mapped - self.center) / self.spread, -LIMIT), LIMIT) if self.scales else mapped

    def to_json(self) -> dict[str, Any]:
        return {
            "center": self.center,
            "spread": self.spread,
            "fill": self.fill,
            "knots": [] if self.knots is None else self.knots.tolist(),
            "scores": [] if self.scores is None else self.scores.tolist(),
        }

    @classmethod
    def from_json(cls, record: Record) -> Scaling:
        center, spread, fill = record.number("center"), record.positive("spread"), record.number("fill")
        knots, scores = np.array(record.numbers("knots")), np.array(record.numbers("scores"))
        record.finish()
        if len(knots) != len(scores) or len(knots) > MOST_KNOTS or len(knots) == 1:
            raise fault(f"{record.where}.knots", f"a list as long as the scores, of at most {MOST_KNOTS}")
        if np.any(np.diff(knots) <= 0) or np.any(np.diff(scores) <= 0):
            raise fault(f"{record.where}.knots", "a rising list with rising scores")
        return cls(center, spread, fill, knots, scores) if len(knots) else cls(center, spread, fill)


def moments(values: Floats) -> tuple[float, float]:
    """Mean and standard deviation, 1 in place of a deviation of 0; squares of huge values do not overflow."""
    largest = float(np.abs(values).max())
    if largest < np.finfo(np.float64).tiny:
        return 0.0, 1.0
    # Dividing rounds: only values whose squares would not fit are scaled.
    unit = 1.0 if 1e-100 < largest < 1e100 else largest
    scaled = values / unit if unit != 1 else values
    mean = float(scaled.mean())
    deviation = float(np.sqrt(np.mean((scaled - mean) ** 2))) * unit
    # Equal values may differ from their mean by rounding alone.
    negligible = deviation <= 1e-12 * abs(mean * unit) or deviation < np.finfo(np.float64).tiny
    return mean * unit, 1.0 if negligible else deviation


def _heavy_tailed(values: Floats, center: float, spread: float) -> bool:
    with np.errstate(over="ignore"):
        deviations = (values - center) / spread
    if not np.all(np.isfinite(deviations)) or np.abs(deviations).max() > FAR:
        return True
    return bool(abs(np.mean(deviations * deviations * deviations)) > SKEWED)


def normal_knots(values: Floats) -> tuple[Floats, Floats]:
    """Rising values, at most 256, each with the normal score of its rank; equal values share the middle of theirs."""
    ranked = np.sort(values)
    places = np.unique(np.round(np.linspace(0, len(ranked) - 1, MOST_KNOTS)).astype(np.int64))
    knots = np.unique(ranked[places])
    middle = (np.searchsorted(ranked, knots, "left") + np.searchsorted(ranked, knots, "right")) / 2
    return knots, _normal_scores(middle / len(ranked))


def _normal_scores(shares: Floats) -> Floats:
    normal = NormalDist()
    scores: npt.NDArray[np.float64] = np.array([normal.inv_cdf(share) for share in shares])
    return scores
