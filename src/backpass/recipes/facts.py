"""All that a report of a run says, as plain data: it is printed as JSON, drawn on the page and written as pictures."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data.arrays import Array
from backpass.model import Model
from backpass.model.curves import average_precision, confusion, rates_by_threshold, reliability
from backpass.model.metrics import auc, calibration_error
from backpass.model.tabular import chosen
from backpass.nn.summary import layers
from backpass.recipes import fields, scores
from backpass.recipes.command import call_of, command_of
from backpass.recipes.importance import importances
from backpass.recipes.judged import Judged, judge
from backpass.recipes.main_job import Plan
from backpass.recipes.scores import part_margin

FORMAT = 1
MOST_CLASSES = 100  # of a confusion matrix
MOST_POINTS = 1000  # of a curve, and of answers beside what was right
BINS = 30  # of a histogram of residuals


def facts(
    folder: Path,
    about: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    planned: Plan | None,
    model: Model | None,
    *,
    absent: str = "",
    findings: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The facts of a run.

    Args:
        folder: of the run.
        about: what its run.json says.
        history: one record an epoch.
        planned: its table and network; None where the table cannot be had, or is not the same any more.
        model: its network as it was kept; None where none was saved yet.
        absent: why there is no `planned` or no `model`.
        findings: what a doctor found, each with name, evidence and advice; None where none was asked.
    """
    judged = None if planned is None or model is None else judge(planned, model)
    if judged is None and not absent:
        absent = "no rows were held out"
    learned = 0 if planned is None else planned.prepared.train.rows * len(history)
    return {
        "format": FORMAT,
        "run": _run(folder, about, model),
        "data": _data(about, planned),
        "network": _network(planned, model),
        "training": _training(about, history, model),
        "scores": _scores(about, model, planned, judged),
        "folds": about.get("outcome", {}).get("folds"),
        "absent": "" if judged else absent,
        "held_out": None if judged is None else {"part": judged.name, "rows": judged.rows, "of": judged.of},
        **({} if judged is None or model is None else _of_answers(judged, model, learned)),
        **({} if findings is None else {"findings": [dict(each) for each in findings]}),
        "reproduce": _reproduce(folder, about, model),
    }


def _run(folder: Path, about: Mapping[str, Any], model: Model | None) -> dict[str, Any]:
    asked = about["asked"]
    target = asked["target"] if isinstance(asked["target"], str) else ", ".join(asked["target"])
    return {
        "name": folder.name or str(folder),
        "target": target,
        "state": about.get("state", fields.TRAINING),
        "has_model": model is not None,
    }


def _data(about: Mapping[str, Any], planned: Plan | None) -> dict[str, Any] | None:
    """What the table was understood to be, as it was told when the run ended, or as it is read now."""
    told = about.get("outcome", {}).get("table") if planned is None else planned.prepared.summary()
    return told if isinstance(told, dict) else None


def _network(planned: Plan | None, model: Model | None) -> dict[str, Any] | None:
    if model is None:
        return None
    lines = layers(model.network, model.row_shape, model.parameters)
    trainer = None if planned is None else planned.trainer()
    recipe = dict(model.about.get("recipe") or {})
    if planned is not None:
        recipe = planned.recipe.to_json()
    return {
        "layers": [dict(zip(("name", "kind", "output", "parameters"), line, strict=True)) for line in lines],
        "parameters": model.parameter_count,
        "members": recipe.get("members", 1),
        "folds": 0 if planned is None else planned.prepared.folds,
        "blend": dict(zip(recipe.get("kinds", []), getattr(model.network, "shares", ()), strict=False)),
        "loss": str(model.loss),
        "optimizer": str(trainer.optimizer) if trainer else "",
        "recipe": recipe,
    }


def _training(about: Mapping[str, Any], history: Sequence[Mapping[str, Any]], model: Model | None) -> dict[str, Any]:
    outcome = about.get("outcome", {})
    names = [name for name in dict.fromkeys(name for record in history for name in record) if name != "epoch"]
    best = min(
        (record for record in history if _is_finite(record.get("validation_loss"))),
        key=lambda record: record["validation_loss"],
        default=None,
    )
    return {
        "epochs": len(history),
        "kept_epoch": outcome.get("kept_epoch", best["epoch"] if best is not None and model is not None else None),
        "steps": outcome.get("steps"),
        "seconds": outcome.get("seconds"),
        "stopped": outcome.get("stopped", ""),
        "refit": outcome.get("refit"),
        "refit_failed": outcome.get("refit_failed"),
        "history": {
            "epoch": [record["epoch"] for record in history],
            **{name: [_plain(record.get(name)) for record in history] for name in names},
        },
    }


def _scores(
    about: Mapping[str, Any], model: Model | None, planned: Plan | None, judged: Judged | None
) -> dict[str, Any] | None:
    """Those that the run itself told; of one that was broken off before, the network's and the baseline's."""
    told = model.about.get("scores") if model is not None else None
    if told:
        return {"on": (model and model.about.get("scored_on")) or about.get("outcome", {}).get("scored_on"), "of": told}
    if judged is None or planned is None:
        return None
    learned = judged.tabular.targets.actual(planned.prepared.train.targets)
    of = [
        scores.score("this network", judged.predictions, judged.actual),
        scores.baseline_of_all(judged.predictions, learned, judged.actual, judged.tabular.calibration),
    ]
    return {"on": judged.name, "of": [each.to_json() for each in of]}


@np.errstate(over="ignore", invalid="ignore")  # answers near 1e300
def _of_answers(judged: Judged, model: Model, learned: int) -> dict[str, Any]:
    """What the held-out rows tell."""
    found = importances(model, judged, seed=int(model.about.get("seed") or 0), learned=learned)
    importance = {
        "metric": found.metric,
        "rows": found.rows,
        "repeats": found.repeats,
        "passed_over": found.passed_over,
        "columns": [vars(each) | {"rise": _plain(each.rise), "spread": _plain(each.spread)} for each in found.columns],
    }
    heads = judged.apart()
    if len(heads) == 1:
        return _of_head(judged) | {"importance": importance}
    return {
        "heads": [{"target": each.predictions.names[0]} | _of_head(each) for each in heads],
        "importance": importance,
    }


def _of_head(judged: Judged) -> dict[str, Any]:
    """What the held-out rows tell of one way to answer."""
    probabilities = judged.predictions.probabilities
    if probabilities is None:
        return {"residuals": _residuals(judged)}
    answered = chosen(probabilities, judged.predictions.threshold)
    return {
        "confusion": _confusion(judged, answered),
        **({"curves": _curves(probabilities[:, 1], judged.actual == 1)} if probabilities.shape[1] == 2 else {}),
        "calibration": _calibration(judged, probabilities),
    }


def _confusion(judged: Judged, answered: Array) -> dict[str, Any]:
    """Of too many classes those of the most rows stand alone, the others together."""
    labels, actual = list(judged.predictions.classes), judged.actual
    if len(labels) > MOST_CLASSES:
        common = np.argsort(-np.bincount(actual, minlength=len(labels)), kind="stable")[: MOST_CLASSES - 1]
        place = np.full(len(labels), MOST_CLASSES - 1)
        place[common] = np.arange(MOST_CLASSES - 1)
        labels = [*(labels[each] for each in common.tolist()), f"{len(labels) - MOST_CLASSES + 1:,} others"]
        answered, actual = place[answered], place[actual]
    return {"classes": labels, "counts": confusion(answered, actual, len(labels)).tolist()}


def _curves(scored: Array, positive: Array) -> dict[str, Any] | None:
    """Of the second of two classes; None where the rows are all of one."""
    thresholds, true, false = rates_by_threshold(scored, positive)
    yes, no = int(positive.sum()), int((~positive).sum())
    if not yes or not no:
        return None
    some = _some(len(thresholds))
    precision = true[1:] / (true[1:] + false[1:])
    later = some[some > 0]
    return {
        "auc": auc(scored, positive),
        "average_precision": average_precision(true, false),
        "share": yes / (yes + no),
        "roc": {
            "false_positive_rate": (false[some] / no).tolist(),
            "true_positive_rate": (true[some] / yes).tolist(),
            "threshold": [_plain(each) for each in thresholds[some].tolist()],
        },
        "precision_recall": {
            "recall": (true[later] / yes).tolist(),
            "precision": precision[later - 1].tolist(),
            "threshold": thresholds[later].tolist(),
        },
    }


def _calibration(judged: Judged, probabilities: Array) -> dict[str, Any]:
    calibration = judged.tabular.calibration
    names = ("low", "high", "rows", "sure", "right", "margin")
    bins = [
        dict(zip(names, (*each, part_margin(each[4], each[2])), strict=True))
        for each in reliability(probabilities, judged.actual)
    ]
    threshold = calibration.threshold
    return {
        "error": calibration_error(probabilities, judged.actual),
        "temperature": calibration.temperature,
        "threshold": None if threshold is None else {"value": threshold.value, "metric": threshold.metric},
        "bins": bins,
    }


def _residuals(judged: Judged) -> dict[str, Any]:
    """For each target the answers beside what was right, and how the errors are spread."""
    some, intervals = _some(judged.rows), judged.tabular.calibration.intervals
    targets = []
    for place, name in enumerate(judged.predictions.names):
        predicted, actual = judged.predictions.values[:, place].astype(np.float64), judged.actual[:, place]
        errors = predicted - actual
        finite = errors[np.isfinite(errors)]
        counts, edges = np.histogram(finite, BINS) if len(finite) else (np.zeros(1), np.array([0.0, 1.0]))
        targets.append(
            {
                "name": name,
                "predicted": [_plain(each) for each in predicted[some].tolist()],
                "actual": [_plain(each) for each in actual[some].tolist()],
                "mean_error": _plain(float(np.mean(errors))),
                "quantiles": {
                    f"{part:g}": _plain(float(np.quantile(errors, part))) for part in (0.05, 0.25, 0.5, 0.75, 0.95)
                },
                "histogram": {"edges": edges.tolist(), "counts": counts.astype(int).tolist()},
            }
        )
    scored = judged.predictions.scores(judged.actual)
    inside = {name: scored[name] for name in scored if name.startswith(("interval_coverage", "interval_width"))}
    level = None if intervals is None else intervals.level
    below = {name.removeprefix("below_"): part for name, part in scored.items() if name.startswith("below_")}
    return {
        "targets": targets,
        "interval": None if level is None else {"level": level} | scores.finite(inside),
        "quantiles": below or None,
    }


def _reproduce(folder: Path, about: Mapping[str, Any], model: Model | None) -> dict[str, Any]:
    asked, timed = about["asked"], about["asked"].get("seconds") is not None
    again = about.get("state") == fields.FINISHED and not timed and asked.get("table", fields.NO_FILE) != fields.NO_FILE
    return {
        "command": command_of(asked),
        "call": call_of(asked),
        "check": f"backpass reproduce {shlex.quote(str(folder))}" if again else None,
        "timed": timed,
        "seed": asked.get("seed", 0),
        "versions": about.get("versions") or {},
        "machine": about.get("machine") or {},
        "sha256": (about.get("data") or {}).get("sha256") or {},
        "weights": model.weights if model is not None else None,
    }


def _some(count: int) -> Array:
    """So many places at most, evenly spaced, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).round().astype(np.int64))


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _plain(value: Any) -> Any:
    """For JSON, which has no NaN."""
    return value if _is_finite(value) else None
