"""The doctor at the bed of a run or a table: what it looks at, and what its remedies are among the options."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backpass import nn
from backpass.data.arrays import Array, take_rows
from backpass.doctor import Diagnosis, Remedy, diagnose
from backpass.errors import UsageError
from backpass.forward import Structure, unflatten
from backpass.model import load
from backpass.model.calibration import Calibration
from backpass.ops import Key
from backpass.recipes import defaults, run
from backpass.recipes.main_job import Plan, plan
from backpass.training import Trainer
from backpass.training.snapshots import newest

NEXT_TO_NOTHING = 1e-9  # of probability
FEWEST_STEPS = 100  # after fewer nobody asks why a training is bad


def examine(
    planned: Plan,
    parameters: Structure | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    *,
    calibration: Calibration | None = None,
    telling: Callable[[str], None] | None = None,
    first: bool = False,
) -> Diagnosis:
    """The diagnosis of a training from a table: of its first network, where there are several side by side.

    Args:
        planned: how it was trained, or is to be.
        parameters: of the network in use; None before training.
        history: one record an epoch.
        calibration: how its outputs become answers; None where that is not known yet.
        telling: is called with what is looked at or tried next, in words.
        first: whether only the likeliest finding is asked for, and no treatment.

    Raises:
        UsageError: the targets are of several kinds, of which no rule has been tried.
    """
    prepared, recipe = planned.prepared, planned.recipe
    if prepared.tabular.targets.parts:
        names = ", ".join(prepared.tabular.targets.schema.target_names)
        raise UsageError(
            f"the doctor looks at targets of one kind, and {names} are of several: ask it about one of them alone"
        )
    network, own = _first(planned.network, parameters)
    part = prepared.train.sample
    inputs, targets = prepared.plain(part), part.targets
    validation = None if prepared.validation is None else (prepared.validation.inputs, prepared.validation.targets)
    if prepared.folds and isinstance(part.inputs, dict):
        apart = part.inputs[prepared.fold] == 0  # what the first network learns nothing from
        validation = take_rows(inputs, apart), targets[apart]
        inputs, targets = take_rows(inputs, ~apart), targets[~apart]
    elif prepared.test is not None and validation is None:
        validation = prepared.plain(prepared.test), prepared.test.targets
    judged = None if planned.asked.get("test_table") is None else prepared.test
    trainer = Trainer(
        network,
        planned.loss(recipe),
        defaults.optimizer(recipe, max(1, recipe.epochs * -(-len(targets) // recipe.batch_size))),
        batch_size=recipe.batch_size,
        seed=planned.seed,
        precision=planned.precision,
        threads=planned.threads,
    )
    trainer.history.extend(dict(record) for record in history)
    return diagnose(
        trainer,
        inputs,
        targets,
        validation=validation,
        epochs=len(history) or recipe.epochs,
        patience=recipe.patience if validation is not None else None,
        names=prepared.tabular.inputs.feature_names,
        labelled=prepared.tabular.targets.classes,
        drawn=not (planned.asked.get("group") or planned.asked.get("order")),
        judged=None if judged is None else (prepared.plain(judged), judged.targets),
        parameters=own,
        shares=_shares(planned, calibration),
        telling=telling,
        first=first,
    )


def _shares(planned: Plan, calibration: Calibration | None) -> Array | None:
    """What probabilities of two classes, as the loss gives them, are divided by before the likeliest is answered."""
    threshold: Any = planned.asked.get("threshold")
    temperature = 1.0
    if calibration is not None:
        threshold = None if calibration.threshold is None else calibration.threshold.value
        temperature = calibration.temperature
    if threshold is None or isinstance(threshold, str):  # what it is to be best for is chosen at the end of a training
        return None
    least = min(max(float(threshold), NEXT_TO_NOTHING), 1 - NEXT_TO_NOTHING)
    between = temperature * math.log(least / (1 - least))  # the outputs where answers change, as they are
    return 1 / (1 + np.exp([between, -between]))


def examine_run(
    folder: Path,
    planned: Plan,
    history: Sequence[Mapping[str, Any]],
    *,
    telling: Callable[[str], None] | None = None,
) -> Diagnosis:
    """Of a run in its folder, finished or not.

    Raises:
        CheckpointError: it is not finished, and nothing of it was saved.
    """
    if run.scored(folder).exists():
        model = load(run.scored(folder))
        calibration = None if model.tabular is None else model.tabular.calibration
        return examine(planned, model.parameters, history, calibration=calibration, telling=telling)
    snapshot = newest(run.checkpoints(folder).store)
    like = planned.network.init(planned.prepared.row_shape, Key.of(planned.seed).fold("parameters"))
    return examine(planned, unflatten(like, snapshot.best or snapshot.parameters), history, telling=telling)


def _first(network: nn.Layer, parameters: Structure | None) -> tuple[nn.Layer, Structure | None]:
    """Of networks side by side the first, with what comes before all."""
    if not isinstance(network, nn.Ensemble):
        return network, parameters
    parts = {"1": network.member} if network.first.passes_on else {"first": network.first, "1": network.member}
    own = None if parameters is None else {name: parameters.get(name, {}) for name in parts}
    return nn.Sequential(**parts), own


def networks(planned: Plan) -> dict[str, Any]:
    """How many of the networks side by side are looked at, and of which of several kinds; empty where there is one."""
    if not isinstance(planned.network, nn.Ensemble):
        return {}
    kinds = planned.recipe.kinds
    return {"looked_at": 1, "of": planned.network.count} | ({"kind": kinds[0], "not": list(kinds[1:])} if kinds else {})


def networks_told(planned: Plan) -> list[str]:
    """The same in words."""
    found = networks(planned)
    if not found:
        return []
    others = f", of the kind {found['kind']}; not at those of {', '.join(found['not'])}" if found.get("not") else ""
    return [f"looked at the first of {found['of']} networks{others}"]


def is_bad(outcome: Any) -> bool:
    """Whether a training ended so badly that it is worth asking why: hardly better than one answer for all, or surely
    worse than a linear model. Of one cut short, that is no question. It costs nothing.
    """
    from backpass.recipes.scores import surely_better

    if len(outcome.scores) < 2 or outcome.steps < FEWEST_STEPS:
        return False
    ours, always = outcome.scores[0], outcome.scores[-1]
    linear = outcome.scores[1:-1]
    finite = bool(np.isfinite(ours.losses).all())
    return not finite or not surely_better(ours, always) or any(surely_better(each, ours) for each in linear)


def learned_nothing(outcome: Any) -> bool:
    """Whether what was learned is not surely better than one answer for all."""
    from backpass.recipes.scores import surely_better

    return not surely_better(outcome.scores[0], outcome.scores[-1])


def changes(remedy: Remedy, planned: Plan) -> dict[str, Any]:
    """Arguments of `plan` that do what the remedy says, but for what they cannot do, such as leaving out rows.

    Raises:
        UsageError: it is nothing that arguments can do.
    """
    asked, chosen = dict(planned.asked), _chosen(remedy, planned)
    if remedy.inputs or remedy.targets:
        asked["scale"] = True
    if remedy.balanced and asked.get("threshold") is not None:  # the share of the second class in its place
        asked["threshold"] = float(f"{float(np.mean(planned.prepared.train.sample.targets)):.2g}")
    elif remedy.balanced:
        asked["class_weights"] = "balanced"
    if remedy.without:
        asked["exclude"] = sorted({*asked.get("exclude", []), *_columns(planned, remedy.without)})
    if chosen == (asked.get("recipe") or {}) and asked == planned.asked:
        raise UsageError("what was found can be treated by a person alone: see what it says to try")
    return asked | ({"recipe": chosen} if chosen else {})


def _chosen(remedy: Remedy, planned: Plan) -> dict[str, Any]:
    """The options of the recipe with the remedy; an Adam in the place of the optimizer is the recipe's own."""
    recipe, chosen = planned.recipe, dict(planned.asked.get("recipe") or {})
    if remedy.rate != 1:
        chosen["learning_rate"] = float(f"{recipe.learning_rate * remedy.rate:.3g}")
    if remedy.adam:
        chosen.pop("learning_rate", None)
    if remedy.activation:
        chosen["activation"] = remedy.activation
    if remedy.free:
        chosen |= {"dropout": 0.0, "weight_decay": 0.0}
    if remedy.hidden:
        chosen["hidden"] = [remedy.hidden]
    if remedy.wider != 1:
        chosen["hidden"] = [units * remedy.wider for units in recipe.hidden]
    if remedy.epochs != 1:
        chosen |= {"epochs": recipe.epochs * remedy.epochs, "patience": remedy.patience(recipe.patience)}
    return chosen


def _columns(planned: Plan, places: Sequence[int]) -> set[str]:
    """The names of the table's columns that features come from."""
    every = [encoder.column.name for encoder in planned.prepared.tabular.inputs.block for _ in encoder.feature_names]
    return {every[place] for place in places}


def treated(planned: Plan, treatment: Remedy | None) -> Plan:
    """The plan with what a diagnosis says to do.

    Raises:
        UsageError: there is nothing of it that options can do.
    """
    if treatment is None:
        raise UsageError("what was found can be treated by a person alone: see what it says to try")
    return plan(**changes(treatment, planned))


def options(before: Plan, after: Plan) -> list[str]:
    """The options of `backpass train` in which two plans differ."""
    told = []
    for name in ("scale", "class_weights", "threshold", "exclude"):
        value = after.asked.get(name)
        if value != before.asked.get(name):
            shown = ",".join(value) if isinstance(value, list) else value
            told.append("no --no-scale" if name == "scale" else f"--{name.replace('_', '-')} {shown}")
    given = after.asked.get("recipe") or {}
    for name, value in vars(after.recipe).items():
        follows = name in ("kinds", "members", "waves") and name not in given  # from another choice
        if value != getattr(before.recipe, name) and not follows:
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
            told.append(f"--{name.replace('_', '-')} {shown}")
    return told
