"""Numbers that stand for a missing value: which are, and that they are read so wherever cells are read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from table_helpers import answers, drawn, text_table

from backpass.data import Schema, Table, TableEncoder, infer_schema
from backpass.data.codes import codes_among

ROWS = 60
AGES = [round(float(value), 1) for value in drawn(ROWS).uniform(18, 80, ROWS)]


def found(*groups: tuple[float, int]) -> tuple[float, ...]:
    levels, counts = zip(*groups, strict=True)
    return codes_among(np.array(levels, float), np.array(counts))


def as_text(cells):
    return text_table(x=cells, target=answers(len(cells)))


def as_numbers(cells):
    return Table.from_data({"x": cells, "target": answers(len(cells))}, name="small")


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (((20, 5), (70, 5), (-999, 3)), (-999.0,)),
        (((20, 5), (70, 5), (999, 3)), (999.0,)),
        (((1, 9), (5, 9), (99, 4)), (99.0,)),
        (((0, 5), (100, 5), (-99, 3), (-999, 3)), (-999.0, -99.0)),
        (((-10, 5), (30, 5), (-999.9, 3)), (-999.9,)),
        (((0, 30), (-9999, 3)), (-9999.0,)),
        (((20, 5), (70, 5), (-999, 2)), ()),  # so few may be slips
        (((0, 90), (41310, 5), (99999, 9)), ()),  # the largest amount that a form takes
        (((20, 5), (98, 5), (99, 5)), ()),
        (((20, 5), (70, 5), (-998, 9)), ()),
        (((-120, 5), (80, 5), (-99, 5)), ()),
        (((99, 9),), ()),
    ],
)
def test_codes_are_nines_that_stand_far_from_all_others(groups, expected):
    assert found(*groups) == expected


@given(some.lists(some.floats(-1e6, 1e6), min_size=2, max_size=30, unique=True), some.integers(3, 9))
def test_a_code_far_below_all_others_is_found_whatever_they_are(others, count):
    """And nothing else is, but for nines among the others."""
    groups = [(value, 1) for value in others]
    assert found(*groups, (-99_999_999, count)) == (-99_999_999.0,)


@pytest.mark.parametrize("table_of", [as_text, as_numbers])
def test_cells_with_a_code_are_encoded_as_empty_ones(table_of):
    """In a whole table and in a few rows; and the schema of a model file keeps the code."""
    coded, empty = (table_of([value] * 4 + AGES[4:]) for value in (-999, None))
    schema = infer_schema(coded, ["target"])
    column = schema.columns[0]
    assert (column.codes, column.missing, column.distinct) == ((-999.0,), 4, len(set(AGES[4:])))
    assert "-999 in 6.7 % of the rows is read as missing; --column x=number reads it as a number" in schema.notes[0]
    assert Schema.from_json(schema.to_json()) == schema
    encoder = TableEncoder.fit(coded, schema)
    blocks = [encoder.encode(table)["numbers"] for table in (coded, empty)]
    np.testing.assert_array_equal(*blocks)
    assert blocks[0].shape[1] == 2
    few = [encoder.encode_few({"x": [cell, 30.0]})["numbers"] for cell in (-999, None)]
    np.testing.assert_array_equal(*few)
    np.testing.assert_array_equal(few[0][0], blocks[0][0])


def test_a_column_that_is_said_to_be_numbers_keeps_them_all():
    for table in (as_text([-999] * 4 + AGES[4:]), as_numbers([-999.0] * 4 + AGES[4:])):
        schema = infer_schema(table, ["target"], overrides={"x": "number"})
        assert (schema.columns[0].codes, schema.columns[0].missing, schema.notes) == ((), 0, ())
