"""When to stop: no better validation loss for a while."""

import math

from backpass.errors import UsageError
from backpass.records import dataclass


@dataclass(frozen=True)
class EarlyStopping:
    """Stop after `patience` epochs without a validation loss at least `improvement` below the best so far.

    The weights of the best epoch are put back (Prechelt, 1998).
    """

    patience: int = 16
    improvement: float = 0.0

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise UsageError(f"EarlyStopping: patience is {self.patience}, expected 1 epoch or more")


class BestSoFar:
    """Which epoch had the lowest validation loss."""

    def __init__(self, improvement: float = 0.0) -> None:
        self.loss = math.inf
        self.epoch = 0
        self._improvement = improvement

    def better(self, epoch: int, loss: float) -> bool:
        """Take note of an epoch; is it the best one yet?"""
        if loss < self.loss - self._improvement:
            self.loss, self.epoch = loss, epoch
            return True
        return False
