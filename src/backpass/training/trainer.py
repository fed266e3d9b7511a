"""The Trainer: minibatches, epochs, validation, early stopping."""

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from backpass.data.arrays import Array, Inputs, as_inputs, row_shape
from backpass.data.table import Table
from backpass.errors import UsageError
from backpass.forward import Spec, Structure
from backpass.losses import Loss
from backpass.model import Model, Tabular
from backpass.model.model import open_table
from backpass.model.network import MOST_THREADS, ForwardPass, require_count, typed
from backpass.nn import Layer, summary
from backpass.ops import Key
from backpass.optimizers import Adam, Optimizer
from backpass.records import dataclass
from backpass.training.events import Listener
from backpass.training.executors import EXECUTORS, Kept, State
from backpass.training.explain import explain_step, likely_targets
from backpass.training.fingerprints import described, fingerprint, is_ours, quick_fingerprint
from backpass.training.history import History
from backpass.training.loop import ON_DIVERGENCE, Loop, Metric, batch_spec
from backpass.training.memory import Training, check_memory
from backpass.training.progress import showing
from backpass.training.replay import Replayed, replayed, state_before
from backpass.training.rows import Rows, weights_by_label
from backpass.training.saving import Checkpoints, Keeper, as_checkpoints
from backpass.training.snapshots import Progress, newest, require_same, restored
from backpass.training.steering import Steering
from backpass.training.stopping import BestSoFar, EarlyStopping

if TYPE_CHECKING:
    from backpass.ledger import Ledger, Words
    from backpass.native.explain import Explanation

PRECISIONS = ("float32", "float64")


class Trainer:
    """Trains a network on arrays. The same seed, data and options give the same weights, bit for bit.

    Args:
        network: the layers.
        loss: how far outputs are from targets.
        optimizer: how errors become changes of the weights.
        batch_size: rows a step.
        seed: of the first weights, the order of the rows and the dropout.
        precision: "float32" or "float64".
        window: of rows in files (np.memmap), how many are looked at together, a multiple of `batch_size`: each epoch
            takes the windows in a new order, and the rows of each in a new order, and holds no more of them in memory.
            None for all: every batch is drawn from all rows.
        executor: what runs the graph of a step: "native", machine code; or "reference", NumPy, which is slow and easy
            to look into.
        threads: how many threads share the work of a step, at most 256; None for as many as are worth it, at most
            those that the machine or its quota allow. The weights do not depend on it, to the bit.
        metrics: functions of (predictions, targets) to calculate on the validation rows after each epoch, by name.
        listeners: functions that are told of every event; see `backpass.training.events`.
        steering: by which another thread holds a training, has it make single steps, saves and ends it.

    Attributes:
        parameters: the weights and biases, once they exist.
        history: one record an epoch, over all calls of `fit`.
        interrupted_by: the number of the signal that ended the last `fit`, such as 2 for Ctrl-C; 0 for none.
        words: what gives the names of inputs, outputs and rows, for messages: of those that validate where it is called
            with True, otherwise of those trained on; None where their numbers are to do.
    """

    def __init__(
        self,
        network: Layer,
        loss: Loss,
        optimizer: Optimizer | None = None,
        *,
        batch_size: int = 32,
        seed: int = 0,
        precision: str = "float32",
        window: int | None = None,
        executor: str = "native",
        threads: int | None = None,
        metrics: Mapping[str, Metric] | None = None,
        listeners: Sequence[Listener] = (),
        steering: Steering | None = None,
    ) -> None:
        _require(isinstance(network, Layer), "network", network, "a layer, such as nn.Sequential(...)")
        _require(isinstance(loss, Loss), "loss", loss, "a loss, such as losses.CrossEntropy()")
        _require(_is_whole(seed) and 0 <= seed < 1 << 63, "seed", seed, "a whole number from 0 to 2^63 - 1")
        _require(precision in PRECISIONS, "precision", precision, " or ".join(PRECISIONS))
        _require_options(batch_size, executor, threads, window)
        if optimizer is not None and not optimizer.makes_changes:
            raise UsageError(
                f"{optimizer} only changes gradients: put it in a Chain that ends with a rule, such as Adam()"
            )
        self.network = network
        self.loss = loss
        self.optimizer = Adam() if optimizer is None else optimizer
        self.batch_size = int(batch_size)
        self.seed = int(seed)
        self.precision = precision
        self.window = window
        self.executor = executor
        self.threads = threads
        self.metrics = dict(metrics or {})
        self.listeners = list(listeners)
        self.history = History()
        self.steering = steering
        if steering is not None:
            steering.history = self.history
        self.interrupted_by = 0
        self.words: Callable[[bool], Words] | None = None
        self._epoch_of: Any = None
        self._size: list[Any] = []
        """Of the last training: what the memory that it takes follows from."""
        self._state: State | None = None
        self._row_shape: Any = None
        self._tabular: Tabular | None = None
        self._forward: ForwardPass | None = None
        self._kept = Kept()
        self._targets: tuple[Spec, Spec | None] | None = None

    @property
    def parameters(self) -> Structure:
        """The weights and biases; None before the first call of `build` or `fit`."""
        return None if self._state is None else self._state.parameters

    @property
    def steps(self) -> int:
        """Steps made so far."""
        return 0 if self._state is None else self._state.step

    def build(self, inputs: Any) -> "Trainer":
        """Make the first weights for inputs like these, if there are none yet."""
        self._built(as_inputs(inputs, self.precision))
        return self

    def _built(self, rows: Inputs) -> tuple[State, ForwardPass]:
        """What `build` makes, for inputs that are seen to be rows."""
        if self._state is None or self._forward is None:
            self._row_shape = row_shape(rows)
            start = typed(self.network.init(self._row_shape, Key.of(self.seed).fold("parameters")), self.precision)
            self._state = State(start, self.optimizer.init(start))
            self._forward = self._forward_pass(start)
        return self._state, self._forward

    def _forward_pass(self, parameters: Structure) -> ForwardPass:
        return ForwardPass(
            self.network,
            parameters,
            self._row_shape,
            precision=self.precision,
            executor=self.executor,
            threads=self.threads,
        )

    def restart(self, parameters: Structure = None) -> "Trainer":
        """Begin anew with the first weights, or with `parameters`: what was trained, and its history, are forgotten.

        The program of a step stays for the next `fit`.

        Raises:
            UsageError: the inputs are not known yet.
        """
        if self._state is None:
            raise UsageError("there is nothing to begin anew before the inputs are known: call build or fit first")
        start = (
            self.network.init(self._row_shape, Key.of(self.seed).fold("parameters"))
            if parameters is None
            else parameters
        )
        start = typed(start, self.precision)
        self._state, self._epoch_of, self.history = State(start, self.optimizer.init(start)), None, History()
        return self

    def fit(
        self,
        inputs: Any,
        targets: Any,
        *,
        epochs: int,
        validation: Any = None,
        weights: Any = None,
        class_weights: Mapping[int, float] | str | None = None,
        stopping: EarlyStopping | None = None,
        shuffle: bool = True,
        progress: bool = False,
        stop_on_interrupt: bool = False,
        checkpoints: Checkpoints | str | Path | None = None,
        on_divergence: str = "stop",
        seconds: float | None = None,
    ) -> History:
        """Train for at most `epochs` epochs; called again, it goes on from where it is.

        Ctrl-C and SIGTERM end it after the step, a second one at once; the next `fit` goes on with the step after.

        Args:
            inputs: an array (rows, ...), or a dictionary of such for networks with several inputs; or a table, as a
                path or Table, which is read, understood and encoded as `backpass.train` does it.
            targets: one a row: labels as whole numbers, or real numbers; of a table the target's name.
            epochs: how often every row is seen, at most.
            validation: (inputs, targets) or (inputs, targets, weights) that are not trained on; or a table.
            weights: how much each row counts.
            class_weights: how much each class counts, by its label; "balanced" makes all classes count the same.
            stopping: when to stop early. With it, the weights of the best validation loss are kept.
            shuffle: whether each epoch has the rows in a new order.
            progress: whether to show a progress bar on standard error.
            stop_on_interrupt: whether `fit` then returns; otherwise the signal takes its course, as KeyboardInterrupt.
            checkpoints: a new or empty folder to save the training in as it goes on, every minute and at its end; or
                Checkpoints, that say how often. `resume` goes on from there, after whatever crash.
            on_divergence: "stop", or "rollback": when a loss or weight is no longer finite, go back to the best state
                so far and on with half the learning rate.
            seconds: after so many it ends, with the step under way; what came of it depends on the machine's speed.

        Raises:
            ShapeError: arrays do not fit the network, the loss or each other.
            NotFiniteError: a loss or weight became infinite or not a number.
            UsageError: the training needs more memory than there is.
            OutputError: the folder of the checkpoints cannot be written, or holds some already.
        """
        _require(_is_whole(epochs) and epochs >= 1, "epochs", epochs, "a whole number of 1 or more")
        _require(on_divergence in ON_DIVERGENCE, "on_divergence", on_divergence, " or ".join(ON_DIVERGENCE))
        job = self._job(inputs, targets, validation, weights, class_weights, stopping, shuffle=shuffle)
        state, _ = self._built(job.data.inputs)
        if state.batch and self._epoch_of != self._epoch_like(job):  # what is under way was an epoch over other rows
            state.batch, state.sums = 0, (0.0, 0.0)
        steps = state.step - state.batch + epochs * job.data.steps(self.batch_size)
        best = BestSoFar(stopping.improvement if stopping else 0.0)
        done = Progress(state.epoch, state.epoch + epochs, steps, self.history, best, begun=state.step)
        done.on_divergence = on_divergence
        keeper = None if checkpoints is None else Keeper(as_checkpoints(checkpoints), self._plan(job), fresh=True)
        return self._run(job, done, keeper, progress=progress, stop_on_interrupt=stop_on_interrupt, seconds=seconds)

    def resume(
        self,
        checkpoints: Checkpoints | str | Path,
        inputs: Any,
        targets: Any,
        *,
        validation: Any = None,
        weights: Any = None,
        class_weights: Mapping[int, float] | str | None = None,
        stopping: EarlyStopping | None = None,
        shuffle: bool = True,
        progress: bool = False,
        stop_on_interrupt: bool = False,
        seconds: float | None = None,
    ) -> History:
        """Go on with a training from its newest checkpoint, to the end that it was to have.

        The Trainer and the arguments are those that the training was begun with; threads and executor may differ. The
        weights at the end are those of a training that was never interrupted, to the bit, on the same kind of machine.

        Raises:
            CheckpointError: there is no whole checkpoint, or it is of another network, optimizer or data; the message
                names the difference.
            OutputError: another process trains there.
        """
        job = self._job(inputs, targets, validation, weights, class_weights, stopping, shuffle=shuffle)
        state, _ = self._built(job.data.inputs)
        given, plan = as_checkpoints(checkpoints), self._plan(job)
        keeper = Keeper(given, plan, fresh=False)
        try:
            snapshot = newest(given.store)
            require_same(given.folder, snapshot, plan)
            steps = job.data.steps(self.batch_size)
            found, done = restored(snapshot, state, steps, stopping.improvement if stopping else 0.0)
        except BaseException:
            keeper.close()
            raise
        self._state = found
        self.history[:], self.history.reason, self.history.kept = done.history, done.history.reason, done.history.kept
        done.history = self.history
        return self._run(job, done, keeper, progress=progress, stop_on_interrupt=stop_on_interrupt, seconds=seconds)

    def replay(
        self,
        step: int,
        checkpoints: Checkpoints | str | Path,
        inputs: Any,
        targets: Any,
        *,
        validation: Any = None,
        weights: Any = None,
        class_weights: Mapping[int, float] | str | None = None,
        stopping: EarlyStopping | None = None,
        shuffle: bool = True,
    ) -> "Replayed":
        """Step number `step` of a training that was saved, from 1 on, run again with the value of every node.

        It goes from the nearest checkpoint before, or from the beginning. Trainer and arguments are those that the
        training was begun with. The weights before and after the step are those of the training, to the bit. This
        Trainer's own weights and history stay as they are.

        Raises:
            CheckpointError: as `resume`; or the training has not made so many steps, or its beginning is not known.
        """
        arguments = {"validation": validation, "weights": weights, "class_weights": class_weights}
        arguments |= {"stopping": stopping, "shuffle": shuffle}
        return next(self.replays([step], checkpoints, inputs, targets, **arguments))

    def replays(
        self,
        steps: Iterable[int],
        checkpoints: Checkpoints | str | Path,
        inputs: Any,
        targets: Any,
        *,
        validation: Any = None,
        weights: Any = None,
        class_weights: Mapping[int, float] | str | None = None,
        stopping: EarlyStopping | None = None,
        shuffle: bool = True,
        ahead: bool = False,
    ) -> "Iterator[Replayed]":
        """Several steps, in ascending order, of which each begins where the last one ended; see `replay`.

        With `ahead` the last may be one that comes after those that were saved: it will be made in this way.
        """
        wanted = list(steps)
        for step in wanted:
            _require(_is_whole(step) and step >= 1, "step", step, "a whole number of 1 or more")
        given = as_checkpoints(checkpoints)
        job = self._job(inputs, targets, validation, weights, class_weights, stopping, shuffle=shuffle)
        _, forward = self._built(job.data.inputs)
        last = newest(given.store)
        require_same(given.folder, last, self._plan(job))
        start = typed(self.network.init(self._row_shape, Key.of(self.seed).fold("parameters")), self.precision)
        begin, an_epoch = State(start, self.optimizer.init(start)), job.data.steps(self.batch_size)
        _, done = restored(last, begin, an_epoch)
        if not self.optimizer.observes:
            job = replace(job, held_out=None)
        loop = self._loop(replace(job, stopping=None), done, forward, None)
        loop.listeners, loop.steering, state = (), None, None
        for step in wanted:
            nearest = state_before(given, step, last, done, begin, an_epoch, ahead=ahead)
            state = nearest if state is None or state.step < nearest.step else state
            yield replayed(loop, step, state, done)

    def trace(
        self,
        step: int,
        checkpoints: Checkpoints | str | Path,
        inputs: Any,
        targets: Any,
        *,
        row: int | None = None,
        member: int | None = None,
        **arguments: Any,
    ) -> "Ledger":
        """The ledger of one row in step number `step` of a training that was saved: every number, written out.

        `row` is the row's place among those trained on, and None stands for the first of the batch; `member` is one of
        an ensemble, from 1 on, and None the first that learns from the row. All else is as in `replay`.

        Raises:
            CheckpointError: as `replay`.
            UsageError: the row is not in that step's batch, or there is no such member.
        """
        return self.replay(step, checkpoints, inputs, targets, **arguments).trace(row, member=member)

    def _job(
        self,
        inputs: Any,
        targets: Any,
        validation: Any,
        weights: Any,
        class_weights: Any,
        stopping: EarlyStopping | None,
        *,
        shuffle: bool,
    ) -> "_Job":
        """The rows as they are trained on, all checked."""
        _require_options(self.batch_size, self.executor, self.threads, self.window)  # they may have been set since
        if stopping is not None and validation is None:
            raise UsageError("early stopping looks at the validation loss: give validation=(inputs, targets)")
        if isinstance(targets, str):
            inputs, targets, validation = self._from_table(inputs, targets, validation)
        data = Rows(inputs, targets, weights, self.precision)
        held_out = None if validation is None else Rows(*_three(validation), self.precision)
        if class_weights is not None:
            by_label = weights_by_label(data.targets, class_weights)
            data, held_out = data.weighted(by_label), held_out and held_out.weighted(by_label)
        self._require_memory(data, held_out, 2 + (stopping is not None))
        _, forward = self._built(data.inputs)
        for rows in (data, held_out):
            if rows is not None:
                self.loss.check_targets(rows.targets, forward.outputs)
        self._targets = batch_spec(data.targets), None if data.weights is None else batch_spec(data.weights)
        return _Job(data, held_out, stopping, shuffle)

    def _require_memory(self, data: Rows, held_out: Rows | None, copies: int) -> None:
        running = self._kept.fits(min(self.batch_size, data.count), self.threads)
        size = [self.batch_size, self.precision, self.executor, self.window, copies, data.count]
        size += [held_out and held_out.count]
        size += map(id, (self.network, self.loss, self.optimizer))
        if running and size == self._size:
            return  # the last training took as much, and has given back all but what this one finds in its place
        check_memory(
            Training(
                self.network,
                self.loss,
                self.optimizer,
                data,
                held_out,
                row_shape(data.inputs),
                self.batch_size,
                self.precision,
                self.executor,
                self.threads,
                self.parameters,
                copies,
                running=running,
                window=self.window,
            )
        )
        self._size = size

    def _epoch_like(self, job: "_Job") -> tuple[Any, ...]:
        """What an epoch that is under way must be like to go on."""
        return quick_fingerprint(job.data), self.batch_size, self.seed, job.shuffle, self.window

    def _plan(self, job: "_Job") -> dict[str, Any]:
        """What must be the same for a training to go on as if it had never stopped."""
        return ({} if self.window is None else {"window": self.window}) | {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "precision": self.precision,
            "shuffle": job.shuffle,
            "network": described(self.network),
            "loss": described(self.loss),
            "optimizer": described(self.optimizer),
            "stopping": described(job.stopping),
            "rows": fingerprint(job.data),
            "validation rows": fingerprint(job.held_out),
        }

    def _run(
        self,
        job: "_Job",
        done: Progress,
        keeper: Keeper | None,
        *,
        progress: bool,
        stop_on_interrupt: bool,
        seconds: float | None,
    ) -> History:
        try:
            if seconds is not None:
                _require(_is_above_0(seconds), "seconds", seconds, "a number above 0")
            state, forward = self._built(job.data.inputs)
            if not is_ours(self.network):  # it may have changed, and is to be validated as it is trained
                forward = self._forward = self._forward_pass(state.parameters)
            with showing(progress=progress) as bar:
                loop = self._loop(job, done, forward, keeper, bar)
                loop.seconds = seconds
                self.interrupted_by = loop.run(state, done, stop_on_interrupt=stop_on_interrupt)
        finally:
            if keeper is not None:  # it may be that the loop did not get so far
                keeper.close()
            if self._state is not None and self._state.batch:
                self._epoch_of = self._epoch_like(job)
        stopped = self.steering is not None and self.steering.stopped
        if self.interrupted_by and not stop_on_interrupt and not stopped:
            signal.raise_signal(signal.Signals(self.interrupted_by))
        return self.history

    def _loop(
        self,
        job: "_Job",
        done: Progress,
        forward: ForwardPass,
        keeper: Keeper | None,
        more: Sequence[Listener] = (),
    ) -> Loop:
        return Loop(
            network=self.network,
            loss=self.loss,
            optimizer=self.optimizer.over(done.steps),
            data=job.data,
            held_out=job.held_out,
            forward=forward,
            metrics=self.metrics,
            batch_size=self.batch_size,
            seed=self.seed,
            shuffle=job.shuffle,
            stopping=job.stopping,
            listeners=[*self.listeners, *more],
            executor=self.executor,
            threads=self.threads,
            kept=self._kept,
            keeper=keeper,
            window=self.window,
            words=self.words,
            steering=self.steering,
        )

    def outputs(self, inputs: Any) -> Array:
        """The network's raw outputs (logits, for classification), shape (rows, ...)."""
        rows = as_inputs(inputs, self.precision)
        state, forward = self._built(rows)
        return forward.outputs_of(self.loss, state.parameters, rows)

    def outputs_of_groups(self, inputs: Any) -> list[Array]:
        """Where there are networks of several kinds, the raw outputs of those of each: see `nn.Layer.member_groups`."""
        rows = as_inputs(inputs, self.precision)
        state, forward = self._built(rows)
        return forward.of_groups(state.parameters, rows)

    def predict(self, inputs: Any) -> Array:
        """What the outputs mean: probabilities, rates or numbers, shape (rows, ...); for a table its own answers."""
        if isinstance(inputs, (str, Path, Table)):
            return self.model().predict(inputs)
        rows = as_inputs(inputs, self.precision)
        state, forward = self._built(rows)
        return forward.with_predictions(self.loss, state.parameters, rows)[1]

    def model(self) -> Model:
        """The network as it is now, to use or to save."""
        if self.parameters is None:
            raise UsageError("there is nothing to use or save before training: call fit first")
        return Model(self.network, self.parameters, self.loss, self._row_shape, self.precision, self._tabular)

    def save(self, path: str | Path) -> None:
        """Write the network as one model file, that `backpass.load` reads."""
        self.model().save(path)

    def explain(self, *, batch_size: int | None = None, **shown: Any) -> str:
        """The native program of a training step, for people: its kernels, what they calculate, and how long each takes.

        `batch_size` is the Trainer's unless it is given. `shown` chooses what more is told: memory=True, llvm=True,
        assembly=True, and kernel="0.1" or the name of a layer for one part alone.

        Raises:
            UsageError: there is no program before `build` or `fit` was called.
        """
        return self.explanation(batch_size=batch_size).text(**shown)

    def explanation(self, *, batch_size: int | None = None) -> "Explanation":
        """What `explain` tells, as data."""
        if self._state is None or self._forward is None:
            raise UsageError("there is nothing to explain before the inputs are known: call build or fit first")
        targets, weights = self._targets or (likely_targets(self.loss, self._forward.outputs, self.precision), None)
        return explain_step(
            self.network,
            self.loss,
            self.optimizer.over(max(1, self._state.step)),
            self._state,
            row_shape=self._row_shape,
            precision=self.precision,
            batch_size=self.batch_size if batch_size is None else batch_size,
            targets=targets,
            weights=weights,
            threads=self.threads,
        )

    def __str__(self) -> str:
        return summary(self.network, self._row_shape or self.network.input_shape())

    def _from_table(self, table: Any, target: str, validation: Any) -> tuple[Any, Any, Any]:
        """Inputs, targets and validation rows as arrays. The encoders are learned from the first table given."""
        from backpass.data import TableEncoder, TargetEncoder, infer_schema, usable_rows

        opened = open_table(table)
        if self._tabular is None:
            schema = infer_schema(opened, [target])
            usable, kind = usable_rows(opened, schema), cast("Any", self.precision)
            encoders = (encoder.fit(usable, schema, precision=kind) for encoder in (TableEncoder, TargetEncoder))
            self._tabular = Tabular(*cast("Any", tuple(encoders)))
        elif self._tabular.targets.schema.target_names != (target,):
            learned = ", ".join(self._tabular.targets.schema.target_names)
            raise UsageError(f'this Trainer learns "{learned}", found "{target}": make another Trainer for it')
        held_out = None if validation is None else self._tabular.encode(open_table(validation))
        return *self._tabular.encode(opened), held_out


@dataclass(frozen=True)
class _Job:
    """The rows of a training, and how it goes over them."""

    data: Rows
    held_out: Rows | None
    stopping: EarlyStopping | None
    shuffle: bool


def _three(validation: Any) -> tuple[Any, Any, Any]:
    """Inputs, targets and, where they are given, row weights."""
    if not isinstance(validation, tuple) or len(validation) not in (2, 3):
        raise UsageError("validation is not a tuple (inputs, targets) or (inputs, targets, weights)")
    return validation if len(validation) == 3 else (*validation, None)


def _is_above_0(value: Any) -> bool:
    return isinstance(value, (int, float)) and value > 0


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _require_options(batch_size: Any, executor: Any, threads: Any, window: Any) -> None:
    _require(_is_whole(batch_size) and batch_size >= 1, "batch_size", batch_size, "a whole number of 1 or more")
    _require(executor in EXECUTORS, "executor", executor, " or ".join(EXECUTORS))
    require_count("threads", threads, MOST_THREADS)
    fits = window is None or (_is_whole(window) and window >= 1 and window % batch_size == 0)
    _require(fits, "window", window, f"a multiple of the batch size, {batch_size}")


def _require(condition: bool, name: str, found: Any, expected: str) -> None:
    if not condition:
        raise UsageError(f"{name} is {found!r}, expected {expected}")
