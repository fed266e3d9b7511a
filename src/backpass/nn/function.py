"""Any Python function as a layer."""

from collections.abc import Callable
from dataclasses import field
from typing import Any

import numpy as np

from backpass.forward import Structure, map_structure
from backpass.nn.layer import Layer, Parameters, RowShape
from backpass.ops import Key
from backpass.ops.kinds import Value
from backpass.records import dataclass


@dataclass(frozen=True, eq=False)
class Function(Layer):
    """`function(parameters, x)`, written in `backpass.ops`, with the `parameters` that it starts from.

    A network that holds one can be trained; it cannot be saved as a model file, since loading such a file runs nothing
    that was written elsewhere.
    """

    function: Callable[[Structure, Any], Any]
    parameters: Structure = field(default_factory=dict)

    def init(self, shape: RowShape, key: Key, after: Layer | None = None) -> Parameters:
        del shape, key, after
        return map_structure(lambda value: np.array(value, np.float64), self.parameters)  # type: ignore[no-any-return]

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        del key
        return self.function(parameters, x)
