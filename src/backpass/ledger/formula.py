"""A number and how it came about: always a sum of products, written out."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from backpass.records import dataclass

Array = np.ndarray[Any, Any]
ROUNDINGS = 8  # of the engine's type, that a term and the way to it may have gone through


def number(value: float) -> str:
    """Five digits, or those before the point where they are a few more; there is no 0 below 0."""
    return f"{value:.0f}" if 1e5 <= abs(value) < 1e9 else f"{value + 0.0:.5g}"


def cell(raw: str) -> str:
    """What stands in a cell of a table; a long fraction, as programs write them, in five digits like other numbers."""
    if not re.fullmatch(r"[-+]?\d+\.\d{7,}([eE][-+]?\d+)?", raw):
        return raw
    return number(float(raw))


class Term(NamedTuple):
    """One product of a sum: what it is of, its factors and their product; and what the factors are, if known."""

    label: str
    factors: tuple[float, ...]
    value: float
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Formula:
    """A number that the engine calculated, and the terms that it is the sum of.

    The terms are calculated here, in float64, from the numbers that go in; `value` is the engine's. A formula may hold
    many such numbers at once: then `value` has their shape, and the factors that shape after the axis of the terms.

    Attributes:
        symbol: what is calculated, as "z".
        rule: how, as "Σ weight · input + bias".
        value: what the engine has for it.
        labels: what each term is of.
        factors: arrays, one a factor; the first axis is that of the terms.
        size: what the roundings of the engine are measured against; None for the sum of the sizes of the terms.
        told: whether `value` is the engine's and the terms were written out, so that comparing them says something.
        names: what the factors of each term are, where that is known.
        put: the rule with its numbers put in, where that is not just the terms.
    """

    symbol: str
    rule: str
    value: Any
    labels: Sequence[str]
    factors: tuple[Array, ...]
    size: Any = None
    told: bool = True
    names: Sequence[tuple[str, ...]] = ()
    put: str = ""

    @property
    def products(self) -> Array:
        """The terms."""
        result = np.asarray(self.factors[0], np.float64)
        for factor in self.factors[1:]:
            result = result * factor
        return result

    @property
    def written(self) -> Any:
        """The sum of the terms."""
        return self.products.sum(axis=0)

    @property
    def difference(self) -> Any:
        """How far the sum of the terms is from the engine's value."""
        return np.abs(self.written - np.asarray(self.value, np.float64))

    def allowed(self, precision: Any) -> Any:
        """How far it may be, by the roundings of the engine's type."""
        limits = np.finfo(precision)
        size = np.abs(self.products).sum(axis=0) if self.size is None else np.abs(self.size)
        return limits.eps * (ROUNDINGS + len(self.labels)) * size + ROUNDINGS * limits.tiny

    def at(self, index: tuple[int, ...]) -> "Formula":
        """One of many numbers."""
        where: Any = (slice(None), *index)
        size = None if self.size is None else np.broadcast_to(self.size, np.shape(self.value))[index]
        factors = tuple(
            np.broadcast_to(each, (len(self.labels), *np.shape(self.value)))[where] for each in self.factors
        )
        return Formula(
            self.symbol,
            self.rule,
            float(np.asarray(self.value)[index]),
            self.labels,
            factors,
            size,
            self.told,
            self.names,
        )

    def largest(self, count: int | None = None) -> tuple[list[Term], int, float]:
        """The largest terms, in size; how many others there are, and their sum."""
        products = self.products
        order = np.argsort(-np.abs(products), kind="stable")
        chosen = order if count is None else order[:count]
        rest = order[len(chosen) :]
        terms = [
            Term(
                self.labels[i],
                tuple(float(factor[i]) for factor in self.factors),
                float(products[i]),
                self.names[i] if self.names else (),
            )
            for i in chosen
        ]
        return terms, len(rest), float(products[rest].sum())


def formula(
    symbol: str,
    rule: str,
    value: Any,
    terms: Sequence[tuple[str, Sequence[Any]]],
    size: Any = None,
    *,
    names: Sequence[tuple[str, ...]] = (),
    told: bool = True,
    put: str = "",
) -> Formula:
    """A Formula of a few terms, each a label and its factors; where a term has fewer factors, the others are 1."""
    most = max(len(factors) for _, factors in terms)
    shape = np.shape(value)
    columns = [
        np.stack(
            [
                np.broadcast_to(np.asarray(factors[k] if k < len(factors) else 1.0, np.float64), shape)
                for _, factors in terms
            ]
        )
        for k in range(most)
    ]
    return Formula(symbol, rule, value, [label for label, _ in terms], tuple(columns), size, told, names, put)


def worked(symbol: str, rule: str, terms: Sequence[tuple[str, Sequence[Any]]], **more: Any) -> Formula:
    """A step on the way that the engine has no value of: it is what its terms come to."""
    found = formula(
        symbol, rule, np.zeros(np.broadcast_shapes(*(np.shape(x) for _, own in terms for x in own))), terms, **more
    )
    return replace(found, value=found.written, told=False)


def joined(symbol: str, rule: str, value: Any, parts: Sequence[Formula]) -> Formula:
    """The sum of several formulas, as one."""
    most = max(len(part.factors) for part in parts)
    columns = tuple(
        np.concatenate([part.factors[k] if k < len(part.factors) else np.ones(len(part.labels)) for part in parts])
        for k in range(most)
    )
    sizes = [np.abs(part.products).sum() if part.size is None else abs(part.size) for part in parts]
    size = float(sum(sizes)) if any(part.size is not None for part in parts) else None
    labels = [label for part in parts for label in part.labels]
    names = [name for part in parts for name in (part.names or [()] * len(part.labels))]
    put = parts[0].put if len(parts) == 1 else ""
    return Formula(symbol, rule, value, labels, columns, size, any(part.told for part in parts), names, put)


def untold(symbol: str, rule: str, value: float, label: str) -> Formula:
    """The engine's value, as it is."""
    return Formula(symbol, rule, value, [label], (np.array([value]),), told=False)
