"""The textbook program on iris, as it was published, and what one step of it consists of.

4 inputs, 25 hidden nodes, 3 outputs, all sigmoids; all 150 rows, unscaled; one-of-three targets; half the sum of
squared errors; weights uniform in [-0.5, 0.5), biases 0; learning rate 0.05; 30,000 iterations of one random row each,
in double precision. The program has a quirk, kept here: it never changes the biases of the output layer.
"""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import numpy as np

from backpass.backward import value_and_grad
from backpass.data import read_table
from backpass.forward import Program, Spec, flatten, trace, unflatten
from backpass.graph import BATCH
from backpass.losses import HalfSumOfSquares
from backpass.nn import Constant, Dense, Sequential, Sigmoid, Uniform
from backpass.ops import Key, uniform
from backpass.records import dataclass
from backpass.simplify import simplify

Array = np.ndarray[Any, Any]
Parameters = dict[str, dict[str, Any]]

HIDDEN = 25
LEARNING_RATE = 0.05
ITERATIONS = 30_000
FROZEN = ("output", "bias")


@dataclass(frozen=True, eq=False)
class Iris:
    """The 150 flowers: measures (150, 4) in cm, species as numbers (150,), and their names."""

    measures: Array
    species: Array
    columns: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def desired(self) -> Array:
        """(150, 3): 1 for the right species, 0 for the others."""
        return np.eye(len(self.names))[self.species]


def iris_path() -> str:
    """The file that comes with the package."""
    return str(files("backpass.data") / "samples" / "iris.csv")


def iris() -> Iris:
    table = read_table(iris_path())
    *columns, target = table.columns
    names, species = np.unique(table.column(target).to_numpy(), return_inverse=True)
    measures = np.stack([table.column(name).to_numpy().astype(np.float64) for name in columns], axis=1)
    return Iris(measures, species, tuple(columns), tuple(map(str, names)))


def network() -> Sequential:
    """4-25-3, with the weights' start that the program has."""
    start = Uniform(-0.5, 0.5)
    hidden = Dense(HIDDEN, initializer=start, bias_initializer=Constant(0.0))
    output = Dense(3, initializer=start, bias_initializer=Constant(0.0))
    return Sequential(hidden=hidden, hidden_sigmoid=Sigmoid(), output=output, output_sigmoid=Sigmoid())


def first_parameters(seed: int) -> Parameters:
    return network().init((4,), Key.of(seed))


def error(parameters: Parameters, x: Any, desired: Any) -> Any:
    """Half the sum of squared errors, averaged over the rows given."""
    return HalfSumOfSquares()(network()(parameters, x), desired)


class Step:
    """One iteration for one row: forward, backward, and every parameter but the frozen ones moved."""

    def __init__(self, parameters: Parameters) -> None:
        def step(p: Parameters, x: Any, desired: Any) -> Any:
            value, gradient = value_and_grad(error)(p, x, desired)
            return value, {
                layer: {name: _moved(layer, name, own, gradient) for name, own in parts.items()}
                for layer, parts in p.items()
            }

        row = Spec((1, 4), np.float64), Spec((1, 3), np.float64)
        self._program = Program(simplify(trace(step, parameters, *row).graph))

    def __call__(self, values: list[Array], x: Array, desired: Array) -> list[Array]:
        """The new values of all parameters, in the order of `flatten`."""
        return self._program(*values, x, desired)[1:]


def _moved(layer: str, name: str, value: Any, gradient: Parameters) -> Any:
    if (layer, name) == FROZEN:
        return value
    return value - LEARNING_RATE * gradient[layer][name]


def picks(rows: int, seed: int, iterations: int = ITERATIONS) -> Array:
    """The number of the row that each iteration takes, at random and with repeats."""
    chosen: Array = (uniform(Key.of(seed).fold("rows"), (iterations,), np.float64) * rows).astype(int)
    return chosen


def train(flowers: Iris, seed: int, *, iterations: int = ITERATIONS) -> Iterator[tuple[int, Parameters]]:
    """Runs the program. Yields the iteration and the parameters, ten times on the way and at the end."""
    parameters = first_parameters(seed)
    step = Step(parameters)
    values: list[Array] = flatten(parameters)
    measures, desired = flowers.measures[:, None, :], flowers.desired[:, None, :]
    for iteration, row in enumerate(picks(len(flowers.species), seed, iterations), start=1):
        values = step(values, measures[row], desired[row])
        if iteration % max(1, iterations // 10) == 0 or iteration == iterations:
            yield iteration, unflatten(parameters, values)


class Judge:
    """How many flowers a network names rightly, and its mean error over all of them."""

    def __init__(self, flowers: Iris) -> None:
        self._flowers = flowers
        parameters = first_parameters(0)
        rows = Spec((BATCH, 4), np.float64), Spec((BATCH, 3), np.float64)
        traced = trace(lambda p, x, d: (network()(p, x), error(p, x, d)), parameters, *rows)
        self._program = Program(simplify(traced.graph))

    def __call__(self, parameters: Parameters) -> tuple[int, float]:
        outputs, mean_error = self._program(*flatten(parameters), self._flowers.measures, self._flowers.desired)
        right = int((outputs.argmax(axis=1) == self._flowers.species).sum())
        return right, float(mean_error)
