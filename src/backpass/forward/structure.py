"""Structures: values held in dictionaries, lists and tuples, nested as one likes, as the parameters of a network are.

The order of a dictionary is the order of its keys as they were put in.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from backpass.errors import ShapeError

Structure: TypeAlias = Any


def flatten(structure: Structure) -> list[Any]:
    """The values of a structure, in order. `None` holds no value."""
    values: list[Any] = []
    _gather((structure,), values)
    return values


def labels(structure: Structure) -> list[str]:
    """Where each value of a structure stands, in order, as "hidden_1.weight"."""
    return [label for label, _ in _leaves(structure, "")]


def unflatten(structure: Structure, values: Sequence[Any]) -> Structure:
    """A structure of the form of `structure` that holds `values`.

    Raises:
        ShapeError: there are more or fewer values than places.
    """
    remaining = iter(values)
    try:
        result = _fill(structure, remaining)
    except StopIteration:
        raise ShapeError(f"{len(values)} values are too few for the structure {_outline(structure)}") from None
    if next(remaining, _END) is not _END:
        raise ShapeError(f"{len(values)} values are too many for the structure {_outline(structure)}")
    return result


def map_structure(function: Callable[..., Any], first: Structure, *others: Structure) -> Structure:
    """`function` of the values that stand at the same place of each structure, in the form of the first.

    Raises:
        ShapeError: the structures differ in form.
    """
    places = labels(first)
    for other in others:
        if labels(other) != places:
            raise ShapeError(f"structures differ: {_outline(first)} against {_outline(other)}")
    columns = [flatten(structure) for structure in (first, *others)]
    return unflatten(first, [function(*values) for values in zip(*columns, strict=True)])


_END = object()


def _gather(parts: Iterable[Structure], values: list[Any]) -> None:
    for part in parts:
        if isinstance(part, dict):
            _gather(part.values(), values)
        elif isinstance(part, (list, tuple)):
            _gather(part, values)
        elif part is not None:
            values.append(part)


def _leaves(structure: Structure, label: str) -> Iterator[tuple[str, Any]]:
    if structure is None:
        return
    if isinstance(structure, dict):
        parts = list(structure.items())
    elif isinstance(structure, (list, tuple)):
        parts = list(enumerate(structure))
    else:
        yield label, structure
        return
    for key, part in parts:
        yield from _leaves(part, f"{label}.{key}" if label else str(key))


def _fill(structure: Structure, values: Iterator[Any]) -> Structure:
    if structure is None:
        return None
    if isinstance(structure, dict):
        return {key: _fill(part, values) for key, part in structure.items()}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*[_fill(part, values) for part in structure])
    if isinstance(structure, (list, tuple)):
        return type(structure)([_fill(part, values) for part in structure])
    return next(values)


def _outline(structure: Structure) -> str:
    places = labels(structure)
    shown = ", ".join(places[:6])
    return f"({shown}{', ...' if len(places) > 6 else ''})"
