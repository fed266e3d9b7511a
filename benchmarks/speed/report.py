"""Results: a table on the terminal, JSON with everything, Markdown and drawings from all JSON files of a day."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from speed.drawing import Dots, Drawing
from speed.machine import summary

WIDTH = 80
NUMBER = "number"


@dataclass(frozen=True)
class Column:
    """A column of a table: the key of its values, its heading, and their format ("" for text, or NUMBER)."""

    key: str
    heading: str
    form: str

    def text(self, row: dict[str, Any]) -> str:
        if self == RANGE:
            return f"{short(row['least'])}-{short(row['most'])}"
        value = row.get(self.key)
        if value is None:
            return ""
        return short(value) if self.form == NUMBER else format(value, self.form)


RANGE = Column("range", "range", NUMBER)


def short(value: float) -> str:
    """Three digits that count, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


@dataclass(frozen=True)
class Section:
    """What one measurement found. `rows` may hold more than the columns show."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: list[dict[str, Any]]
    notes: list[str]
    drawing: Drawing | Dots | None = None


def show(section: Section, width: int = WIDTH) -> None:
    """On 80 columns or so many, whatever the terminal has."""
    table = Table(box=SIMPLE, padding=(0, 1), pad_edge=False, min_width=WIDTH // 2)
    for column in section.columns:
        table.add_column(column.heading, justify="right" if column.form else "left", no_wrap=bool(column.form))
    for row in section.rows:
        table.add_row(*(column.text(row) for column in section.columns))
    Console(width=width, highlight=False).print(f"[bold]{section.title}[/]", table, *section.notes, sep="\n")


def save(section: Section, about: dict[str, Any], folder: Path) -> Path:
    """<date>-<section>.json, with the machine and what was asked for; then the day's Markdown anew."""
    folder.mkdir(parents=True, exist_ok=True)
    date = datetime.now(UTC).date().isoformat()
    path = folder / f"{date}-{section.name}.json"
    path.write_text(json.dumps(asdict(section) | about, indent=1) + "\n", encoding="utf-8")
    if section.drawing is not None:
        path.with_suffix(".svg").write_text(section.drawing.svg(), encoding="utf-8")
    (folder / f"{date}.md").write_text(_markdown(date, sorted(folder.glob(f"{date}-*.json"))), encoding="utf-8")
    return path


def _markdown(date: str, paths: list[Path]) -> str:
    """All sections of a day. The machine is said once, unless it changed."""
    parts, said = [f"# Measured, {date}\n"], ""
    for path in paths:
        found = json.loads(path.read_text(encoding="utf-8"))
        if "columns" not in found:  # what another benchmark keeps, with Markdown of its own
            continue
        about = summary(found["machine"])
        if about != said:
            parts.append(about.replace("\n", "  \n") + "\n")
            said = about
        parts += [f"## {found['title']}\n", _table(found)]
        parts += [f"- {note}" for note in found["notes"]]
        if found["drawing"] is not None:
            parts.append(f"\n![{found['title']}]({path.stem}.svg)")
        parts.append("")
    return "\n".join(parts)


def _table(found: dict[str, Any]) -> str:
    columns = [Column(**column) for column in found["columns"]]
    lines = [
        [column.heading for column in columns],
        ["---:" if column.form else "---" for column in columns],
        *([column.text(row) for column in columns] for row in found["rows"]),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"
