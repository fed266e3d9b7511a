"""One native function on several threads, with the caller awake: for progress, and for Ctrl-C.

The threads are Python's: ctypes lets go of the interpreter while native code runs. They wait, parked, from one call to
the next, and are daemons, so that nothing waits for them at the end of the program.

Python handles Ctrl-C in the main thread, between any two steps of the interpreter. Half of the threads started and the
rest never would leave those hanging in the program's first barrier. So the start is one step: a `map` that runs in C.
"""

import _thread
import atexit
import ctypes
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from operator import call
from queue import Empty, SimpleQueue
from threading import Event

Part = Callable[[], object]

_Native = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
_INTERVAL = 0.05  # seconds from one look to the next; where signals do not end a wait (Windows), Ctrl-C takes as long


class _Worker:
    """A parked thread that runs what it is given.

    It is started bare: `Thread.start` waits for the thread in Python code, whose locks Ctrl-C can leave in disorder
    (CPython 3.11: "release unlocked lock" instead of KeyboardInterrupt).
    """

    def __init__(self) -> None:
        self.give: SimpleQueue[Part] = SimpleQueue()
        _thread.start_new_thread(self._work, ())

    def _work(self) -> None:
        while True:
            self.give.get()()


class _Job:
    """A native function on its way: started or not, and how many parts of it have ended."""

    def __init__(self, function: int, context: int, threads: int, stop_flag: int | None) -> None:
        self._native = _Native(function)
        self._context = context
        self._threads = threads
        self._stop_flag = stop_flag
        self._started: deque[bool] = deque()
        self._ended: deque[int] = deque()
        self._news: SimpleQueue[None] = SimpleQueue()

    def steps(self, workers: list[_Worker]) -> list[Part]:
        """The start, all of it in C. Where workers are one too few, the calling thread is thread 0."""
        own = self._threads - len(workers)
        give = [partial(worker.give.put, partial(self._part, i)) for i, worker in enumerate(workers, own)]
        run_own = [partial(self._native, self._context, 0), partial(self._ended.append, 0)]
        return [partial(self._started.append, True), *give, *run_own[: 2 * own]]

    def _part(self, thread: int) -> None:
        self._native(self._context, thread)
        self._ended.append(thread)
        if not self.is_running:
            self._news.put(None)

    @property
    def is_running(self) -> bool:
        return bool(self._started) and len(self._ended) < self._threads

    def wait(self) -> None:
        """Until it has ended, but not for long. Only `is_running` says which: an interrupt may swallow the news."""
        with suppress(Empty):
            self._news.get(timeout=_INTERVAL)

    def outlast(self) -> None:
        """Have it stop, and wait until it has, whatever comes: the memory that it works on is the caller's."""
        try:
            while self.is_running:
                if self._stop_flag is not None:
                    ctypes.c_int64.from_address(self._stop_flag).value = 1
                self.wait()
        finally:
            if self.is_running:  # Ctrl-C once more
                self.outlast()


_parked: list[_Worker] = []
_jobs: set[_Job] = set()
_ending = Event()


def run(
    function: int,
    context: int,
    threads: int,
    *,
    poll: Callable[[], object] | None = None,
    stop_flag: int | None = None,
) -> None:
    """Call the native `void function(ptr context, i64 thread)` on `threads` threads at once; back when all have ended.

    Short work, with neither `poll` nor `stop_flag`, runs in the calling thread too, as thread 0. Otherwise the caller
    only waits: it calls `poll` 20 times a second, and when that fails, or at Ctrl-C, writes 1 to the i64 at the address
    `stop_flag`, waits until the function has noticed and returned on every thread, and raises the error. When the
    program ends while a daemon thread waits here, the same is done.
    """
    alone = poll is None and stop_flag is None
    job = _Job(function, context, threads, stop_flag)
    workers = [_parked.pop() if _parked else _Worker() for _ in range(threads - alone)]
    try:
        _jobs.add(job)
        if _ending.is_set():
            raise SystemExit  # the program has ended under this daemon thread, which ends too
        deque(map(call, job.steps(workers)), maxlen=0)
        while job.is_running:
            job.wait()
            if poll is not None:
                poll()
    finally:
        job.outlast()
        _jobs.discard(job)
        _parked.extend(workers)


def _at_exit() -> None:
    """Let no thread go on working on memory that the interpreter is about to free."""
    _ending.set()
    for job in tuple(_jobs):
        job.outlast()


def _in_child() -> None:
    """A forked child has none of its parent's threads."""
    _parked.clear()
    _jobs.clear()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
