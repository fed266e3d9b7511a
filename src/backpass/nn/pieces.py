"""Numbers as pieces: what lets even a linear network bend along a number."""

from itertools import pairwise
from typing import Any

import numpy as np

from backpass.errors import ShapeError, UsageError
from backpass.nn.checks import require_whole
from backpass.nn.layer import Layer, Parameters, RowShape, bare
from backpass.ops import Key, clip, concatenate, reshape
from backpass.ops.kinds import Value
from backpass.records import dataclass

FURTHEST = 2.7  # deviations: there the first piece begins and the last one ends


@dataclass(frozen=True)
class Pieces(Layer):
    """The input, and for chosen numbers of it how far each has come in each of several pieces of its range.

    That is 0 before a piece, 1 after it, and rises straight within it, so a weighted sum of all is any line that bends
    where pieces meet (piecewise linear encoding: Gorishniy, Rubachev and Babenko, 2022, section 3.2).
    Numbers are taken to have mean 0 and deviation 1, as a table's encoder makes them: the pieces are those that hold
    equal parts of a normal distribution, and so need nothing that is learned.

    Args:
        features: the places of the numbers in the last axis, rising.
        pieces: for each of them.
    """

    features: tuple[int, ...]
    pieces: int = 16

    def __post_init__(self) -> None:
        require_whole(self, "pieces")
        object.__setattr__(self, "features", tuple(self.features))
        whole = all(type(place) is int and place >= 0 for place in self.features)
        if not whole or any(a >= b for a, b in pairwise(self.features)):
            raise UsageError(f"Pieces: features are {self.features}, expected places from 0, rising, such as (0, 2)")

    def init(self, shape: RowShape, key: Key, after: Layer | None = None) -> Parameters:
        del key, after
        shape = bare(shape)
        if isinstance(shape, dict) or len(shape) != 1 or (self.features and self.features[-1] >= shape[0]):
            raise ShapeError(f"Pieces of features {self.features} cannot take rows of shape {shape}")
        return {}

    @property
    def begins(self) -> np.ndarray[Any, Any]:
        """Where each piece begins, and where the last one ends."""
        from statistics import NormalDist  # it takes 4 ms to import, and most networks have no pieces

        inner = [NormalDist().inv_cdf(place / self.pieces) for place in range(1, self.pieces)]
        return np.array([-FURTHEST, *inner, FURTHEST])

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        del parameters, key
        if not self.features:
            return x
        begins = self.begins
        chosen: Any = concatenate([x[:, place : place + 1] for place in self.features], -1)
        first, inverse = begins[:-1].astype(chosen.dtype), (1 / np.diff(begins)).astype(chosen.dtype)
        places = clip((reshape(chosen, (*chosen.shape, 1)) - first) * inverse, 0.0, 1.0)
        return concatenate([x, reshape(places, (x.shape[0], len(self.features) * self.pieces))], -1)
