"""A lock on a folder: one holder at a time, named to the second one, and none when its process is gone."""

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
from datetime import datetime

import pytest

from backpass.errors import OutputError
from backpass.storage import locks
from backpass.storage.locks import NAME, FolderLock, hold

HOLDER = """
import os, sys, time
from pathlib import Path
from backpass.storage.locks import hold
lock = hold(Path(sys.argv[1]))
child = os.fork() if sys.argv[2:] == ["fork"] else -1
if child <= 0:  # with a child it is that which tells, when it has begun
    print("locked", os.getpid(), flush=True)
time.sleep(60)
"""


def holder(folder, *more):
    """Another process that has the lock; `child` is who told so, itself or one that it made by fork."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder), *more], stdout=subprocess.PIPE, text=True)
    word, child = process.stdout.readline().split()
    assert word == "locked"
    process.child = int(child)
    return process


def end(process, number=signal.SIGKILL):
    process.send_signal(number)
    process.wait()
    process.stdout.close()


def refusal(folder):
    with pytest.raises(OutputError) as caught:
        hold(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_second_process_is_told_who_has_the_lock(tmp_path):
    """The line names the folder, the process and since when, and says what to do."""
    first = holder(tmp_path)
    message = refusal(tmp_path)
    found = re.fullmatch(
        rf"{tmp_path}: is being trained by process {first.pid} \(since (.*)\): wait for it, or stop it", message
    )
    assert found
    assert abs((datetime.now().astimezone() - datetime.fromisoformat(found[1]).astimezone()).total_seconds()) < 60
    assert refusal(tmp_path) == message
    end(first)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=["KILL", "TERM", "INT"])
def test_the_lock_of_a_dead_process_is_taken_over(number, tmp_path):
    """However a process ends, its lock is free."""
    end(holder(tmp_path), number)
    with hold(tmp_path) as lock:
        assert lock.note is None
        assert json.loads((tmp_path / NAME).read_text())["process"] == os.getpid()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_does_not_keep_the_lock_of_its_parent(tmp_path):
    """A process made by fork has no part in the lock, and does not hold it when its parent is dead."""
    parent = holder(tmp_path, "fork")
    end(parent)
    assert parent.child != parent.pid
    try:
        os.kill(parent.child, 0)  # it lives
        hold(tmp_path).release()
    finally:
        os.kill(parent.child, signal.SIGKILL)


def test_a_second_holder_in_this_process_is_refused(tmp_path):
    """Two Trainers of one process are told apart too, also by another name of the folder."""
    (tmp_path / "other").symlink_to(tmp_path)
    with hold(tmp_path):
        assert re.search(
            r": is being trained by this process \(since .*\): wait for it, or stop it$", refusal(tmp_path)
        )
        assert refusal(tmp_path / "other").startswith(f"{tmp_path / 'other'}: ")
    hold(tmp_path).release()


def test_of_many_threads_one_has_the_lock(tmp_path):
    """Never do two threads hold it at once, and each gets it in the end."""
    inside, most, taken, guard = [0], [0], [0], threading.Lock()

    def work():
        while True:
            try:
                lock = hold(tmp_path)
            except OutputError:
                continue
            with guard:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                taken[0] += 1
            with guard:
                inside[0] -= 1
            lock.release()
            return

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, taken) == ([1], [8])


RACER = """
import sys
from pathlib import Path
from backpass.errors import OutputError
from backpass.storage.locks import hold
folder, done = Path(sys.argv[1]), 0
while done < 100:
    try:
        lock = hold(folder)
    except OutputError:
        continue
    (folder / "inside").touch(exist_ok=False)  # raises where another is in
    (folder / "inside").unlink()
    lock.release()
    done += 1
"""


def test_of_many_processes_one_has_the_lock(tmp_path):
    """Processes that take the lock and let go of it a hundred times each are never in at once."""
    command = [sys.executable, "-c", RACER, str(tmp_path)]
    racers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ends = [(racer.communicate(timeout=100)[1], racer.returncode) for racer in racers]
    assert ends == [("", 0)] * 3
    assert list(tmp_path.iterdir()) == []


def test_letting_go_leaves_nothing_and_twice_is_once(tmp_path):
    """After release the file is gone; a second release does nothing to the lock of another."""
    first = hold(tmp_path)
    first.release()
    assert list(tmp_path.iterdir()) == []
    with hold(tmp_path):
        first.release()
        assert (tmp_path / NAME).exists()
        refusal(tmp_path)


def test_the_folder_is_made(tmp_path):
    """`hold` makes the folder, and a line says why where it cannot."""
    with hold(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / NAME).exists()
    (tmp_path / "file").touch()
    assert "cannot be made a folder" in refusal(tmp_path / "file")
    with pytest.raises(OutputError, match=r"absent: cannot be locked \(No such file or directory\)"):
        FolderLock(tmp_path / "absent")


def no_locks(_handle, _how):
    raise OSError(errno.ENOLCK, "No locks available")


def test_a_disk_without_locks_is_noted(tmp_path, monkeypatch):
    """Where the disk knows no locks, training goes on, a line says so, and this process is still kept apart."""
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with hold(tmp_path) as lock:
        assert lock.note == f"{tmp_path}: its disk knows no locks: see to it that no other process trains there"
        assert "by this process" in refusal(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_is_told(tmp_path, monkeypatch):
    """Other errors of locking are errors, and leave the lock free."""

    def broken(_handle, _how):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", broken)
        assert refusal(tmp_path) == f"{tmp_path}: cannot be locked (Input/output error): choose another place"
    hold(tmp_path).release()


def test_a_full_disk_does_not_keep_one_from_the_lock(tmp_path, monkeypatch):
    """Where who holds it cannot be written down, it is held all the same."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", no_locks)
        lock = hold(tmp_path)
    with lock:
        assert "by this process" in refusal(tmp_path)


@pytest.mark.parametrize("make", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_a_lock_of_a_stranger_leads_nowhere(make, tmp_path):
    """A link in the place of the lock's file is refused, and what it leads to stays as it was."""
    (tmp_path / "run").mkdir()
    (tmp_path / "own").write_bytes(b"precious")
    make(tmp_path / "own", tmp_path / "run" / NAME)
    assert "cannot be locked" in refusal(tmp_path / "run")
    assert (tmp_path / "own").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "[" * 900,
        '{"process": "1\\n2", "host": "a\\nb", "since": "\\n"}',
        '{"process": -1, "host": 3}',
        "\xff",
    ],
)
def test_what_the_file_says_is_not_believed(text, tmp_path):
    """Whatever stands in the file, the second gets one line."""
    first = holder(tmp_path)
    (tmp_path / NAME).write_text(text, "latin-1")
    assert refusal(tmp_path) == f"{tmp_path}: is being trained by another process now: wait for it, or stop it"
    end(first)


def test_another_machine_is_named(tmp_path):
    """Where the holder is on another machine, that is named."""
    first = holder(tmp_path)
    content = {"process": 12, "host": "elsewhere", "since": "2026-01-02T03:04:05+00:00"}
    (tmp_path / NAME).write_text(json.dumps(content))
    assert "by process 12 on elsewhere (since 2026-01-0" in refusal(tmp_path)
    end(first)


def test_an_interruption_leaves_the_lock_free(tmp_path, monkeypatch):
    """Ctrl-C in the middle of locking leaves no lock behind."""

    def interrupted(_handle, _how):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", interrupted)
        with pytest.raises(KeyboardInterrupt):
            hold(tmp_path)
    hold(tmp_path).release()
    assert not locks._held
