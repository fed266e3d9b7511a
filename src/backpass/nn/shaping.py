"""Layers that pass values on: as they are, flattened, or as the declared input of a network."""

from typing import ClassVar

from backpass.errors import ShapeError, UsageError
from backpass.graph import size
from backpass.nn.layer import Layer, Parameters, RowShape, bare
from backpass.ops import Key, reshape
from backpass.ops.kinds import Value
from backpass.records import dataclass


@dataclass(frozen=True)
class Identity(Layer):
    """The input as it is."""

    passes_on: ClassVar[bool] = True

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        del parameters, key
        return x


@dataclass(frozen=True)
class Flatten(Layer):
    """All numbers of a row in one axis."""

    passes_on: ClassVar[bool] = True

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        del parameters, key
        return reshape(x, (x.shape[0], size(x.shape[1:])))


@dataclass(frozen=True)
class Input(Layer):
    """Says what a row of the network's input looks like, so that the network can be printed before it meets data.

    `Input(4)` is a row of four numbers, `Input(28, 28)` a picture.
    """

    shape: tuple[int, ...]

    def __init__(self, *shape: int) -> None:
        if not all(type(axis) is int and axis >= 0 for axis in shape):
            raise UsageError(f"Input: the shape of a row is {shape}, expected whole numbers of 0 or more")
        object.__setattr__(self, "shape", tuple(shape))

    def init(self, shape: RowShape, key: Key, after: Layer | None = None) -> Parameters:
        del key, after
        found = bare(shape)
        if isinstance(found, dict) or tuple(found) != self.shape:
            shown = found if isinstance(found, dict) else list(found)
            raise ShapeError(f"the network takes rows of shape {list(self.shape)}, found rows of shape {shown}")
        return {}

    def input_shape(self) -> RowShape | None:
        return self.shape

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        del parameters, key
        return x

    @classmethod
    def build(cls, shape: list[int]) -> "Input":
        return cls(*shape)
