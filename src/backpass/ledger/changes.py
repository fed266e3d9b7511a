"""What an optimizer makes of a derivative, written out: from the derivative to the change of the weight.

Everything works on all elements of a parameter at once, or on one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from backpass.data.arrays import Array
from backpass.forward import Structure, flatten, labels
from backpass.ledger.formula import Formula, formula
from backpass.optimizers import (
    SGD,
    Adam,
    AdamW,
    Averaged,
    Chain,
    Groups,
    Momentum,
    Nesterov,
    Optimizer,
    Rule,
    Slowed,
    WeightDecay,
)
from backpass.optimizers.schedule import Schedule
from backpass.records import dataclass


@dataclass(frozen=True, eq=False)
class Change:
    """How one parameter changes in a step.

    Attributes:
        optimizer: what makes the change.
        rate: the learning rate of the step; None where the optimizer has none.
        schedule: where the rate comes from, in words; "" where it is always the same.
        steps: the formulas from the derivative to the change; the last one is the change.
        pull: the derivative of the change by the gradient, where the size of the step is held as it came out: so much
            of the change is due to each unit of the derivative.
        others: what else the change is due to: earlier steps, weight decay.
    """

    optimizer: str
    rate: float | None
    schedule: str
    steps: tuple[Formula, ...]
    pull: Array
    others: tuple[tuple[str, Array], ...]


class Update(NamedTuple):
    """What `Optimizer.update` takes, and the state that it gives."""

    gradients: Structure
    state: Any
    after: Any
    parameters: Structure
    step: Any


def change_of(optimizer: Optimizer, label: str, update: Update, change: Array) -> Change:
    """How the parameter called `label` changes.

    Args:
        optimizer: that of the step.
        label: of the parameter.
        update: what went in, and the state that came out.
        change: what the optimizer made of it.
    """
    if isinstance(optimizer, Groups):
        gradients, parameters = optimizer.split(update.gradients), optimizer.split(update.parameters)
        members = list(optimizer.groups.values())
        place = next(place for place, own in enumerate(parameters) if label in own)
        own = Update(gradients[place], update.state[place], update.after[place], parameters[place], update.step)
        return change_of(members[place], label, own, change)
    if isinstance(optimizer, Averaged):
        within = update._replace(state=update.state["rule"], after=update.after["rule"])
        return change_of(optimizer.rule, label, within, change)
    if isinstance(optimizer, Slowed):
        return _slowed(optimizer, label, update, change)
    if isinstance(optimizer, Chain):
        return _chain(optimizer, label, update, change)
    return _rule(optimizer, label, update, change)


def one(structure: Structure, label: str) -> Array:
    """The value that stands at `label`, in float64."""
    return np.asarray(dict(zip(labels(structure), flatten(structure), strict=True))[label], np.float64)


def _slowed(optimizer: Slowed, label: str, update: Update, change: Array) -> Change:
    whole = change_of(optimizer.rule, label, update, change / optimizer.factor)
    slower = formula(
        "change", "factor · change", change, [("factor · change", (optimizer.factor, whole.steps[-1].written))]
    )
    others = tuple((name, optimizer.factor * value) for name, value in whole.others)
    return Change(
        f"{optimizer.factor:g} of {whole.optimizer}", whole.rate, whole.schedule, (*whole.steps, slower),
        optimizer.factor * whole.pull, others,
    )  # fmt: skip


def _chain(optimizer: Chain, label: str, update: Update, change: Array) -> Change:
    """The transformations one after another, then the rule."""
    made: list[Formula] = []
    added: list[tuple[str, Array]] = []
    gradients = update.gradients
    ratio: Array = np.ones_like(one(gradients, label))
    for part, own in zip(optimizer.parts[:-1], update.state, strict=False):
        before = one(gradients, label)
        gradients = part.update(gradients, own, update.parameters, update.step)[0]
        after, name = one(gradients, label), type(part).__name__
        if isinstance(part, WeightDecay):
            extra = part.rate * one(update.parameters, label)
            made.append(formula("g", "g + rate · weight", after, [("g", (before,)), ("rate · weight", (extra,))]))
            added.append((f"weight decay ({name})", extra))
        else:
            kept = np.divide(after, before, out=np.ones_like(after), where=before != 0)
            made.append(formula("g", f"g · what {name} leaves of it", after, [(name, (before, kept))]))
            ratio = ratio * kept
            added = [(each, value * kept) for each, value in added]
    rule = Update(gradients, update.state[-1], update.after[-1], update.parameters, update.step)
    last = change_of(optimizer.parts[-1], label, rule, change)
    others = tuple((name, last.pull * value) for name, value in added)
    return Change(
        last.optimizer, last.rate, last.schedule, (*made, *last.steps), last.pull * ratio, (*others, *last.others)
    )


def _rule(optimizer: Optimizer, label: str, update: Update, change: Array) -> Change:
    g, p = one(update.gradients, label), one(update.parameters, label)
    rate, schedule = _rate(optimizer, update.step, update.state)
    kept = [(one(update.state[name], label), one(update.after[name], label)) for name in getattr(optimizer, "kept", ())]
    name = type(optimizer).__name__
    if rate is not None:
        if type(optimizer) is SGD:
            made = formula("change", "-rate · g", change, [("-rate · g", (-rate, g))])
            return Change(name, rate, schedule, (made,), np.full_like(g, -rate), ())
        if type(optimizer) in (Momentum, Nesterov):
            return _momentum(optimizer, rate, schedule, g, kept[0], change)
        if type(optimizer) in (Adam, AdamW):
            return _adam(optimizer, rate, schedule, g, p, kept, int(update.step) + 1, change)
    pull = np.divide(change, g, out=np.zeros_like(g), where=g != 0)
    left = np.asarray(change, np.float64) - pull * g
    whole = Formula("change", f"by {name}", change, [name], (np.asarray(change, np.float64)[None],), told=False)
    return Change(name, rate, schedule, (whole,), pull, (("earlier steps", left),))


def _rate(optimizer: Optimizer, step: Any, state: Any) -> tuple[float | None, str]:
    if not isinstance(optimizer, Rule):
        return None, ""
    given = optimizer.learning_rate
    return float(optimizer.rate(step, state)), str(given) if isinstance(given, Schedule) else ""


def _momentum(optimizer: Any, rate: float, schedule: str, g: Array, kept: tuple[Array, Array], change: Array) -> Change:
    momentum, (velocity, after) = optimizer.momentum, kept
    now = momentum * velocity + g
    made = [formula("v", "momentum · v + g", after, [("v before", (momentum, velocity)), ("g", (1.0, g))])]
    if isinstance(optimizer, Nesterov):
        terms: Sequence[Any] = [("-rate · g", (-rate, g)), ("-rate · momentum · v", (-rate * momentum, now))]
        made.append(formula("change", "-rate · (g + momentum · v)", change, terms))
        pull, old = -rate * (1 + momentum), -rate * momentum**2 * velocity
    else:
        made.append(
            formula("change", "-rate · v", change, [("-rate · v", (-rate, now))], rate * _size(g, momentum * velocity))
        )
        pull, old = -rate, -rate * momentum * velocity
    others = (("velocity of earlier steps", old),)
    return Change(type(optimizer).__name__, rate, schedule, tuple(made), np.full_like(g, pull), others)


def _size(*terms: Array) -> Array:
    """The sum of the sizes of the terms, against which the roundings of their sum are measured."""
    return np.asarray(sum(np.abs(term) for term in terms))


def _adam(
    optimizer: Any,
    rate: float,
    schedule: str,
    g: Array,
    p: Array,
    kept: list[tuple[Array, Array]],
    t: int,
    change: Array,
) -> Change:
    """In the terms of the paper; the state holds m / (1 - beta1) and v / (1 - beta2)."""
    beta1, beta2, epsilon = optimizer.beta1, optimizer.beta2, optimizer.epsilon
    (m0, m1), (v0, v1) = ([(1 - beta) * each for each in pair] for beta, pair in zip((beta1, beta2), kept, strict=True))
    m, v = beta1 * m0 + (1 - beta1) * g, beta2 * v0 + (1 - beta2) * g * g
    c1, c2 = 1 - beta1**t, 1 - beta2**t
    root = np.sqrt(v / c2) + epsilon
    made = [
        formula("m", "β1 · m + (1 - β1) · g", m1, [("β1 · m before", (beta1, m0)), ("(1 - β1) · g", (1 - beta1, g))]),
        formula(
            "v", "β2 · v + (1 - β2) · g²", v1, [("β2 · v before", (beta2, v0)), ("(1 - β2) · g²", (1 - beta2, g, g))]
        ),
        formula("m̂", f"m / (1 - β1^{t})", m / c1, [("m · 1/(1 - β1^t)", (m, 1 / c1))]),
        formula("v̂", f"v / (1 - β2^{t})", v / c2, [("v · 1/(1 - β2^t)", (v, 1 / c2))]),
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(root > 0, 1 / root, 0.0)
    rule, factors = "-rate · m̂ / (√v̂ + ε)", (-rate, m / c1, inverse)
    size = rate / c1 * inverse * _size(beta1 * m0, (1 - beta1) * g)
    others = [("mean of earlier steps, m", -rate / c1 * inverse * beta1 * m0)]
    if isinstance(optimizer, AdamW):
        moved = formula("adam", rule, -rate * (m / c1) * inverse, [(rule, factors)])
        decay = -rate * optimizer.weight_decay
        terms: list[Any] = [("adam", (1.0, moved.value)), ("-rate · decay · weight", (decay, p))]
        made += [moved, formula("change", "adam - rate · decay · weight", change, terms, size + np.abs(decay * p))]
        others.append(("weight decay", decay * p))
    else:
        made.append(formula("change", rule, change, [(rule, factors)], size))
    pull = -rate / c1 * (1 - beta1) * inverse
    return Change(type(optimizer).__name__, rate, schedule, tuple(made), pull, tuple(others))
