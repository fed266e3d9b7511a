"""Values and gradients against PyTorch in float64, for every operation that PyTorch has."""

import numpy as np
import pytest
from engine_cases import cases, real

import backpass as bp
from backpass import ops
from backpass.ops.catalogue import CATALOGUE

# The operation in PyTorch: torch, the inputs, the attributes.
PEERS = {
    "add": lambda t, a, b: t.add(a, b),
    "subtract": lambda t, a, b: t.sub(a, b),
    "multiply": lambda t, a, b: t.mul(a, b),
    "divide": lambda t, a, b: t.div(a, b),
    "negative": lambda t, x: t.neg(x),
    "absolute": lambda t, x: t.abs(x),
    "sign": lambda t, x: t.sign(x),
    "floor": lambda t, x: t.floor(x),
    "maximum": lambda t, a, b: t.maximum(a, b),
    "minimum": lambda t, a, b: t.minimum(a, b),
    "where": lambda t, c, a, b: t.where(c, a, b),
    "exp": lambda t, x: t.exp(x),
    "expm1": lambda t, x: t.expm1(x),
    "log": lambda t, x: t.log(x),
    "log1p": lambda t, x: t.log1p(x),
    "sqrt": lambda t, x: t.sqrt(x),
    "power": lambda t, a, b: t.pow(a, b),
    "sin": lambda t, x: t.sin(x),
    "cos": lambda t, x: t.cos(x),
    "tan": lambda t, x: t.tan(x),
    "arctan": lambda t, x: t.atan(x),
    "erf": lambda t, x: t.erf(x),
    "sigmoid": lambda t, x: t.sigmoid(x),
    "tanh": lambda t, x: t.tanh(x),
    "softplus": lambda t, x: t.nn.functional.softplus(x),
    "relu": lambda t, x: t.relu(x),
    "sum": lambda t, x, *, axes, keepdims: t.sum(x, axes, keepdim=keepdims) if axes else x,
    "max": lambda t, x, *, axes, keepdims: t.amax(x, axes, keepdim=keepdims) if axes else x,
    "log_sum_exp": lambda t, x, *, axes, keepdims: t.logsumexp(x, axes, keepdim=keepdims) if axes else x,
    "reshape": lambda t, x, *, shape: t.reshape(x, shape),
    "transpose": lambda t, x, *, axes: t.permute(x, axes),
    "broadcast": lambda t, x, *, shape: t.broadcast_to(x, shape),
    "slice": lambda t, x, *, spans: x[tuple(slice(None) if s is None else slice(*s) for s in spans)],
    "flip": lambda t, x, *, axes: t.flip(x, axes),
    "concatenate": lambda t, *parts, axis: t.cat(parts, axis),
    "contract": lambda t, a, b, *, spec: t.einsum(spec, a, b),
    "gather": lambda t, table, indices: table[indices],
    "scatter_add": lambda t, values, indices, *, length: t.zeros(
        (length, *values.shape[indices.ndim :]), dtype=values.dtype
    ).index_add(0, indices.reshape(-1), values.reshape(-1, *values.shape[indices.ndim :])),
    "identity": lambda t, x: x * 1,
    "stop_gradient": lambda t, x: x.detach() + 0 * x,
}
# PyTorch has no operation of the same meaning (pad), none of real inputs (comparisons), or other random numbers.
NO_PEER = {
    *("less", "less_equal", "equal", "not_equal", "and", "or", "not", "is_finite"),
    *("argmax", "pad", "one_hot", "uniform", "bernoulli", "cast"),
}
CALLS = [
    pytest.param(op, case, id=f"{op.name}-{i}")
    for op in CATALOGUE
    if op.name in PEERS
    for i, case in enumerate(cases(op))
]


def test_every_operation_has_a_peer_or_none():
    """Every operation of the catalogue is compared with PyTorch or listed as one that has no peer there."""
    assert set(PEERS) | NO_PEER == {op.name for op in CATALOGUE}


@pytest.mark.parametrize(("op", "case"), CALLS)
def test_value_and_gradient_are_those_of_pytorch(op, case, torch):
    """The value of an operation and its gradient by every real input agree with PyTorch's to 1e-9."""
    places = real(case)
    theirs = [torch.tensor(x, requires_grad=i in places) for i, x in enumerate(case.inputs)]
    expected = PEERS[op.name](torch, *theirs, **case.attributes)
    weights = np.random.default_rng(5).normal(size=tuple(expected.shape))
    (expected * torch.tensor(weights)).sum().backward()

    found = ops.apply(op, *case.inputs, **case.attributes)
    gradients = bp.grad(lambda *xs: ops.sum(ops.apply(op, *xs, **case.attributes) * weights), places)(*case.inputs)

    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-9, atol=1e-12)
    for place, gradient in zip(places, gradients, strict=True):
        np.testing.assert_allclose(gradient, theirs[place].grad.numpy(), rtol=1e-9, atol=1e-12)


def test_equal_largest_elements_share_the_error_as_in_pytorch(torch):
    """Where several elements are the largest, maximum, minimum and max share the error as PyTorch's do."""
    a, b = np.array([1.0, 2.0, 2.0]), np.array([1.0, 3.0, 2.0])
    ta, tb = (torch.tensor(x, requires_grad=True) for x in (a, b))
    (torch.maximum(ta, tb) + torch.minimum(ta, 2 * tb) + torch.amax(tb)).sum().backward()
    ours = bp.grad(lambda a, b: ops.sum(ops.maximum(a, b) + ops.minimum(a, 2 * b) + ops.max(b)), (0, 1))(a, b)
    for found, expected in zip(ours, (ta, tb), strict=True):
        np.testing.assert_allclose(found, expected.grad.numpy())


def test_a_network_and_its_gradients_are_those_of_pytorch(torch):
    """A network of two hidden layers with softmax cross-entropy has PyTorch's loss and gradients."""
    rng = np.random.default_rng(6)
    x, labels = rng.normal(size=(7, 5)), rng.integers(0, 3, 7)
    weights = [rng.normal(size=shape) for shape in [(5, 8), (8,), (8, 6), (6,), (6, 3), (3,)]]

    def loss(w):
        h = ops.tanh(ops.matmul(x, w[0]) + w[1])
        h = ops.relu(h @ w[2] + w[3])
        scores = ops.log_softmax(h @ w[4] + w[5])
        return -ops.mean(ops.sum(scores * ops.one_hot(labels, 3, np.float64), 1))

    value, gradients = bp.value_and_grad(loss)(weights)
    tw = [torch.tensor(w, requires_grad=True) for w in weights]
    h = torch.relu(torch.tanh(torch.tensor(x) @ tw[0] + tw[1]) @ tw[2] + tw[3])
    expected = torch.nn.functional.cross_entropy(h @ tw[4] + tw[5], torch.tensor(labels))
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-12)
    for found, theirs in zip(gradients, tw, strict=True):
        np.testing.assert_allclose(found, theirs.grad.numpy(), rtol=1e-9, atol=1e-14)
