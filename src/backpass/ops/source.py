"""Values that come from outside: the inputs of a graph, and the number of rows of the batch."""

from typing import Any

import numpy as np

from backpass.graph import BATCH, Node
from backpass.ops.kinds import DType, Source


def _not_given(**attributes: Any) -> Any:
    raise AssertionError(f"an input has no value of its own: {attributes}")


def _rows(*, count: int, shape: tuple[int, ...], dtype: DType) -> Any:
    return np.full(shape, count, dtype)


INPUT = Source(name="input", forward=_not_given)
ROWS = Source(name="rows", forward=_rows)


def rows(x: Node) -> Any:
    """The number of rows of the batch, as a Tensor of the type of `x`."""
    attributes = {"count": BATCH, "shape": (), "dtype": x.dtype}
    return type(x)(ROWS, (), (), x.dtype, attributes)
