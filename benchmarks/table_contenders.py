"""What the benchmark of tables compares: each is given training rows and new rows, and answers for the new ones."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np

import backpass as bp
from backpass.data import Table, TableEncoder
from backpass.data.values import Reader
from backpass.model import Predictions

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


@dataclass(frozen=True)
class Ends:
    """Of intervals around predicted numbers, each (rows,)."""

    lower: Array
    upper: Array


def backpass(problem: Problem, **chosen: Any) -> Array:
    """`backpass train` with no option, or with those that are `chosen`."""
    found = _trained(problem, **chosen)
    if found.probabilities is None:
        return found.values[:, 0]
    return _aligned(found.probabilities, found.classes, problem.classes)


def intervals(problem: Problem, level: float) -> Ends:
    """Those of `backpass train --interval`."""
    found = _trained(problem, interval=level)
    if found.lower is None or found.upper is None:
        raise AssertionError("they were asked for")
    return Ends(found.lower[:, 0], found.upper[:, 0])


def _trained(problem: Problem, **chosen: Any) -> Predictions:
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
    return outcome.model.predict_table(problem.test)


def sklearn_mlp(problem: Problem) -> Array:
    """scikit-learn's network at its defaults, on the same encoded columns, every category one-hot."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    return _of_sklearn(problem, MLPClassifier, MLPRegressor)


def sklearn_trees(problem: Problem) -> Array:
    """scikit-learn's boosted trees at their defaults, on the same columns."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    return _of_sklearn(problem, HistGradientBoostingClassifier, HistGradientBoostingRegressor)


def lightgbm(problem: Problem) -> Array:
    """LightGBM at its defaults."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    return _of_frames(problem, LGBMClassifier, LGBMRegressor, random_state=problem.seed, verbosity=-1)


def catboost(problem: Problem) -> Array:
    """CatBoost at its defaults."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    options = {"random_seed": problem.seed, "verbose": False, "allow_writing_files": False}
    return _of_frames(problem, CatBoostClassifier, CatBoostRegressor, categories_as="cat_features", **options)


def realmlp(problem: Problem) -> Array:
    """RealMLP with tuned defaults, as pytabkit has it."""
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

    return _of_frames(problem, RealMLP_TD_Classifier, RealMLP_TD_Regressor, random_state=problem.seed, device="cpu")


def tabm(problem: Problem) -> Array:
    """TabM with defaults, as pytabkit has it."""
    from pytabkit import TabM_D_Classifier, TabM_D_Regressor

    return _of_frames(problem, TabM_D_Classifier, TabM_D_Regressor, random_state=problem.seed, device="cpu")


def _of_frames(
    problem: Problem, classifier: Any, regressor: Any, *, categories_as: str | None = None, **options: Any
) -> Array:
    """Peers that take pandas' frames with categories as they are, and hold out rows by themselves.

    Dates are seconds since 1970. A number that is missing is the median of the training rows, and marked beside it
    where any is; a category that is missing is a level of its own: some peers take nothing that is missing.
    """
    import pandas as pd

    prepared = _whole(problem)
    division, targets = prepared.division, prepared.tabular.targets
    readers = {"train": Reader(division.train), "test": Reader(problem.test)}
    columns: dict[str, dict[str, Any]] = {part: {} for part in readers}
    categories = []
    for column in division.schema.inputs:
        if column.kind == "category":
            texts = {part: reader.texts(column).fill_null("missing").to_list() for part, reader in readers.items()}
            levels = sorted(set(texts["train"]) | set(texts["test"]))
            for part, values in texts.items():
                columns[part][column.name] = pd.Categorical(values, categories=levels)
            categories.append(column.name)
            continue
        read = Reader.seconds if column.kind == "date" else Reader.numbers
        numbers = {part: read(reader, column) for part, reader in readers.items()}
        missing = np.isnan(numbers["train"])
        for part, values in numbers.items():
            columns[part][column.name] = np.where(np.isnan(values), np.nanmedian(numbers["train"]), values)
            if missing.any():
                columns[part][f"{column.name} is missing"] = np.isnan(values).astype(float)
    train, test = (pd.DataFrame(columns[part]) for part in ("train", "test"))
    if categories_as is not None:
        options[categories_as] = categories
    if problem.task == "regression":
        fitted = regressor(**options).fit(train, prepared.train.targets.ravel())
        return np.asarray(targets.decode(np.asarray(fitted.predict(test), np.float64).reshape(-1, 1)))[:, 0]
    fitted = classifier(**options).fit(train, prepared.train.targets.ravel())
    return _aligned(fitted.predict_proba(test), targets.classes, problem.classes)


def _whole(problem: Problem) -> Any:
    """All training rows, understood as `backpass train` would."""
    from backpass.recipes.prepare import prepare

    return prepare(
        problem.train,
        (problem.target,),
        test_table=problem.test,
        validation=0.0,
        task=problem.task,
        exclude=problem.exclude,
        seed=problem.seed,
    )


def _of_sklearn(problem: Problem, classifier: Any, regressor: Any) -> Array:
    """Peers hold out rows by themselves where they need them: all training rows are given to them."""
    prepared = _whole(problem)
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
if find_spec("lightgbm"):
    CONTENDERS["LightGBM"] = lightgbm
if find_spec("catboost"):
    CONTENDERS["CatBoost"] = catboost
if find_spec("pytabkit"):
    CONTENDERS |= {"RealMLP-TD": realmlp, "TabM-D": tabm}


def versions() -> dict[str, str]:
    """Of those peers that are there."""
    packages = {"sklearn": "scikit-learn", "lightgbm": "lightgbm", "catboost": "catboost", "pytabkit": "pytabkit"}
    return {package: version(package) for name, package in packages.items() if find_spec(name)}
