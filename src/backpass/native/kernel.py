"""Values of a graph's nodes as code: the value of any node at any place, pulled from what it is made of.

A `Writer` is asked for the value of a node at an index; it loads what is stored, calculates the rest, and writes each
thing in the outermost loop in which it can stand, once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Any

import numpy as np

from backpass.errors import UsageError
from backpass.graph import Axis, Batch, Node, size
from backpass.native import random
from backpass.native.indices import Index, flat
from backpass.native.ir import I1, I64, Builder, Type, Value
from backpass.native.layout import COLUMNS_AT_ONCE, Layout, Panelled, Strided, lanes_for
from backpass.native.pointwise import SCALARS, Lowering
from backpass.native.tiles import transpose_tile
from backpass.ops.contraction import labels
from backpass.ops.kinds import Contraction, Lookup, Movement, Pointwise, Random, Reduction, Source
from backpass.ops.random import GROUP
from backpass.records import dataclass

Values = list[Value]
"""One scalar, the same in every lane; or a vector for each of the vectors that are worked on together."""

TURNED = 4  # numbers of a row that are read or written at once where lanes are rows
UNROLLED = 16  # steps: loops of no more, one in the other, are written out


@dataclass(frozen=True)
class Slot:
    """Where the value of a node stands."""

    pointer: Value
    layout: Layout


@dataclass
class _Level:
    """A loop that is being written: what is known in it, and the place just before it."""

    known: dict[Any, Any]
    entry: list[Any]


class Writer(Lowering):
    """Writes one kernel.

    Args:
        builder: of the kernel's function.
        lanes: elements of a vector.
        slots: where stored values stand.
        rows: the number of rows of the batch, i64.
        status: the shared word in which a bad index is reported, a pointer to i64.
        made_here: the nodes of the kernel.
        told: what gives the whole number that a node is made with, i64, where that is an argument of the function.
    """

    def __init__(
        self,
        builder: Builder,
        lanes: int,
        slots: Mapping[Node, Slot],
        rows: Value,
        status: Value,
        made_here: Sequence[Node],
        told: Callable[[Node], Value | None],
    ) -> None:
        super().__init__(builder)
        self.width = lanes
        self.lanes = 0
        self.count = 1
        self.tail: int | None = None
        self.slots = slots
        self.rows = rows
        self.status = status
        self.told = told
        self.levels = [_Level({}, [])]
        self.zero = Index(self, builder.i64(0))
        self._start = builder.place()
        self.from_start = False
        """Whether what depends on no loop is written at the start of the function: where others write the loops."""
        self.remarks = False
        """Whether the text says which node its lines calculate."""
        self._origin: dict[str, int] = {}
        self._made = dict.fromkeys(made_here, 1)
        self._unwritten: set[Node] = set()
        self._levels_of: dict[Node, int] = {}

    # Loops and the places in and before them

    @property
    def depth(self) -> int:
        return len(self.levels) - 1

    @contextmanager
    def deeper(self) -> Iterator[int]:
        """What is written inside belongs to a loop one deeper; yields its level. Enter it before the loop begins."""
        self.levels = [*self.levels, _Level({}, self.b.place())]
        try:
            yield self.depth
        finally:
            self.levels = self.levels[:-1]
            for node, level in self._made.items():
                if level > self.depth:  # from now on it is read from memory, written before all that follows
                    self._made[node] = 1
                    self._unwritten.discard(node)
            self._levels_of.clear()

    @contextmanager
    def at(self, level: int) -> Iterator[None]:
        """Write in the loop of `level`, before the loops inside it."""
        if level >= self.depth:
            yield
            return
        held = self.levels
        entry = self._start if level == 0 and self.from_start else held[level + 1].entry
        self.levels = held[: level + 1]
        with self.b.into(entry):
            yield
        self.levels = held

    def once(self, key: Any, level: int, write: Callable[[], Any]) -> Any:
        """What `write` makes; it is called once for each key in the loop of `level`."""
        for each in reversed(self.levels):
            if key in each.known:
                return each.known[key]
        with self.at(level):
            made = write()
        level = min(level, self.depth)
        self.levels[level].known[key] = made
        if isinstance(made, list) and len(made) == 1 and isinstance(made[0], Value):
            self._origin.setdefault(made[0].text, level)
        return made

    @contextmanager
    def vectors(self, lanes: int, count: int, tail: int | None = None) -> Iterator[None]:
        """Inside, `count` vectors are worked on together; of them only the first `tail` lanes hold elements."""
        held = self.lanes, self.count, self.tail
        self.lanes, self.count, self.tail = lanes, count, tail
        try:
            yield
        finally:
            self.lanes, self.count, self.tail = held

    def lane_index(self, base: Value, level: int, multiple: int, span: tuple[int, int] | None = None) -> Index:
        """base, base + 1, ... over the lanes."""
        return Index(self, base, step=1, level=level, multiple=multiple, span=span)

    def index(self, number: int) -> Index:
        return Index(self, self.b.i64(number))

    def length(self, node: Node, axis: int) -> Any:
        """Of an axis: a number, or the place just after the last row."""
        length = node.shape[axis]
        return Index(self, self.rows) if isinstance(length, Batch) else length

    def along(self, node: Node, axis: int) -> Value:
        """The length of an axis, i64."""
        length = self.length(node, axis)
        return length.base if isinstance(length, Index) else self.b.i64(length)

    def scalar(self, node: Node) -> Type:
        return SCALARS[node.dtype]

    # Values

    def value(self, node: Node, index: Sequence[Index]) -> Values:
        """The value of `node` at `index`."""
        index = [self.zero if axis == 1 else place for place, axis in zip(index, node.shape, strict=True)]
        level = max((place.level for place in index), default=0)
        if level < self.depth:
            level = max(level, self._made_at(node))
        varies = any(place.varies for place in index)
        key = (node, *(place.key for place in index), (self.lanes, self.count, self.tail) if varies else 0)
        return list(self.once(key, level, lambda: self._written(node, index, varies=varies)))

    def _made_at(self, node: Node) -> int:
        """The loop in which all of this kernel that `node` follows from is known: it cannot stand before that."""
        known = self._levels_of.get(node)
        if known is None:
            if node in self._made:
                known = self._made[node]
            elif node in self.slots:
                known = 0
            else:
                known = max(map(self._made_at, node.inputs), default=0)
            self._levels_of[node] = known
        return known

    def know(self, node: Node, index: Sequence[Index], values: Values) -> None:
        """`values` is what `node` is at `index`, from here on."""
        index = [self.zero if axis == 1 else place for place, axis in zip(index, node.shape, strict=True)]
        varies = any(place.varies for place in index)
        key = (node, *(place.key for place in index), (self.lanes, self.count, self.tail) if varies else 0)
        self.levels[-1].known[key] = values
        self._made[node] = self.depth
        self._unwritten.add(node)
        self._levels_of.clear()

    def _written(self, node: Node, index: Sequence[Index], *, varies: bool) -> Values:
        if node in self.slots:
            with self._scalar_unless(varies):
                return self.load(node, index)
        return self.calculated(node, index)

    @contextmanager
    def _scalar_unless(self, varies: bool) -> Iterator[None]:
        if varies:
            yield
        else:
            with self.vectors(0, 1):
                yield

    def calculated(self, node: Node, index: Sequence[Index]) -> Values:
        """The value of `node` at `index`, made from its inputs even where it is stored."""
        op, attributes = node.op, node.attributes
        index = [self.zero if axis == 1 else place for place, axis in zip(index, node.shape, strict=True)]
        with self._scalar_unless(any(place.varies for place in index)):
            match op:
                case Source() if "value" in attributes:
                    return [self.told(node) or self.b.constant(_number(attributes["value"]), self.scalar(node))]
                case Source():
                    return [self.b.convert(self.rows, self.scalar(node))]
                case Pointwise():
                    inputs = [self.value(x, self.stretched(index, x.shape)) for x in node.inputs]
                    self._remark(node)
                    return self.each(inputs, partial(self._lowered, node))
                case Reduction():
                    self._remark(node)
                    return self._reduced(node, op, index)
                case Contraction():
                    self._remark(node)
                    return self._contracted(node, index)
                case Random():
                    self._remark(node)
                    return self._drawn(node, index)
                case Movement() if op.in_order and node.inputs[0] in self.slots and node.inputs[0] not in self._made:
                    return self._reshaped_load(node, index)
                case Movement() | Lookup() if op.lower is not None:
                    self._remark(node)
                    return list(op.lower(self, index, *node.inputs, **attributes))
        raise AssertionError(f"{node!r} was to be stored")

    def _remark(self, node: Node) -> None:
        if self.remarks:
            self.b.comment(f"{node.name or 'without a name'}: {node.op.name}")

    def _lowered(self, node: Node, *values: Value) -> Value:
        """What the record of an operation says of one element or vector."""
        lower = getattr(node.op, "lower", None)
        try:
            result: Value = lower(self, *values, **node.attributes)  # type: ignore[misc]
        except (AttributeError, TypeError) as error:
            raise UsageError(f'`lower` of the operation "{node.op.name}" failed: {error}') from error
        if not isinstance(result, Value):
            raise UsageError(
                f'`lower` of the operation "{node.op.name}" returned {result!r}, expected what a method of `e` returned'
            )
        return result

    def each(self, inputs: Sequence[Values], write: Callable[..., Value]) -> Values:
        """`write` for every vector; scalars are spread only where they meet vectors."""
        if all(not values[0].type.lanes for values in inputs):
            return [write(*(values[0] for values in inputs))]
        columns = [self.spread(values) for values in inputs]
        return [write(*(values[u] for values in columns)) for u in range(self.count)]

    def spread(self, values: Values) -> Values:
        """As a vector for each of the vectors that are worked on."""
        if values[0].type.lanes:
            return values
        return [self._splat(values[0])] * self.count

    def _splat(self, value: Value) -> Value:
        if value.constant is not None:
            return self.b.splat(value, self.lanes)
        level = self._origin.get(value.text, self.depth)
        made: Value = self.once(("splat", value.text, self.lanes), level, lambda: self.b.splat(value, self.lanes))
        return made

    # Memory

    def load(self, node: Node, index: Sequence[Index]) -> Values:
        """The stored value of `node`; in the loop that makes it, it is in memory no sooner than it is written."""
        if node in self._unwritten:
            raise AssertionError(f"{node!r} is made in the loop under way, and was to be read before it is written")
        slot = self.slots[node]
        if (
            self.lanes
            and self.count == 1
            and index
            and (index[0].step, index[0].vectors) == (1, None)
            and size(node.shape[1:]) > 1
            and self.turns(node, slot)
            and (group := self._group(slot, index)) is not None
        ):
            return [self._load_turned(node, slot, index, *group)]
        return self._load_flat(node, slot, self.places(slot, index))

    def turns(self, node: Node, slot: Slot) -> bool:
        """Do rows have room for whole groups of TURNED numbers, so that they can be turned about in registers?"""
        layout, fits = slot.layout, self.scalar(node).is_float and isinstance(node.shape[0], Batch)
        return fits and isinstance(layout, Strided) and layout.strides[-1] == 1 and layout.strides[0] % TURNED == 0

    def _group(self, slot: Slot, index: Sequence[Index]) -> tuple[Value, int] | None:
        """Of TURNED numbers of a row that are read together the first's place, and which of them stands at `index`.

        None where that is not known.
        """
        if len(index) == 2 and index[1].within is not None:
            return index[1].within
        if any(place.base.constant is None or place.varies for place in index[1:]):
            return None
        strides = slot.layout.strides[1:]  # type: ignore[union-attr]
        number = sum(int(place.base.constant or 0) * n for place, n in zip(index[1:], strides, strict=True))
        return self.b.i64(number - number % TURNED), number % TURNED

    def _load_turned(self, node: Node, slot: Slot, index: Sequence[Index], first: Value, number: int) -> Value:
        """One number of each of some rows, a row in a lane: some numbers of each row are read, and turned about."""
        row, stride, type_ = index[0], slot.layout.strides[0], self.scalar(node)  # type: ignore[union-attr]

        def write() -> Values:
            at = self.b.add(self.b.mul(row.base, stride), first)
            rows = [self.b.load(type_.vector(TURNED), slot.pointer, self.b.add(at, r * stride)) for r in range(lanes)]
            return transpose_tile(self.b, [[each] for each in rows])

        lanes = self.lanes
        level = max(place.level for place in index)
        turned: Values = self.once(("turned", node, first.text, row.key), level, write)
        found: Value = turned[number]
        return found

    def store_turned(self, slot: Slot, first: Sequence[Index], columns: Values) -> None:
        """Write rows of which each number stands in a vector of its own, a row in a lane."""
        b, row, stride = self.b, first[0], slot.layout.strides[0]  # type: ignore[union-attr]
        at = b.mul(row.base, stride)
        for start in range(0, len(columns), TURNED):
            part = columns[start : start + TURNED]
            part += [b.constant(0, part[0].type)] * (TURNED - len(part))
            for r, vector in enumerate(transpose_tile(b, [[each] for each in part])):
                b.store(vector, slot.pointer, b.add(at, r * stride + start))

    def _load_flat(self, node: Node, slot: Slot, places: "list[Index] | Index") -> Values:
        type_ = self.scalar(node)
        if isinstance(places, list):  # a vector each
            return [self.b.load(type_.vector(self.lanes), slot.pointer, place.base) for place in places]
        if not places.varies:
            return [self.b.load(type_, slot.pointer, places.base)]
        if places.even is not None:
            return [self.b.splat(self.b.load(type_, slot.pointer, place), self.lanes) for place in places.even]
        if places.vectors is None and places.step == 1:
            vector = type_.vector(self.lanes)
            return [
                self.b.load(vector, slot.pointer, self.b.add(places.base, u * self.lanes)) for u in range(self.count)
            ]
        masks = [self.mask(u) for u in range(self.count)]
        return [
            self.b.gather(type_.vector(self.lanes), slot.pointer, vector, mask)
            for vector, mask in zip(places.lanes(), masks, strict=True)
        ]

    def store(
        self, node: Node, index: Sequence[Index], values: Values, *, slot: Slot | None = None, padded: bool = False
    ) -> None:
        """Write the value of `node` at `index`; `padded` says that lanes beyond the tail may be written over."""
        index = [self.zero if axis == 1 else place for place, axis in zip(index, node.shape, strict=True)]
        slot = self.slots[node] if slot is None else slot
        self._unwritten.discard(node)
        places = self.places(slot, index)
        if isinstance(places, list):
            for place, value in zip(places, self.spread(values), strict=True):
                self.b.store(value, slot.pointer, place.base)
        elif not places.varies:
            value = self.b.extract(values[0], 0) if values[0].type.lanes else values[0]
            self.b.store(value, slot.pointer, places.base)
        elif places.vectors is None and places.step == 1:
            for u, value in enumerate(self.spread(values)):
                at, mask = self.b.add(places.base, u * self.lanes), self.mask(u)
                if mask is None or padded:
                    self.b.store(value, slot.pointer, at)
                else:
                    self.b.store_lanes(value, slot.pointer, at, mask)
        else:
            for u, (value, vector) in enumerate(zip(self.spread(values), places.lanes(), strict=True)):
                self.b.scatter(value, slot.pointer, vector, self.mask(u))

    def mask(self, u: int) -> Value | None:
        """Of vector `u` the lanes that hold elements; None where all do."""
        if self.tail is None or self.tail >= (u + 1) * self.lanes:
            return None
        return self.b.constants([u * self.lanes + lane < self.tail for lane in range(self.lanes)], I1)

    def places(self, slot: Slot, index: Sequence[Index]) -> "list[Index] | Index":
        """Where the elements of a slot stand: one place for each vector of neighbours, or a place in every lane."""
        layout = slot.layout
        if isinstance(layout, Strided):
            return flat(index, layout.strides, self.zero)
        row, column = index
        panels = layout.panels
        vectors = (
            column.step == 1
            and column.vectors is None
            and not row.varies
            and column.multiple % self.lanes == 0
            and panels.width % self.lanes == 0
        )
        if vectors:
            return self._panel_places(layout, row, column)
        return column // panels.width * panels.stride + row * panels.width + column % panels.width

    def _panel_places(self, layout: Panelled, row: Index, column: Index) -> list[Index]:
        panels = layout.panels
        start = Index(self, column.base, level=column.level, multiple=column.multiple)
        if column.multiple % panels.width == 0 and self.count * self.lanes <= panels.width:
            first = start // panels.width * panels.stride + row * panels.width
            return [first + u * self.lanes for u in range(self.count)]
        places = []
        for u in range(self.count):
            at = start + u * self.lanes
            places.append(at // panels.width * panels.stride + row * panels.width + at % panels.width)
        return places

    # What operations read

    def read(
        self, node: Node, index: Sequence[Any], *, inside: Sequence[Values] = (), otherwise: Values | None = None
    ) -> Values:
        """The value of `node` at `index`; where `inside` does not hold, `otherwise` (or 0)."""
        places = [self.index(place) if isinstance(place, int) else place for place in index]
        if any(values[0].constant is False for values in inside):
            return [self.b.constant(0, self.scalar(node))] if otherwise is None else otherwise
        inside = [values for values in inside if values[0].constant is not True]
        if not inside:
            return self.value(node, places)
        conditions = self.each(inside, self._all)
        # Outside of the value there is nothing to read: element 0 is read instead.
        held = [self._held(place, conditions) for place in places]
        values = self.value(node, held)
        zero = self.b.constant(0, self.scalar(node))
        other = [zero] if otherwise is None else otherwise
        return self.each([conditions, values, other], self.b.select)

    def _all(self, *conditions: Value) -> Value:
        return self.b.tree(conditions, self.b.bit_and)

    def _held(self, place: Index, conditions: Values) -> Index:
        b = self.b
        if not place.varies and place.base.constant == 0:
            return place
        if not place.varies:  # where one lane is inside this place is, which all have
            some = b.any(b.tree(conditions, b.bit_or)) if conditions[0].type.lanes else conditions[0]
            return Index(self, b.select(some, place.base, 0), level=self.depth)
        picked = [
            b.select(condition, each, 0)
            for condition, each in zip(self.spread(conditions), self._as_lanes(place), strict=True)
        ]
        return Index(self, b.i64(1), vectors=picked, level=self.depth)

    def _as_lanes(self, place: Index) -> Values:
        return place.lanes() if place.varies else [self.b.splat(place.base, self.lanes)] * self.count

    def number(self, node: Node, index: Sequence[Index], limit: Axis) -> Index:
        """The whole number that `node` holds at `index`, as a place below `limit`; one that is not is reported."""
        values = self.value(node, index)
        b = self.b
        level = max((place.level for place in index), default=0)
        if level < self.depth:
            level = max(level, self._made_at(node))
        with self.at(level):
            wide = [b.convert(value, I64) for value in values]
            fits = [b.below(value, self.rows if isinstance(limit, Batch) else limit) for value in wide]
            self.report_misfits(node, fits, index)
            safe = [b.select(good, value, 0) for good, value in zip(fits, wide, strict=True)]
        if not safe[0].type.lanes:
            return Index(self, safe[0], level=level)
        return Index(self, b.i64(1), vectors=safe, level=level)

    def report_misfits(self, node: Node, fits: Values, index: Sequence[Index]) -> None:
        """Set the status where a number of `node` does not fit; places past the end of the batch do not count."""
        b = self.b
        rows = [place for place, axis in zip(index, node.shape, strict=True) if isinstance(axis, Batch)]
        for u, good in enumerate(fits):
            lanes = good.type.lanes
            bad = [b.bit_xor(good, True)]
            for row in rows:
                place = row.lanes()[u] if row.varies else b.splat(row.base, lanes)
                bad.append(b.compare("lt", place, b.splat(self.rows, lanes)))
            if lanes and (mask := self.mask(u)) is not None:
                bad.append(mask)
            wrong = b.tree(bad, b.bit_and)
            with b.when(b.any(wrong) if lanes else wrong):
                b.store(b.i64(1), self.status)

    def stretched(self, index: Sequence[Index], shape: Sequence[Any]) -> list[Index]:
        """`index` of a result, for an input of `shape` that stretches to it."""
        return [
            self.zero if axis == 1 else place
            for place, axis in zip(index[len(index) - len(shape) :], shape, strict=True)
        ]

    def reshaped(self, index: Sequence[Index], shape: Sequence[Any], wanted: Sequence[Any]) -> list[Index]:
        """`index` into a value of `shape`, for the same elements in the shape `wanted`. Batch axes stay."""
        result: list[Index] = []
        for (low, high), (first, last) in zip(_parts(shape), _parts(wanted), strict=True):
            result += self._reshaped_part(index[low:high], shape[low:high], wanted[first:last])
            result += index[high : high + 1]  # the batch axis
        return result

    def _reshaped_part(self, index: Sequence[Index], shape: Sequence[int], wanted: Sequence[int]) -> list[Index]:
        if tuple(shape) == tuple(wanted):
            return list(index)
        if [axis for axis in shape if axis != 1] == [axis for axis in wanted if axis != 1]:
            places = iter([place for place, axis in zip(index, shape, strict=True) if axis != 1])
            return [self.zero if axis == 1 else next(places) for axis in wanted]  # the very places: known by these
        place = flat(index, _dense(shape), self.zero)
        result: list[Index] = []
        axes = [axis for axis in wanted if axis != 1]
        for axis, stride in zip(wanted, _dense(wanted), strict=True):
            if axis == 1:
                result.append(self.zero)
                continue
            first = axes and axis is axes[0] and all(r is self.zero for r in result)
            whole = place // stride
            result.append(whole if first else whole % axis)
        return result

    def _reshaped_load(self, node: Node, index: Sequence[Index]) -> Values:
        """A stored value under another shape: where rows are dense in memory the place is the same."""
        (x,) = node.inputs
        slot = self.slots[x]
        cut = _batch_place(node.shape)
        dense = sum(isinstance(axis, Batch) for axis in node.shape) == (cut is not None)
        if dense and isinstance(slot.layout, Strided) and cut == _batch_place(x.shape) and cut in (0, None):
            strides = _dense([1 if isinstance(axis, Batch) else axis for axis in node.shape])
            if cut == 0:
                strides = (slot.layout.strides[0], *strides[1:])
            return self._load_flat(x, slot, flat(index, strides, self.zero))
        return self.value(x, self.reshaped(index, node.shape, x.shape))

    # Reductions

    def _reduced(self, node: Node, op: Reduction, index: Sequence[Index]) -> Values:
        (x,) = node.inputs
        axes = node.attributes["axes"]
        kept = list(index)
        if node.attributes["keepdims"]:
            kept = [place for axis, place in enumerate(index) if axis not in axes]
        places: list[Index | None] = [None if axis in axes else kept.pop(0) for axis in range(x.ndim)]
        if op.places:
            return self._placed(node, op, x, places)
        if not self.lanes and axes and axes[-1] == x.ndim - 1 and x.shape[-1] != 1:
            return [self._reduced_across(op, x, places)]
        return self._reduced_along(op, x, places)

    def _first(self, op: Reduction, x: Node) -> Value:
        """The value from which a reduction starts."""
        first = self.b.constant(_number(op.start(x.dtype)), self.scalar(x))
        return self.b.splat(first, self.lanes)

    def _reduced_along(self, op: Reduction, x: Node, places: list[Index | None]) -> Values:
        """One element after the other; vectors lie along an axis that stays."""
        start = [self._first(op, x)] * self.count

        def body(index: list[Index], total: Values) -> Values:
            return self.each([total, self.value(x, index)], lambda a, v: op.lower(self, a, v))  # type: ignore[misc]

        return self._nest(x, places, start, body)

    def _nest(
        self, x: Node, places: list[Index | None], total: Values, body: Callable[[list[Index], Values], Values]
    ) -> Values:
        """Loops over the places of `x` that are open, from the first axis to the last, carrying `total`."""
        if None not in places:
            return body(places, total)  # type: ignore[arg-type]
        axis = places.index(None)
        length = self.length(x, axis)
        open_ = [self.length(x, each) for each, place in enumerate(places) if place is None]
        if all(isinstance(each, int) for each in open_) and prod(open_) <= UNROLLED:
            for number in range(length):
                total = self._nest(x, [*places[:axis], self.index(number), *places[axis + 1 :]], total, body)
            return total
        if isinstance(length, int) and self.lanes and x.ndim == 2 and axis == 1:
            return self._in_groups(places[0], length, total, body)
        end = length.base if isinstance(length, Index) else length
        with self.deeper() as level, self.b.loop(0, end, carried=total) as loop:
            here = Index(self, loop.index, level=level)
            loop.next = self._nest(x, [*places[:axis], here, *places[axis + 1 :]], loop.carried, body)
        return loop.results

    def _in_groups(
        self, row: Index | None, length: int, total: Values, body: Callable[[list[Index], Values], Values]
    ) -> Values:
        """A loop along rows, lanes being rows: by as many numbers at a time as are read at a time."""
        whole = length - length % TURNED
        with self.deeper() as level, self.b.loop(0, whole, TURNED, carried=total) as loop:
            inside = loop.carried
            for number in range(TURNED):
                at = self.b.add(loop.index, number)
                here = Index(self, at, level=level, within=(loop.index, number))
                inside = body([row, here], inside)  # type: ignore[list-item]
            loop.next = inside
        total = loop.results
        for number in range(whole, length):
            total = body([row, self.index(number)], total)  # type: ignore[list-item]
        return total

    def _reduced_across(self, op: Reduction, x: Node, places: list[Index | None]) -> Value:
        """Vectors lie along the last axis, which is reduced: lane by lane first, then the lanes in a fixed tree."""
        length = self.length(x, x.ndim - 1)
        combine: Callable[..., Value] = lambda a, v: op.lower(self, a, v)  # type: ignore[misc]  # noqa: E731
        outer = places[:-1]
        if isinstance(length, Index):
            return self._reduced_rows(op, x, places)
        lanes = lanes_for(length, self.width)
        chunks = chunks_of(length, lanes, COLUMNS_AT_ONCE)
        most = max((count for _, _, _, count, _ in chunks), default=1)
        with self.vectors(lanes, most):
            start = [self._first(op, x)] * most

        def row(index: list[Index], total: Values) -> Values:
            for begin, end, step, count, tail in chunks:
                total = self._chunk(x, index, (begin, end, step, count, tail), total, combine, op)
            return total

        total = self._nest(x, outer, start, row)
        return self.b.across(self.b.tree(total, combine), combine)

    def _chunk(
        self,
        x: Node,
        index: list[Index],
        chunk: tuple[int, int, int, int, int | None],
        total: Values,
        combine: Callable[..., Value],
        op: Reduction,
    ) -> Values:
        begin, end, step, count, tail = chunk

        def one(place: Index, total: Values) -> Values:
            found = self.spread(self.value(x, [*index, place]))
            found = [self._tailed(v, u, op, x) for u, v in enumerate(found)]
            return [combine(a, v) for a, v in zip(total, found, strict=False)] + total[len(found) :]

        with self.vectors(step // COLUMNS_AT_ONCE, count, tail):
            if end - begin <= step:
                return one(self.lane_index(self.b.i64(begin), 0, begin), total)
            with self.deeper() as level, self.b.loop(begin, end, step, carried=total) as loop:
                loop.next = one(self.lane_index(loop.index, level, step), loop.carried)
        return loop.results

    def _tailed(self, value: Value, u: int, op: Reduction, x: Node) -> Value:
        mask = self.mask(u)
        return value if mask is None else self.b.select(mask, value, self._first(op, x))

    def _reduced_rows(self, op: Reduction, x: Node, places: list[Index | None]) -> Value:
        """Vectors lie along the rows of the batch."""
        combine: Callable[..., Value] = lambda a, v: op.lower(self, a, v)  # type: ignore[misc]  # noqa: E731
        with self.vectors(self.width, 1):
            start = [self._first(op, x)]

            def row(index: list[Index], total: Values) -> Values:
                with self.deeper() as level, self.b.loop(0, self.rows, self.width, carried=total) as loop:
                    place = self.lane_index(loop.index, level, self.width)
                    found = self.spread(self.value(x, [*index, place]))[0]
                    there = self.b.first_lanes(self.b.sub(self.rows, loop.index), self.width)
                    loop.next = [combine(loop.carried[0], self.b.select(there, found, start[0]))]
                return loop.results

            (lanes,) = self._nest(x, places[:-1], start, row)
        return self.b.across(lanes, combine)

    def _placed(self, node: Node, op: Reduction, x: Node, places: list[Index | None]) -> Values:
        """The place of the element that the operation keeps: the first of equal ones, the first NaN before all."""
        b, (axis,) = self.b, node.attributes["axes"]
        first = [*places[:axis], self.zero, *places[axis + 1 :]]
        best = self.spread(self.value(x, first)) if self.lanes else self.value(x, first)  # type: ignore[arg-type]
        where = [b.splat(b.i64(0), self.lanes)] * len(best)
        length = self.length(x, axis)
        end = length.base if isinstance(length, Index) else length
        with self.deeper() as level, b.loop(1, end, carried=[*best, *where]) as loop:
            here = Index(self, loop.index, level=level)
            found = self.value(x, [*places[:axis], here, *places[axis + 1 :]])  # type: ignore[list-item]
            found = self.spread(found) if self.lanes else found
            old, old_where = loop.carried[: len(best)], loop.carried[len(best) :]
            better = [self._better(op, a, v) for a, v in zip(old, found, strict=True)]
            place = b.splat(loop.index, self.lanes)
            loop.next = [
                *(b.select(c, v, a) for c, v, a in zip(better, found, old, strict=True)),
                *(b.select(c, place, w) for c, w in zip(better, old_where, strict=True)),
            ]
        return loop.results[len(best) :]

    def _better(self, op: Reduction, a: Value, v: Value) -> Value:
        b = self.b
        if a.type.scalar == "i1":
            return b.bit_and(v, b.bit_xor(a, True))
        kept = op.lower(self, a, v)  # type: ignore[misc]
        wins = b.bit_and(b.compare("eq", kept, v), b.compare("ne", a, v))
        if not a.type.is_float:
            return wins
        wins = b.bit_and(wins, b.bit_xor(b.is_nan(a), True))
        return b.bit_or(wins, b.bit_and(b.is_nan(v), b.bit_xor(b.is_nan(a), True)))

    # Contractions that have no kernel of their own

    def _contracted(self, node: Node, index: Sequence[Index]) -> Values:
        axes = labels(node.attributes["spec"])
        a, c = node.inputs
        known = dict(zip(axes.out, index, strict=True))
        open_axes = [axes.a.index(letter) for letter in axes.summed]
        start = [self.b.splat(self.b.constant(0, self.scalar(node)), self.lanes)] * self.count

        def loops(remaining: list[int], total: Values) -> Values:
            if not remaining:
                left = self.value(a, [known[letter] for letter in axes.a])
                right = self.value(c, [known[letter] for letter in axes.b])
                return self.each([left, right, total], self._multiplied_in)
            axis = remaining[0]
            length = self.length(a, axis)
            end = length.base if isinstance(length, Index) else length
            with self.deeper() as level, self.b.loop(0, end, carried=total) as loop:
                known[axes.a[axis]] = Index(self, loop.index, level=level)
                loop.next = loops(remaining[1:], loop.carried)
            return loop.results

        return loops(open_axes, start)

    def _multiplied_in(self, left: Value, right: Value, total: Value) -> Value:
        if left.type.is_float:
            return self.b.fma(left, right, total)
        return self.add(total, self.multiply(left, right))

    # Random numbers

    def _drawn(self, node: Node, index: Sequence[Index]) -> Values:
        (key,) = node.inputs
        seed, step = (self.value(key, [self.index(i)])[0] for i in (0, 1))
        row, column = self._drawn_at(node, index)
        whole = (
            self.lanes
            and column.step == 1
            and column.vectors is None
            and not row.varies
            and (column.multiple % GROUP == 0 or self.lanes * self.count == GROUP)
            and self.lanes * self.count <= GROUP
            and column.multiple % (self.lanes * self.count) == 0
        )
        if not whole:
            return self._drawn_singly(node, self._source(node, seed, step, self.lanes), row, column)
        source = self._source(node, seed, step, min(16, self.width))
        number = Index(self, column.base, level=column.level, multiple=column.multiple) // GROUP
        words = random.group(self.b, source, number.base, row.base)
        double = node.dtype == np.float64 and "probability" not in node.attributes
        seconds = random.group(self.b, source, number.base, row.base, second=True) if double else words
        return self._as_drawn(node, words, seconds)[: self.count]

    def _source(self, node: Node, seed: Value, step: Value, lanes: int) -> random.Source:
        stream = node.attributes["stream"]
        key = "stream", stream, node.inputs[0], lanes
        given = self.told(node) or self.b.i64(stream)
        found: random.Source = self.once(key, 0, lambda: random.source(self.b, seed, step, given, lanes))
        return found

    def _drawn_at(self, node: Node, index: Sequence[Index]) -> tuple[Index, Index]:
        if len(index) <= 1:
            return self.zero, index[0] if index else self.zero
        inner = node.attributes["shape"][1:]
        return index[0], flat(index[1:], _dense(inner), self.zero)

    def _as_drawn(self, node: Node, words: Sequence[Value], seconds: Sequence[Value]) -> Values:
        attributes = node.attributes
        lanes = self.lanes if words[0].type.lanes else 0
        type_ = self.scalar(node).vector(lanes)
        if "probability" in attributes:
            return random.bernoulli(self.b, words, attributes["probability"], type_)
        return random.uniform(self.b, words, seconds, type_)

    def _drawn_singly(self, node: Node, source: Any, row: Index, column: Index) -> Values:
        """Where vectors do not lie along whole groups."""
        b = self.b
        double = node.dtype == np.float64 and "probability" not in node.attributes

        def drawn(row: Value, column: Value) -> Value:
            words = [random.element_words(b, source, row, column)]
            seconds = [random.element_words(b, source, row, column, second=True)] if double else words
            return self._as_drawn(node, words, seconds)[0]

        if not self.lanes:
            return [drawn(row.base, column.base)]
        return [drawn(*places) for places in zip(self._as_lanes(row), self._as_lanes(column), strict=True)]


def chunks_of(length: int, lanes: int, most: int) -> list[tuple[int, int, int, int, int | None]]:
    """An axis cut into loops: (begin, end, step, vectors, elements in them where not all lanes hold one)."""
    step = lanes * most
    whole = length // step * step
    chunks: list[tuple[int, int, int, int, int | None]] = []
    if whole:
        chunks.append((0, whole, step, most, None))
    if rest := length - whole:
        chunks.append((whole, length, step, -(-rest // lanes), rest if rest % lanes else None))
    return chunks


def _number(value: Any) -> Any:
    return np.asarray(value).reshape(-1)[0].item()


def _batch_place(shape: Sequence[Any]) -> int | None:
    return next((place for place, axis in enumerate(shape) if isinstance(axis, Batch)), None)


def _parts(shape: Sequence[Any]) -> list[tuple[int, int]]:
    """The axes before, between and after those of the batch."""
    cuts = [place for place, axis in enumerate(shape) if isinstance(axis, Batch)]
    return list(zip([0, *(cut + 1 for cut in cuts)], [*cuts, len(shape)], strict=True))


def _dense(shape: Sequence[Any]) -> tuple[int, ...]:
    strides: list[int] = []
    step = 1
    for axis in reversed(shape):
        strides.append(step)
        step *= axis
    return tuple(reversed(strides))
