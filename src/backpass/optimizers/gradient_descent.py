"""Gradient descent, plain and with momentum."""

from collections.abc import Mapping
from typing import Any, ClassVar

from backpass.forward import Structure
from backpass.optimizers.checks import DECAY, Expectation
from backpass.optimizers.optimizer import Rule, State, scalar
from backpass.records import dataclass


@dataclass(frozen=True)
class SGD(Rule):
    """Gradient descent: each parameter moves against its gradient. Robbins & Monro 1951; PyTorch's SGD.

        p <- p - learning_rate * g

    Args:
        learning_rate: how far a step goes, a number or a Schedule.
    """

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        pull = scalar(-self.rate(step, state))
        return self.apply(lambda p, g: (g * pull(p),), gradients, state, parameters)


@dataclass(frozen=True)
class Momentum(Rule):
    """Gradient descent with the heavy-ball momentum of Polyak 1964 (equation 9).

        v <- momentum * v + g
        p <- p - learning_rate * v

    As in PyTorch, the learning rate stands outside the velocity, so a change of it acts at once; in Polyak 1964,
    Rumelhart, Hinton & Williams 1986 and Sutskever et al. 2013 it is inside. With a constant rate these are the same.

    Args:
        learning_rate: how far a step goes, a number or a Schedule.
        momentum: how much of the velocity stays from step to step.
    """

    momentum: float = 0.9

    expected: ClassVar[Mapping[str, Expectation]] = {"momentum": DECAY}
    kept: ClassVar[tuple[str, ...]] = ("velocity",)

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        pull = scalar(-self.rate(step, state))

        def move(p: Any, g: Any, velocity: Any) -> tuple[Any, Any]:
            velocity = velocity * self.momentum + g
            return self._direction(velocity, g) * pull(p), velocity

        return self.apply(move, gradients, state, parameters)

    def _direction(self, velocity: Any, g: Any) -> Any:
        """Where a step goes, from the new velocity and the gradient."""
        del g
        return velocity


@dataclass(frozen=True)
class Nesterov(Momentum):
    """Gradient descent with the momentum of Nesterov 1983, in the form of Sutskever et al. 2013 (equations 3 and 4).

        v <- momentum * v + g
        p <- p - learning_rate * (g + momentum * v)

    The parameters held here are the ones looked ahead at, as in PyTorch's SGD(nesterov=True), which avoids a second
    set; and as there the learning rate stands outside the velocity.

    Args:
        learning_rate: how far a step goes, a number or a Schedule.
        momentum: how much of the velocity stays from step to step.
    """

    def _direction(self, velocity: Any, g: Any) -> Any:
        return velocity * self.momentum + g
