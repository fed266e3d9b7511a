"""Dataclasses that cost nothing until they are used: their methods are made then, not when their module is imported.

For each class the standard library writes up to six functions as text and compiles them, most of a millisecond. There
are well over a hundred layers, losses, optimizers, events and the like, of which one program uses few: making them
all was a good part of the time until the first step of a training.
"""

import dataclasses
from collections.abc import Callable
from threading import RLock
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls: type | None = None, /, **options: bool) -> Any:
        """As that of the standard library, which is called at the first instance, or when the fields are asked for.

        `slots` is not to be had. A dataclass of either kind may inherit from the other.
        """
        return _Unmade(cls, options).kind if cls is not None else lambda cls: _Unmade(cls, options).kind


_lock = RLock()  # again for the bases of a class, which are made with it


class _Unmade:
    """Waits in the places of a class by which anybody comes to its instances or its fields."""

    def __init__(self, kind: Any, options: dict[str, bool]) -> None:
        self.kind = kind
        self._options: dict[str, bool] | None = options
        self._is_made = False
        # It stays: Python calls a class without a `__new__` of its own in another way for good, once it had one.
        kind.__new__ = self._new
        kind.__dataclass_fields__ = _Fact(lambda _: self.make().__dataclass_fields__)
        kind.__dataclass_params__ = _Fact(lambda _: self.make().__dataclass_params__)
        kind.__signature__ = _Fact(self._signature)

    def make(self) -> Any:
        if not self._is_made:
            with _lock:
                options, self._options = self._options, None
                if options is not None:
                    dataclasses.dataclass(**options)(self.kind)
                    self._is_made = True
        return self.kind

    def _new(self, kind: type, /, *_: object, **__: object) -> Any:
        if not self._is_made:
            self.make()
        return object.__new__(kind)

    def _signature(self, kind: Any) -> Any:
        """What `help` shows of how the class is called."""
        import inspect

        self.make()
        _, *parameters = (whole := inspect.signature(kind.__init__)).parameters.values()
        return whole.replace(parameters=parameters)


class _Fact:
    """An attribute of a class, though not of its instances, that is found when it is asked for."""

    def __init__(self, find: Callable[[type], Any]) -> None:
        self._find = find

    def __get__(self, own: object, kind: type) -> Any:
        return self._find(kind) if own is None else None
