"""What held-out rows tell of a network: temperature, threshold and intervals, worked by hand and by simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backpass import losses
from backpass.errors import ModelFileError, UsageError
from backpass.model import Predictions, Tabular, metrics
from backpass.model.calibration import (
    Calibration,
    Intervals,
    Threshold,
    choose_threshold,
    conform,
    fit_temperature,
    require_enough,
)

LEVELS = pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])


def drawn(rows, temperature, classes, seed=0):
    """Outputs, and labels that were drawn with the probabilities of the outputs divided by `temperature`."""
    rng = np.random.default_rng(seed)
    outputs = rng.normal(size=(rows, classes)) * 3
    shifted = outputs / temperature + rng.gumbel(size=outputs.shape)
    return outputs, shifted.argmax(axis=1)


# Temperature


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("classes", [2, 5])
def test_the_temperature_that_labels_were_drawn_with_is_found(temperature, classes):
    """Within a tenth on 4,000 rows, for one output of two classes as for one output a class."""
    outputs, labels = drawn(4000, temperature, classes)
    found = fit_temperature(losses.CrossEntropy(), outputs, labels)
    assert found == pytest.approx(temperature, rel=0.1)
    if classes == 2:
        one = (outputs[:, 1] - outputs[:, 0]).astype(np.float32)
        assert fit_temperature(losses.BinaryCrossEntropy(), one, labels) == pytest.approx(found, rel=1e-4)


def test_a_temperature_lowers_the_log_loss_of_the_rows_it_was_found_on():
    for seed in range(20):
        outputs, labels = drawn(30, 1.5, 3, seed)
        loss = losses.CrossEntropy()
        found = fit_temperature(loss, outputs, labels)
        before, after = (metrics.log_loss(loss.predictions(outputs / t), labels) for t in (1.0, found))
        assert after < before or found == 1


def test_few_rows_that_are_all_right_do_not_ask_for_certainty():
    """The lowest log loss would be that of a temperature of 0."""
    outputs, labels = np.eye(3)[[0, 1, 2, 0, 1]] * 4, np.array([0, 1, 2, 0, 1])
    assert 0.7 < fit_temperature(losses.CrossEntropy(), outputs, labels) < 1


def test_weights_of_rows_are_rows_that_stand_more_than_once_and_their_scale_says_nothing():
    outputs, labels = drawn(200, 2.0, 3)
    often = np.arange(200) % 3
    twice = fit_temperature(losses.CrossEntropy(), np.repeat(outputs, often, 0), np.repeat(labels, often))
    weighed = [fit_temperature(losses.CrossEntropy(), outputs, labels, often * scale) for scale in (1.0, 9.0)]
    assert weighed[0] == pytest.approx(weighed[1], rel=1e-6) == pytest.approx(twice, rel=1e-2)


def test_no_weight_at_all_changes_nothing():
    outputs, labels = drawn(20, 3.0, 3)
    assert fit_temperature(losses.CrossEntropy(), outputs, labels, np.zeros(20)) == 1


# Threshold


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=30),
    st.sampled_from(sorted(metrics.RATES)),
)
def test_no_threshold_is_better_than_the_one_that_is_chosen(pairs, metric):
    """Every other is tried on the same rows, ties and rows of one class among them."""
    yes, labels = np.array([p[0] / 8 for p in pairs]), np.array([int(p[1]) for p in pairs])
    probabilities = np.stack([1 - yes, yes], axis=1)
    if len(set(labels)) < 2:
        return
    found = choose_threshold(metric, probabilities, labels)
    reached = metrics.rates(found.answers(probabilities), labels)[metric]
    others = [metrics.rates(Threshold(cut).answers(probabilities), labels)[metric] for cut in np.linspace(0, 1, 33)]
    assert reached >= max(others) - 1e-12
    assert found.metric == metric


def test_of_equally_good_thresholds_the_one_nearest_to_a_half_is_chosen():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.1, 0.9]])
    assert choose_threshold("youden", probabilities, np.array([0, 0, 1, 1])).value == pytest.approx(0.45)


def test_rates_by_hand():
    """Of five answers of yes three are right, and one yes is missed of six rows that are none."""
    answers, labels = np.array([1] * 5 + [0] * 7), np.array([1, 1, 1, 0, 0, 1, *[0] * 6])
    found = metrics.rates(answers, labels)
    assert found["f1"] == pytest.approx(2 * (3 / 5) * (3 / 4) / (3 / 5 + 3 / 4))
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 6 / 8) / 2)
    assert found["youden"] == pytest.approx(3 / 4 + 6 / 8 - 1)


def test_rates_are_scikit_learns():
    peer = pytest.importorskip("sklearn.metrics", reason="scikit-learn, the peer of the metrics, is not installed")
    rng = np.random.default_rng(0)
    answers, labels = rng.integers(0, 2, 200), rng.integers(0, 2, 200)
    found = metrics.rates(answers, labels)
    assert found["f1"] == pytest.approx(peer.f1_score(labels, answers))
    assert found["balanced_accuracy"] == pytest.approx(peer.balanced_accuracy_score(labels, answers))


def test_accuracy_is_of_the_answers_that_a_threshold_gives():
    probabilities, labels = np.array([[0.7, 0.3], [0.9, 0.1]]), np.array([1, 0])
    given = Predictions(("y",), np.array(["no", "no"]), ("no", "yes"), probabilities, Threshold(0.2))
    assert given.scores(labels)["accuracy"] == 1.0
    assert given.scores(labels)["f1"] == 1.0


# The calibration error


def test_the_calibration_error_by_hand():
    """Three rows at 0.9, two of them right, and one at 0.6 that is wrong: (3 * |2/3 - 0.9| + 0.6) / 4."""
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.4, 0.6]])
    found = metrics.calibration_error(probabilities, np.array([0, 1, 1, 0]))
    assert found == pytest.approx((3 * abs(2 / 3 - 0.9) + 0.6) / 4)


def test_certainty_that_is_right_has_no_calibration_error():
    assert metrics.calibration_error(np.eye(4, dtype=np.float32), np.arange(4)) == 0


# Intervals


def growing(rng, rows):
    """Predictions, and what was right: errors grow with the prediction."""
    predicted = rng.uniform(1, 10, size=(rows, 1))
    return predicted, predicted * (1 + 0.3 * rng.normal(size=predicted.shape))


@LEVELS
@pytest.mark.parametrize("rows", [30, 120, 700])
def test_intervals_hold_what_is_promised_and_little_more(level, rows):
    """Over 400 draws of rows, of errors that grow with the prediction: what is promised, give or take chance."""
    rng, inside = np.random.default_rng(rows), []
    for _ in range(400):
        predicted, actual = growing(rng, 200)
        lower, upper = conform(level, *growing(rng, rows), *growing(rng, rows)).around(predicted)
        inside.append(((lower <= actual) & (actual <= upper)).mean())
    mean, error = np.mean(inside), np.std(inside) / 20
    assert level - 4 * error <= mean <= level + 1 / (min(rows, 100) + 1) + 4 * error


def test_what_is_promised_holds_however_wrong_the_other_rows_tell_where_errors_are_large():
    """They had a say in the network, and may know their answers by heart: then only the widths are worse."""
    rng, inside = np.random.default_rng(0), []
    for _ in range(400):
        predicted, actual = growing(rng, 200)
        others = rng.uniform(1, 10, size=(300, 1))
        upside_down = others + rng.normal(size=others.shape) / others**2
        lower, upper = conform(0.9, *growing(rng, 90), others, upside_down).around(predicted)
        inside.append(((lower <= actual) & (actual <= upper)).mean())
    mean, error = np.mean(inside), np.std(inside) / 20
    assert 0.9 - 4 * error <= mean <= 0.9 + 1 / 91 + 4 * error


def test_intervals_are_wide_where_errors_are_large_with_few_rows_too():
    """Of 90 rows that calibrate, in each quarter of the predictions about 90 % of new rows are inside."""
    rng, inside = np.random.default_rng(2), []
    for _ in range(100):
        predicted, actual = growing(rng, 1000)
        lower, upper = conform(0.9, *growing(rng, 90), *growing(rng, 500)).around(predicted)
        quarter = np.searchsorted([3.25, 5.5, 7.75], predicted[:, 0])
        hit = ((lower <= actual) & (actual <= upper))[:, 0]
        inside.append([hit[quarter == number].mean() for number in range(4)])
    assert np.abs(np.mean(inside, axis=0) - 0.9).max() < 0.05  # with one width it is 0.15


def test_half_a_width_is_the_error_of_the_rank_that_few_rows_need():
    """Of 9 errors, ceil(10 * 0.8) = 8: the second largest; 0.9 takes the largest."""
    predicted, actual = np.zeros((9, 1)), np.arange(1.0, 10.0)[:, None]
    assert conform(0.8, predicted, actual, predicted, actual).halves == ((8.0,),)
    assert conform(0.9, predicted, actual, predicted, actual).halves == ((9.0,),)


def test_half_a_width_by_hand_where_rows_are_of_groups():
    """Of groups with the errors 1, then 2 and 3, then 4 to 7, each row has a whole, a half and a fourth of a part; a
    new group is the fourth. What three groups cannot promise, the intervals do not say.
    """
    predicted, actual, groups = np.zeros((7, 1)), np.arange(1.0, 8.0)[:, None], np.array([5, 8, 8, 6, 6, 6, 6])
    for level, told, half in ((0.5, 0.5, 3.0), (0.6, 0.6, 5.0), (0.9, 0.75, 7.0)):
        found = conform(level, predicted, actual, predicted, actual, groups)
        assert (found.level, found.halves) == (told, ((half,),))


def test_what_is_promised_for_rows_of_new_groups_holds():
    """Of 12 groups whose rows are all off by the same: by rows alone 11 of 13 draws would hold it, not 9 of 10."""
    rng, inside = np.random.default_rng(0), []
    for _ in range(300):
        off, new = rng.normal(size=12).repeat(20)[:, None], rng.normal(size=200)[:, None]
        found = conform(0.9, np.zeros_like(off), off, np.zeros_like(off), off, np.arange(12).repeat(20))
        inside.append((np.abs(new) <= found.halves[0][0]).mean())
    assert found.level == 0.9
    assert np.mean(inside) >= 0.9 - 4 * np.std(inside) / np.sqrt(300)


def test_half_a_width_by_hand_where_errors_differ_along_the_predictions():
    """Other rows: 20 errors of 1 below 5, 20 of 3 above it; with five rows of the mean of 2 each, 1.2 and 2.8."""
    others = np.concatenate([np.linspace(0, 4, 20), np.linspace(6, 9, 20)])[:, None]
    wrong = others + np.where(others < 5, 1, 3)
    predicted = np.array([[1.0]] * 5 + [[8.0]] * 4)
    actual = predicted + np.array([[6.0]] * 5 + [[28.0]] * 4)
    found = conform(0.9, predicted, actual, others, wrong)
    assert found.edges == ((5.0,),)
    assert found.halves[0] == pytest.approx((10 * 1.2, 10 * 2.8))


def test_too_few_rows_for_a_level_are_told_with_how_many_it_takes():
    with pytest.raises(UsageError, match=r"--interval 0.9 needs 9 rows to calibrate, and 8 are held out"):
        require_enough(0.9, 8)
    with pytest.raises(UsageError, match=r"--interval 0.99 needs 99 rows"):
        conform(0.99, np.zeros((98, 1)), np.ones((98, 1)), np.zeros((5, 1)), np.zeros((5, 1)))
    require_enough(0.9, 9)


def test_with_many_rows_each_range_of_predictions_has_its_own_width():
    """Errors of a tenth of the prediction: widths grow, where one width for all would be that of the largest."""
    rng = np.random.default_rng(1)
    predicted = rng.uniform(1, 100, size=(2000, 1))
    actual = predicted * (1 + 0.1 * rng.normal(size=predicted.shape))
    found = conform(0.9, predicted, actual, predicted, predicted + 1)  # other rows that see no difference
    assert len(found.edges[0]) == 9
    assert np.all(np.diff(found.halves[0]) > 0)
    lower, upper = found.around(np.array([[2.0], [99.0]]))
    assert upper[0, 0] - lower[0, 0] < (upper[1, 0] - lower[1, 0]) / 5


def test_a_range_without_rows_gives_way_to_one_rank_for_all():
    predicted, far = np.ones((300, 1)), np.linspace(5, 9, 300)[:, None]
    found = conform(0.9, predicted, predicted + 2, far, far + 1)
    assert found.halves[0] == pytest.approx((2.0,) * len(found.halves[0]))


@pytest.mark.parametrize("others", [np.zeros((0, 1)), np.full((50, 1), np.inf), np.ones((50, 1))], ids=len)
def test_other_rows_that_tell_nothing_leave_one_width_for_all(others):
    """None, those of a network that overflows, and those without any error."""
    predicted = np.ones((30, 1))
    assert conform(0.9, predicted, predicted + 2, others, np.ones(others.shape)) == Intervals(0.9, ((),), ((2.0,),))


def test_scores_tell_how_many_intervals_hold_the_right_number_and_how_wide_they_are():
    values, actual = np.zeros((4, 1)), np.array([[0.5], [1.0], [1.5], [-3.0]])
    scores = Predictions(("y",), values, lower=values - 1, upper=values + 2).scores(actual)
    assert (scores["interval_coverage"], scores["interval_width"]) == (0.75, 3.0)


# In the model file

FULL = Calibration(1.5, (1.0, 2.0), Threshold(0.3, "f1"))
AROUND = Calibration(intervals=Intervals(0.9, ((1.0, 2.0), ()), ((0.5, 0.6, 0.7), (3.0,))))


def test_what_is_saved_is_what_is_read():
    assert Calibration.from_json(FULL.to_json(), classes=2, targets=1) == FULL
    assert Calibration.from_json(AROUND.to_json(), classes=0, targets=2) == AROUND
    assert Calibration.from_json(Calibration().to_json(), classes=3, targets=1) == Calibration()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda c: c.update(temperature=0), "temperature"),
        (lambda c: c.update(temperature=1e9), "temperature"),
        (lambda c: c.update(class_weights=[1.0]), "class_weights"),
        (lambda c: c.update(class_weights=[1.0, -1.0]), "class_weights"),
        (lambda c: c.update(threshold={"value": 1.5, "metric": "f1"}), "threshold.value"),
        (lambda c: c.update(threshold={"value": 0.5, "metric": "f2"}), "threshold.metric"),
        (lambda c: c.update(threshold=None), "threshold"),
        (lambda c: c.update(intervals=AROUND.to_json()["intervals"]), "intervals.targets"),
        (lambda c: c.update(code="print()"), "code"),
    ],
)
def test_a_calibration_that_was_changed_is_refused_by_the_name_of_the_field(change, field):
    content = FULL.to_json() | {"threshold": dict(FULL.to_json()["threshold"])}
    change(content)
    with pytest.raises(ModelFileError, match=field):
        Calibration.from_json(content, classes=2, targets=1)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda c: c.update(level=1.0), "level"),
        (lambda c: c["targets"].pop(), "targets"),
        (lambda c: c["targets"][0]["edges"].reverse(), "targets"),
        (lambda c: c["targets"][0]["halves"].pop(), "targets"),
        (lambda c: c["targets"][1].update(halves=[-1.0]), "targets"),
        (lambda c: c["targets"][1].update(halves=[]), "targets"),
    ],
)
def test_intervals_that_were_changed_are_refused_by_the_name_of_the_field(change, field):
    content = AROUND.to_json()
    change(content["intervals"])
    with pytest.raises(ModelFileError, match=f"intervals.{field}"):
        Calibration.from_json(content, classes=0, targets=2)


def test_a_threshold_needs_two_classes_and_a_temperature_some():
    with pytest.raises(ModelFileError, match="threshold"):
        Calibration.from_json(Calibration(threshold=Threshold(0.5)).to_json(), classes=3, targets=1)
    with pytest.raises(ModelFileError, match="temperature"):
        Calibration.from_json(Calibration(2.0).to_json(), classes=0, targets=1)


def test_encoders_of_an_old_file_have_no_calibration_and_change_nothing():
    assert Tabular(None, None).calibration == Calibration()
