"""Numbers that stand for a missing value: which are, and that they are read so wherever cells are read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from table_helpers import answers, drawn, read, text_table

from backpass.data import Schema, Table, TableEncoder, infer_schema
from backpass.data.codes import codes_among

ROWS = 60
AGES = [round(float(value), 1) for value in drawn(ROWS).uniform(18, 80, ROWS)]


def found(low: float, high: float, *more: tuple[float, int], others: int = 12) -> tuple[float, ...]:
    """Of so many numbers between two, and some more with how many rows have them."""
    levels = [*np.linspace(low, high, others).tolist(), *(value for value, _ in more)]
    return codes_among(np.array(levels), np.array([5] * others + [count for _, count in more]))


def as_text(cells):
    return text_table(x=cells, target=answers(len(cells)))


def as_numbers(cells):
    return Table.from_data({"x": cells, "target": answers(len(cells))}, name="small")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((20, 70, (-999, 3)), (-999.0,)),
        ((20, 70, (999, 3)), (999.0,)),
        ((0, 100, (-99, 3), (-999, 3)), (-999.0, -99.0)),
        ((-10, 30, (-999.9, 3)), (-999.9,)),
        ((-10, 30, (float(np.float32(-999.9)), 3)), (float(np.float32(-999.9)),)),
        ((0, 30, (-9999, 3)), (-9999.0,)),
        ((20, 70, (-999, 2)), ()),  # so few may be slips
        ((0, 41310, (99999, 9)), ()),  # the largest amount that a form takes
        ((20, 98, (99, 5)), ()),
        ((1, 5, (99, 5)), ()),  # above 0 two nines are a number like others
        ((20, 70, (-998, 9)), ()),
        ((-120, 80, (-99, 5)), ()),
        ((99, 99), ()),
    ],
)
def test_codes_are_nines_that_stand_far_from_all_others(given, expected):
    assert found(*given) == expected


def test_of_few_different_numbers_none_is_a_code():
    """Prices of 9, 29, 99 and 999 are prices."""
    assert found(9, 29, (99, 40), (999, 40), others=4) == ()


@given(some.lists(some.floats(-1e5, 1e5), min_size=10, max_size=30, unique=True), some.integers(3, 9))
def test_a_code_far_below_all_others_is_found_whatever_they_are(others, count):
    """And nothing else is, but for nines among the others."""
    levels, counts = [*others, -9_999_999.0], [1] * len(others) + [count]
    assert codes_among(np.array(levels), np.array(counts)) == (-9_999_999.0,)


@pytest.mark.parametrize("table_of", [as_text, as_numbers])
def test_cells_with_a_code_are_encoded_as_empty_ones(table_of):
    """In a whole table and in a few rows; and the schema of a model file keeps the code."""
    coded, empty = (table_of([value] * 4 + AGES[4:]) for value in (-999, None))
    schema = infer_schema(coded, ["target"])
    column = schema.columns[0]
    assert (column.codes, column.missing, column.distinct) == ((-999.0,), 4, len(set(AGES[4:])))
    assert (
        "-999 in 6.7 % of the rows to train on is read as missing; --column x=number keeps it a number"
        in schema.notes[0]
    )
    assert Schema.from_json(schema.to_json()) == schema
    encoder = TableEncoder.fit(coded, schema)
    blocks = [encoder.encode(table)["numbers"] for table in (coded, empty)]
    np.testing.assert_array_equal(*blocks)
    assert blocks[0].shape[1] == 2
    few = [encoder.encode_few({"x": [cell, 30.0]})["numbers"] for cell in (-999, np.float32(-999), None)]
    np.testing.assert_array_equal(few[0], few[2])
    np.testing.assert_array_equal(few[1], few[2])
    np.testing.assert_array_equal(few[0][0], blocks[0][0])


def test_a_column_that_is_said_to_be_numbers_keeps_them_all():
    for table in (as_text([-999] * 4 + AGES[4:]), as_numbers([-999.0] * 4 + AGES[4:])):
        schema = infer_schema(table, ["target"], overrides={"x": "number"})
        assert (schema.columns[0].codes, schema.columns[0].missing, schema.notes) == ((), 0, ())


@pytest.mark.parametrize(("values", "noted"), [([-999] * 4 + AGES[4:], True), (AGES, False)])
def test_codes_in_a_target_of_amounts_are_told_and_not_left_out(values, noted):
    schema = infer_schema(text_table(x=AGES, target=values), ["target"])
    assert any(note.startswith('target "target": -999 in 6.7 %') for note in schema.notes) == noted


def test_dots_that_may_stand_between_thousands_are_told_where_semicolons_separate(tmp_path):
    rows = "\n".join(f"{place + 100}.{place + 200};{place % 2}" for place in range(30))
    for delimiter, noted in ((";", True), (",", False)):
        table = read(tmp_path, f"price;y\n{rows}\n".replace(";", delimiter))
        assert any(note.endswith("not as 100200") for note in infer_schema(table, ["y"]).notes) == noted
