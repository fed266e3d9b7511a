"""Checkpoints: the same snapshot again, the newest whole one found, old ones removed, all while training goes on."""

import os
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from backpass.errors import CheckpointError, OutputError
from backpass.storage import disk, tensors
from backpass.training import checkpoints as module
from backpass.training.checkpoints import ABSENT, BackgroundWriter, CheckpointFolder, Snapshot

ODD = np.array([np.nan, -np.nan, np.inf, -0.0, 0.0, 1e-310, 1 / 3])


def snapshot(step=1234, **changes):
    values = {
        "epoch": 3,
        "batch": 7,
        "sums": (0.1, -0.0),
        "parameters": [ODD, ODD.astype("float32"), np.array(2.5), np.zeros((0, 3), "float32")],
        "optimizer": [np.array(7, "int64"), np.array([1, 2**32 - 1], "uint32"), np.array([True, False])],
        "best": None,
        "good": None,
        "history": (["epoch", "loss"], np.array([[1.0, 0.5], [2.0, ABSENT]])),
        "about": {"history": [{"loss": 0.1, "validation_loss": float("nan")}], "seed": 2**60},
    }
    return Snapshot(step=step, **(values | changes))


def told(value):
    """All of a snapshot, so that equal ones are the same bits."""
    lists = [
        None if values is None else [(array.dtype.str, array.shape, array.tobytes()) for array in values]
        for values in (value.parameters, value.optimizer, value.best, value.good)
    ]
    sums = [np.float64(number).tobytes() for number in value.sums]
    names, rows = value.history
    history = names, rows.shape, rows.tobytes()
    return (value.step, value.epoch, value.batch, sums, lists, history, repr(value.about))


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def forged(path, *, drop=(), **changes):
    """A whole file that says other things."""
    arrays, about = tensors.unpack(path, version=1)
    for name in drop:
        arrays.pop(name, None)
        about.pop(name, None)
    values = {name: changes.pop(name) for name in list(changes) if isinstance(changes[name], np.ndarray)}
    path.write_bytes(tensors.pack(arrays | values, about | changes, version=1))


# What is written and found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"best": [ODD, ODD]},
        {"best": []},
        {"good": [ODD, ODD, np.array(1)]},
        {"best": [ODD], "good": [ODD]},
        {"history": ([], np.empty((0, 0)))},
        {"parameters": [], "optimizer": [], "about": {}},
        {"sums": (float("nan"), float("inf"))},
        {"epoch": 0, "batch": 0, "sums": (0.0, 0.0)},
        {"parameters": [np.arange(6.0).reshape(2, 3).T]},
    ],
    ids=[
        "all",
        "best",
        "best of nothing",
        "good",
        "best and good",
        "no history",
        "nothing",
        "odd sums",
        "beginning",
        "turned about",
    ],
)
def test_a_snapshot_comes_back_bit_for_bit(changes, tmp_path):
    """Every field and array of what was written is found again."""
    written = snapshot(**changes)
    path = CheckpointFolder(tmp_path / "c").write(written)
    assert path == tmp_path / "c" / "step-000000001234.safetensors"
    found = CheckpointFolder(tmp_path / "c").newest()
    assert found.damaged == []
    assert told(found.snapshot) == told(written)


def test_many_arrays_come_back_in_order(tmp_path):
    """The order of a list does not follow from how names of numbers sort."""
    values = [np.array(place) for place in range(25)]
    CheckpointFolder(tmp_path).write(snapshot(parameters=values, optimizer=values[::-1]))
    found = CheckpointFolder(tmp_path).newest().snapshot
    assert [int(value) for value in found.parameters] == list(range(25))
    assert [int(value) for value in found.optimizer] == list(range(25))[::-1]


def test_step_0_and_the_largest_step_are_steps(tmp_path):
    """Names sort as steps do, and a step of more digits than usual is found too."""
    checkpoints = CheckpointFolder(tmp_path, keep=9)
    for step in (0, 10**15, 999_999_999_999, 5):
        checkpoints.write(snapshot(step))
    assert checkpoints.steps() == [0, 5, 999_999_999_999, 10**15]
    assert checkpoints.newest().snapshot.step == 10**15
    assert checkpoints.before(0).snapshot.step == 0


def test_a_folder_that_is_not_there_or_empty_holds_nothing(tmp_path):
    """Before the first write nothing is found, and nothing is made."""
    checkpoints = CheckpointFolder(tmp_path / "c")
    assert (checkpoints.steps(), checkpoints.newest().snapshot, checkpoints.before(9).snapshot) == ([], None, None)
    assert checkpoints.newest().damaged == []
    assert list(tmp_path.iterdir()) == []


def test_the_newest_before_a_step_is_found(tmp_path):
    """`before` takes that step itself, or the nearest earlier one, or nothing."""
    checkpoints = CheckpointFolder(tmp_path, keep=3)
    for step in (10, 20, 30):
        checkpoints.write(snapshot(step))
    assert [checkpoints.before(step).snapshot.step for step in (10, 19, 20, 29, 30, 99)] == [10, 10, 20, 20, 30, 30]
    assert checkpoints.before(9).snapshot is None


def test_other_files_are_left_alone(tmp_path):
    """Only names of checkpoints count, and only what is a checkpoint is removed."""
    one = "step-000000000001.safetensors"
    others = [
        "step-12.safetensors",
        "step-0000000000001.safetensors",
        f"{one}.bak",
        f"x{one}",
        one.replace("1", "a"),
        one.replace("1", "\N{ARABIC-INDIC DIGIT ONE}"),
    ]
    for name in others:
        (tmp_path / name).write_bytes(b"precious")
    checkpoints = CheckpointFolder(tmp_path, keep=1)
    for step in (1, 2):
        checkpoints.write(snapshot(step))
    assert checkpoints.steps() == [2]
    assert {path.name for path in tmp_path.iterdir()} == {*others, "step-000000000002.safetensors"}


def test_a_new_folder_is_on_the_disk_before_the_first_checkpoint(tmp_path, monkeypatch):
    """The folder around a new one is synchronised once, at its beginning: a crash does not take all that is in it."""
    synced, real = [], disk.sync_folder
    monkeypatch.setattr(disk, "sync_folder", lambda folder: (synced.append(folder), real(folder)))
    checkpoints = CheckpointFolder(tmp_path / "c")
    for step in (1, 2):
        checkpoints.write(snapshot(step))
    assert synced == [tmp_path, tmp_path / "c", tmp_path / "c"]


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    """The line names the folder that is none."""
    (tmp_path / "c").touch()
    with pytest.raises(CheckpointError, match=r"c: cannot be read \(Not a directory\)"):
        CheckpointFolder(tmp_path / "c").newest()
    with pytest.raises(OutputError, match=r"c: cannot be made \(File exists\)"):
        CheckpointFolder(tmp_path / "c").write(snapshot())


# Keeping


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_ones_stay(keep, tmp_path):
    """After each write there are as many as are kept, the newest."""
    checkpoints = CheckpointFolder(tmp_path, keep=keep)
    for step in range(1, 7):
        checkpoints.write(snapshot(step))
        assert checkpoints.steps() == list(range(max(1, step - keep + 1), step + 1))


def test_at_least_one_is_kept(tmp_path):
    """Keeping none would be saving nothing."""
    with pytest.raises(ValueError, match="keep is 0"):
        CheckpointFolder(tmp_path, keep=0)


def test_the_one_before_stays_until_the_new_one_is_there(tmp_path, monkeypatch):
    """While a checkpoint is written, all that were there are."""
    checkpoints, seen = CheckpointFolder(tmp_path, keep=1), []
    checkpoints.write(snapshot(1))
    real = disk.sync_folder
    monkeypatch.setattr(disk, "sync_folder", lambda folder: (seen.append(checkpoints.steps()), real(folder)))
    checkpoints.write(snapshot(2))
    assert (seen, checkpoints.steps()) == ([[1, 2]], [2])


def test_a_step_that_is_written_again_takes_the_place_of_the_old(tmp_path):
    """Of one step there is one checkpoint, the last written, also where the old one was damaged."""
    checkpoints = CheckpointFolder(tmp_path)
    damage(checkpoints.write(snapshot(5)))
    checkpoints.write(snapshot(5, batch=1))
    assert checkpoints.newest().snapshot.batch == 1
    assert checkpoints.steps() == [5]


def test_an_earlier_step_is_kept_beside_later_ones(tmp_path):
    """A training that goes on from an earlier checkpoint keeps what it writes, and removes nothing that comes later."""
    checkpoints = CheckpointFolder(tmp_path, keep=1)
    for step in (30, 10, 20):
        checkpoints.write(snapshot(step))
        assert step in checkpoints.steps()
    assert checkpoints.steps() == [20, 30]


def test_what_comes_later_is_forgotten_when_asked(tmp_path):
    """After `forget_after` the newest is of that step or earlier."""
    checkpoints = CheckpointFolder(tmp_path, keep=5)
    for step in (10, 20, 30):
        checkpoints.write(snapshot(step))
    checkpoints.forget_after(30)
    assert checkpoints.steps() == [10, 20, 30]
    checkpoints.forget_after(19)
    assert checkpoints.steps() == [10]
    checkpoints.forget_after(0)
    assert checkpoints.steps() == []


def test_what_cannot_be_forgotten_is_told(tmp_path, monkeypatch):
    """A checkpoint that stays although it should not is an error, which names it."""
    CheckpointFolder(tmp_path).write(snapshot(10))

    def refused(_path):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(disk, "remove", refused)
    with pytest.raises(
        OutputError, match=r"step-000000000010.safetensors: cannot be removed \(Read-only file system\)"
    ):
        CheckpointFolder(tmp_path).forget_after(5)


def test_a_link_of_a_stranger_leads_nowhere(tmp_path):
    """A checkpoint takes the place of a link, and what the link leads to stays."""
    (tmp_path / "own").write_bytes(b"precious")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "step-000000000001.safetensors").symlink_to(tmp_path / "own")
    checkpoints = CheckpointFolder(tmp_path / "c")
    checkpoints.write(snapshot(1))
    assert (tmp_path / "own").read_bytes() == b"precious"
    assert checkpoints.newest().snapshot.step == 1


# Damage


def test_damaged_ones_are_named_and_the_one_before_them_taken(tmp_path):
    """Each damaged file newer than the whole one has its line, the newest first."""
    checkpoints = CheckpointFolder(tmp_path, keep=9)
    paths = [checkpoints.write(snapshot(step)) for step in (10, 20, 30, 40)]
    damage(paths[0])
    damage(paths[2])
    paths[3].write_bytes(paths[3].read_bytes()[:-1])
    found = checkpoints.newest()
    assert found.snapshot.step == 20
    assert found.damaged == [f"{paths[3]}: damaged: not what was written", f"{paths[2]}: damaged: not what was written"]
    assert checkpoints.before(35).damaged == found.damaged[1:]
    paths[1].write_bytes(b"")
    found = checkpoints.newest()
    assert found.snapshot is None
    assert [line.partition(": ")[0] for line in found.damaged] == [str(path) for path in paths[::-1]]


def test_a_checkpoint_under_the_name_of_another_step_is_damaged(tmp_path):
    """What was copied or renamed does not pass for another step."""
    checkpoints = CheckpointFolder(tmp_path)
    path = checkpoints.write(snapshot(10))
    path.rename(tmp_path / "step-000000000020.safetensors")
    found = checkpoints.newest()
    assert found.snapshot is None
    assert found.damaged[0].endswith(
        "step-000000000020.safetensors: damaged: it is of step 10, and its name says another"
    )


def test_a_newer_format_is_named(tmp_path, monkeypatch):
    """A checkpoint of a backpass to come is named with its format, and an older one taken."""
    checkpoints = CheckpointFolder(tmp_path)
    checkpoints.write(snapshot(10))
    with monkeypatch.context() as patch:
        patch.setattr(module, "FORMAT", 2)
        path = checkpoints.write(snapshot(20))
        assert checkpoints.newest().snapshot.step == 20
    found = checkpoints.newest()
    assert found.snapshot.step == 10
    assert found.damaged == [f"{path}: of format 2; this version of backpass reads up to 1: update backpass"]


FORGERIES = [
    *[
        {"drop": [name]}
        for name in ("step", "epoch", "batch", "counts", "about", "sums", "parameters.0", "optimizer.2")
    ],
    *[{name: value} for name in ("step", "epoch", "batch") for value in (-1, 1 << 63, 1.0, True, None, "1", [1])],
    *[{"about": value} for value in (None, [], "{}", 3)],
    {"sums": np.zeros(1)},
    {"sums": np.zeros(3)},
    {"sums": np.zeros((2, 2))},
    {"sums": np.zeros(2, "float32")},
    {"sums": np.array(1.0)},
    {"extra": np.zeros(2)},
    {"more": 1},
    {"counts": None},
    {"counts": {}},
    {"counts": {"parameters": 4, "optimizer": 3, "best": None}},
    {"counts": {"parameters": 3, "optimizer": 3}},
    {"counts": {"parameters": 3, "optimizer": 4}},
    {"counts": {"parameters": 7, "optimizer": 0}},
    {"counts": {"parameters": 4, "optimizer": 3, "others": 0}},
    {"counts": {"parameters": 4, "optimizer": 1 << 62}},
    {"counts": {"parameters": 8, "optimizer": -1}},
    {"counts": [4, 3]},
    {"columns": [1, 2], "history": np.zeros((1, 2))},
    {"columns": ["epoch", None], "history": np.zeros((1, 2))},
    {"columns": "ab", "history": np.zeros((1, 2))},
    {"columns": ["epoch", "loss"], "history": np.zeros((1, 3))},
    {"columns": ["epoch", "loss"], "history": np.zeros(2)},
    {"columns": ["epoch", "loss"], "history": np.zeros((1, 2, 1))},
]


@pytest.mark.parametrize("forgery", FORGERIES, ids=range(len(FORGERIES)))
def test_a_whole_file_that_is_no_snapshot_is_refused(forgery, tmp_path):
    """Fields that lack, are left over or are no such thing are told in one line, under a right digest too."""
    path = CheckpointFolder(tmp_path).write(snapshot())
    forged(path, **forgery)
    found = CheckpointFolder(tmp_path).newest()
    assert found.snapshot is None
    assert found.damaged == [f"{path}: no checkpoint, or not all of one: the file was changed"]


# In the background


class Slow(CheckpointFolder):
    """A folder that writes when it is let."""

    def __init__(self, folder):
        super().__init__(folder, keep=9)
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)

    def write(self, snapshot):
        self.begun.release()
        assert self.go.acquire(timeout=30)
        return super().write(snapshot)


def test_a_snapshot_that_waits_is_dropped_for_a_newer_one(tmp_path):
    """While one is written, submitting returns at once, and of those that wait the newest is written."""
    slow, problems = Slow(tmp_path), []
    writer = BackgroundWriter(slow, problems.append)
    writer.submit(snapshot(1))
    assert slow.begun.acquire(timeout=30)
    for step in range(2, 1000):
        writer.submit(snapshot(step))
    slow.go.release(2)
    writer.close()
    assert (slow.steps(), problems) == ([1, 999], [])
    assert "backpass checkpoints" not in [thread.name for thread in threading.enumerate()]


def test_closing_waits_for_the_last(tmp_path):
    """When `with` ends, the snapshot handed over last stands on the disk, and no thread is left."""
    with BackgroundWriter(CheckpointFolder(tmp_path), print) as writer:
        for step in range(1, 4):
            writer.submit(snapshot(step))
    assert CheckpointFolder(tmp_path).newest().snapshot.step == 3
    assert "backpass checkpoints" not in [thread.name for thread in threading.enumerate()]
    writer.close()
    BackgroundWriter(CheckpointFolder(tmp_path), print).close()


def test_of_many_submits_none_that_is_last_is_lost(tmp_path):
    """However a submit falls between the ends of the thread's work, after close the newest is there."""
    checkpoints = CheckpointFolder(tmp_path, keep=1)
    writer = BackgroundWriter(checkpoints, print)
    small = {"parameters": [np.ones(1)], "optimizer": []}
    for step in range(200):
        writer.submit(snapshot(step, **small))
        time.sleep(0.002 * (step % 3))
        if step % 10 == 9:
            writer.close()
            assert checkpoints.newest().snapshot.step == step


def failing(monkeypatch, *errors):
    """A disk that refuses each new file with the next of the errors; None lets it be made."""
    remaining, real = list(errors), disk.create

    def create(path):
        error = remaining.pop(0)
        if error is not None:
            raise error
        return real(path)

    monkeypatch.setattr(disk, "create", create)


def test_each_kind_of_problem_is_told_once_and_again_after_a_success(tmp_path, monkeypatch):
    """Training that goes on is told of a full disk once, of another fault too, and anew when it had worked between."""
    full, broken = (OSError(number, os.strerror(number)) for number in (28, 5))
    failing(monkeypatch, full, full, broken, full, None, full)
    checkpoints, problems = CheckpointFolder(tmp_path), []
    writer = BackgroundWriter(checkpoints, problems.append)
    for step in range(6):
        writer.submit(snapshot(step))
        writer.close()
    path = tmp_path / "step-00000000000{}.safetensors"
    ends = [(0, "No space left on device"), (2, "Input/output error"), (5, "No space left on device")]
    assert problems == [
        f"{str(path).format(step)}: cannot be written ({reason}): see to the disk; training goes on, and tries again"
        for step, reason in ends
    ]
    assert checkpoints.steps() == [4]


def test_a_fault_that_nobody_thought_of_is_told_too(tmp_path):
    """What cannot be written for a reason other than the disk is told in one line, and the next one is written."""
    problems = []
    with BackgroundWriter(CheckpointFolder(tmp_path), problems.append) as writer:
        writer.submit(snapshot(1, about={"a": object()}))
        writer.close()
        writer.submit(snapshot(2))
    assert problems[0].startswith("no checkpoint was written: TypeError(")
    assert CheckpointFolder(tmp_path).steps() == [2]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_of_the_listener_does_not_hang_close(tmp_path, monkeypatch):
    """Where the one who is told raises, the thread ends, closing returns, and the next snapshot is written."""

    def raising(_line):
        raise RuntimeError("told")

    failing(monkeypatch, OSError(28, "No space left on device"), None)
    writer = BackgroundWriter(CheckpointFolder(tmp_path), raising)
    writer.submit(snapshot(1))
    writer.close()
    writer.submit(snapshot(2))
    writer.close()
    assert CheckpointFolder(tmp_path).steps() == [2]


def test_where_the_system_gives_no_thread_it_is_written_at_once(tmp_path, monkeypatch):
    """A machine that is out of threads saves all the same."""

    def refused(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    writer = BackgroundWriter(CheckpointFolder(tmp_path), print)
    writer.submit(snapshot(1))
    assert CheckpointFolder(tmp_path).steps() == [1]
    writer.close()


def test_a_folder_that_vanishes_is_told_and_no_other_made(tmp_path):
    """Where the run's folder is gone, the line says so, and nothing is made in its place."""
    problems, run = [], tmp_path / "run"
    run.mkdir()
    with BackgroundWriter(CheckpointFolder(run / "c"), problems.append) as writer:
        writer.submit(snapshot(1))
        writer.close()
        shutil.rmtree(run)
        writer.submit(snapshot(2))
    assert problems == [f"{run / 'c'}: cannot be made (No such file or directory); training goes on, and tries again"]
    assert list(tmp_path.iterdir()) == []


ENDING = """
import sys, threading
from pathlib import Path
import numpy as np
from backpass.storage import disk
from backpass.training.checkpoints import BackgroundWriter, CheckpointFolder, Snapshot
begun, real = threading.Event(), disk.sync
def slow(handle):
    begun.set()
    threading.Event().wait(0.3)
    real(handle)
disk.sync = slow
writer = BackgroundWriter(CheckpointFolder(Path(sys.argv[1])), print)
writer.submit(Snapshot(1, 0, 1, (0.0, 0.0), [np.ones(1000)], [], None, {}))
begun.wait()
writer.submit(Snapshot(2, 0, 1, (0.0, 0.0), [np.ones(1000)], [], None, {}))
if sys.argv[2] == "error":
    raise ValueError("the end")
"""


@pytest.mark.parametrize("how", ["end", "error"])
def test_a_process_that_ends_without_closing_neither_hangs_nor_leaves_half(how, tmp_path):
    """At the end of the process what was handed over is written, and then it ends."""
    ended = subprocess.run(
        [sys.executable, "-c", ENDING, str(tmp_path), how], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == (how == "error"), ended.stderr
    assert ended.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"step-00000000000{step}.safetensors" for step in (1, 2)
    ]
    assert CheckpointFolder(tmp_path).newest().damaged == []


def test_leftovers_of_dead_writers_are_removed_by_the_next_write(tmp_path):
    """What a killed process left does not pile up."""
    killed = f"""
import os, sys
from pathlib import Path
from backpass.storage import atomic, disk
disk.rename = lambda old, new: os._exit(9)
atomic.write_whole(Path({str(tmp_path)!r}) / "step-000000000001.safetensors", b"half")
"""
    for _ in range(2):
        assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == 9
    assert len(list(tmp_path.iterdir())) == 2
    CheckpointFolder(tmp_path).write(snapshot(2))
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000000002.safetensors"]
