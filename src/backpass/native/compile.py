"""From a graph to machine code: kernels as functions, memory, and the loop over steps and epochs."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from functools import cached_property, partial
from itertools import chain
from math import gcd, sqrt
from typing import Any

import numpy as np

from backpass.graph import BATCH, Batch, Graph, Node, rewrite, scope, size
from backpass.native import matmul, random
from backpass.native.alike import Form, form_of, numbers_of
from backpass.native.barrier import BARRIER_BYTES, emit_barrier, emit_flush_denormals
from backpass.native.bounds import CheckedModule, asked_for
from backpass.native.columns import cuts_of
from backpass.native.context import PLACES, Reason
from backpass.native.ir import F32, F64, I32, I64, INLINE, PTR, VOID, Builder, Function, Module, Type, Value, define
from backpass.native.kernel import Slot, Writer, chunks_of
from backpass.native.layout import COLUMNS_AT_ONCE, SPARE, Layout, layout_of, panels_of
from backpass.native.loops import Loops
from backpass.native.narrow import turn_narrow
from backpass.native.networks import networks_of
from backpass.native.plan import EVERYONES, Kernel, Plan, Product, Space, Use, is_mirror, operands, plan, product, space, stays, turned
from backpass.native.pointwise import SCALARS
from backpass.native.prepare import prepare
from backpass.native.products import write_dots_product, write_rows_product, write_weights_product
from backpass.native.target import Target
from backpass.native.timing import Laps, Parts
from backpass.ops import apply, transpose
from backpass.ops.arithmetic import ADD
from backpass.ops.contraction import CONTRACT
from backpass.ops.gradient_flow import IDENTITY
from backpass.ops.kinds import Source
from backpass.ops.tensor import new_input
from backpass.records import dataclass

LINE = 64  # bytes
# Of a common processor, to choose the number of threads by: simple operations on vectors, and a barrier of two threads
# with what a step loses around it.
VECTORS_PER_SECOND = 4e9
NEAR = 1 << 16  # bytes that are read quickly without being asked for before
WAIT = 3e-6
SHORT_WAIT = 2e-7  # the same, where processors share a cache and nobody else wants them
GAIN = 1.15  # a further thread must make a step quicker by so much at least
UNEVEN = 1.1  # times the mean may have to do who has most of networks that are shared out
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


@dataclass(frozen=True)
class Buffer:
    """Memory of a value: bytes from the beginning of the arena (or of a thread's own memory), and the layout in it."""

    offset: int
    layout: Layout
    dtype: Any
    private: bool = False
    single: bool = False
    """Is it some numbers of 8 bytes each?"""

    @property
    def bytes(self) -> int:
        """What is its own: of a number that each thread has for itself, that number."""
        if self.private and self.single:
            return 8 * max(1, size(self.layout.shape))
        return self.layout.elements * SCALARS[np.dtype(self.dtype)].bytes


class Mirrored:
    """A graph in which every product of rows reads weights as they stand: where it read them turned about, there is a
    copy of them turned about, an input that is carried along.

    Attributes:
        graph: the new graph.
        copies: of each new input, by its place, the place of the input that it mirrors.
        carried: the Job's, with the copies.
    """

    def __init__(self, graph: Graph, carried: Mapping[int, int]) -> None:
        self.carried = dict(carried)
        self.copies: dict[int, int] = {}
        self._places = {node: place for place, node in enumerate(graph.inputs)}
        self._new: dict[Node, Node] = {}
        changed = rewrite(graph, self._straight)
        inputs, outputs = list(graph.inputs), list(changed.outputs)
        became = {self.carried[place]: output for place, output in enumerate(outputs) if place in self.carried}
        for weights, mirror in self._new.items():
            if mirror.op.name != "input":
                continue
            place = self._places[weights]
            self.copies[len(inputs)] = place
            if place in became and became[place] is not weights:
                self.carried[len(outputs)] = len(inputs)
                with scope(mirror.name):
                    outputs.append(transpose(became[place], (1, 0)))
            inputs.append(mirror)
        self.graph = Graph(tuple(inputs), tuple(outputs))

    def _straight(self, node: Node) -> Node:
        if product(node) is not Product.ROWS or not turned(node):
            return node
        left, weights = operands(node)
        if weights not in self._new:
            name = f"{weights.name} turned".strip()
            if weights in self._places:
                self._new[weights] = new_input(weights.shape[::-1], weights.dtype, name)
            else:
                with scope(name):
                    self._new[weights] = transpose(weights, (1, 0))
        with scope(node.name):
            straight: Node = apply(CONTRACT, left, self._new[weights], spec="ik,kj->ij")
        return straight


def _distinct(graph: Graph, carried: Mapping[int, int]) -> tuple[Graph, dict[int, int]]:
    """`graph` with every carried output a node of its own; what is carried unchanged is left out of `carried`."""
    seen: set[Node] = set(graph.inputs)
    outputs = list(graph.outputs)
    kept: dict[int, int] = {}
    for place, target in carried.items():
        node = outputs[place]
        if node is graph.inputs[target]:
            continue
        if node in seen or isinstance(node.op, Source):
            node = _own(node)
            outputs[place] = node
        seen.add(node)
        kept[place] = target
    return Graph(graph.inputs, tuple(outputs)), kept


def _own(node: Node) -> Node:
    copied: Node = type(node)(IDENTITY, (node,), node.shape, node.dtype, {}, node.name)
    return copied


class Compiler:
    """Compiles one Job for one Target."""

    def __init__(self, job: Job, target: Target) -> None:
        self.job = job
        self.target = target
        prepared = prepare(job.graph, job.rows, whole=job.loss is not None)
        turned_graph, self.turned = turn_narrow(prepared, job.carried, target)
        mirrored = Mirrored(turned_graph, job.carried)
        self.copies = mirrored.copies
        self.graph, self.carried = _distinct(mirrored.graph, mirrored.carried)
        self.plan = plan(self.graph)
        self.numbers = numbers_of(self.graph)
        self.scalar = self._main_scalar()
        self.lanes = target.lanes(self.scalar)
        self.most_rows = -(-(job.rows + 64) // 64) * 64
        self.buffers: dict[Node, Buffer] = {}
        self.sinks: dict[Node, list[Buffer]] = {}
        self.choices = (job.threads,) if job.threads else self._worthwhile(job.available)
        """Numbers of threads that it may be best to run with, the likeliest first."""
        self.threads = max(self.choices)
        if job.loss is not None:
            self.plan = self._by_networks() or self._by_columns() or self.plan
        self._end = 0
        self._private_end = 2 * 8
        self.outputs = list(self.graph.outputs)
        self._order = {node: place for place, node in enumerate(self.graph.nodes)}
        self._place_all()
        self.parts = Parts(self.plan)
        self.sums_at = self._private_end  # of a timed job, in a thread's memory
        self._private_end += 8 * self.parts.count if job.timed else 0
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
        return self._end + SPARE

    @property
    def private_bytes(self) -> int:
        """Of each thread."""
        return -(-(self._private_end + SPARE) // LINE) * LINE + self.scratch

    @property
    def context_words(self) -> int:
        """Of the block of numbers. Of a checked program as many follow: the sizes of what its pointers point to."""
        return PLACES.data + max(1, len(self.batch_inputs()) + len(self.row_outputs()))

    @cached_property
    def scratch(self) -> int:
        sizes = [
            matmul.scratch_bytes(self.panels(kernel), self.weights_tiling(kernel))
            for kernel in self.plan.kernels
            if kernel.product is Product.WEIGHTS
        ]
        return -(-max(sizes, default=0) // LINE) * LINE

    def _main_scalar(self) -> Type:
        """The type that decides how many elements a vector has: the narrowest of those that make up the values."""
        large = [node for node in self.graph.nodes if node.dtype.kind == "f" and space(node) is not Space.ONE]
        return F32 if any(node.dtype == np.float32 for node in large) or not large else F64

    def _buffer(self, node: Node) -> Buffer:
        layout = layout_of(node, self.target, self.most_rows, self.lanes)
        scalar = SCALARS[node.dtype]
        offset = self._end
        self._end += -(-(layout.elements * scalar.bytes + SPARE) // LINE) * LINE
        return Buffer(offset, layout, node.dtype)

    def _private(self, node: Node) -> Buffer:
        layout = layout_of(node, self.target, self.most_rows, self.lanes)
        offset = self._private_end
        self._private_end += 8 * max(1, size(node.shape))
        return Buffer(offset, layout, node.dtype, private=True, single=True)

    def _own(self, node: Node) -> Buffer:
        """Room for a value in each thread's own memory."""
        layout = layout_of(node, self.target, self.most_rows, self.lanes)
        offset = -(-self._private_end // LINE) * LINE
        self._private_end = offset + layout.elements * SCALARS[node.dtype].bytes + SPARE
        return Buffer(offset, layout, node.dtype, private=True)

    def _place_all(self) -> None:
        job = self.job
        for place, node in enumerate(self.graph.inputs):
            if node in self.plan.taken:
                self.buffers[node] = self._own(node)
            elif place == job.moment:
                layout = layout_of(node, self.target, 1, self.lanes)
                self.buffers[node] = Buffer(0, layout, node.dtype, private=True, single=True)
            else:
                self.buffers[node] = self._buffer(node)
        for node in self.graph.nodes:
            if isinstance(node.op, Source) and "value" in node.attributes and size(node.shape) != 1:
                self.buffers[node] = self._buffer(node)
        for node in self.plan.scalars:
            self.buffers[node] = self._private(node)
            self.sinks[node] = [self.buffers[node]]
        self._place_carried()
        self._place_everyones()
        self._place_passing()
        for node in self.graph.nodes:
            if node in self.plan.stored and node not in self.buffers:
                self.buffers[node] = self._buffer(node)
            if node in self.plan.stored and node not in self.sinks:
                self.sinks[node] = [self.buffers[node]]

    def _place_everyones(self) -> None:
        for kernel in self.plan.kernels:
            if kernel.network == EVERYONES:
                for node in kernel.nodes:
                    if node in self.plan.stored and node not in self.buffers:
                        self.buffers[node] = self._own(node)

    def _place_passing(self) -> None:
        """What only one network needs, and within a phase, goes to the memory of the thread that does the network.

        There the next network's values take the place of its own; and what nobody reads any more makes room before.
        """
        outputs = set(self.graph.outputs)
        spans: dict[int, list[tuple[int, int, Node]]] = {}
        for node, number in self.plan.networks.items():
            home = self.plan.home.get(node)
            if home is None or home.network != number or node not in self.plan.stored:
                continue
            if node in self.buffers or node in outputs:
                continue
            readers = [self.plan.home[reader] for reader, _ in self._uses_of.get(node, ())]
            if all(kernel.network == number and kernel.phase == home.phase for kernel in readers):
                last = max((kernel.order for kernel in readers), default=home.order)
                spans.setdefault(number, []).append((home.order, last, node))
        start = -(-self._private_end // LINE) * LINE
        for own in spans.values():
            placed: list[tuple[int, int, int]] = []  # from, to, and the last kernel that reads it
            for first, last, node in sorted(own, key=lambda span: span[:2]):
                layout = layout_of(node, self.target, self.most_rows, self.lanes)
                length = -(-(layout.elements * SCALARS[node.dtype].bytes + SPARE) // LINE) * LINE
                placed = [span for span in placed if span[2] >= first]
                offset = _gap(placed, start, length)
                placed.append((offset, offset + length, last))
                self.buffers[node] = Buffer(offset, layout, node.dtype, private=True)
                self._private_end = max(self._private_end, offset + length)

    def _place_carried(self) -> None:
        """An output takes the place of the input that it becomes, unless that is still read by others then."""
        last = 1 + max((kernel.phase for kernel in self.plan.kernels), default=0)
        scalars = set(self.plan.scalars)
        for place, node in enumerate(self.graph.outputs):
            target = self.carried.get(place)
            old = None if target is None else self.graph.inputs[target]
            early = node not in self.plan.home and not isinstance(node.op, Source) and node not in self.buffers
            early = early or node in scalars
            if old is not None and not early and self._is_free(old, node):
                self.sinks[node] = [self.buffers[old]]
                self.buffers.setdefault(node, self.buffers[old])
            elif old is not None or early:
                copy = self.outputs[place] = _own(node)
                self.sinks[copy] = [self._buffer(node) if old is None else self.buffers[old]]
                self.plan.stored.update(set() if early else {node})
                self.plan.copy(copy, space(copy), last)

    def _is_free(self, old: Node, node: Node) -> bool:
        """May `node` be written where `old` stands?"""
        home = self.plan.home[node]
        if home.phase == 0 and any(old is x for scalar in self.plan.scalars for x in scalar.inputs):
            return False
        for reader, use in self._uses_of.get(old, ()):
            kernel = self.plan.home[reader]
            if kernel is home:
                late = kernel.place(reader) > kernel.place(node) and not kernel.product
                if not use.same or late:
                    return False
            elif kernel.phase >= home.phase and not self._is_done(use, kernel, home, node):
                return False
        return True

    def _is_done(self, use: Use, reader: Kernel, writer: Kernel, node: Node) -> bool:
        """Has a thread read all that it reads in `reader` when it writes `node`, and reads nobody else these places?"""
        if reader.network is not None and reader.network == writer.network and reader.phase == writer.phase:
            return reader.order < writer.order
        return _keeps(use, reader, writer, node) and reader.phase == writer.phase and reader.order < writer.order

    @cached_property
    def _uses_of(self) -> dict[Node, list[tuple[Node, Use]]]:
        """Of what stands in memory, who reads it, and how."""
        found: dict[Node, list[tuple[Node, Use]]] = {}
        for reader in self.plan.home:
            for use in self.plan.uses[reader]:
                found.setdefault(use.node, []).append((reader, use))
        return found

    def _by_networks(self) -> Plan | None:
        """The plan with whole networks for each thread, where these are several and can be shared out evenly."""
        networks = networks_of(self.graph, self.carried)
        if not networks:
            return None
        found = plan(self.graph, networks=networks, taken={node for _, node in self.batch_inputs()})
        works = self._works_of_networks(found)
        again = sum(self.work(kernel) for kernel in found.kernels if kernel.network == EVERYONES) * (self.threads - 1)
        most = max(_loads(_shared_out(works, self.threads), works)) * self.threads + again
        even = most <= UNEVEN * sum(works)
        return found if even and len(found.phases) <= len(self.plan.phases) + 1 else None

    def _works_of_networks(self, planned: Plan) -> list[float]:
        works = [0.0] * (1 + max(planned.networks.values()))
        for kernel in planned.kernels:
            if kernel.network not in (None, EVERYONES):
                works[kernel.network] += self.work(kernel)  # type: ignore[index]
        return works

    def _by_columns(self) -> Plan | None:
        """The plan with first layers cut by columns, where there is a part for each thread, and little to wait for."""
        if self.threads == 1:
            return None
        cuts = cuts_of(self.graph)
        layers = {cut.first for cut in cuts.values()}
        if not layers or any(self.panels_beside(first).count < self.threads for first in layers):
            return None
        found = plan(self.graph, cuts=cuts, taken={operands(first)[0] for first in layers})
        return found if len(found.phases) <= len(self.plan.phases) + 1 else None

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
        return sum(map(self.work, self.plan.kernels)) / VECTORS_PER_SECOND

    def _parts_of(self, kernel: Kernel) -> int:
        """In how many parts its work can be split at most, about."""
        if kernel.space is Space.ROWS:
            return -(-self.job.rows // self.lanes)
        return max(1, kernel.extent[0] // 4) if kernel.space is Space.FIXED else 1

    # Tiles and units of work

    def panels(self, kernel: Kernel) -> matmul.Panels:
        """Those of the result of a product of weights."""
        return panels_of(kernel.anchor.shape, kernel.anchor.dtype, self.target)

    def panels_beside(self, node: Node) -> matmul.Panels:
        """Those of a row with the columns of `node`."""
        return panels_of((1, *node.shape[1:]), node.dtype, self.target)

    def weights_tiling(self, kernel: Kernel) -> matmul.WeightsTiling:
        panels, cut = self.panels(kernel), kernel.cut
        if cut is None:
            threads = self.threads if kernel.network is None else 1
            return matmul.weights_tiling(self.target, panels, self.job.rows, threads)
        tiling = matmul.weights_tiling(self.target, panels, self.job.rows)
        if not cut.high:
            return tiling
        rows = gcd(tiling.rows, self.panels_beside(cut.first).width)
        return replace(tiling, rows=rows, block=tiling.block // rows * rows)

    def rows_tiling(self, kernel: Kernel) -> matmul.RowsTiling:
        layout = self.buffers[operands(kernel.anchor)[1]].layout
        threads = self.threads if kernel.by_rows else 1
        tiling = matmul.rows_tiling(self.target, layout.panels, self.job.rows, threads)  # type: ignore[union-attr]
        return replace(tiling, together=1) if kernel.by_columns else tiling

    @property
    def dots_rows(self) -> int:
        """Rows of a tile of a product with few rows of weights."""
        return min(4, -(-self.job.rows // self.threads))

    @property
    def _is_alone(self) -> bool:
        """Does one thread do it all? Then where its work begins and ends is known, and it waits for nobody."""
        return self.threads == 1

    @property
    def _is_single(self) -> bool:
        """Does every step have one row, and one thread? Then no loop goes over rows."""
        return self.job.rows == 1 and self._is_alone and self.job.loss is not None

    @cached_property
    def row_unit(self) -> int:
        """Threads take rows in multiples of this: no tile or vector of rows then reaches into those of another."""
        by_rows = [kernel for kernel in self.plan.kernels if kernel.product is Product.ROWS and kernel.by_rows]
        most = max((self.rows_tiling(kernel).rows for kernel in by_rows), default=1)
        return -(-most // self.lanes) * self.lanes

    def units(self, kernel: Kernel) -> int:
        """Parts that the work of a kernel has that is not of rows."""
        if kernel.cut:
            return self.panels_beside(kernel.cut.first).count
        if kernel.space is not Space.FIXED:
            return 1
        if kernel.product is Product.WEIGHTS:
            return matmul.weights_units(self.panels(kernel), self.weights_tiling(kernel))
        if len(kernel.extent) == 1:
            return -(-kernel.extent[0] // (self.lanes * COLUMNS_AT_ONCE))
        return kernel.extent[0]

    def work(self, kernel: Kernel) -> float:
        """About how many operations on vectors a kernel takes in a step."""
        if not kernel.product:
            return self._around(kernel.nodes)
        weights = kernel.anchor if kernel.product is Product.WEIGHTS else operands(kernel.anchor)[1]
        depth, columns = (int(axis) for axis in weights.shape)  # type: ignore[arg-type]
        products = depth * -(-columns // self.lanes) * self.job.rows
        return products / 0.9 + self._around(kernel.nodes[1:])

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
        kernels = self.plan.phases
        takes = [self._take_function(node) for _, node in self.batch_inputs()]
        gives = [self._give_function(place) for place in self.row_outputs()]
        functions = [[self._kernel_functions(kernel) for kernel in phase] for phase in kernels]
        for kernel, calls in zip(chain(*kernels), chain(*functions), strict=True):
            self.functions[kernel] = calls[0].function
        prologue = self._scalars_function()
        step = self._step_function(takes, gives, prologue, kernels, functions)
        self._program_function(step)
        self.text = self.module.text()
        return self.text

    def batch_inputs(self) -> list[tuple[int, Node]]:
        """The inputs whose rows are taken from data, by their places."""
        return [
            (place, node)
            for place, node in enumerate(self.graph.inputs)
            if node.shape[:1] == (BATCH,) and BATCH not in node.shape[1:]
        ]

    def row_outputs(self) -> list[int]:
        """The places of the outputs whose rows go to arrays of the caller: of a training step none do."""
        if self.job.loss is not None:
            return []
        return [
            place
            for place, node in enumerate(self.graph.outputs)
            if node.shape[:1] == (BATCH,) and BATCH not in node.shape[1:] and "value" not in node.attributes
        ]

    def _take_function(self, node: Node) -> "Call":
        """Copy the rows [begin, end) of a batch out of the data."""
        scalar, inner = SCALARS[node.dtype], size(node.shape[1:])
        memory = _memory_type(scalar)
        arguments = [("to", PTR), ("data", PTR), ("order", PTR), ("begin", I64), ("end", I64)]
        b, (to, data, order, begin, end) = self._define(f"take.{len(self.calls)}", arguments)
        b.function.comment = f"rows of {node.name or 'an input'}"
        if self._is_single:
            begin, end = b.i64(0), b.i64(1)
        to = _claimed(b, to, self.buffers[node], self._name_of)
        stride = self.buffers[node].layout.strides[0]  # type: ignore[union-attr]
        lanes = self.lanes
        with b.loop(begin, end, stem="row") as loop:
            source = b.mul(b.extend_unsigned(b.load(I32, order, loop.index), I64), inner)
            target = b.mul(loop.index, stride)
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

    def _give_function(self, place: int) -> "Call":
        """Copy the rows [begin, end) of an output to where the caller wants them, one after the other."""
        node = self.outputs[place]
        buffer, inner, lanes = self._output_buffer(node), size(node.shape[1:]), self.lanes
        memory = _memory_type(SCALARS[node.dtype])
        arguments = [("rows", PTR), ("to", PTR), ("begin", I64), ("end", I64)]
        b, (rows, to, begin, end) = self._define(f"give.{place}", arguments)
        b.function.comment = f"rows of output {place}"
        rows = _claimed(b, rows, buffer, self._name_of)
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

    def _define(
        self, name: str, arguments: Sequence[tuple[str, Type]], *, internal: bool = True
    ) -> tuple[Builder, list[Value]]:
        fused, estimates = self.target.fused, self.target.estimates
        b, values = define(self.module, name, arguments, fused=fused, estimates=estimates, internal=internal)
        if self._is_single and internal and not self.job.checked:  # calls would be a good part of so short a step
            b.function.attributes += f" {INLINE}"
        return b, values

    def _writer(
        self, b: Builder, rows: Value, status: Value, made_here: Sequence[Node]
    ) -> tuple[Writer, "_Slots", "_Sinks"]:
        slots = _Slots(b, self.buffers, self.numbers, self._name_of)
        writer = Writer(b, self.lanes, slots, rows, status, made_here, slots.number)
        writer.remarks = self.remarks
        return writer, slots, _Sinks(slots, self.sinks)

    def _name_of(self, buffer: Buffer) -> str:
        """What stands there, for people."""
        held = [node for node, other in self.buffers.items() if other is buffer]
        held += [node for node, sinks in self.sinks.items() if any(other is buffer for other in sinks)]
        names = dict.fromkeys(f"{node.name or 'a value without a name'}: {node.op.name}" for node in held)
        return f"the memory of {', '.join(names)}"

    _ARGUMENTS = (("status", PTR), ("private", PTR), ("n", I64), ("begin", I64), ("end", I64))

    def _kernel_functions(self, kernel: Kernel) -> list["Call"]:
        """Those of a kernel: one; or of each part where most are alike, as those of networks side by side are."""
        parts = [replace(kernel, nodes=nodes) for nodes in self._parts_apart(kernel)]
        if len(parts) < ALIKE or ALIKE * len({self._form(part).key for part in parts}) > len(parts):
            return [self._kernel_function(kernel)]
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

    def _kernel_function(self, kernel: Kernel, part: str = "") -> "Call":
        form = self._form(kernel)
        if form.key in self._forms:
            function, asked = self._forms[form.key]
            function.comment += f"\n{_described(kernel)}"
            things = list(form.things)
            call = Call(function.name, self._given([things[place] for place in asked]))
            self.calls.append(call)
            return call
        name = f"kernel.{kernel.phase}.{kernel.order}{part}"
        b, (status, private, n, begin, end) = self._define(name, self._ARGUMENTS)
        b.function.comment = _described(kernel)
        if self._is_single:
            n = b.i64(1)
        if self._is_alone:
            begin, end = b.i64(0), n if kernel.space is Space.ROWS else b.i64(self.units(kernel))
        writer, slots, sinks = self._writer(b, n, status, kernel.nodes)
        checked = self._checked(kernel)
        if kernel.product is Product.ROWS:
            write_rows_product(writer, kernel, begin, end, self.rows_tiling(kernel), sinks, checked)
        elif kernel.product is Product.DOTS:
            write_dots_product(writer, kernel, begin, end, self.dots_rows, sinks, checked)
        elif kernel.product is Product.WEIGHTS:
            writer.quick = True
            tiling = self.weights_tiling(kernel)
            scratch = b.offset(private, self.private_bytes - self.scratch, Type("i8"))
            scratch = b.owns(scratch, self.scratch, "room to copy what a product reads")
            beside, onto = self._beside(kernel), self._onto(kernel)
            if kernel.cut and kernel.cut.high:  # tiles of the rows that this thread has as columns
                columns = self.panels_beside(kernel.cut.first)
                begin = b.mul(begin, columns.width // tiling.rows)
                end = b.smallest(b.mul(end, columns.width // tiling.rows), -(-columns.columns // tiling.rows))
            write_weights_product(
                writer, kernel, self.panels(kernel), begin, end, tiling, sinks, checked, scratch, beside, onto
            )
        else:
            together = self.panels_beside(kernel.cut.first).vectors if kernel.cut else 0
            Loops(writer, sinks, checked).write(kernel, begin, end, together)
        b.ret()
        call = self._called(b.function, self._given(slots.asked), slots.arguments)
        # Of a checked program the text names what stands in memory, and with remarks what it calculates.
        if not (self.job.checked or self.remarks):
            function = self._texts[b.function.arguments_text(), b.function.body()]
            self._forms[form.key] = function, [form.things[thing] for thing in slots.asked]
        return call

    def _given(self, asked: Sequence[Buffer | Node]) -> list[Buffer | int]:
        """What is given for the arguments that a function asked for: memory, or numbers."""
        return [self.numbers[each] if isinstance(each, Node) else each for each in asked]

    def _onto(self, kernel: Kernel) -> Node | None:
        """The sum of a product of weights and of what stands in memory, where it is made in one operation.

        So it is with one row: with many, sums that begin with a large number would lose more.
        """
        anchor, *after = kernel.nodes
        if self.job.rows != 1 or not after or after[0].op is not ADD or kernel.readers.get(anchor) != {after[0]}:
            return None
        others = [x for x in after[0].inputs if x is not anchor]
        fits = len(others) == 1 and others[0] in self.buffers and others[0].shape == anchor.shape
        return after[0] if fits else None

    def _beside(self, kernel: Kernel) -> list[Node]:
        """What is read element by element beside a product of weights, where it is too much for a near cache."""
        read = {use.node for node in kernel.nodes for use in self.plan.uses[node] if use.same}
        read = {node for node in read if node in self.buffers and node not in self.plan.home}
        far = sum(size(node.shape) * node.dtype.itemsize for node in read) > NEAR
        return sorted(read, key=self._order.__getitem__) if far else []

    def _checked(self, kernel: Kernel) -> set[Node]:
        """Outputs that are carried on: they must stay finite."""
        carried = {self.outputs[place] for place in self.carried}
        return {node for node in kernel.nodes if node in carried and node.dtype.kind == "f"}

    def _called(self, function: Function, given: list[Any], arguments: Sequence[Value] = ()) -> "Call":
        """How to call a function, which takes more `arguments`; one with the text of another is dropped for that."""
        function.arguments.extend(arguments)
        first = self._texts.setdefault((function.arguments_text(), function.body()), function)
        if first is not function:
            self.module.functions.remove(function)
            first.comment += f"\n{function.comment}"
        call = Call(first.name, given)
        self.calls.append(call)
        return call

    def _scalars_function(self) -> "Call | None":
        """The single numbers that every thread has for itself."""
        if not self.plan.scalars:
            return None
        b, (status, _, n, _, _) = self._define("scalars", self._ARGUMENTS)
        b.function.comment = "numbers that every thread calculates for itself"
        writer, slots, sinks = self._writer(b, n, status, self.plan.scalars)
        loops = Loops(writer, sinks, set())
        for node in self.plan.scalars:
            index = [writer.zero] * node.ndim
            loops.keep(node, index, loops.calculate(node, index))
        b.ret()
        return self._called(b.function, self._given(slots.asked), slots.arguments)

    def _step_function(
        self,
        takes: list["Call"],
        gives: list["Call"],
        prologue: "Call | None",
        phases: list[list[Kernel]],
        functions: list[list[list["Call"]]],
    ) -> str:
        arguments = [("context", PTR), ("thread", I64), ("start", I64), ("n", I64), ("step", I64)]
        b, (context, thread, start, n, step) = self._define("step", arguments)
        b.function.comment = "one step on one thread"
        b.function.result = I64
        word = _Context(b, context, self.context_words)
        arena, threads = word.pointer(PLACES.arena, self.arena_bytes), word.number(PLACES.threads)
        if self._is_alone:
            thread, threads = b.i64(0), b.i64(1)
        if self._is_single:
            n = b.i64(1)
        everyones = word.pointer(PLACES.private, self.private_bytes * self.threads)
        own = b.offset(everyones, b.mul(thread, self.private_bytes), Type("i8"))
        private = b.owns(own, self.private_bytes, "a thread's own memory")
        parity = b.bit_and(step, 1)
        status = b.offset(word.at(PLACES.status, 2), parity, I64)
        halt = b.offset(word.at(PLACES.halt, 2), parity, I64)
        if self.job.moment is not None:
            b.store(word.number(PLACES.seed), private, 0)
            b.store(step, private, 1)
        begin, end = self._row_range(b, thread, threads, n)
        memory = _Pointers(b, arena, private, self._name_of)
        order = b.offset(word.pointer(PLACES.order), start, I32)
        sums = b.offset(private, self.sums_at, Type("i8")) if self.job.timed else None
        lap = Laps(b, sums, self.target)
        for number, call in enumerate(takes):
            buffer, source = call.values[0], word.pointer(PLACES.data + number)
            share = (b.i64(0), n) if buffer.private else (begin, end)
            b.call(call.function, VOID, memory.of(buffer), source, order, *share)
        lap(Parts.ROWS)
        if prologue is not None:
            self._call(b, prologue, memory, status, private, n, b.i64(0), b.i64(0))
        lap(Parts.NUMBERS)
        barrier = word.at(PLACES.barrier, BARRIER_BYTES // 8)
        last = len(phases) - 1

        def phase(number: int) -> None:
            kernels, calls = phases[number], functions[number]
            splits = self._splits(kernels)
            for kernel, parts in zip(kernels, calls, strict=True):
                with self._share(b, kernel, splits, thread, threads, (begin, end), n) as (low, high):
                    for part in parts:
                        self._call(b, part, memory, status, private, n, low, high)
                lap(self.parts.kernel(kernel))
            if number == last:
                self._give_rows(b, word, memory, gives, start, begin, end)
                with b.when(b.compare("eq", thread, 0)):
                    self._account(b, word, memory, status, halt, start, n)
                b.stop_outside(status, Reason.OUTSIDE)
            if number < last or not self._runs_on:
                emit_barrier(b, barrier, threads, self.target)
            lap(self.parts.wait(number))

        if not self._runs_on:
            for number in range(last + 1):
                phase(number)
            b.ret(b.bit_or(b.load(I64, status), b.load(I64, halt)))
            return b.function.name
        phase(0)
        before = self._outcome(b, word, b.sub(step, 1))
        with b.when(b.compare("eq", before, 0)):
            for number in range(1, last + 1):
                phase(number)
        b.ret(before)
        return b.function.name

    def _outcome(self, b: Builder, word: "_Context", step: Value) -> Value:
        """Whether a step that all threads have done went wrong, or was the last: a Reason, or 0."""
        parity = b.bit_and(step, 1)
        status, halt = (b.offset(word.at(place, 2), parity, I64) for place in (PLACES.status, PLACES.halt))
        return b.bit_or(b.load(I64, status), b.load(I64, halt))

    @cached_property
    def _runs_on(self) -> bool:
        """May a thread begin a step before others have ended the one before?

        So it is where what it does first reads nothing that these write, and writes nothing that they read. It hears
        how that step ended at its first wait, and goes no further if that was not well.
        """
        planned = self.plan
        if not planned.cuts or len(planned.phases) < 2:  # noqa: PLR2004
            return False
        first, last = planned.phases[0], planned.phases[-1]
        made = {self.graph.inputs[target]: self.outputs[place] for place, target in self.carried.items()}
        if any(x in made for scalar in planned.scalars for x in scalar.inputs):
            return False
        rows = {node for _, node in self.batch_inputs()} - planned.taken
        for kernel in first:
            for use in (use for node in kernel.nodes for use in planned.uses[node]):
                writer = planned.home.get(made[use.node]) if use.node in made else None
                if use.node in rows or (use.node in made and not _keeps(use, kernel, writer, made[use.node])):
                    return False
        here = {node for kernel in first for node in kernel.nodes}
        for kernel in last:
            for use in (use for node in kernel.nodes for use in planned.uses[node]):
                if use.node in rows or (use.node in here and not _reads_own(use, kernel, planned.home[use.node])):
                    return False
        return all(kernel.cut for kernel in first)

    @contextmanager
    def _share(
        self,
        b: Builder,
        kernel: Kernel,
        splits: Mapping[Kernel, Sequence[int]],
        thread: Value,
        threads: Value,
        rows: tuple[Value, Value],
        rows_of_all: Value,
    ) -> Iterator[tuple[Value, Value]]:
        """What a thread does of a kernel, from and to; inside, this is something. `rows` are those that it has."""
        if kernel.network is not None:
            units = rows_of_all if kernel.space is Space.ROWS else b.i64(self.units(kernel))
            if self._is_alone or kernel.network == EVERYONES:
                yield b.i64(0), units
                return
            owners = [_shared_out(self._works_of_networks(self.plan), count) for count in range(1, self.threads + 1)]
            table = self.module.table([each[kernel.network] for each in owners], I64)
            owner = b.load(I64, table, b.sub(threads, 1))
            with b.when(b.compare("eq", thread, owner)):
                yield b.i64(0), units
        elif kernel.by_rows:
            yield rows
        elif kernel.space is not Space.FIXED and not kernel.by_columns:
            with b.when(b.compare("eq", thread, 0)):
                yield b.i64(0), b.i64(1)
        elif self._is_alone:
            yield b.i64(0), b.i64(self.units(kernel))
        else:
            table = self.module.table(splits[kernel], I64)
            place = b.add(b.mul(b.sub(threads, 1), self.threads + 1), thread)
            low, high = b.load(I64, table, place), b.load(I64, table, b.add(place, 1))
            with b.when(b.compare("lt", low, high)):
                yield low, high

    def _call(
        self, b: Builder, call: "Call", memory: "_Pointers", status: Value, private: Value, *numbers: Value
    ) -> None:
        given = [b.i64(each) if isinstance(each, int) else memory.of(each) for each in call.values]
        b.call(call.function, VOID, status, private, *numbers, *given)

    def _give_rows(
        self,
        b: Builder,
        word: "_Context",
        memory: "_Pointers",
        gives: list["Call"],
        start: Value,
        begin: Value,
        end: Value,
    ) -> None:
        """Copy what this thread has made of the outputs to the caller's arrays; the batch begins there at `start`."""
        for number, (place, call) in enumerate(zip(self.row_outputs(), gives, strict=True)):
            node, (buffer,) = self.outputs[place], call.values
            to = word.pointer(PLACES.data + len(self.batch_inputs()) + number)
            first = b.offset(to, b.mul(start, size(node.shape[1:])), _memory_type(SCALARS[node.dtype]))
            b.call(call.function, VOID, memory.of(buffer), first, begin, end)

    def _row_range(self, b: Builder, thread: Value, threads: Value, n: Value) -> tuple[Value, Value]:
        if self._is_alone:
            return b.i64(0), n
        unit = self.row_unit
        share = b.div(b.add(n, b.sub(b.mul(threads, unit), 1)), b.mul(threads, unit))
        chunk = b.mul(share, unit)
        begin = b.smallest(n, b.mul(thread, chunk))
        return begin, b.smallest(n, b.add(begin, chunk))

    def _splits(self, kernels: Sequence[Kernel]) -> dict[Kernel, list[int]]:
        """For each kernel of fixed size where the units of each thread begin: equal work, in one piece each.

        First for one thread, then for two, and so on, each in room for the most.
        """
        by_columns = {kernel: self._column_splits(kernel.cut.first) for kernel in kernels if kernel.cut}
        fixed = [kernel for kernel in kernels if kernel.space is Space.FIXED and kernel.network is None]
        fixed = [kernel for kernel in fixed if kernel.cut is None]
        works = [self.work(kernel) for kernel in fixed]
        total = sum(works) or 1.0
        result: dict[Kernel, list[int]] = {kernel: [] for kernel in fixed}
        for threads in range(1, self.threads + 1):
            before = 0.0
            for kernel, work in zip(fixed, works, strict=True):
                units = self.units(kernel)
                shares = [(total * thread / threads - before) / (work or 1.0) for thread in range(threads + 1)]
                bounds = [min(units, max(0, round(share * units))) for share in shares]
                bounds[0], bounds[-1] = 0, units
                result[kernel] += bounds + [units] * (self.threads - threads)
                before += work
        return result | by_columns

    def _column_splits(self, first: Node) -> list[int]:
        """Where the panels of each thread begin, of what is cut by the columns of `first`; as in `_splits`."""
        panels = self.panels_beside(first)
        vectors = (panels.count - 1) * panels.vectors + panels.last
        result: list[int] = []
        for threads in range(1, self.threads + 1):
            bounds = [round(vectors * thread / threads / panels.vectors) for thread in range(threads)]
            result += [*bounds, *[panels.count] * (self.threads + 1 - threads)]
        return result

    def _account(
        self, b: Builder, word: "_Context", memory: "_Pointers", status: Value, halt: Value, start: Value, n: Value
    ) -> None:
        """What thread 0 notes after a step: the loss, how far it is, and whether it is to stop."""
        if self.job.loss is not None:
            node = self.outputs[self.job.loss]
            loss = b.convert(b.load(SCALARS[node.dtype], memory.of(self._output_buffer(node))), F64)
            weight = self._weight(b, word, start, n)
            running, running_weight = word.at(PLACES.running), word.at(PLACES.running_weight)
            total = b.add(b.load(F64, running), b.mul(loss, weight))
            total_weight = b.add(b.load(F64, running_weight), weight)
            b.store(total, running)
            b.store(total_weight, running_weight)
            with b.when(b.compare("ne", word.number(PLACES.steps), 0)):
                mean = b.select(b.compare("ne", total_weight, 0.0), b.div(total, total_weight), 0.0)
                b.store(mean, word.pointer(PLACES.steps), word.number(PLACES.done))
            difference = b.sub(loss, loss)
            with b.when(b.is_nan(difference)):
                b.store(b.i64(Reason.LOSS), status)
        done = word.at(PLACES.done)
        steps = b.add(b.load(I64, done), 1)
        b.store(steps, done)
        stop = b.compare("ne", b.load_atomic(I64, word.at(PLACES.stop), "monotonic"), 0)
        with b.when(b.bit_or(stop, b.compare("eq", steps, word.number(PLACES.last)))):
            b.store(b.i64(Reason.STOPPED), halt)

    def _output_buffer(self, node: Node) -> Buffer:
        return self.sinks[node][0] if node in self.sinks else self.buffers[node]

    def _weight(self, b: Builder, word: "_Context", start: Value, n: Value) -> Value:
        """What the rows of a batch weigh together."""
        pointer = word.pointer(PLACES.weights)
        result = b.reserve(F64, 1)
        b.store(b.convert(n, F64), result)
        given = b.compare("ne", word.number(PLACES.weights), 0)
        order = b.offset(word.pointer(PLACES.order), start, I32)
        with b.when(given):
            with b.loop(0, n, carried=[b.constant(0.0, F64)]) as loop:
                row = b.extend_unsigned(b.load(I32, order, loop.index), I64)
                loop.next = [b.add(loop.carried[0], b.convert(b.load(self.scalar, pointer, row), F64))]
            b.store(loop.results[0], result)
        return b.load(F64, result)

    def _program_function(self, step: str) -> None:
        """`program(context, thread)`: epochs of steps, on each thread."""
        b, (context, thread) = self._define("epochs", [("context", PTR), ("thread", I64)])
        b.function.comment = "epochs of steps on one thread"
        word = _Context(b, context, self.context_words)
        threads, count, batch = (word.number(place) for place in (PLACES.threads, PLACES.count, PLACES.batch))
        first_step, first_epoch, epochs = (word.number(place) for place in (PLACES.step, PLACES.epoch, PLACES.epochs))
        is_first = b.compare("eq", thread, 0)
        with b.repeat([first_step, b.i64(0), word.number(PLACES.first)]) as epoch:
            step_number, number, first_row = epoch.carried
            with b.when(is_first):
                with b.when(b.compare("gt", number, 0)):  # the caller sets the sums of the first
                    for place in (PLACES.running, PLACES.running_weight):
                        b.store(b.constant(0.0, F64), word.at(place))
                self._shuffle(b, word, b.add(first_epoch, number))
            emit_barrier(b, word.at(PLACES.barrier, BARRIER_BYTES // 8), threads, self.target)
            with b.repeat([first_row, step_number]) as steps:
                start, current = steps.carried
                n = b.smallest(batch, b.sub(count, start))
                wrong = b.call(step, I64, context, thread, start, n, current)
                after = b.add(start, batch)
                good = b.compare("eq", wrong, 0)
                steps.next = [b.bit_and(good, b.compare("lt", after, count)), after, b.add(current, 1)]
            _, next_step = steps.results
            if self._runs_on:  # what a step came to is known after the barrier of the next
                after = b.select(good, after, start)
                with b.when(good):
                    emit_barrier(b, word.at(PLACES.barrier, BARRIER_BYTES // 8), threads, self.target)
                wrong = b.select(good, self._outcome(b, word, current), wrong)
                good = b.compare("eq", wrong, 0)
            bad = b.bit_xor(good, True)
            with b.when(b.bit_and(is_first, bad)):
                b.store(wrong, word.at(PLACES.reason))
            ended = b.compare("le", count, after)
            finished = b.bit_and(good, ended)
            whole = b.bit_or(finished, b.bit_and(ended, b.compare("eq", wrong, Reason.STOPPED)))
            with b.when(b.bit_and(is_first, whole)):
                self._record(b, word, number)
            later = b.add(number, 1)
            epoch.next = [b.bit_and(finished, b.compare("lt", later, epochs)), next_step, later, b.i64(0)]
        b.ret()
        b, (context, thread) = self._define("program", [("context", PTR), ("thread", I64)], internal=False)
        _Context(b, context, self.context_words)
        restore = emit_flush_denormals(b, self.target)
        b.call("epochs", VOID, context, thread)
        restore()
        b.ret()

    def _shuffle(self, b: Builder, word: "_Context", epoch: Value) -> None:
        """The rows of an epoch in another order, where that is wanted."""
        if self.job.loss is None:  # no training
            return
        random.emit_shuffle(self.module, "shuffle", self.target.lanes(I32))
        count, seed = word.number(PLACES.count), word.number(PLACES.seed)
        with b.when(b.compare("ne", word.number(PLACES.shuffle), 0)):
            order, scratch = word.pointer(PLACES.order), word.pointer(PLACES.shuffle_scratch)
            b.call("shuffle", VOID, order, count, seed, epoch, scratch)

    def _record(self, b: Builder, word: "_Context", number: Value) -> None:
        """Thread 0 notes what an epoch came to."""
        if self.job.loss is None:
            return
        records = word.pointer(PLACES.records)
        for place, source in enumerate((PLACES.running, PLACES.running_weight)):
            b.store(b.load(F64, word.at(source)), records, b.add(b.mul(number, 3), place))
        clock = word.pointer(PLACES.clock)
        with b.when(b.compare("ne", word.number(PLACES.clock), 0)):
            when = b.reserve(I64, 2)
            b.emit(f"call i32 {clock.text}(i32 1, ptr {when.text})", I32)  # 1: the monotonic clock
            seconds = b.convert(b.load(I64, when, 0), F64)
            exact = b.add(seconds, b.mul(b.convert(b.load(I64, when, 1), F64), 1e-9))
            b.store(exact, records, b.add(b.mul(number, 3), 2))
        b.store(b.add(number, 1), word.at(PLACES.epochs_done))


def _keeps(use: Use, reader: Kernel, writer: Kernel | None, made: Node) -> bool:
    """Does each thread read what it has written itself, of a value that becomes `made` at the end of a step?"""
    if reader.cut is None or writer is None or writer.cut is None or reader.cut.first is not writer.cut.first:
        return False
    return use.below and not reader.cut.high and is_mirror(made) == writer.cut.high


def _reads_own(use: Use, reader: Kernel, writer: Kernel) -> bool:
    """Does each thread read what it has written itself, in two kernels that are cut?"""
    if reader.cut is None or writer.cut is None or reader.cut.first is not writer.cut.first:
        return False
    return not writer.cut.high and stays(use, reader)


def _gap(taken: Sequence[tuple[int, int, int]], start: int, length: int) -> int:
    """The first place from `start` on where so many bytes are free."""
    for low, high, _ in sorted(taken):
        if low - start >= length:
            break
        start = max(start, high)
    return start


def _shared_out(works: Sequence[float], threads: int) -> list[int]:
    """For each of some works the thread that does it: the largest first, each to whom has least to do."""
    loads, owners = [0.0] * threads, [0] * len(works)
    for place in sorted(range(len(works)), key=lambda place: -works[place]):
        owners[place] = loads.index(min(loads))
        loads[owners[place]] += works[place]
    return owners


def _loads(owners: Sequence[int], works: Sequence[float]) -> list[float]:
    return [sum(work for owner, work in zip(owners, works, strict=True) if owner == each) for each in set(owners)]


@dataclass
class Call:
    """A function of the module, and the values whose memory, and the numbers, it is given."""

    function: str
    values: list[Any]


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
        self._name_of = name_of
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
            self._pointers[buffer] = _claimed(self._b, pointer, buffer, self._name_of)
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


class _Context:
    """The block of numbers, of so many words, from inside. In a checked program as many sizes stand behind them."""

    def __init__(self, b: Builder, pointer: Value, words: int) -> None:
        self.b = b
        self._pointer = pointer
        self._words = words
        b.owns(pointer, 2 * 8 * words, "the context")

    def at(self, place: int, words: int = 1) -> Value:
        found = self.b.offset(self._pointer, place, I64)
        return self.b.owns(found, 8 * words, f"word {place} of the context")

    def number(self, place: int) -> Value:
        return self.b.load(I64, self._pointer, place)

    def pointer(self, place: int, bytes_: int | None = None) -> Value:
        """To so many bytes, or as many as the caller says."""
        found = self.b.load(PTR, self._pointer, place)
        size = partial(self.number, self._words + place) if bytes_ is None else bytes_
        return self.b.owns(found, size, f"what word {place} of the context points to")


class _Pointers:
    """Pointers to values, in the function that calls kernels."""

    def __init__(self, b: Builder, arena: Value, private: Value, name_of: Callable[[Buffer], str]) -> None:
        self._b = b
        self._bases = {False: arena, True: private}
        self._name_of = name_of

    def of(self, buffer: Buffer) -> Value:
        found = self._b.offset(self._bases[buffer.private], buffer.offset, Type("i8"))
        return _claimed(self._b, found, buffer, self._name_of)


def _claimed(b: Builder, pointer: Value, buffer: Buffer, name_of: Callable[[Buffer], str]) -> Value:
    """The pointer to a buffer. Behind a value in the arena stands room that vectors may read."""
    return b.owns(pointer, buffer.bytes, partial(name_of, buffer), spare=0 if buffer.single else SPARE)


def _described(kernel: Kernel) -> str:
    names = dict.fromkeys(node.name for node in kernel.nodes if node.name)
    ops = dict.fromkeys(node.op.name for node in kernel.nodes)
    return f"{', '.join(names) or 'without a name'}: {', '.join(ops)}"


def _memory_type(scalar: Type) -> Type:
    return Type("i8") if scalar.scalar == "i1" else scalar
