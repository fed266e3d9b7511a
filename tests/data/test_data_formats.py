# ruff: noqa: DTZ001  (cells of a table are by no clock but its own)
"""Every format that a table may come in, and every way that text may be written."""

import datetime as dt
import gzip
import io
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from table_helpers import PUBLIC, public, read, written

from backpass.data import Table, read_table
from backpass.data.records import PIECE
from backpass.errors import TableError, UsageError

TYPED = pl.DataFrame(
    {
        "count": [1, 2, None],
        "share": [0.5, None, 1.5],
        "name": [" ann", "bo ", None],
        "sure": [True, None, False],
        "day": [dt.date(2020, 1, 5), None, dt.date(2021, 2, 6)],
    }
)


def cells(table: Table) -> dict[str, list]:
    return table.frame.to_dict(as_series=False)


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("a,b\n1,x\n2,y\n", ","),
        ("a;b\n1;x\n2;y\n", ";"),
        ("a\tb\n1\tx\n2\ty\n", "\t"),
        ("a|b\n1|x\n2|y\n", "|"),
        ("a:b\n1:x\n2:y\n", ":"),
        ("a   b\n 1  x\n2   y \n", " "),
        ("a, b\n1, x\n2, y\n", ","),
        ("a,b\r\n1,x\r\n2,y\r\n", ","),
        ("a,b\r1,x\r2,y\r", ","),
        ("a,b\n1,x\n2,y", ","),
        ("\n\na,b\n1,x\n\n  \n2,y\n\n", ","),
        ('"a","b"\n"1","x"\n"2","y"\n', ","),
        ('a, "b"\n1, "x"\n2, "y"\n', ","),
        ("\ufeffa,b\n1,x\n2,y\n", ","),
    ],
)
def test_text_of_any_delimiter_and_line_end_gives_the_same_cells(tmp_path, content, delimiter):
    table = read(tmp_path, content)
    assert cells(table) == {"a": ["1", "2"], "b": ["x", "y"]}
    assert table.delimiter == delimiter


def test_decimal_commas_do_not_pass_for_delimiters(tmp_path):
    table = read(tmp_path, "price, EUR;weight, kg\n1,5;2,5\n3,5;4,5\n")
    assert cells(table) == {"price, EUR": ["1,5", "3,5"], "weight, kg": ["2,5", "4,5"]}


def test_times_do_not_pass_for_columns_separated_by_colons(tmp_path):
    assert read(tmp_path, "at,value\n10:20:30,1\n11:20:30,2\n").columns == ["at", "value"]


def test_quoted_fields_keep_delimiters_quotes_and_line_ends(tmp_path):
    table = read(tmp_path, 'a,b\n"1,2","say ""x"""\n"two\nlines",3\n')
    assert cells(table) == {"a": ["1,2", "two\nlines"], "b": ['say "x"', "3"]}


@pytest.mark.parametrize("length", [PIECE - 40, 2 * PIECE + 9])
def test_quoted_fields_are_whole_over_the_pieces_that_records_are_looked_for_in(tmp_path, length):
    """A field that begins in one piece and ends in another is one field of one record."""
    long = "x,\n" * (length // 3)
    rows = [("1", long + "end"), ("2", "a,b"), ("3", long + "end")]
    table = read(tmp_path, "a,b\n" + "".join(f'{a},"{b}"\n' for a, b in rows))
    assert cells(table) == {"a": ["1", "2", "3"], "b": [b for _, b in rows]}


def test_quotes_within_bare_fields_are_text(tmp_path):
    assert cells(read(tmp_path, 'a,b\n5" pipe,1\n6" pipe,2\n')) == {"a": ['5" pipe', '6" pipe'], "b": ["1", "2"]}


def test_empty_cells_are_missing_whether_quoted_or_not(tmp_path):
    table = read(tmp_path, 'a,b\n,1\n"",2\n')
    assert [cell or None for cell in cells(table)["a"]] == [None, None]


def test_a_given_delimiter_is_taken_even_where_another_is_likelier(tmp_path):
    assert read(tmp_path, "a,b;c\n1,2;3\n", delimiter=";").columns == ["a,b", "c"]


@pytest.mark.parametrize("spelled", ["\t", "tab", "\\t"])
def test_a_tab_can_be_spelled(tmp_path, spelled):
    assert read(tmp_path, "a\tb\n1\t2\n", delimiter=spelled).columns == ["a", "b"]


def test_a_delimiter_beyond_ascii_works(tmp_path):
    assert cells(read(tmp_path, "a§b\n1§2\n", delimiter="§")) == {"a": ["1"], "b": ["2"]}


@pytest.mark.parametrize("option", ["ab", "", '"', "\n"])
def test_a_delimiter_that_is_not_one_character_is_refused(tmp_path, option):
    with pytest.raises(UsageError, match="must be one character"):
        read(tmp_path, "a,b\n1,2\n", delimiter=option)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_encodings_are_told_by_their_marks(tmp_path, encoding):
    assert cells(read(tmp_path, "a,é\nß,☃\n".encode(encoding))) == {"a": ["ß"], "é": ["☃"]}


def test_western_text_is_read_with_a_note(tmp_path):
    table = read(tmp_path, "name,x\nJosé,1\n".encode("cp1252"))
    assert cells(table)["name"] == ["José"]
    assert "Windows-1252" in table.notes[0]


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv", "t"])
def test_gzip_is_told_by_its_bytes_not_by_its_name(tmp_path, name):
    assert cells(read(tmp_path, gzip.compress(b"a,b\n1,2\n"), name)) == {"a": ["1"], "b": ["2"]}


def test_gzip_of_several_members_is_read_to_the_end(tmp_path):
    packed = gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n")
    assert read(tmp_path, packed).rows == 2


@pytest.mark.parametrize("write", ["write_parquet", "write_ipc", "write_ipc_stream"])
def test_typed_formats_keep_their_types_and_strip_text(tmp_path, write):
    file = io.BytesIO()
    getattr(TYPED, write)(file)
    table = read(tmp_path, file.getvalue(), "typed.bin")
    assert table.frame.schema == TYPED.schema
    assert cells(table)["name"] == ["ann", "bo", None]


def test_json_lines_keep_their_types_and_lack_what_is_lacking(tmp_path):
    table = read(tmp_path, '{"n": 1, "x": 0.5, "t": "a"}\n\n{"n": 2, "b": true}\n', "t.jsonl")
    assert cells(table) == {"n": [1, 2], "x": [0.5, None], "t": ["a", None], "b": [None, True]}


def test_json_lines_are_known_by_their_first_brace(tmp_path):
    assert cells(read(tmp_path, '{"a": 1}\n{"a": 2}\n', "t.txt")) == {"a": [1, 2]}


def test_a_json_column_of_mixed_types_is_text_with_a_note(tmp_path):
    table = read(tmp_path, '{"a": 1}\n{"a": "x"}\n', "t.jsonl")
    assert cells(table) == {"a": ["1", "x"]}
    assert "mixes" in table.notes[0]


def test_standard_input_is_read_as_bytes(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(gzip.compress(b"a,b\n1,2\n")))
    monkeypatch.setattr("sys.stdin", stream)
    table = read_table("-")
    assert (table.name, table.rows) == ("standard input", 1)


def test_columns_without_a_name_get_one_and_a_note(tmp_path):
    table = read(tmp_path, ",x,\n0,1,2\n")
    assert table.columns == ["column_1", "x", "column_3"]
    assert len(table.notes) == 2


def test_a_given_name_is_not_given_again(tmp_path):
    assert read(tmp_path, "column_2,,x\n1,2,3\n").columns == ["column_2", "column_2_", "x"]


def test_a_header_that_looks_like_data_is_noted(tmp_path):
    assert "looks like data" in read(tmp_path, "5.1,3.5\n4.9,3.0\n").notes[0]


def test_rows_that_were_taken_keep_their_numbers_in_the_file(tmp_path):
    table = read(tmp_path, "a\n1\n2\n3\n4\n").take([3, 1]).take([0])
    assert (table.rows, table.row_number(0)) == (1, 4)


@pytest.mark.parametrize("chosen", [[], [0, 4, 5], [5, 0, 4], [4, 4], [-1, 2]])
def test_the_same_rows_are_taken_whatever_their_order(chosen):
    """Rising rows go another way than others: by a mask."""
    table = Table.from_data({"x": np.arange(6), "y": list("abcdef")})
    taken = table.take(chosen)
    assert cells(taken) == {"x": np.arange(6)[chosen].tolist(), "y": [list("abcdef")[row] for row in chosen]}
    assert taken.numbering.tolist() == np.arange(6)[chosen].tolist()


def test_dicts_of_arrays_and_lists_become_tables():
    table = Table.from_data(
        {
            "n": np.arange(2),
            "t": ["x", float("nan")],
            "d": np.array(["2020-01-05", "NaT"], "datetime64[ns]"),
            "h": np.zeros(2, np.float16),
        }
    )
    assert cells(table) == {"n": [0, 1], "t": ["x", None], "d": [dt.datetime(2020, 1, 5), None], "h": [0.0, 0.0]}


def test_polars_frames_become_tables():
    assert Table.from_data(TYPED).rows == 3
    assert Table.from_data(TYPED.lazy()).rows == 3


def test_frames_of_the_pandas_kind_become_tables_without_pandas():
    class NAType:
        pass

    class Frame:
        columns = ("a", "b")

        def to_dict(self, orient):
            assert orient == "list"
            return {"a": [1, 2], "b": ["x", NAType()]}

    assert cells(Table.from_data(Frame())) == {"a": [1, 2], "b": ["x", None]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "no columns"),
        ({"a": []}, "no data rows"),
        ({"a": [1], "b": [1, 2]}, "equal length"),
        ({"a": np.ones((2, 2))}, "dimensions"),
        ({"a": [[1]]}, "list values"),
        ({"a": [object()]}, "object values"),
        (3, "is int"),
    ],
)
def test_data_that_is_no_table_is_refused_in_one_line(data, words):
    with pytest.raises(TableError, match=words):
        Table.from_data(data)


def test_importing_the_room_does_not_import_polars():
    code = "import sys, backpass.data; sys.exit('polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("iris.csv", 150, 5),
        ("titanic.csv", 891, 15),
        ("adult_train.csv.gz", 32_561, 15),
        ("winequality-white.csv", 4_898, 12),
        ("bike_sharing_hour.csv", 17_379, 17),
        ("diamonds.csv.gz", 53_940, 10),
    ],
)
def test_public_tables_have_the_rows_and_columns_that_are_told_of_them(name, rows, columns):
    table = read_table(public(name))
    assert (table.rows, len(table.columns)) == (rows, columns)


def test_adult_has_no_blanks_around_its_cells():
    table = read_table(public("adult_train.csv.gz"))
    assert set(table.column("sex")) == {"Male", "Female"}


def test_the_folder_of_public_data_is_beside_the_repository_or_nowhere():
    assert PUBLIC.parent.name == "shared"


def test_a_path_may_be_text(tmp_path):
    assert read_table(str(written(tmp_path, "t.csv", "a,b\n1,2\n"))).name == "t.csv"
