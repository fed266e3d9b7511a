"""The textbook's program: microseconds an iteration, against C.

4-25-3 sigmoids, half the sum of squared errors, double precision, one row an iteration, 30,000 iterations, output
biases frozen. The C (benchmarks/textbook.c) is built by gcc with -O3 -march=native -ffast-math and called as a library,
so that only its training loop is timed. It draws rows at random; ours takes all 150 in a new random order 200 times, in
one `fit`.
"""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from backpass import losses, nn, optimizers
from backpass.training import Trainer
from speed.contenders import OURS
from speed.contenders.ours import TAKES_THREADS
from speed.options import Options
from speed.report import NUMBER, RANGE, Column, Section
from speed.timing import in_turns, seconds
from speed.works import iris

SOURCE = Path(__file__).parent.parent / "textbook.c"
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fPIC")
RATE, EPOCHS = 0.05, 200
COLUMNS = (
    Column("contender", "", ""),
    Column("microseconds", "us/iteration", NUMBER),
    RANGE,
    Column("right", "right of 150", "d"),
    Column("ratio", "times ours", NUMBER),
)


def measure(options: Options) -> Section:
    """Both, from a new start each round."""
    measures, species = iris()
    X, y = measures.astype(np.float64), species
    epochs = 4 if options.quick else EPOCHS
    iterations = epochs * len(X)
    right: dict[str, list[int]] = {}
    with compiled() as library:
        starts = {OURS: lambda seed: ours(X, y, epochs, seed, options)}
        if library is not None:
            starts["C, gcc -O3"] = lambda seed: in_c(library, X, y, iterations, seed)
        for name, begin in starts.items():
            begin(1)  # to warm up
            right[name] = []
        seeds = {name: iter(range(1, 1000)) for name in starts}

        def once(name: str) -> float:
            taken, hits = starts[name](next(seeds[name]))
            right[name].append(hits)
            return taken / iterations * 1e6

        timings = in_turns({name: (lambda name=name: once(name)) for name in starts}, options.repeats)
    ours_median = timings[OURS].median
    rows = [
        {"contender": name}
        | timing.record("microseconds")
        | {"right": int(np.median(right[name])), "ratio": timing.median / ours_median}
        for name, timing in timings.items()
    ]
    notes = [] if library is not None else ["there is no gcc here: the program in C was not measured"]
    return Section("textbook", f"textbook: 4-25-3 sigmoids, {iterations:,} iterations", COLUMNS, rows, notes)


def ours(X: Any, y: Any, epochs: int, seed: int, options: Options) -> tuple[float, int]:
    """Seconds of one `fit` of a Trainer that is compiled, and the rows named rightly after it."""
    trainer = network_trainer(seed, options)
    desired = np.eye(3)[y]
    trainer.fit(X, desired, epochs=1)
    taken = seconds(lambda: trainer.fit(X, desired, epochs=epochs))
    return taken, int((trainer.predict(X).argmax(axis=1) == y).sum())


def network_trainer(seed: int, options: Options) -> Any:
    """The recipe as a Trainer."""
    start = nn.Uniform(-0.5, 0.5)
    network = nn.Sequential(
        hidden=nn.Dense(25, initializer=start, bias_initializer=nn.Constant(0.0)),
        hidden_sigmoid=nn.Sigmoid(),
        output=nn.Dense(3, initializer=start, bias_initializer=nn.Constant(0.0)),
        output_sigmoid=nn.Sigmoid(),
    )
    return Trainer(
        network,
        losses.HalfSumOfSquares(),
        optimizers.Groups({"output.bias": optimizers.SGD(0.0), "*": optimizers.SGD(RATE)}),
        batch_size=1,
        seed=seed,
        precision="float64",
        executor=options.executor,
        **({"threads": None} if TAKES_THREADS else {}),
    )


def in_c(library: Any, X: Any, y: Any, iterations: int, seed: int) -> tuple[float, int]:
    """Seconds of the training loop, and the rows named rightly after it."""
    network = ctypes.create_string_buffer(library.network_bytes())
    desired = np.eye(3)[y]
    library.start(network, seed)
    arguments = (network, X.ctypes.data, desired.ctypes.data, len(X), iterations, RATE)
    taken = seconds(lambda: library.train(*arguments))
    hits = sum(library.species(network, row.ctypes.data) == label for row, label in zip(X, y, strict=True))
    return taken, int(hits)


@contextmanager
def compiled() -> Iterator[Any]:
    """The program in C as a library; None without a compiler."""
    compiler = shutil.which("gcc")
    if compiler is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path, compiled_only = Path(folder) / "textbook.so", Path(folder) / "textbook.o"
        subprocess.run([compiler, *FLAGS, "-c", str(SOURCE), "-o", str(compiled_only)], check=True)
        # Linked without -ffast-math: with it, loading the library changes how the whole process treats denormals.
        subprocess.run([compiler, "-shared", str(compiled_only), "-o", str(path), "-lm"], check=True)
        library = ctypes.CDLL(str(path))
        pointer, whole = ctypes.c_void_p, ctypes.c_int64
        library.network_bytes.restype = ctypes.c_uint64
        library.start.argtypes = [pointer, ctypes.c_uint64]
        library.train.argtypes = [pointer, pointer, pointer, whole, whole, ctypes.c_double]
        library.species.argtypes, library.species.restype = [pointer, pointer], whole
        yield library
