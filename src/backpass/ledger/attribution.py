"""Why a prediction: what each column adds to it, by integrated gradients.

Sundararajan, Taly and Yan, Axiomatic attribution for deep networks, 2017, equation 1: the share of a feature is
(x - x') times the mean of its derivative along the straight way from a baseline x' to x. The shares add up to the
difference of the outputs; how far they do here, with a sum in place of the integral, is told with them. The baseline is
the mean of the rows trained on. A category goes its way between the vectors, or the indicators, that the network has
for it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from backpass.backward.reverse import backward
from backpass.data.arrays import Array, Inputs, count_rows, take_rows
from backpass.data.naming import did_you_mean
from backpass.errors import UsageError
from backpass.forward import Program, Spec, Structure, flatten, map_structure, one_thread, trace
from backpass.graph import BATCH, current_scope
from backpass.ledger.watching import Seen, rebuilt, watched
from backpass.ledger.words import Words
from backpass.losses import Loss
from backpass.nn import Layer
from backpass.ops import Key, reshape
from backpass.ops import sum as sum_
from backpass.ops.kinds import Value
from backpass.records import dataclass

FEWEST, MOST = 256, 1 << 14  # points on the way
AT_ONCE = 256
CLOSE = 1e-4  # of the difference of the outputs: then the sum is good enough


class Share(NamedTuple):
    """What a column adds to an output; `raw` is its cell, None where a value is missing, "" where there is no table."""

    column: str
    raw: str | None
    value: float


@dataclass(frozen=True)
class Why:
    """An output for one row, and the columns' shares of it.

    Attributes:
        row: the number of the row.
        output: which output, in words.
        value, baseline: the output for the row, and for the mean of the rows trained on.
        shares: of all columns, the largest first.
        points: how many derivatives the integrals are sums of.
        error: the sum of the shares less the difference of the outputs.
        answers: every output, by name.
        others: the other targets, or classes of the target, that can be asked for.
        step: the network is that before this step; None for the one that was kept.
    """

    row: int
    output: str
    value: float
    baseline: float
    shares: tuple[Share, ...]
    points: int
    error: float
    answers: dict[str, float]
    others: tuple[str, ...] = ()
    step: int | None = None


@dataclass(frozen=True, eq=False)
class _Given(Layer):
    """In the place of a layer that takes whole numbers: what it made of them."""

    layer: Layer
    made: Mapping[str, Any]

    def __call__(self, parameters: Any, x: Value, key: Key | None = None) -> Value:
        if current_scope() in self.made:
            return self.made[current_scope()]
        return self.layer(parameters, x, key)


def why(
    network: Layer,
    parameters: Structure,
    loss: Loss,
    rows: Inputs,
    row: Inputs,
    *,
    words: Words,
    number: int,
    raw: Mapping[str, str],
    output: str | None = None,
    among: int | None = None,
    temperature: Array | float = 1.0,
    units: Sequence[tuple[float, float]] = (),
) -> Why:
    """The columns' shares of an output.

    Args:
        network, parameters, loss: the network.
        rows: those trained on; their mean is the baseline.
        row: one row, as the network takes it.
        words: how features and outputs are called.
        number, raw: of the row: its number, and its cells.
        output: which one, by its name, or the largest one of a target, by its; None for the largest, or the first.
        among: of how many outputs, the first ones, it is then the largest; None for all.
        temperature: what outputs are divided by, all alike or each.
        units: for each output what it is multiplied by, and what is added then, to be in the units of the table.

    Raises:
        UsageError: there is no such output.
    """
    start, end, columns, count = _ends(network, parameters, rows, row, words)
    run = _program(network, parameters, loss, row, start, count, temperature)
    answers = run(_between(start, end, np.ones(1)), 0)[0][0]
    names = list(words.outputs) if len(words.outputs) == len(answers) else [f"output[{k}]" for k in range(len(answers))]
    scales = list(units) if len(units) == len(answers) else [(1.0, 0.0)] * len(answers)
    place = _which(names, output, answers, among)
    asked = [_target(name, words.targets) for name in names]
    scale, shift = scales[place]
    baseline = run(_between(start, end, np.zeros(1)), place)[0][0]
    difference = float(answers[place] - baseline[place])
    for points in (FEWEST, 4 * FEWEST, MOST):
        shares = _shares(run, start, end, place, points)
        error = float(shares.sum()) - difference
        if abs(error) <= CLOSE * abs(difference):
            break
    found: dict[str, float] = {}
    for column, share in zip(columns, shares, strict=True):
        found[column] = found.get(column, 0.0) + scale * float(share)
    ranked = sorted(found.items(), key=lambda each: -abs(each[1]))
    return Why(
        row=number,
        output=names[place],
        value=scale * float(answers[place]) + shift,
        baseline=scale * float(baseline[place]) + shift,
        shares=tuple(Share(column, (raw[column] or None) if column in raw else "", value) for column, value in ranked),
        points=points,
        error=scale * error,
        answers={
            name: own * float(answer) + center
            for name, answer, (own, center) in zip(names, answers, scales, strict=True)
        },
        others=tuple(name for name in dict.fromkeys(asked) if name != asked[place]),
    )


def _which(names: list[str], wanted: str | None, answers: Array, among: int | None) -> int:
    if wanted is None:
        return int(np.argmax(answers[:among]))
    if wanted in names:
        return names.index(wanted)
    of_target = [place for place, name in enumerate(names) if _target(name, [wanted]) == wanted]
    if not of_target:
        raise UsageError(f"no output is called {wanted!r}. {did_you_mean(wanted, names, 'There are')}")
    return max(of_target, key=lambda place: float(answers[place]))


def _target(name: str, targets: Sequence[str]) -> str:
    """The target that an output belongs to, where it is one of its classes, as "type=net"; or else its own name."""
    return next((target for target in targets if name.startswith(f"{target}=")), name)


Way = tuple[dict[str, Array], dict[str, Array]]
"""Real inputs by name, and what layers made of whole numbers, by where they stand: each a row a point."""


def _ends(
    network: Layer, parameters: Structure, rows: Inputs, row: Inputs, words: Words
) -> tuple[Way, Way, list[str], int]:
    """Baseline and row, the column of each number of them in order, and how many outputs the network has."""
    seen: list[Seen] = []
    entries: dict[int, str] = {}

    def run(p: Structure, x: Any) -> Any:
        entries.update({id(part): name for name, part in (x.items() if isinstance(x, dict) else [("", x)])})
        outputs = watched(network, seen)(p, x)
        return [*(each.gives for each in seen), outputs]

    sample = map_structure(lambda part: Spec((BATCH, *part.shape[1:]), part.dtype), rows)
    traced = trace(run, map_structure(np.asarray, parameters), sample)
    whole = {
        each.path: entries[id(each.takes[0])]
        for each in seen
        if len(each.takes) == 1 and id(each.takes[0]) in entries and each.takes[0].dtype.kind != "f"
    }
    program = Program(traced.graph, precision="float64")
    fixed, count = flatten(parameters), count_rows(rows)
    places = {each.path: place for place, each in enumerate(seen)}
    means: dict[str, Array] = {}
    for at in range(0, count, 4096):
        part = take_rows(rows, slice(at, at + 4096))
        values = program(*fixed, *flatten(part))
        for path in whole:
            means[path] = means.get(path, 0.0) + values[places[path]].sum(axis=0, keepdims=True) / count
    values = program(*fixed, *flatten(row))
    inputs = rows if isinstance(rows, dict) else {"": rows}
    own = row if isinstance(row, dict) else {"": row}
    real = [name for name, part in inputs.items() if part.dtype.kind == "f"]
    start = {name: inputs[name].mean(axis=0, keepdims=True, dtype=np.float64) for name in real}, means
    end = {name: own[name].astype(np.float64) for name in real}, {path: values[places[path]] for path in whole}
    columns = [column for name in real for column in _columns(name, start[0][name][0].size, words)]
    columns += [words.columns.get(name, name) for path, name in whole.items() for _ in range(means[path].size)]
    return start, end, columns, values[-1].size


def _columns(name: str, count: int, words: Words) -> Iterator[str]:
    features = words.features.get(name, ())
    for place in range(count):
        feature = features[place] if len(features) == count else f"{name or 'x'}[{place}]"
        yield words.columns.get(feature, feature)


def _program(
    network: Layer, parameters: Structure, loss: Loss, row: Inputs, start: Way, count: int, temperature: Array | float
) -> Callable[[Way, int], tuple[Array, list[Array]]]:
    """A function of points on the way and the place of an output: all outputs, and the derivatives of that one."""
    real, made = start

    def run(p: Structure, x: Any, vectors: Any, chosen: Any) -> Any:
        given = rebuilt(network, lambda layer: _Given(layer, vectors))
        meant = loss.predictions(given(p, x) * (1 / np.asarray(temperature)))
        flat = reshape(meant, (meant.shape[0], count))
        inputs = x if isinstance(x, dict) else {"": x}
        return [flat, *backward(sum_(flat * chosen), [*(inputs[name] for name in real), *vectors.values()])]

    def spec(part: Array) -> Spec:
        return Spec((BATCH, *part.shape[1:]), part.dtype)

    traced = trace(run, map_structure(np.asarray, parameters), map_structure(spec, row), map_structure(spec, made),
                   Spec((count,), np.float64))  # fmt: skip
    program, fixed = Program(traced.graph, precision="float64"), flatten(parameters)

    def at(points: Way, output: int) -> tuple[Array, list[Array]]:
        chosen = np.zeros(count)
        chosen[output] = 1
        reals, vectors = points
        rows = count_rows(reals or vectors)
        stretched = map_structure(lambda part: np.repeat(part, rows, axis=0), row)
        inputs = stretched | reals if isinstance(stretched, dict) else reals.get("", stretched)
        with one_thread():
            outputs, *slopes = program(*fixed, *flatten(inputs), *flatten(vectors), chosen)
        return outputs, slopes

    return at


def _between(start: Way, end: Way, parts: Array) -> Way:
    """Points at these parts of the way."""

    def go(a: dict[str, Array], b: dict[str, Array]) -> dict[str, Array]:
        return {name: a[name] + parts.reshape(-1, *[1] * (a[name].ndim - 1)) * (b[name] - a[name]) for name in a}

    return go(start[0], end[0]), go(start[1], end[1])


def _shares(
    run: Callable[[Way, int], tuple[Array, list[Array]]], start: Way, end: Way, place: int, points: int
) -> Array:
    """The shares of all numbers: the integrals as sums over the middles of so many parts of the way."""
    total: Any = 0.0
    for first in range(0, points, AT_ONCE):
        parts = (np.arange(first, first + AT_ONCE) + 0.5) / points
        slopes = run(_between(start, end, parts), place)[1]
        total = total + np.concatenate([slope.sum(axis=0).ravel() for slope in slopes])
    steps = [(b[name] - a[name]).ravel() for a, b in zip(start, end, strict=True) for name in a]
    return np.asarray(total / points * np.concatenate(steps))
