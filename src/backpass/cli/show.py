"""`backpass show` and `backpass playground`: a page to look into runs, and to train on."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

EPILOG = """\b
Examples:
  backpass show runs/loans-default-1
  backpass show runs/loans-default-1 runs/loans-default-2 --no-open
"""
EPILOG_PLAYGROUND = """\b
Examples:
  backpass playground
  backpass playground flowers.csv --port 9000
"""


def page_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of where a page is to be had."""
    host = click.option("--host", default="127.0.0.1", help="Let other machines in: the address to listen on.")
    port = click.option("--port", type=click.IntRange(0, 65535), default=8642, show_default=True, help="Or the next.")
    shown = click.option("--open/--no-open", "opens", default=True, help="Whether to open a browser.")
    return host(port(shown(command)))


@click.command(epilog=EPILOG, short_help="Look into runs in a browser, while they train or afterwards.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@page_options
def show(runs: tuple[Path, ...], **options: Any) -> None:
    """Serve a page about the runs in the folders RUN to this machine, until Ctrl-C.

    Curves, the network at any step with every number of it, its layers and its results. The address that is printed
    holds a secret: who does not know it sees nothing.
    """
    from backpass.live.server import Page, Watched
    from backpass.recipes import run

    for folder in runs:
        run.read(folder)
    with shown(Page([Watched(folder) for folder in runs]), options):
        wait()


@click.command(epilog=EPILOG_PLAYGROUND, short_help="Build and train small networks in a browser.")
@click.argument("table", required=False, type=click.Path())
@page_options
def playground(table: str | None, **options: Any) -> None:
    """Serve a page to train networks on, on TABLE or on iris, until Ctrl-C.

    Another table can be dropped in. What was made there goes when it ends: save the model, or the Python script.
    """
    from backpass.live.server import Page, Playground

    made = Playground(table)
    try:
        with shown(Page([], made), options):
            wait()
    finally:
        made.close()


@contextmanager
def shown(page: Any, options: dict[str, Any]) -> Iterator[None]:
    """Within this the page is served; its address is printed, and a browser opened."""
    from backpass.live.server import open_browser, serving

    with serving(page, host=options["host"], port=options["port"]) as door:
        click.echo(f"the page is at {door.address}", err=True)
        if options["opens"] and not open_browser(door.address):
            click.echo("no browser was found: open that address in one", err=True)
        yield


def wait() -> None:
    """Until Ctrl-C.

    Whoever reads a table may leave a handler of its own in the place of Python's, as polars does, which then waits for
    ever: it is set anew, for tables are dropped in at any time.
    """
    handler, never = signal.getsignal(signal.SIGINT), threading.Event()
    try:
        click.echo("Ctrl-C ends it", err=True)
        while True:
            signal.signal(signal.SIGINT, handler)
            never.wait(0.5)
    except KeyboardInterrupt:
        click.echo("", err=True)
