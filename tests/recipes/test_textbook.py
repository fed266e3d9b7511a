"""The textbook program and the demos."""

import numpy as np
import pytest

from backpass import Trainer, optimizers
from backpass.forward import flatten
from backpass.losses import HalfSumOfSquares
from backpass.recipes import demo_iris, demo_xor, textbook


def step_by_hand(parameters, x, desired):
    """One iteration of the published program, written out in NumPy."""
    w1, b1 = parameters["hidden"]["weight"], parameters["hidden"]["bias"]
    w2, b2 = parameters["output"]["weight"], parameters["output"]["bias"]
    hidden = 1 / (1 + np.exp(-(x @ w1 + b1)))
    output = 1 / (1 + np.exp(-(hidden @ w2 + b2)))
    delta2 = (output - desired) * output * (1 - output)
    delta1 = (w2 @ delta2) * hidden * (1 - hidden)
    return {
        "hidden": {"weight": w1 - 0.05 * np.outer(x, delta1), "bias": b1 - 0.05 * delta1},
        "output": {"weight": w2 - 0.05 * np.outer(hidden, delta2), "bias": b2},
    }


def test_a_step_is_the_published_one_and_leaves_the_output_biases_alone():
    flowers = textbook.iris()
    parameters = textbook.first_parameters(3)
    step = textbook.Step(parameters)
    values = flatten(parameters)
    for row in (0, 77, 149):
        parameters = step_by_hand(parameters, flowers.measures[row], flowers.desired[row])
        values = step(values, flowers.measures[row][None], flowers.desired[row][None])
    for ours, expected in zip(values, flatten(parameters), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-15)
    assert (parameters["output"]["bias"] == 0).all()


def test_the_program_starts_as_published():
    parameters = textbook.first_parameters(0)
    weights = np.concatenate([parameters[layer]["weight"].ravel() for layer in ("hidden", "output")])
    assert weights.size == 4 * 25 + 25 * 3
    assert -0.5 <= weights.min() < -0.4
    assert 0.4 < weights.max() < 0.5
    assert all((parameters[layer]["bias"] == 0).all() for layer in ("hidden", "output"))


@pytest.fixture
def compiled():
    """A Trainer of the program, from the weights of a seed on through rows in their order."""
    flowers = textbook.iris()
    rule = optimizers.Groups({".".join(textbook.FROZEN): optimizers.SGD(0.0), "*": optimizers.SGD(0.05)})
    trainer = Trainer(textbook.network(), HalfSumOfSquares(), rule, batch_size=1, precision="float64")

    def trained(seed, **options):
        rows = textbook.picks(150, seed, **options)
        trainer.build(flowers.measures).restart(textbook.first_parameters(seed))
        trainer.fit(flowers.measures[rows], flowers.desired[rows], epochs=1, shuffle=False)
        return trainer.parameters

    return trained


def test_over_20_seeds_the_program_classifies_as_many_flowers_as_the_published_one(compiled):
    """Compiled, for 600,000 iterations are wanted."""
    judge = textbook.Judge(textbook.iris())
    right = [judge(compiled(seed))[0] for seed in range(20)]
    assert min(right) >= 141
    assert max(right) <= 149
    assert 145 <= np.mean(right) <= 148


def test_the_compiled_program_makes_the_steps_of_the_reference_executor(compiled):
    *_, (_, expected) = textbook.train(textbook.iris(), 0, iterations=3000)
    for ours, theirs in zip(flatten(compiled(0, iterations=3000)), flatten(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_the_iris_story_tells_five_steps_with_numbers_that_agree_with_a_difference_quotient():
    lines = list(demo_iris.tell(seed=0))
    assert [line[0] for line in lines if line[:1].isdigit()] == ["1", "2", "3", "4", "5"]
    slope = next(line for line in lines if "δ of hidden[0] · input 0" in line).split("=")[-1]
    quotient = next(line for line in lines if "difference quotient" in line).split()[-1].rstrip(".")
    assert float(slope) == pytest.approx(float(quotient), rel=2e-4)
    assert max(map(len, lines)) <= 80
    assert any("of 150 right" in line for line in lines)


def test_without_a_hidden_layer_exclusive_or_is_not_learned_and_with_one_it_is():
    for seed in range(3):
        lines = list(demo_xor.tell(seed))
        verdicts = [line.strip() for line in lines if "of 4 rows right" in line]
        assert verdicts == ["0 of 4 rows right", "4 of 4 rows right"]
        assert max(map(len, lines)) <= 80
