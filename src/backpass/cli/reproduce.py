"""`backpass reproduce`: a finished run done again, and its weights compared."""

import sys
from pathlib import Path
from typing import Any

import click

from backpass.cli.options import json_option, quiet_option, threads_option
from backpass.cli.output import Voice, working

EPILOG = """\b
Example:
  backpass reproduce runs/loans-default-1
"""

DIFFERS = 1


@click.command(epilog=EPILOG, short_help="Do a finished run again and compare its weights, bit for bit.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--table", metavar="TABLE", help="Where the table is now, if it was moved.")
@click.option("--test", "test_table", metavar="TABLE", help="Where the table given as --test is now.")
@threads_option
@json_option
@quiet_option
def reproduce(run: Path, **options: Any) -> None:
    """Train again what the folder RUN says was asked, and compare the weights with those of RUN.

    Exits with 0 where they are the same to the bit, with 1 where they differ: then it says by how much, and what
    of versions and machine is another. Nothing is written.
    """
    from backpass.recipes import again

    voice = Voice(as_json=options["as_json"], quiet=options["quiet"])
    with working(f"reading the table of {run}", quiet=options["quiet"]):
        planned = again.plan_of(run, options["table"], options["test_table"], threads=options["threads"])
    found = again.compare(run, planned, progress=not options["quiet"])
    voice.say(found.lines())
    voice.result(found.to_json())
    if not found.same:
        sys.exit(DIFFERS)
