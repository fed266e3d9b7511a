"""What the tests of native programs share: random networks, and both executors run on the same work."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

import backpass as bp
from backpass import losses, nn, optimizers
from backpass.forward import flatten

SIZES = (1, 2, 3, 5, 7, 13, 16, 17, 31, 33, 47)
CLASSES = 3


@dataclass(frozen=True)
class Work:
    """Something to train: a network, a loss, a rule, and rows."""

    network: Any
    loss: Any
    optimizer: Any
    inputs: Any
    targets: Any
    weights: Any = None
    batch_size: int = 7


def trained(work, executor, *, epochs=3, precision="float64", threads=None, **options):
    """A Trainer that has been trained."""
    trainer = bp.Trainer(
        work.network,
        work.loss,
        work.optimizer,
        batch_size=work.batch_size,
        seed=3,
        precision=precision,
        executor=executor,
        threads=threads,
    )
    trainer.fit(work.inputs, work.targets, epochs=epochs, weights=work.weights, **options)
    return trainer


def differences(first, second):
    """Between all that two Trainers hold: of each array the largest difference, relative to the largest element."""
    found = {}
    pairs = [
        *((first.parameters, second.parameters), (first._state.optimizer, second._state.optimizer)),
        ([r["loss"] for r in first.history], [r["loss"] for r in second.history]),
    ]
    for number, (ours, theirs) in enumerate(pairs):
        arrays = ([np.asarray(x, np.float64) for x in flatten(structure)] for structure in (ours, theirs))
        for place, (a, b) in enumerate(zip(*arrays, strict=True)):
            assert a.shape == b.shape
            scale = max(np.abs(a).max(initial=0.0), 1e-8)
            found[number, place] = float(np.abs(a - b).max(initial=0.0) / scale)
    return found


def assert_agree(work, *, within=1e-10, epochs=3, threads=None, precision="float64"):
    """Native and reference end with the same parameters, optimizer state and losses."""
    ours = trained(work, "native", epochs=epochs, threads=threads, precision=precision)
    theirs = trained(work, "reference", epochs=epochs, precision=precision)
    found = differences(theirs, ours)
    assert max(found.values()) < within, {place: d for place, d in found.items() if d >= within}
    rows = {name: x[:5] for name, x in work.inputs.items()} if isinstance(work.inputs, dict) else work.inputs[:5]
    np.testing.assert_allclose(ours.outputs(rows), theirs.outputs(rows), rtol=within * 100, atol=within * 100)


def digest(trainer):
    """A hash of all that a Trainer has learned and remembers, to the bit."""
    values = [*flatten(trainer.parameters), *flatten(trainer._state.optimizer)]
    return hashlib.sha256(b"".join(np.asarray(value).tobytes() for value in values)).hexdigest()


ACTIVATIONS = [kind() for kind in nn.ACTIVATIONS.values()]


def random_work(choices):
    """A network, a loss, an optimizer and rows, as whole numbers decide: see random_programs.Choices."""
    c = choices
    rng = np.random.default_rng(c.below(1000))
    rows, features = c.of((*SIZES, 64, 65)), c.of(SIZES)
    layers = []
    for _ in range(c.below(4)):
        layers += _some_layers(c)
    inputs = rng.normal(size=(rows, features))
    first = []
    shape = c.below(6)
    if shape == 1:
        inputs, first = rng.normal(size=(rows, 2, features)), [nn.Flatten()]
    if shape == 2:
        inputs, first = rng.integers(0, 5, rows), [nn.Embedding(5, c.of((1, 2, 3, 7)))]
    if shape == 3:
        inputs, first = _several_inputs(c, rng, rows, inputs)
    loss, outputs, targets = c.of(goals(rng, rows))
    weights = None if c.flag() else rng.uniform(0.1, 2, rows)
    network = nn.Sequential(*first, *layers, nn.Dense(outputs))
    return Work(
        network,
        loss,
        c.of([rule for rule in RULES if not isinstance(rule, optimizers.Lion)]),
        inputs,
        targets,
        weights,
        c.of((7, 1, 32, 1000)) if rows > 3 else 7,
    )


def _several_inputs(c, rng, rows, numbers):
    levels = c.of((2, 3, 11))
    inputs = {
        "numbers": numbers,
        "colour": rng.integers(0, levels, rows),
        "size": rng.integers(0, 4, rows),
        "pair": rng.integers(0, 3, (rows, 2)),
    }
    parts = nn.Concatenate(
        numbers=nn.Identity(),
        colour=nn.Embedding(levels, c.of((1, 2, 5))),
        size=nn.OneHot(4, "float64"),
        pair=nn.Sequential(nn.Embedding(3, 2), nn.Flatten()),
    )
    return inputs, [parts]


def _some_layers(c):
    act = c.of(ACTIVATIONS)
    match c.below(5):
        case 0:
            return [nn.Dense(c.of(SIZES)), act]
        case 1:
            return [nn.Dense(c.of(SIZES)), act, nn.Dropout(0.25)]
        case 2:
            units = c.of(SIZES)
            return [nn.Dense(units), nn.Residual(act, nn.Dense(units))]
        case 3:
            return [nn.Concatenate(nn.Dense(c.of(SIZES)), nn.Sequential(nn.Dense(3), act))]
        case _:
            return [nn.Dense(c.of(SIZES), bias=False)]


def goals(rng, rows):
    """Every loss: with the number of outputs and the targets that it takes."""
    real, labels = rng.normal(size=(rows, 2)), rng.integers(0, CLASSES, rows)
    return [
        (losses.CrossEntropy(), CLASSES, labels),
        (losses.CrossEntropy(0.1), CLASSES, labels),
        (losses.CrossEntropy(), CLASSES, rng.dirichlet(np.ones(CLASSES), rows)),
        (losses.Squared(), 2, real),
        (losses.Squared(), 1, real[:, 0]),
        (losses.HalfSumOfSquares(), 2, real),
        (losses.Absolute(), 2, real),
        (losses.Huber(0.7), 2, real),
        (losses.Quantile((0.1, 0.9)), 2, real[:, 0]),
        (losses.Poisson(), 1, rng.poisson(2.0, rows).astype(float)),
        (losses.BinaryCrossEntropy(), 1, rng.integers(0, 2, rows)),
        (losses.BinaryCrossEntropy(0.2), 4, rng.integers(0, 2, (rows, 4))),
        (losses.Brier(), 1, rng.integers(0, 2, rows)),
        (losses.Brier(), CLASSES, labels),
        (losses.Hinge(), 1, rng.integers(0, 2, rows)),
        (losses.Hinge(), CLASSES, labels),
    ]


o = optimizers
RULES = [
    *(o.SGD(0.05), o.Momentum(0.02), o.Nesterov(0.02), o.Adagrad(0.02), o.RMSprop(0.003)),
    *(o.Adam(0.003), o.AdamW(0.003), o.NAdam(0.003), o.RAdam(0.003), o.Lion(0.001)),
    o.Chain(o.ClipByGlobalNorm(0.5), o.Momentum(0.02)),
    o.Chain(o.ClipByGlobalNorm(0.5), o.WeightDecay(0.1), o.Adam(0.003)),
    o.Chain(o.ClipByValue(0.05), o.SGD(0.05)),
    o.Chain(o.WeightDecay(0.05), o.Nesterov(0.02)),
    o.Groups({"*bias": o.SGD(0.05), "*": o.Chain(o.ClipByGlobalNorm(0.5), o.Adam(0.003))}),
    o.SGD(o.WarmUp(3, then=o.Cosine(0.05, steps=20))),
    o.Momentum(o.OneCycle(0.02, steps=50)),
    o.Adam(o.Step(0.003, every=2)),
    o.RMSprop(o.Exponential(0.003, steps=9)),
    o.Nesterov(o.Constant(0.003)),
    o.SGD(o.ReduceOnPlateau(0.05)),
]
"""Every rule but Rprop, and every transformation and schedule. Lion too takes signs, but in steps that are small."""
