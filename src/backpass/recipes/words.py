"""How the ledger of a run calls what comes from its table, and where the rows of the table are."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from backpass.data import Table
from backpass.data.encoders.table import NUMBERS, TableEncoder
from backpass.data.targets import TargetEncoder
from backpass.data.values import Reader
from backpass.errors import UsageError
from backpass.ledger import Words
from backpass.recipes.prepare import Prepared


def words_of(prepared: Prepared, *, held_out: bool = False) -> Words:
    """The names of a table's features, outputs and rows: of those trained on, or of those that are held out."""
    inputs, targets = prepared.tabular.inputs, prepared.tabular.targets
    table, split, part = prepared.division.table, prepared.division.split, prepared.train
    rows = split.train
    if held_out and not prepared.folds and prepared.validation is not None:
        rows, part = split.validation, prepared.validation
    order = lru_cache(1)(part.order)
    columns = {feature: encoder.column.name for encoder in inputs.block for feature in encoder.feature_names}
    keys = dict(zip(inputs.embeddings, (levels.column.name for levels in inputs.embedded), strict=True))
    shown = [*inputs.columns, *targets.schema.target_names]

    def own(place: int) -> int:
        drawn = order()
        return int(rows[place if drawn is None else drawn[place]])

    def raw(place: int) -> Mapping[str, str]:
        return cells(table, own(place), shown, inputs)

    return Words(
        features={
            **dict.fromkeys(("", NUMBERS), inputs.feature_names),
            **{key: [key] for key in keys},
            # No input of the network: it says which members leave the row out.
            **({prepared.fold: ["(held out in fold)"]} if prepared.folds else {}),
        },
        columns=columns | keys,
        outputs=_outputs(targets),
        targets=targets.schema.target_names,
        scalings=_scalings(targets),
        row=lambda place: table.row_number(own(place)),
        raw=raw,
        table=prepared.table.name,
    )


def _outputs(targets: TargetEncoder) -> tuple[str, ...]:
    """The names of a network's outputs: classes, quantiles or targets; of several heads with their targets' names."""
    if targets.parts:
        own = [(part.schema.target_names[0], _outputs(part)) for part in targets.parts]
        return tuple(name if names == (name,) else f"{name}={each}" for name, names in own for each in names)
    classes = targets.classes
    return classes[1:] if len(classes) == 2 else classes or targets.quantile_names or targets.schema.target_names


def _scalings(targets: TargetEncoder) -> dict[str, str]:
    """How amounts are made small, by their names."""
    found: dict[str, str] = {}
    for part in targets.parts:
        found |= _scalings(part)
    for name, center, spread in zip(targets.schema.target_names, targets.centers, targets.spreads, strict=False):
        amount = f"log({name})" if targets.kind == "positive" else name
        if (center, spread) != (0.0, 1.0):
            shifted = f"({amount} {'-' if center > 0 else '+'} {abs(center):.5g})" if center else amount
            found[name] = f"{shifted} / {spread:.5g}"
    return found


def cells(table: Table, place: int, columns: list[str], inputs: TableEncoder) -> dict[str, str]:
    """A row as it stands in the table; "" where a value is lacking, or is read so by the encoder of the inputs."""
    values = {name: table.column(name)[place] for name in columns}
    found = {name: "" if value is None else str(value) for name, value in values.items()}
    coded = [encoder.column for encoder in inputs.block if encoder.column.codes and encoder.column.name in columns]
    lacking = [column.name for column in coded if np.isnan(Reader(table.take([place])).numbers(column)).any()]
    return found | dict.fromkeys(lacking, "")


def trained_place(prepared: Prepared, row: int) -> int:
    """The place of a row of the table among those trained on.

    Raises:
        UsageError: the table has no such row, or it was not trained on.
    """
    require_row(prepared.table, row)
    place = place_of(prepared.division.train, row)
    if place is not None:
        order = prepared.train.order()
        return place if order is None else int(np.flatnonzero(order == place)[0])
    division = prepared.division
    for part, why in (
        (division.validation, "was held out to tell when to stop"),
        (division.test if division.own_test is None else None, "was held out to test"),
    ):
        if part is not None and place_of(part, row) is not None:
            raise UsageError(f"row {row} {why}: it is in no step (--why explains the prediction for any row)")
    raise UsageError(f"row {row} has no target: it is in no step (--why explains the prediction for any row)")


def require_row(table: Table, row: int) -> None:
    """See that a table has a row.

    Raises:
        UsageError: it has not.
    """
    if not 1 <= row <= table.rows:
        raise UsageError(f"{table.name} has the rows 1 to {table.rows:,}, found --row {row}")


def place_of(table: Table, row: int) -> int | None:
    """Where a row of the file stands in a part of it."""
    if table.numbering is None:
        return row - 1 if 1 <= row <= table.rows else None
    found = np.flatnonzero(table.numbering == row - 1)
    return int(found[0]) if len(found) else None
