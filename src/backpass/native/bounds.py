"""Programs that check every address: a mode of the writer of LLVM IR for tests, several times slower than the other.

Every pointer belongs to a region: the memory of one value, an array of the caller, a piece of the stack, a table. What
is calculated from a pointer belongs to the region of that pointer. Before each access the code compares the address
with the region. One that lies outside is noted, goes to a place of its own where it harms nothing, and the program
stops after the step. Where an address is known when the code is written, and lies inside, nothing is compared.

Asking for memory ahead (`Builder.prefetch`) is no access: it may name any address.
"""

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

from backpass.native.ir import I1, I8, I64, PTR, Builder, Function, Loop, Module, Type, Value
from backpass.records import dataclass

Bytes: TypeAlias = int | Value
_ACCESSOR = "bounds"
_OF_FOUR_BYTES = {"llvm.x86.sse.stmxcsr": "store", "llvm.x86.sse.ldmxcsr": "load", "syscall": "load"}
"""What functions do with the four bytes that their pointer points to; of system calls there is only futex."""


def asked_for() -> bool:
    """Does the environment want checked programs (BACKPASS_CHECKED=1)?"""
    return os.environ.get("BACKPASS_CHECKED", "").strip() not in ("", "0", "off")


class OutsideError(AssertionError):
    """Generated code was about to read or write outside of the memory it works on: a fault of backpass itself."""


@dataclass(frozen=True)
class Region:
    """A piece of memory: `bytes` from the pointer `base` on, and `spare` more that may be read but not written."""

    name: str
    base: str
    bytes: Bytes
    spare: int = 0


@dataclass(frozen=True)
class Access:
    """One place in the code that reads or writes memory."""

    function: Function
    kind: str
    region: Region

    def describe(self, offset: int, size: int) -> str:
        """What it was about to do, `offset` bytes after the beginning of a region of `size` bytes."""
        where = ", ".join(self.function.comment.splitlines()) or "without a comment"
        return (
            f"generated code was about to {self.kind} outside of its memory: {self.function.name} ({where}), "
            f"{self.region.name}: byte {offset:,} of {size:,}"
        )


class CheckedModule(Module):
    """A module of which every function checks its accesses; `accesses` lists them, the first has number 1."""

    def __init__(self) -> None:
        super().__init__()
        self.accesses: list[Access] = []
        self.nowhere_bytes = 64
        self.table_bytes: dict[str, int] = {}
        self.given: dict[str, list[Value]] = {}
        """Arguments that a function was defined with; behind them stand base and bytes of the pointers among them."""
        self.owned: dict[str, dict[str, Region]] = {}
        """By function, the regions of the arguments that came later."""

    def builder(self, function: Function, *, fused: bool, estimates: bool) -> Builder:
        return CheckedBuilder(self, function, fused=fused, estimates=estimates)

    def table(self, numbers: Sequence[Any], type_: Type) -> Value:
        found = super().table(numbers, type_)
        self.table_bytes[found.text] = len(numbers) * type_.bytes
        return found

    def text(self) -> str:
        return (
            "@bounds.record = internal global [3 x i64] zeroinitializer, align 64\n"
            f"@bounds.nowhere = internal global [{self.nowhere_bytes} x i8] zeroinitializer, align 1024\n"
            f"define ptr @{_ACCESSOR}() nounwind {{\n  ret ptr @bounds.record\n}}\n" + super().text()
        )


class _Maker(Protocol):
    """What makes a module."""

    module: Module

    def compile(self) -> str: ...


class Watch:
    """Looks whether a program has met an address outside of its memory.

    Args:
        accessor: the address of the program's function `NAME`.
        maker: of its module, which knows what the accesses are of. It makes that again where the program was not made
            by it, but taken from the cache.
    """

    NAME = _ACCESSOR

    def __init__(self, accessor: int, maker: _Maker) -> None:
        pointer = ctypes.CFUNCTYPE(ctypes.c_void_p)(accessor)()
        self._record = (ctypes.c_int64 * 3).from_address(pointer)
        self._maker = maker

    def look(self) -> None:
        """Raises OutsideError, once, if it has."""
        number, offset, size = self._record
        if not number:
            return
        self._record[0] = 0
        if not self._maker.module.functions:
            self._maker.compile()
        module = self._maker.module
        if not isinstance(module, CheckedModule):
            raise TypeError("only checked modules are watched")
        raise OutsideError(module.accesses[number - 1].describe(offset, size))


class CheckedBuilder(Builder):
    """A Builder that knows of every pointer the region it belongs to, and checks what is read and written."""

    gep = "getelementptr"  # not inbounds: an address outside of its region must stay what it is until it is compared
    module: CheckedModule

    def __init__(self, module: CheckedModule, function: Function, **options: bool) -> None:
        super().__init__(module, function, **options)
        self.comment(f"{function.name}: checked")  # so two functions are never of one text, and taken for one another
        self._places: dict[str, tuple[Region, int | None]] = {}
        """Of each pointer its region, and how far into it, where that is known."""
        given = list(function.arguments)
        self._arguments = {x.text for x in given}
        module.given[function.name] = given if function.internal else []
        for pointer in module.given[function.name]:
            if pointer.type == PTR:
                base, bytes_ = Value(f"{pointer.text}.base", PTR), Value(f"{pointer.text}.bytes", I64)
                function.arguments.extend((base, bytes_))
                name = f"the memory of its argument {pointer.text}"
                self._places[pointer.text] = Region(name, base.text, bytes_), None

    # Regions

    def owns(
        self,
        pointer: Value,
        bytes_: Bytes | Callable[[], Value],
        name: str | Callable[[], str],
        *,
        before: int = 0,
        spare: int = 0,
    ) -> Value:
        size = bytes_() if callable(bytes_) else bytes_
        name = name() if callable(name) else name
        is_argument = pointer.text in self._arguments
        if pointer.text in self._places and not is_argument:
            pointer, size = self._narrowed(pointer, size, before, spare)
        base = self._behind(pointer, -before)
        region = Region(name, base.text, size, spare)
        self._places[pointer.text] = region, before
        self.module.owned.setdefault(self.function.name, {})[pointer.text] = region
        return pointer

    def _behind(self, pointer: Value, bytes_: int) -> Value:
        return self.emit(f"{self.gep} i8, ptr {pointer.text}, i64 {bytes_}", PTR) if bytes_ else pointer

    def _narrowed(self, pointer: Value, size: Bytes, before: int, spare: int) -> tuple[Value, Bytes]:
        """A pointer to a part of its region; if that does not lie inside, it is noted, and harms nobody."""
        region, known = self._place(pointer)
        if isinstance(size, int) and _is_inside(region, known, size + spare, before=before):
            return self._renamed(pointer), size
        start = self._distance(self._behind(pointer, -before), region)
        room = self.sub(self._bytes(region), start)
        fits = self.bit_and(
            self.below(start, self.add(self._bytes(region), 1)),
            self.compare("ge", self.sub(room, spare), size),
        )
        self._note(fits, "use a part that lies", region, start)
        if isinstance(size, Value):
            return self._renamed(pointer), self.select(fits, size, 0)
        self.module.nowhere_bytes = max(self.module.nowhere_bytes, size + spare)
        base = self.emit(f"select i1 {fits.text}, ptr {self._behind(pointer, -before).text}, ptr @bounds.nowhere", PTR)
        return self._behind(base, before), size

    def _renamed(self, pointer: Value) -> Value:
        """The same address under a name of its own, since the region goes by the name."""
        return self.emit(f"{self.gep} i8, ptr {pointer.text}, i64 0", PTR)

    def _place(self, pointer: Value) -> tuple[Region, int | None]:
        found = self._places.get(pointer.text)
        if found is not None:
            return found
        if pointer.text in self.module.table_bytes:
            return Region("a table of constants", pointer.text, self.module.table_bytes[pointer.text]), 0
        raise AssertionError(f"nobody says what memory {pointer.text} in {self.function.name} points to")

    def _bytes(self, region: Region, spare: int = 0) -> Value:
        if isinstance(region.bytes, int):
            return self.i64(region.bytes + spare)
        return self.add(region.bytes, spare)

    def _distance(self, pointer: Value, region: Region) -> Value:
        """Bytes from the beginning of the region; for a vector of pointers a vector."""
        lanes = pointer.type.lanes
        ours = self.emit(f"ptrtoint {pointer.type.text} {pointer.text} to {I64.vector(lanes).text}", I64.vector(lanes))
        base = self.emit(f"ptrtoint ptr {region.base} to i64", I64)
        return self.emit(f"sub {ours.type.text} {ours.text}, {self.splat(base, lanes).text}", ours.type)

    def _fits(self, distance: Value, size: int, region: Region, spare: int) -> Value:
        """Whether `size` bytes, `distance` into the region, lie in it; for a vector of distances a vector."""
        lanes = distance.type.lanes
        if isinstance(region.bytes, int):
            places = max(0, region.bytes + spare - size + 1)
            return self.below(distance, places)
        room = self.add(region.bytes, spare)
        last = self.splat(self.sub(room, size - 1), lanes)
        return self.bit_and(self.below(distance, last), self.splat(self.compare("ge", room, size), lanes))

    def _note(self, good: Value, kind: str, region: Region, distance: Value) -> None:
        """Where `good`, an i1, does not hold, it is noted: the first of all that are found counts."""
        self.module.accesses.append(Access(self.function, kind, region))
        number, bytes_ = len(self.module.accesses), self._bytes(region).text
        n = self.fresh("")
        self.line(f"br i1 {good.text}, label %fine.{n}, label %bad.{n}")
        self.label(f"bad.{n}")
        self.line(f"%was.{n} = cmpxchg ptr @bounds.record, i64 0, i64 {number} monotonic monotonic")
        self.line(f"%first.{n} = extractvalue {{ i64, i1 }} %was.{n}, 1")
        self.line(f"br i1 %first.{n}, label %note.{n}, label %fine.{n}")
        self.label(f"note.{n}")
        self.line(f"store i64 {distance.text}, ptr getelementptr (i64, ptr @bounds.record, i64 1), align 8")
        self.line(f"store i64 {bytes_}, ptr getelementptr (i64, ptr @bounds.record, i64 2), align 8")
        self.line(f"br label %fine.{n}")
        self.label(f"fine.{n}")

    # Accesses

    def _safe(self, type_: Type, pointer: Value, index: Any, kind: str) -> Value:
        """The address of a value of `type_`, or, where that lies outside of the region, one that harms nobody."""
        at = self.offset(pointer, index, type_)
        region, known = self._place(at)
        size, spare = max(1, type_.lanes) * type_.bytes, _spare(region, kind)
        if _is_inside(region, known, size, spare=spare):
            return at
        self.module.nowhere_bytes = max(self.module.nowhere_bytes, size)
        distance = self._distance(at, region)
        good = self._fits(distance, size, region, spare)
        self._note(good, f"{kind} {type_.text}", region, distance)
        safe = self.emit(f"select i1 {good.text}, ptr {at.text}, ptr @bounds.nowhere", PTR)
        self._places[safe.text] = region, None
        return safe

    def _safe_lanes(self, type_: Type, at: Value, mask: Value, region: Region, kind: str) -> Value:
        """Those lanes of `mask` whose elements lie in the region; `at` is the address of the first, or of each."""
        spare, lanes = _spare(region, kind), type_.lanes
        known = None if at.type.lanes else self._place(at)[1]
        if _is_inside(region, known, lanes * type_.bytes, spare=spare):
            return mask
        distance = self._distance(at, region)
        if not at.type.lanes:
            steps = self.constants([lane * type_.bytes for lane in range(lanes)], I64)
            distance = self.add(self.splat(distance, lanes), steps)
        good = self._fits(distance, type_.bytes, region, spare)
        bad = self.bit_and(mask, self.bit_xor(good, True))
        far = self.select(bad, distance, 0)
        furthest = self.intrinsic("vector.reduce.umax", I64, far, suffix=far.type.mangled)
        self._note(self.bit_xor(self.any(bad), True), f"{kind} {type_.text}", region, furthest)
        return self.bit_and(mask, good)

    def offset(self, pointer: Value, index: Any, scalar: Type) -> Value:
        region, known = self._place(pointer)
        index = index if isinstance(index, Value) else self.i64(index)
        if index.constant == 0:
            return pointer
        at = self.emit(f"{self.gep} {scalar.scalar}, ptr {pointer.text}, i64 {index.text}", PTR)
        if known is not None:
            known = None if index.constant is None else known + int(index.constant) * scalar.bytes
        self._places[at.text] = region, known
        return at

    def again(self, pointer: Value) -> Value:
        found = super().again(pointer)
        self._places[found.text] = self._place(pointer)
        return found

    def load(self, type_: Type, pointer: Value, index: Any = 0, *, align: int | None = None) -> Value:
        if type_.scalar == "i1":
            return super().load(type_, pointer, index)
        return super().load(type_, self._safe(type_, pointer, index, "load"), align=align)

    def store(self, value: Value, pointer: Value, index: Any = 0, *, align: int | None = None) -> None:
        if value.type.scalar == "i1":
            super().store(value, pointer, index)
            return
        super().store(value, self._safe(value.type, pointer, index, "store"), align=align)

    def load_atomic(self, type_: Type, pointer: Value, order: str) -> Value:
        return super().load_atomic(type_, self._safe(type_, pointer, 0, "load"), order)

    def store_atomic(self, value: Value, pointer: Value, order: str) -> None:
        super().store_atomic(value, self._safe(value.type, pointer, 0, "store"), order)

    def add_atomic(self, value: Value, pointer: Value, order: str) -> Value:
        return super().add_atomic(value, self._safe(value.type, pointer, 0, "store"), order)

    def exchange_atomic(self, expected: Value, new: Value, pointer: Value, order: str) -> Value:
        return super().exchange_atomic(expected, new, self._safe(new.type, pointer, 0, "store"), order)

    def load_lanes(self, type_: Type, pointer: Value, index: Any, mask: Value) -> Value:
        if type_.scalar == "i1":
            return super().load_lanes(type_, pointer, index, mask)
        at = self.offset(pointer, index, type_)
        return super().load_lanes(type_, at, 0, self._safe_lanes(type_, at, mask, self._place(at)[0], "load"))

    def store_lanes(self, value: Value, pointer: Value, index: Any, mask: Value) -> None:
        if value.type.scalar == "i1":
            super().store_lanes(value, pointer, index, mask)
            return
        at = self.offset(pointer, index, value.type)
        super().store_lanes(value, at, 0, self._safe_lanes(value.type, at, mask, self._place(at)[0], "store"))

    def gather(self, type_: Type, pointer: Value, indices: Value, mask: Value | None = None) -> Value:
        if type_.scalar == "i1":
            return super().gather(type_, pointer, indices, mask)
        return super().gather(type_, pointer, indices, self._safe_places(type_, pointer, indices, mask, "load"))

    def scatter(self, value: Value, pointer: Value, indices: Value, mask: Value | None = None) -> None:
        value = self.convert(value, I8) if value.type.scalar == "i1" else value
        super().scatter(value, pointer, indices, self._safe_places(value.type, pointer, indices, mask, "store"))

    def _safe_places(self, type_: Type, pointer: Value, indices: Value, mask: Value | None, kind: str) -> Value:
        region, _ = self._place(pointer)
        listed = f"{type_.scalar}, ptr {pointer.text}, {indices.type.text} {indices.text}"
        at = self.emit(f"{self.gep} {listed}", PTR.vector(type_.lanes))
        mask = self.constant(True, I1.vector(type_.lanes)) if mask is None else mask
        return self._safe_lanes(type_, at, mask, region, kind)

    def reserve(self, type_: Type, count: int) -> Value:
        found = super().reserve(type_, count)
        lanes = 1 << (type_.lanes - 1).bit_length() if type_.lanes else 1  # vectors stand at powers of 2
        self._places[found.text] = Region("a piece of the stack", found.text, count * lanes * type_.bytes), 0
        return found

    def stop_outside(self, status: Value, reason: int) -> None:
        found = self.emit("load atomic i64, ptr @bounds.record monotonic, align 8", I64)
        with self.when(self.compare("ne", found, 0)):
            self.store(self.i64(reason), status)

    # Pointers that go somewhere

    def call(self, name: str, result: Type, *arguments: Value) -> Value:
        if name in self.module.given:
            return super().call(name, result, *self._with_regions(name, arguments))
        if name in _OF_FOUR_BYTES:
            kind = _OF_FOUR_BYTES[name]
            safe = (self._safe(I8.vector(4), x, 0, kind) if x.type == PTR else x for x in arguments)
            return super().call(name, result, *safe)
        known = name.startswith(("llvm.masked.", "llvm.prefetch."))
        if not known and any(x.type.scalar == "ptr" for x in arguments):
            raise AssertionError(f"nobody knows what {name} does with memory")
        return super().call(name, result, *arguments)

    def _with_regions(self, name: str, arguments: Sequence[Value]) -> list[Value]:
        """With base and bytes of the regions of pointers, where the function takes them; others must be as it says."""
        own = self.module.given[name]
        regions = [self._place(x)[0] for x in arguments[: len(own)] if x.type == PTR]
        behind = [value for region in regions for value in (Value(region.base, PTR), self._bytes(region))]
        function = next(x for x in self.module.functions if x.name == name)
        own = [*own, *function.arguments[len(own) + len(behind) :]]
        for argument, value in zip(own, arguments, strict=True):
            expected = self.module.owned.get(name, {}).get(argument.text)
            if expected is not None:
                self._must_be(name, expected, value)
        given = len(self.module.given[name])
        return [*arguments[:given], *behind, *arguments[given:]]

    def _must_be(self, name: str, expected: Region, pointer: Value) -> None:
        region, known = self._place(pointer)
        if (known, region.bytes, region.spare) != (0, expected.bytes, expected.spare):
            raise AssertionError(f"{name} was made for {expected}, and is given {region} from byte {known} on")

    @contextmanager
    def loop(
        self, begin: Any, end: Any, step: int = 1, *, carried: Sequence[Value] = (), stem: str = "i"
    ) -> Iterator[Loop]:
        with super().loop(begin, end, step, carried=carried, stem=stem) as loop:
            self._follow(carried, loop.carried)
            yield loop
            self._must_agree(loop.carried, loop.next)
        self._follow(carried, loop.results)

    @contextmanager
    def repeat(self, carried: Sequence[Value] = ()) -> Iterator[Loop]:
        with super().repeat(carried) as loop:
            self._follow(carried, loop.carried)
            yield loop
            self._must_agree(loop.carried, loop.next[1:])
        self._follow(carried, loop.results)

    def _follow(self, before: Sequence[Value], after: Sequence[Value]) -> None:
        """What a pointer becomes on its way round a loop belongs to the same region."""
        for old, new in zip(before, after, strict=True):
            if old.type == PTR and new.text not in self._places:
                self._places[new.text] = self._place(old)[0], None

    def _must_agree(self, before: Sequence[Value], after: Sequence[Value]) -> None:
        for old, new in zip(before, after, strict=True):
            if old.type == PTR and self._place(old)[0] != self._place(new)[0]:
                raise AssertionError(f"{new.text} leaves the region of {old.text} on its way round a loop")


def _is_inside(region: Region, known: int | None, size: int, *, before: int = 0, spare: int = 0) -> bool:
    """Is it certain that `size` bytes, from `before` before the place `known` in the region on, lie in it?"""
    if known is None or not isinstance(region.bytes, int):
        return False
    return 0 <= known - before <= region.bytes + spare - size


def _spare(region: Region, kind: str) -> int:
    return region.spare if kind == "load" else 0
