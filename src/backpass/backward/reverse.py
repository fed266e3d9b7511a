"""The reverse walk: errors go from the output back to the inputs. It is the whole of back-propagation."""

from collections.abc import Sequence
from typing import Any

from backpass.errors import ShapeError
from backpass.graph import Node, Shape, dependents, scope, show_shape, walk
from backpass.ops import Tensor, broadcast_to, constant, reshape
from backpass.ops import sum as sum_


def backward(output: Tensor, sources: Sequence[Tensor], error: Any = 1.0) -> list[Tensor]:
    """The derivative of `output` with respect to each of `sources`: Tensors of the shapes of the sources.

    `error` is the error at the output itself (1: the derivative of the output), a number or of the output's shape.
    Nodes are visited from the output back, so that each has its whole error, the sum of what all its successors
    hand to it, before it hands to its own inputs their shares, by the rule of its operation.

    Raises:
        ShapeError: the output is not of a floating type.
    """
    _require_float(output)
    errors: dict[Node, Any] = {output: broadcast_to(constant(error, output.dtype), output.shape)}
    order = walk([output])
    relevant = dependents(order, sources)
    for node in reversed(order):
        if node not in errors or node not in relevant:
            continue
        with scope(f"{node.name}'" if node.name else ""):
            for x, dx in zip(node.inputs, _shares(node, errors[node]), strict=False):
                if dx is not None and x in relevant:
                    share = unbroadcast(dx, x.shape)
                    errors[x] = errors[x] + share if x in errors else share
    return [errors.get(x, broadcast_to(constant(0.0, x.dtype), x.shape)) for x in sources]


def _shares(node: Node, error: Tensor) -> Sequence[Any]:
    """What the rule of the node's operation hands to each of its inputs."""
    rule = node.op.derivative  # type: ignore[attr-defined]
    if rule is None or node.dtype.kind != "f":
        return ()
    shares: Sequence[Any] = rule(error, node, *node.inputs, **node.attributes)
    return shares


def unbroadcast(error: Tensor, shape: Shape) -> Tensor:
    """`error`, summed over the axes along which a value of `shape` was stretched."""
    if error.shape == shape:
        return error
    added = error.ndim - len(shape)
    stretched = [i + added for i, axis in enumerate(shape) if axis == 1 and error.shape[i + added] != 1]
    summed: Tensor = sum_(error, [*range(added), *stretched])
    return reshape(summed, shape)  # type: ignore[no-any-return]


def _require_float(output: Tensor) -> None:
    if output.dtype.kind != "f":
        raise ShapeError(f"only a real number has a derivative: the output is {output.dtype}{show_shape(output.shape)}")
