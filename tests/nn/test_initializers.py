"""Initializers: their variance, range and orthogonality, and which one each activation gets."""

import math

import numpy as np
import pytest

import backpass as bp
from backpass import nn
from backpass.ops import Key

SHAPE = (400, 100)
KEY = Key.of(3)


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize(
    ("kind", "variance"), [(nn.Glorot, 2 / 500), (nn.He, 2 / 400), (nn.LeCun, 1 / 400)], ids=["glorot", "he", "lecun"]
)
def test_the_variance_is_the_published_one(kind, variance, distribution):
    drawn = kind(distribution)(KEY, SHAPE)
    assert drawn.shape == SHAPE
    assert drawn.dtype == np.float64
    assert abs(drawn.mean()) < 4 * math.sqrt(variance / drawn.size)
    assert drawn.var() == pytest.approx(variance, rel=0.03)
    if distribution == "uniform":
        limit = math.sqrt(3 * variance)
        assert -limit <= drawn.min() < -0.99 * limit
        assert 0.99 * limit < drawn.max() <= limit


def test_uniform_lies_in_its_range_and_fills_it():
    drawn = nn.Uniform(-2.0, 6.0)(KEY, SHAPE)
    assert -2 <= drawn.min() < -1.99
    assert 5.99 < drawn.max() < 6
    assert drawn.mean() == pytest.approx(2, abs=0.05)


def test_normal_has_its_deviation():
    drawn = nn.Normal(0.3)(KEY, SHAPE)
    assert drawn.std() == pytest.approx(0.3, rel=0.02)
    assert np.abs(drawn).max() > 0.9


def test_constant_is_its_value_everywhere():
    np.testing.assert_array_equal(nn.Constant(1.5)(KEY, (2, 3)), np.full((2, 3), 1.5))


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (2, 3, 5), (1, 1)])
def test_orthogonal_has_orthonormal_rows_or_columns_times_the_gain(shape):
    drawn = nn.Orthogonal(2.0)(KEY, shape)
    assert drawn.shape == shape
    flat = drawn.reshape(-1, shape[-1]) / 2
    product = flat.T @ flat if flat.shape[0] >= flat.shape[1] else flat @ flat.T
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-12)


@pytest.mark.parametrize("start", [nn.Glorot(), nn.He(), nn.LeCun(), nn.Normal(), nn.Uniform(), nn.Orthogonal()])
def test_equal_keys_draw_the_same_and_others_draw_something_else(start):
    first, again, other = (start(Key.of(seed), (5, 4)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1)])
@pytest.mark.parametrize("start", [nn.Glorot(), nn.He(), nn.LeCun(), nn.Normal(), nn.Uniform()])
def test_sizes_of_0_and_1_are_drawn_too(start, shape):
    assert start(KEY, shape).shape == shape


# Which initializer suits which activation by default: He before the relu family, LeCun before selu, Glorot before
# sigmoid, tanh and no activation at all.
SUITS = {
    "relu": nn.He(),
    "leaky_relu": nn.He(),
    "elu": nn.He(),
    "gelu": nn.He(),
    "silu": nn.He(),
    "mish": nn.He(),
    "softplus": nn.He(),
    "selu": nn.LeCun(),
    "sigmoid": nn.Glorot(),
    "tanh": nn.Glorot(),
    "softmax": nn.Glorot(),
}


def first_weight(*layers):
    """The first weight of a network that begins with a layer of 6 nodes, and what `start` would make of it."""
    network = nn.Sequential(first=nn.Dense(6), **{f"layer_{place}": layer for place, layer in enumerate(layers)})
    return network.init((4,), KEY)["first"]["weight"]


def drawn_by(start):
    return start(KEY.fold("first").fold("weight"), (4, 6))


@pytest.mark.parametrize("name", sorted(nn.ACTIVATIONS))
def test_each_activation_gets_the_initializer_that_suits_it(name):
    np.testing.assert_array_equal(first_weight(nn.ACTIVATIONS[name]()), drawn_by(SUITS[name]))


@pytest.mark.parametrize("between", [[nn.Dropout(0.5)], [nn.Identity(), nn.Dropout(0.1)], [nn.Flatten()]])
def test_what_only_passes_values_on_does_not_hide_the_activation_behind_it(between):
    np.testing.assert_array_equal(first_weight(*between, nn.ReLU()), drawn_by(nn.He()))


@pytest.mark.parametrize("after", [[], [nn.Dense(2)], [nn.Dropout(0.2)], [nn.Dropout(0.2), nn.Dense(2), nn.ReLU()]])
def test_weights_with_no_activation_after_them_get_glorot(after):
    np.testing.assert_array_equal(first_weight(*after), drawn_by(nn.Glorot()))


def test_an_activation_outside_a_block_suits_the_last_weights_inside_it():
    network = nn.Sequential(block=nn.Sequential(first=nn.Dense(6)), relu=nn.ReLU())
    expected = nn.He()(KEY.fold("block").fold("first").fold("weight"), (4, 6))
    np.testing.assert_array_equal(network.init((4,), KEY)["block"]["first"]["weight"], expected)


def test_an_initializer_that_was_chosen_is_used_whatever_follows():
    network = nn.Sequential(nn.Dense(3, initializer=nn.Constant(7.0), bias_initializer=nn.Constant(2.0)), nn.ReLU())
    parameters = network.init((2,), KEY)["dense_1"]
    np.testing.assert_array_equal(parameters["weight"], np.full((2, 3), 7.0))
    np.testing.assert_array_equal(parameters["bias"], np.full(3, 2.0))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Uniform(1.0, 1.0),
        lambda: nn.Uniform("a", 1.0),
        lambda: nn.Uniform(float("nan"), 1.0),
        lambda: nn.Normal(-1.0),
        lambda: nn.Normal("wide"),
        lambda: nn.Constant(None),
        lambda: nn.Constant(float("inf")),
        lambda: nn.Orthogonal([1.0]),
        lambda: nn.Glorot("triangular"),
        lambda: nn.Dense(2, initializer="he"),
        lambda: nn.Dense(2, bias_initializer=0.0),
        lambda: nn.Embedding(3, 2, initializer=None),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_in_one_line(make):
    with pytest.raises(bp.BackpassError, match=r"expected|below") as caught:
        make()
    assert "\n" not in str(caught.value)
