"""The weights as they were on the mean of late, beside the weights as they are."""

from typing import Any, ClassVar

import numpy as np

from backpass import ops
from backpass.forward import Structure, flatten, map_structure, unflatten
from backpass.optimizers.around import Around
from backpass.optimizers.checks import DECAY, Expectation
from backpass.optimizers.optimizer import State
from backpass.records import dataclass


@dataclass(frozen=True)
class Averaged(Around):
    """What `rule` does, while a running mean of the parameters is kept; the mean is what is used and validated.

        mean <- mean + share * (parameter - mean),  share = max(1 - decay, 1 / (steps so far + 1))

    So the mean is that of all steps at first, and later of about the last 1 / (1 - decay) (Polyak and Juditsky, 1992;
    the exponential form as in Tarvainen and Valpola, 2017). It stands where steps of the present size lead to on the
    whole, as the parameters would if the learning rate fell to nothing. Training itself goes on from the parameters.

    Args:
        rule: what makes the changes.
        decay: how much of the mean stays at each step, below 1.
    """

    decay: float = 0.99

    expected: ClassVar[dict[str, Expectation]] = {"decay": DECAY}

    def init(self, parameters: Structure) -> State:
        return {"rule": self.rule.init(parameters), "mean": map_structure(np.array, parameters)}

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        changes, after = self.rule.update(gradients, state["rule"], parameters, step)
        share = ops.maximum(1 - self.decay, 1 / (ops.cast(step, np.float64) + 1))

        def moved(mean: Any, parameter: Any, change: Any) -> Any:
            return mean + ops.cast(share, mean.dtype) * (parameter + change - mean)

        together = zip(*map(flatten, (state["mean"], parameters, changes)), strict=True)
        means = unflatten(parameters, [moved(*each) for each in together])
        return changes, {"rule": after, "mean": means}

    def in_use(self, parameters: Structure, state: State) -> Structure:
        del parameters
        return state["mean"]
