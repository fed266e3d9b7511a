"""Files that are there whole or not at all."""

import os
import tempfile
from pathlib import Path

from backpass.errors import OutputError


def write_whole(path: str | Path, content: bytes) -> None:
    """Write `content` under another name, flush it to the disk, and rename it: no reader ever meets half a file.

    Raises:
        OutputError: the place cannot be written; nothing is left behind.
    """
    path, temporary = Path(path), ""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # a pipe or a device, which no file may replace
            path.write_bytes(content)
            return
        path = Path(os.path.realpath(path))  # a link stays a link
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # noqa: PTH101 - mkstemp's own mode would hide the file from others
        os.replace(temporary, path)  # noqa: PTH105
    except OSError as error:
        _remove(temporary)
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}): choose another place") from None
    except BaseException:
        _remove(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _remove(temporary: str) -> None:
    if temporary:
        Path(temporary).unlink(missing_ok=True)
