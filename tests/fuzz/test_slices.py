"""A short slice of each of the fuzzing scripts of this folder, with every run of the tests."""

from collections import Counter

import pytest

pytest.importorskip("resource", reason="the fuzzing scripts bound memory as Unix does")


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """The scripts set these when they are imported, for themselves alone."""
    monkeypatch.setenv("POLARS_MAX_THREADS", "1")
    monkeypatch.setenv("RUST_BACKTRACE", "0")


def test_damaged_and_forged_checkpoints_are_read_or_named(tmp_path):
    """Of 1,500 changed checkpoints each is read, to what safetensors' library reads, or refused in one line."""
    import fuzz_checkpoints as fuzz

    files = fuzz.seeds()
    ends = Counter(fuzz.run_case(tmp_path, fuzz.case(number, 1, files)) for number in range(1500))
    assert ends["read"] > 25
    assert ends["no checkpoint,"] > 25
    assert ends["damaged: not"] > 250


def test_damaged_and_forged_models_are_used_or_refused(tmp_path):
    """Of 200 changed model files each is loaded and used, or refused in one line."""
    import fuzz_models as fuzz

    files, path = fuzz.seeds(), tmp_path / "model.safetensors"
    table, rows = fuzz.Table.from_data(fuzz.columns(fuzz.ROWS)), fuzz.np.ones((fuzz.ROWS, 3))
    ends = Counter()
    for number in range(200):
        path.write_bytes(fuzz.case(number, 1, files))
        ends[fuzz.run_case(path, table, rows, loader=False)] += 1
    assert ends["ModelFileError"] > 100
    assert ends["used on a table"] > 10
    assert ends["used on arrays"] > 1


def test_damaged_tables_are_read_or_refused(tmp_path):
    """Of 500 damaged tables of all formats each is read, or refused in one line."""
    import fuzz_tables as fuzz

    files, ends = fuzz.seeds(), Counter()
    with fuzz.trials_forked():
        for number in range(500):
            name, data, draw = fuzz.case(number, 1, files)
            ends[fuzz.run_case(fuzz.saved(data, name, tmp_path), draw, None, reader=True)] += 1
    assert ends["TableError"] > 150
    assert ends["read"] > 100


def test_broken_and_absurd_requests_are_answered_in_a_line():
    """Of 60 requests to the playground's page each gets an answer that there may be, and no mistake is logged."""
    import fuzz_page as fuzz

    ends, failures = fuzz.run(60, 5)
    assert failures == []
    assert ends["422"] > 10
    assert ends["200"] > 5
    assert fuzz.crowd(30).startswith("200")
