"""What commands print: words for people, one JSON object for programs, and a sign of life while they work."""

import json
import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from backpass.errors import OutputError

WIDTH = 80  # columns
_GLUE = "\xa0"  # a space at which no line is cut
SECONDS_BETWEEN_LINES = 5.0  # of news, where there is no terminal
ENDING = (signal.SIGINT, signal.SIGTERM)
SIGNALLED = 128  # and the number of the signal: what a shell expects of a command that a signal ended


class Voice:
    """Speaks to people on standard output; with `as_json` on standard error, so that one JSON object stands alone."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    def say(self, lines: str | Iterable[str] = "") -> None:
        text = lines if isinstance(lines, str) else "\n".join(lines)
        if not self.quiet and (text or isinstance(lines, str)):
            with writing():
                click.echo("\n".join(map(printable, text.split("\n"))), err=self.as_json)

    def result(self, value: dict[str, Any]) -> None:
        """The one JSON object, where it was asked for."""
        if self.as_json:
            with writing():
                click.echo(json.dumps(value, allow_nan=False))


def wrapped(lines: Iterable[str], hang: int = 2) -> list[str]:
    """Lines of words, those beyond 80 columns cut between words, with what is cut off `hang` columns further in."""
    return [part for line in lines for part in (_cut(line, hang) if len(line) > WIDTH else [line])]


def _cut(line: str, hang: int) -> list[str]:
    """A number and its % stay together."""
    indent = line[: len(line) - len(line.lstrip())]
    parts = textwrap.wrap(
        line.replace(" %", _GLUE + "%"),
        WIDTH,
        subsequent_indent=indent + " " * hang,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [part.replace(_GLUE, " ") for part in parts]


def printable(line: str) -> str:
    """A line in which no name from a file can move the cursor or change colours: what does is shown by its number."""
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in line)


@contextmanager
def writing() -> Iterator[None]:
    """Tells of a standard output that takes no more, as on a full disk. Where its reader has gone, work goes on.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        yield
    except BrokenPipeError:
        abandon_output()
    except OSError as error:
        raise OutputError(f"standard output: cannot be written ({error.strerror}): write to another place") from None


def abandon_output() -> None:
    """Lets what standard output still holds go if it cannot be written, lest Python stumble over it when it ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def uninterrupted(*, for_good: bool = False) -> Iterator[None]:
    """Ctrl-C and SIGTERM do nothing any more: what it could break off is done, and is being told.

    `for_good`: nor after it, until the command is over, so that there is no moment between the two.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    try:
        yield
    finally:
        for number, was in before.items():
            if not for_good:
                signal.signal(number, was)


@contextmanager
def working(what: str, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Shows on a terminal that something is being done; it goes away when it is.

    Yields what takes news of it: they stand there as well. Elsewhere a line says every few seconds that it goes on,
    with the last news. `quiet` says nothing.
    """
    if sys.stderr is None or quiet:
        yield lambda news: None
        return
    if not sys.stderr.isatty():
        with _news(what) as tell:
            yield tell
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(escape(what)) as status:
        yield lambda news: status.update(escape(f"{what}: {news}"))


@contextmanager
def _news(what: str) -> Iterator[Callable[[str], None]]:
    """Prints on standard error, where there is one, a line every few seconds, of the last news if there was any."""
    begun, over, last = time.monotonic(), threading.Event(), [""]

    def beat() -> None:
        while not over.wait(SECONDS_BETWEEN_LINES):
            told = f": {last[0]}" if last[0] else ""
            with suppress(OSError, ValueError):  # nobody reads it any more
                click.echo(printable(f"{what}, {time.monotonic() - begun:.0f} s{told}"), err=True)

    def tell(news: str) -> None:
        last[0] = news

    beating = threading.Thread(target=beat, name="backpass progress", daemon=True)
    beating.start()
    try:
        yield tell
    finally:
        over.set()
        beating.join()
