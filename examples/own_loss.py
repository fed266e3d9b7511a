"""A loss of one's own: squared errors, but an answer that is too low costs three times as much."""

from dataclasses import dataclass

import numpy as np

import backpass as bp
from backpass import losses, nn, ops, optimizers


@dataclass(frozen=True)
class Lopsided(losses.Loss):
    """For a row: the square of (output - target), times `factor` where the output is below the target."""

    factor: float = 3.0

    def rows(self, outputs, targets):
        """One number for each row; the mean over the rows, weighted or not, comes with every loss."""
        missed = ops.reshape(outputs, targets.shape) - targets
        return ops.where(missed < 0, self.factor, 1.0) * missed**2


def main() -> None:
    """Train the same line with both losses: the lopsided one stays on the high side."""
    rng = np.random.default_rng(0)
    inputs = rng.uniform(-1, 1, size=(512, 1))
    targets = 2 * inputs[:, 0] + rng.normal(scale=0.5, size=512)
    report = bp.check_gradients(lambda outputs: Lopsided()(outputs, targets[:8]), rng.normal(size=(8, 1)))
    print(report)
    part_above = {}
    for loss in (losses.Squared(), Lopsided()):
        trainer = bp.Trainer(nn.Dense(1), loss, optimizers.Adam(0.02), batch_size=64)
        trainer.fit(inputs, targets, epochs=40)
        part_above[type(loss).__name__] = float(np.mean(trainer.predict(inputs)[:, 0] > targets))
    for name, part in part_above.items():
        print(f"{name:<9} answers above the target in {part:.0%} of the rows")
    if not report or part_above["Lopsided"] < part_above["Squared"] + 0.1:
        raise SystemExit("the lopsided loss did not do what it says")


if __name__ == "__main__":
    main()
