"""What weights start from. Each is a function of a key and a shape, whose last two axes are inputs and outputs."""

import math

import numpy as np

from backpass.errors import UsageError
from backpass.nn.checks import require_number
from backpass.ops import Key, normal, uniform
from backpass.ops.kinds import FLOAT64, Value
from backpass.records import dataclass

Shape = tuple[int, ...]


class Initializer:
    """Makes the first values of a weight or bias, in float64."""

    def __call__(self, key: Key, shape: Shape) -> Value:
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Initializer):
    """Every element the same."""

    value: float = 0.0

    def __post_init__(self) -> None:
        require_number(self, "value")

    def __call__(self, key: Key, shape: Shape) -> Value:
        del key
        return np.full(shape, self.value)


@dataclass(frozen=True)
class Uniform(Initializer):
    """Spread evenly over [low, high)."""

    low: float = -0.05
    high: float = 0.05

    def __post_init__(self) -> None:
        require_number(self, "low")
        require_number(self, "high")
        if not self.low < self.high:
            raise UsageError(f"Uniform: low is {self.low} and high is {self.high}; low must be below high")

    def __call__(self, key: Key, shape: Shape) -> Value:
        return self.low + (self.high - self.low) * uniform(key, shape, FLOAT64)


@dataclass(frozen=True)
class Normal(Initializer):
    """Normally distributed around 0."""

    deviation: float = 0.05

    def __post_init__(self) -> None:
        require_number(self, "deviation", "a number of 0 or more", least=0)

    def __call__(self, key: Key, shape: Shape) -> Value:
        return self.deviation * normal(key, shape, FLOAT64)


@dataclass(frozen=True)
class Scaled(Initializer):
    """Variance `gain` over the number of connections; `distribution` is "uniform" or "normal"."""

    distribution: str = "uniform"

    def __post_init__(self) -> None:
        if self.distribution not in ("uniform", "normal"):
            raise UsageError(
                f'{type(self).__name__}: distribution is "{self.distribution}", expected "uniform" or "normal"'
            )

    def variance(self, inputs: int, outputs: int) -> float:
        raise NotImplementedError

    def __call__(self, key: Key, shape: Shape) -> Value:
        deviation = math.sqrt(self.variance(*fans(shape)))
        if self.distribution == "normal":
            return deviation * normal(key, shape, FLOAT64)
        limit = math.sqrt(3.0) * deviation  # a uniform distribution on [-a, a] has variance a^2 / 3
        return Uniform(-limit, limit)(key, shape)


@dataclass(frozen=True)
class Glorot(Scaled):
    """Variance 2 / (inputs + outputs): Glorot and Bengio, 2010, equation 16. For sigmoid, tanh and no activation."""

    def variance(self, inputs: int, outputs: int) -> float:
        return 2.0 / max(1, inputs + outputs)


@dataclass(frozen=True)
class He(Scaled):
    """Variance 2 / inputs: He, Zhang, Ren and Sun, 2015, equation 10. For relu and its relatives."""

    def variance(self, inputs: int, outputs: int) -> float:
        del outputs
        return 2.0 / max(1, inputs)


@dataclass(frozen=True)
class LeCun(Scaled):
    """Variance 1 / inputs: LeCun, Bottou, Orr and Mueller, 1998, section 4.6. For selu."""

    distribution: str = "normal"

    def variance(self, inputs: int, outputs: int) -> float:
        del outputs
        return 1.0 / max(1, inputs)


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """Orthogonal rows or columns, times `gain`: Saxe, McClelland and Ganguli, 2014."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        require_number(self, "gain")

    def __call__(self, key: Key, shape: Shape) -> Value:
        rows, columns = math.prod(shape[:-1]), shape[-1]
        drawn = normal(key, (max(rows, columns), min(rows, columns)), FLOAT64)
        q, r = np.linalg.qr(drawn)
        q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # so that every orthogonal matrix is as likely as any other
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


def fans(shape: Shape) -> tuple[int, int]:
    """How many inputs and outputs a weight of `shape` connects."""
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    return math.prod(shape[:-1]), shape[-1]
