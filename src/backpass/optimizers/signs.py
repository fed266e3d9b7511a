"""Rules that look at the sign of a gradient, not at its size."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from backpass import ops
from backpass.errors import UsageError
from backpass.forward import Structure, map_structure
from backpass.optimizers.checks import AT_LEAST_ONE, DECAY, FACTOR, NOT_NEGATIVE, POSITIVE, Expectation
from backpass.optimizers.optimizer import Optimizer, Rule, State, apply, scalar, zeros
from backpass.optimizers.schedule import Schedule
from backpass.records import dataclass


@dataclass(frozen=True)
class Rprop(Optimizer):
    """Each parameter has a step size of its own: it grows while the gradient keeps its sign, shrinks when it turns.

    Riedmiller & Braun 1993, in the form iRprop- of Igel & Huesken 2003 (a gradient that turned counts as 0, so that
    this step does not move and the next neither grows nor shrinks), as in PyTorch. For whole batches: it takes the
    sign of a noisy gradient at its word. The learning rate is where the step sizes begin, so it is a number, never a
    Schedule.

    Args:
        learning_rate: the first step size of every parameter.
        shrink: what a step size is multiplied by when its gradient turns.
        grow: what it is multiplied by when its gradient keeps its sign.
        smallest: no step size falls below it.
        largest: no step size rises above it.
    """

    learning_rate: float = 0.01
    shrink: float = 0.5
    grow: float = 1.2
    smallest: float = 1e-6
    largest: float = 50.0

    expected: ClassVar[Mapping[str, Expectation]] = {
        "learning_rate": POSITIVE,
        "shrink": FACTOR,
        "grow": AT_LEAST_ONE,
        "smallest": NOT_NEGATIVE,
        "largest": POSITIVE,
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.smallest > self.largest:
            raise UsageError(f"Rprop: smallest={self.smallest} cannot be used: expected at most largest={self.largest}")

    def init(self, parameters: Structure) -> State:
        return {
            "direction": map_structure(zeros, parameters),
            "size": map_structure(lambda p: np.full_like(zeros(p), self.learning_rate), parameters),
        }

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        del step

        def move(p: Any, g: Any, direction: Any, size: Any) -> tuple[Any, Any, Any]:
            now = ops.sign(g)
            agreement = now * direction
            turned = agreement < 0
            shrink, grow, same = (ops.cast(factor, p.dtype) for factor in (self.shrink, self.grow, 1.0))
            factor = ops.where(turned, shrink, ops.where(agreement > 0, grow, same))
            size = ops.clip(size * factor, self.smallest, self.largest)
            direction = ops.where(turned, 0.0, now)
            return -direction * size, direction, size

        return apply(move, ("direction", "size"), gradients, state, parameters)


@dataclass(frozen=True)
class Lion(Rule):
    """The sign of a blend of momentum and gradient. Chen et al. 2023 ("Symbolic discovery ..."), Algorithm 2.

        p <- p - learning_rate * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * p)
        m <- beta2 * m + (1 - beta2) * g

    PyTorch has no such rule; this is the paper's. Every step has the same size, so the learning rate is to be 3 to 10
    times as small as Adam's, and the weight decay as many times as large.

    Args:
        learning_rate: how far every step of every parameter goes, a number or a Schedule.
        beta1: the share of the momentum in the blend whose sign is taken.
        beta2: how much of the momentum stays from step to step.
        weight_decay: which part of itself, times the learning rate, a parameter loses at each step.
    """

    learning_rate: float | Schedule = 1e-4
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.0

    expected: ClassVar[Mapping[str, Expectation]] = {"beta1": DECAY, "beta2": DECAY, "weight_decay": NOT_NEGATIVE}
    kept: ClassVar[tuple[str, ...]] = ("momentum",)

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        rate = self.rate(step, state)
        pull, shrink = scalar(-rate), scalar(rate * self.weight_decay)

        def move(p: Any, g: Any, momentum: Any) -> tuple[Any, Any]:
            change = ops.sign(momentum * self.beta1 + g * (1 - self.beta1)) * pull(p)
            if self.weight_decay > 0:
                change = change - p * shrink(p)
            return change, momentum * self.beta2 + g * (1 - self.beta2)

        return self.apply(move, gradients, state, parameters)
