"""How much each kind of network has to say in a blend: what the rows that validate tell after the training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from backpass.data.arrays import Array, Inputs
from backpass.losses import Loss
from backpass.records import dataclass

if TYPE_CHECKING:
    from backpass.training import Trainer

ROUNDS = 100  # so one may have nearly all to say, and none has nothing
MOST_ROWS = 5000  # say enough of so few numbers


@dataclass(frozen=True, eq=False)
class Blended:
    """A trained blend with the share of each kind of its networks in the answer."""

    trainer: "Trainer"
    shares: tuple[float, ...]

    @property
    def loss(self) -> Loss:
        """Of the training; it says what outputs mean."""
        return self.trainer.loss

    def outputs(self, inputs: Inputs) -> Array:
        """Those of the blend: of a row that members left out, those of these members."""
        return mixed(self.trainer.outputs_of_groups(inputs), self.shares)


def mixed(outputs: Sequence[Array], shares: Sequence[float]) -> Array:
    """The sum of outputs, each times its share."""
    total = np.zeros_like(outputs[0])
    for each, share in zip(outputs, shares, strict=True):
        total += each * each.dtype.type(share)
    return total


def best_shares(
    outputs: Sequence[Array], targets: Array, loss: Loss, weights: Array | None = None
) -> tuple[float, ...]:
    """The shares with which the outputs have the lowest loss on rows that their networks did not learn from.

    To one of each the outputs are added, one after another, whose mean with those before is best, any of them as often
    as it helps (Caruana, Niculescu-Mizil, Crew and Ksikes, Ensemble selection from libraries of models, 2004): as many
    steps as there are rounds, and of these the best. So few choices, of few outputs, cannot learn the rows by heart.

    Args:
        outputs: of each kind, (rows, ...).
        targets: (rows, ...), as the loss takes them.
        loss: what is made small.
        weights: how much each row counts; None where all count alike.
    """
    # Drawn by chance: tables may be in an order in which every second row is of another kind.
    some = np.random.Generator(np.random.Philox(0)).permutation(len(targets))[:MOST_ROWS]
    exact, targets = [each[some].astype(np.float64) for each in outputs], targets[some]
    weights = None if weights is None else weights[some]
    counts, total = np.ones(len(exact)), np.sum(exact, axis=0)
    best = np.inf, counts / len(exact)
    for taken in range(len(exact) + 1, len(exact) + ROUNDS + 1):
        found = [_mean(loss, (total + each) / taken, targets, weights) for each in exact]
        place = int(np.argmin(found))
        total, counts = total + exact[place], counts + (np.arange(len(exact)) == place)
        if found[place] < best[0]:
            best = found[place], counts / taken
    return tuple(map(float, best[1]))


def _mean(loss: Loss, outputs: Array, targets: Array, weights: Array | None) -> float:
    with np.errstate(all="ignore"):
        rows = np.asarray(loss.rows(outputs, targets), np.float64)
        mean = float(rows.mean() if weights is None else (rows * weights).sum() / weights.sum())
    return mean if np.isfinite(mean) else np.inf
