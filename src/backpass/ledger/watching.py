"""A network whose every layer notes what goes in and what comes out, while it is traced as ever."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from backpass.graph import current_scope, scope
from backpass.nn import Blend, Concatenate, CrossFitted, Dropout, Ensemble, Layer, Residual, Sequential
from backpass.ops import Key, bernoulli
from backpass.ops.kinds import Value
from backpass.records import dataclass


class Seen(NamedTuple):
    """A layer at work.

    Attributes:
        path: where its parameters stand, as "1.hidden_1".
        layer: what it is.
        takes: the Tensors that go in.
        gives: the Tensor that comes out.
        factor: of a Dropout at work, the Tensor that it multiplies by; of a CrossFitted, which rows it holds out.
    """

    path: str
    layer: Layer
    takes: tuple[Any, ...]
    gives: Any
    factor: Any = None


def rebuilt(layer: Layer, change: Callable[[Layer], Layer]) -> Layer:
    """The network with `change(layer)` in the place of each layer that does something; containers are made anew."""
    if isinstance(layer, CrossFitted):
        inner: Any = rebuilt(layer.ensemble, change)
        return replace(layer, ensemble=inner)
    if isinstance(layer, Blend):
        layer = replace(layer, others=tuple(rebuilt(kind, change) for kind in layer.others))
    if isinstance(layer, Ensemble):
        return replace(layer, member=rebuilt(layer.member, change), first=rebuilt(layer.first, change))
    if type(layer) is Sequential:
        return Sequential.build(_parts(layer, change))
    if type(layer) is Residual:
        return change(Residual.build(_parts(layer, change)))
    if type(layer) is Concatenate:
        return change(Concatenate.build(_parts(layer, change)))
    return change(layer)


def _parts(layer: Any, change: Callable[[Layer], Layer]) -> dict[str, Layer]:
    return {name: rebuilt(part, change) for name, part in layer.layers.items()}


def watched(network: Layer, seen: list[Seen]) -> Layer:
    """The network, whose layers add to `seen` when they are called, in the order of the forward pass."""
    return rebuilt(network, lambda layer: _Watched(layer, seen))


@dataclass(frozen=True, eq=False)
class _Watched(Layer):
    layer: Layer
    seen: list[Seen]

    def __call__(self, parameters: Any, x: Value, key: Key | None = None) -> Value:
        y = self.layer(parameters, x, key)
        if y is x:  # it passes values on
            return y
        takes = y.inputs if isinstance(self.layer, (Residual, Concatenate)) else _tensors(x)
        self.seen.append(Seen(current_scope(), self.layer, takes, y, _factor(self.layer, y, key)))
        return y


def held_out(network: Layer, outputs: tuple[Any, ...]) -> list[Seen]:
    """How a CrossFitted keeps rows from its members: for each a condition, which rows are of its fold."""
    if not isinstance(network, CrossFitted):
        return []
    conditions = [(*each.inputs, each) for each in outputs]
    return [
        Seen(str(number), network, (whole,), kept, mine) for number, (mine, _, whole, kept) in enumerate(conditions, 1)
    ]


def _tensors(x: Any) -> tuple[Any, ...]:
    return tuple(x.values()) if isinstance(x, dict) else (x,)


def _factor(layer: Layer, y: Any, key: Key | None) -> Any:
    """What a Dropout multiplies each value by: the same random numbers, since they come from the same key."""
    if not isinstance(layer, Dropout) or key is None:
        return None
    with scope("kept"):
        return bernoulli(key, 1 - layer.rate, y.shape, y.dtype) * (1 / (1 - layer.rate))
