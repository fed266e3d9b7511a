"""Losses for classes and yes-or-no labels. Outputs are logits or scores: no softmax or sigmoid stands before them."""

from typing import Any

import numpy as np

from backpass.errors import ShapeError
from backpass.losses.checks import Array, check_distributions, check_labels, refuse, require_numbers, smoothing
from backpass.losses.loss import Loss, mean_over_outputs, numbers
from backpass.ops import (
    cast,
    greater,
    greater_equal,
    less,
    less_equal,
    log_softmax,
    logical_and,
    one_hot,
    relu,
    reshape,
    sigmoid,
    softmax,
    softplus,
    square,
    where,
)
from backpass.ops import sum as sum_
from backpass.ops.kinds import Value
from backpass.records import dataclass


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """For one class of several: -sum over the classes of target * log(softmax(outputs)).

    Targets are labels, integers (rows,) or (rows, 1) from 0 to classes - 1, for which this is -log(probability of the
    labelled class); or distributions (rows, classes), each row of which sums to 1. A label that is no class makes the
    loss NaN. To leave a row out, give it the weight 0 and any label that is a class.

    Sources: Bridle, Probabilistic interpretation of feedforward classification network outputs, 1990; Bishop, Pattern
    Recognition and Machine Learning, 2006, equation 5.24. Label smoothing: Szegedy et al., Rethinking the Inception
    architecture, 2016, section 7.

    Args:
        label_smoothing: the share of each target that is spread evenly over all classes, from 0 to below 1.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_smoothing", smoothing(self._name, self.label_smoothing))

    def rows(self, outputs: Value, targets: Value) -> Any:
        outputs, targets = self._real(outputs), numbers(targets, f"{self._name}: targets")
        if len(outputs.shape) == 2 and outputs.shape[1] > 1 and targets.shape == outputs.shape:
            return self._of_distributions(outputs, cast(targets, outputs.dtype))
        labels = _labels(outputs, targets)
        if labels is None:
            raise self._unlike(
                outputs,
                targets,
                "outputs [rows, classes], 2 classes or more, and integer labels [rows] or distributions",
            )
        losses = self._of_distributions(outputs, one_hot(labels, outputs.shape[1], outputs.dtype))
        return _nan_unless_class(labels, outputs, losses)

    def predictions(self, outputs: Value) -> Any:
        """The probabilities of the classes, softmax(outputs)."""
        return softmax(outputs)

    def check_targets(self, targets: Array, outputs: int) -> None:
        require_numbers(self._name, targets)
        if outputs < 2:
            raise ShapeError(f"{self._name}: the network has {outputs} output, expected one for each class, 2 or more")
        if targets.ndim == 2 and targets.shape[1] == outputs:
            check_distributions(self._name, targets)
        elif _is_column(targets.shape):
            check_labels(self._name, targets, outputs)
        else:
            raise self._misfit(targets, outputs, f"labels [rows] or distributions [rows, {outputs}]")

    def _of_distributions(self, outputs: Value, targets: Value) -> Any:
        if self.label_smoothing:
            targets = targets * (1 - self.label_smoothing) + self.label_smoothing / outputs.shape[1]
        return -sum_(targets * log_softmax(outputs), 1)


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """For yes or no: -(target * log(p) + (1 - target) * log(1 - p)) with p = sigmoid(output).

    Targets are 0 and 1 of any type, or probabilities. Several outputs are labels independent of one another, and the
    loss of a row is the mean over them. Source: Bishop, Pattern Recognition and Machine Learning, 2006, equations 5.21
    and 5.22.

    Args:
        label_smoothing: how far targets move toward 1/2: target * (1 - s) + s / 2, with s from 0 to below 1.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_smoothing", smoothing(self._name, self.label_smoothing))

    def rows(self, outputs: Value, targets: Value) -> Any:
        outputs, targets = self._paired(outputs, targets)
        yes, no = targets, 1 - targets
        if self.label_smoothing:  # each by itself: 1 - yes would lose a small smoothing to rounding
            yes, no = (part * (1 - self.label_smoothing) + 0.5 * self.label_smoothing for part in (yes, no))
        # -log(sigmoid(x)) = softplus(-x). The shorter softplus(x) - target * x loses small losses to cancellation.
        return mean_over_outputs(yes * softplus(-outputs) + no * softplus(outputs))

    def predictions(self, outputs: Value) -> Any:
        """The probabilities of yes, sigmoid(outputs)."""
        return sigmoid(outputs)

    def check_targets(self, targets: Array, outputs: int) -> None:
        super().check_targets(targets, outputs)
        if targets.dtype.kind != "b":
            refuse(self._name, targets, (targets < 0) | (targets > 1), "0, 1 or a probability between them")


class _OfColumnOrLabels(Loss):
    """A loss of one output and its targets, or of several outputs and integer labels."""

    def check_targets(self, targets: Array, outputs: int) -> None:
        if outputs <= 1:
            super().check_targets(targets, outputs)
            self._check_column(targets)
            return
        require_numbers(self._name, targets)
        if not _is_column(targets.shape):
            raise self._misfit(targets, outputs, "labels [rows]")
        check_labels(self._name, targets, outputs)

    def _check_column(self, targets: Array) -> None:
        """Of one output: raises UsageError for values that are no targets."""
        raise NotImplementedError


@dataclass(frozen=True)
class Brier(_OfColumnOrLabels):
    """The squared error of probabilities: that of a first textbook's network, of sigmoids or a softmax at its end.

    One output, (rows,) or (rows, 1), and targets 0 and 1: (p - target)² with p = sigmoid(output). Several outputs,
    (rows, classes), and integer labels (rows,) or (rows, 1): the sum over the classes of (p - target)², where p is
    softmax(outputs) and the target 1 for the labelled class, 0 for the others. A label that is no class makes the loss
    NaN. It is bounded: of rows that are far on the wrong side it learns little. Source: Brier, Verification of
    forecasts expressed in terms of probability, Monthly Weather Review 78, 1950.
    """

    def rows(self, outputs: Value, targets: Value) -> Any:
        outputs, targets = self._real(outputs), numbers(targets, f"{self._name}: targets")
        labels = _labels(outputs, targets)
        if labels is not None:
            missed = square(softmax(outputs) - one_hot(labels, outputs.shape[1], outputs.dtype))
            return _nan_unless_class(labels, outputs, sum_(missed, 1))
        if not _is_column(outputs.shape):
            raise self._unlike(outputs, targets, "one output, or outputs [rows, classes] and integer labels [rows]")
        outputs, targets = self._paired(outputs, targets)
        return mean_over_outputs(square(sigmoid(outputs) - targets))

    def predictions(self, outputs: Value) -> Any:
        """The probabilities of the classes, or of yes."""
        return sigmoid(outputs) if _is_column(outputs.shape) else softmax(outputs)

    def _check_column(self, targets: Array) -> None:
        if targets.dtype.kind != "b":
            refuse(self._name, targets, (targets < 0) | (targets > 1), "0, 1 or a probability between them")


@dataclass(frozen=True)
class Hinge(_OfColumnOrLabels):
    """The loss of the support vector machine: 0 once the right side wins by a margin of 1.

    One output, (rows,) or (rows, 1): max(0, 1 - y * output), where y is 1 for a target above 0 and -1 otherwise, so
    that targets may be -1 and 1, 0 and 1, or false and true. Source: Cortes, Vapnik, Support-vector networks, Machine
    Learning 20, 1995.

    Several outputs, (rows, classes), and integer labels (rows,) or (rows, 1): the sum over all classes j but the label
    y of max(0, 1 + output_j - output_y). Source: Weston, Watkins, Multi-class support vector machines, Royal Holloway
    CSD-TR-98-04, 1998. A label that is no class makes the loss NaN.

    Predictions are the scores themselves: above 0 means yes, or the largest wins. They are no probabilities.
    """

    def rows(self, outputs: Value, targets: Value) -> Any:
        outputs, targets = self._real(outputs), numbers(targets, f"{self._name}: targets")
        labels = _labels(outputs, targets)
        if labels is not None:
            return self._of_labels(outputs, labels)
        if not _is_column(outputs.shape):
            raise self._unlike(outputs, targets, "one output, or outputs [rows, classes] and integer labels [rows]")
        outputs, targets = self._paired(outputs, targets)
        side = where(greater(targets, 0), 1.0, where(less_equal(targets, 0), -1.0, targets))  # a NaN stays a NaN
        return mean_over_outputs(relu(1 - side * outputs))

    def _check_column(self, targets: Array) -> None:
        refuse(self._name, targets, ~np.isin(targets, (-1, 0, 1)), "-1 or 1, or 0 or 1")
        if targets.dtype.kind != "b" and (targets == -1).any():
            refuse(self._name, targets, targets == 0, "-1 or 1, as in other rows")

    def _of_labels(self, outputs: Value, labels: Value) -> Any:
        chosen = one_hot(labels, outputs.shape[1], outputs.dtype)
        score = sum_(chosen * outputs, 1, keepdims=True)
        losses = sum_((1 - chosen) * relu(1 + (outputs - score)), 1)
        return _nan_unless_class(labels, outputs, losses)


def _is_column(shape: tuple[Any, ...]) -> bool:
    """(rows,) or (rows, 1)."""
    return len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)


def _labels(outputs: Value, targets: Value) -> Any | None:
    """Integer labels (rows,) for outputs (rows, classes); None where they are not that."""
    fits = len(outputs.shape) == 2 and outputs.shape[1] > 1 and targets.shape[:1] == outputs.shape[:1]
    if not fits or not _is_column(targets.shape) or targets.dtype.kind == "f":
        return None
    return reshape(cast(targets, np.int64), outputs.shape[:1])


def _nan_unless_class(labels: Value, outputs: Value, losses: Value) -> Any:
    """`losses`, NaN where a label names no class: a graph cannot raise errors, and must not learn from such a row."""
    known = logical_and(greater_equal(labels, 0), less(labels, outputs.shape[1]))
    return where(known, losses, np.nan)
