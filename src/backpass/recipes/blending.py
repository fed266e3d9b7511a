"""How much each kind of network has to say in a blend: what the rows that validate tell after the training."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from backpass import nn
from backpass.data.arrays import Array, Inputs, as_inputs, row_shape
from backpass.losses import Loss
from backpass.model.network import ForwardPass
from backpass.records import dataclass

if TYPE_CHECKING:
    from backpass.training import Trainer

ROUNDS = 100  # so one may have nearly all to say, and none has nothing
MOST_ROWS = 5000  # say enough of so few numbers


@dataclass(frozen=True, eq=False)
class Blended:
    """The kinds of networks of a trained blend, each with its share in the answer.

    Attributes:
        loss: of the training; it says what outputs mean.
        kinds: for each kind its networks, and their parameters.
        shares: of the kinds.
        precision: of the inputs.
    """

    loss: Loss
    kinds: tuple[tuple[ForwardPass, Any], ...]
    shares: tuple[float, ...]
    precision: str

    def apart(self, inputs: Inputs) -> list[Array]:
        """The outputs of each kind: of a row that members left out, those of these members."""
        rows = as_inputs(inputs, self.precision)
        return [forward(parameters, rows) for forward, parameters in self.kinds]

    def outputs(self, inputs: Inputs) -> Array:
        """Those of the blend."""
        return mixed(self.apart(inputs), self.shares)


def blended(network: nn.Blend, trainer: "Trainer", inputs: Inputs, precision: str, threads: int | None) -> Blended:
    """The kinds of a blend that was trained, with equal shares; `inputs` are those of the training."""
    trained, parameters = trainer.network, trainer.parameters
    each, count = network.count // len(network.kinds), len(network.kinds)
    kinds = []
    for place, member in enumerate(network.kinds):
        alone = nn.Ensemble(member, each, network.first)
        own = replace(trained, ensemble=alone) if isinstance(trained, nn.CrossFitted) else alone
        named = {str(number): parameters.get(str(place * each + number), {}) for number in range(1, each + 1)}
        named = {"first": parameters.get("first", {})} | named
        kinds.append((ForwardPass(own, named, row_shape(inputs), precision=precision, threads=threads), named))
    return Blended(trainer.loss, tuple(kinds), (1 / count,) * count, precision)


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
