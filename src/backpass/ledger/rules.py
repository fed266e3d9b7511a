"""The rules of the optimizers, written out: each as the sums of products that lead from a derivative to a change."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from backpass.data.arrays import Array
from backpass.ledger.formula import Formula, formula, worked
from backpass.optimizers import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Lion,
    Momentum,
    NAdam,
    Nesterov,
    Optimizer,
    RAdam,
    RMSprop,
    Rprop,
)


class Given(NamedTuple):
    """What a rule works with, for one parameter.

    Attributes:
        rule: the optimizer, with its options.
        g: the derivative of the batch's loss.
        weight: before the step.
        change: what came out.
        kept: of the name of an array that the rule remembers: it before and after the step.
        t: the number of the step, from 1 on.
        state: all that the rule remembers.
        pace: the learning rate of the step.
    """

    rule: Any
    g: Array
    weight: Array
    change: Array
    kept: Callable[[str], tuple[Array, Array]]
    t: int
    state: Mapping[str, Any]
    pace: Any


class Made(NamedTuple):
    """What a rule made of it; see `Change`."""

    steps: tuple[Formula, ...]
    pull: Array
    others: tuple[tuple[str, Array], ...] = ()
    constants: dict[str, float] = {}  # noqa: RUF012 - it is never changed
    state: dict[str, Array] = {}  # noqa: RUF012


def _size(*terms: Array) -> Array:
    """The sum of the sizes of the terms, against which the roundings of their sum are measured."""
    return np.asarray(sum(np.abs(term) for term in terms))


def _sgd(given: Given) -> Made:
    names = [("-rate", "g")]
    made = formula("change", "-rate · g", given.change, [("-rate · g", (-given.pace, given.g))], names=names)
    return Made((made,), np.full_like(given.g, -given.pace))


def _momentum(given: Given) -> Made:
    momentum, rate, g = given.rule.momentum, given.pace, given.g
    before, after = given.kept("velocity")
    now = momentum * before + g
    made = [
        formula(
            "v", "momentum · v + g", after, [("momentum · v before", (momentum, before)), ("g", (g,))],
            names=[("momentum", "v before"), ("g",)],
        )
    ]  # fmt: skip
    if isinstance(given.rule, Nesterov):
        terms: list[Any] = [("-rate · g", (-rate, g)), ("-rate · momentum · v", (-rate, momentum, now))]
        names = [("-rate", "g"), ("-rate", "momentum", "v")]
        made.append(formula("change", "-rate · (g + momentum · v)", given.change, terms, names=names))
        pull, old = -rate * (1 + momentum), -rate * momentum**2 * before
    else:
        size, names = rate * _size(g, momentum * before), [("-rate", "v")]
        made.append(formula("change", "-rate · v", given.change, [("-rate · v", (-rate, now))], size, names=names))
        pull, old = -rate, -rate * momentum * before
    others = (("velocity of earlier steps", old),)
    return Made(tuple(made), np.full_like(g, pull), others, state={"v before": before})


def _adagrad(given: Given) -> Made:
    before, after = given.kept("square_sum")
    total = before + given.g**2
    s = formula(
        "s", "s + g²", after, [("s before", (before,)), ("g²", (given.g, given.g))], names=[("s before",), ("g", "g")]
    )
    return _divided(given, [s], "s", np.sqrt(total) + given.rule.epsilon, {"s before": before})


def _rmsprop(given: Given) -> Made:
    """The state holds v / (1 - decay)."""
    decay = given.rule.decay
    before, after = ((1 - decay) * each for each in given.kept("square_sum"))
    v = _mean_of_squares("decay", decay, before, given.g, after)
    return _divided(given, [v], "v", np.sqrt(v.written) + given.rule.epsilon, {"v before": before})


def _divided(given: Given, made: list[Formula], kind: str, root: Array, state: dict[str, Array]) -> Made:
    """-rate · g over the root of what `made` has; held is the root, so that the rest is the gradient's."""
    inverse = _inverse(root)
    made.append(_over(f"1 / (√{kind} + ε)", inverse))
    names = [("-rate", "g", "1/root")]
    terms = [("-rate · g · 1/root", (-given.pace, given.g, inverse))]
    made.append(formula("change", "-rate · g · 1/root", given.change, terms, names=names))
    return Made(tuple(made), -given.pace * inverse, state=state)


def _inverse(root: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(root > 0, 1 / root, 0.0)


def _over(rule: str, inverse: Array) -> Formula:
    return worked("1/root", rule, [("1/root", (inverse,))])


def _mean(symbol: str, name: str, beta: float, before: Array, g: Array, after: Array) -> Formula:
    terms: list[Any] = [(f"{name} · {symbol} before", (beta, before)), (f"(1 - {name}) · g", (1 - beta, g))]
    names = [(name, f"{symbol} before"), (f"1 - {name}", "g")]
    return formula(symbol, f"{name} · {symbol} + (1 - {name}) · g", after, terms, names=names)


def _mean_of_squares(name: str, beta: float, before: Array, g: Array, after: Array) -> Formula:
    terms: list[Any] = [(f"{name} · v before", (beta, before)), (f"(1 - {name}) · g²", (1 - beta, g, g))]
    names = [(name, "v before"), (f"1 - {name}", "g", "g")]
    return formula("v", f"{name} · v + (1 - {name}) · g²", after, terms, names=names)


class _Means(NamedTuple):
    """The means of Adam and its relatives, in the terms of the papers; states hold m / (1 - β1) and v / (1 - β2)."""

    m: Formula
    v: Formula
    before: tuple[Array, Array]
    size: Array  # of the terms of m

    @property
    def state(self) -> dict[str, Array]:
        return {"m before": self.before[0], "v before": self.before[1]}


def _means(given: Given) -> _Means:
    beta1, beta2 = given.rule.beta1, given.rule.beta2
    m0, m1 = ((1 - beta1) * each for each in given.kept("gradient_sum"))
    v0, v1 = ((1 - beta2) * each for each in given.kept("square_sum"))
    m, v = _mean("m", "β1", beta1, m0, given.g, m1), _mean_of_squares("β2", beta2, v0, given.g, v1)
    return _Means(m, v, (m0, v0), _size(beta1 * m0, (1 - beta1) * given.g))


def _corrected(symbol: str, of: Formula, name: str, beta: float, t: int) -> Formula:
    """A mean that began at 0, over the share that its terms have come to."""
    terms = [(f"{of.symbol} · 1/(1 - {name}^t)", (of.written, 1 / _come_to(beta, t)))]
    return worked(symbol, f"{of.symbol} / (1 - {name}^{t})", terms, names=[(of.symbol, f"1/(1 - {name}^{t})")])


def _come_to(beta: float, t: int) -> float:
    """1 - beta^t, where the two are near to each other, too."""
    return -math.expm1(t * math.log(beta)) if beta else 1.0


def _adam(given: Given) -> Made:
    rule, rate, t = given.rule, given.pace, given.t
    means = _means(given)
    m_hat = _corrected("m̂", means.m, "β1", rule.beta1, t)
    v_hat = _corrected("v̂", means.v, "β2", rule.beta2, t)
    inverse = _inverse(np.sqrt(v_hat.written) + rule.epsilon)
    made = [means.m, means.v, m_hat, v_hat, _over("1 / (√v̂ + ε)", inverse)]
    text, names = "-rate · m̂ · 1/root", ("-rate", "m̂", "1/root")
    step = (-rate, m_hat.written, inverse)
    c1 = _come_to(rule.beta1, t)
    size = rate / c1 * inverse * means.size
    others = [("mean of earlier steps, m", -rate / c1 * inverse * rule.beta1 * means.before[0])]
    if isinstance(rule, AdamW):
        moved = worked("adam", text, [(text, step)], names=[names])
        decay = (-rate, rule.weight_decay, given.weight)
        terms: list[Any] = [("adam", (moved.value,)), ("-rate · decay · weight", decay)]
        shrunk = -rate * rule.weight_decay * given.weight
        made += [
            moved,
            formula(
                "change", "adam - rate · decay · weight", given.change, terms, size + np.abs(shrunk),
                names=[("adam",), ("-rate", "decay", "weight")],
            ),
        ]  # fmt: skip
        others.append(("weight decay", shrunk))
    else:
        made.append(formula("change", text, given.change, [(text, step)], size, names=[names]))
    return Made(tuple(made), -rate / c1 * (1 - rule.beta1) * inverse, tuple(others), state=means.state)


def _nadam(given: Given) -> Made:
    rule, rate, t, g = given.rule, given.pace, given.t, given.g
    means = _means(given)
    v_hat = _corrected("v̂", means.v, "β2", rule.beta2, t)
    inverse = _inverse(np.sqrt(v_hat.written) + rule.epsilon)
    now, following = (rule.beta1 * (1 - 0.5 * 0.96 ** (at * rule.momentum_decay)) for at in (t, t + 1))
    product = float(given.state["momentum_product"]) * now
    of_m, of_g = following / (1 - product * following), (1 - now) / (1 - product)
    terms: list[Any] = [
        ("part of m", (-rate, of_m, means.m.written, inverse)),
        ("part of g", (-rate, of_g, g, inverse)),
    ]
    names = [("-rate", "μ' / (1 - P · μ')", "m", "1/root"), ("-rate", "(1 - μ) / (1 - P)", "g", "1/root")]
    text = "-rate · (μ'/(1 - P·μ') · m + (1 - μ)/(1 - P) · g) · 1/root"
    size = rate * inverse * (of_m * means.size + of_g * np.abs(g))
    change = formula("change", text, given.change, terms, size, names=names)
    pull = -rate * inverse * (of_m * (1 - rule.beta1) + of_g)
    others = (("mean of earlier steps, m", -rate * inverse * of_m * rule.beta1 * means.before[0]),)
    constants = {"μ": now, "μ'": following, "P": product}
    return Made((means.m, means.v, v_hat, _over("1 / (√v̂ + ε)", inverse), change), pull, others, constants, means.state)


def _radam(given: Given) -> Made:
    rule, rate, t = given.rule, given.pace, given.t
    means = _means(given)
    m_hat = _corrected("m̂", means.m, "β1", rule.beta1, t)
    longest = 2 / (1 - rule.beta2) - 1
    c2 = _come_to(rule.beta2, t)
    length = longest - 2 * t * (1 - c2) / c2
    made, constants = [means.m, means.v, m_hat], {"rho": length}
    inverse: Array = np.ones_like(given.g)
    terms: list[Any] = [("-rate · m̂", (-rate, m_hat.written))]
    names: list[tuple[str, ...]] = [("-rate", "m̂")]
    text = "-rate · m̂, for rho is not above 5"
    if longest > 5 and length > 5:
        square = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        constants["r"] = math.sqrt(square)
        inverse = math.sqrt(square) * math.sqrt(c2) * _inverse(np.sqrt(means.v.written) + rule.epsilon)
        made.append(_over(f"r · √(1 - β2^{t}) / (√v + ε)", inverse))
        text, names = "-rate · m̂ · 1/root", [("-rate", "m̂", "1/root")]
        terms = [(text, (-rate, m_hat.written, inverse))]
    c1 = _come_to(rule.beta1, t)
    size = rate / c1 * inverse * means.size
    made.append(formula("change", text, given.change, terms, size, names=names))
    pull = -rate / c1 * (1 - rule.beta1) * inverse
    others = (("mean of earlier steps, m", -rate / c1 * inverse * rule.beta1 * means.before[0]),)
    return Made(tuple(made), pull, others, constants, means.state)


def _lion(given: Given) -> Made:
    """The step is the blend over its own size, of which each part of the blend has its share."""
    rule, rate, g = given.rule, given.pace, given.g
    before, after = given.kept("momentum")
    blend = worked(
        "blend", "β1 · m + (1 - β1) · g", [("β1 · m", (rule.beta1, before)), ("(1 - β1) · g", (1 - rule.beta1, g))],
        names=[("β1", "m"), ("1 - β1", "g")],
    )  # fmt: skip
    terms: list[Any] = [("-rate · sign(blend)", (-rate, np.sign(blend.written)))]
    names: list[tuple[str, ...]] = [("-rate", "sign(blend)")]
    text = "-rate · sign(blend)"
    inverse = _inverse(np.abs(blend.written))
    others = [("momentum of earlier steps, m", -rate * inverse * rule.beta1 * before)]
    if rule.weight_decay:
        text += " - rate · decay · weight"
        terms.append(("-rate · decay · weight", (-rate, rule.weight_decay, given.weight)))
        names.append(("-rate", "decay", "weight"))
        others.append(("weight decay", -rate * rule.weight_decay * given.weight))
    m = _mean("m", "β2", rule.beta2, before, g, after)
    change = formula("change", text, given.change, terms, names=names)
    return Made((blend, m, change), -rate * inverse * (1 - rule.beta1), tuple(others), state={"m before": before})


def _rprop(given: Given) -> Made:
    rule, g = given.rule, given.g
    (direction, _), (before, after) = given.kept("direction"), given.kept("size")
    agreement = np.sign(g) * direction
    factor = np.where(agreement < 0, rule.shrink, np.where(agreement > 0, rule.grow, 1.0))
    size = np.clip(before * factor, rule.smallest, rule.largest)
    grown = np.divide(size, before, out=np.zeros_like(size), where=before != 0)
    now = np.where(agreement < 0, 0.0, np.sign(g))
    made = (
        formula(
            "size", "size before · grow, shrink or 1: sign of g kept, turned, or 0", after,
            [("size before · factor", (before, grown))], names=[("size before", "factor")],
        ),
        formula(
            "change", "-sign of g · size; 0 if it turned", given.change, [("-sign · size", (-now, size))],
            names=[("-sign", "size")],
        ),
    )  # fmt: skip
    change = -now * size
    pull = np.divide(change, g, out=np.zeros_like(g), where=g != 0)
    return Made(made, pull, state={"size before": before, "sign before": direction})


RULES: Mapping[type[Optimizer], Callable[[Given], Made]] = {
    SGD: _sgd,
    Momentum: _momentum,
    Nesterov: _momentum,
    Adagrad: _adagrad,
    RMSprop: _rmsprop,
    Adam: _adam,
    AdamW: _adam,
    NAdam: _nadam,
    RAdam: _radam,
    Lion: _lion,
    Rprop: _rprop,
}
