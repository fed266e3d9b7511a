"""Categories as learned vectors, or as indicators."""

from dataclasses import dataclass, field

from backpass.errors import UsageError
from backpass.nn.initializers import Initializer, Normal
from backpass.nn.layer import Layer, Parameters, RowShape
from backpass.ops import Key, gather, one_hot
from backpass.ops.kinds import Value


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
        for name in ("levels", "units"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise UsageError(f"Embedding: {name} is {getattr(self, name)!r}, expected a whole number of 1 or more")

    def init(self, shape: RowShape, key: Key, after: Layer | None = None) -> Parameters:
        del shape, after
        return {"table": self.initializer(key.fold("table"), (self.levels, self.units))}

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        del key
        return gather(parameters["table"], x)


@dataclass(frozen=True)
class OneHot(Layer):
    """1 at the place of the category, 0 elsewhere; a category outside 0 to levels - 1 is all 0."""

    levels: int
    dtype: str = "float32"

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        del parameters, key
        return one_hot(x, self.levels, self.dtype)
