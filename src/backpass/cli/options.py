"""Options and arguments that several commands have."""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import click

from backpass.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

model_argument = click.argument("model", type=click.Path())
table_argument = click.argument("table", type=click.Path(allow_dash=True))
delimiter_option = click.option("--delimiter", metavar="CHARACTER", help="Of a text table; found by itself otherwise.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
quiet_option = click.option("--quiet", is_flag=True, help="Print nothing but errors (and what --json asks for).")
report_option = click.option(
    "--report/--no-report", default=True, help="Whether the run's folder gets a page to look at, report.html."
)
plots_option = click.option(
    "--plots",
    type=click.Choice(["png", "svg"]),
    help="Write the pictures of the report as files, too, into RUN/plots (pip install 'backpass[plots]').",
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(1, 256),
    help="How many share the work; as many as are worth it otherwise. Results do not depend on it.",
)
coerce_option = click.option(
    "--coerce",
    multiple=True,
    metavar="COLUMN",
    help="Read text in this number column as missing, rather than stop. May be given several times.",
)


def names(values: tuple[str, ...]) -> list[str]:
    """Names given by several options, or several in one, separated by commas."""
    from backpass.data.naming import split_names

    return [name for value in values for name in split_names(value) if name]


def sizes(text: str | None) -> tuple[int, ...] | None:
    """Numbers of "256,128"; "0" or "none" is no hidden layer."""
    if text is None:
        return None
    if text.strip().lower() in ("0", "none"):
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f'--hidden is "{text}", expected sizes separated by commas, such as 256,128') from None


def kinds(values: tuple[str, ...]) -> dict[str, str]:
    """`NAME=KIND` of every --column option."""
    chosen: dict[str, str] = {}
    for value in values:
        name, equals, kind = value.rpartition("=")
        if not equals or not name:
            raise UsageError(f'--column is "{value}", expected NAME=KIND, such as zip=category')
        chosen[name.strip()] = kind.strip().lower()
    return chosen


def weights(text: str | None) -> dict[str, float] | str | None:
    """Numbers by label of "yes=5,no=1"; "balanced" is what it is."""
    from backpass.data.naming import split_names

    if text is None or text.strip().lower() == "balanced":
        return None if text is None else "balanced"
    chosen: dict[str, float] = {}
    for part in split_names(text):
        label, equals, weight = part.rpartition("=")
        try:
            chosen[label.strip()] = float(weight if equals and label else "")
        except ValueError:
            raise UsageError(
                f'--class-weights is "{text}", expected balanced, or LABEL=WEIGHT, such as yes=5'
            ) from None
    return chosen


def threshold(text: str | None) -> float | str | None:
    """A probability, or the name of what it is to be best for."""
    from backpass.model.metrics import RATES

    if text is None or text in RATES:
        return text
    with suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise UsageError(f'--threshold is "{text}", expected a number from 0 to 1, or {", ".join(RATES)}')


def quantiles(text: str | None) -> list[float] | None:
    """The numbers of "0.1,0.5,0.9"."""
    if text is None:
        return None
    with suppress(ValueError):
        return [float(each) for each in text.split(",")]
    raise UsageError(f'--quantiles is "{text}", expected numbers between 0 and 1, such as 0.1,0.5,0.9')


def part(text: str | None) -> float | None:
    """The part of "0.9"."""
    if text is None:
        return None
    with suppress(ValueError):
        return float(text)
    hint = ""
    with suppress(ValueError):
        hint = f": {text.strip()} is {float(text.strip().rstrip('%')) / 100:g}" if text.strip().endswith("%") else ""
    raise UsageError(f'--interval is "{text}", expected a number between 0 and 1, such as 0.9{hint}')


def duration(text: str | None) -> float | None:
    """Seconds of "90", "90s", "5m" or "1.5h"."""
    if text is None:
        return None
    plain = text.strip().lower()
    unit = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(plain[-1:])
    with suppress(ValueError):
        seconds = float(plain if unit is None else plain[:-1]) * (unit or 1.0)
        if 0 < seconds < math.inf:
            return seconds
    raise UsageError(f'--time is "{text}", expected a time above 0, such as 90s, 5m or 1h')
