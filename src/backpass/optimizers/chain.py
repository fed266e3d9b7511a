"""Optimizers one after another."""

from typing import Any

from backpass.errors import UsageError
from backpass.forward import Structure
from backpass.optimizers.optimizer import Optimizer, State
from backpass.records import dataclass


@dataclass(frozen=True, init=False)
class Chain(Optimizer):
    """Transformations of the gradients, then the rule: `Chain(ClipByGlobalNorm(1.0), WeightDecay(1e-4), SGD(0.1))`.

    Each part passes what it returns on to the next; all see the parameters as they are before the step. A chain of
    transformations alone is a transformation.

    Args:
        parts: the transformations in their order, and the rule last.

    Raises:
        UsageError: there is no part, one is no optimizer, or a rule stands before the end.
    """

    parts: tuple[Optimizer, ...]

    def __init__(self, *parts: Optimizer) -> None:
        object.__setattr__(self, "parts", parts)
        self._check()

    @property
    def makes_changes(self) -> bool:
        return self.parts[-1].makes_changes

    def init(self, parameters: Structure) -> State:
        return [part.init(parameters) for part in self.parts]

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        states = []
        for part, own in zip(self.parts, state, strict=True):
            gradients, after = part.update(gradients, own, parameters, step)
            states.append(after)
        return gradients, states

    @property
    def observes(self) -> bool:
        return any(part.observes for part in self.parts)

    def observe(self, state: State, validation_loss: float) -> State:
        return [part.observe(own, validation_loss) for part, own in zip(self.parts, state, strict=True)]

    def over(self, steps: int) -> "Chain":
        return type(self)(*(part.over(steps) for part in self.parts))

    def _check(self) -> None:
        if not self.parts:
            raise UsageError(
                "Chain: found no parts: expected transformations and a rule, as Chain(ClipByValue(1), Adam())"
            )
        for part in self.parts:
            if not isinstance(part, Optimizer):
                raise UsageError(
                    f"Chain: {part!r} cannot be used: expected optimizers, as Chain(ClipByValue(1), Adam())"
                )
        for part in self.parts[:-1]:
            if part.makes_changes:
                raise UsageError(
                    f"Chain: {type(part).__name__} turns gradients into changes: expected it at the end, found "
                    f"{type(self.parts[-1]).__name__} there"
                )
