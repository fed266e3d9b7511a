"""An optimizer whose every change is made smaller."""

from collections.abc import Mapping
from typing import Any, ClassVar

from backpass.forward import Structure
from backpass.optimizers.checks import FACTOR, Expectation
from backpass.optimizers.optimizer import Optimizer, State, apply
from backpass.records import dataclass


@dataclass(frozen=True)
class Slowed(Optimizer):
    """The changes of `rule`, times `factor`; it remembers what the rule does, in the same form.

    So a training can go on from a state of the rule's with a lower learning rate, whatever its schedule is.

    Args:
        rule: what makes the changes.
        factor: what they are multiplied by, between 0 and 1.
    """

    rule: Optimizer
    factor: float

    expected: ClassVar[Mapping[str, Expectation]] = {"factor": FACTOR}

    def init(self, parameters: Structure) -> State:
        return self.rule.init(parameters)

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        changes, after = self.rule.update(gradients, state, parameters, step)
        slower, _ = apply(lambda _, change: (change * self.factor,), (), changes, {}, parameters)
        return slower, after

    @property
    def observes(self) -> bool:
        return self.rule.observes

    def observe(self, state: State, validation_loss: float) -> State:
        return self.rule.observe(state, validation_loss)

    def over(self, steps: int) -> "Slowed":
        return Slowed(self.rule.over(steps), self.factor)
