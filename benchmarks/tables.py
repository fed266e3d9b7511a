"""How good `backpass train` is with no option: every table of a folder, the same rows for all, all at their defaults.

    python benchmarks/tables.py --data ../shared/data --results tables.json
    python benchmarks/tables.py --data ../shared/data --results tables.json --only backpass --rows 100000
    python benchmarks/tables.py --data ../shared/data --results tables.json --out benchmarks/results

Each table is divided anew for each split: rows to learn from, at most `--rows`, and at most 4,000 of the others to be
scored on. Classes are scored by log loss, error and expected calibration error, numbers by their RMSE over their
standard deviation; of numbers the intervals of `--interval 0.9` are tried, too. What is in the file of results already
is not done again. At the end each contender's mean rank, its mean normalized score (in each table and split the best
has 1 and the worst 0), both with bootstrap intervals, and its seconds of processor time; a table of all; and what was
promised beside what was measured. With `--out` these are written as JSON, Markdown and SVG.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data import Table, read_table
from backpass.model.metrics import calibration_error
from speed.machine import machine
from speed.report import save, show
from table_contenders import CONTENDERS, Ends, Problem, intervals, versions
from table_standing import INTERVALS, LEVEL, Results, sections

Array = np.ndarray[Any, Any]
Answer = Callable[[Problem], Array | Ends]
MOST_SCORED = 4_000
WIDE = 160  # columns of what is printed


@dataclass(frozen=True)
class Source:
    """A file, what to predict, and the columns that would tell the answer."""

    file: str
    target: str
    task: str
    exclude: tuple[str, ...] = ()


CLASSES, AMOUNTS = "classification", "regression"
SOURCES = {
    "iris": Source("iris.csv", "species", CLASSES),
    "penguins": Source("penguins.csv", "species", CLASSES),
    "titanic": Source("titanic.csv", "survived", CLASSES, ("alive",)),
    "adult": Source("adult_train.csv.gz", "income", CLASSES),
    "letter": Source("letter_recognition.csv", "lettr", CLASSES),
    "covertype": Source("covertype.csv.gz", "Cover_Type", CLASSES),
    "wine red": Source("winequality-red.csv", "quality", AMOUNTS),
    "wine white": Source("winequality-white.csv", "quality", AMOUNTS),
    "california": Source("california_housing.csv", "median_house_value", AMOUNTS),
    "bike": Source("bike_sharing_hour.csv", "cnt", AMOUNTS, ("casual", "registered", "instant", "dteday")),
    "diamonds": Source("diamonds.csv.gz", "price", AMOUNTS),
    "abalone": Source("abalone.csv", "Rings", AMOUNTS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / "examples" / "data")
    parser.add_argument("--results", type=Path, help="A JSON file that results are kept in, and gone on with.")
    everyone: dict[str, Answer] = {**CONTENDERS, INTERVALS: partial(intervals, level=LEVEL)}
    parser.add_argument("--only", nargs="*", default=list(everyone), choices=list(everyone), metavar="CONTENDER")
    parser.add_argument("--tables", nargs="*", default=list(SOURCES), choices=list(SOURCES), metavar="TABLE")
    parser.add_argument("--rows", type=int, default=5000, help="To learn from, at most.")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--out", type=Path, help="A folder for what it comes to, as benchmarks/results.")
    options = parser.parse_args()
    chosen = {name: everyone[name] for name in options.only}
    results = measure(options.data, options.results, chosen, options.tables, options.rows, options.splits)
    told = sections(results, [name for name in chosen if name != INTERVALS], rows=options.rows, asked=options.only)
    print("" if told else "nothing was measured")
    about = {"machine": machine(), "peers": versions(), "results": results}
    for section in told:
        show(section, WIDE)
        if options.out is not None:
            print(f"written to {save(section, about, options.out).name}\n")


def measure(
    data: Path,
    kept: Path | None,
    contenders: dict[str, Answer],
    tables: list[str],
    most: int,
    splits: int,
) -> Results:
    """The scores by "table/split/contender": those kept in a file, and those that were not there yet."""
    results: Results = json.loads(kept.read_text()) if kept and kept.is_file() else {}
    for name in tables:
        source = SOURCES[name]
        if not (data / source.file).is_file():
            print(f"{name:<12}not measured: {source.file} is not in {data}")
            continue
        table = read_table(data / source.file)
        for split in range(splits):
            problem = None
            for contender, answer in contenders.items():
                key = f"{name}/{split}/{contender}"
                if key in results or (contender == INTERVALS and source.task == CLASSES):
                    continue
                problem = problem or divide(table, source, most, split)
                results[key] = scored(problem, answer) | {"rows": table.rows}
                print(key, json.dumps(results[key]), flush=True)
                if kept:
                    kept.write_text(json.dumps(results, indent=1) + "\n")
    return results


def divide(table: Table, source: Source, most: int, split: int) -> Problem:
    """Rows to learn from, a fifth of all left for the score at least, and what is asked of them."""
    order = np.random.Generator(np.random.Philox(split)).permutation(table.rows)
    learned = min(most, table.rows - table.rows // 5)
    train, test = table.take(order[:learned]), table.take(order[learned : learned + MOST_SCORED])
    classes = tuple(sorted(set(_labels(table, source.target)))) if source.task == CLASSES else ()
    return Problem(train, test, source.target, source.exclude, classes, split)


def scored(problem: Problem, answer: Answer) -> dict[str, float]:
    started, used = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = answer(problem)
    took = {"seconds": time.perf_counter() - started, "processor": time.process_time() - used}
    return scores(found, problem) | {name: round(value, 2) for name, value in took.items()}


def scores(found: Array | Ends, problem: Problem) -> dict[str, float]:
    """log_loss, error and ece of probabilities; nrmse of numbers; of intervals coverage, and width in spreads."""
    if not problem.classes:
        actual = problem.test.column(problem.target).cast(float).to_numpy()
        if isinstance(found, Ends):
            inside = (found.lower <= actual) & (actual <= found.upper)
            width = np.mean(found.upper - found.lower) / np.std(actual)
            return {"coverage": float(np.mean(inside)), "width": float(width)}
        return {"nrmse": float(np.sqrt(np.mean((found - actual) ** 2)) / np.std(actual))}
    labels = np.array([problem.classes.index(label) for label in _labels(problem.test, problem.target)])
    given = np.clip(found[np.arange(len(labels)), labels], 1e-7, 1)
    return {
        "log_loss": float(-np.mean(np.log(given))),
        "error": float(np.mean(found.argmax(axis=1) != labels)),
        "ece": calibration_error(found, labels),
    }


def _labels(table: Table, target: str) -> list[str]:
    return [label.strip() for label in table.column(target).cast(str).to_list()]


if __name__ == "__main__":
    main()
