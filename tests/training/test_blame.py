"""What a diverged training says of the first number that was not finite."""

import re

import numpy as np
import pytest

import backpass as bp
from backpass import losses, nn, ops, optimizers
from backpass.errors import NotFiniteError
from backpass.training.blame import Blame
from backpass.training.events import EpochFinished, RolledBack

rng = np.random.default_rng(3)
X = rng.uniform(0.5, 1.5, size=(40, 3))
Y = X[:, :1] * 2
PARTS = pytest.mark.parametrize("executor", ["native", "reference"])


def blamed(net, x=X, y=Y, *, executor="native", loss=None, rule=None, epochs=9, **options):
    """The Blame of a training that must fail, and its message."""
    trainer = bp.Trainer(net, loss or losses.Squared(), rule or optimizers.SGD(0.01), batch_size=8, executor=executor)
    with pytest.raises(NotFiniteError) as error:
        trainer.fit(x, y, epochs=epochs, **options)
    assert isinstance(error.value.blame, Blame)
    assert str(error.value.blame) in str(error.value)
    return error.value.blame


def function(calculate):
    return nn.Function(lambda _, x: calculate(x))


@PARTS
def test_the_log_of_zero_names_step_layer_row_column_and_operand(executor):
    """Row 21 stands in the third batch of rows that are not shuffled."""
    x = X.copy()
    x[21, 1] = 0.0
    found = blamed(nn.Sequential(logs=function(ops.log), out=nn.Dense(1)), x, executor=executor, shuffle=False)
    assert (found.step, found.epoch, found.layer, found.part) == (3, 1, "logs", "forward")
    assert (found.row, found.column, found.node, found.others) == (21, "1", (1,), 0)
    assert (found.operation, found.operands, found.value) == ("log", (("column 1", 0.0),), "-inf")
    assert found.cause == "log of zero"
    assert "input of that row" in found.reason


@PARTS
def test_a_division_by_zero_in_the_backward_pass_names_the_layer_and_the_error(executor):
    """The root is 0 at 0, and its derivative is not."""
    x = X.copy()
    x[13] = 0.0
    net = nn.Sequential(hidden=nn.Dense(2, bias=False), root=function(lambda x: ops.sqrt(x * x)), out=nn.Dense(1))
    found = blamed(net, x, executor=executor, shuffle=False)
    assert (found.step, found.layer, found.part, found.row) == (2, "root", "backward", 13)
    assert found.cause == "division by zero"


@PARTS
def test_an_overflow_of_exp_names_its_operand(executor):
    x = X.copy()
    x[30, 2] = 200.0
    net = nn.Sequential(grow=function(ops.exp), out=nn.Dense(1))
    found = blamed(net, x, executor=executor, shuffle=False)
    assert (found.step, found.layer, found.row, found.column, found.node) == (4, "grow", 30, "2", (2,))
    assert found.cause == "overflow of exp, which float32 holds up to 88.7"
    assert found.operands == (("column 2", 200.0),)


@PARTS
def test_a_learning_rate_that_is_too_high_is_told_by_the_growth_of_the_weights(executor):
    """The step is that of the first loss that a loop by hand finds not finite."""
    found = blamed(nn.Dense(1, bias=False), rule=optimizers.SGD(9.0), executor=executor, epochs=99)
    assert found.reason.startswith("the learning rate is too high (weight up to")
    assert found.cause.startswith("overflow of float32")
    assert found.layer == "loss"
    assert found.operation == "multiply"
    assert all(abs(operand.value) > 1e19 for operand in found.operands)


@PARTS
def test_an_optimizers_division_by_zero_names_the_parameter(executor):
    """An input that is always 0 has a derivative of 0, and without epsilon a size of 0 to be divided by."""

    class Divided(optimizers.Rule):
        def update(self, gradients, state, parameters, step):  # noqa: ARG002
            return self.apply(lambda p, g: (-0.1 * g / ops.sqrt(g * g),), gradients, state, parameters)

    x = X.copy()
    x[:, 1] = 0.0
    found = blamed(nn.Dense(1), x, rule=Divided(0.1), executor=executor)
    assert (found.step, found.part, found.parameter, found.node) == (1, "update", "weight", (1, 0))
    assert (found.cause, found.operation) == ("division by zero", "divide")


@PARTS
def test_clipping_is_seen_through_to_what_it_could_not_scale(executor):
    """The norm of gradients whose squares overflow is not finite: the sum of such squares is named."""
    rule = optimizers.Chain(optimizers.ClipByGlobalNorm(1.0), optimizers.SGD(0.1))
    found = blamed(nn.Dense(1), X, Y * 4e18, rule=rule, executor=executor)
    assert (found.step, found.operation) == (1, "sum")
    assert found.value == "inf"
    assert "targets are too large" in found.reason


@PARTS
def test_a_member_of_an_ensemble_is_named(executor):
    """Four networks stand in one graph; the third alone takes a logarithm of what may be negative."""

    class OnlyThird(nn.Layer):
        def __call__(self, parameters, x, key=None):  # noqa: ARG002
            from backpass.graph import current_scope

            return ops.log(x - 1e6) if current_scope().startswith("3.") else x

    net = nn.Ensemble(nn.Sequential(odd=OnlyThird(), out=nn.Dense(1)), 4)
    found = blamed(net, executor=executor)
    assert (found.step, found.layer, found.cause) == (1, "3.odd", "log of a negative number")


@PARTS
def test_an_embedding_of_a_level_that_is_rare_is_followed_to_its_row(executor):
    """The looked up row of a table is divided by itself less what it is at the beginning: 0 for the level 4 alone."""
    levels = np.tile(np.arange(4), 10)
    levels[26] = 4

    class Table(nn.Layer):
        def init(self, shape, key, after=None):  # noqa: ARG002
            return {"table": np.array([[1.0], [1.0], [1.0], [1.0], [0.0]])}

        def __call__(self, parameters, x, key=None):  # noqa: ARG002
            return 1.0 / ops.gather(parameters["table"], x)

    found = blamed(nn.Sequential(levels=Table(), out=nn.Dense(1)), levels, executor=executor, shuffle=False)
    assert (found.step, found.layer, found.row, found.cause) == (4, "levels", 26, "division by zero")
    assert found.operands[1] == ("levels.table[4,0]", 0.0)


def test_an_input_that_is_not_finite_is_named_by_row_and_column():
    """Arrays are looked at when training begins; what a listener writes into one later is seen by its step.

    The native executor may make steps again that came before, in which such a row was another: it then blames nobody.
    """
    x = X.astype(np.float32)

    def spoil(event):
        if isinstance(event, EpochFinished) and event.record["epoch"] == 2:
            x[21, 1] = np.nan

    trainer = bp.Trainer(nn.Dense(1), losses.Squared(), batch_size=8, executor="reference", listeners=[spoil])
    with pytest.raises(NotFiniteError) as error:
        trainer.fit(x, Y, epochs=9, shuffle=False)
    found = error.value.blame
    assert (found.step, found.epoch, found.row, found.column) == (13, 3, 21, "1")
    assert found.cause == "an input that is not finite"


def test_a_row_of_a_run_that_was_resumed_is_blamed_as_in_one_that_was_not(tmp_path):
    """The step is found from the checkpoint as from the beginning."""
    net, rule = nn.Sequential(nn.Dense(4), nn.Dense(1)), optimizers.SGD(0.5)
    whole = blamed(net, X * 3, rule=rule, epochs=99)

    def trainer():
        return bp.Trainer(net, losses.Squared(), rule, batch_size=8)

    stopped = trainer()
    stopped.listeners.append(lambda event: stopping(event, whole.step - 2))
    with pytest.raises(KeyError):
        stopped.fit(X * 3, Y, epochs=99, checkpoints=tmp_path)
    with pytest.raises(NotFiniteError) as error:
        trainer().resume(tmp_path, X * 3, Y)
    assert error.value.blame == whole


def stopping(event, step):
    if getattr(event, "rows", None) and getattr(event, "step", 0) == step:
        raise KeyError


def test_a_rollback_tells_its_listeners_whom_it_blames():
    events = []
    trainer = bp.Trainer(nn.Dense(1), losses.Squared(), optimizers.SGD(9.0), batch_size=8, listeners=[events.append])
    trainer.fit(X, Y, epochs=60, on_divergence="rollback")
    backs = [event for event in events if isinstance(event, RolledBack)]
    assert backs
    assert all(event.blame.reason.startswith("the learning rate is too high") for event in backs)
    assert all(str(event.blame) in event.cause for event in backs)


def test_what_only_machine_code_made_is_told_as_such(monkeypatch):
    """Where the step stays finite in the reference executor, nothing is blamed that is not seen."""
    from backpass.training import blame as module

    monkeypatch.setattr(module, "_end", lambda *_: None)
    found = blamed(nn.Dense(1, bias=False), rule=optimizers.SGD(9.0), epochs=99)
    assert (found.layer, found.row, found.operation) == ("", None, "")
    assert "stays finite" in str(found)


def test_the_blame_is_plain_data():
    """JSON has no infinity: such numbers are text there."""
    import json

    x = X.copy()
    x[21, 1] = 0.0
    found = blamed(nn.Sequential(logs=function(ops.log), out=nn.Dense(1)), x).to_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["operands"] == [{"name": "column 1", "value": 0.0}]


def test_training_after_a_blame_goes_on_to_the_same_bits():
    """The replay leaves the state of the Trainer as it was, before the epoch that failed."""
    x = X.copy()
    x[21, 1] = 0.0
    net = nn.Sequential(logs=function(ops.log), out=nn.Dense(1))
    failed, other = (bp.Trainer(net, losses.Squared(), optimizers.Adam(), batch_size=8) for _ in range(2))
    for trainer in (failed, other):
        trainer.fit(X, Y, epochs=2)
    with pytest.raises(NotFiniteError, match=re.escape("log(column 1 = 0) = -inf")):
        failed.fit(x, Y, epochs=2)
    for trainer in (failed, other):
        trainer.fit(X, Y, epochs=2)
    assert failed.outputs(X).tobytes() == other.outputs(X).tobytes()
