"""Schedules of the learning rate, against values worked by hand at chosen steps."""

import numpy as np
import pytest
from optimizer_helpers import eager_steps

from backpass import optimizers as o
from backpass.errors import UsageError
from backpass.forward import evaluate, trace


def rates(schedule, *steps):
    return [float(schedule(step)) for step in steps]


def approx(*values):
    return pytest.approx(list(values), rel=1e-12, abs=1e-15)


def test_a_constant_rate_is_the_same_at_every_step():
    assert rates(o.Constant(0.3), 0, 7, 10**9) == [0.3, 0.3, 0.3]


def test_a_stepped_rate_falls_at_every_whole_stretch():
    assert rates(o.Step(0.8, every=3, factor=0.5), 0, 2, 3, 5, 6) == approx(0.8, 0.8, 0.4, 0.4, 0.2)


def test_an_exponential_rate_falls_by_its_factor_in_each_stretch():
    # 4 steps: 0.01;  2 steps: its root, 0.1
    assert rates(o.Exponential(1.0, factor=0.01, steps=4), 0, 2, 4, 8) == approx(1.0, 0.1, 0.01, 0.0001)


def test_a_cosine_falls_slowly_then_fast_then_slowly_and_stays():
    # cos 0, 60, 90, 120 and 180 degrees: 1, 1/2, 0, -1/2, -1
    schedule = o.Cosine(1.0, steps=12, final_fraction=0.2)
    assert rates(schedule, 0, 4, 6, 8, 12, 20) == approx(1.0, 0.8, 0.6, 0.4, 0.2, 0.2)


def test_a_warm_up_rises_to_the_schedule_that_follows_and_counts_it_from_there():
    schedule = o.WarmUp(4, then=o.Step(1.0, every=2, factor=0.5))
    assert rates(schedule, 0, 1, 3, 4, 5, 6, 8) == approx(0.2, 0.4, 0.8, 1.0, 1.0, 0.5, 0.25)


def test_a_warm_up_takes_a_plain_number_for_a_constant():
    assert rates(o.WarmUp(1, then=0.5), 0, 1, 100) == approx(0.25, 0.5, 0.5)


def test_one_cycle_rises_to_its_peak_and_falls_to_almost_nothing():
    # 11 steps, 6/11 of them rising: the top is at step 5, the end at step 10
    schedule = o.OneCycle(1.0, steps=11, rising_fraction=6 / 11, initial_fraction=0.1, final_fraction=0.0)
    assert rates(schedule, 0, 5, 10, 99) == approx(0.1, 1.0, 0.0, 0.0)
    # halfway down the first fifth: (1 + cos 36 degrees)/2
    assert rates(schedule, 6) == approx((1 + 0.8090169943749475) / 2)


@pytest.mark.parametrize(("steps", "rising"), [(1, 0.3), (2, 0.3), (1, 1.0), (3, 0.0), (3, 1.0)])
def test_one_cycle_is_finite_however_short_it_is(steps, rising):
    found = rates(o.OneCycle(1.0, steps=steps, rising_fraction=rising), *range(steps + 1))
    assert np.isfinite(found).all()
    assert max(found) == pytest.approx(1.0)


SCHEDULES = [
    o.Constant(0.1),
    o.Step(0.1, every=2),
    o.Exponential(0.1, steps=5),
    o.Cosine(0.1, steps=6),
    o.WarmUp(3, then=o.Cosine(0.1, steps=6)),
    o.OneCycle(0.1, steps=9),
    o.ReduceOnPlateau(0.1),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda x: type(x).__name__)
def test_a_traced_schedule_gives_the_same_bits(schedule):
    traced = trace(schedule, np.int64(0))
    for step in range(12):
        assert float(evaluate(traced, np.int64(step))) == float(schedule(step)) == float(schedule(np.int64(step)))


def test_every_schedule_of_the_catalogue_is_tried():
    assert {type(schedule) for schedule in SCHEDULES} == set(o.SCHEDULES.values())


def test_a_rule_moves_by_the_rate_of_its_schedule():
    # rates 1, 1, 0.5, 0.5
    found = eager_steps(o.SGD(o.Step(1.0, every=2, factor=0.5)), np.array(0.0), [np.array(-1.0)] * 4)
    assert [float(p) for p in found] == [1.0, 2.0, 2.5, 3.0]


OPEN = [o.Exponential(0.1), o.Cosine(0.1), o.OneCycle(0.1), o.WarmUp(2, then=o.Cosine(0.1))]


@pytest.mark.parametrize("schedule", OPEN, ids=lambda x: type(x).__name__)
def test_a_schedule_of_the_whole_training_says_that_its_length_is_missing(schedule):
    with pytest.raises(
        UsageError, match=r"steps=None stands for the whole training, .* or fill it in with .over\(steps"
    ):
        o.SGD(schedule).update(np.ones(1), {}, np.ones(1), 0)


@pytest.mark.parametrize("schedule", OPEN, ids=lambda x: type(x).__name__)
def test_a_schedule_of_the_whole_training_reaches_its_end_with_it(schedule):
    over = o.SGD(schedule).over(100).learning_rate
    assert float(over(100)) < 0.002


def test_a_warm_up_leaves_the_rest_of_the_training_to_what_follows():
    assert o.WarmUp(10, then=o.Cosine(0.1)).over(100) == o.WarmUp(10, then=o.Cosine(0.1, steps=90))
    assert o.WarmUp(10, then=o.Cosine(0.1)).over(5) == o.WarmUp(10, then=o.Cosine(0.1, steps=1))


def test_a_length_that_was_given_stays():
    assert o.SGD(o.Cosine(0.1, steps=5)).over(100) == o.SGD(o.Cosine(0.1, steps=5))
    assert o.Rprop().over(100) == o.Rprop()


@pytest.mark.parametrize("steps", [0, -1, 2.5, None])
def test_a_training_of_no_steps_is_refused(steps):
    for schedule in (o.Cosine(0.1), o.WarmUp(2, then=0.1)):
        with pytest.raises(UsageError, match=r"over\(steps\)=.* cannot be used: expected a whole number of at least 1"):
            schedule.over(steps)


def observed(schedule, losses):
    """The rate after each epoch that ended with one of `losses`."""
    state, found = schedule.init(), []
    for loss in losses:
        state = schedule.observe(state, loss)
        found.append(float(schedule(0, state)))
    return found


def test_the_rate_falls_once_more_epochs_than_patience_brought_nothing_better():
    schedule = o.ReduceOnPlateau(1.0, factor=0.5, patience=1)
    assert observed(schedule, [3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0]) == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_a_loss_is_better_only_by_more_than_the_threshold():
    schedule = o.ReduceOnPlateau(1.0, factor=0.5, patience=0, threshold=0.1)
    assert observed(schedule, [10.0, 9.5, 9.1, 8.9]) == [1.0, 0.5, 0.25, 0.25]


def test_a_loss_below_zero_gets_better_by_a_fraction_of_its_size_too():
    schedule = o.ReduceOnPlateau(1.0, factor=0.5, patience=0, threshold=0.1)
    assert observed(schedule, [-10.0, -10.5, -11.5]) == [1.0, 0.5, 0.5]


def test_a_loss_that_is_no_number_is_never_better():
    schedule = o.ReduceOnPlateau(1.0, factor=0.5, patience=0)
    assert observed(schedule, [float("nan"), 1.0, float("nan"), float("inf")]) == [0.5, 0.5, 0.25, 0.125]
    patient = o.ReduceOnPlateau(1.0, factor=0.5, patience=1)
    assert observed(patient, [float("nan"), float("inf"), 1.0]) == [1.0, 0.5, 0.5]


def test_the_rate_falls_no_further_than_the_minimum():
    schedule = o.ReduceOnPlateau(1.0, factor=0.1, patience=0, minimum=0.05)
    assert observed(schedule, [1.0] * 4) == [1.0, 0.1, 0.05, 0.05]


def test_a_rate_that_began_below_the_minimum_is_not_raised():
    assert observed(o.ReduceOnPlateau(0.01, patience=0, minimum=0.05), [1.0] * 3) == [0.01] * 3


def test_the_plateau_lives_in_the_state_of_the_optimizer():
    rule = o.SGD(o.ReduceOnPlateau(1.0, factor=0.5, patience=0))
    state = rule.init(np.ones(1))
    for loss in (1.0, 2.0):
        state = rule.observe(state, loss)
    changes, after = rule.update(np.ones(1), state, np.ones(1), 5)
    assert changes.tolist() == [-0.5]
    assert {key: float(value) for key, value in after["learning_rate"].items()} == {
        "rate": 0.5,
        "best": 1.0,
        "waited": 0,
    }


def test_the_state_keeps_the_types_that_an_executor_gave_it():
    schedule = o.ReduceOnPlateau(1.0)
    narrow = {
        key: value.astype(np.float32) if value.dtype.kind == "f" else value for key, value in schedule.init().items()
    }
    assert [x.dtype for x in schedule.observe(narrow, 1.0).values()] == [np.float32, np.float32, np.int64]


def test_a_warm_up_before_a_plateau_passes_the_losses_on():
    rule = o.SGD(o.WarmUp(1, then=o.ReduceOnPlateau(1.0, factor=0.5, patience=0)))
    state = rule.init(np.ones(1))
    for loss in (1.0, 2.0):
        state = rule.observe(state, loss)
    assert float(rule.rate(0, state)) == 0.25
    assert float(rule.rate(1, state)) == 0.5


def test_a_schedule_of_the_step_alone_remembers_nothing():
    schedule = o.WarmUp(1, then=o.Constant(0.1))
    assert schedule.observe(schedule.init(), 1.0) == {}
