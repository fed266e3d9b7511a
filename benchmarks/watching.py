"""What a page that watches costs a training: processor time, in interleaved pairs of watched and unwatched stretches.

    python benchmarks/watching.py --pairs 20 --seconds 1

One training goes on without end in this process, as `backpass train --live` does, on one thread. In every other stretch
a client of another process reads the page's news, as a browser does that shows the curves. What all threads of this
process take of the processor for an epoch is compared: the cost is what a watched stretch takes more than the unwatched
one beside it. It counts the page's thread, and what the training itself is slowed by; a browser's drawing is on top.
The page's thread is told alone as well, as a part of what the process takes: it is bounded by design, by
`live.server.PART`.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from backpass.live.server import Page, Watched, serving
from backpass.recipes.main_job import Plan, fit_into, plan
from backpass.recipes.run import folder_for
from backpass.training import Steering

DATA = Path(__file__).parents[1] / "examples" / "data"
CASES = {
    "iris, 8": ("iris.csv", "species", {"hidden": [8], "dropout": 0.0}),
    "penguins, 64 and 32": ("penguins.csv", "species", {"hidden": [64, 32]}),
    "abalone, 256 and 128": ("abalone.csv", "Rings", {"hidden": [256, 128]}),
}
CLIENT = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1] + "news") as news:
    while line := news.readline():
        if not line.strip():
            print(flush=True)
"""


@contextmanager
def training(folder: Path, table: str, target: str, recipe: dict[str, Any], steering: Steering) -> Iterator[Plan]:
    """A training that goes on until it is stopped."""
    endless = {"epochs": 1 << 30, "patience": 1 << 30}
    planned = plan(str(DATA / table), target, effort="fast", threads=1, recipe=recipe | endless)

    def work() -> None:
        with folder_for(folder, table, target):
            fit_into(folder, planned, page=False, steering=steering, stop_on_interrupt=True)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield planned
    finally:
        steering.stop()
        thread.join()


def stretch(steering: Steering, seconds: float) -> tuple[float, float]:
    """Epochs a second of the processor's time, and a second."""
    epochs, worked, began = len(steering.history or ()), time.process_time(), time.monotonic()
    time.sleep(seconds)
    done = len(steering.history or ()) - epochs
    return done / (time.process_time() - worked), done / (time.monotonic() - began)


def thread_clock(name: str) -> int:
    """The clock of a thread of this process."""
    (thread,) = [each for each in threading.enumerate() if each.name == name]
    return time.pthread_getcpuclockid(thread.ident)


def measured(case: str, pairs: int, seconds: float) -> None:
    """Prints what watching costs in one of the cases."""
    table, target, recipe = CASES[case]
    steering, costs, shares, speeds = Steering(measures=True), [], [], []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        with training(folder, table, target, recipe, steering) as planned:
            while len(steering.history or ()) < 5:
                time.sleep(0.05)
            with serving(Page([Watched(folder, planned=planned, steering=steering)]), port=0) as door:
                clock = thread_clock("backpass page")
                for pair in range(pairs):
                    speed = {}
                    for watched in (pair % 2 == 0, pair % 2 == 1):
                        client = None
                        if watched:
                            asked = [sys.executable, "-c", CLIENT, door.address]
                            client = subprocess.Popen(asked, stdout=subprocess.PIPE)
                            client.stdout.readline()  # it has the whole history now
                        time.sleep(0.5)
                        before = time.clock_gettime(clock), time.process_time()
                        speed[watched] = stretch(steering, seconds)
                        if client is not None:
                            worked, given = time.clock_gettime(clock), time.process_time()
                            shares.append((worked - before[0]) / (given - before[1]))
                            client.terminate()
                            client.wait()
                            time.sleep(0.2)
                    costs.append(speed[False][0] / speed[True][0] - 1)
                    speeds.append(speed[False][1])
    low, middle, high = np.percentile(100 * np.array(costs), [25, 50, 75])
    print(
        f"{case}: {np.median(speeds):,.0f} epochs a second; watched {middle:.1f} % more processor time an epoch "
        f"(half of {pairs} pairs {low:.1f} to {high:.1f}); the page's thread {100 * np.mean(shares):.2f} % of it, "
        f"at most {100 * max(shares):.2f}",
        flush=True,
    )


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    given.add_argument("--pairs", type=int, default=20)
    given.add_argument("--seconds", type=float, default=1.0)
    given.add_argument("--case", choices=list(CASES))
    options = given.parse_args()
    for case in [options.case] if options.case else CASES:
        measured(case, options.pairs, options.seconds)


if __name__ == "__main__":
    main()
