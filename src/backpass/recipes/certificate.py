"""The gradient certificate of a trained model: back-propagation against central differences, layer by layer."""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from backpass import nn
from backpass.backward import check_gradients
from backpass.backward.check import TOLERANCE, LeafReport
from backpass.data import Table, usable_rows
from backpass.errors import UsageError
from backpass.forward import map_structure
from backpass.model import Model
from backpass.model.network import typed
from backpass.recipes.prepare import encode
from backpass.records import dataclass


@dataclass(frozen=True)
class LayerCheck:
    """The largest relative error of a layer's parameters, over so many directions, some of them across kinks."""

    name: str
    largest_error: float
    directions: int
    kinks: int
    ok: bool


@dataclass(frozen=True)
class Certificate:
    """The outcome for all layers."""

    layers: tuple[LayerCheck, ...]
    rows: int
    parameters: int
    tolerance: float

    @property
    def largest_error(self) -> float:
        return max((layer.largest_error for layer in self.layers), default=0.0)

    @property
    def ok(self) -> bool:
        return all(layer.ok for layer in self.layers)


def certify(model: Model, table: Table, *, rows: int = 32, coerce: Collection[str] = ()) -> Certificate:
    """Check the gradients of `model` on the first `rows` rows of a table, in float64.

    Raises:
        UsageError: the model is not of a table, or has no parameters.
        TableError: the table does not fit the model, or has no target.
    """
    if model.tabular is None:
        raise UsageError("this model was trained on arrays, not on a table: use backpass.check_gradients")
    usable = usable_rows(table, model.tabular.targets.schema)
    chosen = usable.take(np.arange(min(rows, usable.rows)))
    part = encode(model.tabular, chosen, coerce=coerce)
    inputs = map_structure(_exact, part.inputs)
    targets = _exact(part.targets)
    leaves = [
        leaf
        for network, parameters in _learning(model)
        for leaf in check_gradients(lambda p, own=network: model.loss(own(p, inputs), targets), parameters).leaves
    ]
    return Certificate(_by_layer(leaves), part.rows, model.parameter_count, TOLERANCE)


def _learning(model: Model) -> Iterator[tuple[nn.Layer, Any]]:
    """What has a loss of its own, with its parameters: the network, or each member of an ensemble."""
    network, parameters = model.network, typed(model.parameters, "float64")
    if not isinstance(network, nn.Ensemble):
        yield network, parameters
        return
    shared = parameters.get("first", {})
    for name in sorted(parameters.keys() - {"first"}, key=int):
        yield nn.Sequential(first=network.first, each=network.of(name)), {"first": shared, "each": parameters[name]}


def _exact(values: Any) -> Any:
    return values.astype(np.float64) if values.dtype.kind == "f" else values


def _by_layer(leaves: list[LeafReport]) -> tuple[LayerCheck, ...]:
    """The reports of weights and biases, brought together by layer, of all members of an ensemble."""
    groups: dict[str, list[LeafReport]] = {}
    for leaf in leaves:
        name = leaf.label.removeprefix("0.").removeprefix("first.").removeprefix("each.").rpartition(".")[0]
        groups.setdefault(name, []).append(leaf)
    return tuple(
        LayerCheck(
            name,
            max(leaf.largest_error for leaf in group),
            sum(leaf.directions for leaf in group),
            sum(leaf.kinks for leaf in group),
            all(leaf.ok for leaf in group),
        )
        for name, group in groups.items()
    )
