"""Random numbers by counting: each is a function of (seed, step, stream, place) and of nothing else.

So a step can be run again alone, in either precision and on any number of threads, with the same numbers in it.
The generator is Philox 4x64 with 10 rounds (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
1, 2, 3", 2011). Element e is word e mod 4 of the block with counter (1 + e div 4, 0, step, 0) and key (seed, stream).
"""

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from backpass.errors import UsageError
from backpass.graph import Shape
from backpass.ops.apply import apply
from backpass.ops.elementary import cos, log, sqrt
from backpass.ops.kinds import FLOAT32, DType, Random, Value
from backpass.ops.samples import Case

_MASK = (1 << 64) - 1


def words(state: Any, stream: int, count: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The first `count` 64-bit words of a stream. `state` is (seed, step)."""
    seed, step = (int(part) & _MASK for part in state)
    generator = np.random.Philox(key=(seed | stream << 64), counter=step << 128)
    return np.asarray(generator.random_raw(count), np.uint64)


def _uniform(state: Any, *, shape: tuple[int, ...], dtype: DType, stream: int) -> Any:
    """From the upper 24 (float32) or 53 (float64) bits of a word."""
    bits = 24 if dtype == FLOAT32 else 53
    drawn = words(state, stream, math.prod(shape)) >> np.uint64(64 - bits)
    return (drawn.astype(dtype) * dtype.type(2.0**-bits)).reshape(shape)


def _bernoulli(state: Any, *, shape: tuple[int, ...], dtype: DType, stream: int, probability: float) -> Any:
    """By comparing whole words, so that both precisions draw the same."""
    if probability >= 1:
        return np.ones(shape, dtype)
    limit = np.uint64(int(probability * 2.0**64))
    return (words(state, stream, math.prod(shape)) < limit).astype(dtype).reshape(shape)


def _samples(**attributes: Any) -> Any:
    def cases(rng: np.random.Generator) -> list[Case]:
        state = rng.integers(0, 1000, 2)
        names = ("float32", "float64")
        shapes: list[tuple[int, ...]] = [(3, 5), (0,), (1,), ()]
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
    return np.argsort(words(key.state, key.stream, count), kind="stable").astype(np.int64)
