"""What the benchmark of tables compares: each is given training rows and new rows, and answers for the new ones."""

from collections.abc import Callable
from dataclasses import dataclass
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

    train, targets, test, decode = _encoded(problem)
    return _of_sklearn(problem, MLPClassifier, MLPRegressor, train, targets, test, decode)


def sklearn_trees(problem: Problem) -> Array:
    """scikit-learn's boosted trees at their defaults, on the same columns."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    train, targets, test, decode = _encoded(problem)
    kinds = HistGradientBoostingClassifier, HistGradientBoostingRegressor
    return _of_sklearn(problem, *kinds, train, targets, test, decode)


def _encoded(problem: Problem) -> tuple[Array, Array, Array, Callable[[Array], Array]]:
    """Arrays for peers: training rows, their targets, new rows; and what brings amounts back to their units."""
    from backpass.recipes.prepare import prepare

    # The peers hold out rows by themselves where they need them: all are given to them.
    prepared = prepare(
        problem.train,
        (problem.target,),
        test_table=problem.test,
        validation=0.0,
        task=problem.task,
        exclude=problem.exclude,
        seed=problem.seed,
    )
    schema = prepared.division.schema
    encoder = TableEncoder.fit(prepared.division.train, schema, one_hot_limit=1 << 30)
    rows = [encoder.encode(part)["numbers"] for part in (prepared.division.train, problem.test)]
    return rows[0], prepared.train.targets, rows[1], lambda y: prepared.tabular.targets.decode(y)[..., 0]


def _of_sklearn(
    problem: Problem, classifier: Any, regressor: Any, train: Array, targets: Array, test: Array, decode: Any
) -> Array:
    if problem.task == "regression":
        fitted = regressor(random_state=problem.seed).fit(train, targets.ravel())
        return np.asarray(decode(fitted.predict(test).reshape(-1, 1)))
    fitted = classifier(random_state=problem.seed).fit(train, targets)
    seen = tuple(sorted(set(problem.train.column(problem.target).cast(str).str.strip_chars())))
    return _aligned(fitted.predict_proba(test), seen, problem.classes)


def _aligned(probabilities: Array, classes: tuple[str, ...], every: tuple[str, ...]) -> Array:
    """Probabilities in the order of all classes; 0 for one that no training row had."""
    aligned = np.zeros((len(probabilities), len(every)))
    aligned[:, [every.index(name.strip()) for name in classes]] = probabilities
    return aligned


CONTENDERS: dict[str, Callable[[Problem], Array]] = {"backpass": backpass}
if find_spec("sklearn"):
    CONTENDERS |= {"sklearn MLP": sklearn_mlp, "sklearn trees": sklearn_trees}
