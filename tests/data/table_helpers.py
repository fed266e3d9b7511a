"""What the tests of backpass.data share: small files, small tables, and the folder of public data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backpass.data import Table, read_table

PUBLIC = Path(__file__).resolve().parents[3] / "shared" / "data"


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(folder: Path, content: str | bytes, name: str = "small.csv", **options) -> Table:
    return read_table(written(folder, name, content), **options)


def text_table(**columns) -> Table:
    """A table as a CSV would give it: every cell is text, None where empty."""
    cells = {name: [None if cell is None else str(cell) for cell in values] for name, values in columns.items()}
    table = Table.from_data(cells, name="small.csv")
    return Table(table.name, table.frame, table.notes, delimiter=",")


def public(name: str) -> Path:
    """The path of a public data set; the test is skipped where the folder is not."""
    if not (PUBLIC / name).is_file():
        pytest.skip(f"{PUBLIC / name} is not on this machine")
    return PUBLIC / name


def drawn(rows: int, seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox([seed, rows]))


def answers(rows: int) -> list[str]:
    """A target that nothing else gives away."""
    drawn_ones = ["yes" if value else "no" for value in drawn(rows, 99).integers(0, 2, rows)]
    return ["yes", "no", *drawn_ones][:rows]
