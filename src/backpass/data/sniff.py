"""Which character separates the fields of a text table."""

from __future__ import annotations

import csv
import io
import re

from backpass.errors import UsageError

# In the order of preference where several would fit.
CANDIDATES = (",", "\t", ";", "|", ":", " ")
SAMPLE_BYTES = 65536
SAMPLE_RECORDS = 200
NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")
SPELLED = {"\\t": "\t", "tab": "\t", "space": " ", "comma": ",", "semicolon": ";"}


def checked_delimiter(option: str) -> str:
    """The character that an option asks for; raises UsageError where it is not one character."""
    delimiter = SPELLED.get(option, option)
    if len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise UsageError(f"--delimiter {option!r}: must be one character, such as ';' or 'tab', and not a quote")
    return delimiter


def sniff_delimiter(data: bytes) -> str:
    """The likeliest delimiter: the one that cuts the first rows into as many fields as the header.

    Ties go to the one with more numbers among its fields ("1,5;2,5" is two numbers, not three texts), then to the
    order of CANDIDATES. A table of one column has none; a comma is as good as any then.
    """
    sample = _sample(data)
    scored = [(_score(sample, candidate), -place, candidate) for place, candidate in enumerate(CANDIDATES)]
    (agreeing, _), _, best = max(scored)
    return best if agreeing > 0 else _first_in_header(sample)


def _sample(data: bytes) -> str:
    piece = data[:SAMPLE_BYTES]
    if len(data) > SAMPLE_BYTES and b"\n" in piece:
        piece = piece[: piece.rindex(b"\n")]
    return piece.decode(errors="replace")


def _score(sample: str, delimiter: str) -> tuple[float, float]:
    """The share of records with as many fields as the header, and the share of numbers among the fields."""
    header, *records = _records(sample, delimiter) or [[]]
    if len(header) < 2 or not records:
        return 0.0, 0.0
    agreeing = sum(len(record) == len(header) for record in records) / len(records)
    fields = [field.strip() for record in records for field in record]
    return round(agreeing, 2), sum(NUMBER.fullmatch(field) is not None for field in fields) / len(fields)


def _records(sample: str, delimiter: str) -> list[list[str]]:
    # Quotes are honoured with every candidate, so that "a, b" in quotes speaks for no comma.
    lines = io.StringIO(sample, newline="\n")
    if delimiter == " ":
        tidied = (re.sub(" +", " ", line.strip(" ")) for line in lines)
    else:
        tidied = (line.replace(f"{delimiter} ", delimiter) for line in lines)
    try:
        found = []
        for record in csv.reader(tidied, delimiter=delimiter):
            if any(field.strip() for field in record):
                found.append(record)
            if len(found) > SAMPLE_RECORDS:
                break
    except csv.Error:
        return []
    # The last record of a cut sample may be half of one.
    return found


def _first_in_header(sample: str) -> str:
    header = sample.lstrip("\n").partition("\n")[0]
    return next((candidate for candidate in CANDIDATES[:4] if candidate in header), ",")
