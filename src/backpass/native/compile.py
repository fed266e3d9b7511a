"""From a graph to machine code: kernels as functions, memory, and the loop over steps and epochs."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from math import gcd, sqrt
from typing import Any

import numpy as np

from backpass.graph import Batch, Graph, Node, size
from backpass.native import arithmetic, rows_product, weights_product
from backpass.native.alike import Form, form_of, numbers_of
from backpass.native.arranged import Arranged, arranged, arranged_in_halves
from backpass.native.bounds import CheckedModule, asked_for
from backpass.native.columns import cuts_of
from backpass.native.context import PLACES
from backpass.native.finite import to_be_looked_at
from backpass.native.halves import halved, numbers_of_halves
from backpass.native.helping import OFFER_BYTES
from backpass.native.ir import F32, F64, I32, I64, INLINE, PTR, Builder, Function, Module, Type, Value, define
from backpass.native.kernel import Slot, Writer, chunks_of
from backpass.native.layout import COLUMNS_AT_ONCE, SPARE, panels_of
from backpass.native.loops import Loops
from backpass.native.memory import LINE, Buffer, Memory
from backpass.native.networks import networks_of
from backpass.native.plan import (
    EVERYONES,
    Kernel,
    Plan,
    Product,
    Space,
    operands,
    plan,
    space,
)
from backpass.native.pointwise import SCALARS, memory_type
from backpass.native.prepare import prepare
from backpass.native.products import write_dots_product, write_rows_product, write_weights_product
from backpass.native.shares import largest_load
from backpass.native.steps import Call, Functions, Steps, claimed, runs_on
from backpass.native.target import Target
from backpass.native.tiles import Panels
from backpass.native.timing import Parts
from backpass.native.units import Units, units_of_share
from backpass.ops.arithmetic import ADD
from backpass.ops.movement import SLICE
from backpass.records import dataclass

# Of a common processor, to choose the number of threads by: simple operations on vectors, and a barrier of two threads
# with what a step loses around it.
VECTORS_PER_SECOND = 4e9
NEAR = 1 << 16  # bytes that are read quickly without being asked for before
WAIT = 3e-6
SHORT_WAIT = 2e-7  # the same, where processors share a cache and nobody else wants them
GAIN = 1.15  # a further thread must make a step quicker by so much at least
UNEVEN = 1.35  # times the mean may have to do who has most of networks: even so it is quicker than all by rows
FEW = 4  # threads: of so many some may be left out where networks are shared out
MOST_TAKEN = 1 << 21  # bytes of the batch that each thread may take for itself, so that they stay in a near cache
LONG_ROW, ROWS_AHEAD = 1024, 2  # a row of so many bytes is asked for while the one so many before it is copied
WORTH_A_CUT = 0.3  # of a step's work at least must be cut by columns, for it may take one more wait
MOST_PHASES = 2  # of a step with a hidden layer in halves: with more it is not worth it
MOST_RUNS = 4  # of panels that are wanted of a product: each has code of its own
ALIKE = 3  # parts of a kernel have functions of their own where so many have one in common, in the mean


@dataclass(frozen=True)
class Job:
    """What is to be compiled.

    Attributes:
        graph: one step.
        carried: of each output, by its place, the place of the input that it becomes in the next step.
        moment: the place of the input that holds (seed, step), or None.
        loss: the place of the output that is summed up over an epoch, or None.
        rows: the most rows of a step.
        threads: how many threads share the work; 0 for as many as are worth it.
        available: the most threads that are worth it may be.
        timed: whether threads add up how long each part of a step takes; see `timing`.
        checked: whether every address is checked before it is used, and slowly so; see `bounds`.
    """

    graph: Graph
    carried: Mapping[int, int] = field(default_factory=dict)
    moment: int | None = None
    loss: int | None = None
    rows: int = 1
    threads: int = 0
    available: int = 1
    timed: bool = False
    checked: bool = field(default_factory=asked_for)


def training_job(graph: Graph, *, parameters: int, state: int, rows: int, threads: int, available: int) -> Job:
    """The Job of a training step: `parameters` and `state` say how many inputs, from the first on, are carried on.

    The next input is (seed, step), the rest are rows; the outputs are the loss and what is carried on, in order.
    """
    carried = {1 + place: place for place in range(parameters + state)}
    return Job(graph, carried, parameters + state, 0, rows, threads, available)


class Compiler:
    """Compiles one Job for one Target."""

    def __init__(self, job: Job, target: Target) -> None:
        self.job = job
        self.target = target
        prepared = prepare(job.graph, job.rows, whole=job.loss is not None, carried=job.carried)
        in_halves = self._in_halves(prepared)
        self.arranged = arranged(prepared, job.carried, target) if in_halves is None else in_halves[0]
        self.graph, self.carried = self.arranged.graph, self.arranged.carried
        self.plan = plan(self.graph) if in_halves is None else in_halves[1]
        self.numbers = numbers_of(self.graph)
        self.scalar = self._main_scalar()
        self.lanes = target.lanes(self.scalar)
        worthwhile = self._worthwhile(job.available) if in_halves is None else (2, 1)[-job.available :]
        self.choices = (job.threads,) if job.threads else worthwhile
        """Numbers of threads that it may be best to run with, the likeliest first."""
        self.threads = max(self.choices)
        if job.loss is not None and in_halves is None:
            self.plan = self._by_networks() or self._by_columns() or self.plan
        self._order = {node: place for place, node in enumerate(self.graph.nodes)}
        self._memory = Memory(self.graph, self.plan, self.carried, job.moment, target, job.rows, self.lanes)
        self.buffers, self.sinks, self.outputs = self._memory.buffers, self._memory.sinks, self._memory.outputs
        self.parts = Parts(self.plan)
        self.sums_at = self._memory.private_end  # of a timed job, in a thread's memory
        self.module = CheckedModule() if job.checked else Module()
        self.functions: dict[Kernel, str] = {}
        self.remarks = False
        """Whether the text says which node of the graph its lines calculate."""
        self.calls: list[Call] = []
        self._texts: dict[tuple[str, str], Function] = {}
        self._forms: dict[tuple[Any, ...], tuple[Function, list[int]]] = {}
        """The functions of kernels by their form; and which of its things each is given."""
        self.text = ""

    # Memory

    @property
    def arena_bytes(self) -> int:
        return self._memory.end + SPARE

    @property
    def private_bytes(self) -> int:
        """Of each thread."""
        return self.offer_at + (OFFER_BYTES if self.threads > 1 else 0) + self.scratch

    @property
    def offer_at(self) -> int:
        """Where in a thread's memory it offers work to others; see `helping`."""
        end = self.sums_at + (8 * (self.parts.count + 1) if self.job.timed else 0)
        return -(-(end + SPARE) // LINE) * LINE

    @property
    def context_words(self) -> int:
        """Of the block of numbers. Of a checked program as many follow: the sizes of what its pointers point to."""
        return PLACES.data + max(1, len(self.batch_inputs()) + len(self.row_outputs()))

    @cached_property
    def scratch(self) -> int:
        return -(-max(map(self._scratch_of, self.plan.kernels), default=0) // LINE) * LINE

    def _scratch_of(self, kernel: Kernel) -> int:
        if kernel.product is Product.WEIGHTS:
            return weights_product.scratch_bytes(self.panels(kernel), self.weights_tiling(kernel))
        if kernel.product is Product.ROWS:
            return rows_product.rows_scratch_bytes(self.panels_of_weights(kernel), self.rows_tiling(kernel))
        return 0

    def _main_scalar(self) -> Type:
        """The type that decides how many elements a vector has: the narrowest of those that make up the values."""
        large = [node for node in self.graph.nodes if node.dtype.kind == "f" and space(node) is not Space.ONE]
        return F32 if any(node.dtype == np.float32 for node in large) or not large else F64

    def _in_halves(self, graph: Graph) -> tuple[Arranged, Plan] | None:
        """A hidden layer in halves, where there is one and the step is small; whatever the number of threads."""
        if self.job.loss is None:
            return None
        found = halved(graph, self.job.carried, self.job.rows, self.target.lanes(F32))
        if found is None:
            return None
        held = arranged_in_halves(found, self.target)
        networks = numbers_of_halves(held.graph, held.owners, held.carried)
        planned = plan(held.graph, networks=networks, taken={node for _, node in batch_inputs(held.graph)})
        return (held, planned) if len(planned.phases) <= MOST_PHASES else None

    def _by_networks(self) -> Plan | None:
        """The plan with whole networks for each thread, where these are several and can be shared out evenly.

        Of many threads that there may be, up to a half then have nothing to do.
        """
        networks = networks_of(self.graph, self.carried)
        if not networks:
            return None
        found = plan(self.graph, networks=networks, taken={node for _, node in self.batch_inputs()})
        if not self._may_replace(found):
            return None
        works = self.works_of_networks(found)
        again = sum(self.work(kernel) for kernel in found.kernels if kernel.network == EVERYONES)
        fewest = self.threads if self.job.threads or self.threads < FEW else -(-self.threads // 2)
        most = self.threads if self.job.threads else min(self.threads, len(works))
        for threads in range(most, fewest - 1, -1):
            if largest_load(works, threads) + again <= UNEVEN * (sum(works) + again) / threads:
                self.threads = threads
                self.choices = (threads, *(fewer for fewer in self.choices if fewer < threads))
                return found
        return None

    def works_of_networks(self, planned: Plan) -> list[float]:
        works = [0.0] * (1 + max(planned.networks.values()))
        for kernel in planned.kernels:
            if kernel.network not in (None, EVERYONES):
                works[kernel.network] += self.work(kernel)
        return works

    def _by_columns(self) -> Plan | None:
        """The plan with first layers cut by columns, where there is a part for each thread, and little to wait for."""
        if self.threads == 1:
            return None
        cuts = cuts_of(self.graph)
        layers = {cut.first for cut in cuts.values()}
        panels = [self.panels_beside(first) for first in layers]
        if not layers or any(each.count < self.threads or each.width % self.lanes for each in panels):
            return None
        found = plan(self.graph, cuts=cuts, taken={operands(first)[0] for first in layers})
        cut = sum(self.work(kernel) for kernel in found.kernels if kernel.cut)
        worth = cut >= WORTH_A_CUT * sum(map(self.work, found.kernels))
        return found if worth and self._may_replace(found) else None

    def _may_replace(self, found: Plan) -> bool:
        """May it take the place of the plan by rows: to the same bits, with little to wait for, and little copied?"""
        rows = sum(size(node.shape[1:]) * node.dtype.itemsize for node in found.taken) * self.job.rows
        same = found.updates == self.plan.updates
        return same and rows <= MOST_TAKEN and len(found.phases) <= len(self.plan.phases) + 1

    def _worthwhile(self, available: int) -> tuple[int, ...]:
        """The number of threads with which a step is expected to end first.

        Where that hangs on how quickly threads hear of one another, which differs from machine to machine, a training
        may also find it out as it runs: then there are two. And one thread alone is always among them, for it is
        quickest where other programs take the processors: threads that wait for each other wait for those, too.
        """
        works = [(self.work(kernel), self._parts_of(kernel)) for kernel in self.plan.kernels]
        waits = len(self.plan.phases)

        def best(wait: float) -> int:
            split = [
                sum(work / min(threads, parts) for work, parts in works) / VECTORS_PER_SECOND
                + (waits * wait * sqrt(threads) if threads > 1 else 0.0)
                for threads in range(1, available + 1)
            ]
            return next(threads for threads, seconds in enumerate(split, start=1) if seconds <= GAIN * min(split))

        if self.job.loss is None:
            return (best(WAIT),)
        return tuple(dict.fromkeys([best(WAIT), best(SHORT_WAIT), 1]))

    @property
    def expected_seconds(self) -> float:
        """Of a step, on one thread."""
        return sum(map(self.seconds, self.plan.kernels))

    def _parts_of(self, kernel: Kernel) -> int:
        """In how many parts its work can be split at most, about."""
        if kernel.space is Space.ROWS:
            return -(-self.job.rows // self.lanes)
        return max(1, kernel.extent[0] // 4) if kernel.space is Space.FIXED else 1

    # Tiles and units of work

    def panels(self, kernel: Kernel) -> Panels:
        """Those of the result of a product of weights."""
        return panels_of(kernel.anchor.shape, kernel.anchor.dtype, self.target)

    def panels_beside(self, node: Node) -> Panels:
        """Those of a row with the columns of `node`."""
        return panels_of((1, *node.shape[1:]), node.dtype, self.target)

    def wanted(self, kernel: Kernel) -> list[range] | None:
        """Of the panels of a product of rows runs of those of which anything is read; None where that is all.

        So it is with errors that go back to what was put together of columns to learn and of the data's own.
        """
        readers = self._readers.get(kernel.anchor, [])
        panels = self.panels_of_weights(kernel)
        if len(kernel.nodes) > 1 or kernel.by_columns or not readers or kernel.anchor in set(self.graph.outputs):
            return None
        if any(node.op is not SLICE or node.attributes["spans"][1] is None for node in readers):
            return None
        spans = [range(*node.attributes["spans"][1]) for node in readers]
        found = sorted({place // panels.width for span in spans for place in span})
        if len(found) == panels.count or not found:
            return None
        runs: list[range] = []
        for panel in found:
            if runs and runs[-1].stop == panel:
                runs[-1] = range(runs[-1].start, panel + 1)
            else:
                runs.append(range(panel, panel + 1))
        return runs if len(runs) <= MOST_RUNS else None

    @cached_property
    def _readers(self) -> dict[Node, list[Node]]:
        """Who reads a node, in the graph."""
        found: dict[Node, list[Node]] = {}
        for node in self.graph.nodes:
            for x in dict.fromkeys(node.inputs):
                found.setdefault(x, []).append(node)
        return found

    def weights_tiling(self, kernel: Kernel) -> weights_product.WeightsTiling:
        panels, cut = self.panels(kernel), kernel.cut
        if cut is None:
            threads = self.threads if kernel.network is None else 1
            return weights_product.weights_tiling(self.target, panels, self.job.rows, threads)
        tiling = weights_product.weights_tiling(self.target, panels, self.job.rows)
        if not cut.high:
            return tiling
        rows = gcd(tiling.rows, self.panels_beside(cut.first).width)
        return replace(tiling, rows=rows, block=tiling.block // rows * rows)

    def panels_of_weights(self, kernel: Kernel) -> Panels:
        """Those that a product of rows reads."""
        weights = operands(kernel.anchor)[1]
        return panels_of(weights.shape, weights.dtype, self.target)

    def rows_tiling(self, kernel: Kernel) -> rows_product.RowsTiling:
        threads = self.threads if kernel.by_rows else 1
        tiling = rows_product.rows_tiling(self.target, self.panels_of_weights(kernel), self.job.rows, threads)
        return replace(tiling, together=1) if kernel.by_columns else tiling

    @property
    def dots_rows(self) -> int:
        """Rows of a tile of a product with few rows of weights."""
        return min(4, -(-self.job.rows // self.threads))

    @cached_property
    def runs_on(self) -> bool:
        """Do threads begin a step before all have ended the last one?"""
        return runs_on(self)

    @property
    def is_alone(self) -> bool:
        """Does one thread do it all? Then where its work begins and ends is known, and it waits for nobody."""
        return self.threads == 1

    @property
    def has_one_row(self) -> bool:
        """Does every step have one row?"""
        return self.job.rows == 1 and self.job.loss is not None

    @property
    def is_single(self) -> bool:
        """Has it one thread as well? Then no loop goes over rows."""
        return self.has_one_row and self.is_alone

    @cached_property
    def row_unit(self) -> int:
        """Threads take rows in multiples of this: no tile or vector of rows then reaches into those of another."""
        products = [kernel for kernel in self.plan.kernels if kernel.product and kernel.by_rows]
        most = max(map(self.rows_of_a_tile, products), default=1)
        return -(-most // self.lanes) * self.lanes

    def rows_of_a_tile(self, kernel: Kernel) -> int:
        """Of a product of rows."""
        return self.dots_rows if kernel.product is Product.DOTS else self.rows_tiling(kernel).rows

    def units(self, kernel: Kernel) -> int:
        """Parts that the work of a kernel has that is not of rows."""
        if kernel.cut:
            return self.panels_beside(kernel.cut.first).count
        if kernel.space is not Space.FIXED:
            return 1
        if kernel.product is Product.WEIGHTS:
            return weights_product.weights_units(self.panels(kernel), self.weights_tiling(kernel))
        if len(kernel.extent) == 1:
            return -(-kernel.extent[0] // (self.lanes * COLUMNS_AT_ONCE))
        return kernel.extent[0]

    def seconds(self, kernel: Kernel) -> float:
        """That a kernel takes in a step, about, on one thread."""
        return self.work(kernel) / VECTORS_PER_SECOND

    def work(self, kernel: Kernel) -> float:
        """About how many operations on vectors a kernel takes in a step."""
        if not kernel.product:
            return self._around(kernel.nodes)
        weights = kernel.anchor if kernel.product is Product.WEIGHTS else operands(kernel.anchor)[1]
        depth, columns = (int(axis) for axis in weights.shape)  # type: ignore[arg-type]
        wanted = self.wanted(kernel) if kernel.product is Product.ROWS else None
        part = 1.0 if wanted is None else sum(map(len, wanted)) / self.panels_of_weights(kernel).count
        return part * depth * -(-columns // self.lanes) * self.job.rows / 0.9 + self._around(kernel.nodes[1:])

    def _around(self, nodes: Sequence[Node]) -> float:
        """About how many operations on vectors it takes to calculate these element by element."""
        total = 0.0
        for node in nodes:
            rows = self.job.rows if any(isinstance(axis, Batch) for axis in node.shape) else 1
            inside = max([size(node.shape), *(size(x.shape) for x in node.inputs if x.shape[:1] == node.shape[:1])])
            if any(isinstance(axis, Batch) for x in node.inputs for axis in x.shape) and rows == 1:
                inside *= self.job.rows
            vectors = -(-inside // self.lanes) * rows
            total += vectors * (3 + getattr(node.op, "cost", 2))
        return total

    # Code

    def compile(self) -> str:
        """The module as text."""
        takes = [self._take_function(node) for _, node in self.batch_inputs()]
        gives = [self._give_function(place) for place in self.row_outputs()]
        phases = [[(kernel, self._kernel_functions(kernel)) for kernel in phase] for phase in self.plan.phases]
        self.functions = {kernel: calls[0].function for phase in phases for kernel, calls in phase}
        Steps(self, Functions(takes, gives, self._scalars_function(), phases)).write()
        self.text = self.module.text()
        return self.text

    def batch_inputs(self) -> list[tuple[int, Node]]:
        """The inputs whose rows are taken from data, by their places."""
        return batch_inputs(self.graph)

    def row_outputs(self) -> list[int]:
        """The places of the outputs whose rows go to arrays of the caller: of a training step none do."""
        if self.job.loss is not None:
            return []
        return [
            place
            for place, node in enumerate(self.graph.outputs)
            if space(node) is Space.ROWS and "value" not in node.attributes
        ]

    def _take_function(self, node: Node) -> Call:
        """Copy the rows [begin, end) of a batch out of the data."""
        scalar, inner = SCALARS[node.dtype], size(node.shape[1:])
        memory = memory_type(scalar)
        arguments = [("to", PTR), ("data", PTR), ("order", PTR), ("begin", I64), ("end", I64)]
        b, (to, data, order, begin, end) = self.define(f"take.{len(self.calls)}", arguments)
        b.function.comment = f"rows of {node.name or 'an input'}"
        if self.is_single:
            begin, end = b.i64(0), b.i64(1)
        to = claimed(b, to, self.buffers[node], self.name_of)
        stride = self.buffers[node].layout.strides[0]  # type: ignore[union-attr]
        lanes = self.lanes
        with b.loop(begin, end, stem="row") as loop:
            source = b.mul(b.extend_unsigned(b.load(I32, order, loop.index), I64), inner)
            target = b.mul(loop.index, stride)
            if inner * memory.bytes >= LONG_ROW:  # rows lie anywhere: the machine cannot know which are read next
                later = b.smallest(b.add(loop.index, ROWS_AHEAD), b.sub(end, 1))
                there = b.mul(b.extend_unsigned(b.load(I32, order, later), I64), inner)
                line = LINE // memory.bytes
                with b.loop(0, inner, line) as lines:
                    b.prefetch(data, b.add(there, lines.index), memory, locality=2)
            for first, last, step, count, tail in chunks_of(inner, lanes, COLUMNS_AT_ONCE):
                if tail is not None and inner == 1:
                    b.store(b.load(memory, data, source), to, target)
                    continue
                with b.loop(first, last, step) as column:
                    for u in range(count):
                        at = b.add(column.index, u * lanes)
                        partial = tail is not None and tail < (u + 1) * lanes
                        mask = b.constants([u * lanes + lane < (tail or 0) for lane in range(lanes)], Type("i1"))
                        vector = memory.vector(lanes)
                        if partial:
                            value = b.load_lanes(vector, data, b.add(source, at), mask)
                        else:
                            value = b.load(vector, data, b.add(source, at))
                        b.store(value, to, b.add(target, at))
        b.ret()
        return self._called(b.function, [self.buffers[node]])

    def _give_function(self, place: int) -> Call:
        """Copy the rows [begin, end) of an output to where the caller wants them, one after the other."""
        node = self.outputs[place]
        buffer, inner, lanes = self.output_buffer(node), size(node.shape[1:]), self.lanes
        memory = memory_type(SCALARS[node.dtype])
        arguments = [("rows", PTR), ("to", PTR), ("begin", I64), ("end", I64)]
        b, (rows, to, begin, end) = self.define(f"give.{place}", arguments)
        b.function.comment = f"rows of output {place}"
        rows = claimed(b, rows, buffer, self.name_of)
        stride = buffer.layout.strides[0]  # type: ignore[union-attr]
        with b.loop(begin, end, stem="row") as loop:
            source, target = b.mul(loop.index, stride), b.mul(loop.index, inner)
            for first, last, step, count, tail in chunks_of(inner, lanes, COLUMNS_AT_ONCE):
                if tail is not None and inner == 1:
                    b.store(b.load(memory, rows, source), to, target)
                    continue
                with b.loop(first, last, step) as column:
                    for u in range(count):
                        at = b.add(column.index, u * lanes)
                        value = b.load(memory.vector(lanes), rows, b.add(source, at))
                        if tail is not None and tail < (u + 1) * lanes:
                            mask = b.constants([u * lanes + lane < tail for lane in range(lanes)], Type("i1"))
                            b.store_lanes(value, to, b.add(target, at), mask)
                        else:
                            b.store(value, to, b.add(target, at))
        b.ret()
        return self._called(b.function, [buffer])

    def output_buffer(self, node: Node) -> Buffer:
        """Where an output stands after a step."""
        return self.sinks[node][0] if node in self.sinks else self.buffers[node]

    def define(
        self, name: str, arguments: Sequence[tuple[str, Type]], *, internal: bool = True
    ) -> tuple[Builder, list[Value]]:
        fused, estimates = self.target.fused, self.target.estimates
        b, values = define(self.module, name, arguments, fused=fused, estimates=estimates, internal=internal)
        if self.is_single and internal and not self.job.checked:  # calls would be a good part of so short a step
            b.function.attributes += f" {INLINE}"
        return b, values

    def _writer(
        self, b: Builder, rows: Value, status: Value, made_here: Sequence[Node]
    ) -> tuple[Writer, "_Slots", "_Sinks"]:
        slots = _Slots(b, self.buffers, self.numbers, self.name_of)
        writer = Writer(b, self.lanes, slots, rows, status, made_here, slots.number)
        writer.remarks = self.remarks
        return writer, slots, _Sinks(slots, self.sinks)

    def name_of(self, buffer: Buffer) -> str:
        """What stands there, for people."""
        held = [node for node, other in self.buffers.items() if other is buffer]
        held += [node for node, sinks in self.sinks.items() if any(other is buffer for other in sinks)]
        names = dict.fromkeys(f"{node.name or 'a value without a name'}: {node.op.name}" for node in held)
        return f"the memory of {', '.join(names)}"

    _ARGUMENTS = (("status", PTR), ("private", PTR), ("n", I64), ("begin", I64), ("end", I64))
    _OFFERED = (*_ARGUMENTS, ("low", I64), ("high", I64), ("stands", I64))

    def _kernel_functions(self, kernel: Kernel) -> list[Call]:
        """Those of a kernel: one; or of each part where most are alike, as those of networks side by side are."""
        parts = [replace(kernel, nodes=nodes) for nodes in self._parts_apart(kernel)]
        if len(parts) < ALIKE or ALIKE * len({self._form(part).key for part in parts}) > len(parts):
            return [self._kernel_function(kernel, units=units_of_share(self, kernel))]
        return [self._kernel_function(part, f".{number}") for number, part in enumerate(parts)]

    def _form(self, kernel: Kernel) -> Form:
        beside = self._beside(kernel) if kernel.product is Product.WEIGHTS else []
        return form_of(kernel, self.buffers, self.sinks, self._checked(kernel), beside, self.numbers)

    def _parts_apart(self, kernel: Kernel) -> list[list[Node]]:
        """The nodes of a kernel of loops, cut where all that others read of them can be made before.

        Together stay a value and its only reader, and what is written where others read or write.
        """
        readers = Counter(use.node for node in kernel.nodes for use in self.plan.uses[node])
        written = {buffer for node in kernel.nodes for buffer in self.sinks.get(node, ())}
        group = {node: [node] for node in kernel.nodes}
        touched: dict[Buffer, Node] = {}
        for node in kernel.nodes:
            read = [use.node for use in self.plan.uses[node] if use.node is not node]
            near = [other for other in read if other in group and readers[other] == 1]
            old = [self.buffers[x] for x in read if x not in group and x in self.buffers]
            near += [touched.setdefault(each, node) for each in (*old, *self.sinks.get(node, ())) if each in written]
            for other in near:
                if group[other] is not group[node]:
                    whole = group[other] + group[node]
                    group.update(dict.fromkeys(whole, whole))
        parts: dict[int, list[Node]] = {}
        for node in kernel.nodes:
            parts.setdefault(id(group[node]), []).append(node)
        found = list(parts.values())
        number = {node: n for n, nodes in enumerate(found) for node in nodes}
        inside = [(use.node, node) for node in kernel.nodes for use in self.plan.uses[node] if use.node in group]
        in_order = all(number[made] <= number[reader] for made, reader in inside)
        return found if in_order and not kernel.product else [kernel.nodes]

    def _kernel_function(self, kernel: Kernel, part: str = "", units: Units | None = None) -> Call:
        form = self._form(kernel)
        wanted = self.wanted(kernel) if kernel.product is Product.ROWS else None
        key = (form.key, units, tuple(wanted or ()))
        if key in self._forms:
            function, asked = self._forms[key]
            function.comment += f"\n{_described(kernel)}"
            things = list(form.things)
            call = Call(function.name, self._given([things[place] for place in asked]))
            self.calls.append(call)
            return call
        name = f"kernel.{kernel.phase}.{kernel.order}{part}"
        arguments = self._ARGUMENTS if units is None else self._OFFERED
        b, (status, private, n, begin, end, *more) = self.define(name, arguments)
        b.function.comment = _described(kernel)
        if self.has_one_row:
            n = b.i64(1)
        inside = None if units is None or units.inside is None else (more[0], more[1])
        if self.is_alone:
            begin, end = b.i64(0), n if kernel.space is Space.ROWS else b.i64(self.units(kernel))
        writer, slots, sinks = self._writer(b, n, status, kernel.nodes)
        checked = self._checked(kernel)
        scratch = b.undefined(PTR)
        if self._scratch_of(kernel):
            scratch = b.offset(private, self.private_bytes - self.scratch, Type("i8"))
            scratch = b.owns(scratch, self.scratch, "room to copy what a product reads, and for its sums")
        if kernel.product is Product.ROWS:
            tiling = self.rows_tiling(kernel)
            write_rows_product(
                writer, kernel, begin, end, tiling, sinks, checked, scratch, inside, wanted, self._onto(kernel)
            )
        elif kernel.product is Product.DOTS:
            write_dots_product(writer, kernel, begin, end, self.dots_rows, sinks, checked)
        elif kernel.product is Product.WEIGHTS:
            writer.quick = True
            weights_tiling = self.weights_tiling(kernel)
            beside, onto = self._beside(kernel), self._onto(kernel)
            stands = more[2] if more else None
            if kernel.cut and kernel.cut.high:  # tiles of the rows that this thread has as columns
                columns = self.panels_beside(kernel.cut.first)
                tiles, rows = columns.width // weights_tiling.rows, weights_tiling.rows
                begin, end = b.mul(begin, tiles), b.smallest(b.mul(end, tiles), -(-columns.columns // rows))
            write_weights_product(
                writer,
                kernel,
                self.panels(kernel),
                begin,
                end,
                weights_tiling,
                sinks,
                checked,
                scratch,
                beside,
                onto,
                inside,
                stands,
            )
        else:
            together = self.panels_beside(kernel.cut.first).width // self.lanes if kernel.cut else 0
            Loops(writer, sinks, checked).write(kernel, begin, end, together)
        b.ret()
        call = self._called(b.function, self._given(slots.asked), slots.arguments)
        # Of a checked program the text names what stands in memory, and with remarks what it calculates.
        if not (self.job.checked or self.remarks):
            function = self._texts[b.function.arguments_text(), b.function.body()]
            self._forms[key] = function, [form.things[thing] for thing in slots.asked]
        return call

    def _given(self, asked: Sequence[Buffer | Node]) -> list[Buffer | int]:
        """What is given for the arguments that a function asked for: memory, or numbers."""
        return [self.numbers[each] if isinstance(each, Node) else each for each in asked]

    def _onto(self, kernel: Kernel) -> Node | None:
        """The sum of a product and of what stands in memory, where it is made in one operation.

        So it is in training with one row: with many, sums that begin with a large number would lose more; and a row's
        prediction is not to depend on how many others there are.
        """
        anchor = kernel.anchor
        readers = self._readers.get(anchor, [])
        if not self.has_one_row or len(readers) != 1 or anchor in set(self.graph.outputs):
            return None
        (total,) = readers
        others = [x for x in total.inputs if x is not anchor]
        shape = anchor.shape[1:] if kernel.product is Product.ROWS else anchor.shape
        fits = total.op is ADD and len(others) == 1 and others[0] in self.buffers and others[0].shape == shape
        return total if fits and self.plan.home.get(total, kernel) is kernel else None

    def _beside(self, kernel: Kernel) -> list[Node]:
        """What is read element by element beside a product of weights, where it is too much for a near cache."""
        read = {use.node for node in kernel.nodes for use in self.plan.uses[node] if use.same}
        read = {node for node in read if node in self.buffers and node not in self.plan.home}
        far = sum(size(node.shape) * node.dtype.itemsize for node in read) > NEAR
        return sorted(read, key=self._order.__getitem__) if far else []

    def _checked(self, kernel: Kernel) -> set[Node]:
        """Outputs that are carried on: they must stay finite."""
        carried = {self.outputs[place] for place in self.carried}
        found = {node for node in kernel.nodes if node in carried and node.dtype.kind == "f"}
        return to_be_looked_at(found, quick=self._is_quick(kernel))

    def _is_quick(self, kernel: Kernel) -> bool:
        """Are quotients by roots of what is calculated from its finished tiles the quick ones?"""
        if kernel.product is not Product.WEIGHTS or kernel.anchor.shape[1] == 1:
            return False
        panels = self.panels(kernel)
        return arithmetic.are_estimated(self.target.estimates, panels.type.vector(panels.lanes))

    def _called(self, function: Function, given: list[Any], arguments: Sequence[Value] = ()) -> Call:
        """How to call a function, which takes more `arguments`; one with the text of another is dropped for that."""
        function.arguments.extend(arguments)
        first = self._texts.setdefault((function.arguments_text(), function.body()), function)
        if first is not function:
            self.module.functions.remove(function)
            first.comment += f"\n{function.comment}"
        call = Call(first.name, given)
        self.calls.append(call)
        return call

    def _scalars_function(self) -> Call | None:
        """The single numbers that every thread has for itself."""
        if not self.plan.scalars:
            return None
        b, (status, _, n, _, _) = self.define("scalars", self._ARGUMENTS)
        b.function.comment = "numbers that every thread calculates for itself"
        writer, slots, sinks = self._writer(b, n, status, self.plan.scalars)
        loops = Loops(writer, sinks, set())
        for node in self.plan.scalars:
            index = [writer.zero] * node.ndim
            loops.keep(node, index, loops.calculate(node, index))
        b.ret()
        return self._called(b.function, self._given(slots.asked), slots.arguments)


def batch_inputs(graph: Graph) -> list[tuple[int, Node]]:
    """The inputs whose rows are taken from data, by their places."""
    return [(place, node) for place, node in enumerate(graph.inputs) if space(node) is Space.ROWS]


class _Slots(Mapping[Node, Slot]):
    """Where values stand, as pointers that the function is given: an argument for each that is asked for.

    Numbers in which kernels differ that are the same otherwise, as those of networks side by side, are such arguments,
    too: so these have one function.
    """

    def __init__(
        self,
        b: Builder,
        buffers: Mapping[Node, Buffer],
        numbers: Mapping[Node, int],
        name_of: Callable[[Buffer], str],
    ) -> None:
        self._b = b
        self._known = buffers
        self._given = numbers
        self.name_of = name_of
        self._pointers: dict[Buffer, Value] = {}
        self._numbers: dict[Node, Value] = {}

    @property
    def arguments(self) -> list[Value]:
        return [*self._pointers.values(), *self._numbers.values()]

    @property
    def asked(self) -> list[Buffer | Node]:
        """What the arguments are: memory, and nodes whose numbers they are."""
        return [*self._pointers, *self._numbers]

    def number(self, node: Node) -> Value | None:
        """The whole number that `node` is made with, where it is an argument."""
        if node not in self._given:
            return None
        return self._numbers.setdefault(node, Value(f"%k{len(self._numbers)}", I64))

    def __contains__(self, node: object) -> bool:
        return node in self._known

    def __getitem__(self, node: Node) -> Slot:
        return self.slot(self._known[node])

    def slot(self, buffer: Buffer) -> Slot:
        if buffer not in self._pointers:
            pointer = Value(f"%p{len(self._pointers)}", PTR)
            self._pointers[buffer] = claimed(self._b, pointer, buffer, self.name_of)
        return Slot(self._pointers[buffer], buffer.layout)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class _Sinks(Mapping[Node, Sequence[Slot]]):
    """Where values are to be stored."""

    def __init__(self, slots: _Slots, sinks: Mapping[Node, list[Buffer]]) -> None:
        self._slots = slots
        self._known = sinks

    def __getitem__(self, node: Node) -> list[Slot]:
        return [self._slots.slot(buffer) for buffer in self._known[node]]

    def __contains__(self, node: object) -> bool:
        return node in self._known

    def __iter__(self) -> Iterator[Node]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _described(kernel: Kernel) -> str:
    names = dict.fromkeys(node.name for node in kernel.nodes if node.name)
    ops = dict.fromkeys(node.op.name for node in kernel.nodes)
    return f"{', '.join(names) or 'without a name'}: {', '.join(ops)}"
