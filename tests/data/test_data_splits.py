"""Which rows train, validate and test."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_helpers import text_table

from backpass.data import divide, hold_out
from backpass.errors import TableError, UsageError


def parts(split):
    return split.train, split.validation, split.test


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(3, 300), st.integers(0, 2**32), st.sampled_from(["none", "strata", "groups", "order"]))
def test_parts_are_disjoint_sorted_and_cover_all_rows(data, n, seed, way):
    values = data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n))
    try:
        split = hold_out(n, seed=seed, **({way: values} if way != "none" else {}))
    except TableError:
        # Few rows of many classes, or fewer than three groups, cannot be split.
        assert way in ("strata", "groups")
        return
    together = np.concatenate(parts(split))
    assert np.array_equal(np.sort(together), np.arange(n))
    assert all(part.dtype == np.int64 and np.all(np.diff(part) > 0) for part in parts(split))


def test_the_same_seed_gives_the_same_parts_and_another_seed_others():
    one, same, other = (hold_out(500, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.test, same.test)
    assert not np.array_equal(one.test, other.test)


@pytest.mark.parametrize(("n", "test", "validation"), [(999, 200, 100), (1000, 100, 100)])
def test_small_tables_test_a_fifth_others_a_tenth(n, test, validation):
    split = hold_out(n, seed=0)
    assert (len(split.test), len(split.validation)) == (test, validation)


def test_a_share_of_nothing_leaves_a_part_empty():
    split = hold_out(50, test=0, validation=0, seed=0)
    assert (len(split.train), len(split.validation), len(split.test)) == (50, 0, 0)


def test_every_class_is_in_every_part_in_proportion():
    strata = np.repeat([0, 1, 2], [700, 290, 10])
    split = hold_out(1000, test=0.2, validation=0.1, seed=3, strata=strata)
    assert np.bincount(strata[split.test]).tolist() == [140, 58, 2]
    assert np.bincount(strata[split.validation]).tolist() == [70, 29, 1]


def test_rare_classes_train_first_then_test():
    strata = np.array(["common"] * 30 + ["once"] + ["twice"] * 2)
    split = hold_out(33, seed=0, strata=strata)
    assert np.sum(strata[split.train] == "once") == 1
    assert (np.sum(strata[split.train] == "twice"), np.sum(strata[split.test] == "twice")) == (1, 1)


def test_no_group_is_in_two_parts_and_the_parts_are_near_their_shares():
    groups = np.random.Generator(np.random.Philox(4)).integers(0, 60, 2000)
    split = hold_out(2000, seed=0, groups=groups)
    sets = [set(groups[part]) for part in parts(split)]
    assert not (sets[0] & sets[1] | sets[0] & sets[2] | sets[1] & sets[2])
    assert len(split.test) == pytest.approx(200, abs=40)


def test_groups_are_drawn_until_every_class_trains():
    groups, strata = np.repeat(np.arange(10), 5), np.repeat([0] * 7 + [1] * 3, 5)
    for seed in range(10):
        split = hold_out(50, seed=seed, groups=groups, strata=strata)
        assert set(strata[split.train]) == {0, 1}


def test_the_latest_rows_test_and_those_before_validate():
    order = np.random.Generator(np.random.Philox(4)).permutation(100).astype("datetime64[D]")
    split = hold_out(100, seed=0, order=order)
    assert order[split.train].max() < order[split.validation].min()
    assert order[split.validation].max() < order[split.test].min()


@pytest.mark.parametrize(
    ("n", "options", "words"),
    [
        (2, {}, "fewer than the 3 parts"),
        (9, {"groups": [0, 1] * 4 + [0]}, "2 groups, fewer than the 3 parts"),
        (6, {"strata": [0, 1, 2, 3, 4, 5]}, "too few for all parts"),
        (9, {"order": [0, 1, 2, 3, 4, 5, 6, 7, float("nan")]}, "--order: 1 of 9 rows lack the value"),
        (9, {"order": [0, 1, 2, 3, 4, 5, 6, 7, 8], "strata": [0] * 8 + [1]}, "is in no training row"),
        (30, {"groups": [0] * 10 + [1] * 10 + [2] * 10, "strata": [0] * 10 + [1] * 10 + [2] * 10}, "no training row"),
    ],
)
def test_tables_that_cannot_be_split_are_refused(n, options, words):
    with pytest.raises(TableError, match=words):
        hold_out(n, seed=0, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"test": 1.5}, "--test-part is 1.5, expected a part of the rows from 0 to below 1"),
        ({"validation": -0.1}, "--validation-part is -0.1, expected"),
        ({"test": 0.6, "validation": 0.4}, "--test-part 0.6 and --validation-part 0.4 leave no rows"),
        ({"strata": [1, 2]}, "do not fit 20 rows"),
        ({"groups": [1, 2]}, "do not fit 20 rows"),
        ({"order": [1, 2]}, "does not fit 20 rows"),
        ({"groups": [1] * 20, "order": [1] * 20}, "--group and --order both"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        hold_out(20, seed=0, **options)


def test_in_each_fold_every_class_of_another_target_trains():
    """One of a single row has it in training in all of them; what is in no part of theirs is unchanged."""
    other = np.array(["a", "b"] * 20 + ["once"])
    folds, plain = ([hold_out(41, seed=0, fold=(k, 3), others=more) for k in range(3)] for more in ([other], []))
    for split, before in zip(folds, plain, strict=True):
        assert set(other[split.train]) == {"a", "b", "once"}
        assert np.array_equal(split.test, before.test[before.test != 40])


@pytest.mark.parametrize("name", ["code", "note", "same", "zip"])
def test_what_is_no_date_and_no_number_is_no_order(name):
    """Also where it is left out as an input, as texts that all differ are; numbers that name the rows are an order."""
    rows = range(40)
    code, zips = [f"k{row * 37 % 40}" for row in rows], [f"0{row * 137 % 997}" for row in rows]
    notes = [f"it was the day number {row} of all of the days that there were" for row in rows]
    table = text_table(code=code, note=notes, same=["x"] * 40, zip=zips, id=rows, x=[0.5, 2] * 20, y=rows)
    assert max(divide(table, ["y"], seed=0, order="id").split.train) < 28
    with pytest.raises(UsageError, match=rf"--order {name}: holds (text|one value), expected a column of dates"):
        divide(table, ["y"], seed=0, order=name)


def test_rows_of_one_time_are_in_one_part():
    times = np.repeat(np.arange(20), 50)
    split = hold_out(1000, seed=0, order=times)
    parts = [set(times[rows]) for rows in (split.train, split.validation, split.test)]
    assert all(parts)
    assert not parts[0] & parts[1] | parts[1] & parts[2] | parts[0] & parts[2]
