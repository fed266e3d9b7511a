"""Which values a program holds: those of the graph, as they are kept in memory from one step to the next.

That is a graph's inputs, and what they become, but for three changes. Narrow weights stand turned about (`narrow`);
of weights that are read both ways there is a copy that is turned about; and what belongs to a hidden layer in halves
is two values (`halves`). Whoever puts a value in, or takes one out, need not know of any of it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any

import numpy as np

from backpass.graph import Graph, Node, rewrite, scope
from backpass.native.halves import Halved, Split
from backpass.native.memory import own
from backpass.native.narrow import turn_narrow
from backpass.native.plan import Product, operands, product, turned
from backpass.native.target import Target
from backpass.ops import apply, transpose
from backpass.ops.contraction import CONTRACT
from backpass.ops.kinds import Source
from backpass.ops.tensor import new_input
from backpass.records import dataclass

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Arranged:
    """A graph over the values that are held. New inputs and outputs stand behind all others.

    Attributes:
        graph: the graph.
        carried: of each output, by its place, the place of the input that it becomes in the next step.
        turned: the places of inputs that are turned about.
        copies: of each input that is a copy, by its place, the place of the one that it is a copy of, turned about.
        splits: how inputs are cut in halves, by their places.
    """

    graph: Graph
    carried: dict[int, int]
    turned: set[int]
    copies: dict[int, int]
    splits: dict[int, Split] = field(default_factory=dict)

    def held(self, place: int, value: Array) -> Iterator[tuple[int, Array]]:
        """The places of inputs that hold the value of the one at `place`, each with what it holds of it."""
        if (split := self.splits.get(place)) is not None:
            first, second = np.split(value, [split.at], split.axis)
            yield from self._held(place, first)
            yield from self._held(split.second, second)
        else:
            yield from self._held(place, value)

    def _held(self, place: int, value: Array) -> Iterator[tuple[int, Array]]:
        value = value.T if place in self.turned else value
        yield place, value
        yield from ((copy, value.T) for copy, source in self.copies.items() if source == place)

    def whole(self, place: int, take: Callable[[int], Array]) -> Array:
        """The value of the input at `place`; `take` gives what an input holds."""
        if (split := self.splits.get(place)) is not None:
            return np.concatenate([self._straight(each, take) for each in (place, split.second)], split.axis)
        return self._straight(place, take)

    def _straight(self, place: int, take: Callable[[int], Array]) -> Array:
        taken = take(place)
        return np.ascontiguousarray(taken.T) if place in self.turned else taken

    @property
    def owners(self) -> dict[Node, int]:
        """To which half inputs belong: those that are cut, and of those that are carried on all others to the first."""
        found = dict.fromkeys((*self.carried.values(), *self.splits), 0)
        found |= {split.second: 1 for split in self.splits.values()}
        found |= {copy: found.get(source, 0) for copy, source in self.copies.items()}
        return {self.graph.inputs[place]: number for place, number in found.items()}


def arranged(graph: Graph, carried: Mapping[int, int], target: Target) -> Arranged:
    """A prepared graph over the values that are held for it."""
    turned_graph, places = turn_narrow(graph, carried, target)
    mirrored = _Mirrored(turned_graph, carried)
    return Arranged(*_distinct(mirrored.graph, mirrored.carried), places, mirrored.copies)


def arranged_in_halves(halved: Halved, target: Target) -> Arranged:
    """The same of a hidden layer in halves."""
    return replace(arranged(halved.graph, halved.carried, target), splits=halved.splits)


class _Mirrored:
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
            node = own(node)
            outputs[place] = node
        seen.add(node)
        kept[place] = target
    return Graph(graph.inputs, tuple(outputs)), kept
