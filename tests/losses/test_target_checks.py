"""The check of targets before training: what a loss cannot learn is named with its row."""

import numpy as np
import pytest

from backpass import losses
from backpass.errors import ShapeError, UsageError

NAN, INF = float("nan"), float("inf")

BAD_VALUES = [
    (losses.Squared(), [1.0, NAN], 1, "row 1 .* is nan, expected a finite number"),
    (losses.Squared(), [[1.0, 2.0], [3.0, INF]], 2, r"row 1, output 1 .* is inf"),
    (losses.Quantile((0.1, 0.9)), [1.0, 2.0, -INF], 2, "row 2 .* is -inf"),
    (losses.Poisson(), [0, 3, -1], 1, "row 2 .* is -1, expected a count of at least 0"),
    (losses.Poisson(), [[0.0], [NAN]], 1, "row 1 .* is nan"),
    (losses.CrossEntropy(), [0, 9, 10], 10, "row 2 .* is 10, expected a label from 0 to 9"),
    (losses.CrossEntropy(), [[0], [-1]], 10, "row 1 .* is -1, expected a label from 0 to 9"),
    (losses.CrossEntropy(), [[0.5, 0.5], [0.5, 0.6]], 2, "row 1 .* sum to 1.1, expected 1"),
    (losses.CrossEntropy(), [[0.5, 0.5], [-0.5, 1.5]], 2, "row 1, output 0 .* is -0.5, expected a probability"),
    (losses.CrossEntropy(), [[NAN, 0.5]], 2, "row 0, output 0 .* is nan"),
    (losses.BinaryCrossEntropy(), [0, 1, 2], 1, "row 2 .* is 2, expected 0, 1 or a probability"),
    (losses.BinaryCrossEntropy(), [[0, -1]], 2, "row 0, output 1 .* is -1"),
    (losses.BinaryCrossEntropy(), [NAN], 1, "row 0 .* is nan, expected a finite number"),
    (losses.Hinge(), [1, -1, 0.5], 1, "row 2 .* is 0.5, expected -1 or 1, or 0 or 1"),
    (losses.Hinge(), [1, -1, 0], 1, "row 2 .* is 0, expected -1 or 1, as in other rows"),
    (losses.Hinge(), [0, 3], 3, "row 1 .* is 3, expected a label from 0 to 2"),
]

BAD_SHAPES = [
    (losses.Squared(), np.ones(()), 1, r"float64\[\] for a network with 1 output: expected \[rows, 1\] or \[rows\]"),
    (losses.Squared(), np.ones(5), 2, r"float64\[5\] for a network with 2 outputs: expected \[rows, 2\]"),
    (losses.Squared(), np.ones((5, 3)), 2, r"\[5, 3\]"),
    (losses.Quantile((0.1, 0.9)), np.ones(5), 3, "one output for each of the 2 quantiles"),
    (losses.Quantile((0.1, 0.9)), np.ones((5, 2)), 2, "one target a row"),
    (losses.CrossEntropy(), np.ones(5), 3, r"float64\[5\] .* labels of an integer type, from 0 to 2"),
    (losses.CrossEntropy(), np.ones(5, int), 1, "has 1 output, expected one for each class"),
    (losses.CrossEntropy(), np.ones((5, 4)), 3, r"\[5, 4\] .* expected labels \[rows\] or distributions \[rows, 3\]"),
    (losses.CrossEntropy(), np.ones(()), 3, r"float64\[\]"),
    (losses.BinaryCrossEntropy(), np.ones(5), 2, r"expected \[rows, 2\]"),
    (losses.Hinge(), np.ones((5, 3)), 3, r"expected labels \[rows\]"),
    (losses.Hinge(), np.ones(5), 3, "labels of an integer type"),
    (losses.Hinge(), np.ones((5, 2)), 1, r"expected \[rows, 1\] or \[rows\]"),
]


@pytest.mark.parametrize(("loss", "targets", "outputs", "message"), BAD_VALUES, ids=str)
def test_a_target_that_cannot_be_learned_is_named(loss, targets, outputs, message):
    """The message names the loss, the row, what was found and what is expected."""
    with pytest.raises(UsageError, match=f"{type(loss).__name__}: the targets? of {message}"):
        loss.check_targets(np.array(targets), outputs)


@pytest.mark.parametrize(("loss", "targets", "outputs", "message"), BAD_SHAPES, ids=str)
def test_targets_of_another_shape_are_named(loss, targets, outputs, message):
    """The message names the loss, the shape found and the one expected."""
    with pytest.raises(ShapeError, match=f"^{type(loss).__name__}: .*{message}"):
        loss.check_targets(targets, outputs)


@pytest.mark.parametrize(
    ("loss", "targets", "outputs"),
    [
        (losses.Squared(), np.ones((5, 1)), 1),
        (losses.Squared(), np.ones(0), 1),
        (losses.Quantile((0.1, 0.9)), np.ones((5, 1)), 2),
        (losses.Poisson(), np.array([0, 7]), 1),
        (losses.CrossEntropy(), np.array([[0], [1]]), 2),
        (losses.CrossEntropy(), np.array([False, True]), 2),
        (losses.CrossEntropy(), np.array([0, 255], np.uint8), 300),
        (losses.CrossEntropy(), np.random.default_rng(0).dirichlet(np.ones(1000), 5).astype(np.float32), 1000),
        (losses.CrossEntropy(), np.array([[0.33333, 0.33333, 0.33333]]), 3),
        (losses.BinaryCrossEntropy(), np.array([False, True]), 1),
        (losses.BinaryCrossEntropy(), np.array([[0.25, 1.0]]), 2),
        (losses.Hinge(), np.array([-1.0, 1.0]), 1),
        (losses.Hinge(), np.array([False, True]), 1),
    ],
    ids=str,
)
def test_targets_that_can_be_learned_pass(loss, targets, outputs):
    """Nothing is refused that the loss can learn from."""
    loss.check_targets(targets, outputs)
