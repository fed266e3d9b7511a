"""Tables and arrays: everything between a file and NumPy.

A file becomes a Table (sources), a table is understood as a Schema (schema), rows are held out (splits, division),
and cells become arrays (encoders, targets). polars is imported at the first table, not with this package.
"""

from backpass.data.describe import describe, summary
from backpass.data.division import Division, divide
from backpass.data.encoders.table import TableEncoder
from backpass.data.kinds import Column, Schema
from backpass.data.schema import infer_schema, usable_rows
from backpass.data.sources import read_table
from backpass.data.splits import Split, hold_out
from backpass.data.table import Table
from backpass.data.targets import TargetEncoder

__all__ = [
    "Column",
    "Division",
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
