"""How many threads are of use: the processors that this process may have, which a container may limit twice over.

A container of two processors on a machine of 64 shows all 64 to whoever asks the machine. Its limits are the set of
processors, and a quota of time: so many microseconds of processor time in each period.
"""

import os
import sys
from collections.abc import Iterator
from functools import cache
from math import inf
from pathlib import Path


def available_threads() -> int:
    """As many threads as can run at once; at least 1.

    A quota is rounded down: with 1.5 processors' worth of time a second thread would be halted for half of every
    period, and the first would wait for it at every barrier.
    """
    return max(1, int(min(processors(), _own_quota())))


@cache
def _own_quota() -> float:
    """As it was when first asked, for it takes files to read. The processors may be asked for at any time."""
    return quota(Path("/"))


def processors() -> int:
    """Those on which the system lets this process run."""
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quota(root: Path) -> float:
    """Processors' worth of time that this process's control groups allow, by the files under `root`; or infinity."""
    return min(_quotas(root), default=inf)


def _quotas(root: Path) -> Iterator[float]:
    """Of each group that has one, from this process's own up to the root."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:  # version 2
            for folder in _upwards(root / "sys/fs/cgroup", group):
                yield from _ratio(_read(folder / "cpu.max").split())
        elif "cpu" in controllers.split(","):  # version 1
            for folder in _upwards(root / "sys/fs/cgroup" / "cpu", group):
                yield from _ratio([_read(folder / f"cpu.cfs_{part}_us").strip() for part in ("quota", "period")])


def _upwards(top: Path, group: str) -> Iterator[Path]:
    """Within a container the group's name may be that of the world outside: then only the top is there to be read."""
    parts = [part for part in group.split("/") if part not in ("", "..")]
    for length in range(len(parts), -1, -1):
        yield top.joinpath(*parts[:length])


def _ratio(words: list[str]) -> Iterator[float]:
    """Of "150000 100000": 1.5; nothing of "max 100000" or "-1", which set no limit."""
    if len(words) == 2 and all(word.isascii() and word.isdigit() for word in words) and int(words[1]) > 0:
        yield int(words[0]) / int(words[1])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
