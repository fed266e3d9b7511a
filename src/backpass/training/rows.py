"""Inputs, targets and row weights that belong together."""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from backpass.data.arrays import Array, Inputs, as_inputs, as_targets, as_weights, count_rows, take_rows
from backpass.errors import UsageError
from backpass.forward import flatten


class Rows:
    """The rows of a training or validation set.

    Attributes:
        inputs: an array or a dictionary of arrays, rows first.
        targets: one a row.
        weights: one a row, or None where all rows count the same.
        count: how many rows there are.
    """

    def __init__(self, inputs: Any, targets: Any, weights: Any, dtype: str) -> None:
        self.inputs: Inputs = as_inputs(inputs, dtype)
        self.count = count_rows(self.inputs)
        self.targets = as_targets(targets, self.count, dtype)
        self.weights: Array | None = None if weights is None else as_weights(weights, self.count, dtype)
        self._dtype = dtype

    def weighted(self, by_label: Mapping[int, float]) -> "Rows":
        """The rows, each weighing as much more as its class does; a class without a weight weighs 1."""
        own = np.ones(self.count, self._dtype) if self.weights is None else self.weights
        classes, inverse = np.unique(self.targets, return_inverse=True)
        of_class = np.array([by_label.get(int(label), 1.0) for label in classes], self._dtype)
        self.weights = own * of_class[inverse]
        return self

    def weight_of(self, rows: Array) -> float:
        """How much some rows count together."""
        return float(len(rows)) if self.weights is None else float(self.weights[rows].sum())

    def steps(self, batch_size: int) -> int:
        """How many batches an epoch has."""
        return -(-self.count // batch_size)

    def take(self, rows: Array | slice) -> list[Array]:
        """The inputs, targets and, where there are any, weights of some rows, as a flat list; of a slice not copied."""
        parts = [*flatten(take_rows(self.inputs, rows)), self.targets[rows]]
        return parts if self.weights is None else [*parts, self.weights[rows]]


def weights_by_label(labels: Array, class_weights: Mapping[int, float] | str) -> dict[int, float]:
    """The weight of each class; "balanced" lets every class count the same in all, at a mean weight of 1 a row.

    Raises:
        UsageError: the labels are no classes, a class has no weight, or a weight is none.
    """
    if labels.dtype.kind != "i" or labels.ndim != 1:
        raise UsageError("class weights need labels: the targets are not one whole number a row")
    classes, counts = np.unique(labels, return_counts=True)
    if class_weights == "balanced":
        return {int(label): len(labels) / (len(classes) * int(n)) for label, n in zip(classes, counts, strict=True)}
    if not isinstance(class_weights, Mapping):
        raise UsageError(f'class_weights is {class_weights!r}, expected "balanced" or a weight for each label')
    missing = [int(label) for label in classes if label not in class_weights]
    if missing:
        raise UsageError(f"class_weights has no weight for the label {missing[0]}")
    for label, weight in class_weights.items():
        if not isinstance(weight, Real) or not 0 <= weight < math.inf:
            raise UsageError(f"class_weights has {weight!r} for the label {label}, expected a number of 0 or more")
    return {int(label): float(weight) for label, weight in class_weights.items()}
