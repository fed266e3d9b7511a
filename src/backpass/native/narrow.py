"""Weights with few columns, kept turned about: their long axis lies along vectors then.

A layer of one or three outputs has weights of shape (inputs, outputs). As they stand, a vector along a row of them
would be mostly empty. Turned, the layer's sums are products of whole vectors, its errors flow back without a second
copy, and its update fills the vectors too.

Ten outputs leave of two vectors of 8 six lanes empty. There the layer's sums need the weights as they stand. But where
errors flow back both ways stand in memory anyhow, and it is the update that is made turned about, with full vectors.
"""

from collections.abc import Mapping

from backpass.graph import Graph, Node, scope, size
from backpass.native.layout import lanes_for
from backpass.native.plan import FEW_ROWS, Product, operands, product, turned
from backpass.native.pointwise import SCALARS
from backpass.native.target import Target
from backpass.ops import apply, reshape
from backpass.ops.contraction import CONTRACT
from backpass.ops.kinds import Pointwise
from backpass.ops.tensor import new_input

MANY = 8  # rows
WORTH = 1.25  # times as full as they stand vectors must be turned about, where the sums need the other way too
SHARE = 0.05  # of all weights they must be then: the code for both ways takes longer to make


def turn_narrow(graph: Graph, carried: Mapping[int, int], target: Target) -> tuple[Graph, set[int]]:
    """`graph` with narrow weights, and all that is calculated element by element with them, turned about.

    Returns the graph, and the places of its inputs (and of what becomes of them) that are turned.
    """
    family = _family(graph, carried, target)
    if not family:
        return graph, set()
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        new[node] = _turned(node, new) if node in family else _straight(node, new, family)
    places = {place for place, node in enumerate(graph.inputs) if node in family}
    return Graph(tuple(new[node] for node in graph.inputs), tuple(new[node] for node in graph.outputs)), places


def _family(graph: Graph, carried: Mapping[int, int], target: Target) -> set[Node]:
    """All values of the shape of narrow weights, for those shapes of which all that happens can be turned."""
    users: dict[Node, list[Node]] = {node: [] for node in graph.nodes}
    for node in graph.nodes:
        for x in node.inputs:
            users[x].append(node)
    inputs = set(graph.inputs)
    free = {output for place, output in enumerate(graph.outputs) if place not in carried}
    products = [node for node in graph.nodes if product(node) is Product.ROWS]
    all_weights = {operands(node)[1] for node in products}
    many = SHARE * sum(size(weights.shape) for weights in all_weights)
    both_ways = {operands(node)[1] for node in products if turned(node)}
    shapes = set()
    for weights in (operands(node)[1] for node in products if not turned(node)):
        large = weights in both_ways and size(weights.shape) >= many
        if _is_narrow(weights) or (large and _is_fuller_turned(weights, target)):
            shapes.add(weights.shape)
    family: set[Node] = set()
    for shape in shapes:
        members = [node for node in graph.nodes if node.shape == shape]
        if all(_can_turn(node, inputs) and node not in free and _used_well(node, users) for node in members):
            family.update(members)
    return family


def _is_narrow(node: Node) -> bool:
    depth, columns = node.shape
    return isinstance(depth, int) and isinstance(columns, int) and columns <= FEW_ROWS and depth >= MANY


def _is_fuller_turned(node: Node, target: Target) -> bool:
    depth, columns = (int(axis) for axis in node.shape)  # type: ignore[arg-type]
    most = target.lanes(SCALARS[node.dtype])

    def filled(length: int) -> float:
        lanes = lanes_for(length, most)
        return length / (-(-length // lanes) * lanes)

    return filled(depth) >= WORTH * filled(columns)


def _can_turn(node: Node, inputs: set[Node]) -> bool:
    if node in inputs or product(node) is Product.WEIGHTS:
        return True
    return isinstance(node.op, Pointwise) and all(
        x.shape == node.shape or size(x.shape) == 1 or x.shape in _edges(node) for x in node.inputs
    )


def _edges(node: Node) -> set[tuple[object, ...]]:
    """Shapes that stretch to the node's along one axis."""
    depth, columns = node.shape
    return {(columns,), (1, columns), (depth, 1)}


def _used_well(node: Node, users: Mapping[Node, list[Node]]) -> bool:
    for user in users[node]:
        as_weights = (
            product(user) in (Product.ROWS, Product.DOTS)
            and operands(user)[1] is node
            and operands(user)[0] is not node
        )
        if not as_weights and not (isinstance(user.op, Pointwise) and user.shape == node.shape):
            return False
    return True


def _turned(node: Node, new: Mapping[Node, Node]) -> Node:
    """A member of the family, turned."""
    shape = node.shape[::-1]
    if product(node) is Product.WEIGHTS:
        left, right = operands(node)
        with scope(node.name):
            swapped: Node = apply(CONTRACT, new[right], new[left], spec="ij,ik->jk")
        return swapped
    if not node.inputs:
        return new_input(shape, node.dtype, node.name)
    inputs = tuple(_beside(new[x], x, node) for x in node.inputs)
    made: Node = type(node)(node.op, inputs, shape, node.dtype, node.attributes, node.name)
    return made


def _beside(turned_input: Node, x: Node, node: Node) -> Node:
    """An input of a member, so that it stretches to the turned shape."""
    if x.shape == node.shape or size(x.shape) == 1:
        return turned_input
    depth, columns = node.shape
    stretched: Node = reshape(turned_input, (1, depth) if x.shape == (depth, 1) else (columns, 1))
    return stretched


def _straight(node: Node, new: Mapping[Node, Node], family: set[Node]) -> Node:
    """A node outside of the family, over the new inputs."""
    if product(node) in (Product.ROWS, Product.DOTS) and operands(node)[1] in family:
        left, weights = operands(node)
        with scope(node.name):
            spec = "ij,jk->ik" if turned(node) else "ik,jk->ij"
            made: Node = apply(CONTRACT, new[left], new[weights], spec=spec)
        return made
    inputs = tuple(new[x] for x in node.inputs)
    if all(x is y for x, y in zip(inputs, node.inputs, strict=True)):
        return node
    same: Node = type(node)(node.op, inputs, node.shape, node.dtype, node.attributes, node.name)
    return same
