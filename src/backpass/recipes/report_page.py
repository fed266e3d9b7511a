"""The report of a run: its facts, drawn on one page that lies in its folder."""

import warnings
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backpass.errors import BackpassError, CheckpointError
from backpass.pages.assemble import assemble
from backpass.recipes.facts import facts
from backpass.storage.atomic import write_whole

if TYPE_CHECKING:
    from backpass.recipes.again import Run
    from backpass.recipes.main_job import Outcome, Plan

NAME = "report.html"
MOST_COLUMNS = 300  # that the page lists
MOST_EPOCHS = 1000  # that it draws
DIGITS = 6  # of its numbers
Findings = Sequence[Mapping[str, Any]] | None


def facts_of_run(opened: "Run", findings: Findings = None) -> dict[str, Any]:
    """The facts of a run in its folder, whether it is finished, interrupted or was broken off.

    Where the table is not to be had any more, or nothing was saved yet, the facts that take it are absent.
    """
    absent, planned, model = "", None, None
    try:
        planned = opened.plan
    except BackpassError as error:
        absent = str(error)
    try:
        model = opened.kept_model()
    except BackpassError as error:
        absent = absent or str(error)
    try:
        history = opened.history
    except CheckpointError as error:
        history, absent = [], absent or str(error)
    return facts(opened.folder, opened.about, history, planned, model, absent=absent, findings=findings)


def write_report(
    folder: Path,
    about: Mapping[str, Any],
    planned: "Plan",
    outcome: "Outcome",
    *,
    html: bool = True,
    plots: str | None = None,
) -> None:
    """Write the report of a run that has just ended: the page, and pictures as files of the kind `plots`, if wanted.

    `about` is what its run.json is going to say. Where that cannot be, a warning says so, and the run is whole.
    """
    try:
        found = facts(folder, about, outcome.history, planned, outcome.own_model)
        if html:
            write_whole(folder / NAME, page(found).encode(), links=False, advice="see to the disk")
        if plots is not None:
            from backpass.recipes.plots import write_plots

            write_plots(found, folder / "plots", plots)
    except (BackpassError, MemoryError) as error:
        what = str(error) or "there is not enough memory"
        warnings.warn(f"no {NAME} was written ({what}): backpass report {folder}", RuntimeWarning, stacklevel=2)


def page(found: Mapping[str, Any]) -> str:
    """The facts as one page for a browser, which asks the network for nothing."""
    template = (files("backpass.pages") / "report.html").read_text(encoding="utf-8")
    about, table = found["run"], (found["data"] or {}).get("table")
    title = f"{about['target']} of {table}" if table else f"{about['target']}: {about['name']}"
    return assemble(template, title=title, data=_shown(found))


def _shown(found: Mapping[str, Any]) -> dict[str, Any]:
    """As much of the facts as a page can show."""
    told = dict(_rounded(found))
    history = told["training"]["history"]
    some = np.unique(np.linspace(0, len(history["epoch"]) - 1, MOST_EPOCHS).round().astype(int)).tolist()
    if len(history["epoch"]) > MOST_EPOCHS:
        told["training"]["history"] = {name: [values[place] for place in some] for name, values in history.items()}
    if told["data"]:
        for name in ("inputs", "left_out"):
            every = told["data"][name]
            told["data"][f"{name}_cut"] = max(0, len(every) - MOST_COLUMNS)
            few = every[:MOST_COLUMNS] if isinstance(every, list) else dict(list(every.items())[:MOST_COLUMNS])
            told["data"][name] = few
    if "importance" in told:
        told["importance"]["columns"] = told["importance"]["columns"][:MOST_COLUMNS]
    return told


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value
