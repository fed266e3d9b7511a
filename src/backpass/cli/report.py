"""`backpass report`: all that a run has to show, on one page."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backpass.cli.options import json_option, plots_option
from backpass.cli.output import Voice, working
from backpass.errors import BackpassError, UsageError

if TYPE_CHECKING:
    from backpass.recipes.again import Run

EPILOG = """\b
Examples:
  backpass report runs/loans-default-1
  backpass report runs/loans-default-1 --html loans.html
  backpass report runs/loans-default-1 --plots svg
  backpass report runs/loans-default-1 --json
"""


@click.command(epilog=EPILOG, short_help="Write all that a run has to show on one page.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--html", metavar="FILE", type=click.Path(path_type=Path), help="The page; RUN/report.html otherwise.")
@plots_option
@click.option("--table", metavar="TABLE", help="Where the table is now, if it was moved.")
@click.option("--test", "test_table", metavar="TABLE", help="Where the table given as --test is now.")
@json_option
def report(run: Path, **options: Any) -> None:
    """Write all that the folder RUN has to show on one page: scores, curves, columns that matter, data, network.

    The run may be finished, interrupted or killed. The page is one file, which a browser shows without a network.
    --json prints the facts that it is made of, and writes a page only where --html names one.
    """
    from backpass.recipes.again import open_run
    from backpass.recipes.report_page import NAME, facts_of_run, page
    from backpass.storage.atomic import write_whole

    voice = Voice(as_json=options["as_json"])
    opened = open_run(run, table=options["table"], test_table=options["test_table"])
    if options["plots"]:
        from backpass.recipes.plots import require_matplotlib

        require_matplotlib()
    place = options["html"] or (None if options["as_json"] else run / NAME)
    if place is not None:
        _require_other_file(
            place, run, [options["table"], options["test_table"], *opened.about.get("paths", {}).values()]
        )
    with working(f"looking through {run}") as tell:
        found = facts_of_run(opened, _findings(run, opened, tell))
    if found["absent"]:
        voice.say(f"note: {found['absent']}")
    if place is not None:
        written = page(found).encode()
        write_whole(place, written, links=place.parent != run)
        voice.say(f"{place}: {len(written) / 1000:,.0f} kB")
    if options["plots"]:
        from backpass.recipes.plots import write_plots

        for path in write_plots(found, run / "plots", options["plots"]):
            voice.say(str(path))
    voice.result(found)


def _findings(run: Path, opened: "Run", tell: Callable[[str], None]) -> list[dict[str, Any]] | None:
    """The doctor's; None where he cannot look, for the reason that the report gives for what it lacks."""
    from backpass.recipes.examination import examine_run

    try:
        return [each.to_json() for each in examine_run(run, opened.plan, opened.history, telling=tell).findings]
    except BackpassError:
        return None


def _require_other_file(place: Path, run: Path, tables: list[str | None]) -> None:
    """A page is never written over the run or the table that it tells of."""
    kept = [each for each in run.iterdir() if each.name != "report.html"] if run.is_dir() else []
    for path in [*kept, *(Path(table) for table in tables if table is not None)]:
        if place.exists() and path.exists() and place.samefile(path):
            raise UsageError(f"--html {place}: is a file of the run or its table: choose another file")
