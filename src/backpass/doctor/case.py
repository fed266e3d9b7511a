"""A training as it stands, with all that a doctor may look at, and short trials of what else could be done."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from backpass import losses, ops
from backpass.backward import value_and_grad
from backpass.data.arrays import Array, Inputs, count_rows, take_rows
from backpass.doctor.dial import dialled, with_rate
from backpass.errors import NotFiniteError
from backpass.forward import Program, Structure, flatten, trace
from backpass.losses import Loss
from backpass.model import Model
from backpass.nn import Layer, count
from backpass.optimizers import Optimizer
from backpass.records import dataclass
from backpass.training import EarlyStopping, Trainer
from backpass.training.rows import Rows

MOST_ROWS = 2000  # that are looked at
MOST_WORK, LEAST_WORK = 1e9, 1e6  # of one trial, half a second or so, and of an epoch: rows gone over times parameters
LEAST_PART = 1e-3  # of what there is to learn in the rows learned from, that is to be seen in those held out
HELD_OUT = 0.2  # of the rows, where none were held out


def _nobody(_: str) -> None:
    """Hears what is told."""


@dataclass(frozen=True, eq=False)
class Case:
    """A training as it stands.

    Attributes:
        network, loss, optimizer, batch_size, seed, precision, threads: of the Trainer.
        inputs, targets, weights: the rows that are trained on, or a sample of them.
        held_out: inputs, targets and weights of others.
        guarded: whether these were really held out of the training.
        drawn: whether they were drawn by chance of the same rows, not by groups or by time.
        judged: inputs and targets of another table, by which the network is to be judged; None where there is none.
        epochs: that it was trained, or is to be.
        history: one record an epoch.
        parameters: as they are; None before the first training.
        patience: of early stopping; None without.
        names: of the columns of the inputs.
        labelled: the names of the classes.
        shares: of each class, that its probability is divided by before the likeliest is the answer; None for the
            likeliest as it is.
        known: how many rows are trained on, and held out, of which those here may be a sample.
        telling: is told, in words, what is looked at or tried next.
    """

    network: Layer
    loss: Loss
    optimizer: Optimizer
    batch_size: int
    seed: int
    precision: str
    threads: int | None
    inputs: Inputs
    targets: Array
    weights: Array | None
    held_out: tuple[Inputs, Array, Array | None]
    guarded: bool
    epochs: int
    history: Sequence[Mapping[str, Any]]
    parameters: Structure | None
    patience: int | None
    names: tuple[str, ...]
    labelled: tuple[str, ...] = ()
    drawn: bool = True
    judged: tuple[Inputs, Array] | None = None
    shares: Array | None = None
    known: tuple[int, int] = (0, 0)
    telling: Callable[[str], None] = _nobody

    @property
    def rows(self) -> int:
        return count_rows(self.inputs)

    @property
    def columns(self) -> Array | None:
        """The real inputs, (rows, columns); None where they are not of that form."""
        found = _block(self.inputs)
        return found if found is not None and found.ndim == 2 else None

    @property
    def held_columns(self) -> Array | None:
        found = _block(self.held_out[0])
        return found if found is not None and found.ndim == 2 else None

    def name(self, column: int) -> str:
        return self.names[column] if column < len(self.names) else f"column {column}"

    def label(self, number: int) -> str:
        return f'class "{self.labelled[number]}"' if number < len(self.labelled) else f"class {number}"

    @property
    def classes(self) -> bool:
        """Whether the targets are labels."""
        whole = self.targets.dtype.kind in "iub"
        two = isinstance(self.loss, (losses.BinaryCrossEntropy, losses.Brier)) and bool(
            np.isin(self.targets, (0, 1)).all()
        )
        return self.targets.size == len(self.targets) and (
            (whole and isinstance(self.loss, (losses.CrossEntropy, losses.Brier, losses.Hinge))) or two
        )

    @property
    def labels(self) -> Array:
        return self.labels_of(self.targets)

    def labels_of(self, targets: Array) -> Array:
        """The classes, from 0 on: -1 of a margin is 0."""
        return np.maximum(np.asarray(targets).reshape(-1).astype(np.int64), 0)

    def answers(self, outputs: Array) -> Array:
        """The classes that outputs of a network stand for."""
        predictions = np.asarray(self.loss.predictions(outputs))
        if predictions.size == len(predictions):
            least = 0.0 if isinstance(self.loss, losses.Hinge) else 0.5 if self.shares is None else self.shares[1]
            return np.asarray(predictions.reshape(-1) > least).astype(int)
        return np.asarray((predictions if self.shares is None else predictions / self.shares).argmax(axis=1))

    @cached_property
    def constant(self) -> Array:
        """The outputs that are best where all rows get the same, found by descent with the steps of Barzilai and
        Borwein, 1988.
        """
        outputs = self.trainer.model().outputs(take_rows(self.inputs, slice(0, 1)))
        shape, rows = outputs.shape[1:], len(self.targets)
        own: list[Any] = [self.targets] + ([] if self.weights is None else [self.weights])

        def error(c: Any, *given: Any) -> Any:
            return self.loss(ops.broadcast_to(c, (rows, *shape)), *given)

        zero = np.zeros((1, *shape), np.float64)
        program = Program(trace(value_and_grad(error), zero, *own).graph)
        c, step = zero, 1.0
        value, slope = program(c, *own)
        for _ in range(100):
            after = c - step * slope
            value_there, slope_there = program(after, *own)
            if not value_there <= value:
                step /= 4
                if step < 1e-12:
                    break
                continue
            moved, turned = (after - c).ravel(), (slope_there - slope).ravel()
            c, value, slope = after, value_there, slope_there
            curve = float(moved @ turned)
            step = float(moved @ moved) / curve if curve > 0 else 2 * step
            if float(np.abs(moved).max()) < 1e-6 * max(1.0, float(np.abs(c).max())):
                break
        return np.asarray(c)

    def loss_of(self, outputs: Array, *, held_out: bool = False) -> float:
        targets, weights = self.held_out[1:] if held_out else (self.targets, self.weights)
        with np.errstate(all="ignore"):
            return float(self._strict(outputs.astype(np.float64), targets, weights))

    @property
    def _strict(self) -> Loss:
        """The loss with targets as they are: smoothed ones nothing gets quite right."""
        if isinstance(self.loss, (losses.CrossEntropy, losses.BinaryCrossEntropy)):
            return replace(self.loss, label_smoothing=0.0)
        return self.loss

    def constant_loss(self, *, held_out: bool = False) -> float:
        """Of the best constant outputs."""
        rows = count_rows(self.held_out[0] if held_out else self.inputs)
        return self.loss_of(np.broadcast_to(self.constant, (rows, *self.constant.shape[1:])), held_out=held_out)

    def _least(self, *, held_out: bool) -> float:
        """The loss of what is always right."""
        if not isinstance(self.loss, losses.Poisson):
            return 0.0
        targets = (self.held_out[1] if held_out else self.targets).astype(np.float64)
        return float(np.mean(targets - targets * np.log(np.maximum(targets, 1e-30))))

    def skill_of_loss(self, loss: float, *, held_out: bool = False) -> float:
        """1 where nothing is wrong, 0 where it is as good as the best constant, below 0 where it is worse."""
        if not math.isfinite(loss):
            return -math.inf
        constant, most = self.constant_loss(held_out=held_out), self._to_learn(held_out=held_out)
        # Held-out rows that all have nearly the same answer are no measure.
        return (constant - loss) / max(most, LEAST_PART * self._to_learn() if held_out else 0.0, 1e-12)

    def _to_learn(self, *, held_out: bool = False) -> float:
        """By how much what is always right is better than the best constant."""
        return self.constant_loss(held_out=held_out) - self._least(held_out=held_out)

    def skills(self, model: Model | None) -> tuple[float, float]:
        """Of a network on the rows and on those held out; minus infinity where it is not finite."""
        if model is None or not all(np.isfinite(leaf).all() for leaf in flatten(model.parameters)):
            return -math.inf, -math.inf
        found = []
        for held_out, inputs in ((False, self.inputs), (True, self.held_out[0])):
            outputs = model.outputs(inputs)
            loss = self.loss_of(outputs, held_out=held_out) if np.isfinite(outputs).all() else math.inf
            found.append(self.skill_of_loss(loss, held_out=held_out))
        return found[0], found[1]

    @cached_property
    def trainer(self) -> Trainer:
        """One for trials, with the first weights."""
        return Trainer(
            self.network,
            self.loss,
            with_rate(self.optimizer, dialled),
            batch_size=self.batch_size,
            seed=self.seed,
            precision=self.precision,
            threads=self.threads,
        ).build(self.inputs)

    @cached_property
    def first(self) -> Structure:
        """The weights that training began with."""
        return self.trainer.restart().parameters

    @cached_property
    def model(self) -> Model | None:
        """The network as it is; None where it was not trained."""
        if self.parameters is None:
            return None
        return replace(self.trainer.model(), parameters=self.parameters)

    @cached_property
    def own(self) -> tuple[float, float]:
        """The skills of the network as it is; of one that was not trained, after a trial."""
        return self.tried() if self.parameters is None else self.skills(self.model)

    @property
    def trial(self) -> Model:
        """The network after a trial."""
        self.tried()
        return self.trainer.model()

    @cached_property
    def trial_epochs(self) -> int:
        """So many that a trial takes a second or two at most, and not more than the training had."""
        most = MOST_WORK / max(LEAST_WORK, self.rows * max(100, count(self.first)))
        return max(1, min(self.epochs, int(most)))

    def tried(self, factor: float = 1.0, *, epochs: int | None = None, trying: str = "") -> tuple[float, float]:
        """The skills after a training from the first weights, with that multiple of the learning rate. `trying` says
        of what it is a trial.
        """
        trainer = self.trainer
        trainer.optimizer = with_rate(self.optimizer, lambda rate: dialled(rate, factor))
        trainer.restart()
        epochs = epochs or self.trial_epochs
        at = "" if factor == 1 else f" at {factor:g} times the rate"
        self.telling(f"{trying or 'trial'}: {epochs:,} epochs{at}")
        stopping = None if self.patience is None or not self.guarded else EarlyStopping(self.patience)
        try:
            with np.errstate(all="ignore"):
                trainer.fit(
                    self.inputs,
                    self.targets,
                    weights=self.weights,
                    epochs=epochs,
                    validation=None if stopping is None else self.held_out,
                    stopping=stopping,
                )
        except NotFiniteError:
            return -math.inf, -math.inf
        return self.skills(trainer.model())


def case_of(
    trainer: Trainer,
    inputs: Any,
    targets: Any,
    *,
    validation: Any = None,
    weights: Any = None,
    patience: int | None = None,
    epochs: int | None = None,
    names: Sequence[str] = (),
    labelled: Sequence[str] = (),
    drawn: bool = True,
    judged: Any = None,
    parameters: Structure | None = None,
    shares: Array | None = None,
    telling: Callable[[str], None] = _nobody,
) -> Case:
    """The case of a Trainer. Of many rows a sample is looked at."""
    rows = Rows(inputs, targets, weights, trainer.precision)
    chosen = _sample(rows.count, trainer.seed)
    if validation is None:
        cut = max(1, round(len(chosen) * HELD_OUT)) if len(chosen) > 4 else 0
        apart, own = (chosen[:cut], chosen[cut:]) if cut else (chosen, chosen)
        held = rows
    else:
        given = (*validation, None)
        held = Rows(given[0], given[1], given[2], trainer.precision)
        apart, own = _sample(held.count, trainer.seed), chosen
    return Case(
        trainer.network,
        trainer.loss,
        trainer.optimizer,
        trainer.batch_size,
        trainer.seed,
        trainer.precision,
        trainer.threads,
        *_taken(rows, np.sort(own)),
        _taken(held, np.sort(apart)),
        validation is not None,
        epochs or len(trainer.history) or EPOCHS,
        list(trainer.history),
        trainer.parameters if parameters is None and trainer.steps else parameters,
        patience,
        tuple(names),
        tuple(labelled),
        drawn,
        None if judged is None else _some(Rows(judged[0], judged[1], None, trainer.precision), trainer.seed),
        shares,
        (rows.count, 0 if validation is None else held.count),
        telling,
    )


EPOCHS = 30  # of a training that is yet to be


def _taken(rows: Rows, places: Array) -> tuple[Inputs, Array, Array | None]:
    return (
        take_rows(rows.inputs, places),
        rows.targets[places],
        None if rows.weights is None else rows.weights[places],
    )


def _some(rows: Rows, seed: int) -> tuple[Inputs, Array]:
    inputs, targets, _ = _taken(rows, np.sort(_sample(rows.count, seed)))
    return inputs, targets


def _sample(rows: int, seed: int) -> Array:
    order = np.random.Generator(np.random.Philox(seed)).permutation(rows)
    return order[:MOST_ROWS]


def _block(inputs: Inputs) -> Array | None:
    if isinstance(inputs, dict):
        real = [part for part in inputs.values() if part.dtype.kind == "f"]
        return real[0] if len(real) == 1 else None
    return inputs if inputs.dtype.kind == "f" else inputs.astype(np.float64)
