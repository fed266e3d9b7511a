"""The history of a training: one record an epoch."""

from typing import Any

INTERRUPTED = "interrupted"
"""The reason of a training that Ctrl-C ended."""

TIME_IS_OVER = "the time is over"
"""The reason of a training that ended after so many seconds."""


class History(list[dict[str, Any]]):
    """A list of one dictionary an epoch: epoch, loss, validation_loss, metrics, seconds, rows_per_second.

    `reason` says why training ended, `kept` the epoch whose weights were kept. `print(history)` is a table.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reason = ""
        self.kept = 0

    def column(self, name: str) -> list[Any]:
        """One number of every record, as `history.column("loss")`."""
        return [record.get(name) for record in self]

    def __str__(self) -> str:
        if not self:
            return "no epoch was trained"
        names = list(self[0])
        cells = [names, *[[_cell(name, record.get(name)) for name in names] for record in self]]
        widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
        lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in cells]
        return "\n".join([*lines, self.reason])


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in ("epoch", "rows_per_second"):
        return f"{value:,.0f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
