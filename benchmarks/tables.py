"""How good `backpass train` is with no option: every table of a folder, the same rows for all, all at their defaults.

    python benchmarks/tables.py --data ../shared/data --results tables.json
    python benchmarks/tables.py --data ../shared/data --results tables.json --only backpass --rows 100000

Each table is divided anew for each split: rows to learn from, at most `--rows`, and at most 4,000 of the others to be
scored on. Classes are scored by log loss and error, numbers by their RMSE over their standard deviation. What is in the
file of results already is not done again. At the end a table of all, and for each contender its mean rank, its mean
normalized score (in each table and split the best has 1 and the worst 0) and its seconds.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data import Table, read_table
from table_contenders import CONTENDERS, Problem

Array = np.ndarray[Any, Any]
Results = dict[str, dict[str, float]]
MOST_SCORED = 4_000


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
    parser.add_argument("--only", nargs="*", default=list(CONTENDERS), choices=list(CONTENDERS), metavar="CONTENDER")
    parser.add_argument("--tables", nargs="*", default=list(SOURCES), choices=list(SOURCES), metavar="TABLE")
    parser.add_argument("--rows", type=int, default=5000, help="To learn from, at most.")
    parser.add_argument("--splits", type=int, default=3)
    options = parser.parse_args()
    chosen = {name: CONTENDERS[name] for name in options.only}
    results = measure(options.data, options.results, chosen, options.tables, options.rows, options.splits)
    print("\n".join(summary(results, options.only)))


def measure(
    data: Path,
    kept: Path | None,
    contenders: dict[str, Callable[[Problem], Array]],
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
                if key in results:
                    continue
                problem = problem or divide(table, source, most, split)
                results[key] = scored(problem, answer)
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


def scored(problem: Problem, answer: Callable[[Problem], Array]) -> dict[str, float]:
    started, used = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = answer(problem)
    took = {"seconds": time.perf_counter() - started, "processor": time.process_time() - used}
    return scores(found, problem) | {name: round(value, 2) for name, value in took.items()}


def scores(found: Array, problem: Problem) -> dict[str, float]:
    """log_loss and error of probabilities; nrmse of numbers."""
    if not problem.classes:
        actual = problem.test.column(problem.target).cast(float).to_numpy()
        return {"nrmse": float(np.sqrt(np.mean((found - actual) ** 2)) / np.std(actual))}
    labels = [problem.classes.index(label) for label in _labels(problem.test, problem.target)]
    given = np.clip(found[np.arange(len(labels)), labels], 1e-7, 1)
    return {"log_loss": float(-np.mean(np.log(given))), "error": float(np.mean(found.argmax(axis=1) != labels))}


def _labels(table: Table, target: str) -> list[str]:
    return [label.strip() for label in table.column(target).cast(str).to_list()]


def summary(results: Results, contenders: list[str]) -> list[str]:
    """A line for each table and metric, the mean of all splits; then ranks, normalized scores and seconds."""
    problems = sorted({key.rpartition("/")[0] for key in results})
    whole = [each for each in problems if all(f"{each}/{name}" in results for name in contenders)]
    if not whole:
        return ["nothing was measured"]
    lines = [f"{'':<24}" + "".join(f"{name:>15}" for name in contenders)]
    ranks: dict[str, list[float]] = {}
    normalized: dict[str, list[float]] = {}
    for table in dict.fromkeys(each.partition("/")[0] for each in whole):
        own = [each for each in whole if each.startswith(f"{table}/")]
        for metric in ("log_loss", "error", "nrmse"):
            if metric not in results[f"{own[0]}/{contenders[0]}"]:
                continue
            values = np.array([[results[f"{each}/{name}"][metric] for name in contenders] for each in own])
            lines.append(f"{table + ' ' + metric:<24}" + "".join(f"{value:>15.4f}" for value in values.mean(axis=0)))
            kind = "error" if metric == "error" else "log loss and RMSE"
            for row in values:
                normalized.setdefault(kind, []).append(_normalized(row))
                ranks.setdefault(kind, []).append(_ranks(row))
    for kind, own in ranks.items():
        lines.append(f"{'rank, ' + kind:<24}" + _cells(np.mean(own, axis=0)))
        lines.append(f"{'score, ' + kind:<24}" + _cells(np.mean(normalized[kind], axis=0)))
    seconds = [np.mean([results[f"{each}/{name}"]["seconds"] for each in whole]) for name in contenders]
    return [*lines, f"{'seconds':<24}" + _cells(seconds)]


def _cells(values: Any) -> str:
    return "".join(f"{value:>15.2f}" for value in values)


def _ranks(row: Array) -> Array:
    """From 1, the best; equal values share the middle of their ranks."""
    return np.array([1 + np.sum(row < value) + (np.sum(row == value) - 1) / 2 for value in row])


def _normalized(row: Array) -> Array:
    spread = row.max() - row.min()
    return (row.max() - row) / spread if spread > 0 else np.ones_like(row)


if __name__ == "__main__":
    main()
