"""Plants numbers that are not finite in trainings, 100 by default, and sees that each is told rightly.

    python tests/fuzz/fuzz_blame.py --cases 100

Of every case it is known beforehand which step, layer, row and column must be named, and which cause. Kinds and seeds
vary: layers, losses, optimizers and inputs, both executors, with and without shuffling, clipping, row weights,
ensembles and embeddings.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import backpass as bp
from backpass import losses, nn, ops, optimizers
from backpass.data.batches import batches
from backpass.errors import NotFiniteError
from backpass.graph import current_scope
from backpass.training.events import TrainingStarted

BATCH = 8


@dataclass
class Case:
    """A training that must fail, and what must be said of it."""

    net: nn.Layer
    x: Any
    y: Any
    expected: dict[str, Any]
    loss: losses.Loss
    rule: optimizers.Optimizer
    row: int | None = None
    """Whose step is the one, where `expected` does not say which."""
    options: dict[str, Any] | None = None
    listener: Callable[[Any], None] | None = None


def _function(calculate: Callable[[Any], Any]) -> nn.Layer:
    return nn.Function(lambda _, x: calculate(x))


def _usual(rng: np.random.Generator) -> tuple[Any, Any, int, int]:
    """Inputs from 0.5 to 1.5, targets, and a row and column of them."""
    rows, columns = int(rng.integers(20, 80)), int(rng.integers(2, 6))
    x = rng.uniform(0.5, 1.5, (rows, columns)).astype(np.float32)
    y = (x[:, :1] * 2).astype(np.float32)
    return x, y, int(rng.integers(rows)), int(rng.integers(columns))


def _rule(rng: np.random.Generator) -> optimizers.Optimizer:
    rules = [optimizers.SGD(0.01), optimizers.Adam(), optimizers.AdamW(), optimizers.Momentum(0.001)]
    rules += [optimizers.Chain(optimizers.ClipByGlobalNorm(1.0), optimizers.RMSprop()), optimizers.NAdam()]
    return rules[int(rng.integers(len(rules)))]


def log_of_zero(rng: np.random.Generator) -> Case:
    x, y, row, column = _usual(rng)
    x[row, column] = 0
    expected = {"layer": "logs", "column": str(column), "cause": "log of zero", "value": "-inf", "row": row}
    return Case(
        nn.Sequential(logs=_function(ops.log), out=nn.Dense(1)), x, y, expected, losses.Squared(), _rule(rng), row
    )


def log_of_negative(rng: np.random.Generator) -> Case:
    x, y, row, column = _usual(rng)
    x[row, column] = -0.25
    expected = {"layer": "logs", "column": str(column), "cause": "log of a negative number", "value": "nan", "row": row}
    return Case(
        nn.Sequential(logs=_function(ops.log), out=nn.Dense(1)), x, y, expected, losses.Huber(), _rule(rng), row
    )


def division(rng: np.random.Generator) -> Case:
    """By a row's distance from the mean row, which one row has not."""
    x, y, row, _ = _usual(rng)
    x[row] = 1
    net = nn.Sequential(scaled=_function(lambda x: 1.0 / ops.sum((x - 1) ** 2, 1, keepdims=True)), out=nn.Dense(1))
    expected = {"layer": "scaled", "cause": "division by zero", "row": row, "part": "forward"}
    return Case(net, x, y, expected, losses.Absolute(), _rule(rng), row)


def overflow_of_exp(rng: np.random.Generator) -> Case:
    x, y, row, column = _usual(rng)
    x[row, column] = rng.uniform(90, 5000)
    expected = {"layer": "grow", "column": str(column), "operation": "exp", "cause": "overflow of exp", "row": row}
    return Case(
        nn.Sequential(grow=_function(ops.exp), out=nn.Dense(1)), x, y, expected, losses.Squared(), _rule(rng), row
    )


def root_backward(rng: np.random.Generator) -> Case:
    x, y, row, _ = _usual(rng)
    x[row] = 0
    roots = _function(lambda x: ops.sqrt(x * x))
    net = nn.Sequential(hidden=nn.Dense(3, bias=False), roots=roots, out=nn.Dense(1))
    expected = {"layer": "roots", "part": "backward", "cause": "division by zero", "row": row}
    return Case(net, x, y, expected, losses.Squared(), _rule(rng), row)


def root_of_negative(rng: np.random.Generator) -> Case:
    x, y, row, column = _usual(rng)
    x[row, column] = -1
    expected = {"layer": "roots", "column": str(column), "cause": "root of a negative number", "row": row}
    net = nn.Sequential(roots=_function(ops.sqrt), out=nn.Dense(2), end=nn.Dense(1))
    return Case(net, x, y, expected, losses.Squared(), _rule(rng), row)


def large_target(rng: np.random.Generator) -> Case:
    x, y, row, _ = _usual(rng)
    y[row] = 3e25
    net = nn.Sequential(nn.Dense(5), nn.Tanh(), nn.Dense(1))
    expected = {"layer": "loss", "row": row, "reason": "the targets are too large", "cause": "overflow of float32"}
    return Case(net, x, y, expected, losses.Squared(), _rule(rng), row)


class Logarithmic(losses.Loss):
    """The squared difference to the target's logarithm, which is none of 0."""

    def rows(self, outputs: Any, targets: Any) -> Any:
        return ops.sum((outputs - ops.log(targets)) ** 2, 1)


def target_out_of_domain(rng: np.random.Generator) -> Case:
    x, y, row, _ = _usual(rng)
    y[row] = 0
    reason = "the target of that row is out of the loss's domain"
    expected = {"layer": "loss", "row": row, "column": "target", "cause": "log of zero", "reason": reason}
    return Case(nn.Sequential(nn.Dense(5), nn.GELU(), nn.Dense(1)), x, y, expected, Logarithmic(), _rule(rng), row)


def large_input(rng: np.random.Generator) -> Case:
    x, y, row, column = _usual(rng)
    x[row, column] = 1e28
    squares = _function(lambda x: x * x)
    net = nn.Sequential(hidden=nn.Dense(4), squares=squares, out=nn.Dense(1))
    expected = {"layer": "squares", "row": row, "column": str(column), "reason": "the inputs are too large"}
    return Case(net, x, y, expected, losses.Squared(), _rule(rng), row)


def spoiled_input(rng: np.random.Generator) -> Case:
    x, y, row, column = _usual(rng)

    def spoil(event: Any) -> None:
        """After the arrays were looked at."""
        if isinstance(event, TrainingStarted):
            x[row, column] = rng.choice([np.nan, np.inf, -np.inf])

    expected = {"row": row, "column": str(column), "cause": "an input that is not finite", "epoch": 1}
    net = nn.Sequential(nn.Dense(3), nn.Dense(1))
    return Case(net, x, y, expected, losses.Squared(), _rule(rng), row, listener=spoil)


def fast(rng: np.random.Generator) -> Case:
    x, y, _, _ = _usual(rng)
    rule = [optimizers.SGD(50.0), optimizers.Momentum(20.0), optimizers.Nesterov(30.0)][int(rng.integers(3))]
    net = nn.Sequential(nn.Dense(4), nn.Dense(1)) if rng.random() < 0.5 else nn.Dense(1)
    return Case(net, x, y, {"reason": "the learning rate is too high"}, losses.Squared(), rule)


def too_fast_for_its_type(rng: np.random.Generator) -> Case:
    x, y, _, _ = _usual(rng)
    expected = {"step": 1, "part": "update", "reason": "the learning rate is too high"}
    return Case(nn.Sequential(nn.Dense(2), nn.Dense(1)), x, y, expected, losses.Squared(), optimizers.SGD(1e39))


class Normed(optimizers.Rule):
    """Steps of one length, with nothing that keeps the divisor from 0."""

    def update(self, gradients: Any, state: Any, parameters: Any, step: Any) -> Any:
        rate = self.rate(step, state)
        return self.apply(lambda p, g: (-rate * g / ops.absolute(g),), gradients, state, parameters)


def optimizer_divides(rng: np.random.Generator) -> Case:
    x, y, _, column = _usual(rng)
    x[:, column] = 0
    expected = {
        "step": 1,
        "part": "update",
        "parameter": "out.weight",
        "node": (column, 0),
        "cause": "division by zero",
    }
    return Case(nn.Sequential(out=nn.Dense(1)), x, y, expected, losses.Squared(), Normed(0.1))


def clipped(rng: np.random.Generator) -> Case:
    x, y, _, _ = _usual(rng)
    rule = optimizers.Chain(optimizers.ClipByGlobalNorm(1.0), optimizers.Adam())
    expected = {"step": 1, "value": "inf", "reason": "the targets are too large", "operation": "multiply", "layer": ""}
    return Case(nn.Dense(1), x, np.full_like(y, 2e13), expected, Steep(), rule)


class Steep(losses.Loss):
    """A million times the squared difference: its derivative overflows when it is squared, and it does not."""

    def rows(self, outputs: Any, targets: Any) -> Any:
        return ops.sum((outputs - targets) ** 2, 1) * 1e6


@dataclass(frozen=True)
class Odd(nn.Layer):
    """Takes a root of what is negative in one member alone."""

    member: str

    def __call__(self, parameters: Any, x: Any, key: Any = None) -> Any:  # noqa: ARG002
        return ops.sqrt(x - 100.0) if current_scope().startswith(f"{self.member}.") else x


def member_of_ensemble(rng: np.random.Generator) -> Case:
    x, y, _, _ = _usual(rng)
    member = str(int(rng.integers(1, 5)))
    net = nn.Ensemble(nn.Sequential(odd=Odd(member), out=nn.Dense(1)), 4)
    expected = {"step": 1, "layer": f"{member}.odd", "cause": "root of a negative number"}
    return Case(net, x, y, expected, losses.Squared(), _rule(rng))


@dataclass(frozen=True)
class Levels(nn.Layer):
    """One over the number of a level; the last level's is 0."""

    count: int

    def init(self, shape: Any, key: Any, after: Any = None) -> Any:  # noqa: ARG002
        return {"table": np.array([[1.0]] * (self.count - 1) + [[0.0]])}

    def __call__(self, parameters: Any, x: Any, key: Any = None) -> Any:  # noqa: ARG002
        return 1.0 / ops.gather(parameters["table"], x)


def embedding(rng: np.random.Generator) -> Case:
    rows, count = int(rng.integers(20, 80)), int(rng.integers(3, 9))
    row = int(rng.integers(rows))
    levels = rng.integers(0, count - 1, rows)
    levels[row] = count - 1
    expected = {"layer": "levels", "row": row, "cause": "division by zero"}
    net = nn.Sequential(levels=Levels(count), out=nn.Dense(1))
    return Case(net, levels, rng.normal(size=(rows, 1)), expected, losses.Squared(), _rule(rng), row)


def weighted(rng: np.random.Generator) -> Case:
    found = log_of_zero(rng)
    found.options = {"weights": rng.uniform(0.5, 2, len(found.x))}
    return found


def deep(rng: np.random.Generator) -> Case:
    """Values that grow by their own size, from weights that are large from the beginning."""
    x, y, _, _ = _usual(rng)
    layers = {f"cubed_{number}": _function(lambda x: (x * 300.0) ** 3) for number in range(1, 5)}
    sizes, number = x.max(), 0
    while sizes < np.cbrt(np.finfo(np.float32).max) / 300:  # the largest is the first that overflows, or its row's
        sizes, number = (np.float64(sizes) * 300) ** 3, number + 1
    expected = {"step": 1, "part": "forward", "layer": f"cubed_{number + 1}", "cause": "overflow"}
    return Case(nn.Sequential(**layers, out=nn.Dense(1)), x, y, expected, losses.Squared(), _rule(rng))


KINDS = (
    log_of_zero,
    log_of_negative,
    division,
    overflow_of_exp,
    root_backward,
    root_of_negative,
    large_target,
    target_out_of_domain,
    large_input,
    spoiled_input,
    fast,
    too_fast_for_its_type,
    optimizer_divides,
    clipped,
    member_of_ensemble,
    embedding,
    weighted,
    deep,
)


def step_of(row: int, rows: int, seed: int, *, shuffle: bool, epoch: int = 0) -> int:
    """The step that a row is in."""
    order = batches(rows, BATCH, seed=seed, epoch=epoch, shuffle=shuffle)
    return epoch * -(-rows // BATCH) + 1 + next(number for number, batch in enumerate(order) if row in batch)


def wrong(number: int) -> str:
    """What is wrong with case `number`; "" where all is right."""
    rng = np.random.default_rng(number)
    kind, executor, shuffle = (
        KINDS[number % len(KINDS)],
        ("native", "reference")[number // len(KINDS) % 2],
        number % 3 > 0,
    )
    case = kind(rng)
    expected = dict(case.expected)
    if case.row is not None:
        epoch = expected.get("epoch", 1) - 1
        expected["step"] = step_of(case.row, len(case.y), number, shuffle=shuffle, epoch=epoch)
    trainer = bp.Trainer(
        case.net,
        case.loss,
        case.rule,
        batch_size=BATCH,
        seed=number,
        executor=executor,
        listeners=[case.listener] if case.listener else [],
    )
    try:
        trainer.fit(case.x, case.y, epochs=200, shuffle=shuffle, **(case.options or {}))
    except NotFiniteError as error:
        if error.blame is None:
            return f"{kind.__name__}: nobody is blamed: {error}"
        found = error.blame
    else:
        return f"{kind.__name__}: it stayed finite"
    for name, value in expected.items():
        actual = getattr(found, name)
        same = actual.startswith(value) if name in ("cause", "reason") else actual == value
        if not same:
            return f"{kind.__name__} ({executor}): {name} is {actual!r}, expected {value!r}: {found}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--start", type=int, default=0, help="the number of the first case")
    options = parser.parse_args()
    faults = 0
    for number in range(options.start, options.start + options.cases):
        told = wrong(number)
        faults += bool(told)
        if told:
            print(f"case {number}: {told}", flush=True)  # noqa: T201
    print(f"{options.cases - faults} of {options.cases} planted cases are told rightly, {len(KINDS)} kinds")  # noqa: T201
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
