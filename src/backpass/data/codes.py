"""Numbers that stand for a missing value, as -999 does among ages: told by how they are written, and by the others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from backpass.data.naming import percent, quoted

if TYPE_CHECKING:
    import numpy.typing as npt

    from backpass.data.families import Floats

NINES = re.compile(r"-9{2,}(\.9+)?|9{3,}(\.9+)?")
LEAST_ROWS = 3  # fewer may be slips of the pen
OTHERS = 10  # different numbers at least: of fewer, as of prices 9, 99 and 999, a far one may be one of them
FAR = 2.0  # times the spread of all others lie between: a largest income of 99,999 stands nearer to the next


def codes_among(levels: Floats, counts: npt.NDArray[np.int64]) -> tuple[float, ...]:
    """Those of some different numbers that are codes: written with nines alone, at an end and far from all others.

    Below 0 they need not be far where all others are 0 or more. `counts` says how many rows hold each number.
    """
    found: list[float] = []
    order = np.argsort(levels)
    levels, counts = levels[order], counts[order]
    while len(levels) > OTHERS:
        low, high = levels[0], levels[-1]
        if counts[0] >= LEAST_ROWS and _may_be_code(low) and _is_apart(levels[1] - low, levels[1:], low):
            place = 0
        elif counts[-1] >= LEAST_ROWS and _may_be_code(high) and _is_apart(high - levels[-2], levels[:-1], high):
            place = len(levels) - 1
        else:
            break
        found.append(float(levels[place]))
        levels, counts = np.delete(levels, place), np.delete(counts, place)
    return tuple(sorted(found))


def codes_in(values: Floats) -> tuple[tuple[float, ...], int]:
    """The codes among the values of a column, NaN where there is none, and how many rows hold them.

    Mostly the least and the largest number tell that there is none, without the counts of all.
    """
    present = values[~np.isnan(values)]
    if not present.size or not (_may_be_code(present.min()) or _may_be_code(present.max())):
        return (), 0
    levels, counts = np.unique(present, return_counts=True)
    codes = codes_among(levels, counts)
    return codes, int(counts[np.isin(levels, codes)].sum())


def _may_be_code(value: float) -> bool:
    """Is a number written as codes are, in the digits that 32 bits hold of it?"""
    return NINES.fullmatch(f"{value:.7g}") is not None


def are_codes(values: Floats, codes: tuple[float, ...]) -> npt.NDArray[np.bool_]:
    """Which of some numbers are codes, whether they come in 32 or in 64 bits."""
    return np.isin(values.astype(np.float32), np.array(codes, np.float32))


def _is_apart(gap: float, others: Floats, code: float) -> bool:
    return bool(code < 0 <= others[0] or gap > FAR * (others[-1] - others[0]))


def told(name: str, codes: tuple[float, ...], part: float) -> str:
    """The note of a column of which codes, so much of the rows to train on, are read as missing."""
    return f"column {quoted(name)}: {_where(codes, part)} is read as missing; --column {name}=number keeps it a number"


def told_of_target(name: str, codes: tuple[float, ...], part: float) -> str:
    """The same of a target, of which nothing is left out unasked."""
    doubt = "is learned as an amount: if it stands for a missing answer, empty these cells, and the rows are left out"
    return f"target {quoted(name)}: {_where(codes, part)} {doubt}"


def _where(codes: tuple[float, ...], part: float) -> str:
    return f"{', '.join(f'{code:g}' for code in codes)} in {percent(part)} of the rows to train on"
