"""What is known of a run beside its history: its data, its network, and the learning rate of every step."""

from contextlib import suppress
from typing import Any

import numpy as np

from backpass.optimizers import Accumulated, Averaged, Chain, Groups, Optimizer, Rule, Slowed
from backpass.recipes.again import Run

RATES = 200  # points of the learning rate's curve


def overview(run: Run) -> dict[str, Any]:
    """For the head of the page.

    Raises:
        UsageError: the run's table is not where it was, or was changed.
    """
    planned = run.plan
    prepared, recipe = planned.prepared, planned.recipe
    an_epoch = -(-prepared.train.rows // recipe.batch_size)
    trainer = planned.trainer()
    return {
        "table": prepared.table.name,
        "targets": list(prepared.tabular.targets.schema.target_names),
        "classes": list(prepared.tabular.targets.classes),
        "rows": prepared.rows(),
        "batch_size": recipe.batch_size,
        "steps_per_epoch": an_epoch,
        "epochs": recipe.epochs,
        "hidden": list(recipe.hidden),
        "activation": recipe.activation,
        "members": recipe.members,
        "loss": str(trainer.loss),
        "optimizer": str(trainer.optimizer),
        "rates": rates(trainer.optimizer.over(recipe.epochs * an_epoch), recipe.epochs * an_epoch),
        "describe": prepared.describe(),
    }


def rates(optimizer: Optimizer, steps: int) -> list[list[float]]:
    """Steps and the learning rate of each; empty where it hangs on how the training goes."""
    found: Any = optimizer
    factor, batches = 1.0, 1
    while not isinstance(found, Rule):
        if isinstance(found, Groups):
            found = list(found.groups.values())[-1]
        elif isinstance(found, Chain):
            found = found.parts[-1]
        elif isinstance(found, Averaged):
            found = found.rule
        elif isinstance(found, Accumulated):
            found, batches = found.rule, batches * found.batches
        elif isinstance(found, Slowed):
            found, factor = found.rule, factor * found.factor
        else:
            return []
    places = np.unique(np.linspace(0, max(0, steps - 1), RATES).astype(np.int64))
    with suppress(Exception):  # a schedule that asks for what only a training has
        return [(places + 1).tolist(), [factor * float(found.rate(step // batches, {})) for step in places]]
    return []
