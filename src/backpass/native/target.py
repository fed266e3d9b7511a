"""What code is made for: the instructions that the processor has, and how wide its vectors are.

A target is told by feature flags, never by a processor's name: LLVM knows many virtual machines by a wrong one.
"""

import sys
from functools import cache

from backpass.native.ir import Type
from backpass.native.llvm import facts
from backpass.records import dataclass

_SSE2 = ("cmov", "cx8", "fxsr", "sse", "sse2")
_AVX2 = (
    *_SSE2,
    *("cx16", "popcnt", "sse3", "ssse3", "sse4.1", "sse4.2", "sahf"),
    *("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"),
)
_AVX512 = (*_AVX2, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_NEON = ("fp-armv8", "neon")

# Of a machine's many flags those that numerical code has a use for. The others would only make two machines that
# run the same code look different to the cache; of a matrix unit (AMX) the system must first give leave.
_USEFUL_X86 = frozenset((*_AVX512, "avx512bf16", "avx512vbmi", "avx512vbmi2", "avx512vnni", "prfchw"))
_USEFUL_ARM = frozenset((*_NEON, "bf16", "dotprod", "fullfp16", "lse"))


@dataclass(frozen=True)
class Target:
    """A kind of machine.

    Attributes:
        triple: LLVM's name of architecture and system.
        cpu: "" always: the flags say it all.
        features: LLVM's flags, "+avx2,+fma": complete.
        vector_bits: the width of the vectors to use.
        registers: how many vector registers there are.
        fused: whether it multiplies and adds in one instruction, rounding once.
    """

    triple: str
    cpu: str
    features: str
    vector_bits: int
    registers: int
    fused: bool

    def lanes(self, type_: Type) -> int:
        """Elements of `type_` in one vector."""
        return self.vector_bits // type_.bits

    @property
    def estimates(self) -> bool:
        """Whether it has quick estimates of reciprocals and of their roots, to 14 bits."""
        return self.vector_bits == 512 and not self.is_arm

    @property
    def is_arm(self) -> bool:
        return is_arm(self.triple)

    @property
    def is_linux(self) -> bool:
        return "linux" in self.triple


@cache
def host() -> Target:
    """This machine. That the system saves the wide registers too is known to LLVM."""
    return described(_process_triple(), set(facts().flags))


def described(triple: str, flags: set[str]) -> Target:
    """The machine of this triple with these flags."""
    if is_arm(triple):
        return _target(triple, set(_NEON) | (flags & _USEFUL_ARM), 128, 32, fused=True)
    useful = set(_SSE2) | (flags & _USEFUL_X86)
    if useful.issuperset(_AVX512):
        return _target(triple, useful, 512, 32, fused=True)
    narrow = {name for name in useful if not name.startswith("avx512")}
    if narrow >= {"avx2", "fma"}:
        return _target(triple, narrow, 256, 16, fused=True)
    return _target(triple, narrow, 128, 16, fused="fma" in narrow)


_NAMED = {"sse2": _SSE2, "avx2": _AVX2, "avx512": _AVX512, "arm64": _NEON}


@cache
def named(name: str) -> Target:
    """The least machine of the kind "sse2", "avx2", "avx512" or "arm64": on this system if it can be, else on Linux."""
    if name not in _NAMED:
        raise ValueError(f"{name!r} is not a target: choose one of {', '.join(_NAMED)}")
    return described(_triple(arm=name == "arm64"), set(_NAMED[name]))


def is_arm(triple: str) -> bool:
    return triple.startswith(("aarch64", "arm64"))


def _triple(*, arm: bool) -> str:
    here = _process_triple()
    if is_arm(here) == arm:
        return here
    return "aarch64-unknown-linux-gnu" if arm else "x86_64-unknown-linux-gnu"


def _process_triple() -> str:
    triple = facts().triple
    return f"{triple}-elf" if sys.platform == "win32" else triple  # ORC links ELF best, on every system


def _target(triple: str, flags: set[str], vector_bits: int, registers: int, *, fused: bool) -> Target:
    features = ",".join(f"+{name}" for name in sorted(flags))
    return Target(triple, "", features, vector_bits, registers, fused)
