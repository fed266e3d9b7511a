"""What a schema says of its table, for people and for programs."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from backpass.data.kinds import Column, Kind, Schema
from backpass.data.labels import read_labels
from backpass.data.naming import percent
from backpass.data.table import Table

WIDTH = 80
INDENT = "  "
GAP = "   "
PLURALS: dict[Kind, str] = {"number": "numbers", "category": "categories", "boolean": "booleans", "date": "dates"}
SHOWN = 6
AMOUNTS = {
    "number": "amounts",
    "count": "counts, learned as rates",
    "positive": "positive amounts, learned by their logarithms",
}


def describe(schema: Schema, table: Table, kinds: Sequence[str] = ()) -> list[str]:
    """Lines of at most 80 columns, where words allow: the inputs by kind, what is missing or left out, the notes.

    `table` is the one that is described; what is missing is told of the training rows, as the schema has it. `kinds`
    are those of targets of amounts, one for each head, see `TargetEncoder`.
    """
    lines = [*_heading(schema, table, kinds or ["number"] * len(schema.heads)), *_wrapped(_kinds(schema), GAP)]
    lines += _wrapped(_left_out(schema), ", ", "left out: ")
    where = "" if schema.rows == table.rows else " in rows to train on"
    lines += _wrapped(_missing(schema), ", ", f"missing{where}: ")
    # That text is classes goes without saying; that numbers are does not.
    several = len(schema.heads) > 1
    said = [
        f"target{f' {head.targets[0].name}' if several else ''}: {head.reason}"
        for head in schema.heads
        if "; --" in head.reason
    ]
    return lines + [line for note in (*said, *schema.notes) for line in note_lines(note)]


def _heading(schema: Schema, table: Table, kinds: Sequence[str]) -> list[str]:
    head = f"{table.name}    {table.rows:,} rows, {len(table.columns):,} columns"
    heads = zip(schema.apart, kinds, strict=True)
    targets = [f"target {', '.join(own.target_names)}: {_answers(own, table, kind)}" for own, kind in heads]
    target = "; ".join(targets)
    together = f"{head}    {target}"
    return (
        [together]
        if len(together) <= WIDTH
        else [head, *textwrap.wrap(target, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT * 2)]
    )


def _answers(schema: Schema, table: Table, kind: str) -> str:
    if schema.task == "regression":
        return AMOUNTS[kind]
    shares = class_shares(schema, table)
    common = sorted(shares, key=lambda label: -shares[label])[:SHOWN]
    more = f" and {len(shares) - SHOWN:,} more classes" if len(shares) > SHOWN else ""
    return ", ".join(f"{label} {percent(shares[label])}" for label in common) + more


def class_shares(schema: Schema, table: Table) -> dict[str, float]:
    """For each class, its share of the table's rows that have a target."""
    labels = read_labels(table, schema)
    counts = np.bincount(labels[labels >= 0], minlength=len(schema.classes)).tolist()
    total = max(1, sum(counts))
    return {label: counts[code] / total for code, label in enumerate(schema.classes)}


def _kinds(schema: Schema) -> list[str]:
    counts = Counter(column.kind for column in schema.inputs)
    return [
        f"{counts[kind]:,} {kind if counts[kind] == 1 else plural}{_largest(schema, kind)}"
        for kind, plural in PLURALS.items()
        if counts[kind]
    ]


def _largest(schema: Schema, kind: Kind) -> str:
    columns = [column for column in schema.inputs if column.kind == kind]
    if kind != "category" or len(columns) < 2:
        return ""
    most = max(columns, key=lambda column: column.distinct)
    return f" (largest: {most.name}, {most.distinct:,} levels)"


def _left_out(schema: Schema) -> list[str]:
    return [f"{column.name} ({column.reason})" for column in schema.skipped]


def _missing(schema: Schema) -> list[str]:
    lacking = sorted((column for column in schema.inputs if column.missing), key=lambda column: -column.missing)
    return [f"{column.name} {percent(column.missing / schema.rows)}" for column in lacking]


def _wrapped(items: list[str], joint: str, title: str = "") -> list[str]:
    """The items on lines of 80 columns, broken between items; long lists are cut."""
    if not items:
        return []
    shown = [*items[: 4 * SHOWN], *([f"and {len(items) - 4 * SHOWN:,} more"] if len(items) > 4 * SHOWN else [])]
    lines, line = [], f"{INDENT}{title}{shown[0]}"
    for item in shown[1:]:
        if len(line) + len(joint) + len(item) > WIDTH:
            lines.append((line + joint).rstrip())
            line = f"{INDENT * 2}{item}"
        else:
            line += joint + item
    return [*lines, line]


def note_lines(note: str) -> list[str]:
    """A remark, on lines of 80 columns where words allow."""
    return textwrap.wrap(
        f"note: {note}",
        WIDTH,
        initial_indent=INDENT,
        subsequent_indent=INDENT * 4,
        break_long_words=False,
        break_on_hyphens=False,
    )


def summary(schema: Schema, table: Table) -> dict[str, Any]:
    """The same for programs: plain dicts, lists, texts and numbers."""
    return {
        "table": table.name,
        "rows": table.rows,
        "columns": len(table.columns),
        "targets": list(schema.target_names),
        "task": schema.task,
        "task_reason": schema.task_reason,
        "classes": class_shares(schema, table) if schema.classes else {},
        **({"heads": [_head(own, table) for own in schema.apart]} if len(schema.heads) > 1 else {}),
        "inputs": [_column(column, schema) for column in schema.inputs],
        "left_out": {column.name: column.reason for column in schema.skipped},
        "notes": list(schema.notes),
    }


def _head(schema: Schema, table: Table) -> dict[str, Any]:
    """One of several targets."""
    return {
        "target": schema.target_names[0],
        "task": schema.task,
        "task_reason": schema.task_reason,
        "classes": class_shares(schema, table) if schema.classes else {},
    }


def _column(column: Column, schema: Schema) -> dict[str, Any]:
    return {
        "name": column.name,
        "kind": column.kind,
        "missing": column.missing / schema.rows,
        "distinct": column.distinct,
    }
