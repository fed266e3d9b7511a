"""What is said in a sentence is what the numbers say."""

from dataclasses import replace

import numpy as np
import pytest
from ledger_networks import two_two_one

from backpass import optimizers
from backpass.ledger import Words, ledger, telling
from backpass.ledger.attribution import Share, Why
from backpass.ledger.formula import cell
from backpass.ledger.sentences import _of_rows, apart, of_change, of_prediction


def said(moment, name, place=0):
    found = ledger(moment, place, words=Words(row=lambda row: row + 7))
    parameter, index = found.weight(name)
    return of_change(parameter, index), parameter, index


def stepped(optimizer, state=None):
    """The moment of the network worked by hand with another optimizer, its new weights as that makes them."""
    moment = two_two_one()
    moment = replace(moment, optimizer=optimizer, state=optimizer.init(moment.before) if state is None else state)
    found = ledger(moment, 0)
    after = {"hidden": {}, "output": {}}
    for label, each in found.parameters.items():
        layer, _, name = label.rpartition(".")
        after.setdefault(layer, {})[name] = each.before + each.made
    return replace(moment, after=after)


def test_a_weight_goes_against_its_derivative_because_of_rows():
    """From and to, which way the error goes, and the row with the largest share."""
    text, parameter, index = said(stepped(optimizers.SGD(0.1)), "hidden.weight[1,0]")
    before, after = apart(float(parameter.before[index]), float(parameter.after[index]))
    g = float(parameter.batch_slope[index])
    assert text.startswith(
        f"This weight went from {before} to {after}, because the error of the batch grows as it grows "
        f"(its derivative g is {g:.5g}), and SGD goes against g; row "
    )
    shares, change = parameter.movers(index).products, float(parameter.made[index])
    most = int((shares * change).argmax())
    assert f"row {7 + most} has the largest share ({shares[most]:.5g} of {change:.5g})" in text


def test_a_row_that_pulls_more_against_it_has_not_the_largest_share():
    """The row with the largest share pushes the way the weight went; a stronger one is called what it is."""
    names, shares = ["row 1", "row 2", "row 3"], np.array([-2.0, -3.0, 4.0])
    assert _of_rows(names, shares, -1.0) == (
        "; row 2 has the largest share (-3 of -1), but row 3 pulls more against it (4)"
    )
    assert _of_rows(names, shares, 1.0) == "; row 3 has the largest share (4 of 1)"


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("-1.8963263495990657", "-1.8963"),
        ("1234567.1234567", "1234567"),
        ("123.456", "123.456"),
        ("1.076,06", "1.076,06"),
    ],
)
def test_long_fractions_of_a_table_are_told_like_other_numbers(raw, told):
    """Five digits, or all before the point; what may be thousands, or is short, stays as it stands."""
    assert cell(raw) == told


def test_earlier_steps_and_decay_are_named_where_they_are_most_of_it():
    """What was kept of earlier steps pushes on; decay draws to 0; both with their part of the change."""
    momentum = optimizers.Momentum(0.1)
    moment = two_two_one()
    state = momentum.init(moment.before)
    state["velocity"]["hidden"]["weight"] = np.full_like(moment.before["hidden"]["weight"], -1000.0)
    text, _, _ = said(stepped(momentum, state), "hidden.weight[1,0]")
    assert "because earlier steps still push it up (velocity of earlier steps: " in text
    assert "this batch alone would push it back (g is 5.5)" in text
    text, parameter, _ = said(stepped(optimizers.AdamW(1e-12, weight_decay=1e10)), "hidden.weight[1,0]")
    assert parameter.before[1, 0]
    assert "because weight decay draws it to 0 (weight decay: " in text


def test_a_weight_that_stays_is_told_why():
    """No derivative, or a change that its type is too coarse for."""
    still = two_two_one()
    text, *_ = said(replace(still, after=still.before), "hidden.weight[1,0]")
    assert text.startswith("This weight stayed at 0.25: its change, ")
    silent = replace(still, after=still.before, inputs=np.zeros_like(still.inputs))
    text, *_ = said(silent, "hidden.weight[1,0]")
    assert text == "This weight stayed at 0.25: the error of the batch does not depend on it."
    text, *_ = said(stepped(optimizers.SGD(0.1)), "output.bias[0]")
    assert text.startswith("This bias went from ")


def test_numbers_have_as_many_digits_as_tell_them_apart():
    """Five, or as many as it takes."""
    assert apart(0.3, 0.29) == ("0.3", "0.29")
    assert apart(0.3644912, 0.3644934) == ("0.364491", "0.364493")


@pytest.mark.parametrize("value", [0.9, 0.44])
def test_a_prediction_is_told_by_the_columns_that_made_it(value):
    """Those that push the way it went, the largest first, by what stands in the table."""
    shares = (Share("island", "Dream", 0.4), Share("bill", None, 0.1), Share("sex", "MALE", -0.04))
    text = of_prediction(Why(4, "Adelie", value, 0.44, shares, 256, 0.0, {}))
    if value == 0.44:
        assert text == "Adelie is 0.44, as for the mean row."
    else:
        assert text == (
            "Adelie is 0.9 and not 0.44, as for the mean row, mostly because island is Dream (+0.4) and bill is "
            "missing (+0.1)."
        )


def test_the_row_with_the_largest_share_is_told_first():
    """A first row whose derivative is 0 would say nothing of why the weight moved."""
    moment = two_two_one()
    inputs = np.array(moment.inputs)
    inputs[0] = 0
    silent = replace(moment, inputs=inputs)
    found = telling(silent, weight="hidden.weight[1,0]")
    assert found.place == 1
    assert ledger(silent, 0).parameters["hidden.weight"].row_slope[1, 0] == 0
