"""Small networks on one made-up table, healthy or made sick, as cases for the doctor."""

from dataclasses import replace

import numpy as np

import backpass as bp
from backpass import losses, nn, optimizers
from backpass.doctor.case import case_of
from backpass.doctor.chart import Chart
from backpass.doctor.diagnosis import trained
from backpass.doctor.search import findings_of

ROWS = 300


def table(classes=True):
    """Two inputs that tell and two that do not; a label by the side of a curve, or a number."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(ROWS, 4)).astype(np.float32)
    curve = X[:, 0] + X[:, 1] ** 2 - 1
    return (X, (curve > 0).astype(int)) if classes else (X, (curve / curve.std()).astype(np.float32).reshape(-1, 1))


def network(depth=1, width=16, activation="relu", outputs=2, ends=None, dropout=0.0, last=None, **dense):
    layers = []
    for _ in range(depth):
        layers += [nn.Dense(width, **dense), nn.ACTIVATIONS[activation](), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers, nn.Dense(outputs, initializer=last), *([ends] if ends else []))


def case(made=None, optimizer=None, *, rows=None, epochs=30, patience=8, classes=True, weights=None, take=200):
    """A training of a small network, as it ended."""
    X, y = rows or table(classes)
    loss = losses.CrossEntropy() if classes else losses.Squared()
    trainer = bp.Trainer(
        made or network(outputs=2 if classes else 1), loss, optimizer or optimizers.Adam(0.02), threads=1
    )
    begun = case_of(
        trainer, X[:take], y[:take], validation=(X[200:], y[200:]), epochs=epochs, patience=patience, weights=weights
    )
    done = trained(begun)
    return replace(begun, history=list(done.history), parameters=done.parameters)


def found(patient, *rules, of_rows=()):
    """The findings of some rules."""
    of_network = findings_of(Chart(patient), rules)
    told = [finding for rule in of_rows if (finding := rule(patient)) is not None]
    return {finding.name: finding for finding in [*told, *of_network]}
