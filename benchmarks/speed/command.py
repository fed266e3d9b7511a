"""Whole `backpass train` on real tables: with native programs, and with the reference executor that was there before.

Each in a fresh process, once: reading the table, the default training, scores and the report. Of the largest table only
a few epochs. Both take the same steps with the same numbers, so that their scores are the same but for rounding. The
programs of the native one are compiled anew.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from speed.first_epoch import started
from speed.options import Options
from speed.report import NUMBER, Column, Section

TABLES: dict[str, tuple[str, str, dict[str, int]]] = {
    "adult": ("adult_train.csv.gz", "income", {}),
    "diamonds": ("diamonds.csv.gz", "price", {}),
    "covertype": ("covertype.csv.gz", "Cover_Type", {"epochs": 5}),
}
"""File, target, and what differs from the default recipe."""
EXAMPLES = Path(__file__).parents[2] / "examples" / "data"
SMALL = {"abalone": ("abalone.csv", "Rings", {"epochs": 1})}  # to see that it works
EXECUTORS = ("native", "reference")
COLUMNS = (
    Column("table", "", ""),
    Column("epochs", "epochs", "d"),
    Column("native", "native, s", NUMBER),
    Column("reference", "ref., s", NUMBER),
    Column("ratio", "ratio", NUMBER),
    Column("metric", "metric", ""),
    Column("native_score", "score", ".4f"),
    Column("reference_score", "ref. score", ".4f"),
)


def measure(options: Options) -> Section:
    """Those tables that are there."""
    rows, notes = [], ["the rows of a test are held out by train itself"]
    tables, folder = (SMALL, EXAMPLES) if options.quick else (TABLES, options.data)
    for name, (file, target, recipe) in tables.items():
        if not (folder / file).is_file():
            notes.append(f"{file} is not in {folder.name}: not measured")
            continue
        if recipe:
            notes.append(f"{name}: {', '.join(f'{number} {choice}' for choice, number in recipe.items())} only")
        found = {executor: _fresh(folder / file, target, executor, recipe, options) for executor in EXECUTORS}
        native, reference = (found[executor] for executor in EXECUTORS)
        rows.append(
            {
                "table": name,
                "epochs": native["epochs"],
                "native": native["seconds"],
                "reference": reference["seconds"],
                "ratio": reference["seconds"] / native["seconds"],
                "metric": native["metric"],
                "native_score": native["score"],
                "reference_score": reference["score"],
            }
        )
    return Section("command", "whole `backpass train`, native and reference executor", COLUMNS, rows, notes)


def _fresh(path: Path, target: str, executor: str, recipe: dict[str, int], options: Options) -> dict[str, Any]:
    effort = "fast" if options.quick else "standard"
    with tempfile.TemporaryDirectory() as cache:
        arguments = ["-m", "speed.command", str(path), target, executor, effort, json.dumps(recipe)]
        begun = time.perf_counter()
        found: dict[str, Any] = json.loads(started(arguments, {"BACKPASS_CACHE": cache}).splitlines()[-1])
        return found | {"seconds": time.perf_counter() - begun}


def main() -> None:
    """One training: its epochs, and its first score."""
    path, target, executor, effort, recipe = sys.argv[1:]
    import backpass as bp
    from backpass.training import Trainer

    Trainer.__init__.__kwdefaults__["executor"] = executor  # of all that `train` makes
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        outcome = bp.train(path, target, effort=effort, recipe=json.loads(recipe), out=out, progress=False)
    metric, score = next(iter(outcome.scores[0].metrics.items()))
    print(json.dumps({"epochs": len(outcome.history), "metric": metric, "score": score}))


if __name__ == "__main__":
    main()
