"""Random numbers by counting: the specification of the generator, and what follows from it."""

import numpy as np
import philox
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backpass import ops
from backpass.errors import BackpassError
from backpass.forward import Program, Spec, trace
from backpass.graph import BATCH
from backpass.ops.random import words

WORDS = st.integers(0, 2**64 - 1)
SHAPES = st.sampled_from([(), (0,), (3,), (200,), (0, 3), (3, 0), (7, 3), (3, 16), (2, 130), (2, 3, 30)])


@given(WORDS, WORDS, st.integers(0, 2**32 - 1), SHAPES)
def test_words_are_those_of_the_paper(seed, step, stream, shape):
    """The words of a value, first and second, are those of Philox 4x32-10 by the rule in `ops/random.py`."""
    first, second = (words((seed, step), stream, shape, second=second) for second in (False, True))
    assert first.shape == second.shape == shape
    assert first.dtype == second.dtype == np.uint32
    assert first.ravel().tolist() == philox.words(seed, step, stream, shape)
    assert second.ravel().tolist() == philox.second_words(seed, step, stream, shape)


@pytest.mark.parametrize("shape", [(3, 300_000), (300_000, 3), (600_000,)])
def test_a_large_value_is_made_in_pieces_without_a_seam(shape):
    """Elements anywhere in a value of many chunks are those of the rule."""
    drawn = words((5, 7), 9, shape).reshape(shape[0] if len(shape) > 1 else 1, -1)
    for row, column in np.random.default_rng(0).integers(0, drawn.shape, (300, 2)).tolist():
        assert drawn[row, column] == philox.word(row, column, 5, 7, 9)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0,) * 4, (0,) * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((philox.WORD,) * 4, (philox.WORD,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
    ids=["zeros", "ones", "digits of pi"],
)
def test_known_answers_of_philox(counter, key, expected):
    """The plain Philox of these tests gives the known answers that its authors published with Random123."""
    assert " ".join(f"{word:08x}" for word in philox.block(counter, key)) == expected


def test_numbers_of_uniform_are_fixed():
    """The first numbers of seed 0, step 0, stream 0 never change: files of old runs depend on them."""
    found = ops.uniform(ops.Key.of(0), (70,))
    assert found.dtype == np.float32
    assert found.tolist() == [(word >> 8) / 2**24 for word in philox.words(0, 0, 0, (70,))]
    double = ops.uniform(ops.Key.of(0), (70,), np.float64)
    pairs = zip(philox.words(0, 0, 0, (70,)), philox.second_words(0, 0, 0, (70,)), strict=True)
    assert double.tolist() == [((first << 32 | second) >> 11) / 2**53 for first, second in pairs]


def test_negative_seeds_are_taken_as_64_bits():
    """A negative seed is the 64-bit word of the same bits."""
    assert words((-1, 0), 0, (3,)).tolist() == words((2**64 - 1, 0), 0, (3,)).tolist()


KEY = ops.Key.of(5, 7)


@pytest.mark.parametrize(
    "draw",
    [
        lambda key: ops.uniform(key, (50,)),
        lambda key: ops.bernoulli(key, 0.5, (50,)),
        lambda key: ops.normal(key, (50,)),
        lambda key: ops.permutation(key, 50),
    ],
)
def test_the_same_key_gives_the_same_numbers_and_any_other_key_others(draw):
    """Numbers depend on seed, step and stream, and on nothing else."""
    np.testing.assert_array_equal(draw(KEY), draw(ops.Key.of(5, 7)))
    for other in (
        ops.Key.of(6, 7),
        ops.Key.of(5, 8),
        KEY.fold("a"),
        KEY.fold("b"),
        KEY.fold(0),
        KEY.fold("a").fold("a"),
    ):
        assert not np.array_equal(draw(KEY), draw(other))
    assert not np.array_equal(draw(KEY.fold("a")), draw(KEY.fold("b")))


def test_folding_is_in_order():
    """Folding by a, then b, is another key than by b, then a, or by ab."""
    keys = [KEY.fold("a").fold("b"), KEY.fold("b").fold("a"), KEY.fold("c"), KEY]
    assert len({key.stream for key in keys}) == 4


def test_both_precisions_draw_the_same_mask():
    """The mask of a dropout is the same in float32 and in float64, and uniform numbers agree to 24 bits."""
    for probability in (0.0, 0.1, 0.5, 0.999, 1.0):
        masks = [ops.bernoulli(KEY, probability, (999,), dtype) for dtype in (np.float32, np.float64)]
        np.testing.assert_array_equal(*masks)
        assert [mask.dtype for mask in masks] == [np.float32, np.float64]
    single, double = (ops.uniform(KEY, (999,), dtype) for dtype in (np.float32, np.float64))
    np.testing.assert_array_equal(np.floor(double * 2**24) / 2**24, single)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_numbers_are_those_of_box_and_muller(dtype):
    """They are sqrt(-2 log(1 - u)) cos(2 pi v) of two uniform numbers of their own streams."""
    u, v = (ops.uniform(KEY.fold(name), (3, 40), dtype).astype(np.float64) for name in ("radius", "angle"))
    expected = np.sqrt(-2 * np.log(1 - u)) * np.cos(2 * np.pi * v)
    found = ops.normal(KEY, (3, 40), dtype)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distributions(dtype):
    """Means and variances are those of the distributions, within 5 standard errors; uniform stays in [0, 1)."""
    n = 40_000
    u = ops.uniform(KEY, (n,), dtype)
    assert u.dtype == dtype
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 1 / 2) < 5 * np.sqrt(1 / 12 / n)
    assert abs(u.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / n)
    z = ops.normal(KEY, (n,), dtype)
    assert z.dtype == dtype
    assert np.isfinite(z).all()
    assert abs(z.mean()) < 5 / np.sqrt(n)
    assert abs(z.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs((np.abs(z) < 1).mean() - 0.6827) < 5 * np.sqrt(0.6827 * 0.3173 / n)
    mask = ops.bernoulli(KEY, 0.3, (n,), dtype)
    assert set(np.unique(mask)) == {0.0, 1.0}
    assert abs(mask.mean() - 0.3) < 5 * np.sqrt(0.21 / n)


def test_certain_and_impossible():
    """Probability 0 gives no ones, probability 1 nothing else; beyond them is refused."""
    assert not ops.bernoulli(KEY, 0, (1000,)).any()
    assert ops.bernoulli(KEY, 1, (1000,)).all()
    for probability in (-0.1, 1.1, np.nan):
        with pytest.raises(BackpassError, match="between 0 and 1"):
            ops.bernoulli(KEY, probability, (2,))


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_permutation(count):
    """A permutation holds every number from 0 once, in an order of its own."""
    order = ops.permutation(KEY, count)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))
    if count > 2:
        assert order.tolist() != list(range(count))


def test_rows_of_a_batch_keep_their_numbers():
    """The numbers of a row do not depend on how many rows follow it."""
    graph = trace(
        lambda x, state: ops.uniform(ops.Key(state), (BATCH, 3)) + 0 * x, Spec((BATCH, 3)), Spec((2,), np.int64)
    )
    program = Program(graph.graph)
    few, many = (program(np.ones((rows, 3)), [1, 2])[0] for rows in (2, 9))
    np.testing.assert_array_equal(few, many[:2])


def test_one_graph_serves_every_step():
    """The state is an input: a graph traced once draws, at each step, what is drawn at once for that step."""
    graph = trace(lambda state: ops.normal(ops.Key(state).fold("dropout"), (4,)), Spec((2,), np.int64)).graph
    for step in range(3):
        np.testing.assert_array_equal(
            Program(graph)([9, step])[0], ops.normal(ops.Key.of(9, step).fold("dropout"), (4,))
        )


def test_a_key_has_two_whole_numbers():
    """What is no key, in shape or type, is refused when traced."""
    for wrong in (np.zeros(2), np.zeros(3, np.int64)):
        with pytest.raises(BackpassError, match=r"a key is int64\[2\]"):
            trace(lambda state: ops.uniform(ops.Key(state), (2,)), wrong)
