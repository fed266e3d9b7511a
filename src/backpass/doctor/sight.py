"""What every layer makes of some rows, and the errors that come back to it."""

from typing import Any, NamedTuple

import numpy as np

from backpass.backward.reverse import backward
from backpass.data.arrays import Array, Inputs
from backpass.forward import Program, Structure, flatten, one_thread, trace
from backpass.graph import scope
from backpass.ledger.watching import Seen, watched
from backpass.losses import Loss
from backpass.nn import Layer


class Sight(NamedTuple):
    """A layer at work.

    Attributes:
        path: where it stands, as "hidden_1".
        layer: what it is.
        outputs: a row a row.
        errors: of the outputs, by the mean loss of all rows.
    """

    path: str
    layer: Layer
    outputs: Array
    errors: Array

    @property
    def error(self) -> float:
        """How large a row's error is: its length, the root of the mean square over the rows, of the row's own loss."""
        rows = len(self.errors)
        squares = np.sum((self.errors.astype(np.float64) * rows) ** 2) / rows
        return float(np.sqrt(squares))


def sights(
    network: Layer, loss: Loss, parameters: Structure, inputs: Inputs, targets: Array
) -> tuple[float, list[Sight]]:
    """The loss and the layers of a network in use, from the inputs on; in float64, where errors do not sink to 0."""
    seen: list[Seen] = []

    def step(p: Structure, x: Any, y: Any) -> Structure:
        outputs = watched(network, seen)(p, x)
        with scope("loss"):
            value = loss(outputs, y)
        return {"loss": value, "outputs": [s.gives for s in seen], "errors": backward(value, [s.gives for s in seen])}

    wide = [_wide(each) for each in flatten(parameters)]
    given = {name: _wide(part) for name, part in inputs.items()} if isinstance(inputs, dict) else _wide(inputs)
    from backpass.forward import unflatten

    traced = trace(step, unflatten(parameters, wide), given, targets)
    program = Program(traced.graph)
    with one_thread(), np.errstate(all="ignore"):
        values = dict(zip(map(id, traced.graph.outputs), program(*wide, *flatten(given), targets), strict=True))
    result = traced.result
    found = [
        Sight(each.path, each.layer, values[id(output)], values[id(error)])
        for each, output, error in zip(seen, result["outputs"], result["errors"], strict=True)
    ]
    return float(values[id(result["loss"])]), found


def _wide(array: Any) -> Array:
    given: Array = np.asarray(array)
    return given.astype(np.float64) if given.dtype.kind == "f" else given
