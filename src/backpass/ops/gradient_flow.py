"""Values passed on as they are, and where the error stops."""

from typing import Any

import numpy as np

from backpass.ops.apply import apply
from backpass.ops.kinds import Pointwise, Value
from backpass.ops.samples import between

IDENTITY = Pointwise(
    name="identity",
    forward=np.asarray,
    transparent=True,
    derivative=lambda dy, y, x: (dy,),
    lower=lambda e, x: x,
    samples=between(-2.0, 2.0),
)
STOP = Pointwise(
    name="stop_gradient", forward=np.asarray, transparent=True, samples=between(-2.0, 2.0), lower=lambda e, x: x
)


def identity(x: Value) -> Any:
    """`x` as a value of its own."""
    return apply(IDENTITY, x)


def stop_gradient(x: Value) -> Any:
    """`x`, through which no error flows back."""
    return apply(STOP, x)
