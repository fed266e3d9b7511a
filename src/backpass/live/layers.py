"""How the layers of a run changed over its steps: values, errors, gradients, weights, and nodes that do nothing."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from backpass import nn
from backpass.data.arrays import Array, take_rows
from backpass.forward import flatten, labels
from backpass.ledger import look
from backpass.recipes import run as runs
from backpass.recipes.again import Run
from backpass.training import Replayed

POINTS = 12  # steps that are looked into
NORMS = 25  # steps of which the norm of the gradient is told
AT_ONCE = 5.0  # seconds of training, up to which all of it is made again for that
ROWS = 256  # by which layers are judged
QUICK = 60.0  # seconds of training, up to which all of it is made again; of a longer one steps after checkpoints
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SATURATED = 0.98


def layers(run: Run) -> dict[str, Any]:
    """The layers at some steps of a run, by its first training rows.

    Raises:
        UsageError: the run cannot be looked into.
        CheckpointError: nothing was saved yet.
    """
    prepared = run.plan.prepared
    rows = np.arange(min(ROWS, prepared.train.rows))
    inputs, targets = take_rows(prepared.train.inputs, rows), prepared.train.targets[rows]
    steps, whole = _steps(run, POINTS, QUICK)
    return {
        "rows": len(rows),
        "all": whole,
        "steps": [_of_step(each, rows, inputs, targets) for each in run.replays(steps)],
    }


def _of_step(step: Replayed, rows: Array, inputs: Any, targets: Array) -> dict[str, Any]:
    view = look(replace(step.moment, rows=rows, inputs=inputs, targets=targets, weights=None), 0)
    found: dict[str, dict[str, Any]] = {}
    for sight in view.sights:
        layer, values, errors = sight.seen.layer, sight.outputs, sight.batch_error
        if (
            not _is_told(sight.seen.path, step)
            or not isinstance(layer, (nn.Dense, nn.Activation))
            or values.dtype.kind != "f"
        ):
            continue
        flat = values.reshape(len(values), -1)
        told = {
            "kind": type(layer).__name__,
            "nodes": flat.shape[1],
            "values": _spread(flat),
            "errors": _spread(errors * len(rows)),
            "size": float(np.median(np.abs(errors))) * len(rows),
        }
        if isinstance(layer, nn.ReLU):
            told["dead"] = int((flat == 0).all(axis=0).sum())
        if isinstance(layer, (nn.Sigmoid, nn.Tanh)):
            ends = np.abs(flat) > SATURATED
            ends |= (flat < 1 - SATURATED) if isinstance(layer, nn.Sigmoid) else False
            told["saturated"] = int((ends.mean(axis=0) > SATURATED).sum())
        found[sight.seen.path or "output"] = told
    names = labels(step.moment.before)
    befores, afters = flatten(step.before), flatten(step.after)
    parameters = {}
    for name, before, after in zip(names, befores, afters, strict=True):
        if not _is_told(name, step):
            continue
        size, change = _norm([before]), _norm([after - before])
        parameters[name] = {
            "weights": _spread(before),
            "gradients": _spread(view.batch_slopes[name]),
            "gradient": _norm([view.batch_slopes[name]]),
            "ratio": change / size if size else None,
        }
    return {"step": step.step, "epoch": step.epoch, "loss": step.loss, "layers": found, "parameters": parameters}


def norms(run: Run) -> dict[str, Any]:
    """The norm of the whole gradient at some steps of a run: of a quick one all over it, otherwise after checkpoints.

    Raises:
        UsageError: the run cannot be looked into.
        CheckpointError: nothing was saved yet.
    """
    steps, whole = _steps(run, NORMS, AT_ONCE)
    rows, size = run.plan.prepared.train.rows, run.plan.recipe.batch_size
    found = [(step.step, _norm(look(step.moment, 0).batch_slopes.values())) for step in run.replays(steps)]
    return {
        "all": whole,
        "epochs": [(step - 1) / -(-rows // size) for step, _ in found],
        "norms": [norm if np.isfinite(norm) else None for _, norm in found],
    }


def _steps(run: Run, points: int, seconds: float) -> tuple[list[int], bool]:
    """So many from the first to the last, and that it is all of the run; of one that took more than so many seconds
    the steps after its checkpoints.
    """
    last = run.steps
    if sum(record.get("seconds") or 0.0 for record in run.history) <= seconds:
        return sorted({max(1, int(step)) for step in np.linspace(1, last, points)}) if last else [], True
    saved = runs.checkpoints(run.folder).store.steps()
    return sorted({1, *(step + 1 for step in saved if step < last)}), False


def _norm(values: Iterable[Array]) -> float:
    """Of all of them together."""
    return float(np.sqrt(sum(float(np.sum(np.square(np.asarray(each, np.float64)))) for each in values)))


def _is_told(path: str, step: Replayed) -> bool:
    """Of networks side by side the first one is, and what they share."""
    return not isinstance(step.moment.network, (nn.Ensemble, nn.CrossFitted)) or path.startswith(("1.", "first."))


def _spread(values: Array) -> list[float]:
    return [float(each) for each in np.quantile(np.asarray(values, np.float64), QUANTILES)]
