"""Numbers that stand for a missing value, as -999 does among ages: told by how they are written, and by the others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from backpass.data.naming import quoted

if TYPE_CHECKING:
    import numpy.typing as npt

    from backpass.data.families import Floats

NINES = re.compile(r"-?9{2,}(\.9+)?")
LEAST_ROWS = 3  # fewer may be slips of the pen
FAR = 2.0  # times the spread of all others lie between: a largest income of 99,999 stands nearer to the next


def codes_among(levels: Floats, counts: npt.NDArray[np.int64]) -> tuple[float, ...]:
    """Those of some different numbers that are codes: written with nines alone, at an end and far from all others.

    Below 0 they need not be far where all others are 0 or more. `counts` says how many rows hold each number.
    """
    found: list[float] = []
    order = np.argsort(levels)
    levels, counts = levels[order], counts[order]
    while len(levels) > 1:
        low, high = levels[0], levels[-1]
        if counts[0] >= LEAST_ROWS and may_be_code(low) and _is_apart(levels[1] - low, levels[1:], low):
            place = 0
        elif counts[-1] >= LEAST_ROWS and may_be_code(high) and _is_apart(high - levels[-2], levels[:-1], high):
            place = len(levels) - 1
        else:
            break
        found.append(float(levels[place]))
        levels, counts = np.delete(levels, place), np.delete(counts, place)
    return tuple(sorted(found))


def may_be_code(value: float) -> bool:
    """Is a number written as codes are?"""
    return NINES.fullmatch(f"{value:.15g}") is not None


def _is_apart(gap: float, others: Floats, code: float) -> bool:
    return bool(code < 0 <= others[0] or gap > FAR * (others[-1] - others[0]))


def told(name: str, codes: tuple[float, ...], part: float) -> str:
    """The note of a column of which codes, so much of its rows, are read as missing."""
    share = f"{part:.1%}".replace("%", " %") if part >= 0.001 else "under 0.1 %"
    return (
        f"column {quoted(name)}: {', '.join(f'{code:g}' for code in codes)} in {share} of the rows is read as missing; "
        f"--column {name}=number reads it as a number"
    )
