"""What commands print: words for people, one JSON object for programs, and a sign of life while they work."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click


class Voice:
    """Speaks to people on standard output; with `as_json` on standard error, so that one JSON object stands alone."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    def say(self, lines: str | Iterable[str] = "") -> None:
        if not self.quiet:
            click.echo(lines if isinstance(lines, str) else "\n".join(lines), err=self.as_json)

    def result(self, value: dict[str, Any]) -> None:
        """The one JSON object, where it was asked for."""
        if self.as_json:
            click.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))


@contextmanager
def working(what: str) -> Iterator[None]:
    """Shows on a terminal that something is being done; it goes away when it is."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
