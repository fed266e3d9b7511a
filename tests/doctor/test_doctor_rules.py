"""Each rule finds the sickness that it is for, by its numbers, and a remedy that helps; healthy ones have none."""

from dataclasses import replace

import numpy as np
import pytest
from ward import case, found, network, table

import backpass as bp
from backpass import losses, nn, optimizers
from backpass.doctor import Diagnosis, rows, rules
from backpass.doctor import diagnosis as onward
from backpass.doctor.case import Case, case_of
from backpass.doctor.chart import Chart
from backpass.doctor.diagnosis import examined
from backpass.doctor.dial import dialled, with_rate
from backpass.doctor.remedies import Remedy
from backpass.doctor.search import findings_of
from backpass.errors import UsageError
from backpass.optimizers import catalogue


def spoiled(classes, change):
    X, y = table(classes)
    return change(X.copy(), y.copy())


def in_other_units(X, y):
    X[:, 2] = 3000 * X[:, 2] + 5000
    return X, y


SICK = {
    "activation at the output": (
        rules.output_activation,
        lambda: case(network(ends=nn.ReLU(), last=nn.Constant(-1.0)), epochs=12),
    ),
    "identical units": (
        rules.identical_units,
        lambda: case(network(initializer=nn.Constant(0.1), last=nn.Constant(0.1))),
    ),
    "unscaled inputs": (rules.unscaled_inputs, lambda: case(rows=spoiled(True, in_other_units))),
    "unscaled targets": (
        rules.unscaled_targets,
        lambda: case(classes=False, rows=spoiled(False, lambda X, y: (X, 5000 + 1000 * y))),
    ),
    "dead units": (rules.dead_units, lambda: case(network(bias_initializer=nn.Constant(-30.0)))),
    "saturated units": (
        rules.saturated_units,
        lambda: case(network(2, activation="tanh", initializer=nn.Normal(30.0)), optimizers.SGD(0.02), epochs=15),
    ),
    "exploding errors": (
        rules.exploding_errors,
        lambda: case(network(4, initializer=nn.Normal(3.0)), optimizers.SGD(0.02)),
    ),
    "vanishing errors": (
        rules.vanishing_errors,
        lambda: case(network(4, initializer=nn.Normal(0.02)), optimizers.SGD(0.1)),
    ),
    "loss at the start": (rules.loss_at_start, lambda: case(network(last=nn.Normal(100.0)), optimizers.Adam(0.003))),
    "learning rate too high": (rules.rate_too_high, lambda: case(optimizer=optimizers.Adam(30.0), patience=None)),
    "learning rate too low": (rules.rate_too_low, lambda: case(optimizer=optimizers.Adam(1e-6))),
    "held back too strongly": (rules.held_back, lambda: case(optimizer=optimizers.AdamW(0.02, weight_decay=30.0))),
    "constant predictions": (
        rules.constant_predictions,
        lambda: case(network(2, bias_initializer=nn.Constant(-30.0)), optimizers.SGD(1e-6), epochs=12),
    ),
    "cannot overfit one batch": (
        rules.one_batch,
        lambda: case(network(2, activation="tanh", initializer=nn.Normal(100.0)), optimizers.SGD(1e-14), epochs=8),
    ),
    "network too small": (rules.too_small, lambda: case(network(width=1))),
    "too few epochs": (rules.too_few_epochs, lambda: case(epochs=1)),
    "overfitting": (rules.overfitting, lambda: case(network(2, 64), rows=noisy(), epochs=150, patience=None, take=100)),
}


def noisy():
    """One label in twenty is another, those of the held-out rows too."""
    X, y = table()
    rng = np.random.default_rng(0)
    return X, np.where(rng.random(len(y)) < 0.05, 1 - y, y)


@pytest.mark.parametrize("name", SICK)
def test_a_rule_finds_the_sickness_that_it_is_for(name):
    """It is named, with numbers, and a short trial of its remedy is better than the network as it is."""
    rule, make = SICK[name]
    patient = make()
    finding = found(patient, rule)[name]
    assert any(letter.isdigit() for letter in finding.evidence)
    assert finding.promise[1] > max(0.0, patient.own[1]) + 0.05


@pytest.mark.parametrize("classes", [True, False], ids=["classes", "numbers"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_nothing_is_found_where_nothing_is_wrong(classes, activation):
    """All rules are silent about a network that learns."""
    patient = case(network(2, activation=activation, outputs=2 if classes else 1), classes=classes, epochs=40)
    assert min(patient.own) > 0.5
    assert examined(patient).findings == ()


def test_inputs_that_do_not_reach_the_output():
    """Where no change of options helps, the answers that are all alike are a finding for a person."""
    walled = nn.Sequential(nn.Dense(16), nn.ReLU(), nn.Function(lambda _, x: x * 0.0), nn.Dense(2))
    finding = found(case(walled, epochs=5), rules.constant_predictions)["constant predictions"]
    assert finding.evidence.startswith("all 200 rows are answered alike")
    assert finding.remedy is None
    assert "a layer that is" in finding.advice


def test_rows_that_nothing_can_learn_by_heart():
    """Rows that are alike and have other answers are no matter of the network: that is for a person, too."""
    X, _ = table()
    patient = case(rows=(np.repeat(X[: len(X) // 2], 2, axis=0), np.arange(len(X)) % 2), epochs=5)
    finding = found(patient, rules.one_batch)["cannot overfit one batch"]
    assert finding.evidence.startswith("32 rows alone, gone over 500 times")
    assert finding.remedy is None


def test_a_column_that_differs_in_held_out_rows_alone_is_scaled_by_its_size():
    """In other units it is as far from the others as it was: nothing is blown up that was never learned from."""
    X, y = spoiled(True, in_other_units)
    X[:, 3] = np.where(np.arange(len(X)) < 200, 1000, 2000)
    applied = Remedy(inputs=True).applied(case(rows=(X, y), epochs=1))
    assert (applied.inputs[:, 3] == 0).all()
    assert (applied.held_out[0][:, 3] == 1).all()


def test_a_rare_1_among_zeros_stays_1_apart_when_columns_are_scaled():
    """Of two values neither comes out far from all that the network has seen, in whatever units they were."""
    X, y = table()
    X[:, 2:] = np.where(np.arange(len(X)) == 7, 1, 0)[:, None] * np.float32([1, 1000])
    applied = Remedy(inputs=True).applied(case(rows=(X, y), epochs=1))
    assert np.allclose(np.ptp(applied.inputs[:, 2:], axis=0), 1)
    assert np.allclose(applied.inputs[:, :2].std(axis=0), 1, atol=1e-3)


def leaking(X, y):
    return np.column_stack([X, 3.0 * y.reshape(-1) + 1]).astype(np.float32), y


def twice(X, y):
    X[:100], y[:100] = X[200:], y[200:]
    return X, y


def moved(X, y):
    X[200:, 3] += 3
    return X, y


def mixed_up(X, y):
    chosen = np.random.default_rng(1).permutation(200)[:30]
    y[chosen] = 1 - y[chosen]
    return np.column_stack([4.0 * y0(X), X[:, 2]]).astype(np.float32), y


def y0(X):
    """The right labels, as a column among others: without mixing up, neighbours agree."""
    return (X[:, 0] + X[:, 1] ** 2 - 1 > 0).astype(float) + 0.05 * X[:, 3]


SPOILED_ROWS = {
    "leakage": (rows.leakage, leaking, True),
    "duplicates": (rows.duplicates, twice, True),
    "shifted columns": (rows.shifted, moved, True),
    "wrong labels": (rows.wrong_labels, mixed_up, True),
}


@pytest.mark.parametrize("name", SPOILED_ROWS)
def test_a_rule_finds_what_is_wrong_with_rows(name):
    """It names the columns or rows, and its remedy takes that away."""
    rule, change, classes = SPOILED_ROWS[name]
    patient = case(rows=spoiled(classes, change), epochs=2)
    finding = found(patient, of_rows=(rule,))[name]
    assert any(letter.isdigit() for letter in finding.evidence)
    again = finding.remedy.applied(patient)
    assert found(case(epochs=1), of_rows=(rule,)) == {}
    assert rule(again) is None


def test_rows_of_another_table_that_judge_are_looked_at_too():
    """Of test rows columns may be distributed otherwise, and rows stand among those learned from."""
    X, y = table()
    begun = bp.Trainer(network(), losses.CrossEntropy(), optimizers.Adam(0.01), threads=1)
    given = {"validation": (X[200:], y[200:]), "epochs": 2}
    far = X[:100] + np.float32(5) * (np.arange(X.shape[1]) == 3)
    shift = rows.shifted(case_of(begun, X[:200], y[:200], judged=(far, y[:100]), **given))
    assert shift.evidence.startswith("column 3: test rows are distributed otherwise")
    again = rows.duplicates(case_of(begun, X[:200], y[:200], judged=(X[100:180], y[100:180]), **given))
    assert again.evidence.startswith("80 of 80 test rows stand among those learned from")
    for rule in (rows.shifted, rows.duplicates):
        assert rule(case_of(begun, X[:200], y[:200], judged=(X[200:], y[200:]), **given)) is None


def test_rows_held_out_by_groups_or_by_time_may_be_distributed_otherwise():
    """Only of rows that chance drew that is a fault."""
    patient = case(rows=spoiled(True, moved), epochs=2)
    assert rows.shifted(patient) is not None
    assert rows.shifted(replace(patient, drawn=False)) is None


def test_a_column_that_is_shifted_and_needed_is_not_to_be_left_out():
    """What the answer depends on stays so where it is larger: without it a trial explains less of those rows."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(400, 3)).astype(np.float32)
    X[300:, 0] += 2
    y = 2 * X[:, :1] + 0.1 * X[:, 1:2]
    begun = bp.Trainer(nn.Sequential(nn.Dense(1)), losses.Squared(), optimizers.Adam(0.05), threads=1)
    finding = rows.shifted(case_of(begun, X[:300], y[:300], validation=(X[300:], y[300:]), epochs=40))
    assert finding.remedy is None
    assert finding.advice == "see why: it is not to be left out"


@pytest.mark.parametrize(("without", "left_out"), [(0.9, True), (0.86, True), (0.8, False)])
def test_a_column_that_is_shifted_and_adds_nothing_is_left_out(without, left_out, monkeypatch):
    """Only what rows to judge by lose much without is needed: a little more or less is chance."""
    patient = case(rows=spoiled(True, moved), epochs=1)
    monkeypatch.setattr(Case, "tried", lambda self, **_: (0.9, 0.9 if self.inputs is patient.inputs else without))
    assert (rows.shifted(patient).remedy is not None) == left_out


def test_of_many_equal_classes_none_is_rare():
    """Some are answered badly by chance; and a tenth of the rows is more than their share."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 40, 800)
    X = (rng.normal(size=(40, 6))[y] + 0.7 * rng.normal(size=(800, 6))).astype(np.float32)
    begun = bp.Trainer(nn.Sequential(nn.Dense(40)), losses.CrossEntropy(), optimizers.Adam(0.03), threads=1)
    begun.fit(X[:600], y[:600], epochs=20)
    patient = case_of(begun, X[:600], y[:600], validation=(X[600:], y[600:]))
    right = patient.answers(patient.model.outputs(X[600:])) == y[600:]
    of_classes = [right[y[600:] == label].mean() for label in range(40) if np.sum(y[600:] == label) >= 5]
    assert min(of_classes) < rows.SELDOM
    assert right.mean() > rows.USUAL
    assert rows.imbalance(patient) is None


def test_a_class_that_is_never_answered():
    """A rare class that no row is told to be is named with its share, and is answered once classes count the same."""
    X, _ = table()
    y = ((X[:, 0] > 1.2) & (X[:, 1] > 0.5)).astype(int)
    patient = case(rows=(X, y), optimizer=optimizers.SGD(0.03), epochs=40)
    diagnosis = examined(patient, (), (rows.imbalance,))
    assert diagnosis.findings[0].name == "imbalance"
    assert diagnosis.findings[0].evidence.startswith("class 1 has ")
    treated = diagnosis.treat().case
    right = treated.answers(treated.model.outputs(treated.inputs)) == treated.labels
    assert right[treated.labels == 1].mean() > 0.7
    assert right[treated.labels == 0].mean() > 0.7


@pytest.mark.parametrize("y", [np.arange(60) % 2, np.arange(60) % 2 * 2 - 1], ids=["0 and 1", "-1 and 1"])
def test_labels_of_margins_are_classes_as_well(y):
    """Targets of a hinge loss may be -1 and 1; scores above 0 mean yes."""
    begun = case_of(bp.Trainer(nn.Dense(1), losses.Hinge(), threads=1), np.zeros((60, 2), np.float32), y)
    assert begun.classes
    assert set(begun.labels) == {0, 1}
    assert begun.answers(np.array([[0.2], [-0.2]])).tolist() == [1, 0]
    assert begun.labels_of(begun.held_out[1]).min() == 0


def test_so_few_rows_that_no_setting_makes_up_for_them():
    """They are counted, and a machine has no remedy."""
    finding = found(case(take=20, epochs=2), of_rows=(rows.few_rows,))["too few rows"]
    assert finding.evidence.startswith("20 rows")
    assert finding.remedy is None


def test_too_few_rows_stand_after_what_is_likeliest_of_the_network(monkeypatch):
    """They hide nothing that can be treated, and more than that does not hide them."""
    suspicions = [rules.Suspicion(name, "0", ((Remedy(starts=True), ""),)) for name in ("cause", "another")]
    monkeypatch.setattr(Chart, "tried", lambda *_: (2.0, 2.0))
    monkeypatch.setattr(onward, "_kept", lambda *_: True)
    monkeypatch.setattr(onward, "_after", lambda treated: treated)
    monkeypatch.setattr(Case, "tried", lambda *_, **__: (0.1, 0.1))
    told = examined(case(take=20, epochs=1), [lambda _, s=s: s for s in suspicions], (rows.few_rows,)).findings
    assert sorted(each.name for each in told) == ["another", "cause", "too few rows"]
    assert [each.name for each in told[:2]] == ["cause", "too few rows"]


def saturated_and_apart():
    """Two things are spoiled: columns in other units, and units at the ends of their range."""
    spoilt = network(2, activation="tanh", initializer=nn.Normal(30.0))
    return case(spoilt, optimizers.Adam(0.02), rows=spoiled(True, in_other_units))


def test_a_network_without_a_hidden_layer():
    """Where a curve is to be learned, that is found, and one is put before the output."""
    finding = found(case(nn.Sequential(nn.Dense(1)), classes=False), rules.too_small)["network too small"]
    assert finding.evidence.startswith("it has no hidden layer")
    assert finding.promise[1] > 0.6


def test_what_is_still_wrong_once_the_first_is_treated():
    """It is a finding as well, and treated with the first."""
    diagnosis = examined(saturated_and_apart(), (rules.unscaled_inputs, rules.saturated_units), ())
    assert {each.name for each in diagnosis.findings} == {"unscaled inputs", "saturated units"}
    assert {"inputs", "starts"} <= set(diagnosis.treatment.parts())


def test_where_the_first_finding_alone_is_asked_for_it_is_that_of_the_whole_diagnosis():
    patient, asked = saturated_and_apart(), (rules.unscaled_inputs, rules.saturated_units)
    alone = examined(patient, asked, (), first=True)
    assert [each.name for each in alone.findings] == [examined(patient, asked, ()).findings[0].name]
    assert alone.treatment is None


def test_two_things_of_which_neither_alone_helps():
    """Both are named, with a remedy for both; what adds nothing is no part of it."""
    patient = case(network(bias_initializer=nn.Constant(-30.0)), optimizers.SGD(1e-6))
    told = found(patient, rules.unscaled_inputs, rules.dead_units, rules.rate_too_low)
    assert set(told) == {"dead units", "learning rate too low"}
    assert {finding.remedy.parts() for finding in told.values()} == {("rate", "starts")}
    assert min(told["dead units"].promise) > 0.5


def test_a_remedy_that_brings_a_rate_to_light_that_is_too_high():
    """It is tried at a tenth of the rate, too: errors that vanish hide that the rate is too high for what should be."""
    patient = case(network(4, initializer=nn.Normal(0.01), outputs=1), optimizers.SGD(2.0), classes=False)
    finding = found(patient, rules.vanishing_errors)["vanishing errors"]
    assert finding.remedy == Remedy(rate=0.1, starts=True)
    assert finding.advice.endswith("at a tenth of the learning rate")


def test_a_trial_that_was_good_by_chance_is_no_finding():
    """What a training as long as the case's does not confirm is left out."""
    patient = case(epochs=60)

    def hopeful(_):
        return rules.Suspicion("hope", "0", ((Remedy(epochs=2), "more"),))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Chart, "tried", lambda *_: (2.0, 2.0))
        assert [each.name for each in findings_of(Chart(patient), (hopeful,))] == ["hope"]
        assert examined(patient, (hopeful,), ()).findings == ()
        assert examined(patient, (hopeful,), (), first=True).findings == ()


def test_a_trial_of_no_change_is_the_training_itself():
    """So what a trial says of a change is what a training with it comes to, early stopping and all."""
    patient = case(epochs=20, patience=2)
    assert len(patient.history) < patient.epochs
    assert patient.tried() == patient.own


def test_a_rate_is_not_too_low_where_a_lower_one_is_better_as_well(monkeypatch):
    """Then chance has made the training bad: a rate that is too low gets worse on the other side."""
    patient = case(epochs=15)
    monkeypatch.setattr(Case, "own", (0.5, 0.5))
    monkeypatch.setattr(Chart, "stride", None)
    for lower, names in (((0.4, 0.4), ["learning rate too low"]), ((0.8, 0.7), [])):
        ladder = {0.1: lower, 1.0: (0.5, 0.5), 10.0: (0.9, 0.9)}
        monkeypatch.setattr(Chart, "ladder", ladder)
        found_low = findings_of(Chart(patient), (rules.rate_too_low,))
        assert [each.name for each in found_low] == names


def test_what_shows_that_something_is_wrong_stands_after_what_it_is(monkeypatch):
    """However much more the change of all at once brings than that of the cause."""
    one, all_at_once = Remedy(starts=True), Remedy(starts=True, wider=2)
    suspicions = [rules.Suspicion("sign", "0", ((all_at_once, ""),), general=True)]
    suspicions += [rules.Suspicion("cause", "0", ((one, ""),))]
    trials = {one: (0.5, 0.5), all_at_once: (0.9, 0.9)}
    monkeypatch.setattr(Chart, "tried", lambda _, remedy, __: trials.get(remedy, (0.0, 0.0)))
    chart = Chart(case(optimizer=optimizers.SGD(0.0), epochs=1))
    assert [each.name for each in findings_of(chart, [lambda _, s=s: s for s in suspicions])] == ["cause", "sign"]


def test_a_rate_may_be_treated_twice(monkeypatch):
    """What suits units that are alike is too low once they are not: it is told once, and treated again."""

    def low(chart):
        rate = chart.case.optimizer.learning_rate
        return rules.Suspicion("low", "0", ((Remedy(rate=10.0), ""),)) if rate < 0.01 else None

    def alike(chart):
        started = chart.case.network.layers["dense_1"].initializer is None
        return None if started else rules.Suspicion("alike", "0", ((Remedy(starts=True), ""),))

    monkeypatch.setattr(Chart, "tried", lambda *_: (2.0, 2.0))
    monkeypatch.setattr(onward, "_kept", lambda *_: True)
    monkeypatch.setattr(onward, "_after", lambda treated: treated)
    monkeypatch.setattr(Case, "tried", lambda *_, **__: (0.1, 0.1))
    patient = case(network(initializer=nn.Constant(0.1)), optimizers.SGD(1e-4), epochs=1)
    found = examined(patient, (low, alike), ())
    assert [each.name for each in found.findings] == ["low", "alike"]
    assert found.treatment == Remedy(rate=100.0, starts=True)


def test_more_epochs_come_with_more_patience():
    """Or early stopping would end as soon; and what had none gets some only where that is the remedy."""
    patient = case(epochs=2, patience=3)
    assert Remedy(epochs=5).applied(patient).patience == 15
    assert Remedy(epochs=5).applied(replace(patient, patience=None)).patience is None
    assert Remedy(stop=True).applied(replace(patient, patience=None)).patience > 0


def test_remedies_one_after_the_other():
    """Rates, widths and epochs multiply, columns and rows join; an Adam comes with a rate of its own."""
    one, other = Remedy(rate=0.1, wider=2, without=(3,)), Remedy(rate=10.0, wider=3, starts=True, without=(1,))
    assert one.then(other) == Remedy(wider=6, starts=True, without=(1, 3))
    assert one.then(Remedy(adam=0.003)).optimizer(optimizers.SGD(1.0)) == optimizers.Adam(0.003)
    assert Remedy(adam=0.003).then(Remedy(rate=10.0)).optimizer(optimizers.SGD(1.0)) == optimizers.Adam(0.03)


@pytest.mark.parametrize("name", catalogue.RULES)
def test_the_rate_of_every_optimizer_can_be_turned(name):
    """Its first step goes ten times as far."""
    rule, parameters = catalogue.RULES[name](0.001), {"w": np.ones(3)}
    steps = []
    for factor in (1.0, 10.0):
        turned = with_rate(rule, lambda rate, by=factor: dialled(rate, by))
        change, _ = turned.update({"w": np.ones(3)}, turned.init(parameters), parameters, 0)
        steps.append(np.abs(change["w"]))
    assert np.allclose(steps[1], 10 * steps[0])


def test_answers_that_are_all_the_same():
    """There is nothing to learn, and nothing else is said."""
    X, _ = table()
    for classes, y in ((True, np.zeros(len(X), int)), (False, np.full((len(X), 1), 5.0, np.float32))):
        diagnosis = examined(case(rows=(X, y), classes=classes, epochs=1))
        assert [each.name for each in diagnosis.findings] == ["nothing to learn"]
        assert diagnosis.treatment is None


@pytest.mark.parametrize("count", [2, 5])
def test_a_handful_of_rows_says_nothing_of_a_network(count):
    """That they are too few is all that is said."""
    assert [each.name for each in examined(case(take=count, epochs=1)).findings] == ["too few rows"]


def test_a_rare_side_of_a_margin():
    """Margins are no probabilities: there the rows of each class get weights that make classes count the same."""
    y = np.where(np.arange(60) < 6, 1, -1)
    begun = case_of(bp.Trainer(nn.Dense(1), losses.Hinge(), threads=1), np.zeros((60, 2), np.float32), y)
    weights = Remedy(balanced=True).applied(begun).weights
    assert weights[begun.labels == 1].min() > 4 * weights[begun.labels == 0].max()


def chance_decides(seed, count=300, turned=0.07):
    """Two columns, and labels of which one in fourteen is another, in all rows alike."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(count, 2)).astype(np.float32)
    return X, (X[:, 0] > 0).astype(int) ^ (rng.random(count) < turned)


def test_small_tables_of_which_chance_decides_some_labels():
    """Of many, none is said to have wrong labels: a few rows held out may have none of these by chance."""
    assert "wrong labels" not in [said_of_labels(*chance_decides(seed, 150)) for seed in range(20)]


def test_small_tables_with_wrong_labels_in_the_rows_learned_from_alone():
    """Of 100 labels 15 are turned, and of 50 held out none: that is found in nearly all such tables."""
    tables = [chance_decides(seed, 150, 0.0) for seed in range(10)]
    told = [said_of_labels(X, np.where(np.arange(150) < 15, 1 - y, y)) for X, y in tables]
    assert told.count("wrong labels") >= 9


def said_of_labels(X, y):
    """The name of what is found about labels, of which the first 100 are learned from."""
    trainer = bp.Trainer(nn.Dense(2), losses.CrossEntropy(), threads=1)
    finding = rows.wrong_labels(case_of(trainer, X[:100], y[:100], validation=(X[100:], y[100:])))
    return None if finding is None else finding.name


def test_of_many_rows_it_is_told_how_many_were_looked_at():
    """In words and for programs; of few rows all are, and nothing is said."""
    X, y = np.zeros((3000, 1), np.float32), np.zeros(3000, int)
    trainer = bp.Trainer(nn.Dense(2), losses.CrossEntropy(), threads=1)
    many = Diagnosis(case_of(trainer, X, y, validation=(X[:50], y[:50])), (), None)
    assert many.lines()[-1] == "looked at 2,000 of 3,000 rows learned from, drawn by chance"
    assert many.to_json()["rows"]["learned_from"] == {"looked_at": 2000, "of": 3000}
    assert len(Diagnosis(case_of(trainer, X[:90], y[:90]), (), None).lines()) == 1


def test_labels_that_chance_decides_are_not_wrong():
    """As many are otherwise in rows held out: that is asked of a person, and no row is left out."""
    X, y = table()
    flipped = np.random.default_rng(2).random(len(y)) < 0.15
    patient = case(
        rows=(np.column_stack([4.0 * y0(X), X[:, 2]]).astype(np.float32), np.where(flipped, 1 - y, y)), epochs=1
    )
    told = found(patient, of_rows=(rows.wrong_labels,))
    assert set(told) == {"labels in doubt"}
    assert told["labels in doubt"].remedy is None


def test_rows_that_are_met_again_by_chance_are_no_duplicates():
    """Where few rows are possible, many held out stand among those learned from."""
    _, y = table()
    X = (np.random.default_rng(0).random((len(y), 4)) < 0.5).astype(np.float32)
    assert found(case(rows=(X, y), epochs=1), of_rows=(rows.duplicates,)) == {}


def test_one_column_of_many_whole_numbers_that_are_met_again():
    """Of 2,000 rows with one of 1,000 days most days held out are among those learned from, and that is chance."""
    X = np.random.default_rng(0).integers(0, 1000, (2000, 1)).astype(np.float32)
    y = (X[:, 0] % 2).astype(int)
    begun = case_of(
        bp.Trainer(nn.Dense(2), losses.CrossEntropy(), threads=1), X[:1600], y[:1600], validation=(X[1600:], y[1600:])
    )
    assert rows.duplicates(begun) is None


def test_a_table_that_holds_each_row_twice():
    """Rows with numbers that chance does not give twice are duplicates, however often they are."""
    X, y = table()
    twice_over = np.random.default_rng(0).permutation(np.tile(np.arange(len(X)), 2))
    X, y = X[twice_over], y[twice_over]
    begun = case_of(
        bp.Trainer(nn.Dense(2), losses.CrossEntropy(), threads=1), X[:480], y[:480], validation=(X[480:], y[480:])
    )
    assert rows.duplicates(begun).name == "duplicates"


def test_as_many_steps_with_fewer_rows():
    """Where rows are left out, there are so many more epochs."""
    patient = case(epochs=4)
    assert Remedy(forget=tuple(range(100))).applied(patient).epochs == 8


def test_how_far_the_first_step_goes():
    """It stands beside the rate that it comes of: Adam's first step is the rate itself."""
    far, near = (Chart(case(optimizer=optimizers.Adam(rate), epochs=1)).stride for rate in (1.0, 1e-6))
    assert far[0] > 0.5
    assert near[1] < 1e-4
    finding = found(case(optimizer=optimizers.Adam(1e-6)), rules.rate_too_low)["learning rate too low"]
    assert "its first step changes weights by" in finding.evidence


def test_a_column_that_tells_all_stands_after_what_is_wrong_with_the_network():
    """It may be a legitimate cause: it is a question, and hides nothing. Both are treated."""
    diagnosis = examined(
        case(optimizer=optimizers.Adam(1e-6), rows=spoiled(True, leaking)), (rules.rate_too_low,), (rows.leakage,)
    )
    assert [each.name for each in diagnosis.findings] == ["learning rate too low", "leakage"]
    assert diagnosis.findings[1].advice.endswith("all that is needed")
    assert diagnosis.treatment.parts() == ("rate", "without")


def test_the_trainer_stays_as_it_is_and_the_treated_one_learns():
    """`diagnose` leaves weights and history alone, and tells of what each trial is; `treat` trains another, and tells
    before and after.
    """
    X, y = table()
    trainer = bp.Trainer(network(), losses.CrossEntropy(), optimizers.Adam(1e-6), threads=1)
    trainer.fit(X[:200], y[:200], epochs=20)
    before = trainer.parameters["dense_1"]["weight"].copy()
    told = []
    diagnosis = bp.diagnose(trainer, X[:200], y[:200], validation=(X[200:], y[200:]), telling=told.append)
    assert any(line.startswith("learning rate too low: 20 epochs at 10 times") for line in told)
    assert "training with the remedy of learning rate too low" in told
    assert (trainer.parameters["dense_1"]["weight"] == before).all()
    assert len(trainer.history) == 20
    assert not diagnosis
    assert diagnosis.findings[0].name == "learning rate too low"
    assert str(diagnosis).startswith("1  learning rate too low")
    treated = diagnosis.treat()
    assert treated.skills[1] > treated.skills[0] + 0.3
    assert treated.after < treated.before


def test_what_only_a_person_can_treat():
    """Where nothing was found, there is nothing to treat, and that is an error of one line."""
    diagnosis = examined(case(epochs=2), (), ())
    assert diagnosis
    with pytest.raises(UsageError, match="nothing was found that can be treated"):
        diagnosis.treat()
