"""Any step of a training run again, with every value kept.

Seed, step number and parameters determine a step entirely. So a step is found by training on from the nearest
checkpoint before it; then it is made once by the executor of the training, for its bits, and once node by node, for its
values.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from backpass.data.arrays import Array, take_rows
from backpass.data.naming import did_you_mean
from backpass.errors import CheckpointError, UsageError
from backpass.forward import Structure, Traced
from backpass.graph import Node
from backpass.records import dataclass
from backpass.training.checkpoints import Snapshot
from backpass.training.executors import State
from backpass.training.history import History
from backpass.training.loop import Loop
from backpass.training.saving import Checkpoints
from backpass.training.snapshots import Progress, restored

if TYPE_CHECKING:
    from backpass.ledger import Ledger, Moment, Words


@dataclass(frozen=True, eq=False, repr=False)
class Replayed:
    """One step of a training.

    Attributes:
        step: its number in the whole training, from 1 on.
        epoch, batch: the epoch, from 1 on, and how many steps of it were made before.
        rows: the rows of its batch, in order: their places, from 0 on, among those that were trained on. Of a run these
            are the rows of `open_run(...).plan.prepared.division.train`, a Table, whose `row_number` tells the file's.
        loss: of the batch, before the step.
        before, after: parameters before and after it, bit for bit those of the training.
        optimizer_before, optimizer_after: the state of the optimizer.
        traced: the graph of the step: its nodes, from inputs to changed parameters.
        values: the value of every node of that graph, calculated in NumPy.
        moment: all that went into the step; `trace` tells it.
    """

    step: int
    epoch: int
    batch: int
    rows: Array
    loss: float
    before: Structure
    after: Structure
    optimizer_before: Structure
    optimizer_after: Structure
    traced: Traced
    values: Mapping[Node, Array]
    moment: "Moment"

    def __repr__(self) -> str:
        return f"<step {self.step:,}: epoch {self.epoch:,}, its batch {self.batch + 1:,}, loss {self.loss:.6g}>"

    def trace(self, row: int | None = None, *, member: int | None = None, words: "Words | None" = None) -> "Ledger":
        """The ledger of one row of the batch: forward, error, backward and the change of every weight, written out.

        Args:
            row: its place among those trained on, one of `rows`; None for the first of the batch.
            member: of an ensemble, from 1 on; None for the first that learns from the row.
            words: how inputs, outputs and rows are called.

        Raises:
            UsageError: the row is not in the batch, or there is no such member.
        """
        from backpass.ledger import ledger

        places = [0] if row is None else np.flatnonzero(self.rows == row)
        if not len(places):
            shown = ", ".join(map(str, self.rows[:6])) + (", ..." if len(self.rows) > 6 else "")
            raise UsageError(f"row {row} is not in the batch of step {self.step:,}, which has the rows {shown}")
        return ledger(self.moment, int(places[0]), member=member, words=words)

    def named(self, name: str) -> list[Array]:
        """The values of the nodes of this name, in the order of the graph: the last one is what goes out of a layer.

        With a ' at its end, the nodes of the backward pass that belong to them: errors and derivatives.

        Raises:
            UsageError: no node has that name.
        """
        found = [self.values[node] for node in self.traced.graph.nodes if node.name == name]
        if not found:
            names = dict.fromkeys(node.name for node in self.traced.graph.nodes if node.name)
            raise UsageError(f"no node is named {name!r}. {did_you_mean(name, list(names), 'There are')}")
        return found


def state_before(
    checkpoints: Checkpoints,
    step: int,
    last: Snapshot,
    done: Progress,
    begin: State,
    steps: int,
    *,
    ahead: bool = False,
) -> State:
    """The nearest state before `step` that is known: that of a checkpoint, or `begin`, that of a training's beginning.

    An epoch has so many `steps`; `ahead` allows the step after the last one that was saved.

    Raises:
        CheckpointError: the training made fewer steps, or nothing is known of so early a step.
    """
    if step > last.step + ahead:
        raise CheckpointError(
            f"{checkpoints.folder}: step {step:,} was not made, or not saved yet: the newest checkpoint is of step "
            f"{last.step:,}"
        )
    if step <= done.begun:
        raise CheckpointError(f"{checkpoints.folder}: step {step:,} was made before the training that is saved there")
    found = checkpoints.store.before(step - 1)
    if found.snapshot is not None:
        return restored(found.snapshot, begin, steps)[0]
    if done.begun:
        raise CheckpointError(f"{checkpoints.folder}: no checkpoint from before step {step:,} is left to begin with")
    return begin


def replayed(loop: Loop, step: int, state: State, done: Progress) -> Replayed:
    """Step `step` of the training that `loop` and `done` tell of, from a `state` before it."""
    from backpass.ledger import Moment

    past = replace(done, history=History(), first=state.epoch, finished=False, on_divergence="stop")
    loop.run_to(step - 1, state, past)
    before = replace(state)
    data, rows = loop.data, loop.rows_of(before)
    traced, values = loop.values(before, past, rows)
    loop.run_to(step, state, past)
    moment = Moment(
        network=loop.network,
        loss=loop.loss,
        optimizer=loop.rule(before, past),
        seed=loop.seed,
        step=step,
        epoch=before.epoch + 1,
        batch=before.batch,
        rows=rows,
        inputs=take_rows(data.inputs, rows),
        targets=data.targets[rows],
        weights=None if data.weights is None else data.weights[rows],
        before=before.parameters,
        after=state.parameters,
        state=before.optimizer,
    )
    return Replayed(
        step=step,
        epoch=before.epoch + 1,
        batch=before.batch,
        rows=rows,
        loss=float(values[traced.graph.outputs[0]]),
        before=before.parameters,
        after=state.parameters,
        optimizer_before=before.optimizer,
        optimizer_after=state.optimizer,
        traced=traced,
        values=values,
        moment=moment,
    )
