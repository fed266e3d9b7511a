"""Is a derivative right? Back-propagation against central differences, and a wrong rule that is found out."""

import numpy as np

import backpass as bp
from backpass import losses, nn, ops
from backpass.ops.kinds import Pointwise

# The derivative of x^3 is 3 x^2; this rule has forgotten the 3.
CUBE_GONE_WRONG = Pointwise(
    name="cube_gone_wrong",
    forward=lambda x: x**3,
    derivative=lambda dy, y, x: (dy * x * x,),
    takes="real",
)


def main() -> None:
    """A whole network passes; the wrong rule does not."""
    rng = np.random.default_rng(0)
    network = nn.Sequential(nn.Dense(8), nn.GELU(), nn.Dense(3))
    parameters = network.init((4,), ops.Key.of(0))
    inputs, labels = rng.normal(size=(16, 4)), rng.integers(0, 3, size=16)
    right = bp.check_gradients(lambda p: losses.CrossEntropy()(network(p, inputs), labels), parameters)
    print(right)
    wrong = bp.check_gradients(lambda x: ops.sum(ops.apply(CUBE_GONE_WRONG, x)), rng.normal(size=5))
    print(wrong)
    slope, curvature = bp.grad(ops.sin), bp.grad(bp.grad(ops.sin))
    print(f"sin at 1: slope {slope(1.0):.6f} (cos 1), curvature {curvature(1.0):.6f} (-sin 1)")
    if not right or wrong:
        raise SystemExit("the gradient check was mistaken")


if __name__ == "__main__":
    main()
