"""Minibatches: the rows of an epoch in random order, cut into batches."""

from collections.abc import Iterator

import numpy as np

from backpass.data.arrays import Array
from backpass.ops import Key, permutation


def batches(rows: int, batch_size: int, *, seed: int, epoch: int, shuffle: bool = True) -> Iterator[Array]:
    """The numbers of the rows of each batch of an epoch; the last batch may be smaller.

    The order is a function of (seed, epoch) alone.
    """
    order = permutation(Key.of(seed, epoch).fold("shuffle"), rows) if shuffle else np.arange(rows)
    for start in range(0, rows, batch_size):
        yield order[start : start + batch_size]
