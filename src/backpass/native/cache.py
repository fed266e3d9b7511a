"""Object code kept on disk, so that a program is compiled once and not at every start.

What is read from here is run. So nothing is taken that this user did not write, or that others could have written, or
that is not, byte for byte, what was put here under this key. Such an entry counts as absent and is written anew. A
folder that is another user's, or that others may write, is not used at all, and a warning says so once.
"""

import json
import os
import stat
import struct
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from backpass.records import dataclass

_FORMAT = "native-1"
_HEADER = struct.Struct("<8s32s32sQQ")
"""Magic, key, sha256 of what follows the header, and the lengths of the metadata (JSON) and of the object code."""
_MAGIC = b"bpnat\0\r\n"
_STALE = 3600.0  # seconds after which an unfinished file has no writer any more
_TRIMS = 32  # one new entry in so many, by its key, looks at all others: of ten thousand that takes 0.3 s


@dataclass(frozen=True)
class Entry:
    """Object code, and what its maker wants to know again without making it."""

    code: bytes
    metadata: dict[str, Any]


class ObjectCache:
    """A folder of entries, for any number of processes at once. Where the folder is None or not usable, it is empty.

    Args:
        folder: where; made when first written to, for this user alone.
        limit: bytes, about; above, what was not used for the longest time is removed.
    """

    def __init__(self, folder: Path | None, limit: int = 256 << 20) -> None:
        self.folder = folder
        self.limit = limit

    def get(self, key: str) -> Entry | None:
        """What was put under `key`, 64 hexadecimal digits (see `llvm.key_of`)."""
        if self.folder is None:
            return None
        try:
            if not _is_usable(self.folder):
                return None
            path = self._path(self.folder, key)
            entry = _unpacked(_read_ours(path), key)
            if entry is not None:
                os.utime(path)
        except OSError:
            return None
        return entry

    def put(self, key: str, code: bytes, metadata: Mapping[str, Any]) -> None:
        """Keep `code` and `metadata` (which JSON can hold) under `key`; where that cannot be done, do nothing."""
        if self.folder is None:
            return
        path = self._path(self.folder, key)
        part = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_usable(self.folder):
                return
            if os.name == "posix":  # made by hand, perhaps, for others to look into
                self.folder.chmod(0o700)
            content = _packed(key, code, metadata)
            _write_ours(part, content)
            part.replace(path)
            if int(key[:2], 16) % _TRIMS == 0:
                self._trim(self.folder)
        except OSError:
            _remove(part)

    @staticmethod
    def _path(folder: Path, key: str) -> Path:
        return folder / f"{key}.object"

    def _trim(self, folder: Path) -> None:
        """Remove the oldest used until the rest is within the limit, and what killed writers left."""
        found = sorted(_files(folder), reverse=True)
        newest = found[0][0] if found else 0.0
        total = 0
        for used, size, path in found:
            total += size
            if total > self.limit or (path.suffix == ".part" and used < newest - _STALE):
                _remove(path)


def open_cache() -> ObjectCache:
    """The user's own: in the system's folder for such things, or in that which BACKPASS_CACHE names; "off" for none."""
    return ObjectCache(default_folder())


def default_folder() -> Path | None:
    named = os.environ.get("BACKPASS_CACHE")
    if named is not None:
        return None if named.strip() in ("", "off") else Path(named).absolute() / _FORMAT
    try:
        return _system_folder() / "backpass" / _FORMAT
    except RuntimeError:  # the user has no home
        return None


def _system_folder() -> Path:
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA", "")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else Path.home() / ".cache"  # a relative one counts as none, says its standard


def _packed(key: str, code: bytes, metadata: Mapping[str, Any]) -> bytes:
    described = json.dumps(metadata).encode()
    digest = sha256(described + code).digest()
    return _HEADER.pack(_MAGIC, bytes.fromhex(key), digest, len(described), len(code)) + described + code


def _unpacked(content: bytes, key: str) -> Entry | None:
    """The entry, if it is one, is whole, and is that of `key`."""
    if len(content) < _HEADER.size:
        return None
    magic, own_key, digest, described, length = _HEADER.unpack_from(content)
    body = content[_HEADER.size :]
    if (magic, own_key) != (_MAGIC, bytes.fromhex(key)) or len(body) != described + length:
        return None
    if sha256(body).digest() != digest:
        return None
    try:
        metadata = json.loads(body[:described])
    except ValueError:
        return None
    return Entry(body[described:], metadata) if isinstance(metadata, dict) else None


def _is_usable(folder: Path) -> bool:
    """Is it a folder of this user, that nobody else may write?"""
    status = os.lstat(folder)
    if _is_ours(status, stat.S_ISDIR):
        return True
    if not stat.S_ISDIR(status.st_mode):
        _warn(f"{folder} is no folder: remove it")
    elif status.st_uid != os.geteuid():
        _warn(f"the folder {folder} belongs to user {status.st_uid}, not to this one ({os.geteuid()}): remove it")
    else:
        mode = stat.S_IMODE(status.st_mode)
        _warn(f"others may write into the folder {folder} (mode {mode:03o}, expected 700): `chmod 700` it")
    return False


@cache
def _warn(found: str) -> None:
    """Once for each."""
    line = f"compiled programs are not kept: {found}, or name another place in BACKPASS_CACHE"
    warnings.warn(line, RuntimeWarning, stacklevel=2)


def _is_ours(status: os.stat_result, is_kind: Any) -> bool:
    """Of this kind, owned by this user, and writable by no one else."""
    if not is_kind(status.st_mode):
        return False
    if sys.platform == "win32":  # what lies in a user's own folder there is that user's
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _read_ours(path: Path) -> bytes:
    """The content; none of a file that is not ours. A link is no file, and a pipe would not end."""
    with open(path, "rb", opener=_open_plain) as file:
        return file.read() if _is_ours(os.fstat(file.fileno()), stat.S_ISREG) else b""


def _open_plain(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _write_ours(path: Path, content: bytes) -> None:
    with open(path, "xb", opener=_open_private) as file:
        file.write(content)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each of ours was last used, its size, and its path. Others may remove files meanwhile."""
    for path in folder.iterdir():
        if path.suffix not in (".object", ".part"):
            continue
        try:
            status = path.lstat()
        except OSError:
            continue
        yield status.st_mtime, status.st_size, path


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        return
