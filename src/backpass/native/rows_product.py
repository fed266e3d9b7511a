"""Products of rows with weights: C = A B, loops over tiles, and the choice of these."""

from collections.abc import Sequence

from backpass.native.ir import I1, PTR, Builder, Value
from backpass.native.target import Target
from backpass.native.tiles import (
    DEPTH_TILES,
    FULLY_UNROLLED,
    HERE_BYTES,
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
    steps_of_a_round,
    sums_bytes,
    tile_of_products,
)
from backpass.records import dataclass

NEAR_BYTES = 1024 * 1024
"""Weights of no more than this stay in a second-level cache: so all panels are run through for few rows at a time."""
FEW_BYTES = 128 * 1024
"""Of these few rows."""
MANY_BYTES = 4 * 1024 * 1024
"""What may be read again from the third-level cache: that costs less than to read the other operand again."""


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
                    each_panel(b, panels, *run, lambda panel, vectors: self.tiles(first, last, panel, 1, vectors))
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
        sums = Sums(b, self.scratch, panels, size, self.tiling.block // rows) if self.tiling.depth else None

        def sum_up(start: Value, depth: int, *, is_last: bool) -> None:
            first_of_panel = b.add(b.mul(panel, panels.stride), b.mul(start, panels.width))
            right = b.offset(self.weights, first_of_panel, panels.type)
            with b.loop(first, last, rows, stem="row") as loop:
                row = b.smallest(loop.index, last_begin)
                left = b.offset(a.pointer, b.add(b.mul(row, a.stride), start), panels.type)
                index = b.div(b.sub(loop.index, first), rows)
                tile = tile_of_products(
                    b,
                    panels,
                    depth,
                    Operand(left, 1, [r * a.stride for r in range(rows)]),
                    Operand(right, panels.width, right_offsets),
                    self.part_of_next(right, self.distance_to_next(panel, together, depth), index, size, depth),
                    self.start(column, together, vectors) if sums is None else sums.before(index),
                )
                if sums is not None and not is_last:
                    sums.keep(index, tile)
                    return
                for g in range(together):
                    vectors_of_panel = [line[g * vectors : (g + 1) * vectors] for line in tile]
                    self.finish(row, b.add(column, g * panels.width), vectors_of_panel)

        cut_sums(b, panels.depth, self.tiling.depth, sums, sum_up)

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

    def part_of_next(self, right: Value, distance: Value, index: Value, size: int, depth: int) -> list[Stream]:
        """What tile `index` of a block, of `size` vectors, asks for: its part of what is so far after `right`."""
        b, panels = self.b, self.panels
        if not self.tiling.ahead:
            return []
        line = line_of(panels)
        rounds = max(1, depth // steps_of_a_round(size, depth))
        step = self.tiling.ahead * line
        at = b.mul(index, rounds * step)
        count = b.select(b.compare("lt", at, depth * panels.width), b.i64(rounds), b.i64(1))
        return [Stream(right, b.add(at, distance), step, count, range(0, step, line), locality=2)]


def rows_scratch_bytes(panels: Panels, tiling: RowsTiling) -> int:
    """Memory of its own that each thread needs for a `rows_product`; often 0."""
    return sums_bytes(panels, tiling.block) * tiling.together if tiling.depth else 0


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


def rows_tiling(target: Target, panels: Panels, rows: int, threads: int) -> RowsTiling:
    """For a batch of so many rows split over `threads`: what a simple model of the machine finds fastest.

    Threads get rows in multiples of a vector.
    """
    own = -(-rows // threads) if threads == 1 else min(rows, rounded_up(-(-rows // threads), target.lanes(panels.type)))

    def cycles(height: int) -> float:
        # Two fma and two loads a cycle; an fma's result is there after four. Stores come at the end of a tile. A cycle
        # more is what a step loses, by its other instructions: much where someone else has the core's other half.
        size = height * panels.vectors
        step = max(size / 2, (height + panels.vectors) / 2, 4) + 1
        return -(-own // height) * (panels.depth * step + size + 10)

    height = min(range(1, min(own, most_rows(target, panels.vectors)) + 1), key=cycles)
    size = panels.size * panels.type.bytes
    together = 1
    while own * panels.vectors * together < 8 and together < panels.full:
        together += 1
    while most_rows(target, panels.vectors * together) < height:
        together -= 1
    # Either a block's rows stay near for all panels, or, where sums are cut, in the next cache, with room for the sums.
    cut = depth_at_a_time(panels, panels.depth)
    near = max(1, NEAR_BYTES // (panels.depth * panels.type.bytes) // height)
    tiles = min(near, -(-own // height))
    if cut and tiles >= DEPTH_TILES and together == 1:
        block, depth = tiles * height, cut
    else:
        memory = FEW_BYTES if size <= NEAR_BYTES else MANY_BYTES
        block, depth = max(1, memory // (panels.depth * panels.type.bytes) // height) * height, 0
    steps = depth or panels.depth
    rounds = -(-min(own, block) // height) * steps // steps_of_a_round(height * panels.vectors, steps)
    lines = -(-steps * panels.width // line_of(panels))
    ahead = min(4, -(-lines // max(1, rounds))) if size > HERE_BYTES else 0
    return RowsTiling(height, block, together, ahead, depth)
