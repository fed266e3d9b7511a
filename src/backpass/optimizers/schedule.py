"""What a schedule of the learning rate is."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

from backpass.errors import UsageError
from backpass.forward import Structure
from backpass.optimizers.checks import COUNT, Expectation, checked, require
from backpass.records import dataclass


@dataclass(frozen=True)
class Schedule:
    """A learning rate that changes from step to step.

    It is calculated in float64 (in float32 where a Program of that precision runs it); the rule that uses it brings
    the result to the type of each parameter. A schedule whose option `steps` is None lasts for the whole training: the
    trainer says how long that is with `over`.
    """

    expected: ClassVar[Mapping[str, Expectation]] = {}

    def __post_init__(self) -> None:
        require(self, **self.expected)

    def __call__(self, step: Any, state: Structure = None) -> Any:
        """The learning rate of `step`, counted from 0: a number, or a Tensor where `step` is one.

        `state` is what `init` and `observe` made; a schedule that depends on the step alone needs none.

        Raises:
            UsageError: the schedule's length is not known yet.
        """
        raise NotImplementedError

    def init(self) -> dict[str, Any]:
        """What the schedule remembers, as arrays without axes: nothing, unless it watches the validation loss."""
        return {}

    def observe(self, state: Structure, validation_loss: float) -> Structure:
        """What it remembers once an epoch ended with `validation_loss`."""
        del validation_loss
        return state

    def over(self, steps: int) -> Self:
        """The same schedule, lasting `steps` steps where its length was left open.

        Raises:
            UsageError: `steps` is not a whole number of at least 1.
        """
        checked(type(self).__name__, "over(steps)", steps, COUNT)
        filled = {"steps": steps} if getattr(self, "steps", 0) is None else {}
        return replace(self, **filled)

    def length(self) -> int:
        """How many steps it lasts.

        Raises:
            UsageError: it is not known yet.
        """
        steps: int | None = getattr(self, "steps", None)
        if steps is None:
            name = type(self).__name__
            raise UsageError(
                f"{name}: steps=None stands for the whole training, whose length is not known here: "
                f"give {name}(..., steps=...), or fill it in with .over(steps)"
            )
        return steps
