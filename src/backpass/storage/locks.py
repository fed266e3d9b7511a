"""A lock on a folder: of all who want it, on all threads and in all processes, one has it.

The system keeps it, on the file `.lock` in the folder, and frees it when the process ends, in whatever way: the lock of
a dead process is no lock. The file tells who holds it, for people; it decides nothing. Where the disk knows no locks
(some of a network do not), a FolderLock holds against this process alone, and its `note` says so.
"""

import errno
import json
import os
import platform
import stat
import sys
import threading
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from backpass.errors import OutputError
from backpass.storage.atomic import failure, reason

NAME = ".lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_TRIES = 100
_guard = threading.Lock()
_held: dict[tuple[int, int], "FolderLock"] = {}


class FolderLock:
    """The lock on `folder`, held from now until `release`, or the end of a `with`, or of the process.

    A process made by fork has no part in it.

    Attributes:
        note: None, or one line: the disk knows no locks, and other processes are not kept away.

    Raises:
        OutputError: another holds it, and is named; or the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.note: str | None = None
        self.since = _now()
        self._path = folder / NAME
        self._handle = -1
        with _guard:
            try:
                status = folder.stat()
                self._key = (status.st_dev, status.st_ino)
                self._acquire(_held.get(self._key))
            except OutputError:
                raise
            except OSError as error:
                raise failure(f"{folder}: cannot be locked ({reason(error)}): choose another place", error) from None
            _held[self._key] = self

    def release(self) -> None:
        """Let go of it, once; a second time nothing happens."""
        with _guard:
            if self._handle < 0 or _held.get(self._key) is not self:
                return
            del _held[self._key]
            # The file goes while it is locked: who opened it before sees that it is not in its place any more.
            with suppress(OSError):
                self._path.unlink()
            self.abandon()
            if sys.platform == "win32":  # where no open file goes
                with suppress(OSError):
                    self._path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _acquire(self, holder: "FolderLock | None") -> None:
        if holder is not None:
            raise OutputError(f"{self.folder}: is being trained by this process {_told(holder.since)}")
        for _ in range(_TRIES):
            self._handle = _opened(self._path)
            try:
                self._lock()
                if _is_in_place(self._handle, self._path):
                    self._sign()
                    return
            except BaseException:
                self.abandon()
                raise
            self.abandon()  # its holder removed it as it let go
        raise OSError(errno.EAGAIN, "others take it and let go of it all the time")

    def _lock(self) -> None:
        try:
            _lock_file(self._handle)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                raise OutputError(_held_by(self.folder, self._handle)) from None
            if error.errno not in _NO_LOCKS:
                raise
            self.note = f"{self.folder}: its disk knows no locks: see to it that no other process trains there"

    def _sign(self) -> None:
        """Write down who holds it; on a full disk that is left out."""
        text = json.dumps({"process": os.getpid(), "host": platform.node(), "since": self.since})
        with suppress(OSError):
            os.ftruncate(self._handle, 0)
            os.write(self._handle, text.encode())

    def abandon(self) -> None:
        """Close the file, and leave it where it is."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            with suppress(OSError):
                os.close(handle)


def hold(folder: Path) -> FolderLock:
    """The lock on a folder, which is made if it is not there.

    Raises:
        OutputError: another holds it, and is named; or the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise failure(f"{folder}: cannot be made a folder ({reason(error)}): choose another place", error) from None
    return FolderLock(folder)


def _opened(path: Path) -> int:
    """The lock's file, made if it is not there. A link, which may lead anywhere, is none: the file is written to."""
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
        flags |= getattr(os, name, 0)
    handle = os.open(path, flags, 0o666)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(handle)
        raise OSError(errno.EINVAL, f"its {NAME} is no plain file")
    return handle


def _lock_file(handle: int) -> None:
    """Lock it, or raise at once."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, 1 << 30, os.SEEK_SET)  # what is locked there cannot be read: a byte beyond the text
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_in_place(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def _held_by(folder: Path, handle: int) -> str:
    """The line for who comes second. What the file says was written by another: it is shown where it makes sense."""
    found: Any = None
    with suppress(OSError, ValueError, RecursionError):
        os.lseek(handle, 0, os.SEEK_SET)
        found = json.loads(os.read(handle, 1000).decode())
    content = found if isinstance(found, dict) else {}
    process, host, since = content.get("process"), content.get("host"), content.get("since")
    who = f"process {process}" if type(process) is int and 0 < process < 1 << 32 else "another process"
    if isinstance(host, str) and host.isprintable() and 0 < len(host) <= 64 and host != platform.node():
        who += f" on {host}"
    return f"{folder}: is being trained by {who} {_told(since)}"


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _told(since: object) -> str:
    """The end of the line: since when, where that can be read, and what to do."""
    try:
        moment = datetime.fromisoformat(str(since)).astimezone()
    except (ValueError, OverflowError, OSError):
        return "now: wait for it, or stop it"
    return f"(since {moment:%Y-%m-%d %H:%M:%S}): wait for it, or stop it"


def _after_fork() -> None:
    """The child lets go of its copies, which would keep the lock when its parent is dead."""
    global _guard  # noqa: PLW0603 - another thread may have held it
    _guard = threading.Lock()
    for lock in _held.values():
        lock.abandon()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
