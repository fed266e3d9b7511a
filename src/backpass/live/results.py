"""What a run came to on the rows it was scored on: who was taken for whom, curves, calibration, the worst rows."""

from typing import Any

import numpy as np

from backpass.data.arrays import Array
from backpass.errors import UsageError
from backpass.recipes.again import Run
from backpass.recipes.judged import Judged, judge
from backpass.recipes.prepare import Prepared
from backpass.recipes.run import scored

BINS = 10
CURVE = 200  # points of a curve
SCATTER = 2000  # rows that are drawn
WORST = 20


def results(run: Run) -> dict[str, Any]:
    """Of the test rows, where there are some, otherwise of those that validated.

    Raises:
        UsageError: no network was saved yet, or no rows were held out.
        ModelFileError: its file cannot be read.
    """
    if not scored(run.folder).exists():
        raise UsageError("there is no network yet: it is saved when the training ends or is stopped")
    prepared, model = run.plan.prepared, run.model
    judged = judge(run.plan, model)
    if judged is None:
        raise UsageError("no rows were held out: there is nothing to score on")
    told = {"scored_on": judged.name, "rows": judged.of, "scores": run.about.get("outcome", {}).get("metrics", {})}
    numbers, heads = _numbers_of(prepared, judged), judged.apart()
    if len(heads) == 1:
        return told | _of_head(judged, numbers)
    return told | {"heads": [{"name": each.predictions.names[0], **_of_head(each, numbers)} for each in heads]}


def _of_head(judged: Judged, numbers: list[int] | None) -> dict[str, Any]:
    """Of one way to answer: classes, or amounts."""
    predicted, actual = judged.predictions, judged.actual
    if predicted.probabilities is not None:
        return _of_classes(predicted.probabilities, actual, predicted.classes, numbers)
    return {"targets": [
        {"name": name, **_of_numbers(predicted.values[:, place], actual[:, place], numbers)}
        for place, name in enumerate(predicted.names)
    ]}  # fmt: skip


def _numbers_of(prepared: Prepared, judged: Judged) -> list[int] | None:
    """The numbers that the rows have in the table; None where they are of another."""
    division = prepared.division
    part = division.train if prepared.folds else division.validation
    if judged.name == "test":
        part = division.test if len(division.split.test) else None
    if part is None or part.rows != judged.of:  # of rows that calibrate beside those that validate
        return None
    return [part.row_number(int(place)) for place in np.linspace(0, judged.of - 1, judged.rows).astype(np.int64)]


def _of_classes(p: Array, labels: Array, classes: tuple[str, ...], numbers: list[int] | None) -> dict[str, Any]:
    labels = labels.ravel().astype(int)
    answered, count = p.argmax(axis=1), len(classes)
    confusion = np.zeros((count, count), int)
    np.add.at(confusion, (labels, answered), 1)
    right = p[np.arange(len(p)), labels]
    worst = np.argsort(right, kind="stable")[:WORST]
    return {
        "classes": list(classes),
        "confusion": confusion.tolist(),
        "curves": [{"name": name, **_curves(p[:, k], labels == k)} for k, name in enumerate(classes)][-20:],
        "calibration": _calibration(p.max(axis=1), answered == labels),
        "worst": [
            {
                "row": None if numbers is None else numbers[place],
                "actual": classes[labels[place]],
                "predicted": classes[answered[place]],
                "p": float(right[place]),
            }
            for place in map(int, worst)
        ],
    }


def _curves(scores: Array, positive: Array) -> dict[str, Any]:
    """The ROC and the precision-recall curve of one class against the others."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # equal scores are told apart by nobody
    hits = np.cumsum(positive[order])[ends].astype(float)
    false = ends + 1 - hits
    chosen = np.unique(np.linspace(0, len(ends) - 1, min(CURVE, len(ends))).astype(int))
    total, others = max(1.0, float(positive.sum())), max(1.0, float((~positive).sum()))
    return {
        "roc": [[0.0, *(false[chosen] / others).tolist()], [0.0, *(hits[chosen] / total).tolist()]],
        "pr": [(hits[chosen] / total).tolist(), (hits[chosen] / (ends[chosen] + 1)).tolist()],
    }


def _calibration(sure: Array, right: Array) -> list[dict[str, float]]:
    """How often answers are right that were so sure."""
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    return [
        {"sure": float(sure[own].mean()), "right": float(right[own].mean()), "rows": int(own.sum())}
        for own in (bins == k for k in range(BINS))
        if own.any()
    ]


def _of_numbers(predicted: Array, actual: Array, numbers: list[int] | None) -> dict[str, Any]:
    errors = predicted.astype(np.float64) - actual
    shown = np.unique(np.linspace(0, len(errors) - 1, min(SCATTER, len(errors))).astype(int))
    counts, edges = np.histogram(errors[np.isfinite(errors)], bins=min(30, max(5, len(errors) // 5)))
    worst = np.argsort(-np.abs(errors), kind="stable")[:WORST]
    return {
        "actual": actual[shown].tolist(),
        "predicted": predicted[shown].astype(float).tolist(),
        "residuals": {"counts": counts.tolist(), "edges": edges.tolist()},
        "worst": [
            {
                "row": None if numbers is None else numbers[place],
                "actual": float(actual[place]),
                "predicted": float(predicted[place]),
                "error": float(errors[place]),
            }
            for place in map(int, worst)
        ],
    }
