"""The story of `backpass demo xor`: why a network needs a hidden layer."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from backpass.losses import BinaryCrossEntropy
from backpass.nn import Dense, Sequential, Tanh
from backpass.ops import tanh
from backpass.optimizers import Adam
from backpass.training import Trainer

INPUTS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
WANTED = np.array([0, 1, 1, 0])
HIDDEN = 3
EPOCHS = 400
TRIES = 5  # a network this small may settle in a place where it is wrong: then it starts again from other weights


def tell(seed: int) -> Iterator[str]:
    """The lines of the story."""
    yield "Exclusive or: 1 where exactly one of two inputs is 1. Its four rows:"
    yield "   0 0 -> 0   0 1 -> 1   1 0 -> 1   1 1 -> 0"
    yield ""
    yield "Without a hidden layer the output is sigmoid(w1·x1 + w2·x2 + b):"
    yield "one straight line parts the rows."
    linear = trained(Sequential(output=Dense(1)), seed)
    yield from _answers(linear)
    yield "   No line has 0 1 and 1 0 on one side, and 0 0 and 1 1 on the other."
    yield "   The best it can do is to say ½."
    yield ""
    yield f"With {HIDDEN} hidden nodes in between, each draws a line of its own, and the"
    yield "output combines them."
    network, tries = with_hidden_layer(seed)
    if tries > 1:
        yield f"   (started {tries} times: so small a network may settle where it is wrong)"
    yield from _answers(network)
    yield "   What the hidden nodes make of the rows; there one line is enough:"
    yield from _hidden_values(network)
    yield ""
    yield "next:  backpass demo iris"
    yield "       backpass train YOUR.csv --target COLUMN --hidden 0   (a linear model)"


def with_hidden_layer(seed: int) -> tuple[Trainer, int]:
    """A network that has learned exclusive or, and how many starts it took (at most TRIES)."""
    trainer = trained(_network(), seed)
    tries = 1
    while right(trainer) < 4 and tries < TRIES:
        trainer = trained(_network(), seed + 1000 * tries)
        tries += 1
    return trainer, tries


def _network() -> Sequential:
    return Sequential(hidden=Dense(HIDDEN), tanh=Tanh(), output=Dense(1))


def trained(network: Sequential, seed: int) -> Trainer:
    """The network after training on the four rows."""
    trainer = Trainer(network, BinaryCrossEntropy(), Adam(0.05), batch_size=4, seed=seed, precision="float64")
    trainer.fit(INPUTS, WANTED, epochs=EPOCHS)
    return trainer


def outputs(trainer: Trainer) -> np.ndarray[Any, Any]:
    return trainer.predict(INPUTS).ravel()


def right(trainer: Trainer) -> int:
    """How many of the four rows it answers clearly and rightly: within a quarter of what is wanted."""
    return int((np.abs(outputs(trainer) - WANTED) < 0.25).sum())


def _answers(trainer: Trainer) -> Iterator[str]:
    history = trainer.history
    yield f"   loss {history[0]['loss']:.4f} at first, {history[-1]['loss']:.4f} after {len(history)} epochs"
    for row, wanted, output in zip(INPUTS, WANTED, outputs(trainer), strict=True):
        verdict = "right" if abs(output - wanted) < 0.25 else "undecided" if abs(output - wanted) < 0.75 else "wrong"
        yield f"   {row[0]:g} {row[1]:g}   wanted {wanted}   output {output:.3f}   {verdict}"
    yield f"   {right(trainer)} of 4 rows right"


def _hidden_values(trainer: Trainer) -> Iterator[str]:
    parameters = trainer.parameters["hidden"]
    values = tanh(INPUTS @ parameters["weight"] + parameters["bias"])
    for row, wanted, hidden in zip(INPUTS, WANTED, values, strict=True):
        yield f"   {row[0]:g} {row[1]:g}   hidden {'  '.join(f'{value:6.3f}' for value in hidden)}   wanted {wanted}"
