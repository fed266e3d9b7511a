"""Random graphs for hypothesis: sequences of operations with views, constants, duplicates and awkward numbers."""

import numpy as np
from hypothesis import strategies as st

from backpass import ops
from backpass.forward import trace

ONE = [
    lambda x: -x,
    abs,
    ops.tanh,
    ops.relu,
    lambda x: ops.exp(x * 0.1),
    ops.sqrt,
    ops.identity,
    ops.stop_gradient,
    lambda x: ops.cast(x, np.float64),
    ops.transpose,
    lambda x: ops.flip(x, 0),
    lambda x: x[::-1, :2],
    lambda x: ops.reshape(x[..., :], x.shape[::-1]),
    lambda x: ops.pad(x[1:], [(1, 0, 0), None]),
    lambda x: ops.sum(x, 0),
    lambda x: ops.max(x, 1, keepdims=True),
    lambda x: ops.log_sum_exp(x, 1),
    lambda x: ops.broadcast_to(ops.sum(x, 0, keepdims=True), x.shape),
    lambda x: ops.gather(x, ops.argmax(ops.sum(x, 1))),
    lambda x: x[[2, 0, 0]],
    lambda x: x @ x,
    lambda x: x + 0.0,
    lambda x: x + -0.0,
    lambda x: x - 0.0,
    lambda x: x * 1.0,
    lambda x: 1.0 * x,
    lambda x: x / 1.0,
    lambda x: ops.where(x > 0, x, 0.0),
    lambda x: ops.cast(ops.is_finite(x), np.float64),
    lambda x: x * (ops.constant(2.0) + 3.0),
]
TWO = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / b,
    ops.maximum,
    lambda a, b: ops.minimum(b, a),
    lambda a, b: ops.where(a < b, b, a),
    lambda a, b: ops.concatenate([a, b], 0)[1:4],
    lambda a, b: a @ b,
]
STEPS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6)),
    min_size=1,
    max_size=14,
)
SIZE = 3
NUMBERS = [0.0, -0.0, 1.0, -1.5, 2.0, 0.25, np.inf, -np.inf, np.nan, 1e308]


@st.composite
def graphs(draw):
    """A traced function of three square matrices, and values for them; some inner values are outputs, some twice."""
    steps = draw(STEPS)
    picks = draw(st.lists(st.integers(0, 10**6), min_size=1, max_size=4))
    awkward = draw(st.booleans())
    seed = draw(st.integers(0, 10**6))

    def function(*inputs):
        values = [*inputs, ops.constant(np.arange(9.0).reshape(SIZE, SIZE))]
        for two, op, i, j in steps:
            # The newest values are used most, so that chains grow; older ones now and then.
            a, b = values[-1 - i % min(3, len(values))], values[j % len(values)]
            values.append(_square(TWO[op % len(TWO)](a, b) if two else ONE[op % len(ONE)](a)))
        return [values[-1 - pick % len(values)] for pick in picks]

    rng = np.random.default_rng(seed)
    shape = (SIZE, SIZE)
    inputs = [rng.choice(NUMBERS, shape) if awkward else rng.normal(size=shape) for _ in range(3)]
    return trace(function, *inputs).graph, inputs


def _square(x):
    """Whatever came out, as a square matrix again: by views where that is possible."""
    if x.ndim == 1:
        x = ops.reshape(x, (1, -1))
    if x.ndim == 0:
        x = ops.reshape(x, (1, 1))
    if x.shape[1] == 2:
        x = ops.concatenate([x, x[:, :1]], 1)
    return ops.broadcast_to(x, (SIZE, SIZE))
