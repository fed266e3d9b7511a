"""`backpass evaluate`: how good a model is on rows whose answers are known."""

import time

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
from backpass.cli.output import Voice, working

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
    r2. What a model trained with --interval or --threshold promises is measured too.
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
    voice.say([f"note: {note}" for note in (*opened.notes, *notes)])
    voice.say([f"{opened.name}    {opened.rows:,} rows    {seconds:.2f} s"])
    width = max(map(len, metrics))
    voice.say(f"  {name:<{width}}  {value:.6g}" for name, value in metrics.items())
    voice.say(f"  {line}" for line in loaded.calibration_told(metrics))
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
