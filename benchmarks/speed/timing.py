"""Measuring: how long a call takes, how many repetitions fill a measurement, contenders in turns."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Timing:
    """Repeated measurements of one thing, in whatever unit."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def record(self, unit: str) -> dict[str, Any]:
        """As it stands in a row of results."""
        return {unit: self.median, "least": min(self.values), "most": max(self.values), "all": list(self.values)}


def seconds(work: Callable[[], Any]) -> float:
    """How long `work()` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def count_for(run: Callable[[int], Any], wanted: float) -> tuple[int, float]:
    """How large n must be for run(n) to take about `wanted` seconds, and the seconds a unit took on the way there."""
    count = 1
    while True:
        taken = seconds(lambda count=count: run(count))
        if taken >= wanted / 4:
            return max(1, round(count * wanted / taken)), taken / count
        count *= max(2, min(16, int(wanted / 2 / taken)))


REST = (
    0.3  # seconds before each turn: the threads of some libraries look for work for 0.2 after their last, on all cores
)


def in_turns(runs: Mapping[Any, Callable[[], float]], repeats: int) -> dict[Any, Timing]:
    """What each run returns, `repeats` times: round by round, each time another one first."""
    found: dict[Any, list[float]] = {key: [] for key in runs}
    keys = list(runs)
    for turn in range(repeats):
        start = turn % len(keys) if keys else 0
        for key in keys[start:] + keys[:start]:
            time.sleep(REST)
            found[key].append(runs[key]())
    return {key: Timing(tuple(values)) for key, values in found.items()}
