"""The error function of a row, written out: its value, and the derivative by each output."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from backpass import losses
from backpass.data.arrays import Array
from backpass.ledger.formula import Formula, formula, untold
from backpass.records import dataclass

_Terms: TypeAlias = Sequence[tuple[str, tuple[float, ...]]]


@dataclass(frozen=True, eq=False)
class ErrorFunction:
    """How far one row's outputs are from what was desired.

    Attributes:
        name: of the loss.
        rule, derivative: its formula and that of its derivative by an output; "" where they are not written here.
        names: of the outputs.
        outputs: of the member, before any activation that belongs to the loss.
        answers: what the outputs mean: probabilities, rates, or the outputs themselves.
        desired: one an output.
        value: the row's loss, that of this member.
        part: what part of the row's whole loss that is: 1, or 1 / members.
        row_loss: the row's whole loss: the mean of the members', also of those that do not learn from it.
        learning: how many members learn from the row.
        errors: the derivative of the whole loss by each output.
        share: what part of the batch's loss the row's is.
        batch_loss: that of the batch.
    """

    name: str
    rule: str
    derivative: str
    names: Sequence[str]
    outputs: Array
    answers: Array
    desired: Array
    value: Formula
    part: float
    row_loss: float
    learning: int
    errors: tuple[Formula, ...]
    share: float
    batch_loss: float


class _Written(NamedTuple):
    """A loss in formulas.

    `terms(loss, o, d)` are those of the value: label of each output's term and its factors; `slopes(loss, o, d)` the
    factors of the derivative by each output, and the size against which its roundings are measured. A loss `compares`
    if its value is a difference of outputs, which keeps the roundings of the outputs however small it is.
    """

    rule: str
    derivative: str
    terms: Callable[[Any, Array, Array], _Terms]
    slopes: Callable[[Any, Array, Array], list[tuple[tuple[float, ...], float]]]
    compares: bool = False


def _sigmoid(o: Array) -> Array:
    return np.asarray(np.exp(-np.logaddexp(0.0, -o)))


def _log_softmax(o: Array) -> Array:
    shifted = o - o.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def _cross_entropy(_: Any, o: Array, d: Array) -> _Terms:
    return [("-desired · log(p)", (-wanted, logarithm)) for wanted, logarithm in zip(d, _log_softmax(o), strict=True)]


def _binary(_: Any, o: Array, d: Array) -> _Terms:
    yes: _Terms = [("-desired · log(p)", (-w / len(o), -np.logaddexp(0.0, -x))) for x, w in zip(o, d, strict=True)]
    no = [
        ("-(1 - desired) · log(1 - p)", (-(1 - w) / len(o), -np.logaddexp(0.0, x))) for x, w in zip(o, d, strict=True)
    ]
    return [*yes, *no]


def _rates(o: Array) -> tuple[Array, Array]:
    """exp(o), above 30 as its tangent, and the derivative of that."""
    slope = np.exp(np.minimum(o, 30.0))
    return slope * (1 + o - np.minimum(o, 30.0)), slope


def _poisson(_: Any, o: Array, d: Array) -> _Terms:
    rates: _Terms = [("exp(output)", (1 / len(o), rate)) for rate in _rates(o)[0]]
    return [*rates, *(("-desired · output", (-w / len(o), x)) for x, w in zip(o, d, strict=True))]


_WRITTEN: dict[type[losses.Loss], _Written] = {
    losses.CrossEntropy: _Written(
        "-Σ desired · log(p), p = softmax(output)",
        "p - desired",
        _cross_entropy,
        lambda _, o, d: [((float(p - w),), 1.0) for p, w in zip(np.exp(_log_softmax(o)), d, strict=True)],
        compares=True,
    ),
    losses.BinaryCrossEntropy: _Written(
        "-desired · log(p) - (1 - desired) · log(1 - p), p = sigmoid(output)",
        "p - desired",
        _binary,
        lambda _, o, d: [((1 / len(o), float(p - w)), 1.0) for p, w in zip(_sigmoid(o), d, strict=True)],
    ),
    losses.Squared: _Written(
        "(output - desired)², the mean over the outputs",
        "2 · (output - desired)",
        lambda _, o, d: [("(output - desired)²", (1 / len(o), x - w, x - w)) for x, w in zip(o, d, strict=True)],
        lambda _, o, d: [((2 / len(o), float(x - w)), abs(x) + abs(w)) for x, w in zip(o, d, strict=True)],
    ),
    losses.HalfSumOfSquares: _Written(
        "½ · Σ (output - desired)²",
        "output - desired",
        lambda _, o, d: [("½ · (output - desired)²", (0.5, x - w, x - w)) for x, w in zip(o, d, strict=True)],
        lambda _, o, d: [((float(x - w),), abs(x) + abs(w)) for x, w in zip(o, d, strict=True)],
    ),
    losses.Poisson: _Written(
        "exp(output) - desired · output",
        "exp(output) - desired",
        _poisson,
        lambda _, o, d: [
            ((1 / len(o), float(rate - w)), rate + abs(w)) for rate, w in zip(_rates(o)[1], d, strict=True)
        ],
    ),
}


def error_function(
    loss: losses.Loss,
    names: Sequence[str],
    outputs: Array,
    target: Array,
    *,
    value: float,
    part: float,
    row_loss: float,
    learning: int,
    errors: Array,
    share: float,
    batch_loss: float,
) -> ErrorFunction:
    """The error function of one row of one member, `outputs` (outputs,), with the `errors` that the engine has."""
    o = outputs.astype(np.float64)
    written, desired = _WRITTEN.get(type(loss)), _desired(loss, o, target)
    with np.errstate(all="ignore"):
        answers = np.asarray(loss.predictions(outputs[None]))[0].ravel()
        if written is None:
            told = untold("E", "as the loss calculates it", value, type(loss).__name__)
            backward = [untold("δ", "by the reverse walk", float(error), names[k]) for k, error in enumerate(errors)]
        else:
            terms = written.terms(loss, o, desired)
            labels = [f"{names[k % len(o)]}: {label}" for k, (label, _) in enumerate(terms)]
            size = 1 + float(np.abs(o).max()) + abs(value) if written.compares else None
            told = formula(
                "E", written.rule, value, [(label, each[1]) for label, each in zip(labels, terms, strict=True)], size
            )
            factors = written.slopes(loss, o, desired)
            before, symbol = ((part,), f"1/{round(1 / part)} · ") if part != 1 else ((), "")
            backward = [
                formula(
                    "δ", f"{symbol}({written.derivative})", float(error), [(names[k], (*before, *each))], part * size
                )
                for k, (error, (each, size)) in enumerate(zip(errors, factors, strict=True))
            ]
    rule, derivative = ("", "") if written is None else (written.rule, written.derivative)
    return ErrorFunction(
        type(loss).__name__, rule, derivative, names, o, answers, desired, told, part, row_loss, learning,
        tuple(backward), share, batch_loss,
    )  # fmt: skip


def _desired(loss: losses.Loss, outputs: Array, target: Array) -> Array:
    """What was desired of each output."""
    flat = np.asarray(target, np.float64).ravel()
    if isinstance(loss, (losses.CrossEntropy, losses.Hinge)) and len(flat) == 1 < len(outputs):
        flat = np.eye(len(outputs))[int(flat[0])]
    smoothing = float(getattr(loss, "label_smoothing", 0.0))
    flat = flat * (1 - smoothing) + smoothing / (2 if isinstance(loss, losses.BinaryCrossEntropy) else len(outputs))
    return np.broadcast_to(flat, outputs.shape) if flat.shape != outputs.shape else flat
