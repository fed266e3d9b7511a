"""The norm of the gradient, measured now and then while somebody watches a training."""

import time
from collections.abc import Callable
from typing import Any

PART = 0.005  # of the time since the training began may go into it, at most


class Measuring:
    """Calls `prepare` once, and then what that returns, as long as both together take that part of the time at most.

    How long a call takes is known when it was made: the first waits until a twentieth of a second is that part.
    """

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._spent, self._last = 0.0, 0.05
        self._measure: Callable[..., float] | None = None

    def measured(self, prepare: Callable[[], Callable[..., float]], *given: Any) -> float | None:
        """None where it is not time yet."""
        started = time.perf_counter()
        if self._spent + self._last > PART * (started - self._begun):
            return None
        self._measure = self._measure or prepare()
        ready = time.perf_counter()
        found = self._measure(*given)
        ended = time.perf_counter()
        self._spent, self._last = self._spent + ended - started, ended - ready
        return found
