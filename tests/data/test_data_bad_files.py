"""Each bad input gives one clear line: the table's name, what is wrong, what to do."""

import gzip
import io
import os

import polars as pl
import pytest
from table_helpers import read, written

from backpass.data import Table, read_table
from backpass.errors import TableError

PACKED = gzip.compress(b"a,b\n" + b"1,2\n" * 1000, mtime=0)


def parquet() -> bytes:
    file = io.BytesIO()
    pl.DataFrame({"a": list(range(1000))}).write_parquet(file)
    return file.getvalue()


def arrow() -> bytes:
    file = io.BytesIO()
    pl.DataFrame({"a": list(range(1000))}).write_ipc(file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("image.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is not a table but a PNG image"),
        ("photo.csv", b"\xff\xd8\xff\xe0\0\x10JFIF", "is not a table but a JPEG image"),
        ("book.csv", b"PK\x03\x04\x14\0\0\0", "is not a table but a zip archive or a spreadsheet"),
        ("data.csv", b"\x80\x04\x95\x10\0\0\0", "is not a table but a Python pickle"),
        ("junk.csv", bytes(range(256)) * 20, "is not a table but binary data"),
        ("zeros.csv", b"a,b\n1,\0\n", "is not a table but binary data"),
        ("cut.csv.gz", PACKED[:-20], "the gzip data ends too early"),
        ("torn.csv.gz", PACKED[:20] + b"xxxxxxxxxxxxx", "the gzip data is damaged"),
        ("empty.csv", b"", "is empty"),
        ("blank.csv", b"\n \n\n", "is empty"),
        ("packed-nothing.csv", gzip.compress(b"", mtime=0), "is empty"),
        ("header.csv", b"a,b\n", "has a header but no data rows"),
        ("header-quoted.csv", b'a,"b c"d\n', "quoted wrongly"),
        ("short.csv", b"a,b\n1,2\n\n3\n", "line 4 has 1 field, expected 2"),
        ("long.csv", b"a,b\n1,2\n3,4,5\n", "line 3 has 3 fields, expected 2"),
        ("both.csv", b"a,b,c\n1,2\n3,4,5,6\n", "line 2 has 2 fields, expected 3"),
        ("quoted.csv", b'a,b\n"x\ny",2\n3,4,5\n', "line 4 has 3 fields, expected 2"),
        ("padded.csv", b'a, "b"\n1, "x\ny"\n3, 4, 5\n', "line 4 has 3 fields, expected 2"),
        ("open.csv", b'a,b\n1,2\n"x,3\n4,5\n', "line 3 opens a quote that is never closed"),
        ("twice.csv", b"a,b,a\n1,2,3\n", 'the header has "a" more than once'),
        ("headless.csv", b"1.5,2,2\n1,2,3\n", "add a line of names"),
        ("wide.csv", b"\xff\xfea\0,\0\0\xd8", "starts as UTF-16 text but is not"),
        ("array.json", b'[{"a": 1}]', "is one JSON array"),
        ("bad.jsonl", b'{"a": 1}\n{"a":\n', "line 2 is not JSON"),
        ("number.jsonl", b'{"a": 1}\n3\n', 'line 2 is "3"'),
        ("list.jsonl", b'{"a": 1}\n{"a": [1]}\n', 'column "a" holds a list or an object in line 2'),
        ("object.jsonl", b'{"a": 1, "b": {"c": 1}}\n', 'column "b" holds a list or an object in line 1'),
        ("twice.jsonl", b'{"a": 1, "a": 2}\n', "line 1 has a key twice"),
        ("deep.jsonl", b'{"a": ' + b"[" * 100_000 + b"\n", "line 1 is not JSON"),
        ("none.jsonl", b"{}\n{}\n", "holds no values"),
        ("cut.parquet", parquet()[:-100], "the Parquet data is cut off or damaged"),
        ("torn.parquet", b"PAR1" + b"x" * 200 + b"PAR1", "the Parquet data is cut off or damaged"),
        ("cut.arrow", arrow()[:-100], "the Arrow data is cut off or damaged"),
        ("torn.arrow", b"ARROW1\0\0" + b"x" * 200, "the Arrow data is cut off or damaged"),
        ("torn.arrows", b"\xff\xff\xff\xff" + b"x" * 200, "the Arrow data is cut off or damaged"),
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_begins_with_its_name(tmp_path, name, content, words):
    with pytest.raises(TableError) as caught:
        read(tmp_path, content, name)
    message = str(caught.value)
    assert message.startswith(name)
    assert words in message
    assert "\n" not in message


def test_an_absent_file_offers_the_closest_name(tmp_path):
    written(tmp_path, "loans.csv", "a,b\n1,2\n")
    with pytest.raises(TableError, match=r"no such file\. Did you mean .*loans\.csv"):
        read_table(tmp_path / "loans.cvs")


def test_an_absent_folder_is_said_to_be_absent(tmp_path):
    with pytest.raises(TableError, match="There is no folder"):
        read_table(tmp_path / "nowhere" / "loans.csv")


def test_a_folder_is_no_table(tmp_path):
    with pytest.raises(TableError, match="is a folder"):
        read_table(tmp_path)


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(TableError, match="cannot be read"):
        read_table("a\0b")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read_says_so(tmp_path):
    path = written(tmp_path, "secret.csv", "a,b\n1,2\n")
    path.chmod(0)
    with pytest.raises(TableError, match="may not be read"):
        read_table(path)


def test_permission_errors_name_the_file(tmp_path, monkeypatch):
    path = written(tmp_path, "secret.csv", "a,b\n1,2\n")

    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(TableError, match=r"secret\.csv: may not be read"):
        read_table(path)


def test_a_panic_of_native_code_becomes_one_line(tmp_path, monkeypatch):
    class PanicException(BaseException):
        pass

    def panic(*_args, **_options):
        raise PanicException("index out of bounds")

    monkeypatch.setattr(pl, "read_parquet", panic)
    with pytest.raises(TableError, match="index out of bounds"):
        read(tmp_path, parquet(), "t.parquet")


@pytest.mark.parametrize(
    ("kind", "inside", "beyond"),
    [
        (pl.Date, [-719_162, 2_932_896], [-719_163, 2_932_897, -(1 << 31), (1 << 31) - 1]),
        (pl.Datetime("ms"), [-62_135_596_800_000, 253_402_300_799_999], [253_402_300_800_000, -(1 << 63)]),
        (pl.Datetime("us", "UTC"), [0, None], [-62_135_596_800_000_001, (1 << 63) - 1]),
        (pl.Datetime("ns"), [-(1 << 63), (1 << 63) - 1], []),
    ],
)
def test_a_date_that_there_cannot_be_is_refused_by_its_row(tmp_path, kind, inside, beyond):
    """polars would panic as soon as one is shown or converted; Python knows the years 1 to 9999 only."""
    physical = pl.Int32 if kind == pl.Date else pl.Int64
    path = tmp_path / "dates.parquet"
    for wrong in (None, *beyond):
        pl.DataFrame({"day": pl.Series([*inside, wrong], dtype=physical).cast(kind)}).write_parquet(path)
        if wrong is None:
            assert read_table(path).frame["day"].to_physical().to_list() == [*inside, None]
            continue
        with pytest.raises(TableError, match=r'^dates.parquet: column "day" holds a date beyond .* in row 3: correct'):
            read_table(path)


def test_an_absent_column_offers_the_closest_name(tmp_path):
    table = read(tmp_path, "default,b\n1,2\n", "loans.csv")
    with pytest.raises(TableError) as caught:
        table.column("defualt")
    assert str(caught.value) == 'loans.csv has no column "defualt". Did you mean "default"?'
    with pytest.raises(TableError, match='Its columns: "default", "b"'):
        table.column("zzz")


def test_a_file_that_would_abort_the_process_is_tried_in_another_first(tmp_path, monkeypatch):
    monkeypatch.setattr("backpass.data.native_check.TRIAL", "import os; os.abort()")
    with pytest.raises(TableError, match=r"t\.parquet: the Parquet data is damaged"):
        read(tmp_path, parquet(), "t.parquet")


def test_where_no_process_can_be_started_the_file_is_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", "")
    assert read(tmp_path, parquet(), "t.parquet").rows == 1000


def test_lines_end_at_line_feeds_alone_even_where_quotes_are_odd(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text('c\na\n5" \nb\u2028b\nx\x0cy\nz\x85z\n', encoding="utf-8")
    assert read_table(path).rows == 5


def test_reading_a_typed_file_runs_nothing_of_the_folder_it_is_read_in(tmp_path, monkeypatch):
    import polars as pl

    pl.DataFrame({"a": [1, 2], "b": [3, 4]}).write_parquet(tmp_path / "t.parquet")
    (tmp_path / "polars.py").write_text("open('PWNED', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    assert read_table("t.parquet").rows == 2
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"city": ["Rome", "\ud800x"]}, ["city", "row 2", r"'\ud800x'"]),
        ({"\udc00": [1, 2]}, [r"'\udc00'", "rename"]),
    ],
)
def test_half_a_character_is_refused_by_its_place(columns, words):
    with pytest.raises(TableError) as caught:
        Table.from_data(columns, name="the table")
    message = str(caught.value)
    assert "\n" not in message
    assert message.isascii()
    assert all(word in message for word in words)
