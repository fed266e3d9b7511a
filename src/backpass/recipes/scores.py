"""The score on held-out rows, beside two baselines, and how far off it may be by chance."""

import math
from typing import Any

import numpy as np

from backpass.data.arrays import Array
from backpass.model import Predictions
from backpass.model.calibration import Threshold
from backpass.model.tabular import chosen
from backpass.records import dataclass

Z95 = 1.96  # half the width of a 95 % interval, in standard errors


@dataclass(frozen=True)
class Score:
    """The metrics of one way to predict; `margins` are half the widths of their 95 % intervals, by sampling alone."""

    label: str
    metrics: dict[str, float]
    margins: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        return {"label": self.label, "metrics": finite(self.metrics), "margins": finite(self.margins)}


@np.errstate(over="ignore", invalid="ignore")  # squares of numbers near 1e300: such a margin is not finite
def score(label: str, predictions: Predictions, actual: Array) -> Score:
    """The metrics of `predictions` where `actual` was right: class numbers, or numbers in the table's units."""
    if predictions.probabilities is None:
        margins = _number_margins(predictions.values, actual)
    else:
        margins = _class_margins(predictions.probabilities, actual, predictions.threshold)
    return Score(label, predictions.scores(actual), margins)


def _class_margins(probabilities: Array, labels: Array, threshold: Threshold | None) -> dict[str, float]:
    right = chosen(probabilities, threshold) == labels
    losses = -np.log(np.clip(probabilities[np.arange(len(labels)), labels].astype(np.float64), 1e-15, 1))
    margins = {"accuracy": _of_part(float(right.mean()), len(right)), "log_loss": _of_mean(losses)}
    if probabilities.shape[1] == 2:
        margins["auc"] = _of_auc(probabilities[:, 1], labels == 1)
    return margins


def _of_mean(values: Array) -> float:
    """Half the interval of a mean: the standard deviation over the root of the number."""
    return Z95 * float(np.std(values)) / math.sqrt(len(values))


def _of_part(part: float, rows: int) -> float:
    """Half the interval of a part of so many rows: Wilson (1927), which is not empty for a part of 0 or 1."""
    spread = part * (1 - part) / rows + Z95**2 / (4 * rows**2)
    return Z95 / (1 + Z95**2 / rows) * math.sqrt(spread)


def _of_auc(scores: Array, positive: Array) -> float:
    """By the placements of DeLong, DeLong and Clarke-Pearson (1988), equation for the variance of one area."""
    from backpass.model.metrics import ranks

    m, n = int(positive.sum()), int((~positive).sum())
    if m < 2 or n < 2:
        return math.nan
    everywhere = ranks(scores)
    of_positives = (everywhere[positive] - ranks(scores[positive])) / n
    of_negatives = 1 - (everywhere[~positive] - ranks(scores[~positive])) / m
    return Z95 * math.sqrt(float(np.var(of_positives, ddof=1)) / m + float(np.var(of_negatives, ddof=1)) / n)


def _number_margins(predicted: Array, actual: Array) -> dict[str, float]:
    """rmse and r2 by the delta method from the mean squared error; of several targets none."""
    if predicted.shape[1] > 1:
        return {}
    errors = predicted[:, 0].astype(np.float64) - actual[:, 0]
    of_square, rmse = _of_mean(errors**2), math.sqrt(float(np.mean(errors**2)))
    variance = float(np.var(actual[:, 0]))
    return {
        "rmse": of_square / (2 * rmse) if rmse else 0.0,
        "mae": _of_mean(np.abs(errors)),
        "r2": of_square / variance if variance else math.nan,
    }


def constant_predictions(like: Predictions, targets: Array, rows: int) -> Predictions:
    """What says the same for every row: how common each class is among the training targets, or their mean."""
    if like.probabilities is None:
        return Predictions(like.names, np.tile(targets.mean(axis=0), (rows, 1)))
    shares = np.bincount(targets, minlength=len(like.classes)) / len(targets)
    values = np.full(rows, like.classes[int(np.argmax(shares))])
    return Predictions(like.names, values, like.classes, np.tile(shares, (rows, 1)))


def finite(values: dict[str, float]) -> dict[str, float | None]:
    """For JSON, which has no NaN."""
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def table(scores: list[Score]) -> list[str]:
    """The scores as a table for people."""
    every = scores[0].metrics
    # Several targets have units of their own: what can be told of them side by side is R².
    names = [name for name in every if name.startswith("r2_")]
    names = names or [name for name in every if all(name in each.metrics for each in scores)]
    rows = [["", *map(_title, names)]]
    rows += [[each.label, *(_cell(each, name) for name in names)] for each in scores]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _title(name: str) -> str:
    return f"R² {name.removeprefix('r2_')}" if name.startswith("r2_") else _TITLES.get(name, name)


_TITLES = {
    "auc": "AUC",
    "log_loss": "log loss",
    "calibration_error": "calib. error",
    "rmse": "RMSE",
    "mae": "mean abs. error",
    "r2": "R²",
}
_PARTS = ("accuracy", "auc", "log_loss", "calibration_error", "r2")


def _cell(each: Score, name: str) -> str:
    value, margin = each.metrics[name], each.margins.get(name, math.nan)
    part = name in _PARTS or name.startswith("r2_")
    shown = f"{value:z.3f}" if part else f"{value:.4g}"
    if not math.isfinite(margin):
        return shown
    return f"{shown} ± {margin:.3f}" if part else _amount(value, margin)


def _amount(value: float, margin: float) -> str:
    """An amount with as many digits as its margin gives sense to."""
    digits = 1 - math.floor(math.log10(margin)) if margin > 0 else 3
    if not -9 <= digits <= 9:
        return f"{value:.4g} ± {margin:.2g}"
    places = max(0, digits)
    return f"{round(value, digits):,.{places}f} ± {round(margin, digits):,.{places}f}"
