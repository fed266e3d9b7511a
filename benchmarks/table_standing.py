"""What the benchmark of tables comes to: scores of each table, where contenders stand, and what backpass promises."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speed.drawing import Dots
from speed.report import Column, Section

Array = np.ndarray[Any, Any]
Results = dict[str, dict[str, float]]
METRICS = {"log_loss": "log loss and RMSE", "nrmse": "log loss and RMSE", "error": "error"}
"""By its name the group of metrics that a contender's ranks are the mean of: classes come by log loss and by error."""
RESAMPLES = 10_000
LARGE, LARGEST_ECE = 5_000, 0.03
"""Of tables with more rows than that the expected calibration error is to be below this."""
LEVEL, NEAR = 0.9, 0.02
"""The promised part of the numbers inside of intervals, and how near to it the measured part is to be."""
INTERVALS = f"backpass --interval {LEVEL:g}"
OURS = "backpass"


@dataclass(frozen=True)
class Measured:
    """A metric of a table: its group, and the values (splits, contenders)."""

    table: str
    metric: str
    values: Array

    @property
    def group(self) -> str:
        return METRICS[self.metric]


def measured(results: Results, contenders: Sequence[str]) -> list[Measured]:
    """All metrics of all tables, each of those splits that every contender has been through."""
    problems = sorted({key.rpartition("/")[0] for key in results})
    whole = [each for each in problems if all(f"{each}/{name}" in results for name in contenders)]
    found = []
    for table in dict.fromkeys(each.rpartition("/")[0] for each in whole):
        own = [each for each in whole if each.rpartition("/")[0] == table]
        for metric in METRICS:
            if metric in results[f"{own[0]}/{contenders[0]}"]:
                values = [[results[f"{each}/{name}"][metric] for name in contenders] for each in own]
                found.append(Measured(table, metric, np.array(values)))
    return found


def sections(results: Results, contenders: Sequence[str], *, rows: int, asked: Sequence[str]) -> list[Section]:
    """Those that there is something to say in. `rows` is how many were learned from at most, `asked` who took part."""
    found = measured(results, contenders) if contenders else []
    told = [_standing(found, results, contenders, rows), _scores(found, contenders)] if found else []
    promised = _promises(results, asked, rows)
    return [*told, promised] if promised.rows else told


def _scores(found: list[Measured], contenders: Sequence[str]) -> Section:
    columns = (Column("table", "table", ""), Column("metric", "metric", ""))
    columns += tuple(Column(name, name, ".4f") for name in contenders)
    rows = [
        {"table": each.table, "metric": each.metric}
        | dict(zip(contenders, each.values.mean(axis=0).tolist(), strict=True))
        for each in found
    ]
    return Section("tables-scores", "tables: the mean of all splits; less is better", columns, rows, [])


def _standing(found: list[Measured], results: Results, contenders: Sequence[str], most: int) -> Section:
    """Each contender's mean rank and mean normalized score over the tables, with bootstrap intervals."""
    columns, notes = [Column("contender", "contender", "")], []
    rows: list[dict[str, Any]] = [{"contender": name} for name in contenders]
    panels: dict[str, dict[str, tuple[float, float, float]]] = {}
    for group in dict.fromkeys(each.group for each in found):
        own = [each for each in found if each.group == group]
        for what, of_row in (("rank", _ranks), ("score", _normalized)):
            # A table counts once, however many of its splits there are: these are not independent of each other.
            of_tables = np.array([np.mean([of_row(row) for row in each.values], axis=0) for each in own])
            panel = panels.setdefault(f"mean {'rank' if what == 'rank' else 'normalized score'}, {group}", {})
            for row, name, place in zip(rows, contenders, bootstrap(of_tables), strict=True):
                key = f"{what}, {group}"
                row |= {key: place[0], f"{key}, low": place[1], f"{key}, high": place[2]}
                row[f"{key}, told"] = f"{place[0]:.2f} ({place[1]:.2f}-{place[2]:.2f})"
                panel[name] = place
            columns.append(Column(f"{what}, {group}, told", f"{what}, {group}", ">"))
        splits = sorted({len(each.values) for each in own})
        told = f"{splits[0]}" if len(splits) == 1 else f"{splits[0]} to {splits[-1]}"
        notes.append(f"{group}: {len(own)} tables, {told} splits each, up to {most:,} rows to learn from")
    for row, name in zip(rows, contenders, strict=True):
        taken = [results[key]["processor"] for key in results if key.rpartition("/")[2] == name]
        row["processor"] = float(np.mean(taken))
    columns.append(Column("processor", "processor, s", ".1f"))
    notes.append("rank 1 and score 1 are best; in brackets 95 % of 10,000 drawings of as many tables")
    title = "tables: mean rank and mean normalized score"
    return Section("tables", title, tuple(columns), rows, notes, Dots(panels))


def _promises(results: Results, asked: Sequence[str], most: int) -> Section:
    """For each table of numbers the part inside of intervals, for each of classes the calibration error."""
    columns = (
        Column("table", "table", ""),
        Column("rows", "rows", ",d"),
        Column("promise", "measured", ""),
        Column("told", "mean of splits (range)", ">"),
        Column("kept", "as promised", ""),
    )
    rows = []
    for name, metric in ((INTERVALS, "coverage"), (OURS, "ece")):
        for table in dict.fromkeys(key.split("/")[0] for key in results if name in asked):
            own = [results[key] for key in results if key.split("/")[0] == table and key.rpartition("/")[2] == name]
            values = [each[metric] for each in own if metric in each]
            if values:
                rows.append(_promise(table, metric, values, int(max(each["rows"] for each in own if metric in each))))
    notes = [f"intervals for {100 * LEVEL:g} %: within {100 * NEAR:g} points of it; up to {most:,} rows to learn from"]
    notes += [f"calibration error: below {LARGEST_ECE} for tables of more than {LARGE:,} rows; of others it is told"]
    return Section("tables-promises", "tables: coverage of intervals, calibration of classes", columns, rows, notes)


def _promise(table: str, metric: str, values: list[float], rows: int) -> dict[str, Any]:
    mean = float(np.mean(values))
    due = metric == "coverage" or rows > LARGE
    kept = abs(mean - LEVEL) <= NEAR if metric == "coverage" else mean < LARGEST_ECE
    return {
        "table": table,
        "rows": rows,
        "promise": f"inside {LEVEL:g}" if metric == "coverage" else "calib. error",
        metric: mean,
        "values": values,
        "told": f"{mean:.3f} ({min(values):.3f}-{max(values):.3f})",
        "kept": ("yes" if kept else "NO") if due else None,
    }


def bootstrap(values: Array, seed: int = 0) -> list[tuple[float, float, float]]:
    """For each contender the mean over the tables, (tables, contenders), and the ends of its 95 % interval.

    As many tables are drawn with replacement, again and again; the interval is that of the percentiles of their means
    (Efron and Tibshirani, An introduction to the bootstrap, 1993, section 13.3). It says how far the choice of tables
    matters.
    """
    drawn = np.random.Generator(np.random.Philox(seed)).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5], axis=0)
    return [tuple(map(float, each)) for each in zip(values.mean(axis=0), low, high, strict=True)]


def _ranks(row: Array) -> Array:
    """From 1, the best; equal values share the middle of their ranks."""
    return np.array([1 + np.sum(row < value) + (np.sum(row == value) - 1) / 2 for value in row])


def _normalized(row: Array) -> Array:
    spread = row.max() - row.min()
    return (row.max() - row) / spread if spread > 0 else np.ones_like(row)
