"""The ledger in lines for a terminal of 80 columns: the largest of everything, and what the rest comes to.

Names and texts may be cut, numbers and formulas never: what is too long for a line goes on in the next.
"""

from collections.abc import Iterator
from textwrap import wrap
from typing import NamedTuple

import numpy as np

from backpass.ledger.attribution import Why
from backpass.ledger.book import Layer, Ledger, Parameter
from backpass.ledger.choice import most_moved
from backpass.ledger.formula import Formula, cell, number
from backpass.ledger.plain import chosen_nodes, largest
from backpass.ledger.sentences import LONG, cut, of_change, of_prediction
from backpass.ledger.words import Cell

WIDTH = 80
NUMBER = 11  # columns of a number at the end of a line
SHORT = 6  # outputs that a short story names
NAME = 120  # characters of a name
MISSING = "(missing)"  # what stands in the place of an empty cell of a table


class Line(NamedTuple):
    """A line, and how it is shown where there are colours: "title", "name", "result", "less" or as it is."""

    text: str
    style: str = ""


def short(ledger: Ledger) -> Iterator[Line]:
    """The story of a row in a step on one screen: of each part the largest, and why the weight that moved most did."""
    error, whole = ledger.error, len(ledger.moment.rows) > 1
    yield from heading(ledger)
    yield Line("1  The row", "title")
    yield from _wrapped(_few([f"{cut(each.column, LONG)} {_raw(each.raw) or _encoded(each)}" for each in ledger.cells]))
    yield from _wrapped([f"{cut(name, LONG)} is {_raw(raw)}: the target" for name, raw in ledger.desired.items()])
    yield Line("2  Forward: what the network says", "title")
    order = largest(np.asarray(error.answers) if error.meaning else np.zeros(len(error.names)), None)
    yield from _wrapped(
        [f"{error.names[k]} {number(error.answers[k])} (desired {number(error.desired[k])})" for k in order[:SHORT]]
    )
    yield Line(f"3  The error function: {error.name}", "title")
    yield from _rule(ledger)
    own = f"E of member {ledger.member} is {number(float(error.value.value))}"
    mean = f"E of the row, the mean of the {ledger.members} members, is {number(error.row_loss)}"
    parts = [own, mean] if ledger.members > 1 else [f"E of the row is {number(error.row_loss)}"]
    parts += [f"{_part(ledger)} of it goes into that of the batch, {number(error.batch_loss)}"] * whole
    yield from _wrapped(["; ".join(parts)])
    yield Line("4  Backward: the error δ of each node's sum, by E of the row", "title")
    if error.errors:
        sizes = np.abs([float(each.value) for each in error.errors])
        yield from _formula(error.errors[int(sizes.argmax())], 4, indent=3)
    for layer in reversed(ledger.layers):
        chosen = chosen_nodes(layer, 2)
        if np.any(layer.deltas):
            worst = ", ".join(f"{layer.nodes[place]} {number(float(layer.deltas[place]))}" for place in chosen)
            off = f", {np.mean(layer.deltas == 0) * 100:.0f} % at 0" if np.any(layer.deltas == 0) else ""
            yield from _lines(f"   {layer.name}: {_count(len(layer.nodes), 'node')}{off}; largest {worst}")
    yield Line("5  The weights: the one that moved most", "title")
    moved, options = most_moved(ledger), ["--full"]
    if ledger.layers:
        last = ledger.layers[-1]
        options.append(f'--node "{last.nodes[chosen_nodes(last, 1)[0]]}"')
    if moved is not None:
        parameter, index = moved
        wire = parameter.wire(index)
        yield from _lines(f"   {parameter.named(index)}" + (f"  {wire}" if wire else ""), "name")
        yield from _wrapped([of_change(parameter, index)])
        options.append(f'--weight "{parameter.named(index)}"')
    yield Line("")
    yield from verdict(ledger)
    yield from _lines(f"more:  {', '.join(options)},", "less", hang=7)
    yield Line("       --html FILE to step through it in a browser", "less")


def _few(parts: list[str], what: str = "columns more") -> list[str]:
    """As many of them as two lines hold."""
    room, shown = 2 * (WIDTH - 3) - 40, len(parts)
    while shown > 1 and len(", ".join(parts[:shown])) > room:
        shown -= 1
    return parts if shown >= len(parts) - 1 else [*parts[:shown], f"and {len(parts) - shown} {what}"]


def _wrapped(parts: list[str]) -> Iterator[Line]:
    yield from _lines(f"   {', '.join(parts)}", hang=0)


def _lines(text: str, style: str = "", *, width: int = WIDTH, hang: int = 2) -> Iterator[Line]:
    """A line, or several where it is too long for one, the others so much further in."""
    indent = " " * (len(text) - len(text.lstrip()) + hang)
    parts = wrap(text, width, subsequent_indent=indent, break_on_hyphens=False)
    yield from (Line(part, style) for part in parts)


def _raw(raw: str | None) -> str:
    """What stands in a cell."""
    return MISSING if raw is None else cut(cell(raw), LONG)


def told(ledger: Ledger, *, nodes: int = 2, terms: int = 4) -> Iterator[Line]:
    """The whole story of a row in a step.

    Args:
        ledger: what is told.
        nodes: how many of each layer, those of the largest errors.
        terms: how many of each sum, the largest.
    """
    yield from heading(ledger)
    yield from _inputs(ledger)
    yield Line("")
    yield Line("2  Forward: sums of what goes in, and what the nodes make of them", "title")
    for layer in ledger.layers:
        chosen = chosen_nodes(layer, nodes)
        yield from _layer(layer, chosen)
        for node in chosen:
            yield from _node(layer.nodes[node], layer.forward(node), terms)
    yield Line("")
    yield from _error(ledger, terms)
    yield Line("")
    yield Line("4  Backward: each node's error, from the errors behind it", "title")
    for layer in reversed(ledger.layers):
        chosen = chosen_nodes(layer, nodes)
        yield from _layer(layer, chosen)
        for node in chosen:
            yield from _node(layer.nodes[node], layer.backward(node), terms)
    yield Line("")
    yield Line("5  The weights: of each layer the one with the largest part in this row", "title")
    for parameter in ledger.parameters.values():
        if parameter.before.size:
            place = largest(parameter.row_slope, 1)[0]
            index = tuple(int(i) for i in np.unravel_index(place, parameter.before.shape))
            yield from _weight(ledger, parameter, index, terms)
    yield Line("")
    yield from verdict(ledger)


def heading(ledger: Ledger) -> Iterator[Line]:
    """Which step and row it is."""
    moment, table = ledger.moment, ledger.words.table
    of = f" of {table}" if table else ""
    yield from _lines(f"step {moment.step:,}, row {ledger.row:,}{of}", "title")
    batch = f"epoch {moment.epoch:,}, its batch {moment.batch + 1:,}, of {_count(len(moment.rows), 'row')}"
    yield Line(f"  {batch}" + (f"; member {ledger.member} of {ledger.members}" if ledger.members > 1 else ""))
    yield Line("")


def of_node(ledger: Ledger, name: str, terms: int) -> Iterator[Line]:
    """One node, forward and backward."""
    layer, node = ledger.node(name)
    yield from heading(ledger)
    yield Line(f"{name}, of {layer.name}: {layer.kind}", "title")
    yield from _node("forward", layer.forward(node), terms)
    yield from _node("backward", layer.backward(node), terms)


def of_weight(ledger: Ledger, parameter: Parameter, index: tuple[int, ...], terms: int) -> Iterator[Line]:
    """Why one weight moved: the rows of the batch by their share of its change."""
    yield from heading(ledger)
    yield from _weight(ledger, parameter, index, terms)
    yield Line("")
    movers = parameter.movers(index)
    yield Line("Why it moved: what its change is the sum of", "title")
    yield from _terms(movers, terms)
    yield from _result("change", float(movers.value))
    if len(movers.labels) > len(ledger.moment.rows):
        yield Line("   The size of the step is held as it came out: each row's derivative counts", "less")
        yield Line(f"   {number(float(parameter.change.pull[index]))} times in it.", "less")


def of_why(found: Why, terms: int | None = None) -> Iterator[Line]:
    """Why a prediction is what it is."""
    when = "" if found.step is None else f" before step {found.step:,}"
    yield from _lines(f"row {found.row:,}{when}: {found.output} is {number(found.value)}", "title")
    yield from _wrapped([of_prediction(found)])
    if len(found.answers) > 1:
        yield from _wrapped([f"{name} {number(value)}" for name, value in found.answers.items()])
    if found.others:
        others = [cut(each, LONG) for each in found.others]
        yield from _lines(f"   --output NAME tells of another: {', '.join(_few(others, 'more'))}", "less", hang=0)
    yield Line(f"   of the mean of the rows trained on it is {number(found.baseline)}; from there, by")
    yield Line("   integrated gradients, the columns add")
    shown = found.shares if terms is None else found.shares[:terms]
    for share in shown:
        yield from _ended(f"   {cut(share.column, 32):<32}  {_raw(share.raw)}", share.value)
    rest = found.shares[len(shown) :]
    if rest:
        yield from _ended(f"   ... and {len(rest)} more", sum(each.value for each in rest), "less")
    total = sum(each.value for each in found.shares)
    yield from _ended("   sum", total, "result")
    yield from _ended(f"   {found.output} less that of the mean", found.value - found.baseline, "result")
    points = f"{found.points:,} points on the way"
    yield Line(f"   the sum is off by {abs(found.error):.2g} ({points})", "less")


def verdict(ledger: Ledger) -> Iterator[Line]:
    """Whether it adds up."""
    sums, kind = ledger.sums, ledger.precision
    share = f"{100 * sums.largest:.0f} % of what {kind} may round"
    if sums.largest <= 1:
        yield Line(f"the ledger adds up: {sums.count:,} sums, to within {share}", "result")
    else:
        yield Line(f"the ledger does NOT add up: {share}, in", "result")
        yield from _lines(f"  {sums.worst}")
    if sums.apart <= 1:
        yield Line(f"the {sums.weights:,} new weights are those of the run, to a hundred thousandth", "result")
    else:
        yield Line(
            f"of {sums.weights:,} new weights one differs from the run's by {10 * sums.apart:.0f} millionths", "result"
        )


def _inputs(ledger: Ledger) -> Iterator[Line]:
    yield Line("1  The inputs: what stands in the row, and what the network is given", "title")
    for each in ledger.cells:
        yield from _lines(f"   {cut(each.column, 28):<28}  {_raw(each.raw):<16}  {_encoded(each)}", hang=30)
    for name, raw in ledger.desired.items():
        yield from _lines(f"   {cut(name, 28):<28}  {_raw(raw):<16}  the target", hang=30)


def _encoded(cell: Cell) -> str:
    """What is not 0 of what a cell is encoded as."""
    parts = [
        number(value) if name == cell.column else f"{name.removeprefix(cell.column).strip()} {number(value)}"
        for name, value in cell.features
        if value or (name == cell.column and len(cell.features) == 1)
    ]
    return ", ".join(parts) or "0"


def _layer(layer: Layer, chosen: list[int]) -> Iterator[Line]:
    count = _count(len(layer.nodes), "node")
    shown = "" if len(chosen) == len(layer.nodes) else f", the {len(chosen)} of the largest errors"
    yield from _lines(f" {layer.name}  {layer.kind}: {count}{shown}", "name")


def _node(name: str, formulas: tuple[Formula, ...], terms: int) -> Iterator[Line]:
    yield from _lines(f"   {name}")
    for each in formulas:
        yield from _formula(each, terms)


def _formula(given: Formula, terms: int, *, short: int = 1, indent: int = 5) -> Iterator[Line]:
    """A sum with its terms; where these are so few that they are short, with the numbers put into it."""
    text, put = f"{'':<{indent}}{given.symbol} = {given.rule}", _put(given)
    beneath, hang = f"{'':<{indent + len(given.symbol)}} = {put}", len(given.symbol) + 3
    if len(given.labels) > short or (not given.put and len(beneath) > WIDTH - NUMBER - 1):
        yield from _lines(text, hang=hang)
        yield from _terms(given, terms)
        yield from _result(given.symbol, float(given.value))
    elif not put:
        yield from _ended(text, float(given.value), hang=hang)
    elif len(text) + len(put) + 3 < WIDTH - NUMBER:
        yield from _ended(f"{text} = {put}", float(given.value))
    else:
        yield from _lines(text, hang=hang)
        yield from _ended(beneath, float(given.value))


def _put(given: Formula) -> str:
    """The numbers of a short sum; "" where there is nothing to calculate."""
    if given.put:
        return given.put
    if len(given.labels) == len(given.factors) == 1:
        return ""
    terms = []
    for place in range(len(given.labels)):
        factors = [float(each[place]) for each in given.factors]
        if len(given.labels) > 1:  # a factor of 1 stands where others have more factors
            factors = [each for each in factors if each != 1] or [1.0]
        terms.append(
            " · ".join(number(each) if each >= 0 or not k else f"({number(each)})" for k, each in enumerate(factors))
        )
    return " + ".join(terms).replace("+ -", "- ")


def _terms(given: Formula, terms: int) -> Iterator[Line]:
    shown, count, rest = given.largest(terms)
    for each in shown:
        factors = [number(each.factors[0])]
        factors += [number(factor) for factor in each.factors[1:] if factor != 1 or len(each.factors) > 2]
        product = " · ".join(f"{factor:>10}" for factor in factors) if len(factors) > 1 else ""
        yield from _ended(f"       {product:<24} {cut(each.label, NAME)}", each.value, hang=25)
    if count:
        yield from _ended(f"       {'':<24} ... and {count:,} more", rest, "less")


def _result(symbol: str, value: float) -> Iterator[Line]:
    return _ended(f"     {symbol}", value, "result")


def _summed(given: Formula, terms: int) -> Iterator[Line]:
    """The terms of the error that are not 0."""
    shown, count, rest = given.largest(terms)
    for each in shown:
        if each.value:
            factors = [number(factor) for factor in each.factors if factor != 1]
            put = " · ".join(factors) if len(factors) > 1 else ""
            yield from _ended(f"     {each.label}" + (f" = {put}" if put else ""), each.value)
    if count:
        yield from _ended(f"     ... and {count:,} more", rest, "less")


def _rule(ledger: Ledger) -> Iterator[Line]:
    """The formula of the error function, and what has become of what is desired."""
    error = ledger.error
    if error.rule:
        yield from _lines(f"   E = {error.rule}", hang=4)
    if error.smoothing:
        yield Line(f"   of what is desired {error.smoothing:g} is spread evenly: label smoothing")
    for name, scaling in ledger.words.scalings.items():
        yield from _lines(f"   desired = {scaling}: {name} is scaled", hang=10)


def _part(ledger: Ledger) -> str:
    """What part of the loss of its batch the row's is."""
    share = ledger.error.share
    return f"1/{round(1 / share):,}" if share and ledger.moment.weights is None else number(share)


def _error(ledger: Ledger, terms: int) -> Iterator[Line]:
    error = ledger.error
    yield Line(f"3  The error function: {error.name}", "title")
    yield from _rule(ledger)
    same = np.array_equal(error.answers, error.outputs)
    meaning = "" if same else error.meaning or "answer"
    yield Line(f"   {'':<31}{'output':>{NUMBER}}{meaning:>{NUMBER}}{'desired':>{NUMBER}}")
    columns = zip(error.names, error.outputs, error.answers, error.desired, strict=True)
    for name, output, answer, desired in columns:
        meant = "" if same else number(answer)
        yield Line(f"   {cut(name, 31):<31}{number(output):>{NUMBER}}{meant:>{NUMBER}}{number(desired):>{NUMBER}}")
    yield from _summed(error.value, terms)
    whose = f"E of member {ledger.member}" if ledger.members > 1 else "E"
    yield from _ended(f"     {whose}", float(error.value.value), "result")
    if ledger.members > 1:
        yield from _ended(f"     E of the row, the mean of {ledger.members} members", error.row_loss, "result")
        if error.learning < ledger.members:
            yield Line(
                f"       of these {error.learning} learn from the row; the others hold it out, and validate on it"
            )
    if len(ledger.moment.rows) == 1:
        return
    part = error.share * error.row_loss
    yield from _ended(f"     {_part(ledger)} of it is its part in the loss of the batch", part)
    yield from _ended("     the loss of the batch, the sum of the parts of its rows", error.batch_loss)


def _weight(ledger: Ledger, parameter: Parameter, index: tuple[int, ...], terms: int) -> Iterator[Line]:
    """From one row's derivative to the new value."""
    wire = parameter.wire(index)
    yield from _lines(f" {parameter.named(index)}" + (f"  {wire}" if wire else ""), "name")
    yield from _wrapped([of_change(parameter, index)])
    yield from _formula(parameter.slopes.at(index), terms)
    batch, change = parameter.batch(index), parameter.change
    rows = _count(len(batch.labels), "row")
    if len(batch.labels) > 1:
        part = f"     this row counts {number(ledger.error.share)} in its batch"
        yield from _ended(part, ledger.error.share * float(parameter.row_slope[index]))
    yield from _ended(f"     g, of the batch: the shares of its {rows}, summed", float(batch.value))
    if change.rate is not None:
        text = f"     rate, the learning rate of {change.optimizer} in step {ledger.moment.step:,}"
        yield from _ended(text, change.rate)
    if change.rate_terms is not None:
        yield from _formula(change.rate_terms, terms, short=2)
    if change.constants:
        known = ", ".join(f"{name} {number(value)}" for name, value in change.constants.items())
        yield from _lines(f"     {known}", hang=0)
    for each in change.steps:
        yield from _formula(each.at(index), terms, short=2)
    yield from _formula(parameter.kept.at(index), terms, short=2)


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _ended(text: str, value: float, style: str = "", *, hang: int = 2) -> Iterator[Line]:
    """A line, or several, with a number at the end."""
    *above, last = _lines(text, style, width=WIDTH - NUMBER - 1, hang=hang)
    yield from above
    yield Line(f"{last.text:<{WIDTH - NUMBER - 1}} {number(value):>{NUMBER}}", style)
