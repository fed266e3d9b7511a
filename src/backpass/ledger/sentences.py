"""What the numbers say, in one sentence: why a weight changed, and why a prediction is what it is."""

from collections.abc import Sequence

import numpy as np

from backpass.data.arrays import Array
from backpass.ledger.attribution import Share, Why
from backpass.ledger.book import Parameter
from backpass.ledger.formula import cell, number

FEW = 3  # columns that are named
LONG = 40  # characters of a cell that are told


def of_change(parameter: Parameter, index: tuple[int, ...]) -> str:
    """Why one weight went from one value to another in the step: "This weight went from 0.31 to 0.29, because ..."."""
    what = "bias" if parameter.label.endswith(".bias") or parameter.label == "bias" else "weight"
    old, new = float(parameter.before[index]), float(parameter.after[index])
    movers, g = parameter.movers(index), float(parameter.batch_slope[index])
    rows, change = len(parameter.moment.rows), float(parameter.made[index])
    whose = "the error of the batch" if rows > 1 else "the error of its row"
    products = movers.products
    if old == new:
        if not change:
            why = f"{whose} does not depend on it" if not g else f"{parameter.change.optimizer} makes no change of it"
        else:
            why = f"its change, {number(change)}, is less than the last digit of {parameter.before.dtype}"
        return f"This {what} stayed at {number(old)}: {why}."
    before, after = apart(old, new)
    begin, ways = f"This {what} went from {before} to {after}, because", ("grows", "falls")
    own = float(products[:rows].sum())
    others = dict(zip(movers.labels[rows:], map(float, products[rows:]), strict=True))
    name = max(others, key=lambda each: others[each] * np.sign(change), default="")
    if own * change > 0 and own * np.sign(change) >= others.get(name, 0.0) * np.sign(change):
        way = ways[g < 0]
        return (
            f"{begin} {whose} {way} as it grows (its derivative g is {number(g)}), and {parameter.change.optimizer} "
            f"goes against g{_of_rows(movers.labels[:rows], products[:rows], change)}."
        )
    if name and others[name] * change > 0:
        share = f"{name}: {number(others[name])} of {number(change)}"
        if "decay" in name:
            return f"{begin} weight decay draws it to 0 ({share})."
        also = "pushes the same way" if own * change > 0 else "adds nothing" if not own else "alone would push it back"
        way = "up" if change > 0 else "down"
        return f"{begin} earlier steps still push it {way} ({share}); this batch {also} (g is {number(g)})."
    return f"{begin} that is what {parameter.change.optimizer} makes of the gradient of the batch, {number(g)}."


def _of_rows(names: Sequence[str], shares: Array, change: float) -> str:
    """Which row the change comes from most, and which one is more against it than that."""
    if len(names) == 1:
        return ""
    forward = shares * np.sign(change)
    most, least = int(np.argmax(forward)), int(np.argmin(forward))
    told = f"; {names[most]} has the largest share ({number(float(shares[most]))} of {number(change)})"
    if -forward[least] > forward[most]:
        told += f", but {names[least]} pulls more against it ({number(float(shares[least]))})"
    return told


def apart(old: float, new: float) -> tuple[str, str]:
    """Two numbers with so many digits, five or more, that they can be told from each other."""
    for digits in range(5, 17):
        shown = f"{old + 0.0:.{digits}g}", f"{new + 0.0:.{digits}g}"
        if shown[0] != shown[1]:
            break
    return shown


def of_prediction(found: Why) -> str:
    """Why an output is what it is: "Adelie is 0.9 and not 0.44, as for the mean row, mostly because ..."."""
    difference = found.value - found.baseline
    reasons = [share for share in found.shares if share.value * difference > 0][:FEW]
    if not reasons:
        return f"{found.output} is {number(found.value)}, as for the mean row."
    least = abs(reasons[0].value) / 10
    told = [_reason(share) for share in reasons if abs(share.value) >= least]
    because = f"{', '.join(told[:-1])} and {told[-1]}" if len(told) > 1 else told[0]
    value, baseline = apart(found.value, found.baseline)
    return f"{found.output} is {value} and not {baseline}, as for the mean row, mostly because {because}."


def _reason(share: Share) -> str:
    raw = "is missing" if share.raw is None else f"is {cut(cell(share.raw), LONG)}" if share.raw else ""
    return f"{share.column} {raw} ({share.value:+.5g})".replace("  ", " ")


def cut(text: str, width: int) -> str:
    """A name or a text in so many characters; never to be used on numbers."""
    return text if len(text) <= width else text[: width - 1] + "…"
