"""The options of the command that stand around the network of a table: what they print, and what they leave."""

import json
import re

import numpy as np
import pytest
from cli_helpers import ABALONE, IRIS, PENGUINS, QUICK, write


def trained(run, *arguments):
    """What training says."""
    ran = run("train", *arguments, "--out", "m", *QUICK)
    assert ran.status == 0, ran.err
    return ran.out


def test_training_and_evaluating_tell_the_temperature_and_the_calibration_error(run):
    told = trained(run, IRIS, "--target", "species")
    assert "calib. error" in told
    value = re.search(r"temperature ([\d.]+): what the held-out rows ask", told)[1]
    evaluated = run("evaluate", "m", IRIS).out
    assert f"temperature {value}" in evaluated
    assert re.search(r"calibration_error +0\.\d+", evaluated)
    assert json.loads(run("evaluate", "m", IRIS, "--json").out)["metrics"]["calibration_error"] > 0


def test_intervals_are_asked_for_in_training_and_written_in_predicting(run):
    told = trained(run, ABALONE, "--target", "Rings", "--interval", "0.9")
    assert "validating on 417, calibrating on 418, testing on 418" in told
    assert "intervals: 90 % of rows like those held out are to lie inside" in told
    assert re.search(r"of these rows [\d.]+ % do; their mean width is [\d.]+", told)
    rows = run("predict", "m", ABALONE, "--interval").rows
    assert rows[0] == ["prediction", "lower", "upper"]
    values = np.array(rows[1:], float)
    assert np.all((values[:, 1] < values[:, 0]) & (values[:, 0] < values[:, 2]))
    assert run("predict", "m", ABALONE).rows[0] == ["prediction"]
    metrics = json.loads(run("evaluate", "m", ABALONE, "--json").out)["metrics"]
    assert 0.8 < metrics["interval_coverage"] < 1
    assert metrics["interval_width"] == pytest.approx(np.mean(values[:, 2] - values[:, 1]), rel=1e-6)


def test_intervals_of_several_targets_have_their_names(run):
    trained(run, IRIS, "--target", "petal_length,petal_width", "--interval", "0.7")
    names = ["petal_length", "petal_width"]
    expected = [f"{part}_{name}" for name in names for part in ("prediction", "lower", "upper")]
    assert run("predict", "m", IRIS, "--interval").rows[0] == expected


@pytest.mark.parametrize("target", ["species", "petal_length"])
def test_intervals_of_a_model_without_any_are_one_line(run, target):
    trained(run, IRIS, "--target", target)
    ran = run("predict", "m", IRIS, "--interval")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("backpass: --interval goes with a model that was trained with --interval")
    assert ran.err.count("\n") == 1


def test_a_threshold_and_class_weights_are_told_in_training_and_evaluating(run):
    told = trained(run, PENGUINS, "--target", "sex", "--threshold", "f1", "--class-weights", "male=1, female=2.5")
    evaluated = run("evaluate", "m", PENGUINS).out
    for text in (told, evaluated):
        assert re.search(r'threshold: the answer is "MALE" from a probability of [\d.]+ on, the best f1 of the', text)
        assert re.search(r"of these rows: f1 [\d.]+, balanced_accuracy [\d.]+, youden -?[\d.]+", text)
        assert "class weights: FEMALE 2.5, MALE 1" in text
        assert "scores are of the rows as they are" in text
    value = float(re.search(r"from a probability of ([\d.]+)", told)[1])
    answers = run("predict", "m", PENGUINS, "--proba").rows[1:]
    for answer, _, male in answers:
        assert (answer == "MALE") == (float(male) >= value) or abs(float(male) - value) < 1e-2


def test_class_weight_is_class_weights(run):
    weights = [
        json.loads(run("train", IRIS, "--target", "species", option, "balanced", "--json", *QUICK).out)["weights"]
        for option in ("--class-weight", "--class-weights")
    ]
    assert weights[0] == weights[1]


def test_counts_are_never_below_0_nor_are_their_intervals(run, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    path = write(tmp_path / "t.csv", ["x", "y"], zip(x, rng.poisson(np.exp(x / 2)), strict=True))
    trained(run, path, "--target", "y", "--target-kind", "count", "--interval", "0.8")
    values = np.array(run("predict", "m", path, "--interval").rows[1:], float)
    assert values.min() == 0
    assert values[:, 0].min() > 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--class-weights", "yes"], '--class-weights is "yes", expected balanced, or LABEL=WEIGHT, such as yes=5'),
        (["--class-weights", "setosa=1"], '--class-weights has no weight for "versicolor"'),
        (["--class-weights", "setosa=-1"], "--class-weights setosa=-1: expected a number above 0, such as setosa=5"),
        (["--class-weights", "setosa=0"], "--class-weights setosa=0: expected a number above 0, such as setosa=5"),
        (["--threshold", "best"], '--threshold is "best", expected a number from 0 to 1, or f1, balanced_accuracy'),
        (["--threshold", "1.5"], '--threshold is "1.5", expected a number from 0 to 1'),
        (["--order", "species"], "--order species: is the target"),
        (["--order", "when"], '--order when: iris.csv has no column "when"'),
        (["--group", "whom"], '--group whom: iris.csv has no column "whom"'),
        (["--test-part", "1.5"], "--test-part is 1.5, expected a part of the rows from 0 to below 1"),
        (["--test-part", "0.6", "--validation-part", "0.5"], "--test-part 0.6 and --validation-part 0.5 leave no"),
        (["--clip", "-1"], "--clip is -1.0, expected a number above 0, or 0 for none"),
        (["--threshold", "f1"], "--threshold goes with two classes, and the target is 3 classes"),
        (["--interval", "0.9"], "--interval goes with numbers, and the target is classes"),
        (["--target-kind", "count"], "where regression needs numbers: correct it, or leave out --target-kind"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_does_not_fit_is_one_line_and_leaves_nothing(run, tmp_path, options, told):
    ran = run("train", IRIS, "--target", "species", *options)
    assert ran.status == 2
    assert told in ran.err
    assert ran.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_diverges_names_the_parameter_and_options_that_there_are(run, tmp_path):
    """The value that overflows first is one that the optimizer keeps; all that is advised is an option of `train`."""
    x = np.linspace(-1, 1, 200)
    path = write(tmp_path / "t.csv", ["x", "y"], zip(x, 3e18 * x, strict=True))
    told = run("train", path, "--target", "y", "--no-scale", "--effort", "fast", "--hidden", "0")
    assert told.status == 2
    assert re.search(r"what the optimizer keeps of the gradients of output\.weight is no longer finite", told.err)
    assert "or clip gradients (options of backpass train: --learning-rate, --clip, --no-scale)" in told.err
    offered = run("train", "--help").out
    assert all(option in offered for option in ("--learning-rate", "--clip", "--no-scale"))


def test_gradients_can_be_held_to_a_norm(run, tmp_path):
    """The training above then goes well, and does not tell others to clip."""
    x = np.linspace(-1, 1, 200)
    path = write(tmp_path / "t.csv", ["x", "y"], zip(x, 3e18 * x, strict=True))
    ran = run("train", path, "--target", "y", "--no-scale", "--clip", "1", "--out", "m", *QUICK)
    assert ran.status == 0, ran.err
    assert json.loads((tmp_path / "m/run.json").read_text())["asked"]["recipe"]["clip"] == 1.0
