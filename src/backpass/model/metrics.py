"""How good predictions are, in the numbers people know."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def accuracy(probabilities: Array, labels: Array) -> float:
    """The part of the rows whose most probable class is the right one. `probabilities` has shape (rows, classes)."""
    return float(np.mean(np.argmax(probabilities, axis=1) == labels))


def log_loss(probabilities: Array, labels: Array) -> float:
    """Minus the mean logarithm of the probability given to the right class, held at least 1e-15 from 0."""
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.mean(np.log(np.clip(given, 1e-15, 1.0))))


def auc(scores: Array, positive: Array) -> float:
    """The area under the ROC curve: the chance that a positive row scores above a negative one, ties counting half.

    By the ranks of the positive rows (Mann and Whitney, 1947). NaN where there is one class only.
    """
    positive = positive.astype(bool)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    rank_sum = float(ranks(scores)[positive].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def ranks(values: Array) -> Array:
    """The rank of each value, from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2.0)[inverse]


def rmse(predicted: Array, actual: Array) -> float:
    """The root of the mean squared error."""
    return float(np.sqrt(np.mean((predicted.astype(np.float64) - actual) ** 2)))


def mae(predicted: Array, actual: Array) -> float:
    """The mean absolute error."""
    return float(np.mean(np.abs(predicted.astype(np.float64) - actual)))


def r2(predicted: Array, actual: Array) -> float:
    """The part of the targets' variance that the predictions explain; NaN where all targets are equal."""
    residual = float(np.sum((predicted.astype(np.float64) - actual) ** 2))
    total = float(np.sum((actual - np.mean(actual)) ** 2))
    return 1 - residual / total if total > 0 else float("nan")


def standard_error(part: float, rows: int) -> float:
    """How far a part (an accuracy) measured on so many rows is typically off: the binomial standard error."""
    return float(np.sqrt(part * (1 - part) / rows)) if rows else float("nan")
