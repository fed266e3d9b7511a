"""Tables and arrays: everything between a file and NumPy.

A file becomes a Table (sources), a table is understood as a Schema (schema), rows are held out (splits, division),
and cells become arrays (encoders, targets). polars is imported at the first table, not with this package, and what is
for tables when it is first used: who trains on arrays pays for neither.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backpass.data.description import describe, summary
    from backpass.data.division import Division, divide
    from backpass.data.encoders.table import TableEncoder
    from backpass.data.file_table import FileTable
    from backpass.data.kinds import Column, Schema
    from backpass.data.schema import infer_schema, usable_rows
    from backpass.data.sources import read_table
    from backpass.data.splits import Split, hold_out
    from backpass.data.table import Table
    from backpass.data.targets import TargetEncoder

_HOMES = {
    "Column": "kinds",
    "Division": "division",
    "FileTable": "file_table",
    "Schema": "kinds",
    "Split": "splits",
    "Table": "table",
    "TableEncoder": "encoders.table",
    "TargetEncoder": "targets",
    "describe": "description",
    "divide": "division",
    "hold_out": "splits",
    "infer_schema": "schema",
    "read_table": "sources",
    "summary": "description",
    "usable_rows": "schema",
}

__all__ = [
    "Column",
    "Division",
    "FileTable",
    "Schema",
    "Split",
    "Table",
    "TableEncoder",
    "TargetEncoder",
    "describe",
    "divide",
    "hold_out",
    "infer_schema",
    "read_table",
    "summary",
    "usable_rows",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"backpass.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'backpass.data' has no attribute {name!r}")
