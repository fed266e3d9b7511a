"""Which values threads share out by columns: those of the first layers, where each thread then keeps its weights.

Where threads share out rows of the batch, each reads all weights, of which the others have written their parts a moment
ago, and all rows for its part of the gradients. Lines of memory that another processor has just written are slow to
come by, and in a small step that is most of its time. A layer that reads the batch itself can be cut the other way:
each thread takes all rows, and has some columns of the weights, of their gradients and optimizer state, and of all that
stands between: nobody else ever reads these weights. The layers after it go by rows. Each element is still calculated
by one thread, in the order of always: so the way of cutting changes no bit.

(For layers over many machines this is the "column parallel" half of Shoeybi et al., "Megatron-LM", 2019.)
"""

from collections.abc import Mapping

from backpass.graph import Graph, Node
from backpass.native.plan import Cut, Product, Space, operands, product, space
from backpass.ops.kinds import Pointwise, Reduction


def cuts_of(graph: Graph) -> dict[Node, Cut]:
    """The values of a training step that can be cut by columns; none where that would not spare any traffic."""
    users: dict[Node, list[Node]] = {node: [] for node in graph.nodes}
    for node in graph.nodes:
        for x in dict.fromkeys(node.inputs):
            users[x].append(node)
    rows = {node for node in graph.inputs if space(node) is Space.ROWS}
    found: dict[Node, Cut] = {}
    for first in graph.nodes:
        if product(first) is Product.ROWS and operands(first)[0] in rows:
            members = _members(graph, first, users)
            if any(product(node) is Product.WEIGHTS and operands(node)[0] is operands(first)[0] for node in members):
                cuts = dict.fromkeys(members, Cut(first)) | _next_weights(graph, first, members)
                found = cuts | found
    return found


def _members(graph: Graph, first: Node, users: Mapping[Node, list[Node]]) -> set[Node]:
    """The values that have the columns of `first`, and follow from values of theirs column by column."""
    members, before = {first}, 0
    wide = [node for node in graph.nodes if node.shape[-1:] == first.shape[-1:]]
    while len(members) > before:  # of errors it shows only at values further on in the order
        before = len(members)
        for node in wide:
            if node not in members and _belongs(node, first, members, users):
                members.add(node)
    return members


def _next_weights(graph: Graph, first: Node, members: set[Node]) -> dict[Node, Cut]:
    """What the gradients of the weights that read the layer become: of these each thread has some rows."""
    found: dict[Node, Cut] = {}
    cut = Cut(first, high=True)
    for node in graph.nodes:
        if node in members or space(node) is not Space.FIXED or node.shape[:1] != first.shape[1:] or node.ndim != 2:
            continue
        gradient = product(node) is Product.WEIGHTS and operands(node)[0] in members
        if gradient or (isinstance(node.op, Pointwise) and any(x in found for x in node.inputs)):
            found[node] = cut
    return found


def _belongs(node: Node, first: Node, members: set[Node], users: Mapping[Node, list[Node]]) -> bool:
    match product(node):
        case Product.WEIGHTS:
            return operands(node)[1] in members
        case Product.ROWS:
            return node.shape == first.shape and any(_errors_meet(node, user, first, members) for user in users[node])
    if isinstance(node.op, Reduction):
        (x,) = node.inputs
        return node.ndim == 1 and x.shape == first.shape and x in members
    return isinstance(node.op, Pointwise) and any(x in members for x in node.inputs)


def _errors_meet(node: Node, user: Node, first: Node, members: set[Node]) -> bool:
    """Does `user` put the errors that `node` hands back together with values of the layer, or with its inputs?"""
    if product(user) is Product.WEIGHTS:
        return operands(user)[0] is operands(first)[0]
    others = [x for x in user.inputs if x is not node]
    return isinstance(user.op, Pointwise) and user.shape == node.shape and any(x in members for x in others)
