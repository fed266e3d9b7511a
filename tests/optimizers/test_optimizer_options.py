"""Options that cannot be used are refused at once, by name; those that can are kept as plain numbers."""

from dataclasses import FrozenInstanceError
from inspect import getdoc, signature

import numpy as np
import pytest

from backpass import optimizers as o
from backpass.errors import UsageError

NAN, INFINITY = float("nan"), float("inf")

WORDS = {
    "a number of at least 0",
    "a number above 0",
    "a number of at least 0, or a schedule",
    "a number of at least 0 and below 1",
    "a number above 0 and below 1",
    "a number from 0 to 1",
    "a number of at least 1",
    "a whole number of at least 1",
    "a whole number of at least 0",
    "a whole number of at least 1, or None for the whole training",
}
"""All that is ever expected of an option, beside being below another."""

REFUSED = [
    (lambda: o.SGD(-0.1), "SGD: learning_rate=-0.1 cannot be used: expected a number of at least 0, or a schedule"),
    (lambda: o.Adam(NAN), "Adam: learning_rate=nan cannot be used: expected a number of at least 0, or a schedule"),
    (lambda: o.Adam(INFINITY), "Adam: learning_rate=inf cannot be used"),
    (lambda: o.Adam("fast"), "Adam: learning_rate='fast' cannot be used"),
    (lambda: o.Adam(True), "Adam: learning_rate=True cannot be used"),
    (lambda: o.Adam(None), "Adam: learning_rate=None cannot be used"),
    (
        lambda: o.Momentum(momentum=1.0),
        "Momentum: momentum=1.0 cannot be used: expected a number of at least 0 and below 1",
    ),
    (lambda: o.Nesterov(momentum=-0.5), "Nesterov: momentum=-0.5 cannot be used"),
    (lambda: o.RMSprop(decay=1.0), "RMSprop: decay=1.0 cannot be used"),
    (lambda: o.RMSprop(epsilon=-1e-8), "RMSprop: epsilon=-1e-08 cannot be used: expected a number of at least 0"),
    (lambda: o.Adagrad(epsilon=NAN), "Adagrad: epsilon=nan cannot be used"),
    (lambda: o.Adam(beta1=1.5), "Adam: beta1=1.5 cannot be used: expected a number of at least 0 and below 1"),
    (lambda: o.Adam(beta2=1), "Adam: beta2=1 cannot be used"),
    (lambda: o.AdamW(weight_decay=-1), "AdamW: weight_decay=-1 cannot be used"),
    (lambda: o.AdamW(beta1=2.0), "AdamW: beta1=2.0 cannot be used"),
    (lambda: o.NAdam(momentum_decay=-1.0), "NAdam: momentum_decay=-1.0 cannot be used"),
    (lambda: o.RAdam(epsilon=-1.0), "RAdam: epsilon=-1.0 cannot be used"),
    (lambda: o.Rprop(0.0), "Rprop: learning_rate=0.0 cannot be used: expected a number above 0"),
    (
        lambda: o.Rprop(o.Constant(0.1)),
        "Rprop: learning_rate=Constant(value=0.1) cannot be used: expected a number above 0",
    ),
    (lambda: o.Rprop(shrink=1.0), "Rprop: shrink=1.0 cannot be used: expected a number above 0 and below 1"),
    (lambda: o.Rprop(grow=0.9), "Rprop: grow=0.9 cannot be used: expected a number of at least 1"),
    (lambda: o.Rprop(smallest=2.0, largest=1.0), "Rprop: smallest=2.0 cannot be used: expected at most largest=1.0"),
    (lambda: o.Lion(beta2=1.0), "Lion: beta2=1.0 cannot be used"),
    (lambda: o.ClipByValue(0.0), "ClipByValue: limit=0.0 cannot be used: expected a number above 0"),
    (lambda: o.ClipByGlobalNorm(-1.0), "ClipByGlobalNorm: limit=-1.0 cannot be used: expected a number above 0"),
    (lambda: o.WeightDecay(-1.0), "WeightDecay: rate=-1.0 cannot be used"),
    (lambda: o.Constant(-1.0), "Constant: value=-1.0 cannot be used"),
    (lambda: o.Step(0.1, every=0), "Step: every=0 cannot be used: expected a whole number of at least 1"),
    (lambda: o.Step(0.1, every=1.5), "Step: every=1.5 cannot be used: expected a whole number of at least 1"),
    (lambda: o.Exponential(0.1, factor=0.0), "Exponential: factor=0.0 cannot be used: expected a number above 0"),
    (lambda: o.Cosine(0.1, steps=0), "Cosine: steps=0 cannot be used: expected a whole number of at least 1, or None"),
    (
        lambda: o.Cosine(0.1, final_fraction=1.5),
        "Cosine: final_fraction=1.5 cannot be used: expected a number from 0 to 1",
    ),
    (lambda: o.WarmUp(0, then=0.1), "WarmUp: steps=0 cannot be used"),
    (lambda: o.WarmUp(None, then=0.1), "WarmUp: steps=None cannot be used"),
    (
        lambda: o.WarmUp(5, then=-0.1),
        "WarmUp: then=-0.1 cannot be used: expected a number of at least 0, or a schedule",
    ),
    (lambda: o.OneCycle(0.1, steps=True), "OneCycle: steps=True cannot be used"),
    (lambda: o.OneCycle(0.1, rising_fraction=2.0), "OneCycle: rising_fraction=2.0 cannot be used"),
    (lambda: o.ReduceOnPlateau(0.1, factor=1.0), "ReduceOnPlateau: factor=1.0 cannot be used"),
    (lambda: o.ReduceOnPlateau(0.1, patience=-1), "ReduceOnPlateau: patience=-1 cannot be used"),
    (lambda: o.ReduceOnPlateau(0.1, threshold=1.0), "ReduceOnPlateau: threshold=1.0 cannot be used"),
    (lambda: o.ReduceOnPlateau(0.1, minimum=-1.0), "ReduceOnPlateau: minimum=-1.0 cannot be used"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message.partition(" cannot")[0] for _, message in REFUSED])
def test_an_option_that_cannot_be_used_is_named_with_what_was_found_and_expected(make, message):
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value).startswith(message)
    words = str(caught.value).partition(" expected ")[2]
    assert words.startswith("at most ") or words in WORDS
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: o.SGD(0.0),
        lambda: o.Momentum(momentum=0.0),
        lambda: o.Adam(beta1=0.0, beta2=0.0, epsilon=0.0),
        lambda: o.Rprop(grow=1.0, smallest=0.0),
        lambda: o.Rprop(smallest=0.5, largest=0.5),
        lambda: o.WeightDecay(0.0),
        lambda: o.Constant(0.0),
        lambda: o.Step(0.0, every=1),
        lambda: o.Cosine(0.1, steps=1, final_fraction=1.0),
        lambda: o.WarmUp(1, then=0.0),
        lambda: o.OneCycle(0.1, rising_fraction=0.0, initial_fraction=1.0, final_fraction=0.0),
        lambda: o.ReduceOnPlateau(0.0, patience=0, threshold=0.0, minimum=0.0),
    ],
)
def test_the_last_number_that_is_allowed_is_taken(make):
    assert make() is not None


def test_numbers_of_numpy_and_whole_numbers_are_kept_as_plain_numbers():
    rule = o.Momentum(np.float32(0.5), momentum=np.float64(0.25))
    assert (type(rule.learning_rate), type(rule.momentum)) == (float, float)
    assert rule == o.Momentum(0.5, momentum=0.25)
    assert type(o.SGD(1).learning_rate) is float
    assert type(o.Cosine(1, steps=np.int64(5)).steps) is int


def test_optimizers_and_schedules_are_frozen():
    with pytest.raises(FrozenInstanceError):
        o.SGD().learning_rate = 1.0
    with pytest.raises(FrozenInstanceError):
        o.Cosine(0.1).steps = 5


@pytest.mark.parametrize(
    ("given", "written_out"),
    [
        (o.SGD(), o.SGD(0.01)),
        (o.Momentum(), o.Momentum(0.01, momentum=0.9)),
        (o.Nesterov(), o.Nesterov(0.01, momentum=0.9)),
        (o.Adagrad(), o.Adagrad(0.01, epsilon=1e-10)),
        (o.RMSprop(), o.RMSprop(0.01, decay=0.99, epsilon=1e-8)),
        (o.Adam(), o.Adam(0.001, beta1=0.9, beta2=0.999, epsilon=1e-8)),
        (o.AdamW(), o.AdamW(0.001, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01)),
        (o.NAdam(), o.NAdam(0.002, beta1=0.9, beta2=0.999, epsilon=1e-8, momentum_decay=0.004)),
        (o.RAdam(), o.RAdam(0.001, beta1=0.9, beta2=0.999, epsilon=1e-8)),
        (o.Rprop(), o.Rprop(0.01, shrink=0.5, grow=1.2, smallest=1e-6, largest=50.0)),
        (o.Lion(), o.Lion(1e-4, beta1=0.9, beta2=0.99, weight_decay=0.0)),
        (o.Step(1.0, every=9), o.Step(1.0, every=9, factor=0.1)),
        (o.Exponential(1.0), o.Exponential(1.0, steps=None, factor=0.01)),
        (o.Cosine(1.0), o.Cosine(1.0, steps=None, final_fraction=0.0)),
        (
            o.OneCycle(1.0),
            o.OneCycle(1.0, steps=None, rising_fraction=0.3, initial_fraction=0.04, final_fraction=4e-6),
        ),
        (o.ReduceOnPlateau(1.0), o.ReduceOnPlateau(1.0, factor=0.1, patience=10, threshold=1e-4, minimum=0.0)),
    ],
    ids=lambda x: type(x).__name__,
)
def test_the_defaults_stay_what_they_are(given, written_out):
    assert given == written_out


REMEMBERED = {
    "momentum": ["velocity"],
    "nesterov": ["velocity"],
    "adagrad": ["square_sum"],
    "rmsprop": ["square_sum"],
    "adam": ["gradient_sum", "square_sum"],
    "adamw": ["gradient_sum", "square_sum"],
    "nadam": ["gradient_sum", "square_sum", "momentum_product"],
    "radam": ["gradient_sum", "square_sum"],
    "rprop": ["direction", "size"],
    "lion": ["momentum"],
}


@pytest.mark.parametrize("name", o.RULES)
def test_what_a_rule_remembers_has_the_name_by_which_graphs_and_errors_tell_of_it(name):
    assert list(o.RULES[name]().init({"w": np.ones(2)})) == REMEMBERED.get(name, [])


@pytest.mark.parametrize("name", o.RULES)
def test_a_name_of_the_catalogue_makes_a_rule_with_its_defaults(name):
    rule = o.RULES[name]()
    assert rule.makes_changes
    assert rule.__class__.__name__.lower() == name


def test_schedules_are_found_by_their_names():
    names = {"constant", "step", "exponential", "cosine", "warmup", "onecycle", "plateau"}
    assert set(o.SCHEDULES) == names
    assert all(name in cls.__name__.lower() for name, cls in o.SCHEDULES.items())


@pytest.mark.parametrize("thing", [*o.RULES.values(), *o.SCHEDULES.values()], ids=lambda x: x.__name__)
def test_every_option_is_explained(thing):
    text = getdoc(thing)
    assert all(f"    {option}: " in text or option == "value" for option in signature(thing).parameters)


def test_the_public_names_are_those_listed():
    assert all(hasattr(o, name) for name in o.__all__)
    assert {cls.__name__ for cls in (*o.RULES.values(), *o.SCHEDULES.values())} <= set(o.__all__)


def test_the_base_has_no_rule_of_its_own():
    for call in (lambda: o.Optimizer().update({}, {}, {}, 0), lambda: o.Schedule()(0)):
        with pytest.raises(NotImplementedError):
            call()
