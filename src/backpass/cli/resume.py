"""`backpass resume`: a run that was ended goes on, as if it had never been."""

from pathlib import Path
from typing import Any

import click

from backpass.cli.options import json_option, quiet_option, report_option, threads_option
from backpass.cli.output import Voice, working
from backpass.cli.train import going_on_told, tell_outcome
from backpass.errors import UsageError

EPILOG = """\b
Examples:
  backpass resume runs/loans-default-1
  backpass resume runs/loans-default-1 --table moved/loans.csv --threads 2
"""


@click.command(epilog=EPILOG, short_help="Go on with a training that was interrupted or killed.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--table", metavar="TABLE", help="Where the table is now, if it was moved.")
@click.option("--test", "test_table", metavar="TABLE", help="Where the table given as --test is now.")
@threads_option
@report_option
@json_option
@quiet_option
def resume(run: Path, **options: Any) -> None:
    """Go on with the training in the folder RUN, from its newest checkpoint.

    The network at the end is the one that a training without interruption gives, to the bit, with any number of
    threads. The table must be the same; what differs is named.
    """
    from backpass.recipes import again, fields
    from backpass.recipes import run as runs
    from backpass.recipes.main_job import fit_into
    from backpass.storage.locks import FolderLock

    voice = Voice(as_json=options["as_json"], quiet=options["quiet"])
    if not run.is_dir():
        raise UsageError(f"{run}: is no folder, expected that of a run, such as runs/loans-default-1")
    with FolderLock(run):
        if runs.read(run).get("state") == fields.FINISHED and runs.tidy(run):
            voice.say(f"{run}: was finished; what its end had left behind is taken away now")
            voice.result({"run": str(run), "state": fields.FINISHED})
            return
        again.require_unfinished(run)
        with working(f"reading the table of {run}", quiet=options["quiet"]):
            planned = again.plan_of(run, options["table"], options["test_table"], threads=options["threads"])
        voice.say([f"going on with {run}: {again.how_far(run)}", ""])
        with going_on_told(run, voice):
            shown = {"progress": not options["quiet"], "page": options["report"]}
            outcome = fit_into(run, planned, **shown, stop_on_interrupt=True, begins=False)
    tell_outcome(voice, planned, outcome, run)
