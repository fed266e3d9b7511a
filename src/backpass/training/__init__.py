"""Training: the Trainer, what it tells while it works, and when it stops."""

from backpass.training.events import EpochFinished, Event, Listener, StepFinished, TrainingFinished, TrainingStarted
from backpass.training.history import History
from backpass.training.stopping import EarlyStopping
from backpass.training.trainer import Trainer

__all__ = [
    "EarlyStopping",
    "EpochFinished",
    "Event",
    "History",
    "Listener",
    "StepFinished",
    "Trainer",
    "TrainingFinished",
    "TrainingStarted",
]
