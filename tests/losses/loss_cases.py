"""Every loss with outputs and targets it takes: what the tests that hold for all losses run on.

Each case: its name, the loss, outputs, targets, and the loss of rows in torch, `f(F, outputs, targets)` -> (rows,).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass import losses

ROWS, CLASSES = 6, 4


@dataclass(frozen=True)
class LossCase:
    name: str
    loss: losses.Loss
    outputs: Any
    targets: Any
    torch: Any

    def __str__(self):
        return self.name


def _numbers(*shape, scale=2.0):
    return np.random.default_rng(3).normal(size=shape) * scale


def _mean(losses_):
    return losses_.reshape(len(losses_), -1).mean(1)


def _pinball(quantiles):
    def rows(F, outputs, targets):  # torch has none: Koenker & Bassett's formula in torch's own operations
        q = outputs.new_tensor(quantiles)
        above = targets.reshape(len(targets), -1) - outputs
        return _mean(F.relu(above) * q + F.relu(-above) * (1 - q))

    return rows


def _binary(smoothing=0.0):
    def rows(F, outputs, targets):
        targets = targets.to(outputs.dtype).reshape(outputs.shape) * (1 - smoothing) + smoothing / 2
        return _mean(F.binary_cross_entropy_with_logits(outputs, targets, reduction="none"))

    return rows


def _classes(smoothing=0.0):
    return lambda F, outputs, targets: F.cross_entropy(outputs, targets, reduction="none", label_smoothing=smoothing)


def _regression(function, **options):
    return lambda F, o, t: _mean(getattr(F, function)(o, t.reshape(o.shape), reduction="none", **options))


def _half_sum(F, outputs, targets):
    return F.mse_loss(outputs, targets, reduction="none").sum(1) / 2


def _brier(F, outputs, targets):
    return F.mse_loss(outputs.sigmoid().reshape(-1), targets.to(outputs.dtype).reshape(-1), reduction="none")


def _brier_of_classes(F, outputs, targets):
    return (F.softmax(outputs, 1) - F.one_hot(targets, outputs.shape[1])).square().sum(1)


def _hinge(F, outputs, targets):
    return F.relu(1 - (2 * targets - 1).reshape(outputs.shape) * outputs).reshape(-1)


def _multi_hinge(F, outputs, targets):
    return F.multi_margin_loss(outputs, targets, reduction="none") * outputs.shape[1]  # torch divides by the classes


_rng = np.random.default_rng(5)
_one, _flat, _two, _many = _numbers(ROWS, 1), _numbers(ROWS), _numbers(ROWS, 2), _numbers(ROWS, CLASSES)
_real, _real_two = _rng.normal(size=ROWS), _rng.normal(size=(ROWS, 2))
_counts, _labels = _rng.poisson(2.0, ROWS).astype(float), _rng.integers(0, CLASSES, ROWS)
_yes, _yes_many = _rng.integers(0, 2, ROWS), _rng.integers(0, 2, (ROWS, CLASSES))
_distributions = _rng.dirichlet(np.ones(CLASSES), ROWS)

CASES = [
    LossCase("squared", losses.Squared(), _two, _real_two, _regression("mse_loss")),
    LossCase("squared, a column against a row", losses.Squared(), _one, _real, _regression("mse_loss")),
    LossCase("half sum of squares", losses.HalfSumOfSquares(), _two, _real_two, _half_sum),
    LossCase("absolute", losses.Absolute(), _two, _real_two, _regression("l1_loss")),
    LossCase("huber", losses.Huber(0.7), _two, _real_two, _regression("huber_loss", delta=0.7)),
    LossCase("quantile", losses.Quantile(0.9), _one, _real, _pinball([0.9])),
    LossCase("quantiles", losses.Quantile((0.1, 0.9)), _two, _real, _pinball([0.1, 0.9])),
    LossCase("poisson", losses.Poisson(), _one, _counts, _regression("poisson_nll_loss")),
    LossCase("cross entropy", losses.CrossEntropy(), _many, _labels, _classes()),
    LossCase("cross entropy, smoothed", losses.CrossEntropy(0.1), _many, _labels, _classes(0.1)),
    LossCase("cross entropy, distributions", losses.CrossEntropy(), _many, _distributions, _classes()),
    LossCase("cross entropy, both", losses.CrossEntropy(0.1), _many, _distributions, _classes(0.1)),
    LossCase("binary cross entropy", losses.BinaryCrossEntropy(), _flat, _yes, _binary()),
    LossCase("binary cross entropy, smoothed", losses.BinaryCrossEntropy(0.2), _one, _yes, _binary(0.2)),
    LossCase("binary cross entropy, labels", losses.BinaryCrossEntropy(), _many, _yes_many, _binary()),
    LossCase("binary cross entropy, probabilities", losses.BinaryCrossEntropy(), _many, _distributions, _binary()),
    LossCase("brier", losses.Brier(), _one, _yes, _brier),
    LossCase("brier, classes", losses.Brier(), _many, _labels, _brier_of_classes),
    LossCase("hinge", losses.Hinge(), _one, _yes, _hinge),
    LossCase("hinge, classes", losses.Hinge(), _many, _labels, _multi_hinge),
]
