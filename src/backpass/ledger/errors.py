"""The error function of a row, written out: its value, and the derivative by each output."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from backpass import losses
from backpass.data.arrays import Array
from backpass.ledger.formula import Formula, formula, number, untold
from backpass.records import dataclass

_Term: TypeAlias = tuple[str, tuple[float, ...], tuple[str, ...]]
_Slope: TypeAlias = tuple[tuple[float, ...], tuple[str, ...], float]


@dataclass(frozen=True, eq=False)
class ErrorFunction:
    """How far one row's outputs are from what was desired.

    Attributes:
        name: of the loss.
        rule, derivative: its formula and that of its derivative by an output; "" where they are not written here.
        meaning: what the answers are called, as "p"; "" where they are the outputs, or have no name.
        smoothing: what part of what is desired is spread evenly; 0 where nothing is.
        names: of the outputs.
        outputs: of the member, before any activation that belongs to the loss.
        answers: what the outputs mean: probabilities, numbers to be expected, or the outputs themselves.
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
    meaning: str
    smoothing: float
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

    `terms(loss, o, d)` are those of the value: what each is of, its factors and what these are. `slopes(loss, o, d)`
    are the factors of the derivative by each output, what these are, and the size against which its roundings are
    measured. `answers` is what the answers are called, if they are not the outputs. The value of a loss that `cancels`
    is a difference of outputs, which keeps the roundings of the outputs however small it is.
    """

    rule: str
    derivative: str
    terms: Callable[[Any, Array, Array], list[_Term]]
    slopes: Callable[[Any, Array, Array], list[_Slope]]
    answers: str = ""
    cancels: bool = False


def _sigmoid(o: Array) -> Array:
    return np.asarray(np.exp(-np.logaddexp(0.0, -o)))


def _log_softmax(o: Array) -> Array:
    shifted = o - o.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


def _of_each(o: Array, label: str, factors: Sequence[Sequence[float]], names: tuple[str, ...]) -> list[_Term]:
    """A term for each output; of several outputs the mean is taken."""
    if len(o) == 1:
        return [(label, tuple(each), names) for each in factors]
    return [(label, (1 / len(o), *each), ("1/outputs", *names)) for each in factors]


def _slopes(o: Array, d: Array, slopes: Array, name: str, size: Any = None) -> list[_Slope]:
    """The derivative by each output; of several outputs the mean is taken."""
    sizes = np.broadcast_to(np.abs(o) + np.abs(d) if size is None else size, o.shape)
    if len(o) == 1:
        return [((float(each),), (name,), float(own)) for each, own in zip(slopes, sizes, strict=True)]
    share = 1 / len(o)
    names = "1/outputs", name
    return [((share, float(each)), names, share * float(own)) for each, own in zip(slopes, sizes, strict=True)]


def _binary(_: Any, o: Array, d: Array) -> list[_Term]:
    yes = [(-w, -np.logaddexp(0.0, -x)) for x, w in zip(o, d, strict=True)]
    no = [(-(1 - w), -np.logaddexp(0.0, x)) for x, w in zip(o, d, strict=True)]
    return [
        *_of_each(o, "-desired · log(p)", yes, ("-desired", "log(p)")),
        *_of_each(o, "-(1 - desired) · log(1 - p)", no, ("-(1 - desired)", "log(1 - p)")),
    ]


def _probabilities(o: Array) -> Array:
    """Of classes, or of yes where there is one output."""
    return _sigmoid(o) if len(o) == 1 else np.asarray(np.exp(_log_softmax(o)))


def _brier_slopes(_: Any, o: Array, d: Array) -> list[_Slope]:
    p = _probabilities(o)
    missed = p - d
    if len(o) == 1:
        names = "2", "p", "1 - p", "p - desired"
        return [((2.0, float(p[0]), float(1 - p[0]), float(missed[0])), names, 2.0)]
    off = missed - np.sum(p * missed)
    return [((2.0, float(a), float(b)), ("2", "p", "p - desired - mean"), 2.0) for a, b in zip(p, off, strict=True)]


def _expected(o: Array) -> tuple[Array, Array]:
    """exp(o), above 30 as its tangent, and the derivative of that."""
    slope = np.exp(np.minimum(o, 30.0))
    return slope * (1 + o - np.minimum(o, 30.0)), slope


def _poisson(_: Any, o: Array, d: Array) -> list[_Term]:
    products = list(zip(-d, o, strict=True))
    return [
        *_of_each(o, "exp(output)", [(each,) for each in _expected(o)[0]], ("exp(output)",)),
        *_of_each(o, "-desired · output", products, ("-desired", "output")),
    ]


def _huber(loss: Any, o: Array, d: Array) -> list[_Term]:
    """Both cases as (difference held within ±delta) · (difference - ½ · that)."""
    difference = o - d
    held = np.clip(difference, -loss.delta, loss.delta)
    return _of_each(
        o, "held · (difference - ½ · held)", list(zip(held, difference - 0.5 * held, strict=True)),
        ("held", "difference - ½ · held"),
    )  # fmt: skip


def _quantiles(loss: Any, o: Array, d: Array) -> Array:
    """q where the desired number is above the output, and q - 1 where it is below."""
    q = np.broadcast_to(np.asarray(loss.quantiles), o.shape)
    return np.asarray(np.where(d > o, q, np.where(d < o, q - 1, 0.0)))


def _sides(d: Array) -> Array:
    """Of one output: 1 for yes, -1 for no."""
    return np.where(d > 0, 1.0, -1.0)


def _margins(o: Array, d: Array) -> Array:
    """Of one output by how much it is short of the margin; of several, each one's beside the right one."""
    if len(o) == 1:
        return np.asarray(np.maximum(1 - _sides(d) * o, 0.0))
    return np.where(d == 1, 0.0, np.maximum(1 + o - o[np.argmax(d)], 0.0))


def _hinge_slopes(_: Any, o: Array, d: Array) -> list[_Slope]:
    short = (_margins(o, d) > 0).astype(np.float64)
    slopes = -_sides(d) * short if len(o) == 1 else np.where(d == 1, -short.sum(), short)
    return [((float(each),), ("1 if short, and its sign",), 1.0) for each in slopes]


_WRITTEN: dict[type[losses.Loss], _Written] = {
    losses.CrossEntropy: _Written(
        "-Σ desired · log(p), p = softmax(output)",
        "p - desired",
        lambda _, o, d: [
            ("-desired · log(p)", (-wanted, logarithm), ("-desired", "log(p)"))
            for wanted, logarithm in zip(d, _log_softmax(o), strict=True)
        ],
        lambda _, o, d: [
            ((float(p - w),), ("p - desired",), 1.0) for p, w in zip(np.exp(_log_softmax(o)), d, strict=True)
        ],
        answers="p",
        cancels=True,
    ),
    losses.BinaryCrossEntropy: _Written(
        "-desired · log(p) - (1 - desired) · log(1 - p), p = sigmoid(output)",
        "p - desired",
        _binary,
        lambda _, o, d: _slopes(o, d, _sigmoid(o) - d, "p - desired", 1.0),
        answers="p",
    ),
    losses.Brier: _Written(
        "Σ (p - desired)², p = softmax(output), of one output sigmoid(output)",
        "2 · p · (p - desired - mean), mean = Σ p · (p - desired), of one output 2 · p · (1 - p) · (p - desired)",
        lambda _, o, d: [
            ("(p - desired)²", (each, each), ("p - desired", "p - desired")) for each in _probabilities(o) - d
        ],
        _brier_slopes,
        answers="p",
        cancels=True,
    ),
    losses.Squared: _Written(
        "(output - desired)²",
        "2 · (output - desired)",
        lambda _, o, d: _of_each(
            o, "(output - desired)²", [(each, each) for each in o - d], ("output - desired", "output - desired")
        ),
        lambda _, o, d: [
            ((2.0, *factors), ("2", *names), 2 * size)
            for factors, names, size in _slopes(o, d, o - d, "output - desired")
        ],
    ),
    losses.HalfSumOfSquares: _Written(
        "½ · Σ (output - desired)²",
        "output - desired",
        lambda _, o, d: [
            ("½ · (output - desired)²", (0.5, each, each), ("½", "output - desired", "output - desired"))
            for each in o - d
        ],
        lambda _, o, d: [((float(x - w),), ("output - desired",), abs(x) + abs(w)) for x, w in zip(o, d, strict=True)],
    ),
    losses.Absolute: _Written(
        "|output - desired|",
        "sign(output - desired)",
        lambda _, o, d: _of_each(o, "|output - desired|", [(each,) for each in np.abs(o - d)], ("|output - desired|",)),
        lambda _, o, d: _slopes(o, d, np.sign(o - d), "sign(output - desired)", 1.0),
    ),
    losses.Huber: _Written(
        "held · (difference - ½ · held), held: difference = output - desired within ±delta",
        "output - desired, held within ±delta",
        _huber,
        lambda loss, o, d: _slopes(o, d, np.clip(o - d, -loss.delta, loss.delta), "held"),
    ),
    losses.Quantile: _Written(
        "q · (desired - output) if that is above 0, else (q - 1) · that",
        "-q if desired is above the output, 1 - q if below",
        lambda loss, o, d: _of_each(
            o,
            "q or q - 1, times (desired - output)",
            list(zip(_quantiles(loss, o, d), d - o, strict=True)),
            ("q or q - 1", "desired - output"),
        ),
        lambda loss, o, d: _slopes(o, d, -_quantiles(loss, o, d), "-q or 1 - q", 1.0),
    ),
    losses.Poisson: _Written(
        "exp(output) - desired · output",
        "exp(output) - desired",
        _poisson,
        lambda _, o, d: _slopes(o, d, _expected(o)[1] - d, "exp(output) - desired", _expected(o)[1] + np.abs(d)),
        answers="expected",
    ),
    losses.Hinge: _Written(
        "what is short of the margin of 1: max(0, 1 - side · output), or Σ max(0, 1 + output - right output)",
        "1 or -1 where it is short of the margin, else 0",
        lambda _, o, d: [("short of the margin", (each,), ("short",)) for each in _margins(o, d)],
        _hinge_slopes,
        cancels=True,
    ),
}


_SUMMED = losses.CrossEntropy, losses.Brier, losses.HalfSumOfSquares, losses.Hinge
"""Those that are sums over several outputs, not means."""


def rules_of(loss: losses.Loss, outputs: int) -> tuple[str, str, str]:
    """The formula of a loss, that of its derivative by an output, and what its answers are called; "" if not written.

    Of several outputs most losses are the mean.
    """
    if isinstance(loss, losses.Heads):
        if any(type(head.loss) not in _WRITTEN for head in loss.heads):
            return "", "", ""
        return "the mean over the heads of weight · (E of the head)", "1/heads · weight · that of the head", "answer"
    written = _WRITTEN.get(type(loss))
    if written is None:
        return "", "", ""
    averaged = outputs > 1 and not isinstance(loss, _SUMMED)
    return (
        f"{written.rule}, the mean over the outputs" if averaged else written.rule,
        f"1/{outputs} · ({written.derivative})" if averaged else written.derivative,
        written.answers,
    )


def _derivatives(loss: losses.Loss, outputs: int) -> list[str]:
    """The formula of the derivative by each output."""
    if isinstance(loss, losses.Heads):
        before = f"1/{len(loss.heads)} · weight"
        own = [(rules_of(head.loss, head.outputs)[1], head.outputs) for head in loss.heads]
        return [f"{before} · ({rule})" for rule, count in own for _ in range(count)]
    return [rules_of(loss, outputs)[1]] * outputs


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
    desired = _desired(loss, outputs, target)
    rule, derivative, meaning = rules_of(loss, len(o))
    with np.errstate(all="ignore"):
        answers = np.asarray(loss.predictions(outputs[None]))[0].ravel()
        if not rule:
            told = untold("E", "as the loss calculates it", value, type(loss).__name__)
            backward = [untold("δ", "by the reverse walk", float(error), names[k]) for k, error in enumerate(errors)]
        else:
            terms, slopes, cancels = _written(loss, names, o, desired, target)
            sizes = np.array([np.prod(factors) for factors, _, _ in slopes]) * (np.abs(o) + np.abs(desired))
            size = abs(value) + float(1 + np.abs(o).max() if cancels else np.abs(sizes).sum())
            told = formula(
                "E", rule, value, [each[:2] for each in terms], size, names=[each[2] for each in terms]
            )  # fmt: skip
            symbol = f"1/{round(1 / part)} · " if part != 1 else ""
            backward = [
                formula(
                    "δ", f"{symbol}({own_rule})" if symbol else own_rule, float(error),
                    [(names[k], (part, *own) if symbol else own)], part * size,
                    names=[("1/members", *meant) if symbol else meant],
                    put=_put(meant[-1], answers[k], desired[k], (part, *own[:-1]) if symbol else own[:-1]),
                )
                for k, (error, (own, meant, size), own_rule) in enumerate(
                    zip(errors, slopes, _derivatives(loss, len(o)), strict=True)
                )
            ]  # fmt: skip
    return ErrorFunction(
        type(loss).__name__, rule, derivative, meaning, _smoothing(loss), names, o, answers, desired, told, part,
        row_loss, learning, tuple(backward), share, batch_loss,
    )  # fmt: skip


def _written(
    loss: losses.Loss, names: Sequence[str], o: Array, desired: Array, target: Array
) -> tuple[list[_Term], list[_Slope], bool]:
    """The terms of a loss, each with the name of its output, the slopes, and whether it cancels; of all heads."""
    if not isinstance(loss, losses.Heads):
        written = _WRITTEN[type(loss)]
        terms = [
            (f"{names[k % len(o)]}: {each[0]}", *each[1:]) for k, each in enumerate(written.terms(loss, o, desired))
        ]
        return terms, written.slopes(loss, o, desired), written.cancels
    every, slopes, cancels, count = [], [], False, len(loss.heads)
    for place, (head, own) in enumerate(zip(loss.heads, _spans(loss), strict=True)):
        part = _written(head.loss, names[own], o[own], desired[own], target)
        weight = float(np.ravel(head.weights(np.asarray(target, np.float64).ravel()[[place]]))[0])
        before, called = (1 / count, weight), ("1/heads", "weight")
        every += [(title, (*before, *factors), (*called, *meant)) for title, factors, meant in part[0]]
        slopes += [((*before, *factors), (*called, *meant), weight / count * size) for factors, meant, size in part[1]]
        cancels |= part[2]
    return every, slopes, cancels


def _spans(loss: losses.Heads) -> list[slice]:
    """Where the outputs of each head are."""
    ends = np.cumsum([head.outputs for head in loss.heads]).tolist()
    return [slice(end - head.outputs, end) for head, end in zip(loss.heads, ends, strict=True)]


def _put(last: str, answer: float, desired: float, before: tuple[float, ...]) -> str:
    """The numbers of a derivative whose last factor is a difference from what was desired."""
    if not last.endswith(" - desired"):
        return ""
    difference = f"{number(answer)} - {number(desired)}" if desired >= 0 else f"{number(answer)} + {number(-desired)}"
    return " · ".join([*map(number, before), f"({difference})"]) if before else difference


def _smoothing(loss: losses.Loss) -> float:
    every = [head.loss for head in loss.heads] if isinstance(loss, losses.Heads) else [loss]
    return max(float(getattr(each, "label_smoothing", 0.0)) for each in every)


def _desired(loss: losses.Loss, outputs: Array, target: Array) -> Array:
    """What was desired of each output."""
    if isinstance(loss, losses.Heads):
        own = zip(loss.heads, _spans(loss), np.ravel(target), strict=True)
        return np.concatenate([_desired(head.loss, outputs[span], each) for head, span, each in own])
    flat = np.asarray(target).astype(outputs.dtype).astype(np.float64).ravel()
    if isinstance(loss, (losses.CrossEntropy, losses.Brier, losses.Hinge)) and len(flat) == 1 < len(outputs):
        flat = np.eye(len(outputs))[int(flat[0])]
    smoothing = _smoothing(loss)
    flat = flat * (1 - smoothing) + smoothing / (2 if isinstance(loss, losses.BinaryCrossEntropy) else len(outputs))
    return np.broadcast_to(flat, outputs.shape) if flat.shape != outputs.shape else flat
