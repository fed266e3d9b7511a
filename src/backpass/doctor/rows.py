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
SHIFTED, CHANCE = 0.25, 1e-4  # the largest difference of two distribution functions, and how likely it is by chance
DOUBTFUL, AS_WRONG = 0.04, 0.5  # of the labels, that are wrong where it is clearest; and by those of all
TOO_HARD = 0.32  # of all: beyond, the other rows say too little
CONTRADICTED = 0.5  # of the middle of how clear it is: how far likelier another label must be than a row's own
FEWEST_TO_COMPARE, MOST_COMPARED = 50, 1000  # rows, each compared with each
RARE, SELDOM, USUAL = 0.1, 0.25, 0.5  # of the rows, a class; and answered right, of its rows and of the others
FEW, FALLS_SHORT = 40, 0.15  # rows; and of skill, what is lost on others


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
        first=True,
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
        first=True,
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
        first=True,
    )


def _apart(one: Array, other: Array) -> float:
    places = np.unique(np.concatenate([one, other]))
    first, second = (np.searchsorted(np.sort(each), places, side="right") / len(each) for each in (one, other))
    return float(np.abs(first - second).max())


def wrong_labels(case: Case) -> Finding | None:
    """Labels that contradict what rows like theirs have, as often where that is clear as where it is not."""
    columns = case.columns
    if not case.classes or columns is None or case.rows < FEWEST_TO_COMPARE:
        return None
    labels = case.labels[:MOST_COMPARED]
    if len(np.unique(labels)) < 2:
        return None
    expected = _by_the_others(columns[:MOST_COMPARED].astype(np.float64), np.eye(int(labels.max()) + 1)[labels])
    likeliest = expected.argmax(axis=1)
    wrong = likeliest != labels
    ordered = np.sort(expected, axis=1)
    clear = ordered[:, -1] - ordered[:, -2]
    order = np.argsort(-clear, kind="stable")
    # In hard tables rows are seldom wrong where it is clear what they should be; mixed-up labels are so everywhere.
    quarter = len(labels) // 4
    clearest, next_clear, half = (
        float(wrong[order[a * quarter : b * quarter]].mean()) for a, b in ((0, 1), (1, 2), (0, 2))
    )
    among_all = float(wrong.mean())
    falls = next_clear - clearest > 2 * math.sqrt(2 * max(half * (1 - half), 1e-12) / quarter)
    if half < DOUBTFUL or half < AS_WRONG * among_all or among_all > TOO_HARD or falls:
        return None
    apart = expected.max(axis=1) - expected[np.arange(len(labels)), labels]
    rows = np.flatnonzero(wrong & (apart > CONTRADICTED * np.median(clear)))
    shown = ", ".join(map(str, rows[:5] + 1)) + (", ..." if len(rows) > 5 else "")
    return Finding(
        "wrong labels",
        f"by the other rows {half:.1%} of the labels are wrong in the half where that is clearest, and {among_all:.1%} "
        f"of all; likely wrong: rows {shown}",
        f"look at these {len(rows):,} rows; until then leave them out",
        Remedy(forget=tuple(rows.tolist())) if 0 < len(rows) < len(labels) // 2 else None,
        first=True,
    )


def _by_the_others(columns: Array, targets: Array) -> Array:
    """What the other rows say of each row: kernel ridge regression with one row left out, of the width of kernel and
    strength of ridge that are right most.
    """
    spread = columns.std(axis=0)
    X = (columns - columns.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    squares = (X**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * X @ X.T, 0.0)
    middle = float(np.median(distances)) or 1.0
    mean = targets.mean(axis=0)
    best, expected = math.inf, np.broadcast_to(mean, targets.shape)
    for width in (0.3, 1.0):
        values, vectors = np.linalg.eigh(np.exp(-distances / (width * middle)))
        values = np.maximum(values, 0.0)
        turned = vectors.T @ (targets - mean)
        for ridge in (0.03, 0.1, 0.3, 1.0, 3.0, 10.0):
            kept = values / (values + ridge)
            left = 1 - (vectors**2) @ kept
            off = (targets - mean - vectors @ (kept[:, None] * turned)) / np.maximum(left, 1e-9)[:, None]
            error = float(np.mean(off**2))
            if error < best:
                best, expected = error, targets - off
    return expected


def imbalance(case: Case) -> Finding | None:
    """A rare class that is seldom answered, where the others are."""
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
        mine = labels == label
        right, others = (float(np.mean(answers[rows] == labels[rows])) for rows in (mine, ~mine))
        if right < SELDOM and others > USUAL:
            return Finding(
                "imbalance",
                f"class {label} has {counts[label]:,} of {len(labels):,} rows ({share:.1%}), and {right:.0%} of them "
                f"are answered right, of the others {others:.0%}",
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
        first=case.guarded and case.own[0] - max(case.own[1], 0.0) > FALLS_SHORT,
    )


RowsRule = Callable[[Case], Finding | None]
ROWS_RULES: tuple[RowsRule, ...] = (leakage, duplicates, shifted, wrong_labels, few_rows, imbalance)
