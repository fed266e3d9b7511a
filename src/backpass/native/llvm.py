"""What LLVM knows of this machine and of itself, remembered from start to start: to ask it takes some 50 ms.

What it said is kept beside the object code (see `cache`), under a key of all that its answer depends on. With that a
program that was compiled before starts without LLVM.
"""

import platform
import sys
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backpass.native.cache import open_cache
from backpass.records import dataclass

if TYPE_CHECKING:
    from backpass.native.target import Target

_PROCESSOR = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU ")
"""How the lines of /proc/cpuinfo begin that tell one kind of processor from another; its clock is in others."""
_ENOUGH = 1 << 14  # bytes, for the lines of the first processor


@dataclass(frozen=True)
class Facts:
    """What LLVM says.

    Attributes:
        triple: its name for this architecture and system.
        flags: its names for what the processor can do and the system allows.
        version: its own.
    """

    triple: str
    flags: list[str]
    version: list[int]


@cache
def facts() -> Facts:
    """As it was said at an earlier start, where nothing has changed since; else LLVM is loaded and asked."""
    circumstances = _circumstances()
    store = open_cache()
    entry = None if circumstances is None else store.get(circumstances)
    if entry is not None and (known := _known(entry.metadata)):
        return known
    from llvmlite import binding

    flags = sorted(name for name, there in binding.get_host_cpu_features().items() if there)
    asked = Facts(binding.get_process_triple(), flags, list(binding.llvm_version_info))
    if circumstances is not None:
        store.put(circumstances, b"", {"triple": asked.triple, "flags": asked.flags, "version": asked.version})
    return asked


def _known(said: dict[str, Any]) -> Facts | None:
    """What was written down; None where that is something else."""
    triple, flags, version = (said.get(name) for name in ("triple", "flags", "version"))
    if not isinstance(triple, str) or not isinstance(flags, list) or not isinstance(version, list):
        return None
    sound = all(isinstance(each, str) for each in flags) and all(type(each) is int for each in version)
    return Facts(triple, flags, version) if sound and version else None


def _circumstances() -> str | None:
    """A sha256 of what the answer depends on; None where the system does not tell its processor by a file."""
    spec = find_spec("llvmlite")  # which does not import it
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    try:
        with Path("/proc/cpuinfo").open("rb") as file:
            first = file.read(_ENOUGH).decode(errors="replace").split("\n\n")[0]
        version = folder.joinpath("_version.py").read_bytes()
        libraries = [
            (path.name, path.stat().st_size) for path in sorted(folder.joinpath("binding").glob("*llvmlite.*"))
        ]
    except OSError:
        return None
    processor = [line for line in first.splitlines() if line.startswith(_PROCESSOR)]
    found = (sys.platform, platform.machine(), processor, version, libraries)
    return sha256(repr(found).encode()).hexdigest()


def key_of(text: str, target: "Target") -> str:
    """The key of the code that this backpass, with this LLVM, makes for `target` of what `text` describes in full.

    64 hexadecimal digits: a sha256 of all that the code depends on.
    """
    made_by = (sha256(text.encode()).digest(), target, facts().version, _sources(), sys.byteorder)
    return sha256(repr(made_by).encode()).hexdigest()


@cache
def _sources() -> str:
    """A sha256 of the files that decide which code is made, and where in memory it looks for values."""
    package = Path(__file__).parent.parent
    digest = sha256()
    for folder in ("graph", "native", "ops", "simplify"):
        for path in sorted(package.joinpath(folder).rglob("*.py")):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()
