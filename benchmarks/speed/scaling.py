"""How a step of mnist's network scales with the rows of a batch, and with threads."""

from typing import Any

from speed.contenders import OURS
from speed.contenders.ours import TAKES_THREADS, trainer
from speed.machine import cores
from speed.options import Options
from speed.report import NUMBER, RANGE, Column, Section
from speed.timing import Timing, count_for, in_turns, seconds
from speed.works import WORKS, synthetic

BATCHES = (1, 8, 32, 128, 512, 2048)
STEPS = 8
COLUMNS = (
    Column("batch", "rows a batch", "d"),
    Column("threads", "threads", ""),
    Column("microseconds", "us/step", NUMBER),
    RANGE,
    Column("a row", "us/row", NUMBER),
    Column("GFLOP/s", "GFLOP/s", NUMBER),
)


def measure(options: Options) -> Section:
    """All batches, with one thread and with two."""
    batches = BATCHES[:3] if options.quick else BATCHES
    notes = [] if TAKES_THREADS else [f"{OURS} has no option for threads here: measured as it is"]
    if cores() < 2:
        notes.append("there is one core here: two threads share it")
    rows = [row for batch in batches for row in _of_batch(batch, options)]
    return Section("scaling", f"scaling: {WORKS['mnist'].network}, {OURS}", COLUMNS, rows, notes)


def _of_batch(batch: int, options: Options) -> list[dict[str, Any]]:
    steps = STEPS if options.quick else STEPS * max(1, 128 // batch)
    work = WORKS["mnist"].at(batch=batch, rows=batch * steps)
    X, y = synthetic(work)
    runs = {}
    for threads in (1, 2) if TAKES_THREADS else (None,):
        own = trainer(work, options, threads=threads)
        own.fit(X, y, epochs=1)
        epochs, _ = count_for(lambda count, own=own: own.fit(X, y, epochs=count), options.seconds / 2)
        runs[threads] = lambda own=own, epochs=epochs: (
            seconds(lambda: own.fit(X, y, epochs=epochs)) / (epochs * work.steps) * 1e6
        )
    return [_row(work, threads, timing) for threads, timing in in_turns(runs, options.repeats).items()]


def _row(work: Any, threads: int | None, timing: Timing) -> dict[str, Any]:
    return (
        {"batch": work.batch, "threads": "as it is" if threads is None else str(threads)}
        | timing.record("microseconds")
        | {"a row": timing.median / work.batch, "GFLOP/s": work.operations / timing.median / 1e3}
    )
