"""Several networks trained side by side as one, whose answers are averaged."""

from collections.abc import Iterator
from dataclasses import field
from typing import Any, ClassVar

from backpass.errors import UsageError
from backpass.graph import scope
from backpass.nn.checks import require_kind, require_whole
from backpass.nn.layer import Layer, Parameters, Part, RowShape
from backpass.nn.shaping import Identity
from backpass.ops import Key
from backpass.ops.kinds import Value
from backpass.records import dataclass

MOST_MEMBERS = 256


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
        shape = self.first.output_shape(shape, shared)
        own = {name: self.member.init(shape, key.fold(name), after) for name in self._names()}
        return {"first": shared} | own

    def parts(self, shape: RowShape | None, parameters: Parameters | None) -> Iterator[Part]:
        shared, own = ({}, {}) if parameters is None else (parameters.get("first", {}), parameters.get("1", {}))
        if not self.first.passes_on:
            yield "first", self.first, shape, None if parameters is None else shared
            shape = None if shape is None or parameters is None else self.first.output_shape(shape, shared)
        yield f"each of {self.count}", self.member, shape, None if parameters is None else own

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Any:
        with scope("first"):
            x = self.first(parameters.get("first", {}), x, None if key is None else key.fold("first"))
        outputs = []
        for name in self._names():
            with scope(name):
                own = None if key is None else key.fold(name)
                outputs.append(self.member(parameters.get(name, {}), x, own))
        if key is not None:
            return tuple(outputs)
        total = outputs[0]
        for each in outputs[1:]:
            total = total + each
        return total * (1 / self.count)

    def _names(self) -> list[str]:
        return [str(number) for number in range(1, self.count + 1)]
