"""How the inputs, outputs and rows of a training are called, where they come from a table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import NamedTuple

from backpass.records import dataclass


class Cell(NamedTuple):
    """A column of a row: what stood in the table, and what the network is given for it.

    `raw` is None where the table has no value, and "" where there is no table. `features` are names and numbers; of a
    category that is embedded the number of its level.
    """

    column: str
    raw: str | None
    features: tuple[tuple[str, float], ...]


def _nothing(place: int) -> Mapping[str, str]:
    del place
    return {}


@dataclass(frozen=True, eq=False)
class Words:
    """Names; where one is lacking, a number stands for it.

    Attributes:
        features: of each input of the network the names of its numbers; the name of a lone input is "".
        columns: the column of the table that each feature comes from, by the feature's name.
        outputs: the names of the network's outputs.
        targets: the columns of what is desired.
        scalings: of targets that are scaled, how: a formula of the column's name.
        row: the number of a row, as the table counts, by its place among those trained on.
        raw: the cells of a row as they stand in the table, by column; "" where a value is missing.
        table: what the table is called.
    """

    features: Mapping[str, Sequence[str]] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    outputs: Sequence[str] = ()
    targets: Sequence[str] = ()
    scalings: Mapping[str, str] = field(default_factory=dict)
    row: Callable[[int], int] = int
    raw: Callable[[int], Mapping[str, str]] = _nothing
    table: str = ""
