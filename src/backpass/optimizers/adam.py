"""Adam and its relatives.

Of the papers' decaying means m and v the state holds the decaying sums m / (1 - beta1) and v / (1 - beta2), which are
a multiplication of every element cheaper to keep; all factors are gathered into two numbers a step:

    (m / c1) / (sqrt(v / c2) + epsilon) = (1 - beta1) / (c1 * root) * sum / (sqrt(squares) + epsilon / root)

with c1 = 1 - beta1^t, c2 = 1 - beta2^t and root = sqrt((1 - beta2) / c2), so epsilon means what it means in the papers.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from backpass import ops
from backpass.forward import Structure
from backpass.graph import Node
from backpass.optimizers.checks import DECAY, NOT_NEGATIVE, Expectation
from backpass.optimizers.optimizer import Rule, State, bias_correction, count, scalar
from backpass.optimizers.schedule import Schedule
from backpass.records import dataclass

_BETAS: Mapping[str, Expectation] = {"beta1": DECAY, "beta2": DECAY, "epsilon": NOT_NEGATIVE}


@dataclass(frozen=True)
class Adam(Rule):
    """Means of gradients over the root of means of their squares. Kingma & Ba 2015, Algorithm 1; PyTorch's Adam.

        m <- beta1 * m + (1 - beta1) * g
        v <- beta2 * v + (1 - beta2) * g^2
        p <- p - learning_rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)

    Args:
        learning_rate: how far a step goes, a number or a Schedule.
        beta1: how much of the mean of gradients stays from step to step.
        beta2: how much of the mean of their squares stays.
        epsilon: keeps the division from 0 / 0; the larger, the nearer to plain momentum.
    """

    learning_rate: float | Schedule = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    expected: ClassVar[Mapping[str, Expectation]] = _BETAS
    kept: ClassVar[tuple[str, ...]] = ("gradient_sum", "square_sum")

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        return self.apply(self._move(self.rate(step, state), step), gradients, state, parameters)

    def _move(self, rate: Any, step: Any) -> Callable[..., tuple[Any, Any, Any]]:
        t = count(step)
        root = _root(self.beta2, t)
        pull = scalar(-rate * (1 - self.beta1) / (bias_correction(self.beta1, t) * root))
        epsilon = scalar(self.epsilon / root)

        def move(p: Any, g: Any, total: Any, squares: Any) -> tuple[Any, Any, Any]:
            total = total * self.beta1 + g
            squares = squares * self.beta2 + g * g
            return total * pull(p) / (ops.sqrt(squares) + epsilon(p)), total, squares

        return move


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay. Loshchilov & Hutter 2019, Algorithm 2; PyTorch's AdamW.

        p <- p - learning_rate * weight_decay * p, and then the step of Adam

    As in PyTorch, the decay is multiplied by the whole learning rate; the paper has alpha, the rate, apart from the
    schedule's multiplier eta, and multiplies the decay by eta alone.

    Args:
        learning_rate: how far a step goes, a number or a Schedule.
        beta1: how much of the mean of gradients stays from step to step.
        beta2: how much of the mean of their squares stays.
        epsilon: keeps the division from 0 / 0.
        weight_decay: which part of itself, times the learning rate, a parameter loses at each step.
    """

    weight_decay: float = 0.01

    expected: ClassVar[Mapping[str, Expectation]] = {**_BETAS, "weight_decay": NOT_NEGATIVE}

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        rate = self.rate(step, state)
        adam, shrink = self._move(rate, step), scalar(rate * self.weight_decay)

        def move(p: Any, g: Any, total: Any, squares: Any) -> tuple[Any, Any, Any]:
            change, total, squares = adam(p, g, total, squares)
            return change - p * shrink(p), total, squares

        return self.apply(move, gradients, state, parameters)


@dataclass(frozen=True)
class NAdam(Rule):
    """Adam with Nesterov's momentum. Dozat 2016 ("Incorporating Nesterov momentum into Adam"); PyTorch's NAdam.

        mu_t = beta1 * (1 - 0.5 * 0.96^(t * momentum_decay)),  P_t = mu_1 * ... * mu_t
        p <- p - learning_rate * (mu_{t+1} * m / (1 - P_{t+1}) + (1 - mu_t) * g / (1 - P_t))
                               / (sqrt(v / (1 - beta2^t)) + epsilon)

    with the m and v of Adam: m decays by beta1, as in PyTorch, where the paper has mu_t.

    Args:
        learning_rate: how far a step goes, a number or a Schedule.
        beta1: how much of the mean of gradients stays from step to step.
        beta2: how much of the mean of their squares stays.
        epsilon: keeps the division from 0 / 0.
        momentum_decay: how fast the momentum mu_t rises from half of beta1 to beta1.
    """

    learning_rate: float | Schedule = 2e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    momentum_decay: float = 4e-3

    expected: ClassVar[Mapping[str, Expectation]] = {**_BETAS, "momentum_decay": NOT_NEGATIVE}
    kept: ClassVar[tuple[str, ...]] = ("gradient_sum", "square_sum")

    def init(self, parameters: Structure) -> State:
        return {**super().init(parameters), "momentum_product": np.array(1.0)}

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        t = count(step)
        root = _root(self.beta2, t)
        pull = -self.rate(step, state) / root
        now, following = self._momentum(t), self._momentum(t + 1)
        product = state["momentum_product"] * now
        of_sum = scalar(pull * (1 - self.beta1) * following / (1 - product * following))
        of_gradient = scalar(pull * (1 - now) / (1 - product))
        epsilon = scalar(self.epsilon / root)

        def move(p: Any, g: Any, total: Any, squares: Any) -> tuple[Any, Any, Any]:
            total = total * self.beta1 + g
            squares = squares * self.beta2 + g * g
            change = (total * of_sum(p) + g * of_gradient(p)) / (ops.sqrt(squares) + epsilon(p))
            return change, total, squares

        changes, state = self.apply(move, gradients, state, parameters)
        return changes, {**state, "momentum_product": product if isinstance(product, Node) else np.asarray(product)}

    def _momentum(self, t: Any) -> Any:
        return self.beta1 * (1 - 0.5 * ops.exp(t * (self.momentum_decay * math.log(0.96))))


@dataclass(frozen=True)
class RAdam(Rule):
    """Adam whose first steps, while v is not to be trusted, are plain momentum. Liu et al. 2020, Algorithm 2.

        rho_inf = 2 / (1 - beta2) - 1,  rho_t = rho_inf - 2 * t * beta2^t / (1 - beta2^t)
        r = sqrt((rho_t - 4) * (rho_t - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho_t))
        p <- p - learning_rate * m / (1 - beta1^t) * (r * sqrt(1 - beta2^t) / (sqrt(v) + epsilon) if rho_t > 5 else 1)

    with the m and v of Adam. As in PyTorch, the rule changes over at 5 (the paper: 4) and epsilon is added to the root
    of v as it is, before the correction by 1 - beta2^t.

    Args:
        learning_rate: how far a step goes, a number or a Schedule.
        beta1: how much of the mean of gradients stays from step to step.
        beta2: how much of the mean of their squares stays. At 2/3 or below, no step is ever divided by the root of v.
        epsilon: keeps the division from 0 / 0.
    """

    learning_rate: float | Schedule = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    expected: ClassVar[Mapping[str, Expectation]] = _BETAS
    kept: ClassVar[tuple[str, ...]] = ("gradient_sum", "square_sum")

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        t = count(step)
        trusted, rectified = self._rectification(t)
        root = math.sqrt(1 - self.beta2)
        pull = scalar(-self.rate(step, state) * (1 - self.beta1) / bias_correction(self.beta1, t) * (rectified / root))
        epsilon = self.epsilon / root

        def move(p: Any, g: Any, total: Any, squares: Any) -> tuple[Any, Any, Any]:
            total = total * self.beta1 + g
            squares = squares * self.beta2 + g * g
            size = ops.where(trusted, ops.sqrt(squares) + epsilon, 1.0)
            return total * pull(p) / size, total, squares

        return self.apply(move, gradients, state, parameters)

    def _rectification(self, t: Any) -> tuple[Any, Any]:
        """Whether v is trusted at step t, and r * sqrt(1 - beta2^t), or sqrt(1 - beta2) where it is not."""
        longest = 2 / (1 - self.beta2) - 1
        untrusted = math.sqrt(1 - self.beta2)
        if longest <= 5:
            return np.array(False), untrusted
        correction = bias_correction(self.beta2, t)
        length = longest - 2 * t * (1 - correction) / correction
        trusted = length > 5
        safe = ops.maximum(length, 5.0)
        square = (safe - 4) * (safe - 2) * (longest / ((longest - 4) * (longest - 2))) / safe
        return trusted, ops.where(trusted, ops.sqrt(square * correction), untrusted)


def _root(beta2: float, t: Any) -> Any:
    """sqrt((1 - beta2) / (1 - beta2^t)): what the root of the decaying sum of squares is short of sqrt(v / c2)."""
    return ops.sqrt((1 - beta2) / bias_correction(beta2, t))
