"""What a write leaves in a folder, and which unfinished files are known as ours."""

import os
import subprocess
import sys
import threading
import time

import pytest
from disk_faults import MOST_AT_ONCE, FaultyDisk, parts

from backpass.errors import OutputError
from backpass.storage import atomic, disk
from backpass.storage.atomic import remove_leftovers, write_whole


def test_pieces_are_written_one_after_the_other(tmp_path, monkeypatch):
    """A file of several pieces is their sum, also where the system takes less than it is given."""
    pieces = [b"a" * (3 * MOST_AT_ONCE + 7), b"", memoryview(b"b" * 10)]
    log = FaultyDisk().install(monkeypatch).log
    write_whole(tmp_path / "f", pieces)
    assert (tmp_path / "f").read_bytes() == b"".join(pieces)
    assert sum(entry[0] == "write" for entry in log) == 5


def test_the_content_is_flushed_before_the_name_and_then_the_folder(tmp_path, monkeypatch):
    """The order that a loss of power asks for: the content, the name, the folder."""
    log = FaultyDisk().install(monkeypatch).log
    write_whole(tmp_path / "f", b"content")
    assert [entry[0] for entry in log] == ["create", "write", "sync", "close", "rename", "sync_folder"]
    assert log[-1][1] == tmp_path


def test_an_empty_file_is_written(tmp_path):
    """No bytes are a content too."""
    write_whole(tmp_path / "f", b"")
    assert (tmp_path / "f").read_bytes() == b""


def test_a_folder_of_a_stranger_may_lead_nowhere(tmp_path):
    """Where links are not followed, a link is replaced and what it leads to stays."""
    (tmp_path / "own").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "own")
    write_whole(tmp_path / "link", b"new", links=False)
    assert (tmp_path / "own").read_bytes() == b"precious"
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "link").read_bytes() == b"new"


def test_a_folder_is_not_written_over(tmp_path):
    """Where a folder stands in the way, the line says so, with what to do, and nothing is left."""
    (tmp_path / "f").mkdir()
    with pytest.raises(OutputError, match=r"f: cannot be written \(Is a directory\): go elsewhere$"):
        write_whole(tmp_path / "f", b"new", advice="go elsewhere")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_systems_that_cannot_flush_are_no_error(tmp_path, monkeypatch):
    """Where the file system has no fsync, the file is written all the same."""

    def absent(_handle):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", absent)
    write_whole(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"new"


def test_a_folder_that_may_not_be_looked_into_is_no_error(tmp_path, monkeypatch):
    """Where the user may write to a folder but not open it, the file is written all the same."""
    real = os.open

    def refused(path, flags, *mode):
        if flags & os.O_DIRECTORY:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", refused)
    write_whole(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"new"


def test_writers_at_once_do_not_meet(tmp_path):
    """Of many threads that write one file, each writes it whole."""
    contents = [bytes([number]) * 100_000 for number in range(8)]
    threads = [threading.Thread(target=write_whole, args=(tmp_path / "f", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "f").read_bytes() in contents
    assert not parts(tmp_path)


def leftover(folder, process, host=atomic._HOST, age=0.0, number=1):
    path = folder / f".f.{host}-{process}-{number}.part"
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def dead_process() -> int:
    """The number of a process that is no more."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_leftovers_of_the_dead_are_removed(tmp_path):
    """What a dead process of this machine left is removed, and what one with this process's number did."""
    leftover(tmp_path, dead_process())
    leftover(tmp_path, os.getpid())
    leftover(tmp_path, 9_999_999_999)  # more than any system has
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_that_may_have_a_writer_stay_for_an_hour(tmp_path):
    """A living process and another machine may be at work: what is theirs stays, until it is old."""
    young = [leftover(tmp_path, 1), leftover(tmp_path, 1, host="00000000", age=3500)]
    leftover(tmp_path, 1, age=4000, number=2)
    leftover(tmp_path, 1, host="00000000", age=4000, number=2)
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(young)


def test_what_is_under_way_in_this_process_stays(tmp_path, monkeypatch):
    """A file that another thread of this process writes is no leftover."""
    real, seen = disk.sync, []

    def meanwhile(handle):
        remove_leftovers(tmp_path)
        seen.extend(parts(tmp_path))
        real(handle)

    monkeypatch.setattr(disk, "sync", meanwhile)
    write_whole(tmp_path / "f", b"new")
    assert len(seen) == 1
    assert (tmp_path / "f").read_bytes() == b"new"


@pytest.mark.parametrize(
    "name", [".f.part", "f.00000000-1-1.part", ".f.00000000-1-1.part.txt", ".f.0-1-1.part", "x.part"]
)
def test_files_of_others_stay(name, tmp_path):
    """Only names that are ours are removed."""
    (tmp_path / name).write_bytes(b"precious")
    os.utime(tmp_path / name, (0, 0))
    remove_leftovers(tmp_path)
    assert (tmp_path / name).exists()


def test_a_folder_that_is_not_there_has_no_leftovers(tmp_path):
    """Nothing to remove is no error."""
    remove_leftovers(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_is_not_read(tmp_path):
    """A pipe, which may have no end and no beginning, is refused at once."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no file"):
        disk.read(tmp_path / "pipe")
