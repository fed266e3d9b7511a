"""`backpass predict`: answers for the rows of a table."""

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backpass.cli.options import coerce_option, delimiter_option, model_argument, names, table_argument, threads_option
from backpass.cli.output import printable, working, wrapped, writing
from backpass.errors import OutputError, UsageError

if TYPE_CHECKING:
    from backpass.data import TargetEncoder
    from backpass.model import Model, Predictions

DIGITS = 7  # that float32 holds
EPILOG = """\b
Examples:
  backpass predict runs/loans-default-1 new.csv
  backpass predict runs/loans-default-1 new.csv --proba --out answers.csv
  backpass predict runs/houses-price-1 new.csv --interval
"""


@click.command(epilog=EPILOG, short_help="Predict for every row of a table.")
@model_argument
@table_argument
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Where to write; standard output otherwise, or for -.",
)
@click.option("--proba", is_flag=True, help="Add a column p_CLASS with the probability of each class.")
@click.option("--interval", is_flag=True, help="Add the columns lower and upper, of a model trained with --interval.")
@coerce_option
@delimiter_option
@threads_option
def predict(
    model: str,
    table: str,
    out: Path | None,
    proba: bool,
    interval: bool,
    coerce: tuple[str, ...],
    delimiter: str | None,
    threads: int | None,
) -> None:
    """Predict for every row of TABLE, in its order, as CSV with a column `prediction`.

    MODEL is a run's folder or a model file. A model trained with --quantiles adds a column for each, as q0.1, and the
    prediction is the median, or what lies between the two around it. For several targets the columns are called
    prediction_TARGET, with --interval lower_TARGET and upper_TARGET, and for targets of several kinds q0.1_TARGET and
    p_TARGET_CLASS. Columns may stand in any order; missing values and categories that training never saw are no error.
    """
    from backpass.data import read_table
    from backpass.data.writing import csv_bytes
    from backpass.model import load
    from backpass.storage.atomic import write_whole

    _require_place(out, model, table)
    loaded = load(model)
    notes: list[str] = []
    with working(f"predicting {table}"):
        opened = read_table(table, delimiter=delimiter)
        found = _sensible(loaded.predict_table(opened, coerce=names(coerce), notes=notes, threads=threads), loaded)
        if proba and all(head.probabilities is None for head in found.heads):
            raise UsageError("--proba goes with classes, and this model predicts numbers: leave it out")
        if interval and all(head.lower is None for head in found.heads):
            raise UsageError("--interval goes with a model that was trained with --interval, such as 0.9: leave it out")
        content = csv_bytes(columns(found, proba=proba, interval=interval))
    for line in wrapped(f"note: {note}" for note in (*opened.notes, *notes)):
        click.echo(printable(line), err=True)
    if out is None or str(out) == "-":
        _write_out(content)
    else:
        write_whole(out, content)
        click.echo(f"{out}: {opened.rows:,} predictions", err=True)


def _sensible(found: "Predictions", model: "Model") -> "Predictions":
    """The same, its numbers with the digits that the network's own precision gives sense to.

    What it answers is scaled: of a target that spreads by 3 the eighth digit behind the point means nothing in float32.
    """
    if model.precision != "float32" or model.tabular is None:
        return found
    if not found.parts:
        return _short(found, model.tabular.targets)
    heads = zip(found.parts, model.tabular.targets.heads, strict=True)
    return replace(found, parts=tuple(_short(*head) for head in heads))


def _short(found: "Predictions", targets: "TargetEncoder") -> "Predictions":
    import numpy as np

    if found.probabilities is not None:
        return found

    def short(values: Any) -> Any:
        if values is None:
            return None
        if targets.kind != "number":  # their logarithm is what is scaled
            return values.astype(np.float32)
        spreads = np.broadcast_to(targets.spreads, len(values.T))
        return np.stack([np.round(each, _decimals(spread)) for each, spread in zip(values.T, spreads, strict=True)], 1)

    parts = {name: short(getattr(found, name)) for name in ("values", "lower", "upper", "quantiles")}
    return replace(found, **parts)


def _decimals(spread: float) -> int:
    """Of a number that is scaled by so much, how many digits behind the point float32 holds."""
    return DIGITS - math.floor(math.log10(spread)) if spread > 0 else DIGITS


def _write_out(content: bytes) -> None:
    if sys.stdout is None:
        raise OutputError("standard output is closed: name a file with --out")
    with writing():
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


def _require_place(out: Path | None, model: str, table: str) -> None:
    """Answers are never written over the table or the model that they come from. A place that is not there is told of
    before all the work.
    """
    if out is not None and str(out) != "-" and not out.parent.is_dir():
        raise OutputError(f"{out}: cannot be written (there is no folder {out.parent}): choose another place")
    for role, path in (("table", Path(table)), ("model", Path(model)), ("model", Path(model) / "model.safetensors")):
        if out is not None and out.exists() and path.exists() and out.samefile(path):
            raise UsageError(f"--out {out}: is the {role} itself: choose another file")


def columns(found: "Predictions", *, proba: bool, interval: bool) -> dict[str, Any]:
    """The columns to write: answers, and where they are wanted the probabilities of the classes, or intervals.

    Those of several heads have the names of their targets in them.
    """
    if found.parts:
        every: dict[str, Any] = {}
        for head in found.parts:
            for column, values in columns(head, proba=proba, interval=interval).items():
                name = _named(column, head.names[0])
                if name in every:
                    raise UsageError(f"two columns would be called {name}: leave out --proba, or rename a target")
                every[name] = values
        return every
    if found.probabilities is None:
        return _numbers(found, interval=interval)
    answers: dict[str, Any] = {"prediction": found.values}
    if proba:
        answers |= {f"p_{name}": found.probabilities[:, place] for place, name in enumerate(found.classes)}
    return answers


def _named(column: str, target: str) -> str:
    """prediction_TARGET, but p_TARGET_CLASS."""
    return f"p_{target}_{column.removeprefix('p_')}" if column.startswith("p_") else f"{column}_{target}"


def _numbers(found: "Predictions", *, interval: bool) -> dict[str, Any]:
    """For each target its prediction, and the ends of its interval; several targets have their names behind."""
    parts = {"prediction": found.values}
    if found.quantiles is not None:
        every = zip(found.levels, found.quantiles.T, strict=True)
        return {"prediction": found.values[:, 0]} | {f"q{level}": values for level, values in every}
    if interval and found.lower is not None and found.upper is not None:
        parts |= {"lower": found.lower, "upper": found.upper}
    several = len(found.names) > 1
    return {
        f"{part}_{name}" if several else part: values[:, place]
        for place, name in enumerate(found.names)
        for part, values in parts.items()
    }
