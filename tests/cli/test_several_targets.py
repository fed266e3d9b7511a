"""Several targets of kinds of their own, learned by one network: through the public face, from table to answers."""

import csv
import json

import numpy as np
import pytest

import backpass as bp
from backpass import losses
from backpass.data import TargetEncoder, divide
from backpass.errors import BackpassError
from backpass.model.metrics import of_target

ROWS = 700
TARGETS = ("price", "type", "sold")
QUICK = {"hidden": (24,), "epochs": 25, "batch_size": 32, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def houses():
    """Three targets that a network can tell, each from all three inputs."""
    rng = np.random.Generator(np.random.Philox(7))
    a, b, c = rng.normal(size=(3, ROWS)).round(4)
    kinds = np.digitize(a - b + 0.3 * rng.normal(size=ROWS), [-0.8, 0.8])
    return {
        "a": a,
        "b": b,
        "c": c,
        "price": np.maximum(10 + 2 * a * b + c + 0.3 * rng.normal(size=ROWS), 0.5),
        "type": np.array(["flat", "house", "villa"])[kinds],
        "sold": np.where(c + a > 0.5 * rng.normal(size=ROWS), "yes", "no"),
    }


def trained(table, target, **options):
    others = [name for name in TARGETS if name not in target]
    options = {"exclude": others, "effort": "fast", "recipe": QUICK, "test": 0.25} | options
    return bp.train(table, target, **options)


@pytest.fixture(scope="module")
def together(houses):
    options = {"interval": 0.8, "threshold": "f1", "class_weights": {"yes": 2, "no": 1}}
    return trained(houses, list(TARGETS), target_kind="positive", **options)


@pytest.fixture(scope="module")
def saved(together, houses, tmp_path_factory):
    """The model's file, and the table's."""
    folder = tmp_path_factory.mktemp("heads")
    together.model.save(folder / "model.safetensors")
    with (folder / "houses.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(houses)
        rows.writerows(zip(*houses.values(), strict=True))
    return folder


def test_each_target_is_learned_about_as_well_as_by_a_network_of_its_own(houses):
    """R² within 0.05, accuracy within 0.04 of three trainings that have one target each; each far above no answer."""
    ours = trained(houses, list(TARGETS)).metrics
    for target, metric, margin, least in (
        ("price", "r2", 0.05, 0.7),
        ("type", "accuracy", 0.04, 0.75),
        ("sold", "accuracy", 0.04, 0.75),
    ):
        alone = trained(houses, [target]).metrics[metric]
        found = of_target(ours, target)[metric]
        assert found > alone - margin
        assert found > least


def test_each_target_has_the_scores_baselines_and_calibration_that_it_has_alone(together):
    """Metrics by names with the target; margins; three rows of scores; options only where they fit."""
    metrics = together.metrics
    assert set(of_target(metrics, "price")) == {"rmse", "mae", "r2", "interval_coverage", "interval_width"}
    assert set(of_target(metrics, "type")) == {"accuracy", "log_loss", "calibration_error"}
    assert {"accuracy", "auc", "f1", "youden"} < set(of_target(metrics, "sold"))
    assert [each.label for each in together.scores] == ["this network", "linear model", "always the same"]
    assert together.scores[-1].metrics["r2_price"] == pytest.approx(0, abs=0.05)
    assert together.scores[0].margins["accuracy_type"] > 0
    price, kind, sold = together.model.tabular.calibration.parts
    assert price.intervals is not None
    assert (kind.intervals, kind.threshold, kind.class_weights) == (None, None, ())
    assert (sold.threshold.metric, sold.class_weights) == ("f1", (1.0, 2.0))
    assert 0.7 < metrics["interval_coverage_price"] <= 0.95
    told = str(together)
    assert [line for line in told.splitlines() if not line.startswith(" ")] == list(TARGETS)


def test_the_loss_of_each_head_is_1_for_the_best_answer_that_is_the_same_for_all(together, houses):
    """Of outputs that are the training rows' shares, by the weights of the classes, or their mean."""
    planned_loss = together.model.loss
    assert [head.outputs for head in planned_loss.heads] == [1, 3, 1]
    division = divide(bp.data.Table.from_data(houses), TARGETS, seed=0, test=0.25, validation=0.2)
    encoder = TargetEncoder.fit(division.train, division.schema, kind="positive")
    encoded = encoder.encode(division.train)
    shares = np.bincount(encoded[:, 1].astype(int)) / len(encoded)
    yes = encoded[:, 2].mean() * 2 / (1 + encoded[:, 2].mean())
    outputs = np.tile([0.0, *np.log(shares), np.log(yes / (1 - yes))], (len(encoded), 1))
    for place, (head, own) in enumerate(planned_loss.apart(outputs)):
        assert np.mean(head.rows(own, encoded[:, place])) == pytest.approx(1, abs=0.02)
    assert planned_loss(outputs, encoded) == pytest.approx(1, abs=0.02)


def test_answers_are_one_column_for_each_target_from_python_file_and_command(together, saved, houses, run):
    """The same labels and numbers from the network, from its file, and as CSV; probabilities and ends by names."""
    answers = together.model.predict(houses)
    assert answers.dtype.names == TARGETS
    assert answers["price"].dtype == np.float64
    assert set(answers["sold"]) == {"yes", "no"}
    again = bp.load(saved / "model.safetensors")
    assert (again.predict(saved / "houses.csv") == answers).all()
    assert again.evaluate(houses) == together.model.evaluate(houses)
    assert again.tabular.calibration == together.model.tabular.calibration
    done = run("predict", saved / "model.safetensors", saved / "houses.csv", "--proba", "--interval")
    rows = list(csv.DictReader(done.out.splitlines()))
    assert list(rows[0]) == [
        *("prediction_price", "lower_price", "upper_price"),
        *("prediction_type", "p_type_flat", "p_type_house", "p_type_villa"),
        *("prediction_sold", "p_sold_no", "p_sold_yes"),
    ]
    assert [row["prediction_type"] for row in rows] == answers["type"].tolist()
    np.testing.assert_allclose([float(row["prediction_price"]) for row in rows], answers["price"], rtol=1e-6)
    assert all(float(row["lower_price"]) <= float(row["prediction_price"]) for row in rows)


def test_evaluate_tells_each_target_in_words_and_json(saved, run):
    """JSON has the names with the targets; words a part for each."""
    command = ["evaluate", saved / "model.safetensors", saved / "houses.csv"]
    told = run(*command).out
    assert told.index("  price\n    rmse") < told.index("  type\n    accuracy") < told.index("  sold\n    accuracy")
    assert "sold: threshold" in told
    found = json.loads(run(*command, "--json").out)["metrics"]
    assert {"r2_price", "accuracy_type", "auc_sold"} < set(found)


def test_the_order_of_targets_changes_no_kind(houses):
    """Each target's task, classes and loss are the same in every order, and its scale but for the drawing of rows."""
    found = {}
    for names in (TARGETS, ("sold", "price", "type")):
        planned = bp.recipes.plan(houses, ",".join(names), exclude=["a"], recipe=QUICK, effort="fast")
        heads = zip(names, planned.prepared.apart(), planned.loss().heads, strict=True)
        for name, own, head in heads:
            kind = own.division.schema.tasks[names.index(name)], own.tabular.targets.classes, type(head.loss)
            assert found.setdefault(name, kind) == kind
            assert head.scale == pytest.approx(found.setdefault(f"scale of {name}", head.scale), rel=0.02)


def test_a_class_of_a_later_target_that_chance_would_hold_out_trains(houses):
    """The split keeps the proportions of the first target of classes; of others every class has a row that trains."""
    table = houses | {"rare": np.where(np.arange(ROWS) == 5, "once", houses["sold"])}
    for seed in (1, 2):
        division = divide(bp.data.Table.from_data(table), ("type", "rare"), seed=seed, test=0.4, validation=0.4)
        assert division.schema.heads[1].classes == ("no", "once", "yes")
    with pytest.raises(BackpassError, match="has a class that is in no training row"):
        divide(bp.data.Table.from_data(table | {"when": -np.arange(ROWS)}), ("type", "rare"), seed=0, order="when")


def test_a_kind_is_that_of_the_amounts_that_it_fits(houses):
    """Of the others a note says why, whichever rows train; where it fits all amounts they are learned together."""
    recipe = QUICK | {"epochs": 1, "hidden": ()}
    table = houses | {"later": np.append(houses["price"][1:], -1.0), "double": 2 * houses["price"]}
    for names, kinds in (
        ("price,later,sold", ["positive", "number", "number"]),
        ("later,price", ["number", "positive"]),
    ):
        planned = bp.recipes.plan(table, names, target_kind="positive", effort="fast", recipe=recipe)
        assert [head.kind for head in planned.prepared.tabular.targets.heads] == kinds
        assert f'target "later" is -1 in row {ROWS}, and a positive target is above 0' in planned.prepared.notes[-1]
        assert "target price: positive amounts" in " ".join(planned.prepared.describe()[:3])
        assert planned.prepared.summary()["target_kind"] == "positive"
    assert planned.fit().model.predict(table)["price"].min() > 0
    both = bp.recipes.plan(table, "price,double", target_kind="positive", effort="fast").prepared.tabular.targets
    assert (both.parts, both.kind) == ((), "positive")


def test_quantiles_are_learned_of_each_amount(houses):
    """Of two amounts and a target of classes: quantiles for either amount, ascending."""
    table = houses | {"more": houses["price"] + houses["a"]}
    recipe = QUICK | {"epochs": 8, "hidden": ()}
    outcome = trained(table, ["price", "more", "sold"], quantiles=[0.1, 0.5, 0.9], recipe=recipe)
    found = outcome.model.predict_table(table)
    learned = [type(head.loss) for head in outcome.model.loss.heads]
    assert learned == [losses.Quantile, losses.Quantile, losses.BinaryCrossEntropy]
    for part in found.parts[:2]:
        assert (np.diff(part.quantiles, axis=1) >= 0).all()
    assert 0.02 < outcome.metrics["below_q0.1_more"] < 0.3


@pytest.mark.parametrize(
    ("targets", "options", "words"),
    [
        (("type", "sold"), {"interval": 0.9}, "--interval goes with numbers"),
        (("type", "sold"), {"quantiles": [0.5]}, "--quantiles goes with numbers, and target"),
        (("type", "sold"), {"target_kind": "count"}, "--target-kind goes with numbers, and target"),
        (("a", "type"), {"target_kind": "count"}, "leave out --target-kind count"),
        (("a", "b"), {"target_kind": "count"}, "leave out --target-kind count"),
        (("price", "type"), {"threshold": 0.3}, "goes with two classes, and the target is a number and 3 classes"),
        (("price", "type"), {"class_weights": {"yes": 1, "no": 2}}, '"yes", which is no class'),
        (("price", "type"), {"recipe": {"loss": "poisson"}}, "not fit a target of the kind number or classes: take"),
    ],
)  # fmt: skip
def test_an_option_that_fits_no_target_is_one_line(houses, targets, options, words):
    """It says what it goes with, and what was found."""
    with pytest.raises(BackpassError, match=words) as told:
        bp.recipes.plan(houses, ",".join(targets), effort="fast", **options)
    assert "\n" not in str(told.value)


def test_a_run_is_reported_and_traced(saved, tmp_path, run):
    """The report has a part for each target, a step's numbers add up, why answers by output, the doctor says no."""
    folder = tmp_path / "run"
    recipe = QUICK | {"epochs": 2, "hidden": ()}
    bp.train(saved / "houses.csv", "price,type,sold", effort="fast", recipe=recipe, out=folder)
    facts = json.loads(run("report", folder, "--json").out)
    assert [head["target"] for head in facts["heads"]] == list(TARGETS)
    assert ["residuals" in head for head in facts["heads"]] == [True, False, False]
    assert [len(head["confusion"]["classes"]) for head in facts["heads"][1:]] == [3, 2]
    assert facts["importance"]["metric"] == "relative_error"
    opened = bp.open_run(folder)
    assert opened.trace(step=3).sums.ok
    for name in ("price", "type=villa", "sold=yes"):
        assert opened.why(4, output=name).output == name
    assert opened.why(4).output == "price"
    told = run("trace", folder, "--row", 4, "--why").out
    answers = opened.why(4).answers
    assert all(f"{name} {value:.5g}" in " ".join(told.split()) for name, value in answers.items())
    assert "--output NAME tells of another: type, sold" in told
    likeliest = max((name for name in answers if name.startswith("type=")), key=lambda name: answers[name])
    assert run("trace", folder, "--row", 4, "--why", "--output", "type").out.startswith(f"row 4: {likeliest} is ")
    asked = run("doctor", folder)
    assert (asked.status, asked.err.count("\n")) == (2, 1)
    assert "ask it about one of them alone" in asked.err


@pytest.mark.parametrize("change", [
    lambda targets, _: targets["schema"]["heads"].pop(),
    lambda targets, _: targets["heads"].pop(),
    lambda targets, _: targets["heads"][0].update(spreads=[]),
    lambda targets, _: targets.pop("heads"),
    lambda targets, _: targets["schema"]["heads"][1].update(classes=["flat", "house"]),
    lambda _, calibration: calibration["heads"].pop(),
    lambda _, calibration: calibration["heads"][1].update(threshold={"value": 0.5, "metric": ""}),
])  # fmt: skip
def test_a_file_whose_heads_do_not_fit_each_other_is_refused(saved, tmp_path, change):
    """Under a right checksum too."""
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    from backpass.model.file import _checksum

    with safe_open(saved / "model.safetensors", framework="numpy") as file:
        content = json.loads(file.metadata()["backpass"])
    change(content["tabular"]["targets"], content["tabular"]["calibration"])
    content.pop("checksum")
    text = json.dumps(content | {"checksum": _checksum(content)}, ensure_ascii=False)
    save_file(load_file(saved / "model.safetensors"), tmp_path / "changed.safetensors", {"backpass": text})
    with pytest.raises(BackpassError, match=r"model file|do not fit|damaged"):
        bp.load(tmp_path / "changed.safetensors")
