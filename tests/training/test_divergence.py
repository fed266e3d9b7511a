"""The line that a diverged training ends with: the numbers at hand, and the likeliest cause first."""

import numpy as np
import pytest

from backpass import optimizers as o
from backpass.training.divergence import explained, learning_rate
from backpass.training.rows import Rows


def rows(inputs=1.0, targets=1.0):
    return Rows(np.array([[0.5], [-inputs]]), np.array([targets, 0.0]), None, "float32")


def test_unscaled_inputs_come_first_and_the_numbers_are_told():
    """Step, epoch, the loss before, the learning rate, and how large inputs and targets are."""
    line = explained("the loss", 1200, 3, data=rows(4.1e6), optimizer=o.Adam(0.001), before=12.5)
    assert line == (
        "the loss is no longer finite after step 1,200, in epoch 3 (the loss was 12.5 an epoch before, "
        "learning rate 0.001, inputs up to 4.1e+06, targets up to 1): "
        "scale the inputs, or try a learning rate of 0.0001, or clip gradients"
    )


def test_unscaled_targets_are_named():
    line = explained("w", 1, 1, data=rows(1.0, 3e5), optimizer=o.SGD(0.01))
    assert "targets up to 3e+05): scale the targets, or try a learning rate of 0.001" in line


def test_a_large_learning_rate_comes_first_where_all_is_scaled():
    """What clips already is not told to clip."""
    line = explained("w", 1, 1, data=rows(), optimizer=o.Chain(o.ClipByGlobalNorm(1.0), o.SGD(10.0)))
    assert line.endswith("(learning rate 10, inputs up to 1, targets up to 1): try a learning rate of 0.05")


def test_what_an_optimizer_keeps_is_named_by_the_parameter_it_is_kept_of():
    """Chains and groups number their parts, which nobody needs to know; a layer may have the name of what is kept."""
    groups = o.Chain(o.ClipByValue(1.0), o.Groups({"*.bias": o.SGD(0.1), "*": o.Adam(0.01)}))
    line = explained("state.1.1.square_sum.square_sum.weight", 1, 1, data=rows(), optimizer=groups)
    assert line.startswith("what the optimizer keeps of the gradients of square_sum.weight is no longer finite after")
    assert explained("state.velocity", 1, 1, data=rows(), optimizer=groups).startswith("state.velocity is no longer")


def test_labels_and_levels_are_no_sizes():
    """Whole numbers are names: a label of a million is not large."""
    data = Rows(np.array([1_000_000, 5]), np.array([1_000_000, 0]), None, "float32")
    line = explained("w", 1, 1, data=data, optimizer=o.Adam(0.001))
    assert "up to" not in line
    assert "scale" not in line


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [
        (o.Adam(0.003), 0.003),
        (o.SGD(o.WarmUp(5, then=o.Cosine(0.2, steps=9))), 0.2),
        (o.Momentum(o.OneCycle(0.3, steps=9)), 0.3),
        (o.RMSprop(o.ReduceOnPlateau(0.4)), 0.4),
        (o.Groups({"*bias": o.SGD(0.1), "*": o.Chain(o.WeightDecay(0.5), o.Adam(0.01))}), 0.1),
        (o.Adam(o.Constant(0.7)), 0.7),
    ],
    ids=str,
)
def test_the_learning_rate_is_found_wherever_it_stands(optimizer, rate):
    """The highest of all, also of schedules, chains and groups."""
    assert learning_rate(optimizer) == rate
