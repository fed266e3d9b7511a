"""Tables from strangers: more than memory holds, bombs that only look small, names that steer a terminal."""

import gzip
import io
import json
import sys
import tracemalloc
from pathlib import Path

import polars as pl
import pytest
from table_helpers import written

from backpass.data import read_table
from backpass.errors import TableError

MIB = 1 << 20
TOO_MUCH = r"reading it needs .* MiB or more, and {} MiB are free here: give fewer rows or columns"


@pytest.fixture
def free(monkeypatch):
    """A machine that has so many bytes left."""

    def set_free(count):
        for module in ("limits", "textfile", "native_check"):
            monkeypatch.setattr(f"backpass.data.{module}.free_memory", lambda *_: count)

    return set_free


def refused(source, megabytes):
    with pytest.raises(TableError, match=TOO_MUCH.format(megabytes)) as told:
        read_table(source)
    assert "\n" not in str(told.value)


def test_a_text_table_larger_than_memory_is_refused_before_it_is_read(tmp_path, free, monkeypatch):
    """The file's size alone tells it: not a byte of it is read."""
    path = written(tmp_path, "t.csv", b"a,b\n" + b"1,2\n" * (5 * MIB // 4))
    free(16 * MIB)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it was read"))
    refused(path, 16)


def test_a_table_that_fits_is_read(tmp_path, free):
    free(16 * MIB)
    assert read_table(written(tmp_path, "t.csv", b"a,b\n" + b"1,2\n" * 1000)).rows == 1000


def test_gzip_that_unpacks_to_more_than_memory_is_stopped_on_the_way(tmp_path, free):
    """A file of 100 KB that would become 100 MB: what is unpacked until then is a small part of that."""
    path = written(tmp_path, "bomb.csv.gz", gzip.compress(b"a,b\n" + b"0" * (100 * MIB)))
    free(64 * MIB)
    tracemalloc.start()
    try:
        refused(path, 64)
        assert tracemalloc.get_traced_memory()[1] < 40 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no device without an end here")
def test_a_device_without_an_end_is_no_table(free):
    """What never ends is left when memory would be full."""
    free(32 * MIB)
    refused("/dev/zero", 32)


def test_standard_input_without_an_end_is_left_too(free, monkeypatch):
    class Endless(io.RawIOBase):
        def read(self, size=-1):
            return b"1,2\n" * (size // 4)

    class Stream:
        buffer = Endless()

    monkeypatch.setattr(sys, "stdin", Stream())
    free(32 * MIB)
    refused("-", 32)


@pytest.mark.parametrize("form", ["parquet", "ipc"])
def test_a_typed_file_of_more_rows_than_memory_holds_is_refused_by_what_it_says_of_itself(tmp_path, free, form):
    """Thirty million equal numbers take a few kilobytes on the disk: the rows are counted before any is read."""
    frame = pl.DataFrame(
        {"a": pl.zeros(30_000_000, pl.Int32, eager=True), "b": pl.zeros(30_000_000, pl.Int32, eager=True)}
    )
    path = tmp_path / "small.bin"
    if form == "parquet":
        frame.write_parquet(path)
    else:
        frame.write_ipc(path, compression="zstd")
    assert path.stat().st_size < MIB
    free(128 * MIB)
    refused(path, 128)


def test_lines_that_share_no_key_are_no_table(tmp_path):
    """A file of 200 KB would become a table of a hundred million cells."""
    lines = b"\n".join(json.dumps({f"key {n}": n}).encode() for n in range(10_000))
    with pytest.raises(TableError, match=r"its 10,000 lines have 10,000 different keys, hardly one in common"):
        read_table(written(tmp_path, "t.jsonl", lines))


def test_lines_of_many_keys_that_memory_does_not_hold_are_refused(tmp_path, free):
    """Where keys are shared, the cells count."""
    lines = b"\n".join(json.dumps({f"key {n % 100}": n, "b": 1}).encode() for n in range(20_000))
    path = written(tmp_path, "t.jsonl", lines)
    free(24 * MIB)
    refused(path, 24)


def test_a_name_in_a_message_steers_no_terminal(tmp_path):
    """Escape sequences of a table's names are shown, not obeyed."""
    with pytest.raises(TableError, match=r'"\\x1b\[31mred" more than once') as told:
        read_table(written(tmp_path, "t.csv", b"\x1b[31mred,\x1b[31mred\n1,2\n"))
    assert str(told.value).isprintable()
