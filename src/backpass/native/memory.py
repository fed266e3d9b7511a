"""Where the values of a program stand: new weights in the place of the old ones, what passes where others stood."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from backpass.graph import Graph, Node, size
from backpass.native.layout import SPARE, Layout, layout_of
from backpass.native.plan import EVERYONES, Kernel, Plan, Use, own_columns, space
from backpass.native.pointwise import SCALARS
from backpass.native.target import Target
from backpass.ops.gradient_flow import IDENTITY
from backpass.ops.kinds import Source
from backpass.records import dataclass

LINE = 64  # bytes


@dataclass(frozen=True)
class Buffer:
    """Memory of a value: bytes from the beginning of the arena (or of a thread's own memory), and the layout in it."""

    offset: int
    layout: Layout
    dtype: Any
    private: bool = False
    single: bool = False
    """Is it some numbers of 8 bytes each?"""
    again: int = 0
    """If not 0, so many bytes behind it stands a second one: they take turns, step by step."""

    @property
    def bytes(self) -> int:
        """What is its own: of a number that each thread has for itself, that number."""
        if self.private and self.single:
            return 8 * max(1, size(self.layout.shape))
        return self.layout.elements * SCALARS[np.dtype(self.dtype)].bytes


class Memory:
    """Places for all values of a plan, in one arena and in memory of each thread's own.

    Args:
        graph, plan: the values, and the kernels that make and read them.
        carried: of each output, by its place, the place of the input that it becomes.
        moment: the place of the input that holds (seed, step), or None.
        target, rows, lanes: what layouts follow from.

    Attributes:
        buffers: where a value is read.
        sinks: where it is stored.
        outputs: of the graph, with copies of those that cannot be written where the old value stands.
        end, private_end: bytes of the arena, and of each thread's own memory.
    """

    def __init__(
        self,
        graph: Graph,
        plan: Plan,
        carried: Mapping[int, int],
        moment: int | None,
        target: Target,
        rows: int,
        lanes: int,
    ) -> None:
        self.graph = graph
        self.plan = plan
        self.carried = carried
        self.moment = moment
        self.target = target
        self.most_rows = -(-(rows + 64) // 64) * 64
        self.lanes = lanes
        self.buffers: dict[Node, Buffer] = {}
        self.sinks: dict[Node, list[Buffer]] = {}
        self.outputs = list(graph.outputs)
        self.end = 0
        self.private_end = 2 * 8
        self._place_all()

    def _buffer(self, node: Node) -> Buffer:
        layout = layout_of(node, self.target, self.most_rows, self.lanes)
        offset, bytes_ = self.end, -(-(layout.elements * SCALARS[node.dtype].bytes + SPARE) // LINE) * LINE
        again = bytes_ if node in self.plan.told else 0
        self.end += bytes_ + again
        return Buffer(offset, layout, node.dtype, again=again)

    def _private(self, node: Node) -> Buffer:
        layout = layout_of(node, self.target, self.most_rows, self.lanes)
        offset = self.private_end
        self.private_end += 8 * max(1, size(node.shape))
        return Buffer(offset, layout, node.dtype, private=True, single=True)

    def _own(self, node: Node) -> Buffer:
        """Room for a value in each thread's own memory."""
        layout = layout_of(node, self.target, self.most_rows, self.lanes)
        offset = -(-self.private_end // LINE) * LINE
        self.private_end = offset + layout.elements * SCALARS[node.dtype].bytes + SPARE
        return Buffer(offset, layout, node.dtype, private=True)

    def _place_all(self) -> None:
        for place, node in enumerate(self.graph.inputs):
            if node in self.plan.taken:
                self.buffers[node] = self._own(node)
            elif place == self.moment:
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
        start = -(-self.private_end // LINE) * LINE
        for passing in spans.values():
            placed: list[tuple[int, int, int]] = []  # from, to, and the last kernel that reads it
            for first, last, node in sorted(passing, key=lambda span: span[:2]):
                layout = layout_of(node, self.target, self.most_rows, self.lanes)
                length = -(-(layout.elements * SCALARS[node.dtype].bytes + SPARE) // LINE) * LINE
                placed = [span for span in placed if span[2] >= first]
                offset = _gap(placed, start, length)
                placed.append((offset, offset + length, last))
                self.buffers[node] = Buffer(offset, layout, node.dtype, private=True)
                self.private_end = max(self.private_end, offset + length)

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
                copy = self.outputs[place] = own(node)
                self.sinks[copy] = [self._buffer(node) if old is None else self.buffers[old]]
                self.plan.stored.update(set() if early else {node})
                self.plan.copy(copy, space(copy), last)

    def _is_free(self, old: Node, node: Node) -> bool:
        """May `node` be written where `old` stands?"""
        home = self.plan.home[node]
        if home.phase == 0 and old in self.plan.read_first:
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
        if reader.phase != writer.phase or reader.order > writer.order:
            return False
        alone = reader.network == writer.network and writer.network not in (None, EVERYONES)
        return alone or own_columns(use, reader, writer, node)

    @cached_property
    def _uses_of(self) -> dict[Node, list[tuple[Node, Use]]]:
        """Of what stands in memory, who reads it, and how."""
        found: dict[Node, list[tuple[Node, Use]]] = {}
        for reader in self.plan.home:
            for use in self.plan.uses[reader]:
                found.setdefault(use.node, []).append((reader, use))
        return found


def own(node: Node) -> Node:
    """A copy of a value, as a node of its own."""
    copied: Node = type(node)(IDENTITY, (node,), node.shape, node.dtype, {}, node.name)
    return copied


def _gap(taken: Sequence[tuple[int, int, int]], start: int, length: int) -> int:
    """The first place from `start` on where so many bytes are free."""
    for low, high, _ in sorted(taken):
        if low - start >= length:
            break
        start = max(start, high)
    return start
