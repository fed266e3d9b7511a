"""What the fuzzing scripts share: many cases in one process, each within its time and memory; failures are counted.

Times are those of the processor, so that other work on the machine makes no case slow. The memory that is free is asked
of the system once: asking costs a third of a case.
"""

# ruff: noqa: T201  (a module that talks)
from __future__ import annotations

import os
import resource
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # these tables are small; set it to try more
os.environ["RUST_BACKTRACE"] = "0"  # the first panic of native code would load 50 MB of symbols, and look like growth

from backpass.data import limits

SECONDS, GROWTH, SETTLED, TOLD = 5.0, 64 << 20, 1000, 500


class BeyondBoundsError(Exception):
    """A case takes so much that it must be a bomb."""


def ask_memory_once() -> None:
    for asked in (limits._of_machine, limits._of_groups):
        setattr(limits, asked.__name__, cache(lambda root, asked=asked: tuple(asked(root))))


def memory() -> int:
    """Bytes that this process has now."""
    return _pages(1) * resource.getpagesize()


def peak() -> int:
    """The most bytes it ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def limit_addresses(gigabytes: int) -> None:
    """From now on asking for much more than there is now fails, as it does on a machine that is full."""
    most = _pages(0) * resource.getpagesize() + (gigabytes << 30)
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def _pages(place: int) -> int:
    return int(Path("/proc/self/statm").read_text().split()[place])


def _too_long(number: int, frame: Any) -> None:  # noqa: ARG001  (what a handler is given)
    raise BeyondBoundsError(f"more than {SECONDS:g} seconds")


def run(cases: int, attempt: Callable[[int], str], keep: Callable[[int], Path], *, gigabytes: int) -> int:
    """Attempt the cases of all numbers; whether any failed, as a process's exit status.

    An attempt returns in a few words what came of it. Whatever it raises, a warning too, is a failure, and so are more
    seconds or gigabytes than allowed: it is printed, with the file in which `keep` has saved the input. Memory that
    grows from case to case is one more.
    """
    ask_memory_once()
    signal.signal(signal.SIGPROF, _too_long)
    warnings.simplefilter("error")
    ends, failures, slowest, settled, start = Counter(), 0, 0.0, 0, time.monotonic()
    for number in range(cases):
        began, highest = time.process_time(), peak()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            ends[attempt(number)] += 1
            if peak() > highest + (gigabytes << 30):
                raise BeyondBoundsError(f"more than {gigabytes} GiB")  # noqa: TRY301  (a failure like all others)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001  (panics of native code are no Exceptions)
            failures += 1
            print(f"\ncase {number}: {keep(number)}\n{traceback.format_exc()}")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - began)
        if number == min(SETTLED, cases // 2):
            settled = memory()
        if number % TOLD == TOLD - 1 or number == cases - 1:
            told = ", ".join(f"{end} {count:,}" for end, count in ends.most_common())
            print(
                f"\r{number + 1:,}/{cases:,} cases in {time.monotonic() - start:.0f} s, slowest {slowest:.2f} s, "
                f"{settled / 1e6:.0f} to {memory() / 1e6:.0f} MB: {told}; failures {failures}",
                end="",
                flush=True,
            )
    print()
    if memory() > settled + GROWTH:
        print(f"the memory grew from {settled / 1e6:.0f} to {memory() / 1e6:.0f} MB")
        failures += 1
    return 1 if failures else 0
