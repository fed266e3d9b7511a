"""What can be written with a Tensor: the operators and methods of a NumPy array."""

import numpy as np
import pytest
from engine_cases import value_of

from backpass import ops

X = np.array([[1.5, -2.0, 0.25], [3.0, -0.5, 2.0]])
Y = np.array([[0.5, 2.0, 0.25], [-3.0, 1.0, 2.0]])


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x.T,
        lambda x: x.reshape(3, 2),
        lambda x: x.reshape((3, 2)),
        lambda x: x.reshape([6]),
        lambda x: x.reshape(-1),
        lambda x: x.reshape(1, -1, 2),
        lambda x: x.astype(np.float32),
        lambda x: x.astype("int64"),
        abs,
        lambda x: -x,
        *[
            lambda x, name=name, axis=axis, keepdims=keepdims: getattr(x, name)(axis, keepdims=keepdims)
            for name in ("sum", "mean", "max", "min")
            for axis in (None, 0, -1, (0, 1))
            for keepdims in (False, True)
        ],
        *[lambda x, name=name: getattr(x, name)() for name in ("sum", "mean", "max", "min")],
    ],
)
def test_methods_are_those_of_numpy(use):
    """Each gives a value of NumPy's shape, type and numbers."""
    found, expected = value_of(use, X), np.asarray(use(X))
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert np.allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize(
    "use",
    [
        lambda x, y: x + y,
        lambda x, y: x - y,
        lambda x, y: x * y,
        lambda x, y: x / y,
        lambda x, y: ops.absolute(x) ** y,
        lambda x, y: x @ y.T,
        lambda x, y: x < y,
        lambda x, y: x <= y,
        lambda x, y: x > y,
        lambda x, y: x >= y,
        lambda x, y: x == y,
        lambda x, y: x != y,
    ],
)
def test_operators_are_those_of_numpy_with_tensors_and_arrays_on_either_side(use):
    """Which of the two is a Tensor makes no difference; a list on the left is an array."""
    expected = use(X, Y)
    left = [value_of(lambda y, x=x: use(x, y), Y) for x in (X, X.tolist())]
    for found in (value_of(use, X, Y), value_of(lambda x: use(x, Y), X), *left):
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert np.allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize(
    "use",
    [
        lambda x, n: n + x,
        lambda x, n: n - x,
        lambda x, n: n * x,
        lambda x, n: n / x,
        lambda x, n: n ** abs(x),
        lambda x, n: abs(x) ** n,
        lambda x, n: n < x,
        lambda x, n: n <= x,
        lambda x, n: n > x,
        lambda x, n: n >= x,
        lambda x, n: n == x,
        lambda x, n: n != x,
    ],
)
def test_operators_take_plain_numbers(use):
    """A number before or after a Tensor is one of its type."""
    for number in (2, 0.25):
        expected = use(X, number)
        found = value_of(lambda x, number=number: use(x, number), X)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        assert np.allclose(found, expected, rtol=1e-14)
