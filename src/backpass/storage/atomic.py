"""Files that are there whole or not at all, whatever happens: an error, a full disk, a process that dies, no power.

The content is written under another name, flushed to the disk, and renamed; then the folder is flushed, which holds the
name. What a process that died leaves is a file under such another name, which `remove_leftovers` knows.
"""

import itertools
import os
import platform
import re
import sys
import threading
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from backpass.errors import OutputError
from backpass.storage import disk

_STALE = 3600.0  # seconds after which an unfinished file has no writer any more, on whatever machine
_HOST = f"{zlib.crc32(platform.node().encode()):08x}"
_PART = re.compile(r"\..+\.([0-9a-f]{8})-(\d{1,10})-\d+\.part")
_number = itertools.count(
    time.time_ns() % 1_000_000_000
)  # no name is used twice, not even by the next process of this id
_under_way: set[Path] = set()
_guard = threading.Lock()


def write_whole(
    path: str | Path,
    content: bytes | Sequence[bytes | memoryview],
    *,
    links: bool = True,
    advice: str = "choose another place",
) -> None:
    """Write `content`, in one piece or several, so that no reader ever meets half of it, and no crash leaves half.

    When it returns, the file stands on the disk, and outlasts a loss of power as far as the system knows.

    Args:
        path: the file. What is there is replaced.
        content: bytes.
        links: a link stays a link, and what it leads to is replaced; a pipe or a device is written to as it is. False
            for a folder that a stranger may have made: then the new file takes the place of whatever is there.
        advice: what to do, at the end of the error's line.

    Raises:
        OutputError: the place cannot be written; `errno` says why. Nothing is left behind, and an old file stays as it
            was, unless the message says that the new one is there.
    """
    path = Path(path)
    pieces = [content] if isinstance(content, bytes) else content
    try:
        if links:
            if path.exists() and not path.is_file() and not path.is_dir():  # which no file may replace
                path.write_bytes(b"".join(pieces))
                return
            path = Path(os.path.realpath(path))
        _replace(path, pieces)
    except OSError as error:
        raise failure(f"{path}: cannot be written ({reason(error)}): {advice}", error) from None
    try:
        disk.sync_folder(path.parent)
    except OSError as error:
        message = f"{path}: was written, but may not outlast a loss of power ({reason(error)}): {advice}"
        raise failure(message, error) from None


def _replace(path: Path, pieces: Sequence[bytes | memoryview]) -> None:
    part = path.parent / f".{path.name[:40]}.{_HOST}-{os.getpid()}-{next(_number)}.part"
    with _guard:
        _under_way.add(part)
    try:
        _write(part, pieces)
        disk.rename(part, path)
    except BaseException:
        with suppress(OSError):
            disk.remove(part)
        raise
    finally:
        with _guard:
            _under_way.discard(part)


def _write(path: Path, pieces: Sequence[bytes | memoryview]) -> None:
    """A new file of these contents, flushed."""
    handle = disk.create(path)
    try:
        for piece in pieces:
            left = memoryview(piece)
            while left:
                left = left[disk.write(handle, left) :]
        disk.sync(handle)
    except BaseException:
        with suppress(OSError):
            disk.close(handle)
        raise
    disk.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files in `folder` whose writers are dead; where one cannot be removed, it stays.

    A writer of this machine is dead when no process has its id; one of another machine, when its file is an hour old.
    """
    with suppress(OSError):
        for name in disk.names(folder):
            found = _PART.fullmatch(name)
            if found is None:
                continue
            with suppress(OSError):
                if _is_dead(folder / name, found[1], int(found[2])):
                    disk.remove(folder / name)


def _is_dead(part: Path, host: str, process: int) -> bool:
    if host == _HOST and process == os.getpid():
        with _guard:
            return part not in _under_way
    if host == _HOST and sys.platform != "win32":
        try:
            os.kill(process, 0)  # asks, and does nothing
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:
            pass  # it lives, and is another user's
    return time.time() - part.lstat().st_mtime > _STALE


def reason(error: OSError) -> str:
    """Why, in the system's words, on one line."""
    return " ".join((error.strerror or str(error) or type(error).__name__).split())


def failure(message: str, error: OSError) -> OutputError:
    told = OutputError(message)
    told.errno = error.errno
    return told
