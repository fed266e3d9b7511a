"""The two ways to run epochs: as one native program, or step by step in NumPy. Both mean the same."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeAlias

import numpy as np

from backpass.data.arrays import Array
from backpass.data.batches import batches
from backpass.errors import ShapeError
from backpass.forward import Program, Structure, Traced, flatten, one_thread, unflatten
from backpass.records import dataclass
from backpass.simplify import simplify
from backpass.training.divergence import DivergedError
from backpass.training.feed import Feed, give
from backpass.training.rows import Rows

EXECUTORS = ("native", "reference")
PATIENCE = 0.1  # seconds: epochs are run together until a call takes about so long
CALLING = 3e-4  # seconds that a call takes beside its epochs, about, while the processor finds code and data again
TRIES = 3  # calls: what each number of threads is judged by, when there is a choice
AGAIN = 32  # calls: so often another number of threads is tried once more, since other programs come and go
LONG = 1.0  # seconds: in an epoch that takes longer, a try with fewer threads would cost too much
FETCHING = 20  # a fetch of all values may take one part in so many of the time


@dataclass
class State:
    """All that a training has brought forth so far, and all that it needs to go on: how things stand between two steps.

    Attributes:
        parameters, optimizer: the weights and biases, and the state of the optimizer.
        step: steps made in all.
        epoch: whole epochs made.
        batch: steps made of the epoch that is under way; 0 between two epochs.
        sums: of that epoch so far, losses times weights, and weights.
    """

    parameters: Structure
    optimizer: Structure
    step: int = 0
    epoch: int = 0
    batch: int = 0
    sums: tuple[float, float] = (0.0, 0.0)


Choice: TypeAlias = Callable[[Structure, Structure], Structure]

EpochSums: TypeAlias = Array
"""What epochs came to, a row each: sums over its batches of loss times weight and of weights, and seconds; float64."""

_NO_EPOCH = np.empty((0, 3))


@dataclass(frozen=True)
class Work:
    """What is to be run: the step, the rows it takes, and how they are cut into batches.

    `key` is equal for two works of which the traced steps are equal.
    """

    trace: Callable[[], Traced]
    key: Any
    data: Rows
    batch_size: int
    seed: int
    shuffle: bool
    tell: Callable[[int, int, float, int], None] | None
    """Called for each step with its number, its epoch, the mean loss of that so far (0 while no row had a weight) and
    the rows seen, in order, but maybe somewhat later; None where nobody listens."""
    pause: Callable[[], bool]
    """Asked now and then whether to stop after a step, in mid-epoch."""
    window: int | None = None
    """Of rows in files, how many are looked at together."""

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self.data.steps(self.batch_size)


class Executor(Protocol):
    """Runs epochs on a State that it holds."""

    def run(self, epochs: int, *, steps: int = 0) -> EpochSums:
        """At most so many epochs, and one at least that the State is in or before; what each came to that was ended.

        It stops within an epoch after `steps` steps, if that is not 0, and where `Work.pause` says so.

        Raises:
            DivergedError: a loss or a value that is carried on is not finite; the state is that before the epoch.
        """

    def values(self, choose: Choice) -> Structure:
        """Some of what is carried from step to step, as it is after the last epoch.

        Args:
            choose: from the parameters and the optimizer's state, what is wanted of them.
        """

    def fetch(self) -> None:
        """Bring the State to where the run is."""

    @property
    def step(self) -> int:
        """Steps made in all; the State may be behind."""

    @property
    def finished(self) -> EpochSums:
        """Epochs that a `run` which raised had done, and could not return."""

    def set_optimizer(self, optimizer: Structure) -> None:
        """The optimizer's state, changed between epochs."""

    def close(self) -> None:
        """Let go of the rows."""


class ReferenceExecutor:
    """Step by step, in NumPy."""

    def __init__(self, work: Work, state: State) -> None:
        self._work = work
        self._state = state
        graph = work.trace().graph
        self._step = Program(simplify(graph))
        pairs = zip(graph.inputs, graph.outputs[1:], strict=False)
        self._changed = [None if old is new else old.name for old, new in pairs]
        self._seconds = 0.0  # of the epoch that is under way

    @property
    def step(self) -> int:
        return self._state.step

    @property
    def finished(self) -> EpochSums:
        return _NO_EPOCH

    def values(self, choose: Choice) -> Structure:
        return choose(self._state.parameters, self._state.optimizer)

    def fetch(self) -> None: ...

    def set_optimizer(self, optimizer: Structure) -> None:
        self._state.optimizer = optimizer

    def close(self) -> None: ...

    def run(self, epochs: int, *, steps: int = 0) -> EpochSums:
        del epochs
        with one_thread():
            return self._epoch(steps)

    def _epoch(self, most: int) -> EpochSums:
        """What is left of an epoch, or `most` steps of it."""
        work, state, started = self._work, self._state, time.perf_counter()
        (loss_sum, weight_sum), steps, before = state.sums, state.step, state.batch
        seen = before * work.batch_size
        values = [*flatten(state.parameters), *flatten(state.optimizer)]
        order = batches(
            work.data.count,
            work.batch_size,
            seed=work.seed,
            epoch=state.epoch,
            shuffle=work.shuffle,
            window=work.window,
        )
        for rows in islice(order, before, None):
            moment = np.array([work.seed, steps], np.int64)
            loss, *values = self._step(*values, moment, *work.data.take(rows))
            steps += 1
            weight = work.data.weight_of(rows)
            loss_sum += float(loss) * weight
            weight_sum += weight
            seen += len(rows)
            if not np.isfinite(loss):
                raise DivergedError("the loss", steps, state.epoch + 1)
            for name, value in zip(self._changed, values, strict=True):
                if name is not None and value.dtype.kind == "f" and not np.isfinite(value).all():
                    raise DivergedError(name, steps, state.epoch + 1)
            if work.tell is not None:
                work.tell(steps, state.epoch + 1, loss_sum / weight_sum if weight_sum else 0.0, seen)
            if steps - state.step == most or work.pause():
                break
        self._seconds += time.perf_counter() - started
        batch = before + steps - state.step
        learned = len(flatten(state.parameters))
        state.parameters = unflatten(state.parameters, values[:learned])
        state.optimizer = unflatten(state.optimizer, values[learned:])
        state.step = steps
        if batch < work.steps:
            state.batch, state.sums = batch, (loss_sum, weight_sum)
            return _NO_EPOCH
        state.batch, state.sums = 0, (0.0, 0.0)
        state.epoch += 1
        seconds, self._seconds = self._seconds, 0.0
        return np.array([[loss_sum, weight_sum, seconds]])


@dataclass
class _Pace:
    """How long epochs and fetches take, to choose how many epochs go into a call and when to fetch."""

    epoch: float = 0.0
    fetch: float = 0.0
    fetched: float = field(default_factory=time.perf_counter)
    calls: int = 0
    steps: dict[int, deque[float]] = field(default_factory=dict)
    """Seconds of a step with so many threads, in the last calls that had these."""

    def threads(self, choices: Sequence[int]) -> int:
        """With how many threads the next call is to run. No result depends on it: the quickest is found by trying."""
        if len(choices) == 1 or (choices[0] > 1 and not 0 < self.epoch < LONG):
            return choices[0]
        tries = [self.steps.setdefault(threads, deque(maxlen=TRIES)) for threads in choices]
        self.calls += 1
        least = min(map(len, tries))
        if least == 0 or (least < TRIES and not _far_apart(map(min, tries))):
            return next(threads for threads, tried in zip(choices, tries, strict=True) if len(tried) == least)
        best = min(choices, key=lambda threads: min(self.steps[threads]))
        others = [threads for threads in choices if threads != best]
        return others[self.calls // AGAIN % len(others)] if self.calls % AGAIN == 0 else best

    def took(self, threads: int, step: float) -> None:
        if threads in self.steps:
            self.steps[threads].append(step)

    def epochs(self, most: int) -> int:
        return max(1, min(most, int(PATIENCE / self.epoch))) if self.epoch else 1


@dataclass
class Kept:
    """The native program of the last training, for the next that needs the same.

    It is away while it is in use: another training at that time (in a listener, in a thread) makes its own.
    """

    held: list[tuple[Any, Any, _Pace]] = field(default_factory=list)

    def take(self, key: Any) -> tuple[Any, _Pace] | None:
        """The program, if it is here and is the one of `key`."""
        try:
            own, machine, pace = self.held.pop()
        except IndexError:
            return None
        return (machine, pace) if _are_equal(own, key) else None

    def fits(self, rows: int, threads: int | None) -> bool:
        """Is there a program for steps of so many rows on so many threads?"""
        return any(key[1:] == (rows, threads) for key, _, _ in self.held)

    def give(self, key: Any, machine: Any, pace: _Pace) -> None:
        self.held[:] = [(key, machine, pace)]

    def __reduce__(self) -> tuple[type["Kept"], tuple[()]]:
        """A program belongs to this process and to one Trainer: a copy has none."""
        return Kept, ()


class NativeExecutor:
    """As one native program; see `backpass.native`."""

    def __init__(self, work: Work, state: State, threads: int | None, kept: "Kept") -> None:
        self._work = work
        self._state = state
        self._stand_at_state()
        self._seconds = 0.0  # of the epoch that is under way
        rows = min(work.batch_size, work.data.count)
        key = (work.key, rows, threads)
        self._machine, self._pace = kept.take(key) or (self._compiled(rows, threads), _Pace())
        self._give_back = partial(kept.give, key, self._machine, self._pace)
        self._pace.fetched = time.perf_counter()
        self.finished: EpochSums = _NO_EPOCH
        self._threads = self._machine.threads
        self._told = 0
        self._losses: Array | None = None
        self._is_fetched = False
        self._put(state)
        self._feed: Any = self._machine
        if work.window is None:
            give(self._machine, work.data, slice(0, work.data.count), shuffle=work.shuffle)
        else:
            self._feed = Feed(self._machine, work.data, work.window, shuffle=work.shuffle)

    def _compiled(self, rows: int, threads: int | None) -> Any:
        from backpass.native import Machine, available_threads, training_job

        state = self._state
        job = training_job(
            self._work.trace().graph,
            parameters=len(flatten(state.parameters)),
            state=len(flatten(state.optimizer)),
            rows=rows,
            threads=threads or 0,
            available=available_threads(),
        )
        return Machine(job)

    def close(self) -> None:
        self._machine.release()
        self._give_back()

    def run(self, epochs: int, *, steps: int = 0) -> EpochSums:
        from backpass.native import Reason

        many = self._pace.epochs(epochs)
        started = time.perf_counter()
        alone = 0 < self._pace.epoch * many < PATIENCE / 10
        self._threads = self._pace.threads(self._machine.compiler.choices)
        self.finished, self._told = _NO_EPOCH, 0
        try:
            self._call(many, alone=alone, last=steps)
            self._tell()
        except BaseException:  # Ctrl-C, or a listener's own error
            told = (self._batch + self._told) // self._work.steps
            whole = told if self._work.tell else self._feed.epochs_done
            self.finished = self._sums(time.perf_counter() - started)[:whole]
            self._back_to(self._epoch + whole)
            raise
        if (reason := self._feed.reason) not in (Reason.ENDED, Reason.STOPPED):
            self.finished = self._sums(time.perf_counter() - started)
            self._stopped(reason)
        seconds = time.perf_counter() - started
        sums = self._sums(seconds)
        self._go_on()
        step = seconds / max(1, self._feed.steps_done)
        own = max(seconds - CALLING, seconds / 8)
        self._pace.epoch = own / max(1, self._feed.steps_done) * self._work.steps
        self._pace.took(self._threads, step)
        if self._batch or time.perf_counter() - self._pace.fetched > FETCHING * self._pace.fetch:
            self.fetch()
        return sums

    def _go_on(self) -> None:
        """Note how far the last call came."""
        epochs, steps = self._feed.epochs_done, self._feed.steps_done
        self._batch += steps - epochs * self._work.steps
        self._epoch += epochs
        self.step += steps
        self._in_epoch = self._feed.running if self._batch else (0.0, 0.0)

    def _stand_at_state(self) -> None:
        """Where the next call begins: at the last state that is known."""
        state = self._state
        self._epoch, self.step, self._batch, self._in_epoch = state.epoch, state.step, state.batch, state.sums

    def _sums(self, seconds: float) -> EpochSums:
        """What the whole epochs of the last call came to, which took so long."""
        sums: EpochSums = self._feed.records.copy()
        steps = self._feed.steps_done
        inside = self._batch + steps - len(sums) * self._work.steps  # of an epoch that is not over
        rest = seconds * min(1.0, inside / max(1, steps))
        if not len(sums):
            self._seconds += seconds
            return sums
        sums[:, 2] = _lengths(sums[:, 2], seconds - rest)
        sums[0, 2] += self._seconds
        self._seconds = rest
        return sums

    def _call(self, epochs: int, *, alone: bool = False, last: int = 0) -> None:
        self._is_fetched = False
        self._machine.standing.clear()
        self._losses = np.zeros(epochs * self._work.steps) if self._work.tell else None
        self._feed.run(
            seed=self._work.seed,
            step=self.step,
            epoch=self._epoch,
            epochs=epochs,
            batch=self._work.batch_size,
            alone=alone,
            losses=self._losses,
            first=self._batch * self._work.batch_size,
            sums=self._in_epoch,
            last=last,
            threads=self._threads,
            poll=self._look,
        )

    def _look(self) -> None:
        """While it runs: tell of its steps, and stop it if that is wanted."""
        self._tell()
        if self._work.pause():
            self._feed.stop()

    def _tell(self) -> None:
        """Tell of the steps that were made since it was told the last time."""
        work, losses = self._work, self._losses
        if work.tell is None or losses is None:
            return
        while self._told < self._feed.steps_done:
            epoch, inside = divmod(self._batch + self._told, work.steps)
            seen = min(work.data.count, (inside + 1) * work.batch_size)
            loss = float(losses[self._told])
            self._told += 1
            work.tell(self.step + self._told, self._epoch + epoch + 1, loss, seen)

    def values(self, choose: Choice) -> Structure:
        """Only what is chosen is copied out of the program's memory: the state may be several times as much."""
        parameters, optimizer = self._state.parameters, self._state.optimizer
        learned, kept = len(flatten(parameters)), len(flatten(optimizer))
        places = unflatten(parameters, range(learned)), unflatten(optimizer, range(learned, learned + kept))
        chosen = choose(*places)
        return unflatten(chosen, self._taken(flatten(chosen)))

    def _taken(self, places: Iterable[int]) -> list[Array]:
        return [_frozen(self._machine.take_input(place)) for place in places]

    def fetch(self) -> None:
        if self._is_fetched:
            return
        started, state = time.perf_counter(), self._state
        values = self._taken(range(len(self._carried(state))))
        state.parameters, state.optimizer = unflatten((state.parameters, state.optimizer), values)
        state.step, state.epoch, state.batch, state.sums = self.step, self._epoch, self._batch, self._in_epoch
        self._machine.standing = dict(enumerate(values))
        self._pace.fetched = time.perf_counter()
        self._pace.fetch = self._pace.fetched - started
        self._is_fetched = True

    def set_optimizer(self, optimizer: Structure) -> None:
        """The optimizer's state, changed between epochs."""
        self._state.optimizer = optimizer
        self._put(self._state)

    def _put(self, state: State) -> None:
        standing = self._machine.standing
        for place, value in enumerate(self._carried(state)):
            if standing.get(place) is not value or value.flags.writeable:
                self._machine.put(place, value)
        standing.clear()

    @staticmethod
    def _carried(state: State) -> list[Any]:
        return [*flatten(state.parameters), *flatten(state.optimizer)]

    def _stopped(self, reason: int) -> None:
        """Say why the program stopped, with the state as it was before the epoch in which it did."""
        from backpass.native import Reason

        step = self.step + self._feed.steps_done
        epoch = self._epoch + self._feed.epochs_done + 1
        # Of two threads that find something in the same step, either may speak last: the loss comes first.
        bad_loss = reason == Reason.LOSS or not np.isfinite(self._feed.running[0])
        what = "the loss" if bad_loss else self._not_finite()
        self._back_to(epoch - 1)
        if reason == Reason.NUMBER:
            raise ShapeError(f"an index lies outside of its table, at step {step:,} in epoch {epoch:,}")
        raise DivergedError(what, step, epoch)

    def _not_finite(self) -> str:
        """What of all that is carried on is no longer finite."""
        machine = self._machine
        changed = set(machine.compiler.carried.values())  # what is only kept may be infinite, and stay so
        for place, node in enumerate(machine.job.graph.inputs):
            if place in changed and not np.isfinite(machine.take_input(place)).all():
                return str(node.name)
        return "a value"

    def _back_to(self, epoch: int) -> None:
        """To the end of an epoch that is over: from the last state that is known, to the same bits."""
        self._put(self._state)
        self._stand_at_state()
        missing = epoch - self._state.epoch
        if missing:
            self._told = sys.maxsize  # it was told of these steps
            try:
                self._call(missing)
            except KeyboardInterrupt:  # once more: no time for that
                self._put(self._state)
                raise
            self._go_on()
        self.fetch()


def _far_apart(seconds: Iterable[float]) -> bool:
    """Is it clear from these times which way is quickest?"""
    first, second, *_ = sorted(seconds)
    return second > 1.5 * first


def _are_equal(first: Any, second: Any) -> bool:
    """Of what compares as no single answer, such as a loss of one's own that holds an array: no."""
    try:
        return bool(first == second)
    except ValueError:
        return False


def _frozen(array: Any) -> Any:
    """Marked as not to be changed, so that those who have it may take it as the same while it is the same object."""
    array.flags.writeable = False
    return array


def _lengths(ended: Array, seconds: float) -> Any:
    """The seconds of each of some epochs: from the times at which they ended, where there is a clock."""
    if not ended[-1]:
        return seconds / len(ended)
    lengths = np.empty_like(ended)
    lengths[0] = max(0.0, seconds - (ended[-1] - ended[0]))
    np.subtract(ended[1:], ended[:-1], out=lengths[1:])
    return lengths
