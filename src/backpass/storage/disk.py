"""The operations on files that writing is made of, one function each: a test can make any of them fail.

All raise OSError. What calls them calls them by the name of this module, `disk.rename(...)`.
"""

import errno
import os
import stat
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_NOT_HERE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What a system answers that cannot flush this kind of thing: no failure of the disk."""


def create(path: Path) -> int:
    """A new file for writing, readable by whom the user's mask lets; its handle."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666)


def write(handle: int, data: memoryview) -> int:
    """How many bytes of `data` were written: at least one, maybe not all."""
    return os.write(handle, data)


def sync(handle: int) -> None:
    """Returns when the content stands on the disk, as far as the system knows."""
    try:
        if sys.platform == "darwin":  # where fsync leaves the content in the memory of the drive
            import fcntl

            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
        else:
            os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise


def close(handle: int) -> None:
    """Disks of a network may say only here that the content did not get there."""
    os.close(handle)


def rename(old: Path, new: Path) -> None:
    """At once: whoever looks for `new` meets the old file or the new one."""
    os.replace(old, new)  # noqa: PTH105


def sync_folder(folder: Path) -> None:
    """Returns when the names in `folder` stand on the disk; where the system cannot do that, does nothing."""
    if sys.platform == "win32":
        return
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # one may write there, but not look
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    path.unlink()


def make_folder(folder: Path) -> None:
    """Does nothing where it is there."""
    folder.mkdir(exist_ok=True)


def names(folder: Path) -> list[str]:
    """Of what lies in `folder`."""
    return os.listdir(folder)  # noqa: PTH208


def read(path: Path) -> NDArray[np.uint8]:
    """The whole content of a file; a pipe or a device, which may have no end, is refused."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb", buffering=0) as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        content, done = np.empty(status.st_size, np.uint8), 0
        while done < content.size and (count := file.readinto(content[done:].data)):
            done += count
    return content[:done]
