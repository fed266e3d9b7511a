"""Threads that have ended their part of a phase help those that have not.

What a thread does of a phase is settled when the program is made. But processors are not always equally quick: others
use them, too. So a long kernel is done in units: its owner offers its share of it, and takes one unit after the other
itself; threads that wait for the owner take units, too. Before it goes on to its next kernel the owner waits for those
who help. So all that a kernel reads is there when it is offered, and whoever does a unit calculates the same numbers.
(Taking small parts of a loop from a common counter is "self-scheduling": Tang and Yew, "Processor self-scheduling for
multiple-nested parallel loops", 1986. Here a thread turns to the counters of others only when its own is empty.)

An offer stands in the owner's memory: its claims, a number of the offer in the upper half (by which a helper knows that
two units are of one offer) and the units that nobody has taken in the lower one; what is offered, which does not change
while units are left or under way; and how many units others have ended.
"""

from typing import TYPE_CHECKING

from backpass.native.barrier import emit_call, emit_until, emit_wake
from backpass.native.context import PLACES
from backpass.native.ir import I64, PTR, VOID, Builder, Value
from backpass.native.plan import Kernel
from backpass.native.timing import Laps
from backpass.native.units import Units
from backpass.records import dataclass

if TYPE_CHECKING:
    from backpass.native.steps import Call, Steps

OFFER_BYTES = 3 * 64
"""An offer: its claims, the terms, and what others have done, each in a line of the cache of its own."""
LONG = 5e-5
"""Seconds: where units take longer, threads that sleep at the barrier are called. So long they look for work awake."""
HELP = "help"
"""The function that a waiting thread calls again and again: (context, thread), 1 if it did something."""
_TERMS, _HELPED = 8, 16  # places in an offer, i64
_LEFT = (1 << 32) - 1
_NOT_NEGATIVE = (1 << 62) - 1
_NONE = -1


@dataclass(frozen=True)
class Terms:
    """What is offered: numbers, all i64.

    Attributes:
        number: of the kernel among those that are offered.
        low, high: the owner's share.
        units: into how many it is cut.
        n: rows of the step.
        step: its number.
    """

    number: Value
    low: Value
    high: Value
    units: Value
    n: Value
    step: Value


class Helping:
    """Writes the functions: `take` and `unit`, and over them `offer`, of the owner, and `help`, of the others."""

    def __init__(self, steps: "Steps", offered: list[tuple[Kernel, "Call", Units]]) -> None:
        self.steps = steps
        self.c = steps.c
        self.offered = offered
        self.numbers = {id(call): number for number, (_, call, _) in enumerate(offered)}

    def write(self) -> None:
        self._take_function()
        self._unit_function()
        self._help_function()
        self._offer_function()

    def emit_offer(
        self, b: Builder, call: "Call", context: Value, thread: Value, share: tuple[Value, Value], n: Value, step: Value
    ) -> None:
        """Do a share of a kernel in a step of `n` rows, with whoever has nothing else to do."""
        number = self.numbers[id(call)]
        units = self.offered[number][2]
        given = b.i64(number), *share, units.count(b, *share, n), n, step
        b.call("offer", VOID, context, thread, b.i64(units.seconds > LONG), *given)

    def _offer_of(self, b: Builder, context: Value, thread: Value) -> Value:
        private = self.steps.private(b, context, thread)
        return b.offset(private, self.c.offer_at // 8, I64)

    def _take_function(self) -> None:
        """`take(context, owner)`: the number of an offer and of a unit of it, now the caller's; _NONE for none."""
        b, (context, owner) = self.c.define("take", [("context", PTR), ("owner", I64)])
        b.function.result = I64
        b.function.comment = "take a unit of what a thread offers"
        offer = self._offer_of(b, context, owner)
        taken = b.reserve(I64, 1)
        lost = b.reserve(I64, 1)  # whether another thread was quicker
        b.store(b.i64(_NONE), taken)
        with b.repeat() as loop:
            b.store(b.i64(0), lost)
            claims = b.load_atomic(I64, offer, "acquire")
            left = b.bit_and(claims, _LEFT)
            with b.when(b.compare("ne", left, 0)):
                won = b.exchange_atomic(claims, b.sub(claims, 1), offer, "acq_rel")
                b.store(b.select(won, b.i64(0), b.i64(1)), lost)
                with b.when(won):  # from here on, until its end is told, the terms stay as they are
                    units = b.load(I64, offer, _TERMS + _place("units"))
                    b.store(b.add(b.sub(claims, left), b.sub(units, left)), taken)
            loop.next = [b.compare("ne", b.load(I64, lost), 0)]
        b.ret(b.load(I64, taken))

    def _unit_function(self) -> None:
        """`unit(context, thread, owner, unit, before)`: do a unit of what `owner` offers, in the memory of `thread`.

        `before` is the unit of that offer that this thread has just done, or _NONE.
        """
        c = self.c
        arguments = [("context", PTR), *((name, I64) for name in ("thread", "owner", "unit", "before"))]
        b, (context, thread, owner, unit, before) = c.define("unit", arguments)
        b.function.comment = "a unit of what a thread offers"
        own, private = self.steps.private(b, context, thread), self.steps.private(b, context, owner)
        offer = self._offer_of(b, context, owner)
        terms = Terms(**{name: b.load(I64, offer, _TERMS + _place(name)) for name in _NAMES})
        status = self.steps.status(b, context, terms.step)
        memory = self.steps.pointers(b, context, private, terms.step)
        sums = self.steps.sums(b, own)
        for number, (kernel, call, units) in enumerate(self.offered):
            with b.when(b.compare("eq", terms.number, number)):
                share, inside = units.part(b, unit, terms)
                stands = units.last_of(b, before, terms)
                lap = Laps(b, sums, c.target)
                start = lap.last
                given = [b.i64(each) if isinstance(each, int) else memory.of(each) for each in call.values]
                b.call(call.function, VOID, status, own, terms.n, *share, *inside, stands, *given)
                if sums is not None:
                    with b.when(b.compare("ne", thread, owner)):
                        lap(c.parts.kernel(kernel))
                        ticks = b.sub(lap.last, start)
                        b.store(b.add(b.load(I64, sums, c.parts.helping), ticks), sums, c.parts.helping)
        b.ret()

    def _help_function(self) -> None:
        """`help(context, thread)`: do units of others, as long as there are any; 1 if there were."""
        b, (context, thread) = self.c.define(HELP, [("context", PTR), ("thread", I64)])
        b.function.result = I64
        b.function.comment = "help other threads"
        threads = b.load(I64, context, PLACES.threads)
        did = b.reserve(I64, 1)
        b.store(b.i64(0), did)
        with b.loop(1, threads, stem="other") as loop:
            owner = b.add(thread, loop.index)
            owner = b.select(b.compare("lt", owner, threads), owner, b.sub(owner, threads))
            offer = self._offer_of(b, context, owner)
            helped = b.offset(offer, _HELPED, I64)
            with b.repeat([b.i64(_NONE)]) as units:
                (last,) = units.carried
                taken = b.call("take", I64, context, owner)
                some = b.compare("ge", taken, 0)
                with b.when(some):
                    same = b.compare("le", b.bit_xor(taken, last), _LEFT)
                    same = b.bit_and(same, b.compare("ge", last, 0))
                    before = b.select(same, b.bit_and(last, _LEFT), b.i64(_NONE))
                    b.call("unit", VOID, context, thread, owner, b.bit_and(taken, _LEFT), before)
                    b.add_atomic(b.i64(1), helped, "seq_cst")
                    emit_wake(b, helped, self.c.target)
                    b.store(b.i64(1), did)
                units.next = [some, taken]
        b.ret(b.load(I64, did))

    def _offer_function(self) -> None:
        """`offer(context, thread, long, ...)` with the terms in their order: back when all units are done.

        `long` says that threads that sleep are worth calling.
        """
        names = ("thread", "long", *_NAMES)
        b, (context, thread, is_long, *terms) = self.c.define(
            "offer", [("context", PTR), *((name, I64) for name in names)]
        )
        b.function.comment = "do a share of a kernel, with whoever helps"
        numbers = dict(zip(_NAMES, terms, strict=True))
        units = numbers["units"]
        offer = self._offer_of(b, context, thread)
        for name in _NAMES:
            b.store(numbers[name], offer, _TERMS + _place(name))
        old = b.load_atomic(I64, offer, "monotonic")  # of which nothing is left
        new = b.bit_and(b.add(old, _LEFT + 1), _NOT_NEGATIVE)
        b.store_atomic(b.add(new, units), offer, "release")
        with b.when(b.bit_and(b.compare("ne", is_long, 0), b.compare("gt", units, 1))):
            emit_call(b, self.steps.barrier(b, context), self.c.target)
        with b.repeat([b.i64(0), b.i64(_NONE)]) as loop:
            mine, before = loop.carried
            taken = b.call("take", I64, context, thread)
            some = b.compare("ge", taken, 0)
            unit = b.bit_and(taken, _LEFT)
            with b.when(some):
                b.call("unit", VOID, context, thread, thread, unit, before)
            loop.next = [some, b.add(mine, b.select(some, b.i64(1), b.i64(0))), unit]
        theirs = b.sub(units, loop.results[0])
        with b.when(b.compare("gt", theirs, 0)):
            helped = b.offset(offer, _HELPED, I64)
            emit_until(b, helped, theirs, self.c.target)
            b.store_atomic(b.i64(0), helped, "monotonic")
        b.ret()


_NAMES = tuple(Terms.__annotations__)


def _place(name: str) -> int:
    return _NAMES.index(name)
