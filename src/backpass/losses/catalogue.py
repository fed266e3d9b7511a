"""The losses by name, for the model file and the command line."""

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from backpass.errors import UsageError
from backpass.losses.classification import BinaryCrossEntropy, Brier, CrossEntropy, Hinge
from backpass.losses.heads import Head, Heads
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


HEADS = "heads"
"""The name of that which is made of others."""


def by_name(name: str, /, **options: Any) -> Loss:
    """The loss that the catalogue calls `name`, with its options.

    Raises:
        UsageError: there is no such loss or option, or the option's value cannot be used.
    """
    kind = Heads if name == HEADS else LOSSES.get(name)
    if kind is None:
        raise UsageError(f"there is no loss {name!r}: expected one of {', '.join(LOSSES)}")
    known = list(kind.__dataclass_fields__)
    for option in options:
        if option not in known:
            raise UsageError(f"the loss {name} has no option {option!r}: it takes {', '.join(known) or 'none'}")
    return Heads(_heads(**options)) if kind is Heads else kind(**options)


def describe(loss: Loss) -> tuple[str, dict[str, Any]]:
    """The name and the options, plain values, from which `by_name` makes the same loss again.

    Raises:
        UsageError: the loss is not one of the catalogue.
    """
    if isinstance(loss, Heads):
        return HEADS, {HEADS: [_plain(head) for head in loss.heads]}
    for name, kind in LOSSES.items():
        if type(loss) is kind:
            return name, asdict(loss)
    raise UsageError(f"the loss {type(loss).__name__} has no name: the catalogue holds {', '.join(LOSSES)}")


def _plain(head: Head) -> dict[str, Any]:
    name, options = describe(head.loss)
    return {"name": name, "options": options} | {field: getattr(head, field) for field in _OF_HEAD}


_OF_HEAD = "outputs", "scale", "class_weights"


def _heads(heads: Any = ()) -> tuple[Head, ...]:
    """From the plain data of each."""
    known = {"name", "options", *_OF_HEAD}
    found = []
    for plain in heads if isinstance(heads, (list, tuple)) else [heads]:
        if not isinstance(plain, Mapping) or set(plain) != known or not isinstance(plain["options"], Mapping):
            raise UsageError(f"the loss heads has a head {plain!r}: expected {', '.join(sorted(known))} of each")
        options = {key: _whole(value) for key, value in plain["options"].items()}
        found.append(Head(by_name(str(plain["name"]), **options), *(_whole(plain[field]) for field in _OF_HEAD)))
    return tuple(found)


def _whole(value: Any) -> Any:
    """A list of JSON as the tuple that it was."""
    return tuple(value) if isinstance(value, list) else value
