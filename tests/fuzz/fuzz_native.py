"""Compiles random graphs and trains random networks, natively and by the reference: the values must be the same.

    python tests/fuzz/fuzz_native.py --cases 2000 --seed 0
    python tests/fuzz/fuzz_native.py --networks --cases 500
    python tests/fuzz/fuzz_native.py --trainings --cases 1000
    python tests/fuzz/fuzz_native.py --cases 1 --seed 1125 --steps 6

With --trainings networks are trained for 20 steps, and one that differs is made small and printed as Python code. With
BACKPASS_CHECKED=1 in the environment, whatever is compiled checks that it stays within its memory.

A case is a seed: what differs or fails is printed with it, and with the operations of its graph. Even seeds make graphs
in which nothing is rounded, and their values must be equal to the bit. With --target the code is made for narrower
vectors than this machine has: sse2 or avx2.
"""

# ruff: noqa: T201  (a script that talks)
from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "native"))
os.environ.setdefault("BACKPASS_CACHE", "off")

from native_helpers import assert_agree, random_work
from random_programs import Choices, made
from random_trainings import disagreement, training_text
from shrinking import smallest

from backpass.errors import NotFiniteError, ShapeError
from backpass.forward import Program
from backpass.native import NativeProgram
from backpass.native.target import named

SHOWN = """\
for trainer in trainers:
    print(trainer.history[-1]["loss"], trainer.parameters)
"""
ROWS = (5, 1, 0, 2, 3, 16, 17, 33, 65)


def choices(seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, 1 << 20, 500).tolist()


def graph_case(seed: int, steps: int, target: str | None) -> str:
    """What is wrong with the graph of a seed; nothing, if nothing is."""
    rng = np.random.default_rng(seed)
    program = made(choices(seed), steps=steps, exact=seed % 2 == 0)
    single = any(node.dtype == np.float32 for node in program.graph.nodes)
    tolerance = 0.0 if program.exact else 1e-4 if single else 1e-10
    reference = Program(program.graph)
    native = NativeProgram(program.graph, threads=1 + seed % 3, target=None if target is None else named(target))
    for rows in ROWS:
        inputs = program.inputs(rows, rng)
        try:
            expected = reference(*inputs)
        except (ShapeError, ValueError):  # the largest of no rows
            continue
        for place, (ours, theirs) in enumerate(zip(native(*inputs), map(np.asarray, expected), strict=True)):
            same_form = (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            if not same_form or not np.allclose(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True):
                return f"output {place} differs at {rows} rows: {program.chosen}"
    return ""


def network_case(seed: int) -> str:
    work = random_work(Choices(choices(seed)))
    try:
        assert_agree(work, threads=1 + seed % 3)
    except NotFiniteError:
        return ""
    except AssertionError as error:
        return f"{str(error)[:300]}: {work}"
    return ""


def training_case(seed: int) -> str:
    """What is wrong with the training of a seed, and the smallest code found that goes wrong, too."""

    def wrong(numbers: list[int]) -> str:
        try:
            return disagreement(training_text(Choices(numbers)))
        except Exception as error:  # noqa: BLE001  (whatever it is, it is a failure to report)
            return f"{type(error).__name__}: {error}"

    numbers = choices(seed)[:60]
    if not wrong(numbers):
        return ""
    numbers = smallest(numbers, lambda less: bool(wrong(less)), tries=150)
    return f"{wrong(numbers)}\n{training_text(Choices(numbers))}{SHOWN}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=8)
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--networks", action="store_true")
    kinds.add_argument("--trainings", action="store_true")
    parser.add_argument("--target", choices=["sse2", "avx2", "avx512"])
    given = parser.parse_args()
    failed, started = 0, time.perf_counter()
    for seed in range(given.seed, given.seed + given.cases):
        try:
            if given.networks:
                wrong = network_case(seed)
            elif given.trainings:
                wrong = training_case(seed)
            else:
                wrong = graph_case(seed, given.steps, given.target)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is a failure to report)
            wrong = f"{type(error).__name__}: {error}"
            if given.cases == 1:
                traceback.print_exc()
        if wrong:
            failed += 1
            print(f"seed {seed}: {wrong}", flush=True)
    print(f"{given.cases} cases, {failed} failed, {time.perf_counter() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
