"""A Model: what training leaves. It predicts, measures itself, and is one file."""

from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backpass.data.arrays import Array, as_inputs, looks_finite, row_shape
from backpass.data.encoders.unlike import Unlike
from backpass.data.table import Table
from backpass.errors import NotFiniteError, UsageError
from backpass.forward import flatten
from backpass.model import metrics
from backpass.model.file import Content, read, to_bytes
from backpass.model.network import ForwardPass
from backpass.model.tabular import Predictions, Tabular, answers, network_inputs
from backpass.nn import count, summary
from backpass.records import dataclass
from backpass.storage.atomic import write_whole

if TYPE_CHECKING:
    from backpass.native.explain import Explanation


@dataclass(frozen=True, eq=False, repr=False)
class Model(Content):
    """A trained network with all that it takes to use it; see `Content` for what it consists of."""

    @property
    def parameter_count(self) -> int:
        return count(self.parameters)

    def outputs(self, inputs: Any, *, threads: int | None = None) -> Array:
        """The network's raw outputs for arrays; for `threads` see `predict`."""
        rows = as_inputs(inputs, self.precision)
        return self._forward(row_shape(rows), threads)(self.parameters, rows)

    def predict(self, inputs: Any, *, threads: int | None = None) -> Array:
        """Answers for new rows.

        `threads` share the work, at most 256; None for as many as are worth it. The answers do not depend on it.

        A model of a table takes a table (a path, a Table, a dictionary of columns or a data frame) and answers in its
        terms: labels, or numbers in their units; of targets of several kinds a field each, as `answers["price"]`. A
        model of arrays takes arrays; see `predict_arrays`.
        """
        if self.tabular is None:
            return self.predict_arrays(inputs, threads=threads)
        return self.predict_table(inputs, threads=threads).values

    def predict_arrays(self, inputs: Any, *, threads: int | None = None) -> Array:
        """Probabilities, rates or numbers for inputs as the network itself takes them."""
        return self._predicted(inputs, threads)

    def _predicted(self, inputs: Any, threads: int | None, before: int = 0) -> Array:
        """See `predict_arrays`; so many rows of a table came `before`."""
        rows = as_inputs(inputs, self.precision)
        forward = self._forward(row_shape(rows), threads)
        calibration = None if self.tabular is None else self.tabular.calibration
        if calibration is None or calibration.reads_as_they_are:
            outputs, predictions = forward.with_predictions(self.loss, self.parameters, rows)
        else:
            outputs = predictions = forward.outputs_of(self.loss, self.parameters, rows)
        if not looks_finite(outputs):
            _refuse_infinite(outputs, before)
        if calibration is None or calibration.reads_as_they_are:
            return predictions
        return calibration.predictions(self.loss, outputs)

    def predict_table(
        self,
        table: Any,
        *,
        coerce: Collection[str] = (),
        notes: list[str] | None = None,
        threads: int | None = None,
    ) -> Predictions:
        """Answers for the rows of a table, with the probabilities of all classes.

        `table` is a path, a Table, a dictionary of columns or a data frame.
        `coerce` names columns in which text is read as missing; `notes` is told what was, and which columns hold values
        unlike all that training had. For `threads` see `predict`.

        Raises:
            TableError: the table lacks a column, or has it under another type.
            UsageError: the model was not trained on a table.
            NotFiniteError: numbers so large that the network overflows.
        """
        tabular, parts, before = self._table_part(), [], 0
        few = None if coerce or notes is not None else tabular.inputs.encode_few(table)
        unlike = None if notes is None else Unlike()
        encode = tabular.inputs.encode_pieces
        whole = () if few else encode(open_table(table), coerce=coerce, notes=notes, unlike=unlike)
        for encoded in [few] if few else whole:
            parts.append(self._predicted(network_inputs(encoded), threads, before))
            before += len(parts[-1])
        if notes is not None and unlike is not None:
            notes += unlike.notes()
        return answers(tabular, parts[0] if len(parts) == 1 else np.concatenate(parts))

    def evaluate(
        self,
        table: Any,
        *,
        coerce: Collection[str] = (),
        notes: list[str] | None = None,
        threads: int | None = None,
    ) -> dict[str, float]:
        """Metrics on the rows of a table that have a target; see `Predictions.scores`."""
        from backpass.data import usable_rows

        targets = self._table_part().targets
        given = open_table(table)
        rows = usable_rows(given, targets.schema)
        if notes is not None:
            notes.extend(rows.notes[len(given.notes) :])
        predictions = self.predict_table(rows, coerce=coerce, notes=notes, threads=threads)
        with np.errstate(over="ignore"):
            actual = targets.actual(targets.encode(rows, notes=notes))
        return predictions.scores(actual)

    def explain(self, *, batch_size: int | None = None, threads: int | None = None, **shown: Any) -> str:
        """The native program that predicts, for people: its kernels, what they calculate, and the time that each takes.

        `batch_size` is how many rows it takes at once. `shown` chooses what more is told: memory=True, llvm=True,
        assembly=True, and kernel="0.1" or the name of a layer for one part alone.
        """
        return self.explanation(batch_size=batch_size, threads=threads).text(**shown)

    def explanation(self, *, batch_size: int | None = None, threads: int | None = None) -> "Explanation":
        """What `explain` tells, as data."""
        return self._forward(self.row_shape, threads).explanation(self.loss, self.parameters, batch_size)

    def calibration_told(self, scores: Mapping[str, float]) -> list[str]:
        """What held-out rows changed of the answers, in lines for people, with the `scores` that tell of it."""
        if self.tabular is None:
            return []
        heads = self.tabular.heads
        if len(heads) == 1:
            return _told(self.tabular, scores)
        names = [head.targets.schema.target_names[0] for head in heads]
        lines = [_told(head, metrics.of_target(scores, name)) for head, name in zip(heads, names, strict=True)]
        return [f"{name}: {line.lstrip()}" for name, own in zip(names, lines, strict=True) for line in own]

    def _forward(self, shape: Any, threads: int | None) -> ForwardPass:
        """The program for rows of this shape: made once. From then on the parameters cannot be written over."""
        forwards: dict[Any, ForwardPass] = self.__dict__.setdefault("_forwards", {})
        key = shape if isinstance(shape, tuple) else str(shape), threads
        if key not in forwards:
            for value in flatten(self.parameters):
                value.flags.writeable = False
            forwards[key] = ForwardPass(self.network, self.parameters, shape, precision=self.precision, threads=threads)
        return forwards[key]

    def __getstate__(self) -> dict[str, Any]:
        """Programs belong to this process: a copy makes its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_forwards"}

    def save(self, path: str | Path) -> None:
        """Write the model as one safetensors file, whole or not at all.

        Raises:
            UsageError: the network holds layers that no file can hold (a Function, a layer of one's own).
            OutputError: the file cannot be written.
        """
        write_whole(path, to_bytes(self))

    def __repr__(self) -> str:
        return f"<Model {self.parameter_count:,} parameters, {self.loss}>"

    def __str__(self) -> str:
        return summary(self.network, self.row_shape)

    def _table_part(self) -> Tabular:
        if self.tabular is None:
            raise UsageError("this model was trained on arrays, not on a table: call predict with arrays")
        return self.tabular


def _told(tabular: Tabular, scores: Mapping[str, float]) -> list[str]:
    """See `Model.calibration_told`; of one head."""
    targets = tabular.targets
    told = tabular.calibration.told(targets.classes, scores, targets.schema.target_names)
    below = [
        f"{100 * scores[f'below_{name}']:.1f} % below {name}"
        for name in targets.quantile_names
        if f"below_{name}" in scores
    ]
    return [*told, *([f"quantiles: of these rows {', '.join(below)}"] if below else [])]


def load(path: str | Path) -> Model:
    """The model in a file, or in the folder of a run. Loading executes nothing.

    Raises:
        ModelFileError: there is no such file, or it is no model, damaged, tampered with or of a newer format.
    """
    content = read(path)
    return Model(**{part.name: getattr(content, part.name) for part in fields(content)})


def _refuse_infinite(outputs: Array, before: int) -> None:
    finite = np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)
    if not finite.all():
        row = before + int(np.argmin(finite)) + 1
        raise NotFiniteError(f"row {row:,}: the outputs are not finite: are numbers in it far beyond those learned?")


def open_table(table: Any, delimiter: str | None = None, *, stream: bool | None = None) -> Table:
    """A table from a path ("-" for standard input), a Table, a dictionary of columns or a data frame.

    For `stream` see `read_table`.

    Raises:
        TableError: it is none of these, or cannot be read.
        UsageError: it is an array, whose columns have no names; or no file, and to be left there.
    """
    if stream and not isinstance(table, (str, Path)):
        raise UsageError("--stream goes with a table in a file: give its path")
    if isinstance(table, Table):
        return table
    if isinstance(table, (str, Path)):
        from backpass.data import read_table

        return read_table(table, delimiter=delimiter, stream=stream)
    if isinstance(table, np.ndarray):
        raise UsageError(
            "an array has no columns to know by name: give a path, a dictionary of columns or a data frame"
        )
    return Table.from_data(table)
