"""Heads: one loss of several, for a network that answers several questions of each row."""

import json

import numpy as np
import pytest

import backpass as bp
from backpass import losses, nn
from backpass.errors import ShapeError, UsageError
from backpass.losses import Head, Heads

ROWS = 12
WEIGHTS = (1.0, 2.0, 0.5, 0.0)
LOSS = Heads(
    (
        Head(losses.Squared(), scale=2.0),
        Head(losses.CrossEntropy(0.1), 4, 1.3, WEIGHTS),
        Head(losses.BinaryCrossEntropy(), 1, 0.6, (1.0, 3.0)),
        Head(losses.Quantile((0.1, 0.9)), 2),
        Head(losses.Brier(), 3),
    )
)
rng = np.random.default_rng(3)
OUTPUTS = rng.normal(size=(ROWS, 11))
NUMBERS, LABELS, YES = rng.normal(size=(2, ROWS)), rng.integers(0, 4, ROWS), rng.integers(0, 2, ROWS)
TARGETS = np.stack([NUMBERS[0], LABELS, YES, NUMBERS[1], rng.integers(0, 3, ROWS)], axis=1)


def test_a_row_has_the_mean_of_what_each_head_has_alone_by_its_scale_and_weights():
    """Each head's loss on its own outputs and column, by hand."""
    alone = [
        losses.Squared().rows(OUTPUTS[:, :1], NUMBERS[0]) / 2,
        losses.CrossEntropy(0.1).rows(OUTPUTS[:, 1:5], LABELS) * np.array(WEIGHTS)[LABELS] / 1.3,
        losses.BinaryCrossEntropy().rows(OUTPUTS[:, 5:6], YES) * np.array([1.0, 3.0])[YES] / 0.6,
        losses.Quantile((0.1, 0.9)).rows(OUTPUTS[:, 6:8], NUMBERS[1]),
        losses.Brier().rows(OUTPUTS[:, 8:], TARGETS[:, 4].astype(int)),
    ]
    np.testing.assert_allclose(LOSS.rows(OUTPUTS, TARGETS), np.mean(alone, axis=0), rtol=1e-14)


def test_gradients_agree_with_differences():
    """By outputs and by row weights, and by real targets."""
    weights = rng.uniform(0.5, 2, ROWS)
    assert bp.check_gradients(LOSS, OUTPUTS, TARGETS, weights)


def test_predictions_are_those_of_each_head_side_by_side():
    """Numbers as they are, probabilities, and of yes or no that of yes."""
    found = LOSS.predictions(OUTPUTS)
    assert found.shape == OUTPUTS.shape
    np.testing.assert_array_equal(found[:, 0], OUTPUTS[:, 0])
    np.testing.assert_array_equal(found[:, 1:5], losses.CrossEntropy().predictions(OUTPUTS[:, 1:5]))
    np.testing.assert_array_equal(found[:, 5:6], losses.BinaryCrossEntropy().predictions(OUTPUTS[:, 5:6]))


def test_the_machine_code_trains_several_networks_as_the_reference_does():
    """Weights of both executors agree."""
    network = nn.Ensemble(nn.Dense(11), 2)
    x = rng.normal(size=(ROWS, 3))
    found = []
    for executor in ("native", "reference"):
        trainer = bp.Trainer(network, LOSS, batch_size=5, seed=1, precision="float64", executor=executor)
        trainer.fit(x, TARGETS, epochs=3, validation=(x, TARGETS))
        found.append(trainer.predict(x))
    np.testing.assert_allclose(*found, rtol=1e-10)


def test_it_comes_back_from_json_and_from_a_model_file(tmp_path):
    """Every head with its loss, options and weights; the file's answers are those of the network."""
    name, options = json.loads(json.dumps(losses.describe(LOSS)))
    assert losses.by_name(name, **options) == LOSS
    trainer = bp.Trainer(nn.Dense(11), LOSS, seed=0)
    trainer.fit(rng.normal(size=(ROWS, 3)), TARGETS, epochs=1)
    trainer.save(tmp_path / "heads.safetensors")
    model = bp.load(tmp_path / "heads.safetensors")
    assert model.loss == LOSS
    assert model.explain(batch_size=4)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda y: y[:, :4], ShapeError, r"expected \[rows, 5\], a column for each head"),
        (
            lambda y: y + np.eye(5)[1] / 2,
            UsageError,
            "CrossEntropy: the target of row 0 .* expected the number of a class",
        ),
        (lambda y: y + 4 * np.eye(5)[1], UsageError, "expected a label from 0 to 3"),
        (lambda y: y + 2 * np.eye(5)[2], UsageError, "BinaryCrossEntropy: .* expected 0, 1"),
        (lambda y: y * [np.nan, 1, 1, 1, 1], UsageError, "expected a finite number"),
    ],
)
def test_targets_that_do_not_fit_are_refused_before_any_step(change, error, words):
    """The line names the loss of the head, or the form that is expected."""
    LOSS.check_targets(TARGETS, 11)
    with pytest.raises(error, match=words):
        LOSS.check_targets(change(TARGETS), 11)
    with pytest.raises(ShapeError, match="the network has 3 outputs, expected 11"):
        bp.Trainer(nn.Dense(3), LOSS).fit(np.ones((ROWS, 2)), TARGETS, epochs=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": LOSS}, "expected a loss"),
        ({"loss": losses.Squared(), "outputs": 0}, "expected a whole number of 1 or more"),
        ({"loss": losses.Squared(), "scale": 0}, "expected a number above 0"),
        ({"loss": losses.Squared(), "class_weights": (1.0, 1.0)}, "expected none, for it has no classes"),
        ({"loss": losses.CrossEntropy(), "outputs": 3, "class_weights": (1.0, -1.0, 1.0)}, "expected 3 numbers of 0"),
    ],
)
def test_a_head_of_wrong_options_is_refused(options, words):
    """The message names the option."""
    with pytest.raises(UsageError, match=words):
        Head(**options)


WRONG = {"name": 1, "options": [], "outputs": 1, "scale": 1, "class_weights": []}


@pytest.mark.parametrize("plain", [5, [], [5], [{}], [{"name": "squared"}], "text", [WRONG]])
def test_plain_data_that_is_none_of_heads_is_one_error(plain):
    """As a stranger's file may have it."""
    with pytest.raises(UsageError, match="head"):
        losses.by_name("heads", heads=plain)
