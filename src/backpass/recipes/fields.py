"""What run.json holds, each field by its name and kind: a stranger may have written it.

The arguments of `plan` are among its fields, and are looked at in the same way where a program gives them.
"""

import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from backpass.errors import UsageError
from backpass.model.metrics import RATES
from backpass.model.network import MOST_THREADS
from backpass.recipes.defaults import EFFORTS
from backpass.records import dataclass
from backpass.training.loop import ON_DIVERGENCE
from backpass.training.trainer import PRECISIONS

NO_FILE = "-"
"""Stands for a table that was no file, or was standard input."""
STATES = TRAINING, INTERRUPTED, FINISHED = "training", "interrupted", "finished"


@dataclass(frozen=True)
class Kind:
    """What a value must be, in words, and whether one is that."""

    words: str
    fits: Callable[[Any], bool]

    @property
    def optional(self) -> "Kind":
        """The same, or None, or not there at all."""
        return Kind(self.words, lambda x: x is None or self.fits(x))


def one_of(*choices: str) -> Kind:
    return Kind(" or ".join(choices), lambda x: isinstance(x, str) and x in choices)


def listed(kind: Kind, words: str) -> Kind:
    return Kind(words, lambda x: isinstance(x, list) and all(map(kind.fits, x)))


def named(kind: Kind, words: str) -> Kind:
    """An object: texts as names, and values of one kind."""
    return Kind(words, lambda x: isinstance(x, dict) and all(isinstance(k, str) and kind.fits(x[k]) for k in x))


def _is_number(value: Any) -> bool:
    """Whether it is finite, and fits, is asked where it is used; but a whole number may be too large for a float."""
    return type(value) is float or (type(value) is int and abs(value) < 1 << 63)


ANYTHING = Kind("anything", lambda _: True)
TEXT = Kind("a text", lambda x: isinstance(x, str))
FLAG = Kind("true or false", lambda x: isinstance(x, bool))
NUMBER = Kind("a number", _is_number)
WHOLE = Kind("a whole number", lambda x: type(x) is int)
THREADS = Kind(f"a whole number from 1 to {MOST_THREADS}", lambda x: type(x) is int and 1 <= x <= MOST_THREADS)
COUNT = Kind("a whole number below 2^40", lambda x: type(x) is int and x < 1 << 40)
SECONDS = Kind("a number of 0 or more", lambda x: type(x) in (int, float) and x >= 0)
NAMES = listed(TEXT, "a list of names")
OBJECT = named(ANYTHING, "an object")
TEXTS = named(TEXT, "texts by name")

ASKED = {
    "target": Kind("the name of a column, or a list of names", lambda x: isinstance(x, str) or NAMES.fits(x)),
    "seed": WHOLE,
    "effort": one_of(*EFFORTS),
    "seconds": Kind("a number from 0.001 to 1e9", lambda x: _is_number(x) and 1e-3 <= x <= 1e9).optional,
    "precision": one_of(*PRECISIONS),
    "class_weights": Kind(
        'balanced or a number by label, as {"yes": 5, "no": 1}',
        lambda x: x == "balanced" or named(NUMBER, "").fits(x),
    ).optional,
    "interval": NUMBER.optional,
    "threshold": Kind(
        f"a number from 0 to 1, or {' or '.join(RATES)}",
        lambda x: (isinstance(x, str) and x in RATES) or (_is_number(x) and 0 <= x <= 1),
    ).optional,
    "target_kind": one_of("number", "count", "positive").optional,
    "quantiles": Kind(
        "numbers between 0 and 1, all different, such as 0.1,0.5,0.9",
        lambda x: (
            isinstance(x, list) and 0 < len(x) == len(set(map(str, x))) and all(_is_number(q) and 0 < q < 1 for q in x)
        ),
    ).optional,
    "threads": THREADS.optional,
    "on_divergence": one_of(*ON_DIVERGENCE),
    "save_every": SECONDS,
    "recipe": named(ANYTHING, "choices by name").optional,
    "refit": FLAG,
    "folds": Kind("a whole number from 2 to 100", lambda x: type(x) is int and 2 <= x <= 100).optional,
    "test": Kind("a number, such as 0.2 (a table goes to test_table)", NUMBER.fits).optional,
    "validation": NUMBER.optional,
    "group": TEXT.optional,
    "order": TEXT.optional,
    "columns": named(TEXT, "kinds by the names of columns").optional,
    "exclude": NAMES.optional,
    "task": TEXT.optional,
    "delimiter": TEXT.optional,
    "stream": FLAG.optional,
    "scale": FLAG,
}
"""The arguments of `plan`, beside the tables."""

RECIPE = {
    "hidden": listed(COUNT, "whole numbers from 1 to 65,536, such as [64, 32]").optional,
    "activation": TEXT.optional,
    **dict.fromkeys(
        ("dropout", "learning_rate", "weight_decay", "clip", "averaging", "label_smoothing"), NUMBER.optional
    ),
    **dict.fromkeys(("batch_size", "epochs", "patience", "members", "waves"), COUNT.optional),
    **dict.fromkeys(("optimizer", "loss"), TEXT.optional),
    "kinds": listed(TEXT, "names of kinds of networks").optional,
}

_NO_OPTION = ("recipe", "scale", "stream")
_OTHERWISE = {
    "test_table": "test",
    "test": "test-part",
    "validation": "validation-part",
    "seconds": "time",
    "columns": "column",
}


def option(name: str) -> str:
    """What an argument of `plan` is called on the command line."""
    return name if name in _NO_OPTION else "--" + _OTHERWISE.get(name, name.replace("_", "-"))


TABLES = dict.fromkeys(("table", "test_table"), TEXT.optional)

RUN = {
    "format": WHOLE,
    "state": one_of(*STATES).optional,
    "asked": OBJECT,
    "recipe": OBJECT.optional,
    "paths": TEXTS.optional,
    "versions": TEXTS.optional,
    "machine": named(Kind("", lambda x: TEXT.fits(x) or COUNT.fits(x)), "texts and whole numbers by name").optional,
    "data": OBJECT.optional,
    "outcome": OBJECT.optional,
}

DATA = {
    "sha256": named(TEXT.optional, "texts by name"),
    "rows": WHOLE,
    "columns": TEXTS,
    "sums": TEXT,
}

OUTCOME = {
    "epochs": COUNT.optional,
    "stopped": TEXT.optional,
    "weights": TEXT.optional,
    "refit": OBJECT.optional,
    "refit_failed": TEXT.optional,
}
REFIT = {"rows": COUNT, "epochs": COUNT, "scored_weights": TEXT}


def check(content: Mapping[str, Any], kinds: Mapping[str, Kind], where: str = "") -> None:
    """See that each field is of its kind.

    Raises:
        UsageError: one is not; the message names it, after `where`.
    """
    for name, kind in kinds.items():
        value = content.get(name)
        if not kind.fits(value):
            found = f"is {reprlib.repr(value)}" if name in content else "is not there"
            raise UsageError(f"{where}{name} {found}, expected {kind.words}")


def check_asked(asked: Mapping[str, Any], where: str = "", named: Callable[[str], str] = option) -> None:
    """See that arguments of `plan` are what they must be; those that are not there have their defaults.

    Raises:
        UsageError: one is not, or there is no such argument. The message has it as it is `named`, or, in a file, as it
            is called there.
    """
    unknown = next((name for name in asked if name not in ASKED and name not in TABLES), None)
    if unknown is not None:
        raise UsageError(f"{where}{unknown[:40]} is not understood: there is no such argument")
    given = {name: kind for name, kind in (ASKED | TABLES).items() if name in asked or name == "target"}
    own = str if where else named
    check({own(name): value for name, value in asked.items()}, {own(name): given[name] for name in given}, where)
    check(asked.get("recipe") or {}, RECIPE, f"{where}recipe.")


def check_run(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The known fields of a run.json, those that are null left out.

    Raises:
        UsageError: one is not of its kind.
    """
    check(content, RUN, f"{path}: ")
    known = {name: content[name] for name in RUN if content.get(name) is not None}
    known["asked"] = {name: value for name, value in content["asked"].items() if value is not None}
    check_asked(known["asked"], f"{path}: asked.")
    for name, kinds in (("data", DATA), ("outcome", OUTCOME)):
        if name in known:
            check(known[name], kinds, f"{path}: {name}.")
    if known.get("outcome", {}).get("refit") is not None:
        check(known["outcome"]["refit"], REFIT, f"{path}: outcome.refit.")
    return known


def is_record(value: Any) -> bool:
    """Is it what a history notes of an epoch: its number, and other numbers?"""
    numbers = named(Kind("a number", lambda x: x is None or type(x) in (int, float)), "numbers by name")
    return numbers.fits(value) and COUNT.fits(value.get("epoch")) and value["epoch"] >= 1


def plain(value: Any) -> Any:
    """As JSON has it: NumPy's numbers as Python's; arrays, data frames' columns, tuples and sets as lists."""
    for convert in ("tolist", "to_list"):
        if hasattr(value, convert):
            return plain(getattr(value, convert)())
    if isinstance(value, Mapping):
        return {plain(name): plain(each) for name, each in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(plain, value), key=repr)
    if isinstance(value, Iterable) and isinstance(value, Collection) and not isinstance(value, (str, bytes)):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, str) else value
