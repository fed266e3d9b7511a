"""`backpass doctor`: what is wrong with a run or a table, and what to try."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backpass.cli.options import json_option, names, threads_option
from backpass.cli.output import Voice, working, wrapped
from backpass.errors import UsageError

if TYPE_CHECKING:
    from backpass.doctor import Diagnosis
    from backpass.recipes.main_job import Plan

EPILOG = """\b
Examples:
  backpass doctor runs/loans-default-1
  backpass doctor runs/loans-default-1 --treat --out runs/treated
  backpass doctor loans.csv --target default
"""


@click.command(epilog=EPILOG, short_help="Say what is wrong with a run or a table, and what to try.")
@click.argument("patient", metavar="RUN|TABLE", type=click.Path(path_type=Path))
@click.option("--target", multiple=True, metavar="COLUMN", help="Of a TABLE: what is to be predicted.")
@click.option("--exclude", multiple=True, metavar="COLUMNS", help="Of a TABLE: leave out these columns.")
@click.option("--table", metavar="TABLE", help="Of a RUN: where its table is now, if it was moved.")
@click.option("--test", "test_table", metavar="TABLE", help="Rows to judge by; of a RUN where they are now.")
@click.option("--treat", is_flag=True, help="Of a RUN: train again with what helps; shows before and after.")
@click.option("--out", metavar="RUN", type=click.Path(path_type=Path), help="The folder of what --treat trains.")
@threads_option
@json_option
def doctor(patient: Path, **options: Any) -> None:
    """Say what is wrong with the training in the folder RUN, or with TABLE, likeliest cause first.

    Each finding has its measurement, what to try, and what a short trial of that gave. Nothing is written but by
    --treat.
    """
    from backpass.recipes import again, examination, run

    voice = Voice(as_json=options["as_json"])
    if options["out"] is not None:
        if not options["treat"]:
            raise UsageError("--out is the folder of what --treat trains: give --treat, too, or leave it out")
        run.check_free(options["out"])
    with working(f"examining {patient}") as tell:
        if patient.is_dir():
            if options["target"] or options["exclude"]:
                raise UsageError(f"{patient}: is a run, which has its target: leave out --target and --exclude")
            planned = again.plan_of(patient, options["table"], options["test_table"], threads=options["threads"])
            opened = again.open_run(patient, table=options["table"], test_table=options["test_table"])
            diagnosis = examination.examine_run(patient, planned, opened.history, telling=tell)
        else:
            planned = _of_table(patient, options)
            diagnosis = examination.examine(planned, telling=tell)
    voice.say([f"{patient}", *diagnosis.lines(), *wrapped(examination.networks_told(planned))])
    told = diagnosis.to_json() | {"networks": examination.networks(planned)}
    if not options["treat"]:
        voice.result(told)
        return
    voice.result(told | {"treated": _treat(voice, patient, planned, diagnosis, options)})


def _of_table(table: Path, options: dict[str, Any]) -> "Plan":
    from backpass.data.textfile import STANDARD_INPUT, no_such_file
    from backpass.recipes import defaults
    from backpass.recipes.main_job import plan

    if not table.exists() and str(table) != STANDARD_INPUT:
        raise UsageError(no_such_file(table))
    if options["treat"]:
        raise UsageError("--treat is for a run: train first, then backpass doctor RUN --treat")
    if not options["target"]:
        raise UsageError(f"{table}: give --target COLUMN, what is to be predicted (or the folder of a run)")
    return plan(
        str(table),
        ",".join(options["target"]),
        exclude=names(options["exclude"]),
        test_table=options["test_table"],
        effort=defaults.FAST,
        threads=options["threads"],
    )


def _treat(
    voice: Voice, folder: Path, planned: "Plan", diagnosis: "Diagnosis", options: dict[str, Any]
) -> dict[str, Any] | None:
    """Train again with the first remedy, and those that help on top of it, into a folder of its own."""
    from backpass.recipes import again, examination, run
    from backpass.recipes.main_job import fit_into, report

    if not diagnosis.findings:
        voice.say("there is nothing to treat")
        return None
    if options["out"] is not None:
        run.check_free(options["out"])
    after = examination.treated(planned, diagnosis.treatment)
    changed = examination.options(planned, after)
    voice.say(["", *wrapped([f"training again with {' '.join(changed)}"])])
    target = str(planned.asked["target"])
    with run.folder_for(options["out"], planned.prepared.table.name, target) as new:
        outcome = fit_into(new, after, progress=True, stop_on_interrupt=True)
    before = again.open_run(folder).about.get("outcome", {}).get("metrics") or {}
    rows = [("", "before", "after")]
    rows += [(name, _shown(before.get(name)), _shown(value)) for name, value in outcome.metrics.items()]
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    voice.say(
        [
            f"on the {outcome.held_out} rows:",
            *(f"  {a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows),
            f"{new}/  the network of after",
            *(
                ["it is worse than before: keep the run that was examined"]
                if _is_worse(before, outcome.metrics)
                else []
            ),
        ]
    )
    return {"options": changed, "before": before, "after": report(after, outcome, new)}


def _is_worse(before: dict[str, Any], after: dict[str, float]) -> bool:
    """By what is learned: the log loss, or the error of numbers."""
    pairs = [(before.get(name), after.get(name)) for name in ("log_loss", "pinball", "rmse")]
    return next((now > then for then, now in pairs if then is not None and now is not None), False)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
