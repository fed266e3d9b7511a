"""From a table and a target's name to arrays ready for training: what is understood before any work is done."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from backpass.data import Division, Table, TableEncoder, TargetEncoder, describe, divide, summary
from backpass.data.arrays import Array, Inputs, count_rows
from backpass.model import Tabular
from backpass.model.model import open_table
from backpass.records import dataclass


@dataclass(frozen=True, eq=False)
class Part:
    """Encoded rows: the network's inputs and targets."""

    inputs: Inputs
    targets: Array

    @property
    def rows(self) -> int:
        return count_rows(self.inputs)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A table understood, split and encoded; every statistic is of the training rows alone.

    `validation` and `test` are None where no rows were held out for them. `notes` says what reading and encoding had
    to decide.
    """

    table: Table
    division: Division
    tabular: Tabular
    train: Part
    validation: Part | None
    test: Part | None
    notes: tuple[str, ...]

    def describe(self) -> list[str]:
        """What was understood, in lines for people."""
        return [*describe(self.division.schema, self.table), *(f"  note: {note}" for note in self.notes)]

    def summary(self) -> dict[str, Any]:
        """The same for programs."""
        return summary(self.division.schema, self.table) | {"split": self.rows(), "notes_of_reading": list(self.notes)}

    def rows(self) -> dict[str, int]:
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: 0 if part is None else part.rows for name, part in parts.items()}


def prepare(
    table: str | Path | Table | Any,
    targets: Sequence[str],
    *,
    seed: int = 0,
    test_table: str | Path | Table | Any = None,
    test: float | None = None,
    validation: float | None = None,
    group: str | None = None,
    order: str | None = None,
    columns: Mapping[str, str] | None = None,
    exclude: Collection[str] = (),
    task: str | None = None,
    delimiter: str | None = None,
    scale: bool = True,
    precision: str = "float32",
) -> Prepared:
    """Read, understand, split and encode. See `backpass.train` for the arguments.

    Raises:
        TableError: a table cannot be read or does not hold what is needed.
        UsageError: an option does not fit the table.
    """
    opened = open_table(table, delimiter)
    own_test = None if test_table is None else open_table(test_table, delimiter)
    division = divide(
        opened,
        targets,
        seed=seed,
        test_table=own_test,
        test=test,
        validation=validation,
        group=group,
        order=order,
        overrides=columns or {},
        exclude=exclude,
        task=task,
    )
    notes = [*opened.notes, *(own_test.notes if own_test else ())]
    schema = division.schema
    kind: Any = precision
    tabular = Tabular(
        TableEncoder.fit(division.train, schema, scale=scale, precision=kind),
        TargetEncoder.fit(division.train, schema, scale=scale, precision=kind),
    )
    # Held-out rows are judged by what was learned from others: a text that is new among numbers is no value there.
    lenient = tabular.inputs.columns
    train, held_out, tested = (
        None if part is None else encode(tabular, part, notes, coerce=lenient)
        for part in (division.train, division.validation, division.test)
    )
    if train is None:
        raise AssertionError("a division has training rows")
    told = dict.fromkeys(note for note in notes if note not in schema.notes)
    return Prepared(opened, division, tabular, train, held_out, tested, tuple(told))


def encode(tabular: Tabular, table: Table, notes: list[str] | None = None, *, coerce: Collection[str] = ()) -> Part:
    """The rows of a table as the network sees them. All have a target."""
    return Part(*tabular.encode(table, coerce=coerce, notes=notes))
