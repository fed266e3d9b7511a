"""Memory, each in a fresh process: whether it grows over 10,000 epochs of iris, and how much training mnist takes.

What mnist needs beyond its data: the parameters, Adam's two averages, and the values and errors of one batch. What is
compared with it is how much the process grew at its highest, with the data there before.
"""

import json
import sys
from pathlib import Path
from typing import Any

from speed.options import Options
from speed.report import NUMBER, Column, Section
from speed.works import WORKS, Work, rows_of, synthetic

MIB = 1 << 20
COLUMNS = (
    Column("what", "", ""),
    Column("before", "before, MiB", NUMBER),
    Column("peak", "peak, MiB", NUMBER),
    Column("growth", "growth, MiB", NUMBER),
    Column("needed", "needed, MiB", NUMBER),
    Column("history", "history, MiB", NUMBER),
)


def measure(options: Options) -> Section:
    """Both, where the system says how much memory a process has."""
    title = "memory of a fresh process (resident)"
    if not Path("/proc/self/status").is_file():
        return Section("memory", title, COLUMNS, [], ["this system has no /proc/self/status: not measured"])
    rows = [_fresh(kind, options) for kind in ("iris", "mnist")]
    notes = ["before: iris after 200 epochs, mnist with its data made, before building",
             "history: the records of epochs, one an epoch, which stay by design"]  # fmt: skip
    return Section("memory", title, COLUMNS, rows, notes)


def _fresh(kind: str, options: Options) -> dict[str, Any]:
    from speed.first_epoch import started

    found: dict[str, Any] = json.loads(started(["-m", "speed.memory", kind, options.executor, str(options.quick)], {}))
    return found


def iris(options: Options) -> dict[str, Any]:
    """Growth over many epochs, after a warm-up."""
    from speed.contenders.ours import trainer

    work, epochs = WORKS["iris"], 400 if options.quick else 10_000
    X, y = rows_of(work)
    own = trainer(work, options)
    own.fit(X, y, epochs=200)
    before = resident()
    own.fit(X, y, epochs=epochs)
    history = sum(sys.getsizeof(record) + sum(map(sys.getsizeof, record.values())) for record in own.history[-epochs:])
    peak = resident("VmHWM")
    what = f"iris, {epochs:,} epochs"
    return {"what": what, "before": before, "peak": peak, "growth": resident() - before, "history": history / MIB}


def mnist(options: Options) -> dict[str, Any]:
    """The highest growth from before building to after training."""
    from speed.contenders.ours import trainer

    work = WORKS["mnist"]
    X, y = synthetic(work)
    before = resident()
    trainer(work, options).fit(X, y, epochs=1 if options.quick else 3)
    peak = resident("VmHWM")
    what = f"mnist, data {(X.nbytes + y.nbytes) / MIB:.1f} MiB"
    return {"what": what, "before": before, "peak": peak, "growth": peak - before, "needed": needed(work) / MIB}


def needed(work: Work) -> int:
    """Bytes of parameters, Adam's two averages, and of a batch the inputs and each layer's values and errors."""
    values = work.batch * (work.widths[0] + 2 * sum(work.widths[1:]))
    return 4 * (3 * work.parameters + values)


def resident(field: str = "VmRSS") -> float:
    """MiB of this process in memory: now ("VmRSS"), or at its highest ("VmHWM")."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


if __name__ == "__main__":
    _, own_kind, executor, quick = sys.argv
    probe = {"iris": iris, "mnist": mnist}[own_kind]
    print(json.dumps(probe(Options(executor=executor, quick=quick == "True"))))
