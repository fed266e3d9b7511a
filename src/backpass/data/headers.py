"""The names of a table's columns: none empty, no two alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from backpass.data.naming import listed
from backpass.data.sniff import NUMBER
from backpass.errors import TableError


def checked_header(name: str, header: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """The names to use, and notes; raises TableError for two columns of one name."""
    stripped = [field.strip() for field in header]
    numeric = [field for field in stripped if NUMBER.fullmatch(field)]
    _refuse_repeats(name, stripped, looks_like_data=bool(numeric))
    names, unnamed = _with_names(stripped)
    notes = [f"column {place} has no name in the header: called {quoted_name}" for place, quoted_name in unnamed]
    if len(numeric) == len(names):
        notes.append(
            f"the first line is read as names, but looks like data ({listed(numeric, 3)}): add a line of names"
        )
    return names, tuple(notes)


def _refuse_repeats(name: str, names: list[str], *, looks_like_data: bool) -> None:
    repeated = [field for field, count in Counter(names).items() if count > 1 and field]
    if repeated:
        hint = "add a line of names, the first line looks like data" if looks_like_data else "give each its own name"
        raise TableError(f"{name}: the header has {listed(repeated)} more than once: {hint}")


def _with_names(names: list[str]) -> tuple[list[str], list[tuple[int, str]]]:
    taken, chosen, unnamed = set(names), [], []
    for place, field in enumerate(names, start=1):
        given = field or f"column_{place}"
        while not field and given in taken:
            given += "_"
        taken.add(given)
        chosen.append(given)
        if not field:
            unnamed.append((place, given))
    return chosen, unnamed
