"""The five works: networks of sizes that people train, and their rows.

Always Adam with 1e-3, cross-entropy, ReLU between layers, float32, data in memory, rows in a new order each epoch.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

LEARNING_RATE = 1e-3
IDX_HEADER = {"images": 16, "labels": 8}
"""Bytes before the data in the idx format of MNIST's files."""


@dataclass(frozen=True)
class Work:
    """A network and its batches. `widths` are inputs, hidden layers, outputs."""

    name: str
    widths: tuple[int, ...]
    batch: int
    rows: int

    @property
    def network(self) -> str:
        return "-".join(map(str, self.widths))

    @property
    def steps(self) -> int:
        """Of an epoch; the last one may have fewer rows."""
        return ceil(self.rows / self.batch)

    @property
    def parameters(self) -> int:
        return sum(above * (below + 1) for below, above in pairwise(self.widths))

    @property
    def operations(self) -> float:
        """Floating-point operations of a step, on average: forward, errors and derivatives are 2 a weight and row each.

        The error of the inputs is never needed, so the first layer has 4 instead of 6.
        """
        first = self.widths[0] * self.widths[1]
        return (6 * self.parameters - 2 * first) * self.rows / self.steps

    def at(self, **changes: Any) -> "Work":
        return replace(self, **changes)


WORKS = {
    work.name: work
    for work in (
        Work("iris", (4, 16, 3), 32, 150),
        Work("digits", (64, 64, 10), 32, 1797),
        Work("table", (100, 256, 256, 2), 256, 51_200),
        Work("mnist", (784, 256, 128, 10), 128, 12_800),
        Work("large", (1024, 2048, 2048, 1000), 1024, 8_192),
    )
}


def rows_of(work: Work, folder: Path | None = None) -> tuple[Any, Any]:
    """Inputs (rows, inputs) in float32 and labels (rows,) as whole numbers: real ones where there are any."""
    if work == WORKS["iris"]:
        return iris()
    if work == WORKS["digits"]:
        return digits(work)
    if has_clothing(work, folder):
        return clothing(folder / "fashion-mnist", work.rows)
    return synthetic(work)


def has_clothing(work: Work, folder: Path | None) -> bool:
    """Whether the rows of `work` are real pictures, not made ones of the same shape."""
    return work == WORKS["mnist"] and folder is not None and (folder / "fashion-mnist").is_dir()


def synthetic(work: Work) -> tuple[Any, Any]:
    """Normal inputs; the label is the largest of random linear functions, with noise: never to be learned fully."""
    random = np.random.default_rng(0)
    X = random.standard_normal((work.rows, work.widths[0]), np.float32)
    teacher = random.standard_normal((work.widths[0], work.widths[-1]), np.float32)
    scores = X @ teacher
    noise = random.standard_normal(scores.shape, np.float32) * scores.std()
    return X, (scores + noise).argmax(axis=1).astype(np.int64)


def iris() -> tuple[Any, Any]:
    """The 150 flowers, unscaled; species as numbers."""
    import csv  # here, as others below: they weigh on whoever measures how quickly a process starts
    from importlib.resources import files

    text = (files("backpass.data") / "samples" / "iris.csv").read_text(encoding="utf-8")
    _, *records = csv.reader(text.splitlines())
    X = np.array([record[:4] for record in records], np.float32)
    return X, np.unique([record[4] for record in records], return_inverse=True)[1].astype(np.int64)


def digits(work: Work) -> tuple[Any, Any]:
    """The 1,797 digits that come with scikit-learn, scaled to 0..1; without it numbers of the same shape."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        return synthetic(work)
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y.astype(np.int64)


def clothing(folder: Path, rows: int) -> tuple[Any, Any]:
    """The first rows of Fashion-MNIST, which has MNIST's shape, scaled to 0..1."""
    X, y = (idx(folder / f"train-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    return (X.reshape(-1, 784)[:rows] / 255).astype(np.float32), y[:rows].astype(np.int64)


def idx(path: Path) -> Any:
    """The bytes of a file in idx format, flat."""
    import gzip

    header = next(size for kind, size in IDX_HEADER.items() if kind in path.name)
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)
