"""The ledger of one row in one step: every number of back-propagation, with the terms that it is the sum of."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from backpass.data.arrays import Array
from backpass.data.naming import did_you_mean
from backpass.errors import UsageError
from backpass.forward import flatten, labels, unflatten
from backpass.ledger.changes import Change, Update, change_of
from backpass.ledger.errors import ErrorFunction, error_function
from backpass.ledger.formula import Formula, formula, joined, untold
from backpass.ledger.moment import Moment, Sight, View, look
from backpass.ledger.tellings import Telling, node_names, telling_of
from backpass.ledger.words import Cell, Words
from backpass.nn import CrossFitted, Ensemble
from backpass.records import dataclass

if TYPE_CHECKING:
    from backpass.ledger.plain import Row

# Of weights and changes, by which those written out and those of the run may differ: Adam divides its first gradients
# by their own size, and with that what float32 rounds of sums that nearly cancel.
AGREES = 1e-5


@dataclass(frozen=True, eq=False, repr=False)
class Layer:
    """A layer with the activation and the dropout behind it: nodes with a sum and what they pass on.

    Attributes:
        name: as "hidden_1".
        kind: as "Dense(64), ReLU, Dropout(0.2)".
        tellings: the layer itself, then what works on each of its nodes.
        takers: who takes what comes out: their tellings and which of their inputs it is, in the order of the network.
        others: names and what they hand back, of members that are not told.
        ends: the formulas of the errors, where these nodes are the outputs of the network.
        errors: of what the nodes pass on, as the engine has them.
    """

    name: str
    kind: str
    tellings: tuple[Telling, ...]
    takers: tuple[tuple[Telling, int], ...]
    others: tuple[tuple[str, Array], ...]
    ends: tuple[Formula, ...]
    errors: Array

    @property
    def nodes(self) -> Sequence[str]:
        """Their names."""
        return self.tellings[-1].names

    @property
    def sums(self) -> Array:
        """What the layer itself makes: weighted sums, where it is a Dense."""
        return self.tellings[0].y

    @property
    def values(self) -> Array:
        """What the nodes pass on."""
        return self.tellings[-1].y

    @property
    def deltas(self) -> Array:
        """The errors of the sums."""
        return self.tellings[0].error

    def forward(self, node: int) -> tuple[Formula, ...]:
        """From what goes in to what the node passes on."""
        return tuple(
            each
            for telling in self.tellings
            if telling.goes_forward
            for each in (*telling.inner(node), telling.forward(node))
        )

    def backward(self, node: int) -> tuple[Formula, ...]:
        """From the errors behind the node to the error of its sum."""
        back = [telling.back(node) for telling in reversed(self.tellings[1:])]
        return (self._blame(node), *back)

    def _blame(self, node: int) -> Formula:
        value = float(self.errors[node])
        parts = [taker.back(node, which) for taker, which in self.takers]
        parts += [_other(name, float(pull[node])) for name, pull in self.others]
        parts += [self.ends[node]] if self.ends else []
        if not parts:
            return untold("error", "by the reverse walk", value, self.name)
        rule = " + ".join(dict.fromkeys(part.rule for part in parts))
        symbol = "δ" if self.ends and len(self.tellings) == 1 else "error"
        return joined(symbol, rule, value, parts)


def _other(name: str, pull: float) -> Formula:
    return formula("error", "what other members hand back", pull, [(name, (pull,))])


@dataclass(frozen=True, eq=False, repr=False)
class Parameter:
    """The weights, biases or the like of a layer, in this step.

    Attributes:
        label: where they stand, as "1.hidden_1.weight".
        telling: the layer that they belong to.
        before, after: their values, those of the run.
        row_slope: the derivative of the row's own loss.
        batch_slope: that of the batch's loss, by which the optimizer changes them.
        made: the change that the optimizer makes of it, in the reference executor.
        update: what the optimizer was given.
        moment, view, words: the step, and how its rows are called.
    """

    label: str
    telling: Telling
    before: Array
    after: Array
    row_slope: Array
    batch_slope: Array
    made: Array
    update: Update
    moment: Moment
    view: View
    words: Words

    @property
    def name(self) -> str:
        """Without the member: "hidden_1.weight"."""
        return ".".join(part for part in (self.telling.name, self.label.rpartition(".")[2]) if part)

    def named(self, index: tuple[int, ...]) -> str:
        """One element: "hidden_1.weight[3,7]"."""
        return f"{self.name}[{','.join(map(str, index))}]" if index else self.name

    def wire(self, index: tuple[int, ...]) -> str:
        """What an element stands between, as "age -> hidden_1[7]"; "" where that has no name."""
        return self.telling.wire(self.label.rpartition(".")[2], index)

    @cached_property
    def slopes(self) -> Formula:
        """The derivative of the row's own loss by every element."""
        told = self.telling.slope(self.label.rpartition(".")[2])
        if told is None:
            value = np.asarray(self.row_slope, np.float64)
            return Formula("∂E/∂w", "by the reverse walk", value, [self.telling.name], (value[None],), told=False)
        return Formula(told.symbol, told.rule, self.row_slope, told.labels, told.factors, told.size, names=told.names)

    @cached_property
    def change(self) -> Change:
        """The way from the batch's derivative to the change, of every element."""
        return change_of(self.moment.optimizer, self.label, self.update, self.made)

    @cached_property
    def kept(self) -> Formula:
        """The new value: the old one and the change, against that of the run."""
        before, change = np.asarray(self.before, np.float64), self.change.steps[-1].written
        terms = [("old value", (before,)), ("change", (change,))]
        return formula("new", "old value + change", self.after, terms, names=[("old value",), ("change",)])

    def shares(self, index: tuple[int, ...]) -> Array:
        """What each row of the batch adds to the derivative by one element."""
        told = self.telling.shares(self.label.rpartition(".")[2], index)
        if told is not None:
            return told
        own = [float(self.view.of_row(row)[self.label][index]) for row in range(len(self.moment.rows))]
        return np.array(own) * self.moment.shares

    def batch(self, index: tuple[int, ...]) -> Formula:
        """The batch's derivative by one element: the sum of its rows' shares."""
        names = [f"row {self.words.row(int(row)):,}" for row in self.moment.rows]
        shares = self.shares(index)
        parts = self.moment.shares
        own = np.divide(shares, parts, out=np.zeros_like(shares), where=parts != 0)
        factors = [("part of the batch", "∂E/∂w of the row")] * len(names)
        rule = "Σ part of the batch · ∂E/∂w of the row"
        return Formula("g", rule, float(self.batch_slope[index]), names, (parts, own), names=factors)

    def movers(self, index: tuple[int, ...]) -> Formula:
        """What the change of one element is due to: each row of the batch, earlier steps, weight decay.

        The size of the step is held as it came out (of Adam its division by √v̂), so that the shares add up to it.
        """
        change, batch = self.change, self.batch(index)
        pull = float(change.pull[index])
        names = [("counts", "share of g")] * len(batch.labels)
        rows = Formula("", "", 0.0, batch.labels, (np.full(len(batch.labels), pull), batch.products), names=names)
        others = [formula("", "", 0.0, [(name, (float(value[index]),))]) for name, value in change.others]
        whole = joined("change", "Σ share of each row + what was kept of earlier steps", 0.0, [rows, *others])
        return replace(whole, value=float(self.made[index]))

    def of_run(self) -> Array:
        """How far each change is from that of the run's own program, in units of what is allowed."""
        after, before = (np.asarray(each, np.float64) for each in (self.after, self.before))
        written = self.change.steps[-1].written
        allowed = AGREES * (np.abs(before) + np.max(np.abs(written), initial=0))
        parts: Array = np.abs(before + written - after) / np.maximum(allowed, np.finfo(np.float64).tiny)
        return parts


@dataclass(frozen=True)
class Sums:
    """Whether the ledger adds up.

    Attributes:
        count: how many sums were compared with what the engine has.
        largest: the largest difference, as a part of what roundings of the engine's type allow.
        worst: where that is.
        weights: how many new weights were compared with those of the run.
        apart: the largest difference of those, as a part of what is allowed.
    """

    count: int
    largest: float
    worst: str
    weights: int
    apart: float

    @property
    def ok(self) -> bool:
        return self.largest <= 1 and self.apart <= 1


@dataclass(frozen=True, eq=False, repr=False)
class Ledger:
    """One row in one step of a training: forward, error function, backward, and the change of every weight.

    Attributes:
        moment: the step.
        words: how its inputs, outputs and rows are called.
        place: of the row in its batch.
        member, members: which network of an ensemble is told, of how many.
        cells: the columns of the row.
        layers: in the order of the forward pass.
        error: the error function.
        parameters: by label, in the order of the network.
    """

    moment: Moment
    words: Words
    place: int
    member: int
    members: int
    cells: tuple[Cell, ...]
    layers: tuple[Layer, ...]
    error: ErrorFunction
    parameters: dict[str, Parameter]

    @property
    def row(self) -> int:
        """The row's number."""
        return self.words.row(int(self.moment.rows[self.place]))

    @property
    def desired(self) -> dict[str, str]:
        """What stood in the table for the target; empty where there is none."""
        raw = self.words.raw(int(self.moment.rows[self.place]))
        return {name: raw[name] for name in self.words.targets if name in raw}

    @property
    def precision(self) -> Any:
        """The type of the weights."""
        return next((value.before.dtype for value in self.parameters.values()), np.dtype(np.float64))

    def __repr__(self) -> str:
        return f"Ledger(step={self.moment.step}, row={self.row}, loss={self.error.row_loss:.6g})"

    def __str__(self) -> str:
        return self.text()

    def text(self, *, nodes: int = 2, terms: int = 4) -> str:
        """What `backpass trace --full` prints: of each layer so many nodes, of each sum so many terms, the largest."""
        from backpass.ledger import terminal

        return "\n".join(line.text.rstrip() for line in terminal.told(self, nodes=nodes, terms=terms))

    def to_json(self) -> dict[str, Any]:
        """All of it as plain data."""
        from backpass.ledger.plain import plain

        return plain(self)

    def rows(self) -> "Iterator[Row]":
        """All of it number by number: step, row, phase, layer, node, quantity, value."""
        from backpass.ledger.plain import rows

        return rows(self)

    def to_html(self) -> str:
        """A page that steps through it, for a browser without a network."""
        from backpass.ledger.page import page

        return page(self)

    def layer(self, name: str) -> Layer:
        """The layer of this name.

        Raises:
            UsageError: there is none.
        """
        for layer in self.layers:
            if name == layer.name:
                return layer
        known = [layer.name for layer in self.layers]
        raise UsageError(f"no layer is named {name!r}. {did_you_mean(name, known, 'There are')}")

    def node(self, name: str) -> tuple[Layer, int]:
        """A node by its name, as "hidden_1[7]": its layer and place.

        Raises:
            UsageError: there is none.
        """
        for layer in self.layers:  # what is passed on as it is keeps its name: the first one makes it
            if name in layer.nodes:
                return layer, list(layer.nodes).index(name)
        known = [node for layer in self.layers for node in layer.nodes]
        raise UsageError(f"no node is called {name!r}. {_hint(name, known, 'There are')}")

    def weight(self, text: str) -> tuple[Parameter, tuple[int, ...]]:
        """A parameter and the index of one element, from "hidden_1.weight[3,7]" or "age -> hidden_1[7]".

        Raises:
            UsageError: there is no such weight.
        """
        wire = re.fullmatch(r"(.*\S)\s*->\s*(\S.*)", text.strip())
        if wire:
            return self._by_wire(wire[1], wire[2])
        found = re.fullmatch(r"(.*?)\[\s*(\d+(?:\s*,\s*\d+)*)\s*\]", text.strip())
        name, index = (found[1], tuple(map(int, found[2].split(",")))) if found else (text.strip(), ())
        known = {label: each for each in self.parameters.values() for label in (each.name, each.label)}
        if name not in known:
            names = [each.name for each in self.parameters.values()]
            raise UsageError(f"no weights are called {name!r}. {did_you_mean(name, names, 'There are')}")
        parameter = known[name]
        shape = parameter.before.shape
        if len(index) != len(shape) or any(i >= size for i, size in zip(index, shape, strict=True)):
            example = parameter.named(tuple(size - 1 for size in shape))
            raise UsageError(f"{text} is no weight: the last of {parameter.name} is {example}")
        return parameter, index

    def _by_wire(self, source: str, target: str) -> tuple[Parameter, tuple[int, ...]]:
        """The weight between two nodes."""
        reached = False
        for parameter in self.parameters.values():
            telling, kind = parameter.telling, parameter.label.rpartition(".")[2]
            if parameter.before.ndim == 0 or target not in telling.names:
                continue
            reached = True
            last = list(telling.names).index(target)
            if source == "bias" and kind == "bias":
                return parameter, (last,)
            if kind == "weight" and parameter.before.ndim == 2 and source in telling.given[0]:
                return parameter, (list(telling.given[0]).index(source), last)
        if not reached:
            nodes = [name for layer in self.layers for name in layer.nodes]
            raise UsageError(f"no node is called {target!r}. {_hint(target, nodes, 'There are')}")
        into = next(each.telling for each in self.parameters.values() if target in each.telling.names)
        raise UsageError(
            f"no weight leads from {source!r} to {target!r}. {_hint(source, list(into.given[0]), 'It takes')}"
        )

    def formulas(self) -> Iterator[tuple[str, Formula]]:
        """Every formula of the ledger, with where it stands; those of parameters hold all elements at once."""
        yield "error function", self.error.value
        for layer in self.layers:
            for node, name in enumerate(layer.nodes):
                for each in (*layer.forward(node), *layer.backward(node)):
                    yield f"{layer.name}, {name}", each
        for parameter in self.parameters.values():
            for each in (parameter.slopes, *parameter.change.steps):
                yield parameter.name, each

    @cached_property
    def sums(self) -> Sums:
        """Every sum made again from its terms, and compared with what the engine has; every change, with the run."""
        count, largest, worst = 0, 0.0, ""
        for where, each in self.formulas():
            if not each.told or not np.size(each.value):
                continue
            count += int(np.size(each.value))
            part = float(np.max(np.nan_to_num(each.difference / each.allowed(self.precision), nan=np.inf)))
            if part > largest:
                largest, worst = part, f"{where}: {each.symbol}"
        weights = sum(each.before.size for each in self.parameters.values())
        apart = max((float(np.max(each.of_run(), initial=0)) for each in self.parameters.values()), default=0.0)
        return Sums(count, largest, worst, weights, apart)


def _hint(name: str, known: list[str], title: str) -> str:
    """What may be meant: of a number that is too large the numbers that there are, or else the closest name."""
    layer, bracket, _ = name.rpartition("[")
    own = [each for each in known if bracket and each.startswith(f"{layer}[")]
    return f"{layer} has {own[0]} to {own[-1]}." if own else did_you_mean(name, known, title)


def ledger(moment: Moment, place: int, *, member: int | None = None, words: Words | None = None) -> Ledger:
    """The ledger of the row at `place` in the batch of a step.

    Args:
        moment: the step.
        place: of the row.
        member: of an ensemble, from 1 on; None for the first that learns from the row.
        words: how inputs, outputs and rows are called.

    Raises:
        UsageError: there is no such member.
    """
    view, names = look(moment, place), words or Words()
    members = len(view.outputs)
    member = _first_to_learn(view) if member is None else member
    if not 1 <= member <= members:
        whole = f"from 1 to {members}" if members > 1 else "1: it is a single network"
        raise UsageError(f"--member is {member}, expected {whole}")
    prefix = f"{member}." if isinstance(moment.network, (Ensemble, CrossFitted)) else ""
    tellings, nodes = _tellings(moment, view, prefix, names)
    error = _error(moment, view, member - 1, nodes)
    layers = _layers(view, tellings, error, member - 1)
    return Ledger(
        moment, names, place, member, members, _cells(moment, place, names), layers, error,
        _parameters(moment, view, tellings, names),
    )  # fmt: skip


def _kept(sight: Sight) -> bool:
    """Whether it says which rows are held out from a member."""
    return isinstance(sight.seen.layer, CrossFitted)


def _masks(view: View) -> list[Array]:
    """For each member of a CrossFitted which rows are held out from it."""
    return [sight.factor for sight in view.sights if _kept(sight) and sight.factor is not None]


def _first_to_learn(view: View) -> int:
    """The first member that the row is not held out from."""
    learns = [number for number, mask in enumerate(_masks(view), 1) if not mask[view.place].any()]
    return learns[0] if learns else 1


def _own(path: str, prefix: str) -> bool:
    """Whether a layer is of the member that is told, or of what all members share."""
    return not prefix or path.startswith((prefix, "first.")) or path in (prefix[:-1], "first")


def _short(path: str, prefix: str) -> str:
    return path.removeprefix(prefix).removeprefix("first.") if prefix else path


def _tellings(
    moment: Moment, view: View, prefix: str, words: Words
) -> tuple[dict[int, Telling], dict[int, Sequence[str]]]:
    """The layers that are told, by their place in the view, and the names of the nodes of each Tensor."""
    nodes: dict[int, Sequence[str]] = {}
    for name, entry in view.entries.items():
        size = int(np.prod(entry.shape[1:], dtype=int))
        default = [f"{name or 'x'}[{k}]" for k in range(size)] if entry.ndim > 1 else [name or "x"]
        features = words.features.get(name, ())
        nodes[id(entry)] = features if len(features) == size else default
    parameters = dict(zip(labels(moment.before), flatten(moment.before), strict=True))
    ends = {id(node) for node, _ in view.outputs}
    ends |= {id(x) for sight in view.sights if id(sight.seen.gives) in ends for x in sight.seen.takes if _kept(sight)}
    found: dict[int, Telling] = {}
    for place, sight in enumerate(view.sights):
        seen = sight.seen
        if not _own(seen.path, prefix):
            continue
        name, kind = _short(seen.path, prefix), telling_of(sight)
        given = tuple(
            nodes.get(id(x), [f"x[{k}]" for k in range(values[0].size)])
            for x, values in zip(seen.takes, sight.inputs, strict=True)
        )
        made: Sequence[str] = node_names(kind, name or "output", sight, given)
        if id(seen.gives) in ends and len(words.outputs) == len(made) and not kind.elementwise:
            made = [f"{name}[{output}]" for output in words.outputs]
        nodes[id(seen.gives)] = made
        start = f"{seen.path}." if seen.path else ""
        own = {label.removeprefix(start): value for label, value in parameters.items() if label.startswith(start)}
        found[place] = kind(
            name, sight, view.place, given, made, {key: value for key, value in own.items() if "." not in key}
        )
    return found, nodes


def _error(moment: Moment, view: View, member: int, nodes: dict[int, Sequence[str]]) -> ErrorFunction:
    node, outputs = view.outputs[member]
    row, members = view.place, len(view.outputs)
    flat = outputs[row].ravel()
    sight = next((each for each in view.sights if each.seen.gives is node), None)
    errors = np.zeros(flat.shape) if sight is None else sight.error.ravel()
    return error_function(
        moment.loss,
        nodes.get(id(node), [f"output[{k}]" for k in range(len(flat))]),
        flat,
        moment.targets[row],
        value=float(view.row_losses[member, row]),
        part=1 / members,
        row_loss=float(view.row_losses[:, row].mean()),
        learning=members - sum(bool(mask[row].any()) for mask in _masks(view)),
        errors=errors,
        share=float(moment.shares[row]),
        batch_loss=view.loss,
    )


def _layers(view: View, tellings: dict[int, Telling], error: ErrorFunction, member: int) -> tuple[Layer, ...]:
    takers: dict[int, list[tuple[int, int]]] = {}
    for place, sight in enumerate(view.sights):
        for which, x in enumerate(sight.seen.takes):
            takers.setdefault(id(x), []).append((place, which))
    groups: list[list[int]] = []
    for place, telling in tellings.items():
        (came, *_) = telling.sight.seen.takes
        alone = len(takers[id(came)]) == 1 and id(came) != id(view.outputs[member][0])
        if telling.elementwise and alone and groups and tellings[groups[-1][-1]].sight.seen.gives is came:
            groups[-1].append(place)
        else:
            groups.append([place])
    layers = []
    for group in groups:
        own = tuple(tellings[place] for place in group)
        node = own[-1].sight.seen.gives
        users = takers.get(id(node), [])
        others = [
            (f"member {view.sights[place].seen.path.partition('.')[0]}", view.sights[place].pulls[which])
            for place, which in users
            if place not in tellings
        ]
        layers.append(
            Layer(
                own[0].name,
                ", ".join(telling.kind for telling in own),
                own,
                tuple((tellings[place], which) for place, which in users if place in tellings),
                tuple((name, pull.ravel()) for name, pull in others if pull is not None),
                error.errors if node is view.outputs[member][0] else (),
                own[-1].error,
            )
        )
    return tuple(layers)


def given(moment: Moment) -> dict[str, Array]:
    """What the network is given, by the names of its inputs; not which rows its members hold out."""
    inputs = moment.inputs if isinstance(moment.inputs, dict) else {"": moment.inputs}
    aside = moment.network.fold if isinstance(moment.network, CrossFitted) else None
    return {name: values for name, values in inputs.items() if name != aside}


def _cells(moment: Moment, place: int, words: Words) -> tuple[Cell, ...]:
    """The row's columns, in the order of the network's inputs."""
    raw = words.raw(int(moment.rows[place]))
    found: dict[str, list[tuple[str, float]]] = {}
    for key, values in given(moment).items():
        row = values[place].ravel()
        names = words.features.get(key, ())
        default = [f"{key or 'x'}[{k}]" for k in range(len(row))] if values.ndim > 1 else [key or "x"]
        for name, value in zip(names if len(names) == len(row) else default, row, strict=True):
            found.setdefault(words.columns.get(name, name), []).append((name, float(value)))
    return tuple(
        Cell(column, (raw[column] or None) if column in raw else "", tuple(features))
        for column, features in found.items()
    )


def _parameters(moment: Moment, view: View, tellings: dict[int, Telling], words: Words) -> dict[str, Parameter]:
    names = labels(moment.before)
    before, after = (
        dict(zip(names, map(np.asarray, flatten(each)), strict=True)) for each in (moment.before, moment.after)
    )
    gradients = unflatten(moment.before, list(view.batch_slopes.values()))
    step = np.int64(moment.step - 1)
    with np.errstate(all="ignore"):
        changes, state = moment.optimizer.update(gradients, moment.state, moment.before, step)
    made = dict(zip(names, map(np.asarray, flatten(changes)), strict=True))
    update = Update(gradients, moment.state, state, moment.before, step)
    of_layer = {telling.sight.seen.path: telling for telling in tellings.values()}
    found = {}
    for label in names:
        telling = _holder(label, of_layer)
        if telling is not None:
            found[label] = Parameter(
                label, telling, before[label], after[label], view.row_slopes[label], view.batch_slopes[label],
                made[label], update, moment, view, words,
            )  # fmt: skip
    return found


def _holder(label: str, of_layer: dict[str, Telling]) -> Telling | None:
    """The layer in which a parameter stands."""
    path = label
    while path:
        path = path.rpartition(".")[0]
        if path in of_layer:
            return of_layer[path]
    return None
