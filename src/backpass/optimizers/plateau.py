"""A schedule that watches the validation loss."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from backpass.forward import Structure
from backpass.optimizers.checks import COUNT_OR_ZERO, DECAY, FACTOR, NOT_NEGATIVE, Expectation
from backpass.optimizers.schedule import Schedule
from backpass.records import dataclass


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """A rate that falls by a factor when the validation loss has not got better for some epochs.

    The rules are those of PyTorch's ReduceLROnPlateau (mode "min", relative threshold, no cooldown), but a loss below
    0 must also get better by the fraction `threshold` of its size, and no change of the rate is too small to be made.
    What it remembers (the rate, the best loss, the epochs waited) is part of the optimizer's state.

    Args:
        initial: the first learning rate.
        factor: what the rate is multiplied by.
        patience: how many epochs in a row may bring nothing better; the next one lowers the rate.
        threshold: by which fraction of the best loss another must lie below it to be better. NaN is never better.
        minimum: the rate does not fall below it.
    """

    initial: float
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    minimum: float = 0.0

    expected: ClassVar[Mapping[str, Expectation]] = {
        "initial": NOT_NEGATIVE,
        "factor": FACTOR,
        "patience": COUNT_OR_ZERO,
        "threshold": DECAY,
        "minimum": NOT_NEGATIVE,
    }

    def __call__(self, step: Any, state: Structure = None) -> Any:
        del step
        return self.initial if state is None else state["rate"]

    def init(self) -> dict[str, Any]:
        return {"rate": np.array(self.initial), "best": np.array(math.inf), "waited": np.array(0, np.int64)}

    def observe(self, state: Structure, validation_loss: float) -> Structure:
        rate, best, waited = float(state["rate"]), float(state["best"]), int(state["waited"])
        if math.isinf(best) or math.isnan(validation_loss):
            better = validation_loss < best
        else:
            better = validation_loss < best - self.threshold * abs(best)
        best, waited = (float(validation_loss), 0) if better else (best, waited + 1)
        if waited > self.patience:
            # A rate that was begun below the minimum is not raised to it.
            rate, waited = min(rate, max(rate * self.factor, self.minimum)), 0
        found = {"rate": rate, "best": best, "waited": waited}
        return {key: np.array(found[key], np.asarray(value).dtype) for key, value in state.items()}
