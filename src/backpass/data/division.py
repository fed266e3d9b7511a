"""From a table and a target's name to a schema and parts, with every statistic from training rows alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from backpass.data.families import SPOKEN, family_of
from backpass.data.infer import holds_numbers, infer_column
from backpass.data.kinds import Schema
from backpass.data.labels import read_labels
from backpass.data.schema import (
    NO_OVERRIDES,
    as_names,
    check_options,
    infer_schema,
    require_column,
    target_schema,
    usable_rows,
)
from backpass.data.splits import Split, hold_out
from backpass.data.table import Table
from backpass.data.values import Reader
from backpass.errors import UsageError
from backpass.records import dataclass


@dataclass(frozen=True, eq=False)
class Division:
    """A schema learned from the training rows, and the rows of the three parts.

    `table` has the rows of the given table that have a target, and `split` counts these. With a test table of its own,
    `split.test` is empty and `test` is that table.

    Each part is taken out of the table when it is asked for, and None where it was not wanted: held beside it, they
    would take as much memory again for as long as a network is trained.
    """

    schema: Schema
    split: Split
    table: Table
    own_test: Table | None = None

    @property
    def train(self) -> Table:
        return self.table.take(self.split.train)

    @property
    def validation(self) -> Table | None:
        return self._part(self.split.validation)

    @property
    def test(self) -> Table | None:
        return self._part(self.split.test) if self.own_test is None else self.own_test

    def _part(self, rows: npt.NDArray[np.int64]) -> Table | None:
        return self.table.take(rows) if len(rows) else None


def divide(
    table: Table,
    targets: Sequence[str],
    *,
    seed: int,
    test_table: Table | None = None,
    test: float | None = None,
    validation: float | None = None,
    group: str | None = None,
    order: str | None = None,
    overrides: Mapping[str, str] = NO_OVERRIDES,
    exclude: Collection[str] = (),
    task: str | None = None,
    fold: tuple[int, int] | None = None,
) -> Division:
    """Reads the targets, splits the rows (see `hold_out`), and only then learns the schema, from training rows.

    Of the whole table only the targets are read first: their classes tell how to split. `group` names the column
    whose equal rows stay together, and is left out of the inputs; `order` the column of time or numbers to split by.
    With a `fold` of a cross-validation all of its folds are seen to be possible.
    """
    names = as_names(targets)
    for option, column in (("--group", group), ("--order", order)):
        if column is not None:
            require_column(table, option, column)
        if column in names:
            raise UsageError(f"{option} {column}: is the target, whose values are to be found: name another column")
    check_options(table, names, overrides, exclude)
    reading = target_schema(table, names, task)
    used = usable_rows(table, reading)
    classes = [read_labels(used, own) for own in reading.apart if own.classes]
    split_by = partial(
        hold_out,
        used.rows,
        test=0.0 if test_table is not None else test,
        validation=validation,
        seed=seed,
        strata=classes[0] if classes else None,
        others=classes[1:],
        groups=None if group is None else groups_of(used, group),
        order=None if order is None else _moments(used, order),
    )
    split = split_by() if fold is None else [split_by(fold=(place, fold[1])) for place in range(fold[1])][fold[0]]
    left_out = {*exclude, *([group] if group is not None else [])}
    # What the whole target asks for, a part of it must not change.
    schema = infer_schema(used.take(split.train), names, overrides=overrides, exclude=left_out, task=reading.tasks)
    columns = tuple(replace(each, reason="tells the groups") if each.name == group else each for each in schema.columns)
    heads = tuple(replace(own, reason=whole.reason) for own, whole in zip(schema.heads, reading.heads, strict=True))
    schema = replace(schema, heads=heads, columns=columns)
    return Division(schema, split, used, None if test_table is None else usable_rows(test_table, schema))


def groups_of(table: Table, name: str) -> npt.NDArray[Any]:
    """(rows,) what is equal for the rows of one group, by the column that tells them."""
    texts = Reader(table).texts(infer_column(table, name, "category")[0])
    return texts.fill_null("").to_numpy().astype(np.str_)


def _moments(table: Table, name: str) -> npt.NDArray[np.float64]:
    column, _ = infer_column(table, name)
    reader, cells = Reader(table), table.column(name)
    if column.kind == "date":
        return reader.seconds(column)
    # What numbers the rows is no input, and a good order.
    if column.kind == "number" or (column.kind == "skip" and column.distinct > 1 and holds_numbers(cells)):
        return reader.numbers(column)
    found = f"{column.kind} values"
    if column.kind == "skip":
        found = "one value" if column.distinct == 1 else SPOKEN[family_of(cells)] if column.distinct else "nothing"
    raise UsageError(f"--order {name}: holds {found}, expected a column of dates or numbers")
