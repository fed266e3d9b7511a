"""Networks as plain data: what was described is built again, and what a stranger wrote is refused in one line."""

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import backpass as bp
from backpass import nn
from backpass.errors import ModelFileError, UsageError
from backpass.ops import Key

numbers = st.floats(-1e6, 1e6)
initializers = st.one_of(
    st.builds(nn.Constant, numbers),
    st.builds(nn.Normal, st.floats(0, 10)),
    st.builds(nn.Uniform, st.floats(-5, -1), st.floats(1, 5)),
    st.builds(nn.Orthogonal, numbers),
    *(st.builds(kind, st.sampled_from(["uniform", "normal"])) for kind in (nn.Glorot, nn.He, nn.LeCun)),
)
simple = st.one_of(
    st.builds(nn.Dense, st.integers(1, 99), st.booleans(), st.none() | initializers, initializers),
    st.builds(nn.Dropout, st.floats(0, 0.99)),
    st.builds(nn.Embedding, st.integers(1, 99), st.integers(1, 99), initializers),
    st.builds(nn.OneHot, st.integers(1, 99), st.sampled_from(["float32", "float64"])),
    st.builds(nn.LeakyReLU, numbers),
    st.builds(nn.ELU, numbers),
    st.builds(nn.Periodic, st.sets(st.integers(0, 30)).map(lambda x: tuple(sorted(x))), st.integers(1, 99)),
    st.builds(nn.Pieces, st.sets(st.integers(0, 30)).map(lambda x: tuple(sorted(x))), st.integers(1, 99)),
    st.builds(lambda shape: nn.Input(*shape), st.lists(st.integers(0, 30), max_size=3)),
    *(st.just(kind()) for kind in (nn.Flatten, nn.Identity, nn.ReLU, nn.Softmax, nn.SELU, nn.Tanh)),
)
parts = st.recursive(
    simple,
    lambda inner: st.builds(
        lambda kind, layers: kind(**layers),
        st.sampled_from([nn.Sequential, nn.Residual, nn.Concatenate]),
        st.dictionaries(st.text(max_size=5), inner, max_size=4),
    ),
    max_leaves=8,
)
networks = parts | st.builds(nn.Ensemble, parts, st.integers(1, 9), parts)
networks |= st.builds(
    lambda kinds, each, shares: nn.Blend(kinds[0], each * 2, others=(kinds[1],), shares=shares),
    st.tuples(parts, parts),
    st.integers(1, 9),
    st.sampled_from([(), (0.25, 0.75), (1, 0)]),
)


@settings(max_examples=150, deadline=None)
@given(networks)
def test_a_network_that_went_through_json_is_the_same_network(network):
    written = json.dumps(nn.describe(network))
    again = nn.build(json.loads(written))
    assert again == network
    assert json.dumps(nn.describe(again)) == written


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(sorted(nn.ACTIVATIONS)), max_size=3), st.integers(0, 2**31))
def test_a_network_built_again_starts_from_the_same_weights(activations, seed):
    network = nn.Sequential(*(layer for name in activations for layer in (nn.Dense(3), nn.ACTIVATIONS[name]())))
    again = nn.build(nn.describe(network))
    first, second = (each.init((2,), Key.of(seed)) for each in (network, again))
    assert json.dumps(first, default=lambda x: x.tolist()) == json.dumps(second, default=lambda x: x.tolist())


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KINDS = ["Dense", "Dropout", "Embedding", "OneHot", "Flatten", "Identity", "Input", "Sequential", "Residual"]
KINDS += [
    "Concatenate",
    "CrossFitted",
    "Ensemble",
    "Blend",
    "Periodic",
    "Pieces",
    "ReLU",
    "LeakyReLU",
    "ELU",
    "SELU",
    "He",
    "Constant",
    "Uniform",
]
KINDS += ["Orthogonal", "Normal"]
FIELDS = ["units", "bias", "initializer", "bias_initializer", "rate", "levels", "layers", "shape", "slope", "alpha"]
FIELDS += ["value", "low", "high", "gain", "deviation", "distribution", "dtype", "self", "__class__", "build"]
FIELDS += ["member", "count", "first", "features", "waves", "others", "shares", "pieces"]
described = st.deferred(
    lambda: st.builds(_described, st.sampled_from(KINDS), st.dictionaries(st.sampled_from(FIELDS), values, max_size=3))
)
values = plain | described | st.lists(st.tuples(st.text(max_size=4), described).map(list), max_size=3)


def _described(kind, options):
    return {"type": kind} | options


def assert_one_line(error):
    assert "\n" not in str(error)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example("\n")
@example({"type": "a\nlayer"})
@given(plain | described)
def test_any_data_at_all_is_built_or_refused_as_a_model_file(data):
    try:
        layer = nn.build(data)
    except ModelFileError as error:
        assert_one_line(error)
    else:
        assert nn.build(nn.describe(layer)) == layer


HOSTILE = [
    None,
    [],
    "Dense",
    {},
    {"type": None},
    {"type": "Function", "function": "print"},
    {"type": "object"},
    {"type": "__import__"},
    {"type": "Layer"},
    {"type": "Dense"},
    {"type": "Dense", "units": "3"},
    {"type": "Dense", "units": 3, "more": 1},
    {"type": "Dense", "units": 3, "bias": 1},
    {"type": "Dense", "units": 3, "initializer": {"type": "ReLU"}},
    {"type": "Dense", "units": 3, "initializer": 5},
    {"type": "LeakyReLU", "slope": "steep"},
    {"type": "LeakyReLU", "slope": float("nan")},
    {"type": "ELU", "alpha": [1]},
    {"type": "SELU", "alpha": 1.0},
    {"type": "OneHot", "levels": 3, "dtype": "object"},
    {"type": "OneHot", "levels": 3, "dtype": ["float32"]},
    {"type": "Input", "shape": [-1]},
    {"type": "Input", "shape": 3},
    {"type": "Input", "shape": "ab"},
    {"type": "Sequential"},
    {"type": "Sequential", "layers": {"a": {"type": "ReLU"}}},
    {"type": "Sequential", "layers": [["a"]]},
    {"type": "Sequential", "layers": [["a", {"type": "ReLU"}], ["a", {"type": "ReLU"}]]},
    {"type": "Sequential", "layers": [[1, {"type": "ReLU"}]]},
    {"type": "Sequential", "layers": [["a", {"type": "He"}]]},
    {"type": "Sequential", "layers": [["a", None]]},
]


@pytest.mark.parametrize("data", HOSTILE, ids=lambda data: str(data)[:60])
def test_a_hostile_description_is_refused_as_a_model_file(data):
    with pytest.raises(ModelFileError) as caught:
        nn.build(data)
    assert "\n" not in str(caught.value)


def test_layers_nested_without_end_are_refused():
    data = {"type": "ReLU"}
    for _ in range(500):
        data = {"type": "Sequential", "layers": [["inner", data]]}
    with pytest.raises(ModelFileError, match="deep"):
        nn.build(data)


class Own(nn.Layer):
    pass


class Dense(nn.Dense):
    """Has the name of a known layer, and is not it."""


@pytest.mark.parametrize("layer", [nn.Function(lambda p, x: x), Own(), Dense(3)], ids=["function", "own", "namesake"])
def test_a_layer_that_no_file_can_hold_is_named(layer):
    with pytest.raises(UsageError, match=f"a {type(layer).__name__} cannot be saved"):
        nn.describe(nn.Sequential(layer))


def test_every_error_of_a_description_is_one_that_a_user_can_catch():
    assert issubclass(ModelFileError, bp.BackpassError)
