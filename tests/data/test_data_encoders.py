"""From cells to a network's numbers and back: exact, vectorised, and never surprised at prediction time."""

import copy
import datetime as dt
import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_helpers import answers, drawn, public, text_table

from backpass.data import Schema, Table, TableEncoder, TargetEncoder, divide, infer_schema, read_table
from backpass.data.encoders.scaling import Scaling
from backpass.data.encoders.unlike import Unlike
from backpass.data.values import with_numbers
from backpass.errors import ModelFileError, ShapeError, TableError, UsageError

ROWS = 80


def everything(rows: int = ROWS, seed: int = 0) -> Table:
    """Every kind of column, with missing cells."""
    draw = drawn(rows, seed)
    cities = ["Rome", "Oslo", "Bonn", None]
    return text_table(
        age=[None if value < 0.1 else round(20 + 60 * value, 1) for value in draw.random(rows)],
        income=[round(float(value), 2) for value in draw.lognormal(10, 2, rows)],
        city=[cities[place] for place in draw.integers(0, 4, rows)],
        street=[f"s{place}" for place in draw.integers(0, 40, rows)],
        member=[("yes", "no")[place] for place in draw.integers(0, 2, rows)],
        day=[f"20{year}-{month:02}-05" for year, month in draw.integers(10, 13, (rows, 2))],
        target=answers(rows),
    )


def fitted(table: Table, target: str = "target", **options) -> TableEncoder:
    return TableEncoder.fit(table, infer_schema(table, [target]), **options)


FEW = fitted(Table("small.csv", everything().frame.drop("day")), one_hot_limit=8)


def single(cells, **options) -> tuple[TableEncoder, np.ndarray]:
    """The encoder of one column x beside a target, and its block."""
    cells = list(cells)
    table = text_table(x=cells, target=answers(len(cells)))
    encoder = fitted(table, **options)
    return encoder, encoder.encode(table)["numbers"]


def again(value):
    """Through JSON and back."""
    return json.loads(json.dumps(value))


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


PLAIN = st.one_of(
    st.none(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.text(st.characters(), max_size=4),  # halves of characters among them
    st.sampled_from(["Rome", " Oslo", "NA"]),
)
FEW_COLUMNS = {
    "age": st.one_of(st.none(), st.floats(-1e3, 1e3), st.integers(-9, 99)),
    "income": st.one_of(st.floats(), st.none()),
    "city": st.sampled_from(["Rome", "Bonn ", "", "n/A", "Ulm", None]),
    "street": st.one_of(st.text(max_size=3), st.sampled_from([f"s{place}" for place in range(40)])),
    "member": st.booleans(),
    "unread": PLAIN,
}


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_few_plain_values_are_encoded_as_in_a_table_or_left_to_it(data):
    """To the bit; and where the table has an error or a remark for them, they are left to it."""
    encoder, rows = FEW, data.draw(st.integers(1, 3))
    odd = data.draw(st.sampled_from([*FEW_COLUMNS, ""]))
    columns = {
        name: data.draw(st.lists(PLAIN if name == odd else cells, min_size=rows, max_size=rows))
        for name, cells in FEW_COLUMNS.items()
    }
    few = encoder.encode_few(columns)
    try:
        table, notes = Table.from_data(columns), []
        whole = encoder.encode(table, notes=notes)
    except TableError:
        assert few is None
        return
    if few is not None:
        assert not table.notes
        assert not notes
        assert same(few, whole)
        assert [each.dtype for each in few.values()] == [each.dtype for each in whole.values()]


def test_a_row_of_numbers_and_texts_needs_no_table():
    columns = {"age": [41], "income": np.array([1e4]), "city": ["Rome"], "street": ["s3"], "member": [True]}
    few = FEW.encode_few(columns)
    assert same(few, FEW.encode(Table.from_data(columns)))
    assert FEW.encode_few(columns | {"income": ["a lot"]}) is None
    assert FEW.encode_few({name: columns[name] for name in columns if name != "city"}) is None
    assert FEW.encode_few(columns | {"age": [41, 42]}) is None
    assert FEW.encode_few(columns | {"income": [math.inf]}) is None
    assert FEW.encode_few(columns | {"age": [2**63 - 1]}) is not None
    assert FEW.encode_few(columns | {"age": [2**63]}) is None
    assert FEW.encode_few(columns | {"city": ["\ud800"]}) is None


# The dense block


def test_numbers_are_standardized_with_the_mean_and_deviation_of_training_rows():
    _, block = single([1, 2, 3, 4, 5, 2, 3, 4, 3, 3])
    values = np.array([1, 2, 3, 4, 5, 2, 3, 4, 3, 3])
    np.testing.assert_allclose(block[:, 0], (values - 3) / np.sqrt(1.2), rtol=1e-6)
    assert block.dtype == np.float32


def test_missing_numbers_are_0_and_marked():
    encoder, block = single(["1", "?", "3", "", "5", "2"])
    assert encoder.feature_names == ["x", "x is missing"]
    assert block[[1, 3]].tolist() == [[0, 1], [0, 1]]
    assert block[[0, 2, 4, 5], 1].tolist() == [0, 0, 0, 0]


def test_numbers_missing_at_prediction_alone_are_0_and_not_marked():
    encoder, _ = single([1, 2, 3, 4, 5])
    assert encoder.encode(text_table(x=["?"]))["numbers"].tolist() == [[0]]


def test_heavy_tails_are_mapped_to_normal_scores():
    values = drawn(2000).lognormal(0, 3, 2000)
    encoder, block = single([repr(float(value)) for value in values])
    assert encoder.block[0].scaling.knots is not None
    assert np.abs(block).max() < 4
    assert abs(float(np.mean(block.astype(float) ** 3))) < 0.1
    assert np.array_equal(np.argsort(block[:, 0], kind="stable"), np.argsort(values.astype(np.float64), kind="stable"))


def test_values_beyond_the_outermost_knots_are_clamped_to_them():
    encoder, block = single([repr(float(value)) for value in drawn(500).lognormal(0, 3, 500)])
    beyond = encoder.encode(text_table(x=[-1e300, 1e300]))["numbers"]
    assert beyond[:, 0].tolist() == [block.min(), block.max()]


def test_normal_scores_of_ties_are_their_middle():
    scaling = Scaling.fit(np.array([0.0] * 90 + [1.0] * 5 + [1e6] * 5))
    score = scaling.scores[0]
    assert scaling.knots.tolist() == [0, 1, 1e6]
    assert score == pytest.approx(-0.12566, abs=1e-4)  # the normal quantile of 0.45


def test_a_rare_1_among_zeros_comes_out_at_10_at_most():
    _, block = single([1, 1, 1, *[0] * 5000])
    assert 9.9 < block.max() <= 10


@pytest.mark.parametrize("value", [1e300, 1.7e308, 5e-324, 1e-310])
def test_numbers_at_the_ends_of_what_floats_hold_stay_finite(value):
    _, block = single([repr(value), repr(-value), "0", repr(value / 2), "1"] * 3)
    assert np.isfinite(block).all()


def test_booleans_are_0_and_1_standardized():
    _, block = single(["yes", "no", "no", "no"] * 5)
    np.testing.assert_allclose(block[:2, 0], [0.75 / math.sqrt(0.1875), -0.25 / math.sqrt(0.1875)], rtol=1e-6)


def test_few_levels_are_one_hot_with_missing_as_a_level_of_its_own():
    encoder, block = single(["a", "b", None, "a", "b", "a"])
    assert encoder.feature_names == ["x=a", "x=b", "x is missing"]
    assert block.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_unseen_levels_are_all_zeros():
    encoder, _ = single(["a", "b", "a", "b"])
    assert encoder.encode(text_table(x=["c", None, "a"]))["numbers"].tolist() == [[0, 0], [0, 0], [1, 0]]


def test_many_levels_are_numbered_with_0_for_rare_and_unseen_ones():
    cells = [f"s{place:02}" for place in range(40) for _ in range(3)] + ["once", None]
    table = text_table(x=cells, n=range(0, 5 * len(cells), 5), target=answers(len(cells)))
    encoder = fitted(table)
    codes = encoder.encode(table)["x"]
    assert encoder.embeddings == {"x": 42}
    assert codes.dtype == np.int32
    assert codes[:6].tolist() == [1, 1, 1, 2, 2, 2]
    assert codes[-2:].tolist() == [0, 41]
    assert encoder.encode(text_table(x=["new", "s39"], n=[1, 2]))["x"].tolist() == [0, 40]


def test_the_limit_between_one_hot_and_numbers_can_be_set():
    table = text_table(x=["a", "b", "c", "a", "b", "c"], target=answers(6))
    assert fitted(table, one_hot_limit=3).embeddings == {}
    assert fitted(table, one_hot_limit=2).embeddings == {"x": 4}


def test_a_column_called_numbers_does_not_hide_the_block():
    table = text_table(numbers=["a", "b", "c", "a", "b", "c"], n=[1, 5, 2, 2, 4, 4], target=answers(6))
    arrays = fitted(table, one_hot_limit=2).encode(table)
    assert arrays.keys() == {"numbers", "numbers (column)"}


def test_dates_have_a_time_and_circles_where_they_move():
    encoder, block = single(["2020-01-06", "2020-04-07", "2020-07-08", "2020-10-09"])
    assert encoder.feature_names == ["x", "x month sin", "x month cos", "x weekday sin", "x weekday cos"]
    np.testing.assert_allclose(block[:, 1:3], [[0, 1], [1, 0], [0, -1], [-1, 0]], atol=1e-6)
    np.testing.assert_allclose(block[0, 3:], [0, 1], atol=1e-6)  # 6 January 2020 was a Monday


def test_times_of_day_have_an_hour_and_no_month():
    encoder, block = single(["00:00", "06:00", "12:00", "18:00"])
    assert encoder.feature_names == ["x", "x hour sin", "x hour cos"]
    np.testing.assert_allclose(block[:, 1], [0, 1, 0, -1], atol=1e-6)


def test_missing_dates_stand_nowhere():
    _, block = single(["2020-01-06", "2020-04-07", None, "2020-10-09"])
    assert block[2].tolist() == [0, 0, 0, 0, 0, 1]


def test_dates_before_1970_have_their_month():
    _, block = single(["1960-01-01", "1960-04-01", "1959-12-01"])
    np.testing.assert_allclose(block[:2, 1], [0, 1], atol=1e-6)


def test_without_scaling_numbers_stay_and_missing_ones_are_the_mean():
    _, block = single(["1", "3", "?", "100000"], scale=False)
    assert block[:, 0].tolist() == [1, 3, pytest.approx(100004 / 3, rel=1e-6), 100000]


def test_without_scaling_numbers_too_large_for_32_bits_are_refused():
    encoder, _ = single([1, 2, 3], scale=False)
    with pytest.raises(TableError, match='"x" is too large for float32 in row 2'):
        encoder.encode(text_table(x=[1, 1e300]))


def test_64_bits_are_kept_where_they_are_asked_for():
    _, block = single([1, 2, 3, 4], precision="float64")
    assert block.dtype == np.float64


def test_every_feature_has_a_name():
    table = everything()
    encoder = fitted(table)
    assert encoder.encode(table)["numbers"].shape == (ROWS, len(set(encoder.feature_names)))


# At prediction time


def trained() -> TableEncoder:
    rows = 30
    return fitted(
        text_table(
            income=range(0, 5 * rows, 5),
            city=["Rome", "Oslo"] * 15,
            day=["2020-01-01", "2020-02-02"] * 15,
            target=answers(rows),
        )
    )


def given_rows(**changes) -> Table:
    return Table.from_data(
        {"income": [1, 2], "city": ["Rome", "Oslo"], "day": ["2020-01-01"] * 2} | changes, name="new.csv"
    )


def test_columns_in_another_order_beside_others_give_the_same():
    turned = Table.from_data({"extra": [1, 2], "day": ["2020-01-01"] * 2, "city": ["Rome", "Oslo"], "income": [1, 2]})
    assert same(trained().encode(turned), trained().encode(given_rows()))


def test_typed_cells_and_text_give_the_same():
    typed = given_rows(day=[dt.date(2020, 1, 1)] * 2, city=pl.Series(["Rome", "Oslo"], dtype=pl.Categorical))
    text = given_rows(income=["1", "2.0"])
    assert same(trained().encode(typed), trained().encode(text))


def test_a_lacking_column_offers_the_closest_name():
    table = Table.from_data({"incone": [1], "city": ["Rome"], "day": ["2020-01-01"]}, name="new.csv")
    with pytest.raises(TableError) as caught:
        trained().encode(table)
    assert str(caught.value) == 'new.csv: lacks the column "income", which the model reads: is it "incone" there?'


def test_text_among_numbers_names_row_and_remedy():
    with pytest.raises(TableError) as caught:
        trained().encode(given_rows(income=["1", "12k"]))
    assert str(caught.value) == (
        'new.csv: column "income" holds text in row 2 ("12k"), where the model was trained on numbers. '
        "Correct the row, or read it as missing with --coerce income."
    )


def test_text_among_numbers_is_missing_where_that_is_asked_for():
    notes = []
    block = trained().encode(given_rows(income=["1", "12k"]), coerce=["income"], notes=notes)["numbers"]
    assert block[1, 0] == 0
    assert notes == ['column "income": 1 text read as missing, such as "12k"']


def unlike(encoder, table):
    found = Unlike()
    encoder.encode(table, unlike=found)
    return found.notes()


def test_what_training_never_had_is_told_and_what_is_missing_is_not():
    encoder, other = trained(), given_rows(income=[None, 2000], city=["Rome", None])
    (note,) = unlike(encoder, other)
    assert note == (
        'column "income": 1 of 2 rows is unlike all that was learned from, such as 2000 in row 2: '
        "that was within 12 times 43.2772 of 72.5"
    )
    assert unlike(encoder, given_rows(city=["Bonn", "Bonn"])) == [
        'column "city": 2 of 2 rows are unlike all that was learned from, such as "Bonn" in row 1: it counts as unknown'
    ]
    assert unlike(encoder, given_rows(day=["2020-01-09", "2999-12-31"])) == [
        'column "day": 1 of 2 rows is unlike all that was learned from, such as "2999-12-31" in row 2: no other is near'
    ]
    assert unlike(encoder, given_rows(income=[-70, 500], day=["2020-01-09", "2020-06-09"])) == []


def test_of_many_levels_the_rare_ones_are_not_said_to_be_new():
    cities = [f"t{place % 80}" for place in range(590)] + [f"once{place}" for place in range(10)]
    table = text_table(city=cities, target=answers(600))
    (note,) = unlike(fitted(table), table)
    assert note.startswith(
        'column "city": 10 of 600 rows are of a level of which one row was learned from at most, such as "'
    )
    assert note.endswith('"once0" in row 591: it counts as unknown')


def test_of_many_strange_columns_a_few_are_told_of_one_by_one():
    learned = text_table(**{f"x{place}": range(30) for place in range(9)}, target=answers(30))
    other = Table.from_data({f"x{place}": [1, 10_000] for place in range(9)}, name="new.csv")
    *told, last = unlike(fitted(learned), other)
    assert [note.split(":")[0] for note in told] == [f'column "x{place}"' for place in range(5)]
    assert last == "and so it is with 4 more columns"


@given(st.lists(st.floats(-1e300, 1e300), min_size=3, max_size=40))
def test_nothing_learned_from_lies_far_from_all_that_was_learned_from(values):
    learned = np.array(values)
    scaling = Scaling.fit(learned)
    assert not scaling.far(learned).any()
    assert not Scaling.fit(learned, scale=False).far(learned * 2).any()


def test_coercing_an_unknown_column_is_refused():
    with pytest.raises(UsageError, match='Did you mean "income"'):
        trained().encode(given_rows(), coerce=["incom"])


def test_a_stray_text_of_training_is_missing_again():
    encoder, _ = single(["unknown", *range(0, 120, 3)])
    assert encoder.encode(text_table(x=["unknown"]))["numbers"].tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"income": [1.0, math.inf]}, 'column "income" is infinite in row 2'),
        ({"income": ["1", "1e999"]}, 'column "income" is infinite in row 2'),
        ({"income": [dt.date(2020, 1, 1)] * 2}, "holds dates, where the model was trained on numbers"),
        ({"day": [1, 2]}, "holds numbers, where the model was trained on dates"),
        ({"day": ["2020-01-01", "soon"]}, r'holds text in row 2 \("soon"\), where the model was trained on dates'),
        ({"day": [dt.time(1), dt.time(2)]}, "holds times of day, where the model was trained on dates"),
        ({"city": [dt.date(2020, 1, 1)] * 2}, "holds dates, where the model was trained on text"),
    ],
)
def test_cells_of_another_type_are_refused(changes, words):
    with pytest.raises(TableError, match=words):
        trained().encode(given_rows(**changes))


def test_missing_cells_of_every_kind_never_fail():
    empty = Table.from_data({"income": [None], "city": [None], "day": [None]})
    assert np.isfinite(trained().encode(empty)["numbers"]).all()


def test_a_table_without_rows_is_refused():
    with pytest.raises(TableError, match="has no rows"):
        trained().encode(given_rows().take([]))


# Model files


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=4, max_size=40),
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=4), min_size=4, max_size=4),
)
def test_an_encoder_read_back_encodes_to_the_same_bits(values, words):
    cells = [repr(value) for value in values]
    labels = [words[place % 4] for place in range(len(cells))]
    table = text_table(x=cells, fixed=[place % 3 for place in range(len(cells))], w=labels, target=answers(len(cells)))
    schema = infer_schema(table, ["target"], overrides={"x": "number", "w": "category"})
    encoder = TableEncoder.fit(table, schema, one_hot_limit=2)
    assert same(TableEncoder.from_json(again(encoder.to_json())).encode(table), encoder.encode(table))


def test_every_kind_of_column_comes_back_from_a_model_file():
    table = everything()
    schema, encoder = infer_schema(table, ["target"]), fitted(table)
    assert Schema.from_json(again(schema.to_json())) == schema
    assert same(TableEncoder.from_json(again(encoder.to_json())).encode(table), encoder.encode(table))
    assert TableEncoder.from_json(again(encoder.to_json())).feature_names == encoder.feature_names


def places(value, path=()):
    """The path of every value in nested dicts and lists."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def changed(value, path, new):
    value = copy.deepcopy(value)
    if not path:
        return new
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = new
    return value


def refuses(reader, value) -> bool:
    try:
        reader.from_json(value)
    except ModelFileError:
        return True
    return False


STRANGE = (None, True, "strange", -1, 1e999, float("nan"), 10**400, [], {}, [None], {"a": 1})


@pytest.mark.parametrize("kind", ["schema", "table", "target", "amounts"])
def test_a_changed_model_file_is_refused_or_read_but_never_fails_otherwise(kind):
    table = everything(40)
    schema = infer_schema(table, ["age"] if kind == "amounts" else ["target"])
    readers = {"schema": Schema, "table": TableEncoder, "target": TargetEncoder, "amounts": TargetEncoder}
    written = {
        "schema": schema,
        "table": TableEncoder.fit(table, schema),
        "target": TargetEncoder.fit(table, schema),
        "amounts": TargetEncoder.fit(table, schema),
    }[kind].to_json()
    refused = 0
    for path in places(written):
        for strange in STRANGE:
            refused += refuses(readers[kind], changed(written, path, strange))
    assert refused > 500


@pytest.mark.parametrize("reader", [Schema, TableEncoder, TargetEncoder])
def test_fields_that_are_lacking_or_unknown_are_named(reader):
    table = everything()
    schema = infer_schema(table, ["target"])
    value = {Schema: schema, TableEncoder: fitted(table), TargetEncoder: TargetEncoder.fit(table, schema)}[
        reader
    ].to_json()
    with pytest.raises(ModelFileError, match="surprise is not a field"):
        reader.from_json(value | {"surprise": 1})
    lacking = dict(list(value.items())[1:])
    with pytest.raises(ModelFileError, match=f"{next(iter(value))} is not there"):
        reader.from_json(lacking)


# Targets


def target_encoder(cells, **options) -> tuple[TargetEncoder, Table]:
    cells = list(cells)
    table = text_table(x=[value / 3 for value in range(len(cells))], target=cells)
    return TargetEncoder.fit(table, infer_schema(table, ["target"], **options)), table


@pytest.mark.parametrize(
    ("cells", "codes", "dtype"),
    [
        (["yes", "no", "no"], [1, 0, 0], "U"),
        (["1", "0", "1"], [1, 0, 1], "i"),
        (["2.5", "10", "2.5"], [0, 1, 0], "f"),
    ],
)
def test_classes_are_numbered_and_come_back_as_in_the_file(cells, codes, dtype):
    encoder, table = target_encoder(cells * 10)
    encoded = encoder.encode(table)
    assert (encoded.dtype, encoded[:3].tolist()) == (np.int64, codes)
    decoded = TargetEncoder.from_json(again(encoder.to_json())).decode(encoded)
    assert decoded.dtype.kind == dtype
    assert [str(label) for label in decoded[:3]] == [str(float(cell)) if dtype == "f" else cell for cell in cells]


def test_typed_booleans_come_back_as_booleans():
    table = Table.from_data({"x": [1.5, 2.5, 3.5, 4.5], "target": [True, False, True, False]})
    encoder = TargetEncoder.fit(table, infer_schema(table, ["target"]))
    assert encoder.encode(table).tolist() == [1, 0, 1, 0]
    assert encoder.decode([0, 1]).tolist() == [False, True]


def test_amounts_are_standardized_and_come_back():
    encoder, table = target_encoder([10.5, 20.5, 30.5, 45.5])
    encoded = encoder.encode(table)
    assert (encoded.shape, encoded.dtype) == ((4, 1), np.float32)
    assert abs(float(encoded.mean())) < 1e-6
    back = TargetEncoder.from_json(again(encoder.to_json())).decode(encoded)
    np.testing.assert_allclose(back[:, 0], [10.5, 20.5, 30.5, 45.5], rtol=1e-6)


def test_several_targets_have_a_column_each():
    table = text_table(x=[1, 5, 2, 4], y=[1, 2, 3, 5], z=[100, 300, 200, 50])
    encoder = TargetEncoder.fit(table, infer_schema(table, ["y", "z"]))
    assert encoder.encode(table).shape == (4, 2)
    np.testing.assert_allclose(
        encoder.decode(encoder.encode(table)), [[1, 100], [2, 300], [3, 200], [5, 50]], rtol=1e-5
    )


def test_a_label_is_known_in_spite_of_case_blanks_and_a_full_stop_with_one_note():
    encoder, _ = target_encoder(["<=50K", ">50K"] * 5)
    notes = []
    table = text_table(target=["<=50K.", " >50k. ", ">50K", "<=50K."])
    assert encoder.encode(table, notes=notes).tolist() == [0, 1, 1, 0]
    assert len(notes) == 1


def test_labels_that_training_told_apart_stay_apart():
    encoder, _ = target_encoder(["a", "A"] * 5)
    assert encoder.encode(text_table(target=["a", "A"])).tolist() == [1, 0]
    with pytest.raises(TableError, match=r'row 1 has the class "a\."'):
        encoder.encode(text_table(target=["a."]))


def test_an_unknown_class_is_refused_with_its_row_and_the_closest():
    encoder, _ = target_encoder(["versicolor", "virginica"] * 5)
    with pytest.raises(TableError, match=r'row 2 has the class "vrginica".* Did you mean "virginica"\?'):
        encoder.encode(text_table(target=["versicolor", "vrginica"]))


def test_a_row_without_target_is_refused_by_number():
    encoder, _ = target_encoder(["a", "b"] * 5)
    with pytest.raises(TableError, match="row 2 has no value"):
        encoder.encode(text_table(target=["a", None]))


def test_outputs_of_another_shape_are_refused():
    classes, _ = target_encoder(["a", "b"] * 5)
    amounts, _ = target_encoder([1.5, 2.5, 4.5])
    with pytest.raises(ShapeError, match="take argmax"):
        classes.decode([0.5, 0.5])
    with pytest.raises(ShapeError, match="do not fit 1 targets"):
        amounts.decode(np.zeros((3, 2)))


@pytest.mark.parametrize("one_hot_limit", [8, 32, 64])
def test_columns_stand_in_the_block_as_each_would_alone(one_hot_limit):
    """Narrow columns are written to it together, wide ones, as of 40 streets, by themselves: all in their order."""
    numbers = everything(seed=1).frame
    more = {f"{name} {place}": numbers[name] for place in range(12) for name in ("age", "income", "member")}
    table = Table("wide.csv", everything().frame.with_columns(**more), delimiter=",")
    encoder = fitted(table, one_hot_limit=one_hot_limit)
    alone = [TableEncoder((each,), ()).encode(table)["numbers"] for each in encoder.block]
    assert np.array_equal(encoder.encode(table)["numbers"], np.concatenate(alone, axis=1))


def test_numbers_that_were_read_beforehand_are_learned_from_and_encoded_to_the_same_bits():
    """Plain ones, with units, with codes and strays for missing, of some rows of which only some have a value."""
    draw = drawn(400)
    coded = [-999 if value < 0.1 else round(20 + 60 * value, 1) for value in draw.random(400)]
    table = everything(400)
    frame = table.frame.with_columns(
        coded=pl.Series(map(str, coded)),
        price=pl.Series([f"$ {value:,}" for value in draw.integers(1, 10**6, 400)]),
        stray=pl.Series(["closed" if place == 7 else str(value) for place, value in enumerate(draw.random(400))]),
    )
    table, rows = Table(table.name, frame, delimiter=","), np.arange(3, 390)
    text = table.take(rows)
    schema = infer_schema(text, ["target"])
    assert [bool(column.codes) for column in schema.inputs if column.name in ("coded", "price")] == [True, False]
    read = with_numbers(table, schema.inputs, rows)
    assert read.row_number(0) == 4
    assert read.column("stray").dtype == read.column("price").dtype == read.column("member").dtype == pl.Float64
    encoder = TableEncoder.fit(text, schema)
    assert TableEncoder.fit(read, schema).to_json() == encoder.to_json()
    assert same(encoder.encode(read), encoder.encode(text))


# No leak


def test_what_test_rows_hold_changes_nothing_that_is_learned():
    table = everything(400)
    one = divide(table, ["target"], seed=3)
    spoiled = table.frame.with_columns(pl.int_range(pl.len()).is_in(one.split.test.tolist()).alias("held"))
    spoiled = spoiled.with_columns(
        pl.when("held").then(pl.lit("1e9")).otherwise("income").alias("income"),
        pl.when("held").then(pl.lit("Atlantis")).otherwise("city").alias("city"),
        pl.when("held").then(pl.lit("1999-09-09")).otherwise("day").alias("day"),
    ).drop("held")
    other = divide(Table(table.name, spoiled, delimiter=","), ["target"], seed=3)
    assert one.schema == other.schema
    assert TableEncoder.fit(one.train, one.schema).to_json() == TableEncoder.fit(other.train, other.schema).to_json()


# Public tables


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("iris.csv", "species"),
        ("penguins.csv", "species"),
        ("titanic.csv", "survived"),
        ("adult_train.csv.gz", "income"),
        ("california_housing.csv", "median_house_value"),
        ("bike_sharing_hour.csv", "cnt"),
    ],
)
def test_public_tables_encode_to_finite_numbers_within_bounds(name, target):
    division = divide(read_table(public(name)), [target], seed=0)
    encoder = TableEncoder.fit(division.train, division.schema)
    for part in (division.train, division.validation, division.test):
        assert np.abs(encoder.encode(part)["numbers"]).max() < 30
        assert len(TargetEncoder.fit(division.train, division.schema).encode(part)) == part.rows


def test_the_test_part_of_adult_has_the_classes_of_its_training_part():
    table, other = read_table(public("adult_train.csv.gz")), read_table(public("adult_test.csv.gz"))
    schema = infer_schema(table, ["income"])
    notes = []
    labels = TargetEncoder.fit(table, schema).encode(other, notes=notes)
    assert np.bincount(labels).tolist() == [12_435, 3_846]
    assert '"<=50K." as "<=50K"' in notes[0]
