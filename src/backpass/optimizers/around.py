"""What optimizers have in common that are made around another one."""

from dataclasses import replace
from typing import Self

from backpass.optimizers.optimizer import Optimizer, State
from backpass.records import dataclass


@dataclass(frozen=True)
class Around(Optimizer):
    """An optimizer that keeps the state of another, its `rule`, as "rule" in its own, and passes on what it is told.

    Args:
        rule: what makes the changes.
    """

    rule: Optimizer

    @property
    def makes_changes(self) -> bool:
        return self.rule.makes_changes

    @property
    def observes(self) -> bool:
        return self.rule.observes

    def observe(self, state: State, validation_loss: float) -> State:
        return {**state, "rule": self.rule.observe(state["rule"], validation_loss)}

    def over(self, steps: int) -> Self:
        return replace(self, rule=self.rule.over(steps))

    def slowed(self, factor: float) -> Self:
        return replace(self, rule=self.rule.slowed(factor))
