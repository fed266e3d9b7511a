"""Every activation: its formula, PyTorch's value and gradient, and its place in the catalogue."""

import math

import numpy as np
import pytest

import backpass as bp
from backpass import nn

X = np.array([[-30.0, -3.0, -1.0, -0.25], [1e-9, 0.25, 1.0, 30.0]])

# The formula of each, for one number.
FORMULAS = {
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "elu": lambda x: x if x > 0 else math.exp(x) - 1,
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * (math.exp(x) - 1)),
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
    "softplus": lambda x: math.log1p(math.exp(x)) if x < 20 else x + math.log1p(math.exp(-x)),
}
ELEMENTWISE = sorted(FORMULAS)


def peer(torch, name):
    functional = torch.nn.functional
    return {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": functional.relu,
        "leaky_relu": functional.leaky_relu,
        "elu": functional.elu,
        "selu": functional.selu,
        "gelu": functional.gelu,
        "silu": functional.silu,
        "mish": functional.mish,
        "softplus": functional.softplus,
        "softmax": lambda x: functional.softmax(x, dim=-1),
    }[name]


def test_the_catalogue_holds_exactly_the_activations_that_are_tested_here():
    assert set(nn.ACTIVATIONS) == {*FORMULAS, "softmax"}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_an_activation_is_its_formula(name):
    found = nn.ACTIVATIONS[name]().apply(X)
    expected = [[FORMULAS[name](x) for x in row] for row in X.tolist()]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_softmax_is_exp_over_the_sum_of_exp_along_the_last_axis():
    found = nn.Softmax().apply(np.array([[0.0, math.log(3.0)], [1000.0, 1000.0]]))
    np.testing.assert_allclose(found, [[0.25, 0.75], [0.5, 0.5]], rtol=1e-12)


@pytest.mark.parametrize("name", sorted(nn.ACTIVATIONS))
def test_value_and_gradient_agree_with_torch(name, torch):
    layer = nn.ACTIVATIONS[name]()
    mix = np.random.default_rng(0).normal(size=X.shape)
    value, gradient = bp.value_and_grad(lambda x: bp.ops.sum(layer({}, x) * mix))(X)
    x = torch.tensor(X, requires_grad=True)
    y = peer(torch, name)(x)
    total = (y * torch.tensor(mix)).sum()
    total.backward()
    np.testing.assert_allclose(layer.apply(X), y.detach().numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(value, total.item(), rtol=1e-9)
    np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", sorted(nn.ACTIVATIONS))
def test_the_gradient_agrees_with_differences(name):
    layer = nn.ACTIVATIONS[name]()
    x = np.random.default_rng(1).normal(size=(4, 3))
    report = bp.check_gradients(lambda x: bp.ops.sum(layer({}, x) * np.arange(1.0, 4.0)), x)
    assert report.largest_error < 1e-6, report


@pytest.mark.parametrize("name", sorted(nn.ACTIVATIONS))
@pytest.mark.parametrize("extreme", [-1e4, 1e4])
def test_far_out_value_and_gradient_stay_finite(name, extreme):
    layer = nn.ACTIVATIONS[name]()
    value, gradient = bp.value_and_grad(lambda x: bp.ops.sum(layer({}, x)))(np.full((1, 2), extreme))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(("layer", "inside"), [(nn.LeakyReLU(0.3), -0.6), (nn.ELU(2.0), 2 * math.expm1(-2))])
def test_slope_and_alpha_are_used(layer, inside):
    np.testing.assert_allclose(layer.apply(np.array([-2.0, 5.0])), [inside, 5.0], rtol=1e-14)


@pytest.mark.parametrize("kind", [nn.LeakyReLU, nn.ELU])
@pytest.mark.parametrize("option", ["a", None, float("nan"), float("inf"), True, [1]])
def test_an_option_that_is_no_number_is_refused(kind, option):
    with pytest.raises(bp.BackpassError, match=r"is .*, expected a finite number"):
        kind(option)
