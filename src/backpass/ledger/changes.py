"""What an optimizer makes of a derivative, written out: from the derivative to the change of the weight.

Everything works on all elements of a parameter at once, or on one.
"""

from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np

from backpass.data.arrays import Array
from backpass.forward import Structure, flatten, labels
from backpass.ledger.formula import Formula, formula
from backpass.ledger.rates import rate_of
from backpass.ledger.rules import RULES, Given, Made
from backpass.optimizers import (
    Averaged,
    Chain,
    ClipByGlobalNorm,
    Groups,
    Optimizer,
    Rule,
    Slowed,
    WeightDecay,
)
from backpass.optimizers.schedule import Schedule
from backpass.records import dataclass

_SYMBOLS = {"beta1": "β1", "beta2": "β2", "epsilon": "ε", "weight_decay": "decay", "momentum_decay": "μ decay"}


@dataclass(frozen=True, eq=False)
class Change:
    """How one parameter changes in a step.

    Attributes:
        optimizer: what makes the change.
        rate: the learning rate of the step; None where the optimizer has none.
        rate_terms: how the schedule comes to it; None where it is always the same.
        schedule: the schedule, as it is written; "" where the rate is always the same.
        constants: the other numbers that the formulas have in common, by their symbols.
        state: what the optimizer remembered of earlier steps, by the symbols of the formulas.
        steps: the formulas from the derivative to the change; the last one is the change.
        pull: the derivative of the change by the gradient, where the size of the step is held as it came out: so much
            of the change is due to each unit of the derivative.
        others: what else the change is due to: earlier steps, weight decay.
    """

    optimizer: str
    rate: float | None
    rate_terms: Formula | None
    schedule: str
    constants: dict[str, float]
    state: dict[str, Array]
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
    last = whole.steps[-1]
    slower = formula(
        "slowed", "slower · change", change, [("slower · change", (optimizer.factor, last.written))],
        None if last.size is None else optimizer.factor * last.size, names=[("slower", "change")],
    )  # fmt: skip
    return replace(
        whole,
        optimizer=f"{optimizer.factor:g} of {whole.optimizer}",
        constants=whole.constants | {"slower": optimizer.factor},
        steps=(*whole.steps, slower),
        pull=optimizer.factor * whole.pull,
        others=tuple((name, optimizer.factor * value) for name, value in whole.others),
    )


def _chain(optimizer: Chain, label: str, update: Update, change: Array) -> Change:
    """The transformations one after another, then the rule."""
    made: list[Formula] = []
    added: list[tuple[str, Array]] = []
    constants: dict[str, float] = {}
    gradients = update.gradients
    ratio: Array = np.ones_like(one(gradients, label))
    for part, own in zip(optimizer.parts[:-1], update.state, strict=False):
        whole, before = gradients, one(gradients, label)
        gradients = part.update(gradients, own, update.parameters, update.step)[0]
        after, name = one(gradients, label), type(part).__name__
        if isinstance(part, WeightDecay):
            weight = one(update.parameters, label)
            terms: list[Any] = [("g", (before,)), ("decay · weight", (part.rate, weight))]
            made.append(formula("g", "g + decay · weight", after, terms, names=[("g",), ("decay", "weight")]))
            added.append(("weight decay, of the gradient", part.rate * weight))
            constants["decay"] = part.rate
            continue
        kept = np.divide(after, before, out=np.ones_like(after), where=before != 0)
        rule = f"g · what {name} leaves of it"
        if isinstance(part, ClipByGlobalNorm):
            norm = float(np.sqrt(sum(float(np.sum(np.square(each, dtype=np.float64))) for each in flatten(whole))))
            constants |= {"limit": part.limit, "norm": norm}
            kept = np.full_like(before, part.limit / max(norm, part.limit))
            rule = "g · limit / max(norm, limit), norm: of all gradients"
        made.append(formula("g", rule, after, [(name, (before, kept))], names=[("g", "left")]))
        ratio = ratio * kept
        added = [(each, value * kept) for each, value in added]
    rule_update = Update(gradients, update.state[-1], update.after[-1], update.parameters, update.step)
    last = change_of(optimizer.parts[-1], label, rule_update, change)
    return replace(
        last,
        constants=constants | last.constants,
        steps=(*made, *last.steps),
        pull=last.pull * ratio,
        others=(*((name, last.pull * value) for name, value in added), *last.others),
    )


def _rule(optimizer: Optimizer, label: str, update: Update, change: Array) -> Change:
    state = update.state if isinstance(update.state, dict) else {}
    given = Given(
        optimizer,
        one(update.gradients, label),
        one(update.parameters, label),
        change,
        lambda name: (one(update.state[name], label), one(update.after[name], label)),
        int(update.step) + 1,
        state,
        None,
    )
    rate, terms, schedule = None, None, ""
    if isinstance(optimizer, Rule):
        rate = float(optimizer.rate(update.step, state))
        given = given._replace(pace=rate)
        if isinstance(optimizer.learning_rate, Schedule):
            terms, schedule = rate_of(optimizer.learning_rate, int(update.step), rate), str(optimizer.learning_rate)
    made = RULES.get(type(optimizer), _untold)(given)
    constants = {
        _SYMBOLS.get(each.name, each.name): float(getattr(optimizer, each.name))
        for each in fields(optimizer)
        if isinstance(getattr(optimizer, each.name), float) and each.name != "learning_rate"
    }
    return Change(
        type(optimizer).__name__, rate, terms, schedule, constants | made.constants, made.state, made.steps, made.pull,
        made.others,
    )  # fmt: skip


def _untold(given: Given) -> Made:
    """A rule of one's own: its change, as it came out."""
    name, change = type(given.rule).__name__, np.asarray(given.change, np.float64)
    pull = np.divide(change, given.g, out=np.zeros_like(given.g), where=given.g != 0)
    whole = Formula("change", f"by {name}", given.change, [name], (change[None],), told=False)
    return Made((whole,), pull, (("earlier steps", change - pull * given.g),))
