"""einsum and matmul against NumPy's; indexing against NumPy's."""

import numpy as np
import pytest
from engine_cases import value_of
from hypothesis import given
from hypothesis import strategies as st

import backpass as bp
from backpass import ops
from backpass.errors import ShapeError
from backpass.forward import Program, Spec, trace
from backpass.graph import BATCH
from backpass.ops.reduction import SUM

RNG = np.random.default_rng(11)


@pytest.mark.parametrize(
    ("spec", "a", "b"),
    [
        ("ij,jk->ik", (2, 3), (3, 4)),
        ("ij,jk->ki", (2, 3), (3, 4)),
        ("ji,kj->ik", (3, 2), (4, 3)),
        ("bij,bjk->bik", (5, 2, 3), (5, 3, 4)),
        ("bij,bjk->kbi", (5, 2, 3), (5, 3, 4)),
        ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
        ("qhd,khd->hqk", (4, 2, 3), (5, 2, 3)),
        ("ijk,jkl->il", (2, 3, 4), (3, 4, 5)),
        ("ijk,kjl->il", (2, 3, 4), (4, 3, 5)),
        ("i,j->ij", (3,), (4,)),
        ("i,i->i", (3,), (3,)),
        ("ij,ij->ij", (2, 3), (2, 3)),
        ("ij,ji->", (2, 3), (3, 2)),
        (",i->i", (), (3,)),
        (",->", (), ()),
        ("ij,j->i", (2, 0), (0,)),
        ("ij,jk->ik", (0, 3), (3, 2)),
        ("i j , j k -> i k", (2, 3), (3, 4)),
    ],
)
def test_einsum(spec, a, b):
    """einsum gives NumPy's result, at once and traced, and its gradient is right for both operands."""
    x, y = RNG.normal(size=a), RNG.normal(size=b)
    expected = np.einsum(spec, x, y)
    np.testing.assert_allclose(ops.einsum(spec, x, y), expected, rtol=1e-12)
    np.testing.assert_allclose(value_of(lambda x, y: ops.einsum(spec, x, y), x, y), expected, rtol=1e-12)
    weights = RNG.normal(size=expected.shape)
    assert bp.check_gradients(lambda x, y: ops.sum(ops.einsum(spec, x, y) * weights), x, y)


@pytest.mark.parametrize(
    "spec", ["ij,jk", "ij->j", "ij,jk,kl->il", "ii,ij->j", "ij,jk->iik", "ij,k->ik", "ij,jk->ikl", "i1,1j->ij", ""]
)
def test_what_is_no_contraction_is_refused(spec):
    """Specs with one operand or three, a letter twice in a part or in one part alone are refused."""
    with pytest.raises(ShapeError, match=r"no contraction|one part only"):
        trace(lambda x: ops.einsum(spec, x, x), np.ones((2, 2)))


def test_lengths_that_differ_are_named():
    """Operands whose shared axis differs, or with too few axes, are refused with their shapes."""
    with pytest.raises(ShapeError, match=r"\[2, 3\] and \[2, 3\] do not multiply: 3 against 2"):
        trace(lambda x: x @ x, np.ones((2, 3)))
    with pytest.raises(ShapeError, match="does not fit shapes"):
        trace(lambda x: ops.einsum("i,ij->j", x, x), np.ones((2, 3)))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3), (3, 4)),
        ((3,), (3,)),
        ((3,), (3, 4)),
        ((2, 3), (3,)),
        ((5, 2, 3), (3, 4)),
        ((2, 3), (5, 3, 4)),
        ((5, 2, 3), (5, 3, 4)),
        ((1, 2, 3), (5, 3, 4)),
        ((5, 2, 3), (1, 3, 4)),
        ((1, 2, 3), (1, 3, 4)),
        ((6, 1, 2, 3), (5, 3, 4)),
        ((6, 1, 2, 3), (1, 5, 3, 4)),
        ((6, 5, 2, 3), (3, 4)),
        ((2, 3), (6, 5, 3, 4)),
        ((6, 5, 2, 3), (5, 3, 4)),
        ((6, 5, 2, 3), (6, 5, 3, 4)),
        ((5, 2, 3), (3,)),
        ((3,), (5, 3, 4)),
        ((1, 2, 3), (3,)),
        ((0, 2, 3), (3, 4)),
        ((2, 0), (0, 4)),
        ((1, 1), (1, 1)),
    ],
)
def test_matmul(a, b):
    """matmul gives np.matmul's result for all ranks and stretched outer axes, and its gradient is right."""
    x, y = RNG.normal(size=a), RNG.normal(size=b)
    expected = np.matmul(x, y)
    for found in (
        ops.matmul(x, y),
        value_of(ops.matmul, x, y),
        value_of(lambda y: x @ y, y),
        value_of(lambda x: x @ y, x),
    ):
        assert np.shape(found) == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    weights = RNG.normal(size=expected.shape)
    assert bp.check_gradients(lambda x, y: ops.sum(ops.matmul(x, y) * weights), x, y)


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_matmul_of_a_batch(rows):
    """A batch times a matrix, and the matrix's derivative that sums over the batch, hold at any number of rows."""
    graph = trace(
        lambda x, w: bp.value_and_grad(lambda w: ops.sum((x @ w) ** 2))(w), Spec((BATCH, 3), float), Spec((3, 2), float)
    ).graph
    x, w = RNG.normal(size=(rows, 3)), RNG.normal(size=(3, 2))
    value, gradient = Program(graph)(x, w)
    np.testing.assert_allclose(value, ((x @ w) ** 2).sum())
    np.testing.assert_allclose(gradient, 2 * x.T @ (x @ w), atol=1e-14)


def test_a_single_number_is_no_matrix():
    """matmul with a single number is refused and * is named."""
    with pytest.raises(ShapeError, match=r"multiply with \*"):
        ops.matmul(2.0, np.ones(3))


SHAPE = (4, 1, 5)
BOUND = st.one_of(st.none(), st.integers(-7, 7))
PART = st.one_of(
    st.integers(-1, 0),
    st.builds(slice, BOUND, BOUND, st.one_of(st.none(), st.integers(-3, 3).filter(bool))),
    st.none(),
    st.just(Ellipsis),
)
INDEX = st.lists(PART, max_size=5).filter(
    lambda parts: parts.count(Ellipsis) <= 1 and sum(p is not None and p is not Ellipsis for p in parts) <= len(SHAPE)
)


@given(INDEX)
def test_indexing_is_that_of_numpy(parts):
    """Whole numbers, slices with any steps, `...` and None take what NumPy takes, and errors return to their places."""
    x = np.arange(20.0).reshape(SHAPE)
    index = tuple(parts)
    expected = x[index]
    graph = trace(lambda x: x[index], x).graph
    assert graph.outputs[0].shape == expected.shape
    np.testing.assert_array_equal(Program(graph)(x)[0], expected)
    weights = np.arange(1.0, expected.size + 1).reshape(expected.shape)
    places = np.zeros(SHAPE)
    places[index] += weights
    np.testing.assert_array_equal(bp.grad(lambda x: ops.sum(x[index] * weights))(x), places)


@given(st.lists(st.integers(0, 3), max_size=6), st.booleans())
def test_rows_by_number(numbers, as_tensor):
    """Rows taken by an array, list or Tensor of numbers are NumPy's; the error of a row taken twice is summed."""
    x = np.arange(20.0).reshape(4, 5)
    indices = np.array(numbers, np.int64)
    found = value_of(lambda x, i: x[i if as_tensor else indices], x, indices)
    np.testing.assert_array_equal(found, x[indices])
    gradient = bp.grad(lambda x: ops.sum(x[indices]))(x)
    np.testing.assert_array_equal(gradient, np.bincount(indices, minlength=4)[:, None] * np.ones(5))


@pytest.mark.parametrize(
    "index",
    [
        4,
        -5,
        1.0,
        "a",
        True,
        np.True_,
        (0, 0, 0),
        (..., ...),
        slice(None, None, 0),
        slice(0.5, None),
        (0, [1]),
        np.zeros(4, bool),
    ],
)
def test_what_is_no_index_is_refused(index):
    """Indices outside an axis, of another type, too many of them, masks and steps of 0 are refused in one line."""
    with pytest.raises(ShapeError) as caught:
        trace(lambda x: x[index], np.ones((4, 5)))
    assert "\n" not in str(caught.value)


def test_a_tensor_bounds_no_slice():
    """A slice up to a Tensor is refused: shapes are known when a function is traced."""
    with pytest.raises(ShapeError):
        trace(lambda x, i: x[:i], np.ones(3), np.array(1))


@pytest.mark.parametrize("indices", [[3], [-1], [0, 3]])
def test_rows_that_are_not_there(indices):
    """gather and scatter_add refuse row numbers outside the table, and name the bounds."""
    with pytest.raises(ShapeError, match="in a table of 3 rows"):
        ops.gather(np.ones((3, 2)), indices)
    with pytest.raises(ShapeError, match="in a table of 3 rows"):
        ops.scatter_add(np.ones(len(indices)), indices, 3)
    with pytest.raises(ShapeError, match="in a table of 3 rows"):
        value_of(lambda i: ops.gather(np.ones((3, 2)), i), np.array(indices))


def test_a_single_number_is_no_table():
    """While a function is traced, gather from a single number is refused."""
    with pytest.raises(ShapeError, match=r"gather: a table .* found a single number"):
        trace(lambda table: ops.gather(table, np.array([0])), 5.0)


def test_scatter_add_needs_a_value_for_each_index():
    """Values whose first axes are not those of the indices are refused."""
    with pytest.raises(ShapeError, match="scatter_add"):
        trace(lambda v: ops.scatter_add(v, np.array([0, 1]), 3), np.ones((3, 2)))


@pytest.mark.parametrize(
    "refused",
    [
        lambda x: ops.transpose(x, (0, 2)),
        lambda x: ops.transpose(x, (0, 0)),
        lambda x: ops.transpose(x, (0,)),
        lambda x: ops.flip(x, 2),
        lambda x: ops.sum(x, 2),
        lambda x: ops.sum(x, (0, 0)),
        lambda x: ops.sum(x, (0, -2)),
        lambda x: ops.argmax(x, None),
        lambda x: ops.concatenate([]),
        lambda x: ops.concatenate([x, x[0]]),
        lambda x: ops.concatenate([x, x], 2),
        lambda x: ops.stack([x, x[:1]]),
        lambda x: ops.stack([x, x], 5),
        lambda x: ops.reshape(x, (-1, 4)),
        lambda x: ops.reshape(x, (-1, -1)),
        lambda x: ops.broadcast_to(x, (3,)),
        lambda x: ops.broadcast_to(x, (4, 2)),
        lambda x: ops.max(x[:0]),
        lambda x: ops.argmax(x[:0], 0),
        lambda x: ops.apply(SUM, x, axes=(2,), keepdims=False),
        lambda x: ops.apply(SUM, x, axes=(-1,), keepdims=True),
    ],
)
def test_movements_and_reductions_that_do_not_fit(refused):
    """Axes and shapes that do not fit are refused with one clear line, when traced or at the latest when run."""
    with pytest.raises(ShapeError):
        value_of(refused, np.ones((2, 3)))


@pytest.mark.parametrize("axis", [0, -1, (0, 1), [1], np.int64(1), None, ()])
def test_axes_of_every_form(axis):
    """An axis may be a number of any integer type, several, none or all."""
    x = RNG.normal(size=(2, 3))
    expected = x.sum(tuple(axis) if isinstance(axis, list) else axis)
    np.testing.assert_allclose(ops.sum(x, axis), expected)
    np.testing.assert_allclose(value_of(lambda x: ops.sum(x, axis), x), expected)
