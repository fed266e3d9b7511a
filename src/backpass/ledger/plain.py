"""The ledger as plain data, for programs and for the page; and as rows of a table."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from backpass.data.arrays import Array
from backpass.ledger.attribution import Why
from backpass.ledger.book import Layer, Ledger, Parameter
from backpass.ledger.errors import ErrorFunction
from backpass.ledger.formula import Formula
from backpass.ledger.sentences import of_change, of_prediction

# In CSV a sum has each term before it as "symbol: what it is of", and before that the term's factors as
# "what the factor is, in symbol: what the term is of".
HEADER = ("step", "row", "phase", "layer", "node", "quantity", "value")
Row = tuple[int, int, str, str, str, str, float]


def plain(
    ledger: Ledger, *, terms: int | None = None, nodes: int | None = None, weights: int | None = None
) -> dict[str, Any]:
    """All of the ledger, as JSON has it.

    Args:
        ledger: what is told.
        terms: how many of each sum, the largest; the others are summed. None for all.
        nodes: how many of each layer, those of the largest errors.
        weights: how many elements of each parameter are written out, those of the largest changes; None for none, and
            all numbers as arrays.
    """
    moment, error, sums = ledger.moment, ledger.error, ledger.sums
    return {
        "table": ledger.words.table,
        "step": moment.step,
        "epoch": moment.epoch,
        "batch": moment.batch + 1,
        "row": ledger.row,
        "rows": [ledger.words.row(int(row)) for row in moment.rows],
        "member": ledger.member,
        "members": ledger.members,
        "desired": ledger.desired,
        "scalings": dict(ledger.words.scalings),
        "columns": [
            {"column": cell.column, "raw": cell.raw, "features": [list(each) for each in cell.features]}
            for cell in ledger.cells
        ],
        "layers": [_layer(layer, terms, nodes) for layer in ledger.layers],
        "error": {
            "loss": error.name,
            "rule": error.rule,
            "derivative": error.derivative,
            "answers": error.meaning,
            "label_smoothing": error.smoothing,
            "outputs": [
                {"name": name, "output": _number(output), "answer": _number(answer), "desired": _number(desired)}
                for name, output, answer, desired in zip(
                    error.names, error.outputs, error.answers, error.desired, strict=True
                )
            ],
            "value": of_formula(error.value, terms),
            "member_loss": _number(error.value.value),
            "part_of_row": error.part,
            "row_loss": _number(error.row_loss),
            "row_loss_is": "that of the network" if error.part == 1 else f"the mean of {ledger.members} members",
            "members_learning": error.learning,
            "part_of_batch": error.share,
            "batch_loss": _number(error.batch_loss),
        },
        "weights": [
            _arrays(each) if weights is None else _written(each, weights, terms) for each in ledger.parameters.values()
        ],
        "sums": {
            "ok": sums.ok,
            "count": sums.count,
            "largest": _number(sums.largest),
            "worst": sums.worst,
            "weights": sums.weights,
            "apart": _number(sums.apart),
        },
    }


def largest(values: Array, count: int | None) -> list[int]:
    """The places of the largest numbers, in size, in falling order."""
    order = np.argsort(-np.abs(values.ravel()), kind="stable")
    return [int(place) for place in (order if count is None else order[:count])]


def chosen_nodes(layer: Layer, count: int | None) -> list[int]:
    """The nodes of the largest errors, those of their sums; where there are none, of the largest values."""
    return largest(layer.deltas if np.any(layer.deltas) else layer.values, count)


def of_formula(given: Formula, terms: int | None = None) -> dict[str, Any]:
    """One number and its terms."""
    shown, count, rest = given.largest(terms)
    told = {
        "symbol": given.symbol,
        "rule": given.rule,
        "value": _number(given.value),
        "terms": [
            {"of": each.label, "factors": [*map(_number, each.factors)], "value": _number(each.value)}
            | ({"names": list(each.names)} if each.names else {})
            for each in shown
        ],
    }
    told |= {"put": given.put} if given.put else {}
    return told | ({"more": {"count": count, "value": _number(rest)}} if count else {})


def of_weight(parameter: Parameter, index: tuple[int, ...], terms: int | None = None) -> dict[str, Any]:
    """All that happened to one weight."""
    return {
        "name": parameter.named(index),
        "wire": parameter.wire(index),
        "sentence": of_change(parameter, index),
        "slope": of_formula(parameter.slopes.at(index), terms),
        "batch": of_formula(parameter.batch(index), terms),
        **_optimizer(parameter),
        "steps": [of_formula(each.at(index)) for each in (*parameter.change.steps, parameter.kept)],
    }


def _optimizer(parameter: Parameter) -> dict[str, Any]:
    """What all elements of a parameter have in common."""
    change = parameter.change
    terms = change.rate_terms
    return {
        "optimizer": change.optimizer,
        "rate": change.rate,
        "schedule": change.schedule,
        "rate_terms": None if terms is None else of_formula(terms),
        "constants": {name: _number(value) for name, value in change.constants.items()},
    }


def of_movers(parameter: Parameter, index: tuple[int, ...]) -> dict[str, Any]:
    """Why one weight moved."""
    return of_weight(parameter, index) | {"why": of_formula(parameter.movers(index))}


def of_why(found: Why) -> dict[str, Any]:
    """Why a prediction is what it is."""
    return {
        "row": found.row,
        "step": found.step,
        "output": found.output,
        "sentence": of_prediction(found),
        "value": found.value,
        "baseline": found.baseline,
        "shares": [each._asdict() for each in found.shares],
        "sum": sum(each.value for each in found.shares),
        "error_of_sum": found.error,
        "points": found.points,
        "answers": found.answers,
        "others": list(found.others),
    }


def _layer(layer: Layer, terms: int | None, nodes: int | None) -> dict[str, Any]:
    places = range(len(layer.nodes)) if nodes is None else sorted(chosen_nodes(layer, nodes))
    return {
        "name": layer.name,
        "kind": layer.kind,
        "size": len(layer.nodes),
        "nodes": [
            {
                "name": layer.nodes[place],
                "forward": [of_formula(each, terms) for each in layer.forward(place)],
                "backward": [of_formula(each, terms) for each in layer.backward(place)],
            }
            for place in places
        ],
    }


def _arrays(parameter: Parameter) -> dict[str, Any]:
    change = parameter.change
    arrays = {
        "before": parameter.before,
        "slope_of_row": parameter.row_slope,
        "slope_of_batch": parameter.batch_slope,
        "change": change.steps[-1].written,
        "after": parameter.after,
    }
    return {
        "name": parameter.name,
        **_optimizer(parameter),
        **{name: _numbers(np.asarray(values)) for name, values in arrays.items()},
        "state": {name: _numbers(values) for name, values in change.state.items()},
        "steps": [
            {"symbol": each.symbol, "rule": each.rule, "value": _numbers(np.asarray(each.value))}
            for each in change.steps
        ],
    }


def _written(parameter: Parameter, count: int, terms: int | None) -> dict[str, Any]:
    places = largest(parameter.change.steps[-1].written, count)
    chosen = [tuple(int(i) for i in np.unravel_index(place, parameter.before.shape)) for place in places]
    return {
        "name": parameter.name,
        "size": parameter.before.size,
        "elements": [of_weight(parameter, index, terms) for index in chosen],
    }


def _number(value: Any) -> float | None:
    """A number as JSON has them: none is infinite."""
    return float(value) if np.isfinite(value) else None


def _numbers(values: Array) -> Any:
    """An array as lists of such."""
    plain: Array = values.astype(object)
    plain[~np.isfinite(values)] = None
    return plain.tolist()


def rows(ledger: Ledger) -> Iterator[Row]:
    """All of the ledger in long form, in the order of HEADER, number by number."""
    step, row = ledger.moment.step, ledger.row
    for phase, layer, node, quantity, value in _entries(ledger):
        yield step, row, phase, layer, node, quantity, float(value)


_Entry = tuple[str, str, str, str, Any]


def _entries(ledger: Ledger) -> Iterator[_Entry]:
    for cell in ledger.cells:
        yield from (("input", "", name, "encoded", value) for name, value in cell.features)
    for layer in ledger.layers:
        for place, node in enumerate(layer.nodes):
            yield from _all_parts("forward", layer.name, node, layer.forward(place))
    yield from _of_error(ledger.error)
    for layer in reversed(ledger.layers):
        for place, node in enumerate(layer.nodes):
            yield from _all_parts("backward", layer.name, node, layer.backward(place))
    for parameter in ledger.parameters.values():
        yield from _weights(parameter)


def _of_error(error: ErrorFunction) -> Iterator[_Entry]:
    for name, *values in zip(error.names, error.outputs, error.answers, error.desired, strict=True):
        for quantity, value in zip(("output", "answer", "desired"), values, strict=True):
            yield "error", error.name, name, quantity, value
    yield from _parts("error", error.name, "", error.value, error.value.symbol)
    mean = f", mean of {round(1 / error.part)} members" if error.part != 1 else ""
    whole = {
        f"loss of the row{mean}": error.row_loss,
        "part of the batch": error.share,
        "loss of the batch": error.batch_loss,
    }
    yield from (("error", error.name, "", quantity, value) for quantity, value in whole.items())


def _all_parts(phase: str, layer: str, node: str, formulas: Iterable[Formula]) -> Iterator[_Entry]:
    met: Counter[str] = Counter()
    for each in formulas:
        met[each.symbol] += 1
        again = f" {met[each.symbol]}" if met[each.symbol] > 1 else ""
        yield from _parts(phase, layer, node, each, f"{each.symbol}{again}")


def _parts(phase: str, layer: str, node: str, given: Formula, symbol: str) -> Iterator[_Entry]:
    for place, (label, product) in enumerate(zip(given.labels, given.products, strict=True)):
        names = given.names[place] if given.names else ()
        if len(names) > 1:
            for name, factor in zip(names, given.factors, strict=False):
                yield phase, layer, node, f"{name}, in {symbol}: {label}", factor[place]
        if len(given.labels) > 1:
            yield phase, layer, node, f"{symbol}: {label}", product
    yield phase, layer, node, symbol, given.value


def _weights(parameter: Parameter) -> Iterator[_Entry]:
    change = parameter.change
    columns: list[tuple[str, Any]] = [
        ("∂E/∂w of the row", parameter.row_slope),
        ("∂E/∂w of the batch", parameter.batch_slope),
        ("old value", parameter.before),
        *change.state.items(),
        *((each.symbol, each.value) for each in change.steps),
        ("new value", parameter.after),
    ]
    rate = {} if change.rate is None else {"rate": change.rate}
    for quantity, value in (rate | change.constants).items():
        yield "change", parameter.name, "", quantity, value
    for index in np.ndindex(parameter.before.shape):
        name = parameter.named(index)
        for quantity, values in columns:
            phase = "derivative" if quantity.startswith("∂") else "change"
            yield phase, parameter.name, name, quantity, np.asarray(values)[index]


def of_node(layer: Layer, place: int) -> dict[str, Any]:
    """One node, forward and backward."""
    return {
        "node": layer.nodes[place],
        "layer": layer.name,
        "kind": layer.kind,
        "forward": [of_formula(each) for each in layer.forward(place)],
        "backward": [of_formula(each) for each in layer.backward(place)],
    }


def rows_of_node(ledger: Ledger, layer: Layer, place: int) -> Iterator[Row]:
    """One node in long form."""
    for phase, formulas in (("forward", layer.forward(place)), ("backward", layer.backward(place))):
        for entry in _all_parts(phase, layer.name, layer.nodes[place], formulas):
            yield ledger.moment.step, ledger.row, *entry[:4], float(entry[4])
