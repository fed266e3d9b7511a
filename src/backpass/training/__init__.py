"""Training: the Trainer, what it tells while it works, and when it stops."""

from backpass.training.events import (
    EpochFinished,
    Event,
    Listener,
    RolledBack,
    StepFinished,
    TrainingFinished,
    TrainingStarted,
)
from backpass.training.history import History
from backpass.training.replay import Replayed
from backpass.training.saving import Checkpoints
from backpass.training.steering import Steering
from backpass.training.stopping import EarlyStopping
from backpass.training.trainer import Trainer

__all__ = [
    "Checkpoints",
    "EarlyStopping",
    "EpochFinished",
    "Event",
    "History",
    "Listener",
    "Replayed",
    "RolledBack",
    "Steering",
    "StepFinished",
    "Trainer",
    "TrainingFinished",
    "TrainingStarted",
]
