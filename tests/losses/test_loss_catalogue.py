"""Losses by name, as model files and the command line ask for them."""

import json

import pytest

from backpass import losses
from backpass.errors import UsageError


@pytest.mark.parametrize("name", losses.LOSSES)
def test_every_name_makes_its_loss(name):
    """A name alone gives the loss with its defaults, and describing it gives the name back."""
    loss = losses.by_name(name)
    assert type(loss) is losses.LOSSES[name]
    assert losses.describe(loss)[0] == name


@pytest.mark.parametrize("loss", [losses.Huber(2.5), losses.Quantile((0.1, 0.9)), losses.CrossEntropy(0.1)], ids=str)
def test_a_described_loss_comes_back_from_json(loss):
    """Name and options survive a file of JSON."""
    name, options = json.loads(json.dumps(losses.describe(loss)))
    assert losses.by_name(name, **options) == loss


def test_an_unknown_name_is_an_error_that_lists_the_known():
    """The message says what was asked for and what there is."""
    with pytest.raises(UsageError, match="no loss 'mse': expected one of squared, half_sum_of_squares"):
        losses.by_name("mse")


def test_an_unknown_option_is_an_error_that_lists_the_known():
    """The message names the option and those that the loss takes."""
    with pytest.raises(UsageError, match="the loss huber has no option 'epsilon': it takes delta"):
        losses.by_name("huber", epsilon=1)
    with pytest.raises(UsageError, match="it takes none"):
        losses.by_name("squared", half=True)
    with pytest.raises(UsageError, match="no option 'name'"):
        losses.by_name("squared", name="huber")


def test_a_loss_of_ones_own_has_no_name():
    """What is not in the catalogue cannot go into a file, and the message says so."""

    class Own(losses.Squared):
        pass

    with pytest.raises(UsageError, match="Own has no name"):
        losses.describe(Own())


def test_public_names_are_all_there():
    """`__all__` names what is there, sorted as ruff sorts it, and every loss of the catalogue is public."""
    assert all(hasattr(losses, name) for name in losses.__all__)
    assert {kind.__name__ for kind in losses.LOSSES.values()} <= set(losses.__all__)
