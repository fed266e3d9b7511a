"""The training loop: epochs, and what is looked at between them."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from backpass.data.arrays import Array, row_shape
from backpass.errors import NotFiniteError
from backpass.forward import Spec, Structure, Traced, flatten
from backpass.graph import BATCH
from backpass.losses import Loss
from backpass.model.network import ForwardPass
from backpass.nn import Layer, count, specs
from backpass.optimizers import Optimizer
from backpass.training.events import EpochFinished, Event, Listener, StepFinished, TrainingFinished, TrainingStarted
from backpass.training.executors import EpochSum, Executor, Kept, NativeExecutor, ReferenceExecutor, State, Work
from backpass.training.history import INTERRUPTED, History
from backpass.training.rows import Rows
from backpass.training.step import training_step
from backpass.training.stopping import BestSoFar, EarlyStopping

Metric = Callable[[Array, Array], float]


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
    executor: str
    threads: int | None
    kept: Kept

    def run(self, state: State, history: History, epochs: int, *, stop_on_interrupt: bool = False) -> None:
        """Train `state` for at most `epochs` epochs, adding to `history`."""
        started = time.perf_counter()
        self._tell(TrainingStarted(epochs, self.data.count, self.batch_size, count(state.parameters)))
        best = BestSoFar(self.stopping.improvement if self.stopping else 0.0)
        executor = self._executor(state)
        first, history.reason, kept = state.epoch, f"all {epochs:,} epochs done", None
        try:
            while (done := self._epochs_done(history, first)) < epochs:
                if not self._looks_between:
                    history.extend(self._records(executor.run(epochs - done), first + done + 1))
                    history.kept = history[-1]["epoch"]
                    continue
                for total in executor.run(1):
                    record = self._record(total, executor, state, first + done + 1)
                    history.append(record)
                    is_best = best.better(record["epoch"], record.get("validation_loss", record["loss"]))
                    if is_best and self.stopping is not None:
                        kept = executor.parameters()
                    if is_best or self.stopping is None:
                        history.kept = record["epoch"]
                    self._tell(EpochFinished(record, is_best))
                if self.stopping and history[-1]["epoch"] - best.epoch >= self.stopping.patience:
                    history.reason = f"no better validation loss for {self.stopping.patience} epochs"
                    break
            executor.fetch()
        except BaseException as error:  # also a listener's own: what is done is kept
            self._broken_off(executor, state, history, first)
            if isinstance(error, KeyboardInterrupt):
                history.reason = INTERRUPTED
            if not (stop_on_interrupt and isinstance(error, KeyboardInterrupt)):
                raise
        finally:
            executor.close()
        state.parameters = state.parameters if kept is None else kept
        self._tell(TrainingFinished(history.reason, history.kept, time.perf_counter() - started))

    def _broken_off(self, executor: Executor, state: State, history: History, first: int) -> None:
        """Keep what was done before an error or Ctrl-C."""
        history.extend(self._records(executor.finished, first + self._epochs_done(history, first) + 1))
        executor.fetch()
        while history and history[-1]["epoch"] > state.epoch:
            history.pop()  # Ctrl-C came again, before the last epochs were made anew

    @staticmethod
    def _epochs_done(history: History, first: int) -> int:
        return max(0, int(history[-1]["epoch"]) - first) if history else 0

    @property
    def _looks_between(self) -> bool:
        """Is there something to do between two epochs, beside noting what they came to?"""
        return bool(self.held_out is not None or self.listeners or self.stopping or self.optimizer.observes)

    def _executor(self, state: State) -> Executor:
        tell = self._step_finished if self.listeners else None
        trace = partial(self._traced, state)
        work = Work(trace, self._key(), self.data, self.batch_size, self.seed, self.shuffle, tell)
        if self.executor == "reference":
            return ReferenceExecutor(work, state)
        return NativeExecutor(work, state, self.threads, self.kept)

    def _key(self) -> Any:
        """What decides which step is traced."""
        given = [self.data.targets] + ([] if self.data.weights is None else [self.data.weights])
        specs = [(str(array.dtype), array.shape[1:]) for array in given]
        return self.network, self.loss, self.optimizer, str(row_shape(self.data.inputs)), specs

    def _traced(self, state: State) -> Traced:
        return training_step(
            self.network,
            self.loss,
            self.optimizer,
            parameters=state.parameters,
            state=state.optimizer,
            inputs=specs(row_shape(self.data.inputs), _float_type(state.parameters)),
            targets=batch_spec(self.data.targets),
            weights=None if self.data.weights is None else batch_spec(self.data.weights),
        )

    def _step_finished(self, step: int, epoch: int, loss: float, rows: int) -> None:
        self._tell(StepFinished(step, epoch, loss, rows))

    def _record(self, total: EpochSum, executor: Executor, state: State, epoch: int) -> dict[str, Any]:
        """What is known after an epoch."""
        (record,) = self._records([total], epoch)
        losses = {"loss": record["loss"]}
        if self.held_out is not None:
            losses |= self._validate(executor.parameters(), epoch)
        if self.optimizer.observes:
            executor.fetch()
            observed = self.optimizer.observe(state.optimizer, losses.get("validation_loss", losses["loss"]))
            executor.set_optimizer(observed)
        return {"epoch": epoch} | losses | {name: record[name] for name in ("seconds", "rows_per_second")}

    def _records(self, totals: Sequence[EpochSum], first: int) -> Iterator[dict[str, Any]]:
        """What epochs came to, from epoch `first` on. Of small networks there are thousands a second."""
        rows = self.data.count
        for epoch, (loss, weight, seconds) in enumerate(totals, start=first):
            speed = rows / seconds if seconds else 0.0
            mean = loss / weight if weight else 0.0
            yield {"epoch": epoch, "loss": mean, "seconds": seconds, "rows_per_second": speed}

    def _validate(self, parameters: Structure, epoch: int) -> dict[str, float]:
        """The loss and the metrics on rows that are not trained on."""
        if self.held_out is None:
            return {}
        outputs = self.forward(parameters, self.held_out.inputs)
        loss = float(self.loss(outputs, self.held_out.targets, self.held_out.weights))
        if not np.isfinite(loss):
            raise NotFiniteError(
                f"the validation loss became {loss} in epoch {epoch}: try a smaller learning rate, or scaled inputs"
            )
        predictions = np.asarray(self.loss.predictions(outputs))
        found = {name: float(metric(predictions, self.held_out.targets)) for name, metric in self.metrics.items()}
        return {"validation_loss": loss} | found

    def _tell(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)


def batch_spec(values: Array) -> Spec:
    return Spec((BATCH, *values.shape[1:]), values.dtype)


def _float_type(parameters: Structure) -> Any:
    return next((leaf.dtype for leaf in flatten(parameters) if leaf.dtype.kind == "f"), np.dtype("float32"))
