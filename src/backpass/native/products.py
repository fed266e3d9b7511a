"""Kernels of matrix products: the tiles come from elsewhere, what is done with a finished tile from the graph."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property

from backpass.graph import Node
from backpass.native.indices import Index
from backpass.native.ir import Value
from backpass.native.kernel import Slot, Writer
from backpass.native.layout import Panelled, Strided, lanes_for
from backpass.native.loops import Loops, masks_below
from backpass.native.plan import Kernel, is_mirror, operands
from backpass.native.rows_product import RowsTiling, dots_product, rows_product
from backpass.native.tiles import Panels, Rows, Tile, transpose_tile
from backpass.native.weights_product import WeightsTiling, weights_product
from backpass.ops.kinds import Pointwise

SIDE_BY_SIDE = 8  # vectors, of which some can be worked on while others wait for what was begun 4 cycles ago
LONGEST = 160  # instructions: what is done with a tile is written out for all of it, or as a loop over rows beyond that


class Finish:
    """What becomes of finished tiles: the other nodes of the kernel, and stores."""

    def __init__(
        self,
        writer: Writer,
        kernel: Kernel,
        sinks: Mapping[Node, Sequence[Slot]],
        checked: AbstractSet[Node],
        width: int,
        made: Node | None = None,
    ) -> None:
        writer.from_start = True
        self.made = kernel.anchor if made is None else made
        """What a tile is of."""
        self.w = writer
        self.b = writer.b
        self.kernel = kernel
        self.width = width
        self.loops = Loops(writer, sinks, checked)
        self.stored = sinks
        self.checked = checked

    def __call__(self, row: Value, column: Value, tile: Tile) -> None:
        """Called with the first row and column of a finished tile."""
        cost = self._cost()
        if cost * len(tile) * len(tile[0]) <= LONGEST:
            self._tile(row, column, tile)
        else:
            self._by_rows(row, column, tile)

    def _tile(self, row: Value, column: Value, tile: Tile) -> None:
        w = self.w
        lanes = tile[0][0].type.lanes
        with w.deeper() as level, w.vectors(lanes, len(tile[0])):
            place = w.lane_index(column, level, self.width)
            first = Index(w, row, level=level)
            masks = self._masks(column)
            suspects: list[Value] = []
            rows = [self._rows(first + r, place, [vectors], suspects)[0] for r, vectors in enumerate(tile)]
            self.loops.report(suspects, masks)
            for node in filter(is_mirror, self.kernel.nodes):
                found = [known[node.inputs[0]] for known in rows]
                for slot in self.stored.get(node, ()):
                    self._turned(node, first, place, found, masks, slot)

    def _by_rows(self, row: Value, column: Value, tile: Tile) -> None:
        """The tile goes to the stack, and its rows are finished in a loop, some at a time."""
        w, b = self.w, self.b
        vector = tile[0][0].type
        height, count = len(tile), len(tile[0])
        together = max(r for r in range(1, height + 1) if height % r == 0 and (r == 1 or r * count <= SIDE_BY_SIDE))
        stack = b.reserve(vector, height * count)
        for r, vectors in enumerate(tile):
            for u, value in enumerate(vectors):
                b.store(value, stack, (r * count + u) * vector.lanes, align=vector.bytes * vector.lanes)
        mirrored = dict.fromkeys(node.inputs[0] for node in self.kernel.nodes if is_mirror(node))
        held = {source: b.reserve(vector, height * count) for source in mirrored}
        with w.deeper() as outer, w.vectors(vector.lanes, count):
            place = w.lane_index(column, outer, self.width)
            masks = self._masks(column)
            type_ = vector.element if self.kernel.anchor.shape[1] == 1 else vector
            clean = [b.constant(0.0, type_)] * (count if self.checked else 0)
            with w.deeper() as level, b.loop(0, height, together, carried=clean, stem="tile_row") as loop:
                starts = [b.mul(b.add(loop.index, r), count * vector.lanes) for r in range(together)]
                loaded = [[b.load(vector, stack, b.add(at, u * vector.lanes)) for u in range(count)] for at in starts]
                first = Index(w, b.add(row, loop.index), level=level)
                suspects = list(loop.carried)
                for start, known in zip(starts, self._rows(first, place, loaded, suspects), strict=True):
                    for source, memory in held.items():
                        for u, value in enumerate(w.spread(known[source])):
                            b.store(value, memory, b.add(start, u * vector.lanes))
                loop.next = suspects
            self.loops.report(loop.results, masks)
            first = Index(w, row, level=outer)
            for node in filter(is_mirror, self.kernel.nodes):
                memory = held[node.inputs[0]]
                rows = [
                    [b.load(vector, memory, (r * count + u) * vector.lanes) for u in range(count)]
                    for r in range(height)
                ]
                for slot in self.stored.get(node, ()):
                    self._turned(node, first, place, rows, masks, slot)

    def _cost(self) -> int:
        """Instructions that are done with each vector of a tile, about."""
        return sum(getattr(node.op, "cost", 1) + (2 if node in self.stored else 0) for node in self.calculated)

    @cached_property
    def calculated(self) -> list[Node]:
        """What is calculated of a finished tile, each value after all that it is made of."""
        own, seen, found = set(self.kernel.nodes), {self.kernel.anchor, self.made}, []

        def visit(node: Node) -> None:
            if node not in seen and (node in own or (node not in self.w.slots and isinstance(node.op, Pointwise))):
                seen.add(node)
                for x in node.inputs:
                    visit(x)
                found.append(node)

        for node in self.kernel.nodes:
            visit(node)
        return found

    def _rows(
        self, first: Index, place: Index, tile: Sequence[list[Value]], suspects: list[Value]
    ) -> list[dict[Node, list[Value]]]:
        """Some rows of a tile: all their values first, then the stores, which may write over what these are made of."""
        indices = [[first + r, place] for r in range(len(tile))]
        found = self._values(indices, tile)
        for index, known in zip(indices, found, strict=True):
            for node in (each for each in self.kernel.nodes if not is_mirror(each)):
                for slot in self.stored.get(node, ()):
                    self.w.store(node, index, known[node], slot=slot, padded=True)
                if node in self.checked:
                    self.loops.suspect(suspects, known[node])
        return found

    def _values(self, indices: Sequence[list[Index]], tile: Sequence[list[Value]]) -> list[dict[Node, list[Value]]]:
        """What is calculated at each of some rows of a tile.

        Each operation is done for all of them before the next one: so a core finds some that wait for nothing.
        """
        w = self.w
        found: list[dict[Node, list[Value]]] = []
        for index, vectors in zip(indices, tile, strict=True):
            # Of one column the other lanes are padding.
            values = [self.b.extract(vectors[0], 0)] if self.kernel.anchor.shape[1] == 1 else vectors
            w.know(self.made, index, values)
            found.append({self.made: values})
        own = set(self.kernel.nodes)
        for node in self.calculated:
            if node.shape == self.made.shape and not is_mirror(node):
                for index, known in zip(indices, found, strict=True):
                    known[node] = self.loops.calculate(node, index) if node in own else w.value(node, index)
        return found

    def _turned(
        self,
        node: Node,
        row: Index,
        column: Index,
        rows: list[list[Value]],
        masks: list[Value | None],
        slot: Slot,
    ) -> None:
        """Store a tile in its mirror image: for each column its elements of these rows, side by side."""
        w, b = self.w, self.b
        panels = slot.layout.panels  # type: ignore[union-attr]
        height, depth, columns = len(rows), panels.depth, panels.columns
        side_by_side = panels.width % height == 0 or (height == columns <= panels.width)
        if not rows[0][0].type.lanes or not side_by_side:
            for r, values in enumerate(rows):
                self._scattered(node, [column, row + r], values, masks, slot)
            return
        vectors = transpose_tile(b, rows)
        lanes, start = len(vectors), Index(w, row.base, level=row.level, multiple=height)
        at = start // panels.width * panels.stride + start % panels.width
        first = Index(w, column.base, level=column.level) * panels.width + at
        if depth % w.lanes == 0:
            for x, vector in enumerate(vectors):
                b.store(vector, slot.pointer, b.add(first.base, x * panels.width))
            return
        stack = b.reserve(vectors[0].type, lanes)
        for x, vector in enumerate(vectors):
            b.store(vector, stack, x * _held(height))
        there = b.smallest(b.sub(depth, column.base), lanes)
        with b.loop(0, there) as loop:
            vector = b.load(vectors[0].type, stack, b.mul(loop.index, _held(height)))
            b.store(vector, slot.pointer, b.add(first.base, b.mul(loop.index, panels.width)))

    def _scattered(
        self, node: Node, index: list[Index], values: list[Value], masks: list[Value | None], slot: Slot
    ) -> None:
        if not values[0].type.lanes:
            self.w.store(node, index, values, slot=slot)
            return
        places = self.w.places(slot, index)
        if isinstance(places, list):
            raise TypeError("lanes of a mirrored matrix do not lie side by side")
        for value, vector, mask in zip(values, places.lanes(), masks, strict=True):
            self.b.scatter(value, slot.pointer, vector, mask)

    def _masks(self, column: Value) -> list[Value | None]:
        """Of the vectors of a tile the lanes that hold columns; made only where something asks for them."""
        wanted = any(is_mirror(node) or node in self.checked for node in self.kernel.nodes)
        if not wanted:
            return [None] * self.w.count
        return masks_below(self.w, column, int(self.kernel.anchor.shape[1]))  # type: ignore[arg-type]


def write_rows_product(
    writer: Writer,
    kernel: Kernel,
    begin: Value,
    end: Value,
    tiling: RowsTiling,
    sinks: Mapping[Node, Sequence[Slot]],
    checked: AbstractSet[Node],
    scratch: Value,
    inside: tuple[Value, Value] | None = None,
    wanted: Sequence[range] | None = None,
    onto: Node | None = None,
) -> None:
    """Rows [begin, end) of a product with weights; or, where it is cut by columns, these panels of rows `inside`.

    Of the others only the panels that are `wanted`. The sums begin with the other input of `onto`.
    """
    left, right = operands(kernel.anchor)
    slot = writer.slots[right]
    if not isinstance(slot.layout, Panelled):
        raise TypeError("weights stand in panels")
    finish = Finish(writer, kernel, sinks, checked, slot.layout.panels.width, onto)
    whole = inside or (writer.b.i64(0), writer.rows)
    (first, last), cut = (whole, (begin, end)) if kernel.by_columns else ((begin, end), None)
    panels = slot.layout.panels
    rows_product(
        writer.b,
        _rows(writer, left),
        slot.pointer,
        panels,
        first,
        last,
        tiling,
        finish,
        cut,
        scratch,
        wanted,
        _start(writer, kernel, onto),
        goes_on=inside is not None,
    )


def write_dots_product(
    writer: Writer,
    kernel: Kernel,
    begin: Value,
    end: Value,
    rows: int,
    sinks: Mapping[Node, Sequence[Slot]],
    checked: AbstractSet[Node],
) -> None:
    """Rows [begin, end) of a product with few rows of weights."""
    left, right = operands(kernel.anchor)
    slot = writer.slots[right]
    panels = _panels(slot)
    lanes = lanes_for(panels.depth, panels.lanes)
    finish = Finish(writer, kernel, sinks, checked, lanes)
    dots_product(writer.b, _rows(writer, left), slot.pointer, panels, begin, end, rows, lanes, finish)


def write_weights_product(
    writer: Writer,
    kernel: Kernel,
    panels: Panels,
    begin: Value,
    end: Value,
    tiling: WeightsTiling,
    sinks: Mapping[Node, Sequence[Slot]],
    checked: AbstractSet[Node],
    scratch: Value,
    beside: Sequence[Node],
    onto: Node | None = None,
    inside: tuple[Value, Value] | None = None,
    stands: Value | None = None,
) -> None:
    """The units [begin, end) of a product that sums over rows; its sums begin with the other input of `onto`.

    Where it is cut by columns, they are panels, or tiles where these columns are its rows; `inside` are the tiles or
    panels of these that are done. `stands` is as in `weights_product`.
    """
    left, right = operands(kernel.anchor)
    finish = Finish(writer, kernel, sinks, checked, panels.width, onto)
    weights_product(
        writer.b,
        _rows(writer, left),
        _rows(writer, right),
        panels,
        1 if writer.rows.constant == 1 else writer.rows,
        begin,
        end,
        tiling,
        finish,
        scratch,
        [writer.slots[node].pointer for node in beside],
        _start(writer, kernel, onto),
        parts=None if kernel.cut is None else "tiles" if kernel.cut.high else "panels",
        inside=inside,
        stands=stands,
    )


def _start(writer: Writer, kernel: Kernel, onto: Node | None) -> Value | None:
    """Where that stands with which sums begin."""
    start = None if onto is None else next(x for x in onto.inputs if x is not kernel.anchor)
    return None if start is None else writer.slots[start].pointer


def _panels(slot: Slot) -> Panels:
    if not isinstance(slot.layout, Panelled):
        raise AssertionError("weights stand in panels")  # noqa: TRY004 - a fault of ours
    return slot.layout.panels


def _rows(writer: Writer, node: Node) -> Rows:
    slot = writer.slots[node]
    if not isinstance(slot.layout, Strided):
        raise TypeError("rows stand one after the other")
    return Rows(slot.pointer, slot.layout.strides[0])


def _held(count: int) -> int:
    """Elements from a vector of so many to the next, on the stack: a vector's size is a power of 2."""
    return 1 << (count - 1).bit_length()
