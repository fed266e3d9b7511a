"""Which values need not be looked at to know that all are finite: those from which one follows that is looked at.

A sum or a product with an infinite number, or with one that is not a number, is not finite either: so new weights show
what is wrong with the moments that they are made with.
"""

from collections.abc import Set as AbstractSet

from backpass.graph import Node
from backpass.native.prepare import ADD_OVER_ROOT, MULTIPLY_ADD, OVER_ROOT
from backpass.ops.arithmetic import ADD, DIVIDE, MULTIPLY, NEGATIVE, SUBTRACT

_SHOW_ALL = (ADD, SUBTRACT, MULTIPLY, MULTIPLY_ADD, NEGATIVE)


def to_be_looked_at(nodes: AbstractSet[Node], *, quick: bool) -> set[Node]:
    """Those of `nodes` that are to be looked at, element by element, so that nothing that is not finite is missed.

    `quick` says that quotients by roots of infinite numbers are no numbers, as the quick ones are; see `arithmetic`.
    """
    shown: set[Node] = set()
    for last in nodes:
        stack, seen = [last], {last}
        while stack:
            node = stack.pop()
            for x in _shown_by(node, quick=quick):
                if x not in seen and x.shape == last.shape and x.dtype == last.dtype:
                    seen.add(x)
                    stack.append(x)
        shown |= seen - {last}
    return set(nodes) - shown


def _shown_by(node: Node, *, quick: bool) -> tuple[Node, ...]:
    """The inputs that `node` cannot be finite without."""
    op = node.op
    if op in _SHOW_ALL or (quick and op in (OVER_ROOT, ADD_OVER_ROOT)):
        return node.inputs
    if op is ADD_OVER_ROOT:
        return node.inputs[:3]
    if op is OVER_ROOT:
        return node.inputs[:2]
    return node.inputs[:1] if op is DIVIDE else ()
