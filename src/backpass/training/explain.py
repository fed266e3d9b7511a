"""The native program of a training step, explained."""

from typing import TYPE_CHECKING, Any

import numpy as np

from backpass.errors import BackpassError, UsageError
from backpass.forward import Spec, flatten
from backpass.graph import BATCH
from backpass.losses import Heads, Loss
from backpass.model import Model
from backpass.model.network import ForwardPass
from backpass.nn import Layer, specs
from backpass.optimizers import Adam, Optimizer
from backpass.training.executors import State
from backpass.training.step import training_step

if TYPE_CHECKING:
    from backpass.native.explain import Explanation


def explain_step(
    network: Layer,
    loss: Loss,
    optimizer: Optimizer,
    state: State,
    *,
    row_shape: Any,
    precision: str,
    batch_size: int,
    targets: Spec,
    weights: Spec | None = None,
    threads: int | None = None,
) -> "Explanation":
    """The program of one step, on `batch_size` rows with targets (and weights of rows) of these Specs."""
    from backpass.native import available_threads, training_job
    from backpass.native.explain import Explanation

    inputs = specs(row_shape, precision)
    p, s = state.parameters, state.optimizer
    traced = training_step(
        network, loss, optimizer, parameters=p, state=s, inputs=inputs, targets=targets, weights=weights
    )
    carried = [*flatten(p), *flatten(s)]
    job = training_job(
        traced.graph,
        parameters=len(flatten(p)),
        state=len(flatten(s)),
        rows=batch_size,
        threads=threads or 0,
        available=available_threads(),
    )
    return Explanation(job, f"a training step on {batch_size:,} rows", dict(enumerate(carried)))


def explain_training(model: Model, *, batch_size: int | None = None, threads: int | None = None) -> "Explanation":
    """The program of a step that would train `model` on, with Adam.

    `batch_size` is that of its recipe, or 32, unless it is given.
    """
    optimizer = Adam()
    forward = ForwardPass(model.network, model.parameters, model.row_shape, precision=model.precision)
    return explain_step(
        model.network,
        model.loss,
        optimizer,
        State(model.parameters, optimizer.init(model.parameters)),
        row_shape=model.row_shape,
        precision=model.precision,
        batch_size=_batch_size(model) if batch_size is None else batch_size,
        targets=likely_targets(model.loss, forward.outputs, model.precision),
        threads=threads,
    )


def likely_targets(loss: Loss, outputs: int, precision: str) -> Spec:
    """The targets that a loss takes for a network of so many outputs: labels where it takes them, or else numbers."""
    kinds: list[tuple[tuple[int, ...], Any]] = [((len(loss.heads),), precision)] if isinstance(loss, Heads) else []
    for shape, dtype in (*kinds, ((), np.int64), ((outputs,), precision), ((), precision), ((1,), precision)):
        try:
            loss.check_targets(np.zeros((1, *shape), dtype), outputs)
        except BackpassError:
            continue
        if dtype != np.int64 or outputs > 1:
            return Spec((BATCH, *shape), np.dtype(dtype))
    raise UsageError(f"{type(loss).__name__} takes no targets for {outputs} outputs")


def _batch_size(model: Model) -> int:
    recipe = model.about.get("recipe")
    found = recipe.get("batch_size") if isinstance(recipe, dict) else None
    return found if isinstance(found, int) and 1 <= found <= 1 << 20 else 32
