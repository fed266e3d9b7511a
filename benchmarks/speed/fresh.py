"""A fresh process's program: `python -m speed.fresh CONTENDER FOLDER EXECUTOR` trains digits for one epoch.

It prints when it is done, by the clock that all processes share.
"""

import sys
import time
from pathlib import Path

import numpy as np

from speed.contenders import contender
from speed.options import Options
from speed.works import WORKS


def main() -> None:
    """The first variant of a contender, one epoch over the rows in X.npy and y.npy."""
    name, folder, executor = sys.argv[1:]
    X, y = (np.load(Path(folder, file)) for file in ("X.npy", "y.npy"))
    work = WORKS["digits"].at(rows=len(X))
    variants = contender(name).variants(work, X, y, Options(executor=executor))
    next(iter(variants.values()))()(1)
    print(time.monotonic())


if __name__ == "__main__":
    main()
