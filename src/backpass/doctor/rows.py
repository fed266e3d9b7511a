"""Sicknesses of the rows: what each shows itself by, whatever network learns from them."""

import math
from collections.abc import Callable

import numpy as np

from backpass.data.arrays import Array, Inputs
from backpass.data.repeats import (
    BINS,
    FEWEST_ROWS,
    TELLING_AUC,
    TELLING_GAIN,
    binned,
    correlation,
    largest_auc,
    majority,
)
from backpass.doctor.case import Case
from backpass.doctor.findings import Finding
from backpass.doctor.remedies import Remedy
from backpass.forward import flatten

# Thresholds; docs/doctor.md says where each comes from.
STRAY = 0.01  # of the rows, at which the label may change more often
SAME = 0.9999  # correlation with a number to predict
TWICE = 0.5  # of the held-out rows, that stand among those learned from
SHIFTED, CHANCE = 0.25, 1e-6  # the largest difference of two distribution functions, and how likely it is by chance
NEIGHBOURS, LIKELY = 10, 0.6  # the nearest rows, and the part of them that agree where a label is likely wrong
DOUBTFUL, AS_WRONG = 0.03, 0.75  # of the rows whose neighbours agree, that have another label; and by those of the rest
MOST_NEIGHBOURS = 2000  # rows, each compared with each
RARE, NEVER = 0.1, 0.1  # of the rows, a class; and of its rows, those that are answered right
FEW = 40


def leakage(case: Case) -> Finding | None:
    """A column that alone gives the target."""
    columns = case.columns
    if columns is None or case.rows < FEWEST_ROWS:
        return None
    found = [place for place in range(columns.shape[1]) if _tells(case, columns[:, place].astype(np.float64))]
    if not found:
        return None
    told = ", ".join(case.name(place) for place in found[:4])
    what = "nearly all labels" if case.classes else f"the target (correlation above {SAME})"
    return Finding(
        "leakage",
        f"{told} alone {'gives' if len(found) == 1 else 'each give'} {what}",
        f"leave out {told}, if it is known only after the answer",
        Remedy(without=tuple(found)),
    )


def _tells(case: Case, column: Array) -> bool:
    if not case.classes:
        targets = case.targets.reshape(case.rows, -1).astype(np.float64)
        return any(abs(correlation(column, targets[:, place])) > SAME for place in range(targets.shape[1]))
    labels = case.labels
    if len(np.unique(labels)) < 2:
        return False
    if labels.max() == 1:
        return largest_auc(column, labels) > TELLING_AUC
    if len(np.unique(column)) > BINS:  # a label an interval: along the column it changes as often as there are classes
        turns = int(np.count_nonzero(np.diff(labels[np.argsort(column, kind="stable")])))
        return turns < len(np.unique(labels)) + STRAY * len(labels)
    return majority(binned(column), labels)[1] > TELLING_GAIN


def duplicates(case: Case) -> Finding | None:
    """Rows to judge by that were learned from, so that the score is of memory."""
    if not case.guarded:
        return None
    own, others = _keys(case.inputs, case.targets), _keys(case.held_out[0], case.held_out[1])
    learned, known = set(own), set(others)
    twice = sum(key in learned for key in others)
    if twice < TWICE * len(others):
        return None
    rows = tuple(place for place, key in enumerate(own) if key in known)
    return Finding(
        "duplicates",
        f"{twice:,} of {len(others):,} held-out rows stand among those learned from ({twice / len(others):.0%})",
        "leave them out of the rows to learn from",
        Remedy(forget=rows) if len(rows) < len(own) else None,
    )


def _keys(inputs: Inputs, targets: Array) -> list[bytes]:
    parts = [np.ascontiguousarray(each).reshape(len(targets), -1) for each in (*flatten(inputs), targets)]
    return [b"".join(part[row].tobytes() for part in parts) for row in range(len(targets))]


def shifted(case: Case) -> Finding | None:
    """Columns that are distributed otherwise in the rows held out: by the test of Kolmogorov and Smirnov."""
    own, held = case.columns, case.held_columns
    if own is None or held is None or not case.guarded:
        return None
    n, m = len(own), len(held)
    least = max(SHIFTED, math.sqrt(-0.5 * math.log(CHANCE / max(1, own.shape[1]) / 2) * (n + m) / (n * m)))
    apart = [_apart(own[:, place], held[:, place]) for place in range(own.shape[1])]
    found = [place for place, distance in enumerate(apart) if distance > least]
    if not found:
        return None
    worst = max(found, key=lambda place: apart[place])
    told = ", ".join(case.name(place) for place in found[:4])
    return Finding(
        "shifted columns",
        f"{told}: held-out rows are distributed otherwise than those learned from; {case.name(worst)} has mean "
        f"{held[:, worst].mean():.3g} there, {own[:, worst].mean():.3g} here (distance {apart[worst]:.2f}, by chance "
        f"less than {least:.2f})",
        f"see why; until then leave out {told}",
        Remedy(without=tuple(found)) if len(found) < own.shape[1] else None,
    )


def _apart(one: Array, other: Array) -> float:
    places = np.unique(np.concatenate([one, other]))
    first, second = (np.searchsorted(np.sort(each), places, side="right") / len(each) for each in (one, other))
    return float(np.abs(first - second).max())


def wrong_labels(case: Case) -> Finding | None:
    """Labels that contradict nearly all of their nearest rows, as often where these agree as where they do not."""
    columns = case.columns
    if not case.classes or columns is None or case.rows < 5 * NEIGHBOURS:
        return None
    X, labels = columns[:MOST_NEIGHBOURS].astype(np.float64), case.labels[:MOST_NEIGHBOURS]
    classes = int(labels.max()) + 1
    spread = X.std(axis=0)
    X = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    squares = (X**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * X @ X.T
    np.fill_diagonal(distances, np.inf)
    nearest = np.argpartition(distances, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    votes = np.stack([(labels[nearest] == label).sum(axis=1) for label in range(classes)], axis=1)
    first, agreed = votes.argmax(axis=1), votes.max(axis=1) / NEIGHBOURS
    wrong = first != labels
    # Where neighbours agree most, rows of hard tables are seldom wrong; labels that were mixed up are so everywhere.
    half = np.argsort(-agreed, kind="stable")[: len(labels) // 2]
    rest = np.argsort(-agreed, kind="stable")[len(labels) // 2 :]
    among_sure, among_rest = float(wrong[half].mean()), float(wrong[rest].mean())
    if among_sure < DOUBTFUL or among_sure < AS_WRONG * among_rest:
        return None
    rows = np.flatnonzero(wrong & (agreed >= LIKELY))
    shown = ", ".join(map(str, rows[:5] + 1)) + (", ..." if len(rows) > 5 else "")
    return Finding(
        "wrong labels",
        f"where rows are most like their neighbours, {among_sure:.1%} have another label than most of these, and "
        f"{among_rest:.1%} of the rest; likely wrong: rows {shown}",
        f"look at these {len(rows):,} rows; until then leave them out",
        Remedy(forget=tuple(rows.tolist())) if 0 < len(rows) < len(labels) // 2 else None,
    )


def imbalance(case: Case) -> Finding | None:
    """A rare class that is next to never answered."""
    if not case.classes or case.model is None or case.weights is not None or not math.isfinite(case.own[0]):
        return None
    labels = case.labels
    counts = np.bincount(labels)
    predictions = np.asarray(case.loss.predictions(case.model.outputs(case.inputs)))
    answers = (
        (predictions.reshape(-1) > 0.5).astype(int) if predictions.size == len(labels) else predictions.argmax(axis=1)
    )
    for label in np.argsort(counts):
        share = counts[label] / len(labels)
        if counts[label] < 3 or share > RARE:
            continue
        right = float(np.mean(answers[labels == label] == label))
        if right < NEVER:
            return Finding(
                "imbalance",
                f"class {label} has {counts[label]:,} of {len(labels):,} rows ({share:.1%}), and {right:.0%} of them "
                "are answered right, of the rows learned from",
                "let every class count the same (class_weights)",
                Remedy(balanced=True),
            )
    return None


def few_rows(case: Case) -> Finding | None:
    """So few rows that a score says little, and that much is learned by heart."""
    if case.rows >= FEW:
        return None
    return Finding(
        "too few rows",
        f"{case.rows} rows to learn from, and {len(case.held_out[1])} held out",
        "more rows: no setting makes up for them",
    )


RowsRule = Callable[[Case], Finding | None]
BEFORE: tuple[RowsRule, ...] = (leakage, duplicates, shifted, wrong_labels)
"""What makes every score untrue, and so comes before all that scores tell of the network."""

ROWS_RULES: tuple[RowsRule, ...] = (*BEFORE, imbalance, few_rows)
