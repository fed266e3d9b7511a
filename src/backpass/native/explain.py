"""What a native program is made of: phases, kernels with the nodes that they calculate, memory, code, and time.

Times are measured by running: a step of the program as it is, and the share of each part in it by a second build that
takes time stamps between them (see `timing`).
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from itertools import chain, groupby
from textwrap import wrap
from time import perf_counter
from typing import Any

import numpy as np

from backpass.errors import UsageError
from backpass.graph import Batch, Node, bind_rows, show_shape, size
from backpass.native.compile import VECTORS_PER_SECOND, Compiler, Job
from backpass.native.engine import assembly
from backpass.native.layout import Panelled
from backpass.native.memory import Buffer
from backpass.native.plan import EVERYONES, Kernel, Plan, Product, Space, operands
from backpass.native.program import Machine
from backpass.native.target import Target, host
from backpass.native.timing import Parts
from backpass.native.units import units_of_share
from backpass.ops.kinds import Source
from backpass.records import dataclass

WIDTH = 80
RUN = 0.02  # seconds: a measurement takes as many steps as fit
ROUNDS = 5  # of which the shortest counts
FEWEST_STEPS = 3
MOST_STEPS = 4096

Values = Mapping[int, Any]
"""Of a job's inputs that are no rows, by their places; of those that are not given, numbers that will do."""


@dataclass(frozen=True)
class KernelFacts:
    """A kernel.

    Attributes:
        name: "phase.place".
        kind: what its loops are.
        shape: of its result; of a product those of its operands.
        tile: what it works on at a time, in registers.
        parts: what threads share out.
        nodes: what it calculates, in order: of each the node's name, its operation, and whether it stays in memory.
        function: its name in the code; kernels of the same text share one.
        expected: seconds a step, by a simple model of the machine.
        seconds: a step, as measured; None where it was not.
    """

    name: str
    phase: int
    kind: str
    shape: str
    tile: str
    parts: str
    nodes: list[dict[str, Any]]
    function: str
    expected: float
    seconds: float | None


@dataclass(frozen=True)
class ValueFacts:
    """A value in memory: its name and operation, and where and how it stands there."""

    name: str
    op: str
    shape: str
    dtype: str
    layout: str
    offset: int
    bytes: int
    private: bool


@dataclass(frozen=True)
class Times:
    """Seconds a step: in all, of each part (see `timing.Parts`), summed up over threads and divided by their number."""

    whole: float
    parts: list[float]


class Explanation:
    """All that is known of the program of one job.

    Args:
        job: what is compiled.
        title: what it is, for people.
        values: inputs to measure with; see `Values`.
        target: the machine; where it is another one than this nothing is measured.
    """

    def __init__(self, job: Job, title: str, values: Values | None = None, target: Target | None = None) -> None:
        self.title = title
        self.job = job
        self.target = host() if target is None else target
        self.times = measure(job, values or {}) if self.target == host() else None
        self._compiler = Compiler(job, self.target)
        self._compiler.remarks = True

    @cached_property
    def _text(self) -> str:
        return self._compiler.compile()

    @cached_property
    def kernels(self) -> list[KernelFacts]:
        _ = self._text  # from now on it is known which function is whose
        return [self._facts(kernel) for kernel in chain(*self._compiler.plan.phases)]

    @property
    def values(self) -> list[ValueFacts]:
        """What stands in memory, in the order of its places."""
        found = dict.fromkeys((buffer, node) for node, buffer in self._compiler.buffers.items())
        owners: dict[Buffer, Node] = {}
        for buffer, node in found:
            owners.setdefault(buffer, node)
        facts = [_value_facts(node, buffer) for buffer, node in owners.items()]
        return sorted(facts, key=lambda each: (each.private, each.offset))

    def _facts(self, kernel: Kernel) -> KernelFacts:
        compiler = self._compiler
        kind, shape, tile, parts = _form(compiler, kernel)
        return KernelFacts(
            _name(kernel),
            kernel.phase,
            kind,
            shape,
            tile,
            parts,
            [
                {
                    "name": node.name,
                    "op": node.op.name,
                    "shape": show_shape(node.shape),
                    "stored": node in compiler.sinks,
                }
                for node in calculated(compiler.plan, kernel)
            ],
            compiler.functions[kernel],
            compiler.work(kernel) / VECTORS_PER_SECOND / compiler.threads,
            None if self.times is None else self.times.parts[compiler.parts.kernel(kernel)],
        )

    # Code

    def chosen(self, kernel: str | None) -> list[KernelFacts]:
        """The kernel of this name, or those that calculate a node of this name; all for None.

        Raises:
            UsageError: there is none.
        """
        if kernel is None:
            return self.kernels
        found = [
            each
            for each in self.kernels
            if kernel == each.name
            or any(f".{node['name']}".endswith(f".{kernel}") for node in each.nodes)  # also a layer of each member
        ]
        if not found:
            names = ", ".join(each.name for each in self.kernels)
            raise UsageError(f"no kernel is called {kernel!r}, nor a node that one calculates: the kernels are {names}")
        return found

    def llvm(self, kernel: str) -> str:
        """The LLVM IR of the kernel of this name; comments say which node the lines after them calculate."""
        (facts,) = self.chosen(kernel)
        _ = self._text
        return next(x.text() for x in self._compiler.module.functions if x.name == facts.function).rstrip()

    def assembly(self, kernel: str) -> str:
        """The assembly of the kernel of this name."""
        (facts,) = self.chosen(kernel)
        return _function_of(self._listing, facts.function)

    @cached_property
    def _listing(self) -> str:
        return assembly(self._text, self.target)

    # For programs and people

    def to_json(self, *, llvm: bool = False, assembly: bool = False, kernel: str | None = None) -> dict[str, Any]:
        """All of it as plain data; seconds are of one step."""
        compiler, target, times = self._compiler, self.target, self.times
        parts = None if times is None else times.parts
        phases = range(len(compiler.plan.phases))
        return {
            "title": self.title,
            "rows": self.job.rows,
            "target": asdict(target),
            "lanes": compiler.lanes,
            "threads": compiler.threads,
            "possible_threads": list(compiler.choices),
            "available_threads": self.job.available,
            "phases": len(phases),
            "arena_bytes": compiler.arena_bytes,
            "thread_bytes": compiler.private_bytes,
            "expected_seconds": self.expected,
            "seconds": None if times is None else times.whole,
            "rows_seconds": None if parts is None else parts[Parts.ROWS],
            "numbers_seconds": None if parts is None else parts[Parts.NUMBERS],
            "waiting_seconds": None if parts is None else [parts[compiler.parts.wait(phase)] for phase in phases],
            "kernels": [
                asdict(each)
                | ({"llvm": self.llvm(each.name)} if llvm else {})
                | ({"assembly": self.assembly(each.name)} if assembly else {})
                for each in self.chosen(kernel)
            ],
            "values": [asdict(each) for each in self.values],
        }

    @property
    def expected(self) -> float:
        """Seconds a step, by a simple model of the machine."""
        return sum(each.expected for each in self.kernels)

    def text(
        self, *, memory: bool = False, llvm: bool = False, assembly: bool = False, kernel: str | None = None
    ) -> str:
        """All of it to read, in 80 columns but for code.

        `kernel`, its name or that of a node, limits it to one; `memory` lists the values in memory; `llvm` and
        `assembly` add code.
        """
        chosen = self.chosen(kernel)
        lines = [_HEADER, *self._kernel_lines(chosen)] if kernel else [*self._head(), "", *self._phases()]
        if memory:
            lines += ["", *self._memory()]
        for each in chosen if llvm or assembly else []:
            lines += ["", f"kernel {each.name}    {_grouped(each.nodes)}"]
            lines += ["", self.llvm(each.name)] if llvm else []
            lines += ["", self.assembly(each.name)] if assembly else []
        return "\n".join(line.rstrip() for line in lines)

    __str__ = text

    def _head(self) -> Iterator[str]:
        compiler, target = self._compiler, self.target
        fused = ", multiplies and adds at once" if target.fused else ""
        lanes = f"vectors of {compiler.lanes} {_TYPES[compiler.scalar.scalar]}"
        phases, kernels = len(compiler.plan.phases), len(compiler.plan.kernels)
        yield self.title
        yield f"  machine   {target.triple}"
        yield f"            {lanes}, {target.registers} registers{fused}"
        yield f"  threads   {compiler.threads} of {_several(self.job.available, 'processor')}{self._why_threads()}"
        yield f"  memory    {_bytes(compiler.arena_bytes)} for values, {_bytes(compiler.private_bytes)} for each thread"
        yield f"  kernels   {kernels} in {_several(phases, 'phase')}"
        if compiler.threads > 1:
            where = "each phase but the last" if compiler.runs_on else "each phase"
            help_ = ", and help," if any(units_of_share(compiler, kernel) for kernel in compiler.plan.kernels) else ""
            yield f"  waits     of threads for one another{help_} after {where}"
        networks = {kernel.network for kernel in compiler.plan.kernels} - {None, EVERYONES}
        if compiler.arranged.splits:
            yield "  halves    of the hidden layer, each with its weights, and each by one thread"
        elif networks:
            yield f"  networks  {len(networks)}, one after the other, each by one thread"
        if self.times is None:
            yield f"  a step    {_time(self.expected)} expected"
        else:
            speed = self.job.rows / self.times.whole
            yield f"  a step    {_time(self.times.whole)}, {speed:,.0f} rows a second; {_time(self.expected)} expected"
            if compiler.threads > 1:
                yield "            below, times are means over the threads"

    def _why_threads(self) -> str:
        if self.job.threads:
            return ", as asked"
        others = [f"{threads}" for threads in self._compiler.choices if threads < self._compiler.threads]
        if others:
            return f", or {', '.join(others)}: training finds out which is quicker"
        return ", more would not pay" if self._compiler.threads < self.job.available else ""

    def _phases(self) -> Iterator[str]:
        yield _HEADER
        times, parts = self.times, self._compiler.parts
        if times is not None:
            yield self._part("", "the step's rows, copied out of the data", Parts.ROWS)
            yield self._part("", "single numbers, by every thread for itself", Parts.NUMBERS)
        for phase, kernels in groupby(self.kernels, key=lambda each: each.phase):
            yield f"phase {phase}"
            yield from self._kernel_lines(list(kernels))
            if times is not None:
                yield self._part("", "waiting", parts.wait(phase))

    def _part(self, name: str, what: str, place: int) -> str:
        return _row(name, what, "", *self._measured(None if self.times is None else self.times.parts[place]))

    def _kernel_lines(self, kernels: Sequence[KernelFacts]) -> Iterator[str]:
        for each in kernels:
            yield _row(f"  {each.name}", each.kind, _time(each.expected), *self._measured(each.seconds))
            facts = (each.shape, each.tile, each.parts)
            yield from _indented(", ".join(filter(None, facts)))
            yield from _indented(_grouped(each.nodes))

    def _measured(self, seconds: float | None) -> tuple[str, str]:
        if seconds is None or self.times is None:
            return "", ""
        return _time(seconds), f"{seconds / self.times.whole:.0%}"

    def _memory(self) -> Iterator[str]:
        yield f"{'value':<40} {'bytes':>10}  layout"
        for each in self.values:
            name = each.name if each.op == "input" else f"{each.name or 'without a name'}: {each.op}"
            yield f"  {name}" if len(name) > 36 else f"  {name:<38} {each.bytes:>10,}  {each.layout}"
            if len(name) > 36:
                yield f"  {'':<38} {each.bytes:>10,}  {each.layout}"
            yield f"    {each.dtype}{each.shape}{'  of each thread' if each.private else ''}"


# Measuring


def measure(job: Job, values: Values) -> Times | None:
    """Run steps of the program on numbers that will do; None where these make it stop at once."""
    plain, timed = Machine(job), Machine(replace(job, timed=True))
    rows = [_rows_of(node, job.rows) for _, node in plain.compiler.batch_inputs()]
    whole, _ = _best(plain, rows, values)
    with_stamps, ticks = _best(timed, rows, values)
    if not whole or not with_stamps or not ticks.sum():
        return None
    return Times(whole, list(map(float, ticks / ticks.sum() * whole)))


def _best(machine: Machine, rows: Sequence[Any], values: Values) -> tuple[float, Any]:
    """Seconds a step in the best of several runs, and what each part took of it, in ticks."""
    once, ticks = _run(machine, rows, values, FEWEST_STEPS)
    if not once:
        return once, ticks
    steps = max(FEWEST_STEPS, min(MOST_STEPS, int(RUN / once)))
    runs = [(once, ticks), *(_run(machine, rows, values, steps) for _ in range(ROUNDS))]
    return min((each for each in runs if each[0]), key=lambda each: each[0])


def _run(machine: Machine, rows: Sequence[Any], values: Values, steps: int) -> tuple[float, Any]:
    batch = machine.job.rows
    for place, node in enumerate(machine.job.graph.inputs):
        if place != machine.job.moment and not _is_rows(node):
            machine.put(place, values[place] if place in values else _numbers(node, node.shape))
    machine.data(rows, count=batch * steps, order=np.tile(np.arange(batch, dtype=np.uint32), steps))
    sums = machine.times
    sums[:] = 0
    started = perf_counter()
    machine.run(batch=batch)
    seconds = perf_counter() - started
    done = machine.steps_done
    return seconds / done if done >= FEWEST_STEPS else 0.0, sums.mean(0)


def _is_rows(node: Node) -> bool:
    return any(isinstance(axis, Batch) for axis in node.shape)


def _rows_of(node: Node, rows: int) -> Any:
    return _numbers(node, bind_rows(node.shape, rows))


def _numbers(node: Node, shape: Any) -> Any:
    """Numbers that fit: small ones; of whole numbers, which may name rows of a table, 0."""
    if node.dtype.kind != "f":
        return np.zeros(shape, node.dtype)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(node.dtype)


# What a kernel is


def calculated(plan: Plan, kernel: Kernel) -> list[Node]:
    """The nodes that a kernel calculates, those in passing too, each after what it is made of."""
    found: dict[Node, None] = {}
    own, inputs, scalars = set(kernel.nodes), set(plan.graph.inputs), set(plan.scalars)
    stack: list[tuple[Node, bool]] = [(node, False) for node in reversed(kernel.nodes)]
    while stack:
        node, done = stack.pop()
        if done:
            found[node] = None
        elif node not in found and not isinstance(node.op, Source) and node not in inputs:
            elsewhere = node in scalars or (node in plan.home and plan.home[node] is not kernel)
            if node in own or not elsewhere:
                stack.append((node, True))
                stack.extend((x, False) for x in reversed(node.inputs))
    return list(found)


def _form(compiler: Compiler, kernel: Kernel) -> tuple[str, str, str, str]:
    """Kind, shape, tile and parts of a kernel."""
    node = kernel.anchor
    if kernel.product:
        left, right = operands(node)
        shape = f"{show_shape(left.shape)} by {show_shape(right.shape)}"
        return _PRODUCTS[kernel.product], shape, _tile(compiler, kernel), _parts(compiler, kernel)
    many = len(kernel.extent) == 1
    vectors = f"{compiler.lanes} at a time"
    match kernel.space:
        case Space.ROWS if all(size(each.shape[1:]) == 1 for each in kernel.nodes):
            kind, tile = "loop over rows", vectors
        case Space.ROWS:
            kind, tile = "loops, row by row", ""
        case Space.FIXED:
            kind, tile = "loop over elements" if many else "loops, row by row", vectors if many else ""
        case _:
            kind, tile = "a single number" if size(node.shape) == 1 else "loops", ""
    return kind, show_shape(node.shape), tile, _parts(compiler, kernel)


def _tile(compiler: Compiler, kernel: Kernel) -> str:
    """Of a product."""
    if kernel.product is Product.ROWS:
        tiling = compiler.rows_tiling(kernel)
        return f"tile of {tiling.rows} x {compiler.panels_of_weights(kernel).width * tiling.together}"
    if kernel.product is Product.DOTS:
        return f"{_several(compiler.dots_rows, 'row')} at a time"
    weights, panels = compiler.weights_tiling(kernel), compiler.panels(kernel)
    return f"tile of {weights.rows} x {panels.width}{', operands copied' if weights.packed else ''}"


def _parts(compiler: Compiler, kernel: Kernel) -> str:
    """What threads share out of a kernel, and in what units they help one another."""
    if compiler.is_alone:
        return ""
    units, shared = units_of_share(compiler, kernel), _shared(compiler, kernel)
    if units is None:
        return shared
    is_rows = kernel.space is Space.ROWS
    if units.inside:
        what = "panels" if kernel.cut and kernel.cut.high else "tiles"
    else:
        what = "rows" if is_rows else "of them"
    also = " of a panel" if units.both else ""
    return f"{shared.removeprefix('all ')}; others help, {units.size} {what}{also} at a time"


def _shared(compiler: Compiler, kernel: Kernel) -> str:
    if kernel.network is not None:
        return "every thread for itself" if kernel.network == EVERYONES else "all by one thread"
    if kernel.cut:
        panels = compiler.panels_beside(kernel.cut.first)
        of = "rows of weights" if kernel.cut.high else "columns"
        return f"{_several(panels.count, 'part')} of {panels.width} {of}"
    if kernel.space is Space.ROWS:
        parts = -(-compiler.job.rows // compiler.row_unit)
        return f"{_several(parts, 'part')} of {compiler.row_unit} rows"
    return _several(compiler.units(kernel), "part") if kernel.space is Space.FIXED else "thread 0 alone"


def _value_facts(node: Node, buffer: Buffer) -> ValueFacts:
    layout, dtype = buffer.layout, np.dtype(buffer.dtype)
    if isinstance(layout, Panelled):
        how = f"panels of {layout.panels.width} columns"
    elif len(layout.strides) > 1 and isinstance(node.shape[0], Batch):
        how = f"rows {layout.strides[0]} apart"
    else:
        how = "dense"
    how += ", twice" if buffer.again else ""
    return ValueFacts(
        node.name, node.op.name, show_shape(node.shape), str(dtype), how, buffer.offset, buffer.bytes, buffer.private
    )


def _name(kernel: Kernel) -> str:
    return f"{kernel.phase}.{kernel.order}"


def _function_of(listing: str, name: str) -> str:
    """One function out of an assembly listing, without the directives that say nothing of what it does."""
    lines = listing.splitlines()
    begin = next(place for place, line in enumerate(lines) if re.match(rf'"?_?{re.escape(name)}"?:', line))
    end = next(place for place in range(begin, len(lines)) if re.search(r"-- End function|Lfunc_end", lines[place]))
    return "\n".join(line.rstrip() for line in lines[begin:end] if not re.match(r"\s+\.(?!L)", line))


# Words

_PRODUCTS = {
    Product.ROWS: "product of rows",
    Product.WEIGHTS: "product of weights",
    Product.DOTS: "product of rows with few weights",
}
_TYPES = {"float": "float32", "double": "float64"}


def _grouped(nodes: Sequence[Mapping[str, Any]]) -> str:
    """Operations by the name that they carry: "hidden_1: contract, 2 add; loss: sum"."""
    by_name: dict[str, Counter[str]] = {}
    for node in nodes:
        by_name.setdefault(node["name"] or "without a name", Counter())[node["op"]] += 1
    return "; ".join(
        f"{name}: " + ", ".join(op if count == 1 else f"{count} {op}" for op, count in ops.items())
        for name, ops in by_name.items()
    )


def _row(name: str, what: str, expected: str, measured: str, share: str) -> str:
    return f"{name:<8}{what:<42}{expected:>11}{measured:>11}{share:>7}"


_HEADER = _row("kernel", "", "expected", "measured", "share")


def _indented(text: str) -> list[str]:
    return [" " * 10 + line for line in wrap(text, WIDTH - 10)]


def _several(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _time(seconds: float) -> str:
    """Of a width that does not jump about."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs" if seconds >= 1e-6 else f"{seconds * 1e9:.0f} ns"


def _bytes(count: int) -> str:
    return f"{count:,} bytes" if count < 10_000 else f"{count / 1024:,.0f} KiB"
