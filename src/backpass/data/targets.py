"""Targets as a network sees them: numbers of classes, or standardized amounts; and back again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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

    Targets of several kinds, or of which several have quantiles, have `parts`, an encoder each, as if it were alone.
    What all of them make stands side by side, a column each: then the numbers of classes are real numbers.
    """

    schema: Schema
    centers: tuple[float, ...] = ()
    spreads: tuple[float, ...] = ()
    precision: Precision = "float32"
    kind: TargetKind = "number"
    quantiles: tuple[float, ...] = ()
    parts: tuple[TargetEncoder, ...] = ()

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
        plain: Collection[str] = (),
    ) -> TargetEncoder:
        """From training rows alone. Without `scale` amounts stay as they are; of several targets those that are named
        as `plain` are any numbers, whatever kind the others are of.
        """
        if len(schema.heads) > 1:
            own = [(each, "number" if each.target_names[0] in plain else kind) for each in schema.apart]
            parts = [
                cls.fit(table, each, scale=scale, precision=precision, kind=that, quantiles=quantiles)
                for each, that in own
            ]
            return cls(schema, precision=precision, parts=tuple(parts))
        if schema.classes:
            return cls(schema, precision=precision)
        found = [_moments(table, schema, place, kind) if scale else (0.0, 1.0) for place in range(len(schema.targets))]
        centers, spreads = zip(*found, strict=True)
        return cls(schema, centers, spreads, precision, kind, quantiles)

    @property
    def heads(self) -> tuple[TargetEncoder, ...]:
        """One for each way to answer."""
        return self.parts or (self,)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels as in the file, in the order of their numbers; empty for amounts, and for several heads."""
        return self.schema.classes

    @property
    def width(self) -> int:
        """How many numbers there are to learn: classes, quantiles, or targets."""
        if self.parts:
            return sum(part.width for part in self.parts)
        return len(self.classes) or len(self.quantiles) or len(self.schema.targets)

    @property
    def outputs(self) -> int:
        """How many outputs a network for them has: one for two classes, that of the second, or else `width`."""
        if self.parts:
            return sum(part.outputs for part in self.parts)
        return 1 if len(self.classes) == 2 else self.width

    def columns(self, values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """What belongs to each of the heads, as it has it alone, of what `encode` or `actual` gives."""
        return columns_apart(values, [bool(part.classes) for part in self.parts])

    @property
    def quantile_names(self) -> tuple[str, ...]:
        """As columns of answers are called: q0.1 and so on."""
        return tuple(f"q{quantile}" for quantile in self.quantiles)

    def encode(self, table: Table, *, notes: list[str] | None = None) -> npt.NDArray[Any]:
        """(rows,) int64 class numbers; or (rows, targets) standardized amounts.

        Raises TableError for a row without target (see `usable_rows`) and for a class that training did not have.
        """
        if self.parts:
            found = [part.encode(table, notes=notes).reshape(table.rows, 1) for part in self.parts]
            return np.concatenate(found, axis=1, dtype=self.precision)
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

    def actual(self, encoded: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What `encode` gives in the terms of scores: class numbers as they are, amounts in original units."""
        if self.parts:
            own = zip(self.parts, self.columns(encoded), strict=True)
            return np.concatenate([part.actual(each).reshape(-1, 1) for part, each in own], axis=1, dtype=np.float64)
        return encoded if self.classes else np.asarray(self.decode(encoded))

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
        if self.parts:
            heads = [part.to_json() for part in self.parts]
            kept = [{name: head[name] for name in head if name not in ("schema", "precision")} for head in heads]
            return {"schema": self.schema.to_json(), "precision": self.precision, "heads": kept}
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
        schema = Schema.from_json(record.take("schema"), f"{where}.schema")
        precision = cast("Precision", record.choice("precision", PRECISIONS))
        if len(schema.heads) == 1:
            return cls._from_record(record, schema, precision)
        heads = record.records("heads")
        record.finish()
        if len(heads) != len(schema.heads):
            raise fault(f"{where}.heads", f"{len(schema.heads)} encoders")
        parts = (cls._from_record(head, own, precision) for head, own in zip(heads, schema.apart, strict=True))
        return cls(schema, precision=precision, parts=tuple(parts))

    @classmethod
    def _from_record(cls, record: Record, schema: Schema, precision: Precision) -> TargetEncoder:
        """That of one head."""
        where = record.where
        encoder = cls(
            schema,
            record.numbers("centers"),
            record.numbers("spreads"),
            precision,
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


def columns_apart(values: npt.NDArray[Any], classes: Sequence[bool]) -> list[npt.NDArray[Any]]:
    """Each column by itself, (rows,) whole numbers where it is of classes, or else (rows, 1); of none all `values`."""
    if not classes:
        return [values]
    return [values[:, place].astype(np.int64) if whole else values[:, [place]] for place, whole in enumerate(classes)]


def _moments(table: Table, schema: Schema, place: int, kind: TargetKind) -> tuple[float, float]:
    values = Reader(table).numbers(schema.targets[place])
    present = values[~np.isnan(values)]
    if not len(present):
        raise TableError(f"{table.name}: target {quoted(schema.targets[place].name)} has no values in training rows")
    _refuse_unlike(table, schema.targets[place].name, values, kind)
    if kind == "count":
        return 0.0, float(np.mean(present)) or 1.0
    return moments(np.log(present) if kind == "positive" else present)


def unlike(table: Table, schema: Schema, kind: TargetKind) -> dict[str, str]:
    """By its name for each target of amounts that are not all of a kind, which row is not."""
    reader, amounts = Reader(table), [target for head in schema.heads if not head.classes for target in head.targets]
    found = {target.name: _unlike(table, target.name, reader.numbers(target), kind) for target in amounts}
    return {name: why for name, why in found.items() if why}


def _unlike(table: Table, name: str, values: Floats, kind: TargetKind) -> str:
    """The first amount that is not of its kind, in words; nothing where all are."""
    if kind == "number":
        return ""
    bad = (values < 0) | (values != np.round(values)) if kind == "count" else values <= 0
    bad &= ~np.isnan(values)
    if not bad.any():
        return ""
    place = int(np.argmax(bad))
    needed = "a count is 0 or a whole number above" if kind == "count" else "a positive target is above 0"
    return f"target {quoted(name)} is {values[place]:g} in row {table.row_number(place):,}, and {needed}"


def _refuse_unlike(table: Table, name: str, values: Floats, kind: TargetKind) -> None:
    """Raises TableError for an amount that is not of its kind."""
    if why := _unlike(table, name, values, kind):
        raise TableError(f"{table.name}: {why}: correct the row, or leave out --target-kind {kind}")


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
