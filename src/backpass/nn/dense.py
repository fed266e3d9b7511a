"""The fully connected layer."""

from dataclasses import dataclass, field

from backpass.errors import ShapeError, UsageError
from backpass.nn.initializers import Constant, Glorot, Initializer
from backpass.nn.layer import Layer, Parameters, RowShape
from backpass.ops import Key, matmul
from backpass.ops.kinds import Value


@dataclass(frozen=True)
class Dense(Layer):
    """Every output the weighted sum of all inputs, plus a bias: `x @ weight + bias`, over the last axis.

    Parameters: `weight` (inputs, units) and `bias` (units,).

    Args:
        units: the number of outputs.
        bias: whether there is one.
        initializer: what the weights start from; None takes what suits the activation that follows.
        bias_initializer: what the biases start from.
    """

    units: int
    bias: bool = True
    initializer: Initializer | None = None
    bias_initializer: Initializer = field(default_factory=Constant)

    def __post_init__(self) -> None:
        if not isinstance(self.units, int) or self.units < 1:
            raise UsageError(f"Dense: units is {self.units!r}, expected a whole number of 1 or more")

    def init(self, shape: RowShape, key: Key, after: Layer | None = None) -> Parameters:
        if isinstance(shape, dict) or not shape:
            raise ShapeError(f"Dense({self.units}) takes rows of numbers, found rows of shape {shape}")
        start = self.initializer or (after.prefers if after is not None else None) or Glorot()
        parameters: Parameters = {"weight": start(key.fold("weight"), (shape[-1], self.units))}
        if self.bias:
            parameters["bias"] = self.bias_initializer(key.fold("bias"), (self.units,))
        return parameters

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        del key
        weighted = matmul(x, parameters["weight"])
        return weighted + parameters["bias"] if self.bias else weighted
