"""Where the records of a delimited text begin and how many fields each has, counted by NumPy over the bytes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from backpass.records import dataclass

LINE_FEED, QUOTE = 10, 34
PIECE = 1 << 18  # bytes that are looked at together: what is found in them stays in the processor's cache
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Records:
    """One entry a record, in order: its first byte, the byte after its last, its number of fields, if it is blank."""

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    fields: npt.NDArray[np.int64]
    blank: Mask


def find_records(data: bytes, delimiter: str) -> Records:
    """The records of a text whose quotes, if any, are well placed (see `well_quoted`); lines end in LF."""
    text = np.frombuffer(data, np.uint8)
    quoted, inside = QUOTE in data, np.False_
    found, marks = [], []
    for first in range(0, max(1, len(text)), PIECE):
        piece = text[first : first + PIECE]
        ends_record, ends_field = piece == LINE_FEED, piece == ord(delimiter)
        if quoted:
            within = inside_quotes(piece) ^ inside
            inside = within[-1]
            ends_record &= ~within
            ends_field &= ~within
        found.append(np.flatnonzero(ends_record) + first)
        marks.append(np.packbits(ends_field, bitorder="little"))
    ends = np.concatenate(found)
    if not len(ends) or ends[-1] != len(text) - 1:
        ends = np.append(ends, len(text))
    starts = np.concatenate(([0], ends[:-1] + 1))
    fields = _counts(np.concatenate(marks), ends) + 1
    return Records(starts, ends, fields, _blank(data, starts, ends, fields))


def _counts(marks: Bytes, ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many marks, of which a byte has eight, lie in each record; none stands where a record ends."""
    # 64 marks to a word: then one running sum over words, and the bits before the end within its own.
    words = np.append(marks, np.zeros(8 - len(marks) % 8, np.uint8)).view("<u8")
    before = np.cumsum(np.bitwise_count(words), dtype=np.int64) - np.bitwise_count(words)
    word, bit = ends >> 6, (ends & 63).astype(np.uint64)
    inside = words[word] & ((np.uint64(1) << bit) - np.uint64(1))
    counts: npt.NDArray[np.int64] = np.diff(before[word] + np.bitwise_count(inside), prepend=0)
    return counts


def _blank(
    data: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], fields: npt.NDArray[np.int64]
) -> Mask:
    blank: Mask = np.asarray(ends == starts)
    # Lines of spaces alone are rare: look at one by one, and only at those too short to hold a full record.
    for record in np.flatnonzero((fields == 1) & ~blank & (fields.max() > 1)):
        blank[record] = not data[starts[record] : ends[record]].strip()
    return blank


def inside_quotes(text: Bytes) -> Mask:
    """For each byte, if it stands within quotes (a doubled quote closes and opens again, which comes to the same)."""
    # The running count wraps around at 256, which keeps its lowest bit right.
    count = np.cumsum(text == QUOTE, dtype=np.uint8)
    inside: Mask = (count & 1).astype(np.bool_)
    return inside


def well_quoted(data: bytes, delimiter: str) -> bool:
    """If every quote opens a whole field, closes one, or is doubled within one, and none is left open."""
    text = np.frombuffer(data, np.uint8)
    inside = inside_quotes(text)
    if inside[-1]:
        return False
    places = np.flatnonzero(text == QUOTE)
    opening = inside[places]
    edges = np.array([ord(delimiter), LINE_FEED, QUOTE], dtype=np.uint8)
    padded = np.concatenate(([LINE_FEED], text, [LINE_FEED])).astype(np.uint8, copy=False)
    before, after = padded[places[opening]], padded[places[~opening] + 2]
    return bool(np.isin(before, edges).all() and np.isin(after, edges).all())
