"""The history of a training: one record an epoch."""

import os
from collections.abc import Callable, Sequence
from threading import RLock
from typing import Any

INTERRUPTED = "interrupted"
"""The reason of a training that Ctrl-C ended."""

TIME_IS_OVER = "the time is over"
"""The reason of a training that ended after so many seconds."""


Records = list[dict[str, Any]]


class _Making:
    """Whoever looks first makes the records; others may look on from other threads, which a forked child has not."""

    def __init__(self) -> None:
        self.lock = RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._in_child)

    def _in_child(self) -> None:
        self.lock = RLock()


_making = _Making()


class History(Records):
    """A list of one dictionary an epoch: epoch, loss, validation_loss, metrics, seconds, rows_per_second.

    `reason` says why training ended, `kept` the epoch whose weights were kept. `print(history)` is a table.
    """

    _later: Sequence[tuple[int, Callable[[], Records]]] = ()  # of a copy, until it has its own

    def __init__(self) -> None:
        super().__init__()
        self.reason = ""
        self.kept = 0
        self._later = []
        self._first = 0  # the place of the first record that is still to be made

    def add_later(self, last: int, records: Callable[[], Records]) -> None:
        """Have the records of some epochs, the last of them number `last`, made when somebody looks at any."""
        with _making.lock:
            if not self._later:
                self._first = list.__len__(self)
            self._later = [*self._later, (last, records)]

    @property
    def last_epoch(self) -> int | None:
        """The number of the last one; None where there is none."""
        later = self._later[-1:]
        return later[0][0] if later else int(self[-1]["epoch"]) if self else None

    def _made(self) -> None:
        """Make what is still to be made. If Ctrl-C comes in between, whoever looks next does it again."""
        with _making.lock:
            if self._later:
                made = [record for _, records in self._later for record in records()]
                list.__setitem__(self, slice(self._first, None), made)
                self._later = []

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


def _looks(name: str) -> Callable[..., Any]:
    """The method of that name of lists, after all records are made."""
    plain = getattr(list, name)

    def looks(self: History, *arguments: Any, **options: Any) -> Any:
        if self._later:
            self._made()
        return plain(self, *arguments, **options)

    looks.__name__, looks.__doc__ = name, plain.__doc__
    return looks


def _added_to(self: History, before: Records) -> Any:
    """Before Python lets a list take what stands in this one as it is."""
    del before
    self._made()
    return NotImplemented


for _name in (
    *("__add__", "__contains__", "__delitem__", "__eq__", "__ge__", "__getitem__", "__gt__", "__iadd__", "__imul__"),
    *("__iter__", "__le__", "__len__", "__lt__", "__mul__", "__ne__", "__repr__", "__reversed__", "__rmul__"),
    *("__setitem__", "append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse"),
    "sort",
):
    setattr(History, _name, _looks(_name))
History.__radd__ = _added_to  # type: ignore[attr-defined]


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in ("epoch", "rows_per_second"):
        return f"{value:,.0f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
