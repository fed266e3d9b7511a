"""One optimizer for some parameters, another for the others."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Self

from backpass.errors import UsageError
from backpass.forward import Structure, flatten, labels, unflatten
from backpass.optimizers.optimizer import Optimizer, State
from backpass.records import dataclass


@dataclass(frozen=True)
class Groups(Optimizer):
    """An optimizer for each group of parameters: `Groups({"*.bias": SGD(0.1), "*": Adam()})`.

    The patterns are those of file names (`*`, `?`, `[...]`) and are held against where a parameter stands
    ("hidden_1.weight"); the first that matches takes it. To each optimizer its group is all there is: a
    ClipByGlobalNorm in a group measures that group.

    Args:
        groups: the optimizer of each pattern: rules, or all of them transformations.

    Raises:
        UsageError: there is no group, one is no optimizer, or rules and transformations are mixed; from `init` and
            `update`, if a parameter matches no pattern or a pattern takes no parameter.
    """

    groups: Mapping[str, Optimizer]

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", dict(self.groups))
        if not self.groups:
            raise UsageError('Groups: found no groups: expected patterns and optimizers, as Groups({"*": Adam()})')
        for pattern, member in self.groups.items():
            if not isinstance(member, Optimizer):
                raise UsageError(f"Groups: {pattern!r} has {member!r}: expected an optimizer")
        if len({member.makes_changes for member in self.groups.values()}) > 1:
            kinds = ", ".join(f"{pattern!r}: {type(member).__name__}" for pattern, member in self.groups.items())
            raise UsageError(f"Groups: found {kinds}: expected rules alone, or transformations alone")

    @property
    def makes_changes(self) -> bool:
        return next(iter(self.groups.values())).makes_changes

    def init(self, parameters: Structure) -> State:
        return [member.init(own) for member, own in zip(self.groups.values(), self.split(parameters), strict=True)]

    def update(self, gradients: Structure, state: State, parameters: Structure, step: Any) -> tuple[Structure, State]:
        split = zip(self.groups.values(), self.split(gradients), state, self.split(parameters), strict=True)
        changes: dict[str, Any] = {}
        states = []
        for member, own_gradients, own_state, own in split:
            own_changes, after = member.update(own_gradients, own_state, own, step)
            changes |= own_changes
            states.append(after)
        return unflatten(parameters, [changes[label] for label in labels(parameters)]), states

    @property
    def observes(self) -> bool:
        return any(part.observes for part in self.groups.values())

    def observe(self, state: State, validation_loss: float) -> State:
        return [member.observe(own, validation_loss) for member, own in zip(self.groups.values(), state, strict=True)]

    def over(self, steps: int) -> Self:
        groups = {pattern: member.over(steps) for pattern, member in self.groups.items()}
        return self if all(groups[pattern] is member for pattern, member in self.groups.items()) else type(self)(groups)

    def split(self, structure: Structure) -> list[dict[str, Any]]:
        """The values of each group, by their labels."""
        places = tuple(labels(structure))
        parts: list[dict[str, Any]] = [{} for _ in self.groups]
        for place, value, group in zip(places, flatten(structure), _assign(tuple(self.groups), places), strict=True):
            parts[group][place] = value
        return parts


@lru_cache(maxsize=64)
def _assign(patterns: tuple[str, ...], places: tuple[str, ...]) -> list[int]:
    """For each label, the number of the first pattern that matches it."""
    taken = [next((i for i, pattern in enumerate(patterns) if fnmatchcase(place, pattern)), None) for place in places]
    for place, group in zip(places, taken, strict=True):
        if group is None:
            raise UsageError(f"Groups: parameter {place!r} matches none of {', '.join(map(repr, patterns))}: add '*'")
    for group, pattern in enumerate(patterns):
        if group not in taken:
            matching = any(fnmatchcase(place, pattern) for place in places)
            found = "earlier patterns take all that it matches" if matching else f"there are {', '.join(places[:6])}"
            raise UsageError(f"Groups: pattern {pattern!r} takes no parameter: {found}")
    return [group for group in taken if group is not None]
