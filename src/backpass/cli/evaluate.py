"""`backpass evaluate`: how good a model is on rows whose answers are known."""

import math
import time
from typing import TYPE_CHECKING

import click

from backpass.cli.options import (
    coerce_option,
    delimiter_option,
    json_option,
    model_argument,
    names,
    table_argument,
    threads_option,
)
from backpass.cli.output import Voice, working, wrapped

if TYPE_CHECKING:
    from backpass.model import Model

EPILOG = """\b
Examples:
  backpass evaluate runs/loans-default-1 labelled.csv
  backpass evaluate runs/loans-default-1 labelled.csv --json
"""


@click.command(epilog=EPILOG, short_help="Measure a model on rows whose answers are known.")
@model_argument
@table_argument
@coerce_option
@delimiter_option
@threads_option
@json_option
def evaluate(
    model: str, table: str, coerce: tuple[str, ...], delimiter: str | None, threads: int | None, as_json: bool
) -> None:
    """Measure MODEL on the rows of TABLE, which holds the target too.

    Rows without a target are left out. For classes: accuracy, log_loss and calibration_error (how far probabilities are
    from how often they are right, over 15 bins of equal width), and auc where there are two; for numbers rmse, mae and
    r2, and of quantiles their pinball loss. What a model trained with --interval or --threshold promises is measured
    too. Of several targets each has its own, as rmse_TARGET.
    """
    from backpass.data import read_table
    from backpass.model import load
    from backpass.recipes.scores import finite

    voice = Voice(as_json=as_json)
    loaded = load(model)
    notes: list[str] = []
    started = time.perf_counter()
    with working(f"evaluating {table}"):
        opened = read_table(table, delimiter=delimiter)
        metrics = loaded.evaluate(opened, coerce=names(coerce), notes=notes, threads=threads)
    seconds = time.perf_counter() - started
    voice.say(wrapped(f"note: {note}" for note in (*opened.notes, *notes)))
    voice.say([f"{opened.name}    {opened.rows:,} row{'s' * (opened.rows != 1)}    {seconds:.2f} s"])
    told = loaded.calibration_told(metrics)
    voice.say(f"  {line}" for line in _lines(metrics, loaded))
    voice.say(wrapped((f"  {line}" for line in told), 4))
    voice.result(
        {
            "rows": opened.rows,
            "columns": len(opened.columns),
            "seconds": round(seconds, 3),
            "epochs": loaded.about.get("epochs"),
            "parameters": loaded.parameter_count,
            "metrics": finite(metrics),
            "weights": loaded.weights,
            "run": model,
            "notes": [*opened.notes, *notes],
        }
    )


def _lines(metrics: dict[str, float], model: "Model") -> list[str]:
    """The metrics; of targets of several kinds those of each."""
    from backpass.model.metrics import of_target

    targets = None if model.tabular is None else model.tabular.targets
    names = () if targets is None else targets.schema.target_names
    if targets is None or not targets.parts:
        return _shown(metrics, names)
    return [
        line for name in names for line in (name, *(f"  {each}" for each in _shown(of_target(metrics, name), (name,))))
    ]


def _shown(metrics: dict[str, float], targets: tuple[str, ...]) -> list[str]:
    """The metrics that `calibration_told` leaves; of several targets, which have units of their own, a line each."""
    from backpass.model.metrics import RATES

    names = [name for name in metrics if name not in (*RATES, "interval_coverage", "interval_width")]
    names = [name for name in names if not name.startswith("below_")]
    if len(targets) < 2:
        width = max(map(len, names))
        return [f"{name:<{width}}  {_value(metrics[name])}" for name in names]
    names = [name for name in ("rmse", "mae", "r2") if name in metrics]
    width = max(map(len, targets))
    rows = [(target, *(_value(metrics[f"{name}_{target}"]) for name in names)) for target in targets]
    return [
        f"{first:<{width}}  {'  '.join(f'{cell:<11}' for cell in cells)}".rstrip()
        for first, *cells in [("", *names), *rows]
    ]


def _value(metric: float) -> str:
    """An auc needs rows of both classes, an r2 targets that differ."""
    return "-  these rows do not tell it" if math.isnan(metric) else f"{metric:.6g}"
