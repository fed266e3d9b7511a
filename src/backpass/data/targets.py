"""Targets as a network sees them: numbers of classes, or standardized amounts; and back again."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from backpass.data.checked_json import Record, fault
from backpass.data.encoders.scaling import moments
from backpass.data.encoders.table import PRECISIONS, Precision
from backpass.data.families import Floats
from backpass.data.kinds import Schema
from backpass.data.labels import NO_LABEL, read_labels
from backpass.data.naming import listed, quoted
from backpass.data.table import Table
from backpass.data.values import Reader
from backpass.errors import ShapeError, TableError
from backpass.records import dataclass

TargetKind = Literal["number", "count", "positive"]
TARGET_KINDS: tuple[TargetKind, ...] = ("number", "count", "positive")
_LARGEST_LOGARITHM = 700.0  # the exponential of more is no float64


@dataclass(frozen=True, eq=False)
class TargetEncoder:
    """Encodes the targets of a schema; `centers` and `spreads` are those of training rows, in the targets' units.

    `kind` says what amounts are: any "number"; a "count", of which a network learns the logarithm of the rate, and that
    is only divided by its mean; or "positive", whose logarithms are standardized. Of one target `quantiles` may be
    learned, ascending: an output each.
    """

    schema: Schema
    centers: tuple[float, ...] = ()
    spreads: tuple[float, ...] = ()
    precision: Precision = "float32"
    kind: TargetKind = "number"
    quantiles: tuple[float, ...] = ()

    @classmethod
    def fit(
        cls,
        table: Table,
        schema: Schema,
        *,
        scale: bool = True,
        precision: Precision = "float32",
        kind: TargetKind = "number",
        quantiles: tuple[float, ...] = (),
    ) -> TargetEncoder:
        """From training rows alone. Without `scale` amounts stay as they are."""
        if schema.task == "classification":
            return cls(schema, precision=precision)
        found = [_moments(table, schema, place, kind) if scale else (0.0, 1.0) for place in range(len(schema.targets))]
        centers, spreads = zip(*found, strict=True)
        return cls(schema, centers, spreads, precision, kind, quantiles)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' labels as in the file, in the order of their numbers; empty for amounts."""
        return self.schema.classes

    @property
    def width(self) -> int:
        """How many outputs there are to learn: classes, quantiles, or targets."""
        return len(self.classes) or len(self.quantiles) or len(self.schema.targets)

    @property
    def quantile_names(self) -> tuple[str, ...]:
        """As columns of answers are called: q0.1 and so on."""
        return tuple(f"q{quantile}" for quantile in self.quantiles)

    def encode(self, table: Table, *, notes: list[str] | None = None) -> npt.NDArray[Any]:
        """(rows,) int64 class numbers; or (rows, targets) standardized amounts.

        Raises TableError for a row without target (see `usable_rows`) and for a class that training did not have.
        """
        if self.classes:
            labels = read_labels(table, self.schema, notes)
            _refuse_missing(table, self.schema, np.asarray(labels == NO_LABEL))
            return labels
        reader = Reader(table)
        amounts = np.stack([reader.numbers(target) for target in self.schema.targets], axis=1)
        _refuse_missing(table, self.schema, np.asarray(np.isnan(amounts).any(axis=1)))
        for place, target in enumerate(self.schema.targets):
            _refuse_unlike(table, target.name, amounts[:, place], self.kind)
        if self.kind == "positive":
            amounts = np.log(amounts)
        with np.errstate(over="ignore"):
            encoded = ((amounts - self.centers) / self.spreads).astype(self.precision)
        _refuse_too_large(table, self.schema, np.asarray(~np.isfinite(encoded).all(axis=1)), self.precision)
        return encoded

    def decode(self, outputs: npt.ArrayLike) -> npt.NDArray[Any]:
        """Class numbers to labels, in the type that the file has; or outputs to original units, (rows, targets) or,
        where quantiles are learned, (rows, quantiles).
        """
        given = np.asarray(outputs)
        return self._labels(given) if self.classes else self._amounts(given)

    def _labels(self, numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if numbers.dtype.kind not in "iu":
            raise ShapeError(f"classes are decoded from whole numbers, these are {numbers.dtype}: take argmax first")
        return np.asarray(self.class_values[numbers])

    @property
    def class_values(self) -> npt.NDArray[Any]:
        """(classes,) the labels in the type that the file has: integers, numbers, booleans or text."""
        if self.schema.label_type == "boolean":
            return np.array([label.casefold() == "true" for label in self.classes])
        if self.schema.label_type == "integer":
            return np.array([int(label) for label in self.classes], dtype=np.int64)
        if self.schema.label_type == "number":
            return np.array([float(label) for label in self.classes])
        return np.array(self.classes)

    def _amounts(self, outputs: npt.NDArray[Any]) -> Floats:
        targets = len(self.schema.targets)
        fits = outputs.shape[-1:] in ((targets,), (self.width,))
        if not fits and not (targets == 1 and outputs.ndim == 1):
            raise ShapeError(f"outputs of shape {outputs.shape} do not fit {targets} targets: give (rows, {targets})")
        amounts = outputs.astype(np.float64) * self.spreads + self.centers
        return np.asarray(np.exp(np.minimum(amounts, _LARGEST_LOGARITHM)) if self.kind == "positive" else amounts)

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, texts and numbers; `from_json` gives the same encoder back, to the last bit."""
        return {
            "schema": self.schema.to_json(),
            "centers": list(self.centers),
            "spreads": list(self.spreads),
            "precision": self.precision,
            "kind": self.kind,
            **({"quantiles": list(self.quantiles)} if self.quantiles else {}),
        }

    @classmethod
    def from_json(cls, value: object, where: str = "target encoder") -> TargetEncoder:
        """The encoder of a model file; raises ModelFileError, naming the field, for anything that is off."""
        record = Record(value, where)
        encoder = cls(
            Schema.from_json(record.take("schema"), f"{where}.schema"),
            record.numbers("centers"),
            record.numbers("spreads"),
            cast("Precision", record.choice("precision", PRECISIONS)),
            cast("TargetKind", record.choice("kind", TARGET_KINDS) if record.has("kind") else "number"),
            record.numbers("quantiles") if record.has("quantiles") else (),
        )
        record.finish()
        if encoder.classes and encoder.kind != "number":
            raise fault(f"{where}.kind", "that of classes, 'number'")
        quantiles, one = encoder.quantiles, len(encoder.schema.targets) == 1 and not encoder.classes
        if quantiles and not (
            one and list(quantiles) == sorted(set(quantiles)) and 0 < min(quantiles) <= max(quantiles) < 1
        ):
            raise fault(f"{where}.quantiles", "ascending numbers between 0 and 1, of one target that is a number")
        expected = 0 if encoder.classes else len(encoder.schema.targets)
        if len(encoder.centers) != expected or len(encoder.spreads) != expected or min(encoder.spreads, default=1) <= 0:
            raise fault(f"{where}.spreads", f"{expected} positive numbers, and as many centers")
        return encoder


def _moments(table: Table, schema: Schema, place: int, kind: TargetKind) -> tuple[float, float]:
    values = Reader(table).numbers(schema.targets[place])
    present = values[~np.isnan(values)]
    if not len(present):
        raise TableError(f"{table.name}: target {quoted(schema.targets[place].name)} has no values in training rows")
    _refuse_unlike(table, schema.targets[place].name, values, kind)
    if kind == "count":
        return 0.0, float(np.mean(present)) or 1.0
    return moments(np.log(present) if kind == "positive" else present)


def _refuse_unlike(table: Table, name: str, values: Floats, kind: TargetKind) -> None:
    """Raises TableError for an amount that is not of its kind."""
    if kind == "number":
        return
    bad = (values < 0) | (values != np.round(values)) if kind == "count" else values <= 0
    bad &= ~np.isnan(values)
    if bad.any():
        place = int(np.argmax(bad))
        needed = "a count is 0 or a whole number above" if kind == "count" else "a positive target is above 0"
        raise TableError(
            f"{table.name}: target {quoted(name)} is {values[place]:g} in row {table.row_number(place):,}, "
            f"and {needed}: correct the row, or leave out --target-kind {kind}"
        )


def _refuse_too_large(table: Table, schema: Schema, too_large: npt.NDArray[np.bool_], precision: str) -> None:
    if too_large.any():
        row = table.row_number(int(np.argmax(too_large)))
        raise TableError(
            f"{table.name}: row {row:,} has a value for {listed(schema.target_names)} "
            f"that is too large for {precision}: leave scaling on, or use --precision float64"
        )


def _refuse_missing(table: Table, schema: Schema, missing: npt.NDArray[np.bool_]) -> None:
    if missing.any():
        row = table.row_number(int(np.argmax(missing)))
        raise TableError(
            f"{table.name}: row {row:,} has no value for {listed(schema.target_names)}: "
            "fill it in, or leave the row out"
        )
