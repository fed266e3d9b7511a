"""Snapshots to write and compare."""

import numpy as np

from backpass.training.checkpoints import Snapshot


def snapshot(step: int, numbers: int = 500) -> Snapshot:
    """Of a few KB, its values known by its step."""
    draw = np.random.default_rng(step)
    values = [draw.normal(size=numbers).astype(np.float32), draw.normal(size=(3, 5)), np.array(step)]
    return Snapshot(step, step // 10, step % 10, (0.25 * step, -0.0), values, values[::-1], None, {"step": step})


def same(first: Snapshot, second: Snapshot) -> bool:
    """Whether all of it is the same, bit for bit."""
    lists = [(each.parameters, each.optimizer, each.best or []) for each in (first, second)]
    arrays = [[array for values in each for array in values] for each in lists]
    rest = [
        (each.step, each.epoch, each.batch, np.array(each.sums).tobytes(), each.best is None, repr(each.about))
        for each in (first, second)
    ]
    described = [[(a.dtype.str, a.shape, a.tobytes()) for a in values] for values in arrays]
    counts = [[len(values) for values in each] for each in lists]
    return (rest[0], described[0], counts[0]) == (rest[1], described[1], counts[1])
