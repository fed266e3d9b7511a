"""Compiled graphs, ready to run: one call of a graph, or epochs of training steps."""

import ctypes
import sys
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from operator import is_
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from backpass.errors import ShapeError
from backpass.forward.evaluate import rows_of
from backpass.graph import BATCH, Graph, Node, bind_rows, size
from backpass.native import random
from backpass.native.bounds import Watch
from backpass.native.cache import open_cache
from backpass.native.compile import Compiler, Job
from backpass.native.context import PLACES, Reason
from backpass.native.engine import Library, compile_text, load
from backpass.native.layout import Layout
from backpass.native.llvm import key_of
from backpass.native.memory import Buffer
from backpass.native.quota import available_threads
from backpass.native.target import Target, host
from backpass.native.workers import run
from backpass.ops.apply import CONSTANT
from backpass.ops.catalogue import CATALOGUE
from backpass.ops.source import INPUT, ROWS

Array = np.ndarray[Any, Any]

_Native = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
_WORTH_WAKING = 2e-4  # seconds of work of one thread, from which on another one is woken for it
_FEW, _FEW_BYTES = 16, 1 << 16  # rows that are copied, which takes less time than to find out where they lie
_FOR_GOOD = PLACES.arena, PLACES.private
_OF_ROWS = [PLACES.order, PLACES.weights, PLACES.shuffle_scratch, PLACES.records, PLACES.steps]
_OURS = frozenset((*CATALOGUE, CONSTANT, INPUT, ROWS))


class Machine:
    """One compiled job with memory of its own.

    Args:
        job: what is compiled.
        target: the machine it is compiled for; this one unless given.
    """

    def __init__(self, job: Job, target: Target | None = None) -> None:
        target = host() if target is None else target
        if job.graph.strangers:
            stranger = job.graph.strangers[0]
            raise ShapeError(f"the graph needs {stranger!r}, a Tensor of another function that was traced")
        self.job = job
        self.compiler = Compiler(job, target)
        self.threads = self.compiler.threads
        self.inputs = self.compiler.graph.inputs
        self._library, self._function = _compiled(self.compiler, target)
        self.arena = _aligned(self.compiler.arena_bytes)
        self._private = _aligned(self.compiler.private_bytes * self.threads)
        words = self.compiler.context_words
        self.context = _aligned(8 * words * (2 if job.checked else 1)).view(np.int64)
        self._sizes = self.context[words:]
        self._watch = Watch(self._library.address(Watch.NAME), self.compiler) if job.checked else None
        self._native = _Native(self._function)
        self._in_order = np.arange(0, dtype=np.uint32)
        self._given = self.compiler.row_outputs()
        self._few: dict[int, _Few] = {}
        rows = [node for _, node in self.compiler.batch_inputs()] + self._rows_given()
        bytes_ = sum(size(node.shape[1:]) * node.dtype.itemsize for node in rows)
        self._most_copied = min(_FEW, _FEW_BYTES // max(1, bytes_))
        self._seconds_a_row = self.compiler.expected_seconds / job.rows
        self._held: dict[int, Any] = {}
        self._flats: dict[Node, Array] = {}
        self.standing: dict[int, Any] = {}
        """Of inputs, by their places, arrays that are never changed and that stand in its memory: for who puts them."""
        self._point(PLACES.arena, self.arena)
        self._point(PLACES.private, self._private)
        self._address = self.context.ctypes.data
        self.context[PLACES.threads] = self.threads
        for node in self.compiler.buffers:
            if "value" in node.attributes:
                self._put(node, node.attributes["value"])

    def _point(self, place: int, array: Array | None) -> None:
        self._held[place] = array
        self.context[place] = 0 if array is None else array.ctypes.data
        if self.job.checked:
            self._sizes[place] = 0 if array is None else array.nbytes

    # Values in and out

    def _flat(self, buffer: Buffer) -> Array:
        dtype = np.dtype(buffer.dtype)
        bytes_ = buffer.layout.elements * dtype.itemsize
        memory = self._private if buffer.private else self.arena  # of thread 0
        return memory[buffer.offset : buffer.offset + bytes_].view(dtype)

    def _memory(self, node: Node) -> tuple[Layout, Array]:
        """How and where the value of a node stands."""
        buffer = self.compiler.buffers[node]
        flat = self._flats.get(node)
        if flat is None:
            flat = self._flats[node] = self._flat(buffer)
        return buffer.layout, flat

    def _put(self, node: Node, array: Array) -> None:
        layout, flat = self._memory(node)
        layout.put(flat, array)

    def put(self, place: int, array: Any) -> None:
        """Give the input at `place` its value, and the copies of it theirs."""
        value = np.asarray(array, self.inputs[place].dtype)
        for each, part in self.compiler.arranged.held(place, value):
            self._put(self.inputs[each], part)

    def take_input(self, place: int) -> Array:
        """The value that stands where the input at `place` stood."""
        return self.compiler.arranged.whole(place, self._take)

    def _take(self, place: int) -> Array:
        node = self.inputs[place]
        layout, flat = self._memory(node)
        taken: Array = layout.take(flat, bind_rows(node.shape, self.job.rows))
        return taken

    def take_output(self, place: int, rows: int) -> Array:
        """The value of the output at `place`, one of those that are not given row by row."""
        node = self.compiler.outputs[place]
        if place in self.job.carried:
            return self.take_input(self.job.carried[place])
        if "value" in node.attributes:
            return np.array(node.attributes["value"])
        sinks = self.compiler.sinks.get(node)
        buffer = sinks[0] if sinks else self.compiler.buffers[node]
        taken: Array = buffer.layout.take(self._flat(buffer), bind_rows(node.shape, rows))
        return taken

    # Running

    def data(self, arrays: Sequence[Array], *, count: int, order: Array | None = None) -> None:
        """The rows that steps take: of each batch input an array [count, ...], in C order and of the input's dtype."""
        for number, array in enumerate([*arrays, *self._room(count)]):
            self._point(PLACES.data + number, array)
        self.context[PLACES.count] = count
        order = np.arange(count, dtype=np.uint32) if order is None else order
        self._point(PLACES.order, order)

    def release(self) -> None:
        """Let go of the rows."""
        self._held = {place: self._held[place] for place in _FOR_GOOD}
        for block in (self.context, self._sizes) if self.job.checked else (self.context,):
            block[_OF_ROWS] = 0
            block[PLACES.data : self.compiler.context_words] = 0

    def shuffled(self, *, shuffle: bool) -> None:
        """Whether each epoch has its rows in another order."""
        self.context[PLACES.shuffle] = int(shuffle)
        if shuffle:
            self._point(PLACES.shuffle_scratch, _aligned(random.shuffle_scratch_bytes(int(self.context[PLACES.count]))))

    def weigh(self, weights: Array | None) -> None:
        """What each row weighs in the mean loss of an epoch, in the type of the network."""
        self._point(PLACES.weights, weights)

    def run(
        self,
        *,
        seed: int = 0,
        step: int = 0,
        epoch: int = 0,
        epochs: int = 1,
        batch: int = 1,
        alone: bool = True,
        losses: Array | None = None,
        first: int = 0,
        sums: tuple[float, float] = (0.0, 0.0),
        last: int = 0,
        threads: int = 0,
        poll: Callable[[], object] | None = None,
    ) -> None:
        """Run `epochs` epochs.

        `alone` says that the work is short: the calling thread takes part in it, and Ctrl-C waits for its end.
        `losses` takes, after each step, the mean loss of the epoch so far, float64, 0 while no row had a weight. Of the
        first epoch the steps over its first `first` rows are done, and came to `sums`. After `last` steps, if not 0,
        the program stops; after fewer where `poll` calls `stop`. `threads` may be fewer than it was made for, where
        that is quicker.
        """
        context, threads = self.context, threads or self.threads
        if threads > self.threads:
            raise ValueError(f"the program was made for {self.threads} threads, not for {threads}")
        context[PLACES.threads] = threads
        self._records = np.zeros((epochs, 3))
        self._point(PLACES.records, self._records)
        self._point(PLACES.steps, losses)
        values = (seed, step, epoch, epochs, batch)
        places = (PLACES.seed, PLACES.step, PLACES.epoch, PLACES.epochs, PLACES.batch)
        context[list(places)] = np.array([value & ((1 << 64) - 1) for value in values], np.uint64).view(np.int64)
        context[PLACES.clock] = _clock()
        context[PLACES.stop : PLACES.barrier + 16] = 0
        context[PLACES.first], context[PLACES.last] = first, last
        context[PLACES.running : PLACES.running + 2].view(np.float64)[:] = sums
        if alone:
            run(self._function, self._address, threads)
        else:
            stop = self._address + 8 * PLACES.stop
            run(self._function, self._address, threads, poll=poll, stop_flag=stop)
        self._look()

    def _rows_given(self) -> list[Node]:
        return [self.compiler.outputs[place] for place in self._given]

    def _room(self, count: int) -> list[Array]:
        """For the outputs that are given row by row."""
        return [_rows_for(node, count) for node in self._rows_given()]

    def call(self, arrays: Sequence[Array], count: int, batch: int = 0) -> list[Array]:
        """The outputs for the rows of `arrays`, taken in their order: as `data` and `run`, with less around it.

        They are worked on in one step, or in steps of `batch` rows.
        """
        few = self._few_rows(arrays, count) if 0 < count <= self._most_copied else None
        given = self._room(count) if few is None else few.outputs
        if few is None:
            self._show(arrays, given, count)
        context = self.context
        context[PLACES.batch] = batch or max(1, count)
        # To wake threads takes longer than many a call.
        alone = self.threads == 1 or count * self._seconds_a_row < _WORTH_WAKING
        context[PLACES.threads] = 1 if alone else self.threads
        if alone:
            self._native(self._address, 0)
        else:
            run(self._function, self._address, self.threads)
        self._look()
        if few is not None:
            given = [array.copy() for array in given]
        places = range(len(self.compiler.outputs))
        if len(given) == len(places):
            return given
        outputs = dict(zip(self._given, given, strict=True))
        return [outputs[place] if place in outputs else self.take_output(place, count) for place in places]

    def _show(self, arrays: Sequence[Array], given: Sequence[Array], count: int) -> None:
        """Have the next call read these rows where they lie, and write what comes of them there."""
        context = self.context
        for place, array in enumerate([*arrays, *given], start=PLACES.data):
            context[place] = array.ctypes.data
            if self._watch is not None:
                self._sizes[place] = array.nbytes
        if count > len(self._in_order):
            self._in_order = np.arange(max(count, self.job.rows), dtype=np.uint32)
        self._point(PLACES.order, self._in_order)
        context[PLACES.count], context[PLACES.epochs] = count, 1
        context[PLACES.stop : PLACES.barrier + 16] = 0

    def _few_rows(self, arrays: Sequence[Array], count: int) -> "_Few":
        """The same for few rows, which are copied to a place that is known."""
        few = self._few.get(count)
        if few is None:
            inputs = [_rows_for(node, count) for _, node in self.compiler.batch_inputs()]
            outputs = self._room(count)
            self._show(inputs, outputs, count)
            few = self._few[count] = _Few(inputs, outputs, self.context.copy(), self._in_order)
        for room, array in zip(few.inputs, arrays, strict=True):
            np.copyto(room, array)
        self.context[:] = few.context
        return few

    def _look(self) -> None:
        """Of a checked program: whether it met an address outside of its memory."""
        if self._watch is not None:
            self._watch.look()

    def stop(self) -> None:
        """Have the program that runs stop after its step; from within `poll`, or from another thread."""
        self.context[PLACES.stop] = 1

    @property
    def epochs_done(self) -> int:
        """Whole epochs of the last run."""
        return int(self.context[PLACES.epochs_done])

    @property
    def records(self) -> Array:
        """Of each whole epoch of the last run the sum of losses times weights, the sum of weights, and when it ended.

        Shape (epochs done, 3), float64; times in seconds by the system's steady clock, 0 where there is none.
        """
        return self._records[: self.epochs_done]

    @property
    def reason(self) -> int:
        """Why the last run ended; see `context.Reason`."""
        return int(self.context[PLACES.reason])

    @property
    def steps_done(self) -> int:
        return int(self.context[PLACES.done])

    @property
    def times(self) -> Array:
        """Of a timed job the ticks that each thread has spent in each part of a step so far; see `timing.Parts`.

        Shape (threads, parts), int64; it may be set to 0.
        """
        return self._sums[:, : self.compiler.parts.count]

    @property
    def helping(self) -> Array:
        """Of a timed job the ticks of `times` that each thread has spent on what other threads offered; (threads,)."""
        return self._sums[:, self.compiler.parts.helping]

    @property
    def _sums(self) -> Array:
        first, count = self.compiler.sums_at, self.compiler.parts.count + 1 if self.job.timed else 0
        own = self._private.reshape(self.threads, self.compiler.private_bytes)
        return own[:, first : first + 8 * count].view(np.int64)

    @property
    def running(self) -> tuple[float, float]:
        """Of the epoch that runs, the sum of losses times weights, and of weights."""
        sums = self.context[PLACES.running : PLACES.running + 2].view(np.float64)
        return float(sums[0]), float(sums[1])


class _Few(NamedTuple):
    """Room of a machine's own for so many rows, with the block of numbers that names it."""

    inputs: list[Array]
    outputs: list[Array]
    context: Array
    order: Array


class NativeProgram:
    """A graph compiled to run many times: what `backpass.forward.Program` does, natively.

    Args:
        graph: what to calculate.
        threads: how many threads share the work; 0 for as many as are worth it.
        target: the machine to compile for; this one unless given.

    Raises:
        ShapeError: the graph uses a Tensor of another trace, or an operation that has no machine code.
    """

    def __init__(self, graph: Graph, *, threads: int = 0, rows: int = 1, target: Target | None = None) -> None:
        self.graph = graph
        self._threads = threads
        self._target = target
        self._machine: Machine | None = None
        self._least = rows
        self._fixed: dict[int, Any] = {}
        self._batch = {place: node for place, node in enumerate(graph.inputs) if _is_rows(node)}
        self._rows_elsewhere = 1
        self._turn = Lock()

    def machine(self, rows: int) -> Machine:
        """The compiled program for batches of at most so many rows; made anew for larger ones."""
        if self._machine is None or rows > self._machine.job.rows:
            most = max(rows, self._least) if self._machine is None else max(rows, 2 * self._machine.job.rows)
            job = Job(self.graph, rows=most, threads=self._threads, available=available_threads())
            self._machine = Machine(job, self._target)
            self._fixed.clear()
        return self._machine

    def __call__(self, *inputs: Any) -> list[Array]:
        """The outputs for `inputs`, arrays in the order of `graph.inputs`.

        Arrays that are marked as not writeable are taken as unchanged while they are the same objects. Where several
        threads call, one waits for the other: the program has one memory.

        Raises:
            ShapeError: an input's shape is not the graph's, the batches differ in their number of rows, or a number
                that names a row of a table is outside of it.
        """
        with self._turn:
            return self._call(inputs)

    def by_batches(self, batch: int, *inputs: Any) -> list[Array]:
        """As a call, in steps of `batch` rows: the same, where what becomes of a row depends on that row alone."""
        with self._turn:
            return self._call(inputs, batch)

    def _call(self, inputs: Sequence[Any], most: int = 0) -> list[Array]:
        bound = inputs if self._fixed and self._are_known(inputs) else self._bound(inputs)
        rows: int | None = None
        arrays: list[Array] = []
        for place, node in self._batch.items():
            array = np.ascontiguousarray(bound[place], node.dtype)
            rows = rows_of(node, array, rows)
            arrays.append(array)
        count = self._rows_elsewhere if rows is None else rows
        machine = self.machine(min(count, most) if most else count)
        if not self._fixed:
            self._put(inputs)
        outputs = machine.call(arrays, count, most)
        if machine.reason == Reason.NUMBER:
            raise ShapeError("an index lies outside of its table")
        return outputs

    def _are_known(self, inputs: Sequence[Any]) -> bool:
        fixed = self._fixed.values()
        same = map(is_, map(inputs.__getitem__, self._fixed), fixed)
        return len(inputs) == len(self.graph.inputs) and all(same) and all(map(_is_frozen, fixed))

    def _bound(self, inputs: Sequence[Any]) -> Sequence[Any]:
        """All inputs checked; those that are no rows go to the machine, once it is there."""
        arrays, rows = bind(self.graph, inputs)
        self._fixed.clear()
        self._rows_elsewhere = 1 if rows is None else rows
        return arrays

    def _put(self, inputs: Sequence[Any]) -> None:
        machine = self._machine
        if machine is None:
            raise AssertionError("it is made before")
        fixed = {place: value for place, value in enumerate(inputs) if place not in self._batch}
        for place, value in fixed.items():
            machine.put(place, value)
        if all(map(_is_frozen, fixed.values())):
            self._fixed = fixed


def bind(graph: Graph, inputs: Sequence[Any]) -> tuple[list[Array], int | None]:
    """`inputs` as arrays of the graph's dtypes, and the number of rows of the batch.

    Raises:
        ShapeError: there are more or fewer than the graph has, a shape is another, or batches differ in length.
    """
    if len(inputs) != len(graph.inputs):
        raise ShapeError(f"the graph takes {len(graph.inputs)} inputs, found {len(inputs)}")
    rows: int | None = None
    arrays: list[Array] = []
    for node, given in zip(graph.inputs, inputs, strict=True):
        array = np.asarray(given, node.dtype)
        rows = rows_of(node, array, rows)
        arrays.append(array)
    return arrays, rows


def _rows_for(node: Node, count: int) -> Array:
    """Memory for so many rows of a value."""
    return np.empty((count, *node.shape[1:]), node.dtype)


def _is_rows(node: Node) -> bool:
    return node.shape[:1] == (BATCH,) and BATCH not in node.shape[1:]


def _is_frozen(value: Any) -> bool:
    return isinstance(value, np.ndarray) and not value.flags.writeable


def signature(job: Job, threads: int) -> str:
    """A text that is equal for jobs of which the code is equal."""
    lines = [str(job.graph)]
    for node in job.graph.nodes:
        value = node.attributes.get("value")
        if isinstance(value, np.ndarray) and size(node.shape) != 1:
            continue  # it is put into memory when the program starts
        if isinstance(value, np.ndarray):
            lines.append(f"{value.dtype} {value.tobytes().hex()}")
    lines.append(repr((sorted(job.carried.items()), job.moment, job.loss, job.rows, threads, job.timed, job.checked)))
    return sha256("\n".join(lines).encode(errors="surrogatepass")).hexdigest()


def _compiled(compiler: Compiler, target: Target) -> tuple[Library, int]:
    """The machine code of a job: from the cache, or made now."""
    # The code of an operation from elsewhere may change without a trace in the graph: then the code itself is the key.
    own = all(node.op in _OURS for node in compiler.job.graph.nodes)
    text = None if own else compiler.compile()
    key = key_of(signature(compiler.job, compiler.threads) if text is None else text, target)
    store = open_cache()
    entry = store.get(key)
    if entry is None:
        # The text of a checked program is long, and it need not run fast: there the code generator is to be quick.
        effort = 0 if compiler.job.checked else 2
        code = compile_text(compiler.compile() if text is None else text, target, effort)
        store.put(key, code, {})
    else:
        code = entry.code
    library = load(code)
    return library, library.address("program")


def _aligned(count: int) -> Array:
    """Zeroed memory that begins at a cache line."""
    raw = np.zeros(count + 64, np.uint8)
    first = -raw.ctypes.data % 64
    return raw[first : first + count]


@cache
def _clock() -> int:
    """The address of the C library's clock_gettime, or 0 where there is none."""
    if sys.platform == "win32":
        return 0
    return int(ctypes.cast(ctypes.CDLL(None).clock_gettime, ctypes.c_void_p).value or 0)


__all__ = ["Machine", "NativeProgram", "Reason", "bind"]
