"""What the options of a layer or initializer must be: numbers as plain ones, and one error that says what is wrong."""

import math
import operator
from numbers import Real
from typing import Any

from backpass.errors import UsageError


def require_whole(owner: Any, name: str, *, least: int = 1) -> None:
    """See that an option of `owner`, a frozen dataclass, is a whole number, and keep it as a plain one.

    Raises:
        UsageError: it is not, or it is below `least`.
    """
    value = getattr(owner, name)
    try:
        found = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = least - 1
    if found < least:
        raise _unfit(owner, name, f"a whole number of {least} or more")
    object.__setattr__(owner, name, found)


def require_number(owner: Any, name: str, expected: str = "a finite number", *, least: float = -math.inf) -> None:
    """See that an option of `owner` is a finite number, and keep it as a plain float.

    Raises:
        UsageError: it is not, or it is below `least`; the message says that `expected` was.
    """
    value = getattr(owner, name)
    found = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not math.isfinite(found) or found < least:
        raise _unfit(owner, name, expected)
    object.__setattr__(owner, name, found)


def require_kind(owner: Any, name: str, kind: type, expected: str) -> None:
    """See that an option of `owner` is of a kind.

    Raises:
        UsageError: it is not; the message says that `expected` was.
    """
    if not isinstance(getattr(owner, name), kind):
        raise _unfit(owner, name, expected)


def _unfit(owner: Any, name: str, expected: str) -> UsageError:
    return UsageError(f"{type(owner).__name__}: {name} is {getattr(owner, name)!r}, expected {expected}")
