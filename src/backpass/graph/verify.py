"""The verifier: what must hold of every graph, checked after every pass in tests and on request elsewhere."""

from typing import Any

from backpass.graph.graph import Graph
from backpass.graph.node import Node
from backpass.graph.shapes import Batch, show_shape


def verify(graph: Graph) -> Graph:
    """`graph` itself, if it is sound.

    Raises:
        AssertionError: a node's shape or dtype is not what its op gives for its inputs, an axis is not a size, an
            attribute cannot be held in a table of nodes, an input stands twice, or a node with no inputs that is
            neither a constant nor an input of the graph was reached. It is a fault of backpass, never of a user.
    """
    _require(len(set(graph.inputs)) == len(graph.inputs), "an input stands twice")
    inputs = set(graph.inputs)
    for node in graph.nodes:
        _check_axes(node)
        if node in inputs:
            continue
        _require(node.op.name != "input", f"{node!r} is an input that the graph does not list")
        shape, dtype = node.op.infer(node.inputs, node.attributes)
        _require(shape == node.shape, f"{node!r}: its op gives shape {show_shape(shape)}")
        _require(dtype == node.dtype, f"{node!r}: its op gives dtype {dtype}")
    return graph


def _check_axes(node: Node) -> None:
    for axis in node.shape:
        whole = isinstance(axis, int) and not isinstance(axis, bool) and axis >= 0
        _require(whole or isinstance(axis, Batch), f"{node!r}: axis {axis!r} is no size")


def _require(condition: Any, message: str) -> None:
    if not condition:
        raise AssertionError(f"unsound graph: {message}")
