"""From a graph as it was traced to one that can be cut into kernels: every pass keeps its meaning."""

from collections import Counter
from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from math import prod
from typing import Any

import numpy as np

from backpass.graph import BATCH, Axis, Batch, Graph, Node, rewrite, scope, size
from backpass.native.plan import Product, product
from backpass.ops import apply, constant, reshape
from backpass.ops.arithmetic import ADD, DIVIDE, MULTIPLY
from backpass.ops.elementary import SQRT
from backpass.ops.kinds import Movement, Pointwise, Record, Reduction, Source, reduced
from backpass.ops.movement import BROADCAST, RESHAPE
from backpass.ops.source import ROWS
from backpass.simplify import simplify


def expand(graph: Graph) -> Graph:
    """Operations that are made of simpler ones become these."""
    return rewrite(graph, _expanded)


def reduce_inside_first(graph: Graph) -> Graph:
    """A reduction over the first axis and others becomes one over the others, row by row, and then one over rows.

    So the large part of the work has an axis along which it is split over threads.
    """
    return rewrite(graph, _inside_first)


def only_row(graph: Graph) -> Graph:
    """In steps of one row a sum over the rows, or the largest of them, is that row."""
    return rewrite(graph, _of_one_row)


def multiply_and_add(graph: Graph) -> Graph:
    """A product that only goes into a sum becomes one instruction with it, where it is one of real numbers."""
    users = _users(graph)

    def fused(node: Node) -> Node:
        if node.op is not ADD or node.dtype.kind != "f":
            return node
        for term, other in (node.inputs, node.inputs[::-1]):
            if term.op is MULTIPLY and term.shape == node.shape and users[term] == 1:
                inputs = (*term.inputs, other)
                return type(node)(MULTIPLY_ADD, inputs, node.shape, node.dtype, {}, node.name)
        return node

    return rewrite(graph, fused)


def double_once(graph: Graph) -> Graph:
    """x c + x c, as the derivative of a square becomes, is x times 2 c; where c was 1/2 nothing is left to do.

    It is the same number, unless that is so small that c x is not exact.
    """
    with np.errstate(all="ignore"):
        numbers = _numbers(graph)

    def doubled(node: Node) -> Node:
        x = node.inputs[0] if node.inputs else node
        if node.op is not ADD or node.inputs[1] is not x or x.op is not MULTIPLY or node.dtype.kind != "f":
            return node
        for other, factor in (x.inputs, x.inputs[::-1]):
            number = numbers.get(factor)
            if number is not None and other.shape == node.shape:
                with scope(node.name), np.errstate(over="ignore"):
                    twice = constant(number + number, node.dtype)
                    if np.isfinite(twice.attributes["value"]):
                        return other if number == 0.5 else apply(MULTIPLY, other, twice)
        return node

    return rewrite(graph, doubled)


def scale_errors(graph: Graph) -> Graph:
    """A number by which only a gradient is multiplied, before it is added, multiplies the errors instead.

    Of a step of one row they are fewer, and the same for a matrix and its biases. What is left adds one product of two
    numbers to each weight, and one number to each bias.
    """
    users = _users(graph)
    smaller: dict[tuple[Node, Node], Node] = {}

    def scaled(node: Node) -> Node:
        if node.op is not MULTIPLY_ADD:
            return node
        *factors, other = node.inputs
        for gradient, factor in (factors, factors[::-1]):
            op = gradient.op
            from_errors = op is ONLY_ROW or product(gradient) is Product.WEIGHTS
            made = [x for x in gradient.inputs if not isinstance(x.op, Source)]
            fits = from_errors and gradient.shape == node.shape and users[gradient] == 1
            if isinstance(op, Record) and fits and made and size(factor.shape) == 1 and factor.ndim <= 1:
                errors = min(made, key=lambda x: size(x.shape[1:]))
                with scope(node.name):
                    if (errors, factor) not in smaller:
                        smaller[errors, factor] = apply(MULTIPLY, errors, factor)
                    inputs = (smaller[errors, factor] if x is errors else x for x in gradient.inputs)
                    total: Node = apply(ADD, other, apply(op, *inputs, **gradient.attributes))
                return total
        return node

    return rewrite(graph, scaled)


def divide_by_roots(graph: Graph, kept: AbstractSet[Node]) -> Graph:
    """a f / (sqrt v + e) becomes one operation where f and e are numbers and v is one of `kept`; so does a sum with it.

    The rules of Adam and others have such a quotient, and keep v: where that overflows training ends.
    """
    users = _users(graph)

    def quotient(node: Node) -> Node:
        if node.op is not DIVIDE or node.dtype.kind != "f" or node.inputs[1].op is not ADD:
            return node
        a, divisor = node.inputs
        for root, e in (divisor.inputs, divisor.inputs[::-1]):
            fits = root.op is SQRT and e.ndim == 0 and root.shape == divisor.shape == node.shape
            if fits and root.inputs[0] in kept and users[divisor] == users[root] == 1:
                with scope(node.name):
                    result: Node = apply(OVER_ROOT, *_factors(a), root.inputs[0], e)
                return result
        return node

    graph = rewrite(graph, quotient)
    users = _users(graph)

    def total(node: Node) -> Node:
        for term, other in (node.inputs, node.inputs[::-1]) if node.op is ADD else ():
            if term.op is OVER_ROOT and term.shape == other.shape == node.shape and users[term] == 1:
                with scope(node.name):
                    result: Node = apply(ADD_OVER_ROOT, other, *term.inputs)
                return result
        return node

    return rewrite(graph, total)


def _users(graph: Graph) -> Counter[Node]:
    """How often each node is read."""
    users = Counter(x for node in graph.nodes for x in node.inputs)
    users.update(graph.outputs)
    return users


def _factors(x: Node) -> tuple[Node, Node]:
    """A value and a number, of which `x` is the product."""
    for factor, number in (x.inputs, x.inputs[::-1]) if x.op is MULTIPLY else ():
        if number.ndim == 0:
            return factor, number
    one: Node = constant(1, x.dtype)
    return x, one


OVER_ROOT = Pointwise(
    name="over_root",
    forward=lambda a, f, v, e: a * f / (np.sqrt(v) + e),
    lower=lambda writer, a, f, v, e: writer.over_root(a, f, v, e),
    cost=10,
)

ADD_OVER_ROOT = Pointwise(
    name="add_over_root",
    forward=lambda x, a, f, v, e: x + a * f / (np.sqrt(v) + e),
    lower=lambda writer, x, a, f, v, e: writer.over_root(a, f, v, e, x),
    cost=11,
)

MULTIPLY_ADD = Pointwise(
    name="multiply_add",
    forward=lambda a, b, c: a * b + c,
    derivative=lambda dy, y, a, b, c: (dy * b, dy * a, dy),
    lower=lambda e, a, b, c: e.multiply_add(a, b, c),
    cost=1,
)

ONLY_ROW = Movement(
    name="only_row",
    forward=lambda x: x[0],
    lower=lambda e, index, x: e.read(x, [0, *index]),
    shape=lambda x: x[1:],
)


def prepare(graph: Graph, rows: int = 0, *, whole: bool = False, carried: Collection[int] = ()) -> Graph:
    """`graph` after all passes, for steps of so many rows at most, 0 if that is not known; or of just so many.

    `carried` are the places of outputs that are carried on into the next step.
    """
    single = rows == 1 and whole
    if single:
        graph = rewrite(graph, lambda node: constant(1, node.dtype) if node.op is ROWS else node)
    graph = reduce_inside_first(expand(graph))
    graph = multiply_and_add(double_once(simplify(only_row(graph) if single else graph)))
    graph = divide_by_roots(graph, {graph.outputs[place] for place in carried})
    return scale_errors(graph) if rows == 1 else graph


def _expanded(node: Node) -> Node:
    op = node.op
    if not isinstance(op, Record) or op.expand is None:
        return node
    with scope(node.name):
        result: Node = op.expand(*node.inputs, **node.attributes)
    return result


def _numbers(graph: Graph) -> dict[Node, Any]:
    """The nodes of which every element is the same known number, and that as a NumPy scalar: stretched constants."""
    found: dict[Node, Any] = {}
    for node in graph.nodes:
        known = [found[x] for x in node.inputs if x in found]
        value = node.attributes.get("value")
        if value is not None and value.size == 1:
            found[node] = value.reshape(-1)[0]
        elif known and node.op in (BROADCAST, RESHAPE):
            found[node] = known[0]
        elif len(known) == 2 and node.op is MULTIPLY and node.dtype.kind == "f":
            found[node] = known[0] * known[1]
    return found


def _inside_first(node: Node) -> Node:
    op = node.op
    if not isinstance(op, Reduction) or op.places:
        return node
    (x,) = node.inputs
    axes = node.attributes["axes"]
    others = tuple(axis for axis in axes if axis != 0)
    if 0 not in axes or x.shape[0] == 1 or _count(x.shape[axis] for axis in others) == 1:
        return node
    with scope(node.name):
        inside = apply(op, x, axes=others, keepdims=True)
        whole = apply(op, inside, axes=(0,), keepdims=True)
        result: Node = reshape(whole, reduced(x.shape, axes, keepdims=node.attributes["keepdims"]))
    return result


def _of_one_row(node: Node) -> Node:
    is_over_rows = isinstance(node.op, Reduction) and not node.op.places and node.attributes["axes"] == (0,)
    if not is_over_rows or node.inputs[0].shape[:1] != (BATCH,) or BATCH in node.inputs[0].shape[1:]:
        return node
    with scope(node.name):
        row: Node = reshape(apply(ONLY_ROW, *node.inputs), node.shape)
    return row


def _count(axes: Iterable[Axis]) -> int:
    return prod(1 << 30 if isinstance(axis, Batch) else axis for axis in axes)
