"""From a graph to kernels: what is stored, what is calculated in passing, and where threads must wait for each other.

Every value belongs to a space, by what its first axis is: rows of the batch, a first axis of fixed length, or nothing
to split. A kernel works through one space; threads split its first axis. Kernels of rows follow each other without
waiting as long as each reads only the rows that its own thread has made; everything else waits: a phase ends there.
What first layers calculate may be split by its columns instead, and networks side by side may be done whole by one
thread each; see `columns` and `networks`.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import field
from enum import Enum
from functools import cached_property
from typing import Any

from backpass.errors import ShapeError
from backpass.graph import Batch, Graph, Node, size
from backpass.ops.contraction import labels
from backpass.ops.kinds import Contraction, Lookup, Movement, Pointwise, Random, Reduction, Source
from backpass.ops.movement import TRANSPOSE
from backpass.records import dataclass

DEAR = 5  # instructions: an operation that costs more is stored where two loops need it, and not calculated twice
LONG = 20  # instructions: and so is a chain of cheap ones


EVERYONES = -1  # in the place of a network's number: what every thread calculates for itself
DEEPEST = 40  # operations, one on top of the other, that are calculated in passing: code is written by recursion


class Space(Enum):
    """What is split over threads where a value is calculated."""

    ROWS = "rows"
    FIXED = "fixed"
    ONE = "one"
    OTHER = "other"


def space(node: Node) -> Space:
    """The space of a value."""
    batches = [place for place, axis in enumerate(node.shape) if isinstance(axis, Batch)]
    if batches == [0]:
        return Space.ROWS
    if batches:
        return Space.OTHER
    return Space.FIXED if size(node.shape) != 1 else Space.ONE


class Product(Enum):
    """The matrix products that have kernels of their own."""

    ROWS = "rows"
    WEIGHTS = "weights"
    DOTS = "dots"  # rows of the batch with rows of few weights: products of whole vectors, each summed to one number


FEW_ROWS = 4
"""Rows of weights, turned about if need be, up to which a product is one of dots."""


def product(node: Node) -> Product | None:
    """Which product of matrices a contraction is, if it is one that has a kernel of its own."""
    if not isinstance(node.op, Contraction) or node.dtype.kind != "f":
        return None
    axes = labels(node.attributes["spec"])
    if not axes.plain or any(size(x.shape) == 0 for x in (node, *node.inputs)):
        return None
    left, right = operands(node)
    spaces = space(left), space(right), space(node)
    if spaces == (Space.ROWS, Space.FIXED, Space.ROWS):
        return Product.DOTS if turned(node) and size(right.shape[:1]) <= FEW_ROWS else Product.ROWS
    if spaces == (Space.ROWS, Space.ROWS, Space.FIXED):
        summed_first = all(letters.startswith(axes.summed) for letters in (axes.a, axes.b))
        return Product.WEIGHTS if summed_first else None
    return None


def operands(node: Node) -> tuple[Node, Node]:
    """The operands of a plain contraction, first the one whose own axis comes first in the result."""
    axes = labels(node.attributes["spec"])
    a, b = node.inputs
    return (a, b) if axes.out[0] in axes.only_a else (b, a)


def turned(node: Node) -> bool:
    """Does a product of rows sum over the second axis of its weights?"""
    axes = labels(node.attributes["spec"])
    letters = axes.b if axes.out[0] in axes.only_a else axes.a
    return letters[1] == axes.summed


@dataclass(frozen=True, eq=False)
class Cut:
    """Along which axis threads share out a value of a first layer: that of the columns of `first`.

    `high` says that it is the first axis of a matrix; otherwise it is the last one.
    """

    first: Node
    high: bool = False


@dataclass(eq=False)
class Kernel:
    """Work that threads split along one axis.

    Attributes:
        space: what is split.
        nodes: what it calculates and stores, in order; of a product the product itself comes first, stored or not.
        product: the kind of product, or None for loops.
        phase: it runs after all phases before.
        order: its place among the kernels.
        apart: for each node those of the kernel that it reads from memory, at places of its own: they must have been
            stored before.
        readers: for each node all nodes that read it; none of an output, which must stand in memory anyway.
        cut: the columns that threads split instead, each with all rows; or None.
        network: of networks side by side the one that it belongs to, all of which one thread does; EVERYONES or None.
    """

    space: Space
    nodes: list[Node]
    order: int
    product: Product | None = None
    phase: int = 0
    extent: tuple[int, ...] = ()
    apart: dict[Node, set[Node]] = field(default_factory=dict)
    readers: dict[Node, set[Node]] = field(default_factory=dict)
    cut: Cut | None = None
    network: int | None = None

    @property
    def anchor(self) -> Node:
        return self.nodes[0]

    @property
    def by_columns(self) -> bool:
        return self.cut is not None

    @property
    def by_rows(self) -> bool:
        """Has each thread the same rows in it as in all others of this kind?"""
        return self.space is Space.ROWS and self.cut is None and self.network is None

    def place(self, node: Node) -> int:
        """Of a node among those of the kernel."""
        return next(place for place, each in enumerate(self.nodes) if each is node)


@dataclass(frozen=True)
class Use:
    """A stored value that a node reads, and how.

    `aligned` says that it is read at the same place of the first axis, `same` at the same element of the same shape,
    `direct` at the same place along all axes that it has, but for those that are reduced; `below` at the same place of
    the last axis.
    """

    node: Node
    aligned: bool
    same: bool
    direct: bool
    below: bool


@dataclass(eq=False)
class Plan:
    """The kernels of a graph, in the order in which they run.

    Attributes:
        graph: what they calculate.
        stored: nodes whose value stands in memory.
        scalars: dear single numbers that follow from the inputs alone; every thread calculates them for itself.
        kernels: in order; phases never fall.
        home: the kernel of each node that has one.
        uses: what each kernel reads of stored values and sources, node by node.
        cuts: the values that may be split by columns.
        networks: of networks side by side the values that belong to one, with its number, and those of every thread.
        taken: inputs of which every thread takes all rows for itself.
    """

    graph: Graph
    stored: set[Node] = field(default_factory=set)
    scalars: list[Node] = field(default_factory=list)
    kernels: list[Kernel] = field(default_factory=list)
    home: dict[Node, Kernel] = field(default_factory=dict)
    uses: dict[Node, list[Use]] = field(default_factory=dict)
    cuts: Mapping[Node, Cut] = field(default_factory=dict)
    networks: Mapping[Node, int] = field(default_factory=dict)
    taken: AbstractSet[Node] = frozenset()

    @property
    def phases(self) -> list[list[Kernel]]:
        """The kernels of each phase, one network after the other."""
        count = 1 + max((kernel.phase for kernel in self.kernels), default=0)
        ordered = sorted(self.kernels, key=lambda kernel: EVERYONES if kernel.network is None else kernel.network)
        return [[kernel for kernel in ordered if kernel.phase == phase] for phase in range(count)]

    @property
    def read_first(self) -> set[Node]:
        """What each thread reads of values and inputs, for single numbers of its own, before it does any kernel."""
        return {use.node for scalar in self.scalars for use in self.uses[scalar]}

    @cached_property
    def told(self) -> set[Node]:
        """What a network tells everyone: of these values there are two, and so the next step may begin meanwhile."""
        homes = self.home
        return {
            use.node
            for kernel in self.kernels
            if kernel.network == EVERYONES
            for node in kernel.nodes
            for use in self.uses[node]
            if use.node in homes and homes[use.node].network not in (None, EVERYONES)
        }

    @property
    def updates(self) -> set[Node]:
        """What is calculated from the finished tiles of gradients, where quotients by roots are the quick ones."""
        return {node for kernel in self.kernels if kernel.product is Product.WEIGHTS for node in kernel.nodes}

    def copy(self, node: Node, kernel_space: Space, phase: int) -> None:
        """Add a kernel for `node`, a copy of a value that is known by `phase`."""
        kernel = Kernel(kernel_space, [node], len(self.kernels), None, phase, _extent(node))
        self.kernels.append(kernel)
        self.home[node] = kernel
        self.uses[node] = [Use(node.inputs[0], aligned=True, same=True, direct=True, below=True)]


def plan(
    graph: Graph,
    *,
    cuts: Mapping[Node, Cut] | None = None,
    networks: Mapping[Node, int] | None = None,
    taken: AbstractSet[Node] = frozenset(),
) -> Plan:
    """Cut a prepared graph into kernels.

    `cuts` says what may be split by columns, `networks` what belongs to one of several networks, and `taken` of which
    inputs every thread takes all rows.

    Raises:
        ShapeError: an operation has no machine code; the message names the node.
    """
    _require_code(graph)
    kept = _Kept(graph, networks or {})
    empty = Plan(graph, cuts=cuts or {}, networks=networks or {}, taken=taken)
    stored = kept.always | kept.shared(_place(empty, kept.always, kept))
    stored |= kept.deep(stored)
    final = _place(empty, stored, kept)
    final.uses = {node: kept.uses(node, stored) for node in stored}
    for node, kernel in final.home.items():
        uses = (use for use in final.uses[node] if not use.direct)
        kernel.apart[node] = {use.node for use in uses if final.home.get(use.node) is kernel}
    readers = _readers(final)
    for node, kernel in final.home.items():
        if node not in kept.outputs:
            kernel.readers[node] = readers.get(node, set())
    final.stored = _read_outside(final)
    return final


def _require_code(graph: Graph) -> None:
    for node in graph.nodes:
        known = isinstance(node.op, (Source, Contraction, Random)) or getattr(node.op, "scatters", False)
        if not known and getattr(node.op, "lower", None) is None:
            where = f" in {node.name}" if node.name else ""
            raise ShapeError(
                f'"{node.op.name}"{where} cannot be compiled: its record has neither `lower` nor `expand`; '
                'give it one, or use executor="reference"'
            )


class _Kept:
    """What is known of the nodes of a graph, apart from kernels."""

    def __init__(self, graph: Graph, networks: Mapping[Node, int]) -> None:
        self.graph = graph
        self.networks = networks
        self.inputs = set(graph.inputs)
        self.outputs = set(graph.outputs)
        self.early = self._early()
        self.reads = {node: list(_reads(node)) for node in graph.nodes}
        self.always = {node for node in graph.nodes if self._always(node)}
        for node in graph.nodes:
            self.always.update(x for x in self._needed_whole(node) if not self.is_source(x))
            if networks.get(node) == EVERYONES:  # what threads tell each other
                self.always.update(x for x in node.inputs if networks.get(x, EVERYONES) != EVERYONES)

    def is_source(self, node: Node) -> bool:
        return node in self.inputs or isinstance(node.op, Source)

    def _early(self) -> set[Node]:
        """Single numbers that follow from inputs that are no rows, and from the number of rows."""
        early: set[Node] = set()
        for node in self.graph.nodes:
            if space(node) is Space.ONE and not isinstance(node.op, Random):
                small = all(x in early or (self.is_source(x) and size(x.shape) <= 16) for x in node.inputs)
                if small and all(space(x) in (Space.ONE, Space.FIXED) for x in node.inputs):
                    early.add(node)
        return early

    def _always(self, node: Node) -> bool:
        if self.is_source(node):
            return False
        if node in self.early:
            return _cost(node) >= DEAR or node in self.outputs
        anchor = isinstance(node.op, (Contraction, Reduction, Random)) or _scatters(node) or _joins(node)
        return anchor or node in self.outputs

    def _needed_whole(self, node: Node) -> Iterator[Node]:
        """Inputs that must stand in memory, because they are read more often than once or out of order."""
        across_rows = isinstance(node.op, Reduction) and 0 in node.attributes["axes"]
        if isinstance(node.op, (Contraction, Lookup)) or (across_rows and space(node.inputs[0]) is Space.ROWS):
            yield from node.inputs
        elif isinstance(node.op, Movement) and not node.op.stretches:
            yield from (x for x in node.inputs if not _follows(node, x))

    def shared(self, placed: Plan) -> set[Node]:
        """Nodes that two kernels would calculate, each for itself, and that are dear or need a product's result."""
        users: dict[Node, set[Any]] = {node: set() for node in self.graph.nodes}
        reach = self._reaches_product()
        marked: set[Node] = set()
        for node in reversed(self.graph.nodes):
            if self.is_source(node):
                continue
            fixed = node in self.always
            wanted = not fixed and len(users[node]) > 1 and node not in self.early
            if wanted and (node in reach or _cost(node) >= DEAR or self._cone_cost(node) >= LONG):
                marked.add(node)
                fixed = True
            # Within one kernel, values of one number a row are calculated in loops of their own.
            token: set[Any] = {(placed.home.get(node, node), size(node.shape[1:]) == 1)} if fixed else users[node]
            for x in node.inputs:
                users[x] |= token
        return marked

    def deep(self, stored: set[Node]) -> set[Node]:
        """Nodes on which no long chain of values that are not stored ends, once these are."""
        depth: dict[Node, int] = {}
        marked: set[Node] = set()
        for node in self.graph.nodes:
            known = node in stored or self.is_source(node)
            depth[node] = 0 if known else 1 + max((depth[x] for x in node.inputs), default=0)
            if depth[node] == DEEPEST:
                marked.add(node)
                depth[node] = 0
        return marked

    def _reaches_product(self) -> set[Node]:
        """Nodes that are calculated in passing from the result of a product."""
        reach: set[Node] = set()
        for node in self.graph.nodes:
            if node in self.always and not isinstance(node.op, Contraction):
                continue
            if isinstance(node.op, Contraction) or any(x in reach for x in node.inputs):
                reach.add(node)
        return reach

    def _cone_cost(self, node: Node) -> int:
        """Of the cheap operations between `node` and what is stored."""
        total, seen, stack = 0, {node}, [node]
        while stack:
            current = stack.pop()
            if _cost(current) < DEAR:
                total += _cost(current)
            for x in current.inputs:
                if x not in seen and x not in self.always and not self.is_source(x):
                    seen.add(x)
                    stack.append(x)
        return total

    def uses(self, node: Node, stored: set[Node]) -> list[Use]:
        """The stored values and sources that the calculation of `node` reads."""
        found: dict[Node, Use] = {}
        seen: set[Use] = set()
        stack = [Use(node, aligned=True, same=True, direct=True, below=True)]
        while stack:
            here = stack.pop()
            direct = here.direct and _reads_directly(here.node)
            for x, keeps, equal in self.reads[here.node]:
                same = here.same and equal and x.shape == node.shape
                use = Use(x, here.aligned and keeps, same, direct, here.below and _reads_below(here.node, x))
                if x in stored or self.is_source(x):
                    old = found.get(x, use)
                    both = old.same and use.same, old.direct and use.direct, old.below and use.below
                    found[x] = Use(x, old.aligned and use.aligned, *both)
                elif use not in seen:
                    seen.add(use)
                    stack.append(use)
        return list(found.values())


def _cost(node: Node) -> int:
    return node.op.cost if isinstance(node.op, (Pointwise, Random)) else 1


def _scatters(node: Node) -> bool:
    return isinstance(node.op, Lookup) and node.op.scatters


def _joins(node: Node) -> bool:
    return isinstance(node.op, Movement) and len(node.inputs) > 1


class _Probe:
    """Stands in for code generation, to learn at which places an operation reads its inputs."""

    def __init__(self) -> None:
        self.found: list[tuple[Node, list[Any]]] = []

    def read(self, node: Node, index: Sequence[Any], **_: Any) -> None:
        self.found.append((node, list(index)))

    def number(self, node: Node, index: Sequence[Any], limit: Any) -> "_Place":
        del limit
        self.found.append((node, list(index)))
        return _Place()

    def length(self, node: Node, axis: int) -> int:
        del node, axis
        return 1

    def reshaped(self, index: Sequence[Any], shape: Any, wanted: Any) -> list[Any]:
        if not shape or not wanted or shape[0] != wanted[0]:
            return [_Place() for _ in wanted]
        return [index[0], *(_Place() for _ in wanted[1:])]

    def stretched(self, index: Sequence[Any], wanted: Any) -> list[Any]:
        last = index[len(index) - len(wanted) :]
        return [_Place() if axis == 1 else place for place, axis in zip(last, wanted, strict=True)]


class _Place:
    """A place along an axis; any arithmetic makes another one of it."""

    def __add__(self, other: Any) -> "_Place":
        return _Place()

    __radd__ = __sub__ = __rsub__ = __mul__ = __floordiv__ = __mod__ = __add__

    def between(self, low: Any, high: Any) -> None: ...

    def divisible(self, by: Any) -> None: ...


def _reads(node: Node) -> Iterator[tuple[Node, bool, bool]]:
    """Each input, whether it is read at the same place of the first axis, and whether at the same element."""
    op = node.op
    if isinstance(op, Pointwise):
        for x in node.inputs:
            aligned = x.ndim == node.ndim and x.shape[:1] == node.shape[:1]
            yield x, aligned, x.shape == node.shape
    elif isinstance(op, Reduction):
        (x,) = node.inputs
        yield x, 0 not in node.attributes["axes"], False
    elif isinstance(op, Contraction):
        axes = labels(node.attributes["spec"])
        for x, letters in zip(node.inputs, (axes.a, axes.b), strict=True):
            yield x, axes.out[:1] != "" and letters[:1] == axes.out[:1], False
    elif _scatters(node) or isinstance(op, Random):
        yield from ((x, False, False) for x in node.inputs)
    elif isinstance(op, (Movement, Lookup)):
        probe, index = _Probe(), [_Place() for _ in node.shape]
        op.lower(probe, index, *node.inputs, **node.attributes)  # type: ignore[misc]
        for x in dict.fromkeys(node.inputs):
            places = [place for read, place in probe.found if read is x]
            aligned = bool(index) and all(place and place[0] is index[0] for place in places)
            same = all(len(place) == len(index) and all(map(_is, place, index)) for place in places)
            yield x, aligned, same and x.shape == node.shape


def _reads_directly(node: Node) -> bool:
    op = node.op
    if isinstance(op, Reduction):
        return not op.places
    return isinstance(op, Pointwise) or (isinstance(op, Movement) and (op.stretches or _only_adds_ones(node)))


def _reads_below(node: Node, x: Node) -> bool:
    """Is `x` read at the same place of the last axis?"""
    if isinstance(node.op, Pointwise):
        return x.shape[-1:] == node.shape[-1:]
    if isinstance(node.op, Reduction):
        return x.ndim - 1 not in node.attributes["axes"] and x.shape[-1:] == node.shape[-1:]
    return product(node) is not None and operands(node)[1] is x and operands(node)[0] is not x and not turned(node)


def _only_adds_ones(node: Node) -> bool:
    """Is it a reshape that adds or drops axes of length 1 alone?"""
    (x, *others) = node.inputs
    before, after = ([axis for axis in each.shape if axis != 1] for each in (x, node))
    return not others and getattr(node.op, "in_order", False) and before == after


def _is(a: Any, b: Any) -> bool:
    return a is b


def _follows(node: Node, x: Node) -> bool:
    """Does a movement of one input merely give the elements, in their order, another shape?"""
    return len(node.inputs) == 1 and size(node.shape) == size(x.shape) and getattr(node.op, "in_order", False)


# Placing


def _place(empty: Plan, stored: set[Node], kept: _Kept) -> Plan:
    """Kernels for the nodes of `stored`, each joined to one that is there already where it can be."""
    result = Plan(empty.graph, cuts=empty.cuts, networks=empty.networks, taken=empty.taken)
    for node in empty.graph.nodes:
        if node in stored and node not in kept.early:
            _place_one(node, kept.uses(node, stored), result)
        elif node in stored:
            result.scalars.append(node)
    return result


def _place_one(node: Node, uses: list[Use], result: Plan) -> None:
    homes = {use: result.home[use.node] for use in uses if use.node in result.home}
    kind = product(node)
    foreign = [use for use in uses if use.node not in result.taken]
    kernel = None if kind else _mirrored(node, result) or _joined(node, foreign, homes, result)
    if kernel is None:
        cut = result.cuts.get(node) if kind or node.ndim == 1 else None
        kernel = Kernel(space(node), [], len(result.kernels), kind, 0, _extent(node))
        kernel.cut, kernel.network = cut, result.networks.get(node)
        kernel.phase = _earliest(foreign, kernel)
        result.kernels.append(kernel)
    kernel.nodes.append(node)
    result.home[node] = kernel
    for use, home in homes.items():
        if home is not kernel:
            kernel.phase = max(kernel.phase, home.phase + _waits(use, home, kernel))


def _earliest(uses: list[Use], kernel: Kernel) -> int:
    """The phase from which all these are there: other threads take their rows of the batch just before phase 0."""
    rows = [use for use in uses if isinstance(use.node.op, Source) and space(use.node) is Space.ROWS]
    return int(not all(kernel.by_rows and use.aligned for use in rows))


def is_mirror(node: Node) -> bool:
    """Is it a matrix of fixed size turned about its diagonal?"""
    return node.op is TRANSPOSE and node.attributes["axes"] == (1, 0) and space(node) is Space.FIXED


def _mirrored(node: Node, result: Plan) -> Kernel | None:
    """The product that makes the matrix of which `node` is the mirror image: it stores each element twice."""
    home = result.home.get(node.inputs[0]) if is_mirror(node) else None
    return home if home is not None and home.product is Product.WEIGHTS else None


def _joined(node: Node, foreign: list[Use], homes: dict[Use, Kernel], result: Plan) -> Kernel | None:
    """The kernel that `node` can be calculated in, beside what is there; of its inputs, others take `foreign` ones."""
    latest = max((home.order for home in homes.values()), default=-1)
    if latest >= 0 and _finishes(node, homes, result.kernels[latest], result):
        last = result.kernels[latest]
        if last.phase >= _earliest(foreign, last) and _no_later(homes, last):
            return last
    here = space(node)
    if _scatters(node):
        return None
    shared = _extent(node), result.cuts.get(node) if node.ndim == 1 else None, result.networks.get(node)
    for kernel in reversed(result.kernels):
        if kernel.order < latest:
            break
        if kernel.product or kernel.space is not here or (kernel.extent, kernel.cut, kernel.network) != shared:
            continue
        if kernel.phase < _earliest(foreign, kernel):
            continue
        inside = [use for use, home in homes.items() if home is kernel]
        if here is Space.OTHER or (here is not Space.ONE and not all(use.aligned for use in inside)):
            continue
        if _no_later(homes, kernel):
            return kernel
    return None


def _finishes(node: Node, homes: dict[Use, Kernel], kernel: Kernel, result: Plan) -> bool:
    """Can `node` be calculated from the finished tiles of a product?"""
    if not kernel.product or not isinstance(node.op, Pointwise) or node.shape != kernel.anchor.shape:
        return False
    if kernel.product is Product.WEIGHTS and node.dtype != kernel.anchor.dtype:
        return False  # these tiles are stored as they are: no other type stands in such panels
    if (kernel.cut, kernel.network) != (result.cuts.get(node), result.networks.get(node)):
        return False
    return all(use.same for use, home in homes.items() if home is kernel)


def _no_later(homes: dict[Use, Kernel], kernel: Kernel) -> bool:
    """Would `kernel` stay in its phase if it read all of these?"""
    return all(home is kernel or home.phase + _waits(use, home, kernel) <= kernel.phase for use, home in homes.items())


def _waits(use: Use, home: Kernel, kernel: Kernel) -> int:
    """Must all threads have done `home` before one begins `kernel`?"""
    if home.network is not None or kernel.network is not None:
        return int(home.network not in (kernel.network, EVERYONES))
    if home.by_columns or kernel.by_columns:
        return 0 if own_values(use, kernel, home) else 1
    if home.space is kernel.space is Space.ROWS and use.aligned:
        return 0
    return 0 if home.space is kernel.space and home.space in (Space.ONE, Space.OTHER) else 1


def _stays(use: Use, kernel: Kernel) -> bool:
    """Does a kernel that is cut by columns read no others of this value?"""
    if kernel.cut is None or not kernel.cut.high:
        return use.below
    left, right = operands(kernel.anchor)
    return use.node is left and left is not right


def own_columns(use: Use, reader: Kernel, writer: Kernel | None, made: Node) -> bool:
    """Does each thread read the columns that it writes itself, of a value that `made` takes the place of?"""
    if reader.cut is None or writer is None or writer.cut is None or reader.cut.first is not writer.cut.first:
        return False
    return use.below and not reader.cut.high and is_mirror(made) == writer.cut.high


def own_values(use: Use, reader: Kernel, writer: Kernel) -> bool:
    """Does each thread read nothing but what it has written itself, in two kernels that are cut by columns?"""
    if reader.cut is None or writer.cut is None or reader.cut.first is not writer.cut.first:
        return False
    return not writer.cut.high and _stays(use, reader)


def _extent(node: Node) -> tuple[int, ...]:
    """What kernels of loops must have in common: the first axis, where it has a fixed length, and its cut."""
    if space(node) is not Space.FIXED:
        return ()
    shape = tuple(int(axis) for axis in node.shape)  # type: ignore[arg-type]
    return shape if len(shape) == 1 else (shape[0], 0)


def _readers(placed: Plan) -> dict[Node, set[Node]]:
    found: dict[Node, set[Node]] = {}
    for node, uses in placed.uses.items():
        for use in uses:
            found.setdefault(use.node, set()).add(node)
    return found


def _read_outside(placed: Plan) -> set[Node]:
    """The nodes whose value must stand in memory: outputs, and what is read beyond the loop that makes it."""
    needed = {node for node in placed.graph.outputs if node in placed.home}
    for node, home in placed.home.items():
        for use in placed.uses[node]:
            source = placed.home.get(use.node)
            inside = source is home and home.product and (use.same or is_mirror(node))
            if source is not None and not inside:
                needed.add(use.node)
    return needed
