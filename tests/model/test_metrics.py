"""The metrics: worked by hand, and beside scikit-learn's."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backpass.model import Predictions, metrics
from backpass.model.tabular import both_classes


@pytest.fixture(scope="session")
def sklearn():
    """scikit-learn's metrics, the peer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("sklearn.metrics", reason="scikit-learn, the peer of the metrics, is not installed")


def test_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.5, 0.5]])
    labels = np.array([0, 1, 1, 0])
    assert metrics.accuracy(probabilities, labels) == 0.75
    assert metrics.log_loss(probabilities, labels) == pytest.approx(-np.log([0.9, 0.6, 0.2, 0.5]).mean())
    # Scores of positives 0.6 and 0.2, of negatives 0.1 and 0.5: three of the four pairs stand right.
    assert metrics.auc(probabilities[:, 1], labels) == 0.75
    predicted, actual = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0])
    assert metrics.rmse(predicted, actual) == pytest.approx(math.sqrt(5 / 3))
    assert metrics.mae(predicted, actual) == 1.0
    assert metrics.r2(predicted, actual) == pytest.approx(1 - 5 / 2)


def test_ties_count_half():
    assert metrics.auc(np.zeros(10), np.arange(10) % 2) == 0.5
    assert metrics.auc(np.array([1.0, 1.0, 0.0]), np.array([1, 0, 0])) == 0.75


def test_what_is_not_defined_is_nan():
    assert math.isnan(metrics.auc(np.arange(3.0), np.ones(3)))
    assert math.isnan(metrics.r2(np.arange(3.0), np.ones(3)))


def test_a_probability_of_0_for_what_happened_costs_much_but_not_everything():
    assert metrics.log_loss(np.array([[0.0, 1.0]]), np.array([0])) == pytest.approx(-math.log(1e-15))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_auc_is_scikit_learns_with_many_ties(sklearn, pairs):
    scores, labels = np.array([p[0] / 6 for p in pairs]), np.array([p[1] for p in pairs])
    if labels.all() or not labels.any():
        return
    assert metrics.auc(scores, labels) == pytest.approx(sklearn.roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_classes_are_scikit_learns(sklearn, seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(4), 200)
    labels = np.concatenate([np.arange(4), rng.integers(0, 4, 196)])
    assert metrics.accuracy(probabilities, labels) == sklearn.accuracy_score(labels, probabilities.argmax(1))
    assert metrics.log_loss(probabilities, labels) == pytest.approx(sklearn.log_loss(labels, probabilities), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_numbers_are_scikit_learns(sklearn, seed):
    rng = np.random.default_rng(seed)
    actual, predicted = rng.normal(5, 100, 300), rng.normal(5, 90, 300)
    assert metrics.rmse(predicted, actual) == pytest.approx(sklearn.root_mean_squared_error(actual, predicted))
    assert metrics.mae(predicted, actual) == pytest.approx(sklearn.mean_absolute_error(actual, predicted))
    assert metrics.r2(predicted, actual) == pytest.approx(sklearn.r2_score(actual, predicted))


def test_several_targets_have_the_mean_of_their_scores_and_their_own():
    predicted, actual = np.array([[1.0, 10.0], [2.0, 30.0]]), np.array([[1.0, 20.0], [3.0, 30.0]])
    scores = Predictions(("a", "b"), predicted).scores(actual)
    assert set(scores) == {f"{name}{of}" for name in ("rmse", "mae", "r2") for of in ("", "_a", "_b")}
    assert scores["mae"] == pytest.approx((scores["mae_a"] + scores["mae_b"]) / 2) == 2.75


def test_two_classes_have_an_auc_and_many_have_none():
    labels = np.array([0, 1, 1])
    for classes in (2, 3):
        found = Predictions(("y",), labels, ("a", "b", "c")[:classes], np.full((3, classes), 1 / classes)).scores(
            labels
        )
        assert ("auc" in found) == (classes == 2)


def test_one_probability_of_two_classes_stands_for_both():
    np.testing.assert_array_equal(both_classes(np.array([[0.25], [1.0]])), [[0.75, 0.25], [0.0, 1.0]])
    np.testing.assert_array_equal(both_classes(np.array([0.25])), [[0.75, 0.25]])


def test_numbers_too_large_to_be_squared_give_a_score_that_is_not_finite_and_no_warning():
    scores = Predictions(("y",), np.array([[1e300], [0.0]])).scores(np.array([[-1e300], [0.0]]))
    assert not math.isfinite(scores["rmse"])
