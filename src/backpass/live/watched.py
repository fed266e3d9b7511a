"""A run that is watched: its history as it grows, how it stands, and its steps, looked into one at a time."""

import json
import math
import os
import platform
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from backpass.errors import BackpassError, UsageError
from backpass.ledger import Ledger, telling
from backpass.recipes import fields, run
from backpass.recipes.again import Run
from backpass.recipes.main_job import Plan
from backpass.recipes.words import trained_place, words_of
from backpass.storage.locks import NAME as LOCK
from backpass.training import Replayed, Steering

_ASKS, _ASKS_WAITING = 1.0, 0.2  # seconds, while it trains and while nothing is slowed by it
_KEPT = 6  # steps and ledgers that stay at hand
T = TypeVar("T")


class Watched:
    """A run in its folder, or one that is trained in this process, with its `planned` and `steering`.

    Attributes:
        name: as it is called on the page.
        run: the run.
        steering: of a training in this process; None of another's.
        generation: another number whenever records that were there have changed.
        records: one an epoch, as far as is known.
    """

    def __init__(self, folder: Path, *, planned: Plan | None = None, steering: Steering | None = None) -> None:
        self.name = folder.name or str(folder)
        self.run = Run(folder)
        if planned is not None:
            self.run.__dict__["plan"] = planned  # read already: it need not be read again
        self.steering = steering
        self.generation = 0
        self.records: list[dict[str, Any]] = []
        self._seen: Any = None
        self._stands = ("", 0)
        self._asked = -math.inf
        self._read = 0  # bytes of the history's file
        self._guard = threading.Lock()
        self._steps: OrderedDict[Any, Any] = OrderedDict()

    # The history

    def look(self) -> None:
        """See what is new."""
        with self._guard:
            if self.steering is not None and self.steering.history is not None:
                self._look_at(self.steering.history)
                return
            found = self._of_file()
            if found is None:
                return
            if found[: len(self.records)] != self.records:
                self.generation += 1
            self.records = found

    def _look_at(self, live: list[dict[str, Any]]) -> None:
        """Take over what is new of a history in memory; often nothing, at any length."""
        known = len(self.records)
        if known and live[known - 1 : known] != self.records[-1:]:  # it went back
            self.generation, self.records = self.generation + 1, list(live)
        else:
            self.records.extend(live[known:])

    def _of_file(self) -> list[dict[str, Any]] | None:
        """The records of the file, or of the newest checkpoint; None where nothing is new."""
        folder = self.run.folder
        path = folder / run.HISTORY
        try:
            status = path.lstat()
        except OSError:
            with suppress(BackpassError, OSError):
                steps = run.checkpoints(folder).store.steps()
                if steps and self._seen != steps:
                    self._seen = steps
                    return self.run.history
            return None
        seen = status.st_ino, status.st_size, status.st_mtime_ns
        if seen == self._seen:
            return None
        grows = isinstance(self._seen, tuple) and self._seen[0] == seen[0] and self._seen[1] <= seen[1]
        if not stat.S_ISREG(status.st_mode) or status.st_size > run.LARGEST_HISTORY:
            raise UsageError(f"{path}: is no history of a training: a file was expected")
        self._seen = seen
        new, self._read = _lines(path, self._read if grows else 0)
        return self.records + new if grows else new

    @property
    def stands(self) -> tuple[str, int]:
        """How the run stands, and the newest step that is saved; asked of the disk once a second."""
        if time.monotonic() - self._asked > (_ASKS_WAITING if self._stands[0] == "waiting" else _ASKS):
            steps = 0
            with suppress(BackpassError):
                steps = (run.checkpoints(self.run.folder).store.steps() or [0])[-1]
            self._stands, self._asked = (self.state, steps), time.monotonic()
        waits = self.steering is not None and self.steering.waits
        if waits != (self._stands[0] == "waiting"):
            self._asked = -math.inf
            return self.stands
        return self._stands

    @property
    def state(self) -> str:
        """How the run stands: training, waiting, interrupted, finished, or broken off."""
        if self.steering is not None and self.steering.waits:
            return "waiting"
        try:
            state = str(self.run.about.get("state", fields.FINISHED))
        except UsageError:
            return "unreadable"
        if state == fields.FINISHED:
            return state
        if _is_alive(self.run.folder / LOCK):
            return fields.TRAINING
        return "broken off" if state == fields.TRAINING else state

    # Its steps

    def replayed(self, step: int) -> Replayed:
        """A step, made again; of a training in this process also the one that comes next."""
        ahead = self.steering is not None
        return self._kept(("step", step), lambda: next(self.run.replays([step], ahead=ahead)))

    def ledger(self, step: int, row: int | None, member: int | None) -> Ledger:
        """The ledger of a row in a step, by the row's number in the table; None for that of its batch which has the
        largest share in the weight that moved most.
        """

        def made() -> Ledger:
            prepared, replayed = self.run.plan.prepared, self.replayed(step)
            if row is None:
                return telling(replayed.moment, member=member, words=words_of(prepared))
            return replayed.trace(trained_place(prepared, row), member=member, words=words_of(prepared))

        return self._kept(("ledger", step, row, member), made)

    def held_out(self, row: int, member: int | None) -> Ledger:
        """The ledger of any row of the table as if a step were made with it alone."""
        return self._kept(("held out", row, member), lambda: self.run.what_if(row, member=member))

    def _kept(self, key: Any, make: Callable[[], T]) -> T:
        if key in self._steps:
            self._steps.move_to_end(key)
        else:
            self._steps[key] = make()
            while len(self._steps) > 2 * _KEPT:
                self._steps.popitem(last=False)
        found: T = self._steps[key]
        return found


def _lines(path: Path, start: int) -> tuple[list[dict[str, Any]], int]:
    """The records from byte `start` on, and where the last whole line ends; what is damaged is left out."""
    found = []
    with path.open("rb") as file:
        file.seek(start)
        content = file.read(run.LARGEST_HISTORY)
    whole = content.rfind(b"\n") + 1
    for line in content[:whole].splitlines():
        record: Any = None
        with suppress(ValueError, RecursionError):
            record = json.loads(line)
        if fields.is_record(record):
            found.append(record)
    return found, start + whole


def _is_alive(path: Path) -> bool:
    """Whether the process that a lock's file names is there; on another machine it may be."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        content = json.loads(path.read_bytes()[:1000])
        process, host = content["process"], content["host"]
        if host != platform.node():
            return True
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return False
    return True
