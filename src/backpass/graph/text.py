"""The text form of a graph: one node a line, for people and for tests."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backpass.graph.node import Node
from backpass.graph.shapes import show_shape


def show(nodes: Sequence[Node], outputs: Sequence[Node]) -> str:
    """`nodes` in order, as `%3 = tanh(%2)  float32[batch, 16]  # hidden_1`, and a last line with the outputs."""
    number = {node: f"%{position}" for position, node in enumerate(nodes)}
    lines = [_line(node, number) for node in nodes]
    lines.append("return " + ", ".join(number[node] for node in outputs))
    return "\n".join(lines)


def _line(node: Node, number: Mapping[Node, str]) -> str:
    arguments = [number[x] for x in node.inputs]
    arguments += [f"{key}={_value(value)}" for key, value in node.attributes.items()]
    comment = f"  # {node.name}" if node.name else ""
    return f"{number[node]} = {node.op.name}({', '.join(arguments)})  {node.dtype}{show_shape(node.shape)}{comment}"


def _value(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return repr(value.item()) if value.ndim == 0 else f"<{value.dtype}{list(value.shape)}>"
    return str(value)
