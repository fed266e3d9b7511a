"""How good predictions are, in the numbers people know."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from backpass.data.ranks import auc, ranks

__all__ = ["accuracy", "auc", "calibration_error", "log_loss", "mae", "r2", "ranks", "rmse", "rounded"]

Array = np.ndarray[Any, Any]

BINS = 15  # of equal width, as Guo et al. have them


def accuracy(probabilities: Array, labels: Array) -> float:
    """The part of the rows whose most probable class is the right one. `probabilities` has shape (rows, classes)."""
    return float(np.mean(np.argmax(probabilities, axis=1) == labels))


def log_loss(probabilities: Array, labels: Array) -> float:
    """Minus the mean logarithm of the probability given to the right class, held at least 1e-15 from 0."""
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.mean(np.log(np.clip(given, 1e-15, 1.0))))


def calibration_error(probabilities: Array, labels: Array) -> float:
    """The expected calibration error: how far the highest probabilities are from how often they are right.

    The mean over the rows of the difference of the two in the row's bin, of 15 bins of equal width from 0 to 1.

    Sources: Naeini, Cooper, Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, 2015; Guo,
    Pleiss, Sun, Weinberger, On calibration of modern neural networks, 2017, equation 3. It is above 0 by chance alone,
    the more so the fewer rows there are.
    """
    sure = probabilities.max(axis=1).astype(np.float64)
    off = (np.argmax(probabilities, axis=1) == labels) - sure
    bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    return float(np.abs(np.bincount(bins, off, BINS)).sum() / len(labels))


def f1(true_yes: Any, false_yes: Any, false_no: Any, true_no: Any) -> Any:  # noqa: ARG001 - all rates take the four
    """The harmonic mean of precision and recall (van Rijsbergen, Information retrieval, 1979); 0 where neither is."""
    every = 2 * true_yes + false_yes + false_no
    return 2 * true_yes / np.where(every > 0, every, 1)


def balanced_accuracy(true_yes: Any, false_yes: Any, false_no: Any, true_no: Any) -> Any:
    """The mean of the parts of both classes that are right; NaN where there is one class only."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (np.divide(true_yes, true_yes + false_no) + np.divide(true_no, true_no + false_yes)) / 2


def youden(true_yes: Any, false_yes: Any, false_no: Any, true_no: Any) -> Any:
    """Sensitivity + specificity - 1 (Youden, Index for rating diagnostic tests, 1950)."""
    return 2 * balanced_accuracy(true_yes, false_yes, false_no, true_no) - 1


RATES: Mapping[str, Callable[[Any, Any, Any, Any], Any]] = MappingProxyType(
    {"f1": f1, "balanced_accuracy": balanced_accuracy, "youden": youden}
)
"""What a threshold may be chosen for, from how many rows are rightly and wrongly yes, and wrongly and rightly no."""


def rates(answers: Array, labels: Array) -> dict[str, float]:
    """All of `RATES`, for answers and right labels of two classes, 0 and 1; the second is yes."""
    counts = [float(np.sum((answers == a) & (labels == b))) for a, b in ((1, 1), (1, 0), (0, 1), (0, 0))]
    return {name: float(rate(*counts)) for name, rate in RATES.items()}


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


NAMES = ("accuracy", "log_loss", "calibration_error", "auc", *RATES, "rmse", "mae", "r2", "pinball")
_OF_INTERVALS = "interval_coverage", "interval_width"


def of_target(scores: Mapping[str, float], target: str) -> dict[str, float]:
    """Of the scores of several heads those of one target, by their own names."""
    end = f"_{target}"
    below = [name.removesuffix(end) for name in scores if name.startswith("below_q") and name.endswith(end)]
    known = (*NAMES, *_OF_INTERVALS, *(name for name in below if _is_number(name.removeprefix("below_q"))))
    return {name: scores[f"{name}{end}"] for name in known if f"{name}{end}" in scores}


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def rounded(value: float) -> str:
    """An amount in four digits, or in those before the point where they are more."""
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}"
