"""What stands around the network of a table: calibrated probabilities, class weights, thresholds, intervals, kinds of
targets.
"""

from pathlib import Path

import numpy as np
import pytest

import backpass as bp
from backpass import losses
from backpass.errors import TableError, UsageError
from backpass.recipes import plan

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"
PENGUINS, ABALONE, IRIS = (EXAMPLES / f"{name}.csv" for name in ("penguins", "abalone", "iris"))
QUICK = {"epochs": 3, "hidden": (8,), "members": 1}


def two_classes(rows=600, seed=0, share=0.1):
    """A table of two numbers, one of which tells of a rare class, and a class."""
    rng = np.random.default_rng(seed)
    rare = rng.random(rows) < share
    x = rng.normal(size=rows) + 1.5 * rare
    return {"x": x, "z": rng.normal(size=rows), "rare": np.where(rare, "yes", "no").tolist()}


def again(outcome, tmp_path):
    outcome.model.save(tmp_path / "m.safetensors")
    return bp.load(tmp_path / "m.safetensors")


# Temperature


def test_probabilities_are_those_of_outputs_divided_by_the_temperature(tmp_path):
    """Of a network trained far too long on few rows; in the saved model too, and in its scores."""
    table = two_classes(300, share=0.4)
    outcome = bp.train(table, "rare", recipe={"hidden": (64,), "epochs": 60, "dropout": 0.0, "patience": 60})
    model = again(outcome, tmp_path)
    temperature = model.tabular.calibration.temperature
    assert temperature != 1
    inputs, _ = model.tabular.encode(bp.Table.from_data(table))
    expected = 1 / (1 + np.exp(-model.outputs(inputs)[:, 0].astype(float) / temperature))
    np.testing.assert_allclose(model.predict_table(table).probabilities[:, 1], expected, rtol=1e-4, atol=1e-6)


def test_the_temperature_does_not_raise_the_log_loss_of_the_rows_that_validate():
    table = two_classes(400, share=0.5)
    planned = plan(table, "rare", validation=0.2, recipe=QUICK)
    model, held_out = planned.fit().model, planned.prepared.validation
    plain = losses.BinaryCrossEntropy().predictions(model.outputs(held_out.inputs).astype(np.float64))
    own = model.predict_arrays(held_out.inputs).reshape(-1)
    tempered, before = (-np.log(np.where(held_out.targets == 1, p, 1 - p)).mean() for p in (own, plain.reshape(-1)))
    assert tempered <= before + 1e-6


def test_without_rows_that_validate_nothing_is_calibrated():
    calibration = bp.train(IRIS, "species", validation=0, recipe=QUICK).model.tabular.calibration
    assert calibration.to_json() is None


# Class weights


def test_class_weights_by_label_are_the_balanced_ones_where_they_are_equal():
    table = two_classes(200)
    planned = plan(table, "rare", class_weights="balanced", recipe=QUICK)
    counts = np.bincount(planned.prepared.train.targets)
    by_label = {name: counts.sum() / (2 * count) for name, count in zip(("no", "yes"), counts, strict=True)}
    assert planned.fit().model.weights == bp.train(table, "rare", class_weights=by_label, recipe=QUICK).model.weights


def test_balanced_weights_let_a_rare_class_be_answered_as_often_as_it_is_told_apart(tmp_path):
    table = two_classes(1500, share=0.05)
    plain, weighed = (bp.train(table, "rare", class_weights=w, recipe={"epochs": 15}) for w in (None, "balanced"))
    often = [(outcome.model.predict(table) == "yes").mean() for outcome in (plain, weighed)]
    assert often[0] < 0.1 < often[1]
    told = " ".join(again(weighed, tmp_path).calibration_told({}))
    assert "class weights: yes" in told
    assert "probabilities are as if" in told


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"yes": 5}, 'has no weight for "no"'),
        ({"yes": 5, "no": 1, "maybe": 2}, 'names "maybe"'),
        ({"yes": -1, "no": 1}, "--class-weights yes=-1: expected a number above 0, such as yes=5"),
        ({"yes": float("nan"), "no": 1}, "--class-weights yes=nan: expected a number above 0"),
        ({"yes": 0}, "--class-weights yes=0: expected .* to learn without a class, leave its rows out"),
        ("equal", "--class-weights is 'equal', expected balanced or a number by label"),
    ],
    ids=str,
)
def test_class_weights_that_cannot_be_are_one_line(given, told):
    with pytest.raises(UsageError, match=told):
        plan(two_classes(100), "rare", class_weights=given)


def test_class_weights_may_be_named_by_truth_values_and_numbers():
    table = {
        "x": list(range(60)),
        "y": [place % 2 for place in range(60)],
        "b": [place % 3 == 0 for place in range(60)],
    }
    for target, weights in (("y", {0: 1, 1: 3}), ("b", {True: 3, False: 1})):
        calibration = plan(table, target, class_weights=weights, recipe=QUICK).fit().model.tabular.calibration
        assert calibration.class_weights == (1.0, 3.0)


# Threshold


def test_a_threshold_is_chosen_stored_and_followed(tmp_path):
    table = two_classes(1500)
    recipe = QUICK | {"members": 4}
    outcome = bp.train(table, "rare", threshold="f1", recipe=recipe)
    model = again(outcome, tmp_path)
    threshold = model.tabular.calibration.threshold
    assert threshold.metric == "f1"
    found = model.predict_table(table)
    np.testing.assert_array_equal(found.values == "yes", found.probabilities[:, 1] >= threshold.value)
    assert {"f1", "balanced_accuracy", "youden"} <= set(outcome.metrics)
    assert outcome.metrics["f1"] > bp.train(table, "rare", threshold=0.5, recipe=recipe).metrics["f1"]


def test_a_threshold_that_is_a_number_is_that():
    table = two_classes(300)
    model = bp.train(table, "rare", threshold=0.0, recipe=QUICK).model
    assert set(model.predict(table)) == {"yes"}


@pytest.mark.parametrize(
    ("table", "target", "options", "told"),
    [
        (IRIS, "species", {"threshold": "f1"}, "--threshold goes with two classes, and the target is 3 classes"),
        (ABALONE, "Rings", {"threshold": 0.4}, "--threshold goes with two classes, and the target is a number"),
        (PENGUINS, "sex", {"threshold": "f1", "validation": 0}, "--threshold f1 is chosen on rows held out"),
        (PENGUINS, "sex", {"threshold": "f2"}, "threshold is 'f2', expected a number from 0 to 1, or f1"),
        (PENGUINS, "sex", {"threshold": 1.5}, "threshold is 1.5, expected a number from 0 to 1"),
        (PENGUINS, "sex", {"interval": 0.9}, "--interval goes with numbers"),
        (ABALONE, "Rings", {"interval": 90}, "--interval is 90, expected a part of the rows between 0 and 1"),
        (ABALONE, "Rings", {"interval": 0.9, "validation": 0}, "--interval needs rows held out to calibrate"),
        (PENGUINS, "body_mass_g", {"interval": 0.99}, "--interval 0.99 needs 99 rows to calibrate, and 34 are held"),
        (PENGUINS, "sex", {"target_kind": "count"}, "holds text"),
        (IRIS, "species", {"target_kind": "count", "task": "classification"}, "--target-kind goes with numbers"),
        (ABALONE, "Rings", {"target_kind": "whole"}, "--target-kind is 'whole', expected number or count or positive"),
    ],
    ids=str,
)
def test_what_does_not_go_with_the_target_is_one_line_before_training(table, target, options, told):
    with pytest.raises(bp.BackpassError, match=told) as caught:
        plan(table, target, **options)
    assert "\n" not in str(caught.value)


def test_a_threshold_is_not_chosen_on_rows_of_one_class():
    table = {"x": list(range(60)), "y": ["no"] * 40 + ["yes"] * 20, "when": [*range(25, 60), *range(25)]}
    with pytest.raises(UsageError, match="chosen on rows of both classes, and the 6 that validate are of one"):
        plan(table, "y", threshold="f1", order="when")


# Intervals


def test_rows_that_calibrate_have_no_say_in_the_network():
    """Half of what is held out, drawn by the seed, and none of those that tell when training ends."""
    planned = plan(ABALONE, "Rings", interval=0.9, recipe=QUICK)
    rows = planned.prepared.rows()
    assert (rows["validation"], rows["calibration"], rows["test"]) == (417, 418, 418)
    used = planned.arguments()["validation"][0]
    both = np.concatenate([used, planned.prepared.calibration.inputs])
    whole = plan(ABALONE, "Rings", validation=0.2, recipe=QUICK).prepared.validation.inputs
    np.testing.assert_array_equal(np.unique(both, axis=0), np.unique(whole, axis=0))


def grouped(groups, rows=300):
    rng = np.random.default_rng(0)
    x = rng.normal(size=rows)
    return {
        "x": x,
        "y": x + rng.normal(size=rows),
        "whose": [f"g{number}" for number in rng.integers(groups, size=rows)],
    }


def test_whole_groups_calibrate():
    """None that validates; of more groups than that, and where they are few, what they promise is said and kept."""
    table, whose = grouped(30), np.array(grouped(30)["whose"])
    prepared = (planned := plan(table, "y", group="whose", interval=0.9, recipe=QUICK)).prepared
    held = whose[prepared.division.split.validation]
    validating, calibrating = (held[part.chosen] for part in (prepared.validation, prepared.calibration))
    assert not set(validating) & set(calibrating)
    assert abs(len(validating) - len(calibrating)) <= 10
    assert len(set(calibrating)) == 3
    assert "takes 9 groups to calibrate, and 3 groups are held out" in prepared.notes[-1]
    assert "promise to hold 75 % of rows of new groups" in " ".join(" ".join(planned.prepared.describe()).split())
    assert planned.fit().model.tabular.calibration.intervals.level == 0.75
    assert plan(table, "y", group="whose", interval=0.75, recipe=QUICK).prepared.notes == ()
    with pytest.raises(UsageError, match="--interval takes 2 groups or more that are held out"):
        plan(grouped(5), "y", group="whose", interval=0.9, recipe=QUICK)


def test_intervals_are_stored_and_hold_about_what_was_promised(tmp_path):
    outcome = bp.train(ABALONE, "Rings", interval=0.9, test=0.4, recipe=QUICK)
    model = again(outcome, tmp_path)
    found = model.predict_table(ABALONE)
    assert np.all((found.lower < found.values) & (found.values < found.upper))
    assert outcome.metrics["interval_coverage"] == pytest.approx(0.9, abs=0.05)
    assert model.evaluate(ABALONE)["interval_width"] == pytest.approx((found.upper - found.lower).mean())


def test_each_of_several_targets_has_its_own_intervals():
    outcome = bp.train(IRIS, "petal_length,petal_width", interval=0.7, recipe=QUICK)
    found = outcome.model.predict_table(IRIS)
    widths = (found.upper - found.lower)[0]
    assert widths.shape == (2,)
    assert widths[0] != widths[1]
    assert {"interval_coverage", "interval_coverage_petal_width"} <= set(outcome.metrics)


def test_a_run_with_everything_asked_for_is_done_again_to_the_same_bits(tmp_path):
    from backpass.recipes.again import compare, plan_of

    bp.train(ABALONE, "Rings", interval=0.9, target_kind="count", recipe=QUICK, out=tmp_path / "a")
    weights = {"FEMALE": 2, "MALE": 1}
    bp.train(PENGUINS, "sex", threshold="f1", class_weights=weights, recipe=QUICK, out=tmp_path / "b")
    for name in "ab":
        assert compare(tmp_path / name, plan_of(tmp_path / name)).same
        model = bp.load(tmp_path / name)
        assert plan_of(tmp_path / name).fit().model.tabular.calibration == model.tabular.calibration


# Kinds of targets


def test_counts_are_learned_as_rates(tmp_path):
    """Of counts whose logarithm is a line a network without hidden layers finds the line."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 4000)
    rate = np.exp(2 + 1.5 * x)
    recipe = {"hidden": (), "epochs": 60, "learning_rate": 0.01, "weight_decay": 0.0}
    outcome = bp.train({"x": x, "y": rng.poisson(rate)}, "y", target_kind="count", recipe=recipe)
    assert type(outcome.model.loss) is losses.Poisson
    np.testing.assert_allclose(again(outcome, tmp_path).predict({"x": x})[:, 0], rate, rtol=0.1)


def test_positive_targets_are_learned_by_their_logarithms(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 3000)
    y = np.exp(5 + 3 * x + 0.1 * rng.normal(size=3000))
    recipe = {"hidden": (), "epochs": 60, "learning_rate": 0.01, "weight_decay": 0.0}
    outcome = bp.train({"x": x, "y": y}, "y", target_kind="positive", interval=0.9, recipe=recipe)
    model = again(outcome, tmp_path)
    np.testing.assert_allclose(model.predict({"x": x})[:, 0], np.exp(5 + 3 * x), rtol=0.1)
    assert model.predict_table({"x": [-30.0]}).lower[0, 0] == 0


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        ("count", -1, r'target "y" is -1 in row 4, and a count is 0 or a whole number above'),
        ("count", 1.5, r'target "y" is 1.5 in row 4, and a count'),
        ("positive", 0, r'target "y" is 0 in row 4, and a positive target is above 0'),
        ("positive", -2, r'target "y" is -2 in row 4'),
    ],
)
def test_a_value_that_is_not_of_the_kind_is_refused_by_its_row(kind, value, told):
    y = [1 + place % 30 for place in range(90)]
    y[3] = value
    with pytest.raises(TableError, match=told):
        plan({"x": list(range(90)), "y": y}, "y", target_kind=kind, validation=0, test=0)


def test_a_kind_of_target_says_that_it_is_a_number():
    """Whole numbers from 0 up without gaps would be classes."""
    table = {"x": list(range(90)), "y": [place % 5 for place in range(90)]}
    assert plan(table, "y").prepared.division.schema.task == "classification"
    assert plan(table, "y", target_kind="count").prepared.division.schema.task == "regression"
