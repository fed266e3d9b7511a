"""Random numbers and shuffles of generated code: those of the reference, bit for bit, with vectors of any width."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backpass.native import random
from backpass.native.engine import compile_text, load
from backpass.native.ir import F32, F64, I32, I64, PTR, Module, define
from backpass.native.target import host, named
from backpass.ops import Key, bernoulli, permutation, uniform
from backpass.ops.random import philox, words

WIDTHS = [bits for bits in (128, 256, 512) if bits <= host().vector_bits]
NARROWER = {128: "sse2", 256: "avx2", 512: "avx512"}
STREAM = 0x9ABCDEF0
SEEDS = st.integers(-(2**63), 2**63 - 1)
ROWS, GROUPS = 3, 2
COUNTS = [0, 1, 2, 5, 63, 64, 65, 150, 1797, 5000, 16_383, 16_384, 70_001]


def target(bits):
    return host() if bits == host().vector_bits else named(NARROWER[bits])


def compiled(module, name, arguments, bits):
    """The function `name`, whose arguments are "p" for an array and "i" for a whole number."""
    next(function for function in module.functions if function.name == name).internal = False
    library = load(compile_text(module.text(), target(bits)))
    kinds = [ctypes.c_void_p if kind == "p" else ctypes.c_int64 for kind in arguments]
    function = ctypes.CFUNCTYPE(None, *kinds)(library.address(name))
    function.library = library
    return function


def words_as_values(b, pointer, lanes, spread):
    """Six words from memory: the first `spread` of them, as bits of a number, are vectors, the others scalars."""
    return [
        b.load(I32.vector(lanes) if spread >> place & 1 else I32, pointer, place * max(1, lanes)) for place in range(6)
    ]


@pytest.mark.parametrize("lanes", [0, 1, 2, 3, 4, 5, 8, 16, 32])
@pytest.mark.parametrize("spread", [0b111111, 0b000001, 0b100000, 0b010110])
def test_blocks_are_those_of_the_reference(lanes, spread):
    """Whatever parts of counter and key differ from lane to lane, and however many lanes there are."""
    module = Module()
    b, (given_words, found) = define(module, "blocks", [("given", PTR), ("found", PTR)])
    *counter, k0, k1 = words_as_values(b, given_words, lanes, spread if lanes else 0)
    for place, word in enumerate(random.philox(b, counter, (k0, k1))):
        b.store(word, found, place * max(1, lanes))
    b.ret()
    blocks = compiled(module, "blocks", "pp", host().vector_bits)
    inputs = np.random.default_rng(lanes).integers(0, 2**32, (6, max(1, lanes)), dtype=np.uint32)
    inputs[0] = 2**32 - 1
    results = np.zeros((4, max(1, lanes)), np.uint32)
    blocks(inputs.ctypes.data, results.ctypes.data)
    for place in range(6):
        if not spread >> place & 1:
            inputs[place] = inputs[place, 0]
    for lane in range(max(1, lanes)):
        *expected_counter, k0, k1 = (int(word) for word in inputs[:, lane])
        expected = philox(np.array(expected_counter, np.uint64).reshape(4, 1), (k0, k1))
        np.testing.assert_array_equal(results[:, lane], expected[:, 0])


def drawing(bits, scalar, draw):
    """A function that fills [ROWS, 64 GROUPS] with what `draw(b, source, group, row)` emits, for a seed and a step."""
    module = Module()
    b, (result, seed, step) = define(module, "drawn", [("result", PTR), ("seed", I64), ("step", I64)])
    source = random.source(b, seed, step, b.i64(STREAM), target(bits).lanes(I32))
    with b.loop(0, ROWS) as rows, b.loop(0, GROUPS) as groups:
        start = b.mul(b.add(b.mul(rows.index, GROUPS), groups.index), 64)
        vectors = draw(b, source, groups.index, rows.index)
        assert sum(vector.type.lanes for vector in vectors) == 64
        for place, vector in enumerate(vectors):
            b.store(vector, result, b.add(start, place * vector.type.lanes))
    b.ret()
    function = compiled(module, "drawn", "pii", bits)

    def drawn(seed, step):
        result = np.zeros((ROWS, 64 * GROUPS), {I32: np.uint32, F32: np.float32, F64: np.float64}[scalar])
        function(result.ctypes.data, seed, step)
        return result

    return drawn


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("bits", WIDTHS)
def test_groups_hold_the_words_of_the_reference(bits, second):
    """First and second words, for seeds and steps of 64 bits."""
    drawn = drawing(bits, I32, lambda b, source, group, row: random.group(b, source, group, row, second=second))

    @settings(max_examples=30)
    @given(SEEDS, SEEDS)
    def check(seed, step):
        expected = words((seed, step), STREAM, (ROWS, 64 * GROUPS), second=second)
        np.testing.assert_array_equal(drawn(seed, step), expected)

    check()


@pytest.mark.parametrize("vectors", ["neither", "rows", "columns", "both"])
@pytest.mark.parametrize("bits", WIDTHS)
def test_elements_anywhere_have_the_words_of_the_reference(bits, vectors):
    """Each lane may have a row and column of its own."""
    lanes = 0 if vectors == "neither" else target(bits).lanes(I32)
    module = Module()
    b, (rows, columns, found) = define(module, "elements", [("rows", PTR), ("columns", PTR), ("found", PTR)])
    source = random.source(b, b.i64(-5), b.i64(7), b.i64(STREAM), target(bits).lanes(I32))
    row = b.load(I64.vector(lanes if vectors in ("rows", "both") else 0), rows)
    column = b.load(I64.vector(lanes if vectors in ("columns", "both") else 0), columns)
    for second in (False, True):
        b.store(random.element_words(b, source, row, column, second=second), found, second * max(1, lanes))
    b.ret()
    elements = compiled(module, "elements", "ppp", bits)
    expected = [words((-5, 7), STREAM, (40, 200), second=second) for second in (False, True)]
    rng = np.random.default_rng(0)
    for _ in range(30):
        at = [rng.integers(0, most, max(1, lanes)) for most in (40, 200)]
        result = np.zeros((2, max(1, lanes)), np.uint32)
        elements(*(array.ctypes.data for array in at), result.ctypes.data)
        row, column = (
            array if name in vectors or vectors == "both" else array[:1]
            for array, name in zip(at, ("rows", "columns"), strict=True)
        )
        np.testing.assert_array_equal(result, [np.broadcast_to(x[row, column], max(1, lanes)) for x in expected])


@pytest.mark.parametrize("probability", [0.0, 1e-9, 0.3, 0.5, 1 - 1e-9, 1 - 1e-12, 1.0])
@pytest.mark.parametrize("scalar", [F32, F64], ids=["float32", "float64"])
@pytest.mark.parametrize("bits", WIDTHS)
def test_masks_are_those_of_the_reference(bits, scalar, probability):
    vector = scalar.vector(target(bits).lanes(scalar))

    def draw(b, source, group, row):
        return random.bernoulli(b, random.group(b, source, group, row), probability, vector)

    found = drawing(bits, scalar, draw)(5, 7)
    np.testing.assert_array_equal(
        found, bernoulli(Key(np.array([5, 7]), STREAM), probability, found.shape, found.dtype)
    )


@pytest.mark.parametrize("scalar", [F32, F64], ids=["float32", "float64"])
@pytest.mark.parametrize("bits", WIDTHS)
def test_uniform_numbers_are_those_of_the_reference(bits, scalar):
    vector = scalar.vector(target(bits).lanes(scalar))

    def draw(b, source, group, row):
        seconds = random.group(b, source, group, row, second=True) if scalar == F64 else []
        return random.uniform(b, random.group(b, source, group, row), seconds, vector)

    found = drawing(bits, scalar, draw)(-5, 7)
    np.testing.assert_array_equal(found, uniform(Key(np.array([-5, 7]), STREAM), found.shape, found.dtype))


@pytest.fixture(scope="module", params=WIDTHS)
def shuffle(request):
    """Runs the compiled shuffle in memory whose surroundings must stay as they are."""
    module = Module()
    random.emit_shuffle(module, "shuffle", target(request.param).lanes(I32))
    function = compiled(module, "shuffle", "piiip", request.param)

    def order(count, seed, epoch):
        result = np.full(count + 16, 0xABABABAB, np.uint32)
        size = random.shuffle_scratch_bytes(count)
        memory = np.full(size + 128, 0xAB, np.uint8)
        start = -memory.ctypes.data % 64
        function(result.ctypes.data, count, seed, epoch, memory.ctypes.data + start)
        assert (memory[:start] == 0xAB).all()
        assert (memory[start + size :] == 0xAB).all()
        assert (result[count:] == 0xABABABAB).all()
        return result[:count]

    return order


def expected_order(count, seed, epoch):
    return permutation(Key.of(seed, epoch).fold("shuffle"), count)


@pytest.mark.parametrize("count", COUNTS)
def test_a_shuffle_is_the_permutation_of_the_reference(shuffle, count):
    """It writes the order and its scratch memory, and nothing beside them."""
    for seed, epoch in ((0, 0), (-3, 1), (2**40 + 1, 12)):
        np.testing.assert_array_equal(shuffle(count, seed, epoch), expected_order(count, seed, epoch))


@settings(max_examples=50)
@given(st.integers(0, 3000), SEEDS, st.integers(0, 2**40))
def test_a_shuffle_of_any_seed_and_epoch(shuffle, count, seed, epoch):
    np.testing.assert_array_equal(shuffle(count, seed, epoch), expected_order(count, seed, epoch))


def test_a_long_shuffle_is_cut_more_than_once(shuffle):
    """More rows than two cuts leave whole."""
    count = 1 << random.WHOLE_BITS + random.CUT_BITS
    np.testing.assert_array_equal(shuffle(count, 1, 2), expected_order(count, 1, 2))
