"""What a training will need of memory, told before it starts: the system's killer says nothing, and spares nothing.

Nothing large is made to find it out. Parameters and optimizer state stand here as arrays of one number stretched to
their shapes, and the step is traced and planned as it will be, but not run.
"""

import sys
from math import ceil
from typing import Any

import numpy as np

from backpass.data.limits import amount, free_memory
from backpass.errors import UsageError
from backpass.forward import Spec, Structure, flatten, map_structure, trace, unflatten
from backpass.forward.trace import like
from backpass.graph import BATCH, Graph, Node, bind_rows, size
from backpass.losses import Loss
from backpass.model.network import ROWS_AT_ONCE, VALUES_AT_ONCE
from backpass.nn import Layer, specs
from backpass.ops import Key
from backpass.ops.kinds import Movement
from backpass.optimizers import Optimizer
from backpass.records import dataclass
from backpass.simplify import simplify
from backpass.training.rows import Rows
from backpass.training.step import training_step

DRAWING = 36  # bytes for each number of the largest weight, while it is drawn
COMPILER = 128 << 20  # LLVM, where it is not loaded yet
COMPILING = 48 << 20
LOSS_VALUES = 8  # arrays of the size of the outputs, while the loss of held-out rows is calculated


@dataclass(frozen=True)
class Need:
    """Bytes that a training will take beside those that are taken when it begins.

    Attributes:
        start: while the first weights are drawn; given back before the others are taken.
        learned: parameters and optimizer state, with the copies of them that are kept or brought back from a program.
        step: the values of one step, as the executor holds them.
        rows: the order of the rows, and the values of one batch.
        validation: the values of the forward pass over held-out rows, and its outputs.
        code: the compiler.
    """

    start: int
    learned: int
    step: int
    rows: int
    validation: int
    code: int

    @property
    def total(self) -> int:
        """The most at any one time."""
        return max(self.start, self.learned + self.step + self.rows + self.validation) + self.code


@dataclass(frozen=True, eq=False)
class Training:
    """A training that has not begun.

    Attributes:
        parameters: None where they have not been made yet.
        copies: how often parameters and optimizer state are held beside the executor's own: once to know them between
            epochs, once more for the best so far, and so on.
        running: whether the executor's program for this step is there already, from the training before, with its
            memory: what is held is not asked for a second time. Parameters that are given are there in any case, with
            the optimizer's state.
        window: of rows in files, how many are looked at together.
    """

    network: Layer
    loss: Loss
    optimizer: Optimizer
    data: Rows
    held_out: Rows | None
    row_shape: Any
    batch_size: int
    precision: str
    executor: str
    threads: int | None = None
    parameters: Structure | None = None
    copies: int = 1
    running: bool = False
    window: int | None = None

    @property
    def together(self) -> int:
        """How many rows are put in order at once."""
        return min(self.data.count, self.window or self.data.count)

    def need(self, batch_size: int | None = None) -> Need:
        """The estimate: within a third of what was measured, for trainings of 100 MiB and more."""
        return _Estimate(self).need(batch_size or self.batch_size)


def check_memory(training: Training, *, free: int | None = None) -> None:
    """See that a training will fit into the memory that is free, as `free_memory` finds it unless it is given.

    Quick where there is plenty: only what may come near the limit is planned in full.

    Raises:
        UsageError: it needs more; the message says how much there is, and what would need less.
    """
    free = free_memory() if free is None else free
    if free is None:
        return
    try:
        estimate = _Estimate(training)
        if estimate.at_most(training.batch_size) <= free / 2:
            return
        need = estimate.need(training.batch_size)
    except Exception:  # noqa: BLE001 - a layer of one's own may do anything where it finds no numbers: then it is tried
        return
    if need.total > free:
        what = f"training needs about {amount(need.total)}, and {amount(free)} are free here"
        raise UsageError(f"{what}: {_advice(estimate, need, free)}")


def _advice(estimate: "_Estimate", need: Need, free: int) -> str:
    rows = min(estimate.training.batch_size, estimate.training.data.count)
    if need.start <= free:
        while rows > 1:
            rows = 1 << (rows - 1).bit_length() - 1  # the next smaller power of 2
            smaller = estimate.need(rows)
            if smaller.total <= free:
                return f"--batch-size {rows} would need {amount(smaller.total)}"
    if need.learned > (need.step + need.rows + need.validation) / 4 or need.start > free:
        return "choose fewer or smaller layers (--hidden)"
    return "give fewer rows, or hold fewer of them out"


class _Estimate:
    """What can be known of a training before it begins."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.fresh = training.parameters is None
        self.parameters = map_structure(_stand_in, self._first() if self.fresh else training.parameters)
        self.state = _state(training.optimizer, self.parameters)
        self.real = np.dtype(training.precision)
        self.forward = trace(training.network, map_structure(like, self.parameters), self._inputs()).graph

    def _first(self) -> Structure:
        """The parameters' shapes: the first weights as a function of a seed that is not known."""
        training = self.training
        made = trace(lambda seed: training.network.init(training.row_shape, Key(seed)), Spec((2,), np.int64)).result
        kinds = {True: np.dtype(training.precision)}
        return map_structure(lambda x: Spec(x.shape, kinds.get(x.dtype.kind == "f", x.dtype)), made)

    def _inputs(self) -> Structure:
        return specs(self.training.row_shape, self.training.precision)

    def at_most(self, batch_size: int) -> int:
        """A bound that is quickly found: every value of the forward pass is kept, and has an error and a copy."""
        values = sum(_bytes(node, min(batch_size, self.training.data.count)) for node in self.forward.nodes)
        held = 2 * self.training.together * 16
        learned = (6 + self.training.copies) * (_total(self.parameters) + _total(self.state))
        return max(self._start(), learned) + 4 * values + held + 2 * self._validation(values=True) + COMPILER

    def need(self, batch_size: int) -> Need:
        training = self.training
        rows = min(batch_size, training.data.count)
        native = training.executor == "native"
        loaded = "llvmlite" in sys.modules
        held = native and training.running and rows == min(training.batch_size, training.data.count)
        learned = _total(self.parameters) + _total(self.state)
        new = training.copies if self.fresh else training.copies - 1
        return Need(
            start=self._start(),
            learned=learned * new + (_total(self.parameters) if native else learned),
            step=0 if held else self._step(rows, native=native),
            rows=self._order(rows, native=native),
            validation=self._validation(values=False),
            code=(0 if held else COMPILING if loaded else COMPILER) if native else 0,
        )

    def _step(self, rows: int, *, native: bool) -> int:
        """The values of one step."""
        training = self.training
        step = training_step(
            training.network,
            training.loss,
            training.optimizer.over(1),
            parameters=self.parameters,
            state=self.state,
            inputs=self._inputs(),
            targets=_spec(training.data.targets),
            weights=None if training.data.weights is None else _spec(training.data.weights),
        ).graph
        return self._native(step, rows) if native else _evaluated(simplify(step), rows)

    def _start(self) -> int:
        """Weights are drawn in float64, one after the other, and converted when all are there."""
        if not self.fresh:
            return 0
        counts = [int(leaf.size) for leaf in flatten(self.parameters)]
        most, total = max(counts, default=0), sum(counts)
        return max(8 * (total - most) + DRAWING * most, (8 + self.real.itemsize) * total)

    def _native(self, graph: Graph, rows: int) -> int:
        """The memory of the program."""
        from backpass.native import available_threads, training_job
        from backpass.native.compile import Compiler
        from backpass.native.target import host

        learned, kept = len(flatten(self.parameters)), len(flatten(self.state))
        threads = self.training.threads or 0
        job = training_job(
            graph, parameters=learned, state=kept, rows=rows, threads=threads, available=available_threads()
        )
        compiler = Compiler(job, host())
        return int(compiler.arena_bytes + compiler.threads * compiler.private_bytes)

    def _order(self, rows: int, *, native: bool) -> int:
        """The order of all rows, with the memory to shuffle them; beside it the reference takes each batch out."""
        data = self.training.data
        if native:
            return self.training.together * (4 + 16)
        taken = [*flatten(data.inputs), data.targets, *([] if data.weights is None else [data.weights])]
        return data.count * 16 + ceil(sum(int(part.nbytes) for part in taken) * rows / data.count)

    def _validation(self, *, values: bool) -> int:
        """A forward pass over some rows at once, and the outputs and losses of all rows; roughly if only `values`."""
        held_out = self.training.held_out
        if held_out is None:
            return 0
        widest = max((size(node.shape) for node in self.forward.nodes if BATCH in node.shape), default=1)
        rows = min(held_out.count, ROWS_AT_ONCE, max(1, VALUES_AT_ONCE // max(1, widest)))
        outputs = sum(_bytes(node, held_out.count) for node in self.forward.outputs)
        if values or self.training.executor != "native":
            return _evaluated(self.forward, rows) + LOSS_VALUES * outputs
        from backpass.native import Job
        from backpass.native.compile import Compiler
        from backpass.native.target import host

        return int(Compiler(Job(simplify(self.forward), rows=rows), host()).arena_bytes) + LOSS_VALUES * outputs


def _evaluated(graph: Graph, rows: int) -> int:
    """The most bytes that live at one time where each value is let go of after its last use."""
    last = {node: place for place, node in enumerate(graph.nodes)}
    last |= {x: place for place, node in enumerate(graph.nodes) for x in node.inputs}
    last |= dict.fromkeys(graph.outputs, len(graph.nodes))
    ends: dict[int, int] = {}
    given, live, most = set(graph.inputs), 0, 0
    for place, node in enumerate(graph.nodes):
        if node not in given and "value" not in node.attributes:
            own = 0 if isinstance(node.op, Movement) else _bytes(node, rows)
            live += own
            ends[last[node]] = ends.get(last[node], 0) + own
        most = max(most, live)
        live -= ends.pop(place, 0)
    return most


def _bytes(node: Node, rows: int) -> int:
    return int(size(bind_rows(node.shape, rows))) * node.dtype.itemsize


def _stand_in(value: Any) -> Any:
    """An array of the shape and type of a value, that has the memory of one number."""
    spec = like(value)
    return np.broadcast_to(np.zeros((), spec.dtype), bind_rows(spec.shape, None))


def _state(optimizer: Optimizer, parameters: Structure) -> Structure:
    """The optimizer's state, as stand-ins: made for parameters of lengths that tell which array belongs to which."""
    leaves = flatten(parameters)
    marked = [np.zeros(place + 2, leaf.dtype) for place, leaf in enumerate(leaves)]

    def stand_in(value: Any) -> Any:
        array = np.asarray(value)
        shape = leaves[len(array) - 2].shape if array.ndim else ()
        return _stand_in(Spec(shape, array.dtype))

    return map_structure(stand_in, optimizer.init(unflatten(parameters, marked)))


def _total(structure: Structure) -> int:
    return sum(int(leaf.size) * leaf.dtype.itemsize for leaf in flatten(structure))


def _spec(values: Any) -> Spec:
    return Spec((BATCH, *values.shape[1:]), values.dtype)
