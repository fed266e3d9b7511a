"""Transformations, chains of them, and groups of parameters."""

import numpy as np
import pytest
from optimizer_helpers import descend, eager_steps

import backpass as bp
from backpass import losses, nn, ops
from backpass import optimizers as o
from backpass.errors import UsageError
from backpass.forward import flatten, labels
from backpass.training import EarlyStopping

PARAMETERS = {
    "hidden": {"weight": np.array([1.0, 2.0]), "bias": np.array([3.0])},
    "output": {"weight": np.array([4.0]), "bias": np.array([5.0])},
}
GRADIENTS = {
    "hidden": {"weight": np.array([3.0, 0.0]), "bias": np.array([0.0])},
    "output": {"weight": np.array([-4.0]), "bias": np.array([0.0])},
}


def transformed(optimizer, gradients=GRADIENTS, parameters=PARAMETERS):
    return optimizer.update(gradients, optimizer.init(parameters), parameters, 0)[0]


def test_clipping_by_value_holds_each_element():
    assert [x.tolist() for x in flatten(transformed(o.ClipByValue(3.5)))] == [[3.0, 0.0], [0.0], [-3.5], [0.0]]


def test_clipping_by_the_global_norm_scales_all_gradients_by_one_factor():
    # the norm of (3, 0, 0, -4, 0) is 5; a limit of 2.5 halves them all
    assert [x.tolist() for x in flatten(transformed(o.ClipByGlobalNorm(2.5)))] == [[1.5, 0.0], [0.0], [-2.0], [0.0]]


def test_gradients_within_the_limit_keep_their_bits():
    for clip in (o.ClipByGlobalNorm(5.0), o.ClipByValue(4.0)):
        for found, given in zip(flatten(transformed(clip)), flatten(GRADIENTS), strict=True):
            np.testing.assert_array_equal(found, given)


def test_gradients_of_zeros_are_clipped_to_zeros():
    np.testing.assert_array_equal(transformed(o.ClipByGlobalNorm(1.0), np.zeros(3), np.zeros(3)), np.zeros(3))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_global_norm_lets_no_gradient_that_is_not_finite_pass_unseen(bad):
    assert np.isnan(transformed(o.ClipByGlobalNorm(1.0), np.array([bad, 1.0]), np.zeros(2))).all()


def test_a_norm_too_large_for_its_type_does_not_turn_the_gradients_into_zeros():
    given = np.array([1e30, 1.0], np.float32)
    assert np.isnan(transformed(o.ClipByGlobalNorm(1.0), given, given)).all()


def test_clipping_by_value_lets_a_nan_stay_a_nan():
    clipped = transformed(o.ClipByValue(1.0), np.array([np.nan, 2.0, -np.inf]), np.zeros(3))
    np.testing.assert_array_equal(clipped, [np.nan, 1.0, -1.0])


def test_weight_decay_adds_its_rate_times_the_parameter():
    assert [x.tolist() for x in flatten(transformed(o.WeightDecay(0.5)))] == [[3.5, 1.0], [1.5], [-2.0], [2.5]]


def test_the_parts_of_a_chain_act_in_their_order():
    # norm 5 clipped to 2.5: (1.5, 0), 0, -2, 0;  then + 0.5 p: (2, 1), 1.5, 0, 2.5;  then * -0.1
    chain = o.Chain(o.ClipByGlobalNorm(2.5), o.WeightDecay(0.5), o.SGD(0.1))
    expected = [[-0.2, -0.1], [-0.15], [0.0], [-0.25]]
    for found, wanted in zip(flatten(transformed(chain)), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-15)


def test_a_chain_of_transformations_is_a_transformation_and_may_stand_in_a_chain():
    inner = o.Chain(o.ClipByValue(1.0), o.WeightDecay(0.1))
    assert not inner.makes_changes
    outer = o.Chain(inner, o.SGD(0.1))
    assert outer.makes_changes
    flat = o.Chain(o.ClipByValue(1.0), o.WeightDecay(0.1), o.SGD(0.1))
    for nested, plain in zip(flatten(transformed(outer)), flatten(transformed(flat)), strict=True):
        np.testing.assert_array_equal(nested, plain)


def test_a_chain_of_a_rule_alone_is_that_rule():
    for chained, plain in zip(flatten(transformed(o.Chain(o.SGD(0.1)))), flatten(transformed(o.SGD(0.1))), strict=True):
        np.testing.assert_array_equal(chained, plain)


@pytest.mark.parametrize(
    "optimizer",
    [o.Chain(o.ClipByValue(1.0), o.SGD(0.1)), o.Groups({"*.bias": o.SGD(0.1), "*": o.Adam()})],
    ids=["chain", "groups"],
)
def test_a_state_with_fewer_or_more_parts_is_refused(optimizer):
    state = optimizer.init(PARAMETERS)
    for other in (state[:-1], [*state, state[-1]]):
        with pytest.raises(ValueError, match="zip"):
            optimizer.update(PARAMETERS, other, PARAMETERS, 0)


def test_a_clipped_descent_is_held_to_the_limit_at_each_step():
    found = descend(o.Chain(o.ClipByGlobalNorm(0.5), o.SGD(1.0)), lambda p: ops.sum(ops.square(p)), np.array([10.0]), 4)
    np.testing.assert_allclose(found, [8.0])


def test_each_group_is_moved_by_the_first_pattern_that_matches():
    groups = o.Groups({"*.bias": o.SGD(0.0), "hidden.*": o.SGD(0.1), "*": o.SGD(1.0)})
    expected = [[-0.3, 0.0], [0.0], [4.0], [0.0]]
    for found, wanted in zip(flatten(transformed(groups)), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-15)


def test_groups_keep_the_order_and_form_of_the_parameters():
    groups = o.Groups({"output.*": o.Adam(), "*": o.Momentum()})
    assert labels(transformed(groups)) == labels(PARAMETERS)
    assert labels(groups.init(PARAMETERS)) == [
        "0.gradient_sum.output.weight",
        "0.gradient_sum.output.bias",
        "0.square_sum.output.weight",
        "0.square_sum.output.bias",
        "1.velocity.hidden.weight",
        "1.velocity.hidden.bias",
    ]


def test_one_group_of_all_is_the_optimizer_itself():
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=5), [rng.normal(size=5) for _ in range(4)]
    grouped, plain = (eager_steps(x, start, gradients)[-1] for x in (o.Groups({"*": o.Adam()}), o.Adam()))
    np.testing.assert_array_equal(grouped, plain)


def test_weights_alone_can_be_decayed_by_groups_of_transformations():
    chain = o.Chain(o.Groups({"*.weight": o.WeightDecay(0.5), "*": o.WeightDecay(0.0)}), o.SGD(1.0))
    assert [x.tolist() for x in flatten(transformed(chain))] == [[-3.5, -1.0], [0.0], [2.0], [0.0]]


def test_a_parameter_that_matches_no_pattern_is_named():
    with pytest.raises(UsageError, match=r"Groups: parameter 'hidden.weight' matches none of '\*.bias', 'out\*': add"):
        o.Groups({"*.bias": o.SGD(), "out*": o.Adam()}).init(PARAMETERS)


def test_a_pattern_that_matches_nothing_is_named():
    with pytest.raises(UsageError, match=r"Groups: pattern 'conv.\*' takes no parameter: there are hidden.weight, "):
        o.Groups({"conv.*": o.SGD(), "*": o.Adam()}).init(PARAMETERS)


def test_a_pattern_that_earlier_ones_leave_nothing_is_named():
    with pytest.raises(UsageError, match=r"Groups: pattern '\*.bias' takes no parameter: earlier patterns take all"):
        o.Groups({"*": o.Adam(), "*.bias": o.SGD()}).init(PARAMETERS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (o.Chain, "Chain: found no parts"),
        (
            lambda: o.Chain(o.SGD(), o.ClipByValue(1.0)),
            "Chain: SGD turns gradients into changes: expected it at the end",
        ),
        (lambda: o.Chain(o.SGD(), o.Adam()), "Chain: SGD turns gradients into changes: expected it at the end"),
        (
            lambda: o.Chain(o.ClipByValue(1.0), o.SGD(), o.Adam()),
            "Chain: SGD turns gradients into changes: expected it at the end, found Adam there",
        ),
        (lambda: o.Chain(o.ClipByValue(1.0), 0.1), "Chain: 0.1 cannot be used: expected optimizers"),
        (lambda: o.Groups({}), "Groups: found no groups"),
        (lambda: o.Groups({"*": "adam"}), r"Groups: '\*' has 'adam': expected an optimizer"),
        (
            lambda: o.Groups({"a*": o.SGD(), "*": o.ClipByValue(1.0)}),
            r"Groups: found 'a\*': SGD, '\*': ClipByValue: exp",
        ),
    ],
)
def test_a_chain_or_group_that_cannot_work_says_why(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_groups_stay_what_they_are_when_the_dictionary_they_came_in_changes():
    given = {"*": o.SGD(0.1)}
    groups = o.Groups(given)
    given.clear()
    assert groups == o.Groups({"*": o.SGD(0.1)})


def test_the_length_of_the_training_reaches_every_schedule():
    open_ended = o.Chain(o.ClipByValue(1.0), o.Groups({"a*": o.SGD(o.Cosine(0.1)), "*": o.Adam(o.OneCycle(0.1))}))
    filled = o.Chain(
        o.ClipByValue(1.0), o.Groups({"a*": o.SGD(o.Cosine(0.1, steps=7)), "*": o.Adam(o.OneCycle(0.1, steps=7))})
    )
    assert open_ended.over(7) == filled


def test_the_validation_loss_reaches_every_schedule():
    plateau = o.ReduceOnPlateau(0.1, patience=0)
    optimizer = o.Chain(o.ClipByValue(9.0), o.Groups({"output.*": o.SGD(plateau), "*": o.SGD(0.1)}))
    state = optimizer.init(PARAMETERS)
    for loss in (1.0, 1.0):
        state = optimizer.observe(state, loss)
    changes, _ = optimizer.update(GRADIENTS, state, PARAMETERS, 0)
    np.testing.assert_allclose(changes["output"]["weight"], [0.04])
    np.testing.assert_allclose(changes["hidden"]["weight"], [-0.3, 0.0])


@pytest.mark.parametrize(("rate", "observes"), [(o.ReduceOnPlateau(0.1), True), (o.Cosine(0.1), False), (0.1, False)])
def test_an_optimizer_observes_if_one_of_its_schedules_does(rate, observes):
    groups = o.Groups({"output.*": o.SGD(rate), "*": o.SGD(0.1)})
    for optimizer in (o.SGD(rate), groups, o.Chain(o.ClipByValue(9.0), groups)):
        assert optimizer.observes is observes


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(flatten(first), flatten(second), strict=True))


def test_a_slowed_rule_changes_by_a_fraction_and_remembers_what_the_rule_does():
    rule = o.Adam(o.ReduceOnPlateau(0.1, patience=0))
    slowed = o.Slowed(rule, 0.25)
    state = rule.init(PARAMETERS)
    assert same(slowed.init(PARAMETERS), state)
    changes, after = rule.update(GRADIENTS, state, PARAMETERS, 0)
    slower, remembered = slowed.update(GRADIENTS, state, PARAMETERS, 0)
    assert same(remembered, after)
    assert all(np.array_equal(a * 0.25, b) for a, b in zip(flatten(changes), flatten(slower), strict=True))
    observed = slowed.observe(slowed.observe(after, 1.0), 2.0)
    assert same(observed, rule.observe(rule.observe(after, 1.0), 2.0))
    assert observed["learning_rate"]["rate"] < 0.1


def test_a_slowed_rule_observes_and_lasts_as_the_rule_does():
    assert o.Slowed(o.Adam(o.ReduceOnPlateau(0.1)), 0.5).observes
    assert not o.Slowed(o.Adam(0.1), 0.5).observes
    assert o.Slowed(o.Adam(o.Cosine(0.1)), 0.5).over(30) == o.Slowed(o.Adam(o.Cosine(0.1, steps=30)), 0.5)


@pytest.mark.parametrize("factor", [0.0, 1.0, -0.5, 2.0, float("nan")])
def test_slower_is_by_a_fraction(factor):
    with pytest.raises(UsageError, match=r"Slowed: factor=.* cannot be used"):
        o.Slowed(o.SGD(0.1), factor)


@pytest.mark.parametrize("executor", ["native", "reference"])
def test_averaged_uses_the_mean_of_all_parameters_so_far_and_later_of_the_last_ones(executor):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(12, 3)), rng.normal(size=(12, 1))
    network, seen = nn.Dense(1), []

    def trained(rule, steps):
        trainer = bp.Trainer(
            network, losses.Squared(), rule, batch_size=12, seed=1, precision="float64", executor=executor
        )
        trainer.fit(x, y, epochs=steps, progress=False)
        return trainer.parameters["weight"]

    for steps in range(1, 8):
        seen.append(trained(o.SGD(0.05), steps))
        mean = seen[0]
        for number, weight in enumerate(seen[1:], start=2):
            share = max(0.25, 1 / number)
            mean = (1 - share) * mean + share * weight
        np.testing.assert_allclose(trained(o.Averaged(o.SGD(0.05), 0.75), steps), mean, rtol=1e-12)


def test_averaged_is_validated_and_kept_by_its_mean_and_trains_on_from_the_parameters():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(40, 3)).astype(np.float32), rng.integers(0, 2, 40)

    def trained(rule, epochs, **more):
        trainer = bp.Trainer(nn.Dense(1), losses.BinaryCrossEntropy(), rule, batch_size=8, seed=1)
        trainer.fit(x, y, epochs=epochs, progress=False, validation=(x, y), **more)
        return trainer

    def loss_of(trainer):
        return float(trainer.loss(trainer.outputs(x), y))

    rule = o.Averaged(o.Adam(0.1), 0.9)
    plain, averaged = trained(o.Adam(0.1), 6), trained(rule, 6)
    assert [each["loss"] for each in plain.history] == [each["loss"] for each in averaged.history]
    assert list(averaged.history)[-1]["validation_loss"] == pytest.approx(loss_of(averaged), rel=1e-6)
    best = min(averaged.history, key=lambda each: each["validation_loss"])
    stopped = trained(rule, 6, stopping=EarlyStopping(9))
    assert loss_of(stopped) == pytest.approx(best["validation_loss"], rel=1e-6)


def test_averaged_passes_on_what_concerns_its_rule():
    rule = o.Averaged(o.Adam(o.Cosine(0.1)), 0.9)
    assert rule.over(30) == o.Averaged(o.Adam(o.Cosine(0.1, steps=30)), 0.9)
    assert rule.slowed(0.5) == o.Averaged(o.Slowed(o.Adam(o.Cosine(0.1)), 0.5), 0.9)
    assert o.Averaged(o.Adam(o.ReduceOnPlateau(0.1))).observes
    assert not o.Averaged(o.Adam(0.1)).observes
    with pytest.raises(UsageError, match=r"Averaged: decay=.* cannot be used"):
        o.Averaged(o.SGD(0.1), 1.5)
