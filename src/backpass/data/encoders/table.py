"""A whole table to arrays: one dense block, and one array of level numbers for each column that is embedded."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from backpass.data.arrays import looks_finite
from backpass.data.checked_json import Record, fault
from backpass.data.encoders.category import Levels, OneHotEncoder
from backpass.data.encoders.date import DateEncoder
from backpass.data.encoders.few import plain_cells
from backpass.data.encoders.number import NumberEncoder
from backpass.data.encoders.unlike import Unlike
from backpass.data.file_table import FileTable
from backpass.data.kinds import Column, Schema
from backpass.data.naming import closest, did_you_mean, listed, quoted
from backpass.data.table import Table
from backpass.data.values import Reader
from backpass.errors import TableError, UsageError
from backpass.records import dataclass

NUMBERS = "numbers"
ONE_HOT_LIMIT = 32
LINE = 16  # 32-bit numbers in a line of the processor's cache
FORMAT = 1
Precision = Literal["float32", "float64"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float64")
BlockEncoder = NumberEncoder | OneHotEncoder | DateEncoder


@dataclass(frozen=True, eq=False)
class TableEncoder:
    """Encodes a table's inputs in a fixed order of features; part of the model.

    `block` are the columns that share the dense block "numbers", `embedded` those that have an array of their own.
    """

    block: tuple[BlockEncoder, ...]
    embedded: tuple[Levels, ...]
    precision: Precision = "float32"

    @classmethod
    def fit(
        cls,
        table: Table,
        schema: Schema,
        *,
        scale: bool = True,
        one_hot_limit: int = ONE_HOT_LIMIT,
        precision: Precision = "float32",
    ) -> TableEncoder:
        """From training rows alone: every mean, quantile and list of levels is theirs.

        Categories of more than `one_hot_limit` levels are embedded. Without `scale` numbers stay as they are.
        """
        reader = Reader(table)
        block: list[BlockEncoder] = []
        embedded: list[Levels] = []
        for column in schema.inputs:
            if column.kind == "category":
                levels, many = Levels.fit(reader, column, one_hot_limit)
                if many:
                    embedded.append(levels)
                else:
                    block.append(OneHotEncoder(levels))
            elif column.kind == "date":
                block.append(DateEncoder.fit(reader, column, scale=scale))
            else:
                block.append(NumberEncoder.fit(reader, column, scale=scale))
        return cls(tuple(block), tuple(embedded), precision)

    @property
    def feature_names(self) -> list[str]:
        """The names of the F features of the dense block, such as "age", "age is missing", "sex=Male"."""
        return [name for encoder in self.block for name in encoder.feature_names]

    @property
    def number_places(self) -> tuple[int, ...]:
        """Where among the features the numbers themselves stand, without marks of what is missing."""
        places, first = [], 0
        for encoder in self.block:
            if isinstance(encoder, NumberEncoder) and encoder.column.kind == "number":
                places.append(first)
            first += len(encoder.feature_names)
        return tuple(places)

    @property
    def columns(self) -> list[str]:
        """The names of the table's columns that are read."""
        return [encoder.column.name for encoder in (*self.block, *self.embedded)]

    @property
    def embeddings(self) -> dict[str, int]:
        """For each embedded column's key in what `encode` returns, how many level numbers it has, 0 included."""
        return {_key(levels.column): levels.size for levels in self.embedded}

    def encode(
        self,
        table: Table,
        *,
        coerce: Collection[str] = (),
        notes: list[str] | None = None,
        unlike: Unlike | None = None,
    ) -> dict[str, npt.NDArray[Any]]:
        """{"numbers": (rows, F) dense block, and for each embedded column its key: (rows,) int32 level numbers}.

        Missing values and unseen levels never fail; columns may stand in any order, and others are passed over.
        Raises TableError for a column that is lacking or of another type, for text where there were numbers (unless
        `coerce` names the column: then it is read as missing, and `notes` is told), and for infinite numbers.
        `unlike` counts the rows that no training row was like.
        """
        self._check_coerce(coerce)
        self._require_columns(table)
        reader = Reader(table, coerce, notes, unlike)
        if unlike is not None:
            unlike.rows += table.rows
        arrays: dict[str, npt.NDArray[Any]] = {NUMBERS: self._numbers(table, reader)}
        for levels in self.embedded:
            arrays[_key(levels.column)] = levels.codes(reader, many=True)
        return arrays

    def encode_few(self, columns: Any) -> dict[str, npt.NDArray[Any]] | None:
        """What `encode` gives, to the bit, for a dictionary of a few plain values, without the table it would need.

        Only what needs no judging is done: numbers where there were numbers, texts or whole numbers where there were
        categories. None for all else, dates among it: the table knows what to say of it.
        """
        cells = plain_cells(columns)
        if cells is None or not all(name in cells for name in self.columns):
            return None
        blocks = [
            None if isinstance(encoder, DateEncoder) else encoder.few(cells[encoder.column.name])
            for encoder in self.block
        ]
        codes = {_key(levels.column): levels.few(cells[levels.column.name]) for levels in self.embedded}
        if None in blocks or None in codes.values():
            return None
        rows = len(next(iter(cells.values())))
        block = np.empty((rows, len(self.feature_names)), self.precision)
        with np.errstate(over="ignore"):
            for row, parts in enumerate(zip(*cast("Any", blocks), strict=True)):
                block[row] = [number for part in parts for number in part]
        arrays = {NUMBERS: block} | {key: np.array(numbers, np.int32) for key, numbers in codes.items()}
        return arrays if looks_finite(block) else None

    def encode_pieces(
        self,
        table: Table,
        *,
        coerce: Collection[str] = (),
        notes: list[str] | None = None,
        unlike: Unlike | None = None,
    ) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """What `encode` gives, some rows at a time where the table is left in its file."""
        if not isinstance(table, FileTable):
            yield self.encode(table, coerce=coerce, notes=notes, unlike=unlike)
            return
        self._check_coerce(coerce)
        self._require_columns(table)
        reader = Reader(table, coerce, notes)
        for encoder in self.block:  # what is told of text among numbers is told of all rows
            if table.holds_text(encoder.column.name) and not isinstance(encoder, OneHotEncoder):
                (reader.seconds if isinstance(encoder, DateEncoder) else reader.numbers)(encoder.column)
        for piece in table.pieces(self.columns):
            yield self.encode(piece, coerce=coerce, unlike=unlike)

    @property
    def coercible(self) -> list[str]:
        """The names of the columns in which a text may be no value."""
        return [encoder.column.name for encoder in self.block if encoder.column.kind != "category"]

    def _check_coerce(self, coerce: Collection[str]) -> None:
        for name in coerce:
            if name not in self.columns:
                hint = did_you_mean(name, self.columns, "The model reads")
                raise UsageError(f"--coerce {name}: the model reads no column {quoted(name)}. {hint}")
            if name not in self.coercible:
                raise UsageError(
                    f"--coerce {name}: is a category, of which every text is a value: leave it out, or train with "
                    f"--column {name}=number"
                )

    def _require_columns(self, table: Table) -> None:
        missing = [name for name in self.columns if name not in table.columns]
        if missing:
            others = [name for name in table.columns if name not in self.columns]
            near = closest(missing[0], others)
            hint = f"is it {quoted(near)} there?" if near is not None else "add what is missing (empty cells will do)"
            which = "the column" if len(missing) == 1 else "the columns"
            raise TableError(f"{table.name}: lacks {which} {listed(missing)}, which the model reads: {hint}")

    def _numbers(self, table: Table, reader: Reader) -> npt.NDArray[Any]:
        if not table.rows:
            raise TableError(f"{table.name}: has no rows: there is nothing to encode")
        block = np.empty((table.rows, len(self.feature_names)), dtype=self.precision)
        beside, first = np.empty((LINE, table.rows), dtype=self.precision), 0
        for encoders in self._by_lines():
            ends = np.cumsum([len(encoder.feature_names) for encoder in encoders])
            there = block[:, first : first + ends[-1]]
            columns = there if len(encoders) == 1 else beside[: ends[-1]].T
            for encoder, own in zip(encoders, np.split(columns, ends[:-1], axis=1), strict=True):
                with np.errstate(over="ignore"):
                    encoder.fill(own, reader)
            if columns is not there:
                there[:] = columns
            first += ends[-1]
        self._refuse_too_large(table, block)
        return block

    def _by_lines(self) -> list[list[BlockEncoder]]:
        """The encoders in order, as many together as give a line of the processor's cache of features at most.

        Each by itself would fetch all lines of the block anew.
        """
        together: list[list[BlockEncoder]] = []
        room = 0
        for encoder in self.block:
            room -= len(encoder.feature_names)
            if not together or room < 0:
                together.append([])
                room = LINE - len(encoder.feature_names)
            together[-1].append(encoder)
        return together

    def _refuse_too_large(self, table: Table, block: npt.NDArray[Any]) -> None:
        """Unscaled numbers may be too large for 32 bits; one sum tells that all is well."""
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(block.sum(dtype=np.float64)):
                return
        row, feature = np.argwhere(~np.isfinite(block))[0] if not np.isfinite(block).all() else (-1, -1)
        if row >= 0:
            raise TableError(
                f"{table.name}: column {quoted(self.feature_names[feature])} is too large for {self.precision} in row "
                f"{table.row_number(int(row)):,}: leave scaling on, or use --precision float64"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, texts and numbers; `from_json` gives the same encoder back, to the last bit."""
        return {
            "format": FORMAT,
            "precision": self.precision,
            "block": [_entry(encoder) for encoder in self.block],
            "embedded": [_entry(levels) for levels in self.embedded],
        }

    @classmethod
    def from_json(cls, value: object, where: str = "encoder") -> TableEncoder:
        """The encoder of a model file; raises ModelFileError, naming the field, for anything that is off."""
        record = Record(value, where)
        if record.whole("format") != FORMAT:
            raise fault(f"{where}.format", f"{FORMAT}, the one this version reads")
        precision = cast("Precision", record.choice("precision", PRECISIONS))
        block = tuple(_block_encoder(each) for each in record.records("block"))
        embedded = tuple(_levels(each) for each in record.records("embedded"))
        record.finish()
        encoder = cls(block, embedded, precision)
        if not encoder.columns or len(set(encoder.columns)) < len(encoder.columns):
            raise fault(f"{where}.block", "a list of different columns")
        return encoder


def _key(column: Column) -> str:
    # The dense block has the name "numbers": a column of that name stands aside.
    return column.name if column.name != NUMBERS else f"{NUMBERS} (column)"


def _entry(encoder: BlockEncoder | Levels) -> dict[str, Any]:
    return {"column": encoder.column.to_json(), "encoder": encoder.to_json()}


def _block_encoder(record: Record) -> BlockEncoder:
    column, fields = Column.from_json(record.record("column")), record.record("encoder")
    record.finish()
    if column.kind == "skip":
        raise fault(f"{record.where}.column.kind", "one that is encoded")
    kinds: Mapping[str, type[BlockEncoder]] = {"category": OneHotEncoder, "date": DateEncoder}
    return kinds.get(column.kind, NumberEncoder).from_json(fields, column)


def _levels(record: Record) -> Levels:
    column, fields = Column.from_json(record.record("column")), record.record("encoder")
    record.finish()
    if column.kind != "category":
        raise fault(f"{record.where}.column.kind", "category")
    return Levels.from_json(fields, column)
