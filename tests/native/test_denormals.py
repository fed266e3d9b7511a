"""Numbers too small to be normal: 0 within a native program, themselves in the reference and in the caller's code."""

import ctypes
import platform

import numpy as np
import pytest

import backpass as bp
from backpass import losses, nn, optimizers
from backpass.errors import NotFiniteError
from backpass.forward import Program, Spec, trace
from backpass.graph import BATCH
from backpass.native import NativeProgram

SMALLEST = {"float32": np.float32(2.0**-126), "float64": np.float64(2.0**-1022)}  # normal numbers
UPWARD = {"x86_64": 0x800, "aarch64": 0x400000}  # FE_UPWARD of the C library


def halves_are_kept():
    """Whether the thread that asks calculates with numbers too small to be normal."""
    return all((np.full(3, x) / 2 > 0).all() for x in SMALLEST.values()) and SMALLEST["float64"].item() / 2 > 0


def fitted(rate=0.01, threads=1):
    rng = np.random.default_rng(0)
    trainer = bp.Trainer(nn.Dense(2), losses.Squared(), optimizers.SGD(rate), threads=threads, batch_size=16)
    trainer.fit(rng.normal(size=(64, 3)), rng.normal(size=(64, 2)), epochs=20)
    return trainer


@pytest.mark.parametrize("dtype", SMALLEST)
def test_what_is_not_normal_counts_as_0_in_native_code_alone(dtype):
    """Half of the smallest normal number is 0 there, as documented, and itself in the reference executor."""
    graph = trace(lambda x: x * 0.5, Spec((BATCH,), np.dtype(dtype))).graph
    x = np.array([1.0, SMALLEST[dtype] * 2, SMALLEST[dtype]], dtype)
    assert Program(graph)(x)[0].tolist() == (x / 2).tolist()
    assert NativeProgram(graph)(x)[0].tolist() == [0.5, SMALLEST[dtype], 0.0]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_callers_arithmetic_is_as_it_was_after_training(threads):
    """Training and predicting leave no register changed: what is small stays what it is."""
    trainer = fitted(threads=threads)
    assert halves_are_kept()
    trainer.predict(np.ones((5, 3)))
    assert halves_are_kept()


def test_the_callers_arithmetic_is_as_it_was_after_a_program_that_stopped():
    """A program that ends early, since a value is no longer finite, puts everything back too."""
    with pytest.raises(NotFiniteError):
        fitted(rate=1e30)
    assert halves_are_kept()


@pytest.mark.skipif(platform.machine() not in UPWARD, reason="FE_UPWARD is known here for x86-64 and ARM64 alone")
def test_the_callers_way_of_rounding_survives():
    """A way of rounding that the caller chose is still chosen after a run."""
    library = ctypes.CDLL(None)
    assert library.fesetround(UPWARD[platform.machine()]) == 0
    try:
        fitted()
        assert library.fegetround() == UPWARD[platform.machine()]
    finally:
        library.fesetround(0)
