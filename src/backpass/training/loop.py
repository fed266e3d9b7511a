"""The training loop: epochs, and what is looked at between them."""

import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from backpass.data.arrays import Array, row_shape, take_rows
from backpass.data.batches import batches
from backpass.errors import NotFiniteError
from backpass.forward import Program, Spec, Structure, Traced, flatten, labels, one_thread, trace
from backpass.graph import BATCH, Node, scope
from backpass.losses import Loss
from backpass.model.network import ForwardPass
from backpass.nn import Layer, count, specs
from backpass.ops import Key
from backpass.optimizers import Optimizer
from backpass.records import dataclass
from backpass.training.divergence import DivergedError, explained, learning_rate
from backpass.training.events import (
    EpochFinished,
    Event,
    Listener,
    RolledBack,
    StepFinished,
    TrainingFinished,
    TrainingStarted,
)
from backpass.training.executors import EpochSums, Executor, Kept, NativeExecutor, ReferenceExecutor, State, Work
from backpass.training.fingerprints import is_ours, of_graph
from backpass.training.history import INTERRUPTED, TIME_IS_OVER, History
from backpass.training.interrupts import Interrupts, noticed
from backpass.training.measuring import Measuring
from backpass.training.rows import Rows
from backpass.training.saving import Keeper
from backpass.training.snapshots import Progress
from backpass.training.steering import Steering
from backpass.training.step import gradient_norm, training_step
from backpass.training.stopping import EarlyStopping

if TYPE_CHECKING:
    from backpass.ledger import Words
    from backpass.training.blame import Blame, Circumstances

Metric = Callable[[Array, Array], float]
ON_DIVERGENCE = ("stop", "rollback")
SLOWER = 0.5  # of the learning rate, after a rollback
LEAST_RATE = SLOWER**10  # and less than that will not help either
BEFORE_LOOKING = (
    100_000  # steps made again, on the way to the one that failed, before it is asked whether a signal came
)


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
    keeper: Keeper | None = None
    seconds: float | None = None
    window: int | None = None
    words: "Callable[[bool], Words] | None" = None
    steering: Steering | None = None
    _begun: float = 0.0
    _end: float = math.inf
    _made: bool = False
    _interrupts: Interrupts = field(default_factory=Interrupts)
    _measuring: Measuring = field(default_factory=Measuring)

    def run(self, state: State, progress: Progress, *, stop_on_interrupt: bool = False) -> int:
        """Train `state` until `progress` is at its last epoch, adding to its history.

        A first Ctrl-C or SIGTERM ends it after the step: the state is then that between two steps, and the number of
        the signal is returned; 0 where none came.
        """
        started, history = time.perf_counter(), progress.history
        self._begun = started
        with noticed() as self._interrupts:
            try:
                while not self._trained(state, progress):
                    pass
            except KeyboardInterrupt:  # raised by a listener, or where signals cannot be noticed
                if not stop_on_interrupt or self._interrupts:
                    raise
            finally:
                if self.keeper is not None:
                    self.keeper.close()
        if self.keeper is not None:
            self.keeper.warn()
        if progress.kept is not None:
            state.parameters, state.batch, state.sums = progress.kept, 0, (0.0, 0.0)
        else:
            state.parameters = self.optimizer.in_use(state.parameters, state.optimizer)
        self._tell(TrainingFinished(history.reason, history.kept, time.perf_counter() - started))
        return self._interrupts.signal

    def _trained(self, state: State, progress: Progress) -> bool:
        """Train to the end, whatever that is; false where it diverged, and is to go on more slowly."""
        history, keeper = progress.history, self.keeper
        epochs, done = progress.last - progress.first, self._epochs_done(progress)
        diverged: NotFiniteError | None = None
        executor = self._executor(state, progress)
        if progress.good is None and progress.on_divergence == "rollback":
            progress.good = replace(state), len(history)
        if keeper is not None and keeper.is_fresh:
            keeper.save(state, progress)
        try:
            self._tell(
                TrainingStarted(
                    epochs, self.data.count, self.batch_size, count(state.parameters), done, self._seconds_left()
                )
            )
            reason, steps = self._turn(executor, state, progress)
            while reason is None:
                self._go_on(executor, state, progress, steps)
                self._made = True
                if keeper is not None and (state.batch or keeper.due_after(progress.epoch)):
                    executor.fetch()
                    keeper.save(state, progress)
                    keeper.warn()
                reason, steps = self._turn(executor, state, progress)
            executor.fetch()
            progress.finished, history.reason = not self._interrupts, reason
            if keeper is not None:
                keeper.save(state, progress)
        except BaseException as error:  # also a listener's own: what is done is kept
            self._broken_off(executor, state, progress)
            if isinstance(error, KeyboardInterrupt):
                history.reason = INTERRUPTED
            if not isinstance(error, NotFiniteError):
                raise
            diverged = error
        finally:
            executor.close()
        if diverged is not None:
            self._slow_down(state, progress, self._explained(diverged, state, progress))
        return diverged is None

    def _turn(self, executor: Executor, state: State, progress: Progress) -> tuple[str | None, int]:
        """Why the training is over, or None; and how many steps it may make before it looks again, 0 for any number."""
        steps = self._steered(executor, state, progress)
        return self._over(progress), steps

    def _steered(self, executor: Executor, state: State, progress: Progress) -> int:
        """Do what those who steer ask for: save, wait, end. How many steps may be made now, 0 for any number."""
        if self.steering is None or not self.steering.asks:
            return 0
        executor.fetch()
        if self.keeper is not None:
            self.keeper.save(state, progress)
        steps = self.steering.obey(state.step, over=lambda: bool(self._interrupts) or self._time_is_over())
        if self.steering.stopped and not self._interrupts:
            self._interrupts.signal = signal.SIGINT
        return steps

    def run_to(self, step: int, state: State, progress: Progress) -> None:
        """Train `state` up to `step` steps, the last of a training that was, and tell nobody."""
        while state.step < step:
            executor = self._executor(state, progress)
            turns = [at for at, _ in progress.rates if at > state.step]
            until = min([step, *turns])
            try:
                while executor.step < until:
                    self._go_on(executor, state, progress, until - executor.step)
                executor.fetch()
            finally:
                executor.close()

    def _go_on(self, executor: Executor, state: State, progress: Progress, steps: int = 0) -> None:
        """Some epochs, or a part of one; at most so many steps, if that is not 0."""
        history, left = progress.history, progress.last - progress.first - self._epochs_done(progress)
        if not self._looks_between(progress):
            until = self.keeper.epochs_until(progress.epoch) if self.keeper is not None else None
            sums = executor.run(min(left, until or left), steps=steps)
            first = progress.epoch + 1
            if len(sums):
                last = first + len(sums) - 1
                history.add_later(last, partial(_records, sums, first, self.data.count))
                self._measure(history, last, state)
            history.kept = progress.epoch
            return
        sums = executor.run(1, steps=steps)
        for known in _records(sums, progress.epoch + 1, self.data.count):
            record = self._record(known, executor, state)
            history.append(record)
            self._measure(history, record["epoch"], state)
            is_best = progress.best.better(record["epoch"], record.get("validation_loss", record["loss"]))
            if is_best and self.stopping is not None:
                progress.kept = executor.values(self.optimizer.in_use)
            if is_best or self.stopping is None:
                history.kept = record["epoch"]
            if is_best and progress.on_divergence == "rollback":
                executor.fetch()
                progress.good = replace(state), len(history)
            self._tell(EpochFinished(record, is_best))

    def _measure(self, history: History, epoch: int, state: State) -> None:
        """Add the norm of the next gradient to the last record, where the state is that after it and it is time."""
        if self.steering is None or not self.steering.measures or state.epoch != epoch or state.batch:
            return
        norm = self._measuring.measured(partial(self._norm, state), state)
        if norm is not None:
            history[-1]["gradient_norm"] = norm

    def _norm(self, state: State) -> Callable[[State], float]:
        """What calculates the norm of the gradient of the step after a state."""
        program = Program(
            gradient_norm(self.network, self.loss, parameters=state.parameters, **self._batch_specs(state)).graph
        )

        def norm(state: State) -> float:
            moment = np.array([self.seed, state.step], np.int64)
            with one_thread():
                (found,) = program(*flatten(state.parameters), moment, *self.data.take(self.rows_of(state)))
            return float(found)

        return norm

    def _over(self, progress: Progress) -> str | None:
        """Why the training is over; None while it is not."""
        epochs = progress.last - progress.first
        patience = math.inf if self.stopping is None else self.stopping.patience
        if progress.finished:
            return progress.history.reason
        if self._interrupts:
            return INTERRUPTED
        if progress.epoch - max(progress.first, progress.best.epoch) >= patience:
            return f"no better validation loss for {patience} epochs"
        if progress.epoch >= progress.last:
            return f"all {epochs:,} epochs done"
        return TIME_IS_OVER if self._made and self._time_is_over() else None

    def _explained(self, error: NotFiniteError, state: State, progress: Progress) -> NotFiniteError:
        """The error with the first number that was not finite: the step is made again, from the state before."""
        if not isinstance(error, DivergedError):
            return error
        rule, found = self.rule(state, progress), None
        with suppress(MemoryError, DivergedError):  # of every value at once; and of rows that were changed meanwhile
            found = self._blame(error, replace(state), progress)
        before = progress.history[-1]["loss"] if progress.epoch > progress.first else None
        told = explained(
            error.what, error.step, error.epoch, data=self.data, optimizer=rule, before=before, blame=found
        )
        return NotFiniteError(told, found)

    def _blame(self, error: DivergedError, state: State, progress: Progress) -> "Blame | None":
        """None where a signal came, or where nothing is known of the steps before."""
        from backpass.training.blame import blame

        again = replace(self, listeners=(), held_out=None, stopping=None, keeper=None, seconds=None)
        past = replace(progress, history=History(), first=state.epoch, finished=False, on_divergence="stop", good=None)
        while state.step < error.step - 1 and not self._interrupts:
            again.run_to(min(error.step - 1, state.step + BEFORE_LOOKING), state, past)
        if self._interrupts or state.step != error.step - 1:
            return None
        rows = self.rows_of(state)
        traced, values = self.values(state, past, rows)
        return blame(traced, values, self._circumstances(state, past, rows, error.epoch), wanted=error.what)

    def _blame_validation(self, parameters: Structure, data: Rows, epoch: int) -> "Blame | None":
        """The first number that is not finite on the way to the loss of held-out rows, some of them at a time."""
        from backpass.training.blame import blame

        def error(p: Structure, x: Any, y: Any) -> Any:
            outputs = self.network(p, x)
            with scope("loss"):
                return self.loss(outputs, y)

        steps = epoch * self.data.steps(self.batch_size)
        state = State(parameters, None, step=steps - 1)
        given = (parameters, specs(row_shape(data.inputs), _float_type(parameters)), batch_spec(data.targets))
        traced = trace(error, *given, names=("", "x", "y"))
        for first in range(0, data.count, self.batch_size):
            rows = np.arange(first, min(data.count, first + self.batch_size))
            batch = [*flatten(take_rows(data.inputs, rows)), data.targets[rows]]
            values = Program(traced.graph).every_value(*flatten(parameters), *batch)
            if not np.isfinite(values[traced.graph.outputs[0]]):
                return blame(traced, values, self._circumstances(state, None, rows, epoch, held_out=True))
        return None

    def _circumstances(
        self, state: State, progress: Progress | None, rows: Array, epoch: int, *, held_out: bool = False
    ) -> "Circumstances":
        """`rows` are among those trained on, or those `held_out`."""
        from backpass.ledger import Words
        from backpass.training.blame import Circumstances

        start = self.network.init(row_shape(self.data.inputs), Key.of(self.seed).fold("parameters"))
        sizes = [float(np.abs(value).max(initial=0.0)) for value in map(np.asarray, flatten(start))]
        return Circumstances(
            state.step + 1,
            epoch,
            rows,
            self.words(held_out) if self.words is not None else Words(),
            dict(zip(labels(start), sizes, strict=True)),
            learning_rate(self.optimizer if progress is None else self.rule(state, progress)),
        )

    def rows_of(self, state: State) -> Array:
        """The rows of the step after `state`, by their places."""
        order = batches(
            self.data.count,
            self.batch_size,
            seed=self.seed,
            epoch=state.epoch,
            shuffle=self.shuffle,
            window=self.window,
        )
        return next(islice(order, state.batch, None))

    def values(self, state: State, progress: Progress, rows: Array) -> tuple[Traced, Mapping[Node, Array]]:
        """The graph of the step after `state`, and every value in it."""
        traced = self.traced(state, self.rule(state, progress))
        moment = np.array([self.seed, state.step], np.int64)
        inputs: list[Any] = [*flatten(state.parameters), *flatten(state.optimizer), moment, *self.data.take(rows)]
        with one_thread():
            return traced, Program(traced.graph).every_value(*inputs)

    def _slow_down(self, state: State, progress: Progress, error: NotFiniteError) -> None:
        """After a divergence: go back to the best state so far, to go on with smaller steps.

        Raises:
            NotFiniteError: that was not asked for, or will not help.
        """
        rate = SLOWER * (progress.rates[-1][1] if progress.rates else 1.0)
        if progress.on_divergence != "rollback" or progress.good is None:
            raise error
        if rate < LEAST_RATE:
            back = f"it went back {len(progress.rates)} times, to {rate / SLOWER:.2g} of that rate"
            raise NotFiniteError(f"{error} ({back})", error.blame)
        good, epochs = progress.good
        for name, value in vars(good).items():
            setattr(state, name, value)
        del progress.history[epochs:]
        progress.rates.append((state.step, rate))
        if self.keeper is not None:
            self.keeper.forget_after(state.step)
            self.keeper.save(state, progress)
        self._tell(RolledBack(str(error), state.step, rate, error.blame))

    def _broken_off(self, executor: Executor, state: State, progress: Progress) -> None:
        """Keep what was done before an error or Ctrl-C."""
        history = progress.history
        history.extend(_records(executor.finished, progress.epoch + 1, self.data.count))
        executor.fetch()
        while history and history[-1]["epoch"] > state.epoch:
            history.pop()  # Ctrl-C came again, before the last epochs were made anew
        # Nobody waits for that who pressed Ctrl-C twice; and an epoch of which the record is lacking is not saved.
        if self.keeper is not None and not self._interrupts and state.epoch == progress.epoch:
            self.keeper.save(state, progress)

    @staticmethod
    def _epochs_done(progress: Progress) -> int:
        return max(0, progress.epoch - progress.first)

    def _looks_between(self, progress: Progress) -> bool:
        """Is there something to do between two epochs, beside noting what they came to?"""
        watched = self.listeners or self.optimizer.observes or progress.on_divergence == "rollback"
        return bool(self.held_out is not None or self.stopping or watched)

    def _executor(self, state: State, progress: Progress) -> Executor:
        tell = self._step_finished if self.listeners else None
        rule = self.rule(state, progress)
        trace, key = partial(self.traced, state, rule), self._key(rule)
        if not is_ours((self.network, self.loss, rule)):
            traced = trace()  # it may have changed since the last one
            trace, key = partial(lambda same: same, traced), (*key, of_graph(traced.graph))
        work = Work(
            trace,
            key,
            self.data,
            self.batch_size,
            self.seed,
            self.shuffle,
            tell,
            self._pauses,
            self.window,
        )
        if self.executor == "reference":
            return ReferenceExecutor(work, state)
        return NativeExecutor(work, state, self.threads, self.kept)

    def rule(self, state: State, progress: Progress) -> Optimizer:
        """What makes the changes of the step after `state`."""
        rate = progress.rate_after(state.step)
        return self.optimizer if rate == 1.0 else self.optimizer.slowed(rate)

    def _pauses(self) -> bool:
        asked = bool(self._interrupts) or (self.steering is not None and self.steering.asks)
        return asked or self._time_is_over() or (self.keeper is not None and self.keeper.due())

    def _time_is_over(self) -> bool:
        """Asked first when the programs are made: however long that took, a tenth of the time is for steps."""
        if self.seconds is not None and self._end == math.inf:
            self._end = max(self._begun + self.seconds, time.perf_counter() + self.seconds / 10)
        return time.perf_counter() >= self._end

    def _seconds_left(self) -> float | None:
        """Those that there are for steps."""
        self._time_is_over()
        return None if self.seconds is None else max(0.0, self._end - time.perf_counter())

    def _key(self, rule: Optimizer) -> tuple[Any, ...]:
        """What decides which step is traced, where all is backpass's own."""
        given = [self.data.targets] + ([] if self.data.weights is None else [self.data.weights])
        specs = [(array.dtype.str, array.shape[1:]) for array in given]
        return self.network, self.loss, rule, str(row_shape(self.data.inputs)), specs

    def traced(self, state: State, rule: Optimizer) -> Traced:
        return training_step(
            self.network,
            self.loss,
            rule,
            parameters=state.parameters,
            state=state.optimizer,
            **self._batch_specs(state),
        )

    def _batch_specs(self, state: State) -> dict[str, Any]:
        """Of what a step takes of its rows."""
        return {
            "inputs": specs(row_shape(self.data.inputs), _float_type(state.parameters)),
            "targets": batch_spec(self.data.targets),
            "weights": None if self.data.weights is None else batch_spec(self.data.weights),
        }

    def _step_finished(self, step: int, epoch: int, loss: float, rows: int) -> None:
        self._tell(StepFinished(step, epoch, loss, rows))

    def _record(self, record: dict[str, Any], executor: Executor, state: State) -> dict[str, Any]:
        """All that is known after an epoch, from what it came to."""
        losses = {"loss": record["loss"]}
        if self.held_out is not None:
            losses |= self._validate(executor.values(self.optimizer.in_use), record["epoch"])
        if self.optimizer.observes:
            executor.fetch()
            observed = self.optimizer.observe(state.optimizer, losses.get("validation_loss", losses["loss"]))
            executor.set_optimizer(observed)
        return {"epoch": record["epoch"]} | losses | {name: record[name] for name in ("seconds", "rows_per_second")}

    def _validate(self, parameters: Structure, epoch: int) -> dict[str, float]:
        """The loss and the metrics on rows that are not trained on."""
        if self.held_out is None:
            return {}
        outputs, predictions = self.forward.with_predictions(self.loss, parameters, self.held_out.inputs)
        loss = float(self.loss(outputs, self.held_out.targets, self.held_out.weights))
        if not np.isfinite(loss):
            first = self._blame_validation(parameters, self.held_out, epoch)
            told = f"the validation loss became {loss} in epoch {epoch}" + ("" if first is None else f": {first}")
            raise NotFiniteError(f"{told}: try a smaller learning rate, or scaled inputs", first)
        found = {name: float(metric(predictions, self.held_out.targets)) for name, metric in self.metrics.items()}
        return {"validation_loss": loss} | found

    def _tell(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)


def _records(sums: EpochSums, first: int, rows: int) -> list[dict[str, Any]]:
    """What epochs of so many rows came to, from epoch `first` on."""
    losses, weights, seconds = sums.T
    means = np.divide(losses, weights, out=np.zeros(len(sums)), where=weights != 0)
    rates = np.divide(rows, seconds, out=np.zeros(len(sums)), where=seconds > 0)
    columns = (column.tolist() for column in (means, seconds, rates))
    return [
        {"epoch": epoch, "loss": loss, "seconds": length, "rows_per_second": rate}
        for epoch, (loss, length, rate) in enumerate(zip(*columns, strict=True), start=first)
    ]


def batch_spec(values: Array) -> Spec:
    return Spec((BATCH, *values.shape[1:]), values.dtype)


def _float_type(parameters: Structure) -> Any:
    return next((leaf.dtype for leaf in flatten(parameters) if leaf.dtype.kind == "f"), np.dtype("float32"))
