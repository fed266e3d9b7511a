"""Learning rates of an optimizer, whatever it is made of, multiplied by a factor."""

from collections.abc import Callable
from dataclasses import field, replace
from typing import Any

import numpy as np

from backpass.forward import Structure
from backpass.optimizers import Chain, Groups, Optimizer, Rule, Schedule, Slowed
from backpass.optimizers.around import Around
from backpass.records import dataclass

Rate = float | Schedule


@dataclass(frozen=True)
class Dial(Schedule):
    """A learning rate times a factor, which is remembered as a number: one program serves every factor.

    Args:
        of: the rate.
        factor: what it is multiplied by; two Dials that differ in it alone are equal, for their programs are.
    """

    of: Rate
    factor: float = field(default=1.0, compare=False)

    def __call__(self, step: Any, state: Structure = None) -> Any:
        rate = self.of(step, None if state is None else state.get("of")) if isinstance(self.of, Schedule) else self.of
        return rate * (self.factor if state is None else state["factor"])

    def init(self) -> dict[str, Any]:
        remembered = self.of.init() if isinstance(self.of, Schedule) else {}
        return {"factor": np.array(self.factor)} | ({"of": remembered} if remembered else {})

    def observe(self, state: Structure, validation_loss: float) -> Structure:
        if "of" not in state or not isinstance(self.of, Schedule):
            return state
        return {**state, "of": self.of.observe(state["of"], validation_loss)}

    def over(self, steps: int) -> "Dial":
        return Dial(self.of.over(steps), self.factor) if isinstance(self.of, Schedule) else self


def changed(optimizer: Optimizer, change: Callable[[Any], Any]) -> Optimizer:
    """The optimizer with `change(rule)` in the place of each rule and transformation that it is made of."""
    if isinstance(optimizer, Chain):
        return Chain(*(changed(part, change) for part in optimizer.parts))
    if isinstance(optimizer, Groups):
        return Groups({pattern: changed(part, change) for pattern, part in optimizer.groups.items()})
    if isinstance(optimizer, (Around, Slowed)):
        return replace(optimizer, rule=changed(optimizer.rule, change))
    return change(optimizer)  # type: ignore[no-any-return]


def with_rate(optimizer: Optimizer, change: Callable[[Rate], Rate]) -> Optimizer:
    """The optimizer with `change(rate)` in the place of every learning rate."""

    def rated(part: Any) -> Any:
        if not hasattr(part, "learning_rate"):
            return part
        rate = change(part.learning_rate)
        if isinstance(rate, Dial) and not isinstance(part, Rule):  # such as Rprop, whose rate is where sizes begin
            rate = rate.of * rate.factor if not isinstance(rate.of, Schedule) else part.learning_rate
        return replace(part, learning_rate=rate)

    return changed(optimizer, rated)


def multiplied(rate: Rate, factor: float) -> Rate:
    """A number times the factor, or a schedule that is multiplied."""
    return dialled(rate, factor) if isinstance(rate, Schedule) else rate * factor


def dialled(rate: Rate, factor: float = 1.0) -> Dial:
    """The rate with a factor that can be turned."""
    return Dial(rate.of, rate.factor * factor) if isinstance(rate, Dial) else Dial(rate, factor)
