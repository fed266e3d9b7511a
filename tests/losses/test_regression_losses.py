"""Losses for numbers: values worked by hand, shapes, options."""

import numpy as np
import pytest

import backpass as bp
from backpass import losses, ops
from backpass.errors import ShapeError, UsageError

OUTPUTS = np.array([[1.0, 2.0], [0.0, -1.0]])
TARGETS = np.array([[3.0, 2.0], [0.5, 1.0]])  # differences -2 and 0; -0.5 and -2


def test_squared_by_hand():
    """The mean of 4 and 0 is 2; of 0.25 and 4, 2.125; of both rows, 2.0625."""
    np.testing.assert_array_equal(losses.Squared().rows(OUTPUTS, TARGETS), [2.0, 2.125])
    assert losses.Squared()(OUTPUTS, TARGETS) == 2.0625
    assert losses.Squared()(OUTPUTS, TARGETS, [3, 1]) == (3 * 2.0 + 2.125) / 4


def test_half_sum_of_squares_by_hand():
    """Half of 4 + 0 is 2; half of 0.25 + 4 is 2.125; half of a single difference of 3 squared is 4.5."""
    np.testing.assert_array_equal(losses.HalfSumOfSquares().rows(OUTPUTS, TARGETS), [2.0, 2.125])
    np.testing.assert_array_equal(losses.HalfSumOfSquares().rows(np.array([1.0]), [4]), [4.5])


def test_the_derivative_of_half_the_sum_of_squares_is_actual_minus_desired():
    """The textbook's error at an output is (actual - desired), here over the 2 rows of the mean."""
    slope = bp.grad(lambda o: losses.HalfSumOfSquares()(o, TARGETS))(OUTPUTS)
    np.testing.assert_array_equal(slope, (OUTPUTS - TARGETS) / 2)


def test_absolute_by_hand():
    """The mean of 2 and 0 is 1; of 0.5 and 2, 1.25; at a hit the derivative is 0."""
    np.testing.assert_array_equal(losses.Absolute().rows(OUTPUTS, TARGETS), [1.0, 1.25])
    slope = bp.grad(lambda o: losses.Absolute()(o, TARGETS))(OUTPUTS)
    np.testing.assert_array_equal(slope, [[-0.25, 0.0], [-0.25, -0.25]])


def test_huber_by_hand():
    """With delta 1: a difference of 2 costs 2 - 0.5, one of 0.5 costs 0.125; both meet at 1 with slope 1."""
    np.testing.assert_array_equal(losses.Huber().rows(OUTPUTS, TARGETS), [0.75, (0.125 + 1.5) / 2])
    slope = bp.grad(lambda o: losses.Huber()(o, np.zeros(5)))(np.array([-3.0, -1.0, 0.0, 1.0, 3.0])) * 5
    np.testing.assert_allclose(slope, [-1, -1, 0, 1, 1], rtol=1e-15)


def test_huber_curves_at_0():
    """The second derivative at an exact hit is 1, as beside it."""

    def slope(x):
        return ops.sum(bp.grad(lambda z: losses.Huber()(z, np.zeros(1)))(x))

    for x in (0.0, 0.1):
        assert bp.grad(slope)(np.array([x])) == 1.0


def test_quantile_by_hand():
    """For the 0.9 quantile: 2 below the target costs 1.8, 2 above costs 0.2, a hit costs nothing."""
    loss = losses.Quantile(0.9)
    np.testing.assert_allclose(loss.rows(np.array([1.0, 5.0, 3.0]), [3, 3, 3]), [1.8, 0.2, 0.0], rtol=1e-15)
    slope = bp.grad(lambda o: loss(o, [3, 3, 3]))(np.array([1.0, 5.0, 3.0])) * 3
    np.testing.assert_allclose(slope, [-0.9, 0.1, 0.0], rtol=1e-15)


def test_quantiles_by_hand():
    """Each output has its own quantile of the row's one target: (0.25 * 2 + 0.25 * 4) / 2."""
    loss = losses.Quantile([0.25, 0.75])
    assert loss == losses.Quantile((0.25, 0.75))
    for targets in (np.array([3.0]), np.array([[3.0]])):
        np.testing.assert_array_equal(loss.rows(np.array([[1.0, 7.0]]), targets), [0.75])


def test_the_best_constant_is_the_quantile():
    """Among the numbers 0 to 100, the one with the least loss is the quantile of the numbers 0 to 100."""
    table = np.arange(101.0)
    for q in (0.1, 0.5, 0.9):
        best = min(table, key=lambda x: losses.Quantile(q)(np.full(101, x), table))
        assert best == np.quantile(table, q)


def test_poisson_by_hand():
    """exp(0) - 3 * 0 is 1, exp(log 2) - 3 log 2; the gradient is rate - count; predictions are rates."""
    outputs = np.log([[1.0], [2.0]])
    np.testing.assert_allclose(losses.Poisson().rows(outputs, [3, 3]), [1.0, 2 - 3 * np.log(2)], rtol=1e-15)
    slope = bp.grad(lambda o: losses.Poisson()(o, [3, 3]))(outputs) * 2
    np.testing.assert_allclose(slope, [[-2.0], [-1.0]], rtol=1e-15)
    np.testing.assert_allclose(losses.Poisson().predictions(outputs), [[1.0], [2.0]], rtol=1e-15)


def test_poisson_goes_on_as_a_tangent():
    """At the bound, 30, value and slope have no step, and beyond it the slope stays."""
    at = np.array([30.0, np.nextafter(30.0, 40), 35.0])
    slope = bp.grad(lambda o: losses.Poisson()(o, [0, 0, 0]))(at) * 3
    np.testing.assert_allclose(slope, np.full(3, np.exp(30.0)), rtol=1e-12)
    np.testing.assert_allclose(losses.Poisson().rows(at, [0, 0, 0]) / np.exp(30), [1, 1, 6], rtol=1e-12)


REGRESSIONS = [losses.Squared(), losses.HalfSumOfSquares(), losses.Absolute(), losses.Huber(), losses.Poisson()]
MISFITS = [((5, 1), (1, 5)), ((5, 2), (5,)), ((5, 2), (2,)), ((5, 2), (5, 1)), ((5,), ()), ((), ()), ((5, 1), (1,))]


@pytest.mark.parametrize("loss", [*REGRESSIONS, losses.Quantile(0.3), losses.BinaryCrossEntropy()], ids=str)
@pytest.mark.parametrize(("outputs", "targets"), MISFITS)
def test_nothing_is_stretched(loss, outputs, targets):
    """Shapes that NumPy would stretch to one another are refused, with both named."""
    with pytest.raises(ShapeError, match=r"outputs float64.* and targets float64.* do not fit"):
        loss(np.ones(outputs), np.ones(targets))


@pytest.mark.parametrize("loss", [*REGRESSIONS, losses.Quantile(0.3), losses.BinaryCrossEntropy()], ids=str)
def test_a_column_and_a_row_of_the_same_numbers_are_alike(loss):
    """(rows, 1) and (rows,), in any of the four pairings, give the same losses."""
    outputs, targets = np.array([0.5, 2.0, -1.0]), np.array([1.0, 0.0, 1.0])
    expected = loss.rows(outputs, targets)
    for o in (outputs, outputs[:, None]):
        for t in (
            targets,
            targets[:, None],
            targets.astype(bool),
            targets.astype(np.uint8),
            targets.astype(np.float16),
        ):
            np.testing.assert_array_equal(loss.rows(o, t), expected)


@pytest.mark.parametrize("targets", [(3, 2), (2,), (1, 3)])
def test_several_quantiles_take_one_target_a_row(targets):
    """A target for each quantile is refused: they are quantiles of the same number."""
    with pytest.raises(ShapeError, match=r"outputs \[rows, 2\], one for each quantile"):
        losses.Quantile((0.1, 0.9))(np.ones((3, 2)), np.ones(targets))


@pytest.mark.parametrize("delta", [0, -1.0, float("nan"), float("inf"), "1", True, None, 10**400])
def test_huber_refuses_a_delta_that_is_no_size(delta):
    """The message names the option, what was given and what is expected."""
    with pytest.raises(UsageError, match=r"delta is .* expected a number above 0"):
        losses.Huber(delta)


@pytest.mark.parametrize("quantiles", [0, 1, (), (0.9, 0.1), (0.5, 0.5), (0.1, "x"), "half", [0.2, float("nan")], None])
def test_quantile_refuses_what_is_no_quantile(quantiles):
    """0, 1, none, out of order, twice or not a number at all: the message says what is expected."""
    with pytest.raises(UsageError, match=r"quantiles is .* expected a number between 0 and 1"):
        losses.Quantile(quantiles)


def test_losses_are_frozen_records():
    """Two losses of the same options are equal, and options of NumPy become plain numbers."""
    assert losses.Huber(1) == losses.Huber(np.float32(1.0))
    assert type(losses.Huber(np.float32(1.0)).delta) is float
    with pytest.raises(AttributeError):
        losses.Huber().delta = 2.0
