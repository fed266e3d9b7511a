"""The function of a step on one thread, phase by phase, and the loops over steps and epochs around it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from backpass.graph import Node, size
from backpass.native import random
from backpass.native.barrier import BARRIER_BYTES, Idle, emit_barrier, emit_flush_denormals
from backpass.native.context import FLAGS, PLACES, Reason
from backpass.native.helping import HELP, Helping
from backpass.native.ir import F64, I32, I64, PTR, VOID, Builder, Type, Value
from backpass.native.layout import SPARE
from backpass.native.memory import LINE, Buffer
from backpass.native.plan import EVERYONES, Kernel, Space, Use, own_columns, own_values
from backpass.native.pointwise import SCALARS, memory_type
from backpass.native.shares import columns_of, owners_of, pieces_of
from backpass.native.timing import Laps, Parts
from backpass.native.units import Units, units_of_share
from backpass.records import dataclass

if TYPE_CHECKING:
    from backpass.native.compile import Compiler

MOST_FETCHED = 1 << 12  # bytes of a value that is told to others: more would be gone before they are written


@dataclass
class Call:
    """A function of the module, and the values whose memory, and the numbers, it is given."""

    function: str
    values: list[Any]


@dataclass
class Functions:
    """All that a step calls.

    Attributes:
        takes: for each input of the batch what copies its rows out of the data.
        gives: for each output that is given row by row what copies its rows to the caller.
        prologue: the single numbers that each thread calculates for itself.
        phases: the kernels of each phase, in order, each with its functions.
    """

    takes: list[Call]
    gives: list[Call]
    prologue: Call | None
    phases: list[list[tuple[Kernel, list[Call]]]]


class Steps:
    """Writes `step` and `program`, over the functions of the kernels."""

    def __init__(self, compiler: "Compiler", functions: Functions) -> None:
        self.c = compiler
        self.functions = functions
        self.helping = Helping(self, list(self._offered()))

    def _offered(self) -> Iterator[tuple[Kernel, Call, Units]]:
        for kernels in self.functions.phases:
            for kernel, calls in kernels:
                units = units_of_share(self.c, kernel)
                if units is not None and len(calls) == 1:
                    yield kernel, calls[0], units

    def write(self) -> None:
        if self.helping.offered:
            self.helping.write()
        self._step_function()
        self._epochs_function()
        self._program_function()

    # Memory, and waits

    def private(self, b: Builder, context: Value, thread: Value) -> Value:
        """The memory of a thread's own."""
        c = self.c
        everyones = _Context(b, context, c.context_words).pointer(PLACES.private, c.private_bytes * c.threads)
        own = b.offset(everyones, b.mul(thread, c.private_bytes), Type("i8"))
        return b.owns(own, c.private_bytes, "a thread's own memory")

    def sums(self, b: Builder, private: Value) -> Value | None:
        """Where a thread of a timed program adds up ticks."""
        return b.offset(private, self.c.sums_at, Type("i8")) if self.c.job.timed else None

    def pointers(self, b: Builder, context: Value, private: Value, step: Value) -> "Pointers":
        """Those to all values in a step, for the thread with this memory of its own."""
        arena = _Context(b, context, self.c.context_words).pointer(PLACES.arena, self.c.arena_bytes)
        return Pointers(b, arena, private, step, self.c.name_of)

    def status(self, b: Builder, context: Value, step: Value) -> Value:
        """Where kernels note what went wrong in a step."""
        return _flags(b, _Context(b, context, self.c.context_words), step)[0]

    def wait(self, b: Builder, context: Value, thread: Value, threads: Value) -> None:
        """For all threads; and meanwhile help them, where there is something that takes long."""
        bytes_ = 2 * 8 * self.c.context_words
        idle = Idle(HELP, context, bytes_, thread) if self.helping.offered else None
        emit_barrier(b, self.barrier(b, context), threads, self.c.target, idle)

    def barrier(self, b: Builder, context: Value) -> Value:
        """Where threads wait for one another."""
        return _Context(b, context, self.c.context_words).at(PLACES.barrier, BARRIER_BYTES // 8)

    # A step

    def _step_function(self) -> None:
        """`step(context, thread, start, n, step)`: a Reason to go no further, or 0."""
        c = self.c
        arguments = [("context", PTR), ("thread", I64), ("start", I64), ("n", I64), ("step", I64)]
        b, (context, thread, start, n, step) = c.define("step", arguments)
        b.function.comment = "one step on one thread"
        b.function.result = I64
        word = _Context(b, context, c.context_words)
        here = _Step(self, b, word, context, thread, start, n, step)
        here.begin()
        last = len(self.functions.phases) - 1
        if not self.c.runs_on:
            for number in range(last + 1):
                here.phase(number)
            b.ret(_outcome(b, word, step))
            return
        here.phase(0)
        before = _outcome(b, word, b.sub(step, 1))
        with b.when(b.compare("eq", before, 0)):
            for number in range(1, last + 1):
                here.phase(number)
        b.ret(before)

    @contextmanager
    def share(
        self, b: Builder, kernel: Kernel, tables: dict[Kernel, list[int]], thread: Value, threads: Value, rows: "_Rows"
    ) -> Iterator[tuple[Value, Value]]:
        """What a thread does of a kernel, from and to; inside, this is something."""
        c = self.c
        everything = b.i64(0), rows.count if kernel.space is Space.ROWS else b.i64(c.units(kernel))
        if kernel.by_rows:
            yield rows.begin, rows.end
        elif c.is_alone or kernel.network == EVERYONES:
            yield everything
        elif kernel.network is not None:
            owner = b.load(I64, c.module.table(self._owners[kernel.network], I64), b.sub(threads, 1))
            with b.when(b.compare("eq", thread, owner)):
                yield everything
        elif kernel not in tables:
            with b.when(b.compare("eq", thread, 0)):
                yield b.i64(0), b.i64(1)
        else:
            table = c.module.table(tables[kernel], I64)
            place = b.add(b.mul(b.sub(threads, 1), c.threads + 1), thread)
            low, high = b.load(I64, table, place), b.load(I64, table, b.add(place, 1))
            with b.when(b.compare("lt", low, high)):
                yield low, high

    @cached_property
    def _owners(self) -> list[list[int]]:
        """For each network the thread that does it, of one, of two, and so on."""
        works = self.c.works_of_networks(self.c.plan)
        return [list(each) for each in zip(*(owners_of(works, n) for n in range(1, self.c.threads + 1)), strict=True)]

    def tables(self, kernels: Sequence[Kernel]) -> dict[Kernel, list[int]]:
        """Where the parts of each thread begin, of the kernels of a phase that are split in parts; see `shares`."""
        c = self.c
        by_columns = {
            kernel: columns_of(c.panels_beside(kernel.cut.first), c.threads) for kernel in kernels if kernel.cut
        }
        fixed = [each for each in kernels if each.space is Space.FIXED and each.network is None and each.cut is None]
        pieces = pieces_of([c.work(kernel) for kernel in fixed], [c.units(kernel) for kernel in fixed], c.threads)
        return by_columns | dict(zip(fixed, pieces, strict=True))

    # Steps and epochs

    def _epochs_function(self) -> None:
        """`epochs(context, thread)`: epochs of steps, on each thread."""
        c = self.c
        b, (context, thread) = c.define("epochs", [("context", PTR), ("thread", I64)])
        b.function.comment = "epochs of steps on one thread"
        word = _Context(b, context, c.context_words)
        threads, count, batch = (word.number(place) for place in (PLACES.threads, PLACES.count, PLACES.batch))
        first_step, first_epoch, epochs = (word.number(place) for place in (PLACES.step, PLACES.epoch, PLACES.epochs))
        is_first = b.compare("eq", thread, 0)
        with b.repeat([first_step, b.i64(0), word.number(PLACES.first)]) as epoch:
            step_number, number, first_row = epoch.carried
            with b.when(is_first):
                with b.when(b.compare("gt", number, 0)):  # the caller sets the sums of the first
                    for place in (PLACES.running, PLACES.running_weight):
                        b.store(b.constant(0.0, F64), word.at(place))
                self._shuffle(b, word, b.add(first_epoch, number))
            self.wait(b, context, thread, threads)
            with b.repeat([first_row, step_number]) as steps:
                start, current = steps.carried
                n = b.smallest(batch, b.sub(count, start))
                wrong = b.call("step", I64, context, thread, start, n, current)
                after = b.add(start, batch)
                good = b.compare("eq", wrong, 0)
                steps.next = [b.bit_and(good, b.compare("lt", after, count)), after, b.add(current, 1)]
            _, next_step = steps.results
            if self.c.runs_on:  # what a step came to is heard in the next one: here, of the last of an epoch
                after = b.select(good, after, start)
                with b.when(good):
                    self.wait(b, context, thread, threads)
                wrong = b.select(good, _outcome(b, word, current), wrong)
                good = b.compare("eq", wrong, 0)
            bad = b.bit_xor(good, True)
            with b.when(b.bit_and(is_first, bad)):
                b.store(wrong, word.at(PLACES.reason))
            ended = b.compare("le", count, after)
            finished = b.bit_and(good, ended)
            whole = b.bit_or(finished, b.bit_and(ended, b.compare("eq", wrong, Reason.STOPPED)))
            with b.when(b.bit_and(is_first, whole)):
                self._record(b, word, number)
            later = b.add(number, 1)
            epoch.next = [b.bit_and(finished, b.compare("lt", later, epochs)), next_step, later, b.i64(0)]
        b.ret()

    def _program_function(self) -> None:
        """`program(context, thread)`: what the caller calls, once for each thread."""
        b, (context, thread) = self.c.define("program", [("context", PTR), ("thread", I64)], internal=False)
        _Context(b, context, self.c.context_words)
        restore = emit_flush_denormals(b, self.c.target)
        b.call("epochs", VOID, context, thread)
        restore()
        b.ret()

    def _shuffle(self, b: Builder, word: "_Context", epoch: Value) -> None:
        """The rows of an epoch in another order, where that is wanted."""
        if self.c.job.loss is None:  # no training
            return
        random.emit_shuffle(self.c.module, "shuffle", self.c.target.lanes(I32))
        count, seed = word.number(PLACES.count), word.number(PLACES.seed)
        with b.when(b.compare("ne", word.number(PLACES.shuffle), 0)):
            order, scratch = word.pointer(PLACES.order), word.pointer(PLACES.shuffle_scratch)
            b.call("shuffle", VOID, order, count, seed, epoch, scratch)

    def _record(self, b: Builder, word: "_Context", number: Value) -> None:
        """Thread 0 notes what an epoch came to."""
        if self.c.job.loss is None:
            return
        records = word.pointer(PLACES.records)
        for place, source in enumerate((PLACES.running, PLACES.running_weight)):
            b.store(b.load(F64, word.at(source)), records, b.add(b.mul(number, 3), place))
        clock = word.pointer(PLACES.clock)
        with b.when(b.compare("ne", word.number(PLACES.clock), 0)):
            when = b.reserve(I64, 2)
            b.emit(f"call i32 {clock.text}(i32 1, ptr {when.text})", I32)  # 1: the monotonic clock
            seconds = b.convert(b.load(I64, when, 0), F64)
            exact = b.add(seconds, b.mul(b.convert(b.load(I64, when, 1), F64), 1e-9))
            b.store(exact, records, b.add(b.mul(number, 3), 2))
        b.store(b.add(number, 1), word.at(PLACES.epochs_done))


def runs_on(c: "Compiler") -> bool:
    """May a thread begin a step before others have ended the one before?

    So it is where what it does first reads nothing that these write, writes nothing that they read, and changes
    nothing that is carried on. It hears how that step ended at its first wait, and goes no further if that was
    not well.
    """
    plan = c.plan
    first, last = plan.phases[0], plan.phases[-1]
    made = {c.graph.inputs[target]: c.outputs[place] for place, target in c.carried.items()}
    rows = {node for _, node in c.batch_inputs()} - plan.taken
    if not first or first is last or not all(kernel.cut or kernel.network is not None for kernel in first):
        return False
    changed = set(made.values())
    if any(node in changed for kernel in first for node in kernel.nodes) or not plan.read_first.isdisjoint(made):
        return False

    def is_own(kernel: Kernel, node: Node) -> bool:
        """Is all that `node` reads what only its thread writes, or nobody does?"""
        read = [use for use in plan.uses[node] if use.node in made]
        return all(_is_from(use, kernel, plan.home.get(made[use.node]), made[use.node]) for use in read)

    def is_apart(kernel: Kernel, node: Node) -> bool:
        """Does it read nothing that another thread begins to write in the next step?"""
        homes = ((use, plan.home.get(use.node)) for use in plan.uses[node] if use.node not in plan.told)
        return all(_is_kept(use, kernel, home) for use, home in homes if home is not None and home in first)

    read = {use.node for kernel in (*first, *last) for node in kernel.nodes for use in plan.uses[node]}
    if not read.isdisjoint(rows):
        return False
    return all(is_own(kernel, node) for kernel in first for node in kernel.nodes) and all(
        is_apart(kernel, node) for kernel in last for node in kernel.nodes
    )


def _is_from(use: Use, reader: Kernel, writer: Kernel | None, made: Node) -> bool:
    """Has a thread written all itself that it reads of a value, which `made` has taken the place of?"""
    if reader.network is not None:
        return writer is not None and reader.network == writer.network != EVERYONES
    return own_columns(use, reader, writer, made)


def _is_kept(use: Use, reader: Kernel, writer: Kernel) -> bool:
    """Does no other thread write any of the value that a thread reads?"""
    if reader.network is not None:
        return writer.network in (reader.network, EVERYONES)
    return own_values(use, reader, writer)


@dataclass
class _Rows:
    """The rows of a thread, and how many there are in all."""

    begin: Value
    end: Value
    count: Value


class _Step:
    """Writes the parts of a step, from top to bottom."""

    def __init__(
        self,
        steps: Steps,
        b: Builder,
        word: "_Context",
        context: Value,
        thread: Value,
        start: Value,
        n: Value,
        step: Value,
    ) -> None:
        c = self.c = steps.c
        self.steps = steps
        self.b = b
        self.word = word
        self.context = context
        self.threads = word.number(PLACES.threads)
        self.thread = thread
        if c.is_alone:
            self.thread, self.threads = b.i64(0), b.i64(1)
        self.n = b.i64(1) if c.is_single else n
        self.start, self.step = start, step
        self.private = steps.private(b, context, self.thread)
        self.status, self.halt = _flags(b, word, step)
        self.memory = steps.pointers(b, context, self.private, step)
        self.rows = self._rows()
        self.lap = Laps(b, steps.sums(b, self.private), c.target)

    def _rows(self) -> _Rows:
        b, n = self.b, self.n
        if self.c.is_alone:
            return _Rows(b.i64(0), n, n)
        unit = self.c.row_unit
        share = b.div(b.add(n, b.sub(b.mul(self.threads, unit), 1)), b.mul(self.threads, unit))
        chunk = b.mul(share, unit)
        begin = b.smallest(n, b.mul(self.thread, chunk))
        return _Rows(begin, b.smallest(n, b.add(begin, chunk)), n)

    def begin(self) -> None:
        """The rows of the batch, and single numbers."""
        b, c, word = self.b, self.c, self.word
        if c.job.moment is not None:
            b.store(word.number(PLACES.seed), self.private, 0)
            b.store(self.step, self.private, 1)
        order = b.offset(word.pointer(PLACES.order), self.start, I32)
        for number, call in enumerate(self.steps.functions.takes):
            buffer, source = call.values[0], word.pointer(PLACES.data + number)
            share = (b.i64(0), self.n) if buffer.private else (self.rows.begin, self.rows.end)
            b.call(call.function, VOID, self.memory.of(buffer), source, order, *share)
        self._fetch_told()
        self.lap(Parts.ROWS)
        if (prologue := self.steps.functions.prologue) is not None:
            self._call(prologue, b.i64(0), b.i64(0))
        self.lap(Parts.NUMBERS)

    def _fetch_told(self) -> None:
        """What this thread will tell the others: they have read these lines, and must give them up first."""
        b, c = self.b, self.c
        for node in c.plan.told if not c.is_alone else ():
            buffer, home = c.buffers[node], c.plan.home[node]
            with (
                self.steps.share(b, home, {}, self.thread, self.threads, self.rows),
                b.loop(0, min(buffer.bytes, MOST_FETCHED), LINE) as line,
            ):
                b.prefetch(self.memory.of(buffer), line.index, Type("i8"), to_write=True)

    def phase(self, number: int) -> None:
        """What this thread does of a phase, and the wait for the others."""
        b, c, steps = self.b, self.c, self.steps
        kernels = steps.functions.phases[number]
        tables = steps.tables([kernel for kernel, _ in kernels])
        for kernel, parts in kernels:
            with steps.share(b, kernel, tables, self.thread, self.threads, self.rows) as (low, high):
                for part in parts:
                    if id(part) in steps.helping.numbers:
                        steps.helping.emit_offer(b, part, self.context, self.thread, (low, high), self.n, self.step)
                    else:
                        self._call(part, low, high)
            self.lap(c.parts.kernel(kernel))
        is_last = number == len(steps.functions.phases) - 1
        if is_last:
            self._give_rows()
            with b.when(b.compare("eq", self.thread, 0)):
                self._account()
            b.stop_outside(self.status, Reason.OUTSIDE)
        if not (is_last and c.runs_on):
            before = self._helped()
            steps.wait(b, self.context, self.thread, self.threads)
            self.lap(c.parts.wait(number), None if before is None else b.sub(self._helped(), before))
        else:
            self.lap(c.parts.wait(number))

    def _helped(self) -> Value | None:
        """Of a timed program, the ticks that this thread has spent on the kernels of others."""
        sums = self.steps.sums(self.b, self.private)
        return None if sums is None else self.b.load(I64, sums, self.c.parts.helping)

    def _call(self, call: Call, low: Value, high: Value) -> None:
        given = [self.b.i64(each) if isinstance(each, int) else self.memory.of(each) for each in call.values]
        self.b.call(call.function, VOID, self.status, self.private, self.n, low, high, *given)

    def _give_rows(self) -> None:
        """Copy what this thread has made of the outputs to the caller's arrays; the batch begins there at `start`."""
        b, c = self.b, self.c
        for number, (place, call) in enumerate(zip(c.row_outputs(), self.steps.functions.gives, strict=True)):
            node, (buffer,) = c.outputs[place], call.values
            to = self.word.pointer(PLACES.data + len(c.batch_inputs()) + number)
            first = b.offset(to, b.mul(self.start, size(node.shape[1:])), memory_type(SCALARS[node.dtype]))
            b.call(call.function, VOID, self.memory.of(buffer), first, self.rows.begin, self.rows.end)

    def _account(self) -> None:
        """What thread 0 notes after a step: the loss, how far it is, and whether it is to stop."""
        b, c, word = self.b, self.c, self.word
        if c.job.loss is not None:
            node = c.outputs[c.job.loss]
            loss = b.convert(b.load(SCALARS[node.dtype], self.memory.of(c.output_buffer(node))), F64)
            weight = self._weight()
            running, running_weight = word.at(PLACES.running), word.at(PLACES.running_weight)
            total = b.add(b.load(F64, running), b.mul(loss, weight))
            total_weight = b.add(b.load(F64, running_weight), weight)
            b.store(total, running)
            b.store(total_weight, running_weight)
            with b.when(b.compare("ne", word.number(PLACES.steps), 0)):
                mean = b.select(b.compare("ne", total_weight, 0.0), b.div(total, total_weight), 0.0)
                b.store(mean, word.pointer(PLACES.steps), word.number(PLACES.done))
            difference = b.sub(loss, loss)
            with b.when(b.is_nan(difference)):
                b.store(b.i64(Reason.LOSS), self.status)
        done = word.at(PLACES.done)
        steps = b.add(b.load(I64, done), 1)
        b.store(steps, done)
        stop = b.compare("ne", b.load_atomic(I64, word.at(PLACES.stop), "monotonic"), 0)
        with b.when(b.bit_or(stop, b.compare("eq", steps, word.number(PLACES.last)))):
            b.store(b.i64(Reason.STOPPED), self.halt)

    def _weight(self) -> Value:
        """What the rows of the batch weigh together."""
        b, word = self.b, self.word
        pointer = word.pointer(PLACES.weights)
        result = b.reserve(F64, 1)
        b.store(b.convert(self.n, F64), result)
        given = b.compare("ne", word.number(PLACES.weights), 0)
        order = b.offset(word.pointer(PLACES.order), self.start, I32)
        with b.when(given):
            with b.loop(0, self.n, carried=[b.constant(0.0, F64)]) as loop:
                row = b.extend_unsigned(b.load(I32, order, loop.index), I64)
                loop.next = [b.add(loop.carried[0], b.convert(b.load(self.c.scalar, pointer, row), F64))]
            b.store(loop.results[0], result)
        return b.load(F64, result)


def _flags(b: Builder, word: "_Context", step: Value) -> tuple[Value, Value]:
    """Where it is noted that a step went wrong, and that it is the last one."""
    turn = b.bit_and(step, FLAGS - 1)
    return b.offset(word.at(PLACES.status, FLAGS), turn, I64), b.offset(word.at(PLACES.halt, FLAGS), turn, I64)


def _outcome(b: Builder, word: "_Context", step: Value) -> Value:
    """Whether a step that all threads have done went wrong, or was the last: a Reason, or 0."""
    status, halt = (b.load(I64, flag) for flag in _flags(b, word, step))
    return b.select(b.compare("ne", status, 0), status, halt)


class _Context:
    """The block of numbers, of so many words, from inside. In a checked program as many sizes stand behind them."""

    def __init__(self, b: Builder, pointer: Value, words: int) -> None:
        self.b = b
        self._pointer = pointer
        self._words = words
        b.owns(pointer, 2 * 8 * words, "the context")

    def at(self, place: int, words: int = 1) -> Value:
        found = self.b.offset(self._pointer, place, I64)
        return self.b.owns(found, 8 * words, f"word {place} of the context")

    def number(self, place: int) -> Value:
        return self.b.load(I64, self._pointer, place)

    def pointer(self, place: int, bytes_: int | None = None) -> Value:
        """To so many bytes, or as many as the caller says."""
        found = self.b.load(PTR, self._pointer, place)
        size = partial(self.number, self._words + place) if bytes_ is None else bytes_
        return self.b.owns(found, size, f"what word {place} of the context points to")


class Pointers:
    """Pointers to values, in a function that calls kernels."""

    def __init__(self, b: Builder, arena: Value, private: Value, step: Value, name_of: Callable[[Buffer], str]) -> None:
        self._b = b
        self._bases = {False: arena, True: private}
        self._step = step
        self._name_of = name_of

    def of(self, buffer: Buffer) -> Value:
        b = self._b
        found = b.offset(self._bases[buffer.private], buffer.offset, Type("i8"))
        if buffer.again:
            found = b.offset(found, b.mul(b.bit_and(self._step, 1), buffer.again), Type("i8"))
        return claimed(self._b, found, buffer, self._name_of)


def claimed(b: Builder, pointer: Value, buffer: Buffer, name_of: Callable[[Buffer], str]) -> Value:
    """The pointer to a buffer. Behind a value in the arena stands room that vectors may read."""
    return b.owns(pointer, buffer.bytes, partial(name_of, buffer), spare=0 if buffer.single else SPARE)
