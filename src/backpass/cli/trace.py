"""`backpass trace`: the ledger of one row in one step of a run: every number of back-propagation."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backpass.cli.options import json_option
from backpass.cli.output import Voice, printable, working, writing
from backpass.errors import UsageError

if TYPE_CHECKING:
    from backpass.ledger.terminal import Line

EPILOG = """\b
Examples:
  backpass trace runs/loans-default-1 --row 17
  backpass trace runs/loans-default-1 loans.csv --row 17 --step 100 --full
  backpass trace runs/loans-default-1 --row 17 --node "hidden_1[7]"
  backpass trace runs/loans-default-1 --step 100 --weight "age -> hidden_1[7]"
  backpass trace runs/loans-default-1 --row 17 --why
  backpass trace runs/loans-default-1 --row 17 --html row-17.html
"""
_STYLES = {"title": "bold", "name": "bold cyan", "result": "green", "less": "dim", "": ""}


@click.command(epilog=EPILOG, short_help="Show every number of back-propagation for one row in one step.")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("table", type=click.Path(), required=False)
@click.option("--row", type=int, help="Its number in the table, from 1; otherwise the one with most to tell.")
@click.option("--step", type=int, help="From 1; otherwise the last one that the row was in.")
@click.option("--member", type=int, help="Which network of an ensemble; otherwise the first that learns from the row.")
@click.option("--full", is_flag=True, help="Every step of it, with the sums.")
@click.option("--nodes", type=click.IntRange(min=1), help="With --full: how many of each layer; 2.")
@click.option("--terms", type=click.IntRange(min=1), help="How many of each sum; 4, or 12 of one node or weight.")
@click.option("--node", metavar="NAME", help='One node alone, such as "hidden_1[7]".')
@click.option("--weight", metavar="NAME", help='Why a weight moved: "hidden_1.weight[3,7]" or "age -> hidden_1[7]".')
@click.option("--why", is_flag=True, help="Why the row's prediction is what it is: each column's share.")
@click.option(
    "--output", metavar="NAME", help="With --why: which class or target; a target of classes means its likeliest."
)
@click.option("--html", metavar="FILE", type=click.Path(path_type=Path), help="Write a page to step through.")
@click.option("--csv", "as_csv", is_flag=True, help="Print every number as CSV, one a line.")
@json_option
def trace(run: Path, table: str | None, **options: Any) -> None:
    """Show one row in one step of the folder RUN: forward, the error, backward, and the change of the weights.

    In short; --full writes out the sums of the nodes of the largest errors, --node and --weight all of one, --json and
    --csv every number.

    The run may be finished, interrupted or killed. TABLE says where its table is now, if it was moved. Every sum is
    checked against the gradients that the training calculates.
    """
    from backpass.recipes.again import open_run

    if options["as_csv"] and options["as_json"]:
        raise UsageError("--csv and --json both take standard output: give one of them")
    chosen = [f"--{name}" for name in ("node", "weight", "why", "html") if options[name]]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)}: each shows something of its own: give one of them")
    if options["html"] is not None and (options["as_csv"] or options["as_json"]):
        raise UsageError("--html writes a page, --csv and --json print: give one of them")
    if options["output"] is not None and not options["why"]:
        raise UsageError("--output says of which output --why tells: give --why, too")
    opened = open_run(run, table=table)
    if options["html"] is not None:
        _require_other_file(options["html"], run, opened.about["asked"].get("table") if table is None else table)
    if options["why"]:
        _why(opened, options)
        return
    with working("replaying the step"):
        weight = options["weight"] or ""
        found = opened.trace(options["row"], options["step"], member=options["member"], weight=weight)
    _show(found, options)


def _show(found: Any, options: dict[str, Any]) -> None:
    from backpass.ledger import plain, terminal

    few, many = options["terms"] or 4, options["terms"] or 12
    if options["weight"]:
        parameter, index = found.weight(options["weight"])
        value = plain.of_movers(parameter, index) | {"step": found.moment.step}
        csv = (
            (found.moment.step, found.row, "why", parameter.name, value["name"], each["of"], each["value"])
            for each in value["why"]["terms"]
        )
        _put(options, terminal.of_weight(found, parameter, index, many), value, csv)
    elif options["node"]:
        layer, place = found.node(options["node"])
        value = plain.of_node(layer, place) | {"step": found.moment.step, "row": found.row}
        _put(options, terminal.of_node(found, options["node"], many), value, plain.rows_of_node(found, layer, place))
    elif options["html"]:
        from backpass.storage.atomic import write_whole

        write_whole(options["html"], found.to_html().encode(errors="replace"))
        Voice(as_json=True).say(f"{options['html']}: step {found.moment.step:,}, row {found.row:,}")
    else:
        full = options["full"] or options["nodes"] or options["terms"]
        lines = terminal.told(found, nodes=options["nodes"] or 2, terms=few) if full else terminal.short(found)
        _put(options, lines, None, plain.rows(found), found)


def _require_other_file(page: Path, run: Path, table: Any) -> None:
    """A page is never written over the run or the table that it tells of."""
    for role, path in (("table", Path(str(table))), *(("run", each) for each in run.iterdir())):
        if page.exists() and path.exists() and page.samefile(path):
            raise UsageError(f"--html {page}: is the {role} itself: choose another file")


def _why(opened: Any, options: dict[str, Any]) -> None:
    from backpass.ledger import plain, terminal

    if options["row"] is None:
        raise UsageError("--why explains the prediction of a row: say which one with --row")
    with working("following the way from the mean row"):
        found = opened.why(options["row"], options["step"], output=options["output"])
    step = options["step"] or 0
    csv = ((step, found.row, "why", "", each.column, found.output, each.value) for each in found.shares)
    _put(options, terminal.of_why(found, options["terms"]), plain.of_why(found), csv)


def _put(options: dict[str, Any], lines: "Iterable[Line]", value: Any, rows: Iterable[Any], found: Any = None) -> None:
    """In the form that was asked for."""
    if options["as_csv"]:
        _print_csv(rows)
    elif options["as_json"]:
        from backpass.ledger import plain

        Voice(as_json=True).result(plain.plain(found) if value is None else value)
    else:
        _print(lines)


def _print(lines: "Iterable[Line]") -> None:
    """In colours on a terminal, plain otherwise."""
    import sys

    if not sys.stdout.isatty():
        Voice().say(line.text.rstrip() for line in lines)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    with writing():
        for line in lines:
            console.print(Text(printable(line.text), _STYLES[line.style]))


def _print_csv(rows: Iterable[Any]) -> None:
    import csv
    import sys

    from backpass.ledger.plain import HEADER

    with writing():
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(rows)
