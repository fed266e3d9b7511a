"""XOR from nothing but a formula and its gradient: no layers, no optimizer, no Trainer."""

import numpy as np

import backpass as bp
from backpass import ops

inputs = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
desired = np.array([[0.0], [1.0], [1.0], [0.0]])


def outputs(parameters):
    """Two inputs, three hidden nodes, one output; each node applies a sigmoid to its weighted sum."""
    hidden = ops.sigmoid(inputs @ parameters["hidden"] + parameters["hidden_bias"])
    return ops.sigmoid(hidden @ parameters["output"] + parameters["output_bias"])


def error(parameters):
    """Half the sum of the squared differences."""
    return 0.5 * ops.sum((outputs(parameters) - desired) ** 2)


def main() -> None:
    """Descend along the gradient, 800 times."""
    rng = np.random.default_rng(0)
    parameters = {
        "hidden": rng.normal(size=(2, 3)),
        "hidden_bias": np.zeros(3),
        "output": rng.normal(size=(3, 1)),
        "output_bias": np.zeros(1),
    }
    error_and_gradient = bp.value_and_grad(error)
    learning_rate = 3.0
    for step in range(801):
        value, gradient = error_and_gradient(parameters)
        if step % 100 == 0:
            print(f"step {step:5,}   error {value:.4f}")
        parameters = {name: parameters[name] - learning_rate * gradient[name] for name in parameters}
    for row, wanted, output in zip(inputs, desired, outputs(parameters), strict=True):
        print(f"{row[0]:.0f} {row[1]:.0f}   wanted {wanted[0]:.0f}   output {output[0]:.3f}")
    if not np.array_equal(outputs(parameters) > 0.5, desired > 0.5):
        raise SystemExit("XOR was not learned")


if __name__ == "__main__":
    main()
