"""How long a training may take, guessed before its first step."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from backpass.forward import flatten, one_thread
from backpass.native import available_threads
from backpass.ops import Key
from backpass.training.snapshots import newest, records_of

if TYPE_CHECKING:
    from backpass.recipes.defaults import Recipe
    from backpass.recipes.main_job import Plan
    from backpass.training import Checkpoints

PROBE = 192  # rows and columns of the matrices whose product tells how fast this machine is
PART = 0.7  # of that speed is what each thread comes to in whole steps, with activations, waves and updates
STEP = 2e-5  # seconds: what a step takes for each member, however few its rows are
MOST_MEMBERS = (32, 16, 8, 4, 2, 1)  # of which as many as the time allows are trained
FITTED = {"members", "epochs"}
BEGIN, BEGIN_A_MEMBER = 1.0, 0.25  # seconds: to make the programs, and the linear model


def most_seconds(planned: "Plan", recipe: "Recipe | None" = None) -> float:
    """If training stops no earlier than it may: for each row and weight three multiplications and additions.

    `recipe` is the plan's own, or that with another number of networks.
    """
    shape = planned.prepared.row_shape
    recipe, rows = recipe or planned.recipe, planned.prepared.train.rows
    weights = sum(value.size for value in flatten(planned.network.init(shape, Key.of(0))) if value.ndim == 2)
    weights *= recipe.members / planned.recipe.members
    times = planned.folds or 1
    rows = rows * times + rows_again(planned)
    steps = recipe.epochs * -(-rows // recipe.batch_size)
    speed = PART * (planned.threads or available_threads()) * _products_a_second()
    products = 3 * float(weights) * rows * recipe.epochs
    return times * BEGIN + recipe.members * (times * BEGIN_A_MEMBER + STEP * steps) + products / speed


def rows_again(planned: "Plan") -> int:
    """How many rows it is trained on again at the end."""
    split = planned.prepared.division.split
    return len(split.train) + len(split.validation) + len(split.test) if planned.refit else 0


def first_part(planned: "Plan") -> float:
    """Of the time there is for all, the part of the first training: that on all rows has no more epochs, nor has any
    of the other folds.
    """
    rows = planned.prepared.train.rows
    return rows / (rows * (planned.folds or 1) + rows_again(planned))


def trained_before(checkpoints: "Checkpoints") -> float:
    """Seconds that the epochs of a training took which goes on: they are not given anew."""
    if not checkpoints.store.steps():
        return 0.0
    return sum(float(record.get("seconds") or 0.0) for record in records_of(newest(checkpoints.store)))


def left(seconds: float, gone: float) -> float:
    """Of the `seconds` there are for all, those for the training: what is `gone` and what the scores take apart."""
    return max(0.1, seconds - gone - min(BEGIN, seconds / 10))


def fitting(planned: "Plan", seconds: float) -> dict[str, int]:
    """The choices of a recipe with which the training is over in so many seconds, as far as can be guessed.

    As many networks as fit, and fewer epochs where one is too much.
    """
    for members in MOST_MEMBERS:
        one = replace(planned.recipe, members=members)
        takes = most_seconds(planned, one)
        if takes <= seconds or members == 1:
            break
    epochs = planned.recipe.epochs
    return {"members": members, "epochs": max(1, min(epochs, int(epochs * seconds / takes)))}


def _products_a_second() -> float:
    """Multiplications, each with an addition, that one thread of this machine makes in a second."""
    matrix = np.ones((PROBE, PROBE), np.float32)
    fastest = np.inf
    with one_thread():
        for _ in range(5):
            started = time.perf_counter()
            np.matmul(matrix, matrix)
            fastest = min(fastest, time.perf_counter() - started)
    return PROBE**3 / float(fastest)
