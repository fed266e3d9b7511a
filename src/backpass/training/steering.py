"""Steering: what those who watch a training see of it, and what they ask of it, from another thread."""

import threading
from collections.abc import Callable

from backpass.errors import UsageError
from backpass.training.history import History

_LOOKS = 0.1  # seconds between two looks for a signal while a training waits
_MOST = 1 << 40  # steps that can be asked for


class Steering:
    """Holds a training, lets it make some steps, has it saved, and ends it. Every method may be called by any thread.

    The training looks at it about 20 times a second, where it looks up anyway: being steered alone costs nothing.

    Attributes:
        history: that of the training, which grows while it runs; None before it begins.
        step: how many steps were made when it was last asked something.
        stopped: whether it was asked to end.
        measures: whether the norm of the gradient is noted of some epochs, in half a hundredth of the time.
    """

    def __init__(self, *, measures: bool = False) -> None:
        self.measures = measures
        self.history: History | None = None
        self.step = 0
        self.stopped = False
        self._changed = threading.Condition()
        self._held = self._saving = self._waits = False
        self._steps = self._until = 0

    @property
    def asks(self) -> bool:
        """Whether the training is to look here after the step under way."""
        return self._held or self._saving or self.stopped

    @property
    def held(self) -> bool:
        """Whether it is to wait."""
        return self._held

    @property
    def waits(self) -> bool:
        """Whether it does wait now, with all saved up to `step`."""
        return self._waits and not self._steps

    def hold(self) -> None:
        """Wait after the step under way, until told to go on."""
        self._change(held=True)

    def go_on(self) -> None:
        """Train on."""
        self._change(held=False)

    def make(self, steps: int = 1) -> None:
        """Make so many steps, then wait.

        Raises:
            UsageError: that is no number of steps.
        """
        if type(steps) is not int or not 1 <= steps <= _MOST:
            raise UsageError(f"steps is {steps!r:.40}, expected a whole number from 1 to {_MOST:,}")
        self._change(held=True, steps=steps)

    def save(self) -> None:
        """Write a checkpoint after the step under way, and go on."""
        self._change(saving=True)

    def stop(self) -> None:
        """End after the step under way, as Ctrl-C does: all is saved."""
        self._change(stopped=True)

    def obey(self, step: int, *, over: Callable[[], bool]) -> int:
        """Called by the training between two steps, with all saved: waits while it is held and not `over`.

        Returns how many steps it may make before it asks again; 0 for as many as it likes.
        """
        with self._changed:
            self.step, self._saving = step, False
            while self._held and not (self._left() or self.stopped or over()):
                self._waits = True
                self._changed.wait(_LOOKS)
            self._waits = False
            return self._left() if self._held else 0

    def _left(self) -> int:
        """How many of the steps that were asked for are to be made."""
        if self._steps:
            self._until, self._steps = max(self._until, self.step) + self._steps, 0
        return min(_MOST, max(0, self._until - self.step))

    def _change(self, *, held: bool | None = None, steps: int = 0, saving: bool = False, stopped: bool = False) -> None:
        with self._changed:
            self._held = self._held if held is None else held
            self._steps = self._steps + steps if steps else 0 if held is not None else self._steps
            self._until = 0 if held is not None and not steps else self._until
            self._saving, self.stopped = self._saving or saving, self.stopped or stopped
            self._changed.notify_all()
