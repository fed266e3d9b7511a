"""A fresh process's program: `python -m speed.fresh CONTENDER ROWS.npz EXECUTOR` trains digits for one epoch."""

import sys

import numpy as np

from speed.contenders import contender
from speed.options import Options
from speed.works import WORKS


def main() -> None:
    """The first variant of a contender, one epoch."""
    name, path, executor = sys.argv[1:]
    rows = np.load(path)
    work = WORKS["digits"].at(rows=len(rows["X"]))
    variants = contender(name).variants(work, rows["X"], rows["y"], Options(executor=executor))
    next(iter(variants.values()))()(1)


if __name__ == "__main__":
    main()
