"""How far a training has come, as a Snapshot that can be kept, and back."""

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data.arrays import Array
from backpass.errors import CheckpointError
from backpass.forward import Structure, flatten, labels, unflatten
from backpass.records import dataclass
from backpass.training.checkpoints import ABSENT, CheckpointFolder, Snapshot
from backpass.training.executors import State
from backpass.training.fingerprints import difference
from backpass.training.history import History
from backpass.training.stopping import BestSoFar

_MOST = 1 << 62  # steps or epochs


@dataclass
class Progress:
    """How far a training has come, beside the State of its network.

    Attributes:
        first: epochs made before this call of `fit`.
        last: the epoch that is to be the last.
        steps: of the whole training, by which schedules are made as long as it is.
        history: one record an epoch.
        best, kept: the best epoch so far, and its parameters where early stopping keeps them.
        begun: steps made before this call of `fit`.
        on_divergence: "stop" or "rollback".
        rates: after each rollback, the step it went back to, and what the optimizer's changes are multiplied by then.
        good: to roll back to, the state of the best epoch; and the length of the history then.
        finished: whether it ended, other than by an interruption.
    """

    first: int
    last: int
    steps: int
    history: History
    best: BestSoFar
    kept: Structure | None = None
    begun: int = 0
    on_divergence: str = "stop"
    rates: list[tuple[int, float]] = field(default_factory=list)
    good: tuple[State, int] | None = None
    finished: bool = False

    def rate_after(self, step: int) -> float:
        """What the changes of the step after `step` are multiplied by."""
        return next((rate for at, rate in reversed(self.rates) if at <= step), 1.0)

    @property
    def epoch(self) -> int:
        """The last whole epoch that is known of."""
        last = self.history.last_epoch
        return self.first if last is None else max(self.first, last)

    def to_json(self) -> dict[str, Any]:
        """All but the history and what is made of arrays."""
        loss = self.best.loss
        return {
            **{name: getattr(self, name) for name in ("first", "last", "steps", "begun", "on_divergence", "finished")},
            "rates": [list(each) for each in self.rates],
            "best": {"epoch": self.best.epoch, "loss": None if math.isinf(loss) else loss},
            "good": None if self.good is None else {**_place(self.good[0]), "records": self.good[1]},
            "reason": self.history.reason,
            "kept": self.history.kept,
        }


def snapshot_of(state: State, progress: Progress, plan: dict[str, Any], history: tuple[list[str], Array]) -> Snapshot:
    """`plan` is what must be the same to go on; `history` the names and the numbers of the records."""
    good = progress.good
    return Snapshot(
        step=state.step,
        epoch=state.epoch,
        batch=state.batch,
        sums=state.sums,
        parameters=_arrays(state.parameters),
        optimizer=_arrays(state.optimizer),
        best=None if progress.kept is None else _arrays(progress.kept),
        good=None if good is None else [*_arrays(good[0].parameters), *_arrays(good[0].optimizer)],
        history=history,
        about={"plan": plan, "progress": progress.to_json()},
    )


def restored(snapshot: Snapshot, like: State, steps: int, improvement: float = 0.0) -> tuple[State, Progress]:
    """The State and Progress that a snapshot holds; the State in the form of `like`, of epochs of so many `steps`.

    Raises:
        CheckpointError: it is that of another network or optimizer, or holds what no training does.
    """
    parameters = _in_form_of(like.parameters, snapshot.parameters, "parameters")
    optimizer = _in_form_of(like.optimizer, snapshot.optimizer, "state of the optimizer")
    kept = None if snapshot.best is None else _in_form_of(like.parameters, snapshot.best, "best parameters")
    place = {"step": snapshot.step, "epoch": snapshot.epoch, "batch": snapshot.batch, "sums": snapshot.sums}
    state = State(parameters, optimizer, **_checked_place(place, steps))
    return state, _progress(snapshot, like, kept, steps, improvement)


def records_of(snapshot: Snapshot) -> list[dict[str, Any]]:
    """The history that a snapshot holds: one record an epoch."""
    names, numbers = snapshot.history
    if "epoch" not in names and len(numbers):
        raise CheckpointError("the checkpoint's history does not number its epochs")
    absent = numbers.view(np.int64) == np.array(ABSENT).view(np.int64)
    found = []
    for row, lacks in zip(numbers.tolist(), absent.tolist(), strict=True):
        known = zip(names, row, lacks, strict=True)
        found.append({name: int(value) if name == "epoch" else value for name, value, lack in known if not lack})
    return found


def newest(store: CheckpointFolder) -> Snapshot:
    """The newest whole checkpoint; damaged ones are warned of.

    Raises:
        CheckpointError: there is none.
    """
    found = store.newest()
    if found.snapshot is None:
        if not found.damaged:
            raise CheckpointError(f"{store.folder}: holds no checkpoint, expected files such as step-....safetensors")
        raise CheckpointError(f"{'; '.join(found.damaged)}; where these are removed the training begins anew")
    for line in found.damaged:
        warnings.warn(f"{line}; the one before it is taken", RuntimeWarning, stacklevel=3)
    return found.snapshot


def require_same(folder: str | Path, snapshot: Snapshot, plan: dict[str, Any]) -> None:
    """See that a training begun by the plan of `snapshot` may go on by `plan`.

    Raises:
        CheckpointError: something differs, and is named.
    """
    found = difference(snapshot.about.get("plan"), json.loads(json.dumps(plan)))
    if found is not None:
        raise CheckpointError(f"{folder}: this is not the training that was begun there: {found}")


def _progress(snapshot: Snapshot, like: State, kept: Structure | None, steps: int, improvement: float) -> Progress:
    try:
        content = snapshot.about["progress"]
        history = History()
        history.extend(records_of(snapshot))
        history.reason, history.kept = str(content["reason"]), _count(content["kept"])
        best = BestSoFar(improvement)
        loss = content["best"]["loss"]
        best.epoch, best.loss = _count(content["best"]["epoch"]), math.inf if loss is None else float(loss)
        return Progress(
            first=_count(content["first"]),
            last=_count(content["last"]),
            steps=_count(content["steps"]),
            history=history,
            best=best,
            kept=kept,
            begun=_count(content["begun"]),
            on_divergence=str(content["on_divergence"]),
            rates=[(_count(step), float(rate)) for step, rate in content["rates"]],
            good=_good(snapshot.good, content["good"], like, steps),
            finished=content["finished"] is True,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"the checkpoint lacks what a training needs to go on: {error!r}") from None


def _good(arrays: list[Array] | None, content: Mapping[str, Any] | None, like: State, steps: int) -> Any:
    if arrays is None or content is None:
        return None
    learned = len(flatten(like.parameters))
    parameters = _in_form_of(like.parameters, arrays[:learned], "parameters of the best epoch")
    optimizer = _in_form_of(like.optimizer, arrays[learned:], "state of the best epoch")
    return State(parameters, optimizer, **_checked_place(content, steps)), _count(content["records"])


def _place(state: State) -> dict[str, Any]:
    return {"step": state.step, "epoch": state.epoch, "batch": state.batch, "sums": list(state.sums)}


def _checked_place(content: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Where a State stands."""
    step, epoch, batch = (_count(content[name]) for name in ("step", "epoch", "batch"))
    sums = float(content["sums"][0]), float(content["sums"][1])
    if batch >= steps or batch > step or epoch > step or not all(map(math.isfinite, sums)):
        raise CheckpointError(
            f"the checkpoint stands at step {batch:,} of an epoch of {steps:,} steps, {step:,} in all: no training does"
        )
    return {"step": step, "epoch": epoch, "batch": batch, "sums": sums}


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _MOST:
        raise CheckpointError(f"the checkpoint has {value!r} where a count is expected")
    return value


def _arrays(structure: Structure) -> list[Array]:
    return [np.asarray(value) for value in flatten(structure)]


def _in_form_of(structure: Structure, values: list[Array], what: str) -> Structure:
    names, expected = labels(structure), _arrays(structure)
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
