"""What a column is, what a table is learned as: plain records that a model file carries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, cast

from backpass.data.checked_json import Record, fault
from backpass.data.dates import FORMAT_NAMES
from backpass.data.numerals import NumberStyle
from backpass.records import dataclass

Kind = Literal["number", "category", "boolean", "date", "skip"]
PLAIN = NumberStyle()
KINDS: tuple[Kind, ...] = ("number", "category", "boolean", "date", "skip")
Task = Literal["classification", "regression"]
TASKS: tuple[Task, ...] = ("classification", "regression")
LabelType = Literal["text", "integer", "number", "boolean"]
LABEL_TYPES: tuple[LabelType, ...] = ("text", "integer", "number", "boolean")


@dataclass(frozen=True)
class Column:
    """One column as the training rows show it.

    `missing` counts the training rows without a value, `distinct` the different values. A skipped column has the
    `reason` why; a number its written `style`, and the stray texts and `codes` read as missing; a date its `format`.
    """

    name: str
    kind: Kind
    reason: str = ""
    missing: int = 0
    distinct: int = 0
    style: NumberStyle = PLAIN
    strays: tuple[str, ...] = ()
    format: str = ""
    codes: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "reason": self.reason,
            "missing": self.missing,
            "distinct": self.distinct,
            "style": self.style.to_json(),
            "strays": list(self.strays),
            "format": self.format,
            **({"codes": list(self.codes)} if self.codes else {}),
        }

    @classmethod
    def from_json(cls, record: Record) -> Column:
        column = cls(
            name=record.text("name"),
            kind=cast("Kind", record.choice("kind", KINDS)),
            reason=record.text("reason"),
            missing=record.whole("missing"),
            distinct=record.whole("distinct"),
            style=NumberStyle.from_json(record.record("style")),
            strays=record.texts("strays"),
            format=record.choice("format", ("", *FORMAT_NAMES)),
            codes=record.numbers("codes") if record.has("codes") else (),
        )
        if (column.kind == "date") != bool(column.format):
            raise fault(f"{record.where}.format", "that of a date" if column.format else "there")
        record.finish()
        return column


@dataclass(frozen=True)
class Head:
    """Targets that are answered in one way: one of classes, or amounts; `reason` says why it is that.

    `classes` are the target's labels as in the file, in the order of their numbers, and empty for amounts.
    """

    targets: tuple[Column, ...]
    task: Task
    reason: str
    classes: tuple[str, ...] = ()
    label_type: LabelType = "text"

    def to_json(self) -> dict[str, Any]:
        return {
            "targets": [target.to_json() for target in self.targets],
            "task": self.task,
            "task_reason": self.reason,
            "classes": list(self.classes),
            "label_type": self.label_type,
        }

    @classmethod
    def from_json(cls, record: Record) -> Head:
        return cls(
            targets=tuple(Column.from_json(each) for each in record.records("targets")),
            task=cast("Task", record.choice("task", TASKS)),
            reason=record.text("task_reason"),
            classes=record.texts("classes"),
            label_type=cast("LabelType", record.choice("label_type", LABEL_TYPES)),
        )


@dataclass(frozen=True)
class Schema:
    """How a table is understood: its inputs (skipped ones too, each with its reason), and its targets.

    There is one head for one target, and for several amounts; otherwise one for each target. `rows` counts the training
    rows; `notes` are for people.
    """

    columns: tuple[Column, ...]
    heads: tuple[Head, ...]
    rows: int
    notes: tuple[str, ...] = ()

    @property
    def apart(self) -> tuple[Schema, ...]:
        """For each head the schema that has no other."""
        return (self,) if len(self.heads) == 1 else tuple(replace(self, heads=(head,)) for head in self.heads)

    @property
    def one_by_one(self) -> Schema:
        """The same with a head for each of several amounts."""
        heads = [replace(head, targets=(target,)) for head in self.heads for target in head.targets]
        return replace(self, heads=tuple(heads))

    @property
    def targets(self) -> tuple[Column, ...]:
        return tuple(target for head in self.heads for target in head.targets)

    @property
    def task(self) -> Task | Literal["mixed"]:
        """That of the only head; of several "mixed"."""
        return self.heads[0].task if len(self.heads) == 1 else "mixed"

    @property
    def task_reason(self) -> str:
        """Why the task was chosen."""
        if len(self.heads) == 1:
            return self.heads[0].reason
        return ", ".join(f"{head.targets[0].name}: {head.reason}" for head in self.heads)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """For each target its own."""
        return tuple(head.task for head in self.heads for _ in head.targets)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels of the only head; empty where there are several."""
        return self.heads[0].classes if len(self.heads) == 1 else ()

    @property
    def label_type(self) -> LabelType:
        return self.heads[0].label_type if len(self.heads) == 1 else "text"

    @property
    def inputs(self) -> tuple[Column, ...]:
        """The columns that are used."""
        return tuple(column for column in self.columns if column.kind != "skip")

    @property
    def skipped(self) -> tuple[Column, ...]:
        """The columns that are left out."""
        return tuple(column for column in self.columns if column.kind == "skip")

    @property
    def target_names(self) -> tuple[str, ...]:
        return tuple(target.name for target in self.targets)

    def to_json(self) -> dict[str, Any]:
        """Plain dicts, lists, texts and numbers; `from_json` gives the same schema back."""
        heads = [head.to_json() for head in self.heads]
        return {
            "columns": [column.to_json() for column in self.columns],
            **(heads[0] if len(heads) == 1 else {"heads": heads}),
            "rows": self.rows,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, value: object, where: str = "schema") -> Schema:
        """The schema of a model file; raises ModelFileError, naming the field, for anything that is off."""
        record = Record(value, where)
        columns = tuple(Column.from_json(each) for each in record.records("columns"))
        parts = record.records("heads") if record.has("heads") else []
        heads = tuple(map(Head.from_json, parts or [record]))
        for part in parts:
            part.finish()
        schema = cls(
            columns,
            heads,
            rows=record.whole("rows", 1),
            notes=record.texts("notes"),
        )
        record.finish()
        _check_consistent(schema, where)
        return schema


def _check_consistent(schema: Schema, where: str) -> None:
    names = [column.name for column in (*schema.columns, *schema.targets)]
    if len(set(names)) < len(names):
        raise fault(f"{where}.columns", "a list of columns with names of their own")
    if not schema.targets or not schema.inputs:
        raise fault(f"{where}.{'columns' if schema.targets else 'targets'}", "a list with a usable column")
    if len(schema.heads) > 1 and any(len(head.targets) != 1 for head in schema.heads):
        raise fault(f"{where}.heads", "one target each")
    for head in schema.heads:
        _check_task(head, where)


def _check_task(head: Head, where: str) -> None:
    if head.task == "regression":
        if head.classes or any(target.kind != "number" for target in head.targets):
            raise fault(f"{where}.targets", "numbers without classes, as regression needs")
        return
    if len(head.targets) != 1 or len(set(head.classes)) < max(2, len(head.classes)):
        raise fault(f"{where}.classes", "two or more different labels of one target")
    if head.label_type in ("integer", "number"):
        check_numeric_labels(head.classes, head.label_type, f"{where}.classes")


def check_numeric_labels(classes: tuple[str, ...], label_type: LabelType, where: str) -> None:
    """Raises ModelFileError where labels that should be numbers are not."""
    convert = int if label_type == "integer" else float
    try:
        values = [convert(label) for label in classes]
    except ValueError:
        values = []
    if not values or any(not abs(value) < 2**63 for value in values) or len(set(values)) < len(values):
        raise fault(where, f"a list of different {label_type} labels")
