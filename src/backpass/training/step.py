"""One training step as one graph: forward pass, error, backward pass and update."""

from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.backward import value_and_grad
from backpass.forward import Spec, Structure, Traced, flatten, map_structure, trace
from backpass.forward.trace import like
from backpass.graph import scope
from backpass.losses import Loss
from backpass.nn import Layer
from backpass.ops import Key, sqrt, square
from backpass.ops import sum as sum_
from backpass.optimizers import Optimizer

STATE = "state"  # begins the names of the optimizer's inputs


def training_step(
    network: Layer,
    loss: Loss,
    optimizer: Optimizer,
    *,
    parameters: Structure,
    state: Structure,
    inputs: Structure,
    targets: Spec,
    weights: Spec | None,
) -> Traced:
    """The graph of one step, for parameters, optimizer state and a batch of the given Specs.

    Its inputs are, in order: parameters, state, (seed, step) as int64[2], inputs, targets and row weights where there
    are any; its results: the loss before the step, the new parameters and the new state.
    """

    def step(
        p: Structure, s: Structure, moment: Any, x: Any, y: Any, w: Any = None
    ) -> tuple[Any, Structure, Structure]:
        value, gradients = value_and_grad(_error(network, loss, moment, x, y, w))(p)
        changes, new_state = optimizer.update(gradients, s, p, moment[1])
        with scope("update"):
            new_parameters = map_structure(lambda parameter, change: parameter + change, p, changes)
        return value, new_parameters, new_state

    batch = [inputs, targets] + ([] if weights is None else [weights])
    moment = Spec((2,), np.int64)
    names = ("", STATE, "moment", "x", "y", "weights")[: 3 + len(batch)]
    return trace(step, map_structure(like, parameters), map_structure(like, state), moment, *batch, names=names)


def gradient_norm(
    network: Layer, loss: Loss, *, parameters: Structure, inputs: Structure, targets: Spec, weights: Spec | None
) -> Traced:
    """The graph of the norm of all gradients of a step together, of the inputs of `training_step` without the state."""

    def norm(p: Structure, moment: Any, x: Any, y: Any, w: Any = None) -> Any:
        _, gradients = value_and_grad(_error(network, loss, moment, x, y, w))(p)
        return sqrt(sum(sum_(square(each)) for each in flatten(gradients)))

    batch = [inputs, targets] + ([] if weights is None else [weights])
    return trace(norm, map_structure(like, parameters), Spec((2,), np.int64), *batch)


def _error(network: Layer, loss: Loss, moment: Any, x: Any, y: Any, w: Any) -> Callable[[Structure], Any]:
    """The loss of a batch, as a function of the parameters."""

    def error(p: Structure) -> Any:
        outputs = network(p, x, Key(moment).fold("network"))
        with scope("loss"):
            return loss(outputs, y, w)

    return error
