"""Several networks trained side by side as one, whose answers are averaged, and how they hold rows out."""

from collections.abc import Iterator, Sequence
from dataclasses import field
from functools import reduce
from itertools import groupby
from operator import add, itemgetter
from typing import Any, ClassVar

import numpy as np

from backpass.errors import ShapeError, UsageError
from backpass.graph import scope, show_shape
from backpass.nn.checks import require_kind, require_whole
from backpass.nn.layer import Layer, Parameters, Part, RowShape
from backpass.nn.shaping import Identity
from backpass.ops import Key, cast, equal, less, reshape, stop_gradient, where
from backpass.ops.kinds import Value
from backpass.records import dataclass

MOST_MEMBERS = 256
ROUNDED = 1e-6  # what shares of 1 may come to more or less


@dataclass(frozen=True)
class Ensemble(Layer):
    """`count` networks of one form that start from different weights; the outputs are the mean of theirs.

    While training, the outputs of all members are returned, as a tuple: a loss is the mean of the members' own losses,
    so that each learns as if it were alone. All see the same batches: first weights and dropout are what makes them
    differ (Lakshminarayanan, Pritzel and Blundell, 2017, section 2.4). An Ensemble is no part of another network.
    Parameters: "first", those of the layer that all share, and those of the members, by their numbers from 1.

    Args:
        member: the network.
        count: how many of it there are, at most 256.
        first: what the members' common input goes through before.
    """

    whole: ClassVar[bool] = True

    member: Layer
    count: int
    first: Layer = field(default_factory=Identity)

    def __post_init__(self) -> None:
        require_kind(self, "member", Layer, "a layer")
        require_kind(self, "first", Layer, "a layer")
        require_whole(self, "count")
        if self.count > MOST_MEMBERS:
            raise UsageError(f"Ensemble: count is {self.count}, expected at most {MOST_MEMBERS}")
        if self.member.whole or self.first.whole:
            raise UsageError("Ensemble: there is an Ensemble within it, expected other layers")

    def input_shape(self) -> RowShape | None:
        return self.member.input_shape() if self.first.passes_on else self.first.input_shape()

    def init(self, shape: RowShape, key: Key, after: Layer | None = None) -> Parameters:
        shared = self.first.init(shape, key.fold("first"))
        shape = shape if self.first.passes_on else self.first.output_shape(shape, shared)
        own = {name: self.of(name).init(shape, key.fold(name), after) for name in self._names()}
        return {"first": shared} | own

    def parts(self, shape: RowShape | None, parameters: Parameters | None) -> Iterator[Part]:
        shared, own = ({}, {}) if parameters is None else (parameters.get("first", {}), parameters.get("1", {}))
        if not self.first.passes_on:
            yield "first", self.first, shape, None if parameters is None else shared
            shape = None if shape is None or parameters is None else self.first.output_shape(shape, shared)
        yield f"each of {self.count}", self.member, shape, None if parameters is None else own

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Any:
        outputs = self.outputs_of_members(parameters, x, key)
        return self.together(outputs, x) if key is None else tuple(outputs)

    def together(self, outputs: Sequence[Any], x: Any, places: Sequence[int] | None = None) -> Any:
        """What the outputs of all members for the rows `x` come to; or of those at `places`, from 0 on, alone."""
        del x
        places = places or range(self.count)
        total = outputs[places[0]]
        for place in places[1:]:
            total = total + outputs[place]
        return total * (1 / len(places))

    def own(self, inputs: Any) -> Any:
        """What the members take, of inputs or of their shapes."""
        return inputs

    def outputs_of_members(self, parameters: Parameters, x: Value, key: Key | None = None) -> list[Any]:
        """The outputs of each, in the order of their numbers."""
        with scope("first"):
            x = self.first(parameters.get("first", {}), x, None if key is None else key.fold("first"))
        outputs = []
        for name in self._names():
            with scope(name):
                own = None if key is None else key.fold(name)
                outputs.append(self.of(name)(parameters.get(name, {}), x, own))
        return outputs

    def of(self, name: str) -> Layer:
        """The form of the member of that number, from 1 on."""
        del name
        return self.member

    def shares_among(self, places: Sequence[int]) -> list[float]:
        """The parts of the members at `places`, from 0 on, in an answer that no others have a say in."""
        return [1 / len(places)] * len(places)

    def _names(self) -> list[str]:
        return [str(number) for number in range(1, self.count + 1)]


@dataclass(frozen=True)
class Blend(Ensemble):
    """An Ensemble of several kinds of networks: the first members are of the form `member`, then as many of each other.

    Networks that differ in kind err in different ways, and more is gained by their mean than by that of networks alike.
    Which kinds suit is another for each problem: so in use each kind has its own part of the answer.

    Args:
        member: the networks of the first kind.
        count: how many members there are of all kinds together, as many of each.
        first: as of an Ensemble.
        others: the networks of the other kinds.
        shares: the part of each kind in the answer, 0 or more, 1 together; empty for the same of each.
    """

    others: tuple[Layer, ...] = ()
    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "others", tuple(self.others))
        object.__setattr__(self, "shares", tuple(self.shares))
        if not all(isinstance(kind, Layer) and not kind.whole for kind in self.others):
            raise UsageError("Blend: others are not all of them layers, expected networks such as the member")
        kinds = 1 + len(self.others)
        if self.count % kinds:
            raise UsageError(f"Blend: count is {self.count}, expected as many members of each of {kinds} kinds")
        fit = all(isinstance(share, (int, float, np.floating)) and 0 <= share <= 1 for share in self.shares)
        if self.shares and (len(self.shares) != kinds or not fit or abs(sum(self.shares) - 1) > ROUNDED):
            raise UsageError(f"Blend: shares are {self.shares}, expected {kinds} numbers of 0 or more, 1 together")

    @property
    def kinds(self) -> tuple[Layer, ...]:
        """The networks, one of each kind."""
        return self.member, *self.others

    def kind_of(self, place: int) -> int:
        """Which kind the member at `place`, from 0 on, is of."""
        return place // (self.count // len(self.kinds))

    def parts(self, shape: RowShape | None, parameters: Parameters | None) -> Iterator[Part]:
        *shared, (_, _, shape, _) = super().parts(shape, parameters)
        yield from shared
        each = self.count // len(self.kinds)
        for number, kind in enumerate(self.kinds):
            own = None if parameters is None else parameters.get(str(1 + number * each), {})
            yield f"each of {each}, kind {number + 1}", kind, shape, own

    def outputs_of_members(self, parameters: Parameters, x: Value, key: Key | None = None) -> list[Any]:
        outputs = super().outputs_of_members(parameters, x, key)
        first = outputs[0].shape
        for place, each in enumerate(outputs):
            if each.shape != first:
                other = f"those of kind {self.kind_of(place) + 1} {show_shape(each.shape)}"
                raise ShapeError(f"Blend: the outputs of kind 1 are {show_shape(first)} and {other}, expected the same")
        return outputs

    @property
    def member_groups(self) -> tuple[range, ...]:
        each = self.count // len(self.kinds)
        return tuple(range(start, start + each) for start in range(0, self.count, each))

    def together(self, outputs: Sequence[Any], x: Any, places: Sequence[int] | None = None) -> Any:
        del x
        places = places or range(self.count)
        alike = groupby(zip(self.shares_among(places), places, strict=True), key=itemgetter(0))
        parts = (reduce(add, [outputs[place] for _, place in some]) * share for share, some in alike)
        return reduce(add, parts)

    def of(self, name: str) -> Layer:
        return self.kinds[self.kind_of(int(name) - 1)]

    def shares_among(self, places: Sequence[int]) -> list[float]:
        each, of_kinds = self.count // len(self.kinds), self.shares or (1.0,) * len(self.kinds)
        weights = [of_kinds[place // each] for place in places]
        total = sum(weights)
        return [weight / total for weight in weights] if total else super().shares_among(places)


@dataclass(frozen=True)
class CrossFitted(Layer):
    """An Ensemble while it is trained so that every row is held out from some of its members, and from no other.

    Beside what the ensemble takes there is an input with the number of each row's fold, shape (rows,). Members learn
    nothing from the rows of their own fold: member j's is that of number (j - 1) modulo `folds`. In use, a row is
    answered by the members that did not learn from it, and one of fold -1 by all: so the rows that are trained on
    validate, too, as in cross-validation (Stone, 1974). Parameters are the ensemble's, which needs this no more once
    it is trained. What comes before all members, the ensemble's `first`, learns from all rows.

    Args:
        ensemble: the networks.
        folds: the number of parts, from 2 to the number of members.
        fold: the name of the input with the numbers of the folds.
        alone: the name of the ensemble's input, where it takes one array; None where it takes them by their names.
    """

    whole: ClassVar[bool] = True

    ensemble: Ensemble
    folds: int
    fold: str = "fold"
    alone: str | None = None

    def __post_init__(self) -> None:
        require_kind(self, "ensemble", Ensemble, "an Ensemble")
        require_whole(self, "folds")
        if not 2 <= self.folds <= self.ensemble.count:
            raise UsageError(
                f"CrossFitted: folds is {self.folds}, expected 2 to {self.ensemble.count}, as many as members"
            )

    def init(self, shape: RowShape, key: Key, after: Layer | None = None) -> Parameters:
        return self.ensemble.init(self.own(shape), key, after)

    def parts(self, shape: RowShape | None, parameters: Parameters | None) -> Iterator[Part]:
        return self.ensemble.parts(None if shape is None else self.own(shape), parameters)

    def __call__(self, parameters: Parameters, x: Any, key: Key | None = None) -> Any:
        outputs = self.outputs_of_members(parameters, self.own(x), key)
        if key is None:
            return self.together(outputs, x)
        numbers = self._numbers(x, outputs[0])
        own = ((equal(numbers, place % self.folds), each) for place, each in enumerate(outputs))
        return tuple(where(mine, stop_gradient(each), each) for mine, each in own)

    @property
    def member_groups(self) -> tuple[range, ...]:
        groups = self.ensemble.member_groups
        return groups if all(len(group) >= self.folds for group in groups) else ()

    def outputs_of_members(self, parameters: Parameters, x: Value, key: Key | None = None) -> list[Any]:
        """The outputs of each, of what the ensemble takes."""
        return self.ensemble.outputs_of_members(parameters, x, key)

    def together(self, outputs: Sequence[Any], x: Any, places: Sequence[int] | None = None) -> Any:
        """As an Ensemble's: of a row the outputs of those that did not learn from it."""
        numbers, places, total = self._numbers(x, outputs[0]), places or range(len(outputs)), None
        new, parts = less(numbers, 0), {}
        beside = [[place for place in places if place % self.folds == fold] for fold in range(self.folds)]
        among = (dict(zip(some, self.ensemble.shares_among(some), strict=True)) for some in beside if some)
        alone = {place: share for some in among for place, share in some.items()}
        for place, of_all in zip(places, self.ensemble.shares_among(places), strict=True):
            key = place % self.folds, alone[place], of_all
            if key not in parts:
                share = where(new, of_all, where(equal(numbers, place % self.folds), alone[place], 0.0))
                parts[key] = cast(share, outputs[place].dtype)
            part = outputs[place] * parts[key]
            total = part if total is None else total + part
        return total

    def _numbers(self, inputs: Any, outputs: Any) -> Any:
        """Of the folds of rows, in the form of outputs."""
        return reshape(inputs[self.fold], (outputs.shape[0], *[1] * (len(outputs.shape) - 1)))

    def own(self, inputs: Any) -> Any:
        """What the ensemble takes, of inputs or of their shapes."""
        if self.alone is not None:
            return inputs[self.alone]
        return {name: part for name, part in inputs.items() if name != self.fold}
