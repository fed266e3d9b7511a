"""The error function, which NumPy lacks, and the normal distribution's function built on it."""

import math
from functools import cache
from typing import Any

import numpy as np

from backpass.ops.apply import apply
from backpass.ops.elementary import exp
from backpass.ops.kinds import Pointwise, Value
from backpass.ops.samples import between

_STEP = 1.0 / 64  # distance between the points that the Taylor series start from
_LIMIT = 6.0  # erf(6) is 1 to the last bit of a float64
_TERMS = 8


@cache
def _series() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Taylor coefficients of erf around each multiple of _STEP in [0, _LIMIT], shape (_TERMS, points).

    With e(t) = 2/sqrt(pi) * exp(-t^2) = erf'(t), e' = -2 t e gives for its coefficients
    (n + 1) e_{n+1} = -2 t e_n - 2 e_{n-1}, and the coefficients of erf are e_{n-1} / n.
    """
    points = np.arange(0, _LIMIT + _STEP, _STEP)
    slopes = [2 / math.sqrt(math.pi) * np.exp(-points * points)]
    slopes.append(-2 * points * slopes[0])
    for n in range(1, _TERMS - 2):
        slopes.append((-2 * points * slopes[n] - 2 * slopes[n - 1]) / (n + 1))
    start = np.array([math.erf(point) for point in points])
    return np.stack([start, *(slope / (n + 1) for n, slope in enumerate(slopes))])


def _erf(x: Any) -> Any:
    """erf in float64 to 2 units in the last place, in the type of `x`."""
    x = np.asarray(x)
    distance = np.minimum(np.abs(x.astype(np.float64)), _LIMIT)
    filled = np.where(np.isnan(distance), 0.0, distance)
    point = np.rint(filled / _STEP).astype(np.intp)
    offset = distance - point * _STEP
    series = _series()
    result = series[-1, point]
    for coefficients in series[-2::-1]:
        result = result * offset + coefficients[point]
    return np.copysign(result, x).astype(x.dtype)


ERF = Pointwise(
    name="erf",
    forward=_erf,
    derivative=lambda dy, y, x: (dy * (2 / math.sqrt(math.pi)) * exp(-x * x),),
    takes="real",
    lower=lambda e, x: e.erf(x),
    cost=25,
    samples=between(-3.0, 3.0),
)


def erf(x: Value) -> Any:
    """The error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    return apply(ERF, x)
