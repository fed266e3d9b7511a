"""A real disk of 4 MiB that is filled up, becomes read-only, and vanishes."""

import errno
import os
import shutil
import subprocess
import sys

import pytest
from disk_faults import parts
from snapshots import same, snapshot

from backpass.errors import OutputError
from backpass.storage.atomic import write_whole
from backpass.training.checkpoints import BackgroundWriter, CheckpointFolder

MIB, PAGE = 1 << 20, 4096
THIRD = 100_000  # numbers of a snapshot, that takes 0.8 MB


@pytest.fixture
def small(tmp_path):
    """A folder that is a file system of 4 MiB of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    if sys.platform != "linux" or shutil.which("mount") is None:
        pytest.skip("no file system of 4 MiB: this needs Linux with the command mount")
    mounted = run("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder))
    if mounted.returncode != 0:
        pytest.skip(f"no file system of 4 MiB can be mounted here (this needs root): {mounted.stderr.strip()}")
    yield folder
    run("umount", "-l", str(folder))


def run(command, *arguments):
    return subprocess.run([shutil.which(command), *arguments], capture_output=True, text=True, check=False)


def remount(folder, how):
    assert run("mount", "-o", f"remount,{how}", str(folder)).returncode == 0


def free(folder):
    status = os.statvfs(folder)
    return status.f_bfree * status.f_bsize


def test_a_file_is_old_or_new_with_any_space_left(small):
    """With each number of free pages a write is done, or refused without a trace."""
    old, new = b"old" * 10_000, b"new" * 20_000
    needed, ends = -(-len(new) // PAGE), set()
    for pages in range(needed + 3):
        write_whole(small / "f", old)
        (small / "filler").write_bytes(bytes(free(small) - pages * PAGE))
        try:
            write_whole(small / "f", new)
        except OutputError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - it depends on the space
            assert (small / "f").read_bytes() == old
        else:
            assert (small / "f").read_bytes() == new
        ends.add((small / "f").read_bytes() == new)
        assert sorted(path.name for path in small.iterdir()) == ["f", "filler"]
        (small / "filler").unlink()
    assert ends == {False, True}


def test_checkpoints_on_a_disk_that_becomes_full_and_has_room_again(small):
    """The last whole checkpoint stays while the disk is full, this is said once, and the next one is written."""
    checkpoints, told = CheckpointFolder(small / "run", keep=2), []
    with BackgroundWriter(checkpoints, told.append) as writer:
        for step in (1, 2, 3):
            writer.submit(snapshot(step, THIRD))
            writer.close()
        assert (checkpoints.steps(), told) == ([2, 3], [])
        (small / "filler").write_bytes(bytes(free(small) - 50 * PAGE))
        for step in (4, 5, 6):
            writer.submit(snapshot(step, THIRD))
            writer.close()
            assert same(checkpoints.newest().snapshot, snapshot(3, THIRD))
            assert not parts(small / "run")
        assert len(told) == 1
        assert "No space left on device" in told[0]
        (small / "filler").unlink()
        writer.submit(snapshot(7, THIRD))
    assert len(told) == 1
    assert same(checkpoints.newest().snapshot, snapshot(7, THIRD))
    assert checkpoints.steps() == [3, 7]


def test_checkpoints_that_grow_until_the_disk_is_full(small):
    """However large a checkpoint becomes, the newest one that was written is whole."""
    checkpoints, written = CheckpointFolder(small, keep=1), 0
    for step in range(1, 30):
        try:
            checkpoints.write(snapshot(step, 20_000 * step))
        except OutputError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - which step it is depends on the disk
            break
        written = step
    assert 3 < written < 29
    found = checkpoints.newest()
    assert not found.damaged
    assert same(found.snapshot, snapshot(written, 20_000 * written))


def test_checkpoints_on_a_disk_that_becomes_read_only(small):
    """Reading goes on, writing says why it cannot be, and works when the disk does."""
    checkpoints, told = CheckpointFolder(small), []
    checkpoints.write(snapshot(1))
    remount(small, "ro")
    with BackgroundWriter(checkpoints, told.append) as writer:
        writer.submit(snapshot(2))
    assert "Read-only file system" in told[0]
    assert same(checkpoints.newest().snapshot, snapshot(1))
    remount(small, "rw")
    checkpoints.write(snapshot(3))
    assert same(checkpoints.newest().snapshot, snapshot(3))


def test_checkpoints_on_a_disk_that_vanishes(small):
    """A folder whose disk is gone is said to be so; nothing is written to the place where it was."""
    checkpoints, told = CheckpointFolder(small / "run" / "checkpoints"), []
    (small / "run").mkdir()
    checkpoints.write(snapshot(1))
    assert run("umount", "-l", str(small)).returncode == 0
    with BackgroundWriter(checkpoints, told.append) as writer:
        writer.submit(snapshot(2))
    assert "cannot be made (No such file or directory)" in told[0]
    assert list(small.iterdir()) == []
