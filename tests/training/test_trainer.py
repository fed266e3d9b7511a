"""The Trainer: one step by hand, seeds, batches, weights, validation, early stopping, history, events, mistakes."""

import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest

import backpass as bp
from backpass import losses, nn, optimizers
from backpass.forward import flatten, map_structure
from backpass.training import (
    EarlyStopping,
    EpochFinished,
    StepFinished,
    TrainingFinished,
    TrainingStarted,
)
from backpass.training.progress import Watch

rng = np.random.default_rng(0)
X = rng.normal(size=(50, 3))
Y = X @ [[1.0], [-2.0], [0.5]] + 0.3
LABELS = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)


def network(outputs=1, dropout=0.2):
    return nn.Sequential(nn.Dense(8), nn.ReLU(), nn.Dropout(dropout), nn.Dense(outputs))


def regression(**options):
    return bp.Trainer(network(), losses.Squared(), optimizers.Adam(0.01), **({"batch_size": 16} | options))


def digest(parameters):
    return hashlib.sha256(b"".join(value.tobytes() for value in flatten(parameters))).hexdigest()


def weights_after(**options):
    trainer = regression(**options)
    trainer.fit(X, Y, epochs=3)
    return digest(trainer.parameters)


# One step by hand


def test_one_step_of_a_2_2_1_sigmoid_network_is_what_pencil_and_paper_give():
    """Inputs 1 and 0.5, desired output 1, rate 1; loss (a - t)^2, whose derivative is 2 (a - t)."""
    net = nn.Sequential(hidden=nn.Dense(2), act=nn.Sigmoid(), out=nn.Dense(1), squash=nn.Sigmoid())
    trainer = bp.Trainer(net, losses.Squared(), optimizers.SGD(1.0), precision="float64", batch_size=1)
    trainer.build(np.ones((1, 2)))
    start = {
        "hidden": {"weight": np.array([[0.1, -0.2], [0.4, 0.3]]), "bias": np.array([0.0, 0.1])},
        "act": {},
        "out": {"weight": np.array([[0.5], [-0.6]]), "bias": np.array([0.2])},
        "squash": {},
    }
    trainer._state.parameters = start
    history = trainer.fit(np.array([[1.0, 0.5]]), np.array([1.0]), epochs=1)

    def sigmoid(z):
        return 1 / (1 + math.exp(-z))

    h1, h2 = sigmoid(0.1 * 1 + 0.4 * 0.5 + 0.0), sigmoid(-0.2 * 1 + 0.3 * 0.5 + 0.1)
    a = sigmoid(0.5 * h1 - 0.6 * h2 + 0.2)
    d = 2 * (a - 1) * a * (1 - a)
    d1, d2 = d * 0.5 * h1 * (1 - h1), d * -0.6 * h2 * (1 - h2)
    assert history[0]["loss"] == pytest.approx((a - 1) ** 2, rel=1e-14)
    p = trainer.parameters
    np.testing.assert_allclose(p["out"]["weight"], [[0.5 - d * h1], [-0.6 - d * h2]], rtol=1e-13)
    np.testing.assert_allclose(p["out"]["bias"], [0.2 - d], rtol=1e-13)
    np.testing.assert_allclose(p["hidden"]["bias"], [0.0 - d1, 0.1 - d2], rtol=1e-13)
    np.testing.assert_allclose(
        p["hidden"]["weight"], [[0.1 - d1, -0.2 - d2], [0.4 - 0.5 * d1, 0.3 - 0.5 * d2]], rtol=1e-13
    )


# Seeds


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    assert weights_after(seed=3) == weights_after(seed=3)
    assert weights_after(seed=3) != weights_after(seed=4)


FRESH = """
import hashlib, numpy as np, backpass as bp
from backpass import losses, nn, optimizers
from backpass.forward import flatten
rng = np.random.default_rng(0)
X = rng.normal(size=(50, 3))
Y = X @ [[1.0], [-2.0], [0.5]] + 0.3
net = nn.Sequential(nn.Dense(8), nn.ReLU(), nn.Dropout(0.2), nn.Dense(1))
trainer = bp.Trainer(net, losses.Squared(), optimizers.Adam(0.01), batch_size=16, seed=3)
trainer.fit(X, Y, epochs=3)
print(hashlib.sha256(b"".join(value.tobytes() for value in flatten(trainer.parameters))).hexdigest())
"""


def test_a_fresh_process_gives_the_same_bits():
    found = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == weights_after(seed=3)


def test_the_order_of_the_rows_is_shuffled_by_seed_and_epoch():
    seen = []
    tag = nn.Function(lambda p, x: x[:, :1] * p["w"], {"w": np.ones(1)})
    rows = np.arange(8.0)[:, None]

    class Spy(losses.Squared):
        pass

    trainer = bp.Trainer(tag, Spy(), optimizers.SGD(0.0), batch_size=1, seed=1)
    trainer.listeners.append(lambda e: seen.append(e.loss * e.rows) if isinstance(e, StepFinished) else None)
    trainer.fit(rows, np.zeros((8, 1)), epochs=2)
    sums = np.array(seen).reshape(2, 8)
    orders = [np.round(np.sqrt(np.diff(each, prepend=0))).astype(int).tolist() for each in sums]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(8))
    assert orders[0] != orders[1]
    assert orders[0] != list(range(8))


def test_without_shuffling_the_rows_come_in_their_order():
    seen = []
    trainer = bp.Trainer(nn.Dense(1), losses.Squared(), optimizers.SGD(0.0), batch_size=20)
    trainer.listeners.append(seen.append)
    trainer.fit(X, Y, epochs=1, shuffle=False)
    first = np.mean((trainer.outputs(X[:20]) - Y[:20]) ** 2)
    assert seen[1].loss == pytest.approx(first, rel=1e-5)


# Batches


@pytest.mark.parametrize(("batch_size", "rows"), [(16, [16, 32, 48, 50]), (50, [50]), (1000, [50]), (25, [25, 50])])
def test_every_row_is_seen_once_an_epoch_whatever_the_batch_size(batch_size, rows):
    events = []
    trainer = regression(batch_size=batch_size, listeners=[events.append])
    trainer.fit(X, Y, epochs=1)
    assert [e.rows for e in events if isinstance(e, StepFinished)] == rows


def test_one_row_is_enough():
    history = regression().fit(X[:1], Y[:1], epochs=2)
    assert len(history) == 2
    assert np.isfinite(history[1]["loss"])


def test_the_loss_of_an_epoch_is_the_mean_over_rows_and_not_over_batches():
    trainer = bp.Trainer(nn.Dense(1), losses.Squared(), optimizers.SGD(0.0), batch_size=16, precision="float64")
    history = trainer.fit(X, Y, epochs=1)
    assert history[0]["loss"] == pytest.approx(float(np.mean((trainer.outputs(X) - Y) ** 2)), rel=1e-12)


# Row and class weights


def full_batch(x, y, weights=None, **options):
    trainer = bp.Trainer(
        network(3, dropout=0), losses.CrossEntropy(), optimizers.SGD(0.3), batch_size=999, precision="float64"
    )
    trainer.fit(x, y, epochs=4, weights=weights, shuffle=False, **options)
    return trainer.parameters


def assert_close(first, second):
    map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), first, second)


def test_a_row_of_weight_2_counts_as_the_row_twice():
    weights = np.ones(50)
    weights[:5] = 2
    twice = full_batch(np.concatenate([X, X[:5]]), np.concatenate([LABELS, LABELS[:5]]))
    assert_close(full_batch(X, LABELS, weights), twice)


def test_a_row_of_weight_0_does_not_count():
    weights = np.ones(50)
    weights[40:] = 0
    assert_close(full_batch(X, LABELS, weights), full_batch(X[:40], LABELS[:40]))


def test_class_weights_are_the_weights_of_the_rows_of_that_class():
    chosen = {0: 0.5, 1: 2.0, 2: 3.0}
    by_row = np.array([chosen[label] for label in LABELS])
    assert_close(full_batch(X, LABELS, class_weights=chosen), full_batch(X, LABELS, by_row))


def test_balanced_lets_every_class_count_the_same_in_all():
    counts = np.bincount(LABELS)
    by_row = (50 / (3 * counts))[LABELS]
    assert_close(full_batch(X, LABELS, class_weights="balanced"), full_batch(X, LABELS, by_row))


def test_class_and_row_weights_multiply():
    rows, chosen = np.linspace(0.5, 2, 50), {0: 1, 1: 2, 2: 3}
    both = rows * np.array([chosen[label] for label in LABELS])
    assert_close(full_batch(X, LABELS, rows, class_weights=chosen), full_batch(X, LABELS, both))


@pytest.mark.parametrize(
    "class_weights",
    ["even", {0: 1, 1: 1}, {0: 1, 1: 1, 2: "x"}, {0: 1, 1: 1, 2: -1}, {0: 1, 1: 1, 2: float("nan")}, 3, [1, 1, 1]],
)
def test_class_weights_that_make_no_sense_are_refused(class_weights):
    with pytest.raises(bp.BackpassError, match=r"class_weights (is|has)"):
        full_batch(X, LABELS, class_weights=class_weights)


def test_class_weights_need_classes():
    with pytest.raises(bp.BackpassError, match="class weights need labels"):
        regression().fit(X, Y, epochs=1, class_weights="balanced")


@pytest.mark.parametrize("weights", [np.ones(49), np.ones((50, 1)), -np.ones(50), np.full(50, np.nan), ["a"] * 50])
def test_row_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(bp.BackpassError, match="weight"):
        regression().fit(X, Y, epochs=1, weights=weights)


# Validation and early stopping


def test_the_validation_loss_is_that_of_the_network_without_dropout():
    trainer = regression()
    history = trainer.fit(X[:40], Y[:40], epochs=2, validation=(X[40:], Y[40:]))
    expected = np.mean((trainer.outputs(X[40:]) - Y[40:]) ** 2)
    assert history[-1]["validation_loss"] == pytest.approx(float(expected), rel=1e-5)


def test_validation_rows_may_have_weights():
    weights = np.array([1.0] * 5 + [0.0] * 5)
    first, second = (
        regression().fit(X[:40], Y[:40], epochs=1, validation=validation)[0]["validation_loss"]
        for validation in ((X[40:], Y[40:], weights), (X[40:45], Y[40:45]))
    )
    assert first == pytest.approx(second, rel=1e-5)


def test_validation_does_not_change_what_is_learned():
    plain, watched = regression(), regression()
    plain.fit(X, Y, epochs=2)
    watched.fit(X, Y, epochs=2, validation=(X[:5], Y[:5]))
    assert digest(plain.parameters) == digest(watched.parameters)


def unlearning():
    """A network of one weight that leaves its best validation loss behind: it starts at 0, where validation wants it
    to stay near 0.25, and training pulls it to 1."""
    net = nn.Dense(1, bias=False, initializer=nn.Constant(0.0))
    return bp.Trainer(net, losses.Squared(), optimizers.SGD(0.05), batch_size=1, precision="float64")


ONE = np.ones((1, 1))


def test_early_stopping_puts_the_best_weights_back():
    trainer = unlearning()
    weights = []
    trainer.listeners.append(
        lambda e: weights.append(e.record["validation_loss"]) if isinstance(e, EpochFinished) else None
    )
    history = trainer.fit(ONE, ONE, epochs=100, validation=(ONE, ONE * 0.25), stopping=EarlyStopping(4))
    # The weight is 1 - 0.9^n after n epochs: 0.1, 0.19, 0.271, 0.3439 ... and 0.271 is nearest to 0.25.
    assert history.kept == 3
    assert len(history) == 7
    assert history.reason == "no better validation loss for 4 epochs"
    np.testing.assert_allclose(trainer.parameters["weight"], [[0.271]], rtol=1e-12)
    assert int(np.argmin(weights)) == 2


def test_an_improvement_that_is_too_small_does_not_count():
    history = unlearning().fit(
        ONE, ONE, epochs=100, validation=(ONE, ONE), stopping=EarlyStopping(patience=2, improvement=0.1)
    )
    # Losses 0.9^(2n): 0.81, 0.656, 0.531, 0.430, 0.349, 0.282 ...: each second one is 0.1 below the last that counted.
    assert history.reason.startswith("no better")
    assert len(history) < 15


def test_without_early_stopping_the_last_weights_are_kept():
    trainer = unlearning()
    history = trainer.fit(ONE, ONE, epochs=5, validation=(ONE, ONE * 0.25))
    assert history.kept == 5
    np.testing.assert_allclose(trainer.parameters["weight"], [[1 - 0.9**5]], rtol=1e-12)


def test_early_stopping_asks_for_validation_rows():
    with pytest.raises(bp.BackpassError, match="validation="):
        regression().fit(X, Y, epochs=1, stopping=EarlyStopping(2))


def test_reduce_on_plateau_sees_the_validation_loss():
    net = nn.Dense(1, bias=False, initializer=nn.Constant(0.0))
    rate = optimizers.ReduceOnPlateau(0.5, factor=0.1, patience=1)
    trainer = bp.Trainer(net, losses.Squared(), optimizers.SGD(rate), batch_size=1, precision="float64")
    # The weight moves away from what validation wants: after 3 epochs the rate has fallen once (1 best, 2 waited).
    trainer.fit(ONE, ONE * 100, epochs=3, validation=(ONE, -ONE))
    assert float(trainer._state.optimizer["learning_rate"]["rate"]) == pytest.approx(0.05)


# History, metrics, events


def test_the_history_has_one_record_an_epoch_with_loss_metrics_and_speed():
    trainer = bp.Trainer(
        network(3),
        losses.CrossEntropy(),
        metrics={"accuracy": lambda p, y: np.mean(p.argmax(1) == y), "largest": lambda p, y: p.max()},
    )
    history = trainer.fit(X, LABELS, epochs=3, validation=(X, LABELS))
    names = ["epoch", "loss", "validation_loss", "accuracy", "largest", "seconds", "rows_per_second"]
    assert [list(record) for record in history] == [names] * 3
    assert history.column("epoch") == [1, 2, 3]
    assert all(type(record[name]) is float for record in history for name in names[1:])
    assert history[-1]["accuracy"] == pytest.approx(np.mean(trainer.predict(X).argmax(1) == LABELS))
    assert history.reason == "all 3 epochs done"
    lines = str(history).splitlines()
    assert lines[0].split() == names
    assert len(lines) == 5


def test_events_come_in_order():
    events = []
    regression(batch_size=25, listeners=[events.append]).fit(X, Y, epochs=2, validation=(X, Y))
    assert [type(event) for event in events] == [
        TrainingStarted,
        *[StepFinished, StepFinished, EpochFinished] * 2,
        TrainingFinished,
    ]
    assert events[0] == TrainingStarted(epochs=2, rows=50, batch_size=25, parameters=41)
    assert [(e.step, e.epoch, e.rows) for e in events if isinstance(e, StepFinished)] == [
        (1, 1, 25),
        (2, 1, 50),
        (3, 2, 25),
        (4, 2, 50),
    ]
    assert events[-1].reason == "all 2 epochs done"


class Interrupting:
    """Presses Ctrl-C at a step."""

    def __init__(self, step):
        self.step = step

    def __call__(self, event):
        if isinstance(event, StepFinished) and event.step == self.step:
            raise KeyboardInterrupt


def test_an_interrupt_ends_the_training_in_good_order_with_the_last_whole_epoch():
    trainer, whole = regression(listeners=[Interrupting(10)]), regression()
    history = trainer.fit(X, Y, epochs=50, stop_on_interrupt=True)
    whole.fit(X, Y, epochs=2)
    assert (len(history), history.kept, history.reason) == (2, 2, "interrupted")
    assert digest(trainer.parameters) == digest(whole.parameters)


def test_an_interrupted_training_goes_on_as_if_it_had_not_been_interrupted():
    trainer, whole = regression(listeners=[Interrupting(10)]), regression()
    trainer.fit(X, Y, epochs=2, stop_on_interrupt=True)
    trainer.fit(X, Y, epochs=50, stop_on_interrupt=True)
    trainer.listeners.clear()
    trainer.fit(X, Y, epochs=1)
    whole.fit(X, Y, epochs=3)
    assert digest(trainer.parameters) == digest(whole.parameters)


def test_an_interrupt_in_the_first_epoch_leaves_the_first_weights():
    trainer = regression(listeners=[Interrupting(1)])
    history = trainer.fit(X, Y, epochs=5, stop_on_interrupt=True, validation=(X, Y), stopping=EarlyStopping(3))
    assert (list(history), history.kept, history.reason) == ([], 0, "interrupted")
    assert str(history) == "no epoch was trained"
    assert digest(trainer.parameters) == digest(regression().build(X).parameters)


def test_an_interrupt_is_raised_where_nobody_asked_for_good_order():
    with pytest.raises(KeyboardInterrupt):
        regression(listeners=[Interrupting(2)]).fit(X, Y, epochs=5)


def test_fit_called_again_goes_on_where_it_was():
    twice, once = regression(), regression()
    twice.fit(X, Y, epochs=2)
    history = twice.fit(X, Y, epochs=3)
    once.fit(X, Y, epochs=5)
    assert digest(twice.parameters) == digest(once.parameters)
    assert history.column("epoch") == [1, 2, 3, 4, 5]


# Types of inputs


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_parameters_and_predictions_have_the_precision_asked_for(precision):
    trainer = regression(precision=precision)
    trainer.fit(X, Y, epochs=1)
    assert {value.dtype.name for value in flatten(trainer.parameters)} == {precision}
    assert trainer.predict(X.astype("float16")).dtype == precision


def test_whole_numbers_train_as_the_numbers_that_they_are():
    table = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    answers = [0, 1, 1, 0]
    outcomes = []
    for x in (table, table.astype(float), table.astype(bool)):
        trainer = bp.Trainer(nn.Sequential(nn.Dense(4), nn.Tanh(), nn.Dense(1)), losses.BinaryCrossEntropy())
        trainer.fit(x, answers, epochs=3)
        outcomes.append(digest(trainer.parameters))
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_a_network_of_several_inputs_takes_a_dictionary():
    inputs = {"numbers": X, "colour": np.arange(50) % 4}
    net = nn.Sequential(nn.Concatenate(numbers=nn.Identity(), colour=nn.Embedding(4, 2)), nn.Dense(1))
    trainer = bp.Trainer(net, losses.Squared(), optimizers.Adam(0.05), batch_size=16)
    history = trainer.fit(inputs, Y, epochs=40, validation=(inputs, Y))
    assert history[-1]["loss"] < 0.2 * history[0]["loss"]
    assert trainer.predict(inputs).shape == (50, 1)
    assert "colour" in str(trainer)


def test_learning_learns():
    trainer = bp.Trainer(network(dropout=0), losses.Squared(), optimizers.Adam(0.02))
    trainer.fit(X, Y, epochs=100)
    assert float(np.mean((trainer.predict(X) - Y) ** 2)) < 0.05


# Mistakes


def holed(place, value):
    x = X.copy()
    x[place] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (holed((6, 1), np.nan), Y, "the input holds nan in row 7, column 2"),
        (holed((0, 0), np.inf), Y, "the input holds inf in row 1, column 1"),
        ({"a": X, "b": holed((3, 2), -np.inf)}, Y, 'input "b" holds -inf in row 4, column 3'),
        (X, np.where(np.arange(50) == 9, np.nan, 1.0), "the targets holds nan in row 10"),
        (X, Y[:49], "49 targets for 50 rows"),
        (X[:0], Y[:0], "has no rows"),
        (np.array(3.0), Y, "has no rows"),
        ([[1.0], [1.0, 2.0]], Y, "rows differ in length"),
        ([["a", "b"]], Y, "expected numbers"),
        ({"a": X, "b": X[:3]}, Y, "differ in their number of rows"),
        ({}, Y, "differ in their number of rows"),
        (X, np.zeros((50, 2)), "2"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused_by_row_and_column(x, y, message):
    with pytest.raises(bp.BackpassError) as caught:
        regression().fit(x, y, epochs=1)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"seed": -1},
        {"seed": 2**63},
        {"seed": "a"},
        {"seed": None},
        {"seed": 1.5},
        {"precision": "float16"},
        {"executor": "gpu"},
        {"network": "dense"},
        {"network": nn.Dense},
        {"loss": "squared"},
        {"optimizer": optimizers.ClipByValue(1.0)},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options):
    given = {"network": network(), "loss": losses.Squared()} | options
    with pytest.raises(bp.BackpassError) as caught:
        bp.Trainer(**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("epochs", [0, -1, 1.5, "3", None, True])
def test_a_number_of_epochs_that_makes_no_sense_is_refused(epochs):
    with pytest.raises(bp.BackpassError, match="epochs is"):
        regression().fit(X, Y, epochs=epochs)


@pytest.mark.parametrize("validation", [(X,), [X, Y], "X", (X, Y, None, None), (X, Y[:3]), (X[:, :2], Y)])
def test_a_validation_set_that_does_not_fit_is_refused(validation):
    with pytest.raises(bp.BackpassError):
        regression().fit(X, Y, epochs=1, validation=validation)


def test_a_loss_that_is_no_longer_finite_names_the_step():
    trainer = bp.Trainer(network(), losses.Squared(), optimizers.SGD(1e30), batch_size=25)
    with pytest.raises(bp.BackpassError, match=r"no longer finite after step \d+, in epoch \d+ .*: try") as caught:
        trainer.fit(X, Y, epochs=50)
    assert isinstance(caught.value, ArithmeticError)


def test_weights_that_are_no_longer_finite_are_named():
    trainer = bp.Trainer(nn.Sequential(out=nn.Dense(1)), losses.Squared(), optimizers.SGD(1e39), batch_size=50)
    with pytest.raises(bp.BackpassError, match=r"out\.(weight|bias) is no longer finite after step 1, in epoch 1"):
        trainer.fit(X, Y, epochs=1)


def test_after_a_failure_the_weights_of_the_last_whole_epoch_are_there():
    trainer = bp.Trainer(network(), losses.Squared(), optimizers.SGD(1e30), batch_size=10)
    start = digest(trainer.build(X).parameters)
    with pytest.raises(bp.BackpassError):
        trainer.fit(X, Y, epochs=1)
    assert digest(trainer.parameters) == start


@pytest.mark.parametrize("patience", [0, -1])
def test_patience_below_1_is_refused(patience):
    with pytest.raises(bp.BackpassError, match="patience"):
        EarlyStopping(patience)


def test_there_is_nothing_to_save_before_training():
    with pytest.raises(bp.BackpassError, match="call fit first"):
        regression().save("nowhere.safetensors")


# Progress


def test_progress_without_a_terminal_is_plain_lines_on_standard_error(capsys, monkeypatch):
    from backpass.training import progress

    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    regression(batch_size=50).fit(X, Y, epochs=2, validation=(X, Y), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2  ")
    assert "\x1b" not in err
    assert "rows/s" in lines[1]
    assert "validation" in lines[1]
    assert "(best " in lines[1]
    assert " left " in lines[1]


@pytest.mark.parametrize(
    ("speed", "told"), [(6.4, "6 rows/s"), (9_999.0, "9,999 rows/s"), (12_345_678.0, "12,346k rows/s")]
)
def test_progress_tells_few_rows_a_second_by_their_number(monkeypatch, speed, told):
    """In thousands they would be 0."""
    monkeypatch.setattr(Watch, "rows_per_second", speed)
    assert Watch(print).speed == told


def test_nothing_is_shown_unless_it_is_asked_for(capsys):
    regression().fit(X, Y, epochs=1)
    assert capsys.readouterr() == ("", "")


def test_the_bar_on_a_terminal_can_be_shown(monkeypatch):
    from backpass.training import progress

    monkeypatch.setattr(progress, "on_terminal", lambda: True)
    assert len(regression().fit(X, Y, epochs=2, progress=True)) == 2
