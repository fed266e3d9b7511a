"""Movements: the same elements at other places."""

from collections.abc import Sequence
from itertools import accumulate
from math import prod
from typing import Any, TypeAlias

import numpy as np

from backpass.errors import ShapeError
from backpass.graph import BATCH, Axis, Batch, Node, Shape, broadcast, show_shape, size
from backpass.ops.apply import apply
from backpass.ops.kinds import Movement, Value
from backpass.ops.samples import Case

Span: TypeAlias = tuple[int, int, int]
"""Of an axis: the first place, the end (not taken), and the step, at least 1."""
Margin: TypeAlias = tuple[int, int, int]
"""Around an axis: zeros before, zeros after, and zeros between neighbours."""


def _reshaped(x: Shape, *, shape: Shape) -> Shape:
    if size(x) != size(shape) or x.count(BATCH) != shape.count(BATCH):
        raise ShapeError(f"reshape: {show_shape(x)} does not hold as many elements as {show_shape(shape)}")
    if BATCH in x and size(x[: x.index(BATCH)]) != size(shape[: shape.index(BATCH)]):
        raise ShapeError(f"reshape: from {show_shape(x)} to {show_shape(shape)} elements would change rows")
    return shape


def _transposed(x: Shape, *, axes: tuple[int, ...]) -> Shape:
    if sorted(axes) != list(range(len(x))):
        raise ShapeError(f"transpose: axes {axes} are no order of the axes of {show_shape(x)}")
    return tuple(x[axis] for axis in axes)


def _stretched(x: Shape, *, shape: Shape) -> Shape:
    if broadcast([x, shape]) != shape:
        raise ShapeError(f"broadcast: {show_shape(x)} does not stretch to {show_shape(shape)}")
    return shape


def _sliced(x: Shape, *, spans: tuple[Span | None, ...]) -> Shape:
    return tuple(axis if span is None else len(range(*span)) for axis, span in zip(x, spans, strict=True))


def _padded(x: Shape, *, margins: tuple[Margin | None, ...]) -> Shape:
    return tuple(_with_margin(axis, margin) for axis, margin in zip(x, margins, strict=True))


def _with_margin(axis: Axis, margin: Margin | None) -> Axis:
    if margin is None:
        return axis
    if isinstance(axis, Batch):
        raise ShapeError("pad: the batch axis cannot be padded")
    before, after, between = margin
    return before + after + axis + between * (axis - 1 if axis else 0)


def _joined(*shapes: Shape, axis: int) -> Shape:
    first = shapes[0]
    for shape in shapes[1:]:
        if len(shape) != len(first) or any(
            a != b for i, (a, b) in enumerate(zip(first, shape, strict=True)) if i != axis
        ):
            raise ShapeError(f"concatenate: {' and '.join(map(show_shape, shapes))} differ outside axis {axis}")
    total = 0
    for shape in shapes:
        length = shape[axis]
        if isinstance(length, Batch):
            raise ShapeError("concatenate: not along the batch axis")
        total += length
    return (*first[:axis], total, *first[axis + 1 :])


def _slice(x: Any, *, spans: tuple[Span | None, ...]) -> Any:
    return x[tuple(slice(None) if span is None else slice(*span) for span in spans)]


def _pad(x: Any, *, margins: tuple[Margin | None, ...]) -> Any:
    shape: Any = _padded(x.shape, margins=margins)
    result = np.zeros(shape, x.dtype)
    places = tuple(
        slice(None) if margin is None else slice(margin[0], length - margin[1], margin[2] + 1)
        for length, margin in zip(result.shape, margins, strict=True)
    )
    result[places] = x
    return result


def _undo_slice(x: Shape, spans: tuple[Span | None, ...]) -> tuple[Margin | None, ...]:
    """The margins that put the elements taken by `spans` back to their places in a shape `x` of zeros."""
    margins: list[Margin | None] = []
    for axis, span in zip(x, spans, strict=True):
        if span is None or isinstance(axis, Batch):
            margins.append(None)
        elif taken := range(*span):
            margins.append((taken[0], axis - 1 - taken[-1], taken.step - 1))
        else:
            margins.append((0, axis, 0))
    return tuple(margins)


def _undo_pad(x: Shape, margins: tuple[Margin | None, ...]) -> tuple[Span | None, ...]:
    """The spans that take the elements of `x` out of what `margins` made of it."""
    return tuple(
        None
        if margin is None or isinstance(axis, Batch)
        else (margin[0], margin[0] + max(0, (axis - 1) * (margin[2] + 1) + 1), margin[2] + 1)
        if axis
        else (0, 0, 1)
        for axis, margin in zip(x, margins, strict=True)
    )


def _parts(dy: Value, inputs: Sequence[Value], axis: int) -> tuple[Value, ...]:
    """The error at a concatenation, cut into the errors of its parts."""
    parts, start = [], 0
    for x in inputs:
        stop = start + x.shape[axis]
        spans = tuple((start, stop, 1) if i == axis else None for i in range(len(x.shape)))
        parts.append(apply(SLICE, dy, spans=spans))
        start = stop
    return tuple(parts)


def _taken_from(index: Sequence[Any], spans: tuple[Span | None, ...]) -> list[Any]:
    return [place if span is None else place * span[2] + span[0] for place, span in zip(index, spans, strict=True)]


def _lower_pad(e: Any, index: Sequence[Any], x: Node, margins: tuple[Margin | None, ...]) -> Any:
    """The element of `x` that stands there, or 0."""
    places, inside = [], []
    for place, margin, axis in zip(index, margins, x.shape, strict=True):
        if margin is None or isinstance(axis, Batch):
            places.append(place)
            continue
        moved, apart = place - margin[0], margin[2] + 1
        inside.append(moved.between(0, (axis - 1) * apart + 1 if axis else 0))
        if apart > 1:
            inside.append(moved.divisible(apart))
        places.append(moved // apart)
    return e.read(x, places, inside=inside)


def _edges_of_pad(x: Node, margins: tuple[Margin | None, ...]) -> list[int]:
    """Where the value begins and ends between the zeros, if there are none inside it."""
    last, length = (margins or (None,))[-1], (x.shape or (1,))[-1]
    return [last[0], last[0] + length] if last is not None and last[2] == 0 and isinstance(length, int) else []


def _lower_flip(e: Any, index: Sequence[Any], x: Node, axes: tuple[int, ...]) -> Any:
    """The element as far from the other end. Lanes may reach past the last row: they would read before the first."""
    places = [e.length(x, i) - 1 - place if i in axes else place for i, place in enumerate(index)]
    turned = [i for i in axes if isinstance(x.shape[i], Batch)]
    return e.read(x, places, inside=[places[i].between(0, e.length(x, i)) for i in turned])


def _lower_concatenate(e: Any, index: Sequence[Any], parts: Sequence[Node], axis: int) -> Any:
    """The element of the part that the place lies in."""
    value, start = None, 0
    for part in parts:
        length = part.shape[axis]
        if isinstance(length, Batch) or length == 0:
            continue
        moved = index[axis] - start
        places = [moved if i == axis else place for i, place in enumerate(index)]
        value = e.read(part, places, inside=[moved.between(0, length)], otherwise=value)
        start += length
    return e.read(parts[0], index) if value is None else value  # of no elements: never done


def _edges_of_parts(*parts: Node, axis: int) -> list[int]:
    """Where each part ends."""
    lengths = [part.shape[axis] for part in parts]
    along = axis == len(parts[0].shape) - 1 and not any(isinstance(length, Batch) for length in lengths)
    return list(accumulate(lengths)) if along else []  # type: ignore[arg-type]


def _cases(*calls: tuple[tuple[int, ...], dict[str, Any]]) -> Any:
    return lambda rng: [Case((rng.normal(size=shape),), attributes) for shape, attributes in calls]


RESHAPE = Movement(
    name="reshape",
    forward=lambda x, *, shape: np.reshape(x, shape),
    derivative=lambda dy, y, x, *, shape: (reshape(dy, x.shape),),
    shape=_reshaped,
    in_order=True,
    lower=lambda e, index, x, *, shape: e.read(x, e.reshaped(index, shape, x.shape)),
    samples=_cases(
        ((2, 3), {"shape": (3, 2)}), ((2, 3), {"shape": (6,)}), ((1,), {"shape": ()}), ((0, 3), {"shape": (3, 0)})
    ),
)
TRANSPOSE = Movement(
    name="transpose",
    forward=lambda x, *, axes: np.transpose(x, axes),
    derivative=lambda dy, y, x, *, axes: (transpose(dy, np.argsort(axes).tolist()),),
    shape=_transposed,
    lower=lambda e, index, x, *, axes: e.read(x, [index[axes.index(axis)] for axis in range(len(axes))]),
    unmoved=lambda *, axes: axes == tuple(range(len(axes))),
    samples=_cases(
        ((2, 3), {"axes": (1, 0)}), ((2, 3, 4), {"axes": (2, 0, 1)}), ((0, 1), {"axes": (1, 0)}), ((), {"axes": ()})
    ),
)
BROADCAST = Movement(
    name="broadcast",
    forward=lambda x, *, shape: np.broadcast_to(x, shape),
    derivative=lambda dy, y, x, *, shape: (dy,),  # the reverse walk sums what was stretched
    shape=_stretched,
    lower=lambda e, index, x, *, shape: e.read(x, e.stretched(index, x.shape)),
    stretches=True,
    samples=_cases(
        ((3,), {"shape": (2, 3)}), ((2, 1), {"shape": (2, 3)}), ((), {"shape": (2,)}), ((1,), {"shape": (0,)})
    ),
)
SLICE = Movement(
    name="slice",
    forward=_slice,
    derivative=lambda dy, y, x, *, spans: (pad(dy, _undo_slice(x.shape, spans)),),
    shape=_sliced,
    lower=lambda e, index, x, *, spans: e.read(x, _taken_from(index, spans)),
    samples=_cases(
        ((5, 3), {"spans": ((1, 4, 1), None)}),
        ((7,), {"spans": ((1, 7, 3),)}),
        ((4, 2), {"spans": ((2, 2, 1), (0, 1, 1))}),
        ((1,), {"spans": ((0, 1, 1),)}),
    ),
)
PAD = Movement(
    name="pad",
    forward=_pad,
    derivative=lambda dy, y, x, *, margins: (apply(SLICE, dy, spans=_undo_pad(x.shape, margins)),),
    shape=_padded,
    lower=lambda e, index, x, *, margins: _lower_pad(e, index, x, margins),
    edges=_edges_of_pad,
    samples=_cases(
        ((2, 3), {"margins": ((1, 2, 0), None)}),
        ((3,), {"margins": ((1, 1, 2),)}),
        ((0,), {"margins": ((1, 2, 1),)}),
        ((1,), {"margins": ((0, 0, 3),)}),
    ),
)
FLIP = Movement(
    name="flip",
    forward=lambda x, *, axes: np.flip(x, axes),
    derivative=lambda dy, y, x, *, axes: (_flipped(dy, axes),),
    shape=lambda x, *, axes: x,
    lower=lambda e, index, x, *, axes: _lower_flip(e, index, x, axes),
    unmoved=lambda *, axes: not axes,
    samples=_cases(
        ((2, 3), {"axes": (1,)}), ((2, 3), {"axes": (0, 1)}), ((0,), {"axes": (0,)}), ((1,), {"axes": (0,)})
    ),
)
CONCATENATE = Movement(
    name="concatenate",
    forward=lambda *parts, axis: np.concatenate(parts, axis),
    derivative=lambda dy, y, *parts, axis: _parts(dy, parts, axis),
    shape=_joined,
    lower=lambda e, index, *parts, axis: _lower_concatenate(e, index, parts, axis),
    edges=_edges_of_parts,
    samples=lambda rng: [
        Case(tuple(rng.normal(size=shape) for shape in shapes), {"axis": axis})
        for shapes, axis in [(((2, 3), (2, 1)), 1), (((1, 3), (2, 3), (0, 3)), 0), (((4,),), 0), (((1,), (0,)), 0)]
    ],
)


def reshape(x: Value, shape: Sequence[Axis] | int) -> Any:
    """`x` with the same elements, in the same order, in another shape; one axis may be -1.

    A shape with a batch axis keeps it: it cannot be merged with another axis.
    """
    wanted = (shape,) if isinstance(shape, int) else tuple(shape)
    if not isinstance(x, Node):
        return apply(RESHAPE, x, shape=wanted)
    if -1 in wanted:
        wanted = tuple(_rest(x.shape, wanted) if axis == -1 else axis for axis in wanted)
    return x if wanted == x.shape else apply(RESHAPE, x, shape=wanted)


def _rest(x: Shape, wanted: Sequence[Axis]) -> Axis:
    """What -1 stands for."""
    known = prod(axis for axis in wanted if isinstance(axis, int) and axis != -1)
    if BATCH in x and BATCH not in wanted:
        return BATCH
    if known == 0 or size(x) % known:
        raise ShapeError(f"reshape: {show_shape(x)} cannot be cut into {list(wanted)}")
    return size(x) // known


def transpose(x: Value, axes: Sequence[int] | None = None) -> Any:
    """`x` with its axes in another order, by default reversed."""
    rank = np.ndim(x)
    order = range(rank)[::-1] if axes is None else axes
    return apply(TRANSPOSE, x, axes=tuple(_place(axis, rank, "transpose") for axis in order))


def broadcast_to(x: Value, shape: Shape) -> Any:
    """`x` stretched to `shape` by NumPy's rule."""
    if isinstance(x, Node) and x.shape == tuple(shape):
        return x
    return apply(BROADCAST, x, shape=tuple(shape))


def concatenate(parts: Sequence[Value], axis: int = -1) -> Any:
    """`parts` one after another along `axis`."""
    if not parts:
        raise ShapeError("concatenate: there is nothing to join")
    return apply(CONCATENATE, *parts, axis=_place(axis, np.ndim(parts[0]), "concatenate"))


def stack(parts: Sequence[Value], axis: int = 0) -> Any:
    """`parts`, all of one shape, along a new axis."""
    grown = []
    for part in parts:
        shape = list(np.shape(part))
        shape.insert(axis if axis >= 0 else len(shape) + 1 + axis, 1)
        grown.append(reshape(part, shape))
    return concatenate(grown, axis)


def flip(x: Value, axis: int) -> Any:
    """`x` with the elements along `axis` in reverse order."""
    return _flipped(x, (_place(axis, np.ndim(x), "flip"),))


def _flipped(x: Value, axes: tuple[int, ...]) -> Any:
    return apply(FLIP, x, axes=axes)


def pad(x: Value, margins: Sequence[Margin | None]) -> Any:
    """`x` with zeros around it: for each axis how many before, after, and between neighbours; None for none."""
    return apply(PAD, x, margins=tuple(margins))


def _place(axis: int, rank: int, name: str) -> int:
    """`axis` counted from the left."""
    if not -rank <= axis < rank:
        raise ShapeError(f"{name}: axis {axis} does not fit a value with {rank} axes")
    return int(axis) % rank


def take(x: Node, index: Any) -> Any:
    """`x[index]` for whole numbers, slices, `...` and `None`, as in NumPy."""
    parts = _full_index(x, index if isinstance(index, tuple) else (index,))
    spans: list[Span | None] = []
    flips: list[int] = []
    shape: list[Axis] = []
    position = 0
    for part in parts:
        if part is None:
            shape.append(1)
            continue
        span, reverse = _span(x.shape[position], part)
        spans.append(span)
        if reverse:
            flips.append(position)
        if isinstance(part, slice):
            shape.append(x.shape[position] if span is None else len(range(*span)))
        position += 1
    taken = x if all(span is None for span in spans) else apply(SLICE, x, spans=tuple(spans))
    for axis in flips:
        taken = flip(taken, axis)
    return reshape(taken, shape)


def _full_index(x: Node, index: tuple[Any, ...]) -> list[Any]:
    """`index` with `...` written out, one entry an axis of `x` (and `None` for each new axis)."""
    given = sum(part is not None and part is not Ellipsis for part in index)
    if given > x.ndim:
        raise ShapeError(f"{given} indices for a value of shape {show_shape(x.shape)}")
    dots = [i for i, part in enumerate(index) if part is Ellipsis]
    if len(dots) > 1:
        raise ShapeError("an index holds `...` once at most")
    at = dots[0] if dots else len(index)
    return [*index[:at], *[slice(None)] * (x.ndim - given), *index[at + 1 :]]


def _span(axis: Axis, part: Any) -> tuple[Span | None, bool]:
    """The span that an index or slice takes of an axis, and whether its elements come in reverse."""
    if isinstance(part, slice) and part.start is part.stop is part.step is None:
        return None, False
    if isinstance(axis, Batch):
        raise ShapeError(f"the batch axis cannot be indexed with {part}: its length is known only when the graph runs")
    try:
        places = range(axis)[part]
    except (TypeError, IndexError, ValueError):
        places = None
    if places is None or isinstance(part, (bool, np.bool_)):
        raise ShapeError(f"{part!r} is no index of an axis of {axis}: expected a whole number inside it, or a slice")
    if isinstance(places, int):
        return (places, places + 1, 1), False
    ascending = places if places.step > 0 else places[::-1]
    return (ascending.start, ascending.stop, ascending.step), places.step < 0
