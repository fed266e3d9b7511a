"""The learning rate of a step, written out: how a schedule comes to it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from backpass.ledger.formula import Formula, formula
from backpass.optimizers import Constant, Cosine, Exponential, OneCycle, Step, WarmUp
from backpass.optimizers.schedule import Schedule


class _Written(NamedTuple):
    """A schedule in a formula: its rule, and each term's label, factors and what these are."""

    rule: str
    terms: Sequence[tuple[str, tuple[float, ...], tuple[str, ...]]]


def rate_of(schedule: Schedule, step: int, value: float) -> Formula:
    """The learning rate `value` that a schedule has, `step` steps after the first."""
    written = _written(schedule, step, value)
    terms = [(label, factors) for label, factors, _ in written.terms]
    return formula("rate", written.rule, value, terms, names=[names for *_, names in written.terms])


def _alone(rule: str, value: float) -> _Written:
    return _Written(rule, [("rate", (value,), ("rate",))])


def _written(schedule: Schedule, step: int, value: float) -> _Written:
    """After `step` steps; `value` is what the schedule itself comes to."""
    if isinstance(schedule, WarmUp):
        return _risen(schedule, step, value)
    if isinstance(schedule, Constant):
        return _alone("the same in every step", schedule.value)
    if isinstance(schedule, Step):
        power = step // schedule.every
        rule = "initial · factor^n, n: how many times so many steps were made"
        factors = (schedule.initial, schedule.factor**power)
        return _Written(rule, [("initial · factor^n", factors, ("initial", f"factor^{power}"))])
    if isinstance(schedule, Exponential):
        part = step / schedule.length()
        rule, factors = f"initial · factor^({step}/{schedule.length()})", (schedule.initial, schedule.factor**part)
        return _Written(rule, [("initial · factor^(step/steps)", factors, ("initial", "factor^(step/steps)"))])
    if isinstance(schedule, Cosine):
        return _wave(schedule.initial, schedule.initial * schedule.final_fraction, step, schedule.length())
    if isinstance(schedule, OneCycle):
        last = schedule.length() - 1
        top = min(max(schedule.rising_fraction * schedule.length() - 1, 0.0), last)
        if step < top:
            return _wave(schedule.peak * schedule.initial_fraction, schedule.peak, step, top)
        return _wave(schedule.peak, schedule.peak * schedule.final_fraction, step - top, max(last - top, 1.0))
    return _alone(f"by {type(schedule).__name__}", value)


def _risen(schedule: WarmUp, step: int, value: float) -> _Written:
    """While the rate rises, a part of the first rate of what follows; then that."""
    then = schedule.then if isinstance(schedule.then, Schedule) else Constant(schedule.then)
    part, name = min((step + 1) / (schedule.steps + 1), 1.0), f"{step + 1}/{schedule.steps + 1}"
    following = _written(then, max(step - schedule.steps, 0), value / part)
    if part == 1:
        return following
    terms = [(label, (part, *factors), (name, *names)) for label, factors, names in following.terms]
    return _Written(f"{name}, while it warms up, of ({following.rule})", terms)


def _wave(start: float, end: float, step: float, steps: float) -> _Written:
    """Half a wave of the cosine."""
    bent = 1 + math.cos(math.pi * min(max(step / steps, 0.0), 1.0))
    return _Written(
        f"end + ½ · (start - end) · (1 + cos(π · {step:g}/{steps:g}))",
        [
            ("end", (end,), ("end",)),
            ("½ · (start - end) · (1 + cos)", (0.5, start - end, bent), ("½", "start - end", "1 + cos")),
        ],
    )
