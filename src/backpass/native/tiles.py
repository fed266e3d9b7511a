"""Register tiles of matrix products, emitted for shapes known at compile time.

A tile of the result stays in registers while the sum over the depth runs: at each step a few numbers of the left
operand, each spread over a vector, are multiplied with a few vectors of the right one. Each element of a result is one
chain of fma in ascending order, starting from 0: so its bits depend neither on the tiles nor on the split over threads.
The scheme of register and cache blocks is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix
Multiplication" (2008). Sums over a great depth stop at times and are kept, and then go on where they stopped.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from backpass.native.ir import Builder, Type, Value
from backpass.native.target import Target
from backpass.records import dataclass

Tile: TypeAlias = list[list[Value]]
"""Of a result: rows of vectors."""
Finish: TypeAlias = Callable[[Value, Value, Tile], None]
"""Called with the first row and first column (both i64) of a finished tile, and the tile."""
LINE_BYTES = 64
HERE_BYTES = 32 * 1024
"""No more than this stays in a first-level cache, nearly."""
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
class Operand:
    """Elements at pointer + step * index + offset, for the steps of a sum and some fixed offsets."""

    pointer: Value
    step: int
    offsets: Sequence[int]
    ahead: int = 0
    """So many steps ahead its memory is asked for; 0 leaves that to the machine."""
    again: Value | None = None
    """The same pointer once more: the first offsets are read there for the second vector; see `_reads_twice`."""


@dataclass(frozen=True)
class Stream:
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


def panel_vectors(target: Target, type_: Type, columns: int) -> int:
    """How many vectors wide the panels of a matrix of so many columns are: a narrow last panel is to be rare."""
    vectors = -(-columns // target.lanes(type_))
    if not target.fused:
        return min(vectors, 2)  # a product that is not added at once takes a register more
    return min(vectors, 3) if vectors % 2 or vectors % 3 == 0 else 2


def most_rows(target: Target, vectors: int) -> int:
    """Rows of the highest tile whose sums stay in registers, beside a row of vectors and what multiplies them."""
    return (target.registers - vectors - (1 if target.fused else 2)) // vectors


# The loop over the steps of a sum


def each_panel(b: Builder, panels: Panels, begin: Value, end: Value, body: Callable[[Value, int], None]) -> None:
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


def tile_of_products(
    b: Builder,
    panels: Panels,
    count: int | Value,
    left: Operand,
    right: Operand,
    streams: Sequence[Stream] = (),
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
        unroll = steps_of_a_round(size, count)
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
    left: Operand,
    right: Operand,
    flat: list[Value],
    first: Any,
    last: Any,
    unroll: int,
    streams: Sequence[Stream],
) -> tuple[Operand, Operand, list[Value]]:
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


def _at(left: Operand, right: Operand, pointers: Sequence[Value]) -> tuple[Operand, Operand]:
    """The operands with these pointers: of the left one, of the right one, of the left one again if it has two."""
    left_at, right_at, *again = pointers
    return replace(left, pointer=left_at, again=again[0] if again else None), replace(right, pointer=right_at)


def _steps(b: Builder, panels: Panels, left: Operand, right: Operand, flat: list[Value], count: int) -> list[Value]:
    """So many steps of the sum, straight on."""
    vector = panels.type.vector(panels.lanes)

    def spread(pointer: Value, step: int, offset: int) -> Value:
        return b.splat(b.load(panels.type, pointer, step * left.step + offset), panels.lanes)

    again = left.pointer if left.again is None else left.again
    twice = [] if left.again is None else left.offsets[: round(len(left.offsets) * READ_TWICE)]
    for s in range(count):
        if left.ahead:
            for line in range(0, len(left.offsets), line_of(panels)):
                b.prefetch(left.pointer, (s + left.ahead) * left.step + line, panels.type)
        vectors = [b.load(vector, right.pointer, s * right.step + offset) for offset in right.offsets]
        factors = [[spread(left.pointer, s, offset)] * len(vectors) for offset in left.offsets]
        for row, offset in zip(factors, twice, strict=False):
            row[1] = spread(again, s, offset)
        pairs = [pair for row in factors for pair in zip(row, vectors, strict=True)]
        flat = [b.fma(a, vector, sum_) for (a, vector), sum_ in zip(pairs, flat, strict=True)]
    return flat


def steps_of_a_round(size: int, count: int | Value) -> int:
    """Steps of the sum to a round of the loop, of a tile of so many vectors, where there are `count` in all.

    Long loops are worth code of twice the length.
    """
    most = 8 if isinstance(count, int) and count >= LONG_LOOP else 4
    return min(most, 1 << max(0, (ROUND // size).bit_length() - 1))


def line_of(panels: Panels) -> int:
    """Elements in a line of the cache."""
    return LINE_BYTES // panels.type.bytes


def rounded_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


# Sums over a great depth


@dataclass
class Sums:
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


def cut_sums(b: Builder, depth: Value | int, most: int, sums: Sums | None, sum_up: Callable[..., None]) -> None:
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


def sums_bytes(panels: Panels, block: int) -> int:
    """Of the sums of all tiles of a panel and so many rows, where these are not done at once."""
    return block * panels.width * panels.type.bytes


def depth_at_a_time(panels: Panels, depth: int) -> int:
    """How many of `depth` rows of a panel are summed up for all tiles before the next: equal parts, or 0 for all."""
    row = panels.width * panels.type.bytes
    if depth * row <= 2 * DEPTH_BYTES:
        return 0
    return rounded_up(-(-depth // -(-depth * row // DEPTH_BYTES)), 8)


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
