"""Ranks, and the area under the ROC curve that follows from them."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def ranks(values: Array) -> Array:
    """The rank of each value, from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2.0)[inverse]


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
