"""A target's classes: their order, and which one a label in a file means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from backpass.data.families import SPOKEN, as_text, family_of
from backpass.data.kinds import LabelType, Schema
from backpass.data.lazy import pl
from backpass.data.naming import did_you_mean, quoted
from backpass.data.numerals import MISSING_TEXT, missing_among
from backpass.data.table import Table
from backpass.errors import TableError

if TYPE_CHECKING:
    from polars import Series

NO_LABEL = -1
WHOLE = re.compile(r"[+-]?\d+")


def read_labels(table: Table, schema: Schema, notes: list[str] | None = None) -> npt.NDArray[np.int64]:
    """(rows,) the numbers of the target's classes, -1 where the target is missing.

    A label unlike every known one is taken for the one class that it equals but for case, outer blanks and one full
    stop at its end, as in the test part of the Adult data; `notes` is told so. Raises TableError for any other.
    """
    name = schema.target_names[0]
    texts = label_texts(table, name)
    known = {label_key(label, schema.label_type): code for code, label in enumerate(schema.classes)}
    codes, likened = {}, []
    for text in texts.unique().drop_nulls().sort():
        code = known.get(label_key(text, schema.label_type))
        if code is None:
            code = _likened(table, texts, text, schema)
            likened.append(f"{quoted(text)} as {quoted(schema.classes[code])}")
        codes[text] = code
    if likened and notes is not None:
        notes.append(f"{table.name}: column {quoted(name)}: label {' and '.join(likened[:3])}")
    numbers = texts.replace_strict(list(codes), list(codes.values()), default=NO_LABEL, return_dtype=pl.Int64)
    return numbers.to_numpy()


def label_texts(table: Table, name: str) -> Series:
    """The target's cells as text, null where missing."""
    column = table.column(name)
    if family_of(column) in ("other", "date", "clock"):
        what = SPOKEN[family_of(column)]
        raise TableError(f"{table.name}: target {quoted(name)} holds {what}: a target must be numbers or classes")
    texts = as_text(column)
    return texts.set(missing_among(texts, MISSING_TEXT), None)


def label_key(label: str, label_type: LabelType) -> str | float:
    """What makes two labels the same class: the number where labels are numbers, else the text."""
    if label_type not in ("integer", "number"):
        return label
    if WHOLE.fullmatch(label):
        return int(label)
    try:
        return float(label)
    except ValueError:
        return label


def _folded(label: str) -> str:
    return label.strip().removesuffix(".").strip().casefold()


def _likened(table: Table, texts: Series, text: str, schema: Schema) -> int:
    alike = [code for code, label in enumerate(schema.classes) if _folded(label) == _folded(text)]
    if len(alike) == 1:
        return alike[0]
    row = table.row_number((texts == text).arg_max() or 0)
    raise TableError(
        f"{table.name}: row {row:,} has the class {quoted(text)}, which training did not have. "
        + did_you_mean(text, schema.classes, "The classes are")
    )


def ordered_classes(labels: Sequence[str], label_type: LabelType) -> tuple[str, ...]:
    """The classes by number, or else by the alphabet: of two, the second is the positive one."""
    if label_type in ("integer", "number"):
        return tuple(sorted(labels, key=float))
    return tuple(sorted(labels))
