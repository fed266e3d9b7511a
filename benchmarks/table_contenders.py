"""What the benchmark of tables compares: each is given training rows and new rows, and answers for the new ones."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

import backpass as bp
from backpass.data import Table, TableEncoder

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Problem:
    """Rows to learn from and rows to answer for; `test` has the target too, which no contender looks at.

    `classes` are the labels of all rows, as text and sorted; empty where the target is a number.
    """

    train: Table
    test: Table
    target: str
    exclude: tuple[str, ...]
    classes: tuple[str, ...]
    seed: int

    @property
    def task(self) -> str:
        return "classification" if self.classes else "regression"


def backpass(problem: Problem, **chosen: Any) -> Array:
    """`backpass train` with no option, or with those that are `chosen`."""
    outcome = bp.train(
        problem.train,
        problem.target,
        test_table=problem.test,
        task=problem.task,
        exclude=problem.exclude,
        seed=problem.seed,
        progress=False,
        **chosen,
    )
    found = outcome.model.predict_table(problem.test)
    if found.probabilities is None:
        return found.values[:, 0]
    return _aligned(found.probabilities, found.classes, problem.classes)


def sklearn_mlp(problem: Problem) -> Array:
    """scikit-learn's network at its defaults, on the same encoded columns, every category one-hot."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    return _of_sklearn(problem, MLPClassifier, MLPRegressor)


def sklearn_trees(problem: Problem) -> Array:
    """scikit-learn's boosted trees at their defaults, on the same columns."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    return _of_sklearn(problem, HistGradientBoostingClassifier, HistGradientBoostingRegressor)


def _of_sklearn(problem: Problem, classifier: Any, regressor: Any) -> Array:
    """Peers hold out rows by themselves where they need them: all training rows are given to them."""
    from backpass.recipes.prepare import prepare

    prepared = prepare(
        problem.train,
        (problem.target,),
        test_table=problem.test,
        validation=0.0,
        task=problem.task,
        exclude=problem.exclude,
        seed=problem.seed,
    )
    division, targets = prepared.division, prepared.tabular.targets
    encoder = TableEncoder.fit(division.train, division.schema, one_hot_limit=1 << 30)
    train, test = (encoder.encode(part)["numbers"] for part in (division.train, problem.test))
    if problem.task == "regression":
        fitted = regressor(random_state=problem.seed).fit(train, prepared.train.targets.ravel())
        return np.asarray(targets.decode(fitted.predict(test).reshape(-1, 1)))[:, 0]
    fitted = classifier(random_state=problem.seed).fit(train, prepared.train.targets)
    return _aligned(fitted.predict_proba(test), targets.classes, problem.classes)


def _aligned(probabilities: Array, classes: tuple[str, ...], every: tuple[str, ...]) -> Array:
    """Probabilities in the order of all classes; 0 for one that no training row had."""
    aligned = np.zeros((len(probabilities), len(every)))
    aligned[:, [every.index(name.strip()) for name in classes]] = probabilities
    return aligned


CONTENDERS: dict[str, Callable[[Problem], Array]] = {
    "backpass": backpass,
    "backpass fast": partial(backpass, effort="fast"),
    "backpass best": partial(backpass, effort="best"),
}
if find_spec("sklearn"):
    CONTENDERS |= {"sklearn MLP": sklearn_mlp, "sklearn trees": sklearn_trees}
