"""Where a number that is not finite came from: back through a graph whose every value was kept, element by element."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from backpass.graph import Node, bind_rows
from backpass.ops.arithmetic import WHERE
from backpass.ops.contraction import labels
from backpass.ops.kinds import Contraction, Lookup, Movement, Pointwise, Reduction

Array = np.ndarray[Any, Any]
Place = tuple[int, ...]


class Element(NamedTuple):
    """One number of a node's value."""

    node: Node
    place: Place


class Group(NamedTuple):
    """The elements of `node` that an element is made of: `places` has one line an element, a number an axis."""

    node: Node
    places: Array


def origin(node: Node, values: Mapping[Node, Array], rows: int) -> Element:
    """The first element on the way to `node` that is not finite though all that it is made of is.

    Args:
        node: its value is not finite.
        values: of every node.
        rows: of the batch.
    """
    value = values[node]
    bad = np.isnan(value) if np.isnan(value).any() else ~np.isfinite(value)
    found = Element(node, tuple(map(int, np.unravel_index(int(np.argmax(bad)), value.shape))))
    while (before := _before(found, values, rows)) is not None:
        found = before
    return found


def made_of(element: Element, values: Mapping[Node, Array], rows: int) -> list[Group]:
    """The elements that an element is calculated from, one group for each input that has a say in it."""
    node, place = element
    if isinstance(node.op, Pointwise):
        groups = [Group(x, np.array([_stretched(place, values[x].shape)], np.int64)) for x in node.inputs]
        if node.op is not WHERE:
            return groups
        chosen = groups[1] if _read(groups[0], values).all() else groups[2]
        # A NaN that stands there for a condition that failed is the condition's.
        return [groups[0]] if "value" in chosen.node.attributes else [chosen]
    if isinstance(node.op, Reduction):
        return [_reduced(node, place, values)]
    if isinstance(node.op, Contraction):
        return _contracted(node, place, values)
    if isinstance(node.op, Movement):
        return _moved(node, place, values, rows)
    if isinstance(node.op, Lookup):
        return _looked_up(node, place, values)
    return [Group(x, _every(values[x].shape)) for x in node.inputs]


def source(element: Element, values: Mapping[Node, Array], rows: int) -> Element:
    """Where an element has its value from, if it was only moved or looked up there, or put into another type."""
    node = element.node
    while _passes_on(node):
        groups = [group for group in made_of(element, values, rows) if len(group.places)]
        if len(groups) != 1:
            return element
        element = Element(groups[0].node, tuple(map(int, groups[0].places[0])))
        node = element.node
    return element


def _passes_on(node: Node) -> bool:
    if isinstance(node.op, Lookup):
        return len(node.inputs) > 1 and not node.op.scatters
    return isinstance(node.op, Movement) or (isinstance(node.op, Pointwise) and node.op.transparent)


def _before(element: Element, values: Mapping[Node, Array], rows: int) -> Element | None:
    """An element that is not finite, of those that `element` is made of; None where all are."""
    undefined = bool(np.isnan(values[element.node][element.place]))
    groups = made_of(element, values, rows)
    for wanted in (True, False) if undefined else (False,):  # a NaN comes from a NaN, where there is one
        for group in groups:
            if (found := _bad(group, values, undefined=wanted)) is not None and (not wanted or _is_nan(found, values)):
                return found
    return next(_behind([group for group in groups if group.node.dtype.kind == "b"], values, rows), None)


def _behind(groups: list[Group], values: Mapping[Node, Array], rows: int) -> Iterator[Element]:
    """What is not finite behind the truth values of a condition."""
    while groups:
        group = groups.pop()
        found = _bad(group, values, undefined=False)
        if found is not None:
            yield found
        elif group.node.dtype.kind == "b":
            for place in group.places:
                groups += made_of(Element(group.node, tuple(map(int, place))), values, rows)


def _bad(group: Group, values: Mapping[Node, Array], *, undefined: bool) -> Element | None:
    """The first element of a group that is not finite; the first NaN, if that is wanted and there is one."""
    read = _read(group, values)
    if read.dtype.kind != "f":
        return None
    bad = ~np.isfinite(read)
    if undefined and np.isnan(read).any():
        bad = np.isnan(read)
    return Element(group.node, tuple(map(int, group.places[int(np.argmax(bad))]))) if bad.any() else None


def _is_nan(element: Element, values: Mapping[Node, Array]) -> bool:
    return bool(np.isnan(values[element.node][element.place]))


def _read(group: Group, values: Mapping[Node, Array]) -> Array:
    return np.asarray(values[group.node][tuple(group.places.T)]) if len(group.places) else np.zeros(0)


def _every(shape: tuple[int, ...]) -> Array:
    return np.stack(np.unravel_index(np.arange(int(np.prod(shape))), shape), axis=1) if shape else np.zeros((1, 0), int)


def _stretched(place: Place, shape: tuple[int, ...]) -> Place:
    """Of an input of such a shape, the place that was stretched to `place`."""
    own = place[len(place) - len(shape) :]
    return tuple(0 if length == 1 else at for at, length in zip(own, shape, strict=True))


def _reduced(node: Node, place: Place, values: Mapping[Node, Array]) -> Group:
    (x,) = node.inputs
    axes, shape = node.attributes["axes"], values[x].shape
    kept = iter([at for axis, at in enumerate(place) if not (node.attributes["keepdims"] and axis in axes)])
    return Group(x, _along(shape, {axis: next(kept) for axis in range(len(shape)) if axis not in axes}))


def _contracted(node: Node, place: Place, values: Mapping[Node, Array]) -> list[Group]:
    """Of both operands the elements that are multiplied with each other, in the same order."""
    letters = labels(node.attributes["spec"])
    at = dict(zip(letters.out, place, strict=True))
    groups = []
    for x, own in zip(node.inputs, (letters.a, letters.b), strict=True):
        shape, summed = values[x].shape, letters.summed
        order = [own.index(letter) for letter in summed]
        inner = _every(tuple(shape[axis] for axis in order))
        places = np.zeros((len(inner), len(own)), np.int64)
        for axis, letter in enumerate(own):
            places[:, axis] = inner[:, summed.index(letter)] if letter in summed else at[letter]
        groups.append(Group(x, places))
    return groups


def _along(shape: tuple[int, ...], fixed: Mapping[int, int]) -> Array:
    """All places of a shape that have these numbers on these axes."""
    free = _every(tuple(length for axis, length in enumerate(shape) if axis not in fixed))
    places = np.zeros((len(free), len(shape)), np.int64)
    columns = iter(free.T)
    for axis in range(len(shape)):
        places[:, axis] = fixed[axis] if axis in fixed else next(columns)
    return places


def _moved(node: Node, place: Place, values: Mapping[Node, Array], rows: int) -> list[Group]:
    """Found by moving numbers in place of the elements: 0 stands where there was none."""
    numbered, first = [], 1
    for x in node.inputs:
        count = values[x].size
        numbered.append(np.arange(first, first + count).reshape(values[x].shape))
        first += count
    attributes = {key: bind_rows(value, rows) for key, value in node.attributes.items()}
    number = int(node.op.forward(*numbered, **attributes)[place])  # type: ignore[attr-defined]
    for x, own in zip(node.inputs, numbered, strict=True):
        if own.size and own.flat[0] <= number <= own.flat[-1]:
            at = np.unravel_index(number - int(own.flat[0]), own.shape)
            return [Group(x, np.array([at], np.int64).reshape(1, own.ndim))]
    return []


def _looked_up(node: Node, place: Place, values: Mapping[Node, Array]) -> list[Group]:
    if len(node.inputs) == 1:
        return []
    first, indices = node.inputs[0], values[node.inputs[-1]]
    if getattr(node.op, "scatters", False):
        hits = np.argwhere(indices == place[0])
        rest = np.tile(np.array(place[1:], np.int64), (len(hits), 1))
        return [Group(first, np.hstack([hits, rest]).astype(np.int64))]
    number = int(indices[place[: indices.ndim]])
    return [Group(first, np.array([(number, *place[indices.ndim :])], np.int64))]
