"""A Model: what training leaves. It predicts, measures itself, and is one file."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data import Table, read_table, usable_rows
from backpass.data.arrays import Array, as_inputs
from backpass.errors import NotFiniteError, UsageError
from backpass.model.atomic import write_whole
from backpass.model.file import Content, read, to_bytes
from backpass.model.network import ForwardPass
from backpass.model.tabular import Predictions, Tabular, answers, network_inputs
from backpass.nn import count, summary


@dataclass(frozen=True, eq=False)
class Model(Content):
    """A trained network with all that it takes to use it; see `Content` for what it consists of."""

    @property
    def parameter_count(self) -> int:
        return count(self.parameters)

    def outputs(self, inputs: Any) -> Array:
        """The network's raw outputs for arrays."""
        rows = as_inputs(inputs, self.precision)
        forward = ForwardPass(self.network, self.parameters, rows, precision=self.precision)
        return forward(self.parameters, rows)

    def predict(self, inputs: Any) -> Array:
        """Probabilities, rates or numbers for arrays; for a table, or its file, the answers in its own terms."""
        if isinstance(inputs, (str, Path, Table)):
            return self.predict_table(inputs).values
        outputs = self.outputs(inputs)
        finite = np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)
        if not finite.all():
            row = int(np.argmin(finite)) + 1
            raise NotFiniteError(
                f"row {row:,}: the outputs are not finite: are numbers in it far beyond those learned?"
            )
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(self.loss.predictions(outputs))

    def predict_table(
        self, table: str | Path | Table, *, coerce: Collection[str] = (), notes: list[str] | None = None
    ) -> Predictions:
        """Answers for the rows of a table, with the probabilities of all classes.

        `coerce` names columns in which text is read as missing; `notes` is told what was.

        Raises:
            TableError: the table lacks a column, or has it under another type.
            UsageError: the model was not trained on a table.
            NotFiniteError: numbers so large that the network overflows.
        """
        encoded = self._table_part().inputs.encode(open_table(table), coerce=coerce, notes=notes)
        return answers(self._table_part(), self.predict(network_inputs(encoded)))

    def evaluate(
        self, table: str | Path | Table, *, coerce: Collection[str] = (), notes: list[str] | None = None
    ) -> dict[str, float]:
        """Metrics on the rows of a table that have a target: accuracy, log_loss, auc; or rmse, mae, r2."""
        targets = self._table_part().targets
        given = open_table(table)
        rows = usable_rows(given, targets.schema)
        if notes is not None:
            notes.extend(rows.notes[len(given.notes) :])
        predictions = self.predict_table(rows, coerce=coerce, notes=notes)
        with np.errstate(over="ignore"):
            actual = targets.encode(rows, notes=notes)
        return predictions.scores(actual if targets.classes else targets.decode(actual))

    def save(self, path: str | Path) -> None:
        """Write the model as one safetensors file, whole or not at all.

        Raises:
            UsageError: the network holds layers that no file can hold (a Function, a layer of one's own).
            OutputError: the file cannot be written.
        """
        write_whole(path, to_bytes(self))

    def __str__(self) -> str:
        return summary(self.network, self.row_shape)

    def _table_part(self) -> Tabular:
        if self.tabular is None:
            raise UsageError("this model was trained on arrays, not on a table: call predict with arrays")
        return self.tabular


def load(path: str | Path) -> Model:
    """The model in a file, or in the folder of a run. Loading executes nothing.

    Raises:
        ModelFileError: there is no such file, or it is no model, damaged, tampered with or of a newer format.
    """
    content = read(path)
    return Model(**{part.name: getattr(content, part.name) for part in fields(content)})


def open_table(table: str | Path | Table) -> Table:
    """The table itself, or the one in a file."""
    return table if isinstance(table, Table) else read_table(table)
