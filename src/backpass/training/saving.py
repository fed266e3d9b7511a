"""Saving a training while it goes on, and what must be the same for it to go on from there."""

import hashlib
import json
import math
import re
import time
import warnings
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data.arrays import Array
from backpass.errors import CheckpointError, OutputError, UsageError
from backpass.forward import Structure, flatten, labels, unflatten
from backpass.storage import locks
from backpass.training.checkpoints import BackgroundWriter, CheckpointFolder, Snapshot
from backpass.training.executors import State
from backpass.training.history import History
from backpass.training.rows import Rows
from backpass.training.stopping import BestSoFar


@dataclass(frozen=True)
class Checkpoints:
    """Where and how often a training is saved while it goes on.

    Args:
        folder: of the checkpoints; made if it is not there.
        seconds: from one checkpoint to the next, at most, and a step.
        epochs: also after so many epochs each.
        keep: how many checkpoints stay.
    """

    folder: str | Path
    seconds: float = 60.0
    epochs: int | None = None
    keep: int = 3

    def __post_init__(self) -> None:
        for name, value, least in (("seconds", self.seconds, 0), ("epochs", self.epochs, 1), ("keep", self.keep, 1)):
            if value is not None and not value >= least:
                raise UsageError(f"Checkpoints: {name} is {value!r}, expected {least} or more")

    @property
    def store(self) -> CheckpointFolder:
        return CheckpointFolder(Path(self.folder), keep=self.keep)


def as_checkpoints(given: "Checkpoints | str | Path") -> Checkpoints:
    return given if isinstance(given, Checkpoints) else Checkpoints(given)


@dataclass
class Progress:
    """How far a training has come, beside the State of its network.

    Attributes:
        first: epochs made before this call of `fit`.
        last: the epoch that is to be the last.
        steps: of the whole training, by which schedules are made as long as it is.
        begun: steps made before this call of `fit`.
        rates: after each rollback, the step it went back to, and what the optimizer's changes are multiplied by then.
        best, kept: the best epoch so far, and its parameters where early stopping keeps them.
        history: one record an epoch.
        finished: whether it ended, other than by an interruption.
    """

    first: int
    last: int
    steps: int
    history: History
    best: BestSoFar
    kept: Structure | None = None
    begun: int = 0
    rates: list[tuple[int, float]] = field(default_factory=list)
    finished: bool = False

    def to_json(self) -> dict[str, Any]:
        loss = self.best.loss
        return {
            "first": self.first,
            "last": self.last,
            "steps": self.steps,
            "begun": self.begun,
            "rates": [list(each) for each in self.rates],
            "finished": self.finished,
            "best": {"epoch": self.best.epoch, "loss": None if math.isinf(loss) else loss},
            "history": list(self.history),
            "reason": self.history.reason,
            "kept": self.history.kept,
        }

    def rate_after(self, step: int) -> float:
        """What the changes of the step after `step` are multiplied by."""
        return next((rate for at, rate in reversed(self.rates) if at <= step), 1.0)

    @property
    def epoch(self) -> int:
        """The last whole epoch that is known of."""
        return max(self.first, int(self.history[-1]["epoch"])) if self.history else self.first

    @classmethod
    def from_json(cls, content: Mapping[str, Any], history: History, improvement: float = 0.0) -> "Progress":
        """What `to_json` wrote; `history` is filled.

        Raises:
            CheckpointError: it was not.
        """
        try:
            best = BestSoFar(improvement)
            found = content["best"]
            best.epoch, best.loss = int(found["epoch"]), math.inf if found["loss"] is None else float(found["loss"])
            history[:] = [dict(record) for record in content["history"]]
            history.reason, history.kept = str(content["reason"]), int(content["kept"])
            return cls(
                first=int(content["first"]),
                last=int(content["last"]),
                steps=int(content["steps"]),
                history=history,
                best=best,
                begun=int(content["begun"]),
                rates=[(int(step), float(rate)) for step, rate in content["rates"]],
                finished=bool(content["finished"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint lacks what a training needs to go on: {error}") from None


class Keeper:
    """Saves a training as it goes on: `due` says when, `save` does it, in the background.

    Attributes:
        is_fresh: whether nothing of this training was saved yet.
    """

    def __init__(self, checkpoints: Checkpoints, plan: dict[str, Any], *, fresh: bool) -> None:
        """`plan` is what must be the same to go on; `fresh` says that the training begins here.

        Raises:
            OutputError: the folder is another process's, or holds another training's checkpoints.
        """
        self._checkpoints = checkpoints
        self._plan = plan
        folder = Path(checkpoints.folder)
        if fresh and checkpoints.store.steps():
            raise OutputError(
                f"{folder}: holds checkpoints already: go on from them with Trainer.resume, or give another folder"
            )
        make_folder(folder)
        self._lock = locks.FolderLock(folder)
        self.is_fresh = fresh
        self._problems: deque[str] = deque()  # of the thread that writes
        self._writer = BackgroundWriter(checkpoints.store, self._problems.append)
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
        self._saved, self.is_fresh = time.monotonic(), False
        self._writer.submit(snapshot_of(state, progress, self._plan))

    def forget_after(self, step: int) -> None:
        """Remove the checkpoints of a way that led nowhere."""
        self._writer.close()
        self._checkpoints.store.forget_after(step)

    def warn(self) -> None:
        """Tell of checkpoints that could not be written."""
        while self._problems:
            _warn(self._problems.popleft())

    def close(self) -> None:
        """Returns when the last checkpoint stands on the disk, or could not be written."""
        try:
            self._writer.close()
        finally:
            self._lock.release()
        self.warn()


def make_folder(folder: Path) -> None:
    """Make `folder`, if it is not there.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made a folder ({error.strerror}): choose another place") from None


def _warn(line: str) -> None:
    warnings.warn(line, RuntimeWarning, stacklevel=2)


def snapshot_of(state: State, progress: Progress, plan: dict[str, Any]) -> Snapshot:
    return Snapshot(
        step=state.step,
        epoch=state.epoch,
        batch=state.batch,
        sums=state.sums,
        parameters=[np.asarray(value) for value in flatten(state.parameters)],
        optimizer=[np.asarray(value) for value in flatten(state.optimizer)],
        best=None if progress.kept is None else [np.asarray(value) for value in flatten(progress.kept)],
        about={"plan": plan, "progress": progress.to_json()},
    )


def newest(store: CheckpointFolder) -> Snapshot:
    """The newest whole checkpoint; damaged ones are warned of.

    Raises:
        CheckpointError: there is none.
    """
    found = store.newest()
    if found.snapshot is None:
        damaged = "; ".join(found.damaged)
        raise CheckpointError(
            damaged or f"{store.folder}: holds no checkpoint, expected files such as step-....safetensors"
        )
    for line in found.damaged:
        _warn(f"{line}; the one before it is taken")
    return found.snapshot


def require_same(folder: str | Path, snapshot: Snapshot, plan: dict[str, Any]) -> None:
    """See that a training begun by the plan of `snapshot` may go on by `plan`.

    Raises:
        CheckpointError: something differs, and is named.
    """
    found = difference(snapshot.about.get("plan"), json.loads(json.dumps(plan)))
    if found is not None:
        raise CheckpointError(f"{folder}: this is not the training that was begun there: {found}")


def restore(snapshot: Snapshot, like: State) -> tuple[State, Structure | None]:
    """The State that a snapshot holds, in the form of `like`, and the parameters of the best epoch.

    Raises:
        CheckpointError: it is that of another network or optimizer.
    """
    parameters = _in_form_of(like.parameters, snapshot.parameters, "parameters")
    optimizer = _in_form_of(like.optimizer, snapshot.optimizer, "state of the optimizer")
    kept = None if snapshot.best is None else _in_form_of(like.parameters, snapshot.best, "best parameters")
    place = (snapshot.step, snapshot.epoch, snapshot.batch, snapshot.sums)
    return State(parameters, optimizer, *place), kept


def _in_form_of(structure: Structure, values: list[Array], what: str) -> Structure:
    names, expected = labels(structure), [np.asarray(value) for value in flatten(structure)]
    if len(values) != len(expected):
        raise CheckpointError(
            f"the checkpoint has {len(values)} arrays as {what}, this Trainer {len(expected)}: "
            "it is that of another network or optimizer"
        )
    for name, found, wanted in zip(names, values, expected, strict=True):
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise CheckpointError(
                f"{what}: {name} is {found.dtype} {found.shape} in the checkpoint, {wanted.dtype} {wanted.shape} in "
                "this Trainer: it is that of another network or optimizer"
            )
        found.flags.writeable = False
    return unflatten(structure, values)


def fingerprint(rows: Rows | None) -> dict[str, Any] | None:
    """What tells whether rows are the same, and what differs where they are not."""
    if rows is None:
        return None
    inputs = rows.inputs if isinstance(rows.inputs, dict) else {"inputs": rows.inputs}
    arrays = {**{str(name): array for name, array in inputs.items()}, "targets": rows.targets}
    if rows.weights is not None:
        arrays["weights"] = rows.weights
    return {
        name: {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": _sha256(array)}
        for name, array in arrays.items()
    }


def _sha256(array: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()


def difference(before: Any, now: Any) -> str | None:
    """In words, where two plans differ; None where they are the same."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return None if before == now else f"was {before!r}, is {now!r}"
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if name == "sha256":
            return "has other values"
        if name == "shape" and old and new and old[1:] == new[1:]:
            return f"had {old[0]:,} rows, has {new[0]:,}"
        if old is None or new is None:
            return f"{name} " + ("was not given, and is now" if old is None else "was given, and is not now")
        found = difference(old, new)
        return f"{name} {found}"
    return None


def described(thing: object) -> str:
    """A layer, loss or optimizer as text, the same in every process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(thing))
