"""A table that is left in its file: understood, divided and encoded as one in memory, to the bit and to the word."""

import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import backpass as bp
from backpass.data import FileTable, Table, divide, read_table
from backpass.data.encoders.table import TableEncoder
from backpass.errors import TableError, UsageError
from backpass.recipes.prepare import encode, prepare

ROWS = 3000
IRIS = Path(__file__).parents[2] / "examples" / "data" / "iris.csv"


def columns(rows=ROWS):
    """Every kind of column: numbers with gaps, few and many levels, dates, booleans, numbers written as text."""
    draw = np.random.default_rng(0)
    numbers = draw.normal(size=rows)
    numbers[draw.random(rows) < 0.1] = np.nan
    texts = [f"{value:.2f}" for value in draw.normal(size=rows)]
    texts[5] = texts[2600] = "?!"
    return {
        "a": pl.Series(numbers).fill_nan(None),
        "heavy": np.exp(3 * draw.normal(size=rows)),
        "few": draw.choice(["x", "y", " z"], rows),
        "many": [f"level {place}" for place in draw.integers(0, 60, rows)],
        "when": [dt.date(2020, 1, 1) + dt.timedelta(days=int(day)) for day in draw.integers(0, 900, rows)],
        "flag": draw.random(rows) < 0.3,
        "written": texts,
        "same": np.ones(rows),
        "y": np.where(np.nan_to_num(numbers) + 0.3 * draw.normal(size=rows) > 0, "yes", "no"),
    }


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr("backpass.data.file_table.ROWS_AT_ONCE", 700)


@pytest.fixture
def write(tmp_path):
    """Write a table as Parquet, or as Arrow."""

    def written(content, kind="parquet"):
        path, frame = tmp_path / f"t.{kind}", pl.DataFrame(content)
        if kind == "arrow":
            frame.write_ipc(path)
        else:
            frame.write_parquet(path, row_group_size=900)
        return path

    return written


def both(path):
    return read_table(path, stream=False), read_table(path, stream=True)


def same(first, second):
    pairs = (first, second) if isinstance(first, dict) else ({"": first}, {"": second})
    assert pairs[0].keys() == pairs[1].keys()
    assert all(np.array_equal(pairs[0][name], pairs[1][name]) for name in pairs[0])


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_schema_split_and_encoders_are_those_of_a_table_in_memory(write, kind):
    """All are learned column by column, so nothing of them hangs on where the table is."""
    found = []
    for table in both(write(columns(), kind)):
        division = divide(table, ["y"], seed=1)
        found.append((division, TableEncoder.fit(division.train, division.schema).to_json(), table.fingerprint()))
    (one, its_encoder, its_print), (other, other_encoder, other_print) = found
    assert isinstance(other.train, FileTable)
    assert one.schema == other.schema
    assert its_encoder == other_encoder
    assert its_print == other_print
    assert all(np.array_equal(*pair) for pair in zip(vars(one.split).values(), vars(other.split).values(), strict=True))


def test_encoded_rows_are_the_same(write):
    """Held-out rows in the order of the table; those trained on the same rows in another order, and in windows."""
    whole, left = (prepare(table, ["y"], seed=1) for table in both(write(columns())))
    for part in ("validation", "test"):
        same(getattr(whole, part).inputs, getattr(left, part).inputs)
        assert (getattr(whole, part).targets == getattr(left, part).targets).all()
    assert whole.notes == left.notes
    rows = [np.column_stack([*part.train.inputs.values(), part.train.targets]) for part in (whole, left)]
    ordered = [each[np.lexsort(each.T)] for each in rows]
    assert np.array_equal(*ordered)
    assert not np.array_equal(*rows)
    assert whole.train.window is None
    assert left.train.window is not None


def test_answers_and_scores_are_the_same(write):
    """A model predicts for a table in its file what it predicts for the same in memory."""
    path = write(columns())
    model = bp.train(path, "y", stream=False, recipe={"epochs": 2, "hidden": (4,)}, effort="fast").model
    whole, left = both(path)
    found = [model.predict_table(table) for table in (whole, left)]
    assert (found[0].values == found[1].values).all()
    assert np.array_equal(found[0].probabilities, found[1].probabilities)
    assert model.evaluate(whole) == model.evaluate(left)


def words(call, table):
    with pytest.raises(TableError) as told:
        call(table)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_errors_name_the_same_row_in_the_same_words(write):
    """An infinite number, a text among numbers, a column that lacks, and a new class, all far from the first row."""
    model = bp.train(write(columns()), "y", stream=False, recipe={"epochs": 1, "hidden": (4,)}, effort="fast").model
    clean = pl.DataFrame(columns())
    place = pl.int_range(pl.len())
    changed = [
        (clean.with_columns(heavy=pl.when(place == 2222).then(np.inf).otherwise("heavy")), model.predict, "row 2,223"),
        (clean.with_columns(a=pl.when(place == 1999).then(pl.lit("12mm")).otherwise("a")), model.predict, "row 2,000"),
        (clean.drop("few"), model.predict, '"few"'),
        (
            clean.with_columns(y=pl.when(place == 2999).then(pl.lit("maybe")).otherwise("y")),
            model.evaluate,
            "row 3,000",
        ),
        (
            clean.with_columns(heavy=pl.when(place == 2222).then(np.inf).otherwise("heavy")),
            lambda table: prepare(table, ["y"]),
            "row 2,223",
        ),
    ]
    for frame, call, expected in changed:
        first, second = (words(call, table) for table in both(write(frame)))
        assert expected in first
        assert first == second


def test_strays_are_counted_over_all_rows(write):
    """The note of what was read as missing is one, whatever the number of pieces."""
    model = bp.train(write(columns()), "y", stream=False, recipe={"epochs": 1, "hidden": (4,)}, effort="fast").model
    frame = pl.DataFrame(columns()).with_columns(
        written=pl.when(pl.int_range(pl.len()) % 500 == 0).then(pl.lit("none!")).otherwise("written")
    )
    told = []
    for table in both(write(frame)):
        told.append([])
        model.predict_table(table, coerce=["written"], notes=told[-1])
    assert told[0] == told[1] == ['column "written": 6 texts read as missing, such as "none!"']


def test_rows_unlike_all_learned_from_are_counted_over_all_rows(write):
    """One note a column, with the first such row, whatever the number of pieces; none of the rows learned from."""
    model = bp.train(write(columns()), "y", stream=False, recipe={"epochs": 1, "hidden": (4,)}, effort="fast").model
    place, told = pl.int_range(pl.len()), []
    changed = pl.DataFrame(columns()).with_columns(
        a=pl.when(place % 1000 == 999).then(1e3).otherwise("a"),
        heavy=pl.when(place == 2500).then(-1e9).otherwise("heavy"),
        few=pl.when(place >= 1500).then(pl.lit("w")).otherwise("few"),
    )
    for frame in (changed, columns()):
        for table in both(write(frame)):
            notes = []
            model.predict_table(table, coerce=["written"], notes=notes)
            told.append([note for note in notes if "unlike" in note])
    assert told[0] == told[1]
    starts = [note.split(": ", 1)[1] for note in told[0]]
    unlike = "unlike all that was learned from, such as"
    assert starts[0].startswith(f"3 of 3,000 rows are {unlike} 1000 in row 1,000: that was within 12 times ")
    assert starts[1].startswith(f"1 of 3,000 rows is {unlike} -1e+09 in row 2,501: that was from ")
    assert starts[2] == f'1,500 of 3,000 rows are {unlike} "w" in row 1,501: it counts as unknown'
    assert told[2] == told[3] == []


@pytest.mark.parametrize(("free", "kind"), [(None, Table), (1 << 40, Table), (300_000, FileTable)])
def test_a_table_is_left_in_its_file_where_memory_is_short(write, monkeypatch, free, kind):
    path = write(columns())
    monkeypatch.setattr("backpass.data.file_table.free_memory", lambda: free)
    assert type(read_table(path)) is kind
    assert type(read_table(path, stream=False)) is Table


def test_a_table_of_which_one_column_is_too_much_is_refused(write, monkeypatch):
    monkeypatch.setattr("backpass.data.file_table.free_memory", lambda: 10_000)
    with pytest.raises(TableError, match=r"t\.parquet: reading it needs .* or more, and .* are free here"):
        read_table(write(columns()))


def test_only_files_of_columns_can_be_left(tmp_path):
    """Text must be read to its end to find a column; a table in memory is in no file."""
    with pytest.raises(UsageError, match=r"--stream goes with files of columns, and iris\.csv is none: write it as"):
        read_table(IRIS, stream=True)
    with pytest.raises(UsageError, match="--stream goes with a table in a file"):
        prepare({"a": [1.0], "y": [1.0]}, ["y"], stream=True)
    with pytest.raises(TableError, match="no such file"):
        read_table(tmp_path / "none.parquet", stream=None)


def test_a_damaged_file_is_told_in_one_line(write):
    """Cut off, and with a flipped byte in the middle of its data."""
    path = write(columns())
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:3000] + bytes(400) + content[3400:]):
        path.write_bytes(damaged)
        assert "write it again" in words(lambda place: prepare(place, ["y"], stream=True), path)


def test_some_rows_of_a_table_in_its_file_are_tables_too(write):
    """What is taken of it keeps the file's row numbers."""
    _, left = both(write(columns()))
    part = left.take([3, 800, 2999]).take([1, 2])
    assert part.rows == 2
    assert part.column("many").to_list() == [left.column("many")[800], left.column("many")[2999]]
    pieces = list(part.pieces(["many"]))
    assert [piece.row_number(0) for piece in pieces] == [801, 3000]
    whole = prepare(left, ["y"], seed=1)
    assert encode(whole.tabular, part).rows == 2
