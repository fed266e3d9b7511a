"""JSON lines: one object a line, its keys the columns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from backpass.data.limits import require_room
from backpass.data.memory import frame_of
from backpass.data.naming import quoted
from backpass.errors import TableError

if TYPE_CHECKING:
    from polars import DataFrame

CELL = 16  # bytes
# A table of more cells than these, of which so few are given, is none: each line has keys of its own.
MOST_EMPTY, SPARSEST = 10_000_000, 1000


def looks_like_json_lines(name: str, data: bytes) -> bool:
    """If the file says so by its name, or begins with an object."""
    stem = name.lower().removesuffix(".gz")
    return stem.endswith((".jsonl", ".ndjson")) or data.lstrip()[:1] == b"{"


def read_json_lines(name: str, data: bytes) -> tuple[DataFrame, tuple[str, ...]]:
    """Typed columns, and notes; a key that a line lacks is missing there.

    Raises TableError with the line's number for what is not an object, for a key twice in one object, and for
    values that are lists or objects themselves.
    """
    lines = enumerate(data.decode().split("\n"), start=1)
    objects = [_object(name, number, line) for number, line in lines if line.strip()]
    keys = list(dict.fromkeys(key for each in objects for key in each))
    if not keys:
        raise TableError(f"{name}: holds no values: a table needs objects with keys, one a line")
    cells, given = len(objects) * len(keys), sum(map(len, objects))
    if cells > MOST_EMPTY and cells > SPARSEST * given:
        raise TableError(
            f"{name}: its {len(objects):,} lines have {len(keys):,} different keys, hardly one in common: "
            "give every line the keys of the table"
        )
    require_room(name, CELL * cells)
    return frame_of(name, {key: [each.get(key) for each in objects] for key in keys})


def _object(name: str, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line, object_pairs_hook=_pairs)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply or too long a number"
        raise TableError(f"{name}: line {number:,} is not JSON ({reason}): give one object a line") from error
    if not isinstance(value, _Pairs):
        raise TableError(f"{name}: line {number:,} is {quoted(line)}, expected an object in braces: one a line")
    return _flat(name, number, value)


class _Pairs(list[tuple[str, Any]]):
    """The keys and values of an object, in order, repeated keys and all."""


def _pairs(pairs: list[tuple[str, Any]]) -> _Pairs:
    return _Pairs(pairs)


def _flat(name: str, number: int, pairs: _Pairs) -> dict[str, Any]:
    found: dict[str, Any] = dict(pairs)
    if len(found) < len(pairs):
        raise TableError(f"{name}: line {number:,} has a key twice: give each key once")
    nested = next((key for key, value in pairs if isinstance(value, list)), None)
    if nested is not None:
        raise TableError(
            f"{name}: column {quoted(nested)} holds a list or an object in line {number:,}: "
            "give it as columns of their own, or leave it out"
        )
    return found
