"""Losses for classes: values worked by hand, what targets they take, small losses, labels that are no class."""

import numpy as np
import pytest

import backpass as bp
from backpass import losses
from backpass.errors import ShapeError, UsageError

LOGITS = np.log([[1.0, 2.0, 5.0], [3.0, 3.0, 2.0]])  # probabilities 1/8, 2/8, 5/8 and 3/8, 3/8, 2/8


def test_cross_entropy_by_hand():
    """The loss is -log of the labelled class's probability; its gradient is probabilities minus ones."""
    loss = losses.CrossEntropy()
    np.testing.assert_allclose(loss.rows(LOGITS, [2, 0]), -np.log([5 / 8, 3 / 8]), rtol=1e-15)
    slope = bp.grad(lambda o: loss(o, np.array([2, 0])))(LOGITS) * 2
    np.testing.assert_allclose(slope, [[1 / 8, 2 / 8, -3 / 8], [-5 / 8, 3 / 8, 2 / 8]], rtol=1e-14)
    np.testing.assert_allclose(loss.predictions(LOGITS), [[1 / 8, 2 / 8, 5 / 8], [3 / 8, 3 / 8, 2 / 8]], rtol=1e-15)


def test_cross_entropy_of_labels_is_that_of_their_distributions():
    """Labels of any integer type, as a row or a column, and ones among zeros of any type mean the same."""
    labels = np.array([2, 0])
    expected = losses.CrossEntropy(0.1).rows(LOGITS, labels)
    ones = np.eye(3)[labels]
    same = [labels.astype(np.uint8), labels.astype(np.int32), labels[:, None], ones, ones.astype(int), ones > 0]
    for targets in same:
        np.testing.assert_array_equal(losses.CrossEntropy(0.1).rows(LOGITS, targets), expected)


def test_label_smoothing_by_hand():
    """A smoothing of 0.3 over 3 classes leaves 0.8 with the label and gives 0.1 to each other class."""
    expected = -(0.1 * np.log(1 / 8) + 0.1 * np.log(2 / 8) + 0.8 * np.log(5 / 8))
    np.testing.assert_allclose(losses.CrossEntropy(0.3).rows(LOGITS[:1], [2]), [expected], rtol=1e-14)


def test_binary_cross_entropy_by_hand():
    """With p = 3/4: -log(3/4) for yes, -log(1/4) for no; smoothing 0.2 gives yes 0.9 of it."""
    output = np.log([3.0])
    loss = losses.BinaryCrossEntropy()
    np.testing.assert_allclose(loss.predictions(output), [3 / 4], rtol=1e-15)
    np.testing.assert_allclose(loss.rows(output, [True]), [-np.log(3 / 4)], rtol=1e-15)
    np.testing.assert_allclose(loss.rows(output, [0]), [-np.log(1 / 4)], rtol=1e-15)
    smoothed = -(0.9 * np.log(3 / 4) + 0.1 * np.log(1 / 4))
    np.testing.assert_allclose(losses.BinaryCrossEntropy(0.2).rows(output, [1]), [smoothed], rtol=1e-14)


def test_binary_cross_entropy_at_0_has_its_slope():
    """At an output of 0 the slope is 1/2 - target, exactly: no kink hides in the stable form."""
    slope = bp.grad(lambda o: losses.BinaryCrossEntropy()(o, np.array([0.0, 1.0])))(np.zeros(2)) * 2
    np.testing.assert_array_equal(slope, [0.5, -0.5])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sign", [1, -1])
def test_small_binary_losses_are_not_lost(dtype, sign):
    """Far on the right side loss and gradient are exp(-|output|), to a part in a million, not 0."""
    output = np.array([20.0 * sign], dtype)
    value, slope = bp.value_and_grad(lambda o: losses.BinaryCrossEntropy()(o, np.array([sign > 0])))(output)
    np.testing.assert_allclose(value, np.exp(-20.0), rtol=1e-6)
    np.testing.assert_allclose(slope, [-sign * np.exp(-20.0)], rtol=1e-6)


def test_extreme_logits_have_their_limits():
    """At 1e4 in float32 the loss is 0 on the right side and the whole distance on the wrong one."""
    far = np.array([[1e4, -1e4], [1e4, -1e4]], np.float32)
    np.testing.assert_array_equal(losses.CrossEntropy().rows(far, [0, 1]), [0.0, 2e4])
    np.testing.assert_array_equal(losses.BinaryCrossEntropy().rows(far[:, 0], [1, 0]), [0.0, 1e4])
    np.testing.assert_array_equal(losses.BinaryCrossEntropy().predictions(far[0]), [1.0, 0.0])
    np.testing.assert_array_equal(losses.CrossEntropy().predictions(far), [[1.0, 0.0], [1.0, 0.0]])


def test_hinge_by_hand():
    """The margin is missed by 1 - y * output where that is above 0; -1 and 1, 0 and 1, no and yes are alike."""
    outputs = np.array([0.5, 2.0, 0.25, -3.0])
    for no in (-1, 0, -1.0, 0.0, False):
        targets = np.array([1, 1, no, no], type(no))
        np.testing.assert_array_equal(losses.Hinge().rows(outputs, targets), [0.5, 0.0, 1.25, 0.0])
        np.testing.assert_array_equal(losses.Hinge().rows(outputs[:, None], targets), [0.5, 0.0, 1.25, 0.0])


def test_hinge_of_classes_by_hand():
    """Scores 1, 2 and -1 with the label 0: class 1 is missed by 2, class 2 is beaten by more than 1."""
    scores = np.array([[1.0, 2.0, -1.0], [1.0, 2.0, -1.0]])
    np.testing.assert_array_equal(losses.Hinge().rows(scores, [0, 2]), [2.0, 3.0 + 4.0])
    np.testing.assert_array_equal(losses.Hinge().predictions(scores), scores)


def test_hinge_of_two_classes_is_that_of_their_difference():
    """Two scores and their labels are one score, the difference, and its sign."""
    scores, labels = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    np.testing.assert_allclose(
        losses.Hinge().rows(scores, labels), losses.Hinge().rows(scores[:, 1] - scores[:, 0], labels), rtol=1e-14
    )


@pytest.mark.parametrize("loss", [losses.CrossEntropy(), losses.CrossEntropy(0.1), losses.Hinge()], ids=str)
@pytest.mark.parametrize("label", [3, -1, 2**40])
def test_a_label_that_is_no_class_gives_nan(loss, label):
    """It would be a silent 0 otherwise, at once as in a graph; other rows are as they were."""
    labels = np.array([0, label])
    rows = loss.rows(LOGITS, labels)
    assert np.isnan(rows[1])
    assert rows[0] == loss.rows(LOGITS[:1], labels[:1])[0]
    value, _ = bp.value_and_grad(loss)(LOGITS, labels)
    assert np.isnan(value)


def test_a_nan_stays_a_nan():
    """A target or an output that is not a number makes the loss not a number, in every loss for yes or no."""
    for loss in (losses.Hinge(), losses.BinaryCrossEntropy()):
        assert np.isnan(loss(np.array([1.0]), [np.nan]))
        assert np.isnan(loss(np.array([np.nan]), [1.0]))


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        ((2, 3), np.zeros(2)),  # labels of a real type
        ((2, 3), np.zeros((2, 2))),
        ((2, 3), np.zeros(3, int)),
        ((2, 3), np.zeros((3, 2), int)),
        ((2, 3), np.zeros((2, 3, 1), int)),
        ((2, 3), np.int64(0)),
        ((2, 1), np.zeros(2, int)),
        ((2,), np.zeros(2, int)),
        ((2, 3, 4), np.zeros(2, int)),
        ((2, 1), np.zeros((2, 1))),
    ],
    ids=str,
)
def test_cross_entropy_refuses_targets_that_do_not_fit(outputs, targets):
    """The message names both shapes and types, and what is expected."""
    with pytest.raises(ShapeError, match=r"outputs float64\[.*targets (int|float)64\[.*expected outputs \[rows, cl"):
        losses.CrossEntropy()(np.ones(outputs), targets)


@pytest.mark.parametrize("targets", [np.ones(2), np.ones((2, 3)), np.ones(3, int), np.ones((2, 3), int)], ids=str)
def test_hinge_refuses_targets_that_do_not_fit(targets):
    """Several outputs take one integer label a row."""
    with pytest.raises(ShapeError, match=r"outputs float64\[2, 3\] and targets .* expected one output, or"):
        losses.Hinge()(np.ones((2, 3)), targets)


def test_hinge_of_one_output_is_not_stretched():
    """A column of outputs against a wrong number of targets is refused."""
    with pytest.raises(ShapeError, match="do not fit"):
        losses.Hinge()(np.ones((5, 1)), np.ones(4))


@pytest.mark.parametrize("kind", [losses.CrossEntropy, losses.BinaryCrossEntropy])
@pytest.mark.parametrize("value", [-0.1, 1.0, 2, float("nan"), "0.1", False, None])
def test_label_smoothing_is_a_share(kind, value):
    """The message names the loss, the option, what was given and what is expected."""
    with pytest.raises(UsageError, match=f"{kind.__name__}: label_smoothing is .* expected a number from 0 to below 1"):
        kind(label_smoothing=value)
