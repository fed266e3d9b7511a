"""The functions that nodes of a network apply to their sums, and what the other activations are composed from."""

from typing import Any

import numpy as np

from backpass.ops.apply import apply, cast
from backpass.ops.kinds import Pointwise, Value
from backpass.ops.samples import between


def _sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)); an overflow of exp gives the limit, 0."""
    result = np.exp(-x)
    result += 1
    return np.reciprocal(result, out=result) if isinstance(result, np.ndarray) else 1 / result


def _softplus(x: Any) -> Any:
    """log(1 + exp(x)), in the form that neither overflows nor loses small values."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


SIGMOID = Pointwise(
    name="sigmoid",
    forward=_sigmoid,
    derivative=lambda dy, y, x: (dy * (y * (1 - y)),),
    takes="real",
    lower=lambda e, x: e.sigmoid(x),
    cost=25,
    samples=between(-4.0, 4.0),
)
TANH = Pointwise(
    name="tanh",
    forward=np.tanh,
    derivative=lambda dy, y, x: (dy * (1 - y * y),),
    takes="real",
    lower=lambda e, x: e.tanh(x),
    cost=25,
    samples=between(-3.0, 3.0),
)
SOFTPLUS = Pointwise(
    name="softplus",
    forward=_softplus,
    derivative=lambda dy, y, x: (dy * sigmoid(x),),
    takes="real",
    lower=lambda e, x: e.softplus(x),
    cost=25,
    samples=between(-4.0, 4.0),
)
RELU = Pointwise(
    name="relu",
    # np.fmax would turn a NaN into 0: a NaN must stay a NaN.
    forward=lambda x: np.maximum(x, 0),
    derivative=lambda dy, y, x: (dy * cast(y > 0, dy.dtype),),
    takes="number",
    kinks=(0.0,),
    lower=lambda e, x: e.relu(x),
    samples=between(-2.0, 2.0),
)


def sigmoid(x: Value) -> Any:
    """1 / (1 + exp(-x))."""
    return apply(SIGMOID, x)


def tanh(x: Value) -> Any:
    return apply(TANH, x)


def softplus(x: Value) -> Any:
    """log(1 + exp(x)), safe for any x."""
    return apply(SOFTPLUS, x)


def relu(x: Value) -> Any:
    """max(x, 0). At 0 its derivative is taken as 0."""
    return apply(RELU, x)
