"""Reading JSON that a stranger may have written: every field by name and type, and nothing beside them.

Model files carry a table's schema and encoders. What is wrong in them is told as a ModelFileError that names the
field; nothing in them is ever evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from backpass.errors import ModelFileError

Item = TypeVar("Item")


def fault(where: str, expected: str) -> ModelFileError:
    """The error for a field that is not what it must be."""
    return ModelFileError(f"the model file's {where} is not {expected}: the file is damaged or was changed")


class Record:
    """One JSON object, its fields taken one after the other; `finish` raises where some are left over."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise fault(where, "an object")
        self.where = where
        self._fields: dict[str, Any] = dict(value)

    def take(self, key: str) -> Any:
        """The field's value, whatever it is."""
        if key not in self._fields:
            raise fault(f"{self.where}.{key}", "there")
        return self._fields.pop(key)

    def has(self, key: str) -> bool:
        """Is there a field that may also be absent?"""
        return key in self._fields

    def finish(self) -> None:
        """Raises ModelFileError for a field that nothing asked for."""
        if self._fields:
            raise fault(f"{self.where}.{next(iter(self._fields))[:40]}", "a field of this format")

    def text(self, key: str) -> str:
        return _text(self.take(key), f"{self.where}.{key}")

    def choice(self, key: str, choices: Sequence[str]) -> str:
        value = self.take(key)
        if not isinstance(value, str) or value not in choices:
            raise fault(f"{self.where}.{key}", "one of " + ", ".join(repr(choice) for choice in choices))
        return value

    def flag(self, key: str) -> bool:
        value = self.take(key)
        if not isinstance(value, bool):
            raise fault(f"{self.where}.{key}", "true or false")
        return value

    def whole(self, key: str, minimum: int = 0) -> int:
        value = self.take(key)
        if type(value) is not int or not minimum <= value < 2**53:
            raise fault(f"{self.where}.{key}", f"a whole number of at least {minimum}")
        return value

    def number(self, key: str) -> float:
        return _number(self.take(key), f"{self.where}.{key}")

    def positive(self, key: str) -> float:
        value = self.number(key)
        if value <= 0:
            raise fault(f"{self.where}.{key}", "a positive number")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        return self._items(key, _text)

    def numbers(self, key: str) -> tuple[float, ...]:
        return self._items(key, _number)

    def record(self, key: str) -> Record:
        return Record(self.take(key), f"{self.where}.{key}")

    def records(self, key: str) -> tuple[Record, ...]:
        return self._items(key, Record)

    def _items(self, key: str, read: Callable[[Any, str], Item]) -> tuple[Item, ...]:
        value = self.take(key)
        if not isinstance(value, list):
            raise fault(f"{self.where}.{key}", "a list")
        return tuple(read(item, f"{self.where}.{key}[{place}]") for place, item in enumerate(value))


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise fault(where, "a text")
    return value


def _number(value: object, where: str) -> float:
    # A whole number may be too large for a float: that is a fault of the file too.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise fault(where, "a finite number")
    if (isinstance(value, int) and abs(value) > 2**63) or not math.isfinite(value):
        raise fault(where, "a finite number")
    return float(value)
