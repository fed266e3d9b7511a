"""Contractions: matrix multiplication and its relatives, products of two values summed over the axes they share."""

from functools import cache, cached_property
from math import prod
from string import ascii_lowercase
from typing import Any

import numpy as np

from backpass.errors import ShapeError
from backpass.graph import Shape, show_shape
from backpass.ops.apply import apply
from backpass.ops.kinds import Contraction, Value
from backpass.ops.movement import reshape
from backpass.ops.samples import Case
from backpass.records import dataclass


@dataclass(frozen=True)
class Labels:
    """A letter for every axis, as in "ik,kj->ij": `a` times `b`, summed over the letters that `out` lacks."""

    a: str
    b: str
    out: str

    @cached_property
    def batch(self) -> str:
        """Letters of all three: a product for each place along them."""
        return "".join(c for c in self.out if c in self.a and c in self.b)

    @cached_property
    def summed(self) -> str:
        return "".join(c for c in self.a if c not in self.out)

    @cached_property
    def only_a(self) -> str:
        return "".join(c for c in self.out if c not in self.b)

    @cached_property
    def only_b(self) -> str:
        return "".join(c for c in self.out if c not in self.a)

    @cached_property
    def plain(self) -> bool:
        """Whether it is a product of two matrices, each as it is or transposed."""
        return not self.batch and len(self.summed) == len(self.only_a) == len(self.only_b) == 1


@cache
def labels(spec: str) -> Labels:
    """The letters of a spec.

    Raises:
        ShapeError: it is not of the form "ik,kj->ij", or a letter stands twice in one part or in one part only.
    """
    operands, arrow, out = spec.replace(" ", "").partition("->")
    a, comma, b = operands.partition(",")
    sound = arrow and comma and all(part == "" or part.isalpha() for part in (a, b, out))
    if not sound or any(len(set(part)) != len(part) for part in (a, b, out)):
        raise ShapeError(f'"{spec}" is no contraction: expected two operands and a result as in "ik,kj->ij"')
    for letter in set(a + b + out):
        if (letter in a) + (letter in b) + (letter in out) == 1:
            raise ShapeError(f'"{spec}": {letter} stands in one part only; sum over that axis before')
    return Labels(a, b, out)


def _shape(a: Shape, b: Shape, *, spec: str) -> Shape:
    axes = labels(spec)
    if len(axes.a) != len(a) or len(axes.b) != len(b):
        raise ShapeError(f'"{spec}" does not fit shapes {show_shape(a)} and {show_shape(b)}')
    lengths = dict(zip(axes.a, a, strict=True))
    for letter, axis in zip(axes.b, b, strict=True):
        if lengths.setdefault(letter, axis) != axis:
            raise ShapeError(f"{show_shape(a)} and {show_shape(b)} do not multiply: {lengths[letter]} against {axis}")
    return tuple(lengths[letter] for letter in axes.out)


def _contract(a: Any, b: Any, *, spec: str) -> Any:
    """By one (batched) matrix product: the axes of each operand are brought into three groups."""
    axes = labels(spec)
    if axes.plain:
        left = a if axes.a[0] in axes.only_a else a.T
        right = b if axes.b[0] in axes.summed else b.T
        return np.matmul(left, right) if axes.out[0] in axes.only_a else np.matmul(left, right).T
    lengths = dict(zip(axes.a + axes.b, a.shape + b.shape, strict=True))
    left = _grouped(a, axes.a, (axes.batch, axes.only_a, axes.summed))
    right = _grouped(b, axes.b, (axes.batch, axes.summed, axes.only_b))
    if not axes.batch:
        left, right = left[0], right[0]
    product = np.matmul(left, right)
    order = axes.batch + axes.only_a + axes.only_b
    product = product.reshape([lengths[letter] for letter in order])
    return product if order == axes.out else product.transpose([order.index(letter) for letter in axes.out])


def _grouped(x: Any, letters: str, groups: tuple[str, str, str]) -> Any:
    """`x` with its axes in the order of `groups`, each group merged to one axis."""
    order = [letters.index(letter) for group in groups for letter in group]
    lengths = [prod(x.shape[letters.index(letter)] for letter in group) for group in groups]
    return x.transpose(order).reshape(lengths)


def _samples(rng: "np.random.Generator") -> list[Case]:
    calls: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
        ("ik,kj->ij", (3, 4), (4, 2)),
        ("ik,jk->ij", (3, 4), (2, 4)),
        ("ki,kj->ij", (4, 3), (4, 2)),
        ("bik,bkj->bij", (2, 3, 4), (2, 4, 2)),
        ("btk,kj->btj", (2, 3, 4), (4, 5)),
        ("btk,btj->kj", (2, 3, 4), (2, 3, 5)),
        ("k,k->", (3,), (3,)),
        ("ik,k->i", (2, 3), (3,)),
        ("i,j->ji", (2,), (3,)),
        ("ik,kj->ij", (0, 4), (4, 2)),
        ("ik,kj->ij", (2, 0), (0, 3)),
        ("ik,kj->ij", (1, 1), (1, 1)),
    ]
    return [Case((rng.normal(size=a), rng.normal(size=b)), {"spec": spec}) for spec, a, b in calls]


def _errors(dy: Value, a: Value, b: Value, spec: str) -> tuple[Value, Value]:
    """Each operand's error is the error at the result, contracted with the other operand."""
    axes = labels(spec)
    return (
        apply(CONTRACT, dy, b, spec=f"{axes.out},{axes.b}->{axes.a}"),
        apply(CONTRACT, a, dy, spec=f"{axes.a},{axes.out}->{axes.b}"),
    )


CONTRACT = Contraction(
    name="contract",
    forward=_contract,
    derivative=lambda dy, y, a, b, *, spec: _errors(dy, a, b, spec),
    shape=_shape,
    samples=_samples,
)


def einsum(spec: str, a: Value, b: Value) -> Any:
    """Products of `a` and `b` summed over shared axes, as "ik,kj->ij" says.

    Every letter stands in at least two of the three parts, and in none of them twice.
    """
    return apply(CONTRACT, a, b, spec=spec.replace(" ", ""))


def matmul(a: Value, b: Value) -> Any:
    """The matrix product of the last two axes; axes before them broadcast; a single axis is a vector, as in NumPy."""
    a, b = (x if hasattr(x, "shape") else np.asarray(x) for x in (a, b))
    if not a.shape or not b.shape:
        raise ShapeError("matmul: a single number has no rows or columns: multiply with *")
    outer_a, outer_b = a.shape[:-2], b.shape[:-2]
    rank = max(len(outer_a), len(outer_b))
    if rank > len(ascii_lowercase):
        raise ShapeError(f"matmul: values of {rank + 2} axes, expected at most {len(ascii_lowercase) + 2}")
    letters = ascii_lowercase[:rank]
    keep_a = _stretching(outer_a, outer_b)
    keep_b = _stretching(outer_b, outer_a)
    in_a = "".join(c for c, keep in zip(letters[rank - len(outer_a) :], keep_a, strict=True) if keep)
    in_b = "".join(c for c, keep in zip(letters[rank - len(outer_b) :], keep_b, strict=True) if keep)
    row, inner, column = ("Y" if len(a.shape) > 1 else ""), "Z", ("X" if len(b.shape) > 1 else "")
    a = reshape(a, [n for n, keep in zip(outer_a, keep_a, strict=True) if keep] + list(a.shape[-2:]))
    b = reshape(b, [n for n, keep in zip(outer_b, keep_b, strict=True) if keep] + list(b.shape[-2:]))
    plain = not letters and row and column
    spec = "ik,kj->ij" if plain else f"{in_a}{row}{inner},{in_b}{inner}{column}->{letters}{row}{column}"
    return apply(CONTRACT, a, b, spec=spec)


def _stretching(mine: Shape, other: Shape) -> list[bool]:
    """For each of my outer axes, aligned at the right: does it stay (True), or stretch from 1 along the other's?"""
    padded = (None,) * (len(mine) - len(other)) + tuple(other)[max(0, len(other) - len(mine)) :]
    return [not (n == 1 and m not in (None, 1)) for n, m in zip(mine, padded, strict=True)]
