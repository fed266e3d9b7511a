"""The verifier: what must hold of every graph, checked after every pass in tests and on request elsewhere."""

from typing import Any, NoReturn

import numpy as np

from backpass.graph.graph import Graph
from backpass.graph.node import Node
from backpass.graph.shapes import Batch, show_shape


def verify(graph: Graph) -> Graph:
    """`graph` itself, if it is sound.

    Raises:
        AssertionError: a node's shape or dtype is not what its op gives for its inputs, an axis is not a size, an
            attribute cannot be held in a table of nodes, an input stands twice, or an input of another graph was
            reached. It is a fault of backpass, never of a user.
    """
    inputs = set(graph.inputs)
    if len(inputs) != len(graph.inputs):
        _unsound("an input stands twice")
    for node in graph.nodes:
        _check_axes(node)
        _check_attributes(node)
        if node in inputs:
            continue
        if node.op.name == "input":
            _unsound(f"{node!r} is an input that the graph does not list")
        shape, dtype = node.op.infer(node.inputs, node.attributes)
        if shape != node.shape:
            _unsound(f"{node!r}: its op gives shape {show_shape(shape)}")
        if dtype != node.dtype:
            _unsound(f"{node!r}: its op gives dtype {dtype}")
    return graph


def _check_axes(node: Node) -> None:
    for axis in node.shape:
        whole = isinstance(axis, int) and not isinstance(axis, bool) and axis >= 0
        if not whole and not isinstance(axis, Batch):
            _unsound(f"{node!r}: axis {axis!r} is no size")


def _check_attributes(node: Node) -> None:
    for key, value in node.attributes.items():
        try:
            hash(value)
        except TypeError:
            if not isinstance(value, np.ndarray) or value.flags.writeable:
                _unsound(f"{node!r}: attribute {key} can be changed: {type(value).__name__}")


def _unsound(what: Any) -> NoReturn:
    raise AssertionError(f"unsound graph: {what}")
