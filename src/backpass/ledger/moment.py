"""One step of a training with all that went into it, and what the engine calculates in it."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from backpass.backward.reverse import backward
from backpass.data.arrays import Array, Inputs
from backpass.forward import Program, Structure, flatten, labels, one_thread, trace
from backpass.graph import scope
from backpass.ledger.watching import Seen, held_out, watched
from backpass.losses import Loss
from backpass.nn import Concatenate, Layer, Residual
from backpass.ops import Key
from backpass.ops import sum as sum_
from backpass.optimizers import Optimizer
from backpass.records import dataclass


@dataclass(frozen=True, eq=False, repr=False)
class Moment:
    """A step of a training.

    Attributes:
        network, loss, optimizer: what is trained, and how; the optimizer with its schedules' lengths filled in.
        seed: of the training.
        step: its number, from 1 on.
        epoch, batch: the epoch, from 1 on, and how many steps of it were made before.
        rows: of the batch: their places among those trained on.
        inputs, targets, weights: those rows.
        before, after: the parameters before the step, and those of the training after it.
        state: of the optimizer, before it.
    """

    network: Layer
    loss: Loss
    optimizer: Optimizer
    seed: int
    step: int
    epoch: int
    batch: int
    rows: Array
    inputs: Inputs
    targets: Array
    weights: Array | None
    before: Structure
    after: Structure
    state: Structure

    @cached_property
    def shares(self) -> Array:
        """What part of the batch's loss each of its rows is, float64."""
        if self.weights is None:
            return np.full(len(self.rows), 1 / len(self.rows))
        total = float(self.weights.sum(dtype=np.float64))
        return np.asarray(self.weights, np.float64) / (total or 1.0)


@dataclass(frozen=True, eq=False, repr=False)
class Sight:
    """What was seen of a layer while the step was made.

    Attributes:
        seen: the layer, with the Tensors that go in and come out.
        inputs, outputs: their values, a row a row of the batch.
        error: of the outputs of one row, by that row's own loss.
        batch_error: of the outputs of all rows, by the loss of the batch.
        pulls: for each input what this layer hands back to it of the row's error; None where it takes whole numbers.
        factor: what a Dropout multiplied by, or a CrossFitted held out, a row a row of the batch; else None.
    """

    seen: Seen
    inputs: tuple[Array, ...]
    outputs: Array
    error: Array
    batch_error: Array
    pulls: tuple[Array | None, ...]
    factor: Array | None


@dataclass(frozen=True, eq=False, repr=False)
class View:
    """One step as the engine calculates it, with the errors of one row of its batch at every layer.

    Attributes:
        place: of the row in the batch.
        entries: the Tensors of the network's inputs, by their names; "" is a lone one.
        sights: the layers, in the order of the forward pass.
        outputs: of the network or of each member: Tensors and values.
        loss: of the batch.
        row_losses: (members, rows).
        row_slopes: the derivative of the row's own loss by each parameter, by labels.
        batch_slopes: of the batch's loss.
        of_row: the derivatives of another row's loss by each parameter.
    """

    place: int
    entries: dict[str, Any]
    sights: list[Sight]
    outputs: list[tuple[Any, Array]]
    loss: float
    row_losses: Array
    row_slopes: dict[str, Array]
    batch_slopes: dict[str, Array]
    of_row: Callable[[int], dict[str, Array]]


def look(moment: Moment, place: int) -> View:
    """The step, with the errors of the row that stands at `place` in its batch.

    The graph is that of the training step but for the update; its derivatives are those of the engine's reverse walk.
    """
    found: dict[str, Any] = {}
    names = labels(moment.before)
    batch = [moment.inputs, moment.targets, *([] if moment.weights is None else [moment.weights])]
    count = len(moment.rows)

    def step(p: Structure, time: Any, picked: Any, x: Any, y: Any, w: Any = None) -> Structure:
        seen: list[Seen] = []
        outputs = watched(moment.network, seen)(p, x, Key(time).fold("network"))
        with scope("loss"):
            value = moment.loss(outputs, y, w)
            members = outputs if isinstance(outputs, tuple) else (outputs,)
            seen += held_out(moment.network, members)
            losses = [moment.loss.rows(each, y) for each in members]
            own: Any = sum_(losses[0] * picked)
            for each in losses[1:]:
                own = own + sum_(each * picked)
            own = own * (1 / len(losses))
        sources = [*flatten(p), *(each.gives for each in seen)]
        of_row, of_batch = backward(own, sources), backward(value, sources)
        learned = len(flatten(p))
        found.update(seen=seen, x=x, members=members)
        return {
            "loss": value,
            "losses": losses,
            "outputs": list(members),
            "slopes": [of_row[:learned], of_batch[:learned]],
            "layers": [
                {
                    "takes": list(each.takes),
                    "gives": each.gives,
                    "errors": [error, batch_error],
                    "pulls": _pulls(each, error),
                    "factor": each.factor,
                }
                for each, error, batch_error in zip(seen, of_row[learned:], of_batch[learned:], strict=True)
            ],
        }

    time = np.array([moment.seed, moment.step - 1], np.int64)
    real = flatten(moment.before)[0].dtype if names else np.dtype(np.float32)
    traced = trace(step, moment.before, time, np.zeros(count, real), *batch)
    program = Program(traced.graph)

    def run(picked: int) -> list[Array]:
        chosen = np.zeros(count, real)
        chosen[picked] = 1
        with one_thread():
            return program(*flatten(moment.before), time, chosen, *flatten(batch))

    values = dict(zip(map(id, traced.graph.outputs), run(place), strict=True))
    result = traced.result

    def value(node: Any) -> Array:
        return values[id(node)]

    slopes = [dict(zip(names, map(value, group), strict=True)) for group in result["slopes"]]
    first = len([result["loss"], *result["losses"], *result["outputs"]])
    return View(
        place,
        found["x"] if isinstance(found["x"], dict) else {"": found["x"]},
        [_sight(seen, parts, value, place) for seen, parts in zip(found["seen"], result["layers"], strict=True)],
        [(node, value(node)) for node in found["members"]],
        float(value(result["loss"])),
        np.stack([value(node) for node in result["losses"]]),
        slopes[0],
        slopes[1],
        lambda picked: dict(zip(names, run(picked)[first : first + len(names)], strict=True)),
    )


def _pulls(seen: Seen, error: Any) -> list[Any]:
    """What the layer alone hands back to each of its real inputs."""
    real = [x for x in seen.takes if x.dtype.kind == "f"]
    if not real or seen.gives.dtype.kind != "f":
        return []
    if isinstance(seen.layer, (Residual, Concatenate)):  # by the one operation that joins: not through what it joins
        node = seen.gives
        shares = node.op.derivative(error, node, *node.inputs, **node.attributes)
        return [share for x, share in zip(node.inputs, shares, strict=True) if x.dtype.kind == "f"]
    return backward(seen.gives, real, error)


def _sight(seen: Seen, parts: Any, value: Callable[[Any], Array], place: int) -> Sight:
    pulls = iter(parts["pulls"])
    real = seen.gives.dtype.kind == "f"
    return Sight(
        seen,
        tuple(map(value, parts["takes"])),
        value(parts["gives"]),
        value(parts["errors"][0])[place],
        value(parts["errors"][1]),
        tuple(value(next(pulls))[place] if real and x.dtype.kind == "f" else None for x in seen.takes),
        None if parts["factor"] is None else value(parts["factor"]),
    )
