"""Threads that run one native function: all start, meet at barriers, and end, whatever interrupts the caller."""

import _thread
import ctypes
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from backpass.native.barrier import BARRIER_BYTES, emit_barrier, emit_flush_denormals
from backpass.native.engine import assembly, compile_text, load
from backpass.native.ir import F32, F64, I64, PTR, VOID, Module, define
from backpass.native.target import host, named
from backpass.native.workers import run

WORDS = (
    256  # of 8 bytes: 0 to 15 the barrier, 16 threads, 17 phases, 18 stop flag, 19 errors, 20 ended, 32 and on slots
)
THREADS, PHASES, STOP, ERRORS, ENDED, SLOTS = 16, 17, 18, 19, 20, 32


class Context:
    """Memory of a native function, aligned to 64 bytes."""

    def __init__(self, threads, phases=0):
        self.memory = (ctypes.c_int64 * (WORDS + 8))()
        self.address = (ctypes.addressof(self.memory) + 63) & ~63
        self.words = (ctypes.c_int64 * WORDS).from_address(self.address)
        self.words[THREADS], self.words[PHASES] = threads, phases

    @property
    def stop_flag(self):
        return self.address + 8 * STOP


def begin(module, name):
    b, arguments = define(module, name, [("context", PTR), ("thread", I64)], fused=host().fused)
    b.function.internal = False
    return b, *arguments


def end(b, context):
    b.add_atomic(b.i64(1), b.offset(context, ENDED, I64), "acq_rel")
    b.ret()


def emit_phases(module, target):
    """In each phase a thread writes the phase's number, waits for all, looks at all the others' numbers, and waits."""
    b, context, thread = begin(module, "phases")
    threads = b.load(I64, context, THREADS)
    slots = b.offset(context, SLOTS, I64)
    with b.loop(0, b.load(I64, context, PHASES)) as phase:
        b.store(phase.index, slots, b.mul(thread, 8))
        emit_barrier(b, context, threads, target)
        with b.loop(0, threads) as other:
            differs = b.compare("ne", b.load(I64, slots, b.mul(other.index, 8)), phase.index)
            b.add_atomic(b.convert(differs, I64), b.offset(context, ERRORS, I64), "monotonic")
        emit_barrier(b, context, threads, target)
    end(b, context)


def emit_until_stopped(module, target):
    """Barrier after barrier until thread 0 has seen the stop flag and told the others."""
    b, context, thread = begin(module, "until_stopped")
    threads = b.load(I64, context, THREADS)
    slot = b.offset(context, SLOTS, I64)
    with b.repeat() as loop:
        with b.when(b.compare("eq", thread, 0)):
            b.store(b.load_atomic(I64, b.offset(context, STOP, I64), "acquire"), slot)
        emit_barrier(b, context, threads, target)
        stop = b.load(I64, slot)
        emit_barrier(b, context, threads, target)
        loop.next = [b.compare("eq", stop, 0)]
    end(b, context)


def emit_halves(module, target):
    """Halve 32-bit and 64-bit numbers of slots 0 and 1 into slots 2 and 3, with denormals flushed."""
    b, (context, _) = define(module, "halve", [("context", PTR), ("thread", I64)])
    slots = b.offset(context, SLOTS, I64)
    b.store(b.mul(b.load(F32, slots), 0.5), b.offset(slots, 2, I64))
    b.store(b.mul(b.load(F64, slots, 1), 0.5), slots, 3)
    b.ret()
    b, context, thread = begin(module, "halves")
    restore = emit_flush_denormals(b, target)
    b.call("halve", VOID, context, thread)
    restore()
    end(b, context)


def emit_late(module, target):
    """Thread 0 comes to the barrier long after the others."""
    b, context, thread = begin(module, "late")
    with b.when(b.compare("eq", thread, 0)), b.loop(0, b.load(I64, context, PHASES)):
        b.add_atomic(b.i64(1), b.offset(context, SLOTS, I64), "monotonic")
    emit_barrier(b, context, b.load(I64, context, THREADS), target)
    end(b, context)


def text_for(target):
    module = Module()
    for emit in (emit_phases, emit_until_stopped, emit_late, emit_halves):
        emit(module, target)
    return module.text()


@cache
def library():
    return load(compile_text(text_for(host()), host()))


def run_phases(threads, phases, **options):
    context = Context(threads, phases)
    run(library().address("phases"), context.address, threads, **options)
    return context.words[ERRORS], context.words[ENDED]


# Barriers


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("waiting", [False, True])
def test_after_a_barrier_every_thread_sees_what_all_wrote_before(threads, waiting):
    """Also with more threads than processors, where those that wait must let the others run."""
    options = {"poll": lambda: None} if waiting else {}
    assert run_phases(threads, 3000 if threads < 8 else 300, **options) == (0, threads)


def test_a_barrier_orders_memory_and_rests_on_each_architecture():
    arm, intel = assembly(text_for(named("arm64")), named("arm64")), assembly(text_for(named("sse2")), named("sse2"))
    assert all(word in arm for word in ("ldaxr", "stlr", "ldar", "isb"))
    assert all(word in intel for word in ("lock", "pause"))


@pytest.mark.parametrize(
    ("name", "triple", "word"),
    [
        ("arm64", "aarch64-unknown-linux-gnu", "syscall"),
        ("sse2", "x86_64-unknown-linux-gnu", "syscall"),
        ("arm64", "arm64-apple-darwin23.0.0", "sched_yield"),
        ("sse2", "x86_64-pc-windows-msvc-elf", "sched_yield"),
    ],
)
def test_who_waits_long_sleeps_on_linux_and_yields_elsewhere(name, triple, word):
    target = replace(named(name), triple=triple)
    found = assembly(text_for(target), target)
    assert [each for each in ("syscall", "sched_yield") if each in found] == [word]


@pytest.mark.skipif(sys.platform != "linux", reason="there is no such sleep elsewhere")
def test_who_waits_long_takes_no_processor_meanwhile():
    """Of three turns each the least counts: what takes processor time elsewhere makes them longer, never shorter."""

    def worked(threads):
        context, before = Context(threads, 1 << 24), time.process_time()
        run(library().address("late"), context.address, threads)
        assert context.words[SLOTS] == 1 << 24
        return time.process_time() - before

    turns = [(worked(4), worked(1)) for _ in range(3)]
    assert min(four for four, _ in turns) < 1.6 * min(one for _, one in turns)


@pytest.mark.parametrize("threads", [2, 5])
def test_after_all_barriers_nobody_is_counted_but_the_generations(threads):
    context = Context(threads, 10)
    run(library().address("phases"), context.address, threads)
    assert BARRIER_BYTES == 128
    assert [i for i in range(16) if context.words[i]] == [8]
    assert context.words[8] == 20


# Denormals


def test_numbers_too_small_to_be_normal_count_as_zero_inside_and_not_after():
    context = Context(1)
    singles = (ctypes.c_float * 8).from_address(context.address + 8 * SLOTS)
    doubles = (ctypes.c_double * 4).from_address(context.address + 8 * SLOTS)
    singles[0], singles[4], doubles[1], doubles[3] = 2.0**-126, 1.0, 2.0**-1022, 1.0
    run(library().address("halves"), context.address, 1)
    assert (singles[4], doubles[3]) == (0.0, 0.0)
    assert doubles[1] / 2 == 2.0**-1023 > 0


def test_the_rounding_register_is_set_and_restored_on_each_architecture():
    assert assembly(text_for(named("arm64")), named("arm64")).count("msr\tFPCR") == 2
    assert assembly(text_for(named("sse2")), named("sse2")).count("ldmxcsr") == 2


# Threads


def test_short_work_runs_in_the_calling_thread_too():
    before = threading.active_count()
    assert run_phases(1, 1) == (0, 1)
    assert threading.active_count() == before


def test_threads_are_used_again():
    run_phases(4, 1, poll=lambda: None)
    before = threading.active_count()
    for _ in range(50):
        run_phases(4, 1, poll=lambda: None)
        run_phases(3, 1)
    assert threading.active_count() == before


def test_several_callers_at_once_do_not_meet_in_one_barrier():
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda i: run_phases(1 + i % 3, 200), range(40)))
    assert results == [(0, 1 + i % 3) for i in range(40)]


def test_the_caller_is_told_of_time_passing_and_its_error_ends_the_work():
    """poll is called while threads work; what it raises stops them, and comes out when all have ended."""
    context, calls = Context(2), []

    def poll():
        calls.append(context.words[ENDED])
        if len(calls) == 3:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        run(library().address("until_stopped"), context.address, 2, poll=poll, stop_flag=context.stop_flag)
    assert calls == [0, 0, 0]
    assert context.words[ENDED] == 2


def test_ctrl_c_stops_long_work_at_its_next_step():
    context, address = Context(2), library().address("until_stopped")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    timer = threading.Timer(0.1, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run(address, context.address, 2, stop_flag=context.stop_flag)
    timer.join()
    signal.signal(signal.SIGINT, before)
    assert context.words[ENDED] == 2


def in_a_process(code, timeout=60):
    """What `code` prints in a process of its own, to which this file is known as `these`."""
    header = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_workers as these\n"
    command = [sys.executable, "-c", header + textwrap.dedent(code)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.split()


def test_ctrl_c_at_any_moment_leaves_no_thread_behind():
    """Interrupts fall at random moments of many starts: none hangs, and none returns while threads work."""
    out = in_a_process(
        """
        import os, random, signal, threading, time
        main, over = threading.main_thread().ident, threading.Event()
        def shoot():
            while not over.is_set():
                time.sleep(random.random() * 2e-3)
                signal.pthread_kill(main, signal.SIGINT)
        armed, hits, bad = False, 0, 0
        def handler(*_):
            if armed:
                raise KeyboardInterrupt
        signal.signal(signal.SIGINT, handler)
        shooter = threading.Thread(target=shoot)
        shooter.start()
        address = these.library().address("phases")
        end = time.monotonic() + 3
        while time.monotonic() < end:
            context = these.Context(3, 20)
            options = {"stop_flag": context.stop_flag} if random.random() < 0.5 else {}
            try:
                armed = True
                these.run(address, context.address, 3, **options)
                armed = False
            except KeyboardInterrupt:
                armed = False
                hits += 1
            time.sleep(0.002 * (context.words[these.ENDED] not in (0, 3)))
            bad += context.words[these.ENDED] not in (0, 3) or context.words[these.ERRORS] != 0
        over.set()
        shooter.join()
        print(hits > 20, bad)
        """
    )
    assert out == ["True", "0"]


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork")
def test_a_forked_child_gets_threads_of_its_own():
    out = in_a_process(
        """
        import os, warnings
        warnings.simplefilter("ignore")
        assert these.run_phases(3, 10) == (0, 3)
        child = os.fork()
        if child == 0:
            os._exit(these.run_phases(3, 10) != (0, 3))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), *these.run_phases(3, 10))
        """
    )
    assert out == ["0", "0", "3"]


def test_nothing_is_left_hanging_when_the_program_ends():
    """Parked threads do not hold it up; a daemon thread's call is stopped, and it makes no further one."""
    out = in_a_process(
        """
        import threading, time
        these.run_phases(4, 10, poll=lambda: None)
        def train():
            while True:
                context = these.Context(2)
                these.run(these.library().address("until_stopped"), context.address, 2, stop_flag=context.stop_flag)
        threading.Thread(target=train, daemon=True).start()
        time.sleep(0.1)
        print("end")
        """,
        timeout=20,
    )
    assert out == ["end"]
