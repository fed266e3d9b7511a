"""Which kernels have the same code: those that differ in nothing but in where their values stand, and in some numbers.

Networks side by side have many such kernels. To see that two are alike takes a tenth of the time of writing one.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from backpass.graph import Batch, Graph, Node
from backpass.native.plan import Kernel
from backpass.ops.kinds import Random, Source
from backpass.records import dataclass

SEVERAL = 4  # different constants in a graph: those are numbers of folds, not bounds of what is allowed


@dataclass(frozen=True)
class Form:
    """What the code of a kernel follows from.

    Attributes:
        key: equal for kernels of the same code.
        things: the memory that it uses and the nodes whose numbers it is given, each with its place in an order that
            kernels of one key have in common.
    """

    key: tuple[Any, ...]
    things: dict[Any, int]


def numbers_of(graph: Graph) -> dict[Node, int]:
    """The whole numbers that code is given as arguments: those of streams, and constants where there are several.

    So the folds of networks side by side are; a constant or two stand in the code, where they may be put to use.
    """
    streams = {node: int(node.attributes["stream"]) for node in graph.nodes if isinstance(node.op, Random)}
    values = {node: np.asarray(node.attributes["value"]) for node in graph.nodes if "value" in node.attributes}
    constants = {node: value.item() for node, value in values.items() if value.dtype == np.int64 and value.size == 1}
    return streams | (constants if len(set(constants.values())) >= SEVERAL else {})


def form_of(
    kernel: Kernel,
    buffers: Mapping[Node, Any],
    sinks: Mapping[Node, Sequence[Any]],
    checked: Collection[Node],
    beside: Sequence[Node],
    numbers: Mapping[Node, int],
) -> Form:
    """The form of a kernel, with the memory of stored values, and of those that it stores.

    Of `checked` nodes every element must be finite; those `beside` are fetched ahead; `numbers` are given as arguments.
    """
    return _Forming(buffers, sinks, numbers).form(kernel, checked, beside)


class _Forming:
    def __init__(
        self, buffers: Mapping[Node, Any], sinks: Mapping[Node, Sequence[Any]], numbers: Mapping[Node, int]
    ) -> None:
        self._buffers = buffers
        self._sinks = sinks
        self._numbers = numbers
        self._things: dict[Any, int] = {}
        self._places: dict[Node, int] = {}
        self._lines: list[tuple[Any, ...]] = []
        self._streams: dict[int, int] = {}

    def form(self, kernel: Kernel, checked: Collection[Node], beside: Sequence[Node]) -> Form:
        for node in kernel.nodes:
            if node in self._places:
                raise AssertionError(f"{node!r} is read before it is made")
            self._describe(node, made=True)
        inside = {node: self._places[node] for node in kernel.nodes}
        around = []
        for node in kernel.nodes:
            readers = kernel.readers.get(node)
            apart = sorted(inside.get(x, -1) for x in kernel.apart.get(node, ()))
            read = None if readers is None else sorted(inside.get(x, -1) for x in readers)
            around.append((tuple(apart), None if read is None else tuple(read), node in checked))
        ahead = tuple(self._memory(self._buffers[node]) for node in beside)
        high = None if kernel.cut is None else kernel.cut.high
        cut = kernel.space, kernel.product, kernel.extent, high, kernel.network is None
        key = (*cut, tuple(self._lines), tuple(around), ahead)
        return Form(key, self._things)

    def _describe(self, node: Node, *, made: bool = False) -> int:
        """The place of a node in the description, with all that its value is calculated from."""
        stack = [(node, made)]
        while stack:
            here, own = stack[-1]
            stored = here in self._buffers
            waiting = [x for x in here.inputs if x not in self._places] if own or not stored else []
            if here in self._places or not waiting:
                stack.pop()
            stack += [(x, False) for x in waiting if here not in self._places]
            if here not in self._places and not waiting:
                inputs = tuple(self._places[x] for x in here.inputs) if own or not stored else ()
                self._places[here] = len(self._lines)
                self._lines.append((*self._own(here), inputs, own, *self._where(here, own=own)))
        return self._places[node]

    def _own(self, node: Node) -> tuple[Any, ...]:
        number = self._numbers.get(node)
        attributes = [(name, _plain(value)) for name, value in node.attributes.items()]
        if node in self._buffers and isinstance(node.op, Source):
            attributes = []  # its numbers stand in memory
        elif number is not None:
            attributes = [(name, value) for name, value in attributes if name not in ("stream", "value")]
            same = self._streams.setdefault(number, len(self._lines)) if isinstance(node.op, Random) else None
            attributes.append(("number", (self._memory(node), same)))
        return id(node.op), node.shape, str(node.dtype), tuple(attributes)

    def _where(self, node: Node, *, own: bool) -> tuple[Any, ...]:
        """Where its value stands, and where it is stored."""
        stands = self._memory(self._buffers[node]) if node in self._buffers else None
        return stands, tuple(map(self._memory, self._sinks.get(node, ()))) if own else ()

    def _memory(self, thing: Any) -> Any:
        """The number of a thing, with what code must know of it."""
        place = self._things.setdefault(thing, len(self._things))
        return place if isinstance(thing, Node) else (place, thing.layout, str(thing.dtype), thing.private)


def _plain(value: Any) -> Any:
    """What stands for an attribute: equal for what is surely the same, and no more. Any other object is only itself."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if type(value) in (tuple, list):
        return type(value), tuple(map(_plain, value))
    if (
        value is None
        or type(value) in (bool, int, float, str, slice, Batch)
        or isinstance(value, (np.generic, np.dtype))
    ):
        return type(value), repr(value)
    return type(value), id(value)
