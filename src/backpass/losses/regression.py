"""Losses for numbers, counts and quantiles. With several outputs, the loss of a row is the mean over its outputs,
but for HalfSumOfSquares, which is a sum.
"""

from typing import Any

import numpy as np

from backpass.errors import UsageError
from backpass.losses.checks import Array, number, refuse
from backpass.losses.loss import Loss, mean_over_outputs, numbers
from backpass.ops import absolute, cast, clip, exp, minimum, relu, reshape, square
from backpass.ops import sum as sum_
from backpass.ops.kinds import Value
from backpass.records import dataclass


@dataclass(frozen=True)
class Squared(Loss):
    """The mean squared error: for a row, the mean over its outputs of (output - target)^2.

    Its minimum is the mean of the targets that belong to an input (Bishop, Pattern Recognition and Machine Learning,
    2006, section 1.5.5). For the error with a half and a sum, as in the textbooks' derivation of back-propagation,
    see HalfSumOfSquares.
    """

    def rows(self, outputs: Value, targets: Value) -> Any:
        outputs, targets = self._paired(outputs, targets)
        return mean_over_outputs(square(outputs - targets))


@dataclass(frozen=True)
class HalfSumOfSquares(Loss):
    """The textbook's error: for a row, E = 1/2 * the sum over its outputs of (desired - actual)^2.

    Its derivative with respect to an output is just (actual - desired). Source: Rumelhart, Hinton, Williams, Learning
    representations by back-propagating errors, Nature 323, 1986, equation 3. There the errors of the rows are summed;
    here, as in every loss, they are averaged, so that the learning rate does not depend on the size of the batch.
    """

    def rows(self, outputs: Value, targets: Value) -> Any:
        outputs, targets = self._paired(outputs, targets)
        squares = square(outputs - targets)
        return 0.5 * sum_(squares, range(1, len(squares.shape))) if len(squares.shape) > 1 else 0.5 * squares


@dataclass(frozen=True)
class Absolute(Loss):
    """The mean absolute error: for a row, the mean over its outputs of |output - target|.

    Its minimum is a median of the targets (Hastie, Tibshirani, Friedman, The Elements of Statistical Learning, 2nd
    edition, section 10.6). At an exact hit its derivative is taken as 0.
    """

    def rows(self, outputs: Value, targets: Value) -> Any:
        outputs, targets = self._paired(outputs, targets)
        return mean_over_outputs(absolute(outputs - targets))


@dataclass(frozen=True)
class Huber(Loss):
    """Squared for small differences d = output - target, absolute for large ones, with one slope where they meet.

    For a row, the mean over its outputs of d^2 / 2 where |d| <= delta, and delta * (|d| - delta / 2) elsewhere.
    Source: Huber, Robust estimation of a location parameter, Annals of Mathematical Statistics 35, 1964.

    Args:
        delta: where the two meet, above 0, in the units of the targets.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        delta = number(self.delta)
        if delta is None or delta <= 0:
            raise UsageError(f"Huber: delta is {self.delta!r}, expected a number above 0")
        object.__setattr__(self, "delta", delta)

    def rows(self, outputs: Value, targets: Value) -> Any:
        outputs, targets = self._paired(outputs, targets)
        difference = outputs - targets
        # Both cases in one formula, which unlike one by |d| has the right second derivative at 0.
        clipped = clip(difference, -self.delta, self.delta)
        return mean_over_outputs(clipped * (difference - 0.5 * clipped))


@dataclass(frozen=True)
class Quantile(Loss):
    """The pinball loss, for a quantile q of the targets: q * d where the target lies d above the output, and
    (1 - q) * |d| where it lies below.

    Its minimum is a q-quantile of the targets; q = 0.5 gives the median, and half of Absolute. Source: Koenker,
    Bassett, Regression quantiles, Econometrica 46, 1978. At an exact hit its derivative is taken as 0.

    Args:
        quantiles: one number between 0 and 1, or several in ascending order. Several need one output each, in that
            order, and one target a row, (rows,) or (rows, 1); the loss of a row is the mean over the quantiles.
    """

    quantiles: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        given = self.quantiles if isinstance(self.quantiles, (tuple, list)) else (self.quantiles,)
        found = tuple(q for q in map(number, given) if q is not None and 0 < q < 1)
        if not given or len(found) < len(given) or list(found) != sorted(set(found)):
            raise UsageError(
                f"Quantile: quantiles is {self.quantiles!r}, expected a number between 0 and 1, "
                "or several in ascending order"
            )
        object.__setattr__(self, "quantiles", found)

    def rows(self, outputs: Value, targets: Value) -> Any:
        outputs, targets = self._paired(outputs, targets) if len(self.quantiles) == 1 else self._each(outputs, targets)
        above = targets - outputs
        # The share of what lies below is rounded once: in float32 1 - q would be 0 for a q next to 1.
        q, rest = (np.array(shares, outputs.dtype) for shares in (self.quantiles, [1 - q for q in self.quantiles]))
        return mean_over_outputs(q * relu(above) + rest * relu(-above))

    def check_targets(self, targets: Array, outputs: int) -> None:
        wanted = len(self.quantiles)
        if wanted == 1:
            super().check_targets(targets, outputs)
            return
        if outputs != wanted:
            raise self._misfit(targets, outputs, f"one output for each of the {wanted} quantiles")
        if targets.shape[1:] not in ((), (1,)):
            raise self._misfit(targets, outputs, "one target a row, [rows] or [rows, 1]")
        super().check_targets(targets, 1)

    def _each(self, outputs: Value, targets: Value) -> tuple[Any, Any]:
        """Outputs (rows, quantiles) and targets (rows, 1): each row's target is every output's target."""
        outputs, targets = self._real(outputs), numbers(targets, f"{self._name}: targets")
        count = len(self.quantiles)
        rows = outputs.shape[:1]
        if outputs.shape != (*rows, count) or targets.shape not in (rows, (*rows, 1)):
            raise self._unlike(outputs, targets, f"outputs [rows, {count}], one for each quantile, and targets [rows]")
        return outputs, reshape(cast(targets, outputs.dtype), (*rows, 1))


@dataclass(frozen=True)
class Poisson(Loss):
    """For counts: the negative log-likelihood of a Poisson distribution whose rate is exp(output).

    For a row, the mean over its outputs of exp(output) - target * output; the term log(target!), which no weight
    changes, is left out, so the loss can be below 0. Predictions are the rates, exp(output). Source: McCullagh, Nelder,
    Generalized Linear Models, 2nd edition 1989, chapter 6 (the log link).

    Above an output of 30 (a rate of 1e13) the exponential goes on as its tangent: a wild output early in training
    gets a large but finite error instead of an infinite one.
    """

    def rows(self, outputs: Value, targets: Value) -> Any:
        outputs, targets = self._paired(outputs, targets)
        capped = minimum(outputs, _LARGEST_LOG_RATE)
        rate = exp(capped) * (1 + (outputs - capped))
        return mean_over_outputs(rate - targets * outputs)

    def predictions(self, outputs: Value) -> Any:
        """The rates, exp(outputs): how many are to be expected."""
        return exp(outputs)

    def check_targets(self, targets: Array, outputs: int) -> None:
        super().check_targets(targets, outputs)
        refuse(self._name, targets, targets < 0, "a count of at least 0")


_LARGEST_LOG_RATE = 30.0
