"""Tracing: a Python function, called once with Tensors in place of numbers, leaves the graph of what it calculates."""

from collections.abc import Callable
from typing import Any

import numpy as np

from backpass.errors import ShapeError
from backpass.forward.structure import Structure, flatten, labels, map_structure, unflatten
from backpass.graph import Graph, Node, Shape
from backpass.ops import Tensor, constant, new_input
from backpass.records import dataclass


@dataclass(frozen=True)
class Spec:
    """Shape and dtype of an input that has no numbers yet. `backpass.graph.BATCH` stands for the batch axis."""

    shape: Shape
    dtype: Any = np.float32


@dataclass(frozen=True)
class Traced:
    """The graph of a function, and the structures that its arguments and its result have."""

    graph: Graph
    arguments: Structure
    result: Structure

    def __str__(self) -> str:
        return str(self.graph)


def trace(function: Callable[..., Any], *arguments: Structure, names: tuple[str, ...] = ()) -> Traced:
    """The graph of `function` of `arguments`, which are structures of Specs, arrays or numbers.

    Each input is named by where it stands ("hidden_1.weight"), after `names` where they are given for the arguments.

    Raises:
        ShapeError: shapes do not fit, the function returned no value, or it asks for numbers that are not there yet.
    """
    inputs = tuple(
        map_structure(_input, argument, _named(argument, name))
        for argument, name in zip(arguments, names or ("",) * len(arguments), strict=True)
    )
    result = function(*inputs)
    leaves = flatten(result)
    if not leaves:
        raise ShapeError("the function returned nothing: a traced function returns the values it calculates")
    outputs = tuple(constant(leaf) for leaf in leaves)
    graph = Graph(tuple(flatten(inputs)), outputs)
    return Traced(graph, inputs, unflatten(result, outputs))


def holds_tensors(structure: Structure) -> bool:
    return any(isinstance(leaf, Node) for leaf in flatten(structure))


def like(value: Any) -> Spec:
    """The Spec of a value; whole numbers given as plain numbers are taken as float64, since they are to be varied."""
    if isinstance(value, Spec):
        return value
    if isinstance(value, Node):  # of another function that is being traced
        return Spec(value.shape, value.dtype)
    array = np.asarray(value)
    plain = isinstance(value, (bool, int, float))
    return Spec(array.shape, np.float64 if plain else array.dtype)


def _named(argument: Structure, name: str) -> Structure:
    places = labels(argument)
    return unflatten(argument, [".".join(part for part in (name, place) if part) for place in places])


def _input(value: Any, name: str) -> Tensor:
    given = like(value)
    return new_input(given.shape, given.dtype, name)
