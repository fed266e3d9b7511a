"""What no single number says of predictions: which classes are taken for which, what other thresholds would give."""

import numpy as np

from backpass.data.arrays import Array
from backpass.model.metrics import BINS


def confusion(answered: Array, labels: Array, classes: int) -> Array:
    """(classes, classes): how many rows of each class, by lines, were answered with each, by columns."""
    return np.bincount(labels * classes + answered, minlength=classes**2).reshape(classes, classes)


def rates_by_threshold(scores: Array, positive: Array) -> tuple[Array, Array, Array]:
    """Thresholds from high to low, one for each different score, and the positive and negative rows from there on up.

    The first threshold is infinite: no row reaches it.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order].astype(np.float64), positive[order]
    last = np.flatnonzero(np.append(np.diff(ranked) != 0, len(ranked) > 0))
    true, false = np.cumsum(hits)[last], np.cumsum(~hits)[last]
    return np.append(np.inf, ranked[last]), np.append(0, true), np.append(0, false)


def average_precision(true: Array, false: Array) -> float:
    """The precision at each threshold, weighted by the recall gained there; see `rates_by_threshold`.

    NaN where no row is positive.
    """
    if not true[-1]:
        return float("nan")
    precision = true[1:] / (true[1:] + false[1:])
    return float(np.sum(np.diff(true) * precision) / true[-1])


def reliability(probabilities: Array, labels: Array) -> list[tuple[float, float, int, float, float]]:
    """The bins of `metrics.calibration_error` that hold rows: from, to, rows, how sure of these, and the part right."""
    sure = probabilities.max(axis=1).astype(np.float64)
    right = np.argmax(probabilities, axis=1) == labels
    bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    counts, sums, hits = (np.bincount(bins, weights, BINS) for weights in (None, sure, right))
    return [
        (each / BINS, (each + 1) / BINS, int(counts[each]), sums[each] / counts[each], hits[each] / counts[each])
        for each in np.flatnonzero(counts).tolist()
    ]
