"""`backpass.train` and what it stands on: plans, splits, defaults, scores, certificates."""

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import backpass as bp
from backpass import nn
from backpass.data import Table
from backpass.data.naming import split_names
from backpass.forward import flatten
from backpass.recipes import again, defaults, plan, recipe, run
from backpass.recipes.certificate import certify
from backpass.recipes.scores import baseline, score, surely_better

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"
IRIS = EXAMPLES / "iris.csv"
QUICK = {"epochs": 2, "hidden": (4,), "members": 1}


def quick(*arguments, **options):
    return bp.train(*arguments, recipe=QUICK, **options)


def test_train_gives_a_model_scores_beside_two_baselines_and_a_history():
    outcome = quick(IRIS, "species")
    assert [each.label for each in outcome.scores] == ["this network", "linear model", 'always "setosa"']
    assert outcome.metrics == outcome.scores[0].metrics
    assert len(outcome.history) == 2
    assert (outcome.held_out, outcome.run) == ("test", None)
    assert outcome.model.predict(IRIS).shape == (150,)


def test_nothing_is_printed_or_written_unless_it_is_asked_for(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    quick(IRIS, "species")
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_table_is_the_same_table():
    frame = pl.read_csv(IRIS)
    weights = {quick(source, "species").model.weights for source in (frame, frame.to_dict(as_series=False))}
    assert len(weights) == 1
    table = bp.read_table(IRIS)
    assert quick(table, "species").model.weights == quick(str(IRIS), "species").model.weights


@pytest.mark.parametrize("target", ["petal_length,petal_width", ["petal_length", "petal_width"]])
def test_targets_are_names_or_a_list_of_names(target):
    assert quick(IRIS, target).model.predict(IRIS).shape == (150, 2)


def test_a_run_is_saved_where_it_is_asked_for(tmp_path):
    outcome = quick(IRIS, "species", out=tmp_path / "a" / "run")
    assert outcome.run == tmp_path / "a" / "run"
    assert bp.load(outcome.run).weights == outcome.model.weights
    assert json.loads((outcome.run / "run.json").read_text())["outcome"]["metrics"] == outcome.metrics
    with pytest.raises(bp.BackpassError, match="nothing is written over"):
        quick(IRIS, "species", out=tmp_path / "a" / "run")


@pytest.mark.parametrize("target", ["nope", "species"])
def test_a_run_that_fails_leaves_no_folder(tmp_path, target):
    with pytest.raises(bp.BackpassError):
        bp.train(IRIS, target, out=tmp_path / "a" / "run", recipe=QUICK | {"learning_rate": 1e30, "epochs": 5})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_cannot_be_used_is_refused(seed):
    with pytest.raises(bp.BackpassError, match="--seed is"):
        quick(IRIS, "species", seed=seed)


def test_no_statistic_comes_from_rows_that_are_held_out():
    """Rows of the test and validation parts may hold anything at all: what is learned stays the same."""
    rng = np.random.default_rng(0)
    rows = 100
    clean = {"x": rng.normal(size=rows), "when": np.arange(rows), "y": rng.normal(size=rows)}
    wild = {name: values.copy() for name, values in clean.items()}
    wild["x"][80:] = 1e9
    wild["y"][80:] = -1e9
    options = {"order": "when", "test": 0.2, "validation": 0, "exclude": ["when"]}
    assert quick(clean, "y", **options).model.weights == quick(wild, "y", **options).model.weights


def test_the_split_keeps_the_classes_in_proportion():
    prepared = plan(IRIS, "species", effort="fast").prepared
    for part, rows in ((prepared.train, 105), (prepared.validation, 15), (prepared.test, 30)):
        assert np.bincount(part.targets).tolist() == [rows // 3] * 3


def test_the_network_is_what_the_recipe_says():
    planned = plan(IRIS, "species", effort="fast", recipe={"hidden": (7, 5), "activation": "selu", "dropout": 0.25})
    kinds = [type(layer).__name__ for layer in planned.network.layers.values()]
    assert kinds == ["Input", "Dense", "SELU", "Dropout", "Dense", "SELU", "Dropout", "Dense"]
    assert [x.units for x in planned.network.layers.values() if isinstance(x, nn.Dense)] == [7, 5, 3]


def test_weights_of_hidden_layers_start_as_their_activation_wants():
    planned = plan(IRIS, "species", effort="fast", recipe={"hidden": (300, 300), "activation": "relu"})
    parameters = planned.network.init((4,), bp.ops.Key.of(0))
    assert parameters["hidden_2"]["weight"].std() == pytest.approx(math.sqrt(2 / 300), rel=0.02)
    assert parameters["output"]["weight"].std() == pytest.approx(math.sqrt(2 / 303), rel=0.1)


def test_members_have_waves_of_their_own_of_numbers_that_have_more_than_two_values():
    columns = {"x": np.arange(60) % 7 + 0.5, "flag": np.arange(60) % 2, "y": np.arange(60) % 3}
    chosen = {"hidden": (7,), "dropout": 0.0, "members": 3, "waves": 2}
    network = plan(columns, "y", task="classification", recipe=chosen).network
    layers = {"inputs": nn.Input(2), "numbers": nn.Periodic((0,), 2), "hidden_1": nn.Dense(7), "relu_1": nn.ReLU()}
    assert network == nn.Ensemble(nn.Sequential(**layers, output=nn.Dense(3, initializer=nn.Glorot())), 3)


def test_waves_stand_beside_embeddings_too():
    columns = {"x": np.arange(300) % 7 + 0.5, "town": [f"t{i % 40}" for i in range(300)], "y": np.arange(300) % 3}
    chosen = {"hidden": (7,), "members": 2, "waves": 2}
    network = plan(columns, "y", task="classification", recipe=chosen).network
    assert network.member.layers["inputs"].layers["numbers"] == nn.Periodic((0,), 2)


def test_without_a_number_there_are_no_waves():
    columns = {"colour": ["red", "blue", "green"] * 20, "y": np.arange(60) % 2}
    planned = plan(columns, "y", task="classification", recipe={"waves": 4, "members": 1})
    assert planned.recipe.waves == 0
    assert "Periodic" not in str(planned.network)


def test_more_effort_means_more_members_and_a_linear_model_stays_one():
    assert [recipe(5000, effort).members for effort in ("fast", "standard", "best")] == [1, 4, 32]
    assert recipe(defaults.MOST_BLENDED, "best").members == 16
    linear = recipe(5000, "best", hidden=())
    assert (linear.members, linear.waves) == (1, 0)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"effort": "huge"}, r"^effort is 'huge', expected fast or standard or best$"),
        ({"test": "x.csv"}, r"^test is 'x.csv', expected a number, such as 0.2 \(a table goes to test_table\)$"),
        ({"target_kind": "many"}, r"^target_kind is 'many', expected"),
    ],
)
def test_what_is_not_what_it_must_be_has_the_name_of_the_argument(given, told):
    with pytest.raises(bp.BackpassError, match=told):
        bp.train(IRIS, "species", **given)


@pytest.mark.parametrize("effort", ["fast", "standard"])
def test_an_effort_is_part_of_the_run_and_of_what_is_done_again(tmp_path, effort):
    outcome = bp.train(IRIS, "species", effort=effort, recipe={"epochs": 2}, out=tmp_path / "run")
    opened = bp.open_run(tmp_path / "run")
    assert opened.about["asked"]["effort"] == effort
    assert opened.plan.network == outcome.model.network == opened.model.network
    assert again.compare(tmp_path / "run", opened.plan).same
    assert len(flatten(opened.replay(3).after)) == len(flatten(opened.model.parameters))


@pytest.mark.parametrize("rows", [1, 10, 100, 1000, 10_000, 1_000_000])
def test_a_recipe_is_there_for_any_number_of_rows(rows):
    chosen = recipe(rows)
    assert chosen.batch_size >= 1
    assert 1 <= chosen.epochs <= 1000
    assert recipe(rows, epochs=3, hidden=None).epochs == 3


@pytest.mark.parametrize(
    "option",
    [
        {"hidden": (0,)},
        {"hidden": (2.5,)},
        {"activation": "step"},
        {"dropout": 1.0},
        {"learning_rate": 0.0},
        {"weight_decay": float("nan")},
        {"batch_size": 0},
        {"epochs": 0},
        {"patience": 0},
        {"members": 0},
        {"members": 1000},
        {"waves": -1},
        {"waves": 1000},
    ],
    ids=str,
)
def test_a_choice_that_makes_no_sense_is_refused(option):
    with pytest.raises(bp.BackpassError, match="expected") as caught:
        recipe(100, **option)
    assert "\n" not in str(caught.value)


# Scores


def test_the_majority_baseline_is_what_its_name_says():
    table = {"x": list(range(60)), "y": ["a"] * 45 + ["b"] * 15}
    constant = quick(table, "y").scores[2]
    assert constant.label == 'always "a"'
    assert constant.metrics["accuracy"] == pytest.approx(0.75)
    assert constant.metrics["auc"] == 0.5


def test_the_mean_baseline_has_an_r2_near_0():
    table = {"x": list(range(200)), "y": np.random.default_rng(0).normal(size=200).tolist()}
    constant = quick(table, "y").scores[2]
    assert constant.label == "always the mean"
    assert constant.metrics["r2"] == pytest.approx(0, abs=0.1)
    assert constant.metrics["r2"] <= 0


def test_the_linear_baseline_learns_what_is_linear():
    x = np.random.default_rng(0).normal(size=(300, 2))
    table = {"a": x[:, 0], "b": x[:, 1], "y": x @ [3.0, -2.0] + 1}
    assert quick(table, "y").scores[1].metrics["r2"] > 0.99


def test_margins_are_95_percent_intervals():
    predictions = bp.model.Predictions(("y",), np.zeros(100), ("a", "b"), np.tile([0.8, 0.2], (100, 1)))
    found = score("x", predictions, np.repeat([0, 1], 50))
    # Wilson's interval of 50 of 100: 1.96 / (1 + 3.8416 / 100) * sqrt(0.25 / 100 + 3.8416 / 40000)
    assert found.margins["accuracy"] == pytest.approx(0.0962, abs=1e-4)
    losses = -np.log(np.repeat([0.8, 0.2], 50))
    assert found.margins["log_loss"] == pytest.approx(1.96 * losses.std() / 10, rel=1e-3)


def amounts(values):
    return bp.model.Predictions(("y",), np.asarray(values, float)[:, None])


def test_the_margin_of_r2_is_that_of_a_ratio():
    """What says the mean of the rows has an R² of 0 on any of them; of another prediction chance moves both means."""
    actual = np.array([[1.0], [2.0], [3.0], [10.0]])
    assert score("x", amounts([4.0] * 4), actual).margins["r2"] == 0
    predicted, rng = np.arange(200.0), np.random.default_rng(0)
    right = predicted + rng.normal(size=200) * 40
    margin = score("x", amounts(predicted), right[:, None]).margins["r2"]
    draws = [rng.integers(0, 200, 200) for _ in range(2000)]
    again = [bp.model.metrics.r2(predicted[rows], right[rows]) for rows in draws]  # the bootstrap
    assert margin == pytest.approx(1.96 * np.std(again), rel=0.1)


def test_one_is_better_where_it_is_so_by_more_than_chance():
    """On the same rows: two that err alike are told apart by fewer rows than by their own margins."""
    rng = np.random.default_rng(0)
    actual, error = rng.normal(size=100), rng.normal(size=100)
    worse, same, best = (score("x", amounts(actual + off), actual[:, None]) for off in (1.5 * error, error, 0 * error))
    assert surely_better(same, worse)
    assert surely_better(best, same)
    assert not surely_better(worse, same)
    assert not surely_better(same, same)
    other = score("x", amounts(actual + rng.permutation(error)), actual[:, None])
    assert not surely_better(other, same)
    assert not surely_better(same, other)


def test_the_baseline_of_weighed_classes_has_their_probabilities():
    """As the network's they are of a table in which rows stand so often; the answer is the most common class."""
    targets, actual = np.array([0] * 80 + [1] * 20), np.array([0, 0, 0, 1])
    like = bp.model.Predictions(("y",), np.zeros(1), ("no", "yes"), np.zeros((1, 2)))
    plain, weighed = (baseline(like, targets, actual, weights) for weights in ((), (1.0, 8.0)))
    assert (plain.label, weighed.label) == ('always "no"', 'always "no"')
    assert plain.metrics["log_loss"] == pytest.approx(-(3 * np.log(0.8) + np.log(0.2)) / 4)
    assert weighed.metrics["log_loss"] == pytest.approx(-(3 * np.log(1 / 3) + np.log(2 / 3)) / 4)
    assert weighed.metrics["accuracy"] == plain.metrics["accuracy"] == 0.75
    assert weighed.margins["accuracy"] == plain.margins["accuracy"]


# The certificate


def test_the_certificate_of_a_trained_model_is_clean():
    outcome = quick(IRIS, "species")
    certificate = certify(outcome.model, bp.read_table(IRIS), rows=20)
    assert certificate.ok
    assert (certificate.rows, [layer.name for layer in certificate.layers]) == (20, ["hidden_1", "output"])
    assert certificate.largest_error < 1e-6


def test_a_model_of_arrays_has_no_certificate_on_a_table():
    trainer = bp.Trainer(nn.Dense(1), bp.losses.Squared())
    trainer.fit(np.ones((3, 1)), np.ones(3), epochs=1)
    with pytest.raises(bp.BackpassError, match="check_gradients"):
        certify(trainer.model(), Table.from_data({"x": [1.0]}))


# Names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("y", ("y",)),
        ("Y1,Y2", ("Y1", "Y2")),
        ("Y1, Y2", ("Y1", "Y2")),
        ('"a,b",c', ("a,b", "c")),
        ('"say ""hi""",c', ('say "hi"', "c")),
        ("a b", ("a b",)),
        ("", ()),
    ],
)
def test_names_are_split_at_commas_outside_quotes(text, names):
    assert split_names(text) == names


# Real tables that ship with the project


@pytest.mark.parametrize(
    ("name", "target", "metric", "least"),
    [("penguins.csv", "species", "accuracy", 0.95), ("winequality-red.csv", "quality", "r2", 0.2)],
)
def test_a_real_table_is_learned_with_no_option_but_the_target(name, target, metric, least):
    outcome = bp.train(EXAMPLES / name, target)
    assert outcome.metrics[metric] >= least
    assert outcome.metrics[metric] > outcome.scores[2].metrics[metric]


def test_of_two_trainings_into_one_folder_the_second_is_refused_and_spoils_nothing(tmp_path):
    with run.folder_for(tmp_path / "o", "t.csv", "y") as first:
        (first / "run.json").write_text("{}")
        with pytest.raises(bp.BackpassError), run.folder_for(tmp_path / "o", "t.csv", "y"):
            pytest.fail("the folder was given twice")
        assert (first / "run.json").exists()
    assert [file.name for file in (tmp_path / "o").iterdir()] == ["run.json"]


def test_the_column_to_order_by_is_not_the_target():
    with pytest.raises(bp.BackpassError, match="--order y: is the target"):
        bp.train({"x": list(range(100)), "y": list(range(100))}, "y", order="y")


def test_a_recipe_names_what_it_has():
    with pytest.raises(bp.BackpassError, match='no "epoch"'):
        bp.train({"x": list(range(100)), "y": list(range(100))}, "y", recipe={"epoch": 5})


# Folds


def test_networks_side_by_side_each_hold_out_a_part_of_the_rows_and_the_rows_validate_that_way():
    """No rows are held out for validation alone, and every class is in every fold."""
    prepared = plan(IRIS, "species").prepared
    assert prepared.rows() == {"train": 120, "validation": 0, "test": 30}
    assert prepared.validation is prepared.train
    numbers = prepared.train.inputs[prepared.fold]
    for fold in range(prepared.folds):
        assert np.bincount(prepared.train.targets[numbers == fold]).tolist() == [120 // 3 // prepared.folds] * 3
    assert (prepared.test.inputs[prepared.fold] == -1).all()


def test_what_cannot_be_learned_is_not_learned_by_heart_in_the_validation_loss():
    """Answers drawn by lot: networks that know their training rows by heart are not judged by those."""
    rng = np.random.default_rng(0)
    columns = {f"x{i}": rng.normal(size=400) for i in range(20)} | {"y": rng.integers(0, 2, 400)}
    chosen = {"hidden": (64,), "dropout": 0.0, "epochs": 60, "patience": 60, "members": 4, "waves": 0}
    history = bp.train(columns, "y", task="classification", test=0, recipe=chosen, progress=False).history
    assert history[-1]["loss"] < 0.5
    assert min(record["validation_loss"] for record in history) > 0.65
    assert history[-1]["validation_loss"] > 0.8


@pytest.mark.parametrize(
    "asked",
    [
        {"effort": "fast"},
        {"validation": 0.2},
        {"order": "x"},
        {"group": "g"},
        {"interval": 0.5},
        {"recipe": {"hidden": []}},
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_rows_are_held_out_for_validation_where_that_is_asked_for(asked):
    columns = {"x": np.arange(300) % 7 + 0.5, "g": [f"g{i % 30}" for i in range(300)], "y": np.arange(300) % 11 + 0.25}
    prepared = plan(columns, "y", task="regression", **asked).prepared
    assert not prepared.folds
    assert prepared.rows()["validation"] > 0


def test_a_column_of_the_name_of_the_folds_stays_apart_from_them():
    columns = {"fold": [f"t{i % 40}" for i in range(400)], "x": np.arange(400) % 9 + 0.5, "y": np.arange(400) % 3}
    planned = plan(columns, "y", task="classification", recipe={"hidden": (4,), "epochs": 1})
    assert set(planned.prepared.train.inputs) == {"fold", "numbers", planned.prepared.fold}
    assert len(planned.fit().model.predict(columns)) == 400


def test_without_rows_to_test_no_linear_model_is_scored_on_rows_it_learned_from():
    """Networks answer for rows left out from them; the linear model would know all but a fold."""
    outcome = bp.train(IRIS, "species", test=0, recipe=QUICK | {"members": 4})
    assert outcome.held_out == "validation"
    assert [each.label for each in outcome.scores] == ["this network", 'always "setosa"']
