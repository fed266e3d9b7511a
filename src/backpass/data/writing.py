"""Columns to a CSV file's bytes."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def csv_bytes(columns: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """The columns as CSV with one header row: commas, quotes where they are needed, numbers so that they read back."""
    import polars as pl

    return pl.DataFrame(dict(columns)).write_csv().encode()
