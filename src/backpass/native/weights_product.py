"""Products that sum over rows, as gradients of weights do: D = Xᵀ E, loops over tiles, and the choice of these."""

from collections.abc import Sequence
from typing import Literal

from backpass.native.ir import PTR, Builder, Value
from backpass.native.target import Target
from backpass.native.tiles import (
    DEPTH_TILES,
    HERE_BYTES,
    LINE_BYTES,
    Finish,
    Operand,
    Panels,
    Rows,
    Stream,
    Sums,
    cut_sums,
    depth_at_a_time,
    each_panel,
    line_of,
    most_rows,
    rounded_up,
    sums_bytes,
    tile_of_products,
)
from backpass.records import dataclass

PACKED_BYTES = 2 * 1024 * 1024
"""Of a copied block of X."""
FAR_BYTES = 1280 * 1024
"""X and E of more than this together are copied, so that they are read on and on, not with long strides.

Where they are nearer, sums are cut instead, so that what a tile reads stays in a first-level cache for the next one.
"""
NEAR_TILES = 32
"""So many tiles to a block then, whose sums must stay near, too."""
AHEAD = 8
"""X, whose rows are far apart, is asked for so many steps ahead."""


@dataclass(frozen=True)
class WeightsTiling:
    """How a `weights_product` is cut, and whether its operands are copied.

    Attributes:
        rows: of the weights to a tile.
        block: rows of the weights to a unit of work, a multiple of `rows`.
        packed: 0, or the most rows of the batch that a thread makes room for, to copy what a unit reads.
        depth: rows of the batch that are summed up for all tiles of a unit before the next ones; 0 for all.
    """

    rows: int
    block: int
    packed: int = 0
    depth: int = 0


def weights_product(
    b: Builder,
    x: Rows,
    errors: Rows,
    panels: Panels,
    count: Value | int,
    begin: Value,
    end: Value,
    tiling: WeightsTiling,
    finish: Finish,
    scratch: Value | None = None,
    beside: Sequence[Value] = (),
    onto: Value | None = None,
    *,
    parts: Literal["panels", "tiles"] | None = None,
    inside: tuple[Value, Value] | None = None,
    stands: Value | None = None,
) -> None:
    """D[k, j] = sum over i < count of X[i, k] E[i, j], for the units [begin, end) of `weights_units`.

    Each element is in one tile, and each tile done once. `parts` says what else [begin, end) are: panels, or tiles;
    and `inside` which tiles or panels of these are done, all where that is not given. `scratch` points to
    `scratch_bytes` bytes of the thread's own, aligned to 64 bytes. `stands` is the last unit that was done just
    before, whose copied X stands there yet (of tiles any number from 0 on: it is that of their last block); less than 0
    where none was. `beside` are arrays in these panels that `finish` reads: their memory is asked for one tile before.
    `onto` points to a matrix in these panels with which the sums begin; with zeros where there is none.
    """
    if onto is not None and tiling.depth:
        raise ValueError("sums that are cut begin with zeros")
    scratch = b.undefined(PTR) if scratch is None else scratch
    work = _WeightsProduct(b, x, errors, panels, count, tiling, finish, scratch, beside, onto)
    if parts is None:
        work.units(begin, end, stands)
    elif parts == "panels":
        work.part(*(inside or (b.i64(0), b.i64(-(-panels.depth // tiling.rows)))), begin, end)
    else:
        work.part(begin, end, *(inside or (b.i64(0), b.i64(panels.count))), stands)


@dataclass
class _WeightsProduct:
    """The loops of `weights_product`: blocks of X, panels, tiles."""

    b: Builder
    x: Rows
    errors: Rows
    panels: Panels
    count: Value | int
    tiling: WeightsTiling
    finish: Finish
    scratch: Value
    beside: Sequence[Value]
    onto: Value | None

    def units(self, begin: Value, end: Value, stands: Value | None = None) -> None:
        b, panels, tiling = self.b, self.panels, self.tiling
        tiles = -(-panels.depth // tiling.rows)
        block_tiles = tiling.block // tiling.rows
        with b.when(b.compare("lt", begin, end)):
            last_block = b.add(b.div(b.sub(end, 1), panels.count), 1)
            with b.loop(b.div(begin, panels.count), last_block, stem="block") as block:
                first = b.mul(block.index, block_tiles)
                last = b.smallest(b.add(first, block_tiles), tiles)
                if tiling.packed:
                    same = None if stands is None else b.compare("eq", b.div(stands, panels.count), block.index)
                    self.pack_block(first, last, stands, same)
                unit = b.mul(block.index, panels.count)
                low, high = b.largest(b.sub(begin, unit), 0), b.smallest(b.sub(end, unit), panels.count)
                each_panel(b, panels, low, high, lambda panel, vectors: self.panel(panel, vectors, first, last))

    def part(self, begin: Value, end: Value, low: Value, high: Value, stands: Value | None = None) -> None:
        """The tiles [begin, end) of the panels [low, high). What stands is a copy of the last block of these tiles."""
        b, panels, tiling = self.b, self.panels, self.tiling
        step = tiling.block // tiling.rows
        with b.when(b.compare("lt", low, high)), b.loop(begin, end, step, stem="block") as block:
            first, last = block.index, b.smallest(b.add(block.index, step), end)
            if tiling.packed:
                self.pack_block(first, last, stands, b.compare("le", b.sub(end, begin), step))  # the only one?
            each_panel(b, panels, low, high, lambda panel, vectors: self.panel(panel, vectors, first, last))

    def panel(self, panel: Value, vectors: int, first: Value, last: Value) -> None:
        """The tiles [first, last) of a panel."""
        b, panels, rows = self.b, self.panels, self.tiling.rows
        column = b.mul(panel, panels.width)
        right = Rows(b.offset(self.errors.pointer, column, panels.type), self.errors.stride)
        errors = right.pointer
        if self.tiling.packed:
            right = self.pack_errors(right, vectors)
        size = rows * vectors
        where = self.scratch
        if self.tiling.depth:
            where = b.offset(where, _packed_bytes(panels, self.tiling) // panels.type.bytes, panels.type)
        sums = Sums(b, where, panels, size, self.tiling.block // rows) if self.tiling.depth else None

        def tile(index: Value, height: int, start: Value, depth: Value | int, *, is_last: bool) -> None:
            k = b.mul(index, rows)
            vector_offsets = [v * panels.lanes for v in range(vectors)]
            here = b.sub(index, first)
            before = self.start(panel, k, height, vectors) if sums is None else sums.before(here)[: height * vectors]
            products = tile_of_products(
                b,
                panels,
                depth,
                self.left(index, k, first, height, start),
                Operand(b.offset(right.pointer, b.mul(start, right.stride), panels.type), right.stride, vector_offsets),
                self.streams(panel, k, here, b.sub(last, first), start, depth, errors, is_last=is_last),
                before,
            )
            if sums is None or is_last:
                self.finish(k, column, products)
            else:
                sums.keep(here, products)

        whole, remainder = divmod(panels.depth, rows)

        def sum_up(start: Value, depth: Value | int, *, is_last: bool) -> None:
            if whole:
                with b.loop(first, b.smallest(last, whole), stem="tile") as loop:
                    tile(loop.index, rows, start, depth, is_last=is_last)
            if remainder:
                with b.when(b.compare("gt", last, whole)):
                    tile(b.i64(whole), remainder, start, depth, is_last=is_last)

        cut_sums(b, self.count, self.tiling.depth, sums, sum_up)

    def streams(
        self,
        panel: Value,
        k: Value,
        index: Value,
        tiles: Value,
        start: Value,
        depth: Value | int,
        errors: Value,
        *,
        is_last: bool,
    ) -> list[Stream]:
        """What is asked for beside a tile: what the next one is finished with, and its share of the next panel of E."""
        b, panels, rows = self.b, self.panels, self.tiling.rows
        line = line_of(panels)
        streams = []
        if is_last:
            next_tile = b.add(b.mul(panel, panels.stride), b.mul(b.add(k, rows), panels.width))
            count = b.i64(rows * panels.width // line)
            streams = [Stream(array, next_tile, line, count) for array in self.beside]
        if self.tiling.packed:
            share = b.add(b.div(depth, tiles), 1)
            row = b.add(start, b.mul(index, share))
            lines = range(0, panels.width, line)
            first = b.add(b.mul(row, self.errors.stride), panels.width)
            streams.append(Stream(errors, first, self.errors.stride, share, lines, locality=2))
        return streams

    def start(self, panel: Value, k: Value, height: int, vectors: int) -> list[Value]:
        """What the sums of a tile begin with, row by row."""
        b, panels = self.b, self.panels
        vector = panels.type.vector(panels.lanes)
        if self.onto is None:
            return [b.constant(0.0, vector)] * (height * vectors)
        at = b.add(b.mul(panel, panels.stride), b.mul(k, panels.width))
        places = [r * panels.width + v * panels.lanes for r in range(height) for v in range(vectors)]
        return [b.load(vector, self.onto, b.add(at, place)) for place in places]

    def left(self, index: Value, k: Value, first: Value, height: int, start: Value) -> Operand:
        """X for a tile, from a row of the batch on."""
        b, type_, rows = self.b, self.panels.type, self.tiling.rows
        if self.tiling.packed:
            at = b.add(b.mul(b.sub(index, first), _packed_tile(self.panels, self.tiling)), b.mul(start, rows))
            return Operand(b.offset(self._packed_x(), at, type_), rows, range(height))
        ahead = 0 if isinstance(self.count, int) else AHEAD
        at = b.add(k, b.mul(start, self.x.stride))
        return Operand(b.offset(self.x.pointer, at, type_), self.x.stride, range(height), ahead)

    def _packed_x(self) -> Value:
        to = self.b.offset(self.scratch, self.tiling.packed * self.panels.width, self.panels.type)
        tiles = self.tiling.block // self.tiling.rows
        size = _packed_tile(self.panels, self.tiling) * tiles * self.panels.type.bytes
        return self.b.owns(to, size, "packed rows of the left matrix")

    def pack_errors(self, source: Rows, vectors: int) -> Rows:
        """A panel of E, its rows close together."""
        b, type_, lanes = self.b, self.panels.type, self.panels.lanes
        size = self.tiling.packed * self.panels.width * type_.bytes
        packed = b.owns(b.offset(self.scratch, 0, type_), size, "a packed panel of the right matrix")
        with b.loop(0, self.count) as loop:
            at = b.offset(source.pointer, b.mul(loop.index, source.stride), type_)
            new = b.offset(packed, b.mul(loop.index, vectors * lanes), type_)
            for v in range(vectors):
                b.store(b.load(type_.vector(lanes), at, v * lanes), new, v * lanes)
        return Rows(packed, vectors * lanes)

    def pack_block(self, first: Value, last: Value, stands: Value | None, same: Value | None) -> None:
        """The columns of X for the tiles [first, last); unless a copy `stands` from before, and that is the `same`."""
        if stands is None:
            self._pack_block(first, last)
            return
        b = self.b
        there = b.bit_and(b.compare("ge", stands, 0), same)
        with b.when(b.bit_xor(there, True)):
            self._pack_block(first, last)

    def _pack_block(self, first: Value, last: Value) -> None:
        """Tile by tile, each row by row."""
        b, type_, rows = self.b, self.panels.type, self.tiling.rows
        to = self._packed_x()
        with b.loop(0, self.count) as row:
            at = b.offset(self.x.pointer, b.mul(row.index, self.x.stride), type_)
            new = b.offset(to, b.mul(row.index, rows), type_)
            with b.loop(first, last) as tile:
                k = b.mul(tile.index, rows)
                b.prefetch(at, b.add(k, AHEAD * self.x.stride), type_)
                value = b.load(type_.vector(rows), at, k)
                b.store(value, new, b.mul(b.sub(tile.index, first), _packed_tile(self.panels, self.tiling)))


def weights_units(panels: Panels, tiling: WeightsTiling) -> int:
    """Units of work in a `weights_product`: blocks of a panel."""
    return panels.count * -(-panels.depth // tiling.block)


def scratch_bytes(panels: Panels, tiling: WeightsTiling) -> int:
    """Memory of its own that each thread needs for a `weights_product`; often 0."""
    return _packed_bytes(panels, tiling) + (sums_bytes(panels, tiling.block) if tiling.depth else 0)


def _packed_bytes(panels: Panels, tiling: WeightsTiling) -> int:
    if not tiling.packed:
        return 0
    tiles = _packed_tile(panels, tiling) * (tiling.block // tiling.rows)
    return rounded_up(tiles + tiling.packed * panels.width, line_of(panels)) * panels.type.bytes


def _packed_tile(panels: Panels, tiling: WeightsTiling) -> int:
    """Elements from one packed tile of X to the next: a line more than it has, for the sake of the cache's sets."""
    return tiling.packed * tiling.rows + 64 // panels.type.bytes


def weights_tiling(target: Target, panels: Panels, rows: int, threads: int = 1) -> WeightsTiling:
    """For a batch of at most so many rows: each of several threads is to have several units."""
    height = min(panels.depth, most_rows(target, panels.vectors))
    if panels.depth > height:
        height = target.registers // 2 if panels.vectors == 1 else target.registers // 4
    tiles = -(-panels.depth // height)
    share = tiles if threads == 1 else tiles * panels.count // (16 * threads)
    far = rows * (panels.depth + panels.columns) * panels.type.bytes > FAR_BYTES
    if far and tiles >= 16 and panels.count >= 4:  # so many times each copy is used
        most = min(PACKED_BYTES // (rows * height * panels.type.bytes), max(16, share))
        block = _block(tiles, most) * height
        cut = depth_at_a_time(panels, rows) if block >= DEPTH_TILES * height else 0
        return WeightsTiling(height, block, rows, cut)
    touched = panels.width * panels.type.bytes + LINE_BYTES  # of a row of E and of X, by a tile
    parts = -(-rows * touched // HERE_BYTES)
    if parts == 1 or tiles < DEPTH_TILES:
        return WeightsTiling(height, _block(tiles, min(8, share)) * height)
    most = min(NEAR_TILES, max(DEPTH_TILES, share))
    return WeightsTiling(height, _block(tiles, most) * height, depth=rounded_up(-(-rows // parts), 8))


def _block(tiles: int, most: int) -> int:
    """Tiles of a block, of so many at most: blocks as equal as can be."""
    return -(-tiles // -(-tiles // max(1, most)))
