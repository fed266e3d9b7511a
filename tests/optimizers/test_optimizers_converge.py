"""Each rule on a parabola and on Rosenbrock's valley: how close it comes, in how many steps."""

import numpy as np
import pytest
from optimizer_helpers import descend

from backpass import ops
from backpass import optimizers as o

PARABOLA = {
    "sgd": (o.SGD(0.1), 200),
    "momentum": (o.Momentum(0.05), 300),
    "nesterov": (o.Nesterov(0.05), 300),
    "adagrad": (o.Adagrad(1.0), 200),
    "rmsprop": (o.RMSprop(o.Cosine(0.05, steps=500)), 500),
    "adam": (o.Adam(0.1), 400),
    "adamw": (o.AdamW(0.1, weight_decay=0.0), 400),
    "nadam": (o.NAdam(0.1), 400),
    "radam": (o.RAdam(0.3), 600),
    "rprop": (o.Rprop(), 100),
    "lion": (o.Lion(o.Cosine(0.05, steps=500)), 500),
}

ROSENBROCK = {
    "sgd": (o.SGD(1e-3), 12000),
    "momentum": (o.Momentum(1e-3), 4000),
    "nesterov": (o.Nesterov(1e-3), 4000),
    "adagrad": (o.Adagrad(0.5), 6000),
    "rmsprop": (o.RMSprop(o.Cosine(0.01, steps=4000)), 4000),
    "adam": (o.Adam(0.02), 4000),
    "adamw": (o.AdamW(0.02, weight_decay=0.0), 4000),
    "nadam": (o.NAdam(0.02), 4000),
    "radam": (o.RAdam(o.WarmUp(200, then=0.02)), 4000),
    "rprop": (o.Rprop(), 2000),
    "lion": (o.Lion(o.Cosine(0.01, steps=4000)), 4000),
}


def parabola(p):
    target = np.array([1.0, -2.0, 3.0])
    return ops.sum(ops.square(p["x"] - target) * np.array([1.0, 2.0, 0.5]))


def rosenbrock(p):
    x, y = p["x"][0], p["x"][1]
    return ops.square(1 - x) + 100 * ops.square(y - x * x)


def test_every_rule_of_the_catalogue_is_tried_on_both():
    assert set(o.RULES) == set(PARABOLA) == set(ROSENBROCK)
    assert all(type(PARABOLA[name][0]) is type(ROSENBROCK[name][0]) is o.RULES[name] for name in o.RULES)


@pytest.mark.parametrize("name", PARABOLA)
def test_it_comes_to_the_bottom_of_a_parabola_within_a_thousandth(name):
    rule, steps = PARABOLA[name]
    found = descend(rule, parabola, {"x": np.zeros(3)}, steps)
    np.testing.assert_allclose(found["x"], [1.0, -2.0, 3.0], atol=1e-3)


@pytest.mark.parametrize("name", ROSENBROCK)
def test_it_comes_through_rosenbrocks_valley_within_five_hundredths(name):
    rule, steps = ROSENBROCK[name]
    found = descend(rule, rosenbrock, {"x": np.array([-1.2, 1.0])}, steps)
    np.testing.assert_allclose(found["x"], [1.0, 1.0], atol=5e-2)


@pytest.mark.parametrize("name", ["adam", "nadam", "radam"])
def test_a_program_in_float32_comes_to_the_same_bottom(name):
    rule, steps = PARABOLA[name]
    found = descend(rule, parabola, {"x": np.zeros(3)}, steps, precision="float32")
    assert found["x"].dtype == np.float32
    np.testing.assert_allclose(found["x"], [1.0, -2.0, 3.0], atol=1e-3)
