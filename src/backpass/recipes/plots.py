"""The pictures of a report as files, drawn by matplotlib, which is imported here alone and need not be installed."""

import io
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backpass.errors import OutputError, UsageError
from backpass.storage.atomic import reason, write_whole

BLUE, ORANGE, GREY = "#0067a5", "#c44f00", "#5c646d"
MOST_COLUMNS = 30  # of importance
MOST_CLASSES = 20  # whose counts can be read in a square
Axes = Any


def require_matplotlib() -> None:
    """See that there is matplotlib, before any work is done.

    Raises:
        UsageError: there is none.
    """
    if find_spec("matplotlib") is None:
        raise UsageError("--plots needs matplotlib, which is not installed: pip install 'backpass[plots]'")


def write_plots(found: Mapping[str, Any], folder: Path, kind: str) -> list[Path]:
    """One file for each picture that there are facts for, in `folder`; `kind` is "png" or "svg".

    Raises:
        UsageError: there is no matplotlib.
        OutputError: the folder or a file cannot be written.
    """
    require_matplotlib()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made a folder ({reason(error)}): see to the disk") from None
    paths = []
    # Names of columns are no formulas; the same facts give the same bytes.
    with mpl.rc_context({"text.parse_math": False, "svg.hashsalt": "backpass", "font.size": 10}):
        for name, size, draw in _pictures(found):
            figure = Figure(figsize=size, layout="constrained")
            axes = figure.add_subplot()
            axes.spines[["top", "right"]].set_visible(False)
            draw(axes)
            written = io.BytesIO()
            figure.savefig(written, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
            paths.append(folder / f"{name}.{kind}")
            write_whole(paths[-1], written.getvalue(), links=False, advice="see to the disk")
    return paths


def _pictures(found: Mapping[str, Any]) -> Iterator[tuple[str, tuple[float, float], Callable[[Axes], None]]]:
    """Name, size in inches, and what draws it."""
    if found["training"]["epochs"]:
        yield "loss", (7, 4), lambda axes: _loss(axes, found["training"])
    if "importance" in found:
        shown = found["importance"]["columns"][:MOST_COLUMNS]
        height = 1.2 + 0.28 * len(shown)
        yield "importance", (7, height), lambda axes: _importance(axes, shown, found["importance"]["metric"])
    heads = found.get("heads", [])
    for number, head in enumerate(heads, start=1):
        yield from _of_head(head, _end(number, head["target"]))
    if not heads:
        yield from _of_head(found, "")


def _end(number: int, target: str) -> str:
    """What names of files end with, where there are several targets."""
    return f"-{number}-{re.sub(r'[^A-Za-z0-9]+', '-', target)[:40]}"


def _of_head(found: Mapping[str, Any], end: str) -> Iterator[tuple[str, tuple[float, float], Callable[[Axes], None]]]:
    if "confusion" in found:
        side = min(12.0, 3 + 0.5 * len(found["confusion"]["classes"]))
        yield f"confusion{end}", (side, side), partial(_confusion, confusion=found["confusion"])
    if found.get("curves"):
        yield f"roc{end}", (5, 5), partial(_roc, curves=found["curves"])
        yield f"precision-recall{end}", (5, 5), partial(_precision_recall, curves=found["curves"])
    if "calibration" in found:
        yield f"reliability{end}", (5, 5), partial(_reliability, calibration=found["calibration"])
    targets = found.get("residuals", {}).get("targets", ())
    for number, target in enumerate(targets, start=1):
        end = _end(number, target["name"]) if len(targets) > 1 else end
        yield f"answers{end}", (5, 5), partial(_answers, target=target)
        yield f"errors{end}", (7, 4), partial(_errors, target=target)


def _loss(axes: Axes, training: Mapping[str, Any]) -> None:
    history = training["history"]
    lines = (("loss", "training", BLUE, "-"), ("validation_loss", "validation", ORANGE, "--"))
    for name, label, colour, style in lines:
        if name in history:
            values = [float("nan") if value is None else value for value in history[name]]
            axes.plot(history["epoch"], values, style, color=colour, label=label)
    if training["kept_epoch"]:
        axes.axvline(training["kept_epoch"], color=GREY, linestyle=":", label="weights kept")
    axes.set(xlabel="epoch", ylabel="loss", title="Loss by epoch")
    axes.legend(frameon=False)


def _importance(axes: Axes, columns: list[Mapping[str, Any]], metric: str) -> None:
    known = [each for each in columns if each["rise"] is not None]
    axes.barh(
        range(len(known)), [each["rise"] for each in known], xerr=[each["spread"] or 0 for each in known], color=BLUE
    )
    axes.set_yticks(range(len(known)), [_short(each["column"]) for each in known])
    axes.invert_yaxis()
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set(
        xlabel=f"rise of {metric.replace('_', ' ')} when shuffled, with its 95 % interval", title="Which columns matter"
    )


def _confusion(axes: Axes, confusion: Mapping[str, Any]) -> None:
    counts, names = confusion["counts"], [_short(name, 14) for name in confusion["classes"]]
    parts = [[count / max(1, sum(row)) for count in row] for row in counts]
    axes.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="answered", ylabel="right", title="Confusion matrix")
    for i, row in enumerate(counts if len(counts) <= MOST_CLASSES else ()):
        for j, count in enumerate(row):
            axes.text(j, i, f"{count:,}", ha="center", va="center", color="white" if parts[i][j] > 0.6 else "black")


def _roc(axes: Axes, curves: Mapping[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], ":", color=GREY)
    axes.plot(curves["roc"]["false_positive_rate"], curves["roc"]["true_positive_rate"], color=BLUE)
    axes.set(xlabel="false positives, of all negative", ylabel="true positives, of all positive")
    axes.set_title(f"ROC, area {curves['auc']:.3f}")


def _precision_recall(axes: Axes, curves: Mapping[str, Any]) -> None:
    axes.axhline(curves["share"], linestyle=":", color=GREY)
    axes.plot(curves["precision_recall"]["recall"], curves["precision_recall"]["precision"], color=BLUE)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title(f"Precision and recall, average {curves['average_precision']:.3f}")


def _reliability(axes: Axes, calibration: Mapping[str, Any]) -> None:
    bins = calibration["bins"]
    axes.plot([0, 1], [0, 1], ":", color=GREY)
    sure, right = [each["sure"] for each in bins], [each["right"] for each in bins]
    axes.errorbar(sure, right, yerr=[each["margin"] for each in bins], fmt="o-", color=BLUE, capsize=3)
    axes.set(xlabel="probability of the answer", ylabel="part that is right", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title(f"Reliability, calibration error {calibration['error']:.3f}")


def _answers(axes: Axes, target: Mapping[str, Any]) -> None:
    pairs = zip(target["predicted"], target["actual"], strict=True)
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    ends = [min(map(min, known), default=0), max(map(max, known), default=1)]
    axes.plot(ends, ends, ":", color=GREY)
    axes.scatter([a for a, _ in known], [b for _, b in known], s=9, alpha=0.5, color=BLUE)
    axes.set(xlabel="answer", ylabel="right", title=_short(target["name"]))


def _errors(axes: Axes, target: Mapping[str, Any]) -> None:
    axes.stairs(target["histogram"]["counts"], target["histogram"]["edges"], fill=True, color=BLUE, alpha=0.6)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set(xlabel="answer less what was right", ylabel="rows", title=f"Errors of {_short(target['name'])}")


def _short(name: str, most: int = 30) -> str:
    plain = "".join(c if c.isprintable() else "?" for c in name)
    return plain if len(plain) <= most else plain[: most - 1] + "…"
