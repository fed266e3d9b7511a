"""From nothing to the end of the first epoch on digits: a fresh process each, with import, building and compiling.

Ours twice: with an empty cache of compiled code, and with a full one. The rows lie in files, as float32. Byte code is
kept between the processes, as pip leaves it beside what it installs; ours too, which may run from a checkout. The
end of the process, when all is let go of, does not count. "Python alone" is the start of the interpreter with NumPy.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from speed.contenders import OURS, absent, is_there
from speed.options import Options
from speed.report import NUMBER, RANGE, Column, Section
from speed.timing import in_turns
from speed.works import WORKS, rows_of

FOLDER = Path(__file__).parent.parent
COLUMNS = (
    Column("contender", "", ""),
    Column("seconds", "seconds", NUMBER),
    RANGE,
    Column("ratio", "times ours, empty cache", NUMBER),
)
TELL = "print(time.monotonic())"
COLD, WARM = f"{OURS}, empty cache", f"{OURS}, full cache"


def measure(options: Options) -> Section:
    """Everyone, in turns."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        X, y = rows_of(WORKS["digits"])
        np.save(folder / "X.npy", X)
        np.save(folder / "y.npy", y)
        caches = (folder / f"cache-{number}" for number in range(1000))
        warm = next(caches)
        runs: dict[str, Callable[[], float]] = {
            COLD: lambda: fresh(OURS, folder, next(caches), options),
            WARM: lambda: fresh(OURS, folder, warm, options),
        }
        for peer in filter(is_there, options.peers):
            runs[peer] = lambda peer=peer: fresh(peer, folder, warm, options)
        runs["Python alone"] = lambda: _until_told(["-c", f"import numpy, time; {TELL}"], _byte_code(folder))
        for run in runs.values():
            run()  # once, so that all files are in the system's memory, and the full cache is full
        timings = in_turns(runs, max(2, options.repeats // 2 + 1))
    rows = [
        {"contender": who} | timing.record("seconds") | {"ratio": timing.median / timings[COLD].median}
        for who, timing in timings.items()
    ]
    title = "first epoch on digits from a fresh process: import, build, compile, train"
    return Section("first-epoch", title, COLUMNS, rows, absent(options.peers))


def fresh(who: str, folder: Path, cache: Path, options: Options) -> float:
    """Seconds from the start of the process to the end of the epoch."""
    cache.mkdir(exist_ok=True)
    arguments = ["-m", "speed.fresh", who, str(folder), options.executor]
    return _until_told(arguments, {"BACKPASS_CACHE": str(cache)} | _byte_code(folder))


def _until_told(arguments: list[str], more: dict[str, str]) -> float:
    """Seconds until a fresh Python prints, last of all, the time of the clock that all processes share."""
    begun = time.monotonic()
    *_, ended = started(arguments, more).split()
    return float(ended) - begun


def _byte_code(folder: Path) -> dict[str, str]:
    """Have Python keep it there, whatever this process was told."""
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "byte-code")}


def started(arguments: list[str], more: dict[str, str]) -> str:
    """A fresh Python that finds these files; what it printed."""
    environment = os.environ | {"PYTHONPATH": str(FOLDER)} | more
    finished = subprocess.run(
        [sys.executable, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return finished.stdout
