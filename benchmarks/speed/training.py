"""The works: microseconds a training step, of everyone.

A step is forward, backward and update, with the shuffling and gathering of rows. Many epochs in one call, such that a
measurement takes about half a second; the first epoch, and with it all compiling, is done before. Every variant of
every peer takes part in all rounds, and of each peer the best median counts. Choosing variants by a first try was wrong
by 20 times: where another process wants the cores, PyTorch on two threads is quick now and collapses a moment later.
"""

from collections.abc import Callable
from typing import Any

from speed.contenders import OURS, Runner, absent, contender, present
from speed.options import Options
from speed.peak import Peak
from speed.report import NUMBER, RANGE, Column, Section
from speed.timing import Timing, count_for, in_turns, seconds
from speed.works import WORKS, Work, has_clothing, rows_of

QUICK_ROWS = {"table": 2_560, "mnist": 1_280, "large": 1_024}
COLUMNS = (
    Column("contender", "", ""),
    Column("variant", "best way", ""),
    Column("microseconds", "us/step", NUMBER),
    RANGE,
    Column("GFLOP/s", "GFLOP/s", NUMBER),
    Column("of peak", "of peak", ".0%"),
    Column("ratio", "times ours", NUMBER),
)


def measure(name: str, options: Options, peak: Peak) -> Section:
    """One work, everyone."""
    work = WORKS[name]
    if options.quick and name in QUICK_ROWS:
        work = work.at(rows=QUICK_ROWS[name])
    found = race(work, options)
    best = {who: next(iter(own.items())) for who, own in found.items()}
    highest = peak.again()
    ours = best[OURS][1].median
    rows = [
        {"contender": who, "variant": variant}
        | timing.record("microseconds")
        | {
            "GFLOP/s": work.operations / timing.median / 1e3,
            "of peak": work.operations / timing.median / 1e3 / highest,
            "ratio": timing.median / ours,
            "variants": {other: list(own.values) for other, own in found[who].items()},
        }
        for who, (variant, timing) in best.items()
    ]
    title = f"{name}: {work.network}, batch {work.batch}, {work.rows:,} rows, {work.parameters:,} parameters"
    notes = ["rows: Fashion-MNIST"] if has_clothing(work, options.data) else []
    return Section(name, title, COLUMNS, rows, notes + _notes(rows, options))


def race(work: Work, options: Options, among: list[str] | None = None) -> dict[str, dict[str, Timing]]:
    """Of each contender all variants, the best first: microseconds a step."""
    X, y = rows_of(work, options.data)
    runs = {
        (who, variant): _warm(ready(), work, options)
        for who in among or present(options.peers)
        for variant, ready in contender(who).variants(work, X, y, options).items()
    }
    found: dict[str, dict[str, Timing]] = {}
    for (who, variant), timing in sorted(in_turns(runs, options.repeats).items(), key=lambda entry: entry[1].median):
        found.setdefault(who, {})[variant] = timing
    return {who: found[who] for who in dict.fromkeys(who for who, _ in runs)}


def _warm(runner: Runner, work: Work, options: Options) -> Callable[[], float]:
    """A measurement in microseconds a step, all compiled before."""
    runner(1)
    epochs, _ = count_for(runner, options.seconds)
    return lambda: seconds(lambda: runner(epochs)) / (epochs * work.steps) * 1e6


def _notes(rows: list[dict[str, Any]], options: Options) -> list[str]:
    peers = [row["ratio"] for row in rows if row["contender"] != OURS]
    notes = [f"best peer / backpass: {min(peers):.2f} (above 1: backpass is faster)"] if peers else []
    if any(row["of peak"] > 1 for row in rows):
        notes.append("more than the peak: other processes took the cores while the peak was measured")
    return notes + absent(options.peers)
