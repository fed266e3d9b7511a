"""Philox 4x32 with 10 rounds in plain Python, from the paper: Salmon, Moraes, Dror and Shaw, "Parallel random numbers:
as easy as 1, 2, 3" (2011), section 3.3 and table 2. It is the specification for every executor."""

import itertools
import math

WORD = (1 << 32) - 1
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)


def block(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """The four words of one counter, each word 32 bits."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(MULTIPLIERS[0] * c0, WORD + 1)
        high1, low1 = divmod(MULTIPLIERS[1] * c2, WORD + 1)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + WEYL[0]) & WORD, (k1 + WEYL[1]) & WORD
    return c0, c1, c2, c3


def word(row: int, column: int, seed: int, step: int, stream: int) -> int:
    """The word of an element, by the rule in `backpass.ops.random`."""
    seed, step = seed % 2**64, step % 2**64
    group, place = divmod(column, 64)
    counter = (16 * group + place % 16, row, step & WORD, stream)
    return block(counter, (seed & WORD, (seed >> 32) ^ (step >> 32)))[place // 16]


def places(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Row and column of every element of a value, in order."""
    rows, columns = (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))
    return list(itertools.product(range(rows), range(columns)))


def words(seed: int, step: int, stream: int, shape: tuple[int, ...]) -> list[int]:
    return [word(row, column, seed, step, stream) for row, column in places(shape)]


def second_words(seed: int, step: int, stream: int, shape: tuple[int, ...]) -> list[int]:
    return [word(row + 2**31, column, seed, step, stream) for row, column in places(shape)]
