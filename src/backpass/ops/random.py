"""Random numbers by counting: each is a function of (seed, step, stream, place) and of nothing else.

So a step can be run again alone, in either precision and on any number of threads, with the same numbers in it.
The generator is Philox 4x32 with 10 rounds (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
1, 2, 3", 2011): from a counter of four words of 32 bits and a key of two it makes a block of four words.

- The key is (lower half of the seed, upper half of the seed XOR upper half of the step).
- The counter is (block, row, lower half of the step, stream).
- An element's row is its index along the first axis, and its column counts through the other axes. A value of one
  axis or none has the row 0, and its column counts through all of it.
- Columns stand in groups of 64, of 16 blocks each. Column c belongs to block 16 (c div 64) + c mod 16 and is word
  (c mod 64) div 16 of it: 16 blocks made side by side are 4 vectors of 16 neighbours.
- `bernoulli` is 1 where the word is below the probability times 2^32, in both precisions.
- `uniform` has the upper 24 bits of the word in float32. In float64 it has 53 bits: the word, and below it the upper 21
  bits of a second word, that of the same column 2^31 rows further on.
- `permutation` sorts by the words of a value of one axis; equal words keep their order.
"""

import math
import zlib
from typing import Any, TypeAlias

import numpy as np

from backpass.errors import UsageError
from backpass.graph import Shape
from backpass.ops.apply import apply
from backpass.ops.elementary import cos, log, sqrt
from backpass.ops.kinds import FLOAT32, DType, Random, Value
from backpass.ops.samples import Case
from backpass.records import dataclass

Words: TypeAlias = np.ndarray[Any, np.dtype[Any]]

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
"""What the key grows by from round to round."""

GROUP, BLOCKS = 64, 16
"""Columns of a group, and the blocks that make them."""

SECOND = 1 << 31
"""From an element's row to the row of its second word."""

_WORD = (1 << 32) - 1
_CHUNK = 1 << 10
"""Groups made at a time: few enough to stay in the cache."""


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """The blocks of many counters: uint64[4, ...] of words of 32 bits, as is the result."""
    drawn, kept = counter[0::2], counter[1::2]
    for keys in (np.array(key) + np.arange(ROUNDS)[:, None] * np.array(WEYL) & _WORD).astype(np.uint64):
        product = (np.array(MULTIPLIERS, np.uint64) * drawn.T).T
        high, low = product >> np.uint64(32), product & np.uint64(_WORD)
        drawn, kept = (high[::-1].T ^ kept.T ^ keys).T, low[::-1]
    return np.stack([drawn[0], kept[0], drawn[1], kept[1]])


def words(state: Any, stream: int, shape: tuple[int, ...], *, second: bool = False) -> Words:
    """The words of a value of this shape, uint32, or its second words. `state` is (seed, step)."""
    seed, step = (int(part) & (1 << 64) - 1 for part in state)
    rows, columns = (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))
    groups, side = -(-columns // GROUP), min(columns, BLOCKS)
    drawn = np.empty((rows * groups, 4, side), np.uint32)
    for start in range(0, rows * groups, _CHUNK):
        row, group = divmod(np.arange(start, min(start + _CHUNK, rows * groups), dtype=np.uint64), np.uint64(groups))
        counter = np.empty((4, len(row), side), np.uint64)
        counter[0] = group[:, None] * np.uint64(BLOCKS) + np.arange(side, dtype=np.uint64)
        counter[1] = row[:, None] + np.uint64(second * SECOND)
        counter[2:] = np.array([step & _WORD, stream])[:, None, None]
        drawn[start : start + _CHUNK] = philox(counter, (seed & _WORD, seed >> 32 ^ step >> 32)).swapaxes(0, 1)
    return drawn.reshape(rows, groups * 4 * side)[:, :columns].reshape(shape)


def threshold(probability: float) -> int:
    """How many of the 2^32 words stand for a 1."""
    return round(probability * 2.0**32)


def _uniform(state: Any, *, shape: tuple[int, ...], dtype: DType, stream: int) -> Any:
    first = words(state, stream, shape)
    if dtype == FLOAT32:
        return (first >> np.uint32(8)).astype(dtype) * dtype.type(2.0**-24)
    second = words(state, stream, shape, second=True)
    return first * 2.0**-32 + (second >> np.uint32(11)) * 2.0**-53


def _bernoulli(state: Any, *, shape: tuple[int, ...], dtype: DType, stream: int, probability: float) -> Any:
    limit = threshold(probability)
    if limit > _WORD:
        return np.ones(shape, dtype)
    return (words(state, stream, shape) < np.uint32(limit)).astype(dtype)


def _samples(**attributes: Any) -> Any:
    def cases(rng: "np.random.Generator") -> list[Case]:
        state = rng.integers(0, 1000, 2)
        names = ("float32", "float64")
        shapes: list[tuple[int, ...]] = [(3, 5), (2, 3, 25), (70,), (0, 4), (0,), (1,), ()]
        return [
            Case((state,), {"shape": shape, "dtype": np.dtype(name), "stream": 7, **attributes})
            for shape in shapes
            for name in names
        ]

    return cases


UNIFORM = Random(name="uniform", forward=_uniform, takes="mixed", samples=_samples())
BERNOULLI = Random(name="bernoulli", forward=_bernoulli, takes="mixed", samples=_samples(probability=0.3))


@dataclass(frozen=True)
class Key:
    """Where random numbers come from: `state` is (seed, step), int64[2]; `stream` tells uses of one state apart."""

    state: Value
    stream: int = 0

    @staticmethod
    def of(seed: int, step: int = 0) -> "Key":
        return Key(np.array([seed, step], np.int64))

    def fold(self, label: str | int) -> "Key":
        """A key for the part of the work named `label`, independent of the keys of all other labels."""
        return Key(self.state, zlib.crc32(str(label).encode(), self.stream))


def uniform(key: Key, shape: Shape, dtype: Any = FLOAT32) -> Any:
    """Numbers spread evenly over [0, 1)."""
    return apply(UNIFORM, key.state, shape=tuple(shape), dtype=np.dtype(dtype), stream=key.stream)


def bernoulli(key: Key, probability: float, shape: Shape, dtype: Any = FLOAT32) -> Any:
    """1 with the given probability, otherwise 0."""
    if not 0 <= probability <= 1:
        raise UsageError(f"a probability lies between 0 and 1, found {probability}")
    return apply(
        BERNOULLI,
        key.state,
        shape=tuple(shape),
        dtype=np.dtype(dtype),
        stream=key.stream,
        probability=float(probability),
    )


def normal(key: Key, shape: Shape, dtype: Any = FLOAT32) -> Any:
    """Normally distributed numbers with mean 0 and standard deviation 1 (Box and Muller, 1958)."""
    radius = sqrt(-2.0 * log(1.0 - uniform(key.fold("radius"), shape, dtype)))
    return radius * cos(2.0 * math.pi * uniform(key.fold("angle"), shape, dtype))


def permutation(key: Key, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The numbers from 0 to count - 1 in random order."""
    drawn = words(key.state, key.stream, (count,)).astype(np.uint64)
    pairs = drawn << np.uint64(32) | np.arange(count, dtype=np.uint64)
    return (np.sort(pairs) & np.uint64(_WORD)).astype(np.int64)
