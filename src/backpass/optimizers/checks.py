"""What the options of an optimizer or schedule must be, and the one error that says they are not."""

import math
import operator
from collections.abc import Callable
from numbers import Real
from typing import Any

from backpass.errors import UsageError
from backpass.records import dataclass


@dataclass(frozen=True)
class Expectation:
    """What a number must be: in words, and as a test of a finite number. `optional` allows None as well."""

    text: str
    holds: Callable[[float], bool]
    whole: bool = False
    optional: bool = False


NOT_NEGATIVE = Expectation("a number of at least 0", lambda x: x >= 0)
POSITIVE = Expectation("a number above 0", lambda x: x > 0)
LEARNING_RATE = Expectation("a number of at least 0, or a schedule", lambda x: x >= 0)
DECAY = Expectation("a number of at least 0 and below 1", lambda x: 0 <= x < 1)
FACTOR = Expectation("a number above 0 and below 1", lambda x: 0 < x < 1)
FRACTION = Expectation("a number from 0 to 1", lambda x: 0 <= x <= 1)
AT_LEAST_ONE = Expectation("a number of at least 1", lambda x: x >= 1)
COUNT = Expectation("a whole number of at least 1", lambda x: x >= 1, whole=True)
COUNT_OR_ZERO = Expectation("a whole number of at least 0", lambda x: x >= 0, whole=True)
SPAN = Expectation(
    "a whole number of at least 1, or None for the whole training", lambda x: x >= 1, whole=True, optional=True
)


def require(owner: Any, **expected: Expectation) -> None:
    """See that the named options of `owner`, a frozen dataclass, are as expected, and keep them as plain numbers.

    Raises:
        UsageError: one is not; the message names the owner, the option, what was found and what was expected.
    """
    for option, expectation in expected.items():
        value = checked(type(owner).__name__, option, getattr(owner, option), expectation)
        object.__setattr__(owner, option, value)


def checked(owner: str, option: str, value: Any, expectation: Expectation) -> float | int | None:
    """`value` as a plain number.

    Raises:
        UsageError: it is not what `expectation` says.
    """
    if value is None and expectation.optional:
        return None
    number = _whole(value) if expectation.whole else _real(value)
    if number is None or not math.isfinite(number) or not expectation.holds(number):
        raise UsageError(f"{owner}: {option}={value!r} cannot be used: expected {expectation.text}")
    return number


def _real(value: Any) -> float | None:
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None
