"""How good predictions are, in the numbers people know."""

from typing import Any

import numpy as np

from backpass.data.ranks import auc, ranks

__all__ = ["accuracy", "auc", "log_loss", "mae", "r2", "ranks", "rmse"]

Array = np.ndarray[Any, Any]


def accuracy(probabilities: Array, labels: Array) -> float:
    """The part of the rows whose most probable class is the right one. `probabilities` has shape (rows, classes)."""
    return float(np.mean(np.argmax(probabilities, axis=1) == labels))


def log_loss(probabilities: Array, labels: Array) -> float:
    """Minus the mean logarithm of the probability given to the right class, held at least 1e-15 from 0."""
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.mean(np.log(np.clip(given, 1e-15, 1.0))))


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
