"""Where the time of a step goes: time stamps between the kernels of a program that is compiled with `Job.timed`.

Every thread adds up, in memory of its own, the ticks of the processor's steady counter that each part of a step took.
A unit of a kernel that it did while it waited counts as that kernel's.
"""

from backpass.native.ir import I64, Builder, Value
from backpass.native.plan import Kernel, Plan
from backpass.native.target import Target


class Parts:
    """The parts of a step, by their places among the sums: rows, numbers, each kernel, the wait after each phase."""

    ROWS = 0  # copied out of the data
    NUMBERS = 1  # single ones, that every thread calculates for itself

    def __init__(self, plan: Plan) -> None:
        self._kernels = {kernel: 2 + place for place, kernel in enumerate(plan.kernels)}
        self.count = 2 + len(plan.kernels) + len(plan.phases)

    def kernel(self, kernel: Kernel) -> int:
        return self._kernels[kernel]

    def wait(self, phase: int) -> int:
        """For the other threads, and what thread 0 notes of the step after its last phase."""
        return 2 + len(self._kernels) + phase

    @property
    def helping(self) -> int:
        """Not a part, but behind them: what of the parts was done for other threads."""
        return self.count


class Laps:
    """Writes time stamps into a function. Each call adds the ticks since the one before to the sum at a place.

    `sums` points to the sums of the thread, i64; where it is None nothing is written.
    """

    def __init__(self, b: Builder, sums: Value | None, target: Target) -> None:
        self._b = b
        self._sums = sums
        # The cycle counter of arm64 is not for everyone to read, and x86-64 has no other.
        self._counter = "llvm.readsteadycounter" if target.is_arm else "llvm.readcyclecounter"
        self._last = b.i64(0) if sums is None else self._now()

    def __call__(self, place: int, less: Value | None = None) -> None:
        """`less` ticks of those are counted elsewhere."""
        if self._sums is None:
            return
        b, now = self._b, self._now()
        ticks = b.sub(now, self._last)
        ticks = ticks if less is None else b.sub(ticks, less)
        b.store(b.add(b.load(I64, self._sums, place), ticks), self._sums, place)
        self._last = now

    @property
    def last(self) -> Value:
        """When it was called last."""
        return self._last

    def _now(self) -> Value:
        self._b.module.declare(self._counter, I64, [])
        return self._b.call(self._counter, I64)
