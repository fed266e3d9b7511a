"""Every loss at the extremes of outputs, targets, weights and options, in both executors, against exact arithmetic.

The references below are the losses' formulas in decimal arithmetic of 40 digits, whose exponents have no bound that
matters. A loss that joins the catalogue needs one: until then a test of this file fails and names it.
"""

from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from functools import cache
from typing import Any

import numpy as np
import pytest

import backpass as bp
from backpass import losses
from backpass.forward import Program, Spec, trace
from backpass.graph import BATCH
from backpass.native import NativeProgram
from backpass.simplify import simplify

ROWS, CLASSES = 6, 3
EXACT = Context(prec=40, Emin=-(10**9), Emax=10**9)
UNITS = 64  # of rounding that a value or slope may be off, in units of the last place of its largest term


# The formulas. Each takes the outputs of a row and its targets, exact numbers both, and the loss for its options; it
# gives the loss, its slope by each output, and the sizes of the largest terms in them, of which rounding is a part.


def _over_outputs(rows):
    """The mean over outputs, from (value, slope, size of the value's terms, size of the slope's) of each."""
    values, slopes, sizes, steepness = zip(*rows, strict=True)
    n = len(rows)
    return sum(values) / n, [s / n for s in slopes], sum(sizes) / n, max(steepness) / n


def _sign(x):
    return Decimal(int(x > 0) - int(x < 0))


def _plain(value, slope):
    return value, slope, abs(value), abs(slope)


def squared(o, t, _):
    return _over_outputs([_plain((a - b) ** 2, 2 * (a - b)) for a, b in zip(o, t, strict=True)])


def half_sum_of_squares(o, t, loss):
    value, slopes, size, steepness = squared(o, t, loss)
    n = len(o)
    return value * n / 2, [s * n / 2 for s in slopes], size * n / 2, steepness * n / 2


def absolute(o, t, _):
    return _over_outputs([_plain(abs(a - b), _sign(a - b)) for a, b in zip(o, t, strict=True)])


def huber(o, t, loss):
    delta = Decimal(loss.delta)

    def one(d):
        inside = abs(d) <= delta
        return _plain(d * d / 2 if inside else delta * (abs(d) - delta / 2), d if inside else delta * _sign(d))

    return _over_outputs([one(a - b) for a, b in zip(o, t, strict=True)])


def quantile(o, t, loss):
    t = t * len(o) if len(t) == 1 else t
    quantiles = loss.quantiles * len(o) if len(loss.quantiles) == 1 else loss.quantiles

    def one(q, d):
        return _plain(q * d if d > 0 else (q - 1) * d, -q if d > 0 else 1 - q if d < 0 else Decimal(0))

    return _over_outputs([one(Decimal(q), b - a) for q, a, b in zip(quantiles, o, t, strict=True)])


def poisson(o, t, _):
    def one(a, b):
        bend = Decimal(30)
        rate = min(a, bend).exp() * (1 + max(a - bend, 0))
        slope = min(a, bend).exp()
        # An exponential is as exact as its argument is: rounded to 1/2 unit, it is off by |a| of them.
        return rate - b * a, slope - b, rate * (1 + min(abs(a), bend)) + abs(b * a), slope * 32 + b

    return _over_outputs([one(a, b) for a, b in zip(o, t, strict=True)])


def cross_entropy(o, t, loss):
    if len(t) == 1:
        t = [Decimal(int(k == t[0])) for k in range(len(o))]
    s = Decimal(loss.label_smoothing)
    t = [each * (1 - s) + s / len(o) for each in t]
    top = max(o)
    total = sum((a - top).exp() for a in o)
    below = [a - top - total.ln() for a in o]
    value = -sum(a * b for a, b in zip(t, below, strict=True))
    slopes = [sum(t) * (a - top).exp() / total - b for a, b in zip(o, t, strict=True)]
    return value, slopes, sum(t) + abs(value), sum(t)


def binary_cross_entropy(o, t, loss):
    s = Decimal(loss.label_smoothing)

    def softplus(x):
        y = (-abs(x)).exp()
        return max(x, 0) + ((1 + y).ln() if y > Decimal("1e-14") else y * (1 - y / 2))  # 1 + y would lose most of y

    def sigmoid(x):
        return 1 / (1 + (-x).exp())

    def one(a, b):
        b = b * (1 - s) + s / 2
        value = b * softplus(-a) + (1 - b) * softplus(a)
        slope = (1 - b) * sigmoid(a) - b * sigmoid(-a)
        return value, slope, value, (1 - b) * sigmoid(a) + b * sigmoid(-a)

    return _over_outputs([one(a, b) for a, b in zip(o, t, strict=True)])


def brier(o, t, _):
    """Its roundings are those of probabilities, which are not smaller where the loss is."""
    if len(o) == 1:
        p = [1 / (1 + (-o[0]).exp())]
        missed = [p[0] - t[0]]
        slopes = [2 * missed[0] * p[0] * (1 - p[0])]
    else:
        top = max(o)
        total = sum((a - top).exp() for a in o)
        p = [(a - top).exp() / total for a in o]
        missed = [a - (k == int(t[0])) for k, a in enumerate(p)]
        rest = sum(a * b for a, b in zip(p, missed, strict=True))
        slopes = [2 * a * (b - rest) for a, b in zip(p, missed, strict=True)]
    return sum(a * a for a in missed), slopes, Decimal(1), Decimal(1)


def hinge(o, t, _):
    if len(o) == 1:
        side = 1 if t[0] > 0 else -1
        missed = 1 - side * o[0]
        return max(missed, Decimal(0)), [Decimal(-side if missed > 0 else 0)], abs(missed) + 1, Decimal(1)
    label = int(t[0])
    missed = [1 + a - o[label] for a in o]
    others = [k for k in range(len(o)) if k != label and missed[k] > 0]
    slopes = [Decimal(int(k in others)) for k in range(len(o))]
    slopes[label] = Decimal(-len(others))
    return sum((missed[k] for k in others), Decimal(0)), slopes, 1 + sum(map(abs, missed)), Decimal(len(o))


EXACTLY = {
    each.__name__: each
    for each in (
        *(squared, half_sum_of_squares, absolute, huber, quantile, poisson),
        *(cross_entropy, binary_cross_entropy, brier, hinge),
    )
}

# Options of each loss beside its defaults, at their limits.
_ALMOST = float(np.nextafter(1.0, 0.0))
LIMITS: dict[str, list[dict[str, Any]]] = {
    "huber": [{"delta": 1e-20}, {"delta": 1e20}],
    "quantile": [{"quantiles": 1e-9}, {"quantiles": 1 - 1e-9}, {"quantiles": (1e-9, 0.5, 1 - 1e-9)}],
    "cross_entropy": [{"label_smoothing": 1e-12}, {"label_smoothing": _ALMOST}],
    "binary_cross_entropy": [{"label_smoothing": 1e-12}, {"label_smoothing": _ALMOST}],
}

# Targets of ROWS rows, as many as any loss takes: `check_targets` of each loss says which of them it learns from.
_labels = np.array([0, 2, 1, 0, 2, 1])
TARGETS: dict[str, Any] = {
    "labels": _labels,
    "one class": np.full(ROWS, 2),
    "yes and no": np.array([1, 0, 1, 1, 0, 0]),
    "all no": np.zeros(ROWS, int),
    "all yes": np.ones(ROWS, int),
    "sides": np.array([-1, 1, 1, -1, 1, -1]),
    "certain": np.eye(CLASSES)[_labels],
    "probabilities": np.array([[1.0, 0.0, 0.0], [1e-30, 1.0, 0.0], [0.5, 0.5, 0.0]] * 2),
    "probability": np.array([0.0, 1.0, 1e-30, 0.5, 1e-7, 1 - 1e-7]),
    "counts": np.array([0, 1_000_000, 0, 1, 999_999, 3]),
    "huge": np.array([1e18, -1e18, 1e18, 1e4, -1e4, 0.0]),
    "tiny": np.array([1e-30, -1e-30, 0.0, 1e-15, -1e-15, 1e-37]),
    "huge, of three outputs": np.array([[1e18, -1e18, 0.0], [0.0, 1e-30, 1e4]] * 3),
}
OUTPUTS = {
    "far, all up": np.full((ROWS, CLASSES), 1e4),
    "far, all down": np.full((ROWS, CLASSES), -1e4),
    "far apart": np.array([[1e4, -1e4, 1e4], [-1e4, 1e4, -1e4], [1e4, 1e4, -1e4]] * 2),
    "far and near": np.array([[1e4, 9999.0, 0.0], [-1e4, -9999.5, -9998.0], [0.0, 1e-30, -1e-30]] * 2),
    "between": np.array([[80.0, -80.0, 12.5], [-110.0, 110.0, 0.0], [30.5, -750.0, 750.0]] * 2),
    "zero": np.zeros((ROWS, CLASSES)),
}
WEIGHTS = {
    "alike": np.ones(ROWS),
    "one row alone": np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
    "one row alone, faint": np.array([0.0, 1e-30, 0.0, 0.0, 0.0, 0.0]),
    "a million": np.full(ROWS, 1e6),
    "a million to one": np.array([1e6, 1.0, 1e-6, 0.0, 1e6, 1.0]),
    "none": np.zeros(ROWS),
}


@dataclass(frozen=True, eq=False)
class Case:
    """A loss with targets that it takes, for a network of so many outputs."""

    name: str
    loss: losses.Loss
    outputs: int
    targets: str
    dtype: str

    def __str__(self):
        return f"{self.loss}, {self.outputs} outputs, {self.targets}, {self.dtype}"

    @property
    def given(self):
        """The targets, real ones rounded to the dtype, as training rounds them."""
        targets = TARGETS[self.targets]
        return targets.astype(self.dtype) if targets.dtype.kind == "f" else targets


def _takes(loss, targets, outputs):
    try:
        loss.check_targets(targets, outputs)
        loss.rows(np.zeros((ROWS, outputs)), targets)
    except bp.BackpassError:
        return False
    return True


CASES = [
    Case(name, losses.by_name(name, **options), outputs, targets, dtype)
    for name in losses.LOSSES
    for options in [{}, *LIMITS.get(name, [])]
    for outputs in (1, CLASSES)
    for targets in TARGETS
    for dtype in ("float32", "float64")
    if _takes(losses.by_name(name, **options), TARGETS[targets], outputs)
]


def _value_and_slope(loss, o, t, w):
    return [*bp.value_and_grad(lambda o: loss(o, t, w))(o), *bp.value_and_grad(lambda o: loss(o, t))(o)]


@cache
def _programs(loss, outputs, kind, dtype):
    """Both executors of the loss with weights and its slope, and of both without weights."""
    specs = [
        Spec((BATCH, outputs), np.dtype(dtype)),
        Spec((BATCH, *kind[1]), np.dtype(kind[0])),
        Spec((BATCH,), np.dtype(dtype)),
    ]
    graph = simplify(trace(lambda o, t, w: _value_and_slope(loss, o, t, w), *specs).graph)
    return {"reference": Program(graph), "native": NativeProgram(graph, rows=ROWS, threads=1)}


@cache
def _exact_rows(name, loss, outputs, targets):
    """Of each row its loss, slopes and sizes, exact but for one rounding to float64."""
    with localcontext(EXACT):
        exact = [[list(map(Decimal, row)) for row in each] for each in (outputs, targets)]
        rows = [EXACTLY[name](o, t, loss) for o, t in zip(*exact, strict=True)]
    return [np.array(column, np.float64) for column in zip(*rows, strict=True)]


def _expected(case, far, heavy):
    """Value, how far off it may be, slopes, and how far off these may be, for the outputs and weights so named."""
    values, slopes, sizes, steepness = _exact_rows(
        case.name, case.loss, _tuples(_outputs(case, far)), _tuples(case.given.reshape(ROWS, -1))
    )
    weights = WEIGHTS[heavy].astype(case.dtype).astype(np.float64)
    shares = weights / (weights.sum() or 1.0)
    unit = UNITS * np.finfo(case.dtype).eps
    least = 8 * np.finfo(case.dtype).tiny  # below the smallest normal number native code has 0, also in a share
    value, slack = (shares * values).sum(), unit * (shares * sizes).sum() + least
    return value, slack, shares[:, None] * slopes, (unit * shares * steepness + least)[:, None]


def _outputs(case, far):
    return np.ascontiguousarray(OUTPUTS[far][:, : case.outputs].astype(case.dtype))


def _tuples(array):
    return tuple(tuple(row) for row in array.tolist())


def _assert_is(found, expected, what):
    loss, slopes = (np.asarray(each, np.float64) for each in found)
    value, slack, right, allowed = expected
    assert np.isfinite(loss), f"{what}: the loss is {loss}"
    assert abs(loss - value) <= slack, f"{what}: the loss is {loss}, not {value}"
    wrong = ~(np.abs(slopes - right) <= allowed)
    assert not wrong.any(), f"{what}: the slopes are\n{slopes}, not\n{right}"


def test_every_loss_of_the_catalogue_has_an_exact_formula_here():
    """No loss escapes this file, and every one of them is tried with some targets in both precisions."""
    assert set(EXACTLY) == set(losses.LOSSES)
    assert {(case.name, case.dtype) for case in CASES} == {
        (n, d) for n in losses.LOSSES for d in ("float32", "float64")
    }


def test_every_option_of_every_loss_is_tried_at_its_limits():
    """An option that is added to a loss comes into this file too."""
    options = {name: set(kind.__dataclass_fields__) for name, kind in losses.LOSSES.items()}
    tried = {name: {key for each in LIMITS.get(name, []) for key in each} for name in losses.LOSSES}
    assert tried == options


@pytest.mark.parametrize("executor", ["reference", "native"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_loss_and_slope_are_right_at_the_extremes(case, executor):
    """For outputs up to 1e4 of either sign, any targets and weights, value and gradient are exact but for rounding."""
    targets = case.given
    program = _programs(case.loss, case.outputs, (targets.dtype.str, targets.shape[1:]), case.dtype)[executor]
    for far in OUTPUTS:
        for heavy, weights in WEIGHTS.items():
            found = program(_outputs(case, far), targets, weights.astype(case.dtype))
            _assert_is(found[:2], _expected(case, far, heavy), f"outputs {far}, weights {heavy}")
            _assert_is(found[2:], _expected(case, far, "alike"), f"outputs {far}, no weights")


@pytest.mark.parametrize("name", losses.LOSSES)
def test_predictions_at_the_extremes_are_numbers(name):
    """What people read of outputs of 1e4 of either sign is never a NaN; probabilities lie between 0 and 1."""
    loss = losses.by_name(name)
    for outputs in OUTPUTS.values():
        with np.errstate(over="ignore"):  # of a rate that no number can hold, infinity is the nearest
            found = loss.predictions(outputs.astype(np.float32))
        assert not np.isnan(found).any()
        if name.endswith("cross_entropy"):
            assert found.min() >= 0
            assert found.max() <= 1
