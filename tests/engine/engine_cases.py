"""What every test of operations runs on: each record's own samples, made into calls of the awkward sizes as well."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backpass import ops
from backpass.forward import Program, trace
from backpass.ops.catalogue import CATALOGUE
from backpass.ops.kinds import Record
from backpass.ops.samples import Case, Domain

# Shapes for one input, for two, for three: sizes 0 and 1, single numbers, and all ways of stretching.
SHAPES = {
    1: [((3, 4),), ((0,),), ((1,),), ((),), ((2, 0, 3),)],
    2: [((3, 1), (4,)), ((2, 3), (2, 3)), ((0,), (1,)), ((1,), (1,)), ((), ()), ((), (3,)), ((2, 0), (1, 1))],
    3: [((3, 1), (4,), ()), ((0,), (1,), ()), ((), (), ())],
}


def cases(op: Record) -> list[Case]:
    """The calls on which `op` is tested."""
    rng = np.random.default_rng(sum(map(ord, op.name)))
    samples = op.samples
    if not isinstance(samples, Domain):
        return samples(rng)
    return [
        Case(
            tuple(drawn(rng, *bounds, shape, op.kinks) for bounds, shape in zip(samples.bounds, shapes, strict=True)),
            samples.attributes,
        )
        for shapes in SHAPES[len(samples.bounds)]
    ]


def drawn(rng: np.random.Generator, low: float, high: float, shape: tuple[int, ...], kinks: tuple[float, ...]) -> Any:
    """Numbers between the bounds, none of them near a kink."""
    x = np.asarray(rng.uniform(low, high, shape))
    while kinks and (near := np.abs(x[..., None] - np.array(kinks)).min(-1) < 0.02).any():
        x = np.asarray(np.where(near, rng.uniform(low, high, shape), x))
    return x


def every_op(test: Callable[..., Any]) -> Any:
    """The test, once for every operation of the catalogue."""
    return pytest.mark.parametrize("op", CATALOGUE, ids=lambda op: op.name)(test)


def every_case(test: Callable[..., Any]) -> Any:
    """The test, once for every call of every operation of the catalogue."""
    return _every(test, CATALOGUE)


def every_differentiable_case(test: Callable[..., Any]) -> Any:
    """The test, once for every call of every operation that has a real input and does not stop errors on purpose.

    Differences see a slope in `stop_gradient` that its derivative is meant to ignore.
    """
    return _every(test, [op for op in CATALOGUE if real(cases(op)[0]) and op.name != "stop_gradient"])


def _every(test: Callable[..., Any], operations: Any) -> Any:
    calls = [pytest.param(op, case, id=f"{op.name}-{i}") for op in operations for i, case in enumerate(cases(op))]
    return pytest.mark.parametrize(("op", "case"), calls)(test)


def real(case: Case) -> list[int]:
    """The places of the inputs that a derivative can be taken by."""
    return [place for place, x in enumerate(case.inputs) if x.dtype.kind == "f"]


def called(op: Record, case: Case, inputs: Any = None) -> Any:
    return ops.apply(op, *(case.inputs if inputs is None else inputs), **case.attributes)


def traced(op: Record, case: Case, inputs: Any = None) -> Any:
    given = case.inputs if inputs is None else inputs
    return trace(lambda *xs: ops.apply(op, *xs, **case.attributes), *given)


def value_of(function: Callable[..., Any], *arguments: Any, precision: str | None = None) -> Any:
    """The one result of `function`, traced and run."""
    (value,) = Program(trace(function, *arguments).graph, precision=precision)(*arguments)
    return np.asarray(value)


def same_bits(a: Any, b: Any) -> bool:
    """Equal in shape, type and every bit, but that any NaN is as good as any other."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    both_nan = np.isnan(a) & np.isnan(b)
    return bool(np.all(both_nan | ((a == b) & (np.signbit(a) == np.signbit(b)))))


def as_float32(values: Any) -> list[Any]:
    return [x.astype(np.float32) if x.dtype.kind == "f" else x for x in values]
