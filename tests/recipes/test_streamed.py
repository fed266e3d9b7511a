"""A table trained on from the disk: the report, the model and the promises of one in memory."""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

import backpass as bp
from backpass.data import stored
from backpass.errors import OutputError
from backpass.recipes import again, plan
from backpass.recipes.main_job import fit_into
from backpass.recipes.words import words_of
from backpass.storage.locks import FolderLock

ROWS = 6000
RECIPE = {"epochs": 8, "hidden": (16,), "batch_size": 64}
SMALL_WINDOWS = 1 << 15  # bytes
CODE = """
import sys
from backpass.data import stored
stored.WINDOW, stored.LEAST_WINDOW = 1 << 15, 64
from backpass.cli.main import main
main(sys.argv[1:])
"""


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table in the order of its target, and windows so small that there are many."""
    monkeypatch.setattr(stored, "WINDOW", SMALL_WINDOWS)
    monkeypatch.setattr(stored, "LEAST_WINDOW", 64)
    (tmp_path / "room").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "room"))
    monkeypatch.setattr("tempfile.tempdir", None)
    draw = np.random.default_rng(0)
    x = draw.normal(size=(ROWS, 4))
    y = x[:, 0] + x[:, 1] * x[:, 2] + 0.3 * draw.normal(size=ROWS) > 0
    order = np.argsort(y, kind="stable")
    frame = pl.DataFrame({f"x{place}": x[order, place] for place in range(4)} | {"y": np.where(y[order], "yes", "no")})
    frame.write_parquet(tmp_path / "t.parquet", row_group_size=1000)
    return tmp_path / "t.parquet"


def trained(table, **options):
    return bp.train(table, "y", **{"stream": True, "recipe": RECIPE, "effort": "fast", **options})


def left_behind(table):
    return list((table.parent / "room").iterdir())


def test_it_is_understood_as_in_memory_and_learns_as_well(table):
    """The same encoders and baselines; the network differs by the order of rows, though these stand by their class."""
    whole, streamed = trained(table, stream=False), trained(table)
    encoders = [
        (each.model.tabular.inputs.to_json(), each.model.tabular.targets.to_json()) for each in (whole, streamed)
    ]
    assert encoders[0] == encoders[1]
    assert whole.scores[-1].metrics == streamed.scores[-1].metrics
    assert whole.model.weights != streamed.model.weights
    margin = whole.scores[0].margins["accuracy"]
    assert abs(whole.metrics["accuracy"] - streamed.metrics["accuracy"]) < margin
    assert streamed.metrics["accuracy"] > 0.85
    assert not left_behind(table)


def test_every_window_is_a_sample_of_all_rows():
    """Of rows in order, each window has as many from the first half as chance has it, and all rows are there once."""
    rows = np.arange(40_000)
    window = 1 << 10
    pieces = ({"a": part, "b": part.astype(np.float32)} for part in np.split(rows, 8))
    found = stored.stored(pieces, 40_000, seed=1)
    assert sorted(found["a"]) == list(range(40_000))
    assert (found["a"] == found["b"]).all()
    many = stored.window_of(12) // window
    assert many >= 1
    as_they_came = stored.stored(({"a": part} for part in np.split(rows, 8)), 40_000)
    assert (as_they_came["a"] == rows).all()


def test_windows_are_drawn_by_chance(table):
    """A table in the order of its classes: every window has both, about half and half."""
    planned = plan(table, "y", stream=True, recipe=RECIPE, effort="fast")
    train, size = planned.prepared.train, planned.trainer().window
    shares = [train.targets[at : at + size].mean() for at in range(0, train.rows, size)]
    assert len(shares) == 5
    assert max(abs(share - train.targets.mean()) for share in shares) < 0.1


def test_threads_change_no_bit_and_the_same_seed_gives_the_same(table):
    assert len({trained(table, threads=threads).model.weights for threads in (1, 2, None)}) == 1
    assert trained(table, seed=1).model.weights != trained(table).model.weights


def test_a_run_knows_that_it_was_streamed(table, tmp_path):
    """What goes on with it, or does it again, streams too, however much memory there is."""
    outcome = trained(table, out=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["asked"]["stream"] is True
    planned = again.plan_of(tmp_path / "run")
    assert planned.prepared.train.window is not None
    assert again.compare(tmp_path / "run", planned).same
    assert any(line.startswith("streamed  ") for line in planned.prepared.describe())
    step = again.open_run(tmp_path / "run").replay(outcome.steps)
    assert np.isfinite(step.loss)


def test_a_streamed_run_has_a_ledger_with_the_rows_of_its_file(table, tmp_path, monkeypatch):
    """Rows stand in drawn order on the disk, in many windows; each is told by its number in the file."""
    monkeypatch.setattr("backpass.data.file_table.ROWS_AT_ONCE", 700)
    trained(table, out=tmp_path / "run")
    frame, opened = pl.read_parquet(table), again.open_run(tmp_path / "run")
    prepared = opened.plan.prepared
    names = words_of(prepared)
    encoder = prepared.tabular.inputs
    order = prepared.train.order()
    assert sorted(order) == list(range(prepared.train.rows))
    assert len(prepared.train.drawn[1]) > 5
    for place in range(0, prepared.train.rows, 97):
        row = names.row(place)
        own = encoder.encode(prepared.table.take([row - 1]))["numbers"]
        np.testing.assert_array_equal(own[0], prepared.train.inputs[place])
        assert names.raw(place)["x1"] == str(frame["x1"][row - 1])
    found = opened.trace(row=names.row(5))
    assert found.row == names.row(5)
    assert found.sums.largest < 1
    assert opened.why(names.row(5)).row == names.row(5)


def test_a_path_is_one_file_also_where_its_name_looks_like_a_pattern(tmp_path):
    for name, rows in (("t1.parquet", 777), ("t[1].parquet", 500)):
        pl.DataFrame({"x": np.arange(rows), "y": np.arange(rows) % 2}).write_parquet(tmp_path / name)
    assert bp.data.read_table(tmp_path / "t[1].parquet", stream=True).rows == 500


def test_a_run_in_memory_stays_one(table, tmp_path, monkeypatch):
    """To go on with it where memory has become short would give other bits: it is told that there is not enough."""
    trained(table, stream=None, out=tmp_path / "run")
    monkeypatch.setattr("backpass.data.file_table.free_memory", lambda: 700_000)
    assert again.plan_of(tmp_path / "run").prepared.train.window is None
    assert plan(table, "y", recipe=RECIPE).prepared.train.window is not None


def test_a_killed_training_goes_on_to_the_same_bits_and_leaves_nothing_on_the_disk(table, tmp_path):
    """kill -9 in mid-epoch: the encoded rows have no name, and are made again."""
    recipe = ["--hidden", "16", "--batch-size", "64", "--effort", "fast"]
    words = ["train", str(table), "--target", "y", "--stream", "--epochs", "400", "--patience", "400", "--quiet"]
    command = [sys.executable, "-c", CODE, *words, *recipe, "--save-every", "0.02", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command)
    until = time.monotonic() + 120
    while not any((tmp_path / "run").glob("checkpoints/step-*[1-9]*.safetensors")) and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not left_behind(table)
    killed_at = int(again.how_far(tmp_path / "run").split()[1].strip(",").replace(",", ""))
    assert killed_at > 0
    with FolderLock(tmp_path / "run"):
        outcome = fit_into(tmp_path / "run", again.plan_of(tmp_path / "run"), begins=False)
    whole = trained(table, recipe=RECIPE | {"epochs": 400, "patience": 400})
    assert killed_at < whole.steps
    assert outcome.model.weights == whole.model.weights


def test_a_disk_without_room_is_told_before_anything_is_written(table, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(
        OutputError, match=r"room: to train from the disk takes .* of it, and 1,000 bytes are free there"
    ):
        trained(table)
    assert not left_behind(table)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room cannot be had beforehand here")
def test_a_disk_that_gives_no_room_is_told_of_in_a_line(table, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match=r"takes .* of it \(No space left on device\): make room, or name another"):
        trained(table)
    assert not left_behind(table)


def test_the_folder_of_the_encoded_rows_is_named_by_tmpdir(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert stored.folder() == tmp_path
    monkeypatch.delenv("TMPDIR")
    assert str(stored.folder()) in (str(stored.LARGE), tempfile.gettempdir())


def test_intervals_and_amounts_are_streamed_too(table):
    """Rows held out to calibrate are halves of those in the file."""
    outcomes = [
        bp.train(table, "x0", interval=0.9, stream=stream, recipe=RECIPE, effort="standard") for stream in (True, False)
    ]
    for outcome in outcomes:
        assert 0.8 < outcome.metrics["interval_coverage"] < 1
    assert outcomes[0].scores[-1].metrics["rmse"] == pytest.approx(outcomes[1].scores[-1].metrics["rmse"], rel=1e-5)


def test_more_rows_than_numpy_counts_are_dealt_out_in_proportion_and_no_window_gets_too_many():
    """Over a thousand million places: the shares are those of the places, and a full window takes nothing."""
    from backpass.data.stored import _shares

    draw = np.random.Generator(np.random.Philox(0))
    left = np.array([1_500_000_000, 500_000_000, 0, 7])
    shares = _shares(draw, left, 100_000)
    assert shares.sum() == 100_000
    assert (shares <= left).all()
    assert shares[0] == pytest.approx(75_000, abs=700)
    crowded = np.array([900_000_000, 200_000_000])
    assert _shares(draw, crowded, 1_100_000_000).tolist() == crowded.tolist()
    assert _shares(draw, np.array([2_000_000_000]), 5).tolist() == [5]
