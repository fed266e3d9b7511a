"""JAX with optax: an epoch is one jitted lax.scan over its steps, parameters and state are donated.

Tried: the order of the rows made outside by NumPy or inside by jax.random.permutation, rows gathered for each step or
for a whole epoch, and all epochs in one call, which saves the calls between epochs. A smaller last batch is a step of
its own after the scan. XLA decides on threads by itself.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from speed.contenders import Runner, Variants
from speed.options import Options
from speed.works import LEARNING_RATE, Work

ADAM = optax.adam(LEARNING_RATE)


def variants(work: Work, X: Any, y: Any, options: Options) -> Variants:
    """By where the order is made, how rows are gathered and how many epochs a call has."""
    del options
    return {
        "order outside": lambda: _outside(work, X, y),
        "order inside": lambda: _inside(work, X, y, at_once=False),
        "one call": lambda: _one_call(work, X, y, at_once=False),
        "one call, rows an epoch": lambda: _one_call(work, X, y, at_once=True),
    }


def first_carry(work: Work) -> Any:
    """Parameters and Adam's state."""
    keys = jax.random.split(jax.random.key(0), len(work.widths))
    parameters = [
        (jax.random.normal(key, pair) * np.sqrt(2 / pair[0]), jnp.zeros(pair[1]))
        for key, pair in zip(keys, pairwise(work.widths), strict=False)
    ]
    return parameters, ADAM.init(parameters)


def loss(parameters: Any, x: Any, y: Any) -> Any:
    """The mean cross-entropy."""
    *hidden, (weight, bias) = parameters
    for w, b in hidden:
        x = jax.nn.relu(x @ w + b)
    return optax.softmax_cross_entropy_with_integer_labels(x @ weight + bias, y).mean()


def step(carry: Any, batch: Any) -> Any:
    parameters, state = carry
    value, gradient = jax.value_and_grad(loss)(parameters, *batch)
    changes, state = ADAM.update(gradient, state, parameters)
    return (optax.apply_updates(parameters, changes), state), value


def epoch(work: Work, carry: Any, X: Any, y: Any, order: Any, *, at_once: bool) -> Any:
    """All steps over the rows in this order."""
    full = work.rows // work.batch * work.batch
    shape = (full // work.batch, work.batch)
    if at_once:
        batches = X[order[:full]].reshape(*shape, -1), y[order[:full]].reshape(shape)
        carry, _ = jax.lax.scan(step, carry, batches)
    else:
        carry, _ = jax.lax.scan(lambda c, rows: step(c, (X[rows], y[rows])), carry, order[:full].reshape(shape))
    if full < work.rows:
        carry, _ = step(carry, (X[order[full:]], y[order[full:]]))
    return carry


def _outside(work: Work, X: Any, y: Any) -> Runner:
    random = np.random.default_rng(0)
    call = jax.jit(lambda carry, x, t, order: epoch(work, carry, x, t, order, at_once=False), donate_argnums=0)
    return _runner(work, X, y, call, lambda: random.permutation(work.rows))


def _inside(work: Work, X: Any, y: Any, *, at_once: bool) -> Runner:
    seeds = iter(range(1 << 30))

    def call(carry: Any, x: Any, t: Any, seed: Any) -> Any:
        order = jax.random.permutation(jax.random.key(seed), work.rows)
        return epoch(work, carry, x, t, order, at_once=at_once)

    return _runner(work, X, y, jax.jit(call, donate_argnums=0), lambda: next(seeds))


def _runner(work: Work, X: Any, y: Any, call: Any, argument: Callable[[], Any]) -> Runner:
    """One call an epoch, with a new argument each."""
    held = [first_carry(work), jnp.asarray(X), jnp.asarray(y)]

    def run(epochs: int) -> None:
        for _ in range(epochs):
            held[0] = call(*held, argument())
        jax.block_until_ready(held[0])

    return run


def _one_call(work: Work, X: Any, y: Any, *, at_once: bool) -> Runner:
    def call(carry: Any, x: Any, t: Any, first: Any, epochs: Any) -> Any:
        def one(number: Any, inner: Any) -> Any:
            order = jax.random.permutation(jax.random.key(first + number), work.rows)
            return epoch(work, inner, x, t, order, at_once=at_once)

        return jax.lax.fori_loop(0, epochs, one, carry)

    compiled = jax.jit(call, donate_argnums=0)
    held = [first_carry(work), jnp.asarray(X), jnp.asarray(y), 0]

    def run(epochs: int) -> None:
        held[0] = jax.block_until_ready(compiled(*held, epochs))
        held[3] += epochs

    return run
