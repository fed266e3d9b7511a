"""Networks side by side: which values of a training step belong to which of them.

The networks of an ensemble learn from the same rows and have nothing else in common. So a step can go through one after
the other, whose weights and values then stay in a near cache, and threads can take whole networks: none of them ever
waits for, or reads, what another makes, but for the loss that is told. Each element is calculated as ever, and no bit
changes.
"""

from collections.abc import Iterable, Mapping

from backpass.graph import Graph, Node, size
from backpass.native.plan import EVERYONES
from backpass.ops.kinds import Source


def networks_of(graph: Graph, carried: Mapping[int, int]) -> dict[Node, int]:
    """The number of the network that a value belongs to, for those that belong to one; none if there is but one.

    What several networks read of the batch, as columns put together, every thread calculates for itself: EVERYONES.
    `carried` says which outputs become which inputs, as that of a Job.
    """
    learned = {graph.inputs[place] for place in carried.values() if size(graph.inputs[place].shape) > 1}
    moved = _upstream(graph.outputs[place] for place in carried)
    follows: set[Node] = set()
    for node in graph.nodes:
        if not isinstance(node.op, Source) and any(x in learned or x in follows for x in node.inputs):
            follows.add(node)
    told = {node for place, node in enumerate(graph.outputs) if place not in carried}  # by thread 0, of all networks
    found = _parts([node for node in graph.nodes if node in follows and node in moved and node not in told], learned)
    if len(set(found.values())) < 2:
        return {}
    for node in graph.nodes:  # the loss of each network
        if node in follows and node not in found and node not in told:
            numbers = {found.get(x) for x in node.inputs if x in follows}
            if len(numbers) == 1 and None not in numbers:
                found[node] = numbers.pop()  # type: ignore[assignment]
    _give_to_only_readers(graph, found)
    free = _upstream(x for node in found for x in node.inputs) - follows - found.keys() - set(graph.outputs)
    return found | {node: EVERYONES for node in free if not isinstance(node.op, Source)}


def _upstream(nodes: Iterable[Node]) -> set[Node]:
    """These, and all that they are calculated from."""
    found: set[Node] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(node.inputs)
    return found


def _parts(nodes: list[Node], learned: set[Node]) -> dict[Node, int]:
    """The connected parts, numbered in the order of their first nodes; what reads the same weights is connected."""
    above: dict[Node, Node] = {}

    def top(node: Node) -> Node:
        while above.setdefault(node, node) is not node:
            above[node] = node = above[above[node]]
        return node

    inside = set(nodes)
    for node in nodes:
        for x in node.inputs:
            if x in inside or x in learned:
                above[top(x)] = top(node)
    numbers: dict[Node, int] = {}
    return {node: numbers.setdefault(top(node), len(numbers)) for node in nodes}


def _give_to_only_readers(graph: Graph, found: dict[Node, int]) -> None:
    """What only one network reads belongs to it, too: its random numbers are of this kind."""
    readers: dict[Node, set[int | None]] = {node: set() for node in graph.nodes}
    for node in graph.outputs:
        readers[node].add(None)
    for node in reversed(graph.nodes):
        if node not in found and not isinstance(node.op, Source) and len(readers[node]) == 1:
            (number,) = readers[node]
            if number is not None:
                found[node] = number
        for x in node.inputs:
            readers[x].add(found.get(node))
