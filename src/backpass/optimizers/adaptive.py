"""Rules that divide each gradient by the size that the gradients of its parameter have had."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from backpass import ops
from backpass.forward import Structure
from backpass.optimizers.checks import DECAY, NOT_NEGATIVE, Expectation
from backpass.optimizers.optimizer import Rule, State, scalar
from backpass.optimizers.schedule import Schedule
from backpass.records import dataclass


@dataclass(frozen=True)
class Adagrad(Rule):
    """Gradients divided by the root of the sum of all their squares. Duchi, Hazan & Singer 2011, the diagonal form.

        s <- s + g^2
        p <- p - learning_rate * g / (sqrt(s) + epsilon)

    As in PyTorch, the sum begins at 0, and epsilon is added to the root.

    Args:
        learning_rate: how far a step goes, a number or a Schedule.
        epsilon: keeps the division from 0 / 0 where no gradient has come yet.
    """

    learning_rate: float | Schedule = 0.01
    epsilon: float = 1e-10

    expected: ClassVar[Mapping[str, Expectation]] = {"epsilon": NOT_NEGATIVE}
    kept: ClassVar[tuple[str, ...]] = ("square_sum",)

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        pull = scalar(-self.rate(step, state))

        def move(p: Any, g: Any, squares: Any) -> tuple[Any, Any]:
            squares = squares + g * g
            return g * pull(p) / (ops.sqrt(squares) + self.epsilon), squares

        return self.apply(move, gradients, state, parameters)


@dataclass(frozen=True)
class RMSprop(Rule):
    """Gradients divided by the root of a decaying mean of their squares. Tieleman & Hinton 2012, lecture 6.5.

        v <- decay * v + (1 - decay) * g^2
        p <- p - learning_rate * g / (sqrt(v) + epsilon)

    As in PyTorch, epsilon is added to the root (TensorFlow adds it under the root), and the decay is 0.99 (0.9 in
    the lecture). The state holds v / (1 - decay), a decaying sum: it saves a multiplication of every element.

    Args:
        learning_rate: how far a step goes, a number or a Schedule.
        decay: how much of the mean of squares stays from step to step.
        epsilon: keeps the division from 0 / 0.
    """

    learning_rate: float | Schedule = 0.01
    decay: float = 0.99
    epsilon: float = 1e-8

    expected: ClassVar[Mapping[str, Expectation]] = {"decay": DECAY, "epsilon": NOT_NEGATIVE}
    kept: ClassVar[tuple[str, ...]] = ("square_sum",)

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        # sqrt(v) + epsilon = root * (sqrt(v / (1 - decay)) + epsilon / root)
        root = math.sqrt(1 - self.decay)
        pull = scalar(-self.rate(step, state) / root)
        epsilon = self.epsilon / root

        def move(p: Any, g: Any, squares: Any) -> tuple[Any, Any]:
            squares = squares * self.decay + g * g
            return g * pull(p) / (ops.sqrt(squares) + epsilon), squares

        return self.apply(move, gradients, state, parameters)
