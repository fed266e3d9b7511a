"""How long a training may take, guessed before its first step."""

import time
from typing import TYPE_CHECKING

import numpy as np

from backpass.forward import flatten, one_thread
from backpass.native import available_threads
from backpass.ops import Key

if TYPE_CHECKING:
    from backpass.recipes.main_job import Plan

PROBE = 192  # rows and columns of the matrices whose product tells how fast this machine is
PART = 0.7  # of that speed is what each thread comes to in whole steps, with activations, waves and updates
STEP = 2e-5  # seconds: what a step takes for each member, however few its rows are
BEGIN, BEGIN_A_MEMBER = 1.0, 0.25  # seconds: to make the programs, and the linear model


def most_seconds(planned: "Plan") -> float:
    """If training stops no earlier than it may: for each row and weight three multiplications and additions."""
    shape = planned.prepared.row_shape
    weights = sum(value.size for value in flatten(planned.network.init(shape, Key.of(0))) if value.ndim == 2)
    recipe, rows = planned.recipe, planned.prepared.train.rows
    steps = recipe.epochs * -(-rows // recipe.batch_size)
    speed = PART * (planned.threads or available_threads()) * _products_a_second()
    products = 3 * float(weights) * rows * recipe.epochs
    return BEGIN + recipe.members * (BEGIN_A_MEMBER + STEP * steps) + products / speed


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
