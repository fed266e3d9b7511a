"""The ledger: every number of back-propagation, against numbers worked by hand and against the engine."""

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
from ledger_networks import CASES, ensemble, folded, inputs, recipe, step_of, targets, two_two_one

import backpass as bp
from backpass import losses, nn, ops, optimizers
from backpass.errors import UsageError
from backpass.forward import flatten
from backpass.ledger import Words, ledger
from backpass.recipes import textbook

# By hand


def test_a_network_small_enough_to_be_worked_by_hand():
    """Sums, activations, errors, derivatives and new weights of 2-2-1 are those of the comment above, exactly."""
    found = ledger(two_two_one(), 0)
    hidden, output = found.layers
    assert [hidden.sums.tolist(), hidden.values.tolist()] == [[1.0, -0.25], [1.0, 0.0]]
    assert [hidden.errors.tolist(), hidden.deltas.tolist()] == [[6.0, -3.0], [6.0, 0.0]]
    assert [output.values.tolist(), output.errors.tolist()] == [[2.5], [3.0]]
    assert [found.error.value.value, found.error.batch_loss] == [2.25, (2.25 + 0.0625) / 2]
    weights = found.parameters
    assert weights["hidden.weight"].row_slope.tolist() == [[6.0, 0.0], [12.0, 0.0]]
    assert weights["hidden.weight"].batch_slope.tolist() == [[3.0, 0.0], [5.5, 0.25]]
    assert weights["output.bias"].batch_slope.tolist() == [1.25]
    assert found.sums.ok
    assert found.sums.apart < 1e-6
    terms = hidden.forward(0)[0].largest()[0]
    assert sorted(terms) == [
        ("bias", (0.0, 1.0), 0.0, ("bias",)),
        ("x[0]", (0.5, 1.0), 0.5, ("weight", "input")),
        ("x[1]", (0.25, 2.0), 0.5, ("weight", "input")),
    ]
    assert hidden.backward(1)[0].largest()[0] == [("output[0]", (-1.0, 3.0), -3.0, ("weight", "δ"))]
    (change,) = weights["hidden.weight"].change.steps
    assert change.at((1, 0)).largest()[0][0].factors == (-0.2, 5.5)


def test_the_rows_of_a_batch_share_a_change_worked_by_hand():
    """hidden.weight[1,0] moves by -0.2 · (12/2 - 1/2): -1.2 is the first row's part, 0.1 the second's."""
    found = ledger(two_two_one(), 0, words=Words(row=lambda place: place + 7))
    movers = found.parameters["hidden.weight"].movers((1, 0))
    assert [(term.label, term.value) for term in movers.largest()[0]] == [
        ("row 7", pytest.approx(-1.2)),
        ("row 8", pytest.approx(0.1)),
    ]


def test_the_first_step_of_adam_worked_by_hand():
    """At t = 1 m̂ is g and v̂ is g²: each weight moves by the learning rate against the sign of its derivative."""
    moment = two_two_one()
    adam = optimizers.AdamW(0.1, weight_decay=0.5, epsilon=0.0)
    found = ledger(replace(moment, optimizer=adam, state=adam.init(moment.before)), 0)
    g, w = 5.5, 0.25
    m, v, m_hat, v_hat, inverse, step, change = (
        each.at((1, 0)).value for each in found.parameters["hidden.weight"].change.steps
    )
    assert [m, v] == pytest.approx([0.1 * g, 0.001 * g**2])
    assert [m_hat, v_hat, inverse] == pytest.approx([g, g**2, 1 / g])
    assert [step, change] == pytest.approx([-0.1, -0.1 - 0.1 * 0.5 * w])


def test_a_step_of_the_textbook_network_is_that_of_a_calculation_of_its_own(tmp_path):
    """4-25-3 with sigmoids on one flower: every number of the ledger is that of the textbook's formulas in float64."""
    flowers = textbook.iris()
    network, loss = textbook.network(), losses.HalfSumOfSquares()
    step = step_of(
        tmp_path, network, loss, optimizers.SGD(0.05), flowers.measures, flowers.desired,
        step=200, batch_size=1, precision="float64",
    )  # fmt: skip
    found = step.trace()
    x, desired = flowers.measures[step.rows[0]], flowers.desired[step.rows[0]]
    w1, b1, w2, b2 = flatten(step.before)
    a1 = 1 / (1 + np.exp(-(x @ w1 + b1)))
    a2 = 1 / (1 + np.exp(-(a1 @ w2 + b2)))
    d2 = (a2 - desired) * a2 * (1 - a2)
    d1 = (w2 @ d2) * a1 * (1 - a1)
    hidden, output = found.layers
    close = {"rel": 1e-12, "abs": 1e-15}
    assert hidden.sums == pytest.approx(x @ w1 + b1, **close)
    assert hidden.values == pytest.approx(a1, **close)
    assert output.values == pytest.approx(a2, **close)
    assert found.error.value.value == pytest.approx(0.5 * np.sum((desired - a2) ** 2), **close)
    assert output.deltas == pytest.approx(d2, **close)
    assert hidden.errors == pytest.approx(w2 @ d2, **close)
    assert hidden.deltas == pytest.approx(d1, **close)
    slopes = [np.outer(x, d1), d1, np.outer(a1, d2), d2]
    for parameter, slope, old, new in zip(
        found.parameters.values(), slopes, (w1, b1, w2, b2), flatten(step.after), strict=True
    ):
        assert parameter.row_slope == pytest.approx(slope, **close)
        assert parameter.kept.written == pytest.approx(old - 0.05 * slope, **close)
        assert new == pytest.approx(old - 0.05 * slope, **close)
    assert next(iter(found.parameters)) == "hidden.weight"
    assert found.sums.ok


# Against the engine


@pytest.mark.parametrize("name", CASES)
def test_every_sum_adds_up_and_every_change_is_the_runs(name, case):
    """Each sum, made again from its terms, is the engine's, and each new weight that of the native program."""
    step, which = case(name)
    for row in step.rows[[0, -1]]:
        found = step.trace(int(row), member=which)
        assert found.sums.ok, found.sums
        learned = sum(each.before.size for each in found.parameters.values())
        nodes = sum(len(layer.nodes) for layer in found.layers)
        assert found.sums.count > nodes
        assert found.sums.weights == learned
        for label, each in found.parameters.items():
            assert (each.after == _leaf(step.after, label)).all()
    assert found.error.batch_loss == pytest.approx(step.loss, rel=1e-6)


def _leaf(structure, label):
    for part in label.split("."):
        structure = structure[part]
    return structure


def test_every_activation_and_a_residual_add_up(tmp_path):
    """Formula and derivative of each activation, written out, are the engine's, in one network; so are joins."""
    layers = {}
    for name, activation in nn.ACTIVATIONS.items():
        layers |= {
            f"before_{name}": nn.Dense(5),
            name: activation(),
            f"join_{name}": nn.Residual(nn.Dense(5), nn.Tanh()),
        }
    network = nn.Sequential(**layers, flat=nn.Flatten(), output=nn.Dense(3))
    step = step_of(
        tmp_path, network, losses.CrossEntropy(), optimizers.SGD(0.1), inputs()["numbers"], targets("classes"),
        precision="float64",
    )  # fmt: skip
    found = step.trace()
    assert found.sums.ok, found.sums
    assert all(formula.told for _, formula in found.formulas())
    assert {type(telling.layer) for layer in found.layers for telling in layer.tellings} >= set(nn.ACTIVATIONS.values())
    for name in nn.ACTIVATIONS:
        assert np.any(found.layer(f"before_{name}").deltas), name


@pytest.mark.parametrize("name", CASES)
def test_the_shares_of_the_rows_add_up_to_each_change(name, case):
    """Rows, earlier steps and weight decay sum up to the change of each weight, the rows' alone to its derivative."""
    step, which = case(name)
    found = step.trace(member=which)
    for parameter in found.parameters.values():
        for index in [tuple(np.zeros(parameter.before.ndim, int)), tuple(np.array(parameter.before.shape) - 1)]:
            batch, movers = parameter.batch(index), parameter.movers(index)
            assert len(batch.labels) == len(step.rows)
            assert batch.difference <= batch.allowed(np.float32)
            assert movers.difference <= movers.allowed(np.float32) + 1e-6 * np.abs(movers.products).sum()


def test_the_parts_of_the_rows_are_those_of_the_batch(tmp_path):
    """With weights a row counts in the batch's loss by its weight; the ledger says how much."""
    network = nn.Sequential(nn.Dense(4), nn.Tanh(), nn.Dense(1))
    weights = np.linspace(0.5, 2, 60)
    x, y = inputs()["numbers"], targets("yes")
    trainer = bp.Trainer(network, losses.BinaryCrossEntropy(), batch_size=8)
    trainer.fit(x, y, epochs=2, weights=weights, checkpoints=tmp_path)
    found = trainer.trace(9, tmp_path, x, y, weights=weights)
    rows = found.moment.rows
    assert found.error.share == pytest.approx(weights[rows[0]] / weights[rows].sum(), rel=1e-6)
    assert found.sums.ok


def test_a_dropped_node_is_told_with_its_mask(case):
    """Dropout's factor is 0 or 1 / (1 - rate), forward as backward, and both happen."""
    step, _ = case("classes")
    layer = step.trace().layer("hidden_1")
    factors = [layer.forward(node)[-1].factors[1].item() for node in range(6)]
    back = [layer.backward(node)[1].factors[1].item() for node in range(6)]
    assert factors == back
    assert {round(factor, 5) for factor in factors} == {0.0, round(1 / 0.7, 5)}


def test_a_row_that_is_held_out_from_a_member_is_told_as_that(tmp_path):
    """Its member has no error of it; the member that is told by itself is the first that learns from the row."""
    network, rows = folded()
    step = step_of(tmp_path, network, losses.CrossEntropy(), recipe(), rows, targets("classes"))
    for row in step.rows[:4]:
        fold = int(row) % 3
        own = step.trace(int(row), member=fold + 1)
        assert own.sums.ok
        assert np.any(own.layer("output").errors)
        assert not np.any(own.layer("output").deltas)
        assert not np.any(own.parameters[f"{fold + 1}.hidden_1.weight"].row_slope)
        told = step.trace(int(row))
        assert told.member == (2 if fold == 0 else 1)
        assert told.sums.ok
        assert np.any(told.layer("output").deltas)
        assert told.layer("output").backward(0)[1].rule == "error · 1: it learns from the row"


def test_the_loss_of_a_row_tells_how_many_members_learn_from_it(tmp_path):
    """Its part of the batch's loss is its share of the mean of all members', and these parts add up to that loss."""
    from backpass.ledger.terminal import told

    network, rows = folded()
    step = step_of(tmp_path, network, losses.CrossEntropy(), recipe(), rows, targets("classes"))
    found = [step.trace(int(row)) for row in step.rows]
    assert {each.error.learning for each in found} == {found[0].members - 1}
    parts = [each.error.share * each.error.row_loss for each in found]
    assert sum(parts) == pytest.approx(found[0].error.batch_loss, rel=1e-5)
    lines = [line.text for line in told(found[0], nodes=1, terms=1)]
    (at,) = (place for place, line in enumerate(lines) if "part in the loss of the batch" in line)
    assert "learn from the row; the others hold it out" in lines[at - 1]
    assert float(lines[at].split()[-1]) == pytest.approx(parts[0], rel=1e-3)
    assert float(lines[at + 1].split()[-1]) == pytest.approx(found[0].error.batch_loss, rel=1e-3)


def test_what_all_members_share_has_its_error_from_all_of_them(case):
    """The error of a wave is the sum of what the told member's nodes hand back, and of each other member's part."""
    step, _ = case("yes or no")
    found = step.trace(member=1)
    labels = found.layer("inputs").backward(0)[0].labels
    assert [label for label in labels if label.startswith("member")] == ["member 2", "member 3"]
    assert labels[:6] == [f"hidden_1[{k}]" for k in range(6)]


def test_a_wave_is_told_with_its_angle_and_a_level_with_its_place(case):
    """The angle is worked out of frequency, number and phase; the cosine is of it. OneHot is 1 at one node."""
    step, which = case("numbers")
    found = step.trace(member=which)
    waves, levels = found.layer("inputs.numbers"), found.layer("inputs.colour")
    angle, wave = waves.forward(5)
    (turned, shifted), _, _ = angle.largest()
    assert {turned.names, shifted.names} == {("2π", "frequency", "numbers[0]"), ("2π", "phase")}
    assert np.cos(angle.value) == pytest.approx(wave.value, abs=1e-6)
    assert waves.tellings[0].back(0).names[1:] == [("error", "-sin(angle)", "2π · frequency")] * 4
    assert sorted(levels.values.tolist()) == [0, 0, 0, 0, 1]
    assert all(levels.forward(node)[0].told for node in range(5))


@dataclass(frozen=True)
class Scale(nn.Layer):
    """A layer of one's own: each input times a factor."""

    def init(self, shape, key, after=None):
        del key, after
        return {"factor": np.linspace(1, 2, shape[0])}

    def __call__(self, parameters, x, key=None):
        del key
        return x * parameters["factor"] + ops.sin(x)


def test_a_layer_of_ones_own_is_told_by_what_the_engine_has(tmp_path):
    """Without a telling a layer has the values and errors of its nodes, and its weights the shares of the rows."""
    network = nn.Sequential(nn.Dense(4), own=Scale(), output=nn.Dense(1))
    step = step_of(tmp_path, network, losses.Squared(), optimizers.SGD(0.1), inputs()["numbers"], targets("yes"))
    found = step.trace()
    own = found.layer("own")
    (forward,), (error,) = own.forward(1), own.backward(1)
    x, factor = found.layer("dense_1").values[1], found.parameters["own.factor"].before[1]
    assert forward.value == pytest.approx(x * factor + np.sin(x), rel=1e-6)
    assert not forward.told
    assert error.labels == ["output[0]"]
    parameter, index = found.weight("own.factor[1]")
    assert parameter.row_slope[1] == pytest.approx(x * own.errors[1], rel=1e-5)
    assert parameter.batch(index).difference < 1e-7
    assert found.sums.ok


def test_a_ledger_that_does_not_add_up_says_so(case):
    """One wrong number, of a sum or of a new weight, is found and named."""
    step, which = case("classes")
    found = step.trace(member=which)
    found.layer("hidden_2").tellings[0].sight.outputs[found.place, 1] += 1e-3
    assert not found.sums.ok
    assert found.sums.worst.startswith("hidden_2, hidden_2[1]: ")
    again = step.trace(member=which)
    wrong = np.array(again.parameters["2.output.bias"].after)
    again.parameters["2.output.bias"] = replace(again.parameters["2.output.bias"], after=wrong + 1e-4)
    assert again.sums.apart > 1
    assert "does NOT" not in str(again)
    assert "differs from the run's" in str(again)


# Names


def test_weights_are_named_by_place_or_by_what_they_stand_between(case):
    """Both names lead to the same element, with the member's number or without."""
    step, _ = case("classes")
    found = step.trace(member=2)
    assert found.weight("numbers[1] -> hidden_1[3]") == found.weight("hidden_1.weight[1,3]")
    assert found.weight("2.hidden_1.weight[1, 3]") == found.weight("hidden_1.weight[1,3]")
    assert found.weight("bias->output[2]")[0].name == "output.bias"
    assert found.weight("hidden_1[0] -> hidden_2[3]")[1] == (0, 3)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hidden_3.weight[0,0]", "no weights are called 'hidden_3.weight'. Did you mean \"hidden_"),
        ("hidden_1.weight[99,0]", "the last of hidden_1.weight is hidden_1.weight[12,5]"),
        ("hidden_1.weight", "the last of hidden_1.weight is hidden_1.weight[12,5]"),
        ("x -> hidden_1[99]", "no node is called 'hidden_1[99]'"),
        ("number[1] -> hidden_1[3]", "no weight leads from 'number[1]' to 'hidden_1[3]'. Did you mean \"numbers[1]\"?"),
        ("", "no weights are called ''"),
    ],
)
def test_a_weight_that_is_not_there(name, said, case):
    """The error says what there is."""
    step, _ = case("classes")
    with pytest.raises(UsageError) as error:
        step.trace().weight(name)
    assert said in str(error.value)


def test_a_step_is_called_by_the_same_numbers_as_in_its_ledger(case):
    """Its batch is counted from 1, as the ledger's first lines count it."""
    from backpass.ledger.terminal import told

    step, _ = case("classes")
    shown = "\n".join(line.text for line in told(step.trace(), nodes=1, terms=1))
    assert f"epoch {step.epoch}, its batch {step.batch + 1}," in shown
    assert f"epoch {step.epoch}, its batch {step.batch + 1}," in repr(step)


def test_a_node_beyond_the_last_is_told_which_there_are(case):
    found = case("classes")[0].trace()
    last = next(layer for layer in found.layers if layer.name == "hidden_1").nodes[-1]
    for look in (found.node, lambda name: found.weight(f"numbers[1] -> {name}")):
        with pytest.raises(UsageError, match=re.escape(f"hidden_1 has hidden_1[0] to {last}.")):
            look("hidden_1[999]")


def test_a_row_a_member_and_a_layer_that_are_not_there(case):
    """The error says what there is."""
    step, _ = case("classes")
    absent = next(row for row in range(60) if row not in step.rows)
    with pytest.raises(UsageError, match=f"row {absent} is not in the batch of step 11, which has the rows"):
        step.trace(absent)
    with pytest.raises(UsageError, match="--member is 4, expected from 1 to 3"):
        step.trace(member=4)
    with pytest.raises(UsageError, match="no layer is named 'hidden'"):
        step.trace().layer("hidden")


def test_the_whole_of_an_ensemble_is_what_its_members_are(tmp_path):
    """The loss of the row is the mean of the members', each of which can be told."""
    step = step_of(tmp_path, ensemble(3), losses.CrossEntropy(), None, inputs(), targets("classes"))
    told = [step.trace(member=which).error for which in (1, 2, 3)]
    assert np.mean([each.value.value for each in told]) == pytest.approx(told[0].row_loss, rel=1e-6)
