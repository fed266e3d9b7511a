"""Where a run comes from: its data, the versions and the machine it was made with; and what differs from another's."""

import hashlib
import platform
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data import Table
from backpass.errors import UsageError


def fingerprint(asked: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """What tells whether a table is the same, and what differs where it is not."""
    roles = {"table": asked.get("table"), "test": asked.get("test_table")}
    files = {role: sha256(str(path)) for role, path in roles.items() if path is not None}
    return {"sha256": files, **table.fingerprint()}


def require_same_data(folder: Path, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """See that a run goes on with the data that it began with.

    Raises:
        UsageError: it does not, and the difference is named.
    """
    found = next(_differences(recorded, now), None)
    if found is not None:
        raise UsageError(
            f"{folder}: the data changed since this run began: {found}; train anew, or give back the table of then"
        )


def _differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    before, after = recorded.get("columns") or {}, now.get("columns") or {}
    yield from (f'the column "{name}" is gone' for name in before if name not in after)
    yield from (f'the column "{name}" is new' for name in after if name not in before)
    if list(before) != list(after):
        yield "the columns are in another order"
    if recorded.get("rows") != now.get("rows"):
        yield f"it had {recorded.get('rows'):,} rows, and has {now.get('rows'):,}"
    comparable = recorded.get("sums") == now.get("sums")
    if comparable:
        yield from (f'the column "{name}" has other values' for name in before if before[name] != after[name])
    files, found = recorded.get("sha256") or {}, now.get("sha256") or {}
    for role in files:
        if (
            (role != "table" or not comparable)
            and files[role] is not None
            and found.get(role) not in (None, files[role])
        ):
            yield f"the file given as {role} is another (by its sha256)"


def sha256(path: str) -> str | None:
    """Of a file's bytes; None where they cannot be read a second time, as those of standard input."""
    with suppress(OSError):
        if path != "-" and Path(path).is_file():
            with Path(path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def circumstances() -> dict[str, Any]:
    """What, beside what was asked, may have a say in the bits of a result: versions and machine."""
    from backpass import __version__
    from backpass.native.quota import available_threads
    from backpass.native.target import host

    return {
        "versions": {
            "backpass": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "llvmlite": version("llvmlite"),
        },
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "vector_bits": host().vector_bits,
            "features": host().features,
            "threads": available_threads(),
        },
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
