"""Names, and parts of all, as people write and read them: lists split at commas; quoted in messages, with the closest
ones offered.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from contextlib import suppress

from backpass.errors import UsageError

SHOWN_NAMES = 6
SHOWN_TEXT = 60
ALIKE = 0.7  # of two words' letters are the same in the same order where one is taken to be meant by the other
BEGINNING = 3  # letters in common from the first on, to the same end


def quoted(text: str) -> str:
    """The text in double quotes on one line, cut where it is long; what would steer a terminal is shown as "\\x1b"."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.split()))
    return f'"{line[: SHOWN_TEXT - 3]}..."' if len(line) > SHOWN_TEXT else f'"{line}"'


def percent(share: float) -> str:
    """A part as people read it."""
    return f"{100 * share:.1f} %" if share == 0 or share >= 0.0005 else "< 0.1 %"


def listed(names: Iterable[str], shown: int = SHOWN_NAMES) -> str:
    """The first few names, and how many more there are."""
    every = list(names)
    rest = len(every) - shown
    return ", ".join(quoted(name) for name in every[:shown]) + (f" and {rest:,} more" if rest > 0 else "")


def closest(name: str, choices: Sequence[str]) -> str | None:
    """The one of the choices that the name was probably meant to be, whatever its case, or None: what is spelt nearly
    so, or begins as the name does, or the name as it.
    """
    folded = {choice.casefold(): choice for choice in choices}
    own = name.casefold()
    found = difflib.get_close_matches(own, folded, n=1, cutoff=ALIKE)
    begin = (each for each in folded if min(len(each), len(own)) >= BEGINNING and each[: len(own)] == own[: len(each)])
    near = found[0] if found else next(begin, None)
    return None if near is None else folded[near]


def did_you_mean(name: str, choices: Sequence[str], title: str = "Its columns") -> str:
    """A sentence that offers the closest choice, or else shows a few."""
    near = closest(name, choices)
    return f"Did you mean {quoted(near)}?" if near is not None else f"{title}: {listed(choices)}."


def of_columns(name: str, columns: Sequence[str]) -> str:
    """The same where a table has no column of that name; of one that reads as a single column why that may be."""
    if len(columns) == 1:
        return (
            f"It reads as one column, {quoted(columns[0])}: if that is several, --delimiter says what is between them."
        )
    return did_you_mean(name, columns)


def split_names(text: str) -> tuple[str, ...]:
    """Two names for "Y1,Y2"; a comma inside double quotes belongs to the name."""
    import csv

    with suppress(csv.Error):
        names = (name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))
        return tuple(name for name in names if name)
    raise UsageError(f"{text!r} is no list of names: separate them by commas")
