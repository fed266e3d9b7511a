"""Kernels of loops: everything that is not a product of matrices, row by row or chunk by chunk."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import groupby, pairwise, product
from math import gcd, prod

from backpass.graph import Axis, Batch, Node, size
from backpass.native.indices import Index
from backpass.native.ir import I64, Value
from backpass.native.kernel import Slot, Values, Writer, chunks_of
from backpass.native.layout import COLUMNS_AT_ONCE, Panelled, lanes_for
from backpass.native.plan import Kernel, Space
from backpass.ops.kinds import Lookup, Movement, Random
from backpass.ops.random import GROUP

NARROW = 4  # numbers a row, up to which lanes are rows
WRITTEN_OUT = 16, 600  # and so they are up to so many numbers a row where these take no more than so many instructions
MOST_PIECES = 32  # of a row that is put together: each has a loop of its own


class Loops:
    """Writes the loops of one kernel.

    Args:
        writer: of the values.
        sinks: where values must stand afterwards; a node may have several places, or none.
        checked: the nodes of which every element must be finite; one that is not is reported at `writer.status`.
    """

    def __init__(self, writer: Writer, sinks: Mapping[Node, Sequence[Slot]], checked: AbstractSet[Node]) -> None:
        self.w = writer
        self.b = writer.b
        self.sinks = sinks
        self.checked = checked
        self.apart: Mapping[Node, AbstractSet[Node]] = {}
        self.readers: Mapping[Node, AbstractSet[Node]] = {}

    def write(self, kernel: Kernel, begin: Value, end: Value, together: int = 0) -> None:
        """The loops of `kernel` over [begin, end) of what its space is split by.

        Elements of one axis are split by so many vectors `together`, if that is not 0.
        """
        self.apart, self.readers = kernel.apart, kernel.readers
        match kernel.space:
            case Space.ROWS:
                self._scattered(kernel.nodes, begin, end)
                self._rows([node for node in kernel.nodes if not _scatters(node)], begin, end)
            case Space.FIXED if len(kernel.extent) == 1:
                self._columns(kernel.nodes, begin, end, together or COLUMNS_AT_ONCE)
            case Space.FIXED:
                self._scattered(kernel.nodes, begin, end)
                self._rows([node for node in kernel.nodes if not _scatters(node)], begin, end)
            case _:
                for node in kernel.nodes:
                    if _scatters(node):
                        self._scattered([node], self.b.i64(0), self.w.along(node, 0))
                    else:
                        self._anywhere(node)

    # Values

    def calculate(self, node: Node, index: Sequence[Index]) -> Values:
        """The value of a node of this kernel, known from here on."""
        values = self.w.calculated(node, index)
        self.w.know(node, index, values)
        return values

    def keep(self, node: Node, index: Sequence[Index], values: Values, *, padded: bool = False) -> None:
        """Store it, where it must stand in memory."""
        for slot in self.sinks.get(node, ()):
            self.w.store(node, index, values, slot=slot, padded=padded)

    def suspect(self, suspects: Values, values: Values) -> None:
        """Note `values` in `suspects`, a total for each vector: 0 as long as all are finite, and then a NaN."""
        zero = self.b.constant(0.0, values[0].type)
        for u, value in enumerate(values):
            if u == len(suspects):
                suspects.append(self.b.mul(value, zero))
            elif value.type == suspects[u].type:
                suspects[u] = self.b.fma(value, zero, suspects[u])
            else:
                found = self.b.convert(self.b.mul(value, zero), suspects[u].type)
                suspects[u] = self.b.add(suspects[u], found)

    def report(self, suspects: Values, masks: Sequence[Value | None]) -> None:
        """Say that a value is not finite, where a total of `suspect` shows it."""
        b = self.b
        if not suspects:
            return
        zero = b.constant(0.0, suspects[0].type)
        seen = [
            total if mask is None or not total.type.lanes else b.select(mask, total, zero)
            for total, mask in zip(suspects, masks, strict=False)
        ]
        wrong = b.is_nan(b.tree(seen, b.add))
        with b.when(b.any(wrong) if wrong.type.lanes else wrong):
            b.store(b.i64(2), self.w.status)

    # Rows

    def _rows(self, nodes: Sequence[Node], begin: Value, end: Value) -> None:
        for narrow, group in groupby(nodes, key=self._is_narrow):
            if not narrow or self.w.rows.constant == 1:
                self._row_by_row(list(group), begin, end)
                continue
            for run in self._runs(group, lambda _: None):
                self._rows_as_lanes(run, begin, end)

    def _is_narrow(self, node: Node) -> bool:
        """Is it so little a row of the batch that vectors along the row would be mostly empty?"""
        if not isinstance(node.shape[0], Batch) or _is_random(node):
            return False
        if size(node.shape[1:]) <= NARROW:
            return True
        most, instructions = WRITTEN_OUT
        numbers = max(size(x.shape[1:]) for x in (node, *node.inputs) if x.shape[:1] == node.shape[:1])
        return numbers <= most and numbers * self._instructions(node) <= instructions

    def _instructions(self, node: Node) -> int:
        """For one number of a value, about: of all that is calculated in passing."""
        total, seen, stack = 0, {node}, [node]
        while stack:
            current = stack.pop()
            total += getattr(current.op, "cost", 1)
            for x in current.inputs:
                if x not in seen and x not in self.w.slots:
                    seen.add(x)
                    stack.append(x)
        return total

    def _runs(self, nodes: Iterable[Node], key: Callable[[Node], object]) -> list[list[Node]]:
        """Cut where the key changes, or where a node reads from memory what one before it in the run makes."""
        runs: list[list[Node]] = []
        for node in nodes:
            last = runs[-1] if runs else []
            if last and key(last[0]) == key(node) and self.apart.get(node, set()).isdisjoint(last):
                last.append(node)
            else:
                runs.append([node])
        return runs

    def _rows_as_lanes(self, nodes: Sequence[Node], begin: Value, end: Value) -> None:
        """Values of a few numbers a row: lanes are rows. The last vector reaches into the padding.

        All numbers of a row are worked on in one round of the loop, so what is read there alone need not be stored.
        """
        w = self.w
        inside = set(nodes)
        with w.deeper() as level, self.b.loop(begin, end, w.width, stem="row") as loop, w.vectors(w.width, 1):
            row = w.lane_index(loop.index, level, 1)
            values: list[tuple[Node, list[tuple[list[Index], Values]]]] = []
            for node in nodes:
                numbers = product(*(range(int(axis)) for axis in node.shape[1:]))  # type: ignore[arg-type]
                places = [[row, *map(w.index, number)] for number in numbers]
                values.append((node, [(place, self.calculate(node, place)) for place in places]))
            suspects: Values = []
            for node, found in values:
                if not self._is_read_inside(node, inside):
                    self._keep_rows(node, found)
                if node in self.checked:
                    for _, value in found:
                        self.suspect(suspects, w.spread(value))
            self.report(suspects, [None])

    def _is_read_inside(self, node: Node, inside: AbstractSet[Node]) -> bool:
        """Is it read by none but these, made in the same round of a loop, and there? Then nobody needs it stored."""
        readers = self.readers.get(node)
        return readers is not None and readers <= inside and not any(node in self.apart.get(x, ()) for x in readers)

    def _keep_rows(self, node: Node, values: Sequence[tuple[list[Index], Values]]) -> None:
        """Store rows whose numbers stand in a vector each, a row in a lane."""
        for slot in self.sinks.get(node, ()):
            if len(values) > 1 and self.w.turns(node, slot):
                self.w.store_turned(slot, values[0][0], [self.w.spread(value)[0] for _, value in values])
                continue
            for place, value in values:
                self.w.store(node, place, value, slot=slot, padded=True)

    def _row_by_row(self, nodes: Sequence[Node], begin: Value, end: Value) -> None:
        with self.w.deeper() as level, self.b.loop(begin, end, stem="row") as loop:
            row = Index(self.w, loop.index, level=level)
            for run in self._runs(nodes, lambda node: (node.shape[1:], _edges(node))):
                self._inside(row, [int(axis) for axis in run[0].shape[1:]], run)  # type: ignore[arg-type]

    def _inside(self, row: Index, shape: Sequence[int], nodes: Sequence[Node]) -> None:
        """One row of values of equal shape."""
        w = self.w
        if prod(shape) == 1:
            self._together([(node, [row, *[w.zero] * len(shape)]) for node in nodes])
        elif len(shape) == 1:
            self._chunks(shape[0], nodes, lambda column: [row, column], whole_rows=all(map(self._has_room, nodes)))
        else:
            self._deep(row, shape, nodes)

    def _has_room(self, node: Node) -> bool:
        """Does each row end in room of its own, up to a whole vector? Only then may that be written over."""
        layouts = [slot.layout for slot in self.sinks.get(node, ())]
        step = -(-size(node.shape[1:]) // self.w.width) * self.w.width
        return all(isinstance(layout, Panelled) or layout.strides[0] >= step for layout in layouts)

    def _deep(self, row: Index, shape: Sequence[int], nodes: Sequence[Node]) -> None:
        """Rows of several axes: loops over all but the last."""
        w = self.w

        def nest(known: list[Index], axes: Sequence[int]) -> None:
            if len(axes) == 1:
                self._chunks(axes[0], nodes, lambda column: [*known, column], whole_rows=False)
                return
            with w.deeper() as level, self.b.loop(0, axes[0]) as loop:
                nest([*known, Index(w, loop.index, level=level)], axes[1:])

        nest([row], shape)

    def _chunks(self, length: int, nodes: Sequence[Node], index: object, *, whole_rows: bool = True) -> None:
        """Vectors along the last axis, several at once; piece by piece where what is read comes from several places.

        A vector at the end of a piece reaches into the next one, which is written after it, where there is room for it.
        """
        w, place = self.w, index
        room = -(-length // w.width) * w.width
        for first, last, together in self._pieces(nodes, length):
            lanes, most = self._cut(nodes, last - first)
            most = gcd(most, together // lanes) if together and together % lanes == 0 else most
            padded = whole_rows and first + -(-(last - first) // lanes) * lanes <= room
            span = (0, last - first)
            for begin, end, step, count, tail in chunks_of(last - first, lanes, most):
                with w.vectors(lanes, count, tail):
                    if end - begin <= step:
                        column = w.lane_index(self.b.i64(begin), 0, begin, span) + first
                        self._together([(node, place(column)) for node in nodes], padded=padded)  # type: ignore[operator]
                        continue
                    with w.deeper() as level, self.b.loop(begin, end, step, stem="column") as loop:
                        column = w.lane_index(loop.index, level, step, span) + first
                        self._together([(node, place(column)) for node in nodes], padded=padded)  # type: ignore[operator]

    def _pieces(self, nodes: Sequence[Node], length: int) -> list[tuple[int, int, int]]:
        """An axis cut where what is read changes: from, to, and how many neighbours stand side by side there, or 0."""
        cuts = sorted({0, length, *(edge for node in nodes for edge in _edges(node))})
        panelled = any(isinstance(slot.layout, Panelled) for node in nodes for slot in self.sinks.get(node, ()))
        if panelled or len(cuts) - 1 > MOST_PIECES:
            return [(0, length, 0)] if length else []
        return [(first, last, self._side_by_side(nodes, first)) for first, last in pairwise(cuts)]

    def _side_by_side(self, nodes: Sequence[Node], first: int) -> int:
        """The length of the last axis of what is only given another shape, at `first`; 0 where nothing is."""
        lengths = []
        for node in nodes:
            place = sum(edge <= first for edge in _edges(node))
            if len(node.inputs) > 1 and place < len(node.inputs) and _edges(node):
                part = node.inputs[place]
                if getattr(part.op, "in_order", False) and part not in self.w.slots:
                    lengths.append(int(part.inputs[0].shape[-1]))  # type: ignore[arg-type]
        return min(lengths, default=0)

    def _cut(self, nodes: Sequence[Node], length: int) -> tuple[int, int]:
        """Lanes of a vector, and vectors at once."""
        w = self.w
        for node in nodes:
            layout = next((slot.layout for slot in self.sinks.get(node, ())), None)
            if isinstance(layout, Panelled):
                return layout.panels.lanes, layout.panels.vectors
        if any(map(_is_random, nodes)):
            return w.width, GROUP // w.width
        return lanes_for(length, w.width), COLUMNS_AT_ONCE

    def _together(self, places: Sequence[tuple[Node, list[Index]]], *, padded: bool = False) -> None:
        """All values first, then all stores: a store may write over what another value is made of."""
        values = [self.calculate(node, index) for node, index in places]
        suspects: dict[int, Values] = {}
        inside = {node for node, _ in places}
        for (node, index), found in zip(places, values, strict=True):
            if not self._is_read_inside(node, inside):
                self.keep(node, index, found, padded=padded)
            if node in self.checked:
                self.suspect(suspects.setdefault(found[0].type.lanes, []), found)
        for totals in suspects.values():
            self.report(totals, [self.w.mask(u) if self.w.lanes else None for u in range(len(totals))])

    # Columns

    def _columns(self, nodes: Sequence[Node], begin: Value, end: Value, together: int) -> None:
        """Values of one axis of fixed length, in units of some vectors."""
        w, (length,) = self.w, (int(axis) for axis in nodes[0].shape)  # type: ignore[arg-type]
        step = w.width * together
        for node in nodes:
            if _scatters(node):
                self._scatter(node, self.b.mul(begin, step), self.b.smallest(self.b.mul(end, step), length))
        rest = [node for node in nodes if not _scatters(node)]
        if not rest:
            return
        whole = length // step
        if whole:
            with (
                w.deeper() as level,
                self.b.loop(begin, self.b.smallest(end, whole), stem="unit") as loop,
                w.vectors(w.width, together),
            ):
                column = w.lane_index(self.b.mul(loop.index, step), level, step)
                self._together([(node, [column]) for node in rest], padded=True)
        if length % step:
            left = length - whole * step
            with (
                self.b.when(self.b.compare("gt", end, whole)),
                w.deeper(),
                w.vectors(w.width, -(-left // w.width), left if left % w.width else None),
            ):
                column = w.lane_index(self.b.i64(whole * step), w.depth, step)
                self._together([(node, [column]) for node in rest], padded=True)

    # Everything else

    def _anywhere(self, node: Node) -> None:
        """A value that is not split: loops over its axes, vectors along the last."""
        w, b = self.w, self.b

        def nest(known: list[Index], axis: int) -> None:
            length = w.length(node, axis) if axis < node.ndim else 1
            if axis >= node.ndim - 1:
                last(known, length)
                return
            end = length.base if isinstance(length, Index) else length
            with w.deeper() as level, b.loop(0, end) as loop:
                nest([*known, Index(w, loop.index, level=level)], axis + 1)

        def last(known: list[Index], length: object) -> None:
            if not node.ndim or length == 1:
                self._together([(node, [*known, w.zero][: node.ndim])])
            elif isinstance(length, int):
                self._chunks(length, [node], lambda column: [*known, column], whole_rows=False)
            elif isinstance(length, Index):
                with w.deeper() as level, b.loop(0, length.base, w.width) as loop, w.vectors(w.width, 1):
                    self._together([(node, [*known, w.lane_index(loop.index, level, 1)])], padded=True)

        nest([], 0)

    def _scattered(self, nodes: Sequence[Node], begin: Value, end: Value) -> None:
        for node in filter(_scatters, nodes):
            self._scatter(node, begin, end)

    def _scatter(self, node: Node, begin: Value, end: Value) -> None:
        """Values added up at the rows [begin, end) that numbers name, in the order in which they stand."""
        w, b = self.w, self.b
        values, numbers = node.inputs
        inner = tuple(node.shape[1:])
        self._zero(node, begin, end, inner)

        def nest(known: list[Index]) -> None:
            if len(known) == numbers.ndim:
                (number,) = w.value(numbers, known)
                number = b.convert(number, I64)
                w.report_misfits(numbers, [b.below(number, w.along(node, 0))], known)
                here = b.bit_and(b.compare("ge", number, begin), b.compare("lt", number, end))
                with b.when(here), w.deeper():
                    target = Index(w, number, level=w.depth)
                    for index in self._across(inner):
                        old, new = self._old(node, [target, *index]), w.value(values, [*known, *index])
                        w.store(node, [target, *index], w.each([old, new], w.add))
                return
            length = w.length(numbers, len(known))
            with w.deeper() as level, b.loop(0, length.base if isinstance(length, Index) else length) as loop:
                nest([*known, Index(w, loop.index, level=level)])

        nest([])

    def _old(self, node: Node, index: list[Index]) -> Values:
        return self.w.load(node, index)

    def _zero(self, node: Node, begin: Value, end: Value, inner: Sequence[Axis]) -> None:
        w, b = self.w, self.b
        with w.deeper() as level, b.loop(begin, end) as loop:
            row = Index(w, loop.index, level=level)
            for index in self._across(inner):
                w.store(node, [row, *index], [b.constant(0, w.scalar(node))])

    def _across(self, inner: Sequence[Axis]) -> Iterator[list[Index]]:
        """Every place of a row, while the loops for it are being written; vectors along the last axis."""
        w, b = self.w, self.b
        if 0 in inner:
            return
        axes = list(inner)
        if all(axis == 1 for axis in axes):
            yield [w.zero] * len(axes)
        elif len(axes) > 1 or isinstance(axes[0], Batch):
            length = w.rows if isinstance(axes[0], Batch) else axes[0]
            with w.deeper() as level, b.loop(0, length) as loop:
                here = Index(w, loop.index, level=level)
                for index in self._across(axes[1:]):
                    yield [here, *index]
        else:
            for begin, end, step, count, tail in chunks_of(axes[0], w.width, 1):
                with w.vectors(w.width, count, tail), w.deeper() as level, b.loop(begin, end, step) as loop:
                    yield [w.lane_index(loop.index, level, step)]


def _edges(node: Node) -> tuple[int, ...]:
    """Where along its last axis a value begins to be read elsewhere."""
    if not isinstance(node.op, Movement):
        return ()
    return tuple(node.op.edges(*node.inputs, **node.attributes))


def _scatters(node: Node) -> bool:
    return isinstance(node.op, Lookup) and node.op.scatters


def _is_random(node: Node) -> bool:
    return isinstance(node.op, Random)


def masks_below(writer: Writer, column: Value, length: int) -> list[Value | None]:
    """Of vectors that begin at `column` the lanes that lie below `length`; None where all vectors are full."""
    if length % writer.lanes == 0:
        return [None] * writer.count
    b = writer.b
    left = b.sub(length, column)
    if left.constant is not None:
        masks = [int(left.constant) - u * writer.lanes for u in range(writer.count)]
        return [None if there >= writer.lanes else b.first_lanes(b.i64(there), writer.lanes) for there in masks]
    return [b.first_lanes(b.sub(left, u * writer.lanes), writer.lanes) for u in range(writer.count)]
