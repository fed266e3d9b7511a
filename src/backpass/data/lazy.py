"""polars, imported at its first use: a network trained on arrays never pays for it.

Every module of this room writes `from backpass.data.lazy import pl`, and nothing else imports polars.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__all__ = ["pl"]

if TYPE_CHECKING:
    import polars as pl
else:

    class _Later:
        """Stands for a module until something of it is asked for."""

        def __init__(self, module: str) -> None:
            self._module = module

        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module(self._module), name)

    pl = _Later("polars")
