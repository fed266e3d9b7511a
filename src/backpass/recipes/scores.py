"""The score on held-out rows, beside two baselines, and how far off it may be by chance."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from backpass.data.arrays import Array
from backpass.model import Predictions
from backpass.model.calibration import Calibration, Threshold
from backpass.model.metrics import of_target, rounded
from backpass.model.tabular import chosen, pinball
from backpass.records import dataclass

LEAST = 0.0005  # a margin of a part that is below rounds to 0: chance has no say, as in what is so by construction
Z95 = 1.96  # half the width of a 95 % interval, in standard errors


@dataclass(frozen=True, eq=False)
class Score:
    """The metrics of one way to predict.

    Attributes:
        label: what predicts.
        metrics: by name.
        margins: half the widths of their 95 % intervals, by sampling alone.
        losses: how bad each row's answer is, (rows,): minus the logarithm of the right class's probability, or the
            squared error, in several targets' variances; of quantiles their pinball loss.
        unanswered: of classes, by their numbers, those that some rows have and no answer is, with how many rows.
    """

    label: str
    metrics: dict[str, float]
    margins: dict[str, float]
    losses: Array
    unanswered: tuple[tuple[int, int], ...] = ()

    def of(self, target: str) -> "Score":
        """Of several heads that of one target; without what each row's loss is."""
        return Score(self.label, of_target(self.metrics, target), of_target(self.margins, target), np.zeros(0))

    def to_json(self) -> dict[str, Any]:
        return {"label": self.label, "metrics": finite(self.metrics), "margins": finite(self.margins)}


@np.errstate(over="ignore", invalid="ignore")  # squares of numbers near 1e300: such a margin is not finite
def score(label: str, predictions: Predictions, actual: Array) -> Score:
    """The metrics of `predictions` where `actual` was right: class numbers, or numbers in the table's units."""
    unanswered: tuple[tuple[int, int], ...] = ()
    if predictions.parts:
        beside = predictions.beside(actual)
        return _together(label, beside, [score(label, each, right) for each, right in beside])
    if predictions.probabilities is None:
        squares = (predictions.values.astype(np.float64) - actual) ** 2
        losses = (squares / np.maximum(actual.var(axis=0), np.finfo(np.float64).tiny)).mean(axis=1)
        if predictions.quantiles is not None:
            losses = pinball(predictions.quantiles, actual, predictions.levels)
        margins = _number_margins(predictions.values, actual)
        margins |= {"pinball": _of_mean(losses)} if predictions.quantiles is not None else {}
    else:
        given = predictions.probabilities[np.arange(len(actual)), actual].astype(np.float64)
        losses = -np.log(np.clip(given, 1e-15, 1))
        margins = _class_margins(predictions.probabilities, actual, predictions.threshold, losses)
        unanswered = _unanswered(chosen(predictions.probabilities, predictions.threshold), actual)
    return Score(label, predictions.scores(actual), margins, losses, unanswered)


def _unanswered(answers: Array, actual: Array) -> tuple[tuple[int, int], ...]:
    classes, counts = np.unique(actual, return_counts=True)
    answered = np.isin(classes, answers)
    return tuple((int(label), int(rows)) for label, rows in zip(classes[~answered], counts[~answered], strict=True))


def _together(label: str, beside: Sequence[tuple[Predictions, Array]], own: Sequence[Score]) -> Score:
    """Of several heads, from the scores of each, answers and what was right: all metrics, with the targets' names.

    A row's loss is the mean of theirs, each by what it is in the mean for the best answer that is the same for all.
    """
    names = [answers.names[0] for answers, _ in beside]
    named = list(zip(names, own, strict=True))
    metrics = {f"{key}_{name}": value for name, each in named for key, value in each.metrics.items()}
    margins = {f"{key}_{name}": value for name, each in named for key, value in each.margins.items()}
    losses = [each.losses / _alike(*pair) for each, pair in zip(own, beside, strict=True)]
    return Score(label, metrics, margins, np.mean(losses, axis=0))


def _alike(answers: Predictions, actual: Array) -> float:
    """The mean loss of the best answer that is the same for every row; 1 where that is nothing."""
    if answers.quantiles is not None:
        same = np.tile(np.quantile(actual, answers.levels), (len(actual), 1))
        return float(pinball(same, actual, answers.levels).mean()) or 1.0
    if answers.probabilities is None:
        return 1.0  # losses are in variances
    shares = np.bincount(actual) / len(actual)
    return float(-np.sum(shares * np.log(np.where(shares > 0, shares, 1.0)))) or 1.0


@np.errstate(over="ignore", invalid="ignore")
def surely_better(first: Score, second: Score) -> bool:
    """Is `first` better than `second` on the same rows, by more than chance may add or take (95 %)?"""
    gained = second.losses - first.losses
    return bool(np.mean(gained) > _of_mean(gained))


def _class_margins(probabilities: Array, labels: Array, threshold: Threshold | None, losses: Array) -> dict[str, float]:
    right = chosen(probabilities, threshold) == labels
    margins = {"accuracy": part_margin(float(right.mean()), len(right)), "log_loss": _of_mean(losses)}
    if probabilities.shape[1] == 2:
        margins["auc"] = _of_auc(probabilities[:, 1], labels == 1)
    return margins


def _of_mean(values: Array) -> float:
    """Half the interval of a mean: the standard deviation over the root of the number."""
    return Z95 * float(np.std(values)) / math.sqrt(len(values))


def part_margin(part: float, rows: int) -> float:
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
    """rmse and r2 by the delta method; of several targets none.

    Of r2, one less a ratio of two means over the rows, of squared errors and of squared distances from the mean, which
    go up and down together: what always says the mean has an r2 of 0 on any rows, not give or take half.
    """
    if predicted.shape[1] > 1:
        return {}
    errors = predicted[:, 0].astype(np.float64) - actual[:, 0]
    of_square, square = _of_mean(errors**2), float(np.mean(errors**2))
    rmse = math.sqrt(square)
    distances, variance = (actual[:, 0] - actual[:, 0].mean()) ** 2, float(np.var(actual[:, 0]))
    return {
        "rmse": of_square / (2 * rmse) if rmse else 0.0,
        "mae": _of_mean(np.abs(errors)),
        "r2": _of_mean(errors**2 - square / variance * distances) / variance if variance else math.nan,
    }


def baseline(like: Predictions, targets: Array, actual: Array, class_weights: tuple[float, ...] = ()) -> Score:
    """The score of what says the same for every row: the most common class, the mean, or the quantiles, of the training
    `targets`.

    Its probabilities are how common each class is. With class weights these are, as those of a network that learned
    with them, those of a table in which rows stand so often; the answer is the most common class all the same.
    """
    rows = len(actual)
    if like.quantiles is not None:
        same = np.tile(np.quantile(targets, like.levels), (rows, 1))
        median = np.full((rows, 1), np.quantile(targets, np.clip(0.5, like.levels[0], like.levels[-1])))
        constant = Predictions(like.names, median, levels=like.levels, quantiles=same)
        return score("always the same", constant, actual)
    if like.probabilities is None:
        mean = np.tile(targets.mean(axis=0), (rows, 1))
        return score("always the mean", Predictions(like.names, mean), actual)
    counts = np.bincount(targets, minlength=len(like.classes))
    answer = like.classes[int(np.argmax(counts))]

    def of(weights: Array) -> Score:
        probabilities = np.tile(weights / weights.sum(), (rows, 1))
        return score(
            f'always "{answer}"', Predictions(like.names, np.full(rows, answer), like.classes, probabilities), actual
        )

    found, weighed = of(counts), of(counts * np.array(class_weights or 1.0))
    for values, right in ((weighed.metrics, found.metrics), (weighed.margins, found.margins)):
        values["accuracy"] = right["accuracy"]
    return weighed


def baseline_of_all(like: Predictions, targets: Array, actual: Array, calibration: Calibration) -> Score:
    """The same of all heads."""
    if not like.parts:
        return baseline(like, targets, actual, calibration.class_weights)
    beside, learned = like.beside(actual), (column for _, column in like.beside(targets))
    weights = (part.class_weights for part in calibration.heads)
    own = [
        baseline(each, known, right, of_class)
        for (each, right), known, of_class in zip(beside, learned, weights, strict=True)
    ]
    return _together("always the same", beside, own)


def finite(values: dict[str, float]) -> dict[str, float | None]:
    """For JSON, which has no NaN."""
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def table(scores: Sequence[Score], heads: Sequence[str] = ()) -> list[str]:
    """The scores as a table for people; of several heads, by the names of their targets, a table each."""
    if heads:
        return [
            line
            for name in heads
            for line in (name, *(f"  {row}" for row in table([each.of(name) for each in scores])))
        ]
    names = told_names(scores)
    rows = [["", *map(title, names)]]
    rows += [[each.label, *(_cell(each, name) for name in names)] for each in scores]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def told_names(scores: Sequence[Score]) -> list[str]:
    """The metrics that are told side by side: of several targets, which have units of their own, R²."""
    every = scores[0].metrics
    names = [name for name in every if name.startswith("r2_")]
    return names or [
        name for name in every if all(name in each.metrics for each in scores) and not name.startswith("below_")
    ]


def title(name: str) -> str:
    """What people call a metric."""
    return f"R² {name.removeprefix('r2_')}" if name.startswith("r2_") else _TITLES.get(name, name)


_TITLES = {
    "auc": "AUC",
    "log_loss": "log loss",
    "calibration_error": "calib. error",
    "rmse": "RMSE",
    "mae": "mean abs. error",
    "r2": "R²",
    "pinball": "pinball loss",
}
_PARTS = ("accuracy", "auc", "log_loss", "calibration_error", "r2")


def shown_value(name: str, value: float) -> str:
    """A metric with as many digits as people look at."""
    return f"{value:z.3f}" if name in _PARTS or name.startswith("r2_") else rounded(value)


def _cell(each: Score, name: str) -> str:
    value, margin = each.metrics[name], each.margins.get(name, math.nan)
    part = name in _PARTS or name.startswith("r2_")
    shown = shown_value(name, value)
    if not math.isfinite(margin) or (part and margin < LEAST):
        return shown
    return f"{shown} ± {margin:.3f}" if part else _amount(value, margin)


def _amount(value: float, margin: float) -> str:
    """An amount with as many digits as its margin gives sense to."""
    digits = 1 - math.floor(math.log10(margin)) if margin > 0 else 3
    if not -9 <= digits <= 9:
        return f"{value:.4g} ± {margin:.2g}"
    places = max(0, digits)
    return f"{round(value, digits):,.{places}f} ± {round(margin, digits):,.{places}f}"
