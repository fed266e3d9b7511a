"""Activations: what each node applies to its sum. One class each; all work element by element but Softmax."""

import math
from typing import ClassVar

from backpass.nn.checks import require_number
from backpass.nn.initializers import Glorot, He, Initializer, LeCun
from backpass.nn.layer import Layer, Parameters
from backpass.ops import Key, erf, expm1, minimum, relu, sigmoid, softmax, softplus, tanh, where
from backpass.ops.kinds import Value
from backpass.records import dataclass


class Activation(Layer):
    """A layer without parameters, given by `apply`."""

    prefers: ClassVar[Initializer] = He()

    def apply(self, x: Value) -> Value:
        raise NotImplementedError

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        del parameters, key
        return self.apply(x)


@dataclass(frozen=True)
class Sigmoid(Activation):
    """1 / (1 + exp(-x)), the classical one."""

    prefers: ClassVar[Initializer] = Glorot()

    def apply(self, x: Value) -> Value:
        return sigmoid(x)


@dataclass(frozen=True)
class Tanh(Activation):
    """The hyperbolic tangent."""

    prefers: ClassVar[Initializer] = Glorot()

    def apply(self, x: Value) -> Value:
        return tanh(x)


@dataclass(frozen=True)
class ReLU(Activation):
    """max(x, 0)."""

    def apply(self, x: Value) -> Value:
        return relu(x)


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """x where positive, slope * x elsewhere: Maas, Hannun and Ng, 2013."""

    slope: float = 0.01

    def __post_init__(self) -> None:
        require_number(self, "slope")

    def apply(self, x: Value) -> Value:
        return where(x > 0, x, self.slope * x)


@dataclass(frozen=True)
class ELU(Activation):
    """x where positive, alpha * (exp(x) - 1) elsewhere: Clevert, Unterthiner and Hochreiter, 2016."""

    alpha: float = 1.0

    def __post_init__(self) -> None:
        require_number(self, "alpha")

    def apply(self, x: Value) -> Value:
        return where(x > 0, x, self.alpha * expm1(minimum(x, 0)))


@dataclass(frozen=True)
class SELU(Activation):
    """ELU scaled to keep mean 0 and variance 1 from layer to layer: Klambauer and others, 2017, equation 14."""

    prefers: ClassVar[Initializer] = LeCun()
    alpha: ClassVar[float] = 1.6732632423543772
    scale: ClassVar[float] = 1.0507009873554805

    def apply(self, x: Value) -> Value:
        return self.scale * ELU(self.alpha).apply(x)


@dataclass(frozen=True)
class GELU(Activation):
    """x times the normal distribution function of x: Hendrycks and Gimpel, 2016. Exact, by erf."""

    def apply(self, x: Value) -> Value:
        return x * (0.5 * (1 + erf(x * (1 / math.sqrt(2)))))


@dataclass(frozen=True)
class SiLU(Activation):
    """x * sigmoid(x), also called swish: Elfwing, Uchibe and Doya, 2018."""

    def apply(self, x: Value) -> Value:
        return x * sigmoid(x)


@dataclass(frozen=True)
class Mish(Activation):
    """x * tanh(softplus(x)): Misra, 2020."""

    def apply(self, x: Value) -> Value:
        return x * tanh(softplus(x))


@dataclass(frozen=True)
class Softplus(Activation):
    """log(1 + exp(x)): Dugas and others, 2001."""

    def apply(self, x: Value) -> Value:
        return softplus(x)


@dataclass(frozen=True)
class Softmax(Activation):
    """exp(x) / sum(exp(x)) along the last axis. Cross-entropy takes the sums before it, and needs no Softmax."""

    prefers: ClassVar[Initializer] = Glorot()

    def apply(self, x: Value) -> Value:
        return softmax(x)
