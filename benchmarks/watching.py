"""What a page that watches costs a training: processor time, in interleaved rounds of stretches.

    python benchmarks/watching.py --rounds 20 --seconds 1

One training goes on without end in this process, as `backpass train --live` does, on one thread. In each round it is
watched: a client of another process reads the page's news, as a browser does that shows the curves; neighboured: the
same client reads as many bytes at the same pace, but from a server of a third process; and alone. What all threads of
this process take of the processor for an epoch is compared. Watched against alone is what watching costs on this
machine: the page's thread, and what the training itself is slowed by; a browser's drawing is on top. Watched against
neighboured is what of that is the page's own: the rest is due to other processes that work on the machine at all. The
page's thread is told alone as well, as a part of what the process takes: it is bounded by `live.server.PART`.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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
FIRST_PACE = "10000/0.2/"  # bytes and seconds between two news, until those of the page are known
KINDS = "watched", "neighboured", "alone"
CLIENT = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1] + "news") as news:
    size = 0
    while line := news.readline():
        size += len(line)
        if not line.strip():
            print(size, flush=True)
            size = 0
"""
NEIGHBOUR = """
import http.server, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        _, size, pause, _ = self.path.split("/")
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(b"x" * (int(size) - 2) + bytes([10, 10]))
            time.sleep(float(pause))
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.handle_error = lambda *_: None  # its client went
print(f"http://127.0.0.1:{server.server_port}/", flush=True)
server.serve_forever()
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


@contextmanager
def neighbour() -> Iterator[str]:
    """The address of a server of another process: what is asked for as SIZE/PAUSE/news, it sends for ever."""
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR], stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


@contextmanager
def client(address: str) -> Iterator[list[int]]:
    """A process that reads news. At the end the list holds how many bytes each of them had but for the first."""
    process = subprocess.Popen([sys.executable, "-c", CLIENT, address], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()  # it has the whole history now
    sizes: list[int] = []
    try:
        yield sizes
    finally:
        process.terminate()
        sizes += map(int, process.communicate()[0].split())
        time.sleep(0.2)


def measured(case: str, rounds: int, seconds: float) -> None:
    """Prints what watching costs in one of the cases."""
    table, target, recipe = CASES[case]
    steering, shares, speeds = Steering(measures=True), [], []
    worked: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as place, neighbour() as other:
        folder = Path(place) / "run"
        with training(folder, table, target, recipe, steering) as planned:
            while len(steering.history or ()) < 5:
                time.sleep(0.05)
            with serving(Page([Watched(folder, planned=planned, steering=steering)]), port=0) as door:
                clock, pace = thread_clock("backpass page"), FIRST_PACE
                for number in range(rounds):
                    for kind in (*KINDS[number % 3 :], *KINDS[: number % 3]):
                        address = {"watched": door.address, "neighboured": other + pace}.get(kind)
                        with nullcontext([]) if address is None else client(address) as sizes:
                            began = time.monotonic()
                            time.sleep(0.5)
                            before = time.clock_gettime(clock), time.process_time()
                            own, speed = stretch(steering, seconds)
                            now = time.clock_gettime(clock), time.process_time()
                            lasted = time.monotonic() - began
                        worked[kind].append(1 / own)
                        if kind == "watched":
                            shares.append((now[0] - before[0]) / (now[1] - before[1]))
                            if sizes:  # where all is slow, there may be none in so short a time
                                pace = f"{sum(sizes) // len(sizes)}/{lasted / len(sizes):.4f}/"
                        elif kind == "alone":
                            speeds.append(speed)

    def more(kind: str, than: str) -> str:
        cost = np.percentile(100 * (np.array(worked[kind]) / worked[than] - 1), [25, 50, 75])
        return f"{kind} {cost[1]:.1f} % more than {than} ({cost[0]:.1f} to {cost[2]:.1f})"

    compared = more("watched", "alone"), more("neighboured", "alone"), more("watched", "neighboured")
    print(
        f"{case}: {np.median(speeds):,.0f} epochs a second. Processor time an epoch (half of {rounds} rounds): "
        f"{', '.join(compared)}. The page's thread is {100 * np.mean(shares):.2f} % of it, at most "
        f"{100 * max(shares):.2f}; its news are {pace.rstrip('/').replace('/', ' bytes every ')} s",
        flush=True,
    )


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    given.add_argument("--rounds", type=int, default=20)
    given.add_argument("--seconds", type=float, default=1.0)
    given.add_argument("--case", choices=list(CASES))
    options = given.parse_args()
    for case in [options.case] if options.case else CASES:
        measured(case, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
