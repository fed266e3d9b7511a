"""Minibatches: the rows of an epoch in random order, cut into batches; of rows in files a window at a time."""

from collections.abc import Iterator

import numpy as np

from backpass.data.arrays import Array
from backpass.ops import Key, permutation


def windows(rows: int, window: int, *, seed: int, epoch: int, shuffle: bool = True) -> list[slice]:
    """The parts of all rows in the order in which an epoch takes them: in random order, but a smaller one comes last.

    The order is a function of (seed, epoch) alone.
    """
    whole = rows // window
    order = permutation(Key.of(seed, epoch).fold("windows"), whole) if shuffle and whole > 1 else np.arange(whole)
    starts = [window * int(place) for place in order] + ([window * whole] if rows % window else [])
    return [slice(start, min(rows, start + window)) for start in starts]


def batches(
    rows: int, batch_size: int, *, seed: int, epoch: int, shuffle: bool = True, window: int | None = None
) -> Iterator[Array]:
    """The numbers of the rows of each batch of an epoch; the last batch may be smaller.

    The order is a function of (seed, epoch) alone, and of the window: then all rows of one come before those of the
    next. A window has whole batches.
    """
    parts = windows(rows, window or rows, seed=seed, epoch=epoch, shuffle=shuffle)
    for place, part in enumerate(parts):
        count, key = part.stop - part.start, Key.of(seed, epoch * len(parts) + place).fold("shuffle")
        order = part.start + (permutation(key, count) if shuffle else np.arange(count))
        for start in range(0, count, batch_size):
            yield order[start : start + batch_size]
