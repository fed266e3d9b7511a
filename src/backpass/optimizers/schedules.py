"""Schedules that depend on the step alone."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np

from backpass import ops
from backpass.forward import Structure
from backpass.optimizers.checks import (
    COUNT,
    FRACTION,
    LEARNING_RATE,
    NOT_NEGATIVE,
    POSITIVE,
    SPAN,
    Expectation,
    checked,
    require,
)
from backpass.optimizers.schedule import Schedule
from backpass.records import dataclass


@dataclass(frozen=True)
class Constant(Schedule):
    """The same learning rate, `value`, at every step."""

    value: float

    expected: ClassVar[Mapping[str, Expectation]] = {"value": NOT_NEGATIVE}

    def __call__(self, step: Any, state: Structure = None) -> Any:
        del step, state
        return self.value


@dataclass(frozen=True)
class Step(Schedule):
    """A fall by a factor, every so many steps: initial * factor^floor(step / every).

    Args:
        initial: the learning rate of the first steps.
        every: after how many steps the rate falls.
        factor: what it is multiplied by then.
    """

    initial: float
    every: int
    factor: float = 0.1

    expected: ClassVar[Mapping[str, Expectation]] = {"initial": NOT_NEGATIVE, "every": COUNT, "factor": POSITIVE}

    def __call__(self, step: Any, state: Structure = None) -> Any:
        del state
        return self.initial * ops.power(self.factor, ops.floor(_real(step) / self.every))


@dataclass(frozen=True)
class Exponential(Schedule):
    """A smooth fall, by the same factor in every equal stretch: initial * factor^(step / steps).

    Args:
        initial: the learning rate of the first step.
        factor: what is left of it after `steps` steps (and of that after as many again).
        steps: the length of the stretch; 1 multiplies by `factor` at each step; None is the whole training.
    """

    initial: float
    factor: float = 0.01
    steps: int | None = None

    expected: ClassVar[Mapping[str, Expectation]] = {"initial": NOT_NEGATIVE, "factor": POSITIVE, "steps": SPAN}

    def __call__(self, step: Any, state: Structure = None) -> Any:
        del state
        return self.initial * ops.exp(_real(step) * (math.log(self.factor) / self.length()))


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a wave of the cosine, from the initial rate down to a fraction of it, where it stays.

    Loshchilov & Hutter 2017 (SGDR), equation 5, without restarts:
    final + (initial - final) * (1 + cos(pi * step / steps)) / 2.

    Args:
        initial: the learning rate of the first step.
        steps: the step at which the final rate is reached; None is the whole training.
        final_fraction: the final rate, as a fraction of the initial one.
    """

    initial: float
    steps: int | None = None
    final_fraction: float = 0.0

    expected: ClassVar[Mapping[str, Expectation]] = {
        "initial": NOT_NEGATIVE,
        "steps": SPAN,
        "final_fraction": FRACTION,
    }

    def __call__(self, step: Any, state: Structure = None) -> Any:
        del state
        return _half_wave(self.initial, self.initial * self.final_fraction, _real(step) / self.length())


@dataclass(frozen=True)
class WarmUp(Schedule):
    """A straight rise to where another schedule begins, then that schedule, counted from there.

    After Goyal et al. 2017 (section 2.2). Step s of n rising ones has the fraction (s + 1) / (n + 1) of the first
    rate of `then`, so the first step moves already, and step n is the first with the whole rate.

    Args:
        steps: how many steps the rise takes.
        then: the schedule that follows, or a number, which stands for a constant rate. Where its length is open, it
            gets what the rise leaves of the training.
    """

    steps: int
    then: Schedule | float

    expected: ClassVar[Mapping[str, Expectation]] = {"steps": COUNT}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.then, Schedule):
            require(self, then=LEARNING_RATE)

    def __call__(self, step: Any, state: Structure = None) -> Any:
        risen = ops.minimum((_real(step) + 1) / (self.steps + 1), 1.0)
        return self._following()(ops.maximum(step - self.steps, 0), state) * risen

    def init(self) -> dict[str, Any]:
        return self._following().init()

    def observe(self, state: Structure, validation_loss: float) -> Structure:
        return self._following().observe(state, validation_loss)

    def over(self, steps: int) -> Self:
        checked("WarmUp", "over(steps)", steps, COUNT)
        return replace(self, then=self._following().over(max(steps - self.steps, 1)))

    def _following(self) -> Schedule:
        return self.then if isinstance(self.then, Schedule) else Constant(self.then)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up to a high rate and down again to almost nothing, once.

    Smith 2018 ("A disciplined approach to neural network hyper-parameters", section 4.1). The shape is that of
    PyTorch's OneCycleLR: half waves of the cosine where the paper has straight lines. The momentum does not cycle.

    Args:
        peak: the highest learning rate.
        steps: the length of the cycle; None is the whole training.
        rising_fraction: the part of the steps in which the rate rises.
        initial_fraction: the rate of the first step, as a fraction of the peak.
        final_fraction: the rate of the last step, as a fraction of the peak.
    """

    peak: float
    steps: int | None = None
    rising_fraction: float = 0.3
    initial_fraction: float = 0.04
    final_fraction: float = 4e-6

    expected: ClassVar[Mapping[str, Expectation]] = {
        "peak": NOT_NEGATIVE,
        "steps": SPAN,
        "rising_fraction": FRACTION,
        "initial_fraction": FRACTION,
        "final_fraction": FRACTION,
    }

    def __call__(self, step: Any, state: Structure = None) -> Any:
        del state
        last = self.length() - 1
        top = min(max(self.rising_fraction * self.length() - 1, 0.0), last)
        t = _real(step)
        # A phase that has no length is never on the way: the other begins, or ends, at the peak.
        up = _half_wave(self.peak * self.initial_fraction, self.peak, t / top) if top > 0 else self.peak
        down = _half_wave(self.peak, self.peak * self.final_fraction, (t - top) / max(last - top, 1.0))
        return ops.where(t < top, up, down)


def _real(step: Any) -> Any:
    return ops.cast(step, np.float64)


def _half_wave(start: float, end: float, progress: Any) -> Any:
    """From `start` to `end` as progress goes from 0 to 1, by half a wave of the cosine; flat outside."""
    angle = math.pi * ops.clip(progress, 0.0, 1.0)
    return end + (start - end) / 2 * (1 + ops.cos(angle))
