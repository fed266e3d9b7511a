"""The options of the command that stand around the network of a table: what they print, and what they leave."""

import json
import re
import signal
import subprocess

import numpy as np
import pytest
from cli_helpers import ABALONE, BRIEF, IRIS, PENGUINS, QUICK, command, write

import backpass as bp
from backpass.model.calibration import Calibration
from backpass.recipes.report_page import facts_of_run


def trained(run, *arguments):
    """What training says."""
    ran = run("train", *arguments, "--out", "m", *QUICK)
    assert ran.status == 0, ran.err
    return ran.out


def test_training_and_evaluating_tell_the_temperature_and_the_calibration_error(run):
    told = trained(run, IRIS, "--target", "species")
    assert "calib. error" in told
    line = re.search(r"probabilities are made (more|less) sure, as held-out rows ask \(temperature [\d.]+\)", told)[0]
    evaluated = run("evaluate", "m", IRIS).out
    assert line in evaluated
    assert re.search(r"calibration_error +0\.\d+", evaluated)
    assert json.loads(run("evaluate", "m", IRIS, "--json").out)["metrics"]["calibration_error"] > 0


def test_intervals_are_asked_for_in_training_and_written_in_predicting(run):
    told = trained(run, ABALONE, "--target", "Rings", "--interval", "0.9", *BRIEF)
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
    for text in (" ".join(told.split()), " ".join(evaluated.split())):
        assert re.search(r'threshold: the answer is "MALE" from a probability of [\d.]+ on, the best f1 of the', text)
        assert re.search(r"of these rows: f1 [\d.]+, balanced_accuracy [\d.]+, youden -?[\d.]+", text)
        assert "class weights: FEMALE 2.5, MALE 1" in text
        assert "scores are of rows as they are" in text
        assert text.count("youden") == 1
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
        (["--time", "soon"], '--time is "soon", expected a time above 0, such as 90s, 5m or 1h'),
        (["--time", "-1s"], '--time is "-1s", expected a time above 0'),
        (["--threshold", "1.5"], '--threshold is "1.5", expected a number from 0 to 1'),
        (["--order", "species"], "--order species: is the target"),
        (["--order", "when"], '--order when: iris.csv has no column "when"'),
        (["--group", "whom"], '--group whom: iris.csv has no column "whom"'),
        (["--test-part", "1.5"], "--test-part is 1.5, expected a part of the rows from 0 to below 1"),
        (["--test-part", "0.6", "--validation-part", "0.5"], "--test-part 0.6 and --validation-part 0.5 leave no"),
        (["--clip", "-1"], "--clip is -1.0, expected a number above 0, or 0 for none"),
        (["--threshold", "f1"], "--threshold goes with two classes, and the target is 3 classes"),
        (["--interval", "0.9"], "--interval goes with numbers, and the target is classes"),
        (["--target-kind", "count"], '--target-kind goes with numbers, and target "species" of iris.csv holds text'),
        (["--quantiles", "0.1,0.9"], 'row 1 ("setosa"): leave it out'),
        (["--task", "regression"], "leave out --task regression"),
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


def test_several_targets_are_told_one_by_one(run):
    """Their errors and widths have units of their own, and a mean of those of two targets tells of neither."""
    told = trained(run, IRIS, "--target", "petal_length,petal_width", "--interval", "0.7")
    evaluated = run("evaluate", "m", IRIS)
    metrics = json.loads(run("evaluate", "m", IRIS, "--json").out)["metrics"]
    for name in ("petal_length", "petal_width"):
        assert re.search(rf"  {name}: of these rows [\d.]+ % do; their mean width is [\d.]+", told)
        inside, width = (metrics[f"interval_{part}_{name}"] for part in ("coverage", "width"))
        assert f"  {name}: of these rows {100 * inside:.1f} % do; their mean width is {width:.4g}" in evaluated.out
        shown = [f"{metrics[f'{error}_{name}']:.6g}" for error in ("rmse", "mae", "r2")]
        assert re.search(rf"  {name} +{' +'.join(map(re.escape, shown))}\n", evaluated.out)
    assert f"{metrics['rmse']:.6g}" not in evaluated.out


@pytest.mark.parametrize(
    ("target", "kind", "said"),
    [
        ("Rings", "count", "target Rings: counts, learned as rates"),
        ("Whole weight", "positive", "target Whole weight: positive amounts, learned by their logarithms"),
        ("Rings", "number", "target Rings: amounts"),
    ],
)
def test_the_kind_of_target_that_was_asked_for_is_told(run, target, kind, said):
    told = run("train", ABALONE, "--target", target, "--target-kind", kind, "--json", "--out", "m", *QUICK, *BRIEF)
    assert said in told.err
    assert json.loads(told.out)["table"]["target_kind"] == kind


def test_a_linear_model_is_not_told_that_a_linear_model_is_better(run):
    """It is told of a network that is worse by more than chance, and of no other."""
    said = "the linear model is better here: --hidden 0 trains such a one"
    common = ["train", PENGUINS, "--target", "sex", "--effort", "fast"]
    assert said in run(*common, "--epochs", "1", "--hidden", "4").out
    assert said not in run(*common, "--epochs", "1", "--hidden", "0").out
    assert said not in run(*common, "--epochs", "60", "--hidden", "64,32").out


def test_what_is_told_fits_80_columns(run):
    """Of networks with long names of columns, of many rows, cosines, thresholds and weights; and of every help."""
    options = [
        "--threshold",
        "balanced_accuracy",
        "--class-weights",
        "FEMALE=2.5,MALE=1.25",
        "--hidden",
        "16,16,16,16,16,16,16",
    ]
    told = run("train", PENGUINS, "--target", "sex", *options, "--epochs", "2", "--out", "m").out
    options = ["--interval", "0.9", "--epochs", "1", "--hidden", "9,8,7,6", *BRIEF]
    told += run("train", ABALONE, "--target", "Rings", *options).out
    told += run("evaluate", "m", PENGUINS).out
    for part in ("train", "resume", "predict", "evaluate", "check", "explain", "reproduce", "demo"):
        told += run(part, "--help").out
    assert "16 cosines" in told
    assert "class weights: FEMALE 2.5, MALE 1.25" in told
    assert [line for line in told.splitlines() if len(line) > 80] == []


def test_a_category_is_not_to_be_coerced(run):
    trained(run, ABALONE, "--target", "Rings", *BRIEF)
    ran = run("predict", "m", ABALONE, "--coerce", "Sex")
    assert (ran.status, ran.out) == (2, "")
    assert "--coerce Sex: is a category, of which every text is a value: leave it out, or train with" in ran.err


def test_ctrl_c_after_the_last_line_changes_nothing(tmp_path):
    """What is done is done: the exit status says so, whatever Python is still putting away."""
    started = subprocess.Popen(
        command("train", IRIS, "--target", "species", *QUICK), cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    for line in started.stdout:
        if "backpass evaluate" in line:
            break
    while started.poll() is None:
        started.send_signal(signal.SIGINT)
    started.stdout.close()
    assert started.returncode == 0


def test_a_refit_is_told_before_and_after(run):
    """How many rows it is, for how many epochs, and that the command to do it again asks for it."""
    told = trained(run, IRIS, "--target", "species", "--refit")
    assert "testing on 30, then training again on all 150" in " ".join(told.split())
    assert re.search(r"\ntrained again on all 150 rows, for [12] epochs?: that is the model\n", told)
    found = facts_of_run(bp.open_run("m"))
    assert "--refit" in found["reproduce"]["command"]
    assert found["training"]["refit"]["rows"] == 150


def test_quantiles_are_asked_for_in_training_and_are_columns_of_the_predictions(run):
    told = trained(run, ABALONE, "--target", "Rings", "--quantiles", "0.9,0.1,0.5", *BRIEF)
    assert "learned of the target: its quantiles 0.1, 0.5, 0.9" in told
    assert "pinball loss" in told
    below = r"quantiles: of these rows [\d.]+ % below q0.1, [\d.]+ % below q0.5, [\d.]+ % below q0.9"
    assert re.search(below, " ".join(told.split()))
    assert max(map(len, told.splitlines())) <= 80
    rows = run("predict", "m", ABALONE).rows
    assert rows[0] == ["prediction", "q0.1", "q0.5", "q0.9"]
    values = np.array(rows[1:], float)
    assert (np.diff(values[:, 1:], axis=1) >= 0).all()
    assert (values[:, 0] == values[:, 2]).all()
    evaluated = run("evaluate", "m", ABALONE).out
    assert "pinball" in evaluated
    assert "quantiles: of these rows" in evaluated
    ran = run("train", ABALONE, "--target", "Rings", "--quantiles", "ten")
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert '--quantiles is "ten", expected numbers between 0 and 1, such as 0.1,0.5,0.9' in ran.err


def test_folds_are_told_with_their_mean_and_spread(run):
    told = trained(run, IRIS, "--target", "species", "--folds", "3", "--hidden", "0")
    assert "then as often anew for the other 2 of 3 folds" in " ".join(told.split())
    assert "\nmean of 3 folds, with what chance may add or take (95 %):\n" in told
    assert re.search(r"this network from fold to fold: accuracy [\d.]+ to [\d.]+, log loss", told)
    assert max(map(len, told.splitlines())) <= 80
    assert "--folds 3" in facts_of_run(bp.open_run("m"))["reproduce"]["command"]


@pytest.mark.parametrize(
    ("target", "factor", "decimals"),
    [("number", 1.0, 7), ("number", 1e5, 2), ("positive", 1e5, None), ("number", 1e-4, 11)],
)
def test_numbers_are_written_with_the_digits_that_the_network_can_tell(run, tmp_path, target, factor, decimals):
    """Those of float32: of a target that spreads by about 3 seven behind the point, of factors nine in all at most."""
    rows = [(place, (place + 1) * factor / 9) for place in range(30)]
    path = write(tmp_path / "t.csv", ["x", "y"], rows)
    trained(run, path, "--target", "y", "--target-kind", target)
    cells = [row[0] for row in run("predict", "m", path).rows[1:]]
    exact = bp.load("m").predict_table(path).values[:, 0]
    np.testing.assert_allclose(np.array(cells, float), exact, rtol=1e-6, atol=2e-7 * factor)
    if decimals is None:
        assert max(len(cell.replace(".", "").lstrip("0")) for cell in cells) <= 9
    else:
        assert 0 < max(len(np.format_float_positional(float(cell)).partition(".")[2]) for cell in cells) <= decimals


def test_what_class_weights_and_a_temperature_near_1_do_is_told_or_left():
    told = Calibration(temperature=0.987, class_weights=(0.5, 2.0)).told(("no", "yes"))
    assert told == [
        "class weights: yes 2, no 0.5",
        "  probabilities are as if rows stood so often, the baseline's too; scores are of rows as they are",
        "  so accuracy and log loss may well be worse than without weights",
    ]
    assert "(temperature 0.9)" in Calibration(temperature=0.9).told(("no", "yes"))[0]
