"""Whole training steps (network, loss, optimizer) beside PyTorch's, from the same weights, in float64."""

from itertools import pairwise

import numpy as np
import pytest

import backpass as bp
from backpass import losses, nn, optimizers
from backpass.forward import flatten

ROWS, STEPS = 12, 3
rng = np.random.default_rng(11)
X = rng.normal(size=(ROWS, 4))
LABELS = rng.integers(0, 3, ROWS)
YES = rng.integers(0, 2, ROWS)
AMOUNTS = rng.normal(size=(ROWS, 2))
COUNTS = rng.poisson(2.0, ROWS)
WEIGHTS = rng.uniform(0.2, 3, ROWS)


def dense_layers(torch, sizes, activation):
    layers = []
    for inputs, outputs in pairwise(sizes):
        layers += [torch.nn.Linear(inputs, outputs, dtype=torch.float64), activation()]
    return torch.nn.Sequential(*layers[:-1])


# Name: our network, loss and optimizer; targets; their network, loss (one number a row) and optimizer.
CASES = {
    "sigmoid, squared, SGD": (
        nn.Sequential(nn.Dense(5), nn.Sigmoid(), nn.Dense(2)),
        losses.Squared(),
        optimizers.SGD(0.1),
        AMOUNTS,
        lambda t: dense_layers(t, [4, 5, 2], t.nn.Sigmoid),
        lambda t, o, y: ((o - y) ** 2).mean(1),
        lambda t, p: t.optim.SGD(p, 0.1),
    ),
    "tanh, cross-entropy, Adam": (
        nn.Sequential(nn.Dense(6), nn.Tanh(), nn.Dense(5), nn.Tanh(), nn.Dense(3)),
        losses.CrossEntropy(),
        optimizers.Adam(0.01),
        LABELS,
        lambda t: dense_layers(t, [4, 6, 5, 3], t.nn.Tanh),
        lambda t, o, y: t.nn.functional.cross_entropy(o, y, reduction="none"),
        lambda t, p: t.optim.Adam(p, 0.01),
    ),
    "relu, smoothed cross-entropy, AdamW": (
        nn.Sequential(nn.Dense(6), nn.ReLU(), nn.Dense(3)),
        losses.CrossEntropy(label_smoothing=0.1),
        optimizers.AdamW(0.02, weight_decay=0.1),
        LABELS,
        lambda t: dense_layers(t, [4, 6, 3], t.nn.ReLU),
        lambda t, o, y: t.nn.functional.cross_entropy(o, y, reduction="none", label_smoothing=0.1),
        lambda t, p: t.optim.AdamW(p, 0.02, weight_decay=0.1),
    ),
    "gelu, binary cross-entropy, Nesterov": (
        nn.Sequential(nn.Dense(6), nn.GELU(), nn.Dense(1)),
        losses.BinaryCrossEntropy(),
        optimizers.Nesterov(0.1, momentum=0.8),
        YES,
        lambda t: dense_layers(t, [4, 6, 1], t.nn.GELU),
        lambda t, o, y: t.nn.functional.binary_cross_entropy_with_logits(o[:, 0], y.double(), reduction="none"),
        lambda t, p: t.optim.SGD(p, 0.1, momentum=0.8, nesterov=True),
    ),
    "selu, Huber, RMSprop": (
        nn.Sequential(nn.Dense(6), nn.SELU(), nn.Dense(2)),
        losses.Huber(0.5),
        optimizers.RMSprop(0.01),
        AMOUNTS,
        lambda t: dense_layers(t, [4, 6, 2], t.nn.SELU),
        lambda t, o, y: t.nn.functional.huber_loss(o, y, delta=0.5, reduction="none").mean(1),
        lambda t, p: t.optim.RMSprop(p, 0.01),
    ),
    "silu, Poisson, Adagrad": (
        nn.Sequential(nn.Dense(6), nn.SiLU(), nn.Dense(1)),
        losses.Poisson(),
        optimizers.Adagrad(0.05),
        COUNTS,
        lambda t: dense_layers(t, [4, 6, 1], t.nn.SiLU),
        lambda t, o, y: t.nn.functional.poisson_nll_loss(o[:, 0], y.double(), reduction="none"),
        lambda t, p: t.optim.Adagrad(p, 0.05),
    ),
    "mish, absolute, NAdam": (
        nn.Sequential(nn.Dense(6), nn.Mish(), nn.Dense(2)),
        losses.Absolute(),
        optimizers.NAdam(0.01),
        AMOUNTS,
        lambda t: dense_layers(t, [4, 6, 2], t.nn.Mish),
        lambda t, o, y: (o - y).abs().mean(1),
        lambda t, p: t.optim.NAdam(p, 0.01),
    ),
}


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("name", CASES)
def test_three_steps_give_torchs_losses_and_weights(name, weights, torch):
    network, loss, optimizer, targets, their_network, their_loss, their_optimizer = CASES[name]
    trainer = bp.Trainer(network, loss, optimizer, batch_size=ROWS, seed=4, precision="float64").build(X)
    theirs = their_network(torch)
    with torch.no_grad():
        for parameter, value in zip(theirs.parameters(), flatten(trainer.parameters), strict=True):
            parameter.copy_(torch.tensor(value.T))
    rule = their_optimizer(torch, theirs.parameters())
    x, y = torch.tensor(X), torch.tensor(targets)
    w = torch.ones(ROWS, dtype=torch.float64) if weights is None else torch.tensor(weights)
    expected = []
    for _ in range(STEPS):
        rule.zero_grad()
        error = (their_loss(torch, theirs(x), y) * w).sum() / w.sum()
        error.backward()
        rule.step()
        expected.append(error.item())
    found = []
    trainer.listeners.append(lambda event: found.append(event.loss) if hasattr(event, "step") else None)
    trainer.fit(X, targets, epochs=STEPS, weights=weights)
    offset = expected[0] - found[0]  # Poisson: a term that depends on the targets alone may be left out
    assert name.startswith("silu") or abs(offset) < 1e-9
    np.testing.assert_allclose(np.array(found) + offset, expected, rtol=1e-6, atol=1e-9)
    for parameter, value in zip(theirs.parameters(), flatten(trainer.parameters), strict=True):
        np.testing.assert_allclose(value.T, parameter.detach().numpy(), rtol=1e-6, atol=1e-9)
