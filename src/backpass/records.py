"""Dataclasses that cost nothing until they are used: their methods are made then, not when their module is imported.

For each class the standard library writes up to six functions as text and compiles them, most of a millisecond. There
are well over a hundred layers, losses, optimizers, events and the like, of which one program uses few: making them
all was a good part of the time until the first step of a training.
"""

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from reprlib import recursive_repr
from threading import RLock
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

_OPTIONS = {"eq", "frozen", "init", "kw_only", "repr"}

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls: type | None = None, /, **options: bool) -> Any:
        """As that of the standard library, which is called at the first instance, or when the fields are asked for.

        `slots`, `order` and `unsafe_hash` are not to be had, a TypeError: their methods would have to be there at
        once. A dataclass of either kind may inherit from the other.
        """
        if not options.keys() <= _OPTIONS:
            raise TypeError(f"a dataclass made when it is used takes {', '.join(sorted(_OPTIONS))}: found {[*options]}")
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
                    try:
                        _make(self.kind, **options)
                    except BaseException:
                        self._options = options  # the next instance meets the same error
                        raise
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


def _make(kind: Any, *, eq: bool = True, repr: bool = True, **options: bool) -> None:  # noqa: A002 - its name there
    """A dataclass of `kind`. Comparison, hash and text need no functions of its own: those here look at its fields."""
    own = vars(kind)
    hashes = own.get("__hash__") is not None or ("__hash__" in own and "__eq__" not in own)
    dataclasses.dataclass(eq=False, repr=False, **options)(kind)
    if eq and "__eq__" not in own:
        kind.__eq__ = _equality(kind)
    if eq and not hashes:
        kind.__hash__ = _hash(kind) if options.get("frozen") else None
    if repr and "__repr__" not in own:
        kind.__repr__ = _text(kind)


def _equality(kind: Any) -> Callable[[Any, object], Any]:
    values = _values(kind)

    def equal(self: Any, other: object) -> Any:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    return equal


def _hash(kind: Any) -> Callable[[Any], int]:
    values = _values(kind)

    def hashed(self: Any) -> int:
        return hash(values(self))

    return hashed


def _values(kind: Any) -> Callable[[Any], Any]:
    """A function that gives the fields that are compared, as a tuple, which holds a NaN equal to itself."""
    names = [field.name for field in dataclasses.fields(kind) if field.compare]
    found = attrgetter(*names) if names else lambda _: ()
    return found if len(names) != 1 else lambda self: (found(self),)


def _text(kind: Any) -> Callable[[Any], str]:
    names = [field.name for field in dataclasses.fields(kind) if field.repr]

    @recursive_repr()
    def shown(self: Any) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return shown


class _Fact:
    """An attribute of a class, though not of its instances, that is found when it is asked for."""

    def __init__(self, find: Callable[[type], Any]) -> None:
        self._find = find

    def __get__(self, own: object, kind: type) -> Any:
        return self._find(kind) if own is None else None
