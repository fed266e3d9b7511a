"""The training loop: epochs of steps, each one run of the step's graph."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.data.arrays import Array, row_shape
from backpass.data.batches import batches
from backpass.errors import NotFiniteError
from backpass.forward import Program, Spec, Structure, flatten, labels, unflatten
from backpass.graph import BATCH
from backpass.losses import Loss
from backpass.model.network import ForwardPass
from backpass.nn import Layer, count, specs
from backpass.optimizers import Optimizer
from backpass.simplify import simplify
from backpass.training.events import EpochFinished, Event, Listener, StepFinished, TrainingFinished, TrainingStarted
from backpass.training.history import INTERRUPTED, History
from backpass.training.rows import Rows
from backpass.training.step import training_step
from backpass.training.stopping import BestSoFar, EarlyStopping

Metric = Callable[[Array, Array], float]


@dataclass
class State:
    """All that a training has brought forth so far, and all that it needs to go on."""

    parameters: Structure
    optimizer: Structure
    step: int = 0
    epoch: int = 0


@dataclass
class Loop:
    """What is to be done. `run` does it."""

    network: Layer
    loss: Loss
    optimizer: Optimizer
    data: Rows
    held_out: Rows | None
    forward: ForwardPass
    metrics: Mapping[str, Metric]
    batch_size: int
    seed: int
    shuffle: bool
    stopping: EarlyStopping | None
    listeners: Sequence[Listener]

    def run(self, state: State, history: History, epochs: int, *, stop_on_interrupt: bool = False) -> None:
        """Train `state` for at most `epochs` epochs, adding to `history`."""
        started = time.perf_counter()
        self._tell(TrainingStarted(epochs, self.data.count, self.batch_size, count(state.parameters)))
        best = BestSoFar(self.stopping.improvement if self.stopping else 0.0)
        step = self._compiled(state)
        history.reason, kept = f"all {epochs:,} epochs done", state.parameters
        try:
            for _ in range(epochs):
                record = self._epoch(step, state)
                history.append(record)
                is_best = best.better(state.epoch, record.get("validation_loss", record["loss"]))
                if is_best or self.stopping is None:
                    kept, history.kept = state.parameters, state.epoch
                self._tell(EpochFinished(record, is_best))
                if self.stopping and state.epoch - best.epoch >= self.stopping.patience:
                    history.reason = f"no better validation loss for {self.stopping.patience} epochs"
                    break
        except KeyboardInterrupt:
            if not stop_on_interrupt:
                raise
            history.reason = INTERRUPTED
        state.parameters = kept
        self._tell(TrainingFinished(history.reason, history.kept, time.perf_counter() - started))

    def _compiled(self, state: State) -> Program:
        traced = training_step(
            self.network,
            self.loss,
            self.optimizer,
            parameters=state.parameters,
            state=state.optimizer,
            inputs=specs(row_shape(self.data.inputs), _float_type(state.parameters)),
            targets=_batch_spec(self.data.targets),
            weights=None if self.data.weights is None else _batch_spec(self.data.weights),
        )
        return Program(simplify(traced.graph))

    def _epoch(self, step: Program, state: State) -> dict[str, Any]:
        """One pass over all rows, and what is known after it."""
        started = time.perf_counter()
        loss_sum, weight_sum, seen, steps = 0.0, 0.0, 0, state.step
        values = [*flatten(state.parameters), *flatten(state.optimizer)]
        for rows in batches(self.data.count, self.batch_size, seed=self.seed, epoch=state.epoch, shuffle=self.shuffle):
            moment = np.array([self.seed, steps], np.int64)
            loss, *values = step(*values, moment, *self.data.take(rows))
            steps += 1
            weight = self.data.weight_of(rows)
            loss_sum += float(loss) * weight
            weight_sum += weight
            seen += len(rows)
            if not np.isfinite(loss):
                raise NotFiniteError(_not_finite(f"the loss became {float(loss)} at step {steps}", state.epoch + 1))
            self._tell(StepFinished(steps, state.epoch + 1, _ratio(loss_sum, weight_sum), seen))
        learned = len(flatten(state.parameters))
        state.parameters = unflatten(state.parameters, values[:learned])
        state.optimizer = unflatten(state.optimizer, values[learned:])
        state.step = steps
        state.epoch += 1
        self._require_finite(state)
        seconds = time.perf_counter() - started
        losses = {"loss": _ratio(loss_sum, weight_sum)} | self._validate(state)
        state.optimizer = self.optimizer.observe(state.optimizer, losses.get("validation_loss", losses["loss"]))
        return {"epoch": state.epoch} | losses | {"seconds": seconds, "rows_per_second": seen / seconds}

    def _validate(self, state: State) -> dict[str, float]:
        """The loss and the metrics on rows that are not trained on."""
        if self.held_out is None:
            return {}
        outputs = self.forward(state.parameters, self.held_out.inputs)
        loss = float(self.loss(outputs, self.held_out.targets, self.held_out.weights))
        if not np.isfinite(loss):
            raise NotFiniteError(_not_finite(f"the validation loss became {loss}", state.epoch))
        predictions = np.asarray(self.loss.predictions(outputs))
        found = {name: float(metric(predictions, self.held_out.targets)) for name, metric in self.metrics.items()}
        return {"validation_loss": loss} | found

    def _require_finite(self, state: State) -> None:
        for label, value in zip(labels(state.parameters), flatten(state.parameters), strict=True):
            if not np.isfinite(value).all():
                raise NotFiniteError(
                    f"{label} is no longer finite after epoch {state.epoch}: "
                    "try a smaller learning rate, or clip gradients"
                )

    def _tell(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)


def _not_finite(what: str, epoch: int) -> str:
    return f"{what} in epoch {epoch}: try a smaller learning rate, scaled inputs, or clipped gradients"


def _ratio(loss_sum: float, weight_sum: float) -> float:
    return loss_sum / weight_sum if weight_sum else 0.0


def _batch_spec(values: Array) -> Spec:
    return Spec((BATCH, *values.shape[1:]), values.dtype)


def _float_type(parameters: Structure) -> Any:
    return next((leaf.dtype for leaf in flatten(parameters) if leaf.dtype.kind == "f"), np.dtype("float32"))
