"""Dropout: while training, nodes are left out at random."""

from typing import ClassVar

from backpass.errors import UsageError
from backpass.nn.checks import require_number
from backpass.nn.layer import Layer, Parameters
from backpass.ops import Key, bernoulli
from backpass.ops.kinds import Value
from backpass.records import dataclass


@dataclass(frozen=True)
class Dropout(Layer):
    """Each value becomes 0 with probability `rate`, and the others grow by 1 / (1 - rate): Srivastava and others, 2014.

    Only while training; a network in use is left whole.
    """

    passes_on: ClassVar[bool] = True

    rate: float

    def __post_init__(self) -> None:
        require_number(self, "rate", "at least 0 and below 1", least=0)
        if self.rate >= 1:
            raise UsageError(f"Dropout: rate is {self.rate}, expected at least 0 and below 1")

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        del parameters
        if key is None or self.rate == 0:
            return x
        kept = bernoulli(key, 1 - self.rate, x.shape, x.dtype)
        return x * (kept * (1 / (1 - self.rate)))
