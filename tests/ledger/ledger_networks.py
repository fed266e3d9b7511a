"""Networks of every kind that `backpass train` makes, small, and a step of a training of each."""

from dataclasses import dataclass

import numpy as np

import backpass as bp
from backpass import losses, nn, ops, optimizers
from backpass.ledger import Moment
from backpass.optimizers import Chain, ClipByGlobalNorm, ClipByValue, Cosine, WarmUp, WeightDecay

ROWS = 60


def inputs():
    rng = np.random.default_rng(0)
    return {"numbers": rng.normal(size=(ROWS, 3)), "colour": rng.integers(0, 5, size=ROWS)}


def targets(kind):
    rng = np.random.default_rng(1)
    return {
        "classes": rng.integers(0, 3, ROWS),
        "yes": rng.integers(0, 2, ROWS).astype(float),
        "counts": rng.poisson(2.0, ROWS).astype(float),
        "numbers": rng.normal(size=(ROWS, 2)),
    }[kind]


def member(outputs, activation=nn.ReLU):
    return nn.Sequential(
        hidden_1=nn.Dense(6),
        bent_1=activation(),
        dropout_1=nn.Dropout(0.3),
        hidden_2=nn.Dense(4),
        bent_2=nn.Tanh(),
        output=nn.Dense(outputs),
    )


def ensemble(outputs, count=3, colour=None):
    """As a table gets it: waves of the numbers and an embedding that all members share."""
    first = nn.Sequential(inputs=nn.Concatenate(numbers=nn.Periodic((0, 2), 4), colour=colour or nn.Embedding(5, 2)))
    return nn.Ensemble(member(outputs), count, first)


def recipe():
    """The optimizer that a table gets."""
    rate = WarmUp(4, then=Cosine(2e-3, final_fraction=0.02))
    free = dict.fromkeys(("*.bias", "*.frequency", "*.phase"), optimizers.Adam(rate))
    return optimizers.Groups({**free, "*": optimizers.AdamW(rate, weight_decay=0.1)})


@dataclass(frozen=True)
class Cubed(losses.Loss):
    """A loss that has no telling."""

    def rows(self, outputs, targets):
        return ops.mean(ops.absolute(outputs - targets) ** 3, 1)


@dataclass(frozen=True)
class Signed(optimizers.Rule):
    """A rule that has no telling."""

    def update(self, gradients, state, parameters, step):
        rate = self.rate(step, state)
        return self.apply(lambda _, g: (-rate * (ops.sign(g) + g),), gradients, state, parameters)


CLIPPED = Chain(ClipByGlobalNorm(0.1), WeightDecay(0.01), ClipByValue(0.05), optimizers.Nesterov(0.1))
CASES = {
    "classes": (ensemble(3), losses.CrossEntropy(), recipe(), "classes", 2),
    "smoothed": (ensemble(3), losses.CrossEntropy(label_smoothing=0.1), recipe(), "classes", 1),
    "yes or no": (ensemble(1), losses.BinaryCrossEntropy(), optimizers.Momentum(0.1), "yes", 3),
    "squared probabilities": (ensemble(3), losses.Brier(), optimizers.SGD(0.1), "classes", 2),
    "squared probability": (ensemble(1), losses.Brier(), optimizers.SGD(0.1), "yes", 3),
    "counts": (ensemble(1), losses.Poisson(), CLIPPED, "counts", 1),
    "averaged": (ensemble(2), losses.Squared(), optimizers.Averaged(optimizers.AdamW(0.01), 0.9), "numbers", 1),
    "accumulated": (ensemble(2), losses.Squared(), optimizers.Accumulated(optimizers.AdamW(0.01), 3), "numbers", 1),
    "numbers": (
        ensemble(2, colour=nn.OneHot(5)),
        losses.Squared(),
        optimizers.Slowed(optimizers.Adam(), 0.5),
        "numbers",
        1,
    ),
    "rule and loss of one's own": (ensemble(2), Cubed(), Signed(0.01), "numbers", 1),
}


def folded():
    """A training in which each row is held out from one of three members."""
    return nn.CrossFitted(ensemble(3), 3), inputs() | {"fold": np.arange(ROWS) % 3}


def step_of(folder, network, loss, optimizer, x, y, *, step=11, **options):
    """A step, made again, of a training that native programs made."""
    trainer = bp.Trainer(network, loss, optimizer, **{"batch_size": 8, "seed": 1} | options)
    trainer.fit(x, y, epochs=3, checkpoints=folder)
    return trainer.replay(step, folder, x, y)


def step_of_case(name, folder):
    """The step of one of CASES, and the member to tell."""
    network, loss, optimizer, kind, which = CASES[name]
    return step_of(folder, network, loss, optimizer, inputs(), targets(kind)), which


def two_two_one():
    """A batch of two rows in a 2-2-1 network with ReLU, the squared error and SGD at a rate of 0.2.

    Row 0: x = (1, 2), desired 1.
        z = (1·0.5 + 2·0.25 + 0, 1·(-1) + 2·0.5 - 0.25) = (1, -0.25), a = (1, 0)
        output = 2·1 - 1·0 + 0.5 = 2.5, E = (2.5 - 1)² = 2.25, its error 2·(2.5 - 1) = 3
        errors of the hidden nodes 2·3 = 6 and -1·3 = -3, of their sums 6·1 = 6 and -3·0 = 0
        ∂E/∂w: output 3·(1, 0), its bias 3; hidden x·(6, 0) = ((6, 0), (12, 0)), its biases (6, 0)
    Row 1: x = (0, 1), desired 1.
        z = (0.25, 0.25), a the same, output = 0.5 - 0.25 + 0.5 = 0.75, E = 0.0625, its error -0.5
        errors of the hidden nodes -1 and 0.5, and of their sums as well
        ∂E/∂w: output -0.5·(0.25, 0.25), its bias -0.5; hidden ((0, 0), (-1, 0.5)), its biases (-1, 0.5)
    The batch: the means; each weight moves by -0.2 of them.
    """
    network = nn.Sequential(hidden=nn.Dense(2), bent=nn.ReLU(), output=nn.Dense(1))
    before = {
        "hidden": {"weight": np.array([[0.5, -1.0], [0.25, 0.5]]), "bias": np.array([0.0, -0.25])},
        "output": {"weight": np.array([[2.0], [-1.0]]), "bias": np.array([0.5])},
    }
    after = {
        "hidden": {"weight": np.array([[-0.1, -1.0], [-0.85, 0.45]]), "bias": np.array([-0.5, -0.3])},
        "output": {"weight": np.array([[1.7125], [-0.9875]]), "bias": np.array([0.25])},
    }
    return Moment(
        network=network,
        loss=losses.Squared(),
        optimizer=optimizers.SGD(0.2),
        seed=0,
        step=1,
        epoch=1,
        batch=0,
        rows=np.array([0, 1]),
        inputs=np.array([[1.0, 2.0], [0.0, 1.0]]),
        targets=np.array([1.0, 1.0]),
        weights=None,
        before={"hidden": before["hidden"], "bent": {}, "output": before["output"]},
        after={"hidden": after["hidden"], "bent": {}, "output": after["output"]},
        state={},
    )
