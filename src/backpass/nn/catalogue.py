"""Layers and initializers by name, and networks as plain data: what a model file holds of an architecture."""

from dataclasses import fields
from typing import Any

from backpass.errors import BackpassError, ModelFileError, UsageError
from backpass.nn import activations, initializers
from backpass.nn.containers import Concatenate, Container, Residual, Sequential
from backpass.nn.dense import Dense
from backpass.nn.dropout import Dropout
from backpass.nn.embedding import Embedding, OneHot
from backpass.nn.ensemble import Blend, CrossFitted, Ensemble
from backpass.nn.initializers import Initializer
from backpass.nn.layer import Layer
from backpass.nn.periodic import Periodic
from backpass.nn.pieces import Pieces
from backpass.nn.shaping import Flatten, Identity, Input

ACTIVATIONS: dict[str, type[activations.Activation]] = {
    "sigmoid": activations.Sigmoid,
    "tanh": activations.Tanh,
    "relu": activations.ReLU,
    "leaky_relu": activations.LeakyReLU,
    "elu": activations.ELU,
    "selu": activations.SELU,
    "gelu": activations.GELU,
    "silu": activations.SiLU,
    "mish": activations.Mish,
    "softplus": activations.Softplus,
    "softmax": activations.Softmax,
}

_INITIALIZERS: tuple[type[Initializer], ...] = (
    *(initializers.Constant, initializers.Uniform, initializers.Normal),
    *(initializers.Glorot, initializers.He, initializers.LeCun, initializers.Orthogonal),
)
_LAYERS: tuple[type[Layer], ...] = (
    *(Dense, Dropout, Embedding, OneHot, Flatten, Identity, Input, Periodic, Pieces),
    *(Sequential, Residual, Concatenate, Ensemble, Blend, CrossFitted),
    *ACTIVATIONS.values(),
)
_BY_NAME: dict[str, type[Any]] = {kind.__name__: kind for kind in (*_INITIALIZERS, *_LAYERS)}
_DEEPEST = 64  # levels of layers inside layers that a file may hold


def describe(part: Any) -> Any:
    """A layer or initializer as plain data: `{"type": "Dense", "units": 8, ...}`.

    Raises:
        UsageError: it is of a kind that no model file can hold, such as a Function.
    """
    if isinstance(part, (Layer, Initializer)):
        if _BY_NAME.get(type(part).__name__) is not type(part):
            raise UsageError(f"a {type(part).__name__} cannot be saved: model files hold only backpass's own layers")
        return {"type": type(part).__name__} | {f.name: describe(getattr(part, f.name)) for f in fields(part)}  # type: ignore[arg-type]
    if isinstance(part, dict):
        return [[name, describe(value)] for name, value in part.items()]
    if isinstance(part, tuple):
        return [describe(value) for value in part]
    return part


def build(data: Any, *, depth: int = 0) -> Any:
    """The layer or initializer that `describe` made `data` of.

    Raises:
        ModelFileError: `data` is not such a description. Nothing in it is ever executed.
    """
    if depth > _DEEPEST:
        raise ModelFileError(f"layers stand inside layers more than {_DEEPEST} deep")
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        raise ModelFileError(f"expected the description of a layer, found {repr(data)[:60]}")
    kind = _BY_NAME.get(data["type"])
    if kind is None:
        named = repr(data["type"][:60])
        raise ModelFileError(f"unknown layer {named}: the file may be of a newer version of backpass")
    given = {key: _value(key, value, depth) for key, value in data.items() if key != "type"}
    try:
        return kind.build(**given) if hasattr(kind, "build") else kind(**given)
    except ModelFileError:
        raise
    except (BackpassError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"the description of a {data['type']} does not fit: {error}") from None


def _value(key: str, value: Any, depth: int) -> Any:
    if key == "layers":
        return _layers(value, depth)
    if key == "others":
        return tuple(build(each, depth=depth + 1) for each in (value if isinstance(value, list) else [None]))
    return build(value, depth=depth + 1) if isinstance(value, dict) else value


def _layers(value: Any, depth: int) -> dict[str, Layer]:
    pairs = value if isinstance(value, list) else [None]
    layers: dict[str, Layer] = {}
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str) or pair[0] in layers:
            raise ModelFileError("the layers of a network are not a list of names and descriptions")
        layers[pair[0]] = build(pair[1], depth=depth + 1)
    return layers


__all__ = ["ACTIVATIONS", "Container", "build", "describe"]
