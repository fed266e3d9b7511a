"""Training steps, native against reference: every layer, loss, rule and schedule; every number of rows; every batch."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from native_helpers import ACTIVATIONS, RULES, Work, assert_agree, differences, digest, goals, trained

import backpass as bp
from backpass import losses, nn, ops, optimizers
from backpass.errors import NotFiniteError
from backpass.forward import map_structure
from backpass.losses.catalogue import LOSSES
from backpass.optimizers.catalogue import RULES as RULE_NAMES
from backpass.optimizers.catalogue import SCHEDULES

ROWS = 37
rng = np.random.default_rng(5)
GOALS = goals(rng, ROWS)
CASES = max(len(GOALS), len(RULES), len(ACTIVATIONS))


def case(number):
    """A network with an activation, a loss and a rule, so that all of them have their turn."""
    loss, outputs, targets = GOALS[number % len(GOALS)]
    act = ACTIVATIONS[number % len(ACTIVATIONS)]
    net = nn.Sequential(nn.Dense(13), act, nn.Dropout(0.2), nn.Dense(17), nn.Tanh(), nn.Dense(outputs))
    weights = rng.uniform(0.1, 2, ROWS) if number % 2 else None
    return Work(net, loss, RULES[number % len(RULES)], rng.normal(size=(ROWS, 7)), targets, weights, batch_size=99)


every_case = pytest.mark.parametrize("number", range(CASES))


def test_the_cases_hold_every_loss_rule_schedule_and_activation():
    assert {type(loss) for loss, _, _ in GOALS} == set(LOSSES.values())
    assert {type(act) for act in ACTIVATIONS} == set(nn.ACTIVATIONS.values())
    shown = repr(RULES)
    sign = {"rprop"}  # it takes the signs of gradients, and all of a step hangs on them: below
    missing = [
        kind.__name__
        for name, kind in (RULE_NAMES | SCHEDULES).items()
        if f"{kind.__name__}(" not in shown and name not in sign
    ]
    assert not missing


@every_case
def test_a_step_in_float64_is_the_references_to_12_digits(number):
    work = case(number)
    found = differences(trained(work, "reference", epochs=1), trained(work, "native", epochs=1, threads=1 + number % 3))
    assert max(found.values()) < 1e-12


@every_case
def test_a_step_in_float32_is_no_further_from_the_truth_than_the_references(number):
    """Within 1e-5 of the step in float64, or within some times what the reference itself is off by in float32.

    Adam and its like divide gradients by their own size, and so make rounding large where gradients are all but 0.
    """
    work = case(number)
    truth = trained(work, "reference", epochs=1)
    own = differences(truth, trained(work, "reference", epochs=1, precision="float32"))
    found = differences(truth, trained(work, "native", epochs=1, threads=1 + number % 3, precision="float32"))
    wrong = {place: (error, own[place]) for place, error in found.items() if error > max(1e-5, 5 * own[place])}
    assert not wrong


@pytest.mark.parametrize("rule", [optimizers.Rprop(), optimizers.Lion(0.01)], ids=lambda rule: type(rule).__name__)
def test_rules_of_signs_agree_too(rule):
    """Where a gradient is plainly not 0, its sign is the same."""
    net = nn.Sequential(nn.Dense(13), nn.Tanh(), nn.Dense(2))
    x = rng.normal(size=(ROWS, 7))
    assert_agree(Work(net, losses.Squared(), rule, x, x[:, :2] * 3, batch_size=99), epochs=4, threads=2)


# Rows and batches


@pytest.mark.parametrize(
    ("rows", "batch_size"),
    [(1, 7), (2, 1000), (3, 1), (16, 7), (17, 16), (31, 32), (33, 32), (64, 7), (65, 64), (257, 32), (40, 1)],
)
def test_any_number_of_rows_in_batches_of_any_size(rows, batch_size):
    """The batch larger than all rows, of one row, and such as leave a smaller one at the end of an epoch."""
    x, labels = rng.normal(size=(rows, 5)), rng.integers(0, 3, rows)
    net = nn.Sequential(nn.Dense(17), nn.ReLU(), nn.Dropout(0.3), nn.Dense(3))
    work = Work(net, losses.CrossEntropy(), optimizers.Momentum(0.01), x, labels, None, batch_size)
    assert_agree(work, epochs=3, threads=2)


@pytest.mark.parametrize(
    "rule", [optimizers.SGD(0.05), *(r for r in RULES if isinstance(r, optimizers.Chain))], ids=repr
)
@pytest.mark.parametrize("widths", [(25, 3), (1, 1), (2, 9), (40, 8, 5)])
def test_a_row_a_step_is_the_references_and_of_the_same_bits_on_two_threads(widths, rule):
    """The rate multiplies the errors there, and what they add to a matrix is added as one product."""
    *hidden, outputs = widths
    layers = [layer for width in hidden for layer in (nn.Dense(width), nn.Sigmoid())]
    x = rng.normal(size=(ROWS, 4))
    net = nn.Sequential(*layers, nn.Dense(outputs), nn.Sigmoid())
    work = Work(net, losses.HalfSumOfSquares(), rule, x, rng.uniform(size=(ROWS, outputs)), None, 1)
    assert_agree(work, within=1e-12, epochs=2, threads=1)
    assert digest(trained(work, "native", threads=1)) == digest(trained(work, "native", threads=2))


def test_a_last_layer_of_few_outputs_learns_as_the_references_and_to_the_same_bits_on_two_threads():
    """Five outputs leave three lanes of eight empty: their weights are kept turned about."""
    net = nn.Sequential(nn.Dense(32), nn.Tanh(), nn.Dense(5))
    x, labels = rng.normal(size=(ROWS, 7)), rng.integers(0, 5, ROWS)
    work = Work(net, losses.CrossEntropy(), optimizers.Adam(0.01), x, labels, None, 16)
    assert_agree(work, threads=2)
    assert digest(trained(work, "native", threads=1)) == digest(trained(work, "native", threads=2))


def test_what_is_not_a_number_is_found_in_a_step_of_one_row():
    """Weights that overflow by one product end the training, and their name is told."""
    net = nn.Sequential(inside=nn.Dense(9, initializer=nn.Constant(1e150)), outside=nn.Dense(3))
    work = Work(net, losses.HalfSumOfSquares(), optimizers.SGD(1e150), np.full((5, 4), 1e5), np.ones((5, 3)), None, 1)
    with pytest.raises(NotFiniteError, match="no longer finite after step"):
        trained(work, "native", threads=1)


@pytest.mark.parametrize("widths", [(1,), (2, 1), (31, 33), (65,), (130, 67), (5, 100)])
def test_layers_of_any_width(widths):
    """Also wider than a panel of weights, and an output of many classes."""
    layers = [layer for width in widths for layer in (nn.Dense(width), nn.Tanh(), nn.Dropout(0.3))]
    x, labels = rng.normal(size=(45, 7)), rng.integers(0, 100, 45)
    work = Work(nn.Sequential(*layers, nn.Dense(100)), losses.CrossEntropy(), optimizers.Adam(), x, labels, None, 32)
    assert_agree(work, epochs=2, threads=3)


def test_weights_that_sum_to_nothing_in_a_batch_change_nothing_there():
    weights = np.ones(21)
    weights[7:14] = 0
    x, y = rng.normal(size=(21, 3)), rng.normal(size=(21, 1))
    work = Work(nn.Dense(1), losses.Squared(), optimizers.SGD(0.1), x, y, weights, batch_size=7)
    ours, theirs = (trained(work, executor, shuffle=False) for executor in ("native", "reference"))
    assert max(differences(theirs, ours).values()) < 1e-12


# Networks of every kind


def several_inputs():
    n = 50
    inputs = {
        "numbers": rng.normal(size=(n, 3)),
        "colour": rng.integers(0, 11, n),
        "size": rng.integers(0, 4, n),
        "pair": rng.integers(0, 3, (n, 2)),
    }
    net = nn.Sequential(
        nn.Concatenate(
            numbers=nn.Dense(5),
            colour=nn.Embedding(11, 5),
            size=nn.OneHot(4, "float64"),
            pair=nn.Sequential(nn.Embedding(3, 2), nn.Flatten()),
        ),
        nn.Residual(nn.Dense(18), nn.GELU()),
        nn.Concatenate(nn.Dense(7), nn.Sequential(nn.Dense(3), nn.Softmax())),
        nn.Function(
            lambda p, x: ops.sin(x * p["frequency"]) + ops.mean(x, 1, keepdims=True), {"frequency": np.ones(10)}
        ),
        nn.Dense(3),
    )
    return net, inputs, rng.integers(0, 3, n)


@pytest.mark.parametrize(
    "rule",
    [
        optimizers.Adam(0.01),
        optimizers.Chain(optimizers.ClipByGlobalNorm(0.5), optimizers.WeightDecay(0.1), optimizers.Momentum(0.02)),
    ],
    ids=["adam", "clipped"],
)
@pytest.mark.parametrize("threads", [1, 3])
def test_several_inputs_embeddings_shortcuts_and_functions(rule, threads):
    """Two embeddings, one of two numbers a row, indicators, layers side by side, and a function with a parameter."""
    net, inputs, labels = several_inputs()
    assert_agree(Work(net, losses.CrossEntropy(), rule, inputs, labels, rng.uniform(0.1, 1, 50), 16), threads=threads)


def test_as_many_inputs_as_a_wide_table_has():
    """Seventy categories, each an input of its own."""
    inputs = {f"c{i}": rng.integers(0, 3, 20) for i in range(70)}
    net = nn.Sequential(nn.Concatenate(**{name: nn.Embedding(3, 1) for name in inputs}), nn.Dense(1))
    assert_agree(Work(net, losses.Squared(), optimizers.SGD(0.01), inputs, rng.normal(size=20)), epochs=1, threads=2)


def test_a_clipped_network_of_several_layers_stays_the_same_over_many_steps():
    """Copies of weights that stand turned about are kept up where the update waits for a norm, too."""
    net = nn.Sequential(nn.Dense(13), nn.Tanh(), nn.Dense(7), nn.Tanh(), nn.Dense(3))
    rule = optimizers.Chain(optimizers.ClipByGlobalNorm(0.1), optimizers.Adam(0.01))
    work = Work(net, losses.CrossEntropy(), rule, rng.normal(size=(30, 5)), rng.integers(0, 3, 30), None, 8)
    assert_agree(work, epochs=6, threads=2)


def test_row_shapes_of_several_axes():
    net = nn.Sequential(
        nn.Function(lambda p, x: ops.transpose(ops.tanh(x @ p["w"]), (0, 2, 1)), {"w": np.eye(4, 5)}),
        nn.Flatten(),
        nn.Dense(2),
    )
    x = rng.normal(size=(20, 3, 4))
    assert_agree(Work(net, losses.Squared(), optimizers.Momentum(0.02), x, x[:, 0, :2]), threads=2)


def scaled_in_float64(p, x):
    return ops.cast(ops.cast(x, np.float64) * p["w"], np.float32)


def test_parameters_of_two_types():
    """Half of the network in float32, the parameters of a function in float64."""

    net = nn.Sequential(nn.Dense(9), nn.Tanh(), nn.Function(scaled_in_float64, {"w": np.ones(9)}), nn.Dense(1))
    x = rng.normal(size=(20, 3))
    results = []
    for executor in ("native", "reference"):
        trainer = bp.Trainer(net, losses.Squared(), optimizers.Adam(0.01), batch_size=7, executor=executor, threads=2)
        trainer.build(x)
        trainer.parameters["function_1"]["w"] = trainer.parameters["function_1"]["w"].astype(np.float64)
        trainer._state.optimizer = trainer.optimizer.init(trainer.parameters)
        trainer.fit(x, x[:, :1], epochs=3)
        results.append(trainer)
    assert max(differences(*results).values()) < 1e-4
    assert results[0].parameters["function_1"]["w"].dtype == np.float64


# Losses, layers and rules of one's own


@dataclass(frozen=True)
class LogCosh(losses.Loss):
    def rows(self, outputs, targets):
        outputs, targets = self._paired(outputs, targets)
        difference = outputs - targets
        return ops.mean(ops.log(ops.exp(difference) + ops.exp(-difference)), 1)


@dataclass(frozen=True)
class Normalized(nn.Layer):
    """Rows less the mean of the batch: statistics over the batch need all threads."""

    def __call__(self, parameters, x, key=None):
        del parameters, key
        centred = x - ops.mean(x, 0, keepdims=True)
        return centred / ops.sqrt(ops.mean(centred * centred, 0, keepdims=True) + 0.01)


@dataclass(frozen=True)
class Accumulated(optimizers.Optimizer):
    """Gradients are added up, and the parameters change at every third step alone."""

    def init(self, parameters):
        return {"sum": zeros_like(parameters), "count": np.zeros((), np.int64)}

    def update(self, gradients, state, parameters, step):
        del parameters, step
        count = state["count"] + 1
        now = ops.equal(count, 3)
        total = map_structure(lambda s, g: s + g, state["sum"], gradients)
        changes = map_structure(lambda t: ops.where(now, t * -0.05, 0.0), total)
        kept = map_structure(lambda t: ops.where(now, 0.0, t), total)
        return changes, {"sum": kept, "count": ops.where(now, 0, count)}


def zeros_like(parameters):
    return map_structure(lambda p: np.zeros_like(np.asarray(p)), parameters)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_loss_a_layer_and_gradients_added_up_over_steps_of_ones_own(threads):
    net = nn.Sequential(nn.Dense(13), Normalized(), nn.Tanh(), nn.Dense(2))
    x = rng.normal(size=(40, 5))
    assert_agree(Work(net, LogCosh(), Accumulated(), x, x[:, :2], batch_size=7), within=1e-7, epochs=2, threads=threads)


def test_a_rule_that_reads_the_old_state_after_the_new_is_made():
    """What is written in place must not be read as old any more."""

    @dataclass(frozen=True)
    class Hasty(optimizers.Optimizer):
        def init(self, parameters):
            return {"fast": zeros_like(parameters), "slow": zeros_like(parameters)}

        def update(self, gradients, state, parameters, step):
            del step
            fast = map_structure(lambda f, g: f * 0.5 + g, state["fast"], gradients)
            slow = map_structure(lambda s, f, new: s * 0.9 + f * 0.1 + new * 0.01, state["slow"], state["fast"], fast)
            changes = map_structure(
                lambda p, f, s: (f - s) * -0.01 - p * 0.001, parameters, state["fast"], state["slow"]
            )
            return changes, {"fast": slow, "slow": fast}

    net = nn.Sequential(nn.Dense(13), nn.Tanh(), nn.Dense(2))
    x = rng.normal(size=(40, 5))
    assert_agree(Work(net, losses.Squared(), Hasty(), x, x[:, :2], batch_size=7), threads=2)


# What is carried on between epochs


def test_a_watched_learning_rate_falls_alike():
    """ReduceOnPlateau's state changes between epochs, from outside of the program."""
    x = rng.normal(size=(40, 3))
    rule = optimizers.Momentum(optimizers.ReduceOnPlateau(0.5, patience=1))
    work = Work(nn.Sequential(nn.Dense(5), nn.Tanh(), nn.Dense(1)), losses.Squared(), rule, x, x[:, :1], None, 16)
    held_out = (rng.normal(size=(9, 3)), rng.normal(size=(9, 1)))
    ours, theirs = (trained(work, executor, epochs=12, validation=held_out) for executor in ("native", "reference"))
    assert max(differences(theirs, ours).values()) < 1e-9
    rates = [trainer._state.optimizer["learning_rate"] for trainer in (ours, theirs)]
    assert repr(rates[0]) == repr(rates[1])


def test_fit_goes_on_from_where_it_was():
    """Twice two epochs are four, to the bit."""
    x = rng.normal(size=(40, 3))
    work = Work(
        nn.Sequential(nn.Dense(5), nn.Dropout(0.3), nn.Dense(1)), losses.Squared(), optimizers.Adam(), x, x[:, :1]
    )
    at_once, in_parts = trained(work, "native", epochs=4), trained(work, "native", epochs=2)
    in_parts.fit(x, x[:, :1], epochs=2)
    assert max(differences(at_once, in_parts).values()) == 0


def test_predictions_and_metrics_are_the_references():
    net, inputs, labels = several_inputs()
    work = Work(net, losses.CrossEntropy(), optimizers.Adam(0.01), inputs, labels, None, 16)
    ours, theirs = (trained(work, executor, epochs=1) for executor in ("native", "reference"))
    np.testing.assert_allclose(ours.predict(inputs), theirs.predict(inputs), rtol=1e-10)
    for rows in (1, 3, 50):
        some = {name: values[:rows] for name, values in inputs.items()}
        np.testing.assert_allclose(ours.model().predict(some), theirs.predict(some), rtol=1e-10)


def test_a_trainer_takes_up_weights_set_from_outside():
    """Between two fits the parameters are what the Trainer holds, whoever changed them."""
    x = rng.normal(size=(20, 3))
    work = Work(nn.Dense(1), losses.Squared(), optimizers.SGD(0.1), x, x[:, :1])
    ours, theirs = (trained(work, executor, epochs=1) for executor in ("native", "reference"))
    for trainer in (ours, theirs):
        trainer._state.parameters = {"weight": np.ones((3, 1)), "bias": np.zeros(1)}
        trainer.fit(x, x[:, :1], epochs=1)
    assert max(differences(theirs, ours).values()) < 1e-12
    assert replace(work, batch_size=3).batch_size == 3
