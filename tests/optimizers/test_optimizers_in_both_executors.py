"""The same bits at once and traced, the parameters' types kept, and a state that a checkpoint can hold."""

import numpy as np
import pytest
from optimizer_helpers import eager_steps, gradients_like, nested_parameters

from backpass import optimizers as o
from backpass.errors import ShapeError, UsageError
from backpass.forward import Program, flatten, labels, map_structure, trace, unflatten
from backpass.graph import verify
from backpass.simplify import simplify

OPTIMIZERS = {
    **{name: rule() for name, rule in o.RULES.items()},
    "scheduled": o.Adam(o.WarmUp(3, then=o.Cosine(0.1, steps=8))),
    "cycled": o.Momentum(o.OneCycle(0.1, steps=10)),
    "stepped": o.Lion(o.Step(0.1, every=2), weight_decay=0.1),
    "exponential": o.RMSprop(o.Exponential(0.1, steps=5)),
    "plateau": o.Nesterov(o.ReduceOnPlateau(0.1)),
    "chain": o.Chain(o.ClipByGlobalNorm(1.0), o.ClipByValue(0.3), o.WeightDecay(0.1), o.AdamW()),
    "groups": o.Groups({"*bias": o.SGD(0.1), "others.*": o.Chain(o.ClipByGlobalNorm(0.5), o.NAdam()), "*": o.RAdam()}),
}

every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
both_types = pytest.mark.parametrize("dtype", ["float32", "float64"])


@both_types
@every_optimizer
def test_at_once_and_traced_give_the_same_bits_and_types(name, dtype):
    optimizer = OPTIMIZERS[name]
    rng = np.random.default_rng(3)
    parameters = nested_parameters(rng, dtype)
    at_once = traced_state = optimizer.init(parameters)
    traced = trace(optimizer.update, parameters, at_once, parameters, np.int64(0))
    verify(traced.graph)
    program = Program(simplify(traced.graph))
    for step, gradients in enumerate(gradients_like(rng, parameters, 8)):
        changes, at_once = optimizer.update(gradients, at_once, parameters, step)
        outputs = program(*flatten((gradients, traced_state, parameters, np.int64(step))))
        traced_changes, traced_state = unflatten(traced.result, outputs)
        for label, ours, theirs in zip(
            labels((changes, at_once)),
            flatten((changes, at_once)),
            flatten((traced_changes, traced_state)),
            strict=True,
        ):
            assert isinstance(ours, np.ndarray), label
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), label
            np.testing.assert_array_equal(ours, theirs, err_msg=label)


@both_types
@every_optimizer
def test_changes_have_the_form_and_type_of_the_parameters(name, dtype):
    optimizer = OPTIMIZERS[name]
    rng = np.random.default_rng(4)
    parameters = nested_parameters(rng, dtype)
    (gradients,) = gradients_like(rng, parameters, 1)
    changes, _ = optimizer.update(gradients, optimizer.init(parameters), parameters, 0)
    assert labels(changes) == labels(parameters)
    assert [c.dtype for c in flatten(changes)] == [np.dtype(dtype)] * 4
    assert [c.shape for c in flatten(changes)] == [p.shape for p in flatten(parameters)]


@every_optimizer
def test_parameters_of_two_types_keep_their_own(name):
    optimizer = OPTIMIZERS[name]
    rng = np.random.default_rng(5)
    parameters = nested_parameters(rng, "float32")
    parameters["hidden_1"]["bias"] = parameters["hidden_1"]["bias"].astype(np.float64)
    (gradients,) = gradients_like(rng, parameters, 1)
    traced = trace(optimizer.update, gradients, optimizer.init(parameters), parameters, np.int64(0))
    assert [str(x.dtype) for x in flatten(traced.result[0])] == ["float32", "float64", "float32", "float32"]


@every_optimizer
def test_the_state_is_made_of_arrays_and_keeps_its_order_and_form(name):
    optimizer = OPTIMIZERS[name]
    rng = np.random.default_rng(6)
    parameters = nested_parameters(rng, "float32")
    before = optimizer.init(parameters)
    (gradients,) = gradients_like(rng, parameters, 1)
    _, after = optimizer.update(gradients, before, parameters, 0)
    observed = optimizer.observe(after, 1.0)
    assert labels(before) == labels(after) == labels(observed)
    for first, *others in zip(flatten(before), flatten(after), flatten(observed), strict=True):
        assert isinstance(first, np.ndarray)
        assert all((x.dtype, x.shape) == (first.dtype, first.shape) for x in others)


@every_optimizer
def test_update_leaves_its_arguments_as_they_were(name):
    optimizer = OPTIMIZERS[name]
    rng = np.random.default_rng(7)
    parameters = nested_parameters(rng, "float64")
    (gradients,) = gradients_like(rng, parameters, 1)
    given = (gradients, optimizer.init(parameters), parameters)
    copies = map_structure(np.array, given)
    optimizer.update(*given, 0)
    optimizer.observe(given[1], 1.0)
    for value, copy in zip(flatten(given), flatten(copies), strict=True):
        np.testing.assert_array_equal(value, copy)


@pytest.mark.parametrize("name", o.RULES)
def test_a_gradient_of_zeros_moves_nothing_and_is_no_nan(name):
    parameters = {"w": np.ones(3, np.float32)}
    for after in eager_steps(o.RULES[name](), parameters, [{"w": np.zeros(3, np.float32)}] * 3):
        np.testing.assert_allclose(after["w"], 1.0, atol=1e-4)  # AdamW alone shrinks them a little


@pytest.mark.parametrize("name", o.RULES)
def test_a_nan_in_a_gradient_stays_a_nan_in_its_own_element_alone(name):
    (after,) = eager_steps(o.RULES[name](), np.ones(3), [np.array([1.0, np.nan, 1.0])])
    np.testing.assert_array_equal(np.isnan(after), [False, True, False])


@pytest.mark.parametrize("name", sorted(set(o.RULES) - {"rprop"}))
def test_a_learning_rate_of_zero_moves_nothing(name):
    gradients = [np.array([0.0, 1.0]), np.array([0.0, -2.0])]
    for after in eager_steps(o.RULES[name](0.0), np.ones(2), gradients):
        np.testing.assert_array_equal(after, np.ones(2))


@pytest.mark.parametrize("name", o.RULES)
def test_no_parameters_are_no_trouble(name):
    optimizer = o.RULES[name]()
    assert optimizer.update({}, optimizer.init({}), {}, 0)[0] == {}


@pytest.mark.parametrize("name", o.RULES)
def test_whole_numbers_are_no_parameters(name):
    rule = o.RULES[name]()
    if flatten(rule.init(np.ones(2))):
        with pytest.raises(
            UsageError, match=r"a parameter of type int64 cannot be trained: expected float32 or float64"
        ):
            rule.init(np.array([1, 2]))


def test_gradients_of_another_form_than_the_parameters_are_refused():
    parameters = {"weight": np.ones(2), "bias": np.ones(2)}
    with pytest.raises(ShapeError, match=r"structures differ: \(weight, bias\) against \(weight\)"):
        o.SGD().update({"weight": np.ones(2)}, {}, parameters, 0)


def test_the_nodes_of_an_update_are_named_by_their_parameter():
    parameters = {"hidden_1": {"weight": np.ones(2)}}
    traced = trace(o.SGD(0.1).update, parameters, {}, parameters, np.int64(0))
    assert traced.graph.outputs[0].name == "update.hidden_1.weight"


def test_adam_takes_nine_passes_over_its_arrays():
    """The reference executor pays for each: what can be done to single numbers is done to them."""
    optimizer, w = o.Adam(), np.ones(1000)
    traced = trace(optimizer.update, w, optimizer.init(w), w, np.int64(0))
    passes = [node for node in simplify(traced.graph).nodes if node.shape == (1000,) and node.inputs]
    assert len(passes) == 9
