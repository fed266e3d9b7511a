"""A graph: named inputs, outputs, and all that lies between."""

from collections.abc import Sequence
from functools import cached_property

from backpass.graph.node import Node
from backpass.graph.text import show
from backpass.graph.walk import walk
from backpass.records import dataclass


@dataclass(frozen=True, eq=False)
class Graph:
    """A computation from `inputs` to `outputs`. `print(graph)` shows it, one node a line."""

    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]

    @cached_property
    def nodes(self) -> Sequence[Node]:
        """Every node in an order in which it can be computed: the inputs first, those not used included."""
        return tuple(walk([*self.inputs, *self.outputs]))

    @property
    def strangers(self) -> Sequence[Node]:
        """Inputs of another graph that this one reaches: without them it cannot be run."""
        listed = set(self.inputs)
        return [node for node in self.nodes if node.op.name == "input" and node not in listed]

    def __str__(self) -> str:
        return show(self.nodes, self.outputs)
