"""Which number was the first that is not finite, what it was made of, and why.

A training is the same bits whenever it is made. So nothing is noted while all is well: once a step has failed it is
made again from the weights before it, in the reference evaluator, which keeps every value; and from what is not finite
at its end the way leads back to the first element that is not finite though all that it is made of is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

import numpy as np

from backpass.data.arrays import Array
from backpass.forward import Traced
from backpass.forward.origin import Element, Group, made_of, origin, source
from backpass.graph import BATCH, Graph, Node
from backpass.ledger.words import Words
from backpass.ops.arithmetic import DIVIDE
from backpass.ops.elementary import EXP, EXPM1, LOG, LOG1P, POWER, SQRT
from backpass.ops.kinds import Contraction, Pointwise, Reduction, Source
from backpass.records import dataclass

GROWN = 30.0  # times: weights that grew by more since the beginning were driven there
LARGE = 100.0  # inputs and targets beyond this are not scaled
INPUT, TARGET, WEIGHT, STATE, MOMENT = "x", "y", "weights", "state", "moment"
"""How the names of the graph's inputs begin; those of parameters are their own."""

OVERFLOW = "overflow"


class Operand(NamedTuple):
    """What an operation works on: where it comes from, as "row 17 of hidden_1, node 3", and its number."""

    name: str
    value: float


@dataclass(frozen=True)
class Blame:
    """The first number of a step that is not finite.

    Attributes:
        step, epoch: from 1 on. Of a validation loss the step is the last one before it.
        layer: the layer, "loss", "optimizer" or what else the network's author named; "" where it has no name.
        part: "forward", "backward" or "update".
        row: of the table, from 1 on, or of the arrays, from 0 on; None where the number belongs to no row.
        table: what the table is called; "" for arrays.
        column: of the table, or of the input's array, that has a say in it; "" where none has.
        node: the number's place within its layer; () where there is but one.
        parameter: of a parameter's derivative or change, its name.
        operation: as "divide".
        operands: the largest of them.
        terms: how many products or terms it is the sum of; 0 where it is no sum.
        value: what came out: inf, -inf or nan, as text.
        others: how many other rows of the batch have such a number there, too.
        cause: what went wrong, as "division by zero".
        reason: why that came about, as far as the numbers tell: as "the learning rate is too high (...)".
        advice: what to do, the likeliest first; () where only the usual is left to say.
    """

    step: int
    epoch: int
    layer: str
    part: str
    row: int | None
    table: str
    column: str
    node: tuple[int, ...]
    parameter: str
    operation: str
    operands: tuple[Operand, ...]
    terms: int
    value: str
    others: int
    cause: str
    reason: str
    advice: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line."""
        if not self.operation:
            return self.cause
        words = [f"{self.part} in {self.layer}" if self.layer else f"in the {self.part} pass"]
        if self.row is not None:
            words.append(f"row {self.row:,} of {self.table or 'the inputs (counted from 0)'}")
        words += [f"column {self.column}"] if self.column else []
        if self.parameter:
            words.append(f"{self.parameter}{list(self.node) if self.node else ''}")
        elif self.node:
            words.append(f"node {', '.join(map(str, self.node))}")
        also = f", as in {self.others:,} other rows of the batch" if self.others else ""
        reason = f", likely since {self.reason}" if self.reason else ""
        return f"first {', '.join(words)}: {self._sum()} = {self.value}{also}: {self.cause}{reason}"

    def _sum(self) -> str:
        given = ", ".join(f"{each.name} = {each.value:.3g}" for each in self.operands)
        if not self.terms:
            return f"{self.operation}({given})"
        return f"{self.operation} of {self.terms:,} (largest: {given})"

    @property
    def is_local(self) -> bool:
        """Is it a matter of one operation, which no other learning rate will mend?"""
        return bool(self.advice) and not self.reason.startswith("the learning rate") and OVERFLOW not in self.cause

    def to_json(self) -> dict[str, Any]:
        """As plain data; numbers that JSON lacks are text."""
        operands = [{"name": name, "value": _plain(value)} for name, value in self.operands]
        return vars(self) | {"operands": operands, "node": list(self.node), "advice": list(self.advice)}


@dataclass(frozen=True, eq=False)
class Circumstances:
    """What is known beside the numbers of the step.

    Attributes:
        step, epoch: from 1 on.
        rows: of the batch, by their places among all.
        words: how things are called.
        start: the largest size in each parameter at the beginning of the training, by its name.
        rate: the learning rate, if it is a plain number.
    """

    step: int
    epoch: int
    rows: Array
    words: Words = field(default_factory=Words)
    start: Mapping[str, float] = field(default_factory=dict)
    rate: float | None = None


def blame(traced: Traced, values: Mapping[Node, Array], about: Circumstances, *, wanted: str = "") -> Blame:
    """The first number that is not finite in a step whose `values` are known; `wanted` is what is known to be bad."""
    bad = _end(traced.graph, values, wanted)
    if bad is None:
        return _nowhere(traced.graph, values, about)
    return _Case(traced.graph, values, about).told(origin(bad, values, len(about.rows)))


def _end(graph: Graph, values: Mapping[Node, Array], wanted: str) -> Node | None:
    """A result that is not finite: the loss, or else what is known to be bad, or else the first."""
    before: list[Any] = [None, *graph.inputs]
    changed = [
        (node, old.name if old is not None else "")
        for node, old in zip(graph.outputs, before, strict=False)
        if node is not old and node.dtype.kind == "f" and not np.isfinite(values[node]).all()
    ]
    first = [node for node, name in changed if not name or name == wanted]
    return next(iter([*first, *(node for node, _ in changed)]), None)


def _nowhere(graph: Graph, values: Mapping[Node, Array], about: Circumstances) -> Blame:
    """The evaluator meets nothing: it rounds otherwise than machine code, which counts near the largest number."""
    sizes = {node: float(np.abs(values[node]).max(initial=0.0)) for node in graph.nodes if node.dtype.kind == "f"}
    finite = {node: size for node, size in sizes.items() if np.isfinite(size)}
    place = max(finite, key=lambda node: finite[node])
    text = (
        "made again in the reference executor, which rounds otherwise, the step stays finite "
        f"(loss {float(values[graph.outputs[0]]):.3g}; largest number {finite[place]:.3g}, in "
        f"{place.name or place.op.name}): it is at the edge of what {place.dtype} can hold"
    )
    return Blame(about.step, about.epoch, "", "", None, "", "", (), "", "", (), 0, "", 0, text, "")


class _Case:
    """The evidence of one step."""

    def __init__(self, graph: Graph, values: Mapping[Node, Array], about: Circumstances) -> None:
        self.graph, self.values, self.about = graph, values, about
        self.inputs = set(graph.inputs)
        self.count = len(about.rows)

    def told(self, element: Element) -> Blame:
        node, _place = element
        if isinstance(node.op, Source) or node in self.inputs:
            user = next((each for each in self.graph.nodes if any(x is node for x in each.inputs)), node)
            return self._blame(element, user.name, (), "input" if node in self.inputs else "constant")
        groups, terms = made_of(element, self.values, self.count), 0
        if isinstance(node.op, Contraction):
            terms = len(groups[0].places)
            with np.errstate(all="ignore"):
                largest = int(np.argmax(np.abs(self._numbers(groups[0]) * self._numbers(groups[1]))))
            operands = [_element(group, largest) for group in groups]
        elif len(groups) == 1 and len(groups[0].places) != 1:
            terms = len(groups[0].places)
            operands = [_element(groups[0], int(np.argmax(np.abs(self._numbers(groups[0])))))] if terms else []
        else:
            operands = [_element(group, 0) for group in groups]
        operation = "sum of products" if isinstance(node.op, Contraction) else node.op.name
        return self._blame(element, node.name, operands, operation, terms)

    def _numbers(self, group: Group) -> Array:
        return np.asarray(self.values[group.node][tuple(group.places.T)], np.float64)

    def _value(self, element: Element) -> float:
        return float(self.values[element.node][element.place])

    def _blame(self, element: Element, name: str, operands: Sequence[Element], operation: str, terms: int = 0) -> Blame:
        about, value = self.about, self._value(element)
        layer, part, parameter = _place_of(name)
        found = [source(each, self.values, self.count) for each in operands]
        rows = [row for each in (element, *operands, *found) if (row := self._row(each)) is not None]
        columns = [column for each in (element, *found) if (column := self._column(each))]
        cause = self._cause(element, operands)
        deeper, advice = self._reason(element, operands, found, cause, rows, part)
        if deeper.startswith("the inputs are too large") and rows and not columns:
            columns = [self._column(self._largest_input(rows[0]))]
        return Blame(
            about.step,
            about.epoch,
            layer,
            part,
            int(about.words.row(int(about.rows[rows[0]]))) if rows else None,
            about.words.table,
            columns[0] if columns else "",
            _within(element),
            parameter,
            operation,
            tuple(Operand(self._name(each, name), self._value(each)) for each in found),
            terms,
            f"{value:g}",
            self._others(element),
            cause,
            deeper,
            advice,
        )

    def _row(self, element: Element) -> int | None:
        axes = [axis for axis, length in enumerate(element.node.shape) if length is BATCH]
        return element.place[axes[0]] if axes else None

    def _largest_input(self, row: int) -> Element:
        """Of a row of the batch."""
        real = [x for x in self.inputs if x.name.partition(".")[0] == INPUT and x.dtype.kind == "f" and x.ndim > 1]
        sizes = {x: np.abs(self.values[x][row]) for x in real}
        node = max(real, key=lambda x: float(sizes[x].max(initial=0.0)))
        return Element(node, (row, *map(int, np.unravel_index(int(np.argmax(sizes[node])), sizes[node].shape))))

    def _others(self, element: Element) -> int:
        """How many other rows have a number there that is not finite."""
        value, row = self.values[element.node], self._row(element)
        if row is None:
            return 0
        axis = element.node.shape.index(BATCH)
        bad = ~np.isfinite(np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)).all(axis=1)
        return int(bad.sum()) - 1

    def _column(self, element: Element) -> str:
        """The column that an element of the inputs or targets stands in."""
        words, (node, place) = self.about.words, element
        kind, _, key = node.name.partition(".")
        if node not in self.inputs or kind not in (INPUT, TARGET):
            return ""
        if kind == TARGET:
            at = place[-1] if len(place) > 1 else 0
            named = words.targets[at : at + 1]
            return str(named[0]) if named else "target" if np.prod(self.values[node].shape[1:]) == 1 else str(at)
        names = words.features.get(key, ())
        at = place[-1] if len(place) > 1 else 0
        if at < len(names):
            return str(words.columns.get(names[at], names[at]))
        return f'"{key}" {at}' if key else str(at)

    def _name(self, element: Element, within: str = "") -> str:
        """What an operand is called; what has no name of its own there by what makes it."""
        node, place = element
        if node in self.inputs:
            kind = node.name.partition(".")[0]
            column = self._column(element)
            if column:
                return column if column == "target" else f"{'target' if kind == TARGET else 'column'} {column}"
            if kind == WEIGHT:
                return "the row's weight"
            at = f"[{','.join(map(str, place))}]" if place else ""
            return f"{node.name}{at}"
        if isinstance(node.op, Source):
            return "constant"
        layer, part, parameter = _place_of(node.name)
        at = f"[{','.join(map(str, _within(element)))}]" if _within(element) else ""
        if node.name == within:
            return f"{node.op.name}{at}"
        words = {"forward": layer, "backward": f"error at {layer}", "update": parameter or layer}
        return f"{words[part] or 'value'}{at}"

    def _cause(self, element: Element, operands: Sequence[Element]) -> str:
        """What went wrong, by the operation and its numbers."""
        node = element.node
        given = [self._value(each) for each in operands]
        if node in self.inputs:
            return _OF_INPUTS.get(node.name.partition(".")[0], f"{node.name} was not finite before the step")
        if isinstance(node.op, Source):
            return "a constant that is not finite"
        if isinstance(node.op, Pointwise) and given and np.isfinite(given).all():
            told = _of_operation(node, given)
            if told:
                return told
        undefined = bool(np.isnan(self.values[node][element.place]))
        if undefined and not isinstance(node.op, (Contraction, Reduction)):  # in these an overflow minus another
            return f"{node.op.name} is not defined there"
        return f"{OVERFLOW} of {node.dtype}, whose largest number is {float(np.finfo(node.dtype).max):.2g}"

    def _reason(
        self,
        element: Element,
        operands: Sequence[Element],
        found: Sequence[Element],
        cause: str,
        rows: Sequence[int],
        part: str,
    ) -> tuple[str, tuple[str, ...]]:
        """Why, and what to do."""
        if element.node in self.inputs or isinstance(element.node.op, Source):
            rate, most = self.about.rate, float(np.finfo(element.node.dtype).max)
            if part == "update" and rate is not None and rate > most:
                return f"the learning rate is too high: {rate:.3g} is more than {element.node.dtype} can hold", ()
            return "", ("see to that value",)
        behind = [self._behind(each.node) for each in (operands or [element])]
        judged = next((each for each in zip(behind, found, strict=False) if self._at_fault(element, each[1])), None)
        names = judged[0] if judged else set().union(*behind)
        if names and names <= {TARGET} and rows:
            size = "too large" if OVERFLOW in cause else "out of the loss's domain"
            return f"the target of that row is {size}", ("see to that target, or choose another loss",)
        if names and names <= {INPUT} and rows:
            size = "too large" if OVERFLOW in cause else "out of the domain of the operation"
            return f"the input of that row is {size}", ("scale the inputs, or see to that value",)
        if OVERFLOW in cause:
            return self._growth(found, rows, part)
        if part == "update":
            return "", ("see to the optimizer's options, such as its epsilon",)
        grown = self._grown(found)
        if grown:
            return grown
        return "", ("keep that operand within the domain of the operation, as by a small number that is added",)

    def _at_fault(self, element: Element, operand: Element) -> bool:
        """Is this the operand whose number the operation is not defined for?"""
        value = self._value(operand)
        if element.node.op in (LOG, LOG1P, SQRT):
            return True
        return element.node.op is DIVIDE and value == 0 and operand.node is not element.node

    def _behind(self, node: Node) -> set[str]:
        """The kinds of the graph's inputs that a value is calculated from."""
        found, seen, waiting = set(), set(), [node]
        while waiting:
            each = waiting.pop()
            if each in seen:
                continue
            seen.add(each)
            waiting += each.inputs
            if each in self.inputs and each.name != MOMENT:
                kind = each.name.partition(".")[0]
                found.add(kind if kind in (INPUT, TARGET, WEIGHT, STATE) else "parameter")
        return found

    def _growth(self, found: Sequence[Element], rows: Sequence[int], part: str) -> tuple[str, tuple[str, ...]]:
        """Why a number became too large."""
        sizes = self._sizes(rows)
        rate = self.about.rate
        if rate is not None and rate > 1 and part == "update" and max(sizes.values()) <= LARGE:
            return f"the learning rate is too high ({rate:.3g})", ()
        if grown := self._grown(found):
            return grown
        for kind, what in ((INPUT, "inputs"), (TARGET, "targets")):
            if sizes.get(kind, 0.0) > LARGE:
                return f"the {what} are too large (up to {sizes[kind]:.3g})", (f"scale the {what}",)
        own = [each for each in found if each.node in self.inputs]
        largest = max(own, key=lambda each: abs(self._value(each)), default=None)
        if largest is not None and abs(self._value(largest)) > LARGE and not self._column(largest):
            return f"{self._name(largest)} is too large", ("begin with smaller weights",)
        return "values grow from layer to layer", ("normalize between layers, or begin with smaller weights",)

    def _grown(self, found: Sequence[Element]) -> tuple[str, tuple[str, ...]] | None:
        """Weights that are far larger than at the beginning were driven there by steps that are too long."""
        start, now = self.about.start, {}
        for node in self.graph.inputs:
            if node.name in start:
                now[node.name] = float(np.abs(self.values[node]).max(initial=0.0))
        usual = max(start.values(), default=0.0) or 1.0
        ratios = {name: size / max(start[name], usual) for name, size in now.items()}
        own = [each.node.name for each in found if ratios.get(each.node.name, 0.0) >= GROWN]
        name = own[0] if own else max(ratios, key=lambda each: ratios[each], default=None)
        if name is None or ratios[name] < GROWN:
            return None
        sizes = self._sizes(range(self.count))
        for kind, what in ((INPUT, "inputs"), (TARGET, "targets")):
            if sizes.get(kind, 0.0) > LARGE:
                told = f"the learning rate is too high for {what} up to {sizes[kind]:.3g}"
                return f"{told} ({name} up to {now[name]:.3g}, {start[name]:.3g} at first)", (f"scale the {what}",)
        return f"the learning rate is too high ({name} up to {now[name]:.3g}, {start[name]:.3g} at first)", ()

    def _sizes(self, rows: Sequence[int] | range) -> dict[str, float]:
        """The largest inputs and targets; of these rows, if there are any."""
        sizes: dict[str, float] = {INPUT: 0.0}
        chosen = list(rows)
        for node in self.graph.inputs:
            kind, value = node.name.partition(".")[0], self.values[node]
            if kind in (INPUT, TARGET) and value.dtype.kind == "f" and node.shape[:1] == (BATCH,):
                own = value[chosen] if chosen else value
                sizes[kind] = max(sizes.get(kind, 0.0), float(np.abs(own).max(initial=0.0)))
        return sizes


_OF_INPUTS = {
    INPUT: "an input that is not finite",
    TARGET: "a target that is not finite",
    WEIGHT: "a row weight that is not finite",
    STATE: "what the optimizer keeps was not finite before the step",
}


def _of_operation(node: Node, given: Sequence[float]) -> str:
    """What an operation does not allow; "" where its result is only too large."""
    op, first, last = node.op, given[0], given[-1]
    if op is DIVIDE and last == 0:
        return "division by zero"
    if op in (LOG, LOG1P):
        below = -1.0 if op is LOG1P else 0.0
        return "log of zero" if first == below else "log of a negative number" if first < below else ""
    if op is SQRT and first < 0:
        return "root of a negative number"
    if op is POWER and first == 0 and last < 0:
        return "division by zero (a power of 0 below 0)"
    if op is POWER and first < 0 and last != round(last):
        return "root of a negative number"
    if op in (EXP, EXPM1):
        return f"{OVERFLOW} of exp, which {node.dtype} holds up to {np.log(float(np.finfo(node.dtype).max)):.1f}"
    if op is DIVIDE and abs(last) < 1:
        return f"{OVERFLOW} of a quotient, whose divisor is next to 0"
    return ""


def _place_of(name: str) -> tuple[str, str, str]:
    """Layer, part of the step, and parameter that the name of a node tells."""
    if name == "update" or name.startswith("update."):
        return "the optimizer", "update", name.partition(".")[2].rstrip("'")
    plain = name.rstrip("'")
    return plain, "backward" if name.endswith("'") else "forward", ""


def _within(element: Element) -> tuple[int, ...]:
    """The place within a row, or within a parameter."""
    return tuple(at for at, length in zip(element.place, element.node.shape, strict=True) if length is not BATCH)


def _element(group: Group, place: int) -> Element:
    return Element(group.node, tuple(map(int, group.places[place])))


def _plain(value: float) -> float | str:
    return value if np.isfinite(value) else f"{value:g}"
