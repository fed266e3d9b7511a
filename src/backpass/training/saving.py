"""Saving a training while it goes on."""

import threading
import time
import warnings
from collections import deque
from contextlib import suppress
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data.arrays import Array
from backpass.errors import CheckpointError, OutputError, UsageError
from backpass.records import dataclass
from backpass.storage import locks
from backpass.training.checkpoints import ABSENT, BackgroundWriter, CheckpointFolder
from backpass.training.executors import State
from backpass.training.history import History
from backpass.training.snapshots import Progress, snapshot_of


@dataclass(frozen=True)
class Checkpoints:
    """Where and how often a training is saved while it goes on.

    Args:
        folder: of the checkpoints; made if it is not there.
        seconds: after so long the next checkpoint is due, and written after the step under way.
        epochs: also after so many epochs each.
        keep: how many checkpoints stay.

    Raises:
        UsageError: a number is none, or too small.
    """

    folder: str | Path
    seconds: float = 60.0
    epochs: int | None = None
    keep: int = 3

    def __post_init__(self) -> None:
        seconds = self.seconds
        if isinstance(seconds, bool) or not isinstance(seconds, Real) or not seconds >= 0:
            raise UsageError(f"Checkpoints: seconds is {seconds!r}, expected a number of 0 or more")
        for name, value in (("epochs", self.epochs), ("keep", self.keep)):
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not (whole and value >= 1) and not (name == "epochs" and value is None):
                raise UsageError(f"Checkpoints: {name} is {value!r}, expected a whole number of 1 or more")

    @property
    def store(self) -> CheckpointFolder:
        return CheckpointFolder(Path(self.folder), keep=int(self.keep))


def as_checkpoints(given: "Checkpoints | str | Path") -> Checkpoints:
    return given if isinstance(given, Checkpoints) else Checkpoints(given)


class Keeper:
    """Saves a training as it goes on: `due` says when, `save` does it, in the background.

    Attributes:
        is_fresh: whether nothing of this training was saved yet.
    """

    def __init__(self, checkpoints: Checkpoints, plan: dict[str, Any], *, fresh: bool) -> None:
        """`plan` is what must be the same to go on; `fresh` says that the training begins here.

        Raises:
            OutputError: the folder cannot be made, is another's, or holds another training's checkpoints.
            CheckpointError: there is no such folder to go on from.
        """
        self._checkpoints = checkpoints
        self._plan = plan
        folder = Path(checkpoints.folder)
        if fresh:
            make_folder(folder)
        elif not folder.is_dir():
            raise CheckpointError(f"{folder}: is no folder, expected one with checkpoints")
        self._lock = locks.FolderLock(folder)
        if fresh and checkpoints.store.steps():
            self._lock.release()
            raise OutputError(
                f"{folder}: holds checkpoints already: go on from them with Trainer.resume, or give another folder"
            )
        self.is_fresh = fresh
        self._problems: deque[str] = deque([self._lock.note] if self._lock.note else [])
        self._writer = BackgroundWriter(checkpoints.store, self._problems.append)
        self._table = _Table()
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Is it time for the next checkpoint?"""
        return time.monotonic() - self._saved >= self._checkpoints.seconds

    def due_after(self, epoch: int) -> bool:
        return bool(self._checkpoints.epochs and epoch % self._checkpoints.epochs == 0) or self.due()

    def epochs_until(self, epoch: int) -> int | None:
        """How many epochs may run without one after which a checkpoint is due in between."""
        every = self._checkpoints.epochs
        return None if every is None else every - epoch % every

    def save(self, state: State, progress: Progress) -> None:
        """Have a checkpoint written. The arrays of `state` are never written into by those who train."""
        self._writer.submit(snapshot_of(state, progress, self._plan, self._table.of(progress.history)))
        self._saved, self.is_fresh = time.monotonic(), False

    def forget_after(self, step: int) -> None:
        """Remove the checkpoints of a way that led nowhere."""
        self._writer.close()
        self._checkpoints.store.forget_after(step)

    def warn(self) -> None:
        """Tell of checkpoints that could not be written."""
        while self._problems:
            warnings.warn(self._problems.popleft(), RuntimeWarning, stacklevel=2)

    def close(self) -> None:
        """Returns when the last checkpoint stands on the disk, or could not be written; only once."""
        try:
            self._writer.close()
        except BaseException:  # Ctrl-C once more: who writes still holds the lock
            threading.Thread(target=self._release_later, name="backpass lock").start()
            raise
        self._lock.release()

    def _release_later(self) -> None:
        with suppress(Exception):
            self._writer.close()
        self._lock.release()


class _Table:
    """The numbers of a history, that grows: each record is turned into a row once."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._rows = np.empty((0, 0))
        self._known: list[dict[str, Any]] = []

    def of(self, history: History) -> tuple[list[str], Array]:
        """The names of the columns, and a row a record, shape (records, names), float64; ABSENT where one is lacking.

        Rows that were handed out do not change any more.
        """
        known = len(self._known)
        if known > len(history) or (known and history[known - 1] is not self._known[-1]):  # it went back
            known = 0
        new = history[known:]
        names = [name for record in new for name in record if name not in self._names] if new else []
        if names or not known:
            self._names = list(dict.fromkeys([*self._names, *names]))
            self._known, self._rows, new = [], np.empty((0, len(self._names))), history[:]
        count = len(self._known) + len(new)
        if count > len(self._rows):
            grown = np.full((max(64, 2 * count), len(self._names)), ABSENT)
            grown[: len(self._known)] = self._rows[: len(self._known)]
            self._rows = grown
        rows = [[record.get(name, ABSENT) for name in self._names] for record in new]
        if rows:
            self._rows[len(self._known) : count] = rows
        self._known.extend(new)
        return self._names, self._rows[:count]


def make_folder(folder: Path) -> None:
    """Make `folder`, if it is not there.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made a folder ({error.strerror}): choose another place") from None
