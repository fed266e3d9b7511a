"""The cells of a few rows, where they are plain Python values: encoded without a table, which takes milliseconds."""

from __future__ import annotations

from typing import Any

import numpy as np

from backpass.data.memory import LARGEST_INTEGER, is_unicode

MOST_ROWS = 16
_NONE = type(None)
_ALIKE: tuple[set[type], ...] = ({int, float, _NONE}, {str, _NONE}, {bool, _NONE})


def plain_cells(columns: Any) -> dict[str, list[Any]] | None:
    """A dictionary of columns as lists of equal length; None where a cell is no plain value, or unlike others."""
    if type(columns) is not dict:
        return None
    cells: dict[str, list[Any]] = {}
    for name, values in columns.items():
        found = _cells(values)
        if found is None or type(name) is not str or not name or name != name.strip():
            return None
        cells[name] = found
    lengths = {len(values) for values in cells.values()}
    return cells if len(lengths) == 1 and 0 < lengths.pop() <= MOST_ROWS else None


def _cells(values: Any) -> list[Any] | None:
    if isinstance(values, np.ndarray):
        if values.ndim != 1 or values.dtype.kind not in "biufU" or len(values) > MOST_ROWS:
            return None
        values = values.tolist()
    elif type(values) not in (list, tuple) or len(values) > MOST_ROWS:
        return None
    cells = [value.item() if isinstance(value, np.generic) else value for value in values]
    types = set(map(type, cells))
    if not any(types <= alike for alike in _ALIKE):
        return None
    if any(type(cell) is int and abs(cell) >= LARGEST_INTEGER for cell in cells):
        return None
    return None if any(type(cell) is str and not is_unicode(cell) for cell in cells) else cells
