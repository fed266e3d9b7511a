"""How a thread's share of a kernel is cut into units, for threads that wait to help; see `helping`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from backpass.native.ir import Builder, Value
from backpass.native.plan import EVERYONES, Kernel, Product, Space
from backpass.native.tiles import DEPTH_TILES
from backpass.records import dataclass

if TYPE_CHECKING:
    from backpass.native.compile import Compiler
    from backpass.native.helping import Terms

UNIT, MOST_UNITS = 1e-5, 8  # seconds of a unit at least, and units to a thread's share of a kernel


@dataclass(frozen=True)
class Units:
    """How a thread's share of a kernel is cut: along the share, or along the other axis, or along both.

    Attributes:
        size: of a unit, along the axis that is cut; where both are, along the other one: of the share it is 1 then.
        seconds: that a unit takes, about.
        inside: how much the other axis has, where that is cut; 0 for the rows of the step. None where the share is cut.
        both: whether the share is cut, too.
    """

    size: int
    seconds: float
    inside: int | None = None
    both: bool = False

    def count(self, b: Builder, low: Value, high: Value, n: Value) -> Value:
        """Of a share [low, high), in a step of n rows."""
        if self.inside is None:
            return self._pieces(b, b.sub(high, low))
        pieces = self._pieces(b, self._length(b, n))
        return b.mul(b.sub(high, low), pieces) if self.both else pieces

    def part(self, b: Builder, unit: Value, terms: "Terms") -> tuple[tuple[Value, Value], tuple[Value, Value]]:
        """The part of the share, and of the other axis, that a unit is."""
        if self.inside is None:
            part = self._part(b, terms.low, unit, terms.high)
            return part, part
        share, length = (terms.low, terms.high), self._length(b, terms.n)
        if self.both:
            pieces = self._pieces(b, length)
            first = b.add(terms.low, b.div(unit, pieces))
            share, unit = (first, b.add(first, 1)), b.rem(unit, pieces)
        return share, self._part(b, b.i64(0), unit, length)

    def last_of(self, b: Builder, unit: Value, terms: "Terms") -> Value:
        """The last place along the share of a unit, where that is cut; less than 0 where `unit` is."""
        last = b.sub(b.add(terms.low, b.mul(b.add(unit, 1), self.size)), 1)
        return b.select(b.compare("ge", unit, 0), last, unit)

    def _length(self, b: Builder, n: Value) -> Value:
        return b.i64(self.inside) if self.inside else n

    def _pieces(self, b: Builder, length: Value) -> Value:
        return b.div(b.add(length, self.size - 1), self.size)

    def _part(self, b: Builder, start: Value, unit: Value, end: Value) -> tuple[Value, Value]:
        first = b.add(start, b.mul(unit, self.size))
        return first, b.smallest(end, b.add(first, self.size))


def units_of_share(c: "Compiler", kernel: Kernel) -> Units | None:
    """How a thread's share of a kernel is cut, for others to help; None where that is not worth it."""
    sharing = 1 if kernel.network is not None else c.threads
    seconds = c.seconds(kernel) / sharing
    if c.is_alone or kernel.network == EVERYONES or seconds < 2 * UNIT:
        return None
    return _units(c, kernel, sharing, seconds)


def _units(c: "Compiler", kernel: Kernel, sharing: int, seconds: float) -> Units | None:
    """Those of a share that takes so long; None where it makes but one."""
    pieces = min(MOST_UNITS, int(seconds / UNIT))

    def sized(total: int, unit: int, inside: int | None = None) -> Units | None:
        size = -(-total // (pieces * unit)) * unit
        return Units(size, seconds * size / total, inside) if size < total else None

    if kernel.space is Space.ROWS:
        unit = _rows_of_a_unit(c, kernel)
        if any(getattr(node.op, "scatters", False) for node in kernel.nodes):
            return None
        if kernel.cut is None:
            return sized(-(-c.job.rows // sharing), unit)
        if kernel.product is None:
            return None
        panels = max(1, c.units(kernel) // sharing)
        size = min(c.job.rows, -(-c.job.rows * panels // (pieces * unit)) * unit)
        one = panels == 1 and size == c.job.rows
        return None if one else Units(size, seconds * size / (c.job.rows * panels), 0, both=True)
    return _units_of_weights(c, kernel, sharing, sized) if kernel.product is Product.WEIGHTS else None


def _rows_of_a_unit(c: "Compiler", kernel: Kernel) -> int:
    """Units have multiples of so many rows: so that each is a tile high at least, but where the step's rows end.

    What is left of a thread's share is a multiple of `row_unit` too, and so no tile reaches into another's rows.
    """
    rows = c.rows_of_a_tile(kernel) if kernel.product else 1
    if kernel.product is Product.ROWS:  # a panel is to be read for several tiles at a time
        rows *= DEPTH_TILES * (2 if c.rows_tiling(kernel).depth else 1)
    step = c.row_unit if kernel.by_rows else c.lanes
    return -(-rows // step) * step


def _units_of_weights(c: "Compiler", kernel: Kernel, sharing: int, sized: Callable[..., Units | None]) -> Units | None:
    """Of a product of weights its own units, or some tiles; whole blocks, or panels, where X is copied."""
    tiling, panels = c.weights_tiling(kernel), c.panels(kernel)
    if kernel.cut is None:
        return sized(c.units(kernel) // sharing, 1)
    if not kernel.cut.high:
        tiles = -(-panels.depth // tiling.rows)
        block = tiling.block // tiling.rows
        return sized(tiles, block if tiling.packed else min(block, DEPTH_TILES), tiles)
    share = -(-c.units(kernel) // sharing) * c.panels_beside(kernel.cut.first).width
    is_one_block = share <= tiling.block or not tiling.packed
    return sized(panels.count, 1, panels.count) if is_one_block else None
