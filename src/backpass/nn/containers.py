"""Layers made of layers: one after another, side by side, around a shortcut."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from backpass.errors import ShapeError, UsageError
from backpass.graph import scope
from backpass.nn.layer import Layer, Parameters, Part, RowShape, bare
from backpass.nn.summary import summary
from backpass.ops import Key, concatenate
from backpass.ops.kinds import Value
from backpass.records import dataclass


def named(layers: tuple[Layer, ...], others: Mapping[str, Layer]) -> dict[str, Layer]:
    """Every layer by its name: those given without one are called dense_1, relu_1, dense_2, and so on."""
    seen: Counter[str] = Counter()
    result: dict[str, Layer] = {}
    for layer in layers:
        _require_layer(layer)
        kind = type(layer).__name__.lower()
        seen[kind] += 1
        result[f"{kind}_{seen[kind]}"] = layer
    for name, layer in others.items():
        _require_layer(layer)
        if name in result:
            raise UsageError(f'two layers are called "{name}"')
        result[name] = layer
    return result


def _require_layer(layer: Any) -> None:
    if not isinstance(layer, Layer):
        hint = f": write {layer.__name__}()" if isinstance(layer, type) else ""
        raise UsageError(f"{layer!r} is not a layer{hint}")
    if layer.whole:
        raise UsageError(f"an {type(layer).__name__} is a whole network, expected a layer that can be a part of one")


@dataclass(frozen=True, init=False)
class Container(Layer):
    """A layer made of named layers; its parameters are theirs, by their names."""

    layers: dict[str, Layer]

    def __init__(self, /, *layers: Layer, **others: Layer) -> None:
        object.__setattr__(self, "layers", named(layers, others))

    def __hash__(self) -> int:
        return id(self)

    @classmethod
    def build(cls, layers: dict[str, Layer]) -> "Container":
        return cls(**layers)

    def __str__(self) -> str:
        return summary(self, self.input_shape())


class Sequential(Container):
    """Layers one after another. `Sequential(Dense(8), ReLU(), output=Dense(1))`: names are optional."""

    def input_shape(self) -> RowShape | None:
        return next(iter(self.layers.values())).input_shape() if self.layers else None

    def init(self, shape: RowShape, key: Key, after: Layer | None = None) -> Parameters:
        parameters: Parameters = {}
        for (name, layer), next_layer in zip(self.layers.items(), self._following(after), strict=True):
            parameters[name] = layer.init(shape, key.fold(name), next_layer)
            shape = layer.output_shape(shape, parameters[name])
        return parameters

    def _following(self, after: Layer | None) -> list[Layer | None]:
        """For each layer the next one that does something to its outputs."""
        following = []
        for layer in reversed(self.layers.values()):
            following.append(after)
            after = after if layer.passes_on else layer
        return following[::-1]

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        for name, layer in self.layers.items():
            with scope(name):
                x = layer(parameters.get(name, {}), x, None if key is None else key.fold(name))
        return x

    def parts(self, shape: RowShape | None, parameters: Parameters | None) -> Iterator[Part]:
        for name, layer in self.layers.items():
            own = None if parameters is None else parameters.get(name, {})
            yield name, layer, shape, own
            shape = None if own is None or shape is None else layer.output_shape(shape, own)


class Residual(Sequential):
    """The input, plus what the layers make of it: He, Zhang, Ren and Sun, 2016. Both have the same shape."""

    def init(self, shape: RowShape, key: Key, after: Layer | None = None) -> Parameters:
        parameters = super().init(shape, key, after)
        made = Sequential.build(self.layers).output_shape(shape, parameters)
        found = bare(shape)
        if isinstance(found, dict) or tuple(made) != tuple(found):
            raise ShapeError(f"Residual: its layers make rows of shape {list(made)} of rows of shape {list(found)}")
        return parameters

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        return x + super().__call__(parameters, x, key)


class Concatenate(Container):
    """Layers side by side, their outputs joined along the last axis.

    Where the input is a dictionary, each layer works on the entry of its name: `Concatenate(numbers=Identity(),
    colour=Embedding(12, 4))`. Otherwise all work on the same input.
    """

    def init(self, shape: RowShape, key: Key, after: Layer | None = None) -> Parameters:
        return {name: layer.init(_entry(shape, name), key.fold(name), after) for name, layer in self.layers.items()}

    def parts(self, shape: RowShape | None, parameters: Parameters | None) -> Iterator[Part]:
        for name, layer in self.layers.items():
            inner = None if shape is None else _entry(shape, name)
            yield name, layer, inner, None if parameters is None else parameters.get(name, {})

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        outputs = []
        for name, layer in self.layers.items():
            with scope(name):
                outputs.append(
                    layer(parameters.get(name, {}), _entry(x, name), None if key is None else key.fold(name))
                )
        return concatenate(outputs, -1)


def _entry(value: Any, name: str) -> Any:
    if not isinstance(value, dict):
        return value
    if name not in value:
        raise ShapeError(f'the network takes an input called "{name}", found {", ".join(value) or "none"}')
    return value[name]
