"""The instruments: what is measured of a case, each when it is first asked for."""

import math
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from backpass import nn
from backpass.data.arrays import Array, take_rows
from backpass.doctor.case import Case
from backpass.doctor.dial import dialled, with_rate
from backpass.doctor.remedies import Remedy
from backpass.doctor.sight import Sight, sights
from backpass.errors import NotFiniteError
from backpass.forward import flatten
from backpass.nn import Dense
from backpass.nn.activations import Activation

LOOKED_AT = 256  # rows, at every layer
STEP, FARTHEST = 10.0, 7  # of the range test: from one learning rate to the next, and how often either way
WORSE, STILL = 0.2, 0.003  # of skill: where the range test has gone far enough up, and down
LOW, HIGH = 0.02, 0.98  # of its range: beyond, a sigmoid's slope is below a twelfth of its largest
ONE_BATCH, ONE_BATCH_STEPS, ONE_BATCH_EPOCHS = (
    32,
    500,
    10,
)  # rows at most, how often they are gone over, in how many epochs
BY_HEART = 0.5  # of skill on them: what any network comes to that can learn
TOO_HIGH, TOO_LOW = "learning rate too high", "learning rate too low"
_RANGES = {nn.Sigmoid: (0.0, 1.0), nn.Tanh: (-1.0, 1.0)}


class Stuck(NamedTuple):
    """The layer with the largest share of units at rest."""

    path: str
    share: float


class Chart:
    """What is known of a case.

    Attributes:
        case: the training.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self._tried: dict[Remedy, tuple[float, float]] = {}
        self._treated: dict[Remedy, Case] = {}

    def tried(self, remedy: Remedy, trying: str) -> tuple[float, float]:
        """The skills after a short trial of the remedy. `trying` says what is suspected."""
        if remedy.parts() == ("rate",):
            return self.ladder[remedy.rate]
        if remedy not in self._tried:
            epochs, at_its_rate = self.case.trial_epochs * remedy.epochs, replace(remedy, rate=1.0)
            if at_its_rate not in self._treated:
                self._treated[at_its_rate] = at_its_rate.applied(self.case)
            treated = self._treated[at_its_rate]
            self._tried[remedy] = treated.tried(remedy.rate, epochs=epochs, trying=trying)
        return self._tried[remedy]

    def _sights(self, parameters: Any) -> tuple[float, list[Sight]]:
        case, few = self.case, slice(0, LOOKED_AT)
        return sights(case.network, case.loss, parameters, take_rows(case.inputs, few), case.targets[few])

    @cached_property
    def start(self) -> tuple[float, list[Sight]]:
        """The loss and the layers with the first weights."""
        return self._sights(self.case.first)

    @cached_property
    def end(self) -> tuple[float, list[Sight]] | None:
        """The same with the weights as they are; None where they are not finite, or there are none."""
        parameters = self.case.parameters
        if parameters is None or not all(np.isfinite(leaf).all() for leaf in flatten(parameters)):
            return None
        return self._sights(parameters)

    @cached_property
    def loss_of_nothing(self) -> float:
        """Of outputs that are all 0: what a network begins with that says nothing yet."""
        shape = self.case.constant.shape[1:]
        return self.case.loss_of(np.zeros((self.case.rows, *shape)))

    def saturated(self, seen: list[Sight]) -> Stuck:
        """Of the outputs of sigmoids and tanhs, how many are at an end of the range, in the worst hidden layer."""
        found = [Stuck("", 0.0)]
        for sight in self._hidden(seen):
            low, high = _RANGES.get(type(sight.layer), (0.0, 0.0))  # type: ignore[arg-type]
            if low < high:
                part = (sight.outputs - low) / (high - low)
                found.append(Stuck(sight.path, float(np.mean((part < LOW) | (part > HIGH)))))
        return max(found, key=lambda each: each.share)

    def dead(self, seen: list[Sight]) -> Stuck:
        """Of relu units, how many are 0 for every row, in the worst hidden layer."""
        found = [Stuck("", 0.0)]
        found += [
            Stuck(sight.path, float(np.mean((sight.outputs == 0).all(axis=0))))
            for sight in self._hidden(seen)
            if isinstance(sight.layer, nn.ReLU)
        ]
        return max(found, key=lambda each: each.share)

    def _hidden(self, seen: list[Sight]) -> list[Sight]:
        return [sight for sight in seen[:-1] if isinstance(sight.layer, Activation) and sight.outputs.ndim == 2]

    def denses(self, seen: list[Sight]) -> list[Sight]:
        return [sight for sight in seen if isinstance(sight.layer, Dense)]

    @cached_property
    def flow(self) -> tuple[Sight, Sight, float] | None:
        """The first and the last hidden layer, and how much larger the error is at the first, at the start."""
        layers = self.denses(self.start[1])[:-1]
        if len(layers) < 3:
            return None
        first, last = layers[0], layers[-1]
        return first, last, first.error / last.error if last.error else 1.0

    @cached_property
    def outputs(self) -> Array | None:
        """Of the network as it is, a row a row; None where it was not trained, or they are not finite."""
        if self.end is None or self.case.model is None:
            return None
        outputs = self.case.model.outputs(self.case.inputs)
        return outputs if np.isfinite(outputs).all() else None

    @cached_property
    def one_batch(self) -> tuple[int, dict[float, float]]:
        """Of how many rows, and the skill on them, once they alone were learned for long, at multiples of the rate."""
        case = self.case
        batch = _mixed(case)[: min(case.batch_size, ONE_BATCH)]
        places = np.tile(batch, ONE_BATCH_STEPS // ONE_BATCH_EPOCHS)  # epochs of one step cost more than their steps
        inputs, targets = take_rows(case.inputs, places), case.targets[places]
        weights = None if case.weights is None else case.weights[places]
        alone = replace(
            case,
            inputs=inputs,
            targets=targets,
            weights=weights,
            held_out=(inputs, targets, weights),
            patience=None,
            batch_size=len(batch),
        )
        found: dict[float, float] = {}
        for power in (0, -1, -2, *range(1, FARTHEST + 1)):
            found[STEP**power] = skill = alone.tried(STEP**power, epochs=ONE_BATCH_EPOCHS, trying="one batch by heart")[
                0
            ]
            if skill > BY_HEART or (power > 2 and not math.isfinite(skill)):
                break
        return len(batch), found

    @cached_property
    def alike(self) -> str:
        """The hidden layer whose units all began with the same weights; "" where there is none."""
        layers = self.denses(self.start[1])
        for sight in layers[:-1]:
            weight = _at(self.case.first, sight.path)["weight"]
            if weight.shape[-1] > 1 and np.all(weight == weight[..., :1]) and np.ptp(sight.outputs, axis=1).max() == 0:
                return sight.path
        return ""

    @cached_property
    def ladder(self) -> dict[float, tuple[float, float]]:
        """The skills after a short training at multiples of the learning rate, until these get surely worse."""
        found = {1.0: self.case.tried()}
        for factor in (STEP, 1 / STEP):
            best, worse, trying = min(found[1.0]), 0, TOO_LOW if factor > 1 else TOO_HIGH
            for power in range(1, FARTHEST + 1):
                found[factor**power] = skills = self.case.tried(factor**power, trying=trying)
                best = max(best, min(skills))
                worse = worse + 1 if min(skills) < best - WORSE and (factor > 1 or best > WORSE) else 0
                stands_still = factor < 1 and abs(skills[0] - self.untrained) < STILL
                # Among rates that are far too high, one is better than the next by chance.
                if worse == (1 if factor > 1 else 2) or (factor > 1 and not math.isfinite(skills[0])) or stands_still:
                    break
        return dict(sorted(found.items()))

    @cached_property
    def stride(self) -> tuple[float, float] | None:
        """The least and the most, by layer, that the first step changes weights by, beside their size; None where it
        is not finite, or there are no weights to compare.
        """
        case, few = self.case, slice(0, self.case.batch_size)
        first, layers, trainer = case.first, self.denses(self.start[1]), case.trainer
        trainer.optimizer = with_rate(case.optimizer, dialled)
        trainer.restart()
        weights = None if case.weights is None else case.weights[few]
        try:
            with np.errstate(all="ignore"):
                trainer.fit(take_rows(case.inputs, few), case.targets[few], weights=weights, epochs=1)
        except NotFiniteError:
            return None
        pairs = [
            [np.asarray(_at(each, sight.path)["weight"], np.float64) for each in (first, trainer.parameters)]
            for sight in layers
        ]
        found = [float(np.linalg.norm(now - then) / np.linalg.norm(then)) for then, now in pairs if then.any()]
        return (min(found), max(found)) if found and math.isfinite(max(found)) else None

    @cached_property
    def untrained(self) -> float:
        """The skill of the first weights."""
        return self.case.skills(replace(self.case.trainer.model(), parameters=self.case.first))[0]

    @cached_property
    def sizes(self) -> Array | None:
        """The root mean square of each column; None where there are no real columns."""
        columns = self.case.columns
        return None if columns is None else np.sqrt(np.mean(columns.astype(np.float64) ** 2, axis=0))


def _mixed(case: Case) -> Array:
    """The places of the rows, the classes in turn; numbers as they come."""
    if not case.classes:
        return np.arange(case.rows)
    order = np.argsort(case.labels, kind="stable")
    labels = case.labels[order]
    turn = np.arange(len(labels)) - np.searchsorted(labels, labels)
    return order[np.lexsort((labels, turn))]


def _at(parameters: Any, path: str) -> Any:
    for name in path.split("."):
        parameters = parameters[name]
    return parameters
