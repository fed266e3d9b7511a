"""Walks over nodes, with a stack of their own: a graph may be deeper than Python's recursion allows."""

from collections.abc import Iterable

from backpass.graph.node import Node


def walk(outputs: Iterable[Node]) -> list[Node]:
    """Every node that `outputs` need, each once, inputs before the nodes that use them."""
    order: dict[Node, None] = {}
    stack = list(outputs)[::-1]
    while stack:
        node = stack[-1]
        if node in order:
            stack.pop()
            continue
        waiting = [x for x in node.inputs if x not in order]
        if waiting:
            stack.extend(reversed(waiting))
        else:
            order[stack.pop()] = None
    return list(order)


def dependents(order: Iterable[Node], sources: Iterable[Node]) -> set[Node]:
    """The nodes of `order` (inputs first) whose value depends on one of `sources`, these included."""
    found = set(sources)
    for node in order:
        if not found.isdisjoint(node.inputs):
            found.add(node)
    return found
