"""The activations and their derivatives, written out: of z, the weighted sum, and a, what comes of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from backpass import nn
from backpass.ops import erf

Array = np.ndarray[Any, Any]


class Curve(NamedTuple):
    """An activation: a formula and its derivative, each as it is written and as a function in float64.

    `value(layer, z)` is a, `slope(layer, z, a)` is da/dz.
    """

    formula: str
    value: Callable[[Any, Any], Any]
    derivative: str
    slope: Callable[[Any, Any, Any], Any]


def _sigmoid(z: Any) -> Any:
    return np.exp(-np.logaddexp(0.0, -z))


def _normal(z: Any) -> Any:
    """The normal distribution function."""
    return 0.5 * (1 + erf(z / np.sqrt(2)))


def _elu(z: Any, alpha: float) -> Any:
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def _elu_slope(z: Any, alpha: float) -> Any:
    return np.where(z > 0, 1.0, alpha * np.exp(np.minimum(z, 0)))


def _mish_slope(z: Any) -> Any:
    bent = np.tanh(np.logaddexp(0.0, z))
    return bent + z * (1 - bent**2) * _sigmoid(z)


CURVES: dict[type[nn.Layer], Curve] = {
    nn.Sigmoid: Curve("1 / (1 + exp(-z))", lambda _, z: _sigmoid(z), "a · (1 - a)", lambda _, z, a: a * (1 - a)),
    nn.Tanh: Curve("tanh(z)", lambda _, z: np.tanh(z), "1 - a²", lambda _, z, a: 1 - a**2),
    nn.ReLU: Curve(
        "max(z, 0)", lambda _, z: np.maximum(z, 0), "1 where z > 0, else 0", lambda _, z, a: np.where(z > 0, 1.0, 0.0)
    ),
    nn.LeakyReLU: Curve(
        "z where z > 0, else slope · z",
        lambda layer, z: np.where(z > 0, z, layer.slope * z),
        "1 where z > 0, else slope",
        lambda layer, z, a: np.where(z > 0, 1.0, layer.slope),
    ),
    nn.ELU: Curve(
        "z where z > 0, else alpha · (exp(z) - 1)",
        lambda layer, z: _elu(z, layer.alpha),
        "1 where z > 0, else alpha · exp(z)",
        lambda layer, z, a: _elu_slope(z, layer.alpha),
    ),
    nn.SELU: Curve(
        "1.0507 · (z where z > 0, else 1.6733 · (exp(z) - 1))",
        lambda layer, z: layer.scale * _elu(z, layer.alpha),
        "1.0507 · (1 where z > 0, else 1.6733 · exp(z))",
        lambda layer, z, a: layer.scale * _elu_slope(z, layer.alpha),
    ),
    nn.GELU: Curve(
        "z · Φ(z)",
        lambda _, z: z * _normal(z),
        "Φ(z) + z · φ(z)",
        lambda _, z, a: _normal(z) + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi),
    ),
    nn.SiLU: Curve(
        "z · s, s = sigmoid(z)",
        lambda _, z: z * _sigmoid(z),
        "s + z · s · (1 - s)",
        lambda _, z, a: _sigmoid(z) * (1 + z * _sigmoid(-z)),
    ),
    nn.Mish: Curve(
        "z · tanh(log(1 + exp(z)))",
        lambda _, z: z * np.tanh(np.logaddexp(0.0, z)),
        "t + z · (1 - t²) · sigmoid(z)",
        lambda _, z, a: _mish_slope(z),
    ),
    nn.Softplus: Curve("log(1 + exp(z))", lambda _, z: np.logaddexp(0.0, z), "sigmoid(z)", lambda _, z, a: _sigmoid(z)),
}
