"""What a Trainer tells those who listen. A listener is any function of one event."""

from collections.abc import Callable
from typing import Any, TypeAlias

from backpass.records import dataclass


@dataclass(frozen=True)
class TrainingStarted:
    """Training begins: `epochs` at most, each over `rows` rows in batches of `batch_size`; `done` were made before.

    `seconds` is the time there is for it; None for as much as it takes.
    """

    epochs: int
    rows: int
    batch_size: int
    parameters: int
    done: int = 0
    seconds: float | None = None


@dataclass(frozen=True)
class StepFinished:
    """One step was made: its number in the whole training, its epoch, its loss, and the rows seen in this epoch."""

    step: int
    epoch: int
    loss: float
    rows: int


@dataclass(frozen=True)
class EpochFinished:
    """An epoch is over. `record` is its line in the history."""

    record: dict[str, Any]
    best: bool


@dataclass(frozen=True)
class RolledBack:
    """Training diverged, for the `cause` given, and goes on from `step` with `rate` times its learning rate.

    `blame` is the first number that was not finite, as that of a `NotFiniteError`.
    """

    cause: str
    step: int
    rate: float
    blame: Any = None


@dataclass(frozen=True)
class TrainingFinished:
    """Training is over, for the `reason` given; the weights kept are those of epoch `kept`."""

    reason: str
    kept: int
    seconds: float


Event: TypeAlias = TrainingStarted | StepFinished | EpochFinished | RolledBack | TrainingFinished
Listener: TypeAlias = Callable[[Event], None]
