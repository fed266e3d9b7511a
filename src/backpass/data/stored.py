"""Encoded rows on the disk, where they take no memory but while they are looked at.

The file has no name: the system frees it when the arrays are let go of, or when the process ends, however it ends.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from backpass.data.arrays import Array
from backpass.data.limits import amount
from backpass.errors import OutputError

WINDOW = 1 << 27  # bytes of rows that are looked at together
LEAST_WINDOW = 1024  # rows
_MOST_PLACES = 1_000_000_000  # of a multivariate hypergeometric distribution
LARGE = Path("/var/tmp")  # noqa: S108 - where Unix has room for large files; /tmp may be memory


def folder() -> Path:
    """Where files without a name are made: what TMPDIR names, or where there is room."""
    named = os.environ.get("TMPDIR")
    fits = named is None and LARGE.is_dir() and os.access(LARGE, os.W_OK)
    return LARGE if fits else Path(tempfile.gettempdir())


def window_of(row: int) -> int:
    """How many rows of so many bytes are looked at together: a power of 2, which batches of most sizes divide."""
    return max(LEAST_WINDOW, 1 << (max(1, WINDOW // max(1, row)).bit_length() - 1))


def stored(
    pieces: Iterable[Mapping[str, Array]], rows: int, *, seed: int | None = None, window: int | None = None
) -> dict[str, Array]:
    """The arrays that all pieces make, `rows` long in all, in files (np.memmap).

    With a seed each row goes to a window drawn by chance, so that every window is a sample of all rows; within one the
    rows stand as they came. Without a seed all stand as they came. A `window` is of so many rows, or of as many as fit.

    Raises:
        OutputError: there is no room on the disk, or it cannot be written.
    """
    held: dict[str, _Held] = {}
    left, ends = np.array([rows]), np.array([rows])
    draw = np.random.Generator(np.random.Philox(seed))
    with ExitStack() as files:
        for piece in pieces:
            if not held:
                row = sum(array[:1].nbytes for array in piece.values())
                _require_disk(row * rows)
                held = {name: files.enter_context(_Held(array, rows)) for name, array in piece.items()}
                for each in held.values():
                    each.allocate()
                if seed is not None:
                    window = window or window_of(row)
                    ends = np.minimum(rows, window * np.arange(1, 1 + -(-rows // window)))
                    left = np.diff(ends, prepend=0)
            count = len(next(iter(piece.values())))
            shares = _shares(draw, left, count)
            order = draw.permutation(count) if seed is not None else np.arange(count)
            for place, chosen in enumerate(np.split(order, np.cumsum(shares)[:-1])):
                for name, array in piece.items():
                    held[name].write(array[chosen], int(ends[place] - left[place]))
            left = left - shares
        return {name: each.mapped() for name, each in held.items()}


def _shares(draw: np.random.Generator, left: Array, count: int) -> Array:
    """How many of `count` rows go to each window, where so many places are `left`.

    As if each took one of all places by chance, without putting it back; of more places than NumPy counts in that way,
    they are put back, which makes no difference that could be seen.
    """
    if left.sum() < _MOST_PLACES:
        return draw.multivariate_hypergeometric(left, count)
    shares = np.zeros_like(left)
    while (short := count - int(shares.sum())) > 0:
        free = left - shares
        shares = np.minimum(left, shares + draw.multinomial(short, free / free.sum()))
    return shares


def _require_disk(needed: int) -> None:
    place, free = folder(), needed
    with suppress(OSError):
        free = shutil.disk_usage(place).free
    if needed > free:
        raise OutputError(f"{_no_room(place, needed)}, and {amount(free)} are free there: {_ADVICE}")


_ADVICE = "make room, or name another folder with TMPDIR"


def _no_room(place: Path, needed: int) -> str:
    return f"{place}: to train from the disk takes {amount(needed)} of it"


class _Held:
    """One array, as it is written."""

    def __init__(self, like: Array, rows: int) -> None:
        self._dtype, self._shape = like.dtype, (rows, *like.shape[1:])
        self._row = like[:1].nbytes
        self._place = folder()
        try:
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=self._place, buffering=0)  # noqa: SIM115 - see __exit__
        except OSError as error:
            raise self._failed(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()  # what is mapped stays

    def allocate(self) -> None:
        """Have the room on the disk, where that can be had beforehand: then no write finds it full."""
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, self._row * self._shape[0])
        except OSError as error:
            raise self._failed(error) from None

    def write(self, rows: Array, first: int) -> None:
        """Rows from number `first` on."""
        data = np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data
        try:
            self._file.seek(first * self._row)
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise self._failed(error) from None

    def mapped(self) -> Array:
        given: Any = self._file
        return np.memmap(given, self._dtype, "r", shape=self._shape)

    def _failed(self, error: OSError) -> OutputError:
        needed = self._row * self._shape[0]
        return OutputError(f"{_no_room(self._place, needed)} ({error.strerror}): {_ADVICE}")
