"""Sicknesses of the rows: what each shows itself by, whatever network learns from them."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from backpass import losses
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
from backpass.forward import flatten, one_thread

# Thresholds; docs/doctor.md says where each comes from.
STRAY = 0.01  # of the rows, at which the label may change more often
SAME = 0.9999  # correlation with a number to predict
TWICE = 0.5  # of the held-out rows that chance does not explain, that stand among those learned from
VARIOUS = 0.2  # of the rows: so many values of a column, and rows are not equal by chance
NEXT_TO_NOTHING = 1e-6  # of a column's spread
NEEDED = 0.05  # of skill, that rows to judge by lose without a column that is needed
SHIFTED, CHANCE = 0.25, 1e-4  # the largest difference of two distribution functions, and how likely it is by chance
DOUBTFUL = 0.04  # of the labels, that the other rows contradict where it is clear
CONTRADICTED = 0.5  # of the middle of how clear it is: how far likelier another label must be than a row's own
RARELY = 1e-3  # how likely by chance so much less may speak against rows held out, or a rare class be right so seldom
SELDOM_SO, FAR_FEWER = 0.015, 1 / 4  # or: so likely, where so many times fewer of these are contradicted clearly
DRAWS = 4000  # that tell what chance does
MAYBE = 0.2  # how likely by chance it may be by all columns, that those that tell are asked
TURNS, ASKED, MOST_COLUMNS = 4, 300, 16  # how often rows in doubt are left out; rows and columns that are tried
TOO_HARD = 0.32  # of all: beyond, the other rows say too little to doubt a label
FLAT = 0.75  # as often wrong where it is clearest as in all: as if drawn by lot
FEWEST_TO_COMPARE, MOST_COMPARED = 50, 1000  # rows, each compared with each
RARE, SELDOM, USUAL = 0.1, 0.25, 0.5  # of the rows, a class; and answered right, of its rows and of the others
FEWEST_HELD = 5  # rows of a class held out
TOO_FEW, FEW = 8, 40  # rows: that say nothing, or little


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
        f"is {told} known before the answer? if not, leave it out; if so, it is all that is needed",
        Remedy(without=tuple(found)),
        stands="second",
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


def _beside(case: Case) -> Iterator[tuple[str, Case]]:
    """What the rows learned from are compared with: those held out of them, and those of another table that judge."""
    if case.guarded:
        yield "held-out", case
    if case.judged is not None:
        yield "test", replace(case, held_out=(*case.judged, None), guarded=True, judged=None)


def duplicates(case: Case) -> Finding | None:
    """Rows to judge by that were learned from, so that the score is of memory."""
    return next(filter(None, (_duplicates(each, what) for what, each in _beside(case))), None)


def _duplicates(case: Case, what: str) -> Finding | None:
    own, others = _keys(case.inputs, case.targets), _keys(case.held_out[0], case.held_out[1])
    learned, known = set(own), set(others)
    twice = sum(key in learned for key in others)
    by_chance = _alike_by_chance(case) if _various(case) else _met_again(own)
    # Of few possible rows many are met again: then more must be than chance gives, and more than it may add.
    more = max(TWICE * (1 - by_chance), 3 * math.sqrt(by_chance * (1 - by_chance) / max(1, len(others))))
    if by_chance == 1 or twice < (by_chance + more) * len(others) or twice == 0:
        return None
    rows = tuple(place for place, key in enumerate(own) if key in known)
    return Finding(
        "duplicates",
        f"{twice:,} of {len(others):,} {what} rows stand among those learned from ({twice / len(others):.0%}"
        + (f", by chance {by_chance:.0%})" if by_chance else ")"),
        "leave them out of the rows to learn from",
        Remedy(forget=rows) if len(rows) < len(own) else None,
        stands="first",
    )


def _various(case: Case) -> bool:
    """Whether some column or target has so many values that rows are not alike by chance."""
    arrays = [each.reshape(case.rows, -1) for each in (*flatten(case.inputs), case.targets)]
    return any(len(np.unique(part)) > VARIOUS * case.rows for array in arrays for part in array.T)


def _alike_by_chance(case: Case) -> float:
    """The part of the rows that others would be equal to if each column were by itself, by how often its values are
    met again.
    """
    expected = np.full(case.rows, float(case.rows))
    for array in flatten(case.inputs):
        for column in array.reshape(case.rows, -1).T:
            _, places, counts = np.unique(column, return_inverse=True, return_counts=True)
            expected *= (counts[places.reshape(-1)] - 1) / (case.rows - 1)
    return float(np.mean(-np.expm1(-expected)))


def _met_again(keys: list[bytes]) -> float:
    """The part of the rows that others of them are equal to: as many of other rows, of few possible ones."""
    counts = Counter(keys)
    return sum(counts[key] > 1 for key in keys) / len(keys)


def _keys(inputs: Inputs, targets: Array) -> list[bytes]:
    parts = [np.ascontiguousarray(each).reshape(len(targets), -1) for each in (*flatten(inputs), targets)]
    return [b"".join(part[row].tobytes() for part in parts) for row in range(len(targets))]


def shifted(case: Case) -> Finding | None:
    """Columns that are distributed otherwise in the rows to judge by: by the test of Kolmogorov and Smirnov.

    Of rows that were held out by groups or by time that is as it should be.
    """
    found = (_shifted(each, what) for what, each in _beside(case) if case.drawn or what != "held-out")
    return next(filter(None, found), None)


def _shifted(case: Case, what: str) -> Finding | None:
    own, held = case.columns, case.held_columns
    if own is None or held is None:
        return None
    n, m = len(own), len(held)
    least = max(SHIFTED, math.sqrt(-0.5 * math.log(CHANCE / max(1, own.shape[1]) / 2) * (n + m) / (n * m)))
    apart = [_apart(own[:, place], held[:, place]) for place in range(own.shape[1])]
    found = [place for place, distance in enumerate(apart) if distance > least]
    if not found:
        return None
    worst = max(found, key=lambda place: apart[place])
    told = ", ".join(case.name(place) for place in found[:4])
    there, here = (float(part[:, worst].mean()) for part in (held, own))
    here = 0.0 if abs(here) < NEXT_TO_NOTHING * float(own[:, worst].std()) else here  # of a column that was centered
    evidence = (
        f"{told}: {what} rows are distributed otherwise than those learned from; {case.name(worst)} has mean "
        f"{there:.3g} there, {here:.3g} here (distance {apart[worst]:.2f}, by chance "
        f"less than {least:.2f})"
    )
    remedy = Remedy(without=tuple(found)) if len(found) < own.shape[1] else None
    if remedy is not None:
        name = "shifted columns"
        explained, without = case.tried(trying=name)[1], remedy.applied(case).tried(trying=name)[1]
        evidence += f"; of these rows a short trial explains {max(explained, 0.0):.0%}, "
        evidence += f"without it {max(without, 0.0):.0%}"
        remedy = remedy if without > explained - NEEDED else None
    advice = f"see why; until then leave out {told}" if remedy is not None else "see why: it is not to be left out"
    return Finding("shifted columns", evidence, advice, remedy, stands="first")


def _apart(one: Array, other: Array) -> float:
    places = np.unique(np.concatenate([one, other]))
    first, second = (np.searchsorted(np.sort(each), places, side="right") / len(each) for each in (one, other))
    return float(np.abs(first - second).max())


def wrong_labels(case: Case) -> Finding | None:
    """Labels that surely contradict what rows like theirs have, as those of rows held out do not."""
    columns, held = case.columns, case.held_columns
    if not case.classes or columns is None or case.rows < FEWEST_TO_COMPARE:
        return None
    labels, columns = case.labels[:MOST_COMPARED], columns[:MOST_COMPARED].astype(np.float64)
    if len(np.unique(labels)) < 2:
        return None
    if not (case.guarded and case.drawn) or held is None:  # other groups, or later rows, may be wrong more seldom
        return _in_doubt(labels, _by_the_others(columns, labels)[0])
    there = min(len(held), MOST_COMPARED // 3)
    here = min(len(labels), MOST_COMPARED - there)
    every = np.concatenate([columns[:here], held[:there].astype(np.float64)])
    known = np.concatenate([labels[:here], case.labels_of(case.held_out[1])[:there]])
    expected = _by_the_others(every, known)[0]
    found = _only_in_these(every, known, here, expected)
    if found is None:
        return _in_doubt(known[:here], expected[:here], _contradicted(known[here:], expected[here:]))
    own, of_held, places = found
    rows = _doubted(columns[:, places], labels)
    return Finding(
        "wrong labels",
        f"by the other rows {own:.1%} of the labels are clearly contradicted, of those held out {of_held:.1%}; "
        f"likely wrong: rows {_shown(rows)}",
        f"look at these {len(rows):,} rows; until then leave them out",
        Remedy(forget=tuple(rows.tolist())) if 0 < len(rows) < len(labels) // 2 else None,
        stands="first",
    )


def _only_in_these(columns: Array, labels: Array, count: int, expected: Array) -> tuple[float, float, list[int]] | None:
    """The part of the first `count` labels that is clearly contradicted, that of the rest, which were held out, and by
    which columns, if chance would hardly make so many fewer of these; by all columns, or by those that tell.

    What chance decides is as often otherwise in rows held out; labels that only training sees wrong are not. Each row
    is compared with all others of both kinds: so which are held out is chance alone, and the test keeps its level. It
    counts a label by the square of what speaks against it: what is hard to tell is contradicted a little in any rows.
    """
    for telling in (False, True):
        places = _telling(columns, labels) if telling else list(range(columns.shape[1]))
        if telling:
            expected, _ = _by_the_others(columns[:, places], labels)
        against = _against(expected, labels)
        wrong = against > CONTRADICTED * float(np.median(_clearness(expected)))
        own, there = float(wrong[:count].mean()), float(wrong[count:].mean())
        chance = _by_chance(against**2, count)
        if own >= DOUBTFUL and (chance < RARELY or (chance < SELDOM_SO and there <= FAR_FEWER * own)):
            return own, there, places if telling else _telling(columns, labels)
        if chance > MAYBE:
            break
    return None


def _in_doubt(labels: Array, expected: Array, there: "Contradicted | None" = None) -> Finding | None:
    """Labels that are contradicted as often where it is clear what they should be as where it is not."""
    own = _contradicted(labels, expected)
    # In hard tables rows are seldom wrong where it is clear what they should be; mixed-up labels are so everywhere.
    falls = own.next_clear - own.clearest > 2 * math.sqrt(2 * max(own.half * (1 - own.half), 1e-12) / (own.rows // 4))
    if own.half < max(DOUBTFUL, FLAT * own.all) or own.all > TOO_HARD or falls:
        return None
    rows = np.flatnonzero(own.wrong & own.clear)
    return Finding(
        "labels in doubt",
        f"by the other rows {own.half:.1%} of the labels are wrong in the half where that is clearest, and "
        f"{own.all:.1%} of all{'' if there is None else f'; of those held out {there.half:.1%}'}; first of all rows "
        f"{_shown(rows)}",
        f"look at these {len(rows):,} rows: are they wrong, or does chance decide so often? then this is no fault",
    )


def _shown(rows: Array) -> str:
    return ", ".join(map(str, rows[:5] + 1)) + (", ..." if len(rows) > 5 else "")


class Contradicted(NamedTuple):
    """How many labels the other rows contradict.

    Attributes:
        wrong: which.
        clear: which rows are of the half where it is clearest what they should be.
        rows: how many there are.
        all, half, clearest, next_clear: the part that is contradicted of all, of that half, and of its two halves.
    """

    wrong: Array
    clear: Array
    rows: int
    all: float
    half: float
    clearest: float
    next_clear: float


def _contradicted(labels: Array, expected: Array) -> Contradicted:
    wrong = expected.argmax(axis=1) != labels
    order = np.argsort(-_clearness(expected), kind="stable")
    quarter = max(1, len(labels) // 4)
    parts = (float(wrong[order[a * quarter : b * quarter]].mean()) for a, b in ((0, 2), (0, 1), (1, 2)))
    clear = np.zeros(len(labels), bool)
    clear[order[: 2 * quarter]] = True
    return Contradicted(wrong, clear, len(labels), float(wrong.mean()), *parts)


def _clearness(expected: Array) -> Array:
    """By how much the likeliest label is likelier than the next."""
    ordered = np.sort(expected, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


def _against(expected: Array, labels: Array) -> Array:
    """By how much another label is likelier than each row's own."""
    return np.asarray(expected.max(axis=1) - expected[np.arange(len(labels)), labels])


def _by_chance(against: Array, count: int) -> float:
    """How likely it is that so much speaks against the first `count` labels, were it chance which are held out: by
    drawing these anew, an exact test (Fisher, 1935; Dwass, 1957).
    """
    rng, found = np.random.Generator(np.random.Philox(0)), 0
    for _ in range(DRAWS // 500):
        drawn = rng.permuted(np.tile(against, (500, 1)), axis=1)[:, :count].sum(axis=1)
        found += int(np.count_nonzero(drawn >= against[:count].sum() * (1 - 1e-9)))
    return (found + 1) / (DRAWS + 1)


def _doubted(columns: Array, labels: Array) -> Array:
    """The rows whose labels the others contradict, once rows in doubt are left out."""
    classes = int(labels.max()) + 1
    expected, kept = np.empty((len(labels), classes)), np.ones(len(labels), bool)
    for _ in range(TURNS):
        expected[kept], expected[~kept] = _by_the_others(columns[kept], labels[kept], columns[~kept], classes)
        kept = _against(expected, labels) <= CONTRADICTED * np.median(_clearness(expected))
    return np.flatnonzero(~kept)


def _telling(columns: Array, labels: Array) -> list[int]:
    """The columns without those that make what the other rows say of a row worse."""
    chosen = list(range(columns.shape[1]))
    asked = np.random.Generator(np.random.Philox(0)).permutation(len(labels))[:ASKED]
    some, known = columns[asked], labels[asked]

    def error(places: list[int]) -> float:
        expected, _ = _by_the_others(some[:, places], known)
        return float(np.mean((np.eye(expected.shape[1])[known] - expected) ** 2))

    least = error(chosen)
    while 1 < len(chosen) <= MOST_COLUMNS:
        tried = {place: error([other for other in chosen if other != place]) for place in chosen}
        worst = min(tried, key=lambda place: tried[place])
        if tried[worst] >= least:
            break
        least = tried[worst]
        chosen.remove(worst)
    return chosen


def _by_the_others(columns: Array, labels: Array, others: Array | None = None, classes: int = 0) -> tuple[Array, Array]:
    """What the other rows say of each row, and all of each of `others`, class by class: kernel ridge regression with
    one row left out, of the width of kernel and strength of ridge that are right most.
    """
    targets = np.eye(classes or int(labels.max()) + 1)[labels]
    spread = columns.std(axis=0)
    center, use = columns.mean(axis=0), spread > 0
    X = (columns - center)[:, use] / spread[use]
    Z = (others if others is not None else columns[:0]).astype(np.float64)
    Z = (Z - center)[:, use] / spread[use]
    with one_thread():
        near, far = _squares_between(X, X), _squares_between(Z, X)
        middle = float(np.median(near)) or 1.0
        mean = targets.mean(axis=0)
        best, expected, of_others = math.inf, np.broadcast_to(mean, targets.shape), np.empty((len(Z), len(mean)))
        for width in (0.3, 1.0):
            values, vectors = np.linalg.eigh(np.exp(-near / (width * middle)))
            values = np.maximum(values, 0.0)
            turned = vectors.T @ (targets - mean)
            for ridge in (0.03, 0.1, 0.3, 1.0, 3.0, 10.0):
                kept = values / (values + ridge)
                left = 1 - (vectors**2) @ kept
                off = (targets - mean - vectors @ (kept[:, None] * turned)) / np.maximum(left, 1e-9)[:, None]
                error = float(np.mean(off**2))
                if error < best:
                    best, expected = error, targets - off
                    weights = vectors @ (turned / (values + ridge)[:, None])
                    of_others = mean + np.exp(-far / (width * middle)) @ weights
    return np.asarray(expected), of_others


def _squares_between(one: Array, other: Array) -> Array:
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None, :] - 2 * one @ other.T
    return np.asarray(np.maximum(squares, 0.0))


def imbalance(case: Case) -> Finding | None:
    """A rare class that is seldom answered, where the others are: of the rows learned from, or of those held out.

    Rare is what has at most half of an equal share, too. And as some of many classes are answered badly by chance, it
    must be less than chance gives to all.
    """
    if not case.classes or case.weights is not None or not math.isfinite(case.own[0]):
        return None
    counts = np.bincount(case.labels)
    classes = np.count_nonzero(counts)
    rare = [label for label in np.argsort(counts) if 3 <= counts[label] <= case.rows * min(RARE, 0.5 / classes)]
    if not rare:
        return None
    model = case.model or case.trial
    for where, inputs, targets in (("", case.inputs, case.targets), ("held-out ", *case.held_out[:2])):
        if where and not case.guarded:
            continue
        labels = case.labels_of(targets)
        right = case.answers(model.outputs(inputs)) == labels
        for label in rare:
            mine = labels == label
            count, own, others = int(mine.sum()), int(right[mine].sum()), float(np.mean(right[~mine]))
            if count < (FEWEST_HELD if where else 3) or others <= USUAL:
                continue
            share = own / count
            if share < SELDOM and classes * _at_most(own, count, others) < RARELY:
                return Finding(
                    "imbalance",
                    f"{case.label(label)} has {counts[label]:,} of {case.rows:,} rows "
                    f"({counts[label] / case.rows:.1%}), and {share:.0%} of its {where}rows are answered right, "
                    f"of the others {others:.0%}",
                    _even(case),
                    Remedy(balanced=True),
                )
    return None


def _at_most(count: int, of: int, chance: float) -> float:
    """How likely so few of so many are, of which each is one with that chance."""
    return sum(math.comb(of, k) * chance**k * (1 - chance) ** (of - k) for k in range(count + 1))


def _even(case: Case) -> str:
    weights = "let every class count the same (--class-weights balanced)"
    counts = np.bincount(case.labels)
    if np.count_nonzero(counts) != 2 or len(counts) != 2 or isinstance(case.loss, losses.Hinge):
        return weights
    share = counts[1] / counts.sum()
    return f"answer {case.label(1)} from a probability of its share on (--threshold {share:.2g}), or {weights}"


def few_rows(case: Case) -> Finding | None:
    """So few rows that a score says little, and that much is learned by heart."""
    if case.rows >= FEW:
        return None
    held = f"{len(case.held_out[1])} held out" if case.guarded else "none held out"
    return Finding(
        "too few rows",
        f"{case.rows} rows to learn from, and {held}",
        "more rows: no setting makes up for them",
        stands="alone" if case.rows < TOO_FEW else "second",
    )


def nothing_to_learn(case: Case) -> Finding | None:
    """The same answer for all rows."""
    targets = case.targets.reshape(case.rows, -1)
    if case.rows < TOO_FEW or (targets != targets[:1]).any():
        return None
    return Finding(
        "nothing to learn",
        f"the answer is the same in all {case.rows:,} rows: {targets[0, 0]:.6g}",
        "rows with other answers, or another target",
        stands="alone",
    )


RowsRule = Callable[[Case], Finding | None]
AFTERWARDS = (imbalance,)
"""Those that are asked again of a training that was treated; the others look at rows that stay as they are."""
ROWS_RULES: tuple[RowsRule, ...] = (nothing_to_learn, leakage, duplicates, shifted, wrong_labels, few_rows, imbalance)
