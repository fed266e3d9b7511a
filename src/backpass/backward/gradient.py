"""Gradients of Python functions."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from backpass.backward.reverse import backward
from backpass.errors import ShapeError
from backpass.forward import Structure, evaluate, flatten, holds_tensors, map_structure, trace, unflatten
from backpass.graph import show_shape
from backpass.ops import Tensor, cast, constant, identity


def value_and_grad(function: Callable[..., Any], argument: int | Sequence[int] = 0) -> Callable[..., Any]:
    """A function that returns the value of `function` and its gradient with respect to one argument, or several.

    Args:
        function: written in `backpass.ops`; returns one real number. Its arguments may be arrays, numbers, or
            dictionaries, lists and tuples of them.
        argument: the place of the argument, or places of several, to differentiate by.

    Returns:
        A function of the same arguments that returns `(value, gradient)`; the gradient has the structure of the
        argument (a tuple of such for several). It can be differentiated again.

    Raises:
        ShapeError: when called, if the function's value is not a single real number.
    """

    @wraps(function)
    def both(*arguments: Structure) -> tuple[Any, Any]:
        if holds_tensors(arguments):
            return _differentiate(function, argument, arguments)
        numbers = tuple(
            map_structure(_real if place in _places(argument) else np.asarray, given)
            for place, given in enumerate(arguments)
        )
        traced = trace(lambda *inputs: _differentiate(function, argument, inputs), *numbers)
        if traced.graph.strangers:  # `function` uses Tensors of a function that is being traced around it
            return _differentiate(function, argument, arguments)
        value, gradient = evaluate(traced, *numbers)
        return value, gradient

    return both


def grad(function: Callable[..., Any], argument: int | Sequence[int] = 0) -> Callable[..., Any]:
    """A function that returns the gradient of `function`; see `value_and_grad`."""
    both = value_and_grad(function, argument)

    @wraps(function)
    def gradient(*arguments: Structure) -> Any:
        return both(*arguments)[1]

    return gradient


def _differentiate(
    function: Callable[..., Any], argument: int | Sequence[int], arguments: Sequence[Structure]
) -> tuple[Tensor, Any]:
    """Value and gradient as Tensors.

    The arguments are made values of their own first: the same Tensor reached by another way is another variable.
    """
    places = _places(argument)
    own = [map_structure(_variable, given) if place in places else given for place, given in enumerate(arguments)]
    value = function(*own)
    if isinstance(value, (float, np.floating)):  # it depends on nothing
        value = constant(value)
    if not isinstance(value, Tensor) or value.shape != ():
        raise ShapeError(
            f"a gradient is of a single number; the function returned {_outline(value)}: sum or average it"
        )
    sources = [flatten(own[place]) for place in places]
    errors = iter(backward(value, [x for group in sources for x in group]))
    gradients = tuple(
        unflatten(own[place], [next(errors) for _ in group]) for place, group in zip(places, sources, strict=True)
    )
    return value, gradients[0] if isinstance(argument, int) else gradients


def _places(argument: int | Sequence[int]) -> tuple[int, ...]:
    return (argument,) if isinstance(argument, int) else tuple(argument)


def _variable(value: Any) -> Tensor:
    tensor = value if isinstance(value, Tensor) else constant(_real(value))
    own: Tensor = identity(tensor) if tensor.dtype.kind == "f" else cast(tensor, np.float64)
    return own


def _real(value: Any) -> Any:
    """`value` as a floating array: whole numbers are varied as float64."""
    array = np.asarray(value)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _outline(value: Any) -> str:
    return f"a value of shape {show_shape(value.shape)}" if hasattr(value, "shape") else f"{type(value).__name__}"
