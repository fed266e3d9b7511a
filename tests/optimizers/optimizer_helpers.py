"""What the tests of optimizers share: steps taken eagerly, steps taken by one traced Program, and parameters."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import backpass as bp
from backpass.forward import Program, Structure, flatten, map_structure, trace, unflatten
from backpass.optimizers import Optimizer
from backpass.simplify import simplify


def eager_steps(optimizer: Optimizer, parameters: Structure, gradients: Iterable[Structure]) -> list[Structure]:
    """The parameters after each of the given gradients, calculated at once in NumPy."""
    state, visited = optimizer.init(parameters), []
    for step, gradient in enumerate(gradients):
        changes, state = optimizer.update(gradient, state, parameters, step)
        parameters = map_structure(np.add, parameters, changes)
        visited.append(parameters)
    return visited


def descend(
    optimizer: Optimizer,
    function: Callable[..., Any],
    start: Structure,
    steps: int,
    precision: str | None = None,
) -> Structure:
    """The parameters after `steps` steps against the gradient of `function`, all by one traced Program."""

    def one_step(parameters: Structure, state: Any, step: Any) -> Any:
        _, gradients = bp.value_and_grad(function)(parameters)
        changes, state = optimizer.update(gradients, state, parameters, step)
        return map_structure(lambda p, change: p + change, parameters, changes), state

    parameters, state = start, optimizer.init(start)
    traced = trace(one_step, parameters, state, np.int64(0))
    program = Program(simplify(traced.graph), precision=precision)
    for step in range(steps):
        parameters, state = unflatten(traced.result, program(*flatten((parameters, state, np.int64(step)))))
    return parameters


def nested_parameters(rng: np.random.Generator, dtype: str) -> Structure:
    return {
        "hidden_1": {"weight": rng.normal(size=(3, 4)).astype(dtype), "bias": rng.normal(size=4).astype(dtype)},
        "others": [rng.normal(size=(2, 1, 2)).astype(dtype), np.array(1.5, dtype)],
    }


def gradients_like(rng: np.random.Generator, parameters: Structure, count: int) -> list[Structure]:
    return [map_structure(lambda p: rng.normal(size=p.shape).astype(p.dtype), parameters) for _ in range(count)]
