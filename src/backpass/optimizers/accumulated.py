"""One change for the gradients of several batches."""

from typing import Any, ClassVar, Self

import numpy as np

from backpass import ops
from backpass.forward import Structure, map_structure
from backpass.optimizers.around import Around
from backpass.optimizers.checks import COUNT, Expectation
from backpass.optimizers.optimizer import State, in_type_of, zeros
from backpass.records import dataclass


@dataclass(frozen=True)
class Accumulated(Around):
    """What `rule` does with the mean of the gradients of `batches` batches, once after every so many.

        sum <- sum + gradient;  after each `batches` steps: the rule with gradient sum / batches, sum <- 0

    Between, nothing changes. With batches of equal size and a loss that is a mean over rows it is a training with
    batches so many times as large, in the memory of small ones, but for rounding. What an epoch leaves over, the next
    one goes on with; each batch counts the same, the smaller last one of an epoch too. The rule and its schedules count
    changes, not batches.

    Args:
        rule: what makes the changes.
        batches: to a change, 1 or more.
    """

    batches: int

    expected: ClassVar[dict[str, Expectation]] = {"batches": COUNT}

    def init(self, parameters: Structure) -> State:
        return {"rule": self.rule.init(parameters), "sum": map_structure(zeros, parameters)}

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        made = ops.floor(ops.cast(step, np.float64) / self.batches)  # changes before this step
        is_due = ops.cast(step, np.float64) + 1 >= (made + 1) * self.batches
        sums = map_structure(lambda total, own: total + own, state["sum"], gradients)
        means = map_structure(lambda total: total * (1 / self.batches), sums)
        changes, after = self.rule.update(means, state["rule"], parameters, ops.cast(made, np.int64))

        def chosen(new: Any, old: Any) -> Any:
            return in_type_of(old, ops.where(is_due, new, old))

        def or_nothing(value: Any) -> Any:
            return in_type_of(value, ops.where(is_due, value, 0.0))

        def kept(value: Any) -> Any:
            return in_type_of(value, ops.where(is_due, 0.0, value))

        return map_structure(or_nothing, changes), {
            "rule": map_structure(chosen, after, state["rule"]),
            "sum": map_structure(kept, sums),
        }

    def in_use(self, parameters: Structure, state: State) -> Structure:
        return self.rule.in_use(parameters, state["rule"])

    def over(self, steps: int) -> Self:
        """Its rule counts changes."""
        return super().over(max(1, steps // self.batches))
