"""From LLVM IR as text to machine code that can be called.

LLVM's code generator alone is run, none of its passes over the IR, but for the one that puts functions where they are
called if they ask for that: the text is written as it shall run. An object is mapped as it is where it can be (see
`image`), for which LLVM need not even be loaded, and otherwise linked by ORC's JITLink, which puts all its sections
into one piece of memory, so that the small code model holds.
"""

import ctypes
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any

from backpass.native.image import Mapped, mapped
from backpass.native.ir import INLINE
from backpass.native.target import Target, host

if TYPE_CHECKING:
    from llvmlite import binding

_numbers = count()
_turn = Lock()
_LIBRARIES_OF_A_LINKER = 16


def compile_text(text: str, target: Target, opt: int = 2, *, verify: bool = True) -> bytes:
    """Object code of the module `text`; `opt`, 0 to 3, is the effort of the code generator.

    Raises:
        ValueError: the text is no LLVM IR, or no sound one; the message shows the place.
    """
    with _parsed(text, target, verify=verify) as module:
        machine = _machine(target, opt)
        if INLINE in text:
            _inline(module, machine)
        with _quick_loops():
            code: bytes = machine.emit_object(module)
    return code


def assembly(text: str, target: Target, opt: int = 2) -> str:
    """What `compile_text` makes of the module, for people to read."""
    with _parsed(text, target, verify=True) as module:
        machine = _machine(target, opt)
        machine.set_asm_verbosity(True)
        with _quick_loops():
            listing: str = machine.emit_assembly(module)
    return listing


class Linked:
    """Machine code in memory, by LLVM's linker. The addresses are good as long as this object lives."""

    def __init__(self, code: bytes, functions: Mapping[str, int]) -> None:
        from llvmlite import binding

        number = next(_numbers)
        self._name = f"backpass.{number}"
        self._linker = _linker(number // _LIBRARIES_OF_A_LINKER)
        builder = binding.JITLibraryBuilder().add_object_img(code)
        for name, address in functions.items():
            builder.import_symbol(name, address)
        try:
            self._held: Any = [builder.link(self._linker, self._name)]
        except RuntimeError as error:
            raise ValueError(f"object code cannot be linked: {error}") from None
        self._addresses: dict[str, int] = {}

    def address(self, name: str) -> int:
        """Of the function `name`. The first call links: it takes about a millisecond.

        Raises:
            LookupError: there is none, or the code calls a function that nobody has.
        """
        if name not in self._addresses:
            try:
                found = self._linker.lookup(self._name, name)
            except RuntimeError as error:
                raise LookupError(f"no function {name!r} can be had from the object code: {error}") from None
            self._held.append(found)
            self._addresses[name] = found[name]
        return self._addresses[name]


Library = Linked | Mapped


def load(code: bytes, functions: Mapping[str, int] | None = None) -> Library:
    """Object code made for this machine, ready to be called.

    `functions` are addresses of further functions that it calls, by name; `sched_yield`, `syscall` and those of the C
    library are known without.

    Raises:
        ValueError: it is no object code.
    """
    known = {**_system_functions(), **(functions or {})}
    return mapped(code, known) or Linked(code, known)


@contextmanager
def _quick_loops() -> Iterator[None]:
    """Within this LLVM leaves the steps of loops as they are written.

    To look for better ones takes a quarter of its time, and finds none: addresses grow by fixed steps already. It is an
    option of the whole process, so it is set back for others who compile.
    """
    from llvmlite import binding

    with _turn:
        binding.set_option("backpass", "-disable-lsr=true")
        try:
            yield
        finally:
            binding.set_option("backpass", "-disable-lsr=false")


def _inline(module: "binding.ModuleRef", machine: "binding.TargetMachine") -> None:
    from llvmlite import binding

    passes = binding.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.run(module, binding.create_pass_builder(machine, binding.create_pipeline_tuning_options()))


@contextmanager
def _parsed(text: str, target: Target, *, verify: bool) -> Iterator["binding.ModuleRef"]:
    from llvmlite import binding

    context = binding.create_context()  # not the global one, in which types and constants would gather
    module = None
    try:
        try:
            module = binding.parse_assembly(f'target triple = "{target.triple}"\n{text}', context)
            if verify:
                module.verify()
        except RuntimeError as error:
            raise ValueError(f"{error}") from None
        yield module
    finally:
        if module is not None:
            module.close()  # before its context: otherwise the process falls
        context.close()


def _machine(target: Target, opt: int) -> "binding.TargetMachine":
    from llvmlite import binding

    _initialize(every=target.triple != host().triple)
    kind = binding.Target.from_triple(target.triple)
    return kind.create_target_machine(target.cpu, target.features, opt, reloc="pic", codemodel="small")


@lru_cache(maxsize=1)
def _linker(generation: int) -> "binding.LLJIT":  # noqa: ARG001  (a new one for each)
    """Takes 1 ms to make. It keeps the symbols of each library, some 10 KB, until it goes itself with its last one."""
    from llvmlite import binding

    _initialize(every=False)
    return binding.create_lljit_compiler(use_jit_link=True)  # what is missing it names on the standard error stream


@cache
def _initialize(*, every: bool) -> None:
    """Of this machine alone, or of every target there is (which takes longer)."""
    from llvmlite import binding

    if every:
        binding.initialize_all_targets()
        binding.initialize_all_asmprinters()
    else:
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()


@cache
def _system_functions() -> dict[str, int]:
    """What waiting threads call: on Linux to sleep, elsewhere to yield under one name."""
    if sys.platform == "win32":
        return {"sched_yield": _address(ctypes.WinDLL("kernel32").SwitchToThread)}
    system = ctypes.CDLL(None)
    return {"sched_yield": _address(system.sched_yield), "syscall": _address(system.syscall)}


def _address(function: Any) -> int:
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)
