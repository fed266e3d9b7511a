"""A step as the page draws it: layers with their nodes, values and errors, the weights between them, and what moved."""

from typing import Any

import numpy as np

from backpass.data.arrays import Array
from backpass.errors import UsageError
from backpass.ledger import Ledger
from backpass.ledger.book import Layer, Parameter, given
from backpass.ledger.choice import largest_row
from backpass.ledger.plain import largest, of_formula, of_movers, of_node

DRAWN = 1024  # nodes of a layer; of more those of the largest values are drawn
LINKED = 24  # nodes of both layers, up to which every link between them is drawn
WIDE = 20  # links of a wider layer: those of the largest values, and as many of the largest changes
MOVED = 12  # weights that changed most


def picture(found: Ledger) -> dict[str, Any]:
    """All that is drawn of a step, for one row and for the mean of its batch."""
    moment, error = found.moment, found.error
    parameters = list(found.parameters.values())
    return {
        "table": found.words.table,
        "step": moment.step,
        "epoch": moment.epoch,
        "batch": moment.batch + 1,
        "row": found.row,
        "rows": [found.words.row(int(row)) for row in moment.rows],
        "member": found.member,
        "members": found.members,
        "desired": found.desired,
        "scalings": dict(found.words.scalings),
        "loss": {
            "name": error.name,
            "rule": error.rule,
            "member": _number(error.value.value),
            "row": _number(error.row_loss),
            "batch": _number(error.batch_loss),
        },
        "answers": [
            {"name": name, "answer": _number(answer), "desired": _number(desired)}
            for name, answer, desired in zip(error.names, error.answers, error.desired, strict=True)
        ],
        "layers": [_inputs(found), *(_layer(layer) for layer in found.layers)],
        "parameters": [_parameter(each) for each in parameters],
        "moved": _moved(parameters),
    }


def node(found: Ledger, layer: str, place: int) -> dict[str, Any]:
    """The formulas of one node, forward and backward, and its value and error for every row of the batch.

    Raises:
        UsageError: there is no such node.
    """
    own = found.layer(layer)
    if not 0 <= place < len(own.nodes):
        raise UsageError(f"{layer} has the nodes 0 to {len(own.nodes) - 1}, found {place}")
    parts = found.moment.shares
    values, errors = (each[:, place].astype(np.float64) for each in _of_batch(own))
    return of_node(own, place) | {
        "rows": [
            {"row": found.words.row(int(row)), "value": _number(value), "error": _number(error / part if part else 0.0)}
            for row, value, error, part in zip(found.moment.rows, values, errors, parts, strict=True)
        ]
    }


def weight(found: Ledger, name: str) -> dict[str, Any]:
    """One weight: where it stands, why it moved, in all formulas."""
    parameter, index = found.weight(name)
    told, place = of_movers(parameter, index), largest_row(parameter, index)
    return told | {
        "largest_row": found.words.row(int(found.moment.rows[place])),
        "before": _number(parameter.before[index]),
        "after": _number(parameter.after[index]),
        "precision": str(parameter.before.dtype),
        "derivative": of_formula(parameter.slopes.at(index)),
        "step": found.moment.step,
    }


MATRICES = ("before", "change", "slope")


def matrix(found: Ledger, name: str, what: str) -> tuple[Array, tuple[int, ...]]:
    """All elements of a parameter, float32: its values before the step, its change, or the batch's derivative.

    Raises:
        UsageError: there is no such parameter, or no such matrix.
    """
    parameter = next((each for each in found.parameters.values() if each.name == name), None)
    if parameter is None or what not in MATRICES:
        raise UsageError(f"there are no weights called {name}, or nothing called {what} is known of them")
    return np.ascontiguousarray(_matrices(parameter)[what], np.float32), parameter.before.shape


def _matrices(parameter: Parameter) -> dict[str, Array]:
    return {"before": parameter.before, "change": parameter.made, "slope": parameter.batch_slope}


def _inputs(found: Ledger) -> dict[str, Any]:
    features = [feature for cell in found.cells for feature in cell.features]
    raw = {name: cell.raw for cell in found.cells for name, _ in cell.features}
    column = {name: cell.column for cell in found.cells for name, _ in cell.features}
    means = np.concatenate([_flat(each).astype(np.float64).mean(axis=0) for each in given(found.moment).values()])
    values = np.array([value for _, value in features])
    return {
        "name": "inputs",
        "kind": "the row, as the network is given it",
        "size": len(features),
        "places": list(range(len(features)))[:DRAWN],
        "nodes": [name for name, _ in features][:DRAWN],
        "raw": [f"{column[name]}: {raw[name] or 'missing'}" for name, _ in features][:DRAWN],
        "values": _numbers(values[:DRAWN]),
        "mean_values": _numbers(means[:DRAWN]),
    }


def _flat(values: Array) -> Array:
    return values.reshape(len(values), -1)


def _of_batch(layer: Layer) -> tuple[Array, Array]:
    """What the nodes pass on and the errors of their sums, (rows, nodes); the errors by the batch's loss."""
    last, first = layer.tellings[-1].sight, layer.tellings[0].sight
    return _flat(last.outputs), _flat(first.batch_error)


def _layer(layer: Layer) -> dict[str, Any]:
    values, errors = (each.astype(np.float64) for each in _of_batch(layer))
    own, deltas = np.ravel(layer.values), np.ravel(layer.deltas)
    places = sorted(largest(own, DRAWN)) if len(own) > DRAWN else list(range(len(own)))
    names = list(layer.nodes)
    return {
        "name": layer.name,
        "kind": layer.kind,
        "size": len(names),
        "places": places,
        "nodes": [names[place] for place in places],
        "given": list(
            dict.fromkeys(name for telling in layer.tellings[:1] for given in telling.given for name in given)
        ),
        "values": _numbers(own[places]),
        "sums": _numbers(np.ravel(layer.sums)[places]),
        "errors": _numbers(deltas[places]),
        "mean_values": _numbers(values.mean(axis=0)[places]),
        "mean_errors": _numbers(errors.sum(axis=0)[places]),
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    shape = parameter.before.shape
    change = parameter.change
    told = {
        "name": parameter.name,
        "layer": parameter.telling.name,
        "shape": list(shape),
        "optimizer": change.optimizer,
        "rate": change.rate,
        "largest": {name: _number(np.max(np.abs(each), initial=0)) for name, each in _matrices(parameter).items()},
    }
    whole = len(shape) <= 1 or max(shape) <= LINKED
    if whole:
        return told | {name: _numbers(each) for name, each in _matrices(parameter).items()}
    return told | ({"links": _links(parameter)} if len(shape) == 2 else {})


def _links(parameter: Parameter) -> list[list[Any]]:
    """Those of a wide layer that are drawn: of the largest values, and of the largest changes."""
    before, change = (_matrices(parameter)[name] for name in ("before", "change"))
    places = dict.fromkeys([*largest(before, WIDE), *largest(change, WIDE)])
    found = (np.unravel_index(place, before.shape) for place in places)
    return [[int(i), int(j), _number(before[i, j]), _number(change[i, j])] for i, j in found]


def _moved(parameters: list[Parameter]) -> list[dict[str, Any]]:
    """The weights that changed most in the step."""
    candidates = []
    for parameter in parameters:
        change = _matrices(parameter)["change"]
        for place in largest(change, MOVED):
            index = tuple(int(each) for each in np.unravel_index(place, change.shape))
            candidates.append((abs(float(change[index])), parameter, index))
    candidates.sort(key=lambda each: -each[0])
    return [
        {
            "name": parameter.named(index),
            "wire": parameter.wire(index),
            "before": _number(parameter.before[index]),
            "after": _number(parameter.after[index]),
            "change": _number(parameter.made[index]),
        }
        for _, parameter, index in candidates[:MOVED]
    ]


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _numbers(values: Any) -> Any:
    """As lists, in the digits that float32 has."""
    given = np.asarray(values, np.float64)
    if given.ndim > 1:
        return [_numbers(row) for row in given]
    if given.ndim == 0:
        return _number(given)
    return [float(f"{value:.7g}") if np.isfinite(value) else None for value in given.tolist()]
