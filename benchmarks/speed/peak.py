"""How many floating-point operations a second this machine does at most, in float32, measured here and now.

Two answers: the largest matrix product of NumPy's library, and a loop of nothing but fused multiply-adds on registers,
which no program can beat without narrower numbers.
"""

import ctypes
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from speed.timing import seconds

SIZE = 2048
ROUNDS = 4_000_000
ACCUMULATORS = 12
"""Independent sums: latency (4) times units (2) of current cores, and some to spare."""


def peaks(*, quick: bool = False) -> dict[str, float | None]:
    """GFLOP/s on one and on two threads; None where it could not be measured."""
    found: dict[str, float | None] = {}
    for threads in (1, 2):
        found[f"largest seen matrix product, {threads} thr."] = products(threads, quick=quick)
    with _loop_of_fma() as loop:
        for threads in (1, 2):
            found[f"multiply-adds on registers, {threads} thr."] = loop and _fma(*loop, threads, quick=quick)
    return found


class Peak:
    """The highest that was seen in this run, of each kind: measured again and again, for a machine is rarely quiet."""

    def __init__(self, *, quick: bool) -> None:
        self._quick = quick
        self.found: dict[str, float | None] = {}
        self.again()

    def again(self) -> float:
        """Measure once more. The highest of all kinds, GFLOP/s."""
        for name, value in peaks(quick=self._quick).items():
            self.found[name] = max(filter(None, (value, self.found.get(name))), default=None)
        return max(filter(None, self.found.values()))


def products(threads: int, *, quick: bool) -> float:
    """Of the best of several products of two square matrices."""
    size = 1024 if quick else SIZE
    a = np.random.default_rng(0).standard_normal((size, size), np.float32)
    out = np.empty_like(a)
    with threadpool_limits(threads, user_api="blas"):
        return 2e-9 * size**3 / min(seconds(lambda: np.matmul(a, a, out=out)) for _ in range(8))


def _fma(call: Any, lanes: int, threads: int, *, quick: bool) -> float:
    """Of the best of several rounds on all threads at once. ctypes lets go of the interpreter while it calls."""
    rounds = ROUNDS // 4 if quick else ROUNDS
    operations = 2 * lanes * ACCUMULATORS * rounds * threads
    buffers = [np.zeros(2 * lanes, np.float32) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:

        def together() -> None:
            list(pool.map(lambda buffer: call(buffer.ctypes.data, rounds), buffers))

        together()
        return 1e-9 * operations / min(seconds(together) for _ in range(8))


@contextmanager
def _loop_of_fma() -> Iterator[Any]:
    """The loop as a callable (buffer, rounds), and its lanes; None without llvmlite or without fused multiply-add."""
    try:
        import llvmlite.binding as llvm
    except ImportError:
        yield None
        return
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    widths = {"avx512f": 16, "fma": 8, "neon": 4}
    lanes = next((width for name, width in widths.items() if features.get(name)), 0)
    if not lanes:
        yield None
        return
    target = llvm.Target.from_default_triple().create_target_machine(features=features.flatten(), opt=2)
    with llvm.create_mcjit_compiler(llvm.parse_assembly(_text(lanes)), target) as engine:
        engine.finalize_object()
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
        yield kind(engine.get_function_address("multiply_add")), lanes


def _text(lanes: int) -> str:
    """LLVM IR: `rounds` times, each of the sums becomes factor * sum + sum; the factors, all 0, lie at `buffer`."""
    from backpass.native.ir import F32, I64, PTR, Module, define

    module = Module()
    builder, (buffer, rounds) = define(module, "multiply_add", [("buffer", PTR), ("rounds", I64)])
    module.functions[-1].internal = False
    factor = builder.load(F32.vector(lanes), buffer)
    zeros = [builder.constant(number, F32.vector(lanes)) for number in range(ACCUMULATORS)]
    with builder.loop(0, rounds, carried=zeros) as loop:
        loop.next = [builder.fma(factor, value, value) for value in loop.carried]
    builder.store(builder.tree(loop.results, builder.add), buffer, lanes)
    builder.ret()
    return module.text()
