"""Numbers as waves: what lets a network learn sharp and repeated changes along a number."""

import math
from itertools import pairwise
from typing import Any

from backpass.errors import ShapeError, UsageError
from backpass.nn.checks import require_number, require_whole
from backpass.nn.initializers import Normal, Uniform
from backpass.nn.layer import Layer, Parameters, RowShape, bare, require_shape
from backpass.ops import Key, concatenate, cos, reshape
from backpass.ops.kinds import Value
from backpass.records import dataclass


@dataclass(frozen=True)
class Periodic(Layer):
    """The input, and for chosen numbers of it cosines, cos(2 pi (frequency * x + phase)), with learned frequencies.

    Gorishniy, Rubachev and Babenko, 2022, section 3.3, with learned phases in place of sines, as RealMLP has them
    (Holzmueller, Grinsztajn and Steinwart, 2024). Parameters: `frequency` and `phase` (features, waves).

    Args:
        features: the places of the numbers in the last axis, rising.
        waves: for each of them.
        deviation: of the first frequencies, around 0.
    """

    features: tuple[int, ...]
    waves: int = 16
    deviation: float = 0.1

    def __post_init__(self) -> None:
        require_whole(self, "waves")
        require_number(self, "deviation", "a number of 0 or more", least=0)
        object.__setattr__(self, "features", tuple(self.features))
        whole = all(type(place) is int and place >= 0 for place in self.features)
        if not whole or any(a >= b for a, b in pairwise(self.features)):
            raise UsageError(f"Periodic: features are {self.features}, expected places from 0, rising, such as (0, 2)")

    def init(self, shape: RowShape, key: Key, after: Layer | None = None) -> Parameters:
        del after
        shape = bare(shape)
        if isinstance(shape, dict) or len(shape) != 1 or (self.features and self.features[-1] >= shape[0]):
            raise ShapeError(f"Periodic of features {self.features} cannot take rows of shape {shape}")
        size = len(self.features), self.waves
        return {
            "frequency": Normal(self.deviation)(key.fold("frequency"), size),
            "phase": Uniform(-0.5, 0.5)(key.fold("phase"), size),
        }

    def __call__(self, parameters: Parameters, x: Value, key: Key | None = None) -> Value:
        del key
        if not self.features:
            return x
        frequency, phase = parameters["frequency"], parameters["phase"]
        for name, parameter in (("frequency", frequency), ("phase", phase)):
            require_shape(self, name, parameter, (len(self.features), self.waves))
        chosen: Any = concatenate([x[:, first:last] for first, last in self._runs()], -1)
        angles = (reshape(chosen, (*chosen.shape, 1)) * frequency + phase) * (2 * math.pi)
        waves = reshape(cos(angles), (x.shape[0], len(self.features) * self.waves))
        return concatenate([x, waves], -1)

    def _runs(self) -> list[tuple[int, int]]:
        """Neighbouring places together: the first of each run, and the place after its last."""
        runs: list[tuple[int, int]] = []
        for place in self.features:
            if runs and runs[-1][1] == place:
                runs[-1] = runs[-1][0], place + 1
            else:
                runs.append((place, place + 1))
        return runs
