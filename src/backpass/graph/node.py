"""A node: one value of a computation, and how it comes from others."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backpass.graph.shapes import Shape, show_shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Op:
    """What a graph knows of an operation: its name and how shape and dtype of the result follow from the inputs."""

    name: str

    def infer(self, inputs: Sequence["Node"], attributes: Mapping[str, Any]) -> tuple[Shape, np.dtype[Any]]:
        """Shape and dtype of the result. Raises ShapeError where the inputs do not fit."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Node:
    """One value: `op` applied to `inputs`. Frozen, and equal only to itself.

    `attributes` are the constants of the operation (axes, a shape); `name` is the place in the user's code that the
    node comes from, as "hidden_1".
    """

    op: Op
    inputs: tuple["Node", ...]
    shape: Shape
    dtype: np.dtype[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __repr__(self) -> str:
        label = f" {self.name!r}" if self.name else ""
        return f"<{self.op.name}{label} {self.dtype}{show_shape(self.shape)}>"


_SCOPE: ContextVar[str] = ContextVar("backpass_scope", default="")


def current_scope() -> str:
    """The name that nodes made now will carry."""
    return _SCOPE.get()


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Name the nodes made inside: nested scopes join with a dot, as in "block_1.dense_2"."""
    outer = _SCOPE.get()
    token = _SCOPE.set(f"{outer}.{name}" if outer else name)
    try:
        yield
    finally:
        _SCOPE.reset(token)
