"""What was asked of a run, as the command or the call that asks for the same."""

import csv
import io
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from backpass.recipes.defaults import STANDARD
from backpass.recipes.duration import FITTED
from backpass.recipes.fields import NO_FILE, option

_OPTIONS = {
    name: option(name)
    for name in (
        "test_table",
        "effort",
        "seconds",
        "seed",
        "task",
        "group",
        "order",
        "test",
        "validation",
        "target_kind",
        "interval",
        "folds",
        "threshold",
        "precision",
        "on_divergence",
        "threads",
        "delimiter",
    )
}
_OF_RECIPE = ("epochs", "activation", "dropout", "learning_rate", "weight_decay", "clip", "batch_size", "patience")
_DEFAULTS = {
    "effort": STANDARD,
    "seed": 0,
    "precision": "float32",
    "on_divergence": "stop",
    "scale": True,
    "stream": False,
    "refit": False,
}


def command_of(asked: Mapping[str, Any]) -> str | None:
    """The `backpass train` that asks for it; None where only Python can ask so."""
    recipe = _recipe(asked)
    if set(recipe) - {*_OF_RECIPE, "hidden"} or asked.get("table", NO_FILE) == NO_FILE:
        return None
    target = asked["target"]
    words = [str(asked["table"]), "--target", target if isinstance(target, str) else _csv(target)]
    for name, word in _OPTIONS.items():
        if asked.get(name) not in (None, _DEFAULTS.get(name)):
            words += [word, f"{asked[name]:g}s" if name == "seconds" else str(asked[name])]
    words += ["--quantiles", ",".join(map(str, asked["quantiles"]))] if asked.get("quantiles") else []
    words += [word for name in asked.get("exclude") or () for word in ("--exclude", _csv([name]))]
    words += [word for name, kind in (asked.get("columns") or {}).items() for word in ("--column", f"{name}={kind}")]
    weights = asked.get("class_weights")
    if weights:
        told = weights if isinstance(weights, str) else _csv(f"{name}={value!r}" for name, value in weights.items())
        words += ["--class-weights", told]
    if "hidden" in recipe:
        words += ["--hidden", ",".join(map(str, recipe["hidden"])) or "0"]
    words += [word for name in _OF_RECIPE if name in recipe for word in (option(name), str(recipe[name]))]
    words += ["--no-scale"] if asked.get("scale") is False else []
    words += ["--stream"] if asked.get("stream") else []
    words += ["--refit"] if asked.get("refit") else []
    return "backpass train " + " ".join(map(shlex.quote, words))


def call_of(asked: Mapping[str, Any]) -> str:
    """The call of `backpass.train` that asks for it."""
    given = {name: value for name, value in asked.items() if name not in ("table", "target", "recipe", "save_every")}
    given = {name: value for name, value in given.items() if value != _DEFAULTS.get(name)}
    given |= {"recipe": _recipe(asked)} if _recipe(asked) else {}
    table = "table" if asked.get("table", NO_FILE) == NO_FILE else repr(asked["table"])
    more = "".join(f", {name}={value!r}" for name, value in given.items())
    return f"backpass.train({table}, {asked['target']!r}{more})"


def _recipe(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What of the recipe was asked for by a person, and not fitted into a time."""
    recipe = asked.get("recipe") or {}
    return {name: value for name, value in recipe.items() if asked.get("seconds") is None or name not in FITTED}


def _csv(names: Iterable[str]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(list(names))
    return written.getvalue()
