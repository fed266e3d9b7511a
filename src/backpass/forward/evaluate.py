"""The reference evaluator: a graph, node by node, in NumPy.

It says what a graph means. It can keep every value (for people to look at, and for tests), or let go of each value
after its last use and calculate in the memory of values that are no longer needed (for training).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from backpass.errors import ShapeError
from backpass.forward.structure import Structure, flatten, labels, unflatten
from backpass.forward.trace import Traced
from backpass.graph import BATCH, Graph, Node, bind_rows, show_shape
from backpass.ops.kinds import Contraction, DType, Movement, Pointwise

Array = np.ndarray[Any, Any]
Values = dict[Node, Array]


class _Step(NamedTuple):
    """One node: how its value is made, from which places, for which place; and which places are free after it.

    `into` is the place of an input whose memory takes the result, or -1.
    """

    forward: Callable[..., Any]
    places: tuple[int, ...]
    output: int
    into: int
    free: tuple[int, ...]


_SIZES_KEPT = 8  # batch sizes for which the steps are kept ready


class Program:
    """A graph made ready to run many times.

    Args:
        graph: what to calculate.
        precision: "float32" or "float64" to calculate every floating value in it, None for the types of the graph.

    Raises:
        ShapeError: the graph uses a Tensor of another trace.
    """

    def __init__(self, graph: Graph, *, precision: str | None = None) -> None:
        if graph.strangers:
            raise ShapeError(f"the graph needs {graph.strangers[0]!r}, a Tensor of another function that was traced")
        self.graph = graph
        self._precision = None if precision is None else np.dtype(precision)
        self._places = {node: place for place, node in enumerate(graph.nodes)}
        self._constants, self._steps = self._plan()
        self._bound: dict[int | None, list[_Step]] = {}

    def __call__(self, *inputs: Any) -> list[Array]:
        """The outputs for `inputs`, arrays in the order of `graph.inputs`. What is not needed any more is let go of.

        Raises:
            ShapeError: an input's shape is not the graph's, or the batches differ in their number of rows.
        """
        values, rows = self._start(inputs)
        with np.errstate(all="ignore"):
            for forward, places, output, into, free in self._for_rows(rows):
                given = [values[place] for place in places]
                values[output] = forward(*given) if into < 0 else forward(*given, out=values[into])
                for place in free:
                    values[place] = None
        return [values[self._places[node]] for node in self.graph.outputs]

    def every_value(self, *inputs: Any) -> Values:
        """The value of every node, inputs included. Nothing is written over."""
        values, rows = self._start(inputs)
        with np.errstate(all="ignore"):
            for forward, places, output, _, _ in self._for_rows(rows):
                values[output] = np.asarray(forward(*[values[place] for place in places]))
        return {node: values[place] for node, place in self._places.items()}

    def _for_rows(self, rows: int | None) -> list[_Step]:
        """The steps with the number of rows written into their attributes; kept, since few batches differ in size."""
        steps = self._bound.get(rows)
        if steps is None:
            if len(self._bound) >= _SIZES_KEPT:
                self._bound.clear()
            steps = self._bound[rows] = [step._replace(forward=_with_rows(step.forward, rows)) for step in self._steps]
        return steps

    def _start(self, inputs: Sequence[Any]) -> tuple[list[Any], int | None]:
        """The table of values with the inputs and constants in it, and the number of rows of the batch."""
        if len(inputs) != len(self.graph.inputs):
            raise ShapeError(f"the graph takes {len(self.graph.inputs)} inputs, found {len(inputs)}")
        values: list[Any] = list(self._constants)
        rows: int | None = None
        for node, given in zip(self.graph.inputs, inputs, strict=True):
            array = np.asarray(given, self._type(node.dtype))
            rows = rows_of(node, array, rows)
            values[self._places[node]] = array
        return values, rows

    def _plan(self) -> tuple[list[Array | None], list[_Step]]:
        nodes = self.graph.nodes
        last = self._last_uses()
        reusable = self._own_memory()
        constants: list[Array | None] = [None] * len(nodes)
        steps: list[_Step] = []
        inputs = set(self.graph.inputs)
        for place, node in enumerate(nodes):
            if node in inputs:
                continue
            attributes = {key: self._retyped(value) for key, value in node.attributes.items()}
            if "value" in attributes:
                constants[place] = attributes["value"]
                continue
            used = tuple(self._places[x] for x in node.inputs)
            free = tuple({used_place for used_place in used if last[used_place] == place})
            forward = node.op.forward  # type: ignore[attr-defined]
            call = partial(forward, **attributes) if attributes else forward
            steps.append(_Step(call, used, place, self._into(node, free, reusable), free))
        return constants, steps

    def _last_uses(self) -> list[int]:
        """For each place, the last node that uses it; outputs are in use for ever."""
        last = list(range(len(self.graph.nodes)))
        for place, node in enumerate(self.graph.nodes):
            for x in node.inputs:
                last[self._places[x]] = place
        for node in self.graph.outputs:
            last[self._places[node]] = len(last)
        return last

    def _own_memory(self) -> set[int]:
        """The places whose array is theirs alone: freshly made, and never looked at through a movement of it."""
        own = {
            place
            for place, node in enumerate(self.graph.nodes)
            if isinstance(node.op, Contraction) or (isinstance(node.op, Pointwise) and _is_ufunc(node))
        }
        for node in self.graph.nodes:
            if isinstance(node.op, Movement) or not _is_ufunc(node):
                own.difference_update(
                    self._places[x] for x in node.inputs if isinstance(node.op, (Movement, Pointwise))
                )
        return own

    def _into(self, node: Node, free: tuple[int, ...], reusable: set[int]) -> int:
        """The place of an input that dies here and whose memory can take the result, or -1."""
        if not isinstance(node.op, Pointwise) or not _is_ufunc(node) or node.attributes:
            return -1
        for place in free:
            x = self.graph.nodes[place]
            if place in reusable and x.shape == node.shape and x.dtype == node.dtype and node.shape:
                return place
        return -1

    def _retyped(self, value: Any) -> Any:
        if isinstance(value, np.dtype):
            return self._type(value)
        if not isinstance(value, np.ndarray):
            return value
        value = value.astype(self._type(value.dtype), copy=False)
        value.flags.writeable = False  # it may be handed out as an output
        return value

    def _type(self, dtype: DType) -> DType:
        return self._precision if self._precision is not None and dtype.kind == "f" else dtype


def evaluate(traced: Traced, *arguments: Structure, precision: str | None = None) -> Structure:
    """The result of a traced function for `arguments`, in the structure that the function returned."""
    if labels(arguments) != labels(traced.arguments):
        raise ShapeError(
            f"the arguments hold {labels(arguments)}, the function was traced for {labels(traced.arguments)}"
        )
    outputs = Program(traced.graph, precision=precision)(*flatten(arguments))
    return unflatten(traced.result, [np.array(output)[()] for output in outputs])  # copies: never a view of an argument


def _is_ufunc(node: Node) -> bool:
    return isinstance(getattr(node.op, "forward", None), np.ufunc)


def _with_rows(forward: Callable[..., Any], rows: int | None) -> Callable[..., Any]:
    """`forward` with the number of rows in place of the batch axis in its attributes."""
    if not isinstance(forward, partial):
        return forward
    return partial(forward.func, **{key: bind_rows(value, rows) for key, value in forward.keywords.items()})


def rows_of(node: Node, array: Array, rows: int | None) -> int | None:
    """The number of rows of the batch, once `array` is seen as the value of the input `node`.

    Raises:
        ShapeError: it is not, or another input had another number of rows.
    """
    shape = array.shape
    if shape == node.shape:
        return rows
    if shape and node.shape == (BATCH, *shape[1:]) and rows in (None, shape[0]):
        return int(shape[0])
    fits = array.ndim == node.ndim and all(
        axis is BATCH or axis == n for axis, n in zip(node.shape, array.shape, strict=True)
    )
    label = f"input {node.name!r}" if node.name else "an input"
    if not fits:
        raise ShapeError(f"{label} has shape {show_shape(array.shape)}, expected {show_shape(node.shape)}")
    found: set[int] = {n for axis, n in zip(node.shape, array.shape, strict=True) if axis is BATCH}
    if rows is not None:
        found.add(rows)
    if len(found) > 1:
        raise ShapeError(f"{label} has {array.shape[node.shape.index(BATCH)]} rows where another input has {rows}")
    return found.pop()
