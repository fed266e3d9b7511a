"""Transformations: gradients in, gradients out. They stand before a rule, in a Chain."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from backpass import ops
from backpass.forward import Structure, flatten
from backpass.optimizers.checks import NOT_NEGATIVE, POSITIVE, Expectation
from backpass.optimizers.optimizer import Optimizer, State, apply, scalar
from backpass.records import dataclass


@dataclass(frozen=True)
class Transformation(Optimizer):
    """What takes gradients and returns gradients."""

    @property
    def makes_changes(self) -> bool:
        return False


@dataclass(frozen=True)
class ClipByValue(Transformation):
    """Each element of each gradient, held between -limit and limit. A NaN stays a NaN.

    Args:
        limit: the largest size of an element.
    """

    limit: float

    expected: ClassVar[Mapping[str, Expectation]] = {"limit": POSITIVE}

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        del step
        return apply(lambda _, g: (ops.clip(g, -self.limit, self.limit),), (), gradients, state, parameters)


@dataclass(frozen=True)
class ClipByGlobalNorm(Transformation):
    """All gradients, scaled down by one factor where the norm of all of them together is above the limit.

    Pascanu, Mikolov & Bengio 2013, Algorithm 1: g * limit / max(norm, limit). PyTorch's clip_grad_norm_ divides by
    norm + 1e-6 instead, so what it clips ends a millionth short of the limit. A NaN or infinity in one gradient, or
    squares too large for its type, make all of them NaN: that is seen, where a factor of 0 would hide it.

    Args:
        limit: the largest norm: the root of the sum of the squares of all elements.
    """

    limit: float

    expected: ClassVar[Mapping[str, Expectation]] = {"limit": POSITIVE}

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        del step
        with np.errstate(all="ignore"):
            squares = [ops.cast(ops.sum(g * g), np.float64) for g in flatten(gradients)]
            norm = ops.sqrt(sum(squares))
        factor = scalar(ops.where(ops.is_finite(norm), self.limit / ops.maximum(norm, self.limit), np.nan))
        return apply(lambda p, g: (g * factor(p),), (), gradients, state, parameters)


@dataclass(frozen=True)
class WeightDecay(Transformation):
    """The gradient of rate / 2 * (sum of squares of the parameters), added: g + rate * p. PyTorch's `weight_decay`.

    It is an L2 penalty: before an adaptive rule such as Adam it is divided like any gradient. For the decay that is
    not, see AdamW.

    Args:
        rate: how strong it is.
    """

    rate: float

    expected: ClassVar[Mapping[str, Expectation]] = {"rate": NOT_NEGATIVE}

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        del step
        return apply(lambda p, g: (g + p * self.rate,), (), gradients, state, parameters)
