"""LLVM IR, written as text: typed values, a builder for straight-line code and loops, functions and modules.

Text, because it is what people look at, and because writing it takes a fraction of the time of building objects first.
A value is a scalar or a vector; every method works on both. Nothing here knows of graphs.
"""

import operator
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

Number: TypeAlias = bool | int | float


@dataclass(frozen=True)
class Type:
    """A scalar type of LLVM ("float", "double", "i1", "i8", "i32", "i64", "ptr"), or a vector of `lanes` of them."""

    scalar: str
    lanes: int = 0

    @cached_property
    def text(self) -> str:
        return f"<{self.lanes} x {self.scalar}>" if self.lanes else self.scalar

    @cached_property
    def mangled(self) -> str:
        """As it stands in the names of intrinsics: "v16f32"."""
        short = {"float": "f32", "double": "f64", "ptr": "p0"}.get(self.scalar, self.scalar)
        return f"v{self.lanes}{short}" if self.lanes else short

    @cached_property
    def is_float(self) -> bool:
        return self.scalar in ("float", "double")

    @cached_property
    def bits(self) -> int:
        """Of one element."""
        return {"float": 32, "double": 64, "ptr": 64}.get(self.scalar) or int(self.scalar[1:])

    @property
    def bytes(self) -> int:
        """Of one element in memory."""
        return max(1, self.bits // 8)

    def vector(self, lanes: int) -> "Type":
        """As many elements of this type; 0 lanes is the scalar itself."""
        return Type(self.scalar, lanes)

    @property
    def element(self) -> "Type":
        return Type(self.scalar) if self.lanes else self


F32, F64 = Type("float"), Type("double")
I1, I8, I16, I32, I64 = Type("i1"), Type("i8"), Type("i16"), Type("i32"), Type("i64")
PTR = Type("ptr")
VOID = Type("void")

INLINE = "alwaysinline"
"""Of a function: its code stands where it is called."""

_EXACT = 1 << 24  # whole numbers up to here are exact in every type of floating-point numbers


class Value:
    """A value in SSA form: how it is written, and its type. `constant` is its number where that is known."""

    __slots__ = ("constant", "text", "type")

    def __init__(self, text: str, type_: Type, constant: Number | None = None) -> None:
        self.text = text
        self.type = type_
        self.constant = constant

    def __repr__(self) -> str:
        return f"{self.type.text} {self.text}"


def literal(number: Number, type_: Type) -> str:
    """`number` as a scalar constant of LLVM."""
    if type_.is_float:
        value = float(number)
        if type_.scalar == "float":
            value = _as_float32(value)
        return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    if type_.scalar == "i1":
        return "true" if number else "false"
    return str(int(number))


def _as_float32(value: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


@dataclass
class Loop:
    """A loop that is being written: its index, the values carried round, and (afterwards) what they became."""

    index: Value
    carried: list[Value]
    next: list[Value]
    results: list[Value]


@dataclass(eq=False)
class Function:
    """A function as text. `comment` says what it is of."""

    name: str
    arguments: list[Value]
    result: Type
    lines: list[Any] = field(default_factory=list)
    comment: str = ""
    attributes: str = "nounwind"
    internal: bool = True

    def text(self) -> str:
        header = "".join(f"; {_plain(line)}\n" for line in self.comment.splitlines())
        linkage = "internal " if self.internal else ""
        return (
            f"{header}define {linkage}{self.result.text} @{self.name}({self.arguments_text()}) {self.attributes} {{\n"
            f"entry:\n{self.body()}\n}}\n"
        )

    def arguments_text(self) -> str:
        return ", ".join(f"{x.type.text} {x.text}" for x in self.arguments)

    def body(self) -> str:
        return "\n".join(_flat(self.lines))


def _plain(text: str) -> str:
    """One line of ASCII: names of layers, which stand in comments, may hold anything."""
    return text.encode("unicode_escape").decode("ascii")


def _flat(lines: list[Any]) -> Iterator[str]:
    for line in lines:
        if isinstance(line, list):
            yield from _flat(line)
        else:
            yield line


class Module:
    """Functions, the intrinsics they call, and tables of constants."""

    def __init__(self) -> None:
        self.functions: list[Function] = []
        self.declarations: dict[str, str] = {}
        self.tables: dict[tuple[Any, ...], str] = {}

    def declare(self, name: str, result: Type, arguments: Sequence[Type], attributes: str = "") -> None:
        """Make the function `name` from outside, or an intrinsic, known."""
        if name not in self.declarations:
            listed = ", ".join(x.text for x in arguments)
            self.declarations[name] = f"declare {result.text} @{name}({listed}){' ' + attributes if attributes else ''}"

    def table(self, numbers: Sequence[Number], type_: Type) -> Value:
        """A pointer to a constant array of `numbers`, aligned to 64 bytes; equal ones are shared."""
        key = (type_, tuple(literal(x, type_) for x in numbers))
        name = self.tables.setdefault(key, f"@table.{len(self.tables)}")
        return Value(name, PTR)

    def builder(self, function: Function, *, fused: bool, estimates: bool) -> "Builder":
        """What writes a function of this module."""
        return Builder(self, function, fused=fused, estimates=estimates)

    def text(self) -> str:
        tables = []
        for (type_, literals), name in self.tables.items():
            body = ", ".join(f"{type_.text} {x}" for x in literals)
            tables.append(
                f"{name} = private unnamed_addr constant [{len(literals)} x {type_.text}] [{body}], align 64\n"
            )
        parts = [*tables, *(f"{line}\n" for line in self.declarations.values())]
        return "".join(parts) + "\n" + "\n".join(function.text() for function in self.functions)


class Builder:
    """Writes one function. Arithmetic takes Values of one type; a plain number becomes a constant of the other's."""

    gep = "getelementptr inbounds"

    def __init__(self, module: Module, function: Function, *, fused: bool = True, estimates: bool = False) -> None:
        self.module = module
        self.function = function
        self.fused = fused
        """Whether the machine multiplies and adds in one instruction."""
        self.estimates = estimates
        """Whether it has quick estimates of reciprocals and of their roots, to 14 bits (AVX-512)."""
        self._lines = function.lines
        self._count = 0
        self._allocas: list[Any] = []
        function.lines.append(self._allocas)

    # Writing

    def line(self, text: str) -> None:
        self._lines.append("  " + text)

    def comment(self, text: str) -> None:
        self._lines.append(f"  ; {_plain(text)}")

    def fresh(self, stem: str = "v") -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def emit(self, text: str, type_: Type) -> Value:
        """`%new = text`, of `type_`."""
        self._count += 1
        name = f"%v{self._count}"
        self._lines.append(f"  {name} = {text}")
        return Value(name, type_)

    def label(self, name: str) -> None:
        self._lines.append(f"{name}:")

    @contextmanager
    def into(self, lines: list[Any]) -> Iterator[None]:
        """Write at another place: a list made by `place`."""
        held, self._lines = self._lines, lines
        try:
            yield
        finally:
            self._lines = held

    def place(self) -> list[Any]:
        """A place here, to write into later with `into`; what is written there dominates all that follows."""
        lines: list[Any] = []
        self._lines.append(lines)
        return lines

    # Constants

    def constant(self, number: Number, type_: Type) -> Value:
        if type_.lanes:
            return Value(f"splat ({type_.scalar} {literal(number, type_)})", type_, number)
        return Value(literal(number, type_), type_, number)

    def constants(self, numbers: Sequence[Number], scalar: Type) -> Value:
        """A vector of different numbers."""
        listed = ", ".join(f"{scalar.text} {literal(x, scalar)}" for x in numbers)
        return Value(f"<{listed}>", scalar.vector(len(numbers)))

    def i64(self, number: int) -> Value:
        return self.constant(number, I64)

    def undefined(self, type_: Type) -> Value:
        return Value("poison", type_)

    # Arithmetic

    def _pair(self, a: Any, b: Any) -> tuple[Value, Value]:
        if not isinstance(a, Value):
            a = self.constant(a, b.type)
        if not isinstance(b, Value):
            b = self.constant(b, a.type)
        if a.type != b.type:
            raise TypeError(f"operands of types {a.type.text} and {b.type.text}")
        return a, b

    def _binary(self, floating: str, whole: str, a: Any, b: Any) -> Value:
        a, b = self._pair(a, b)
        opcode = floating if a.type.is_float else whole
        return self.emit(f"{opcode} {a.type.text} {a.text}, {b.text}", a.type)

    def add(self, a: Any, b: Any) -> Value:
        a, b = self._pair(a, b)
        if not a.type.is_float and not a.type.lanes:
            if a.constant is not None and b.constant is not None:
                return self.constant(a.constant + b.constant, a.type)
            if a.constant == 0:
                return b
            if b.constant == 0:
                return a
        return self._binary("fadd", "add", a, b)

    def sub(self, a: Any, b: Any) -> Value:
        a, b = self._pair(a, b)
        if not a.type.is_float and not a.type.lanes:
            if a.constant is not None and b.constant is not None:
                return self.constant(a.constant - b.constant, a.type)
            if b.constant == 0:
                return a
        return self._binary("fsub", "sub", a, b)

    def mul(self, a: Any, b: Any) -> Value:
        a, b = self._pair(a, b)
        if not a.type.is_float and not a.type.lanes:
            if a.constant is not None and b.constant is not None:
                return self.constant(a.constant * b.constant, a.type)
            if a.constant == 1:
                return b
            if b.constant == 1:
                return a
            if a.constant == 0 or b.constant == 0:
                return self.constant(0, a.type)
        return self._binary("fmul", "mul", a, b)

    def div(self, a: Any, b: Any) -> Value:
        """The quotient; of whole numbers that of `udiv`, cut off."""
        a, b = self._pair(a, b)
        if not a.type.is_float and b.constant == 1:
            return a
        if not a.type.is_float and not a.type.lanes and a.constant is not None and b.constant:
            return self.constant(int(a.constant) // int(b.constant), a.type)
        return self._binary("fdiv", "udiv", a, b)

    def rem(self, a: Any, b: Any) -> Value:
        """The remainder of whole numbers of 0 or more."""
        a, b = self._pair(a, b)
        if b.constant == 1:
            return self.constant(0, a.type)
        if not a.type.lanes and a.constant is not None and b.constant:
            return self.constant(int(a.constant) % int(b.constant), a.type)
        return self._binary("frem", "urem", a, b)

    def neg(self, a: Value) -> Value:
        return self.emit(f"fneg {a.type.text} {a.text}", a.type) if a.type.is_float else self.sub(0, a)

    def bit_and(self, a: Any, b: Any) -> Value:
        return self._binary("", "and", a, b)

    def bit_or(self, a: Any, b: Any) -> Value:
        return self._binary("", "or", a, b)

    def bit_xor(self, a: Any, b: Any) -> Value:
        return self._binary("", "xor", a, b)

    def shift_left(self, a: Any, b: Any) -> Value:
        return self._binary("", "shl", a, b)

    def shift_right(self, a: Any, b: Any) -> Value:
        """Zeros come in at the left."""
        return self._binary("", "lshr", a, b)

    def shift_right_signed(self, a: Any, b: Any) -> Value:
        return self._binary("", "ashr", a, b)

    def call(self, name: str, result: Type, *arguments: Value) -> Value:
        """A call of a function that is declared already, or of one of this module."""
        listed = ", ".join(f"{x.type.text} {x.text}" for x in arguments)
        if result == VOID:
            self.line(f"call void @{name}({listed})")
            return Value("", VOID)
        return self.emit(f"call {result.text} @{name}({listed})", result)

    def intrinsic(self, stem: str, result: Type, *arguments: Value, suffix: str | None = None) -> Value:
        """A call of `llvm.stem.<type>`."""
        name = f"llvm.{stem}.{result.mangled if suffix is None else suffix}".rstrip(".")
        self.module.declare(name, result, [x.type for x in arguments])
        return self.call(name, result, *arguments)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a b + c, rounded once where the machine can, twice where it cannot."""
        if not self.fused:
            return self.add(self.mul(a, b), c)
        return self.intrinsic("fma", a.type, a, b, c)

    def sqrt(self, a: Value) -> Value:
        return self.intrinsic("sqrt", a.type, a)

    def abs(self, a: Value) -> Value:
        if a.type.is_float:
            return self.intrinsic("fabs", a.type, a)
        return self.intrinsic("abs", a.type, a, self.constant(False, I1))

    def floor(self, a: Value) -> Value:
        return self.intrinsic("floor", a.type, a)

    def rint(self, a: Value) -> Value:
        """To the nearest whole number, halves to even."""
        return self.intrinsic("roundeven", a.type, a)

    def copysign(self, magnitude: Value, sign: Value) -> Value:
        return self.intrinsic("copysign", magnitude.type, magnitude, sign)

    # Comparison and choice

    def compare(self, relation: str, a: Any, b: Any) -> Value:
        """`relation` is lt, le, eq, ne, gt, ge: false for a NaN, but for ne; of whole numbers signed."""
        a, b = self._pair(a, b)
        result = I1.vector(a.type.lanes)
        if a.type.is_float:
            code = {"ne": "une"}.get(relation, "o" + relation)
            return self.emit(f"fcmp {code} {a.type.text} {a.text}, {b.text}", result)
        if not a.type.lanes and a.constant is not None and b.constant is not None:
            return self.constant(bool(getattr(operator, relation)(a.constant, b.constant)), result)
        code = relation if relation in ("eq", "ne") else "s" + relation
        return self.emit(f"icmp {code} {a.type.text} {a.text}, {b.text}", result)

    def below(self, a: Any, b: Any) -> Value:
        """a < b of unsigned whole numbers."""
        a, b = self._pair(a, b)
        return self.emit(f"icmp ult {a.type.text} {a.text}, {b.text}", I1.vector(a.type.lanes))

    def is_class(self, a: Value, *, zero: bool = False, infinite: bool = False, nan: bool = False) -> Value:
        """Whether a float is one of these: 0 or too small to be normal; plus infinity; not a number."""
        mask = zero * 0x0F0 | infinite * 0x200 | nan * 0x003
        return self.intrinsic("is.fpclass", I1.vector(a.type.lanes), a, self.constant(mask, I32), suffix=a.type.mangled)

    def avx512(self, stem: str, *operands: Value, whole: int | None = None) -> Value:
        """An instruction of AVX-512 on vectors: "rcp14", "rsqrt14", "mask.getmant", "mask.scalef" and so on.

        `whole` is its number, where it takes one. Those of 512 bits that begin with "mask." take a way to round, too.
        """
        type_ = operands[0].type
        bits = type_.lanes * type_.bits
        mask = I16 if type_.lanes == 16 else I8
        listed = [*operands, *([] if whole is None else [self.constant(whole, I32)])]
        listed += [Value("zeroinitializer", type_), self.constant(-1, mask)]
        if bits == 512 and stem.startswith("mask."):
            listed.append(self.constant(4, I32))  # as the register says
        name = f"llvm.x86.avx512.{stem}.{'ps' if type_.scalar == 'float' else 'pd'}.{bits}"
        self.module.declare(name, type_, [x.type for x in listed])
        return self.call(name, type_, *listed)

    def is_nan(self, a: Value) -> Value:
        return self.emit(f"fcmp uno {a.type.text} {a.text}, {a.text}", I1.vector(a.type.lanes))

    def select(self, condition: Value, a: Any, b: Any) -> Value:
        a, b = self._pair(a, b)
        if condition.constant is not None and not condition.type.lanes:
            return a if condition.constant else b
        listed = f"{condition.type.text} {condition.text}, {a.type.text} {a.text}, {b.type.text} {b.text}"
        return self.emit(f"select {listed}", a.type)

    def smallest(self, a: Any, b: Any) -> Value:
        """The smaller of two whole numbers, signed."""
        a, b = self._pair(a, b)
        return self.select(self.compare("lt", a, b), a, b)

    def largest(self, a: Any, b: Any) -> Value:
        """The larger of two whole numbers, signed."""
        a, b = self._pair(a, b)
        return self.select(self.compare("gt", a, b), a, b)

    # Types

    def convert(self, a: Value, scalar: Type) -> Value:
        """To another type as C does it: whole numbers signed, i1 as 0 or 1; of a float towards 0, within the range."""
        target = scalar.vector(a.type.lanes)
        if a.type == target:
            return a
        if a.type == I64 and scalar.is_float and a.constant is not None and abs(a.constant) <= _EXACT:
            return self.constant(a.constant, scalar)
        if a.type.is_float and scalar.is_float:
            opcode = "fpext" if scalar.bits > a.type.bits else "fptrunc"
        elif a.type.is_float:
            return self.intrinsic("fptosi.sat", target, a, suffix=f"{target.mangled}.{a.type.mangled}")
        elif scalar.is_float:
            if a.type.scalar == "i1":  # quicker than by whole numbers
                return self.select(a, self.constant(1.0, target), self.constant(0.0, target))
            opcode = "sitofp"
        elif scalar.bits < a.type.bits:
            opcode = "trunc"
        else:
            opcode = "zext" if a.type.scalar == "i1" else "sext"
        return self.emit(f"{opcode} {a.type.text} {a.text} to {target.text}", target)

    def extend_unsigned(self, a: Value, scalar: Type) -> Value:
        target = scalar.vector(a.type.lanes)
        return self.emit(f"zext {a.type.text} {a.text} to {target.text}", target)

    def convert_unsigned(self, a: Value, scalar: Type) -> Value:
        """Whole numbers of 0 or more to a type of floating-point numbers."""
        target = scalar.vector(a.type.lanes)
        return self.emit(f"uitofp {a.type.text} {a.text} to {target.text}", target)

    def bits(self, a: Value, type_: Type) -> Value:
        """The same bits as another type of the same size."""
        return self.emit(f"bitcast {a.type.text} {a.text} to {type_.text}", type_)

    def freeze(self, a: Value) -> Value:
        return self.emit(f"freeze {a.type.text} {a.text}", a.type)

    # Vectors

    def splat(self, a: Value, lanes: int) -> Value:
        """`a` in every lane; 0 lanes leaves it as it is."""
        if not lanes or a.type.lanes:
            return a
        if a.constant is not None:
            return self.constant(a.constant, a.type.vector(lanes))
        target = a.type.vector(lanes)
        first = self.emit(f"insertelement {target.text} poison, {a.type.text} {a.text}, i64 0", target)
        return self.emit(
            f"shufflevector {target.text} {first.text}, {target.text} poison, <{lanes} x i32> zeroinitializer", target
        )

    def again(self, pointer: Value) -> Value:
        """The same address, of which LLVM does not know that it is the same: so a load there is one of its own."""
        return self.emit(f'call ptr asm "", "=r,0"(ptr {pointer.text})', PTR)

    def extract(self, a: Value, lane: int | Value) -> Value:
        place = lane.text if isinstance(lane, Value) else str(lane)
        return self.emit(f"extractelement {a.type.text} {a.text}, i64 {place}", a.type.element)

    def insert(self, a: Value, element: Value, lane: int) -> Value:
        return self.emit(
            f"insertelement {a.type.text} {a.text}, {element.type.text} {element.text}, i64 {lane}", a.type
        )

    def shuffle(self, a: Value, b: Value | None, places: Sequence[int]) -> Value:
        """Lanes of `a`, and counted on from there of `b`; -1 for any."""
        listed = ", ".join("i32 poison" if i < 0 else f"i32 {i}" for i in places)
        other = "poison" if b is None else b.text
        target = a.type.vector(len(places))
        return self.emit(
            f"shufflevector {a.type.text} {a.text}, {a.type.text} {other}, <{len(places)} x i32> <{listed}>", target
        )

    def lane_numbers(self, lanes: int, scalar: Type = I64) -> Value:
        """0, 1, 2, ..."""
        return self.constants(range(lanes), scalar)

    def first_lanes(self, count: Value, lanes: int) -> Value:
        """A mask of the lanes below `count`, a whole number."""
        if count.constant is not None:
            return self.constants([lane < count.constant for lane in range(lanes)], I1)
        return self.compare("lt", self.lane_numbers(lanes), self.splat(count, lanes))

    def tree(self, values: Sequence[Value], combine: Any) -> Value:
        """`combine` of all values, in a fixed tree: neighbours first."""
        level = list(values)
        while len(level) > 1:
            pairs = [combine(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
            level = pairs + level[len(pairs) * 2 :]
        return level[0]

    def across(self, a: Value, combine: Any) -> Value:
        """`combine` of all lanes of a vector whose length is a power of 2, in a fixed tree: halves upon halves."""
        while a.type.lanes > 1:
            half = a.type.lanes // 2
            a = combine(self.shuffle(a, None, range(half)), self.shuffle(a, None, range(half, 2 * half)))
        return self.extract(a, 0)

    # Memory

    def offset(self, pointer: Value, index: Any, scalar: Type) -> Value:
        """The address `index` elements after `pointer`."""
        index = index if isinstance(index, Value) else self.i64(index)
        if index.constant == 0:
            return pointer
        return self.emit(f"{self.gep} {scalar.scalar}, ptr {pointer.text}, i64 {index.text}", PTR)

    def load(self, type_: Type, pointer: Value, index: Any = 0, *, align: int | None = None) -> Value:
        """The value at `pointer` and `index` elements on. Booleans stand in memory as bytes of 0 or 1."""
        if type_.scalar == "i1":
            return self.compare("ne", self.load(I8.vector(type_.lanes), pointer, index), 0)
        at = self.offset(pointer, index, type_)
        return self.emit(f"load {type_.text}, ptr {at.text}, align {align or type_.bytes}", type_)

    def store(self, value: Value, pointer: Value, index: Any = 0, *, align: int | None = None) -> None:
        if value.type.scalar == "i1":
            self.store(self.convert(value, I8), pointer, index)
            return
        at = self.offset(pointer, index, value.type)
        self.line(f"store {value.type.text} {value.text}, ptr {at.text}, align {align or value.type.bytes}")

    # Memory shared by threads; `order` is one of LLVM's: monotonic, acquire, release, acq_rel, seq_cst

    def load_atomic(self, type_: Type, pointer: Value, order: str) -> Value:
        return self.emit(f"load atomic {type_.text}, ptr {pointer.text} {order}, align {type_.bytes}", type_)

    def store_atomic(self, value: Value, pointer: Value, order: str) -> None:
        self.line(f"store atomic {value.type.text} {value.text}, ptr {pointer.text} {order}, align {value.type.bytes}")

    def add_atomic(self, value: Value, pointer: Value, order: str) -> Value:
        """Add a whole number to the one at `pointer` in one step; the one that was there before."""
        return self.emit(f"atomicrmw add ptr {pointer.text}, {value.type.text} {value.text} {order}", value.type)

    def exchange_atomic(self, expected: Value, new: Value, pointer: Value, order: str) -> Value:
        """Replace the whole number at `pointer` by `new` if it is `expected`, in one step; whether it was."""
        type_ = expected.type.text
        pair = Type(f"{{ {type_}, i1 }}")
        given = f"ptr {pointer.text}, {type_} {expected.text}, {type_} {new.text}"
        found = self.emit(f"cmpxchg {given} {order} monotonic", pair)
        return self.emit(f"extractvalue {pair.text} {found.text}, 1", I1)

    def load_lanes(self, type_: Type, pointer: Value, index: Any, mask: Value) -> Value:
        """The lanes of `mask`, and zeros elsewhere. Memory of other lanes is not touched."""
        if type_.scalar == "i1":
            return self.compare("ne", self.load_lanes(I8.vector(type_.lanes), pointer, index, mask), 0)
        at = self.offset(pointer, index, type_)
        return self.intrinsic(
            "masked.load", type_, at, mask, Value("zeroinitializer", type_), suffix=f"{type_.mangled}.p0"
        )

    def store_lanes(self, value: Value, pointer: Value, index: Any, mask: Value) -> None:
        """The lanes of `mask`. Memory of other lanes is not touched."""
        if value.type.scalar == "i1":
            self.store_lanes(self.convert(value, I8), pointer, index, mask)
            return
        at = self.offset(pointer, index, value.type)
        name = f"llvm.masked.store.{value.type.mangled}.p0"
        self.module.declare(name, VOID, [value.type, PTR, mask.type])
        self.call(name, VOID, value, at, mask)

    def gather(self, type_: Type, pointer: Value, indices: Value, mask: Value | None = None) -> Value:
        """For each lane the element of `pointer` at its index; zeros where the mask is not set."""
        if type_.scalar == "i1":
            return self.compare("ne", self.gather(I8.vector(type_.lanes), pointer, indices, mask), 0)
        at = self.emit(
            f"{self.gep} {type_.scalar}, ptr {pointer.text}, {indices.type.text} {indices.text}",
            PTR.vector(type_.lanes),
        )
        mask = self.constant(True, I1.vector(type_.lanes)) if mask is None else mask
        return self.intrinsic(
            "masked.gather",
            type_,
            at,
            mask,
            Value("zeroinitializer", type_),
            suffix=f"{type_.mangled}.{at.type.mangled}",
        )

    def prefetch(self, pointer: Value, index: Any, scalar: Type, *, locality: int = 3, to_write: bool = False) -> None:
        """Ask for the cache line `index` elements after `pointer`, which may lie outside of all memory.

        Locality 3 brings it into every cache, 2 only into the second and further; `to_write` takes it from others.
        """
        index = index if isinstance(index, Value) else self.i64(index)
        at = self.emit(f"getelementptr {scalar.scalar}, ptr {pointer.text}, i64 {index.text}", PTR)
        self.module.declare("llvm.prefetch.p0", VOID, [PTR, I32, I32, I32])
        self.call("llvm.prefetch.p0", VOID, at, *(self.constant(x, I32) for x in (int(to_write), locality, 1)))

    def scatter(self, value: Value, pointer: Value, indices: Value, mask: Value | None = None) -> None:
        """Each lane of `value` to its place; where several name one place the last lane counts."""
        if value.type.scalar == "i1":
            value = self.convert(value, I8)
        at = self.emit(
            f"{self.gep} {value.type.scalar}, ptr {pointer.text}, {indices.type.text} {indices.text}",
            PTR.vector(value.type.lanes),
        )
        mask = self.constant(True, I1.vector(value.type.lanes)) if mask is None else mask
        name = f"llvm.masked.scatter.{value.type.mangled}.{at.type.mangled}"
        self.module.declare(name, VOID, [value.type, at.type, mask.type])
        self.call(name, VOID, value, at, mask)

    def any(self, a: Value) -> Value:
        """Whether any lane of a vector of i1 is set."""
        return self.intrinsic("vector.reduce.or", I1, a, suffix=a.type.mangled)

    def reserve(self, type_: Type, count: int) -> Value:
        """Memory on the stack for `count` elements, aligned to 64 bytes."""
        name = f"%{self.fresh('stack')}"
        self._allocas.append(f"  {name} = alloca {type_.text}, i64 {count}, align 64")
        return Value(name, PTR)

    # What memory pointers point to, for a builder that checks what is read and written; see `bounds`

    def owns(
        self,
        pointer: Value,
        bytes_: int | Value | Callable[[], Value],
        name: str | Callable[[], str],
        *,
        before: int = 0,
        spare: int = 0,
    ) -> Value:
        """Say that `pointer`, and what is calculated from the result, points into `bytes_` bytes, called `name`.

        They begin `before` bytes before it. After them stand `spare` more that may be read, but not written.
        """
        del bytes_, name, before, spare
        return pointer

    def stop_outside(self, status: Value, reason: int) -> None:
        """Store `reason` at `status` where an access lay outside of its memory."""
        del status, reason

    # Control

    @contextmanager
    def loop(
        self, begin: Any, end: Any, step: int = 1, *, carried: Sequence[Value] = (), stem: str = "i"
    ) -> Iterator[Loop]:
        """The body runs for begin, begin + step, ... below end; not at all where there is none.

        The body sets `next` to what the carried values become; after the loop they are its `results`.
        """
        begin = begin if isinstance(begin, Value) else self.i64(begin)
        end = end if isinstance(end, Value) else self.i64(end)
        if begin.constant is not None and end.constant is not None and 0 < end.constant - begin.constant <= step:
            once = Loop(begin, list(carried), list(carried), [])  # one round: no loop
            yield once
            once.results.extend(once.next)
            return
        number = self.fresh("")
        pre, body, latch, done = (f"{part}.{number}" for part in ("pre", "body", "latch", "done"))
        self.line(f"br label %{pre}")
        self.label(pre)
        starts = self.compare("lt", begin, end).text
        self.line(f"br i1 {starts}, label %{body}, label %{done}")
        self.label(body)
        index = Value(f"%{stem}.{number}", I64)
        self.line(f"{index.text} = phi i64 [ {begin.text}, %{pre} ], [ %next.{number}, %{latch} ]")
        inside = [Value(f"%c{i}.{number}", value.type) for i, value in enumerate(carried)]
        phis = self.place()
        loop = Loop(index, inside, list(inside), [])
        yield loop
        self.line(f"br label %{latch}")
        self.label(latch)
        self.line(f"%next.{number} = add nsw i64 {index.text}, {step}")
        again = self.compare("lt", Value(f"%next.{number}", I64), end)
        self.line(f"br i1 {again.text}, label %{body}, label %{done}")
        for value, first, later in zip(inside, carried, loop.next, strict=True):
            phis.append(f"  {value.text} = phi {value.type.text} [ {first.text}, %{pre} ], [ {later.text}, %{latch} ]")
        self.label(done)
        for i, (first, later) in enumerate(zip(carried, loop.next, strict=True)):
            name = f"%r{i}.{number}"
            self.line(f"{name} = phi {first.type.text} [ {first.text}, %{pre} ], [ {later.text}, %{latch} ]")
            loop.results.append(Value(name, first.type))

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """The body runs where `condition`, an i1, holds."""
        if condition.constant is True:
            yield
            return
        number = self.fresh("")
        self.line(f"br i1 {condition.text}, label %then.{number}, label %after.{number}")
        self.label(f"then.{number}")
        yield
        self.line(f"br label %after.{number}")
        self.label(f"after.{number}")

    @contextmanager
    def repeat(self, carried: Sequence[Value] = ()) -> Iterator[Loop]:
        """The body runs again and again while `next[0]`, an i1 that the body sets, holds; at least once.

        The other entries of `next` are what the carried values become.
        """
        number = self.fresh("")
        pre, body, latch, done = (f"{part}.{number}" for part in ("pre", "body", "latch", "done"))
        self.line(f"br label %{pre}")
        self.label(pre)
        self.line(f"br label %{body}")
        self.label(body)
        inside = [Value(f"%c{i}.{number}", value.type) for i, value in enumerate(carried)]
        phis = self.place()
        loop = Loop(self.i64(0), inside, [], [])
        yield loop
        again, *later = loop.next
        self.line(f"br label %{latch}")
        self.label(latch)
        self.line(f"br i1 {again.text}, label %{body}, label %{done}")
        for value, first, new in zip(inside, carried, later, strict=True):
            phis.append(f"  {value.text} = phi {value.type.text} [ {first.text}, %{pre} ], [ {new.text}, %{latch} ]")
        loop.results = list(later)
        self.label(done)

    def ret(self, value: Value | None = None) -> None:
        self.line("ret void" if value is None else f"ret {value.type.text} {value.text}")


def define(
    module: Module,
    name: str,
    arguments: Sequence[tuple[str, Type]],
    result: Type = VOID,
    *,
    fused: bool = True,
    estimates: bool = False,
    internal: bool = True,
) -> tuple[Builder, list[Value]]:
    """A new function of `module`: its builder, and its arguments as values. Others call it only if not `internal`."""
    values = [Value(f"%{argument}", type_) for argument, type_ in arguments]
    function = Function(name, list(values), result, internal=internal)
    module.functions.append(function)
    return module.builder(function, fused=fused, estimates=estimates), values
