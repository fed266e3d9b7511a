"""Matrix products as loops over register tiles, emitted for shapes known at compile time.

A tile of the result stays in registers while the sum over the depth runs: at each step a few numbers of the left
operand, each spread over a vector, are multiplied with a few vectors of the right one. Each element of a result is one
chain of fma in ascending order, starting from 0: so its bits depend neither on the tiles nor on the split over threads.
The scheme of register and cache blocks is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix
Multiplication" (2008). Sums over a great depth stop at times and are kept, and then go on where they stopped.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np

from backpass.native.ir import I1, PTR, Builder, Type, Value
from backpass.native.target import Target
from backpass.records import dataclass

Tile: TypeAlias = list[list[Value]]
"""Of a result: rows of vectors."""
Finish: TypeAlias = Callable[[Value, Value, Tile], None]
"""Called with the first row and first column (both i64) of a finished tile, and the tile."""

LINE_BYTES = 64
HERE_BYTES = 32 * 1024
"""No more than this stays in a first-level cache, nearly."""
NEAR_BYTES = 1024 * 1024
"""Weights of no more than this stay in a second-level cache: so all panels are run through for few rows at a time."""
FEW_BYTES = 128 * 1024
"""Of these few rows."""
MANY_BYTES = 4 * 1024 * 1024
"""What may be read again from the third-level cache: that costs less than to read the other operand again."""
PACKED_BYTES = 2 * 1024 * 1024
"""Of a copied block of X."""
FAR_BYTES = 1280 * 1024
"""X and E of more than this together are copied, so that they are read on and on, not with long strides."""
AHEAD = 8
"""X, whose rows are far apart, is asked for so many steps ahead."""
FULLY_UNROLLED = 64
"""A tile of no more fma than this is emitted without a loop."""
ROUND = 128
"""About so many fma are in a round of a loop, so that what a round takes beside them hardly counts."""
LONG_LOOP = 128
"""Steps of a sum from which on its loop is worth code of twice the length."""
DEPTH_BYTES = 24 * 1024
"""So much of a panel is multiplied with all tiles at a time where sums are cut, and stays in a first-level cache."""
DEPTH_TILES = 4
"""So many tiles at least must read it again: otherwise sums are not cut."""
READ_TWICE = 0.5
"""A share of the rows of a tile; see `_reads_twice`."""


@dataclass(frozen=True)
class Panels:
    """How a matrix [depth, columns] stands in memory: panels of some columns, one after the other, each row by row.

    The columns of the last panel that are not there are padding, of finite numbers.
    """

    type: Type
    lanes: int
    vectors: int
    """Vectors to a row of a panel."""
    depth: int
    columns: int

    @property
    def width(self) -> int:
        """Columns of a panel."""
        return self.vectors * self.lanes

    @property
    def count(self) -> int:
        return -(-self.columns // self.width)

    @property
    def full(self) -> int:
        """Panels whose every vector holds a column at least."""
        return self.count if self.last == self.vectors else self.count - 1

    @property
    def last(self) -> int:
        """Vectors of the last panel that hold a column at least."""
        return -(-(self.columns - (self.count - 1) * self.width) // self.lanes)

    @property
    def stride(self) -> int:
        """Elements from a panel to the next."""
        return self.depth * self.width

    @property
    def size(self) -> int:
        """Elements in all."""
        return self.count * self.stride

    def pack(self, matrix: Any) -> Any:
        """A NumPy matrix [depth, columns] as a flat array in panels, padded with zeros."""
        padded = np.zeros((self.depth, self.count * self.width), matrix.dtype)
        padded[:, : self.columns] = matrix
        return np.ascontiguousarray(padded.reshape(self.depth, self.count, self.width).swapaxes(0, 1)).reshape(-1)

    def unpack(self, flat: Any) -> Any:
        """The matrix [depth, columns] out of its panels."""
        panels = flat.reshape(self.count, self.depth, self.width).swapaxes(0, 1)
        return np.ascontiguousarray(panels.reshape(self.depth, -1)[:, : self.columns])


@dataclass(frozen=True)
class Rows:
    """A matrix in memory row by row: where it begins, and the elements from a row to the next."""

    pointer: Value
    stride: int


@dataclass(frozen=True)
class _Operand:
    """Elements at pointer + step * index + offset, for the steps of a sum and some fixed offsets."""

    pointer: Value
    step: int
    offsets: Sequence[int]
    ahead: int = 0
    """So many steps ahead its memory is asked for; 0 leaves that to the machine."""
    again: Value | None = None
    """The same pointer once more: the first offsets are read there for the second vector; see `_reads_twice`."""


@dataclass(frozen=True)
class _Stream:
    """Memory that is asked for while a sum runs: lines at pointer + first + step * t + offset, t = 0, ..., count - 1.

    There must be one at least. It may lie outside of all arrays: so no address there is ever formed but to ask.
    """

    pointer: Value
    first: Value
    step: int
    count: Value
    offsets: Sequence[int] = (0,)
    locality: int = 3


def padded_stride(columns: int, panels: Panels) -> int:
    """Elements from a row to the next, for a matrix of `columns` columns with the lanes and type of `panels`.

    Whole lines of the cache, and an odd number of them: so that elements one below the other lie in different sets.
    """
    line = 64 // panels.type.bytes
    lines = -(-max(columns, panels.lanes) // line)
    return line * (lines if lines == 1 else lines | 1)


@dataclass(frozen=True)
class RowsTiling:
    """How a `rows_product` is cut.

    Attributes:
        rows: of the left operand to a tile.
        block: rows of the left operand that are multiplied with all panels before the next ones.
        together: panels side by side to a tile: with few rows, to have enough sums under way at a time.
        ahead: lines of the next panel that are asked for in each round of the loop over the depth.
        depth: of the sums, that is done for all tiles of a panel and a block before the next part; 0 for all.
    """

    rows: int
    block: int
    together: int = 1
    ahead: int = 0
    depth: int = 0


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


# The two products


def rows_product(
    b: Builder,
    a: Rows,
    weights: Value,
    panels: Panels,
    begin: Value,
    end: Value,
    tiling: RowsTiling,
    finish: Finish,
    cut: tuple[Value, Value] | None = None,
    scratch: Value | None = None,
    wanted: Sequence[range] | None = None,
    onto: Value | None = None,
    *,
    goes_on: bool = False,
) -> None:
    """C[i, j] = sum over k of A[i, k] B[k, j], for the rows i of [begin, end), B in panels; of these all, or [*cut).

    Or only those that are `wanted`, in runs. `goes_on` says that after those of `cut` the next panel is likely to come.

    A tile's vectors are those of its panel that hold columns. The last tile ends with `end`, and does some rows again;
    of fewer rows than a tile has it reaches past `end`. `scratch` points to `rows_scratch_bytes` bytes of the thread's
    own, aligned to 64 bytes. `onto` points to a row with which the sums of every row begin; with zeros where there is
    none.
    """
    if onto is not None and tiling.depth:
        raise ValueError("sums that are cut begin with zeros")
    scratch = b.undefined(PTR) if scratch is None else scratch
    _RowsProduct(b, a, weights, panels, begin, end, tiling, finish, cut, scratch, wanted, onto, goes_on).blocks()


@dataclass
class _RowsProduct:
    """The loops of `rows_product`: blocks of A, panels, tiles."""

    b: Builder
    a: Rows
    weights: Value
    panels: Panels
    begin: Value
    end: Value
    tiling: RowsTiling
    finish: Finish
    cut: tuple[Value, Value] | None
    scratch: Value
    wanted: Sequence[range] | None
    onto: Value | None
    goes_on: bool

    def blocks(self) -> None:
        b, panels, together = self.b, self.panels, self.tiling.together
        runs = None if self.wanted is None else [(b.i64(run.start), b.i64(run.stop)) for run in self.wanted]
        runs = runs if self.cut is None else [self.cut]
        whole = panels.full - panels.full % together
        with b.loop(self.begin, self.end, self.tiling.block, stem="block") as block:
            first, last = block.index, b.smallest(b.add(block.index, self.tiling.block), self.end)
            if runs is not None:
                for run in runs:
                    _each_panel(b, panels, *run, lambda panel, vectors: self.tiles(first, last, panel, 1, vectors))
                return
            if whole == together:
                self.tiles(first, last, b.i64(0), whole, panels.vectors)
            elif whole:
                with b.loop(0, whole, together, stem="panel") as panel:
                    self.tiles(first, last, panel.index, together, panels.vectors)
            if panels.full > whole:
                self.tiles(first, last, b.i64(whole), panels.full - whole, panels.vectors)
            if panels.count > panels.full:
                self.tiles(first, last, b.i64(panels.full), 1, panels.last)

    def tiles(self, first: Value, last: Value, panel: Value, together: int, vectors: int) -> None:
        """The tiles of the rows [first, last) of a block, in some panels side by side."""
        b, a, panels, rows = self.b, self.a, self.panels, self.tiling.rows
        column = b.mul(panel, panels.width)
        right_offsets = [g * panels.stride + v * panels.lanes for g in range(together) for v in range(vectors)]
        size = rows * len(right_offsets)
        last_begin = b.largest(b.sub(self.end, rows), self.begin)
        sums = _Sums(b, self.scratch, panels, size, self.tiling.block // rows) if self.tiling.depth else None

        def sum_up(start: Value, depth: int, *, is_last: bool) -> None:
            first_of_panel = b.add(b.mul(panel, panels.stride), b.mul(start, panels.width))
            right = b.offset(self.weights, first_of_panel, panels.type)
            with b.loop(first, last, rows, stem="row") as loop:
                row = b.smallest(loop.index, last_begin)
                left = b.offset(a.pointer, b.add(b.mul(row, a.stride), start), panels.type)
                index = b.div(b.sub(loop.index, first), rows)
                tile = _tile_of_products(
                    b,
                    panels,
                    depth,
                    _Operand(left, 1, [r * a.stride for r in range(rows)]),
                    _Operand(right, panels.width, right_offsets),
                    self.part_of_next(right, self.distance_to_next(panel, together, depth), index, size, depth),
                    self.start(column, together, vectors) if sums is None else sums.before(index),
                )
                if sums is not None and not is_last:
                    sums.keep(index, tile)
                    return
                for g in range(together):
                    vectors_of_panel = [line[g * vectors : (g + 1) * vectors] for line in tile]
                    self.finish(row, b.add(column, g * panels.width), vectors_of_panel)

        _cut_sums(b, panels.depth, self.tiling.depth, sums, sum_up)

    def start(self, column: Value, together: int, vectors: int) -> list[Value] | None:
        """What the sums of a tile begin with, row by row; None for zeros."""
        if self.onto is None:
            return None
        b, panels = self.b, self.panels
        places = [g * panels.width + v * panels.lanes for g in range(together) for v in range(vectors)]
        vector = panels.type.vector(panels.lanes)
        return [b.load(vector, self.onto, b.add(column, place)) for place in places] * self.tiling.rows

    def distance_to_next(self, panel: Value, together: int, depth: int) -> Value:
        """Elements from what is read of a panel to what is read next: its next part, or the next panel.

        Of its own panels a thread begins again with the first one after the last.
        """
        b, panels = self.b, self.panels
        if depth < panels.depth:
            return b.i64(depth * panels.width)  # the next panel stands behind the last part of this one
        if self.cut is None or self.goes_on:
            return b.i64(together * panels.stride)
        next_panel = b.select(b.compare("lt", b.add(panel, 1), self.cut[1]), b.i64(1), b.sub(self.cut[0], panel))
        return b.mul(next_panel, panels.stride)

    def part_of_next(self, right: Value, distance: Value, index: Value, size: int, depth: int) -> list[_Stream]:
        """What tile `index` of a block, of `size` vectors, asks for: its part of what is so far after `right`."""
        b, panels = self.b, self.panels
        if not self.tiling.ahead:
            return []
        line = _line(panels)
        rounds = max(1, depth // _round(size, depth))
        step = self.tiling.ahead * line
        at = b.mul(index, rounds * step)
        count = b.select(b.compare("lt", at, depth * panels.width), b.i64(rounds), b.i64(1))
        return [_Stream(right, b.add(at, distance), step, count, range(0, step, line), locality=2)]


def dots_product(
    b: Builder,
    a: Rows,
    weights: Value,
    panels: Panels,
    begin: Value,
    end: Value,
    rows: int,
    lanes: int,
    finish: Finish,
) -> None:
    """C[i, j] = sum over k of A[i, k] W[j, k], for the rows i of [begin, end) and the few rows j of W, in panels.

    Vectors lie along k; the lanes of a sum are added up in a fixed tree. A tile has `rows` rows of vectors of `lanes`.
    """
    last_begin = b.largest(b.sub(end, rows), begin)
    with b.loop(begin, end, rows, stem="row") as loop:
        row = b.smallest(loop.index, last_begin)
        first = b.offset(a.pointer, b.mul(row, a.stride), panels.type)
        sums = _dots(b, first, a.stride, weights, panels, rows)
        finish(row, b.i64(0), [_side_by_side(b, each, lanes) for each in sums])


def _dots(b: Builder, first: Value, stride: int, weights: Value, panels: Panels, rows: int) -> list[list[Value]]:
    """For each of some rows, and each row of the weights, the products added up lane by lane."""
    type_ = panels.type.vector(panels.lanes)
    whole = panels.columns // panels.width
    zero = b.constant(0.0, type_)

    def chunk(sums: list[Value], column: Value, at: Value, vectors: int, tail: int | None) -> list[Value]:
        for v in range(vectors):
            mask = None
            if tail is not None and tail < (v + 1) * panels.lanes:
                mask = b.constants([v * panels.lanes + lane < tail for lane in range(panels.lanes)], I1)
            place = b.add(column, v * panels.lanes)
            left = [b.load(type_, first, b.add(place, r * stride)) for r in range(rows)]
            right = [b.load(type_, at, j * panels.width + v * panels.lanes) for j in range(panels.depth)]
            if mask is not None:  # what stands beyond the last column may be anything
                left = [b.select(mask, x, zero) for x in left]
                right = [b.select(mask, x, zero) for x in right]
            pairs = [(x, y) for x in left for y in right]
            sums = [b.fma(x, y, total) for (x, y), total in zip(pairs, sums, strict=True)]
        return sums

    sums = [zero] * (rows * panels.depth)
    if panels.size * rows <= FULLY_UNROLLED * panels.lanes:
        for panel in range(whole):
            at = b.offset(weights, panel * panels.stride, panels.type)
            sums = chunk(sums, b.i64(panel * panels.width), at, panels.vectors, None)
    elif whole:
        with b.loop(0, whole, carried=sums) as loop:
            at = b.offset(weights, b.mul(loop.index, panels.stride), panels.type)
            loop.next = chunk(loop.carried, b.mul(loop.index, panels.width), at, panels.vectors, None)
        sums = loop.results
    if left_over := panels.columns - whole * panels.width:
        at = b.offset(weights, whole * panels.stride, panels.type)
        sums = chunk(sums, b.i64(whole * panels.width), at, -(-left_over // panels.lanes), left_over)
    return [sums[r * panels.depth : (r + 1) * panels.depth] for r in range(rows)]


def _side_by_side(b: Builder, sums: list[Value], lanes: int) -> list[Value]:
    """The sums over the lanes of each of some vectors, as vectors of `lanes`."""
    if lanes == 4 and sums[0].type.lanes >= 4:
        return [_four_sums(b, sums)]
    single = [b.across(x, b.add) for x in sums]
    vectors = []
    for start in range(0, len(single), lanes):
        vector = b.constant(0.0, sums[0].type.element.vector(lanes))
        for lane, value in enumerate(single[start : start + lanes]):
            vector = b.insert(vector, value, lane)
        vectors.append(vector)
    return vectors


def _four_sums(b: Builder, sums: list[Value]) -> Value:
    """Of up to 4 vectors: halves upon halves down to 4 lanes, then all of them at once."""
    narrow = []
    for x in sums:
        total = x
        while total.type.lanes > 4:
            half = total.type.lanes // 2
            total = b.add(b.shuffle(total, None, range(half)), b.shuffle(total, None, range(half, 2 * half)))
        narrow.append(total)
    narrow += [b.constant(0.0, narrow[0].type)] * (4 - len(narrow))
    pairs = [b.add(b.shuffle(x, y, (0, 4, 2, 6)), b.shuffle(x, y, (1, 5, 3, 7))) for x, y in (narrow[:2], narrow[2:])]
    x, y = pairs
    return b.add(b.shuffle(x, y, (0, 1, 4, 5)), b.shuffle(x, y, (2, 3, 6, 7)))


def weights_units(panels: Panels, tiling: WeightsTiling) -> int:
    """Units of work in a `weights_product`: blocks of a panel."""
    return panels.count * -(-panels.depth // tiling.block)


def scratch_bytes(panels: Panels, tiling: WeightsTiling) -> int:
    """Memory of its own that each thread needs for a `weights_product`; often 0."""
    return _packed_bytes(panels, tiling) + _sums_bytes(panels, tiling)


def rows_scratch_bytes(panels: Panels, tiling: RowsTiling) -> int:
    """The same for a `rows_product`."""
    return _sums_bytes(panels, tiling) * tiling.together


def _packed_bytes(panels: Panels, tiling: WeightsTiling) -> int:
    if not tiling.packed:
        return 0
    tiles = _packed_tile(panels, tiling) * (tiling.block // tiling.rows)
    return _up(tiles + tiling.packed * panels.width, _line(panels)) * panels.type.bytes


def _sums_bytes(panels: Panels, tiling: RowsTiling | WeightsTiling) -> int:
    """Of the sums of all tiles of a panel and a block, where these are not done at once."""
    return tiling.block * panels.width * panels.type.bytes if tiling.depth else 0


def _packed_tile(panels: Panels, tiling: WeightsTiling) -> int:
    """Elements from one packed tile of X to the next: a line more than it has, for the sake of the cache's sets."""
    return tiling.packed * tiling.rows + 64 // panels.type.bytes


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
    `scratch_bytes` bytes of the thread's own, aligned to 64 bytes. `stands` is the last unit (of tiles: any number)
    that was done just before, whose copied X stands there yet; less than 0 where none was. `beside` are arrays in these
    panels that `finish` reads: their memory is asked for one tile before. `onto` points to a matrix in these panels
    with which the sums begin; with zeros where there is none.
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
                    before = None if stands is None else b.compare("eq", b.div(stands, panels.count), block.index)
                    self.pack_block(first, last, stands, before)
                unit = b.mul(block.index, panels.count)
                low, high = b.largest(b.sub(begin, unit), 0), b.smallest(b.sub(end, unit), panels.count)
                _each_panel(b, panels, low, high, lambda panel, vectors: self.panel(panel, vectors, first, last))

    def part(self, begin: Value, end: Value, low: Value, high: Value, stands: Value | None = None) -> None:
        """The tiles [begin, end) of the panels [low, high); where something `stands`, these tiles are one block."""
        b, panels, tiling = self.b, self.panels, self.tiling
        step = tiling.block // tiling.rows
        with b.when(b.compare("lt", low, high)), b.loop(begin, end, step, stem="block") as block:
            first, last = block.index, b.smallest(b.add(block.index, step), end)
            if tiling.packed:
                self.pack_block(first, last, stands)
            _each_panel(b, panels, low, high, lambda panel, vectors: self.panel(panel, vectors, first, last))

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
        sums = _Sums(b, where, panels, size, self.tiling.block // rows) if self.tiling.depth else None

        def tile(index: Value, height: int, start: Value, depth: Value | int, *, is_last: bool) -> None:
            k = b.mul(index, rows)
            vector_offsets = [v * panels.lanes for v in range(vectors)]
            here = b.sub(index, first)
            before = self.start(panel, k, height, vectors) if sums is None else sums.before(here)[: height * vectors]
            products = _tile_of_products(
                b,
                panels,
                depth,
                self.left(index, k, first, height, start),
                _Operand(
                    b.offset(right.pointer, b.mul(start, right.stride), panels.type), right.stride, vector_offsets
                ),
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

        _cut_sums(b, self.count, self.tiling.depth, sums, sum_up)

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
    ) -> list[_Stream]:
        """What is asked for beside a tile: what the next one is finished with, and its share of the next panel of E."""
        b, panels, rows = self.b, self.panels, self.tiling.rows
        line = _line(panels)
        streams = []
        if is_last:
            next_tile = b.add(b.mul(panel, panels.stride), b.mul(b.add(k, rows), panels.width))
            count = b.i64(rows * panels.width // line)
            streams = [_Stream(array, next_tile, line, count) for array in self.beside]
        if self.tiling.packed:
            share = b.add(b.div(depth, tiles), 1)
            row = b.add(start, b.mul(index, share))
            lines = range(0, panels.width, line)
            first = b.add(b.mul(row, self.errors.stride), panels.width)
            streams.append(_Stream(errors, first, self.errors.stride, share, lines, locality=2))
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

    def left(self, index: Value, k: Value, first: Value, height: int, start: Value) -> _Operand:
        """X for a tile, from a row of the batch on."""
        b, type_, rows = self.b, self.panels.type, self.tiling.rows
        if self.tiling.packed:
            at = b.add(b.mul(b.sub(index, first), _packed_tile(self.panels, self.tiling)), b.mul(start, rows))
            return _Operand(b.offset(self._packed_x(), at, type_), rows, range(height))
        ahead = 0 if isinstance(self.count, int) else AHEAD
        at = b.add(k, b.mul(start, self.x.stride))
        return _Operand(b.offset(self.x.pointer, at, type_), self.x.stride, range(height), ahead)

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

    def pack_block(self, first: Value, last: Value, stands: Value | None = None, same: Value | None = None) -> None:
        """The columns of X for the tiles [first, last); unless something `stands` there, and that is the `same`."""
        if stands is None:
            self._pack_block(first, last)
            return
        b = self.b
        there = b.compare("ge", stands, 0)
        there = there if same is None else b.bit_and(there, same)
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


def _each_panel(b: Builder, panels: Panels, begin: Value, end: Value, body: Callable[[Value, int], None]) -> None:
    """`body` for the panels [begin, end): given the panel, and its vectors that hold columns."""
    last = b.smallest(end, panels.full)
    if begin.constant is not None and last.constant is not None and panels.size <= FULLY_UNROLLED * panels.lanes:
        for panel in range(int(begin.constant), int(last.constant)):
            body(b.i64(panel), panels.vectors)
    elif panels.full and (begin.constant is None or begin.constant < panels.full):
        with b.loop(begin, last, stem="panel") as loop:
            body(loop.index, panels.vectors)
    if panels.full < panels.count and (end.constant is None or end.constant > panels.full):
        with b.when(b.compare("gt", end, panels.full)):
            body(b.i64(panels.full), panels.last)


@dataclass
class _Sums:
    """The sums of the tiles of a panel and a block, kept while what is summed first is done for all of them."""

    b: Builder
    pointer: Value
    panels: Panels
    size: int
    """Vectors to a tile."""
    tiles: int

    def clear(self) -> None:
        """All begin with 0."""
        b, lanes = self.b, self.panels.lanes
        zero = b.constant(0.0, self.panels.type.vector(lanes))
        with b.loop(0, self.tiles * self.size * lanes, lanes) as loop:
            b.store(zero, self.pointer, loop.index)

    def before(self, tile: Value) -> list[Value]:
        """The vectors of a tile so far."""
        b, lanes, at = self.b, self.panels.lanes, self._place(tile)
        return [b.load(self.panels.type.vector(lanes), self.pointer, b.add(at, u * lanes)) for u in range(self.size)]

    def keep(self, tile: Value, sums: Tile) -> None:
        b, at = self.b, self._place(tile)
        for u, value in enumerate(vector for row in sums for vector in row):
            b.store(value, self.pointer, b.add(at, u * self.panels.lanes))

    def _place(self, tile: Value) -> Value:
        return self.b.mul(tile, self.size * self.panels.lanes)


def _cut_sums(b: Builder, depth: Value | int, most: int, sums: _Sums | None, sum_up: Callable[..., None]) -> None:
    """`sum_up(start, steps, is_last=...)` for all of `depth` steps; or, where `sums` are kept, for `most` at a time."""
    if sums is None:
        sum_up(b.i64(0), depth, is_last=True)
        return
    rest: Value | int
    if isinstance(depth, int):
        before = b.i64((depth - 1) // most * most)
        rest = depth - (depth - 1) // most * most
    else:
        before = b.mul(b.div(b.largest(b.sub(depth, 1), 0), most), most)
        rest = b.sub(depth, before)
    sums.clear()
    with b.loop(0, before, most, stem="depth") as loop:
        sum_up(loop.index, most, is_last=False)
    sum_up(before, rest, is_last=True)


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _line(panels: Panels) -> int:
    """Elements in a line of the cache."""
    return LINE_BYTES // panels.type.bytes


def _round(size: int, count: int | Value) -> int:
    """Steps of the sum to a round of the loop, of a tile of so many vectors, where there are `count` in all.

    Long loops are worth code of twice the length.
    """
    most = 8 if isinstance(count, int) and count >= LONG_LOOP else 4
    return min(most, 1 << max(0, (ROUND // size).bit_length() - 1))


def _tile_of_products(
    b: Builder,
    panels: Panels,
    count: int | Value,
    left: _Operand,
    right: _Operand,
    streams: Sequence[_Stream] = (),
    start: list[Value] | None = None,
) -> Tile:
    """sum over s < count of left[s, r] right[s, v], for the offsets r of `left` and the vectors v of `right`."""
    columns = len(right.offsets)
    size = len(left.offsets) * columns
    if _reads_twice(panels, columns) and count != 1:
        left = replace(left, again=b.again(left.pointer))
    flat = [b.constant(0.0, panels.type.vector(panels.lanes))] * size if start is None else start
    if isinstance(count, int) and count * size <= FULLY_UNROLLED:
        flat = _steps(b, panels, left, right, flat, count)
    else:
        unroll = _round(size, count)
        whole: Any = count - count % unroll if isinstance(count, int) else b.bit_and(count, -unroll)
        left, right, flat = _loop_of_steps(b, panels, left, right, flat, 0, whole, unroll, streams)
        if isinstance(count, int):
            flat = _steps(b, panels, left, right, flat, count % unroll)
        else:
            _, _, flat = _loop_of_steps(b, panels, left, right, flat, whole, count, 1, ())
    return [flat[r : r + columns] for r in range(0, size, columns)]


def _reads_twice(panels: Panels, columns: int) -> bool:
    """Does a tile with so many vectors to a row read some of its factors twice, once for each vector?

    AVX-512 multiplies by a number in memory with one instruction, which LLVM chooses where the number is read for that
    alone. That is an instruction less than to spread it over a register first, for two vectors, and a load more. With
    fewer instructions a core loses less of its speed where another thread, or another customer, has its other half.
    """
    return columns == 2 and panels.lanes * panels.type.bits == 512


def _loop_of_steps(
    b: Builder,
    panels: Panels,
    left: _Operand,
    right: _Operand,
    flat: list[Value],
    first: Any,
    last: Any,
    unroll: int,
    streams: Sequence[_Stream],
) -> tuple[_Operand, _Operand, list[Value]]:
    """The steps [first, last), a multiple of `unroll`; and where the operands stand then."""
    pointers = [left.pointer, right.pointer, *([] if left.again is None else [left.again])]
    with b.loop(first, last, unroll, carried=[*pointers, *flat]) as loop:
        here = loop.carried[: len(pointers)]
        for stream in streams:
            step = b.smallest(loop.index, b.mul(b.sub(stream.count, 1), unroll))
            for offset in stream.offsets:
                at = b.add(b.mul(step, stream.step // unroll), b.add(stream.first, offset))
                b.prefetch(stream.pointer, at, panels.type, locality=stream.locality)
        inside = _steps(b, panels, *_at(left, right, here), loop.carried[len(pointers) :], unroll)
        steps = (left.step, right.step, left.step)
        after = [b.offset(at, unroll * step, panels.type) for at, step in zip(here, steps, strict=False)]
        loop.next = [*after, *inside]
    return *_at(left, right, loop.results[: len(pointers)]), loop.results[len(pointers) :]


def _at(left: _Operand, right: _Operand, pointers: Sequence[Value]) -> tuple[_Operand, _Operand]:
    """The operands with these pointers: of the left one, of the right one, of the left one again if it has two."""
    left_at, right_at, *again = pointers
    return replace(left, pointer=left_at, again=again[0] if again else None), replace(right, pointer=right_at)


def _steps(b: Builder, panels: Panels, left: _Operand, right: _Operand, flat: list[Value], count: int) -> list[Value]:
    """So many steps of the sum, straight on."""
    vector = panels.type.vector(panels.lanes)

    def spread(pointer: Value, step: int, offset: int) -> Value:
        return b.splat(b.load(panels.type, pointer, step * left.step + offset), panels.lanes)

    again = left.pointer if left.again is None else left.again
    twice = [] if left.again is None else left.offsets[: round(len(left.offsets) * READ_TWICE)]
    for s in range(count):
        if left.ahead:
            for line in range(0, len(left.offsets), _line(panels)):
                b.prefetch(left.pointer, (s + left.ahead) * left.step + line, panels.type)
        vectors = [b.load(vector, right.pointer, s * right.step + offset) for offset in right.offsets]
        factors = [[spread(left.pointer, s, offset)] * len(vectors) for offset in left.offsets]
        for row, offset in zip(factors, twice, strict=False):
            row[1] = spread(again, s, offset)
        pairs = [pair for row in factors for pair in zip(row, vectors, strict=True)]
        flat = [b.fma(a, vector, sum_) for (a, vector), sum_ in zip(pairs, flat, strict=True)]
    return flat


# A tile the other way round


def transpose_tile(b: Builder, tile: Tile) -> list[Value]:
    """For each column of the tile a vector of its rows."""
    return [column for v in range(len(tile[0])) for column in _transposed(b, [row[v] for row in tile])]


def _transposed(b: Builder, rows: list[Value]) -> list[Value]:
    """Vector i of the result holds element i of each of the rows.

    Pairs of rows become rows of pairs, those of fours, and so on: interleaved within 128 bits while that is enough,
    which machines do fastest.
    """
    height, type_ = len(rows), rows[0].type
    if height > type_.lanes:
        upper, lower = _transposed(b, rows[: type_.lanes]), _transposed(b, rows[type_.lanes :])
        return [_joined(b, x, y) for x, y in zip(upper, lower, strict=True)]
    rows = rows + [b.undefined(type_)] * ((1 << (height - 1).bit_length()) - height)
    groups = [[(row, list(range(type_.lanes)))] for row in rows]
    chunk = 1
    while len(groups) > 1:
        pairs = zip(groups[::2], groups[1::2], strict=True)
        groups = [[half for x, y in zip(*pair, strict=True) for half in _interleaved(b, x, y, chunk)] for pair in pairs]
        chunk *= 2
    found = {column: (vector, i) for vector, columns in groups[0] for i, column in enumerate(columns)}
    places = [found[column] for column in range(type_.lanes)]
    return [b.shuffle(vector, None, range(i * chunk, i * chunk + height)) for vector, i in places]


def _interleaved(
    b: Builder, x: tuple[Value, list[int]], y: tuple[Value, list[int]], chunk: int
) -> Iterator[tuple[Value, list[int]]]:
    """Two vectors out of two, and the columns that their chunks are of: chunks of `x` and `y` in turn."""
    (a, columns), (other, _) = x, y
    lanes = a.type.lanes
    block = max(1, 128 // a.type.bits)
    block = block if chunk < block else lanes
    for half in (0, block // 2):
        starts = [s for base in range(half, lanes, block) for s in range(base, base + block // 2, chunk)]
        places = [p for s in starts for p in (*range(s, s + chunk), *range(lanes + s, lanes + s + chunk))]
        yield b.shuffle(a, other, places), [columns[s // chunk] for s in starts]


def _joined(b: Builder, x: Value, y: Value) -> Value:
    """The elements of `x`, then those of `y`."""
    m, n = x.type.lanes, y.type.lanes
    wide = max(m, n)
    x, y = (a if k == wide else b.shuffle(a, None, [*range(k), *[-1] * (wide - k)]) for a, k in ((x, m), (y, n)))
    return b.shuffle(x, y, [*range(m), *range(wide, wide + n)])


# Choice of tiles


def panel_vectors(target: Target, type_: Type, columns: int) -> int:
    """How many vectors wide the panels of a matrix of so many columns are: a narrow last panel is to be rare."""
    vectors = -(-columns // target.lanes(type_))
    if not target.fused:
        return min(vectors, 2)  # a product that is not added at once takes a register more
    return min(vectors, 3) if vectors % 2 or vectors % 3 == 0 else 2


def _most_rows(target: Target, vectors: int) -> int:
    """Rows of the highest tile whose sums stay in registers, beside a row of vectors and what multiplies them."""
    return (target.registers - vectors - (1 if target.fused else 2)) // vectors


def rows_tiling(target: Target, panels: Panels, rows: int, threads: int) -> RowsTiling:
    """For a batch of so many rows split over `threads`: what a simple model of the machine finds fastest.

    Threads get rows in multiples of a vector.
    """
    own = -(-rows // threads) if threads == 1 else min(rows, _up(-(-rows // threads), target.lanes(panels.type)))

    def cycles(height: int) -> float:
        # Two fma and two loads a cycle; an fma's result is there after four. Stores come at the end of a tile.
        size = height * panels.vectors
        step = max(size / 2, (height + panels.vectors) / 2, 4)
        return -(-own // height) * (panels.depth * step + size + 10)

    height = min(range(1, min(own, _most_rows(target, panels.vectors)) + 1), key=cycles)
    size = panels.size * panels.type.bytes
    together = 1
    while own * panels.vectors * together < 8 and together < panels.full:
        together += 1
    while _most_rows(target, panels.vectors * together) < height:
        together -= 1
    # Either a block's rows stay near for all panels, or, where sums are cut, in the next cache, with room for the sums.
    cut = _depth_at_a_time(panels, panels.depth)
    near = max(1, NEAR_BYTES // (panels.depth * panels.type.bytes) // height)
    tiles = min(near, -(-own // height))
    if cut and tiles >= DEPTH_TILES and together == 1:
        block, depth = tiles * height, cut
    else:
        memory = FEW_BYTES if size <= NEAR_BYTES else MANY_BYTES
        block, depth = max(1, memory // (panels.depth * panels.type.bytes) // height) * height, 0
    steps = depth or panels.depth
    rounds = -(-min(own, block) // height) * steps // _round(height * panels.vectors, steps)
    lines = -(-steps * panels.width // _line(panels))
    ahead = min(4, -(-lines // max(1, rounds))) if size > HERE_BYTES else 0
    return RowsTiling(height, block, together, ahead, depth)


def _depth_at_a_time(panels: Panels, depth: int) -> int:
    """How many of `depth` rows of a panel are summed up for all tiles before the next: equal parts, or 0 for all."""
    row = panels.width * panels.type.bytes
    if depth * row <= 2 * DEPTH_BYTES:
        return 0
    return _up(-(-depth // -(-depth * row // DEPTH_BYTES)), 8)


def weights_tiling(target: Target, panels: Panels, rows: int, threads: int = 1) -> WeightsTiling:
    """For a batch of at most so many rows: each thread is to have several units."""
    height = min(panels.depth, _most_rows(target, panels.vectors))
    if panels.depth > height:
        height = target.registers // 2 if panels.vectors == 1 else target.registers // 4
    tiles = -(-panels.depth // height)
    share = tiles * panels.count // (16 * threads)
    far = rows * (panels.depth + panels.columns) * panels.type.bytes > FAR_BYTES
    spread = rows * (panels.width * panels.type.bytes + LINE_BYTES) > HERE_BYTES  # what a tile touches of X and E
    packed = (far or spread) and tiles >= 16 and panels.count >= 4  # so many times each copy is used
    most = min(PACKED_BYTES // (rows * height * panels.type.bytes), max(16, share)) if packed else min(8, share)
    block = height * -(-tiles // -(-tiles // max(1, most)))  # blocks as equal as can be
    depth = _depth_at_a_time(panels, rows) if packed and block >= DEPTH_TILES * height else 0
    return WeightsTiling(height, block, rows if packed else 0, depth)
