"""Signals while a training runs: the first one ends it after the step, a second one at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """A signal that came a second time, and ends everything at once.

    Attributes:
        signal: its number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


class Interrupts:
    """Which signal came, if one did.

    Attributes:
        signal: its number, 0 for none.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.before: dict[int, Any] = {}
        self._process = os.getpid()

    def __bool__(self) -> bool:
        return bool(self.signal)

    def came(self, number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() != self._process:  # a child made by fork, of which nobody asks this
            signal.signal(number, self.before.get(number, signal.SIG_DFL))
            signal.raise_signal(number)
            return
        if self.signal:
            raise Interrupted(number)
        self.signal = number


@contextmanager
def noticed() -> Iterator[Interrupts]:
    """Within this, Ctrl-C and SIGTERM are noted and nothing else happens, until one comes a second time.

    Signals reach the main thread alone; in another, or where the program ignores a signal, all stays as it is.
    """
    interrupts = Interrupts()
    try:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                handler = signal.getsignal(number)
                if handler is signal.SIG_IGN or handler is None:  # None: set by something that is not Python
                    continue
                interrupts.before[number] = handler
                signal.signal(number, interrupts.came)
        yield interrupts
    finally:
        for number, handler in interrupts.before.items():
            signal.signal(number, handler)
