"""The sweep of widths: 64-W-10, batch 128, W from 8 to 1024, many of which suit no vector. There should be no cliff.

A jump is how much the time grew from one width to the next, over how much the work grew.
"""

from itertools import pairwise
from typing import Any

from speed.contenders import OURS, absent, is_there
from speed.drawing import Drawing
from speed.options import Options
from speed.report import NUMBER, Column, Section
from speed.training import race
from speed.works import Work

WIDTHS = (
    *(8, 11, 13, 15, 16, 17, 19, 23, 27, 31, 32, 33, 37, 41, 45, 46, 47, 48, 55, 63, 64, 65, 73, 87, 100, 111),
    *(127, 128, 129, 150, 181, 211, 255, 256, 257, 301, 367, 440, 511, 512, 513, 650, 811, 1000, 1023, 1024),
)
FEW = (15, 16, 17, 45, 46, 47)


def measure(options: Options) -> Section:
    """Us, and PyTorch where it takes part and is there."""
    who = [OURS, *(name for name in ("torch",) if name in options.peers and is_there(name))]
    rows = [_row(width, who, options) for width in (FEW if options.quick else WIDTHS)]
    columns = (
        Column("width", "W", "d"),
        *(Column(f"{name} microseconds", f"{name}, us/step", NUMBER) for name in who),
        *(Column(f"{name} GFLOP/s", f"{name}, GFLOP/s", NUMBER) for name in who),
    )
    notes = [_largest_jump(name, rows) for name in who] + absent(tuple(set(options.peers) & {"torch"}))
    lines = {name: [(float(row["width"]), row[f"{name} microseconds"]) for row in rows] for name in who}
    drawing = Drawing(lines, "width of the hidden layer", "microseconds a step")
    return Section("widths", "widths: 64-W-10, batch 128", columns, rows, notes, drawing)


def _row(width: int, who: list[str], options: Options) -> dict[str, Any]:
    work = Work(f"width {width}", (64, width, 10), 128, 1_280)
    row: dict[str, Any] = {"width": width, "operations": work.operations}
    for name, own in race(work, _shorter(options), who).items():
        variant, timing = next(iter(own.items()))
        row |= {
            f"{name} microseconds": timing.median,
            f"{name} GFLOP/s": work.operations / timing.median / 1e3,
            f"{name} all": list(timing.values),
            f"{name} variant": variant,
        }
    return row


def _shorter(options: Options) -> Options:
    """A fifth of the time: there are many widths."""
    return Options(options.executor, options.peers, min(options.repeats, 5), options.seconds / 5)


def _largest_jump(name: str, rows: list[dict[str, Any]]) -> str:
    jumps = [
        (b[f"{name} microseconds"] / a[f"{name} microseconds"] / max(1.0, b["operations"] / a["operations"]), a, b)
        for a, b in pairwise(rows)
    ]
    jump, a, b = max(jumps, key=lambda entry: entry[0])
    return f"{name}: the largest jump is {jump:.2f}, from {a['width']} to {b['width']}"
