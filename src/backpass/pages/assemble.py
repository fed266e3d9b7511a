"""One file of a template, the assets that it names, and its data."""

import html
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

UPLOT = {
    "version": "1.6.32",
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
"""The version of uPlot in assets/, and the sha256 of its files as they were published."""

_ASSET = re.compile(r"\{\{asset ([\w.]+)\}\}")


@lru_cache
def asset(name: str) -> str:
    """A file of assets/, as text."""
    return (files("backpass.pages") / "assets" / name).read_text(encoding="utf-8")


def assemble(template: str, *, title: str, data: Mapping[str, Any]) -> str:
    """A page of its own: `{{asset NAME}}`, `{{title}}` and, once, `{{data}}` of the template are filled in.

    The data stand in the page as JSON, in which "<" is written in a way that no browser takes for the end of a script;
    no part of the title or the data is ever looked at as a template or as HTML.
    """
    told = json.dumps(data, allow_nan=False, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    filled = _ASSET.sub(lambda found: asset(found[1]), template)
    before, _, after = filled.partition("{{data}}")
    named = html.escape(title)
    return before.replace("{{title}}", named) + told + after.replace("{{title}}", named)
