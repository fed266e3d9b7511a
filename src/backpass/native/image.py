"""Object code as one piece of memory that runs wherever it lies, so that starting it takes no linker.

The code that is made here has nothing to write to but what it is given, and calls at most a function or two of the
system. Once its sections stand in one piece, all distances within it are known; what is left to be done at the start
is to copy it, and to write down the addresses of those functions. Code that is otherwise is for LLVM's linker.

ELF as in the System V Application Binary Interface, chapters 4 and 5, and its supplement for AMD64, section 4.4.
"""

import ctypes
import struct
import sys
from collections.abc import Mapping
from typing import NamedTuple

from backpass.records import dataclass

_MAGIC = b"\x7fELF\x02\x01"  # of 64 bits, little endian
_RELOCATABLE, _X86_64 = 1, 62
_CONTENT, _SYMBOLS, _RELOCATIONS = 1, 2, 4  # kinds of sections: SHT_PROGBITS, SHT_SYMTAB, SHT_RELA
_WRITABLE, _LOADED = 1, 2  # SHF_WRITE, SHF_ALLOC
_GLOBAL_FUNCTION = 0x12
_UNDEFINED = 0
_DISTANCES = (2, 4)  # R_X86_64_PC32 and R_X86_64_PLT32: from where it stands to the symbol, in 4 bytes
_JUMP = b"\xff\x25\x02\x00\x00\x00\xcc\xcc"  # to the address in the 8 bytes behind it
_HEADER = struct.Struct("<16sHH20xQ10x3H")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")
_DISTANCE = struct.Struct("<i")


class _Section(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry: int


class _Symbol(NamedTuple):
    name: int
    info: int
    other: int
    section: int
    value: int
    size: int


@dataclass(frozen=True)
class Image:
    """Machine code for x86-64 that needs no linker.

    Attributes:
        content: its bytes.
        functions: where the functions begin that others may call.
        wanted: where, as 8 bytes, the addresses of the functions belong that it calls.
    """

    content: bytes
    functions: dict[str, int]
    wanted: dict[str, int]


def image_of(code: bytes) -> Image | None:
    """The object file `code` as one piece; None where it is for another machine, writes to data of its own, or so."""
    if not code.startswith(_MAGIC):
        return None
    try:
        return _Object(code).image()
    except (_NeedsLinker, struct.error, IndexError, ValueError, OverflowError):  # or it is broken
        return None


class _NeedsLinker(Exception):  # noqa: N818  (no error: it is told to image_of alone)
    pass


class _Object:
    """An object file, and what becomes of it."""

    def __init__(self, code: bytes) -> None:
        _, kind, machine, at, entry, count, _ = _HEADER.unpack_from(code)
        if (kind, machine, entry) != (_RELOCATABLE, _X86_64, _SECTION.size):
            raise _NeedsLinker
        self._code = code
        self._sections = [_Section(*_SECTION.unpack_from(code, at + number * entry)) for number in range(count)]
        (table,) = (each for each in self._sections if each.kind == _SYMBOLS)
        self._symbols = [_Symbol(*found) for found in _SYMBOL.iter_unpack(self._bytes(table))]
        self._names = self._bytes(self._sections[table.link])
        self._content = bytearray()
        self._places: dict[int, int] = {}
        self._wanted: dict[str, int] = {}

    def image(self) -> Image:
        for number, section in enumerate(self._sections):
            if section.flags & _LOADED and section.size:
                self._place(number, section)
        for section in self._sections:
            if section.kind == _RELOCATIONS and section.info in self._places:
                self._connect(section)
        functions = {
            self._name(each): self._places[each.section] + each.value
            for each in self._symbols
            if each.info == _GLOBAL_FUNCTION and each.section in self._places
        }
        return Image(bytes(self._content), functions, self._wanted)

    def _place(self, number: int, section: _Section) -> None:
        if section.kind != _CONTENT or section.flags & _WRITABLE:
            raise _NeedsLinker
        self._content += bytes(-len(self._content) % max(1, section.alignment))
        self._places[number] = len(self._content)
        self._content += self._bytes(section)

    def _connect(self, section: _Section) -> None:
        """Write down the distances that this section of relocations tells of."""
        for where, what, more in _RELOCATION.iter_unpack(self._bytes(section)):
            if what & 0xFFFFFFFF not in _DISTANCES:
                raise _NeedsLinker
            place = self._places[section.info] + where
            _DISTANCE.pack_into(self._content, place, self._target(self._symbols[what >> 32]) + more - place)

    def _target(self, symbol: _Symbol) -> int:
        if symbol.section in self._places:
            return self._places[symbol.section] + symbol.value
        if symbol.section != _UNDEFINED:
            raise _NeedsLinker
        name = self._name(symbol)
        if name not in self._wanted:  # all its calls go to one jump
            self._content += bytes(-len(self._content) % 8) + _JUMP + bytes(8)
            self._wanted[name] = len(self._content) - 8
        return self._wanted[name] - len(_JUMP)

    def _bytes(self, section: _Section) -> bytes:
        found = self._code[section.offset : section.offset + section.size]
        if len(found) != section.size:
            raise _NeedsLinker
        return found

    def _name(self, symbol: _Symbol) -> str:
        return self._names[symbol.name : self._names.index(b"\0", symbol.name)].decode()


class Mapped:
    """An Image in memory of its own, which can be run and no longer written. Its addresses are good while it lives.

    Args:
        image: the code; it must be for this machine.
        functions: the addresses of those that it wants.

    Raises:
        OSError: the system does not let a process run what it has written.
    """

    def __init__(self, image: Image, functions: Mapping[str, int]) -> None:
        import mmap  # not on all systems does it have what is used here

        content = bytearray(image.content)
        for name, place in image.wanted.items():
            struct.pack_into("<Q", content, place, functions[name])
        self._memory = mmap.mmap(-1, len(content), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._memory[:] = bytes(content)
        self._view = (ctypes.c_char * len(content)).from_buffer(self._memory)
        self._start = ctypes.addressof(self._view)
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        if protect(self._start, len(content), mmap.PROT_READ | mmap.PROT_EXEC):
            raise OSError(ctypes.get_errno(), "memory cannot be made executable")
        self._functions = image.functions

    def address(self, name: str) -> int:
        """Of the function `name`.

        Raises:
            LookupError: there is none.
        """
        if name not in self._functions:
            raise LookupError(f"no function {name!r} can be had from the object code")
        return self._start + self._functions[name]


def mapped(code: bytes, functions: Mapping[str, int]) -> Mapped | None:
    """Object code in memory; None where it needs a linker, or functions of others, or this system does not allow it."""
    image = image_of(code) if sys.platform == "linux" else None
    if image is None or not functions.keys() >= image.wanted.keys():
        return None
    try:
        return Mapped(image, functions)
    except OSError:
        return None
