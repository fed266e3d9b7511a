"""A first reading of a typed file in a process of its own, for a damaged one may abort the process that reads it.

Seen with polars 2.1: one flipped byte in a Parquet page asks for 2^61 bytes, and Rust aborts where no handler can help.
A trial costs the start of a Python process, some 0.3 s, and spares people a notebook that is gone.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TRIAL = """
import io, sys
import polars
data = io.BytesIO(sys.stdin.buffer.read())
getattr(polars, sys.argv[1])(data)
"""
# Longer than any file takes that is not damaged; a trial that hangs is one that failed.
SECONDS = 600


def survives(reader: str, data: bytes) -> bool:
    """If the function of polars of this name ends by itself on the data, well or with an error.

    True also where no trial can be made: in a frozen program, or where processes cannot be started.
    """
    if getattr(sys, "frozen", False) or "python" not in Path(sys.executable or "").name.lower():
        return True
    try:
        trial = subprocess.run(  # noqa: S603  (our own interpreter, code of this file, and -P: no module of the folder we are in)
            [sys.executable, "-P", "-c", TRIAL, reader],
            input=data,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return False
    except OSError:
        return True
    # A Python error is told better by reading again here; a signal is what must not happen here.
    return trial.returncode in (0, 1)
