"""Random trainings of 20 steps in both executors, and how one that goes wrong is made small."""

import numpy as np
import pytest
from random_programs import Choices
from random_trainings import disagreement, training_text
from shrinking import smallest

from backpass.native.pointwise import Lowering


def numbers_of(seed):
    return np.random.default_rng(seed).integers(0, 1 << 20, 60).tolist()


@pytest.mark.parametrize("seed", range(7000, 7008))
def test_both_executors_train_alike(seed):
    """Weights, the rule's state and losses agree after 20 steps, whatever the layers, loss, rule, rows and weights."""
    assert not disagreement(training_text(Choices(numbers_of(seed))))


@pytest.mark.parametrize("seed", range(7100, 7102))
def test_they_train_alike_with_every_address_checked(seed, monkeypatch):
    """And no access lies outside of its memory."""
    monkeypatch.setenv("BACKPASS_CHECKED", "1")
    assert not disagreement(training_text(Choices(numbers_of(seed))))


def test_a_fault_is_found_and_made_small(monkeypatch):
    """With a tanh that is a little off: less is left of the code, and that has the tanh and shows the fault."""
    monkeypatch.setenv("BACKPASS_CACHE", "off")
    right = Lowering.tanh
    monkeypatch.setattr(Lowering, "tanh", lambda self, x: self.multiply(right(self, x), 1.001))

    def fails(numbers):
        text = training_text(Choices(numbers))
        return "Tanh" in text and bool(disagreement(text))

    numbers = next(found for seed in range(7000, 7100) if fails(found := numbers_of(seed)))
    small = smallest(numbers, fails, tries=40)
    text = training_text(Choices(small))
    assert sum(small) < sum(numbers)
    assert len(small) < len(numbers)
    assert "Tanh" in text
    assert disagreement(text)
    monkeypatch.undo()
    assert not disagreement(text)


@pytest.mark.parametrize(
    ("fails", "least"),
    [
        (lambda x: sum(x) >= 100, 100),
        (lambda x: any(number % 7 == 3 for number in x), 3),
        (lambda x: len(x) >= 4 and x[3] > 5, 6),
        (lambda x: True, 0),
    ],
)
def test_what_is_made_small_still_fails_and_is_small(fails, least):
    """Neither a number nor a part of the list is left that the fault does not need."""
    small = smallest(numbers_of(1), fails, tries=5000)
    assert fails(small)
    assert sum(small) == least


def test_no_more_tries_are_made_than_are_allowed():
    """Each may take seconds."""
    tried = []
    smallest(numbers_of(2), lambda x: tried.append(x) or sum(x) > 50, tries=5)
    assert len(tried) == 5


def test_equal_numbers_give_equal_code():
    """A case can be run again by its seed."""
    assert training_text(Choices(numbers_of(5))) == training_text(Choices(numbers_of(5)))
