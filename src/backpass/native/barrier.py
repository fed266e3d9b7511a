"""What the threads of a program need in its code: a barrier where they wait for one another, and one way to round.

The barrier is the central one with a generation (Mellor-Crummey and Scott, "Algorithms for scalable synchronization on
shared-memory multiprocessors", 1991, with a counter for the sense): right for the few threads of one processor.
"""

from collections.abc import Callable
from functools import partial

from backpass.native.ir import I32, I64, PTR, VOID, Builder, Module, Value, define
from backpass.native.target import Target

BARRIER_BYTES = 128
"""The state of a barrier: how many have arrived; 64 bytes on the generation and how many sleep: i64, at first zeros."""

# Looks before a waiting thread sleeps: some tens of microseconds, which is longer than threads that have a processor
# each wait for one another, and no longer than it takes to wake one. It does not yield: that gives time slices away to
# all who want to run, though the one that is waited for may be there at once. With two busy processes on two processors
# an epoch of 60,000 rows of 54-128-64-7 took 0.39 to 0.45 s with yields and 0.15 to 0.19 with sleep, 0.15 to 0.18 on
# one thread; with ten of less priority 1.2 s with yields and 0.12 to 0.15 with sleep (Linux 6.18).
_LOOKS = 1000
# Where the system has no such sleep that is known here: looks before it yields between any two.
_LOOKS_BEFORE_YIELDING = 300
_WAIT, _WAKE = 128, 129  # FUTEX_WAIT and FUTEX_WAKE, with FUTEX_PRIVATE_FLAG
_EVERYONE = (1 << 31) - 1
_FUTEX_X86, _FUTEX_ARM = 202, 98  # the number of the system call
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
        # In one order for all: who goes to sleep is counted before it looks at the generation for the last time.
        b.store_atomic(b.add(before, 1), generation, "seq_cst")
        if target.is_linux:
            asleep = b.load_atomic(I64, b.offset(count, 9, I64), "seq_cst")
            with b.when(b.compare("ne", asleep, 0)):
                _emit_futex(b, generation, _WAKE, b.i64(_EVERYONE), target)
    with b.when(b.compare("ne", here, threads)):
        _emit_look(b, generation, before, target)
        if target.is_linux:
            _emit_sleep(b, count, generation, before, target)
    b.ret()


def _emit_look(b: Builder, generation: Value, before: Value, target: Target) -> None:
    """Look again and again whether the generation has changed; on Linux for some time only, elsewhere with yields."""
    most = _LOOKS if target.is_linux else _LOOKS_BEFORE_YIELDING
    with b.repeat([b.i64(0)]) as loop:
        looks = b.add(loop.carried[0], 1)
        same = b.compare("eq", b.load_atomic(I64, generation, "acquire"), before)
        is_short = b.compare("lt", looks, most)
        with b.when(b.bit_and(same, is_short)):
            _emit_pause(b, target)
        if not target.is_linux:
            b.module.declare("sched_yield", I32, [])
            with b.when(b.bit_and(same, b.compare("ge", looks, most))):
                b.call("sched_yield", I32)
        loop.next = [b.bit_and(same, is_short) if target.is_linux else same, looks]


def _emit_sleep(b: Builder, count: Value, generation: Value, before: Value, target: Target) -> None:
    """Until the generation changes, unless it has."""
    asleep = b.offset(count, 9, I64)
    with b.when(b.compare("eq", b.load_atomic(I64, generation, "acquire"), before)):
        b.add_atomic(b.i64(1), asleep, "seq_cst")
        with b.repeat() as loop:
            same = b.compare("eq", b.load_atomic(I64, generation, "seq_cst"), before)
            with b.when(same):
                _emit_futex(b, generation, _WAIT, before, target)  # returns at once where it has changed meanwhile
            loop.next = [same]
        b.add_atomic(b.i64(-1), asleep, "seq_cst")


def _emit_futex(b: Builder, word: Value, what: int, value: Value, target: Target) -> None:
    """Ask Linux to sleep while the lower 32 bits of `word` are those of `value`, or to wake so many; futex(2)."""
    b.module.declare("syscall", I64, [I64, PTR, I64, I64, I64])
    number = _FUTEX_ARM if target.is_arm else _FUTEX_X86
    b.call("syscall", I64, b.i64(number), word, b.i64(what), value, b.i64(0))


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
