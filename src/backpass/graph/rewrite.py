"""Rebuilding a graph: the one way in which a pass changes it."""

from collections.abc import Callable
from dataclasses import replace

from backpass.graph.graph import Graph
from backpass.graph.node import Node


def rewrite(graph: Graph, rule: Callable[[Node], Node]) -> Graph:
    """`graph` with `rule` applied to every node, inputs first.

    `rule` sees a node whose inputs are rewritten already and returns it or another of the same shape and dtype.
    The graph's inputs stay as they are.
    """
    new: dict[Node, Node] = {node: node for node in graph.inputs}
    for node in graph.nodes:
        if node in new:
            continue
        inputs = tuple(new[x] for x in node.inputs)
        new[node] = rule(node if _same(inputs, node.inputs) else replace(node, inputs=inputs))
    return Graph(graph.inputs, tuple(new[node] for node in graph.outputs))


def _same(a: tuple[Node, ...], b: tuple[Node, ...]) -> bool:
    return all(x is y for x, y in zip(a, b, strict=True))
