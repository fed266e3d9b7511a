"""What each kind of layer does to a row, as formulas: forward, backward, and the derivatives of its parameters.

A kind without a telling of its own is told by what the engine has for it: the value and the error of each node.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import field
from typing import Any, ClassVar

import numpy as np

from backpass import nn
from backpass.data.arrays import Array
from backpass.ledger.activations import CURVES, Curve
from backpass.ledger.formula import Formula, formula, number, untold, worked
from backpass.ledger.moment import Sight
from backpass.nn.summary import describe_kind
from backpass.records import dataclass


@dataclass(frozen=True, eq=False)
class Telling:
    """A layer at work on one row.

    Attributes:
        name: of the layer, as "hidden_1".
        sight: what the engine calculated.
        place: of the row in the batch.
        given: the names of the nodes that go in, for each input of the layer.
        names: those of the nodes that come out.
        parameters: its own, by their names, as before the step.
    """

    name: str
    sight: Sight
    place: int
    given: tuple[Sequence[str], ...]
    names: Sequence[str]
    parameters: dict[str, Array] = field(default_factory=dict)

    elementwise: ClassVar[bool] = False
    """Whether each node that comes out is the one that goes in, changed."""

    goes_forward: ClassVar[bool] = True
    """Whether there is something to tell of the way forward."""

    @property
    def layer(self) -> Any:
        return self.sight.seen.layer

    @property
    def kind(self) -> str:
        return describe_kind(self.layer)

    def x(self, which: int = 0) -> Array:
        """What goes in, all numbers of the row in one axis."""
        row: Array = self.sight.inputs[which][self.place]
        return row.ravel()

    @property
    def y(self) -> Array:
        """What comes out."""
        row: Array = self.sight.outputs[self.place]
        return row.ravel()

    @property
    def error(self) -> Array:
        """The error of what comes out."""
        return self.sight.error.ravel()

    def pull(self, which: int = 0) -> Array:
        """The error that the layer hands back to what goes in."""
        pull = self.sight.pulls[which]
        return np.zeros(self.x(which).shape) if pull is None else pull.ravel()

    def inner(self, node: int) -> tuple[Formula, ...]:
        """What `forward` has worked out before, where that is more than one sum."""
        del node
        return ()

    def forward(self, node: int) -> Formula:
        """The value of a node that comes out."""
        return untold("a", f"by {self.kind}, as its graph calculates it", float(self.y[node]), self.kind)

    def back(self, node: int, which: int = 0) -> Formula:
        """What is handed back to a node that goes in."""
        value = float(self.pull(which)[node])
        return untold("error", f"back through {self.kind}, by the reverse walk", value, self.name)

    def slope(self, parameter: str) -> Formula | None:
        """The derivative of the row's loss by every element of a parameter, `value` left to be filled in."""
        del parameter
        return None

    def shares(self, parameter: str, index: tuple[int, ...]) -> Array | None:
        """What each row of the batch adds to the batch's derivative by one element; None where that is not written."""
        del parameter, index
        return None

    def wire(self, parameter: str, index: tuple[int, ...]) -> str:
        """What an element of a parameter stands between, in words; "" where it has no better name."""
        del parameter, index
        return ""


class Weighted(Telling):
    """Dense: weighted sums."""

    def forward(self, node: int) -> Formula:
        weights, x = self.parameters["weight"][:, node], self.x()
        labels, factors = list(self.given[0]), [weights.astype(np.float64), x.astype(np.float64)]
        if "bias" in self.parameters:
            labels.append("bias")
            factors = [np.append(factors[0], float(self.parameters["bias"][node])), np.append(factors[1], 1.0)]
        rule = "Σ weight · input + bias" if "bias" in self.parameters else "Σ weight · input"
        names = [("weight", "input")] * len(self.given[0]) + [("bias",)] * (len(labels) - len(self.given[0]))
        return Formula("z", rule, float(self.y[node]), labels, tuple(factors), names=names)

    def back(self, node: int, which: int = 0) -> Formula:
        weights = self.parameters["weight"][node].astype(np.float64)
        value = float(self.pull(which)[node])
        factors, names = (weights, self.error.astype(np.float64)), [("weight", "δ")] * len(self.names)
        return Formula("error", "Σ weight · δ", value, self.names, factors, names=names)

    def slope(self, parameter: str) -> Formula:
        delta = self.error.astype(np.float64)
        if parameter == "bias":
            return Formula("∂E/∂b", "δ", None, ["δ"], (delta[None],), names=[("δ",)])
        x = self.x().astype(np.float64)
        factors = (delta[None, None, :], x[None, :, None])
        return Formula("∂E/∂w", "δ · input", None, ["δ · input"], factors, names=[("δ", "input")])

    def shares(self, parameter: str, index: tuple[int, ...]) -> Array:
        delta = self.sight.batch_error[:, index[-1]].astype(np.float64)
        return delta if parameter == "bias" else delta * self.sight.inputs[0][:, index[0]]

    def wire(self, parameter: str, index: tuple[int, ...]) -> str:
        source = "bias" if parameter == "bias" else self.given[0][index[0]]
        return f"{source} -> {self.names[index[-1]]}"


class Bent(Telling):
    """An activation that works on each node by itself."""

    elementwise: ClassVar[bool] = True

    @property
    def curve(self) -> Curve:
        return CURVES[type(self.layer)]

    def forward(self, node: int) -> Formula:
        z = float(self.x()[node])
        with np.errstate(all="ignore"):
            a = float(self.curve.value(self.layer, np.float64(z)))
        # The engine's z is a rounded one, and where a is much smaller than z, so is that rounding not.
        put = re.sub(r"\bz\b", number(z) if z >= 0 else f"({number(z)})", self.curve.formula)
        terms, size = [(self.curve.formula, (a,))], max(abs(z), abs(a))
        return formula("a", self.curve.formula, float(self.y[node]), terms, size, put=put)

    def back(self, node: int, which: int = 0) -> Formula:
        z, error = float(self.x()[node]), float(self.error[node])
        with np.errstate(all="ignore"):
            a = self.curve.value(self.layer, np.float64(z))
            slope = float(self.curve.slope(self.layer, np.float64(z), a))
        rule = f"error · ({self.curve.derivative})"
        terms, names = [("error · slope", (error, slope))], [("error", self.curve.derivative)]
        return formula("δ", rule, float(self.pull(which)[node]), terms, error, names=names)


class Shared(Telling):
    """Softmax: every node that comes out depends on all that go in."""

    @property
    def _parts(self) -> Array:
        exponentials = np.exp(self.x().astype(np.float64) - self.x().max())
        return exponentials / exponentials.sum()  # type: ignore[no-any-return]

    def forward(self, node: int) -> Formula:
        rule = "exp(z) / Σ exp(z)"
        return formula("a", rule, float(self.y[node]), [(rule, (self._parts[node],))], 1.0)

    def back(self, node: int, which: int = 0) -> Formula:
        a, error = self._parts, self.error.astype(np.float64)
        slopes = a * ((np.arange(len(a)) == node) - a[node])
        value = float(self.pull(which)[node])
        rule, names = "Σ error · a · (1 for itself, else 0, - a of it)", [("error", "slope")] * len(self.names)
        return Formula("δ", rule, value, self.names, (error, slopes), names=names)


class Kept(Telling):
    """Dropout: some nodes are left out, the others grow."""

    elementwise: ClassVar[bool] = True

    def _factor(self, node: int) -> float:
        return float(self.sight.factor[self.place].ravel()[node]) if self.sight.factor is not None else 1.0

    def forward(self, node: int) -> Formula:
        factor = self._factor(node)
        share = f"{self.layer.rate:g} of the nodes are left out"
        rule = f"a · 0: {share}, it is one" if factor == 0 else f"a / (1 - {self.layer.rate:g}): {share}, it is kept"
        terms, names = [("a · mask", (float(self.x()[node]), factor))], [("a", "mask")]
        return formula("kept", rule, float(self.y[node]), terms, names=names)

    def back(self, node: int, which: int = 0) -> Formula:
        terms = [("error · mask", (float(self.error[node]), self._factor(node)))]
        value, names = float(self.pull(which)[node]), [("error", "mask")]
        return formula("error of a", "error · mask", value, terms, names=names)


class HeldOut(Telling):
    """CrossFitted: a member learns nothing from the rows of its fold."""

    elementwise: ClassVar[bool] = True
    goes_forward: ClassVar[bool] = False

    @property
    def is_held_out(self) -> bool:
        """Whether it is such a row."""
        return self.sight.factor is not None and bool(self.sight.factor[self.place].ravel()[0])

    @property
    def kind(self) -> str:
        return "has this row held out" if self.is_held_out else "learns from this row"

    def back(self, node: int, which: int = 0) -> Formula:
        factor, why = (0.0, "the row is held out from it") if self.is_held_out else (1.0, "it learns from the row")
        terms = [("error · mask", (float(self.error[node]), factor))]
        value, names = float(self.pull(which)[node]), [("error", "mask")]
        return formula("δ", f"error · {factor:g}: {why}", value, terms, names=names)


class LookedUp(Telling):
    """Embedding: a row of the table."""

    def _level(self) -> int:
        return int(self.x()[0])

    def forward(self, node: int) -> Formula:
        value = float(self.parameters["table"][self._level(), node])
        rule = f"row {self._level()} of the table, that of {self.given[0][0]}"
        return formula("a", rule, float(self.y[node]), [(f"table[{self._level()},{node}]", (value,))])

    def slope(self, parameter: str) -> Formula:
        chosen = (np.arange(len(self.parameters[parameter])) == self._level()).astype(np.float64)
        delta = self.error.astype(np.float64)
        factors, names = (delta[None, None, :], chosen[None, :, None]), [("δ", "1 in the row of the level")]
        return Formula("∂E/∂w", "δ in the row of the level, else 0", None, ["δ"], factors, names=names)

    def shares(self, parameter: str, index: tuple[int, ...]) -> Array:
        del parameter
        mine = self.sight.inputs[0].reshape(len(self.sight.inputs[0])) == index[0]
        shares: Array = self.sight.batch_error[:, index[1]].astype(np.float64) * mine
        return shares

    def wire(self, parameter: str, index: tuple[int, ...]) -> str:
        del parameter
        return f"level {index[0]} -> {self.names[index[1]]}"


class Coded(Telling):
    """OneHot: 1 at the place of the level."""

    def forward(self, node: int) -> Formula:
        level = int(self.x()[0])
        rule = f"1 for level {node}, else 0; {self.given[0][0]} is of level {level}"
        return formula("a", rule, float(self.y[node]), [(self.given[0][0], (float(level == node),))])


class Waves(Telling):
    """Periodic: the numbers as they are, and then cosines of some of them."""

    def _wave(self, node: int) -> tuple[int, int] | None:
        """Which feature and which of its waves a node that comes out is; None for the numbers themselves."""
        count = len(self.x())
        return None if node < count else divmod(node - count, self.layer.waves)

    def _turns(self, feature: int, waves: Any = slice(None)) -> Any:
        """The angles of waves of a feature."""
        frequency, phase = (self.parameters[name].astype(np.float64)[feature, waves] for name in ("frequency", "phase"))
        return 2 * math.pi * (frequency * float(self.x()[self.layer.features[feature]]) + phase)

    def forward(self, node: int) -> Formula:
        wave = self._wave(node)
        if wave is None:
            return formula("a", "the number itself", float(self.y[node]), [(self.given[0][node], (self.x()[node],))])
        angle = float(self._turns(*wave))
        terms = [(f"cos({angle:.5g})", (math.cos(angle),))]
        return formula("a", "cos(angle)", float(self.y[node]), terms, 1 + abs(angle), names=[("cos(angle)",)])

    def inner(self, node: int) -> tuple[Formula, ...]:
        wave = self._wave(node)
        if wave is None:
            return ()
        feature = self.layer.features[wave[0]]
        frequency, phase = (float(self.parameters[name][wave]) for name in ("frequency", "phase"))
        terms = [
            ("2π · frequency · x", (2 * math.pi, frequency, float(self.x()[feature]))),
            ("2π · phase", (2 * math.pi, phase)),
        ]
        names = [("2π", "frequency", self.given[0][feature]), ("2π", "phase")]
        return (worked("angle", "2π · (frequency · x + phase)", terms, names=names),)

    def back(self, node: int, which: int = 0) -> Formula:
        labels, errors, slopes, rates = [self.names[node]], [float(self.error[node])], [1.0], [1.0]
        size = abs(errors[0])
        if node in self.layer.features:
            feature = self.layer.features.index(node)
            angles, waves = self._turns(feature), self.layer.waves
            first = len(self.x()) + feature * waves
            labels += self.names[first : first + waves]
            errors += self.error[first : first + waves].tolist()
            slopes += (-np.sin(angles)).tolist()
            turns = 2 * math.pi * self.parameters["frequency"][feature].astype(np.float64)
            rates += turns.tolist()
            size += float(np.abs(self.error[first : first + waves]) @ (np.abs(turns) * (1 + np.abs(angles))))
        rule = "its own error + Σ error of a wave · -sin(angle) · 2π · frequency"
        factors = (np.array(errors), np.array(slopes), np.array(rates))
        names = [("error",), *[("error", "-sin(angle)", "2π · frequency")] * (len(labels) - 1)]
        return Formula("error", rule, float(self.pull(which)[node]), labels, factors, size, names=names)

    def slope(self, parameter: str) -> Formula:
        angles = np.stack([self._turns(feature) for feature in range(len(self.layer.features))])
        delta = self.error[len(self.x()) :].astype(np.float64).reshape(angles.shape)
        inner = self._inner(self.x()[None], parameter)[0][:, None]
        size = np.abs(delta * inner) * (1 + np.abs(angles))
        last = "2π · x" if parameter == "frequency" else "2π"
        rule, names = f"δ · -sin(angle) · {last}", [("δ", "-sin(angle)", last)]
        factors = (delta[None], -np.sin(angles)[None], inner[None])
        return Formula("∂E/∂w", rule, None, [rule], factors, size, names=names)

    def _inner(self, x: Array, parameter: str) -> Array:
        """The derivative of the angles by a parameter, (rows, features)."""
        chosen = x[:, list(self.layer.features)].astype(np.float64)
        return 2 * math.pi * (chosen if parameter == "frequency" else np.ones_like(chosen))

    def shares(self, parameter: str, index: tuple[int, ...]) -> Array:
        feature, wave = index
        x = self.sight.inputs[0]
        frequency, phase = (float(self.parameters[name][index]) for name in ("frequency", "phase"))
        angles = 2 * math.pi * (frequency * x[:, self.layer.features[feature]].astype(np.float64) + phase)
        delta = self.sight.batch_error[:, x.shape[1] + feature * self.layer.waves + wave].astype(np.float64)
        return -delta * np.sin(angles) * self._inner(x, parameter)[:, feature]

    def wire(self, parameter: str, index: tuple[int, ...]) -> str:
        return f"{parameter} -> {self.names[len(self.given[0]) + index[0] * self.layer.waves + index[1]]}"


class Joined(Telling):
    """Concatenate: the nodes of several layers, one after another."""

    def forward(self, node: int) -> Formula:
        which, own = 0, node
        while own >= len(self.x(which)):
            own -= len(self.x(which))
            which += 1
        return formula("a", "as it is", float(self.y[node]), [(self.given[which][own], (self.x(which)[own],))])

    def back(self, node: int, which: int = 0) -> Formula:
        place = node + sum(len(self.x(each)) for each in range(which))
        value = float(self.pull(which)[node])
        return formula("error", "as it is", value, [(self.names[place], (float(self.error[place]),))])


class Added(Telling):
    """Residual: what goes in, plus what the layers make of it."""

    def forward(self, node: int) -> Formula:
        terms = [(self.given[which][node], (float(self.x(which)[node]),)) for which in range(len(self.given))]
        return formula("a", "input + what its layers make of it", float(self.y[node]), terms)

    def back(self, node: int, which: int = 0) -> Formula:
        value = float(self.pull(which)[node])
        return formula("error", "as it is", value, [(self.names[node], (float(self.error[node]),))])


class Moved(Telling):
    """Flatten: the same nodes in one axis."""

    def forward(self, node: int) -> Formula:
        return formula("a", "as it is", float(self.y[node]), [(self.given[0][node], (float(self.x()[node]),))])

    def back(self, node: int, which: int = 0) -> Formula:
        value = float(self.pull(which)[node])
        return formula("error", "as it is", value, [(self.names[node], (float(self.error[node]),))])


_TELLINGS: dict[type[nn.Layer], type[Telling]] = {
    nn.Dense: Weighted,
    nn.Dropout: Kept,
    nn.Embedding: LookedUp,
    nn.OneHot: Coded,
    nn.Periodic: Waves,
    nn.Concatenate: Joined,
    nn.CrossFitted: HeldOut,
    nn.Residual: Added,
    nn.Flatten: Moved,
    nn.Softmax: Shared,
    **dict.fromkeys(CURVES, Bent),
}
_OF_ROWS_OF_NUMBERS = (nn.Dense, nn.Softmax, nn.Periodic, nn.Concatenate)


def telling_of(sight: Sight) -> type[Telling]:
    """How a layer is told: in the general way where its rows are not simply rows of numbers."""
    kind = type(sight.seen.layer)
    plain = all(array.ndim == 2 for array in (*sight.inputs, sight.outputs))
    alone = sight.inputs[0].ndim == 1 and sight.outputs.ndim == 2
    if (kind in _OF_ROWS_OF_NUMBERS and not plain) or (kind in (nn.Embedding, nn.OneHot) and not alone):
        return Telling
    return _TELLINGS.get(kind, Telling)


def node_names(telling: type[Telling], name: str, sight: Sight, given: tuple[Sequence[str], ...]) -> Sequence[str]:
    """The names of the nodes that come out of a layer."""
    count = sight.outputs[0].size
    if telling.elementwise or telling in (Moved, Shared):
        return given[0]
    if telling is Joined:
        return [each for names in given for each in names]
    if telling is Waves:
        layer: Any = sight.seen.layer
        waves = [f"{given[0][place]} wave {k}" for place in layer.features for k in range(layer.waves)]
        return [*given[0], *waves]
    if telling in (LookedUp, Coded):
        return [f"{given[0][0]}[{k}]" for k in range(count)]
    return [f"{name}[{k}]" for k in range(count)]
