"""Layers and what is made of layers: shapes, values worked by hand, gradients, dropout, the printed table."""

import numpy as np
import pytest

import backpass as bp
from backpass import nn
from backpass.forward import map_structure
from backpass.forward.trace import like
from backpass.graph import BATCH
from backpass.ops import Key

KEY = Key.of(5)
DENSE = {"weight": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), "bias": np.array([0.5, -0.5])}

# Name, layer, shape of a row of input, shape of a row of output.
NETWORKS = {
    "dense": (nn.Dense(3), (4,), (3,)),
    "dense without bias": (nn.Dense(3, bias=False), (4,), (3,)),
    "dense over the last of two axes": (nn.Dense(3), (2, 4), (2, 3)),
    "embedding": (nn.Embedding(7, 3), ((), "int64"), (3,)),
    "embedding of several": (nn.Embedding(7, 3), ((2,), "int64"), (2, 3)),
    "one-hot": (nn.OneHot(7), ((), "int64"), (7,)),
    "residual": (nn.Residual(nn.Dense(4), nn.Tanh()), (4,), (4,)),
    "concatenate of one input": (nn.Concatenate(nn.Dense(2), nn.Identity()), (4,), (6,)),
    "concatenate of several": (
        nn.Concatenate(numbers=nn.Identity(), colour=nn.Embedding(5, 3)),
        {"numbers": (4,), "colour": ((), "int64")},
        (7,),
    ),
    "embedding inside a block inside a concatenation": (
        nn.Concatenate(a=nn.Sequential(nn.Embedding(5, 3), nn.Dense(2), nn.Tanh()), b=nn.Identity()),
        {"a": ((), "int64"), "b": (1,)},
        (3,),
    ),
    "flatten": (nn.Sequential(nn.Flatten(), nn.Dense(2)), (2, 3), (2,)),
    "sequential": (nn.Sequential(nn.Input(4), nn.Dense(5), nn.ReLU(), nn.Dropout(0.5), nn.Dense(1)), (4,), (1,)),
    "nothing": (nn.Sequential(), (4,), (4,)),
    "ensemble of several inputs": (
        nn.Ensemble(nn.Dense(2), 2, nn.Concatenate(numbers=nn.Identity(), colour=nn.Embedding(5, 3))),
        {"numbers": (4,), "colour": ((), "int64")},
        (2,),
    ),
    "ensemble": (nn.Ensemble(nn.Sequential(nn.Dense(3), nn.Tanh(), nn.Dense(2)), 3), (4,), (2,)),
    "ensemble that shares its first layer": (nn.Ensemble(nn.Dense(2), 2, nn.Periodic((1,), 2)), (4,), (2,)),
    "ensemble with rows held out": (
        nn.CrossFitted(nn.Ensemble(nn.Dense(2), 3), 2, alone="numbers"),
        {"numbers": (4,), "fold": ((), "int64")},
        (2,),
    ),
    "blend": (
        nn.Blend(nn.Dense(2), 4, others=(nn.Sequential(nn.Dense(3), nn.Dense(2)),), shares=(0.25, 0.75)),
        (4,),
        (2,),
    ),
    "blend with rows held out": (
        nn.CrossFitted(nn.Blend(nn.Dense(2), 4, others=(nn.Dense(2),)), 2, alone="numbers"),
        {"numbers": (4,), "fold": ((), "int64")},
        (2,),
    ),
    "pieces of some numbers": (nn.Pieces((0, 2), 3), (4,), (10,)),
    "pieces of none": (nn.Pieces((), 3), (4,), (4,)),
    "waves of all numbers": (nn.Periodic((0, 1, 2, 3), 5), (4,), (24,)),
    "waves of some numbers": (nn.Periodic((0, 2, 3), 2, deviation=1.0), (5,), (11,)),
    "waves of none": (nn.Periodic((), 2), (5,), (5,)),
    "function": (nn.Function(lambda p, x: x * p["w"] + p["c"], {"w": np.full(4, 2.0), "c": 1.0}), (4,), (4,)),
}
CASES = pytest.mark.parametrize("name", NETWORKS)


def rows_of(shape, count, seed=0):
    """Random rows of a shape."""
    rng = np.random.default_rng(seed)
    if isinstance(shape, dict):
        return {name: rows_of(part, count, seed) for name, part in shape.items()}
    if len(shape) == 2 and isinstance(shape[0], tuple):
        return rng.integers(0, 5, (count, *shape[0]))
    return rng.normal(size=(count, *shape))


@CASES
@pytest.mark.parametrize("count", [0, 1, 3])
def test_outputs_have_the_shape_that_the_layer_says(name, count):
    layer, shape, expected = NETWORKS[name]
    parameters = layer.init(shape, KEY)
    assert layer.output_shape(shape, parameters) == expected
    assert layer.output_shape(shape) == expected
    assert np.shape(layer(parameters, rows_of(shape, count))) == (count, *expected)


@CASES
def test_the_batch_stays_symbolic_and_both_ways_to_run_agree(name):
    layer, shape, expected = NETWORKS[name]
    parameters = layer.init(shape, KEY)
    traced = bp.trace(layer, map_structure(like, parameters), nn.specs(shape, "float64"))
    assert traced.graph.outputs[0].shape == (BATCH, *expected)
    for count in (0, 1, 5):
        rows = rows_of(shape, count)
        np.testing.assert_allclose(
            bp.evaluate(traced, parameters, rows, precision="float64"), layer(parameters, rows), atol=1e-6
        )


@pytest.mark.parametrize(
    "name", [name for name in NETWORKS if nn.count(NETWORKS[name][0].init(NETWORKS[name][1], KEY))]
)
def test_gradients_agree_with_differences(name):
    layer, shape, _ = NETWORKS[name]
    parameters, rows = layer.init(shape, KEY), rows_of(shape, 4)
    report = bp.check_gradients(lambda p: bp.ops.sum(bp.ops.tanh(layer(p, rows))), parameters)
    assert report.largest_error < 1e-6, report


@CASES
def test_the_same_key_makes_the_same_parameters(name):
    layer, shape, _ = NETWORKS[name]
    first, again = layer.init(shape, KEY), layer.init(shape, KEY)
    map_structure(np.testing.assert_array_equal, first, again)


def test_dense_is_the_weighted_sum_plus_the_bias():
    found = nn.Dense(2)(DENSE, np.array([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0]]))
    np.testing.assert_array_equal(found, [[9.5, 11.5], [-3.5, -4.5]])


def test_dense_without_bias_has_none():
    layer = nn.Dense(2, bias=False)
    assert set(layer.init((3,), KEY)) == {"weight"}
    np.testing.assert_array_equal(layer({"weight": DENSE["weight"]}, np.array([[1.0, 1.0, 1.0]])), [[9.0, 12.0]])


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.bool_])
def test_dense_takes_whole_numbers_for_the_numbers_that_they_are(dtype):
    found = nn.Dense(2)(DENSE, np.array([[1, 1, 1], [1, 0, 0]], dtype))
    np.testing.assert_array_equal(found, [[9.5, 11.5], [1.5, 1.5]])


def test_embedding_looks_rows_up():
    table = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    found = nn.Embedding(3, 2)({"table": table}, np.array([2, 0, 2]))
    np.testing.assert_array_equal(found, [[5.0, 6.0], [1.0, 2.0], [5.0, 6.0]])


@pytest.mark.parametrize("index", [-1, 3])
def test_embedding_refuses_a_category_that_it_has_no_row_for(index):
    with pytest.raises(bp.BackpassError, match="table of 3 rows"):
        nn.Embedding(3, 2)({"table": np.zeros((3, 2))}, np.array([0, index]))


def test_one_hot_is_1_at_the_place_of_the_category_and_0_for_one_outside():
    found = nn.OneHot(3)({}, np.array([0, 2, 3, -1]))
    np.testing.assert_array_equal(found, [[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]])


def test_residual_is_the_input_plus_what_the_layers_make_of_it():
    network = nn.Residual(block=nn.Dense(2, bias=False))
    parameters = {"block": {"weight": np.array([[0.0, 1.0], [2.0, 0.0]])}}
    np.testing.assert_array_equal(network(parameters, np.array([[1.0, 10.0]])), [[21.0, 11.0]])


def test_residual_refuses_layers_that_change_the_shape():
    with pytest.raises(bp.BackpassError, match=r"rows of shape \[3\] of rows of shape \[4\]"):
        nn.Residual(nn.Dense(3)).init((4,), KEY)


def test_concatenate_joins_in_the_order_of_its_layers():
    network = nn.Concatenate(b=nn.Identity(), a=nn.Identity())
    found = network({}, {"a": np.array([[1.0, 2.0]]), "b": np.array([[3.0]]), "unused": np.array([[9.0]])})
    np.testing.assert_array_equal(found, [[3.0, 1.0, 2.0]])


def test_concatenate_names_the_input_that_is_not_there():
    with pytest.raises(bp.BackpassError, match='input called "b", found a'):
        nn.Concatenate(a=nn.Identity(), b=nn.Identity()).init({"a": (2,)}, KEY)


def test_a_function_becomes_a_layer_with_the_parameters_that_it_starts_from():
    layer = nn.Function(lambda p, x: bp.ops.exp(x) * p["scale"], {"scale": np.array([2.0, 3.0])})
    np.testing.assert_array_equal(layer(layer.init((2,), KEY), np.zeros((1, 2))), [[2.0, 3.0]])


@pytest.mark.parametrize("name", ["self", "layers", "key", "x y", "a.b", "prediction", "", "日本"])
def test_a_layer_may_have_any_name(name):
    network = nn.Concatenate(**{name: nn.Identity()})
    assert list(network.layers) == [name]
    assert network == nn.build(nn.describe(network))


def test_two_layers_of_one_name_are_refused():
    with pytest.raises(bp.BackpassError, match='two layers are called "dense_1"'):
        nn.Sequential(nn.Dense(2), dense_1=nn.Dense(3))


@pytest.mark.parametrize("wrong", [nn.ReLU, "relu", None, 3])
def test_what_is_no_layer_is_refused(wrong):
    with pytest.raises(bp.BackpassError, match="is not a layer"):
        nn.Sequential(nn.Dense(2), wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Dense(0),
        lambda: nn.Dense(-1),
        lambda: nn.Dense(2.5),
        lambda: nn.Dense("two"),
        lambda: nn.Dense(True),
        lambda: nn.Dense(2, bias="yes"),
        lambda: nn.Embedding(0, 2),
        lambda: nn.Embedding(2, None),
        lambda: nn.OneHot(0),
        lambda: nn.OneHot(3, "int99"),
        lambda: nn.Input(-1),
        lambda: nn.Input(2.0),
        lambda: nn.Dropout(1.0),
        lambda: nn.Dropout(-0.1),
        lambda: nn.Dropout(float("nan")),
        lambda: nn.Dropout("half"),
        lambda: nn.Dropout(None),
        lambda: nn.Ensemble(nn.Dense(1), 0),
        lambda: nn.Ensemble(nn.Dense(1), 1000),
        lambda: nn.Ensemble(nn.Dense, 2),
        lambda: nn.Ensemble(nn.Ensemble(nn.Dense(1), 2), 2),
        lambda: nn.Ensemble(nn.Dense(1), 2, nn.Ensemble(nn.Dense(1), 2)),
        lambda: nn.Sequential(nn.Ensemble(nn.Dense(1), 2)),
        lambda: nn.CrossFitted(nn.Ensemble(nn.Dense(1), 3), 4),
        lambda: nn.CrossFitted(nn.Ensemble(nn.Dense(1), 3), 1),
        lambda: nn.CrossFitted(nn.Dense(1), 2),
        lambda: nn.Ensemble(nn.CrossFitted(nn.Ensemble(nn.Dense(1), 2), 2), 2),
        lambda: nn.Blend(nn.Dense(1), 3, others=(nn.Dense(1),)),
        lambda: nn.Blend(nn.Dense(1), 2, others=(1,)),
        lambda: nn.Blend(nn.Dense(1), 2, others=(nn.Dense(1),), shares=(0.5, 0.6)),
        lambda: nn.Blend(nn.Dense(1), 2, others=(nn.Dense(1),), shares=(1.0,)),
        lambda: nn.Blend(nn.Dense(1), 2, others=(nn.Dense(1),), shares=(2.0, -1.0)),
        lambda: nn.Pieces((0,), 0),
        lambda: nn.Pieces((1, 0)),
        lambda: nn.Periodic((0,), 0),
        lambda: nn.Periodic((0,), deviation=-1.0),
        lambda: nn.Periodic((1, 0)),
        lambda: nn.Periodic((0, 0)),
        lambda: nn.Periodic((-1,)),
        lambda: nn.Periodic((0.5,)),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_in_one_line(make):
    with pytest.raises(bp.BackpassError, match="expected") as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_number_of_numpy_is_as_good_as_a_plain_one():
    layer = nn.Dense(np.int64(3))
    assert type(layer.units) is int
    assert nn.Dropout(np.float32(0.5)) == nn.Dropout(0.5)


@pytest.mark.parametrize("shape", [(3,), (2, 2), {"a": (4,)}])
def test_input_refuses_rows_of_another_shape(shape):
    with pytest.raises(bp.BackpassError, match=r"takes rows of shape \[4\], found"):
        nn.Sequential(nn.Input(4), nn.Dense(1)).init(shape, KEY)


@pytest.mark.parametrize("shape", [(), {"a": (4,)}])
def test_dense_refuses_rows_that_are_not_numbers(shape):
    with pytest.raises(bp.BackpassError, match="takes rows of numbers"):
        nn.Dense(1).init(shape, KEY)


# Ensembles


def test_an_ensemble_in_use_gives_the_mean_of_what_its_members_give():
    member, x = nn.Sequential(nn.Dense(3), nn.Tanh(), nn.Dense(2)), rows_of((4,), 5)
    ensemble = nn.Ensemble(member, 3)
    parameters = ensemble.init((4,), KEY)
    alone = [member(parameters[name], x) for name in "123"]
    assert not np.allclose(alone[0], alone[1])
    np.testing.assert_allclose(ensemble(parameters, x), np.mean(alone, axis=0), rtol=1e-12)


def test_the_members_of_an_ensemble_in_training_have_masks_of_their_own():
    outputs = nn.Ensemble(nn.Dropout(0.5), 2)({}, np.ones((50, 20)), KEY)
    assert isinstance(outputs, tuple)
    assert not np.array_equal(*outputs)


def test_each_member_of_an_ensemble_learns_as_if_it_were_alone():
    """The loss is the mean of the members' own, and so the gradient of one does not depend on the other."""
    member, x, y = nn.Dense(1), rows_of((4,), 6), np.arange(6.0)
    ensemble = nn.Ensemble(member, 2)
    parameters = ensemble.init((4,), KEY)
    loss = bp.losses.Squared()
    together = bp.grad(lambda p: loss(ensemble(p, x, KEY), y))(parameters)
    for name in "12":
        alone = bp.grad(lambda p: loss(member(p, x), y))(parameters[name])
        map_structure(lambda a, b: np.testing.assert_allclose(2 * a, b, rtol=1e-12), together[name], alone)
    alone_losses = [loss(member(parameters[name], x), y) for name in "12"]
    np.testing.assert_allclose(loss(ensemble(parameters, x, KEY), y), np.mean(alone_losses), rtol=1e-12)


def test_the_table_of_an_ensemble_shows_one_member_and_counts_all():
    network = nn.Ensemble(nn.Sequential(hidden=nn.Dense(3), output=nn.Dense(2)), 8, nn.Periodic((0,), 2))
    lines = nn.summary(network, (4,)).splitlines()
    assert [line.split() for line in lines[2:]] == [
        ["first", "Periodic", "6", "4"],
        ["each", "of", "8", "Sequential", "2", "29"],
        ["hidden", "Dense(3)", "3", "21"],
        ["output", "Dense(2)", "2", "8"],
        ["parameters", "in", "all:", "236"],
    ]


def test_a_row_that_is_held_out_from_a_member_changes_nothing_in_it():
    """Five members and two folds: the errors of each are those it has when the rows of its fold are not there."""
    member, x, y = nn.Dense(1), rows_of((4,), 9), np.arange(9.0)
    network = nn.CrossFitted(nn.Ensemble(member, 5), 2, "fold", "x")
    fold = np.array([0, 1, 1, 0, 1, 0, 0, 0, 1])
    parameters = network.init({"x": (4,), "fold": ((), "int64")}, KEY)
    loss = bp.losses.Squared()
    together = bp.grad(lambda p: loss(network(p, {"x": x, "fold": fold}, KEY), y))(parameters)
    for place in range(5):
        others, name = fold != place % 2, str(place + 1)
        alone = bp.grad(lambda p, own=others: loss(member(p, x[own]), y[own]))(parameters[name])
        share = others.sum() / (9 * 5)
        map_structure(lambda a, b, s=share: np.testing.assert_allclose(a, s * b, rtol=1e-12), together[name], alone)


def test_in_use_a_row_is_answered_by_the_members_that_did_not_learn_from_it_and_a_new_one_by_all():
    member, x = nn.Sequential(nn.Dense(3), nn.Tanh(), nn.Dense(2)), rows_of((4,), 3)
    network = nn.CrossFitted(nn.Ensemble(member, 3), 2, "fold", "x")
    parameters = network.init({"x": (4,), "fold": ((), "int64")}, KEY)
    found = network(parameters, {"x": x, "fold": np.array([0, 1, -1])})
    first, second, third = (member(parameters[name], x) for name in "123")
    np.testing.assert_allclose(found[0], (first[0] + third[0]) / 2, rtol=1e-12)
    np.testing.assert_allclose(found[1], second[1], rtol=1e-12)
    np.testing.assert_allclose(found[2], (first[2] + second[2] + third[2]) / 3, rtol=1e-12)
    np.testing.assert_allclose(found[2], network.ensemble(parameters, x)[2], rtol=1e-12)


# Waves


def test_periodic_adds_cosines_of_the_chosen_numbers_behind_the_input():
    parameters = {"frequency": np.array([[0.0, 0.5], [1.0, 2.0]]), "phase": np.array([[0.5, 0.0], [0.25, 0.0]])}
    found = nn.Periodic((0, 2), 2)(parameters, np.array([[1.0, 7.0, 0.5]]))
    # cos of half a turn, of half a turn, of three quarters of a turn, of a whole turn
    np.testing.assert_allclose(found, [[1.0, 7.0, 0.5, -1.0, -1.0, 0.0, 1.0]], atol=1e-12)


@pytest.mark.parametrize("shape", [(2,), (3, 3), {"a": (3,)}])
def test_periodic_refuses_rows_that_lack_its_numbers(shape):
    with pytest.raises(bp.BackpassError, match="cannot take rows of shape"):
        nn.Periodic((0, 2)).init(shape, KEY)


# Dropout


def dropped(rate, key=KEY, rows=200):
    return np.asarray(nn.Dropout(rate)({}, np.ones((rows, 100)), key))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_the_right_share_and_scales_the_rest(rate):
    values = dropped(rate)
    share = float((values == 0).mean())
    assert share == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / values.size))
    np.testing.assert_allclose(values[values != 0], 1 / (1 - rate), rtol=1e-12)


def test_dropout_does_nothing_in_use_or_at_a_rate_of_0():
    x = np.random.default_rng(0).normal(size=(3, 4))
    assert nn.Dropout(0.5)({}, x, None) is x
    np.testing.assert_array_equal(nn.Dropout(0.0)({}, x, KEY), x)


def test_the_mask_is_a_function_of_seed_step_and_layer():
    np.testing.assert_array_equal(dropped(0.5, Key.of(1, 7)), dropped(0.5, Key.of(1, 7)))
    for other in (Key.of(2, 7), Key.of(1, 8), Key.of(1, 7).fold("another")):
        assert not np.array_equal(dropped(0.5, Key.of(1, 7)), dropped(0.5, other))


def test_two_dropouts_of_one_network_have_different_masks():
    network = nn.Concatenate(nn.Dropout(0.5), nn.Dropout(0.5))
    values = np.asarray(network({}, np.ones((50, 20)), KEY))
    assert not np.array_equal(values[:, :20], values[:, 20:])


def test_dropout_in_use_leaves_no_trace_in_the_graph():
    traced = bp.trace(nn.Sequential(nn.Dropout(0.5)), {}, nn.specs((3,)))
    assert [node.op.name for node in traced.graph.nodes if node not in traced.graph.inputs] == []


# The printed table


def test_printing_a_network_gives_the_table_of_its_layers():
    network = nn.Sequential(
        nn.Input(4),
        nn.Concatenate(left=nn.Dense(3), right=nn.Identity()),
        nn.Residual(nn.Dense(7), nn.ReLU()),
        nn.Dropout(0.25),
        output=nn.Dense(1000),
    )
    assert str(network).splitlines() == [
        "layer          kind           output  parameters",
        "------------------------------------------------",
        "input_1        Input          4                0",
        "concatenate_1  Concatenate    7               15",
        "  left         Dense(3)       3               15",
        "  right        Identity       4                0",
        "residual_1     Residual       7               56",
        "  dense_1      Dense(7)       7               56",
        "  relu_1       ReLU           7                0",
        "dropout_1      Dropout(0.25)  7                0",
        "output         Dense(1000)    1000         8,000",
        "parameters in all: 8,071",
    ]


def test_a_network_that_has_not_met_data_says_so():
    assert str(nn.Sequential(nn.Dense(2), nn.ReLU())).splitlines() == [
        "layer    kind      output  parameters",
        "-------------------------------------",
        "dense_1  Dense(2)  ?                ?",
        "relu_1   ReLU      ?                ?",
        "parameters in all: unknown until it meets data",
    ]


def test_the_table_of_embeddings_shows_their_outputs():
    network = nn.Concatenate(numbers=nn.Identity(), colour=nn.Embedding(5, 3))
    lines = nn.summary(network, {"numbers": (2,), "colour": ((), "int64")}).splitlines()
    assert [line.split() for line in lines[2:]] == [
        ["numbers", "Identity", "2", "0"],
        ["colour", "Embedding(3)", "3", "15"],
        ["parameters", "in", "all:", "15"],
    ]


@pytest.mark.parametrize(
    ("layer", "parameters", "rows"),
    [
        (nn.Dense(3), DENSE, np.ones((1, 3))),
        (nn.Dense(2), DENSE | {"bias": np.zeros(1)}, np.ones((1, 3))),
        (nn.Dense(2), DENSE | {"bias": np.zeros((2, 2))}, np.ones((2, 3))),
        (nn.Embedding(4, 2), {"table": np.zeros((3, 2))}, np.array([0])),
        (nn.Periodic((0,), 2), {"frequency": np.zeros((1, 1)), "phase": np.zeros((1, 2))}, np.ones((1, 1))),
    ],
)
def test_parameters_of_another_shape_are_refused_and_never_stretched(layer, parameters, rows):
    with pytest.raises(bp.BackpassError, match=r"has shape \[.*\], expected \["):
        layer(parameters, rows)


# Pieces


def test_pieces_add_how_far_a_number_has_come_in_each_piece_of_its_range():
    """Of four pieces between -2.7, the quartiles of a normal distribution and 2.7."""
    found = nn.Pieces((1,), 4)({}, np.array([[9.0, 0.0], [9.0, -3.0], [9.0, 0.6744897501960817 / 2]]))
    np.testing.assert_allclose(found[:, :2], [[9.0, 0.0], [9.0, -3.0], [9.0, 0.33724488]])
    np.testing.assert_allclose(found[:, 2:], [[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0.5, 0]], atol=1e-12)


# Blends


def blend(shares=()):
    return nn.Blend(
        nn.Dense(2), 4, others=(nn.Sequential(hidden=nn.Dense(3), bent=nn.Tanh(), end=nn.Dense(2)),), shares=shares
    )


def test_each_kind_of_a_blend_has_its_share_in_the_answer():
    x, network = rows_of((4,), 5), blend((0.25, 0.75))
    parameters = network.init((4,), KEY)
    plain, bent = (
        [kind(parameters[name], x) for name in names] for kind, names in zip(network.kinds, ("12", "34"), strict=True)
    )
    wanted = 0.25 * (plain[0] + plain[1]) / 2 + 0.75 * (bent[0] + bent[1]) / 2
    np.testing.assert_allclose(network(parameters, x), wanted, rtol=1e-12)
    equal = (plain[0] + plain[1] + bent[0] + bent[1]) / 4
    np.testing.assert_allclose(blend()(parameters, x), equal, rtol=1e-12)


def test_of_a_row_that_members_left_out_each_kind_has_its_share_too():
    x, network = rows_of((4,), 2), blend((0.25, 0.75))
    parameters = network.init((4,), KEY)
    found = nn.CrossFitted(network, 2, "fold", "x")(parameters, {"x": x, "fold": np.array([0, -1])})
    first, third = (network.of(name)(parameters[name], x[:1]) for name in "13")
    np.testing.assert_allclose(found[:1], 0.25 * first + 0.75 * third, rtol=1e-12)
    np.testing.assert_allclose(found[1:], network(parameters, x[1:]), rtol=1e-12)


def test_the_table_of_a_blend_shows_one_member_of_each_kind_and_counts_all():
    lines = nn.summary(blend(), (4,)).splitlines()
    assert [line.split()[:6] for line in lines if "kind" in line][1:] == [
        ["each", "of", "2,", "kind", "1", "Dense(2)"],
        ["each", "of", "2,", "kind", "2", "Sequential"],
    ]
    assert lines[-1] == "parameters in all: 66"
