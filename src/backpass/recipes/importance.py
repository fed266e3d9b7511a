"""How much each column matters to a trained network: how much worse it predicts when the column is shuffled.

Sources: Breiman, Random forests, 2001, section 10; for its meaning Fisher, Rudin and Dominici, All models are wrong,
but many are useful, 2019, section 3. What two columns both tell counts for neither, while the other still tells it.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from backpass.backward import grad
from backpass.data import TableEncoder
from backpass.data.arrays import Array, Inputs, take_rows
from backpass.data.encoders.table import NUMBERS
from backpass.forward import one_thread
from backpass.model import Model, Predictions
from backpass.recipes.judged import Judged
from backpass.recipes.scores import Z95, score
from backpass.records import dataclass

MOST_WORK = 5e9  # multiplications: a second, or less
WORTH = 0.01  # of the multiplications that a long training took, which may be spent in place of these
MOST_ROWS, FEWEST_ROWS = 2000, 100
MOST_REPEATS, FEWEST_REPEATS = 10, 3
FEWEST_COLUMNS = 10
LOOKED_AT = 200  # rows by which it is judged which of too many columns are shuffled


@dataclass(frozen=True)
class Importance:
    """What shuffling one column costs.

    Attributes:
        column: its name.
        rise: by how much the error grows, in the mean over the repeats.
        spread: half the width of the 95 % interval of that, by the chance of shuffling and of the rows.
    """

    column: str
    rise: float
    spread: float


@dataclass(frozen=True)
class Importances:
    """All of it.

    Attributes:
        metric: whose rise is told: "log_loss", "rmse", "rmse_in_deviations" of several amounts, or of several heads
            "relative_error", the mean of their errors, each by that of the same answer for every row.
        rows: how many were used.
        repeats: how often each column was shuffled.
        columns: the largest rise first.
        passed_over: how many columns were left aside, since there are too many of them to try.
    """

    metric: str
    rows: int
    repeats: int
    columns: tuple[Importance, ...]
    passed_over: int


def importances(model: Model, judged: Judged, *, seed: int = 0, learned: int = 0) -> Importances:
    """Of the columns that the network reads, on rows that it did not learn from; `learned` rows it did, all epochs."""
    places, parameters = _places(judged.tabular.inputs), max(1, model.parameter_count)
    work = max(MOST_WORK, WORTH * 3 * learned * parameters) / parameters
    rows, repeats, most = _effort(judged.rows, len(places), work)
    chosen = np.linspace(0, judged.rows - 1, rows).astype(np.int64)
    inputs, actual = take_rows(judged.part.inputs, chosen), judged.actual[chosen]
    if most < len(places):
        some = chosen[: max(2, min(LOOKED_AT, rows))]
        wanted = _likeliest(model, take_rows(judged.part.inputs, some), judged.part.targets[some], places, most)
    else:
        wanted = list(places)
    before, random = _Errors.of(judged.predict(inputs), actual), np.random.Generator(np.random.Philox(seed))
    orders = [random.permutation(rows) for _ in range(repeats)]
    found = []
    for name in wanted:
        each = [_Errors.of(judged.predict(_shuffled(inputs, places[name], order)), actual) for order in orders]
        found.append(Importance(name, *before.rise(each, orders)))
    found.sort(key=lambda importance: -importance.rise)
    return Importances(before.metric, rows, repeats, tuple(found), len(places) - len(wanted))


@dataclass(frozen=True, eq=False)
class _Errors:
    """Each row's error, and how their mean is told."""

    metric: str
    each: Array

    @classmethod
    def of(cls, predictions: Predictions, actual: Array) -> "_Errors":
        found = score("", predictions, actual)
        if predictions.parts:
            return cls("relative_error", found.losses)
        if predictions.probabilities is not None:
            return cls("log_loss", found.losses)
        several = actual.shape[1] > 1
        squares = found.losses if several else (predictions.values[:, 0].astype(np.float64) - actual[:, 0]) ** 2
        return cls("rmse_in_deviations" if several else "rmse", squares)

    @property
    def is_root(self) -> bool:
        return self.metric.startswith("rmse")

    @property
    def total(self) -> float:
        mean = float(np.mean(self.each))
        return math.sqrt(mean) if self.is_root else mean

    @np.errstate(over="ignore", invalid="ignore")  # numbers near 1e300, whose squares are not finite
    def rise(self, shuffled: "list[_Errors]", orders: list[Array]) -> tuple[float, float]:
        """The mean rise, and its spread, for a root by the delta method.

        Over all pairs of a row and another's value the rise is a U-statistic; a row's part in it is what its own error
        becomes with others' values, and what others' errors become with its value (Hoeffding, 1948). Few repeats make
        these parts vary the more, so the chance of shuffling is in it.
        """
        rises = np.array([other.total - self.total for other in shuffled])
        own, others = np.mean([other.each for other in shuffled], axis=0), np.zeros_like(self.each)
        for other, order in zip(shuffled, orders, strict=True):
            others[order] += other.each / len(orders)
        differences = own + others - self.each
        if self.is_root:
            differences = differences / max(2 * (self.total + float(rises.mean()) / 2), np.finfo(np.float64).tiny)
        return float(rises.mean()), Z95 * float(np.std(differences)) / math.sqrt(len(differences))


def _effort(rows: int, columns: int, passes: float) -> tuple[int, int, int]:
    """How many rows, repeats and columns so many passes of a row allow; repeats are spared first, columns last."""
    rows = min(rows, MOST_ROWS)
    repeats = int(min(MOST_REPEATS, max(FEWEST_REPEATS, passes // (columns * rows))))
    rows = int(min(rows, max(FEWEST_ROWS, passes // (columns * repeats))))
    return rows, repeats, int(min(columns, max(FEWEST_COLUMNS, passes // (rows * repeats))))


def _places(encoder: TableEncoder) -> dict[str, slice | str]:
    """For each column where it stands in the inputs: features of the block of numbers, or an input of its own."""
    places: dict[str, slice | str] = {}
    first = 0
    for each in encoder.block:
        last = first + len(each.feature_names)
        places[each.column.name] = slice(first, last)
        first = last
    return places | dict(zip([each.column.name for each in encoder.embedded], encoder.embeddings, strict=True))


def _shuffled(inputs: Inputs, place: slice | str, order: Array) -> Inputs:
    """The inputs with one column's values from other rows."""
    if isinstance(place, str):
        return {**inputs, place: inputs[place][order]}  # type: ignore[dict-item]
    block = _block(inputs).copy()
    block[:, place] = block[order, place]
    return {**inputs, NUMBERS: block} if isinstance(inputs, dict) else block


def _block(inputs: Inputs) -> Array:
    return inputs[NUMBERS] if isinstance(inputs, dict) else inputs


def _likeliest(model: Model, inputs: Inputs, targets: Array, places: Mapping[str, slice | str], most: int) -> list[str]:
    """Those columns that may matter most: by how much the loss changes, to first order, when one is shuffled."""
    own: Any = {name: inputs[name] for name in model.row_shape} if isinstance(model.row_shape, dict) else _block(inputs)
    rest = {name: part for name, part in own.items() if name != NUMBERS} if isinstance(own, dict) else {}

    def loss(block: Any) -> Any:
        given = {**rest, NUMBERS: block} if rest else block
        return model.loss(model.network(model.parameters, given), targets)

    block = _block(inputs)
    with one_thread():
        slopes = np.abs(np.asarray(grad(loss)(block)))
    effect = (slopes * np.abs(block - block[::-1])).sum(axis=0)

    def of(place: slice | str) -> float:
        return math.inf if isinstance(place, str) else float(effect[place].sum())

    return sorted(places, key=lambda name: -of(places[name]))[:most]
