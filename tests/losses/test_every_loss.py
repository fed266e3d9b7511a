"""What must hold for every loss there is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from loss_cases import CASES, ROWS

import backpass as bp
from backpass import losses, ops
from backpass.errors import ShapeError
from backpass.forward import Spec, evaluate, trace
from backpass.graph import BATCH
from backpass.simplify import simplify

every_case = pytest.mark.parametrize("case", CASES, ids=str)
WEIGHTS = np.array([0.5, 2.0, 0.0, 1.0, 3.0, 0.25])


def _slope(loss, outputs, targets, weights=None):
    """The gradient by the outputs."""
    return bp.grad(lambda o: loss(o, targets, weights))(outputs)


def _traced(case, dtype):
    """The weighted loss as a graph with the batch as its rows, and its arguments."""
    arguments = case.outputs.astype(dtype), case.targets, WEIGHTS.astype(dtype)
    specs = [Spec((BATCH, *x.shape[1:]), x.dtype) for x in arguments]
    return trace(lambda o, t, w: [case.loss(o, t, w), case.loss(o, t), case.loss.rows(o, t)], *specs), arguments


def test_every_loss_of_the_catalogue_is_among_the_cases():
    """No loss escapes the tests of this file."""
    assert {type(case.loss) for case in CASES} == set(losses.LOSSES.values())


@every_case
def test_a_row_has_one_loss(case):
    """`rows` gives one number for each row, of the type of the outputs."""
    rows = case.loss.rows(case.outputs, case.targets)
    assert rows.shape == (ROWS,)
    assert rows.dtype == np.float64


@every_case
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_values_and_gradients_are_those_of_torch(case, weights, torch):
    """Value and gradient agree with PyTorch in float64 to 1e-9."""
    outputs = torch.tensor(case.outputs, requires_grad=True)
    rows = case.torch(torch.nn.functional, outputs, torch.tensor(case.targets))
    w = torch.ones(ROWS, dtype=torch.float64) if weights is None else torch.tensor(weights)
    expected = (rows * w).sum() / w.sum()
    expected.backward()
    np.testing.assert_allclose(case.loss(case.outputs, case.targets, weights), expected.item(), rtol=0, atol=1e-9)
    slope = _slope(case.loss, case.outputs, case.targets, weights)
    np.testing.assert_allclose(slope, outputs.grad.numpy(), rtol=0, atol=1e-9)


@every_case
def test_gradients_agree_with_differences(case):
    """The gradient by outputs, by real targets and by weights is the one that central differences measure."""
    report = bp.check_gradients(case.loss, case.outputs, case.targets, WEIGHTS)
    assert report, f"\n{report}"
    assert report.kinks == 0


@every_case
def test_the_gradient_of_the_gradient_agrees_with_differences(case):
    """Losses can be differentiated twice."""
    direction = np.random.default_rng(0).normal(size=case.outputs.shape)

    def along(outputs, weights):
        return ops.sum(bp.grad(lambda o: case.loss(o, case.targets, weights))(outputs) * direction)

    report = bp.check_gradients(along, case.outputs, WEIGHTS)
    assert report, f"\n{report}"


@every_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_traced_loss_is_the_eager_one_bit_for_bit(case, dtype):
    """A graph whose rows are known only when it runs, simplified or not, gives the bits of NumPy at once."""
    traced, arguments = _traced(case, dtype)
    outputs, targets, weights = arguments
    eager = [case.loss(outputs, targets, weights), case.loss(outputs, targets), case.loss.rows(outputs, targets)]
    for found in (evaluate(traced, *arguments), bp.Program(simplify(traced.graph))(*arguments)):
        for ours, theirs in zip(found, eager, strict=True):
            assert ours.dtype == theirs.dtype == dtype
            assert ours.tobytes() == theirs.tobytes()


@every_case
def test_float32_stays_float32(case):
    """Neither targets nor weights in float64, nor options, widen the outputs: loss, gradient and predictions."""
    outputs, targets = case.outputs.astype(np.float32), np.asarray(case.targets)
    assert case.loss(outputs, targets, WEIGHTS).dtype == np.float32
    assert case.loss(outputs, targets).dtype == np.float32
    assert _slope(case.loss, outputs, targets, WEIGHTS).dtype == np.float32
    assert case.loss.predictions(outputs).dtype == np.float32


@every_case
@pytest.mark.parametrize("size", [1e4, -1e4, 100.0, 0.0])
def test_extreme_outputs_give_finite_losses_and_gradients(case, size):
    """Outputs of 1e4 of either sign, in float32, give neither an infinite number nor a NaN."""
    for signs in (1.0, -1.0, np.where(np.arange(case.outputs.size) % 2, 1.0, -1.0).reshape(case.outputs.shape)):
        outputs = np.broadcast_to(np.float32(size) * signs, case.outputs.shape).astype(np.float32)
        value, slope = bp.value_and_grad(lambda o: case.loss(o, case.targets, WEIGHTS))(outputs)
        assert np.isfinite(value)
        assert np.isfinite(slope).all()


@every_case
def test_weight_2_is_the_row_twice_and_weight_0_the_row_absent(case):
    """Whole weights count rows: value and gradient are those of the table with the rows repeated."""
    times = np.array([2, 1, 0, 1, 0, 3])
    rows = np.repeat(np.arange(ROWS), times)
    repeated = case.outputs[rows], case.targets[rows]
    np.testing.assert_allclose(case.loss(case.outputs, case.targets, times), case.loss(*repeated), rtol=1e-12)
    summed = np.zeros_like(case.outputs)
    np.add.at(summed, rows, _slope(case.loss, *repeated))
    np.testing.assert_allclose(_slope(case.loss, case.outputs, case.targets, times), summed, rtol=1e-12, atol=1e-15)


@every_case
def test_no_weight_at_all_gives_0_and_no_gradient(case):
    """Where all weights are 0 the loss is 0, not NaN, and nothing is learned."""
    value, slope = bp.value_and_grad(lambda o: case.loss(o, case.targets, np.zeros(ROWS)))(case.outputs)
    assert value == 0
    assert not slope.any()


@every_case
def test_the_checked_targets_of_every_case_pass(case):
    """`check_targets` lets through what the loss can learn."""
    outputs = 1 if case.outputs.ndim == 1 else case.outputs.shape[1]
    case.loss.check_targets(case.targets, outputs)


@every_case
def test_a_row_too_few_is_an_error_that_names_both_shapes(case):
    """Outputs and targets of different numbers of rows never meet."""
    shown = str(list(case.outputs.shape)).replace("[", r"\["), str(list(case.targets[1:].shape)).replace("[", r"\[")
    with pytest.raises(ShapeError, match=f"{shown[0]}.*{shown[1]}"):
        case.loss(case.outputs, case.targets[1:])


@every_case
def test_weights_of_another_shape_are_an_error(case):
    """One weight for each row: a column of weights or a row too few is refused."""
    for weights in (WEIGHTS[:, None], WEIGHTS[1:], np.float64(1.0)):
        with pytest.raises(ShapeError, match="one weight for each row"):
            case.loss(case.outputs, case.targets, weights)


@every_case
def test_no_rows_have_no_mean(case):
    """An empty batch is an error, not a NaN."""
    with pytest.raises(ShapeError, match="no rows"):
        case.loss(case.outputs[:0], case.targets[:0])


@every_case
def test_outputs_are_real_numbers(case):
    """Whole numbers as outputs are refused: they have no gradient."""
    with pytest.raises(ShapeError, match="outputs are int64"):
        case.loss(case.outputs.astype(int), case.targets)


@every_case
def test_targets_are_numbers(case):
    """Text as targets is refused, at once and in the check before training."""
    text = np.full(case.targets.shape, "yes")
    with pytest.raises(ShapeError, match="targets are <U3"):
        case.loss(case.outputs, text)
    with pytest.raises(ShapeError, match="targets are <U3"):
        case.loss.check_targets(text, case.outputs[0].size)


def test_rows_of_another_shape_are_an_error():
    """A loss of one's own that gives a column instead of one number a row is refused, not stretched."""

    class Column(losses.Loss):
        def rows(self, outputs, targets):
            return outputs - targets

    with pytest.raises(ShapeError, match="one number for each row"):
        Column()(np.ones((3, 1)), np.ones((3, 1)), np.ones(3))


def test_a_loss_without_rows_says_so():
    """The base class itself is no loss."""
    with pytest.raises(NotImplementedError):
        losses.Loss()(np.ones(1), np.ones(1))


_finite = st.floats(-100, 100, width=32)
_counted = st.integers(0, 5)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 12))
def test_any_whole_weights_count_rows(data, rows):
    """For any outputs, targets and whole weights: the weighted loss is the plain loss of the rows so often."""
    outputs, targets = (data.draw(arrays(np.float64, rows, elements=_finite)) for _ in range(2))
    times = data.draw(arrays(np.int64, rows, elements=_counted))
    chosen = np.repeat(np.arange(rows), times)
    found = losses.Huber()(outputs, targets, times)
    expected = losses.Huber()(outputs[chosen], targets[chosen]) if len(chosen) else 0.0
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 12), st.floats(0.01, 100))
def test_only_the_ratio_of_weights_counts(data, rows, factor):
    """Weights times any number give the same loss, which lies between the smallest and the largest of the rows."""
    outputs = data.draw(arrays(np.float64, rows, elements=_finite))
    weights = data.draw(arrays(np.float64, rows, elements=st.floats(0.01, 10)))
    loss = losses.BinaryCrossEntropy()
    targets = np.arange(rows) % 2
    found = loss(outputs, targets, weights)
    np.testing.assert_allclose(loss(outputs, targets, weights * factor), found, rtol=1e-12)
    each = loss.rows(outputs, targets)
    assert each.min() - 1e-12 <= found <= each.max() * (1 + 1e-12)
