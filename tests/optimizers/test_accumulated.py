"""Accumulated: one change for the gradients of several batches."""

import numpy as np
import pytest

import backpass as bp
from backpass import losses, nn
from backpass import optimizers as o
from backpass.errors import UsageError
from backpass.forward import flatten
from backpass.live.overview import rates

RULES = [
    o.SGD(0.05),
    o.Momentum(o.Cosine(0.05)),
    o.Adam(0.01),
    o.Chain(o.ClipByGlobalNorm(0.5), o.AdamW(0.01)),
    o.Averaged(o.RAdam(o.OneCycle(0.01)), 0.9),
    o.Groups({"*.bias": o.SGD(0.1), "*": o.Rprop()}),
]


def _rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 7))
    return x, x @ rng.normal(size=7) + 0.1


def _trained(rule, batch_size, **options):
    network = nn.Sequential(nn.Dense(11), nn.Tanh(), nn.Dense(1))
    trainer = bp.Trainer(network, losses.Squared(), rule, batch_size=batch_size, seed=1, precision="float64", **options)
    trainer.fit(*_rows(), epochs=4, progress=False)
    return flatten(trainer.parameters)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(type(rule).__name__))
@pytest.mark.parametrize("executor", ["native", "reference"])
def test_three_batches_of_eight_are_one_of_24(rule, executor):
    large = _trained(rule, 24, executor=executor)
    small = _trained(o.Accumulated(rule, 3), 8, executor=executor)
    for own, other in zip(large, small, strict=True):
        np.testing.assert_allclose(other, own, rtol=1e-12, atol=1e-14)


def test_the_bits_do_not_depend_on_threads_and_what_an_epoch_leaves_over_the_next_goes_on_with():
    rule = o.Accumulated(o.Adam(0.01), 5)
    found = [np.concatenate([each.ravel() for each in _trained(rule, 8, threads=threads)]) for threads in (1, 2, 3)]
    assert all((each == found[0]).all() for each in found)
    reference = np.concatenate([each.ravel() for each in _trained(rule, 8, executor="reference")])
    np.testing.assert_allclose(found[0], reference, rtol=1e-11)


def test_numbers_by_hand():
    """Gradients 1, 3, 5, 7 in pairs, with a rate of a half: -0.5 * 2 and -0.5 * 6, and nothing in between."""
    rule = o.Accumulated(o.SGD(0.5), 2)
    weights = {"w": np.array([10.0])}
    state, seen = rule.init(weights), []
    for step, gradient in enumerate((1.0, 3.0, 5.0, 7.0)):
        changes, state = rule.update({"w": np.array([gradient])}, state, weights, step)
        weights = {"w": weights["w"] + changes["w"]}
        seen.append(weights["w"].item())
    assert seen == [10.0, 9.0, 9.0, 6.0]
    assert state["sum"]["w"].item() == 0.0


def test_the_rule_counts_changes_and_hears_of_epochs():
    rule = o.Accumulated(o.Adam(o.Cosine(0.1)), 4)
    assert rule.over(30) == o.Accumulated(o.Adam(o.Cosine(0.1, steps=7)), 4)
    assert rule.slowed(0.5) == o.Accumulated(o.Slowed(o.Adam(o.Cosine(0.1)), 0.5), 4)
    assert o.Accumulated(o.Adam(o.ReduceOnPlateau(0.1)), 2).observes
    assert not o.Accumulated(o.Adam(0.1), 2).observes


@pytest.mark.parametrize("batches", [0, -1, 1.5, True, "2"])
def test_batches_that_are_no_count_are_refused(batches):
    with pytest.raises(
        UsageError, match=r"Accumulated: batches=.* cannot be used: expected a whole number of at least 1"
    ):
        o.Accumulated(o.SGD(0.1), batches)


def test_a_training_goes_on_in_the_middle_of_a_change_to_the_same_bits():
    """12 batches an epoch, 5 to a change: epochs end between changes."""

    def trainer():
        rule = o.Accumulated(o.Adam(o.Cosine(0.01, steps=10)), 5)
        return bp.Trainer(nn.Dense(1), losses.Squared(), rule, batch_size=8, seed=2, precision="float64")

    whole, first = trainer(), trainer()
    whole.fit(*_rows(), epochs=4, progress=False)
    first.fit(*_rows(), epochs=1, progress=False)
    first.fit(*_rows(), epochs=3, progress=False)
    for own, other in zip(flatten(whole.parameters), flatten(first.parameters), strict=True):
        assert (np.asarray(own) == np.asarray(other)).all()


def test_the_rates_that_the_page_shows_are_those_of_the_changes():
    """Of 12 steps, 3 to a change: a rate that is halved at each change stands for three steps."""
    halving = o.SGD(o.Exponential(0.8, 0.5, 1))
    steps, found = rates(o.Accumulated(halving, 3), 12)
    assert steps == list(range(1, 13))
    np.testing.assert_allclose(found, np.repeat([0.8, 0.4, 0.2, 0.1], 3))
