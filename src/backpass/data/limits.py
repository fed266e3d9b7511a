"""How much memory this process may still take, so that what is too large is told before the system ends it.

A container of 4 GiB on a machine of 256 shows all 256 to whoever asks the machine. Its limit stands in the files of its
control groups, of which any up to the root may have one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from backpass.errors import TableError

READING = 4  # bytes taken for each byte of a table's file, at the least: the text, what is found in it, the columns
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_CACHED = ("inactive_file", "active_file")  # memory of files, which the system takes back when it is needed


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes that can be had before the machine or a container is full, by the files under `root`; None if unknown."""
    return min((max(0, left) for left in (*_of_machine(root), *_of_groups(root))), default=None)


def require_room(name: str, needed: int, *, free: int | None = None) -> None:
    """See that a table that takes so many bytes can be read.

    Raises:
        TableError: there is less memory than that; the message says how much.
    """
    free = free_memory() if free is None else free
    if free is not None and needed > free:
        raise TableError(
            f"{name}: reading it needs {amount(needed)} or more, and {amount(free)} are free here: "
            "give fewer rows or columns"
        )


def amount(count: float) -> str:
    """Bytes for people: "9.5 GiB", "31 GiB"."""
    value, unit = float(count), 0
    while value >= 1023.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if value < 9.95 and unit else f"{value:,.0f} {_UNITS[unit]}"


def _of_machine(root: Path) -> Iterator[int]:
    """What Linux believes a new process could get without swapping, and the swap; elsewhere all memory there is."""
    found = {}
    for line in _read(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        found[name] = next(_numbers(rest.split()[:1]), 0) * 1024
    if "MemAvailable" in found:
        yield found["MemAvailable"] + found.get("SwapFree", 0)
    elif root == Path("/") and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_groups(root: Path) -> Iterator[int]:
    """What is left of the limit of each control group that has one, from this process's own up to the root."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:  # version 2
            for folder in _upwards(root / "sys/fs/cgroup", group):
                yield from _left(folder, "memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):  # version 1
            for folder in _upwards(root / "sys/fs/cgroup/memory", group):
                yield from _left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_")


def _left(folder: Path, limit: str, usage: str, prefix: str) -> Iterator[int]:
    """Nothing of "max", which sets no limit. Version 1 writes a number larger than any memory for that."""
    numbers = list(_numbers(_read(folder / name).strip() for name in (limit, usage)))
    if len(numbers) == 2:
        most, used = numbers
        stat = dict(line.partition(" ")[::2] for line in _read(folder / "memory.stat").splitlines())
        cached = sum(_numbers(stat.get(prefix + name, "") for name in _CACHED))
        yield most - max(0, used - cached)


def _upwards(top: Path, group: str) -> Iterator[Path]:
    """Within a container the group's name may be that of the world outside: then only the top is there to be read."""
    parts = [part for part in group.split("/") if part not in ("", "..")]
    for length in range(len(parts), -1, -1):
        yield top.joinpath(*parts[:length])


def _numbers(words: Iterable[str]) -> Iterator[int]:
    return (int(word) for word in words if word.isascii() and word.isdigit())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
