"""From a table and a target's name to arrays ready for training: what is understood before any work is done."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from backpass.data import (
    Division,
    FileTable,
    Schema,
    Table,
    TableEncoder,
    TargetEncoder,
    describe,
    divide,
    summary,
    usable_rows,
)
from backpass.data.arrays import Array, Inputs, count_rows, let_go, row_shape, take_rows
from backpass.data.description import note_lines
from backpass.data.division import groups_of
from backpass.data.encoders.table import NUMBERS, Precision
from backpass.data.limits import amount
from backpass.data.splits import SHARE, dealt
from backpass.data.stored import folder, stored, window_of
from backpass.data.target import NoAmountsError
from backpass.data.targets import unlike
from backpass.data.values import with_numbers
from backpass.errors import UsageError
from backpass.forward import flatten
from backpass.model import Tabular
from backpass.model.model import open_table
from backpass.model.tabular import network_inputs
from backpass.records import dataclass

FEWEST_CROSSED, MOST_CROSSED = 50, 10_000  # rows


@dataclass(frozen=True, eq=False)
class Part:
    """Encoded rows: the network's inputs and targets.

    Of rows on the disk that were put in drawn order, `drawn` has the seed, and how many rows each piece had that came.
    `chosen` are the places in their table of rows that are half of a part; where rows were held out by whole groups,
    `groups` has the number of each row's group.
    """

    inputs: Inputs
    targets: Array
    drawn: tuple[int, Sequence[int]] | None = None
    chosen: Array | None = None
    groups: Array | None = None

    @property
    def rows(self) -> int:
        return count_rows(self.inputs)

    @property
    def window(self) -> int | None:
        """Of rows on the disk, how many are looked at together; None where they are in memory."""
        every = [*flatten(self.inputs), self.targets]
        return window_of(sum(array[:1].nbytes for array in every)) if isinstance(self.targets, np.memmap) else None

    def order(self) -> Array | None:
        """For each row its place in the table that it was encoded from; None where that is its own place."""
        if self.drawn is None:
            return self.chosen
        seed, counts = self.drawn
        ends = np.cumsum(counts)
        pieces = ({"": np.arange(end - count, end)} for count, end in zip(counts, ends.tolist(), strict=True))
        return np.asarray(stored(pieces, self.rows, seed=seed, window=self.window)[""])

    @property
    def sample(self) -> "Part":
        """Rows to judge all by: all, or those of one window."""
        window = slice(0, self.window)
        return self if self.window is None else Part(take_rows(self.inputs, window), self.targets[window])


@dataclass(frozen=True, eq=False)
class Prepared:
    """A table understood, split and encoded; every statistic is of the training rows alone.

    `validation`, `calibration` and `test` are None where no rows were held out for them. Those of `calibration` have no
    say in the network, nor in when its training ends. `notes` says what reading and encoding had to decide.

    Where there are `folds`, the rows that validate are those that train: networks trained side by side each learn
    nothing from one fold, and the inputs have the fold of each row, under the name `fold`; -1 for rows of the test.
    """

    table: Table
    division: Division
    tabular: Tabular
    train: Part
    validation: Part | None
    test: Part | None
    notes: tuple[str, ...]
    calibration: Part | None = None
    folds: int = 0
    fold: str = ""

    @property
    def row_shape(self) -> Any:
        """Of a row's inputs, as the network in use takes it."""
        return row_shape(self.plain(self.train))

    def plain(self, part: Part) -> Inputs:
        """The inputs of a part without the numbers of the folds."""
        if not self.folds or not isinstance(part.inputs, dict):
            return part.inputs
        return network_inputs({name: each for name, each in part.inputs.items() if name != self.fold})

    def apart(self) -> "tuple[Prepared, ...]":
        """For each head what it would be alone."""
        if not self.tabular.targets.parts:
            return (self,)
        parts = (self.train, self.validation, self.test, self.calibration)
        columns = [None if part is None else self.tabular.targets.columns(part.targets) for part in parts]

        def own(place: int, part: Part | None, apart: list[Array] | None) -> Part | None:
            return None if part is None or apart is None else replace(part, targets=apart[place])

        names = ("train", "validation", "test", "calibration")
        return tuple(
            replace(
                self,
                tabular=head,
                **{name: own(place, *each) for name, *each in zip(names, parts, columns, strict=True)},  # type: ignore[arg-type]
            )
            for place, head in enumerate(self.tabular.heads)
        )

    def describe(self) -> list[str]:
        """What was understood, in lines for people."""
        schema = self.division.schema
        heads = self.tabular.targets.heads
        lines = describe(schema, self.table, [head.kind for head in heads])
        for head in heads:
            of = f"target {head.schema.target_names[0]}" if len(heads) > 1 else "target"
            quantiles = ", ".join(map(str, head.quantiles))
            lines += [f"  learned of the {of}: its quantiles {quantiles}"] if quantiles else []
        lines += [line for note in self.notes for line in note_lines(note)]
        window = self.train.window
        if window is not None:
            held = sum(array.nbytes for array in flatten(self.train.inputs))
            lines.append(
                f"streamed    {amount(held)} of rows in {folder()}, {min(window, self.train.rows):,} of them in memory "
                "at a time"
            )
        return lines

    def summary(self) -> dict[str, Any]:
        """The same for programs."""
        heads = self.tabular.targets.heads
        amounts = next((head for head in heads if not head.classes), heads[0])
        more = {
            "target_kind": next((head.kind for head in heads if head.kind != "number"), "number"),
            "quantiles": list(amounts.quantiles),
            "split": self.rows(),
            "notes_of_reading": list(self.notes),
        }
        return summary(self.division.schema, self.table) | more

    def rows(self) -> dict[str, int]:
        parts = {"train": self.train, "validation": None if self.folds else self.validation, "test": self.test}
        counts = {name: 0 if part is None else part.rows for name, part in parts.items()}
        return counts if self.calibration is None else counts | {"calibration": self.calibration.rows}


def prepare(
    table: str | Path | Table | Any,
    targets: Sequence[str],
    *,
    seed: int = 0,
    test_table: str | Path | Table | Any = None,
    test: float | None = None,
    validation: float | None = None,
    group: str | None = None,
    order: str | None = None,
    columns: Mapping[str, str] | None = None,
    exclude: Collection[str] = (),
    task: str | None = None,
    delimiter: str | None = None,
    scale: bool = True,
    precision: str = "float32",
    target_kind: Any = None,
    quantiles: Sequence[float] | None = None,
    calibrated: bool = False,
    folds: int = 0,
    fold: tuple[int, int] | None = None,
    stream: bool | None = None,
) -> Prepared:
    """Read, understand, split and encode. See `backpass.train` for the arguments.

    Where it is to be `calibrated`, half of the rows held out for validation are kept for that; these are twice as many
    where their part is not given. With `folds` no rows are held out for validation alone, where nothing else is asked
    for and the rows are enough, and not too many to be looked through after every epoch; see `Prepared`. `fold` says
    which part of a cross-validation tests; see `hold_out`.

    Raises:
        TableError: a table cannot be read or does not hold what is needed.
        UsageError: an option does not fit the table.
    """
    opened = open_table(table, delimiter, stream=stream)
    own_test = None if test_table is None else open_table(test_table, delimiter)
    asked = validation is not None or calibrated or group is not None or order is not None
    asked = asked or isinstance(opened, FileTable)
    crossed = bool(folds) and not asked and FEWEST_CROSSED <= opened.rows <= MOST_CROSSED
    kind: Any = target_kind or "number"
    of_amounts = "--quantiles" if quantiles else "--target-kind" if kind != "number" else ""
    try:
        division = divide(
            opened,
            targets,
            seed=seed,
            test_table=own_test,
            test=test,
            validation=0.0 if crossed else 2 * SHARE if calibrated and validation is None else validation,
            group=group,
            order=order,
            overrides=columns or {},
            exclude=exclude,
            fold=fold,
            task="regression" if of_amounts else task,
        )
    except NoAmountsError as error:
        if not of_amounts:
            raise
        raise UsageError(f"{of_amounts} goes with numbers, and {error.found}: leave it out") from None
    notes = [*opened.notes, *(own_test.notes if own_test else ())]
    strange = _strange(opened, division.schema, kind)
    notes += [f"{why}: learned as any number" for why in strange.values()]
    if quantiles or strange:  # each has several outputs, or is of a kind of its own
        division = replace(division, schema=division.schema.one_by_one)
    schema, own_precision = division.schema, cast("Precision", precision)
    streamed = isinstance(division.table, FileTable)
    rows = division.train if streamed else with_numbers(division.table, schema.inputs, division.split.train)
    tabular = Tabular(
        TableEncoder.fit(rows, schema, scale=scale, precision=own_precision),
        TargetEncoder.fit(
            rows,
            schema,
            scale=scale,
            precision=own_precision,
            kind=kind,
            quantiles=tuple(quantiles or ()),
            plain=strange,
        ),
    )
    # Held-out rows are judged by what was learned from others: a text that is new among numbers is no value there.
    lenient = tabular.inputs.coercible
    train = encode(tabular, rows, notes, coerce=lenient, seed=seed)
    del rows  # of which there are most, before the others are read
    held_out, tested = (
        None if part is None else encode(tabular, part, notes, coerce=lenient)
        for part in (division.validation, division.test)
    )
    told = dict.fromkeys(note for note in notes if note not in schema.notes)
    if crossed:
        own = zip(tabular.targets.heads, tabular.targets.columns(train.targets), strict=True)
        strata = next((labels for head, labels in own if head.classes), None)
        return _crossed(Prepared(opened, division, tabular, train, None, tested, tuple(told)), folds, strata, seed)
    calibration = None
    if calibrated and held_out is not None:
        validated = division.table.take(division.split.validation)
        groups = None if group is None else np.unique(groups_of(validated, group), return_inverse=True)[1]
        held_out, calibration = _halves(replace(held_out, groups=groups), seed)
    return Prepared(opened, division, tabular, train, held_out, tested, tuple(told), calibration)


def _strange(table: Table, schema: Schema, kind: Any) -> dict[str, str]:
    """Of several amounts those that are not of the kind that was asked for, and why; none where it fits none of them.

    All rows say so: a kind must not hang on which of them train.
    """
    amounts = [target for head in schema.heads if not head.classes for target in head.targets]
    if kind == "number" or len(amounts) < 2:
        return {}
    found = unlike(usable_rows(table, schema), schema, kind)
    return found if len(found) < len(amounts) else {}


def _crossed(prepared: Prepared, folds: int, strata: Array | None, seed: int) -> Prepared:
    """The same, with the numbers of folds in the inputs: drawn, with as many rows of each class in every fold."""
    fold = "fold"
    while isinstance(prepared.train.inputs, dict) and fold in prepared.train.inputs:
        fold += "'"

    def numbered(part: Part, numbers: Array) -> Part:
        inputs = part.inputs if isinstance(part.inputs, dict) else {NUMBERS: part.inputs}
        return Part({**inputs, fold: numbers}, part.targets)

    rows, test = prepared.train.rows, prepared.test
    order = np.random.Generator(np.random.Philox(seed)).permutation(rows)
    if strata is not None:
        order = order[np.argsort(strata[order], kind="stable")]
    numbers = np.empty(rows, np.int64)
    numbers[order] = np.arange(rows) % folds
    train = numbered(prepared.train, numbers)
    tested = None if test is None else numbered(test, np.full(test.rows, -1, np.int64))
    return replace(prepared, train=train, validation=train, test=tested, folds=folds, fold=fold)


def _halves(part: Part, seed: int) -> tuple[Part, Part]:
    """The rows of a part, drawn into two; of whole groups as even as these allow, and second is that of more groups."""
    units = part.rows if part.groups is None else len(np.unique(part.groups))
    if units < 2:
        what = "rows" if part.groups is None else "groups"
        raise UsageError(f"--interval takes 2 {what} or more that are held out: hold out more with --validation-part")
    if part.groups is None:
        rows = np.random.Generator(np.random.Philox(seed)).permutation(part.rows)
        halves = [np.sort(half) for half in np.split(rows, [part.rows // 2])]
    else:
        groups, numbers = part.groups, dealt(part.groups, 2, seed)
        halves = [np.flatnonzero(numbers == number) for number in range(2)]
        halves.sort(key=lambda half: len(np.unique(groups[half])))
    first, second = (
        Part(
            take_rows(part.inputs, half),
            part.targets[half],
            chosen=half,
            groups=None if part.groups is None else part.groups[half],
        )
        for half in halves
    )
    let_go(*flatten(part.inputs))
    return first, second


def encode(
    tabular: Tabular,
    table: Table,
    notes: list[str] | None = None,
    *,
    coerce: Collection[str] = (),
    seed: int | None = None,
) -> Part:
    """The rows of a table as the network sees them. All have a target.

    Those of a table that is left in its file are left on the disk; with a seed in windows drawn by chance.
    """
    if not isinstance(table, FileTable):
        return Part(*tabular.encode(table, coerce=coerce, notes=notes))
    counts: list[int] = []
    found = stored(_pieces(tabular, table, coerce, notes, counts), table.rows, seed=seed)
    targets = found.pop(_TARGETS)
    return Part(network_inputs(found), targets, None if seed is None else (seed, counts))


_TARGETS = ""
"""Among the keys of inputs, which are names of columns."""


def _pieces(
    tabular: Tabular, table: FileTable, coerce: Collection[str], notes: list[str] | None, counts: list[int]
) -> Iterator[dict[str, Array]]:
    """What each piece of the table gives; how many rows that is is added to `counts`."""
    targets, before = np.asarray(tabular.targets.encode(table, notes=notes)), 0
    for inputs in tabular.inputs.encode_pieces(table, coerce=coerce, notes=notes):
        after = before + len(inputs[NUMBERS])
        counts.append(after - before)
        yield inputs | {_TARGETS: targets[before:after]}
        before = after
