"""Runs as they are watched: growing, half-written, broken off, of a newer version; and what is asked of their steps."""

import json
import shutil

import numpy as np
import pytest
from live_helpers import asked, page_of, told, trained, until

import backpass as bp
from backpass.ledger import look
from backpass.live.playground import Playground
from backpass.live.server import Watched
from backpass.recipes.main_job import plan


def test_a_history_that_grows_is_followed_and_a_line_under_way_waits(finished_run, tmp_path):
    """New lines are read as they come, one that is not yet whole when it is; no record is read twice."""
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    path = folder / "history.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]) + lines[2][:10])
    watched = Watched(folder)
    watched.look()
    assert [record["epoch"] for record in watched.records] == [1, 2]
    with path.open("a") as file:
        file.write(lines[2][10:] + lines[3])
    watched.look()
    watched.look()
    assert [record["epoch"] for record in watched.records] == [1, 2, 3, 4]
    assert watched.generation == 0
    path.write_text(lines[0])
    watched.look()
    assert [record["epoch"] for record in watched.records] == [1]
    assert watched.generation == 1


def test_a_run_that_was_killed_is_shown_as_such(finished_run, tmp_path):
    """Its run.json says that it trains, and no process does."""
    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(content | {"state": "training"}))
    (folder / "model.safetensors").unlink()
    (folder / "history.jsonl").unlink()
    watched = Watched(folder)
    watched.look()
    assert watched.state == "broken off"
    assert len(watched.records) == 6  # of its checkpoint
    with page_of(folder) as address:
        assert told(f"{address}step?step=3")["step"] == 3
        assert "no network yet" in told(f"{address}results")["error"]


def test_a_newer_run_is_named(finished_run, tmp_path, capsys):
    """`backpass show` says which format it found, and what to do."""
    from backpass.cli.main import main

    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(content | {"format": 99}))
    with pytest.raises(SystemExit) as ended:
        main(["show", str(folder), "--no-open"])
    assert ended.value.code == 2
    assert "is of format 99" in capsys.readouterr().err


def test_the_picture_of_a_step_has_the_numbers_of_its_ledger(finished_run):
    """Nodes, weights and their changes are those that `backpass trace` tells."""
    ledger = bp.open_run(finished_run).trace(step=9)
    with page_of(finished_run) as address:
        picture = told(f"{address}step?step=9")
        weight = told(f"{address}weight?step=9&name=hidden_1.weight[0,2]")
        node = told(f"{address}node?step=9&layer=hidden_1&place=1")
        assert told(f"{address}sums?step=9")["ok"]
        matrix = np.frombuffer(asked(f"{address}matrix?step=9&name=hidden_1.weight&what=change")[2], np.float32)
    assert picture["row"] == ledger.row
    hidden = next(layer for layer in picture["layers"] if layer["name"] == "hidden_1")
    assert np.allclose(hidden["values"], ledger.layer("hidden_1").values)
    assert np.allclose(hidden["errors"], ledger.layer("hidden_1").deltas)
    parameter, index = ledger.weight("hidden_1.weight[0,2]")
    assert weight["before"] == float(parameter.before[index])
    assert weight["after"] == float(parameter.after[index])
    assert np.array_equal(matrix.reshape(parameter.before.shape), parameter.made)
    assert weight["steps"][-2]["value"] == float(parameter.made[index])
    first, moved = picture["moved"][0], ledger.weight(picture["moved"][0]["name"])
    assert first["change"] == float(moved[0].made[moved[1]])
    assert node["node"] == "hidden_1[1]"
    mean = np.mean([each["value"] for each in node["rows"]])
    assert np.isclose(hidden["mean_values"][1], mean, rtol=1e-5)


def test_a_row_that_was_held_out_has_a_ledger_as_if_one_more_step_were_made(finished_run):
    """Its outputs are those of the kept network, and its sums add up."""
    run = bp.open_run(finished_run)
    row = run.plan.prepared.division.test.row_number(0)
    ledger = run.what_if(row)
    assert ledger.sums.ok
    expected = run.model.outputs(run.plan.prepared.test.inputs[:1])[0]
    assert np.allclose(ledger.error.outputs, expected, atol=1e-5)


def test_layers_are_told_at_steps_of_the_whole_run(finished_run):
    """Values, errors, weights, the ratio of update to weight, and dead nodes, from the first step to the last."""
    with page_of(finished_run) as address:
        found = told(f"{address}layers")
    last = bp.open_run(finished_run).steps
    assert [found["steps"][0]["step"], found["steps"][-1]["step"]] == [1, last]
    step = found["steps"][-1]
    assert {"hidden_1", "relu_1", "output"} <= step["layers"].keys()
    assert step["layers"]["relu_1"]["dead"] <= 4
    for name, spread in (("hidden_1", "errors"), ("output", "values")):
        assert step["layers"][name][spread] == sorted(step["layers"][name][spread])
    assert (
        step["parameters"]["output.weight"]["gradients"][0] < 0 < step["parameters"]["output.weight"]["gradients"][-1]
    )
    replayed = bp.open_run(finished_run).replay(last)
    before, after = replayed.before["hidden_1"]["weight"], replayed.after["hidden_1"]["weight"]
    ratio = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert np.isclose(step["parameters"]["hidden_1.weight"]["ratio"], ratio, rtol=1e-4)


def test_the_norm_of_the_gradient_is_told_of_steps_of_the_whole_run(finished_run):
    """It is that of all weights together, of the batch of the step."""
    with page_of(finished_run) as address:
        found = told(f"{address}norms")
    replayed = bp.open_run(finished_run).replay(1)
    slopes = look(replayed.moment, 0).batch_slopes.values()
    assert np.isclose(found["norms"][0], np.sqrt(sum(np.sum(np.square(each)) for each in slopes)), rtol=1e-5)
    assert (found["epochs"][0], found["all"]) == (0, True)
    assert 5 < found["epochs"][-1] < 6


def test_results_are_those_of_the_held_out_rows(finished_run):
    """Every test row is in the confusion matrix once; the worst rows are named by their numbers in the table."""
    with page_of(finished_run) as address:
        found = told(f"{address}results")
    run = bp.open_run(finished_run)
    assert sum(map(sum, found["confusion"])) == found["rows"] == run.plan.prepared.test.rows
    right = sum(found["confusion"][k][k] for k in range(3)) / found["rows"]
    assert np.isclose(right, run.about["outcome"]["metrics"]["accuracy"])
    numbers = {run.plan.prepared.division.test.row_number(place) for place in range(found["rows"])}
    assert {each["row"] for each in found["worst"]} <= numbers
    assert found["worst"] == sorted(found["worst"], key=lambda each: each["p"])


def test_news_go_on_where_the_page_was(finished_run):
    """With what it knew of a run a page is told only what came after."""
    import urllib.request

    def first(address, **headers):
        request = urllib.request.Request(f"{address}news", headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as stream:  # noqa: S310
            stream.readline()
            return json.loads(stream.readline()[6:])["runs"][0]

    with page_of(finished_run) as address:
        whole = first(address)
        assert whole["columns"]["epoch"] == [1, 2, 3, 4, 5, 6]
        rest = first(address, **{"Last-Event-ID": json.dumps({whole["key"]: 4})})
        assert (rest["from"], rest["columns"]["epoch"]) == (4, [5, 6])


def test_questions_without_an_answer_are_told_in_a_line(finished_run):
    """A step, row, run or weight that is not there."""
    with page_of(finished_run) as address:
        for query in (
            "step?step=99999",
            "step?step=1&row=999",
            "step?step=x",
            "step?run=7&step=1",
            "step",
            "weight?step=1&name=no[1]",
            "node?step=1&layer=hidden_1&place=9",
            "matrix?step=1&name=a",
            "regions?x=a&y=b",
        ):
            status, _, content = asked(address + query)
            assert status == 422
            assert len(json.loads(content)["error"]) > 10


def test_the_script_of_the_playground_gives_the_same_weights(tmp_path, monkeypatch):
    """Running it trains the network of the page again, to the bit."""
    settings = {
        "target": "species",
        "hidden": [5, 3],
        "activation": "tanh,relu",
        "optimizer": "momentum",
        "learning_rate": 0.05,
        "epochs": 3,
        "batch_size": 20,
        "seed": 4,
    }
    ground = Playground()
    ground.train(settings)
    until(lambda: ground.watched.state == "finished")
    (tmp_path / "model").write_bytes(ground.model())
    weights = bp.load(tmp_path / "model").weights
    script = ground.script()
    ground.close()
    monkeypatch.chdir(tmp_path)
    shutil.copy(bp.__path__[0] + "/data/samples/iris.csv", tmp_path / "iris.csv")
    names = {}
    exec(compile(script, "script.py", "exec"), names)  # noqa: S102
    assert names["outcome"].model.weights == weights


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"target": "species", "loss": "huber"}, "does not fit"),
        ({"target": "species", "optimizer": "magic"}, "--optimizer is magic"),
        ({"target": "petals"}, "petals"),
        ({"target": "species", "table": "/etc/passwd"}, "table is no setting"),
        ({"target": "species", "hidden": [1 << 30]}, "--hidden"),
        ({"target": "species", "hidden": [4], "activation": "tanh,relu"}, "one, or one for each of 1 hidden layers"),
        ({}, "target is no setting"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, what):
    """By the same rules as those of `backpass train`."""
    ground = Playground()
    with pytest.raises(bp.BackpassError, match=what):
        ground.train(settings)
    ground.close()


def test_a_dropped_table_is_data_and_nothing_else():
    """What is no table is refused by name, one that is too large before it is read, and names lead nowhere."""
    ground = Playground()
    with pytest.raises(bp.BackpassError):
        ground.take("x.csv", b"\x00\x01\x02")
    with pytest.raises(bp.BackpassError, match="larger than 32 MB"):
        ground.take("x.csv", b"a" * ((32 << 20) + 1))
    about = ground.take("../../etc/evil.csv", b"a,b,c\n" + b"1,2,x\n3,4,y\n" * 20)
    assert (about["name"], about["rows"], about["numbers"]) == ("evil.csv", 40, ["a", "b"])
    ground.close()


@pytest.mark.parametrize("name", ["sgd", "nesterov", "rmsprop", "lion", "nadam"])
def test_the_optimizer_and_the_loss_of_a_recipe_are_what_trains(name):
    """They are part of what was asked, so a run is done again, looked into and gone on with by them."""
    planned = plan(
        {"x": np.arange(60.0), "y": np.arange(60.0) ** 2}, "y",
        effort="fast", recipe={"optimizer": name, "loss": "huber", "epochs": 1, "hidden": (3,), "weight_decay": 0.01},
    )  # fmt: skip
    trainer = planned.trainer()
    assert type(trainer.loss).__name__ == "Huber"
    assert type(trainer.optimizer.rule.parts[-1]).__name__.lower() == name
    assert planned.fit().finished


def test_a_history_is_written_while_training_goes_on(tmp_path):
    """Who looks on from another process sees epochs before the training ends."""
    import threading

    from backpass.training import Steering

    steering = Steering()
    folder = tmp_path / "run"
    thread = threading.Thread(
        target=trained,
        args=(folder,),
        kwargs={"steering": steering, "epochs": 100_000, "hidden": [4], "patience": 100_000},
    )
    thread.start()
    try:
        watched = Watched(folder)
        until((folder / "history.jsonl").exists)
        watched.look()
        assert watched.records
        assert watched.state == "training"
        seen = len(watched.records)
        until(lambda: watched.look() or len(watched.records) > seen)
        assert [record["epoch"] for record in watched.records] == list(range(1, len(watched.records) + 1))
    finally:
        steering.stop()
        thread.join()
    watched.look()
    assert watched.state == "interrupted"
