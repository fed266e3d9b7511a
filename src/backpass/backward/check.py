"""The gradient check: derivatives by back-propagation against central differences, in float64."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backpass.backward.gradient import value_and_grad
from backpass.errors import NotFiniteError, ShapeError
from backpass.forward import Program, Structure, evaluate, flatten, labels, map_structure, trace, unflatten
from backpass.records import dataclass

Array = np.ndarray[Any, Any]

TOLERANCE = 1e-6
STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
SINGLE_ELEMENTS = 32  # inputs up to this size are varied element by element, larger ones along random directions
_NOISE = 1e-9  # what rounding leaves in a difference quotient of a function of size 1


@dataclass(frozen=True)
class LeafReport:
    """What the check found for one input.

    Attributes:
        label: where the input stands, as "hidden_1.weight".
        largest_error: the largest relative error over the directions that have a derivative.
        directions: how many directions were tried.
        kinks: how many of them run through a kink, where left and right derivative differ (relu at 0); they are not
            errors as long as the derivative lies between the two.
        ok: every error is within the tolerance.
    """

    label: str
    largest_error: float
    directions: int
    kinks: int
    ok: bool


@dataclass(frozen=True)
class GradientReport:
    """The outcome of a gradient check. It is true where every derivative is right, and prints as a table."""

    leaves: tuple[LeafReport, ...]
    tolerance: float

    def __bool__(self) -> bool:
        return all(leaf.ok for leaf in self.leaves)

    @property
    def largest_error(self) -> float:
        return max((leaf.largest_error for leaf in self.leaves), default=0.0)

    @property
    def kinks(self) -> int:
        return sum(leaf.kinks for leaf in self.leaves)

    def __str__(self) -> str:
        width = max([len(leaf.label) for leaf in self.leaves] + [5])
        lines = [f"{'input':<{width}}  largest error  directions  kinks"]
        lines += [
            f"{x.label:<{width}}  {x.largest_error:13.1e}  {x.directions:10,}  {x.kinks:5,}  {_verdict(x.ok)}"
            for x in self.leaves
        ]
        return "\n".join(lines)


def check_gradients(
    function: Callable[..., Any],
    *arguments: Structure,
    tolerance: float = TOLERANCE,
    directions: int = 8,
    seed: int = 0,
) -> GradientReport:
    """Compare the gradient of `function` at `arguments` with central differences, in float64 whatever their type.

    Every floating input is varied: small ones element by element, larger ones along `directions` random directions
    (one inner product with the gradient each, so that every element counts). For each direction several step sizes are
    tried, and the best agreement counts. Errors are relative to the slope, but slopes below a thousandth of the largest
    one, or of the function's size (at least 1), are measured against that: smaller ones drown in rounding.

    Raises:
        ShapeError: the function's value is not a single real number, or there is no floating input.
        NotFiniteError: its value at `arguments` is not finite.
    """
    exact = tuple(map_structure(_exact, argument) for argument in arguments)
    flat = flatten(exact)
    varied = [place for place, leaf in enumerate(flat) if leaf.dtype.kind == "f"]
    if not varied:
        raise ShapeError("none of the inputs is a real number: there is no gradient to check")
    value = _as_value(function, exact)
    start = value(flat)
    if not np.isfinite(start):
        raise NotFiniteError(f"the function's value at these inputs is {start}: there is no gradient to check")
    gradients = _gradients(function, exact, flat, varied)
    rng = np.random.Generator(np.random.Philox(seed))
    names = labels(exact[0] if len(exact) == 1 else exact)
    probes = {
        place: [_probe(value, flat, place, way, start) for way in _ways(flat[place], directions, rng)]
        for place in varied
    }
    floor = _floor(probes, gradients, start)
    return GradientReport(
        tuple(_judge(names[place], probes[place], gradients[place], floor, tolerance) for place in varied), tolerance
    )


@dataclass(frozen=True)
class _Probe:
    """The function's slopes along one direction, for every step size: two-sided, from the left, from the right."""

    direction: Array
    central: Array
    left: Array
    right: Array


def _exact(value: Any) -> Array:
    array = np.asarray(value)
    return array if array.dtype.kind in "biu" and not isinstance(value, (int, float)) else array.astype(np.float64)


def _as_value(function: Callable[..., Any], exact: tuple[Structure, ...]) -> Callable[[Sequence[Array]], float]:
    traced = trace(function, *exact)
    if len(traced.graph.outputs) != 1 or traced.graph.outputs[0].shape != ():
        raise ShapeError("a gradient check is of a function that returns a single number")
    program = Program(traced.graph, precision="float64")
    return lambda flat: float(program(*flat)[0])


def _gradients(
    function: Callable[..., Any], exact: tuple[Structure, ...], flat: Sequence[Array], varied: Sequence[int]
) -> dict[int, Array]:
    def of_varied(parts: list[Any], rest: list[Any]) -> Any:
        return function(*unflatten(exact, _merge(parts, rest, varied)))

    rest = [leaf for place, leaf in enumerate(flat) if place not in varied]
    parts = [flat[place] for place in varied]
    traced = trace(lambda p, r: value_and_grad(of_varied)(p, r)[1], parts, rest)
    return dict(zip(varied, evaluate(traced, parts, rest, precision="float64"), strict=True))


def _merge(parts: Sequence[Any], rest: Sequence[Any], varied: Sequence[int]) -> list[Any]:
    ours, others = iter(parts), iter(rest)
    return [next(ours) if place in varied else next(others) for place in range(len(parts) + len(rest))]


def _ways(x: Array, directions: int, rng: "np.random.Generator") -> list[Array]:
    """Directions to vary `x` along: its elements one by one, or random signs for all elements."""
    if x.size <= SINGLE_ELEMENTS:
        return list(np.eye(x.size).reshape(x.size, *x.shape))
    return [rng.choice([-1.0, 1.0], x.shape) / np.sqrt(x.size) for _ in range(directions)]


def _probe(value: Callable[..., float], flat: Sequence[Array], place: int, way: Array, start: float) -> _Probe:
    reach = max(1.0, float(np.abs(flat[place]).max(initial=0.0)))
    steps = np.array(STEPS) * reach
    above = np.array([value(_moved(flat, place, way * h)) for h in steps])
    below = np.array([value(_moved(flat, place, -way * h)) for h in steps])
    central = (above - below) / (2 * steps)
    # Richardson (1911): two central differences with steps h and h/10 together, without the error in h^2.
    extrapolated = (100 * central[1:] - central[:-1]) / 99
    measured = np.concatenate([central, extrapolated])
    return _Probe(way, measured, (start - below) / steps, (above - start) / steps)


def _moved(flat: Sequence[Array], place: int, change: Array) -> list[Array]:
    return [leaf + change if i == place else leaf for i, leaf in enumerate(flat)]


def _floor(probes: dict[int, list[_Probe]], gradients: dict[int, Array], start: float) -> float:
    """The slope against which smaller ones are measured: a thousandth of the largest, and never below rounding."""
    slopes = [abs(float(np.vdot(gradients[place], probe.direction))) for place in probes for probe in probes[place]]
    largest = max(filter(np.isfinite, slopes), default=0.0)
    return max(1e-3 * largest, _NOISE * max(1.0, abs(start)) / TOLERANCE)


def _judge(label: str, probes: Sequence[_Probe], gradient: Array, floor: float, tolerance: float) -> LeafReport:
    errors, kinks = [0.0], 0
    for probe in probes:
        slope = float(np.vdot(gradient, probe.direction))
        if _is_kink(slope, probe, floor, tolerance):
            kinks += 1
        else:
            errors.append(_relative_error(slope, probe.central, floor))
    return LeafReport(label or "x", max(errors), len(probes), kinks, max(errors) <= tolerance)


def _relative_error(slope: float, measured: Array, floor: float) -> float:
    scale = np.maximum(np.maximum(np.abs(measured), abs(slope)), floor)
    with np.errstate(invalid="ignore"):
        errors = np.abs(measured - slope) / scale
    return float(np.min(np.where(np.isfinite(errors), errors, np.inf)))


def _is_kink(slope: float, probe: _Probe, floor: float, tolerance: float) -> bool:
    """Left and right slope differ, by as much for the small steps as for the large, and `slope` lies between them."""
    before, jump = np.abs(probe.right - probe.left)[-2:]
    lasting = jump > max(0.5 * before, 10 * tolerance * floor)
    low, high = sorted((float(probe.left[-1]), float(probe.right[-1])))
    margin = tolerance * max(floor, abs(low), abs(high)) * 100
    return bool(lasting and low - margin <= slope <= high + margin)


def _verdict(ok: bool) -> str:
    return "right" if ok else "WRONG"
