"""Remedies: what can be changed of a case without asking anybody, and the case with the change."""

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np

from backpass import losses, nn
from backpass.data.arrays import Array, Inputs, count_rows, take_rows
from backpass.doctor.case import Case
from backpass.doctor.dial import changed, multiplied, with_rate
from backpass.ledger.watching import rebuilt
from backpass.nn import Dense, Dropout, Layer
from backpass.nn.activations import Activation
from backpass.optimizers import Adam, Optimizer
from backpass.records import dataclass
from backpass.training.rows import weights_by_label

PATIENCE = 10


@dataclass(frozen=True)
class Remedy:
    """Changes of a training; what is not given stays as it is.

    Args:
        rate: what learning rates are multiplied by.
        adam: the learning rate of an Adam in the place of the optimizer; 0 leaves that.
        starts: whether all weights and biases start from what suits their layer.
        activation: of the hidden layers, by its name in `nn.ACTIVATIONS`.
        bare: whether the activation at the output is left out.
        inputs: whether each column of the inputs is brought to mean 0 and deviation 1.
        targets: whether the targets are.
        free: whether dropout and weight decay are left out.
        wider: what the number of nodes of each hidden layer is multiplied by.
        hidden: nodes of a hidden layer where there is none.
        epochs: what their number is multiplied by.
        stop: whether training ends at the best validation loss.
        balanced: whether every class counts the same: of probabilities, each is divided by its class's share before
            the likeliest is the answer; where there are none, by the weights of rows.
        without: columns that are left out.
        forget: rows that are not trained on.
    """

    rate: float = 1.0
    adam: float = 0.0
    starts: bool = False
    activation: str = ""
    bare: bool = False
    inputs: bool = False
    targets: bool = False
    free: bool = False
    wider: int = 1
    hidden: int = 0
    epochs: int = 1
    stop: bool = False
    balanced: bool = False
    without: tuple[int, ...] = ()
    forget: tuple[int, ...] = ()

    def then(self, more: "Remedy") -> "Remedy":
        """Both; where they differ in what something is to be, `more` says."""
        return Remedy(
            rate=more.rate if more.adam else self.rate * more.rate,
            adam=more.adam or self.adam,
            activation=more.activation or self.activation,
            wider=self.wider * more.wider,
            hidden=more.hidden or self.hidden,
            epochs=self.epochs * more.epochs,
            without=tuple(sorted({*self.without, *more.without})),
            forget=tuple(sorted({*self.forget, *more.forget})),
            **{name: getattr(self, name) or getattr(more, name) for name in _SWITCHES},
        )

    def parts(self) -> tuple[str, ...]:
        """The names of what is changed."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) != f.default)

    def lacking(self, part: str) -> "Remedy":
        """The same without one of its parts."""
        usual: dict[str, Any] = {part: next(f.default for f in fields(self) if f.name == part)}
        return replace(self, **usual)

    def to_json(self) -> dict[str, Any]:
        """What is changed."""
        given = {name: getattr(self, name) for name in self.parts()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}

    def applied(self, case: Case) -> Case:
        """The case with the changes, not yet trained."""
        network, optimizer = self.network(case.network), self.optimizer(case.optimizer)
        held_inputs, held_targets, held_weights = case.held_out
        inputs, targets, weights = case.inputs, case.targets, case.weights
        if self.without:
            inputs, held_inputs = (_levelled(x, self.without, case.inputs) for x in (inputs, held_inputs))
        if self.inputs:
            inputs, held_inputs = (_scaled(x, case.inputs) for x in (inputs, held_inputs))
        if self.targets:
            center, spread = _moments(case.targets)
            targets, held_targets = ((y - center) / spread for y in (targets, held_targets))
        shares = case.shares
        if self.balanced and not isinstance(case.loss, losses.Hinge):
            counts = np.bincount(case.labels, minlength=case.constant.shape[-1])
            shares = np.maximum(counts, 1) / counts.sum()
        elif self.balanced:  # there are no probabilities
            own = weights_by_label(case.labels, "balanced")
            weights = np.array([own[label] for label in case.labels.tolist()], case.precision)
            held_weights = np.array(
                [own.get(label, 1.0) for label in case.labels_of(held_targets).tolist()], case.precision
            )
        if self.forget:
            kept = np.setdiff1d(np.arange(count_rows(inputs)), self.forget)
            inputs, targets, weights = (
                take_rows(inputs, kept),
                targets[kept],
                None if weights is None else weights[kept],
            )
        return replace(
            case,
            network=network,
            optimizer=optimizer,
            inputs=inputs,
            targets=targets,
            weights=weights,
            held_out=(held_inputs, held_targets, held_weights),
            epochs=math.ceil(
                case.epochs * self.epochs * case.rows / count_rows(inputs)
            ),  # as many steps with fewer rows
            history=[],
            parameters=None,
            patience=self.patience(case.patience),
            shares=shares,
        )

    def patience(self, given: int | None) -> int | None:
        """What early stopping waits: with more epochs as many times as long, or it would end as soon."""
        if given is None:
            return PATIENCE if self.stop else None
        return given * self.epochs

    def network(self, network: Layer) -> Layer:
        if self.bare:
            network = without_last_activation(network)
        if self.free:
            network = rebuilt(network, lambda layer: Dropout(0.0) if isinstance(layer, Dropout) else layer)
        if self.starts:
            network = rebuilt(network, _started)
        if self.activation:
            network = hidden_activation(network, self.activation)
        if self.hidden:
            network = with_hidden(network, self.hidden)
        return network if self.wider == 1 else wider(network, self.wider)

    def optimizer(self, optimizer: Optimizer) -> Optimizer:
        if self.adam:
            return Adam(self.adam * self.rate)
        if self.free:
            optimizer = changed(optimizer, _without_decay)
        return optimizer if self.rate == 1 else with_rate(optimizer, lambda rate: multiplied(rate, self.rate))


_SWITCHES = tuple(f.name for f in fields(Remedy) if isinstance(f.default, bool))


def told(remedy: Remedy) -> str:
    """The changes of a network and its training in words."""
    words = {
        "inputs": "columns brought to mean 0 and deviation 1",
        "targets": "targets brought to mean 0 and deviation 1",
        "starts": "default starts of all weights",
        "activation": f"{remedy.activation} in hidden layers",
        "wider": f"{remedy.wider} times as many nodes in hidden layers",
        "bare": "nothing after the last layer",
        "free": "no dropout, no weight decay",
        "adam": f"Adam at {remedy.adam * remedy.rate:g}",
    }
    return ", ".join(text for name, text in words.items() if name in remedy.parts())


def _started(layer: Layer) -> Layer:
    return replace(layer, initializer=None, bias_initializer=nn.Constant()) if isinstance(layer, Dense) else layer


def _without_decay(part: Any) -> Any:
    if hasattr(part, "weight_decay"):
        return replace(part, weight_decay=0.0)
    return replace(part, rate=0.0) if type(part).__name__ == "WeightDecay" else part


def at_the_end(network: Layer) -> Layer | None:
    """The layer whose outputs the loss takes."""
    if isinstance(network, nn.Sequential) and not isinstance(network, nn.Residual):
        found = [layer for layer in network.layers.values() if not layer.passes_on]
        return at_the_end(found[-1]) if found else None
    return network


def without_last_activation(network: Layer) -> Layer:
    last = at_the_end(network)
    return rebuilt(network, lambda layer: nn.Identity() if layer is last and isinstance(last, Activation) else layer)


def hidden_activation(network: Layer, name: str) -> Layer:
    last, made = at_the_end(network), nn.ACTIVATIONS[name]()

    def swap(layer: Layer) -> Layer:
        hidden = isinstance(layer, Activation) and layer is not last and not isinstance(layer, nn.Softmax)
        return made if hidden else layer

    return rebuilt(network, swap)


def wider(network: Layer, factor: int) -> Layer:
    last = at_the_end(network)

    def widened(layer: Layer) -> Layer:
        return replace(layer, units=layer.units * factor) if isinstance(layer, Dense) and layer is not last else layer

    return rebuilt(network, widened)


def with_hidden(network: Layer, units: int) -> Layer:
    """A network of one Dense with a hidden layer before it."""

    def preceded(layer: Layer) -> Layer:
        return nn.Sequential(nn.Dense(units), nn.ReLU(), layer) if isinstance(layer, Dense) else layer

    return rebuilt(network, preceded)


def real_columns(change: Callable[[Array, Array], Array]) -> Callable[[Inputs, Inputs], Inputs]:
    """A change of real arrays, by those of the rows that are trained on, for inputs of either form."""

    def all_changed(inputs: Inputs, learned: Inputs) -> Inputs:
        if isinstance(inputs, dict) and isinstance(learned, dict):
            return {
                name: change(part, learned[name]) if part.dtype.kind == "f" else part for name, part in inputs.items()
            }
        return change(np.asarray(inputs), np.asarray(learned))

    return all_changed


def _moments(values: Array) -> tuple[Array, Array]:
    center, spread = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    kind = values.dtype if values.dtype.kind == "f" else np.float32
    # What is the same in all rows may differ in others, likely by no more than its size.
    return center.astype(kind), np.where(spread > 0, spread, np.maximum(np.abs(center), 1.0)).astype(kind)


@real_columns
def _scaled(values: Array, learned: Array) -> Array:
    center, spread = _moments(learned)
    low, high = learned.min(axis=0), learned.max(axis=0)
    # Of two values that are 1 apart, however rare one is, neither comes out far from all that the network has seen.
    two = ((learned == low) | (learned == high)).all(axis=0) & (low < high)
    return np.asarray((values - center) / np.where(two, high - low, spread))


def _levelled(inputs: Inputs, columns: tuple[int, ...], learned: Inputs) -> Inputs:
    """The inputs with the means in the place of some columns, so that they tell nothing."""

    def level(values: Array, known: Array) -> Array:
        values = values.copy()
        values[:, list(columns)] = known[:, list(columns)].mean(axis=0)
        return values

    return real_columns(level)(inputs, learned)
