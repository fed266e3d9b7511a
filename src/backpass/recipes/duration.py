"""How long a training may take, guessed before its first step."""

import time
from typing import TYPE_CHECKING

import numpy as np

from backpass.data.arrays import row_shape
from backpass.forward import flatten, one_thread
from backpass.ops import Key

if TYPE_CHECKING:
    from backpass.recipes.main_job import Plan

PROBE = 192  # rows and columns of the matrices whose product tells how fast this machine is
PART = 0.25  # of that speed is what whole steps of small networks come to, with activations, waves and updates
BEGIN, BEGIN_A_MEMBER = 0.8, 0.3  # seconds: to make the programs


def most_seconds(planned: "Plan") -> float:
    """If training stops no earlier than it may: for each row and weight three multiplications and additions."""
    shape = row_shape(planned.prepared.train.inputs)
    weights = sum(value.size for value in flatten(planned.network.init(shape, Key.of(0))) if value.ndim == 2)
    rows = planned.prepared.train.rows * planned.recipe.epochs
    begin = BEGIN + BEGIN_A_MEMBER * planned.recipe.members
    return begin + 3 * float(weights) * rows / (PART * _products_a_second())


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
