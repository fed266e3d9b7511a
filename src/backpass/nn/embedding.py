"""Categories as learned vectors, or as indicators."""

from dataclasses import field

from backpass.errors import UsageError
from backpass.nn.checks import require_kind, require_whole
from backpass.nn.initializers import Initializer, Normal
from backpass.nn.layer import Layer, Parameters, RowShape, require_shape
from backpass.ops import Key, gather, one_hot
from backpass.ops.kinds import Value
from backpass.records import dataclass


@dataclass(frozen=True)
class Embedding(Layer):
    """A vector of `units` numbers, learned, for each of `levels` categories.

    Inputs are whole numbers from 0 to levels - 1, shape (rows, ...); outputs have shape (rows, ..., units).
    Parameters: `table` (levels, units).
    """

    levels: int
    units: int
    initializer: Initializer = field(default_factory=lambda: Normal(0.1))

    def __post_init__(self) -> None:
        require_whole(self, "levels")
        require_whole(self, "units")
        require_kind(self, "initializer", Initializer, "an initializer, such as nn.Normal(0.1)")

    def init(self, shape: RowShape, key: Key, after: Layer | None = None) -> Parameters:
        del shape, after
        return {"table": self.initializer(key.fold("table"), (self.levels, self.units))}

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        del key
        require_shape(self, "table", parameters["table"], (self.levels, self.units))
        return gather(parameters["table"], x)


@dataclass(frozen=True)
class OneHot(Layer):
    """1 at the place of the category, 0 elsewhere; a category outside 0 to levels - 1 is all 0."""

    levels: int
    dtype: str = "float32"

    def __post_init__(self) -> None:
        require_whole(self, "levels")
        if self.dtype not in ("float32", "float64"):
            raise UsageError(f"OneHot: dtype is {self.dtype!r}, expected float32 or float64")

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        del parameters, key
        return one_hot(x, self.levels, self.dtype)
