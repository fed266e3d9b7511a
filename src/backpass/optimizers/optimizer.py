"""What an optimizer is, and what the update rules share."""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import cache
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np

from backpass import ops
from backpass.errors import UsageError
from backpass.forward import Structure, labels, map_structure, unflatten
from backpass.graph import Node, scope
from backpass.optimizers.checks import LEARNING_RATE, Expectation, require
from backpass.optimizers.schedule import Schedule
from backpass.records import dataclass

State: TypeAlias = Any
"""A structure of arrays: what an optimizer remembers from step to step."""


@dataclass(frozen=True)
class Optimizer:
    """A way to change parameters by their gradients: two pure functions, `init` and `update`.

    `update` is written in `backpass.ops`: with arrays it calculates at once, with Tensors it becomes part of a graph.
    What it returns has each parameter's dtype.

    There are two sorts. A rule (SGD, Adam, ...) takes gradients and returns changes, to be ADDED to the parameters. A
    transformation (ClipByGlobalNorm, WeightDecay, ...) takes gradients and returns gradients; `makes_changes` is false,
    and it is of use only before a rule, in a Chain.
    """

    expected: ClassVar[Mapping[str, Expectation]] = {}

    def __post_init__(self) -> None:
        require(self, **self.expected)

    @property
    def makes_changes(self) -> bool:
        """Whether `update` returns changes of the parameters (a rule) or gradients (a transformation)."""
        return True

    @property
    def observes(self) -> bool:
        """Whether `observe` may change the state: whether it must be told what each epoch came to."""
        return type(self).observe is not Optimizer.observe

    def init(self, parameters: Structure) -> State:
        """The state before the first step: NumPy arrays, in the dtype of the parameters they belong to."""
        del parameters
        return {}

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        """The changes to add to the parameters, and the state after this step.

        Args:
            gradients: of the error, in the structure of the parameters.
            state: from `init` or the step before.
            parameters: as they are before this step.
            step: how many steps there were before, a whole number (an int64 Tensor while a function is traced).

        Raises:
            ShapeError: the structures differ.
            UsageError: a schedule's length is not known yet.
        """
        raise NotImplementedError

    def observe(self, state: State, validation_loss: float) -> State:
        """The state once an epoch ended with `validation_loss`; called between epochs, with arrays."""
        del validation_loss
        return state

    def in_use(self, parameters: Structure, state: State) -> Structure:
        """Which of the numbers that are carried from step to step the network is used with, and validated."""
        del state
        return parameters

    def slowed(self, factor: float) -> "Optimizer":
        """The same, with changes multiplied by `factor`; it goes on from a state of this one's."""
        from backpass.optimizers.slowed import Slowed

        return Slowed(self, factor)

    def over(self, steps: int) -> Self:
        """The same optimizer, with every schedule whose length was left open lasting `steps` steps."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        filled = {name: value.over(steps) for name, value in values.items() if isinstance(value, Schedule)}
        return replace(self, **filled) if filled else self


@dataclass(frozen=True)
class Rule(Optimizer):
    """An update rule with a learning rate: a number, or a Schedule.

    Attributes:
        learning_rate: how far a step goes.
        kept: the names of the arrays that the rule keeps for each parameter; they begin as zeros.
    """

    learning_rate: float | Schedule = 0.01

    kept: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.learning_rate, Schedule):
            require(self, learning_rate=LEARNING_RATE)

    def init(self, parameters: Structure) -> State:
        state = {name: map_structure(zeros, parameters) for name in self.kept}
        remembered = self.learning_rate.init() if isinstance(self.learning_rate, Schedule) else {}
        return {**state, "learning_rate": remembered} if remembered else state

    @property
    def observes(self) -> bool:
        return isinstance(self.learning_rate, Schedule) and bool(self.learning_rate.init())

    def rate(self, step: Any, state: State) -> Any:
        """The learning rate of `step`."""
        if isinstance(self.learning_rate, Schedule):
            return self.learning_rate(step, state.get("learning_rate"))
        return self.learning_rate

    def observe(self, state: State, validation_loss: float) -> State:
        if not isinstance(self.learning_rate, Schedule) or "learning_rate" not in state:
            return state
        return {**state, "learning_rate": self.learning_rate.observe(state["learning_rate"], validation_loss)}

    def apply(
        self, move: Callable[..., tuple[Any, ...]], gradients: Structure, state: State, parameters: Structure
    ) -> tuple[Structure, State]:
        """Changes and new state, by `move(parameter, gradient, *kept)`, which returns `(change, *kept)`."""
        return apply(move, self.kept, gradients, state, parameters)


def apply(
    move: Callable[..., tuple[Any, ...]],
    kept: tuple[str, ...],
    gradients: Structure,
    state: State,
    parameters: Structure,
) -> tuple[Structure, State]:
    """Changes and new state, by `move` of each parameter, its gradient and its arrays named by `kept`."""
    rows: list[list[Any]] = []

    def one(label: str, parameter: Any, *others: Any) -> None:
        with scope(f"update.{label}"):
            values = [parameter, *others] if isinstance(parameter, Node) else [np.asarray(parameter), *others]
            rows.append([in_type_of(values[0], result) for result in move(*values)])

    names = unflatten(parameters, labels(parameters))
    with np.errstate(all="ignore"):
        map_structure(one, names, parameters, gradients, *(state[name] for name in kept))
    columns = list(zip(*rows, strict=True)) or [()] * (1 + len(kept))
    changes, *arrays = (unflatten(parameters, column) for column in columns)
    return changes, {**state, **dict(zip(kept, arrays, strict=True))}


def in_type_of(parameter: Any, value: Any) -> Any:
    """`value`, an array or Tensor, in the dtype of the parameter that it belongs to."""
    return ops.cast(value, parameter.dtype) if isinstance(value, Node) else np.asarray(value, parameter.dtype)


def zeros(parameter: Any) -> Any:
    """Zeros of the shape and dtype of a parameter.

    Raises:
        UsageError: it is not made of floating numbers.
    """
    array = np.asarray(parameter)
    if array.dtype.kind != "f":
        raise UsageError(f"a parameter of type {array.dtype} cannot be trained: expected float32 or float64")
    return np.zeros(array.shape, array.dtype)


def scalar(value: Any) -> Callable[[Any], Any]:
    """A function of a parameter: `value`, a single number, in that parameter's dtype, converted once for each.

    Numbers that depend on the step are float64; as they are they would widen what they meet.
    """
    if type(value) is float:  # a plain number adapts by itself; np.float64, a float too, does not
        return lambda parameter: value
    converted = cache(lambda dtype: ops.cast(value, dtype))
    return lambda parameter: converted(parameter.dtype)


def count(step: Any) -> Any:
    """The number of this step, counted from 1, as the t of the papers."""
    return ops.cast(step, np.float64) + 1


def bias_correction(decay: float, t: Any) -> Any:
    """1 - decay^t, exact to the last digits in float32 too, where it is a small difference of near numbers."""
    return -ops.expm1(t * math.log(decay)) if decay > 0 else 1.0
