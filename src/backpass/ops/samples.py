"""Inputs on which operations are tested: each record states its own."""

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, TypeAlias

import numpy as np

from backpass.records import dataclass


@dataclass(frozen=True)
class Domain:
    """Each input drawn evenly between its two bounds; tests choose the shapes, among them 0, 1 and broadcasting."""

    bounds: tuple[tuple[float, float], ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One call: the inputs and the attributes."""

    inputs: tuple[np.ndarray[Any, Any], ...]
    attributes: Mapping[str, Any]


# As text, for np.random takes time to import, and only tests draw numbers from it.
Cases: TypeAlias = "Callable[[np.random.Generator], list[Case]]"
Samples: TypeAlias = "Domain | Cases"


def between(*bounds: float, **attributes: Any) -> Domain:
    """`between(-3, 3)`: one input from -3 to 3; `between(-3, 3, 1, 2)`: a second one from 1 to 2, and so on."""
    return Domain(tuple(zip(bounds[::2], bounds[1::2], strict=True)), attributes)
