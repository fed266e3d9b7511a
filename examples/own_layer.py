"""A layer of one's own: every input times a learned factor. It trains like any other."""

from dataclasses import dataclass

import numpy as np

import backpass as bp
from backpass import losses, nn, optimizers


@dataclass(frozen=True)
class Scale(nn.Layer):
    """Each input times a factor that is learned. Parameters: `factor` (inputs,)."""

    start: float = 1.0

    def init(self, shape, key, after=None):
        """As many factors as there are inputs. Nothing is random here: the key is not used."""
        return {"factor": np.full(shape, self.start)}

    def __call__(self, parameters, x, key=None):
        """Rows of inputs to rows of outputs of the same shape."""
        return x * parameters["factor"]


def main() -> None:
    """Learn y = 3a - 2b from rows of (a, b), by a layer of factors and a sum with weights fixed at 1."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(256, 2))
    targets = 3 * inputs[:, 0] - 2 * inputs[:, 1]
    network = nn.Sequential(scale=Scale(), total=nn.Function(lambda _, x: x.sum(1, keepdims=True)))
    trainer = bp.Trainer(network, losses.Squared(), optimizers.Adam(0.05), batch_size=32)
    history = trainer.fit(inputs, targets, epochs=40)
    factors = trainer.parameters["scale"]["factor"]
    print(trainer)
    print(f"loss {history[0]['loss']:.4f} at first, {history[-1]['loss']:.2g} at last")
    print(f"factors {factors[0]:.3f} and {factors[1]:.3f}, expected 3 and -2")
    if not np.allclose(factors, [3, -2], atol=0.01):
        raise SystemExit("the factors were not learned")


if __name__ == "__main__":
    main()
