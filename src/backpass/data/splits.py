"""Which rows train, which validate and which test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from backpass.errors import TableError, UsageError
from backpass.records import dataclass

Indices = npt.NDArray[np.int64]
SMALL_TABLE = 1000
SMALL_SHARE, SHARE = 0.2, 0.1
# Drawings of whole groups that are tried until every class is in the training part.
DRAWINGS = 50


@dataclass(frozen=True, eq=False)
class Split:
    """Positions of rows, from 0, each part sorted; together they are all rows, and no row is in two parts."""

    train: Indices
    validation: Indices
    test: Indices


def hold_out(
    n: int,
    *,
    test: float | None = None,
    validation: float | None = None,
    seed: int,
    strata: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    order: npt.ArrayLike | None = None,
    fold: tuple[int, int] | None = None,
    others: Sequence[npt.ArrayLike] = (),
) -> Split:
    """Holds out shares of `n` rows for testing and validation, the same for the same seed.

    A share of None is a tenth, and for testing a fifth under 1,000 rows; 0 leaves a part empty. With `strata` (one
    class a row) every part has every class in proportion: a class of one row is in training, one of two rows in
    training and testing. With `groups` no group is in two parts. With `order` (times or numbers) the latest rows
    test, those before them validate.

    `fold` (k, of how many) tests part k, from 0, of a cross-validation: each row is in one part, each group too, and
    each class in proportion; a class of one row always trains. In an order part k is tested by what was learned from
    the rows before it, and the last part is of the latest rows; rows after it are in no part.

    `others` are classes by which nothing is stratified, and each of which must train: of one that chance would hold out
    altogether the first row trains.

    Raises UsageError for shares and arrays that do not fit, TableError for too few rows, groups or rows of a class.
    """
    more = [_codes("others", each, n) for each in others]
    if fold is not None:
        return _with_all_classes(_of_fold(n, fold, validation, seed, strata, groups, order, more), *more)
    shares = (
        _checked("--test-part", test, SMALL_SHARE if n < SMALL_TABLE else SHARE),
        _checked("--validation-part", validation, SHARE),
    )
    _check_sum(*shares, test is not None, validation is not None)
    _check_rows(n, shares)
    classes = None if strata is None else _codes("strata", strata, n)
    if groups is not None and order is not None:
        raise UsageError("--group and --order both say how rows are split: give one of them")
    if groups is not None:
        return _with_all_classes(_by_group(_codes("groups", groups, n), classes, shares, seed), *more)
    if order is not None:
        return _with_all_classes(_by_time(_checked_order(order, n), shares), classes, *more)
    split = _at_random(n, classes, shares, seed)
    return _check_parts(_trained(split, more), shares, len(np.unique(more[0]))) if more else split


def _trained(split: Split, others: Sequence[Indices]) -> Split:
    """The split, in which the first row of each class that lacks in training trains."""
    parts = np.zeros(sum(map(len, (split.train, split.validation, split.test))), np.int8)
    parts[split.validation], parts[split.test] = 1, 2
    for classes in others:
        while (row := _lacking(split, classes)) is not None:
            parts[row] = 0
            split = _split(parts)
    return split


def _of_fold(
    n: int,
    fold: tuple[int, int],
    validation: float | None,
    seed: int,
    strata: npt.ArrayLike | None,
    groups: npt.ArrayLike | None,
    order: npt.ArrayLike | None,
    others: Sequence[Indices],
) -> Split:
    place, count = fold
    if n <= count:
        raise TableError(f"the table has {n:,} usable rows, too few for {count} folds: add rows, or give fewer --folds")
    if groups is not None and order is not None:
        raise UsageError("--group and --order both say how rows are split: give one of them")
    classes = None if strata is None else _codes("strata", strata, n)
    if order is not None:
        before, tested = _fold_of_time(_checked_order(order, n), place, count)
    else:
        own = None if groups is None else _codes("groups", groups, n)
        numbers = _folds_at_random(n, count, classes, seed) if own is None else _folds_of_groups(own, count, seed)
        before, tested = np.flatnonzero(numbers != place), np.flatnonzero(numbers == place)
    strata, groups, order = (None if each is None else np.asarray(each)[before] for each in (classes, groups, order))
    inner = hold_out(len(before), test=0.0, validation=validation, seed=seed, strata=strata, groups=groups, order=order)
    split = Split(before[inner.train], before[inner.validation], tested)
    if others and groups is None and order is None:
        shares = (1.0, _checked("--validation-part", validation, SHARE))
        split = _check_parts(_trained(split, others), shares, len(np.unique(others[0])))
    return _with_all_classes(split, classes)


def _folds_at_random(n: int, count: int, classes: Indices | None, seed: int) -> Indices:
    """Each row's part, -1 for none: those of one class, drawn by chance, go to one part after the other."""
    rows = _generator(seed).permutation(n)
    if classes is not None:
        rows = rows[np.argsort(classes[rows], kind="stable")]
        alone = np.bincount(classes)[classes[rows]] == 1
        rows = rows[~alone]
    numbers = np.full(n, -1, np.int64)
    numbers[rows] = np.arange(len(rows)) % count
    return numbers


def _folds_of_groups(groups: Indices, count: int, seed: int) -> Indices:
    different = len(np.unique(groups))
    if different < count:
        raise TableError(f"the rows are of {different} groups, fewer than {count} folds: give fewer --folds")
    return dealt(groups, count, seed)


def dealt(groups: Indices, count: int, seed: int) -> Indices:
    """Each row's part, by the number of its group: the largest groups first, each to the part that has the fewest rows
    yet.
    """
    sizes = np.bincount(groups)
    drawn = _generator(seed).permutation(len(sizes))
    filled, parts = np.zeros(count, np.int64), np.zeros(len(sizes), np.int64)
    for group in drawn[np.argsort(-sizes[drawn], kind="stable")]:
        parts[group] = np.argmin(filled)
        filled[parts[group]] += sizes[group]
    return np.asarray(parts[groups])


def _fold_of_time(order: npt.NDArray[Any], place: int, count: int) -> tuple[Indices, Indices]:
    """The rows before part `place`, and its own; the first rows of all are in no part."""
    by_time = np.argsort(order, kind="stable")
    times, n = order[by_time], len(order)
    cuts = [_between_times(times, round(n * part / (count + 1)), n) for part in range(1, count + 1)] + [n]
    if sorted(set(cuts)) != cuts or cuts[0] < 1:
        raise TableError(f"--order: its rows are of too few times for {count} folds: give fewer --folds")
    return np.sort(by_time[: cuts[place]]), np.sort(by_time[cuts[place] : cuts[place + 1]])


def _checked(option: str, share: float | None, default: float) -> float:
    chosen = default if share is None else float(share)
    if not 0 <= chosen < 1:
        raise UsageError(f"{option} is {chosen:g}, expected a part of the rows from 0 to below 1, such as 0.1")
    return chosen


def _check_sum(test: float, validation: float, *given: bool) -> None:
    """See that rows are left to train on; of the parts those are named as options that were given as such."""
    if test + validation >= 1:
        named = {
            f"--test-part {test:g}": f"{test:g} to test",
            f"--validation-part {validation:g}": f"{validation:g} to validate",
        }
        first, second = (
            option if own else f"the usual {usual}" for (option, usual), own in zip(named.items(), given, strict=True)
        )
        both = f"{first} and {second}" if given[0] else f"{second} and {first}"
        raise UsageError(f"{both} leave no rows for training, expected two parts that are below 1 together")


def _check_rows(n: int, shares: tuple[float, float]) -> None:
    parts = 1 + sum(share > 0 for share in shares)
    if n < parts:
        raise TableError(f"the table has {n:,} usable rows, fewer than the {parts} parts it is split into: add rows")


def _codes(name: str, values: npt.ArrayLike, n: int) -> Indices:
    array = np.asarray(values)
    if array.shape != (n,):
        raise UsageError(f"{name} of shape {array.shape} do not fit {n:,} rows: give one value a row")
    return np.unique(array, return_inverse=True)[1].astype(np.int64)


def _checked_order(order: npt.ArrayLike, n: int) -> npt.NDArray[Any]:
    array = np.asarray(order)
    if array.shape != (n,):
        raise UsageError(f"an order of shape {array.shape} does not fit {n:,} rows: give one time a row")
    unknown = np.isnat(array) if array.dtype.kind in "mM" else np.isnan(array) if array.dtype.kind == "f" else None
    if unknown is not None and unknown.any():
        count = int(unknown.sum())
        raise TableError(f"--order: {count:,} of {n:,} rows lack the value to order by: fill it in, or leave them out")
    return array


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def _split(parts: npt.NDArray[np.int8]) -> Split:
    """From each row's part (0 train, 1 validation, 2 test)."""
    return Split(np.flatnonzero(parts == 0), np.flatnonzero(parts == 1), np.flatnonzero(parts == 2))


# At random


def _at_random(n: int, classes: Indices | None, shares: tuple[float, float], seed: int) -> Split:
    shuffled = _generator(seed).permutation(n)
    parts = np.zeros(n, dtype=np.int8)
    counts = [n] if classes is None else np.bincount(classes).tolist()
    # Rows of one class stay shuffled when they are brought together, for the sort is stable.
    rows = shuffled if classes is None else shuffled[np.argsort(classes[shuffled], kind="stable")]
    first = 0
    for count, (test, validation) in zip(counts, _held_out(counts, shares), strict=True):
        parts[rows[first : first + test]] = 2
        parts[rows[first + test : first + test + validation]] = 1
        first += count
    return _check_parts(_split(parts), shares, len(counts))


def _held_out(counts: list[int], shares: tuple[float, float]) -> list[tuple[int, int]]:
    """How many rows of each class test and validate: in proportion, and at least one each where there are three."""
    return [_of_class(count, shares) for count in counts]


def _of_class(count: int, shares: tuple[float, float]) -> tuple[int, int]:
    test = _rows_of(count, shares[0], 2)
    validation = _rows_of(count, shares[1], 2 + (test > 0))
    excess = max(0, test + validation - (count - 1))
    return test, max(0, validation - excess)


def _rows_of(count: int, share: float, least: int) -> int:
    """A share of the rows, to the nearest one; at least one of them where there are `least` rows."""
    return max(round(count * share), int(count >= least)) if share > 0 and count >= least else 0


def _check_parts(split: Split, shares: tuple[float, float], classes: int) -> Split:
    empty = (shares[0] > 0 and not len(split.test)) or (shares[1] > 0 and not len(split.validation))
    if empty or not len(split.train):
        rows = len(split.train) + len(split.validation) + len(split.test)
        raise TableError(
            f"the table has {rows:,} usable rows for {classes:,} classes, too few for all parts: "
            "add rows, or hold none out with a share of 0"
        )
    return split


# By group


def _by_group(groups: Indices, classes: Indices | None, shares: tuple[float, float], seed: int) -> Split:
    sizes = np.bincount(groups)
    parts = 1 + sum(share > 0 for share in shares)
    if len(sizes) < parts:
        raise TableError(f"the rows are of {len(sizes)} groups, fewer than the {parts} parts they are split into")
    generator = _generator(seed)
    draw: Callable[[], Split] = lambda: _split(_assigned(sizes, shares, generator)[groups])  # noqa: E731
    if classes is None:
        return draw()
    drawn = (draw() for _ in range(DRAWINGS))
    # A class that is in one group alone trains only if that group does: draw again until all do.
    found = next((split for split in drawn if _lacking(split, classes) is None), None)
    return found or _with_all_classes(draw(), classes)


def _assigned(sizes: Indices, shares: tuple[float, float], generator: np.random.Generator) -> npt.NDArray[np.int8]:
    """Each group's part: shuffled groups fill the test part, then the validation part, the rest train."""
    waiting = list(generator.permutation(len(sizes)))
    parts = np.zeros(len(sizes), dtype=np.int8)
    still_needed = 1 + sum(share > 0 for share in shares)
    for part, share in ((2, shares[0]), (1, shares[1])):
        still_needed -= share > 0
        rows = 0.0
        while share > 0 and len(waiting) > still_needed and _fits(rows, sizes[waiting[-1]], share * sizes.sum()):
            group = waiting.pop()
            parts[group] = part
            rows += sizes[group]
    return parts


def _fits(rows: float, more: int, wanted: float) -> bool:
    return rows == 0 or rows + more / 2 <= wanted


# By time


def _by_time(order: npt.NDArray[Any], shares: tuple[float, float]) -> Split:
    n = len(order)
    test, validation = (max(1, round(n * share)) if share > 0 else 0 for share in shares)
    by_time = np.argsort(order, kind="stable")
    times = order[by_time]
    tested = _between_times(times, n - test, n)
    validated = _between_times(times, max(1, tested - validation), tested) if validation else tested
    parts = np.zeros(n, dtype=np.int8)
    parts[by_time[tested:]] = 2
    parts[by_time[validated:tested]] = 1
    return _split(parts)


def _between_times(times: npt.NDArray[Any], cut: int, end: int) -> int:
    """The cut before `end`, moved to where the time changes: rows of one time are in one part. Near the wished one."""
    changes = np.flatnonzero(times[1:end] != times[: end - 1]) + 1
    if not len(changes) or cut >= end:
        return cut
    return int(changes[np.argmin(np.abs(changes - cut))])


def _lacking(split: Split, classes: Indices) -> int | None:
    """A row of a class that training lacks, or None."""
    lacking = np.flatnonzero(~np.isin(classes, classes[split.train]))
    return int(lacking[0]) if len(lacking) else None


def _with_all_classes(split: Split, *every: Indices | None) -> Split:
    for classes in every:
        row = None if classes is None else _lacking(split, classes)
        if row is not None:
            raise TableError(
                f"row {row + 1:,} has a class that is in no training row when rows are split so: "
                "split them at random, or leave that class out"
            )
    return split
