"""A first reading of a typed file in a process of its own, for a damaged one may abort the process that reads it.

Seen with polars 2.1: one flipped byte in a Parquet page asks for 2^61 bytes, and Rust aborts where no handler can help.
A trial costs the start of a Python process, some 0.3 s, and spares people a notebook that is gone.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from backpass.data.limits import free_memory, require_room

TRIAL = """
import io, sys
import polars
reader, free = sys.argv[1], int(sys.argv[2])
data = sys.stdin.buffer.read()
if free:
    try:
        import resource
        taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + free + (4 << 30),) * 2)
    except (ImportError, OSError, ValueError):
        pass
scan = {"read_parquet": polars.scan_parquet, "read_ipc": polars.scan_ipc}.get(reader)
if free and scan is not None:
    rows = scan(io.BytesIO(data)).select(polars.len()).collect().item()
    kinds = scan(io.BytesIO(data)).collect_schema().dtypes()
    needed = rows * sum(16 if kind == polars.String else 1 if kind == polars.Boolean else 4 for kind in kinds)
    if needed > free:
        print(needed)
        sys.exit(3)
getattr(polars, reader)(io.BytesIO(data))
"""
# The same for a file that is read in parts.
SCAN = """
import sys
import polars
reader, path, free = sys.argv[1], sys.argv[2], int(sys.argv[3])
if free:
    try:
        import os, resource
        taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + free + os.path.getsize(path) + (4 << 30),) * 2)
    except (ImportError, OSError, ValueError):
        pass
scan = getattr(polars, reader)(path, glob=False)
for name in scan.collect_schema().names():
    scan.select(polars.col(name)).collect()
"""
# Longer than any file takes that is not damaged; a trial that hangs is one that failed.
SECONDS = 600
TOO_LARGE = 3
# A Python error is told better by reading again here; a signal is what must not happen here.
_WELL = (0, 1)


def survives(name: str, reader: str, data: bytes) -> bool:
    """If the function of polars of this name ends by itself on the data, well or with an error.

    The trial may take no more memory than is free, and some for itself. True also where no trial can be made: in a
    frozen program, or where processes cannot be started.

    Raises:
        TableError: by what the file says of itself, there is not enough memory for its rows.
    """
    free = free_memory()
    ended, told = _tried(TRIAL, reader, str(free or 0), data=data)
    if ended == TOO_LARGE and told.strip().isdigit():
        require_room(name, int(told), free=free)
    return ended in _WELL


def survives_scan(path: Path, scanner: str) -> bool:
    """The same of a file that is not read whole: each column in turn, by the function of polars of this name."""
    return _tried(SCAN, scanner, str(path.absolute()), str(free_memory() or 0))[0] in _WELL


def _tried(code: str, *arguments: str, data: bytes = b"") -> tuple[int, bytes]:
    """How a process ended that ran the code, and what it printed."""
    if getattr(sys, "frozen", False) or "python" not in Path(sys.executable or "").name.lower():
        return 0, b""
    try:
        trial = subprocess.run(  # noqa: S603  (our own interpreter, code of this file, and -P: no module of the folder we are in)
            [sys.executable, "-P", "-c", code, *arguments],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return -1, b""
    except OSError:
        return 0, b""
    return trial.returncode, trial.stdout
