"""Every optimizer, schedule and loss that is shipped: its formula, with the numbers put in, is what was made."""

import numpy as np
import pytest
from ledger_networks import inputs, targets

import backpass as bp
from backpass import losses, nn, optimizers
from backpass.losses.catalogue import LOSSES
from backpass.optimizers import Constant, Cosine, Exponential, OneCycle, ReduceOnPlateau, Step, WarmUp
from backpass.optimizers.catalogue import RULES, SCHEDULES

RATES = {
    "sgd": Step(0.05, every=2, factor=0.5),
    "momentum": Exponential(0.05),
    "nesterov": WarmUp(20, then=Cosine(0.05)),
    "adagrad": OneCycle(0.05),
    "rmsprop": WarmUp(5, then=0.01),
    "adam": OneCycle(0.05, rising_fraction=0.01),
    "adamw": Cosine(0.05, final_fraction=0.1),
    "nadam": Constant(0.01),
    "radam": WarmUp(30, then=ReduceOnPlateau(0.01)),
    "lion": 0.01,
}
OPTIONS = {"adamw": {"weight_decay": 0.1}, "lion": {"weight_decay": 0.1}, "radam": {"beta2": 0.9}}


def every_rule():
    """Each has a layer of its own, all of one network."""
    rules = {
        name: kind(**({} if name == "rprop" else {"learning_rate": RATES[name]}), **OPTIONS.get(name, {}))
        for name, kind in RULES.items()
    }
    return optimizers.Groups({f"{name}.*": rule for name, rule in rules.items()} | {"output.*": optimizers.SGD(0.1)})


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The ledgers of two steps of a training by all rules at once, in float64: in the second RAdam divides."""
    layers = {name: layer for each in RULES for name, layer in ((each, nn.Dense(3)), (f"{each}_bent", nn.Tanh()))}
    x, y, folder = inputs()["numbers"], targets("numbers"), tmp_path_factory.mktemp("rules")
    network = nn.Sequential(**layers, output=nn.Dense(2))
    trainer = bp.Trainer(network, losses.Squared(), every_rule(), batch_size=8, seed=1, precision="float64")
    trainer.fit(x, y, epochs=3, checkpoints=folder)
    return {step.step: step.trace() for step in trainer.replays([2, 19], folder, x, y)}


@pytest.fixture(params=[2, 19])
def found(request, told):
    return told[request.param]


def test_the_formula_of_every_rule_is_what_the_program_made_of_the_weights(found):
    """Of each weight, old value and written change are the new value of the native program, to the last digits."""
    assert found.sums.ok
    assert {each.change.optimizer for each in found.parameters.values()} == {kind.__name__ for kind in RULES.values()}
    for label, each in found.parameters.items():
        made = each.before + each.change.steps[-1].written
        assert np.abs(made - each.after) == pytest.approx(0, abs=1e-12), label
        assert each.change.steps[-1].told, label
        assert np.any(each.after != each.before), label
        assert all(names for told in each.change.steps for names in told.names), label


def test_the_shares_of_every_change_add_up(found):
    """Rows, earlier steps and decay."""
    for parameter in found.parameters.values():
        for index in np.ndindex(parameter.before.shape):
            movers = parameter.movers(index)
            assert movers.difference < 1e-12


def test_the_terms_of_every_schedule_come_to_its_rate(found):
    """A schedule is written out, and comes to what the rate is; a rate that is always the same needs no formula."""
    changes = {each.telling.name: each.change for each in found.parameters.values()}
    written = {name: change for name, change in changes.items() if change.rate_terms is not None}
    assert set(written) == set(RATES) - {"lion"}
    for name, change in written.items():
        assert change.rate_terms.written == pytest.approx(change.rate, rel=1e-12), name
        assert change.schedule.startswith(type(RATES[name]).__name__)
    kinds = {type(rate) for rate in RATES.values()} | {
        type(rate.then) for rate in RATES.values() if hasattr(rate, "then")
    }
    assert set(SCHEDULES.values()) <= kinds


OUTPUTS = {
    "brier": ("classes", 3),
    "cross_entropy": ("classes", 3),
    "hinge": ("classes", 3),
    "poisson": ("counts", 1),
    "quantile": ("counts", 3),
}
HEADS = losses.Heads(
    (
        losses.Head(losses.Squared(), scale=2.0),
        losses.Head(losses.CrossEntropy(0.1), 3, 0.9, (1.0, 0.5, 2.0)),
        losses.Head(losses.BinaryCrossEntropy(), 1, 0.6, (1.0, 3.0)),
    )
)
OTHERS = {
    "hinge, yes or no": (losses.Hinge(), "yes", 1),
    "several labels": (losses.BinaryCrossEntropy(0.1), "labels", 2),
    "several counts": (losses.Poisson(), "labels", 2),
    "one quantile": (losses.Quantile(0.2), "numbers", 2),
    "heads": (HEADS, "heads", 5),
}


def every_loss():
    for name, kind in LOSSES.items():
        own, outputs = OUTPUTS.get(name, ("yes", 1) if name == "binary_cross_entropy" else ("numbers", 2))
        yield name, (kind((0.1, 0.5, 0.9)) if name == "quantile" else kind(), own, outputs)
    yield from OTHERS.items()


@pytest.mark.parametrize(
    ("loss", "kind", "outputs"), [each for _, each in every_loss()], ids=[name for name, _ in every_loss()]
)
def test_the_formula_of_every_loss_is_what_the_program_made(loss, kind, outputs, tmp_path):
    """What is written of all rows adds up to the native program's loss, and each derivative is the engine's."""
    x = inputs()["numbers"]
    if kind == "heads":
        y = np.stack([targets("numbers")[:, 0], targets("classes"), targets("yes").ravel()], axis=1)
    else:
        y = (targets("numbers") > 0).astype(float) if kind == "labels" else targets(kind)
    trainer = bp.Trainer(nn.Dense(outputs), loss, optimizers.SGD(0.05), batch_size=4, precision="float64")
    history = trainer.fit(x[:4], y[:4], epochs=3, checkpoints=tmp_path)
    step = trainer.replay(3, tmp_path, x[:4], y[:4])
    found = [step.trace(int(row)) for row in step.rows]
    assert all(each.sums.ok for each in found)
    for each in found:
        assert each.error.rule
        assert each.error.value.told
        assert all(error.told and error.names for error in each.error.errors)
    whole = sum(each.error.share * each.error.value.written for each in found)
    assert whole == pytest.approx(history[2]["loss"], rel=1e-12)
