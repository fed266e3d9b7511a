"""Rows in files, given to a native program a window at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.data.arrays import Array, ask_for, let_go
from backpass.data.batches import windows
from backpass.training.rows import Rows


def give(machine: Any, data: Rows, part: slice, *, shuffle: bool) -> None:
    """Let a Machine have some rows that follow each other, where they lie, as those of its epochs."""
    inputs = [machine.inputs[place] for place, _ in machine.compiler.batch_inputs()]
    taken = [np.ascontiguousarray(array, node.dtype) for array, node in zip(data.take(part), inputs, strict=True)]
    machine.data(taken, count=part.stop - part.start)
    machine.shuffled(shuffle=shuffle)
    machine.weigh(None if data.weights is None else taken[-1])


class Feed:
    """Runs epochs as a Machine does, over rows of which a window is looked at at any one time.

    To the program each window is a short epoch of its own, and its rows stand where they are mapped: nothing is
    copied. While it trains on one the system reads the next from the disk.

    Args:
        machine: the program.
        data: all rows.
        window: how many rows are looked at together.
        shuffle: whether windows, and the rows within them, come in another order in each epoch.

    Attributes:
        epochs_done, reason: as those of the Machine.
    """

    def __init__(self, machine: Any, data: Rows, window: int, *, shuffle: bool) -> None:
        self._machine = machine
        self._data = data
        self._window = window
        self._shuffle = shuffle
        self._records = np.zeros((0, 3))
        self._before = 0  # steps of this call, made in earlier windows
        self._inside = False
        self._stop = False
        self.epochs_done = 0
        self.reason = 0

    @property
    def steps_done(self) -> int:
        return self._before + (self._machine.steps_done if self._inside else 0)

    @property
    def records(self) -> Array:
        return self._records[: self.epochs_done]

    @property
    def running(self) -> tuple[float, float]:
        found: tuple[float, float] = self._machine.running
        return found

    def stop(self) -> None:
        self._stop = True
        self._machine.stop()

    def run(
        self,
        *,
        seed: int,
        epoch: int,
        epochs: int,
        first: int,
        last: int,
        poll: Callable[[], object],
        **others: Any,
    ) -> None:
        """See `Machine.run`."""
        self._records, self._before, self._stop = np.zeros((epochs, 3)), 0, False
        self.epochs_done, self.reason = 0, 0
        while self.epochs_done < epochs and not self.reason:
            self._epoch(seed=seed, epoch=epoch + self.epochs_done, first=first, last=last, poll=poll, **others)
            first, others["sums"] = 0, (0.0, 0.0)

    def _epoch(
        self,
        *,
        seed: int,
        step: int,
        epoch: int,
        first: int,
        last: int,
        sums: tuple[float, float],
        losses: Array | None,
        poll: Callable[[], object],
        **others: Any,
    ) -> None:
        """What is left of an epoch after its first `first` rows, or as much of it as is wanted."""
        from backpass.native import Reason

        machine, data = self._machine, self._data
        parts = windows(data.count, self._window, seed=seed, epoch=epoch, shuffle=self._shuffle)
        begun, first = divmod(first, self._window)
        for place in range(begun, len(parts)):
            give(machine, data, parts[place], shuffle=self._shuffle)
            if place + 1 < len(parts):
                ask_for(*data.take(parts[place + 1]))
            self._inside = True
            machine.run(
                seed=seed,
                step=step + self._before,
                epoch=epoch * len(parts) + place,
                epochs=1,
                first=first,
                sums=sums,
                last=last - self._before if last else 0,
                losses=None if losses is None else losses[self._before :],
                poll=poll,
                **others,
            )
            self._before, self._inside = self._before + machine.steps_done, False
            first, sums, self.reason = 0, machine.running, machine.reason
            let_go(*data.take(parts[place]))
            if not self.reason and self._stop:
                self.reason = Reason.STOPPED
            if machine.epochs_done and place + 1 == len(parts):
                self._records[self.epochs_done] = machine.records[0]
                self.epochs_done += 1
            if self.reason:
                return
