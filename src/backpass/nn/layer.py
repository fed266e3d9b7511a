"""What a layer is: a frozen description. Its parameters live outside it, and calling it is a pure function."""

from collections.abc import Iterator
from typing import Any, ClassVar, TypeAlias

from backpass.errors import ShapeError
from backpass.forward import Spec, Structure, flatten, like, map_structure, trace
from backpass.graph import BATCH, Shape
from backpass.ops import Key
from backpass.ops.kinds import Value

Parameters: TypeAlias = dict[str, Any]
RowShape: TypeAlias = Any
"""The shape of one row of a layer's input, without the batch axis; for several inputs a dictionary of such."""
Part: TypeAlias = tuple[str, "Layer", RowShape | None, Parameters | None]


class Layer:
    """A layer has up to two methods: `init` makes its parameters, and calling it calculates its outputs.

    A layer of one's own is a frozen dataclass that inherits from this class.
    """

    prefers: ClassVar[Any] = None
    """The initializer that suits the weights just before this layer; None where it has no wish."""

    passes_on: ClassVar[bool] = False
    """Whether values go through as they are: then the layer after it decides how the weights before it start."""

    whole: ClassVar[bool] = False
    """Whether it is always a whole network, never a part of one."""

    @property
    def member_groups(self) -> tuple[range, ...]:
        """The places, from 0 on, of the members that are of one kind, where there are members of several kinds."""
        return ()

    def init(self, shape: RowShape, key: Key, after: "Layer | None" = None) -> Parameters:
        """New parameters for rows of `shape`, as NumPy arrays in float64.

        Args:
            shape: of one row of the input.
            key: where the random numbers come from.
            after: the layer that follows, whose kind of activation decides how weights start.

        Raises:
            ShapeError: rows of that shape are nothing that this layer can work on.
        """
        del shape, key, after
        return {}

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        """The outputs, shape (rows, ...), for inputs `x`, shape (rows, ...).

        `key` is where random numbers come from while training; None means that the network is in use, and layers
        such as Dropout do nothing.
        """
        raise NotImplementedError

    def input_shape(self) -> RowShape | None:
        """The shape of one row of the input, where the layer says it itself."""
        return None

    def parts(self, shape: RowShape | None, parameters: Parameters | None) -> Iterator[Part]:
        """The layers inside: name, layer, and, where they are known, the shape of its rows and its parameters."""
        del shape, parameters
        return iter(())

    def output_shape(self, shape: RowShape, parameters: Parameters | None = None) -> Shape:
        """The shape of one row of the outputs for rows of `shape`, found by tracing the layer."""
        parameters = self.init(shape, Key.of(0)) if parameters is None else parameters
        traced = trace(self, map_structure(like, parameters), specs(shape))
        return traced.graph.outputs[0].shape[1:]


def specs(shape: RowShape, dtype: Any = "float32") -> Structure:
    """The Specs of a batch of rows of `shape`. In a dictionary an entry may be `(shape, dtype)`."""
    if isinstance(shape, dict):
        return {name: specs(part, dtype) for name, part in shape.items()}
    alone = bare(shape)
    return Spec((BATCH, *alone), dtype if alone is shape else shape[1])


def bare(shape: RowShape) -> RowShape:
    """The shape of an input that is given with its dtype, without it."""
    typed = isinstance(shape, tuple) and len(shape) == 2 and isinstance(shape[0], tuple)
    return shape[0] if typed else shape


def require_shape(layer: Layer, name: str, parameter: Value, shape: tuple[int | None, ...]) -> None:
    """See that a parameter has the shape that its layer says; None is an axis of any length.

    Raises:
        ShapeError: it has another.
    """
    fits = len(parameter.shape) == len(shape) and all(
        wanted in (None, found) for wanted, found in zip(shape, parameter.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if axis is None else str(axis) for axis in shape)
        raise ShapeError(f"{type(layer).__name__}: {name} has shape {list(parameter.shape)}, expected [{wanted}]")


def count(parameters: Structure) -> int:
    """How many numbers a network learns."""
    return sum(int(leaf.size) for leaf in flatten(parameters))
