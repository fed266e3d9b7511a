"""Why a prediction is what it is: integrated gradients, and that they add up."""

import numpy as np
import pytest
from ledger_networks import ROWS, ensemble, inputs

from backpass import losses, nn
from backpass.data.arrays import take_rows
from backpass.errors import UsageError
from backpass.ledger import Words, why
from backpass.ops import Key

WORDS = Words(features={"numbers": ("age", "age is missing", "height")}, columns={"age is missing": "age"})


def started(network, shape):
    return network.init(shape, Key.of(3))


def explained(row=5, output=None, outputs=3, loss=None):
    network, x = ensemble(outputs), inputs()
    parameters = started(network, {"numbers": (3,), "colour": ((), "int64")})
    return why(
        network,
        parameters,
        loss or losses.CrossEntropy(),
        x,
        take_rows(x, slice(row, row + 1)),
        words=WORDS,
        number=row + 1,
        raw={"age": "31", "colour": "red"},
        output=output,
    )


@pytest.mark.parametrize("row", [0, 5, 17])
def test_the_shares_add_up_to_the_difference_of_the_outputs(row):
    """To within the error that is told, which is small; waves, an embedding and four members among what is between."""
    found = explained(row)
    total = sum(each.value for each in found.shares)
    assert total - (found.value - found.baseline) == pytest.approx(found.error, abs=1e-12)
    assert abs(found.error) <= 1e-3 * abs(found.value - found.baseline) + 1e-6
    assert sum(found.answers.values()) == pytest.approx(1)


def test_features_of_a_column_count_together_and_cells_stand_beside_them():
    """A number and the mark that it is missing are one column; a category has its share by its vector."""
    found = explained()
    assert sorted(each.column for each in found.shares) == ["age", "colour", "height"]
    assert {each.column: each.raw for each in found.shares} == {"age": "31", "colour": "red", "height": ""}
    assert all(each.value != 0 for each in found.shares)
    sizes = [abs(each.value) for each in found.shares]
    assert sizes == sorted(sizes, reverse=True)


def test_of_a_linear_network_the_shares_are_weights_times_distances():
    """There the derivative is the same all the way: weight · (x - mean), exactly."""
    network, x = nn.Dense(1), inputs()["numbers"]
    parameters = started(network, (3,))
    found = why(network, parameters, losses.Squared(), x, x[7:8], words=Words(), number=8, raw={}, units=[(10.0, 3.0)])
    expected = 10 * parameters["weight"][:, 0] * (x[7] - x.mean(axis=0))
    by_name = {each.column: each.value for each in found.shares}
    assert [by_name[f"x[{k}]"] for k in range(3)] == pytest.approx(expected.tolist())
    assert found.baseline == pytest.approx(10 * float(x.mean(axis=0) @ parameters["weight"][:, 0]) + 3)
    assert abs(found.error) < 1e-12


def test_the_error_of_the_sum_is_told_where_the_way_has_a_kink():
    """Along a way across a kink the sum of 256 points is off: more points are taken, and what is left is told."""
    network = nn.Sequential(nn.Dense(2, initializer=nn.Constant(1.0)), nn.ReLU(), nn.Dense(1))
    x = np.linspace(-1, 0.7331, ROWS)[:, None]
    found = why(network, started(network, (1,)), losses.Squared(), x, x[-1:], words=Words(), number=1, raw={})
    assert found.points > 256
    assert 0 < abs(found.error) < 1e-3


def test_another_output_can_be_asked_for():
    """By its name; of one that is not there the error says which are."""
    network = explained(output="output[2]")
    assert network.output == "output[2]"
    assert network.value == network.answers["output[2]"]
    with pytest.raises(UsageError, match=r"no output is called 'output\[3\]'. Did you mean"):
        explained(output="output[3]")


def test_a_rate_is_told_as_a_rate():
    """The output is what the loss makes of it: exp, for counts."""
    found = explained(outputs=1, loss=losses.Poisson())
    assert found.value > 0
    assert abs(found.error) <= 1e-3 * abs(found.value - found.baseline) + 1e-6
