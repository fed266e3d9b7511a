"""Columns that give the answer away: noted, not left out, for only a person knows what is known beforehand."""

from __future__ import annotations

import shlex

import numpy as np
import numpy.typing as npt

from backpass.data.families import Floats
from backpass.data.kinds import Column, Schema
from backpass.data.labels import NO_LABEL, read_labels
from backpass.data.naming import quoted
from backpass.data.ranks import auc
from backpass.data.table import Table
from backpass.data.values import Reader

# Enough rows to tell, few enough to be quick.
LOOKED_AT = 20_000
FEWEST_ROWS = 20
SAME = 0.9999
TELLING_AUC, TELLING_GAIN = 0.995, 0.99
BINS = 64
Codes = npt.NDArray[np.int64]


def repeats(table: Table, schema: Schema) -> list[str]:
    """One note for each input that alone gives the target, or nearly."""
    rows = np.unique(np.linspace(0, table.rows - 1, min(table.rows, LOOKED_AT)).astype(np.int64))
    if len(rows) < FEWEST_ROWS:
        return []
    looked_at = table.take(rows)
    reader = Reader(looked_at)
    notes = []
    for own in schema.apart:
        if own.classes:
            found = _telling_of_classes(reader, own, read_labels(looked_at, own))
        else:
            found = _telling_of_amounts(reader, own)
        of = f" ({own.target_names[0]})" if len(schema.heads) > 1 else ""
        notes += [
            f"{words}{of}: is it known before the answer?  --exclude {shlex.quote(name)}" for name, words in found
        ]
    return notes


def _telling_of_amounts(reader: Reader, schema: Schema) -> list[tuple[str, str]]:
    targets = [reader.numbers(target) for target in schema.targets]
    return [
        (column.name, _same(column))
        for column in schema.inputs
        if column.kind in ("number", "boolean")
        and any(correlation(reader.numbers(column), target) > SAME for target in targets)
    ]


def correlation(one: Floats, other: Floats) -> float:
    both = ~(np.isnan(one) | np.isnan(other))
    if both.sum() < FEWEST_ROWS:
        return 0.0
    first, second = _unit(one[both]), _unit(other[both])
    return abs(float(first @ second))


def _unit(values: Floats) -> Floats:
    """Centred and of length 1; all zeros for a constant. Scaled first, for squares of huge numbers overflow."""
    scaled = values / max(float(np.abs(values).max()), np.finfo(np.float64).tiny)
    centred: Floats = scaled - scaled.mean()
    length = float(np.sqrt(centred @ centred))
    return np.asarray(centred / length) if length > 0 else centred


def _telling_of_classes(reader: Reader, schema: Schema, labels: Codes) -> list[tuple[str, str]]:
    judged = [(column.name, _judge(reader, column, labels)) for column in schema.inputs]
    return [(name, words) for name, words in judged if words]


def _judge(reader: Reader, column: Column, labels: Codes) -> str:
    values = None if column.kind == "category" else _amounts(reader, column)
    levels = _levels(reader, column) if values is None else binned(values)
    known = (levels != NO_LABEL) & (labels != NO_LABEL)
    levels, seen = levels[known], labels[known]
    if len(seen) < FEWEST_ROWS or len(np.unique(seen)) < 2:
        return ""
    if one_to_one(levels, seen):
        return _same(column)
    if values is not None and labels.max() == 1:
        area = largest_auc(values[known], seen)
        return f"column {quoted(column.name)} alone gives AUC {area:.3f}" if area > TELLING_AUC else ""
    share, gain = majority(levels, seen)
    return f"column {quoted(column.name)} alone gives {share:.1%} accuracy" if gain > TELLING_GAIN else ""


def _same(column: Column) -> str:
    return f"column {quoted(column.name)} repeats the target"


def _amounts(reader: Reader, column: Column) -> Floats:
    return reader.seconds(column) if column.kind == "date" else reader.numbers(column)


def _levels(reader: Reader, column: Column) -> Codes:
    texts = reader.texts(column)
    found = texts.rank("dense").cast(int).fill_null(NO_LABEL).to_numpy()
    return np.asarray(found, dtype=np.int64)


def binned(values: Floats) -> Codes:
    """Numbers as few levels: each its own where there are few, else 64 bins of equal counts; -1 where missing."""
    known = ~np.isnan(values)
    different = np.unique(values[known])
    if len(different) > BINS:
        different = np.unique(np.quantile(values[known], np.linspace(0, 1, BINS), method="lower"))
    return np.where(known, np.searchsorted(different, np.where(known, values, 0.0)), NO_LABEL)


def one_to_one(levels: Codes, labels: Codes) -> bool:
    different = len(np.unique(levels))
    if different != len(np.unique(labels)):
        return False
    return len(np.unique(levels * (int(labels.max()) + 1) + labels)) == different


def majority(levels: Codes, labels: Codes) -> tuple[float, float]:
    """The accuracy of answering each level's commonest class, and the share of the errors that it avoids.

    Each row is judged by the others of its level, so that a level of one row proves nothing.
    """
    places, classes = np.unique(levels, return_inverse=True)[1], int(labels.max()) + 1
    table = np.bincount(places * classes + labels, minlength=(int(places.max()) + 1) * classes).reshape(-1, classes)
    commonest = table.max(axis=1)
    share = float(np.where(commonest > 1, commonest, 0).sum() / len(labels))
    guess = float(np.bincount(labels).max() / len(labels))
    return share, (share - guess) / (1 - guess)


def largest_auc(values: Floats, labels: Codes) -> float:
    """The area under the ROC curve, whichever way the values point."""
    area = auc(values, labels == 1)
    return max(area, 1 - area)
