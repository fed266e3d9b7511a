"""The fully connected layer."""

from dataclasses import field

from backpass.errors import ShapeError
from backpass.nn.checks import require_kind, require_whole
from backpass.nn.initializers import Constant, Glorot, Initializer
from backpass.nn.layer import Layer, Parameters, RowShape, bare, require_shape
from backpass.ops import Key, cast, matmul
from backpass.ops.kinds import Value
from backpass.records import dataclass


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
        require_whole(self, "units")
        require_kind(self, "bias", bool, "True or False")
        require_kind(self, "initializer", Initializer | None, "an initializer, such as nn.He(), or None")  # type: ignore[arg-type]
        require_kind(self, "bias_initializer", Initializer, "an initializer, such as nn.Constant()")

    def init(self, shape: RowShape, key: Key, after: Layer | None = None) -> Parameters:
        shape = bare(shape)
        if isinstance(shape, dict) or not shape:
            raise ShapeError(f"Dense({self.units}) takes rows of numbers, found rows of shape {shape}")
        start = self.initializer or (after.prefers if after is not None else None) or Glorot()
        parameters: Parameters = {"weight": start(key.fold("weight"), (shape[-1], self.units))}
        if self.bias:
            parameters["bias"] = self.bias_initializer(key.fold("bias"), (self.units,))
        return parameters

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        del key
        weight = parameters["weight"]
        require_shape(self, "weight", weight, (None, self.units))
        weighted = matmul(x if x.dtype.kind == "f" else cast(x, weight.dtype), weight)  # whole numbers are numbers too
        if not self.bias:
            return weighted
        require_shape(self, "bias", parameters["bias"], (self.units,))
        return weighted + parameters["bias"]
