"""Training time against scikit-learn's MLP: the same rows, network, batch size and number of epochs, in one run.

    python benchmarks/against_sklearn.py                         # the tables of this repository
    python benchmarks/against_sklearn.py --data ../shared/data   # and larger ones, where they are

Two ratios are printed for each table, each the median of paired, alternating runs with its range:
    fit      Trainer.fit against MLP.fit, with Adam, without dropout and validation on either side
    command  all that `backpass train` does by default after reading (dropout, validation after each epoch, the linear
             baseline, scores), against MLP.fit for as many epochs as it took
Below 1 is faster than scikit-learn, which keeps its default number of threads.
"""

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from backpass import nn, optimizers
from backpass.data import TableEncoder
from backpass.recipes import defaults
from backpass.recipes.main_job import Plan, plan
from backpass.training import Trainer

TABLES = {
    "penguins": ("penguins.csv", "species"),
    "adult": ("adult_train.csv.gz", "income"),
    "california": ("california_housing.csv", "median_house_value"),
    "letter": ("letter_recognition.csv", "lettr"),
}
EPOCHS = 10


def main() -> None:
    """Time what is there, and say what is not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parent.parent / "examples" / "data")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}")
    print(f"{'table':<12}{'rows':>8}  {'network':<22}{'batch':>6}  {'fit':<22}{'command':<22}")
    for name, (file, target) in TABLES.items():
        if not (options.data / file).is_file():
            print(f"{name:<12}not measured: {file} is not in {options.data}")
            continue
        compare(name, plan(str(options.data / file), target), options.repeats)


def compare(name: str, planned: Plan, repeats: int) -> None:
    """Both ratios of one table."""
    X, y = arrays(planned)
    recipe = planned.recipe
    fit = paired(lambda: ours(planned, X, y), lambda: theirs(planned, X, y, EPOCHS), repeats)
    epochs = len(planned.fit().history)
    command = paired(planned.fit, lambda: theirs(planned, X, y, epochs), max(2, repeats // 2))
    outputs = planned.prepared.tabular.targets.outputs
    network = "-".join(map(str, [X.shape[1], *recipe.hidden, outputs]))
    print(
        f"{name:<12}{len(X):>8,}  {network:<22}{recipe.batch_size:>6}  {fit:<22}{command} {epochs} epochs", flush=True
    )


def arrays(planned: Plan) -> tuple[Any, Any]:
    """The training rows as one float32 matrix: categories with many levels one-hot too, as scikit-learn needs them."""
    prepared = planned.prepared
    encoder = TableEncoder.fit(prepared.division.train, prepared.division.schema, one_hot_limit=1 << 30)
    return encoder.encode(prepared.division.train)["numbers"], prepared.train.targets


def ours(planned: Plan, X: Any, y: Any) -> None:
    recipe = planned.recipe
    layers: list[nn.Layer] = [layer for units in recipe.hidden for layer in (nn.Dense(units), nn.ReLU())]
    targets = planned.prepared.tabular.targets
    network = nn.Sequential(*layers, nn.Dense(targets.outputs))
    trainer = Trainer(network, defaults.loss(targets), optimizers.Adam(1e-3), batch_size=recipe.batch_size)
    trainer.fit(X, y, epochs=EPOCHS)


def theirs(planned: Plan, X: Any, y: Any, epochs: int) -> None:
    kind = MLPClassifier if planned.prepared.division.schema.task == "classification" else MLPRegressor
    recipe = planned.recipe
    target = y if y.ndim == 1 else y.ravel()
    kind(
        hidden_layer_sizes=recipe.hidden,
        batch_size=recipe.batch_size,
        max_iter=epochs,
        n_iter_no_change=epochs + 1,
        tol=0.0,
        random_state=0,
    ).fit(X, target)


def paired(a: Callable[[], Any], b: Callable[[], Any], repeats: int) -> str:
    """The median ratio of a's time to b's, with its range."""
    a(), b()
    ratios = [seconds(a) / seconds(b) for _ in range(repeats)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
