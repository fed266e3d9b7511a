"""How a number may be written: 1234.5, 1,234.5, 1.234,5, 12 %, $ 12; and what stands for none at all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

from backpass.data.checked_json import Record
from backpass.data.lazy import pl
from backpass.records import dataclass

if TYPE_CHECKING:
    from polars import Series

# What stands for a missing value, in any case. Among texts, "none" and "-" may well be a level of their own.
MISSING_TEXT = ("", "?", "na", "n/a", "#n/a", "<na>", "nan", "null")
MISSING_NUMBER = (*MISSING_TEXT, "none", "-", "--", "-nan", ".", "nil", "nat")
UNITS = ("", "%", "$", "€", "£", "¥")
GROUPINGS = ("", ",", ".", " ", "'", "\u00a0", "\u202f")
DECIMALS = (".", ",")


@dataclass(frozen=True)
class NumberStyle:
    """The marks used in a column of numbers; every number of the column carries the unit."""

    decimal: str = "."
    grouping: str = ""
    unit: str = ""

    @property
    def plain(self) -> bool:
        """If a number so written reads as one without further ado."""
        return self == NumberStyle()

    @property
    def pattern(self) -> str:
        """A regular expression for the whole of a number, once its unit is taken away."""
        decimal = re.escape(self.decimal)
        whole = r"\d+" if not self.grouping else rf"(\d+|\d{{1,3}}({re.escape(self.grouping)}\d{{3}})+)"
        return rf"^[+-]?({whole}({decimal}\d*)?|{decimal}\d+)$"

    def read(self, texts: Series) -> Series:
        """The numbers, as 64-bit floats; null where a text is not written in this style."""
        if self.plain:
            return texts.cast(pl.Float64, strict=False)
        bare = texts
        if self.unit:
            bare = _only_where(bare, bare.str.contains(self.unit, literal=True))
            bare = bare.str.replace(self.unit, "", literal=True).str.replace_all(r"^([+-]?)\s+|\s+$", "${1}")
        bare = _only_where(bare, bare.str.contains(self.pattern))
        if self.grouping:
            bare = bare.str.replace_all(self.grouping, "", literal=True)
        return bare.str.replace(self.decimal, ".", literal=True).cast(pl.Float64, strict=False)

    def to_json(self) -> dict[str, Any]:
        return {"decimal": self.decimal, "grouping": self.grouping, "unit": self.unit}

    @classmethod
    def from_json(cls, record: Record) -> NumberStyle:
        style = cls(
            record.choice("decimal", DECIMALS), record.choice("grouping", GROUPINGS), record.choice("unit", UNITS)
        )
        record.finish()
        return style


def _only_where(texts: Series, fits: Series) -> Series:
    """The texts that fit; null in place of the others."""
    return texts.zip_with(fits.fill_null(value=False), pl.Series(texts.name, [None], pl.String))


def missing_among(texts: Series, tokens: tuple[str, ...]) -> Series:
    """For each text, if it stands for a missing value: is null, or one of these tokens in any case."""
    return texts.is_in(_in_any_case(tokens)).fill_null(value=True)


@cache
def _in_any_case(tokens: tuple[str, ...]) -> list[str]:
    """Every way to write the tokens. They are short: comparing with all is quicker than making a column lower case."""
    return sorted({"".join(word) for token in tokens for word in product(*({c.lower(), c.upper()} for c in token))})


def fitting_styles(texts: Series, delimiter: str | None) -> list[NumberStyle]:
    """The styles in which every one of these texts is a number, the likeliest first."""
    return [style for style in _candidates(texts, delimiter) if not style.read(texts).has_nulls()]


def nearest_style(texts: Series, delimiter: str | None) -> NumberStyle | None:
    """The style in which most of these texts are numbers, plain where none is better; None without a digit in sight."""
    shaped = texts.filter(texts.str.contains(r"^\W*\d"))
    candidates = [NumberStyle(), *_candidates(shaped, delimiter)] if shaped.len() else []
    return min(candidates, key=lambda style: style.read(texts).null_count(), default=None)


def _candidates(texts: Series, delimiter: str | None) -> Iterator[NumberStyle]:
    if not texts.len() or not re.search(r"\d", texts[0]):
        return
    unit = next((unit for unit in UNITS[1:] if unit in texts[0]), "")
    # Where fields are separated by semicolons, commas are most likely decimal ones.
    for decimal in reversed(DECIMALS) if delimiter == ";" else DECIMALS:
        for grouping in GROUPINGS:
            if grouping != decimal:
                yield NumberStyle(decimal, grouping, unit)
