"""Quantiles of a number: learned by the pinball loss, predicted in order, measured, kept in the model file."""

import numpy as np
import pytest

import backpass as bp
from backpass import losses
from backpass.errors import BackpassError, ModelFileError
from backpass.model.tabular import middle, pinball
from backpass.recipes import again, plan
from backpass.recipes.report_page import facts_of_run
from backpass.recipes.scores import baseline

QUICK = {"hidden": (8,), "epochs": 2, "members": 1, "waves": 0, "dropout": 0.0}
LEVELS = (0.1, 0.5, 0.9)


def table(rows=300, seed=0):
    """A number that spreads the wider, the larger x is."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 2, rows)
    return {"x": x, "y": np.exp(1 + x + 0.5 * x * rng.normal(size=rows))}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run that was trained for a while, with its table beside it."""
    place = tmp_path_factory.mktemp("quantiles")
    bp.Table.from_data(table(3000)).frame.write_parquet(place / "t.parquet")
    recipe = QUICK | {"epochs": 25, "learning_rate": 0.01}
    bp.train(
        place / "t.parquet", "y", quantiles=(0.9, 0.1, 0.5), target_kind="positive", recipe=recipe, out=place / "run"
    )
    return place / "run"


def test_they_are_those_of_the_rows_wherever_these_spread(run):
    """Of new rows a tenth lies below the first, half below the second, at either end of x; so it is told."""
    new, model = table(20_000, seed=1), bp.load(run)
    found = model.predict_table(new)
    assert found.levels == LEVELS
    np.testing.assert_array_equal(found.values, found.quantiles[:, [1]])
    for part in (new["x"] < 1, new["x"] >= 1):
        below = (new["y"][part, None] < found.quantiles[part]).mean(axis=0)
        np.testing.assert_allclose(below, LEVELS, atol=0.05)
    scores = model.evaluate(new)
    assert [scores[f"below_q{level}"] for level in LEVELS] == pytest.approx(LEVELS, abs=0.05)
    assert scores["pinball"] == pytest.approx(float(pinball(found.quantiles, new["y"][:, None], LEVELS).mean()))
    ours, _, always = (each.metrics["pinball"] for each in plan_scores(run))
    assert ours < 0.75 * always


def plan_scores(run):
    from backpass.recipes.scores import Score

    told = bp.open_run(run).about["outcome"]
    every = [{"label": "ours", "metrics": told["metrics"]}, *told["baselines"]]
    return [Score(each["label"], each["metrics"], {}, np.zeros(0)) for each in every]


def test_they_never_cross_and_putting_them_in_order_costs_nothing(run):
    """Whatever the outputs are, in every row they ascend; their pinball loss is not above that of the raw ones."""
    wild = {"x": np.linspace(-50, 50, 400)}
    found = bp.load(run).predict_table(wild).quantiles
    assert (np.diff(found, axis=1) >= 0).all()
    rng = np.random.default_rng(0)
    raw, actual = rng.normal(size=(500, 3)), rng.normal(size=(500, 1))
    assert (pinball(np.sort(raw, axis=1), actual, LEVELS) <= pinball(raw, actual, LEVELS) + 1e-12).all()


def test_the_pinball_loss_is_that_of_the_library():
    rng = np.random.default_rng(0)
    raw, actual = rng.normal(size=(50, 3)), rng.normal(size=(50, 1))
    assert pinball(raw, actual, LEVELS).mean() == pytest.approx(float(losses.Quantile(LEVELS)(raw, actual)))


def test_a_run_is_done_again_looked_into_and_reported(run):
    """To the same bits; its steps and predictions are told by the names of the quantiles."""
    opened = bp.open_run(run)
    assert again.compare(run, opened.plan).same
    assert list(opened.trace().error.names) == ["output[q0.1]", "output[q0.5]", "output[q0.9]"]
    assert opened.why(row=1, output="log of q0.9").output == "log of q0.9"
    told = facts_of_run(opened)
    assert set(told["residuals"]["quantiles"]) == {"q0.1", "q0.5", "q0.9"}
    assert "quantiles=[0.1, 0.5, 0.9]" in told["reproduce"]["call"]
    assert told["data"]["quantiles"] == list(LEVELS)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ((0.1, 0.5, 0.9), [0, 1, 0]),
        ((0.1, 0.9), [0.5, 0.5]),
        ((0.25, 0.75, 0.9), [0.5, 0.5, 0]),
        ((0.4, 0.8), [0.75, 0.25]),
        ((0.8, 0.9), [1, 0]),
        ((0.1,), [1]),
    ],
)
def test_the_median_is_one_of_them_or_lies_between_the_two_around_it(levels, expected):
    np.testing.assert_allclose(middle(levels), expected, atol=1e-12)


@pytest.mark.parametrize(("kind", "expected"), [("number", 5.05), ("positive", 1.0)])
def test_without_a_median_the_prediction_is_between_the_two_around_it(kind, expected):
    """Of positive numbers between their logarithms; not the lowest, which is as near to the median."""
    from dataclasses import replace

    from backpass.model.tabular import answers

    tabular = plan(table(), "y", quantiles=(0.1, 0.9), target_kind=kind, recipe=QUICK).prepared.tabular
    tabular = replace(tabular, targets=replace(tabular.targets, centers=(0.0,), spreads=(1.0,)))
    ends = np.array([[10.0, 0.1]])
    found = answers(tabular, np.log(ends) if kind == "positive" else ends)
    np.testing.assert_allclose(found.quantiles, [[0.1, 10.0]])
    np.testing.assert_allclose(found.values, [[expected]])
    always = baseline(found, np.arange(101.0)[:, None], np.zeros((2, 1)))
    assert always.metrics["mae"] == 50


def test_one_alone_is_the_prediction():
    outcome = bp.train(table(), "y", quantiles=[0.9], recipe=QUICK, refit=True)
    found = outcome.model.predict_table(table())
    np.testing.assert_array_equal(found.values, found.quantiles)


@pytest.mark.parametrize(
    ("target", "options", "told"),
    [
        ("y", {"quantiles": [0.1, 1.0]}, "quantiles is .*, expected numbers between 0 and 1, all different"),
        ("y", {"quantiles": [0.1, 0.1]}, "quantiles is .*, expected numbers between 0 and 1, all different"),
        ("y", {"quantiles": []}, "quantiles is .*, expected numbers between 0 and 1"),
        ("c", {}, "holds text"),
        ("y", {"task": "classification"}, "--quantiles goes with numbers, and --task says"),
        ("y", {"target_kind": "count"}, "--quantiles goes with --target-kind number or positive"),
        ("y", {"interval": 0.9}, "--quantiles and --interval both say how far"),
        ("y", {"recipe": {"loss": "squared"}}, "the loss squared does not fit a target of the kind quantiles"),
    ],
)
def test_what_does_not_go_with_them_is_one_line_before_training(target, options, told):
    with pytest.raises(BackpassError, match=told) as caught:
        plan({**table(), "c": ["a", "b", "c"] * 100}, target, **{"quantiles": LEVELS} | options)
    assert "\n" not in str(caught.value)


def test_a_model_file_whose_quantiles_were_changed_is_refused():
    from backpass.data import TargetEncoder

    kept = plan(table(), "y", quantiles=LEVELS).prepared.tabular.targets.to_json()
    assert TargetEncoder.from_json(kept).quantiles == LEVELS
    for wrong in ([0.5, 0.1], [0.5, 0.5], [0.0, 0.5], [0.5, 1.0]):
        with pytest.raises(ModelFileError, match="quantiles"):
            TargetEncoder.from_json(kept | {"quantiles": wrong})


def test_the_command_asks_for_them():
    from backpass.recipes.command import command_of

    asked = {"table": "t.csv", "target": "y", "quantiles": [0.1, 0.9], "refit": True}
    assert command_of(asked) == "backpass train t.csv --target y --quantiles 0.1,0.9 --refit"
