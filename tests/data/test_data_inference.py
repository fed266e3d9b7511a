# ruff: noqa: DTZ001  (cells of a table are by no clock but its own)
"""What columns and targets are read as, and what is said of it."""

import datetime as dt
import json
from itertools import permutations

import numpy as np
import polars as pl
import pytest
from table_helpers import answers, drawn, public, read, text_table

from backpass.data import Schema, Table, TargetEncoder, describe, divide, infer_schema, read_table, summary, usable_rows
from backpass.errors import TableError, UsageError

ROWS = 60


def numbers(rows: int = ROWS) -> list[float]:
    return [round(float(value), 3) for value in drawn(rows).normal(size=rows)]


def learned(cells, name="x", **options):
    """The record of one column beside a target and another input, and the notes."""
    cells = list(cells)
    table = text_table(**{name: cells, "other": numbers(len(cells)), "target": answers(len(cells))})
    schema = infer_schema(table, ["target"], **options)
    return next(column for column in schema.columns if column.name == name), schema.notes


def repeated(*cells, rows: int = ROWS) -> list:
    return [cells[place] for place in drawn(rows, 5).integers(0, len(cells), rows)]


@pytest.mark.parametrize("blank", ["", "?", "NA", "N/A", "nan", "NaN", "null", "None", "-", "#N/A"])
def test_numbers_with_blanks_are_numbers_with_missing_ones(blank):
    column, notes = learned([blank, *numbers(ROWS - 1)])
    assert (column.kind, column.missing, notes) == ("number", 1, ())


def test_few_stray_texts_among_numbers_are_missing_and_named():
    column, notes = learned(["unknown", "n.a.", *numbers(ROWS - 2)])
    assert (column.kind, column.missing, column.strays) == ("number", 2, ("n.a.", "unknown"))
    assert '"n.a.", "unknown" in 2 cells: read as missing' in notes[0]


def test_many_stray_texts_make_a_category():
    assert learned(repeated("1", "2", "low", "high"))[0].kind == "category"


@pytest.mark.parametrize(
    ("cells", "value"),
    [
        (("1,234.5", "12", "-3"), 1234.5),
        (("1.234,5", "12", "-3"), 1234.5),
        (("1,5", "2,5", "3"), 1.5),
        (("12 %", "-3%", "4.5%"), 12),
        (("$1,200", "$ 3", "-$5.50"), 1200),
        (("1 234", "5", "6"), 1234),
        (("1'234.5", "5", "6"), 1234.5),
        (("7 €", "8,5 €", "9 €"), 7),
    ],
)
def test_written_numbers_are_read_as_what_they_say(cells, value):
    column, notes = learned(repeated(*cells))
    assert column.kind == "number"
    assert column.style.read(pl.Series([cells[0]]))[0] == value
    assert "is read as" in notes[0]


def test_a_lone_comma_is_decimal_between_semicolons_and_says_so(tmp_path):
    rows = "".join(f"{price};{label}\n" for price, label in zip(repeated("1,234", "2,345"), answers(ROWS), strict=True))
    schema = infer_schema(read(tmp_path, "price;target\n" + rows), ["target"])
    assert schema.columns[0].style.decimal == ","
    assert "is read as 2.345, not as 2345" in schema.notes[0]


@pytest.mark.parametrize(
    ("form", "delimiter", "told"),
    [
        ('"{0},{1}"', ",", ['column "price": "9,849" is read as 9849, not as 9.849']),
        ("{0},{1}", ";", ['column "price": "9,849" is read as 9.849, not as 9849']),
        ("{0}.{1}", ";", ['column "price": "1.101" is read as 1.101, not as 1101']),
        ("{0} €", ",", ['column "price": "9 €" is read as 9']),
        ("{0}.{1}", ",", []),
    ],
)
def test_how_a_target_is_read_is_said_as_of_an_input(tmp_path, form, delimiter, told):
    """Such as numbers that may be meant otherwise, by a factor of 1,000."""
    cells = [form.format(n % 9 + 1, 101 + n * 17 % 800) for n in range(60)]
    rows = "".join(f"{n}{delimiter}{cell}\n" for n, cell in enumerate(cells))
    schema = infer_schema(read(tmp_path, f"x{delimiter}price\n{rows}"), ["price"], task="regression")
    assert [note for note in schema.notes if "is read as" in note] == told


def test_a_lone_comma_groups_thousands_between_commas():
    assert learned(repeated("1,234", "2,345"))[0].style.grouping == ","


@pytest.mark.parametrize("infinite", ["inf", "-Infinity", "1e999"])
def test_an_infinite_feature_is_refused_by_column_and_row(infinite):
    with pytest.raises(TableError, match='column "x" is infinite in row 3'):
        learned([1, 2, infinite, *numbers()])


def test_zero_padded_codes_are_categories():
    assert learned(repeated("00123", "04567", "89012"))[0].kind == "category"


@pytest.mark.parametrize(
    ("cells", "name", "reason"),
    [
        ([f"r{row:03}x" for row in range(ROWS)], "x", "all different"),
        (["a1", *[f"a{row}" for row in range(1, ROWS)]], "x", "nearly all different"),
        (list(range(1, ROWS + 1)), "x", "row numbers"),
        (list(range(0, 2 * ROWS, 2)), "x", "row numbers"),
        ([int(value) for value in drawn(ROWS).permutation(10_000)[:ROWS]], "customer_id", "all different"),
        ([int(value) for value in drawn(ROWS).permutation(10_000)[:ROWS]], "ID", "all different"),
        ([int(value) for value in drawn(ROWS).permutation(10_000)[:ROWS]], "Customer ID", "all different"),
        (["DE"] * ROWS, "x", 'always "DE"'),
        ([3] * ROWS, "x", 'always "3"'),
        ([None] * ROWS, "x", "has no values"),
        (["?", ""] * (ROWS // 2), "x", "has no values"),
        ([f"the {row}th of many notes on a rather long story" for row in range(ROWS)], "x", "free text"),
    ],
)
def test_columns_that_say_nothing_of_other_rows_are_left_out_with_the_reason(cells, name, reason):
    column, _ = learned(cells, name)
    assert (column.kind, column.reason) == ("skip", reason)


def test_years_that_rise_are_numbers():
    assert learned(range(1950, 1950 + ROWS))[0].kind == "number"


def test_row_numbers_are_kept_where_they_are_the_only_input():
    table = text_table(x=range(ROWS), y=[value * value for value in range(ROWS)])
    assert infer_schema(table, ["y"]).inputs[0].kind == "number"


def test_integers_of_few_values_stay_numbers():
    assert learned(repeated("1", "2", "3"))[0].kind == "number"


def test_one_value_beside_missing_ones_is_kept():
    assert learned(repeated("x", None))[0].kind == "category"


@pytest.mark.parametrize("pair", [("True", "False"), ("yes", "NO"), ("t", "f"), ("Y", "n")])
def test_pairs_of_words_are_booleans_in_any_case(pair):
    assert learned(repeated(*pair))[0].kind == "boolean"


@pytest.mark.parametrize(
    ("cells", "written"),
    [
        (("2020-01-05", "2021-12-31"), "%Y-%m-%d"),
        (("2020/1/5", "2021/12/31"), "%Y/%m/%d"),
        (("2020-01-05 10:20:30", "2021-12-31 00:00:00"), "%Y-%m-%d %H:%M:%S"),
        (("2020-01-05T10:20:30Z", "2021-12-31T00:00:00Z"), "%Y-%m-%dT%H:%M:%SZ"),
        (("2020-01-05 10:20:30.5", "2021-12-31 00:00:00"), "%Y-%m-%d %H:%M:%S%.f"),
        (("31/12/2020", "1/2/2020"), "%d/%m/%Y"),
        (("12/31/2020", "1/2/2020"), "%m/%d/%Y"),
        (("05.01.2020", "31.12.2020"), "%d.%m.%Y"),
        (("5 Jan 2020", "31 Dec 2020"), "%d %b %Y"),
        (("10:20", "23:59"), "%H:%M"),
        (("10:20 PM", "1:05 am"), "%I:%M %p"),
    ],
)
def test_dates_are_known_by_how_they_are_written(cells, written):
    column, notes = learned(repeated(*cells, None))
    assert (column.kind, column.format, notes) == ("date", written, ())


def test_dates_that_may_be_read_two_ways_are_day_first_with_a_note():
    column, notes = learned(repeated("01/02/2020", "03/04/2020"))
    assert column.format == "%d/%m/%Y"
    assert "day before month" in notes[0]


def test_impossible_dates_make_a_category():
    assert learned(repeated("2020-02-30", "2020-01-01"))[0].kind == "category"


def test_typed_columns_keep_their_kinds():
    def often(*values):
        return [values[place % len(values)] for place in range(ROWS)]

    table = Table.from_data(
        pl.DataFrame(
            {
                "i": pl.Series(often(1, 2, 5), dtype=pl.Int8),
                "f": often(1.5, None, float("nan")),
                "b": often(True, False, None),
                "s": often("x", "y"),
                "c": pl.Series(often("x", "y"), dtype=pl.Categorical),
                "d": often(dt.date(2020, 1, 1), dt.date(2021, 1, 1)),
                "m": often(dt.datetime(2020, 1, 1), dt.datetime(2021, 1, 1, 5)),
                "t": often(dt.time(5), dt.time(6)),
                "l": often(dt.timedelta(5), dt.timedelta(6)),
                "n": pl.Series(often("1.5", "2.5")).cast(pl.Decimal(10, 2)),
                "list": often([1], [2]),
                "nothing": often(None),
                "target": answers(ROWS),
            }
        )
    )
    schema = infer_schema(table, ["target"])
    kinds = {column.name: column.kind for column in schema.columns}
    assert kinds == {
        "i": "number",
        "f": "number",
        "b": "boolean",
        "s": "category",
        "c": "category",
        "d": "date",
        "m": "date",
        "t": "date",
        "l": "number",
        "n": "number",
        "list": "skip",
        "nothing": "skip",
    }
    assert next(column.missing for column in schema.columns if column.name == "f") == 40


def test_an_infinite_typed_feature_is_refused_by_column_and_row():
    with pytest.raises(TableError, match='column "x" is infinite in row 2'):
        infer_schema(Table.from_data({"x": [1.0, np.inf, 3.0], "y": [1.0, 2.0, 5.0]}), ["y"])


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        ("number", ("1", "2", "low")),
        ("category", ("1", "2", "3")),
        ("boolean", ("0", "1")),
        ("boolean", ("yes", "0")),
        ("date", ("2020-01-01", "2021-01-01")),
        ("skip", ("1", "2")),
    ],
)
def test_a_column_can_be_said_to_be_of_a_kind(kind, cells):
    assert learned(repeated(*cells), overrides={"x": kind})[0].kind == kind


@pytest.mark.parametrize("kind", ["number", "boolean", "date"])
def test_a_kind_that_the_cells_do_not_bear_out_is_refused_with_a_row(kind):
    with pytest.raises(TableError, match=f'column "x" cannot be read as {kind}: row 1 holds "low"'):
        learned(["low", *repeated("low", "high", "middle")], overrides={"x": kind})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"overrides": {"otter": "number"}}, 'no column "otter". Did you mean "other"?'),
        ({"overrides": {"x": "numeric"}}, "must be one of number, category"),
        ({"overrides": {"target": "number"}}, "is the target"),
        ({"exclude": ["otter"]}, 'no column "otter". Did you mean "other"?'),
        ({"exclude": ["target"]}, "is the target"),
        ({"task": "clustering"}, "must be one of classification"),
    ],
)
def test_options_that_do_not_fit_the_table_are_refused(options, words):
    with pytest.raises(UsageError) as caught:
        learned(numbers(), **options)
    assert words in str(caught.value)


def test_excluded_columns_are_left_out():
    assert learned(numbers(), exclude=["x"])[0].kind == "skip"


def test_no_input_left_is_an_error_with_the_reasons():
    with pytest.raises(TableError, match=r"no column is left as an input \(x: always"):
        infer_schema(text_table(x=["a"] * ROWS, target=answers(ROWS)), ["target"])


# Columns that give the answer away


def repeats_of(target, **columns) -> tuple[str, ...]:
    other = [int(value) for value in drawn(ROWS, 3).integers(0, 9, ROWS)]
    return infer_schema(text_table(**columns, other=other, target=target), ["target"]).notes


def test_a_column_that_repeats_the_target_stays_with_a_warning():
    target = answers(ROWS)
    (note,) = repeats_of(target, alive=["1" if label == "yes" else "0" for label in target])
    assert note == 'column "alive" repeats the target: is it known before the answer?  --exclude alive'


def test_a_column_in_other_units_repeats_a_target_of_amounts():
    amounts = numbers()
    (note,) = repeats_of(amounts, inches=[value / 2.54 + 1 for value in amounts])
    assert note.startswith('column "inches" repeats the target')


def test_a_number_that_alone_parts_two_classes_is_noted_with_its_auc():
    target = answers(ROWS)
    (note,) = repeats_of(
        target, score=[value + 9 * (label == "yes") for value, label in zip(numbers(), target, strict=True)]
    )
    assert 'column "score" alone gives AUC 1.000' in note


def test_a_category_that_alone_tells_the_class_is_noted_with_its_accuracy():
    target = answers(ROWS)
    (note,) = repeats_of(target, code=[f"{label}{row % 3}" for row, label in enumerate(target)])
    assert 'column "code" alone gives 100.0% accuracy' in note


def test_columns_unrelated_to_the_target_are_not_noted():
    assert repeats_of(answers(ROWS), x=repeated("a", "b", "c"), y=repeated("1", "5", "9")) == ()


def test_titanic_names_alive_and_nothing_else():
    schema = infer_schema(read_table(public("titanic.csv")), ["survived"])
    assert [note.partition(":")[0] for note in schema.notes] == ['column "alive" repeats the target']


# Targets


def target_of(cells, **options):
    cells = list(cells)
    return infer_schema(text_table(x=numbers(len(cells)), target=cells), ["target"], **options)


@pytest.mark.parametrize(
    ("cells", "task", "classes"),
    [
        (("b", "a"), "classification", ("a", "b")),
        (("True", "False"), "classification", ("False", "True")),
        (("0", "1"), "classification", ("0", "1")),
        (("10.5", "2"), "classification", ("2.0", "10.5")),
        (tuple("1234567"), "classification", tuple("1234567")),
        (("0", "1", "2"), "classification", ("0", "1", "2")),
        (("2", "3", "4"), "regression", ()),
        (("1", "2", "4"), "regression", ()),
        (("1.5", "2.5", "3.5"), "regression", ()),
        (("$1", "$2", "$3"), "regression", ()),
        (("01", "02", "03"), "classification", ("01", "02", "03")),
    ],
)
def test_the_task_follows_from_the_targets_values(cells, task, classes):
    schema = target_of(cells * 10)
    assert (schema.task, schema.classes) == (task, classes)
    assert schema.task_reason


def test_few_rows_a_value_are_amounts():
    assert target_of("123456" * 4).task == "regression"


def test_integers_read_as_classes_say_how_to_have_amounts():
    reason = target_of("1234567" * 10).task_reason
    assert reason == "integers 1..7: read as classes; --task regression if they are amounts"


def test_a_task_that_is_asked_for_is_given():
    assert target_of("1234567" * 10, task="regression").task == "regression"
    assert target_of(["2", "3", "4"] * 10, task="classification").classes == ("2", "3", "4")


def test_several_targets_that_are_all_amounts_are_one_head():
    """So are those of which none need be, where that is asked for."""
    table = text_table(x=numbers(), y=repeated("0", "1"), z=numbers(), w=numbers())
    for targets, task in ((["w", "z"], None), (["y", "z"], "regression")):
        schema = infer_schema(table, targets, task=task)
        assert (schema.task, schema.target_names, len(schema.heads)) == ("regression", tuple(targets), 1)


@pytest.mark.parametrize("names", list(permutations(["y", "z", "w"])))
def test_the_kind_of_a_target_does_not_depend_on_those_beside_it_nor_on_their_order(names):
    """Each of several has a head of its own, as it would have alone."""
    table = text_table(x=numbers(), y=repeated("0", "1"), z=numbers(), w=answers(ROWS))
    schema = infer_schema(table, names)
    assert schema.task == "mixed"
    assert schema.heads == tuple(infer_schema(table, [name]).heads[0] for name in names)
    assert schema.tasks == tuple({"z": "regression"}.get(name, "classification") for name in names)
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


@pytest.mark.parametrize(
    ("cells", "options", "words"),
    [
        ([None] * ROWS, {}, "has no values"),
        (["yes"] * ROWS, {}, "needs at least two classes"),
        (["3"] * ROWS, {}, "at least two classes|nothing to learn"),
        ([*range(ROWS), "12k"], {}, r'holds text in row 61 \("12k"\) among its numbers'),
        (["a", "b"] * 10, {"task": "regression"}, r'holds text in row 1 \("a"\)'),
        ([*numbers(), "inf"], {}, "is infinite in row 61"),
        ([f"n{row}" for row in range(ROWS)], {}, "is it an identifier"),
        ([f"n{row}" for row in range(1001) for _ in range(3)], {}, "1,001 different values"),
        (["2020-01-01", "2020-02-01", "2020-03-01"] * 10, {}, "holds dates"),
    ],
)
def test_targets_that_cannot_be_learned_are_refused(cells, options, words):
    with pytest.raises(TableError, match=words):
        target_of(cells, **options)


def test_an_absent_target_offers_the_closest_name():
    with pytest.raises(TableError, match=r'small.csv has no column "tarqet"\. Did you mean "target"\?'):
        infer_schema(text_table(x=numbers(), target=answers(ROWS)), ["tarqet"])


def test_a_task_is_that_of_each_of_several_targets_that_can_have_it():
    """Text stays classes, and numbers of many values amounts; where no target can have it, that is an error."""
    table = text_table(x=numbers(), y=numbers(), z=answers(ROWS), w=repeated("3", "5", "9"))
    for names, task, tasks in (
        (["y", "z", "w"], None, ("regression", "classification", "regression")),
        (["y", "z", "w"], "regression", ("regression", "classification", "regression")),
        (["y", "z", "w"], "classification", ("regression", "classification", "classification")),
    ):
        assert infer_schema(table, names, task=task).tasks == tasks
    with pytest.raises(TableError, match="too many to be classes"):
        infer_schema(text_table(x=numbers(), y=numbers(), z=numbers()), ["y", "z"], task="classification")
    with pytest.raises(TableError, match="where regression needs numbers"):
        infer_schema(text_table(x=numbers(), y=answers(ROWS), z=answers(ROWS)), ["y", "z"], task="regression")


@pytest.mark.parametrize("targets", [[], ["x", "x"]])
def test_a_list_of_targets_must_name_each_once(targets):
    with pytest.raises(UsageError, match="--target"):
        infer_schema(text_table(x=numbers(), target=answers(ROWS)), targets)


def test_rows_without_target_are_left_out_with_a_note():
    target = [None, "?", *answers(ROWS - 2)]
    table = text_table(x=numbers(), target=target)
    schema = infer_schema(table, ["target"])
    used = usable_rows(table, schema)
    assert (schema.rows, used.rows) == (ROWS - 2, ROWS - 2)
    assert used.notes == schema.notes == ('2 rows of small.csv without "target": left out',)
    assert used.row_number(0) == 3


# What is told of it


def test_the_description_is_as_the_design_shows_it():
    table = text_table(
        age=[None, *numbers(ROWS - 1)],
        city=repeated("Rome", "Oslo", "Bonn"),
        job=repeated("smith", "baker"),
        day=repeated("2020-01-01", "2021-01-01"),
        country=["DE"] * ROWS,
        target=["yes", "no", "no"] * (ROWS // 3),
    )
    lines = describe(infer_schema(table, ["target"]), table)
    assert lines == [
        "small.csv    60 rows, 6 columns    target target: no 66.7 %, yes 33.3 %",
        "  1 number   2 categories (largest: city, 3 levels)   1 date",
        '  left out: country (always "DE")',
        "  missing: age 1.7 %",
    ]


def test_what_is_missing_in_a_part_is_told_as_of_that_part():
    """The number of rows above it is that of the whole table."""
    table = text_table(x=[None, *numbers(ROWS - 1)], target=["yes", "no"] * (ROWS // 2))
    schema = infer_schema(table.take(np.arange(10)), ["target"])
    assert "  missing in rows to train on: x 10.0 %" in describe(schema, table)


def test_lines_are_at_most_80_columns_wide():
    columns = {f"a_rather_long_name_{place}": [None, *numbers(ROWS - 1)] for place in range(60)}
    table = text_table(**columns, target=answers(ROWS))
    lines = describe(infer_schema(table, ["target"]), table)
    assert max(map(len, lines)) <= 80
    assert any("and 36 more" in line for line in lines)


def test_the_summary_for_programs_holds_plain_values():
    table = text_table(x=[None, *(value / 2 for value in range(1, ROWS))], target=answers(ROWS))
    told = summary(infer_schema(table, ["target"]), table)
    assert told["inputs"] == [{"name": "x", "kind": "number", "missing": 1 / ROWS, "distinct": ROWS - 1}]
    assert sum(told["classes"].values()) == pytest.approx(1)


# Every statistic from training rows


def test_what_only_test_rows_hold_does_not_reach_the_schema():
    rows = 200
    table = text_table(when=range(rows), x=numbers(rows), target=answers(rows))
    late = [None if row < 180 else "late" for row in range(rows)]
    table = Table(table.name, table.frame.with_columns(pl.Series("late", late)), delimiter=",")
    division = divide(table, ["target"], seed=0, order="when")
    column = next(column for column in division.schema.columns if column.name == "late")
    assert (column.kind, column.reason) == ("skip", "has no values")
    assert division.schema.rows == division.train.rows


def test_a_test_table_of_its_own_leaves_all_rows_to_training_and_validation():
    table, other = text_table(x=numbers(), target=answers(ROWS)), text_table(x=numbers(9), target=answers(9))
    division = divide(table, ["target"], seed=0, test_table=other)
    assert division.test.rows == 9
    assert division.train.rows + division.validation.rows == ROWS


def test_the_column_of_groups_is_no_input_and_no_group_is_in_two_parts():
    table = text_table(x=numbers(), who=repeated(*"abcdefgh"), target=answers(ROWS))
    division = divide(table, ["target"], seed=0, group="who")
    parts = [set(part.column("who")) for part in (division.train, division.validation, division.test)]
    assert not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])
    assert [column.name for column in division.schema.inputs] == ["x"]


def test_the_latest_dates_test():
    days = [f"2020-{1 + row // 28:02}-{1 + row % 28:02}" for row in range(ROWS)]
    table = text_table(x=numbers(), day=days, y=numbers())
    division = divide(table, ["y"], seed=0, order="day")
    assert max(division.train.column("day")) < min(division.validation.column("day"))
    assert max(division.validation.column("day")) < min(division.test.column("day"))


def test_text_is_no_order():
    table = text_table(x=numbers(), city=repeated("Rome", "Oslo"), y=numbers())
    with pytest.raises(UsageError, match="--order city: holds category values, expected a column of dates or numbers"):
        divide(table, ["y"], seed=0, order="city")


def test_a_whole_number_beyond_all_floats_is_refused_by_its_row(tmp_path):
    rows = "".join(f'{{"x": {value}, "y": {value}.5}}\n' for value in [1, 4, 2, "9" * 400])
    with pytest.raises(TableError, match='column "x" is infinite in row 4'):
        infer_schema(read(tmp_path, rows.replace('"y": ' + "9" * 400 + ".5", '"y": 3'), "t.jsonl"), ["y"])


def test_durations_are_seconds_as_input_constant_and_target():
    spans = [dt.timedelta(minutes=place, milliseconds=500 * (place % 2)) for place in range(ROWS)]
    table = Table.from_data({"span": spans, "always": [dt.timedelta(hours=1)] * ROWS, "x": numbers()}, name="spans")
    schema = infer_schema(table, ["span"])
    assert (schema.task, schema.targets[0].kind) == ("regression", "number")
    always = next(column for column in schema.columns if column.name == "always")
    assert (always.kind, always.reason) == ("skip", 'always "3600"')
    assert next(column for column in infer_schema(table, ["x"]).columns if column.name == "span").kind == "number"
    encoded = TargetEncoder.fit(table, schema).encode(table)
    assert len(np.unique(encoded)) == ROWS
