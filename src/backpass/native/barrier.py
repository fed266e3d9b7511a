"""What the threads of a program need in its code: a barrier where they wait for one another, and one way to round.

The barrier is the central one with a generation (Mellor-Crummey and Scott, "Algorithms for scalable synchronization on
shared-memory multiprocessors", 1991, with a counter for the sense): right for the few threads of one processor.
"""

from collections.abc import Callable
from functools import partial

from backpass.native.ir import I32, I64, PTR, VOID, Builder, Module, Value, define
from backpass.native.target import Target

BARRIER_BYTES = 128
"""The state of a barrier: how many have arrived and the generation, i64 each, 64 bytes apart. Starts as zeros."""

# Looks before a waiting thread lets others run: some microseconds, longer than threads with equal shares wait for
# one another. A thread that yields at once gives a whole time slice to a busy process on its own processor, though the
# one it waits for would have been there: with one such process, a step of 784-256-128-10 on two of two processors took
# 7.0 ms with 30 looks, 3.6 with 300, 3.0 with 3000 (Linux 6.18). Barrier after barrier, with no work between, it is the
# other way round: 1.3 microseconds with 30, 7 with 300, 20 with 1000. On a quiet machine it makes no difference.
_SPINS = 300
_FUNCTION = "barrier"


def emit_barrier(b: Builder, state: Value, threads: Value, target: Target) -> None:
    """No thread goes on before all `threads` (i64) have come here; what each wrote before, all see after.

    `state` points to BARRIER_BYTES, which start as zeros and are used again for every later barrier of these threads.
    """
    if threads.constant == 1:
        return
    if not any(function.name == _FUNCTION for function in b.module.functions):
        _define_barrier(b.module, target)
    with b.when(b.compare("gt", threads, 1)):
        b.call(_FUNCTION, VOID, state, threads)


def _define_barrier(module: Module, target: Target) -> None:
    b, (count, threads) = define(module, _FUNCTION, [("count", PTR), ("threads", I64)])
    b.function.comment = "Wait until all threads have come here."
    count = b.owns(count, BARRIER_BYTES, "the barrier")
    generation = b.offset(count, 8, I64)
    before = b.load_atomic(I64, generation, "monotonic")  # it cannot change before this thread has arrived
    arrived = b.add_atomic(b.i64(1), count, "acq_rel")
    here = b.add(arrived, 1)
    with b.when(b.compare("eq", here, threads)):
        b.store_atomic(b.i64(0), count, "monotonic")
        b.store_atomic(b.add(before, 1), generation, "release")
    with b.when(b.compare("ne", here, threads)):
        _emit_wait(b, generation, before, target)
    b.ret()


def _emit_wait(b: Builder, generation: Value, before: Value, target: Target) -> None:
    """Look again and again whether the generation has changed; after some time let others run between two looks."""
    b.module.declare("sched_yield", I32, [])
    with b.repeat([b.i64(0)]) as loop:
        looks = b.add(loop.carried[0], 1)
        same = b.compare("eq", b.load_atomic(I64, generation, "acquire"), before)
        is_short = b.compare("lt", looks, _SPINS)
        with b.when(b.bit_and(same, is_short)):
            _emit_pause(b, target)
        with b.when(b.bit_and(same, b.compare("ge", looks, _SPINS))):
            b.call("sched_yield", I32)
        loop.next = [same, looks]


def _emit_pause(b: Builder, target: Target) -> None:
    """Tell the processor that this is a waiting loop."""
    if target.is_arm:
        name, arguments = "llvm.aarch64.isb", [b.constant(15, I32)]  # a longer rest there than the "yield" hint
    else:
        name, arguments = "llvm.x86.sse2.pause", []
    b.module.declare(name, VOID, [x.type for x in arguments])
    b.call(name, VOID, *arguments)


def emit_flush_denormals(b: Builder, target: Target) -> Callable[[], object]:
    """From here on numbers too small to be normal count as 0 in this thread. The result emits the way back.

    For a function that calls others to do the work: LLVM does not know that arithmetic depends on this register, and
    may move what stands in the same function.
    """
    return _flush_arm(b) if target.is_arm else _flush_x86(b)


def _flush_x86(b: Builder) -> Callable[[], object]:
    """MXCSR: bit 15 flushes results to zero, bit 6 takes denormals as zeros."""
    for name in ("llvm.x86.sse.stmxcsr", "llvm.x86.sse.ldmxcsr"):
        b.module.declare(name, VOID, [PTR])
    before, changed = b.reserve(I32, 1), b.reserve(I32, 1)
    b.call("llvm.x86.sse.stmxcsr", VOID, before)
    b.store(b.bit_or(b.load(I32, before), 1 << 15 | 1 << 6), changed)
    b.call("llvm.x86.sse.ldmxcsr", VOID, changed)
    return partial(b.call, "llvm.x86.sse.ldmxcsr", VOID, before)


def _flush_arm(b: Builder) -> Callable[[], object]:
    """FPCR: bit 24 (FZ) flushes operands and results."""
    b.module.declare("llvm.aarch64.get.fpcr", I64, [])
    b.module.declare("llvm.aarch64.set.fpcr", VOID, [I64])
    before = b.call("llvm.aarch64.get.fpcr", I64)
    b.call("llvm.aarch64.set.fpcr", VOID, b.bit_or(before, 1 << 24))
    return partial(b.call, "llvm.aarch64.set.fpcr", VOID, before)
