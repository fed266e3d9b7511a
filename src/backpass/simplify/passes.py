"""The passes, in the order in which they run. None of them changes a bit of a result; NaN stays NaN."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from backpass.graph import Graph, Node, broadcast, is_static, rewrite, size
from backpass.ops.apply import CONSTANT
from backpass.ops.kinds import Movement, Pointwise, Random, Record, Source
from backpass.ops.movement import SLICE

LARGEST_FOLDED = 4096  # elements: beyond it a constant costs more to carry than to calculate


def fold_constants(graph: Graph) -> Graph:
    """What depends on constants alone is calculated now."""
    return rewrite(graph, _folded)


def drop_neutral(graph: Graph) -> Graph:
    """x * 1, x / 1, x - 0 become x; so do an identity and a movement or cast that changes nothing.

    So does the x + 0 of whole numbers; of real ones only x + (-0), since -0 + 0 is 0.
    """
    return rewrite(graph, _without_neutral)


def stretch_in_passing(graph: Graph) -> Graph:
    """A broadcast that only feeds a pointwise operation falls away, where that operation stretches by itself."""
    return rewrite(graph, _without_stretching)


def slice_once(graph: Graph) -> Graph:
    """A part of a part is a part of the whole."""
    return rewrite(graph, _of_the_whole)


def share_equal(graph: Graph) -> Graph:
    """The same operation of the same inputs is calculated once."""
    seen: dict[Any, Node] = {}
    return rewrite(graph, lambda node: seen.setdefault(_meaning(node), node))


PASSES: tuple[Callable[[Graph], Graph], ...] = (
    drop_neutral,
    fold_constants,
    drop_neutral,
    stretch_in_passing,
    slice_once,
    share_equal,
)


def simplify(graph: Graph) -> Graph:
    """`graph` after all passes. Nodes that no output needs fall away by themselves."""
    for one_pass in PASSES:
        graph = one_pass(graph)
    return graph


def _is_constant(node: Node) -> bool:
    return isinstance(node.op, Source) and "value" in node.attributes


def _folded(node: Node) -> Node:
    op = node.op
    if not isinstance(op, Record) or not node.inputs or isinstance(op, Random) or not is_static(node.shape):
        return node
    if not all(map(_is_constant, node.inputs)) or size(node.shape) > LARGEST_FOLDED:
        return node
    with np.errstate(all="ignore"):
        value = np.array(op.forward(*(x.attributes["value"] for x in node.inputs), **node.attributes), node.dtype)
    return _constant_like(node, value)


def _constant_like(node: Node, value: np.ndarray[Any, Any]) -> Node:
    value.flags.writeable = False
    return type(node)(CONSTANT, (), value.shape, value.dtype, {"value": value}, node.name)


def _without_neutral(node: Node) -> Node:
    op = node.op
    if isinstance(op, Movement) and len(node.inputs) == 1 and _moves_nothing(op, node):
        return node.inputs[0]
    if not isinstance(op, Pointwise):
        return node
    if op.transparent and node.inputs[0].dtype == node.dtype:
        return node.inputs[0]
    if op.neutral is None:
        return node
    left, right = node.inputs
    if _is_all(right, op.neutral) and left.shape == node.shape:
        return left
    if op.commutative and _is_all(left, op.neutral) and right.shape == node.shape:
        return right
    return node


def _moves_nothing(op: Movement, node: Node) -> bool:
    return node.inputs[0].shape == node.shape and op.unmoved(**node.attributes)


def _without_stretching(node: Node) -> Node:
    if not isinstance(node.op, Pointwise):
        return node
    inputs, changed = list(node.inputs), False
    for place, x in enumerate(inputs):
        if isinstance(x.op, Movement) and x.op.stretches:
            shorter = [*inputs[:place], x.inputs[0], *inputs[place + 1 :]]
            if broadcast([each.shape for each in shorter]) == node.shape:
                inputs, changed = shorter, True
    return replace(node, inputs=tuple(inputs)) if changed else node


def _of_the_whole(node: Node) -> Node:
    if node.op is not SLICE or node.inputs[0].op is not SLICE:
        return node
    (part,) = node.inputs
    spans = []
    for outer, inner in zip(node.attributes["spans"], part.attributes["spans"], strict=True):
        if outer is None or inner is None:
            spans.append(outer or inner)
            continue
        taken = range(*inner)[slice(*outer)]
        spans.append((taken.start, taken.stop, taken.step))
    whole = part.inputs[0]
    return replace(node, inputs=(whole,), attributes={**node.attributes, "spans": tuple(spans)})


def _is_all(node: Node, number: float) -> bool:
    """Is every element `number`, its sign included where it is a real 0?"""
    if not _is_constant(node):
        return False
    value = node.attributes["value"]
    if value.size == 0 or value.flat[0] != number or not np.all(value == number):
        return False
    return value.dtype.kind != "f" or bool(np.all(np.signbit(value) == np.signbit(number)))


def _meaning(node: Node) -> Any:
    """What two nodes must have in common to be one. Inputs of the graph are not asked: they stay as they are."""
    attributes = tuple(sorted((key, _comparable(value)) for key, value in node.attributes.items()))
    return node.op, tuple(map(id, node.inputs)), node.shape, node.dtype, attributes


def _comparable(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return repr(value)
