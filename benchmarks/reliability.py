"""What backpass promises about crashes, tried: kills at random instants, long runs, several runs at once.

    python benchmarks/reliability.py kill --times 300
    python benchmarks/reliability.py soak --steps 10000000 --epochs 10000
    python benchmarks/reliability.py crowd

Each says what it did and ends with status 1 where a promise was broken.
"""

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backpass import Trainer, losses, nn, optimizers
from backpass.recipes import again, fields, run
from backpass.recipes.main_job import fit_into, plan
from backpass.storage.locks import NAME as LOCK
from backpass.training import Checkpoints

TABLE = Path(__file__).parents[1] / "examples" / "data" / "abalone.csv"
TARGET = "Rings"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    kill = what.add_parser("kill", help="kill -9 at random instants; every run goes on to the same weights")
    kill.add_argument("--times", type=int, default=300)
    kill.add_argument("--table", default=str(TABLE))
    kill.add_argument("--target", default=TARGET)
    kill.add_argument("--epochs", type=int, default=30)
    kill.add_argument("--seed", type=int, default=0)
    soak = what.add_parser("soak", help="long trainings: memory and speed stay as they are")
    soak.add_argument("--steps", type=int, default=10_000_000)
    soak.add_argument("--epochs", type=int, default=10_000)
    crowd = what.add_parser("crowd", help="two runs at once, and one processor for two threads")
    crowd.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    return {"kill": _kill, "soak": _soak, "crowd": _crowd}[options.what](options)


# Kills


def _kill(options: argparse.Namespace) -> int:
    """Each trial: a training killed at a random instant, and its going on with one chance in three; then to the end."""
    choices = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        first = _child(folder / "whole", options, 1)
        _await_training(folder / "whole", first)
        begun = time.monotonic()
        _ended_well(first)
        wanted, length = again.open_run(folder / "whole").model.weights, time.monotonic() - begun
        kills = wrong = damaged = 0
        before_first = 0
        for trial in range(options.times):
            place = folder / "run"
            again_and_again = True
            while again_and_again:
                child = _child(place, options, choices.choice((1, 2, 3)))
                if choices.random() < 0.9:  # some are killed before they have begun to train
                    _await_training(place, child)
                time.sleep(choices.uniform(0.0, length))
                os.kill(child, signal.SIGKILL)
                kills += not _ended_well(child)
                again_and_again = choices.random() < 1 / 3
            before_first += not run.can_be_resumed(place)
            damaged += len(run.checkpoints(place).store.newest().damaged)
            if not _ended_well(_child(place, options, choices.choice((1, 2, 3)), told=True)):
                print(f"trial {trial + 1}: what was killed could not go on, see above")
                return 1
            wrong += again.open_run(place).model.weights != wanted
            shutil.rmtree(place, ignore_errors=True)
            if (trial + 1) % 25 == 0:
                print(
                    f"{trial + 1} trials, {kills} kills, {wrong} with other weights, {damaged} damaged files",
                    flush=True,
                )
    print(
        f"{options.times} trainings of {length:.1f} s, {kills} kills (in {before_first} trainings before the first "
        f"checkpoint): {options.times - wrong} ended with the same weights, {damaged} files damaged"
    )
    return int(bool(wrong or damaged))


def _child(folder: Path, options: argparse.Namespace, threads: int, *, told: bool = False) -> int:
    """A process that trains in `folder`, or goes on there; its number.

    A fork, so that most of its time is training, not starting. This process itself reads no table and trains nothing:
    so no other threads are there to be lost in the fork.
    """
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        if not told:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        _run(folder, options, threads)
        status = 0
    except BaseException:  # noqa: BLE001  # whatever it is, a fork must not go on with its parent's work
        traceback.print_exc()
    finally:
        os._exit(status)


def _await_training(folder: Path, pid: int) -> None:
    """Until the process trains: it holds the lock of the checkpoints, or is gone."""
    lock = folder / run.CHECKPOINTS / LOCK
    while not lock.exists() and not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.001)


def _ended_well(pid: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _run(folder: Path, options: argparse.Namespace, threads: int) -> None:
    """As `backpass train` and `backpass resume`, with a checkpoint after every epoch."""
    run.checkpoints = lambda place, _=0.0: Checkpoints(place / run.CHECKPOINTS, epochs=1, seconds=0.02)
    if (folder / "run.json").is_file():
        if run.read(folder)["state"] != fields.FINISHED:
            fit_into(folder, again.plan_of(folder, threads=threads), begins=False)
        return
    folder.mkdir(exist_ok=True)
    planned = plan(options.table, options.target, threads=threads, recipe={"epochs": options.epochs, "patience": 10**6})
    fit_into(folder, planned)


# Long runs


def _soak(options: argparse.Namespace) -> int:
    rng = np.random.default_rng(0)
    small = _Work("4-16-3", (4, 16, 3), 32, rng.normal(size=(160, 4)), rng.integers(0, 3, 160))
    middle = _Work("64-64-10", (64, 64, 10), 32, rng.normal(size=(1797, 64)), rng.integers(0, 10, 1797))
    fine = [_endures(small, options.steps // 5), _endures(middle, options.epochs)]
    return 0 if all(fine) else 1


class _Work:
    """A network and its rows."""

    def __init__(self, name: str, sizes: tuple[int, ...], batch: int, inputs: Any, targets: Any) -> None:
        hidden = [layer for size in sizes[1:-1] for layer in (nn.Dense(size), nn.ReLU(), nn.Dropout(0.1))]
        self.name = name
        self.data = inputs.astype(np.float32), targets
        network = nn.Sequential(*hidden, nn.Dense(sizes[-1]))
        self.trainer = Trainer(network, losses.CrossEntropy(), optimizers.Adam(1e-3), batch_size=batch)


def _endures(work: _Work, epochs: int) -> bool:
    """Train so long in ten parts: memory and speed of the last are those of the second, and the loss is finite."""
    trainer, parts = work.trainer, []
    for _ in range(10):
        begun = time.perf_counter()
        trainer.fit(*work.data, epochs=max(1, epochs // 10))
        best = min(record["seconds"] for record in trainer.history)
        trainer.history.clear()  # which grows by a record an epoch, as it is to
        parts.append((_memory(), time.perf_counter() - begun, best))
    growth = parts[-1][0] - parts[2][0]
    slower = parts[-1][2] / parts[1][2]
    loss = float(np.asarray(trainer.loss(trainer.outputs(work.data[0]), work.data[1])))
    print(
        f"{work.name}: {trainer.steps:,} steps in {sum(part[1] for part in parts):.0f} s; "
        f"MiB in use after each tenth: {' '.join(f'{part[0]:.0f}' for part in parts)}; "
        f"the best epoch of the last tenth took {slower:.2f} times that of the second; loss {loss:.4g}"
    )
    return growth < 4 and slower < 1.5 and bool(np.isfinite(loss))


def _memory() -> float:
    """MiB in use; where the system does not tell, the most that was."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * resource.getpagesize() / 2**20


# Several at once


def _crowd(options: argparse.Namespace) -> int:
    alone = _steps_in(options.seconds)
    both = _together(options.seconds)
    pinned = _together(options.seconds, ["taskset", "-c", str(min(os.sched_getaffinity(0)))], runs=1)
    print(f"two threads alone: {alone:,} steps in {options.seconds:.0f} s")
    print(f"two such runs at once: {both[0] / alone:.2f} and {both[1] / alone:.2f} of that")
    print(f"two threads on one processor: {pinned[0] / alone:.2f} of that")
    return int(min(*both, *pinned) < 0.25 * alone)


def _together(seconds: float, before: Sequence[str] = (), runs: int = 2) -> list[int]:
    script = f"import runpy; m = runpy.run_path({__file__!r}); print(m['_steps_in']({seconds}))"
    started = [
        subprocess.Popen([*before, sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        for _ in range(runs)
    ]
    return [int(each.communicate()[0]) for each in started]


def _steps_in(seconds: float) -> int:
    """Steps that a middle-sized training on two threads makes in a time, once it is compiled."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(12800, 784)).astype(np.float32), rng.integers(0, 10, 12800)
    work = _Work("784-256-128-10", (784, 256, 128, 10), 128, *data)
    work.trainer.threads = 2
    work.trainer.fit(*work.data, epochs=1)
    before, end = work.trainer.steps, time.monotonic() + seconds
    while time.monotonic() < end:
        work.trainer.fit(*work.data, epochs=1)
    return work.trainer.steps - before


if __name__ == "__main__":
    sys.exit(main())
