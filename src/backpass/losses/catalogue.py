"""The losses by name, for the model file and the command line."""

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from backpass.errors import UsageError
from backpass.losses.classification import BinaryCrossEntropy, Brier, CrossEntropy, Hinge
from backpass.losses.loss import Loss
from backpass.losses.regression import Absolute, HalfSumOfSquares, Huber, Poisson, Quantile, Squared

LOSSES: Mapping[str, type[Loss]] = MappingProxyType(
    {
        "squared": Squared,
        "half_sum_of_squares": HalfSumOfSquares,
        "absolute": Absolute,
        "huber": Huber,
        "quantile": Quantile,
        "poisson": Poisson,
        "cross_entropy": CrossEntropy,
        "binary_cross_entropy": BinaryCrossEntropy,
        "brier": Brier,
        "hinge": Hinge,
    }
)


def by_name(name: str, /, **options: Any) -> Loss:
    """The loss that the catalogue calls `name`, with its options.

    Raises:
        UsageError: there is no such loss or option, or the option's value cannot be used.
    """
    kind = LOSSES.get(name)
    if kind is None:
        raise UsageError(f"there is no loss {name!r}: expected one of {', '.join(LOSSES)}")
    known = list(kind.__dataclass_fields__)
    for option in options:
        if option not in known:
            raise UsageError(f"the loss {name} has no option {option!r}: it takes {', '.join(known) or 'none'}")
    return kind(**options)


def describe(loss: Loss) -> tuple[str, dict[str, Any]]:
    """The name and the options, plain values, from which `by_name` makes the same loss again.

    Raises:
        UsageError: the loss is not one of the catalogue.
    """
    for name, kind in LOSSES.items():
        if type(loss) is kind:
            return name, asdict(loss)
    raise UsageError(f"the loss {type(loss).__name__} has no name: the catalogue holds {', '.join(LOSSES)}")
