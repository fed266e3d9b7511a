"""Update rules where they are calculated from finished tiles of gradients: at all magnitudes, and where numbers end."""

import re

import numpy as np
import pytest

import backpass as bp
from backpass import losses, nn, ops, optimizers
from backpass.errors import NotFiniteError
from backpass.forward import Spec, flatten, trace
from backpass.native.finite import to_be_looked_at
from backpass.native.prepare import divide_by_roots

BY_ROOTS = [optimizers.Adam, optimizers.AdamW, optimizers.NAdam, optimizers.RMSprop, optimizers.Adagrad]
RATE = 0.01


def trained(executor, rule, x, y, *, threads=None, epochs=3):
    trainer = bp.Trainer(
        nn.Dense(y.shape[1], bias=False),
        losses.HalfSumOfSquares(),
        rule,
        batch_size=len(x),
        seed=1,
        precision="float32",
        executor=executor,
        threads=threads,
    )
    trainer.fit(x, y, epochs=epochs)
    return flatten(trainer.parameters)


@pytest.mark.parametrize("rule", BY_ROOTS)
@pytest.mark.parametrize("columns", [1, 3, 16, 47])
@pytest.mark.parametrize("size", [1.0, 1e15])
def test_a_rule_that_divides_by_roots_agrees_at_all_magnitudes_of_gradients(rule, columns, size):
    """Gradients from 1e-25 to 1e18, of rows that are alike: so no sum loses what its terms have."""
    x = np.tile(10.0 ** np.linspace(-25, 3, 57, dtype=np.float32), (5, 1))
    y = np.tile(np.linspace(1, 2, columns, dtype=np.float32) * np.float32(size), (5, 1))
    ours, theirs = (trained(executor, rule(RATE), x, y) for executor in ("native", "reference"))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-5 * RATE)


@pytest.mark.parametrize("rule", BY_ROOTS)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("columns", [1, 24])
def test_a_square_that_overflows_stops_training_at_the_step_of_the_reference(rule, threads, columns):
    """Only what the rule keeps of squares is infinite then: the weight itself is not, in the reference."""
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(64, n)).astype(np.float32) for n in (40, columns))
    x[37] *= 1e12
    found = []
    for executor in ("native", "reference"):
        trainer = bp.Trainer(
            nn.Dense(columns, bias=False),
            losses.HalfSumOfSquares(),
            rule(1e-3),
            batch_size=8,
            precision="float32",
            executor=executor,
            threads=threads,
        )
        with pytest.raises(NotFiniteError) as error:
            trainer.fit(x, y, epochs=2)
        found.append(re.findall(r"no longer finite after (step \d+).*(multiply\(.*?\) = inf)", str(error.value)))
    assert found[0] == found[1] != []


class Once(optimizers.Rule):
    """The change that `move` makes of a gradient and of v, whose new value it returns, too."""

    kept = ("v",)
    move = staticmethod(lambda g, v: (g, v))

    def update(self, gradients, state, parameters, step):  # noqa: ARG002
        return self.apply(lambda p, g, v: self.move(g, v), gradients, state, parameters)


def rule_of(move):
    return type("Rule", (Once,), {"move": staticmethod(move)})(RATE)


STOPS = {
    "that is not kept": lambda g, v: (g / (ops.sqrt(v - v - 1e-24) + 1e-8), v),
    "that was kept": lambda g, v: (g / (ops.sqrt(v) + 1e-8), v * 0.9 - 1e-24),
    "that is kept": lambda g, v: ((g / (ops.sqrt(v * 0.9 - 1e-24) + 1e-8)), v * 0.9 - 1e-24),
}


@pytest.mark.parametrize("columns", [1, 24])
@pytest.mark.parametrize("move", STOPS.values(), ids=STOPS)
def test_a_root_of_a_small_number_below_0_stops_training_at_the_step_of_the_reference(move, columns):
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(32, n)).astype(np.float32) for n in (40, columns))
    found = []
    for executor in ("native", "reference"):
        with pytest.raises(NotFiniteError) as error:
            trained(executor, rule_of(move), x, y)
        found.append(re.findall(r"after step \d+", str(error.value)))
    assert found[0] == found[1] != []


GOES_ON = {
    "an infinite square that is not kept": lambda g, v: (-0.001 * g / (ops.sqrt(g * g) + 1e-8), v),
    "a numerator near the largest number": lambda g, v: (
        (g * 0.0 + 2e38) / (ops.sqrt(v) + 1e30) * 1e-30,
        v * 0.0 + 1.0,
    ),
}


@pytest.mark.parametrize("columns", [1, 24])
@pytest.mark.parametrize("move", GOES_ON.values(), ids=GOES_ON)
def test_what_is_finite_in_the_end_stops_nothing(move, columns):
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(32, n)).astype(np.float32) for n in (40, columns))
    x[7] *= 1e11
    ours, theirs = (trained(executor, rule_of(move), x, y, epochs=1) for executor in ("native", "reference"))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def adam_like(w, m, v, rate):
    m, v = m * 0.9 + w, v * 0.9 + w * w
    return w - rate * m / (ops.sqrt(v) + 1e-8), m, v


def test_weights_show_what_is_wrong_with_moments_and_with_their_roots_where_these_are_quick():
    matrix = Spec((5, 7), np.float32)
    graph = trace(adam_like, matrix, matrix, matrix, Spec((), np.float32)).graph
    graph = divide_by_roots(graph, set(graph.outputs))
    w, m, v = graph.outputs
    assert to_be_looked_at({w, m, v}, quick=True) == {w}
    assert to_be_looked_at({w, m, v}, quick=False) == {w, v}
    assert to_be_looked_at({m, v}, quick=True) == {m, v}


def test_a_value_of_another_shape_or_behind_a_choice_is_looked_at_itself():
    def step(x, row):
        y = ops.where(x > 0, x, 0.0)
        return y + row, x * 1.0, row * 2.0

    graph = trace(step, Spec((5, 7), np.float32), Spec((7,), np.float32)).graph
    nodes = set(graph.outputs)
    assert to_be_looked_at(nodes, quick=True) == nodes
