"""What `--effort best` trains: networks of several kinds, and how much each has to say."""

import json
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest

import backpass as bp
from backpass import losses, nn
from backpass.cli.main import main
from backpass.cli.train import _understood
from backpass.data.arrays import row_shape
from backpass.errors import ShapeError, UsageError
from backpass.model.network import ForwardPass
from backpass.model.tabular import network_inputs
from backpass.recipes import again, defaults, duration, plan
from backpass.recipes.blending import best_shares
from backpass.recipes.main_job import fit_into
from backpass.recipes.report_page import facts_of_run

QUICK = {"hidden": [4], "kinds": ["pieces", "linear"], "members": 4, "epochs": 15, "dropout": 0.0}


def table(rows=150, seed=0):
    """A number on a plane over two others: linear networks learn it well, and small ones less."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(2, rows))
    return {"x": x, "z": z, "y": 3 * x - z + 0.05 * rng.normal(size=rows)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a finished run, on a table beside it."""
    place = tmp_path_factory.mktemp("blend")
    bp.Table.from_data(table()).frame.write_parquet(place / "t.parquet")
    bp.train(place / "t.parquet", "y", recipe=QUICK | {"learning_rate": 0.05}, out=place / "run", page=False)
    return place / "run"


def error_of(model, network):
    new = table(400, seed=1)
    return float(np.sqrt(np.mean((replace(model, network=network).predict(new)[:, 0] - new["y"]) ** 2)))


def test_the_blend_is_better_than_the_mean_of_all_and_than_its_worst_kind(folder):
    model = bp.load(folder)
    blend = error_of(model, model.network)
    alone = [error_of(model, replace(model.network, shares=shares)) for shares in ((1, 0), (0, 1))]
    assert alone[1] < alone[0]
    assert model.network.shares[1] > 0.8
    assert blend < 0.7 * error_of(model, replace(model.network, shares=())) < alone[0]


def test_a_run_tells_the_shares_and_does_all_that_others_do(folder, capsys):
    opened = bp.open_run(folder)
    shares = opened.about["outcome"]["blend"]
    assert shares == dict(zip(["pieces", "linear"], opened.model.network.shares, strict=True))
    assert facts_of_run(opened)["network"]["blend"] == shares
    assert again.compare(folder, opened.plan).same
    assert opened.trace(row=1, member=3).member == 3
    assert opened.why(row=1).value == pytest.approx(float(opened.model.predict(table())[0, 0]), rel=1e-3)
    assert opened.what_if(1).members == 4
    for arguments in (
        ["report", folder],
        ["doctor", folder],
        ["check", folder, folder.parent / "t.parquet", "--rows", "8"],
    ):
        assert status_of(arguments) == 0, capsys.readouterr()


def status_of(arguments):
    """The exit status of the command, run in this process."""
    try:
        main([str(each) for each in arguments])
    except SystemExit as end:
        return end.code
    return 0


def test_interrupted_it_goes_on_to_the_same_bits_on_any_number_of_threads(folder, tmp_path):
    recipe = QUICK | {"learning_rate": 0.05}
    planned = plan(str(folder.parent / "t.parquet"), "y", recipe=recipe, threads=1)
    other = tmp_path / "run"
    other.mkdir()

    def stop(event):
        if type(event).__name__ == "StepFinished" and event.step == 30:
            signal.raise_signal(signal.SIGINT)

    class Stopping(type(planned)):
        def trainer(self, listeners=(), steering=None):
            return super().trainer([*listeners, stop], steering)

    stopping = Stopping(**{name: getattr(planned, name) for name in planned.__dataclass_fields__})
    outcome = fit_into(other, stopping, stop_on_interrupt=True, page=False)
    assert not outcome.finished
    assert sum(bp.load(other).network.shares) == pytest.approx(1)
    assert fit_into(other, again.plan_of(other, threads=2), begins=False, page=False).finished
    first, second = bp.load(folder), bp.load(other)
    assert (first.weights, first.network) == (second.weights, second.network)


@pytest.mark.parametrize(
    "options",
    [
        {"target": "y,c"},
        {"target": "c", "class_weights": "balanced", "threshold": "f1"},
        {"target": "y", "interval": 0.8},
        {"target": "y", "validation": 0.0},
        {"target": "y", "refit": True, "folds": 2},
    ],
    ids=" ".join,
)
def test_whatever_is_asked_for_shares_are_found_on_rows_that_validate(options):
    rows = table()
    rows |= {"c": np.where(rows["x"] > 0, "up", "down").tolist()}
    outcome = bp.train(rows, recipe=QUICK | {"members": 2, "epochs": 2}, **options)
    shares = outcome.model.network.shares
    assert len(shares) == (0 if "validation" in options else 2)
    assert outcome.own_model.network.shares == shares
    assert len(outcome.model.predict(rows)) == 150


def test_after_a_training_nothing_is_compiled_to_predict_and_evaluate(folder, monkeypatch):
    """The program that validated serves, whatever the shares are: for many rows and for few."""
    expected = bp.load(folder).evaluate(folder.parent / "t.parquet")

    def compiled(*_):
        raise AssertionError("it was made before")

    monkeypatch.setattr("backpass.native.program.compile_text", compiled)
    model = bp.load(folder)
    assert model.evaluate(folder.parent / "t.parquet") == expected
    rows = table()
    assert model.predict({name: values[:1] for name, values in rows.items()})[0] == model.predict(rows)[0]
    shared = replace(model, network=replace(model.network, shares=(0.25, 0.75)))
    assert not np.array_equal(shared.predict(rows), model.predict(rows))


def test_a_blend_answers_natively_what_its_graph_says(folder):
    """What networks answer is put together beside the program, by the same rule: of rows left out, and of new ones."""
    model, new = bp.load(folder), table(40, seed=2)
    inputs = network_inputs(model.tabular.inputs.encode(bp.Table.from_data(new)))
    network = nn.CrossFitted(model.network, 2, alone="numbers")
    rows = {"numbers": inputs, "fold": np.arange(40) % 3 - 1}
    native = ForwardPass(network, model.parameters, row_shape(rows), precision="float32")
    np.testing.assert_allclose(native(model.parameters, rows), network(model.parameters, rows), rtol=1e-5, atol=1e-6)
    kinds = native.of_groups(model.parameters, rows)
    whole = sum(share * each for share, each in zip(model.network.shares, kinds, strict=True))
    np.testing.assert_allclose(native(model.parameters, rows), whole, rtol=1e-5, atol=1e-6)


def test_kinds_whose_outputs_differ_are_refused_before_any_step():
    network = nn.Blend(nn.Dense(2), 2, others=(nn.Dense(1),))
    with pytest.raises(
        ShapeError, match=r"Blend: the outputs of kind 1 are \[batch, 2\] and those of kind 2 \[batch, 1\]"
    ):
        bp.Trainer(network, losses.Squared()).build(np.ones((3, 4)))


def test_the_plan_names_the_kinds():
    lines = _understood(plan(table(), "y", effort="best"))
    assert any(
        line.startswith("network     2 inputs -> waves 64-32, wide 256, additive, linear -> 1 ") for line in lines
    )


def test_shares_are_those_with_which_held_out_rows_are_answered_best():
    rng = np.random.default_rng(0)
    right = rng.normal(size=(500, 1))
    noisy = [right + size * rng.normal(size=right.shape) for size in (1.0, 1.0, 4.0)]
    first, second, worst = best_shares(noisy, right, losses.Squared())
    assert first == pytest.approx(0.485, abs=0.06)
    assert second == pytest.approx(0.485, abs=0.06)
    assert 0 < worst < 0.07
    weights = (np.arange(500) < 250).astype(float)
    mixed = [np.where(weights[:, None] > 0, a, b) for a, b in ((right, noisy[2]), (noisy[2], right))]
    assert best_shares(mixed, right, losses.Squared(), weights)[0] > 0.8
    assert best_shares([np.full((3, 1), np.nan)] * 2, np.zeros((3, 1)), losses.Squared()) == (0.5, 0.5)


def test_what_is_best_is_a_blend_unless_a_network_is_asked_for_or_the_table_is_large():
    usual = defaults.recipe(2000, "best")
    assert (usual.kinds, usual.members) == (defaults.BLENDED, 8 * len(defaults.BLENDED))
    assert defaults.folds("best") == 8
    for chosen in ({"hidden": (8,)}, {"activation": "tanh"}, {"members": 16}, {"waves": 4}):
        assert defaults.recipe(2000, "best", **chosen).kinds == ()
    assert defaults.recipe(2000, "best", members=16).activation == "relu"
    assert defaults.recipe(defaults.MOST_BLENDED, "best").kinds == ()
    assert defaults.recipe(2000, "standard").kinds == ()
    with pytest.raises(UsageError, match="--kinds is trees, expected network, waves"):
        defaults.recipe(2000, "best", kinds=["trees"], members=2)
    with pytest.raises(UsageError, match="--members is 3, expected as many of each of 2 kinds"):
        defaults.recipe(2000, kinds=["waves", "linear"], members=3)


def test_in_a_short_time_there_is_one_kind_of_network_and_in_a_long_one_a_blend():
    planned = plan(table(), "y", effort="best")
    assert duration.fitting(planned, 0.5)["kinds"] == []
    fitted = duration.fitting(planned, 1e6)
    assert fitted == {
        "members": planned.recipe.members,
        "epochs": planned.recipe.epochs,
        "kinds": list(defaults.BLENDED),
    }


def test_a_table_without_numbers_has_kinds_without_waves_and_pieces():
    rows = {"a": ["x", "y", "z"] * 40, "y": (np.arange(120) % 3 / 2).tolist()}
    planned = plan(rows, "y", task="regression", recipe=QUICK | {"kinds": list(defaults.KINDS), "members": 12})
    assert isinstance(planned.network, nn.Blend)
    assert not {"Periodic", "Pieces"} & set(str(planned.network).split())
    assert planned.recipe.waves == 0


def test_a_run_of_an_earlier_version_has_networks_of_one_kind(folder, tmp_path):
    """What is best now is something else, and its run.json does not say so."""
    shutil.copytree(folder, tmp_path / "run")
    content = json.loads((tmp_path / "run/run.json").read_text())
    del content["recipe"]["kinds"]
    content["asked"] |= {"effort": "best", "recipe": {}}
    (tmp_path / "run/run.json").write_text(json.dumps(content))
    assert again.plan_of(tmp_path / "run").recipe.kinds == ()


def test_shares_do_not_hang_on_the_order_of_a_table():
    """Of more rows than are asked some are drawn: not every second, which here would be those of one class alone."""
    y = (np.arange(10_000) % 2).reshape(-1, 1).astype(float)
    useless, good = best_shares([np.zeros_like(y), 0.9 * y + 0.05], y, losses.Squared())
    assert good > 0.9 > useless


def test_a_wide_table_gets_networks_of_one_kind():
    columns = {f"x{k}": np.random.default_rng(k).normal(size=60) for k in range(defaults.WIDEST_BLENDED + 1)}
    narrow = dict(list(columns.items())[:3])
    found = [plan(each | {"y": columns["x0"] * 2}, "y", effort="best").recipe for each in (columns, narrow)]
    assert [recipe.kinds for recipe in found] == [(), defaults.BLENDED]
    assert [recipe.activation for recipe in found] == ["relu", "mish"]


def test_kinds_have_their_pieces_at_every_effort_and_stand_once():
    planned = plan(table(), "y", effort="fast", recipe={"kinds": ["pieces", "linear"], "members": 2, "epochs": 1})
    assert any(isinstance(layer, nn.Pieces) for layer in planned.network.member.layers.values())
    with pytest.raises(UsageError, match="each of them once"):
        plan(table(), "y", recipe={"kinds": ["linear", "linear"], "members": 2})
