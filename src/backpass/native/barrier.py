"""What the threads of a program need in its code: a barrier where they wait for one another, and one way to round.

The barrier is the central one with a generation (Mellor-Crummey and Scott, "Algorithms for scalable synchronization on
shared-memory multiprocessors", 1991, with a counter for the sense): right for the few threads of one processor.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from backpass.native.ir import I32, I64, PTR, VOID, Builder, Module, Value, define
from backpass.native.target import Target
from backpass.records import dataclass

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


def emit_barrier(b: Builder, state: Value, threads: Value, target: Target, idle: "Idle | None" = None) -> None:
    """No thread goes on before all `threads` (i64) have come here; what each wrote before, all see after.

    `state` points to BARRIER_BYTES, which start as zeros and are used again for every later barrier of these threads.
    Who waits calls `idle`, the same for every barrier of a module.
    """
    if threads.constant == 1:
        return
    if not any(function.name == _FUNCTION for function in b.module.functions):
        _define_barrier(b.module, target, idle)
    with b.when(b.compare("gt", threads, 1)):
        b.call(_FUNCTION, VOID, state, threads, *([] if idle is None else [idle.context, idle.thread]))


@dataclass(frozen=True)
class Idle:
    """What a waiting thread calls again and again: function(context, thread), an i64 that is 0 if it did nothing.

    The context has so many bytes.
    """

    function: str
    context: Value
    bytes: int
    thread: Value


def _define_barrier(module: Module, target: Target, idle: Idle | None) -> None:
    more = [] if idle is None else [("context", PTR), ("thread", I64)]
    b, (count, threads, *given) = define(module, _FUNCTION, [("count", PTR), ("threads", I64), *more])
    if idle is not None:
        context, thread = given
        idle = replace(idle, context=b.owns(context, idle.bytes, "the context"), thread=thread)
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
        emit_wake(b, generation, target)
    with b.when(b.compare("ne", here, threads)):
        _emit_wait(b, generation, before, target, idle)
    b.ret()


def emit_call(b: Builder, state: Value, target: Target) -> None:
    """Wake those who sleep at a barrier: there is something to do. Who is just about to sleep may miss it."""
    emit_wake(b, b.offset(state, 8, I64), target)


def emit_until(b: Builder, word: Value, wanted: Value, target: Target) -> None:
    """Wait until `word` is `wanted`. The word behind it counts who sleeps; `emit_wake` wakes them after each change."""
    with b.repeat() as loop:
        seen = b.load_atomic(I64, word, "acquire")
        is_other = b.compare("ne", seen, wanted)
        with b.when(is_other):
            _emit_wait(b, word, seen, target, None)
        loop.next = [is_other]


def emit_wake(b: Builder, word: Value, target: Target) -> None:
    """Wake those who sleep until `word` changes, after it was changed in the one order for all, "seq_cst"."""
    if target.is_linux:
        asleep = b.load_atomic(I64, b.offset(word, 1, I64), "seq_cst")
        with b.when(b.compare("ne", asleep, 0)):
            _emit_futex(b, word, _WAKE, b.i64(_EVERYONE), target)


def _emit_wait(b: Builder, word: Value, before: Value, target: Target, idle: Idle | None) -> None:
    """Until `word` is no longer what it was."""
    _emit_look(b, word, before, target, idle)
    if target.is_linux:
        _emit_sleep(b, word, before, target, idle)


def _emit_look(b: Builder, word: Value, before: Value, target: Target, idle: Idle | None) -> None:
    """Look again and again whether `word` has changed; on Linux for some time only, elsewhere with yields.

    That time begins anew where there was something else to do.
    """
    most = _LOOKS if target.is_linux else _LOOKS_BEFORE_YIELDING
    did = b.reserve(I64, 1)
    with b.repeat([b.i64(0)]) as loop:
        looks = b.add(loop.carried[0], 1)
        same = b.compare("eq", b.load_atomic(I64, word, "acquire"), before)
        is_short = b.compare("lt", looks, most)
        if idle is not None:
            b.store(b.i64(0), did)
            with b.when(same):
                b.store(b.call(idle.function, I64, idle.context, idle.thread), did)
            looks = b.select(b.compare("ne", b.load(I64, did), 0), b.i64(0), looks)
        with b.when(b.bit_and(same, is_short)):
            _emit_pause(b, target)
        if not target.is_linux:
            b.module.declare("sched_yield", I32, [])
            with b.when(b.bit_and(same, b.compare("ge", looks, most))):
                b.call("sched_yield", I32)
        loop.next = [b.bit_and(same, is_short) if target.is_linux else same, looks]


def _emit_sleep(b: Builder, word: Value, before: Value, target: Target, idle: Idle | None) -> None:
    """Until `word` changes, unless it has. Who is woken before that looks whether there is something to do."""
    asleep = b.offset(word, 1, I64)
    with b.when(b.compare("eq", b.load_atomic(I64, word, "acquire"), before)):
        b.add_atomic(b.i64(1), asleep, "seq_cst")
        with b.repeat() as loop:
            same = b.compare("eq", b.load_atomic(I64, word, "seq_cst"), before)
            with b.when(same):
                if idle is not None:
                    b.call(idle.function, I64, idle.context, idle.thread)
                _emit_futex(b, word, _WAIT, before, target)  # returns at once where it has changed meanwhile
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
