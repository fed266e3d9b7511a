"""A hidden layer in two halves, for small steps: each thread has one, with its weights, and they meet once a step.

Where threads share out rows, each reads what the others have just written, several times in a step; of a small step
that is most of the time, so that a second thread gains nothing. But a layer with few outputs behind it can be cut along
its own columns. A half then is a network of its own: it reads the batch, has its columns of the first weights and its
rows of the second, and calculates its part of the sums that the outputs are made of. These two parts are all that
threads tell each other. What comes of their sum, the outputs, the loss and the errors of the outputs, is little, and
each thread calculates it for itself; from there on everything is a half's own again.

(For layers over many machines it is the pair of a "column parallel" and a "row parallel" layer of Shoeybi et al.,
"Megatron-LM", 2019.)

A graph is cut so, or not, whatever the number of threads, and a sum over the layer is the sum of two: so the bits of a
training do not hang on it.
"""

from collections.abc import Iterator, Mapping
from math import prod

import numpy as np

from backpass.graph import Batch, Graph, Node, Shape, scope, size
from backpass.native.plan import EVERYONES, Product, operands, product
from backpass.ops import apply
from backpass.ops.arithmetic import ADD
from backpass.ops.contraction import labels
from backpass.ops.kinds import Contraction, Pointwise, Random, Reduction, Source
from backpass.ops.movement import BROADCAST, RESHAPE, SLICE, TRANSPOSE
from backpass.ops.reduction import SUM
from backpass.ops.source import INPUT
from backpass.ops.tensor import new_input
from backpass.records import dataclass

HALVES = (0, 1)
# In operations on vectors: what it takes to meet, and for each line of memory that is told; up to how many a step is
# small; and what part of a step must be saved.
MEETING, TELLING, SMALL, WORTH = 4_000.0, 60.0, 120_000.0, 0.25


@dataclass(frozen=True)
class Split:
    """How an input is cut.

    Attributes:
        axis: along which axis.
        at: where the second half begins there.
        second: the place of the input that is the second half; the first half stands at the place of the whole.
    """

    axis: int
    at: int
    second: int


@dataclass(frozen=True)
class Halved:
    """A graph with a hidden layer in two halves.

    Attributes:
        graph: the new graph. Second halves of inputs and outputs stand behind all others.
        carried: of each output, by its place, the place of the input that it becomes.
        splits: how inputs are cut, by their places.
    """

    graph: Graph
    carried: dict[int, int]
    splits: dict[int, Split]


def halved(graph: Graph, carried: Mapping[int, int], rows: int, lanes: int) -> Halved | None:
    """`graph`, a training step of `rows` rows, with its hidden layer in halves of whole vectors of so many `lanes`.

    None where there is no such layer, more than one, or something happens to it that cannot be done by halves; and
    where that is not worth it.
    """
    firsts = _first_layers(graph, carried)
    if len(firsts) != 1:
        return None
    axes = _Axes(graph, carried).same(firsts[0], 1)
    vectors = -(-size(firsts[0].shape[1:]) // lanes)
    if vectors < 2 or not axes:
        return None
    if not _is_worth_it(graph, axes, rows, lanes, -(-vectors // 2) / vectors):
        return None
    return _Cutting(graph, carried, axes, -(-vectors // 2) * lanes).result()


def _is_worth_it(graph: Graph, axes: Mapping[Node, int], rows: int, lanes: int, larger: float) -> bool:
    """Is a small step so much shorter with the `larger` part of the layer on one thread, and the rest on another?"""
    cut = rest = told = 0.0
    for node in graph.nodes:
        if isinstance(node.op, Source):
            continue
        inside = not isinstance(node.op, Random) and (node in axes or any(x in axes for x in node.inputs))
        work = _work(node, rows, lanes)
        cut += work if inside else 0.0
        rest += 0.0 if inside else work
        if inside and node not in axes:
            told += TELLING * rows * -(-size(node.shape[1:]) * node.dtype.itemsize // 64)
    return cut + rest <= SMALL and cut * (1.0 - larger) - told - MEETING >= WORTH * (cut + rest)


def _work(node: Node, rows: int, lanes: int) -> float:
    """About how many operations on vectors it takes."""
    lanes = max(1, lanes * 4 // max(4, node.dtype.itemsize))
    lengths = [rows if isinstance(axis, Batch) else axis for axis in node.shape]
    vectors = prod(lengths[:-1]) * -(-lengths[-1] // lanes) if lengths else 1
    if not isinstance(node.op, Contraction):
        return float(vectors * (1 + getattr(node.op, "cost", 2)))
    spec = labels(node.attributes["spec"])
    summed = (axis for letter, axis in zip(spec.a, node.inputs[0].shape, strict=True) if letter in spec.summed)
    return float(vectors * prod(rows if isinstance(axis, Batch) else axis for axis in summed))


def _first_layers(graph: Graph, carried: Mapping[int, int]) -> list[Node]:
    """Products of rows with weights that are learned, of what does not follow from anything that is."""
    follows = {graph.inputs[place] for place in carried.values()}
    learned = set(follows)
    found: list[Node] = []
    for node in graph.nodes:
        if product(node) is Product.ROWS:
            left, weights = operands(node)
            if weights in learned and left not in follows:
                found.append(node)
        if any(x in follows for x in node.inputs):
            follows.add(node)
    return found


class _Axes:
    """Which axes of values are the same one: those that an operation goes along together."""

    def __init__(self, graph: Graph, carried: Mapping[int, int]) -> None:
        self._nodes = graph.nodes
        first = 0
        self._first: dict[Node, int] = {}  # the number of a value's first axis: axes are numbered through
        for node in graph.nodes:
            self._first[node] = first
            first += node.ndim
        self._above = list(range(first))
        spoilt: set[int] = set()
        inside = {graph.inputs[place] for place in carried.values()} | {graph.outputs[place] for place in carried}
        for node in graph.nodes:
            spoilt.update(self._along(node))
            if isinstance(node.op, Source) and "value" not in node.attributes and node not in inside:
                spoilt.update(self._all(node))
        for node in graph.outputs:
            if node not in inside:
                spoilt.update(self._all(node))
        for place, target in carried.items():
            for a, b in zip(self._all(graph.outputs[place]), self._all(graph.inputs[target]), strict=True):
                self._join(a, b)
        self._spoilt = {self._top(axis) for axis in spoilt}

    def same(self, node: Node, axis: int) -> dict[Node, int]:
        """The values that have this axis, and where; none if something is done along it, or one has it twice."""
        top = self._top(self._first[node] + axis)
        found: dict[Node, int] = {}
        for each in self._nodes:
            for place, its in enumerate(self._all(each)):
                if self._top(its) == top:
                    if top in self._spoilt or each in found:
                        return {}
                    found[each] = place
        return found

    def _all(self, node: Node) -> range:
        return range(self._first[node], self._first[node] + node.ndim)

    def _top(self, axis: int) -> int:
        above = self._above
        while above[axis] != axis:
            above[axis] = axis = above[above[axis]]
        return axis

    def _join(self, a: int, b: int) -> None:
        self._above[self._top(a)] = self._top(b)

    def _along(self, node: Node) -> Iterator[int]:
        """Join the axes of an operation's values; those along which more is done than a sum."""
        if isinstance(node.op, Contraction):
            spec = labels(node.attributes["spec"])
            known: dict[str, int] = {}
            for value, letters in zip((*node.inputs, node), (spec.a, spec.b, spec.out), strict=True):
                for axis, letter in zip(self._all(value), letters, strict=True):
                    self._join(axis, known.setdefault(letter, axis))
            return
        for x in node.inputs:
            pairs = _pairs(node, x)
            if pairs is None:
                yield from self._all(node)
                yield from self._all(x)
                continue
            for mine, its in pairs:
                self._join(self._first[node] + mine, self._first[x] + its)
            if isinstance(node.op, Reduction) and node.op is not SUM:
                yield from (self._first[x] + axis for axis in node.attributes["axes"])


def _pairs(node: Node, x: Node) -> list[tuple[int, int]] | None:
    """Axes of `node` and of its input that are the same; None where that cannot be told."""
    op = node.op
    if isinstance(op, Random):
        return []  # a half of them is read out of all, for they are made in groups
    if isinstance(op, Pointwise) or op is BROADCAST:
        behind = node.ndim - x.ndim
        return [(axis + behind, axis) for axis in range(x.ndim) if x.shape[axis] == node.shape[axis + behind] != 1]
    if op is TRANSPOSE:
        return list(enumerate(node.attributes["axes"]))
    if op is RESHAPE:
        mine, its = ([axis for axis, length in enumerate(each.shape) if length != 1] for each in (node, x))
        same = [node.shape[axis] for axis in mine] == [x.shape[axis] for axis in its]
        return list(zip(mine, its, strict=True)) if same else None
    if isinstance(op, Reduction):
        kept = [axis for axis in range(x.ndim) if axis not in node.attributes["axes"]]
        mine = kept if node.attributes["keepdims"] else list(range(len(kept)))
        return list(zip(mine, kept, strict=True))
    return None


class _Cutting:
    """Writes the new graph."""

    def __init__(self, graph: Graph, carried: Mapping[int, int], axes: Mapping[Node, int], at: int) -> None:
        self._graph = graph
        self._carried = carried
        self._axes = axes
        self._at = at
        self._halves: dict[Node, tuple[Node, Node]] = {}
        self._terms: dict[Node, tuple[Node, Node]] = {}
        """The two parts of a sum along the layer, before anybody reads the sum."""
        self._whole: dict[Node, Node] = {}
        self._users: dict[Node, int] = {}
        for node in graph.nodes:
            for x in dict.fromkeys(node.inputs):
                self._users[x] = self._users.get(x, 0) + 1

    def result(self) -> Halved:
        graph = self._graph
        for node in graph.nodes:
            if node in self._axes:
                self._halves[node] = self._half(node, 0), self._half(node, 1)
            elif any(x in self._axes for x in node.inputs):
                self._terms[node] = self._part(node, 0, node.shape), self._part(node, 1, node.shape)
            elif (terms := self._with_bias(node)) is not None:
                self._terms[node] = terms
            else:
                self._whole[node] = self._again(node, [self._value(x) for x in node.inputs], node.shape)
        inputs = [self._first(node) for node in graph.inputs]
        outputs = [self._first(node) for node in graph.outputs]
        carried, splits = dict(self._carried), {}
        for place, node in enumerate(graph.inputs):
            if node in self._axes:
                splits[place] = Split(self._axes[node], self._at, len(inputs))
                inputs.append(self._halves[node][1])
        for place, target in self._carried.items():
            if graph.outputs[place] in self._axes:
                carried[len(outputs)] = splits[target].second
                outputs.append(self._halves[graph.outputs[place]][1])
        return Halved(Graph(tuple(inputs), tuple(outputs)), carried, splits)

    def _first(self, node: Node) -> Node:
        return self._halves[node][0] if node in self._halves else self._value(node)

    def _value(self, node: Node) -> Node:
        """What takes the place of a value that is not cut."""
        if node not in self._whole:
            first, second = self._terms[node]
            with scope(node.name):
                self._whole[node] = apply(ADD, first, second)
        return self._whole[node]

    def _half(self, node: Node, number: int) -> Node:
        axis = self._axes[node]
        low, high = ((0, self._at), (self._at, size(node.shape[axis : axis + 1])))[number]
        shape: Shape = (*node.shape[:axis], high - low, *node.shape[axis + 1 :])
        if node.op is INPUT:
            made: Node = new_input(shape, node.dtype, f"{node.name}, {('first', 'second')[number]} half".strip(", "))
            return made
        if "value" in node.attributes:
            value = np.asarray(node.attributes["value"])[(slice(None),) * axis + (slice(low, high),)]
            return type(node)(node.op, (), shape, node.dtype, {**node.attributes, "value": value}, node.name)
        if isinstance(node.op, Random):
            spans = tuple((low, high, 1) if place == axis else None for place in range(node.ndim))
            with scope(node.name):
                taken: Node = apply(SLICE, node, spans=spans)
            return taken
        return self._part(node, number, shape)

    def _part(self, node: Node, number: int, shape: Shape) -> Node:
        """The same of a half of what is cut, and of all else."""
        inputs = [self._halves[x][number] if x in self._axes else self._value(x) for x in node.inputs]
        return self._again(node, inputs, shape)

    def _with_bias(self, node: Node) -> tuple[Node, Node] | None:
        """Parts of a sum with something that is learned: of the first half alone, which then reads it alone."""
        if node.op is not ADD:
            return None
        for total, other in (node.inputs, node.inputs[::-1]):
            alone = total in self._terms and self._users[total] == 1
            if alone and other.op is INPUT and total.shape == node.shape:
                first, second = self._terms[total]
                with scope(node.name):
                    return apply(ADD, first, self._value(other)), second
        return None

    def _again(self, node: Node, inputs: list[Node], shape: Shape) -> Node:
        if shape == node.shape and all(x is y for x, y in zip(inputs, node.inputs, strict=True)):
            return node
        attributes = {**node.attributes, "shape": shape} if "shape" in node.attributes else node.attributes
        return type(node)(node.op, tuple(inputs), shape, node.dtype, attributes, node.name)


def numbers_of_halves(graph: Graph, owners: Mapping[Node, int], carried: Mapping[int, int]) -> dict[Node, int]:
    """To which half each value belongs, and what every thread calculates for itself: EVERYONES.

    `owners` says it of the inputs that are carried on, and of what becomes of them; what both halves flow into
    otherwise is everyone's, and so is what follows from the batch alone.
    """
    kept = {graph.outputs[place]: owners[graph.inputs[target]] for place, target in carried.items()}
    found: dict[Node, int] = {}
    for node in graph.nodes:
        if isinstance(node.op, Source):
            continue
        numbers = {owners.get(x, found.get(x)) for x in node.inputs} - {None}
        halves = numbers - {EVERYONES}
        if node in kept:
            found[node] = kept[node]
        elif len(halves) == 1:
            found[node] = halves.pop()  # type: ignore[assignment]
        elif numbers or any(map(_is_of_batch, (node, *node.inputs))):
            found[node] = EVERYONES
    readers: dict[Node, set[int | None]] = {node: set() for node in graph.nodes}
    for node in graph.outputs:
        readers[node].add(kept.get(node))
    for node in reversed(graph.nodes):  # sums of errors are of the half that is moved by them
        only = readers[node]
        if found.get(node) == EVERYONES and not _is_of_batch(node) and len(only) == 1 and only <= set(HALVES):
            (found[node],) = only  # type: ignore[assignment]
        for x in node.inputs:
            readers[x].add(found.get(node))
    return found


def _is_of_batch(node: Node) -> bool:
    return any(not isinstance(axis, int) for axis in node.shape)
