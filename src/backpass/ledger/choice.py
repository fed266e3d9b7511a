"""Which weight and which row of a step are told where nobody has chosen one: those that have most to tell."""

import numpy as np

from backpass.ledger.book import Ledger, Parameter, ledger
from backpass.ledger.moment import Moment
from backpass.ledger.words import Words


def most_moved(found: Ledger) -> tuple[Parameter, tuple[int, ...]] | None:
    """The element whose value changed most in the step; None where there is none."""
    changes = {
        label: np.abs(np.asarray(each.after, np.float64) - each.before)
        for label, each in found.parameters.items()
        if each.before.size
    }
    if not changes:
        return None
    label = max(changes, key=lambda each: float(changes[each].max()))
    place = np.unravel_index(int(changes[label].argmax()), changes[label].shape)
    return found.parameters[label], tuple(int(each) for each in place)


def largest_row(parameter: Parameter, index: tuple[int, ...]) -> int:
    """The place in the batch of the row with the largest share in the change of one element: that way, if any is."""
    shares = parameter.batch(index).products
    forward = shares * np.sign(float(parameter.change.pull[index]) * float(parameter.made[index]))
    return int(np.argmax(forward if np.any(forward > 0) else np.abs(shares)))


def telling(moment: Moment, *, member: int | None = None, words: Words | None = None, weight: str = "") -> Ledger:
    """The ledger of the row with the largest share in the change of a weight: of that one, or of which moved most.

    The first row of a batch may have none: where a relu is off, all of its errors are 0.

    Raises:
        UsageError: there is no such member, or no such weight.
    """
    first = ledger(moment, 0, member=member, words=words)
    moved = first.weight(weight) if weight else most_moved(first)
    place = 0 if moved is None else largest_row(*moved)
    return first if not place else ledger(moment, place, member=first.member, words=words)
