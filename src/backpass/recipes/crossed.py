"""Cross-validation: every part of the rows tests once a network that was trained on others, and what that tells."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backpass.errors import NotFiniteError, TableError, UsageError
from backpass.recipes import fields
from backpass.recipes.scores import Score, finite, shown_value, title, told_names
from backpass.records import dataclass
from backpass.storage.atomic import write_whole

if TYPE_CHECKING:
    from backpass.recipes.main_job import Outcome, Plan

GRID = 200_001  # points on which the density of Student's t is summed
LARGEST = 1 << 24  # bytes of a folds.json
FAILURES = (NotFiniteError, TableError, UsageError, MemoryError)
"""Of a training that comes after the one that gave the model: no reason to lose that."""


@dataclass(frozen=True, eq=False)
class Fold:
    """What came of one part that tested.

    Attributes:
        trained, tested: how many rows did.
        scores: of the network, of a linear model where one was trained, and of saying the same for every row: the label
            of each, and its metrics by name.
        failed: why it has no scores; empty where it has.
    """

    trained: int
    tested: int
    scores: tuple[tuple[str, Mapping[str, float | None]], ...]
    failed: str = ""

    def to_json(self) -> dict[str, Any]:
        scores = [{"label": label, "metrics": dict(metrics)} for label, metrics in self.scores]
        failed = {"failed": self.failed} if self.failed else {}
        return {"trained": self.trained, "tested": self.tested, "scores": scores} | failed


def fit_folds(
    planned: "Plan",
    outcome: "Outcome",
    *,
    kept: Path | None = None,
    progress: bool = False,
    stop_on_interrupt: bool = False,
) -> "Outcome":
    """The outcome of the last fold with what comes of the others, each trained in its turn.

    What is done is `kept` in a file, and not done again. Where it is interrupted, the outcome has no folds. A fold that
    fails says why in place of its scores: the others, and the model, are none the worse.
    """
    if outcome.interrupted_by:
        return replace(outcome, finished=False)
    done, seconds = _read(kept, planned.folds - 1), outcome.seconds
    for place in range(len(done), planned.folds - 1):
        plan = None
        try:
            plan = planned.fold(place)
            found = plan.fit(progress=progress, stop_on_interrupt=stop_on_interrupt)
        except FAILURES as error:
            done.append(_failed(plan, error))
        else:
            seconds += found.seconds
            if found.interrupted_by:
                return replace(outcome, seconds=seconds, interrupted_by=found.interrupted_by, finished=False)
            done.append(_fold(plan, found))
        if kept is not None:
            write_whole(kept, json.dumps([each.to_json() for each in done]).encode(), links=False)
    return replace(outcome, seconds=seconds, folds=(*done, _fold(planned, outcome)))


def count_done(kept: Path, planned: "Plan") -> int:
    """How many folds were kept before."""
    return len(_read(kept, planned.folds - 1)) if planned.folds else 0


def _fold(planned: "Plan", outcome: "Outcome") -> Fold:
    rows = planned.prepared.rows()
    return Fold(rows["train"], rows["test"], tuple((each.label, finite(each.metrics)) for each in outcome.scores))


def _failed(planned: "Plan | None", error: Exception) -> Fold:
    rows = {"train": 0, "test": 0} if planned is None else planned.prepared.rows()
    return Fold(rows["train"], rows["test"], (), why(error))


def why(error: Exception) -> str:
    """Why a training failed, in words."""
    return str(error) or "there is not enough memory for it"


_SCORE = {"label": fields.TEXT, "metrics": fields.named(fields.NUMBER.optional, "numbers by name")}
_FOLD = {
    "trained": fields.COUNT,
    "tested": fields.COUNT,
    "scores": fields.listed(fields.OBJECT, "a list of scores"),
    "failed": fields.TEXT.optional,
}


def _read(path: Path | None, most: int) -> list[Fold]:
    """What was kept before."""
    from backpass.recipes.run import content_of

    content: Any = []
    if path is not None:
        with suppress(FileNotFoundError):
            try:
                content = json.loads(content_of(path, LARGEST))
            except (ValueError, RecursionError):
                content = None
    if not isinstance(content, list) or len(content) > most:
        raise UsageError(f"{path}: is damaged, expected what came of up to {most} folds: remove it")
    found = []
    for each in content:
        fields.check(each if isinstance(each, dict) else {}, _FOLD, f"{path}: ")
        for score in each["scores"]:
            fields.check(score, _SCORE, f"{path}: ")
        scores = tuple((score["label"], score["metrics"]) for score in each["scores"])
        found.append(Fold(each["trained"], each["tested"], scores, each.get("failed") or ""))
    return found


def means(folds: Sequence[Fold]) -> list[Score]:
    """The mean of each metric over the folds that have scores, and half its 95 % interval; nothing of fewer than two.

    Networks of two folds were trained on much the same rows, so their scores are not independent: of k folds the
    variance of the mean is not that of the scores divided by k, but times 1/k + tested/trained rows (Nadeau and Bengio,
    Inference for the generalization error, 2003), with Student's t of k - 1 degrees.
    """
    folds = [each for each in folds if not each.failed]
    if len(folds) < 2:
        return []
    share = 1 / len(folds) + sum(each.tested for each in folds) / max(1, sum(each.trained for each in folds))
    wide = student(len(folds) - 1) * math.sqrt(share)
    found = []
    for label, rows in _by_label(folds):
        values = {name: [row.get(name) for row in rows] for name in rows[-1]}
        known = {
            name: np.array(each, np.float64)
            for name, each in values.items()
            if all(value is not None for value in each)
        }
        metrics = {name: float(each.mean()) for name, each in known.items()}
        margins = {name: wide * float(each.std(ddof=1)) for name, each in known.items()}
        found.append(Score(label, metrics, margins, np.zeros(0)))
    return found


def _by_label(folds: Sequence[Fold]) -> list[tuple[str, list[Mapping[str, float | None]]]]:
    """What predicts, as the last fold calls it, with its metrics in each fold; a linear model if each fold has one."""
    last = [label for label, _ in folds[-1].scores]
    if all(len(each.scores) == len(last) for each in folds):
        return [(label, [each.scores[place][1] for each in folds]) for place, label in enumerate(last)]
    return [(last[place], [each.scores[place][1] for each in folds]) for place in (0, -1)]


def spreads(folds: Sequence[Fold], heads: Sequence[str] = ()) -> list[str]:
    """Of the network's metrics the least and the most of the folds that have scores, in words; those of each head."""
    folds = [each for each in folds if not each.failed]
    _, rows = _by_label(folds)[0]
    found = means(folds)
    if heads:
        own = [(f"{head} ", f"_{head}", told_names([each.of(head) for each in found])) for head in heads]
    else:
        own = [("", "", told_names(found))]
    return [
        f"{before}{title(name)} {shown_value(name, min(values))} to {shown_value(name, max(values))}"
        for before, after, names in own
        for name in names
        if (values := [float(row[name + after] or 0.0) for row in rows])
    ]


def told(folds: Sequence[Fold]) -> dict[str, Any]:
    """As plain data: the means with half their 95 % intervals, and each fold."""
    return {"scores": [each.to_json() for each in means(folds)], "each": [each.to_json() for each in folds]}


def student(degrees: int) -> float:
    """Student's t beyond which 2.5 % lie.

    With x = sqrt(degrees) · tan(angle) the density is cos(angle)^(degrees - 1), which is summed.
    """
    angles = np.linspace(-math.pi / 2, math.pi / 2, GRID)
    whole = np.cumsum(np.cos(angles) ** (degrees - 1))
    return math.sqrt(degrees) * math.tan(float(np.interp(0.975, whole / whole[-1], angles)))
