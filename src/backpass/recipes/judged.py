"""Rows that were held out, with what a network answers for them, to be looked at from all sides."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from backpass.data.arrays import Array, Inputs, row_shape, take_rows
from backpass.forward import flatten
from backpass.model import Model, Predictions
from backpass.model.network import ForwardPass
from backpass.model.tabular import Tabular, answers
from backpass.recipes.main_job import Plan
from backpass.recipes.prepare import Part
from backpass.records import dataclass

MOST_WORK = 4e9  # multiplications: a second, or less
FEWEST = 2000  # rows that are looked at in any case


@dataclass(frozen=True, eq=False)
class Judged:
    """Rows that a network is judged by.

    Attributes:
        name: the part of the table: "test" or "validation".
        part: the rows; where the part is large, some of them, evenly spaced.
        of: how many rows the part has.
        tabular: what encodes and what calibrates.
        predict: from inputs to what these say, calibrated.
        predictions: for these rows.
        actual: what is right: numbers of classes (rows,), or numbers in the table's units (rows, targets); of several
            heads a column each, see `Predictions.beside`.
    """

    name: str
    part: Part
    of: int
    tabular: Tabular
    predict: Callable[[Inputs], Predictions]
    predictions: Predictions
    actual: Array

    @property
    def rows(self) -> int:
        return self.part.rows

    def apart(self) -> "list[Judged]":
        """For each head its answers, as if it were alone."""
        beside = zip(self.tabular.heads, self.predictions.beside(self.actual), strict=True)
        return [replace(self, tabular=own, predictions=found, actual=right) for own, (found, right) in beside]


def judge(planned: Plan, model: Model) -> Judged | None:
    """The rows that were held out to test, or, without such, to validate; None where none were.

    Where rows are in folds, and each of the networks was trained without one, a row is answered by those that did not
    learn from it.
    """
    prepared, tabular = planned.prepared, model.tabular
    part = prepared.test or prepared.validation
    if part is None or tabular is None:
        return None
    name, of = "validation" if prepared.test is None else "test", part.rows
    work = sum(leaf.size for leaf in flatten(model.parameters))
    most = max(FEWEST, int(MOST_WORK // max(1, work)))
    if of > most:
        chosen = np.linspace(0, of - 1, most).astype(np.int64)
        part = Part(take_rows(part.inputs, chosen), part.targets[chosen])
    forward = ForwardPass(
        planned.trained_network(),
        model.parameters,
        row_shape(part.inputs),
        precision=model.precision,
        threads=planned.threads,
    )

    def predict(inputs: Inputs) -> Predictions:
        outputs = forward.outputs_of(model.loss, model.parameters, inputs)
        return answers(tabular, tabular.calibration.predictions(model.loss, outputs))

    return Judged(name, part, of, tabular, predict, predict(part.inputs), tabular.targets.actual(part.targets))
