"""Training on arrays: a hold-out, a metric, early stopping, and a model file."""

import csv
import tempfile
from pathlib import Path

import numpy as np

import backpass as bp
from backpass import losses, nn, optimizers
from backpass.training import EarlyStopping

IRIS = Path(__file__).parent / "data" / "iris.csv"


def read() -> tuple[np.ndarray, np.ndarray]:
    """Four lengths a flower, and the number of its species."""
    with IRIS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["species"] for row in rows})
    lengths = [name for name in rows[0] if name != "species"]
    inputs = np.array([[float(row[name]) for name in lengths] for row in rows])
    return inputs, np.array([names.index(row["species"]) for row in rows])


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The part of the rows whose most probable class is the right one."""
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def main() -> None:
    """Two thirds of the flowers train, one third says when to stop."""
    inputs, labels = read()
    order = np.random.default_rng(0).permutation(len(inputs))
    train, held_out = order[:100], order[100:]
    center, spread = inputs[train].mean(axis=0), inputs[train].std(axis=0)
    scaled = (inputs - center) / spread
    network = nn.Sequential(nn.Dense(16), nn.ReLU(), nn.Dropout(0.1), nn.Dense(3))
    trainer = bp.Trainer(
        network,
        losses.CrossEntropy(),
        optimizers.AdamW(0.01),
        batch_size=16,
        seed=1,
        metrics={"accuracy": accuracy},
    )
    history = trainer.fit(
        scaled[train],
        labels[train],
        epochs=200,
        validation=(scaled[held_out], labels[held_out]),
        stopping=EarlyStopping(patience=20),
    )
    print(trainer)
    print(f"{len(history)} epochs: {history.reason}; the weights of epoch {history.kept} are kept")
    best = history[history.kept - 1]
    print(f"validation loss {best['validation_loss']:.4f}, accuracy {best['accuracy']:.3f}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "iris.safetensors"
        trainer.save(file)
        same = np.array_equal(bp.load(file).predict(scaled), trainer.predict(scaled))
    print(f"saved, loaded, and predicts the same: {same}")
    if not same or best["accuracy"] < 0.9:
        raise SystemExit("iris was not learned")


if __name__ == "__main__":
    main()
