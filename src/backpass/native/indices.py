"""Places along an axis while code is written: whole numbers that may differ from lane to lane.

Operations say where they read by arithmetic on these (`index * 2 + 1`), and never see the machine. A place is either
`base + step * lane`, lanes counted through all vectors that are worked on together, or a number for each vector, or a
vector of numbers of its own.
"""

from collections.abc import Callable, Sequence
from math import gcd
from typing import Any, Protocol

from backpass.native.ir import I1, I64, Builder, Value

ANY = 1 << 40  # every number divides 0


class Scribe(Protocol):
    """What writes the arithmetic down."""

    b: Builder
    lanes: int
    count: int

    def once(self, key: Any, level: int, write: Callable[[], Any]) -> Any: ...


class Index:
    """A place along an axis.

    Attributes:
        base: i64; the place of lane 0 where `vectors` is None.
        step: from a lane to the next.
        vectors: the places themselves, where they are not so regular.
        even: for each vector the one place of all its lanes, where that is so; None otherwise.
        level: the depth of the innermost loop that it depends on.
        multiple: a number that divides `base`.
        within: of a group of neighbours the place of the first, and the number of this one; None where it is of none.
        span: from this number on and below that one lie all lanes that hold an element; None where it is not known.
        origin: the place that this one was made from by adding a number, and the number.
    """

    __slots__ = ("base", "even", "level", "multiple", "origin", "scribe", "span", "step", "vectors", "within")

    def __init__(
        self,
        scribe: Scribe,
        base: Value,
        *,
        step: int = 0,
        vectors: list[Value] | None = None,
        even: list[Value] | None = None,
        level: int = 0,
        multiple: int = 1,
        within: tuple[Value, int] | None = None,
        span: tuple[int, int] | None = None,
        origin: "tuple[Index, int] | None" = None,
    ) -> None:
        self.scribe = scribe
        self.base = base
        self.step = step
        self.vectors = vectors
        self.even = even
        self.level = level
        self.within = within
        self.span = span
        self.origin = origin
        self.multiple = abs(int(base.constant)) or ANY if base.constant is not None else multiple

    @property
    def varies(self) -> bool:
        """Does it differ from lane to lane?"""
        return self.step != 0 or not self.is_regular

    @property
    def is_regular(self) -> bool:
        """Is it `base + step * lane`?"""
        return self.vectors is None and self.even is None

    @property
    def key(self) -> Any:
        if self.even is not None:
            return "even", self.scribe.lanes, *(place.text for place in self.even)
        if self.vectors is not None:
            return tuple(vector.text for vector in self.vectors)
        if self.step:
            return self.base.text, self.step, self.scribe.lanes, self.scribe.count
        return self.base.text

    def lanes(self) -> list[Value]:
        """As vectors of i64."""
        if self.vectors is not None:
            return self.vectors
        scribe, b, lanes = self.scribe, self.scribe.b, self.scribe.lanes

        def write() -> list[Value]:
            if self.even is not None:
                return [b.splat(place, lanes) for place in self.even]
            first = b.splat(self.base, lanes)
            steps = [
                b.constants([self.step * (u * lanes + lane) for lane in range(lanes)], I64) for u in range(scribe.count)
            ]
            return [b.add(first, each) for each in steps]

        found: list[Value] = scribe.once(("lanes", self.key, lanes, scribe.count), self.level, write)
        return found

    def _made(self, name: str, other: Any, write: Callable[[], "Index"]) -> "Index":
        level = max(self.level, other.level if isinstance(other, Index) else 0)
        key = name, self.key, other.key if isinstance(other, Index) else other
        result: Index = self.scribe.once(key, level, write)
        return result

    def _plain(self, number: int) -> "Index":
        return Index(self.scribe, self.scribe.b.i64(number))

    def __add__(self, other: "int | Index") -> "Index":
        if isinstance(other, int) and self.varies and other:
            return self._moved(other)
        right = self._plain(other) if isinstance(other, int) else other
        if not self.varies and self.base.constant == 0:
            return right
        if not right.varies and right.base.constant == 0:
            return self
        return self._made("add", right, lambda: self._sum(right))

    __radd__ = __add__

    def _moved(self, by: int) -> "Index":
        """What is moved back again is the place that it was, with all that is known of it."""
        start, before = self.origin or (self, 0)
        total = before + by
        if total == 0:
            return start

        def write() -> Index:
            found = self._sum(self._plain(by))
            span = None if start.span is None else (start.span[0] + total, start.span[1] + total)
            found.span, found.origin = span, (start, total)
            return found

        found: Index = self.scribe.once(("moved", start.key, start.span, total), start.level, write)
        return found

    def _sum(self, right: "Index") -> "Index":
        b, level = self.scribe.b, max(self.level, right.level)
        if self.is_regular and right.is_regular:
            return Index(
                self.scribe,
                b.add(self.base, right.base),
                step=self.step + right.step,
                level=level,
                multiple=gcd(self.multiple, right.multiple),
            )
        mine, others = self.evenly(), right.evenly()
        if mine is not None and others is not None:
            return self._with_even([b.add(x, y) for x, y in zip(mine, others, strict=True)], level)
        return self._with([b.add(x, y) for x, y in zip(self.lanes(), right.lanes(), strict=True)], level)

    def evenly(self) -> list[Value] | None:
        """A place for each vector, where all its lanes have the same."""
        return self.even if self.varies else [self.base] * self.scribe.count

    def __mul__(self, number: int) -> "Index":
        if number == 1:
            return self
        if number == 0:
            return self._plain(0)

        def write() -> Index:
            b = self.scribe.b
            if self.even is not None:
                return self._with_even([b.mul(x, number) for x in self.even], self.level)
            if self.vectors is None:
                base = b.mul(self.base, number)
                multiple = self.multiple * abs(number)
                return Index(self.scribe, base, step=self.step * number, level=self.level, multiple=multiple)
            return self._with([b.mul(x, number) for x in self.vectors], self.level)

        return self._made("mul", number, write)

    def __sub__(self, other: "int | Index") -> "Index":
        return self + (-other if isinstance(other, int) else other * -1)

    def __rsub__(self, number: int) -> "Index":
        return self * -1 + number

    def __floordiv__(self, number: int) -> "Index":
        """For places of 0 or more."""
        return self if number == 1 else self._made("div", number, lambda: self._cut(number, 0))

    def __mod__(self, number: int) -> "Index":
        """For places of 0 or more."""
        return self._plain(0) if number == 1 else self._made("mod", number, lambda: self._cut(number, 1))

    def _cut(self, number: int, part: int) -> "Index":
        """Quotient (part 0) or remainder (part 1)."""
        b = self.scribe.b
        write = (b.div, b.rem)[part]
        if not self.varies:
            return Index(self.scribe, write(self.base, number), level=self.level)
        lanes = self.scribe.lanes
        together = lanes * self.scribe.count
        if self.even is not None:
            return self._with_even([write(x, number) for x in self.even], self.level)
        goes_on = self.is_regular and self.step == 1
        if goes_on and number % together == 0 and self.multiple % together == 0:
            # All lanes have the same quotient.
            return Index(
                self.scribe, write(self.base, number), step=part, level=self.level, multiple=together * part or 1
            )
        if goes_on and part == 0 and number % lanes == 0 and self.multiple % lanes == 0:
            # All lanes of a vector have.
            firsts = (b.add(self.base, u * lanes) for u in range(self.scribe.count))
            return self._with_even([b.div(first, number) for first in firsts], self.level)
        if number & (number - 1) == 0:
            shift = number.bit_length() - 1
            cut = [b.bit_and(x, number - 1) if part else b.shift_right(x, shift) for x in self.lanes()]
        else:
            cut = [write(x, number) for x in self.lanes()]
        return self._with(cut, self.level)

    def _with(self, vectors: list[Value], level: int) -> "Index":
        return Index(self.scribe, self.scribe.b.i64(1), vectors=vectors, level=level)

    def _with_even(self, even: list[Value], level: int) -> "Index":
        return Index(self.scribe, self.scribe.b.i64(1), even=even, level=level)

    def between(self, low: int, high: Any) -> list[Value]:
        """Whether low <= place < high: one i1, or a vector of them for each vector; a constant where it is known."""
        b = self.scribe.b
        if self.span is not None and isinstance(high, int):
            first, last = self.span
            if (low <= first and last <= high) or last <= low or high <= first:
                return [b.constant(low <= first and last <= high, I1)]
        places = self.lanes() if self.varies else [self.base]
        lanes = self.scribe.lanes if self.varies else 0
        bound = b.splat(high.base, lanes) if isinstance(high, Index) else b.constant(high, places[0].type)
        return [b.bit_and(b.compare("ge", x, low), b.compare("lt", x, bound)) for x in places]

    def divisible(self, by: int) -> list[Value]:
        """Whether `by` divides the place."""
        b = self.scribe.b
        places = self.lanes() if self.varies else [self.base]
        return [b.compare("eq", b.rem(x, by), 0) for x in places]


def flat(index: Sequence[Index], strides: Sequence[int], zero: Index) -> Index:
    """The sum of places times strides."""
    total = zero
    for place, stride in zip(index, strides, strict=True):
        total = total + place * stride
    return total
