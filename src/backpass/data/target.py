"""What the target asks for: classes or amounts, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from backpass.data.dates import fitting_formats
from backpass.data.families import SPOKEN, Floats, as_floats, as_text, family_of
from backpass.data.infer import is_padded_code
from backpass.data.kinds import Column, Head, Kind, LabelType, Task
from backpass.data.labels import WHOLE, ordered_classes
from backpass.data.lazy import pl
from backpass.data.naming import quoted
from backpass.data.numerals import MISSING_NUMBER, MISSING_TEXT, fitting_styles, nearest_style
from backpass.data.table import Table
from backpass.data.tally import Tally, tally_of
from backpass.data.values import infinite_value
from backpass.errors import TableError

if TYPE_CHECKING:
    from polars import Series

MOST_CLASSES = 1000
CODED_CLASSES, ROWS_A_CODE = 20, 5
NUMERIC_SHARE = 0.95


class NoAmountsError(TableError):
    """A target that is to be amounts, as was asked for, and holds no numbers; `found` says what it holds."""

    def __init__(self, table: Table, name: str, what: str) -> None:
        super().__init__(
            f"{table.name}: target {quoted(name)} holds {what}, where regression needs numbers: "
            "correct it, or leave out --task regression"
        )
        self.found = f"target {quoted(name)} of {table.name} holds {what}"


def infer_heads(table: Table, names: Sequence[str], task: Task | Sequence[Task] | None = None) -> tuple[Head, ...]:
    """Reads what the target columns hold.

    Text and booleans are classes; so are numbers of two values, and integers from 0 or 1 up to at most 20 without gaps,
    with 5 rows a value or more; other numbers are amounts. Several that are all amounts are one head. A `task` that is
    asked for is that of each target that can have it; or it is given for each. Raises TableError where a target has no
    values or only one, text among its numbers, infinite numbers, or more than 1,000 classes, or where none can have the
    task.
    """
    if len(names) == 1 or not (task is None or isinstance(task, str)):
        tasks = [task] if task is None or isinstance(task, str) else task
        found = [_one_target(table, name, own) for name, own in zip(names, tasks, strict=True)]
    elif task is None:
        found = [_one_target(table, name, None) for name in names]
    else:
        found = _as_asked(table, names, task)
    if len(found) > 1 and all(head.task == "regression" for head in found):
        columns = tuple(target for head in found for target in head.targets)
        return (Head(columns, "regression", "several targets: read as amounts"),)
    return tuple(found)


def _as_asked(table: Table, names: Sequence[str], task: Task) -> list[Head]:
    """Several targets, each with the task if it can have it, and as it is otherwise."""
    found: list[Head] = []
    errors: list[TableError] = []
    for name in names:
        try:
            found.append(_one_target(table, name, task))
        except TableError as error:
            errors.append(error)
            found.append(_one_target(table, name, None))
    if len(errors) == len(names):
        raise errors[0]
    return found


def _one_target(table: Table, name: str, task: Task | None) -> Head:
    if task == "regression":
        return Head((_amounts(table, name),), task, "as asked")
    series = table.column(name)
    family = family_of(series)
    if family in ("date", "clock", "other"):
        raise _unfit(table, name, SPOKEN[family])
    texts = as_text(series)
    tally = tally_of(texts, MISSING_TEXT)
    if not tally.distinct:
        raise _no_values(table, name)
    if family == "boolean":
        return _classes(table, name, tally, "boolean", "booleans: read as classes")
    values = _numeric_levels(table, texts, name, tally, task)
    if values is None:
        return _text_target(table, name, tally, task)
    return _numeric_target(table, name, tally, values, task)


def _no_values(table: Table, name: str) -> TableError:
    return TableError(f"{table.name}: target {quoted(name)} has no values: name a column that holds the answers")


def _unfit(table: Table, name: str, what: str) -> TableError:
    return TableError(f"{table.name}: target {quoted(name)} holds {what}: a target must be numbers or classes")


def _numeric_levels(table: Table, texts: Series, name: str, tally: Tally, task: Task | None) -> Floats | None:
    """The different values of a target of numbers, or None where it is text."""
    numeric = tally.without(MISSING_NUMBER)
    values = numeric.levels.cast(pl.Float64, strict=False)
    if not numeric.distinct or is_padded_code(numeric.levels):
        return None
    if not values.has_nulls():
        return as_floats(values)
    if task is not None:
        return None
    styles = fitting_styles(numeric.levels, table.delimiter)
    if styles:
        return as_floats(styles[0].read(numeric.levels))
    strays = numeric.where(values.is_null())
    amounts = numeric.distinct - strays.distinct
    if amounts > CODED_CLASSES and strays.present <= (1 - NUMERIC_SHARE) * numeric.present:
        raise _text_among_numbers(table, texts, name, strays.levels)
    return None


def _text_among_numbers(table: Table, texts: Series, name: str, strays: Series) -> TableError:
    position = texts.is_in(strays.to_list()).arg_max() or 0
    return TableError(
        f"{table.name}: target {quoted(name)} holds text in row {table.row_number(position):,} "
        f"({quoted(texts[position])}) among its numbers: correct the row, or empty the cell to leave the row out"
    )


def _text_target(table: Table, name: str, tally: Tally, task: Task | None) -> Head:
    if task is None and tally.distinct > 2 and fitting_formats(tally.levels):
        raise _unfit(table, name, "dates")
    return _classes(table, name, tally, "text", "text: read as classes")


def _numeric_target(table: Table, name: str, tally: Tally, values: Floats, task: Task | None) -> Head:
    decided, reason = (task, "as asked") if task else task_of_numbers(values, tally.present)
    numeric = tally.without(MISSING_NUMBER)
    if task is None and _label_type(numeric.levels) == "text" and len(values) > 2:
        # Codes of classes are written without units or marks.
        decided, reason = "regression", f"numbers {values.min():g}..{values.max():g}: read as amounts"
    if decided == "regression":
        return Head((_amounts(table, name),), "regression", reason)
    return _classes(table, name, numeric, _label_type(numeric.levels), reason)


def task_of_numbers(values: Floats, rows: int) -> tuple[Task, str]:
    """The task that numbers of these different values set, and why in words."""
    low, high, distinct = values.min(), values.max(), len(np.unique(values))
    if distinct == 2:
        return "classification", "two values: read as classes; --task regression if they are amounts"
    whole = bool(np.all(values == np.round(values)))
    codes = whole and low in (0, 1) and high - low + 1 == distinct
    if codes and 1 < distinct <= CODED_CLASSES and rows >= ROWS_A_CODE * distinct:
        reason = f"integers {low:.0f}..{high:.0f}: read as classes; --task regression if they are amounts"
        return "classification", reason
    kind = "integers" if whole else "numbers"
    asked = "; --task classification if they are classes" if whole and distinct <= CODED_CLASSES else ""
    return "regression", f"{kind} {low:g}..{high:g}: read as amounts{asked}"


def _label_type(levels: Series) -> LabelType:
    if not levels.cast(pl.Float64, strict=False).is_not_null().all():
        return "text"
    return "integer" if all(WHOLE.fullmatch(label) for label in levels) else "number"


def _classes(table: Table, name: str, tally: Tally, label_type: LabelType, reason: str) -> Head:
    _refuse_identifiers(table, name, tally)
    labels = _canonical(tally.levels.to_list(), label_type)
    if len(labels) == 1:
        raise TableError(
            f"{table.name}: target {quoted(name)} is {quoted(labels[0])} in every row: "
            "learning needs at least two classes"
        )
    kind: Kind = "boolean" if label_type == "boolean" else "category"
    column = Column(name, kind, missing=tally.missing, distinct=len(labels))
    return Head((column,), "classification", reason, ordered_classes(labels, label_type), label_type)


def _canonical(labels: list[str], label_type: LabelType) -> list[str]:
    """One label a class: "1" and "01" and "+1" are one number."""
    if label_type == "integer":
        return [str(value) for value in sorted({int(label) for label in labels})]
    if label_type == "number":
        return [repr(value) for value in sorted({float(label) for label in labels})]
    return labels


def _refuse_identifiers(table: Table, name: str, tally: Tally) -> None:
    if tally.distinct > MOST_CLASSES or (tally.distinct > CODED_CLASSES and 2 * tally.distinct > tally.present):
        raise TableError(
            f"{table.name}: target {quoted(name)} has {tally.distinct:,} different values in {tally.present:,} rows, "
            "too many to be classes: is it an identifier, or free text? Name another column"
        )


def _amounts(table: Table, name: str) -> Column:
    """The record of a target of numbers; raises TableError for anything else in it."""
    series = table.column(name)
    family = family_of(series)
    if family not in ("text", "number"):
        raise _no_values(table, name) if family == "empty" else NoAmountsError(table, name, SPOKEN[family])
    column = _text_amounts(table, series) if family == "text" else Column(name, "number")
    values = as_floats(column.style.read(as_text(series)) if family == "text" else series)
    present = values[~np.isnan(values)]
    if np.isinf(present).any():
        raise infinite_value(table, name, int(np.argmax(np.isinf(values))))
    distinct = len(np.unique(present))
    if distinct < 2:
        raise _constant_amount(table, name, present)
    return Column(name, "number", missing=len(values) - len(present), distinct=distinct, style=column.style)


def _text_amounts(table: Table, series: Series) -> Column:
    texts = as_text(series)
    tally = tally_of(texts, MISSING_NUMBER)
    values = tally.levels.cast(pl.Float64, strict=False)
    if not values.has_nulls():
        return Column(series.name, "number")
    styles = fitting_styles(tally.levels, table.delimiter)
    if not styles:
        nearest = nearest_style(tally.levels, table.delimiter)
        strays = tally.levels if nearest is None else tally.levels.filter(nearest.read(tally.levels).is_null())
        if strays.len() == tally.distinct:
            position = texts.is_in(strays.to_list()).arg_max() or 0
            found = f"text in row {table.row_number(position):,} ({quoted(texts[position])})"
            raise NoAmountsError(table, series.name, found)
        raise _text_among_numbers(table, texts, series.name, strays)
    return Column(series.name, "number", style=styles[0])


def _constant_amount(table: Table, name: str, present: Floats) -> TableError:
    if not len(present):
        return _no_values(table, name)
    return TableError(f"{table.name}: target {quoted(name)} is {present[0]:g} in every row: there is nothing to learn")
