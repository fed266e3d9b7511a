"""Why a training diverged, as far as its numbers tell: one line, the likeliest cause first."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from backpass.data.arrays import pieces
from backpass.errors import NotFiniteError
from backpass.forward import flatten
from backpass.optimizers import Optimizer, Schedule
from backpass.training.rows import Rows
from backpass.training.step import STATE

if TYPE_CHECKING:
    from backpass.training.blame import Blame

LARGE = 100.0  # inputs and targets beyond this are not scaled
FAST = 0.05  # a learning rate beyond this is a large one for most rules


class DivergedError(NotFiniteError):
    """A step made a number that is not finite.

    Attributes:
        what: the loss, or the name of a parameter, or of what is kept of one.
        step, epoch: from 1 on.
    """

    def __init__(self, what: str, step: int, epoch: int) -> None:
        super().__init__(f"{what} is no longer finite after step {step:,}, in epoch {epoch:,}")
        self.what, self.step, self.epoch = what, step, epoch


def explained(
    what: str,
    step: int,
    epoch: int,
    *,
    data: Rows,
    optimizer: Optimizer,
    before: float | None = None,
    blame: "Blame | None" = None,
) -> str:
    """The line for a training in which `what` is no longer finite.

    Args:
        what: the loss, or the name that the program of a step has for a parameter, or for what is kept of one.
        step, epoch: counted from 1.
        data: the rows that are trained on.
        optimizer: its learning rate is told.
        before: the mean loss of the last epoch that was whole, None in the first.
        blame: the first number that was not finite, where it is known.
    """
    inputs, targets = largest_input(data), _largest([data.targets])
    rate = learning_rate(optimizer)
    what = _in_words(what, optimizer)
    known = [f"the loss was {before:.3g} an epoch before"] if before is not None else []
    known += [f"learning rate {rate:.3g}"] if rate is not None else []
    known += [f"inputs up to {inputs:.3g}"] if inputs else []
    known += [f"targets up to {targets:.3g}"] if targets else []
    advice = ["scale the inputs"] if inputs > LARGE else []
    advice += ["scale the targets"] if targets > LARGE else []
    slower = f"try a learning rate of {min(rate / 10, FAST):.1g}" if rate is not None else "try a smaller learning rate"
    advice.insert(0 if rate is not None and rate > FAST and not advice else len(advice), slower)
    advice += [] if clips(optimizer) else ["clip gradients"]
    numbers = f" ({', '.join(known)})" if known else ""
    told = "" if blame is None else f": {blame}"
    advice = list(dict.fromkeys([*blame.advice, *advice])) if blame is not None else advice
    advice = list(blame.advice) if blame is not None and blame.is_local else advice
    return f"{what} is no longer finite after step {step:,}, in epoch {epoch:,}{numbers}{told}: {', or '.join(advice)}"


def _in_words(what: str, optimizer: Optimizer) -> str:
    """What the optimizer keeps is named by the parameter that it is kept of."""
    kept = {name for part in _parts(optimizer) for name in getattr(part, "kept", ())}
    places = what.split(".")
    place = next((place for place, name in enumerate(places) if name in kept), None)
    if places[0] != STATE or place is None:
        return what
    return f"what the optimizer keeps of the gradients of {'.'.join(places[place + 1 :])}"


def largest_input(data: Rows) -> float:
    """The largest size of a real input; 0 where all are whole numbers, which are names of levels."""
    return _largest(flatten(data.inputs))


def _largest(arrays: list[Any]) -> float:
    parts = [piece for x in arrays if x.dtype.kind == "f" and x.size for piece in pieces(x)]
    return max((max(abs(float(x.max())), abs(float(x.min()))) for x in parts), default=0.0)


def learning_rate(optimizer: Optimizer) -> float | None:
    """The highest one that it ever has, as far as that is a plain number; None where it has none."""
    found = [_highest(getattr(part, "learning_rate", None)) for part in _parts(optimizer)]
    return max((rate for rate in found if rate is not None), default=None)


def clips(optimizer: Optimizer) -> bool:
    """Does it hold gradients within bounds?"""
    return any(type(part).__name__.startswith("Clip") for part in _parts(optimizer))


def _parts(optimizer: Optimizer) -> list[Optimizer]:
    """The optimizer and all that it is made of."""
    found, waiting = [], [optimizer]
    while waiting:
        part = waiting.pop()
        found.append(part)
        for value in vars(part).values():
            held = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else [value]
            waiting += [each for each in held if isinstance(each, Optimizer)]
    return found


def _highest(rate: Any) -> float | None:
    """A number itself; of a schedule the number that it starts from or rises to, or that of the schedule after it."""
    if isinstance(rate, Schedule):
        named = (_highest(getattr(rate, name, None)) for name in ("value", "initial", "peak", "then"))
        return max((each for each in named if each is not None), default=None)
    plain = isinstance(rate, (float, int, np.floating)) and not isinstance(rate, bool)
    return float(rate) if plain and math.isfinite(rate) else None
