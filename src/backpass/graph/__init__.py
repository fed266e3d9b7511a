"""What a computation is: frozen nodes, shapes, a verifier, a text form and an iterative walk."""

from backpass.graph.graph import Graph
from backpass.graph.node import Node, Op, current_scope, scope
from backpass.graph.rewrite import rewrite
from backpass.graph.shapes import BATCH, Axis, Batch, Shape, bind_rows, broadcast, is_static, show_shape, size
from backpass.graph.text import show
from backpass.graph.verify import verify
from backpass.graph.walk import dependents, walk

__all__ = [
    "BATCH",
    "Axis",
    "Batch",
    "Graph",
    "Node",
    "Op",
    "Shape",
    "bind_rows",
    "broadcast",
    "current_scope",
    "dependents",
    "is_static",
    "rewrite",
    "scope",
    "show",
    "show_shape",
    "size",
    "verify",
    "walk",
]
