"""What native code raises, or prints, at damaged data, as one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from backpass.data.lazy import pl
from backpass.errors import TableError


@contextmanager
def told_in_one_line(name: str) -> Iterator[None]:
    """Turns what polars raises, panics of its native code included, into one line."""
    try:
        yield
    except TableError:
        raise
    except BaseException as error:
        if not (isinstance(error, pl.exceptions.PolarsError) or type(error).__name__ == "PanicException"):
            raise
        raise TableError(f"{name}: is damaged or of an unknown kind ({brief(error)}): write it again") from error


def brief(error: BaseException) -> str:
    """The beginning of a reason given by native code, without the innards that it prints after it."""
    return " ".join(str(error).partition("{")[0].split())[:80].rstrip(" .:") or type(error).__name__


@contextmanager
def native_code_silent() -> Iterator[None]:
    """Keeps what native code prints when it panics off the screen: the error that follows says it in one line."""
    try:
        screen = os.dup(2)
    except OSError:
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)
