"""How a table is understood: what each column is, what the target asks for, and what a person should know of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import cast

import numpy as np
import numpy.typing as npt

from backpass.data.codes import codes_in, told_of_target
from backpass.data.infer import ROW_NUMBERS, infer_column, told_how_read
from backpass.data.kinds import KINDS, TASKS, Column, Kind, Schema, Task
from backpass.data.labels import NO_LABEL, read_labels
from backpass.data.naming import listed, of_columns, quoted
from backpass.data.repeats import repeats
from backpass.data.table import Table
from backpass.data.target import infer_heads
from backpass.data.values import Reader
from backpass.errors import TableError, UsageError

NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})


def infer_schema(
    table: Table,
    targets: Sequence[str],
    *,
    overrides: Mapping[str, str] = NO_OVERRIDES,
    exclude: Collection[str] = (),
    task: str | Sequence[Task] | None = None,
) -> Schema:
    """The schema of a table, from its training rows: pass those alone, so that nothing of a test part leaks in.

    `overrides` says what columns are (number, category, boolean, date or skip), `exclude` names columns to leave
    out, `task` is "classification", "regression", one of them for each target, or None to tell by the targets. Raises
    UsageError for options that do not fit the table, TableError for a table that does not hold what is needed.
    """
    wanted = as_names(targets)
    check_options(table, wanted, overrides, exclude)
    draft = target_schema(table, wanted, task)
    used = usable_rows(table, draft)
    columns, notes = _infer_columns(used, wanted, overrides, exclude)
    schema = replace(draft, columns=columns, rows=used.rows)
    return replace(schema, notes=(*used.notes, *_of_targets(used, draft), *notes, *repeats(used, schema)))


def _of_targets(table: Table, schema: Schema) -> list[str]:
    """Notes for targets of amounts: how they are read, and that some among them look like codes for none."""
    notes: list[str] = []
    for column in (target for head in schema.heads if not head.classes for target in head.targets):
        notes += told_how_read(table, column.name)
        codes, rows = codes_in(Reader(table).numbers(column))
        if codes:
            notes.append(told_of_target(column.name, codes, rows / table.rows))
    return notes


def as_names(targets: Sequence[str]) -> list[str]:
    """A list of names, of one where a lone text was given."""
    return [targets] if isinstance(targets, str) else list(targets)


def target_schema(table: Table, targets: Sequence[str], task: str | Sequence[Task] | None = None) -> Schema:
    """What the targets ask for, before any input is looked at: a schema without input columns."""
    return Schema((), infer_heads(table, targets, _checked_task(task)), table.rows)


def _checked_task(task: str | Sequence[Task] | None) -> Task | Sequence[Task] | None:
    if isinstance(task, str) and task not in TASKS:
        raise UsageError(f"--task {task!r}: must be one of {', '.join(TASKS)}")
    return task


def check_options(table: Table, targets: Sequence[str], overrides: Mapping[str, str], exclude: Collection[str]) -> None:
    """Raises TableError for an absent target, UsageError for options that name absent columns or unknown kinds."""
    if not targets:
        raise UsageError("--target: names no column: name the one that holds the answers")
    for target in targets:
        table.column(target)
    if len(set(targets)) < len(targets):
        raise UsageError(f"--target {','.join(targets)}: names a column twice")
    for option, names in (("--column", overrides), ("--exclude", exclude)):
        for name in names:
            _check_option(table, option, name, targets)
    for name, kind in overrides.items():
        if kind not in KINDS:
            raise UsageError(f"--column {name}={kind}: the kind must be one of {', '.join(KINDS)}")


def _check_option(table: Table, option: str, name: str, targets: Sequence[str]) -> None:
    require_column(table, option, name)
    if name in targets:
        raise UsageError(f"{option} {name}: is the target, which cannot be changed so: use --task, or another target")


def require_column(table: Table, option: str, name: str) -> None:
    """Raises UsageError for an option that names a column that is not there."""
    if name not in table.columns:
        hint = of_columns(name, table.columns)
        raise UsageError(f"{option} {name}: {table.name} has no column {quoted(name)}. {hint}")


def usable_rows(table: Table, schema: Schema) -> Table:
    """The rows whose targets are all there; where some are not, the table's notes say how many were dropped."""
    missing = missing_targets(table, schema)
    count = int(missing.sum())
    if not count:
        return table
    if count == table.rows:
        raise TableError(f"{table.name}: no row has a value for {listed(schema.target_names)}: fill in the answers")
    rows = "1 row" if count == 1 else f"{count:,} rows"
    kept = table.take(np.flatnonzero(~missing))
    note = f"{rows} of {table.name} without {listed(schema.target_names)}: left out"
    return replace(kept, notes=(*kept.notes, note))


def missing_targets(table: Table, schema: Schema) -> npt.NDArray[np.bool_]:
    """(rows,) if a row lacks a target."""
    reader = Reader(table)
    missing = [np.isnan(reader.numbers(target)) for head in schema.heads if not head.classes for target in head.targets]
    missing += [read_labels(table, own) == NO_LABEL for own in schema.apart if own.classes]
    return np.asarray(np.any(missing, axis=0))


def _infer_columns(
    table: Table, targets: Sequence[str], overrides: Mapping[str, str], exclude: Collection[str]
) -> tuple[tuple[Column, ...], list[str]]:
    columns: list[Column] = []
    notes: list[str] = []
    for name in table.columns:
        if name in targets:
            continue
        if name in exclude:
            columns.append(Column(name, "skip", "excluded as asked"))
            continue
        column, remarks = infer_column(table, name, cast("Kind | None", overrides.get(name)))
        columns.append(column)
        notes.extend(remarks)
    return _with_an_input(table, columns), notes


def _with_an_input(table: Table, columns: list[Column]) -> tuple[Column, ...]:
    """The columns, with row numbers back in where nothing else is left: they may be what is meant (x = 1, 2, 3...)."""
    if all(column.kind == "skip" for column in columns):
        columns = [
            replace(column, kind="number", reason="") if column.reason == ROW_NUMBERS else column for column in columns
        ]
    if all(column.kind == "skip" for column in columns):
        reasons = "; ".join(f"{column.name}: {column.reason}" for column in columns[:4])
        raise TableError(
            f"{table.name}: no column is left as an input ({reasons or 'there is the target alone'}): "
            "add columns, or say what one is with --column NAME=category"
        )
    return tuple(columns)
