"""Layers that pass values on: as they are, flattened, or as the declared input of a network."""

from dataclasses import dataclass

from backpass.errors import ShapeError
from backpass.graph import size
from backpass.nn.layer import Layer, Parameters, RowShape
from backpass.ops import Key, reshape
from backpass.ops.kinds import Value


@dataclass(frozen=True)
class Identity(Layer):
    """The input as it is."""

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        del parameters, key
        return x


@dataclass(frozen=True)
class Flatten(Layer):
    """All numbers of a row in one axis."""

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
        object.__setattr__(self, "shape", tuple(shape))

    def init(self, shape: RowShape, key: Key, after: Layer | None = None) -> Parameters:
        del key, after
        if tuple(shape) != self.shape:
            raise ShapeError(f"the network takes rows of shape {list(self.shape)}, found rows of shape {list(shape)}")
        return {}

    def input_shape(self) -> RowShape | None:
        return self.shape

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        del parameters, key
        return x

    @classmethod
    def build(cls, shape: list[int]) -> "Input":
        return cls(*shape)
