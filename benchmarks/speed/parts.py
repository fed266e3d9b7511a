"""The parts of the benchmark, and one after another of them."""

from collections.abc import Callable
from dataclasses import asdict
from textwrap import fill
from typing import Any

from speed import command, first_epoch, memory, prediction, scaling, textbook, training, widths
from speed.machine import machine, summary
from speed.options import Options
from speed.peak import Peak
from speed.report import WIDTH, Section, save, show
from speed.works import WORKS

PARTS: dict[str, Callable[[Options], Section] | None] = {
    "works": None,
    "textbook": textbook.measure,
    "first-epoch": first_epoch.measure,
    "predict": prediction.measure,
    "widths": widths.measure,
    "scaling": scaling.measure,
    "memory": memory.measure,
    "command": command.measure,
}
"""By name; the works are measured one by one."""
QUIET = 0.5
"""A machine with more load than this, before anything is measured, is not quiet."""


def run(wanted: list[str], options: Options) -> None:
    """Measure, show and save each part as soon as it is done."""
    peak = Peak(quick=options.quick)
    about: dict[str, Any] = {
        "machine": machine(),
        "peak, GFLOP/s": peak.found,
        "options": {name: str(value) for name, value in asdict(options).items() if name not in ("data", "out")},
    }
    print("\n".join(fill(line, WIDTH) for line in summary(about["machine"]).splitlines()))
    for name, value in peak.found.items():
        print(f"{name}: {'not measured' if value is None else f'{value:,.0f} GFLOP/s'}")
    busy = about["machine"]["load before"][:1]
    if busy and busy[0] > QUIET:
        print(f"the load is {busy[0]:.1f} already: other processes take cores, and all figures suffer")
    for name in _one_by_one(wanted):
        part = PARTS.get(name)
        section = training.measure(name, options, peak) if part is None else part(options)
        show(section)
        print(f"written to {save(section, about, options.out).name}\n", flush=True)


def _one_by_one(wanted: list[str]) -> list[str]:
    """Without repeats, "works" replaced by all of them."""
    each = [own for name in wanted for own in (WORKS if name == "works" else [name])]
    return list(dict.fromkeys(each))
