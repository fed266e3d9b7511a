"""Checked programs: an access outside of the memory that it belongs to is caught, named, and harms nothing."""

import ctypes
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_helpers import Work, assert_agree, digest, random_work, trained
from random_programs import Choices, made
from test_random_programs import compared

from backpass import losses, nn, ops, optimizers
from backpass.forward import Program, Spec, trace
from backpass.graph import BATCH, bind_rows, scope
from backpass.native import Machine, NativeProgram, engine
from backpass.native.bounds import CheckedModule, OutsideError, Watch, asked_for
from backpass.native.compile import Compiler, Job
from backpass.native.context import PLACES, Reason
from backpass.native.ir import F64, I1, I32, I64, PTR, VOID, Builder, Module, define
from backpass.native.kernel import Writer
from backpass.native.memory import Buffer
from backpass.native.target import host, named
from backpass.ops.kinds import Movement
from backpass.ops.random import Key

RNG = np.random.default_rng(5)
ROOM = 40  # bytes of the region in the middle of AROUND on either side
AROUND = 256
FILL = 3  # every byte, before


@pytest.fixture
def checked(monkeypatch):
    """All that is compiled from here on is checked."""
    monkeypatch.setenv("BACKPASS_CHECKED", "1")


# One access alone


def _loaded(type_, write):
    """An access that reads, and keeps what it read where it can be seen."""

    def access(b, at, index, kept):
        value = write(b, type_, at, index)
        for lane in range(type_.lanes or 1):
            b.store(b.extract(value, lane) if type_.lanes else value, kept, lane)

    return access, type_, "load"


def _stored(type_, write):
    def access(b, at, index, kept):
        del kept
        write(b, b.constant(7, type_), at, index)

    return access, type_, "store"


def _steps(b, lanes):
    return b.lane_numbers(lanes)


def _all(b, lanes):
    return b.constant(True, I1.vector(lanes))


def _places(b, index, lanes):
    return b.add(b.splat(index, lanes), _steps(b, lanes))


def _walked(b, type_, at, index):
    """The pointer is carried round a loop on its way."""
    with b.loop(0, 3, carried=[b.offset(at, b.sub(index, 3), type_)]) as loop:
        loop.next = [b.offset(loop.carried[0], 1, type_)]
    return b.load(type_, loop.results[0])


ACCESSES = {
    "load": _loaded(F64, lambda b, t, at, i: b.load(t, at, i)),
    "load of a vector": _loaded(I32.vector(4), lambda b, t, at, i: b.load(t, at, i)),
    "load of a boolean": _loaded(I1, lambda b, t, at, i: b.load(t, at, i)),
    "load by a loop": _loaded(I32, _walked),
    "atomic load": _loaded(I64, lambda b, t, at, i: b.load_atomic(t, b.offset(at, i, t), "monotonic")),
    "masked load": _loaded(F64.vector(2), lambda b, t, at, i: b.load_lanes(t, at, i, _all(b, 2))),
    "gather": _loaded(I32.vector(4), lambda b, t, at, i: b.gather(t, at, _places(b, i, 4))),
    "gather of booleans": _loaded(I1.vector(4), lambda b, t, at, i: b.gather(t, at, _places(b, i, 4))),
    "store": _stored(F64, lambda b, v, at, i: b.store(v, at, i)),
    "store of a vector": _stored(I32.vector(4), lambda b, v, at, i: b.store(v, at, i)),
    "store of booleans": _stored(I1.vector(8), lambda b, v, at, i: b.store(v, at, i)),
    "atomic store": _stored(I64, lambda b, v, at, i: b.store_atomic(v, b.offset(at, i, I64), "monotonic")),
    "atomic addition": _stored(I64, lambda b, v, at, i: b.add_atomic(v, b.offset(at, i, I64), "monotonic")),
    "masked store": _stored(F64.vector(2), lambda b, v, at, i: b.store_lanes(v, at, i, _all(b, 2))),
    "scatter": _stored(I32.vector(4), lambda b, v, at, i: b.scatter(v, at, _places(b, i, 4))),
}


class Outside:
    """A function of one access, `index` elements after the beginning of a region of ROOM bytes, at each place.

    The size of the region is a constant, or known only when the function runs.
    """

    def __init__(self, access, *, constant):
        self.module = CheckedModule()
        inner, (at, index, kept) = define(self.module, "access", [("at", PTR), ("index", I64), ("kept", PTR)])
        inner.function.comment = "one access"
        access(inner, at, index, kept)
        inner.ret()
        arguments = [("room", PTR), ("index", I64), ("size", I64), ("kept", PTR)]
        b, (room, index, size, kept) = define(self.module, "outer", arguments, internal=False)
        room = b.owns(room, ROOM if constant else size, "the room")
        b.call("access", VOID, room, index, b.owns(kept, 64, "what was read"))
        b.ret()
        self._library = engine.load(engine.compile_text(self.module.text(), host()))
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
        self._function = kind(self._library.address("outer"))
        self._watch = Watch(self._library.address(Watch.NAME), self)

    def compile(self):
        raise AssertionError("it is made")

    def __call__(self, index):
        """The bytes around the room and the room afterwards, and what was read."""
        memory = np.full(2 * AROUND + ROOM, FILL, np.uint8)
        kept = np.zeros(64, np.uint8)
        self._function(memory[AROUND:].ctypes.data, index, ROOM, kept.ctypes.data)
        self._watch.look()
        return memory, kept


@pytest.mark.parametrize("constant", [True, False], ids=["constant size", "size at run time"])
@pytest.mark.parametrize("name", ACCESSES)
def test_an_access_is_caught_just_where_it_leaves_its_memory(name, constant):
    """At every place around the room: inside it is done, outside it is an error, and memory around stays as it was."""
    access, type_, kind = ACCESSES[name]
    run = Outside(access, constant=constant)
    lanes = type_.lanes or 1
    for index in range(-AROUND // type_.bytes, (AROUND + ROOM) // type_.bytes - lanes):
        first, last = index * type_.bytes, (index + lanes) * type_.bytes
        if first >= 0 and last <= ROOM:
            memory, kept = run(index)
            assert (memory[AROUND + first : AROUND + last] != FILL).any() == (kind == "store")
            assert kept.any() == (kind == "load")
            continue
        with pytest.raises(OutsideError, match=rf"{kind} .*access \(one access\).* of {ROOM}"):
            run(index)
    for index in (2**40, -(2**40), 2**60):  # addresses that no process has, some with their bytes going round
        with pytest.raises(OutsideError):
            run(index)


@pytest.mark.parametrize("name", [name for name in ACCESSES if ACCESSES[name][2] == "store"])
def test_what_would_be_written_outside_is_not_written(name, monkeypatch):
    """Memory before and after the room stays as it was, byte for byte, and so do the lanes' neighbours."""
    access, type_, _ = ACCESSES[name]
    run = Outside(access, constant=True)
    monkeypatch.setattr(run._watch, "look", lambda: None)
    for index in range(-AROUND // type_.bytes, (AROUND + ROOM) // type_.bytes - (type_.lanes or 1)):
        memory, _ = run(index)
        assert (memory[:AROUND] == FILL).all()
        assert (memory[AROUND + ROOM :] == FILL).all()


def test_an_error_is_told_once():
    """The next run starts with nothing noted."""
    run = Outside(ACCESSES["load"][0], constant=True)
    with pytest.raises(OutsideError):
        run(100)
    run(0)


def _module_of(write, result=None):
    module = CheckedModule()
    b, values = define(module, "f", [("p", PTR), ("n", I64)])
    write(b, *values)
    b.ret(result)
    return module


def test_memory_that_nobody_described_cannot_be_used():
    """What is read through a pointer of unknown origin is refused when the code is written."""
    with pytest.raises(AssertionError, match="nobody says what memory"):
        _module_of(lambda b, p, n: b.load(F64, b.load(PTR, p), n))


def test_a_pointer_cannot_leave_its_region_round_a_loop():
    """A loop that goes on with a pointer to something else is refused when the code is written."""

    def write(b, p, n):
        other = b.reserve(F64, 4)
        with b.loop(0, n, carried=[p]) as loop:
            loop.next = [other]

    with pytest.raises(AssertionError, match="leaves the region"):
        _module_of(write)


def test_a_function_is_given_the_memory_it_was_written_for():
    """A call with a region of another size, or with a place within one, is refused when the code is written."""

    def calling(size, place):
        module = CheckedModule()
        b, (p,) = define(module, "inner", [("p", PTR)])
        b.load(F64, b.owns(p, 64, "eight numbers"), 7)
        b.ret()
        b, (q,) = define(module, "outer", [("q", PTR)])
        room = b.owns(q, size, "room")
        b.call("inner", VOID, b.offset(room, place, F64))
        b.ret()

    calling(64, 0)
    for size, place in ((56, 0), (72, 0), (72, 1)):
        with pytest.raises(AssertionError, match="was made for"):
            calling(size, place)


def test_calls_of_unknown_functions_with_memory_are_refused():
    """What a function from outside does with a pointer cannot be checked."""
    with pytest.raises(AssertionError, match="nobody knows what memset"):
        _module_of(lambda b, p, n: b.call("memset", VOID, p, n))


def test_a_part_must_lie_within_what_it_is_a_part_of():
    """Both where that is known when the code is written and where it is not; at either end."""
    for place, size, good in ((0, 64, True), (8, 56, True), (8, 64, False), (-8, 8, False)):
        for known in (True, False):

            def access(b, at, index, kept, place=place, size=size, known=known):
                del index
                room = b.owns(b.reserve(F64, 8), 64, "eight numbers")
                start = place // 8 if known else b.load(I64, at)
                part = b.owns(b.offset(room, start, F64), size, "a part")
                b.store(b.constant(1.0, F64), part)
                b.store(b.load(F64, part), kept)

            run = Outside(access, constant=True)
            memory = np.zeros(ROOM, np.uint8)
            memory.view(np.int64)[0] = place // 8
            kept = np.zeros(64, np.uint8)
            run._function(memory.ctypes.data, 0, ROOM, kept.ctypes.data)
            if good:
                run._watch.look()
                assert kept.view(np.float64)[0] == 1.0
            else:
                with pytest.raises(OutsideError, match="a part"):
                    run._watch.look()


# Whole programs


def _network_job(**options):
    """A step with all kinds of memory: products, dropout, an embedding, sums over the batch, single numbers."""
    shapes = [(6, 9), (9,), (9, 2), (2,), (5, 3)]

    def step(w, c, v, d, table, rate, moment, x, which):
        hidden = ops.concatenate([x, ops.gather(table, which)], 1)
        hidden = ops.tanh(hidden @ w + c) * ops.bernoulli(
            Key(moment).fold("drop"), 0.8, (BATCH, 9), np.dtype("float64")
        )
        out = hidden @ v + d
        loss = ops.mean(ops.sum(out * out, [1]), [0])
        less = 1.0 - rate * ops.tanh(loss)
        spread = ops.scatter_add(hidden, which, 5)[:, :3]
        return [loss, w * less + 0.01 * (hidden.T @ out)[:6, :1], c * less, v * less, d * less, table * less + spread]

    specs = [Spec(shape, np.float64) for shape in shapes]
    rows = Spec((BATCH, 3), np.float64), Spec((BATCH,), np.int64)
    graph = trace(step, *specs, Spec((), np.float64), Spec((2,), np.int64), *rows).graph
    return Job(graph, {1 + i: i for i in range(5)}, 6, 0, rows=7, **{"threads": 2, "checked": True, **options})


COUNT = 19


def _machine(job):
    """Ready to run epochs of 19 rows, shuffled and weighed."""
    rng = np.random.default_rng(0)
    machine = Machine(job)
    for place, node in enumerate(machine.inputs[:6]):
        machine.put(place, rng.uniform(-0.1, 0.1, node.shape))
    machine.data([rng.normal(size=(COUNT, 3)), rng.integers(0, 5, COUNT)], count=COUNT)
    machine.shuffled(shuffle=True)
    machine.weigh(rng.uniform(1, 2, COUNT))
    return machine


def _run(machine, epochs=2):
    losses_ = np.zeros(3 * epochs)
    machine.run(epochs=epochs, batch=7, losses=losses_)
    return losses_


def test_a_checked_program_calculates_the_same_bits():
    """Checks change nothing but the time."""
    results = []
    for checked in (False, True):
        machine = _machine(_network_job(checked=checked))
        results.append([_run(machine), *(machine.take_input(place) for place in range(5))])
    for plain, watched in zip(*results, strict=True):
        np.testing.assert_array_equal(plain, watched)


def _last_element(buffer, rows):
    """The place of the last element that belongs to the value, counted in elements."""
    shape = bind_rows(buffer.layout.shape, rows)
    flat = np.zeros(buffer.layout.elements)
    buffer.layout.put(flat, np.ones(shape))
    return int(flat.nonzero()[0].max())


def test_any_value_whose_memory_is_an_element_too_small_is_noticed(monkeypatch):
    """For each value that the program writes: its last element is then outside, and the error names it."""
    monkeypatch.setenv("BACKPASS_CACHE", "off")
    job = _network_job()
    compiler = _machine(job).compiler
    written = [*compiler.batch_inputs(), *((0, node) for node in compiler.sinks)]
    original, found = Buffer.bytes.fget, set()
    for _, node in written:
        buffer = compiler.sinks[node][0] if node in compiler.sinks else compiler.buffers[node]
        size = 8 if buffer.single else np.dtype(buffer.dtype).itemsize
        end = size * (0 if buffer.single else _last_element(buffer, job.rows))
        small = lambda own, b=buffer, end=end: end if own == b else original(own)  # noqa: E731
        monkeypatch.setattr(Buffer, "bytes", property(small))
        with pytest.raises(OutsideError, match=re.escape(compiler.name_of(buffer))) as error:
            _run(_machine(job))
        found.add(buffer)
        assert "store" in str(error.value) or "load" in str(error.value)
    assert len(found) > 10


def test_any_array_of_the_caller_that_is_a_byte_too_small_is_noticed():
    """Rows, their order, weights, room to shuffle, records and losses: the last byte is reached, and no byte more."""
    for place in ("order", "weights", "shuffle_scratch", "records", "steps", "data", "the next data"):
        machine = _machine(_network_job())
        place_ = PLACES.data + 1 if place == "the next data" else getattr(PLACES, place)
        point = machine._point

        def smaller(where, array, point=point, machine=machine, wanted=place_):
            point(where, array)
            if where == wanted and array is not None:
                machine._sizes[where] -= 1

        smaller(place_, machine._held[place_]) if place_ in machine._held else None
        machine._point = smaller
        with pytest.raises(OutsideError, match=r"(load|store|part)"):
            _run(machine)


@pytest.mark.usefixtures("checked")
def test_a_planted_read_is_caught_and_named():
    """An operation that reads past the end of its input: the error names the kernel, the layer, the value and how."""
    drift = Movement(
        name="drift",
        forward=lambda x: x,
        shape=lambda shape: shape,
        unmoved=lambda: False,
        lower=lambda e, index, x: e.read(x, [index[0], index[1] + 5000]),
    )

    def function(w, x):
        with scope("sideways"):
            return ops.apply(drift, ops.tanh(x @ w))

    program = NativeProgram(trace(function, _w(), _x()).graph)
    with pytest.raises(OutsideError, match=r"about to load .*kernel\.\d+\.\d+ \(sideways: drift\).*tanh.* of [\d,]+"):
        program(RNG.normal(size=(4, 5)), RNG.normal(size=(6, 4)))


def _w():
    return Spec((4, 5), np.float64)


def _x():
    return Spec((BATCH, 4), np.float64)


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize("threads", [1, 3])
def test_a_planted_write_is_caught_named_and_stops_the_program(monkeypatch, threads):
    """A kernel that stores in another place, in a training of many epochs: it ends after one step, on all threads."""
    original = Writer.store

    def store(self, node, index, values, **options):
        moved = [index[0] + 70_000, *index[1:]] if node.op.name == "tanh" and len(index) == 2 else index
        original(self, node, moved, values, **options)

    monkeypatch.setattr(Writer, "store", store)
    work = Work(
        nn.Sequential(wide=nn.Dense(40), then=nn.Tanh(), output=nn.Dense(1)),
        losses.Squared(),
        optimizers.SGD(0.01),
        RNG.normal(size=(64, 30)),
        RNG.normal(size=64),
    )
    machines = []
    run = Machine.run
    monkeypatch.setattr(Machine, "run", lambda self, **options: (machines.append(self), run(self, **options)))
    with pytest.raises(OutsideError, match=r"about to store .*kernel\.\d+\.\d+ \(.*wide.*tanh.*the memory of .*tanh"):
        trained(work, "native", threads=threads, epochs=300)
    assert machines[-1].steps_done == 1
    assert machines[-1].reason == Reason.OUTSIDE


@pytest.mark.usefixtures("checked")
def test_a_program_from_the_cache_names_its_accesses_too(monkeypatch):
    """Only object code is kept; the names are made when they are needed."""
    original = Writer.store
    shift = 70_000
    monkeypatch.setattr(
        Writer,
        "store",
        lambda self, n, i, v, **o: original(self, n, [i[0] + shift, *i[1:]] if len(i) == 2 else i, v, **o),
    )
    graph = trace(lambda w, x: ops.tanh(x @ w), _w(), _x()).graph
    messages = []
    for _ in range(2):
        made_before = len(messages)
        with pytest.raises(OutsideError) as error:
            NativeProgram(graph, threads=1)(RNG.normal(size=(4, 5)), RNG.normal(size=(6, 4)))
        messages.append(str(error.value))
        if made_before == 0:
            monkeypatch.setattr("backpass.native.program.compile_text", None)  # now it can come from the cache alone
    assert messages[0] == messages[1]
    assert "tanh" in messages[0]


# What is emitted


ACCESS = re.compile(
    r"(?:= load (?:atomic )?[^,]+, ptr (?P<load>\S+?)[, ]|store (?:atomic )?.+, ptr (?P<store>\S+?)[, ]"
    r"|atomicrmw \w+ ptr (?P<rmw>\S+?),|@llvm\.masked\.(?P<masked>\w+)\S*\((?P<listed>.*)\)$)"
)


def _unguarded(text):
    """Accesses of a text whose address is neither compared nor a constant distance from where something begins."""
    for function in re.findall(r"^define .*?^}", text, re.MULTILINE | re.DOTALL):
        made_by = dict(re.findall(r"^  (%\S+) = (.*)$", function, re.MULTILINE))
        for line in function.splitlines():
            if not (found := ACCESS.search(line)):
                continue
            if found["masked"]:
                yield from () if _is_guarded_mask(found["listed"], made_by) else (line,)
                continue
            address = found["load"] or found["store"] or found["rmw"]
            while (
                step := re.fullmatch(r"getelementptr \S+, ptr (\S+), i64 -?\d+", made_by.get(address, ""))
            ) is not None:
                address = step[1]
            made = made_by.get(address, "")
            is_compared = made.startswith("select i1") and made.endswith("@bounds.nowhere")
            is_start = not made or made.startswith(("alloca", "load ptr"))
            if not is_compared and not is_start and "@bounds.record" not in address:
                yield line


def _is_guarded_mask(listed, made_by):
    mask = re.findall(r"<\d+ x i1> (%\w+|splat \(i1 true\)|<[^>]*>)", listed)[-1]
    return made_by.get(mask, "").startswith("and <")


@pytest.mark.parametrize("target", ["sse2", "avx2", "avx512", "arm64"])
def test_every_access_in_the_text_is_compared(target):
    """In the text of programs of all kinds no load, store, gather, scatter or atomic stands without its check."""
    jobs = [_network_job(timed=True)]
    for seed in range(6):
        program = made(np.random.default_rng(seed).integers(0, 1 << 20, 200).tolist(), steps=6, exact=seed % 2 == 0)
        jobs.append(Job(program.graph, rows=9, checked=True))
    for job in jobs:
        text = Compiler(job, named(target)).compile()
        assert text.count("@bounds.nowhere") > 3
        assert not list(_unguarded(text))
    plain = Compiler(replace(jobs[0], checked=False), named(target)).compile()
    assert len(list(_unguarded(plain))) > 20  # the test can tell


def test_programs_are_not_checked_unless_that_is_asked_for(monkeypatch):
    """The text of an ordinary program has no trace of checks, and nothing but the ordinary Builder writes it."""
    monkeypatch.delenv("BACKPASS_CHECKED", raising=False)
    job = _network_job(checked=asked_for())
    compiler = Compiler(job, host())
    text = compiler.compile()
    assert type(compiler.module) is Module
    assert not re.search(
        r"@bounds|ptrtoint|cmpxchg|getelementptr (?!inbounds)(?!.*prefetch)", text.replace(_asked(text), "")
    )
    b, (pointer,) = define(Module(), "f", [("p", PTR)])
    assert type(b) is Builder
    before = b.function.body()
    assert b.owns(pointer, 8, "something") is pointer
    b.stop_outside(pointer, 1)
    assert b.function.body() == before


def _asked(text):
    """Addresses that are only asked for before, and are never within bounds, in one piece."""
    return "\n".join(line for line in text.splitlines() if re.search(r"getelementptr (?!inbounds)", line))


@pytest.mark.parametrize(("value", "wanted"), [("1", True), ("yes", True), ("0", False), ("", False), ("off", False)])
def test_the_environment_asks_for_checks(monkeypatch, value, wanted):
    """Every Job that says nothing itself is as BACKPASS_CHECKED says."""
    monkeypatch.setenv("BACKPASS_CHECKED", value)
    graph = trace(ops.tanh, Spec((3,), np.float64)).graph
    assert Job(graph).checked is asked_for() is wanted


def test_checked_and_other_programs_are_kept_apart(monkeypatch, tmp_path):
    """A graph compiled both ways has two entries in the cache, and each comes back as what it was."""
    host()  # what LLVM says of the machine is kept as well, by whoever asks first
    monkeypatch.setenv("BACKPASS_CACHE", str(tmp_path))
    for checked in (True, False, True, False):
        machine = Machine(_network_job(checked=checked))
        assert (machine._watch is not None) is checked
    assert len(list(tmp_path.rglob("*.object"))) == 2


# Networks, with every address checked


def _table(rows, features, classes, rng):
    return rng.normal(size=(rows, features)), rng.integers(0, classes, rows)


def _standard():
    rng = np.random.default_rng(1)
    entropy, adam = losses.CrossEntropy(), optimizers.Adam(0.003)
    three = {"numbers": rng.normal(size=(67, 5)), "colour": rng.integers(0, 11, 67), "size": rng.integers(0, 4, 67)}
    parts = nn.Concatenate(numbers=nn.Identity(), colour=nn.Embedding(11, 5), size=nn.Embedding(4, 2))
    weights = rng.uniform(0.1, 2, 67)
    return {
        "iris": Work(
            nn.Sequential(nn.Dense(16), nn.Tanh(), nn.Dense(3)), entropy, adam, *_table(150, 4, 3, rng), None, 16
        ),
        "digits": Work(
            nn.Sequential(nn.Dense(64), nn.ReLU(), nn.Dense(10)), entropy, adam, *_table(199, 64, 10, rng), None, 32
        ),
        "table": Work(
            nn.Sequential(nn.Dense(256), nn.ReLU(), nn.Dropout(0.1), nn.Dense(256), nn.ReLU(), nn.Dense(2)),
            *(entropy, adam, *_table(41, 100, 2, rng), None, 16),
        ),
        "odd primes": Work(
            nn.Sequential(nn.Dense(41), nn.Tanh(), nn.Dropout(0.3), nn.Dense(53), nn.ReLU(), nn.Dense(7)),
            *(entropy, optimizers.Chain(optimizers.ClipByGlobalNorm(0.5), optimizers.Momentum(0.02))),
            *(*_table(97, 37, 7, rng), rng.uniform(0.1, 2, 97), 31),
        ),
        "several inputs": Work(
            nn.Sequential(parts, nn.Dense(17), nn.Tanh(), nn.Dense(1)),
            *(losses.Squared(), adam, three, rng.normal(size=67), weights, 13),
        ),
    }


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        *(("iris", "float32"), ("digits", "float32"), ("table", "float32"), ("odd primes", "float32")),
        *(("odd primes", "float64"), ("several inputs", "float64")),
    ],
)
def test_standard_networks_stay_within_their_memory(name, precision, monkeypatch):
    """Trained and used with every address checked, on two threads; and to the same bits as without checks."""
    work, digests = _standard()[name], []
    for value in ("1", "0"):
        monkeypatch.setenv("BACKPASS_CHECKED", value)
        trainer = trained(work, "native", epochs=2, precision=precision, threads=2)
        inputs = work.inputs
        rows = {key: x[:3] for key, x in inputs.items()} if isinstance(inputs, dict) else inputs[:3]
        trainer.outputs(rows)
        digests.append(digest(trainer))
    assert digests[0] == digests[1]


@pytest.mark.usefixtures("checked")
def test_copies_that_a_large_product_makes_stay_within_their_memory():
    """Both operands of a product that sums over many rows are copied piece by piece; at several numbers of rows."""
    rows, depth, columns = 600, 401, 203
    graph = trace(
        lambda x, e: ops.einsum("ki,kj->ij", x, e), Spec((BATCH, depth), np.float32), Spec((BATCH, columns), np.float32)
    ).graph
    program = NativeProgram(graph, threads=2, rows=rows)
    compiler = program.machine(rows).compiler
    assert any(kernel.product and compiler.weights_tiling(kernel).packed for kernel in compiler.plan.kernels)
    for count in (rows, rows - 1, 7, 1):
        x, e = (RNG.integers(-4, 5, (count, n)).astype(np.float32) for n in (depth, columns))
        np.testing.assert_array_equal(program(x, e)[0], x.T @ e)


def _turned(x, axes):
    for axis in axes:
        x = ops.flip(x, axis)
    return x


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize("rows", [1, 5, 8, 17])
@pytest.mark.parametrize("axes", [(0,), (0, 1)])
def test_reading_from_the_last_row_on_does_not_reach_before_the_first(rows, axes):
    """Lanes past the last row would lie before the memory of what is turned about."""
    x, y = RNG.normal(size=(rows, 3)), RNG.normal(size=rows)
    graph = trace(
        lambda a, c: [_turned(a, axes), ops.flip(c, 0) * 2.0], Spec((BATCH, 3), np.float64), Spec((BATCH,), np.float64)
    ).graph
    turned, doubled = NativeProgram(graph, threads=1)(x, y)
    np.testing.assert_array_equal(turned, np.flip(x, axes))
    np.testing.assert_array_equal(doubled, y[::-1] * 2)


NUMBERS = st.lists(st.integers(0, 2**20), min_size=10, max_size=120)
LITTLE = settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize("apart", [3, 7, 8, 31])
@pytest.mark.parametrize("after", [31, 32 * 300, 32 * 300 + 31])
@pytest.mark.parametrize("shape", [(BATCH, 2), (3, 2)])
def test_nothing_is_read_where_wide_margins_are(shape, after, apart):
    """Numbers with zeros between and after them: what stands so far off is never formed as a place and read."""
    graph = trace(lambda x: [ops.pad(x, (None, (0, after, apart)))], Spec(shape, np.float64)).graph
    x = RNG.normal(size=(3, 2))
    np.testing.assert_array_equal(NativeProgram(graph)(x)[0], np.asarray(Program(graph)(x)[0]))


@pytest.mark.usefixtures("checked")
@LITTLE
@given(numbers=NUMBERS, threads=st.integers(1, 3))
def test_random_networks_stay_within_their_memory(numbers, threads):
    """Every layer, loss and rule, with row weights and a smaller last batch; and they learn what the reference does."""
    assert_agree(random_work(Choices(numbers)), threads=threads)


@pytest.mark.usefixtures("checked")
@LITTLE
@given(numbers=NUMBERS, exact=st.booleans(), threads=st.integers(1, 3), rows=st.sampled_from([1, 5, 16, 17, 33]))
def test_random_graphs_stay_within_their_memory(numbers, exact, threads, rows):
    """Whatever the operations, types and places of the batch, at several numbers of rows."""
    program = made(numbers, steps=8, exact=exact)
    native = NativeProgram(program.graph, threads=threads)
    for count in (rows, 0, 2):
        compared(program, count, 1, native)
