"""A run once more: to go on with it, or to do it again and compare."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from backpass.data import TargetEncoder
from backpass.data.arrays import as_inputs
from backpass.data.batches import batches
from backpass.data.encoders.table import NUMBERS
from backpass.errors import UsageError
from backpass.forward import flatten, unflatten
from backpass.ledger import Ledger, Why, ledger, look, telling, why
from backpass.model import Model, load
from backpass.model.calibration import Calibration
from backpass.model.tabular import network_inputs
from backpass.nn import Layer
from backpass.recipes import fields, run
from backpass.recipes.defaults import FAST, STANDARD, folds, network, places_of_waves
from backpass.recipes.main_job import Plan, plan
from backpass.recipes.provenance import circumstances, fingerprint, require_same_data
from backpass.recipes.words import cells, require_row, trained_place, words_of
from backpass.records import dataclass
from backpass.training import Replayed
from backpass.training.executors import State
from backpass.training.history import TIME_IS_OVER
from backpass.training.snapshots import newest, records_of, restored

FOLDS_SINCE = 3  # the format of runs whose networks side by side each leave out a fold


def plan_of(
    folder: Path, table: str | None = None, test_table: str | None = None, *, threads: int | None = None
) -> Plan:
    """The plan of a run, made again from what was asked.

    Args:
        folder: of the run.
        table, test_table: where the tables are now, if they were moved.
        threads: how many share the work; None for as many as the run was asked to use.

    Raises:
        UsageError: it is no run, a table was no file or is not where it was, or the data changed; the difference is
            named.
        TableError: a table cannot be read.
    """
    content = run.read(folder)
    if "data" not in content:
        raise UsageError(f"{folder / 'run.json'}: this run does not say what its data was: train anew")
    moved = {"table": table, "test_table": test_table, "threads": threads}
    # Runs from before there were efforts trained one network, and were not streamed.
    asked = {"table": fields.NO_FILE, "effort": FAST, "stream": False} | content["asked"]
    asked |= {name: given for name, given in moved.items() if given is not None}
    if content["format"] < FOLDS_SINCE and folds(asked["effort"], **asked.get("recipe", {})):
        raise UsageError(
            f"{folder}: is of format {content['format']}, whose networks side by side were trained in another way: it "
            "predicts as before; to go on with it, do it again or look into its steps, train anew"
        )
    if content.get("recipe"):
        asked["recipe"] = {"kinds": []} | content["recipe"]  # that of earlier versions had networks of one kind
    else:
        asked |= _recipe_before(folder, content["format"], asked["effort"], asked.get("recipe") or {})
    for role, option in (("table", "--table"), ("test_table", "--test")):
        if role in asked and moved[role] is None:
            asked[role] = _place(folder, asked, content.get("paths") or {}, role, option)
    planned = plan(**asked)
    require_same_data(folder, content["data"], fingerprint(asked, planned.prepared.table))
    return planned


def _recipe_before(folder: Path, version: int, effort: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The effort and the recipe of a run that says only what was chosen of it."""
    if chosen.get("epochs") is None:
        raise UsageError(
            f"{folder}: is of format {version}, of which trainings had another length by default: it predicts as "
            "before; to go on with it, do it again or look into its steps, train anew"
        )
    # What was fast had one network without waves, and was else as others are.
    single = {"members": 1, "waves": 0} if effort == FAST else {}
    return {"effort": STANDARD, "recipe": {"averaging": 0.0, "label_smoothing": 0.0, **single, **chosen}}


def _place(folder: Path, asked: Mapping[str, Any], paths: Mapping[str, str], role: str, option: str) -> str:
    """Where a table is: as it was named then, or at the place in full that this was then."""
    words, given = role.replace("_", " "), str(asked[role])
    if given == fields.NO_FILE:
        raise UsageError(f"{folder}: its {words} was no file: save it as one, and name it with {option}")
    places = list(dict.fromkeys([given, paths.get(role, given)]))
    for place in places:
        if os.path.lexists(place):
            return place
    raise UsageError(f"{' and '.join(places)}: no such file: say where the {words} of {folder} is with {option}")


def require_unfinished(folder: Path) -> None:
    """See that there is something to go on with.

    Raises:
        UsageError: the run is finished, or it is none.
    """
    content = run.read(folder)
    if content.get("state") == fields.FINISHED:
        reason = content.get("outcome", {}).get("stopped") or "its training ended"
        raise UsageError(f"{folder}: is finished ({reason}): there is nothing to go on with")


def how_far(folder: Path) -> str:
    """How far the training of a run came, in words."""
    store = run.checkpoints(folder).store
    found = store.newest()
    snapshot = found.snapshot  # of damaged ones the training itself will warn
    if snapshot is None:
        return "what was saved cannot be read" if found.damaged else "nothing was saved yet, it begins anew"
    return f"step {snapshot.step:,}, after {snapshot.epoch:,} epochs"


@dataclass(frozen=True)
class Run:
    """A run in its folder: finished, interrupted or killed.

    Attributes:
        folder: where it is.
        table, test_table: where its tables are now; None where they were.
    """

    folder: Path
    table: str | None = None
    test_table: str | None = None

    @property
    def about(self) -> dict[str, Any]:
        """What run.json says: what was asked, the state, versions and machine, the data, the outcome."""
        return run.read(self.folder)

    @property
    def model(self) -> Model:
        """Its network, as it was saved last: the one that was scored, where that was trained again on all rows.

        Raises:
            UsageError: the run is finished, and the file is of another network than it ended with.
            ModelFileError: the file cannot be read.
        """
        return _own_model(self.folder, self.about)

    def kept_model(self) -> Model:
        """Its network as it was saved last, or, of a run that was broken off, as the newest checkpoint has it.

        Raises:
            UsageError: as `model` and `plan`.
            CheckpointError: there is no model file yet, and no step was saved.
        """
        if run.scored(self.folder).exists():
            return self.model
        snapshot = newest(run.checkpoints(self.folder).store)
        planned, prepared = self.plan, self.plan.prepared
        trainer = planned.trainer().build(prepared.train.sample.inputs)
        start = State(trainer.parameters, trainer.optimizer.init(trainer.parameters))
        state, done = restored(snapshot, start, -(-prepared.train.rows // planned.recipe.batch_size))
        return Model(
            planned.network,
            trainer.optimizer.in_use(state.parameters, state.optimizer) if done.kept is None else done.kept,
            trainer.loss,
            prepared.row_shape,
            planned.precision,
            prepared.tabular,
            {"seed": planned.seed},
        )

    @property
    def history(self) -> list[dict[str, Any]]:
        """One record an epoch, as far as it was saved."""
        store = run.checkpoints(self.folder).store
        return records_of(newest(store)) if store.steps() else records_in(self.folder / run.HISTORY)

    @cached_property
    def plan(self) -> Plan:
        """Its table read again, and its network; see `plan_of` for what may be wrong."""
        return plan_of(self.folder, self.table, self.test_table)

    def replay(self, step: int) -> Replayed:
        """Step number `step`, from 1 on, made again with the value of every node; see `Trainer.replay`."""
        return self.plan.trainer().replay(step, run.checkpoints(self.folder), **self.plan.arguments())

    def replays(self, steps: Iterable[int], *, ahead: bool = False) -> Iterator[Replayed]:
        """Several steps, in ascending order, each from where the last one ended; see `Trainer.replays`."""
        arguments = self.plan.arguments() | {"ahead": ahead}
        return self.plan.trainer().replays(steps, run.checkpoints(self.folder), **arguments)

    @property
    def steps(self) -> int:
        """How many steps are known: those up to the newest checkpoint."""
        return newest(run.checkpoints(self.folder).store).step

    def trace(
        self, row: int | None = None, step: int | None = None, *, member: int | None = None, weight: str = ""
    ) -> Ledger:
        """The ledger of one row in one step: every number of forward, error, backward and change, written out.

        Args:
            row: its number in the table, from 1 on; None for the one of the step's batch with the largest share in
                the change of `weight`, or of the weight that moved most.
            step: from 1 on; None for the last one that the row, or any, was in.
            member: of an ensemble, from 1 on; None for the first that learns from the row.
            weight: by its name, or as what it stands between.

        Raises:
            UsageError: the row was not trained on, or not in that step; there is no such member, or no such weight.
            CheckpointError: as `Trainer.replay`.
        """
        prepared = self.plan.prepared
        place = None if row is None else trained_place(prepared, row)
        if step is None:
            step = next(self._steps_of(place, range(self.steps, 0, -1)), 0)
            if not step:
                raise UsageError(f"row {row} has been in no step yet: {self.steps:,} steps were made and saved")
        replayed = self.replay(step)
        if place is None:
            return telling(replayed.moment, member=member, words=words_of(prepared), weight=weight)
        if place not in replayed.rows:
            raise UsageError(f"row {row} is not in the batch of step {step:,}: {self._near(place, step)}")
        return replayed.trace(place, member=member, words=words_of(prepared))

    def why(self, row: int, step: int | None = None, *, output: str | None = None) -> Why:
        """What each column adds to the network's output for one row of the table, by integrated gradients.

        Args:
            row: its number in the table, from 1 on; it may have been held out.
            step: with the weights before this step; None for the network that was kept, or as far as one was saved.
            output: the name of a class or target; None for the answer itself.

        Raises:
            UsageError: the table has no such row, or the network no such output.
            CheckpointError: no step was saved, or not that one.
        """
        planned, prepared = self.plan, self.plan.prepared
        require_row(prepared.table, row)
        calibration, trainer, own_network = Calibration(), planned.trainer(), planned.network
        if step is not None:
            parameters = self.replay(step).before
        elif run.scored(self.folder).exists():
            model = self.model
            parameters, own_network = model.parameters, model.network
            calibration = model.tabular.calibration if model.tabular else calibration
        else:
            parameters = self.replay(self.steps).after
        targets, own = prepared.tabular.targets, prepared.table.take([row - 1])
        inputs = network_inputs(prepared.tabular.inputs.encode(own, coerce=prepared.tabular.inputs.coercible))
        names = words_of(prepared)
        heads, temperatures = targets.heads, [part.temperature for part in calibration.heads]
        temperatures = temperatures if len(temperatures) == len(heads) else [1.0] * len(heads)
        # Of a positive target the logarithm is what the network answers, and what columns add to.
        of_outputs = [head for head in heads for _ in range(head.outputs)]
        logs = ["log of " * (head.kind == "positive" and not head.classes) for head in of_outputs]
        names = replace(names, outputs=[f"{log}{name}" for log, name in zip(logs, names.outputs, strict=True)])
        found = why(
            own_network,
            parameters,
            trainer.loss,
            as_inputs(prepared.plain(prepared.train), planned.precision),
            as_inputs(inputs, planned.precision),
            words=names,
            number=row,
            raw=cells(own, 0, prepared.tabular.inputs.columns, prepared.tabular.inputs),
            output=output,
            among=heads[0].outputs,
            temperature=np.repeat(temperatures, [head.outputs for head in heads]),
            units=[unit for head in heads for unit in _units(head)],
        )
        return replace(found, step=step)

    def what_if(self, row: int, *, member: int | None = None) -> Ledger:
        """The ledger of any row of the table that has a target, as if one more step were made, with it alone.

        The weights are those of the network that was kept, no node is left out as by dropout, and the optimizer stands
        where the training ended.

        Raises:
            UsageError: the table has no such row, or it has no target.
            CheckpointError: no step was saved.
        """
        prepared = self.plan.prepared
        require_row(prepared.table, row)
        own = prepared.table.take([row - 1])
        inputs, targets = prepared.tabular.encode(own, coerce=prepared.tabular.inputs.coercible)
        if not len(targets):
            raise UsageError(f"row {row} has no target: there is no error to send back")
        if prepared.folds:
            named = inputs if isinstance(inputs, dict) else {NUMBERS: inputs}
            inputs = {**named, prepared.fold: np.full(1, -1, np.int64)}
        last = self.replay(self.steps)
        kept = run.scored(self.folder).exists()
        moment = replace(
            last.moment,
            network=self._in_use(),
            step=self.steps + 1,
            rows=np.zeros(1, np.int64),
            inputs=as_inputs(inputs, self.plan.precision),
            targets=targets,
            weights=None,
            before=self.model.parameters if kept else last.after,
            state=last.optimizer_after,
        )
        gradients = unflatten(moment.before, list(look(moment, 0).batch_slopes.values()))
        changes, _ = moment.optimizer.update(gradients, moment.state, moment.before, np.int64(moment.step - 1))
        pairs = zip(flatten(moment.before), flatten(changes), strict=True)
        moment = replace(moment, after=unflatten(moment.before, [old + change for old, change in pairs]))
        names = words_of(prepared)
        shown = [*prepared.tabular.inputs.columns, *names.targets]
        names = replace(names, row=lambda _: row, raw=lambda _: cells(own, 0, shown, prepared.tabular.inputs))
        return ledger(moment, 0, member=member, words=names)

    def _in_use(self) -> Layer:
        """The network that is trained, without dropout."""
        planned, prepared = self.plan, self.plan.prepared
        recipe, inputs = replace(planned.recipe, dropout=0.0), prepared.tabular.inputs
        places = places_of_waves(recipe, inputs, prepared.train.sample.inputs)
        made = network(recipe, inputs, prepared.tabular.targets, places)
        return replace(planned, recipe=recipe, network=made).trained_network()

    def _steps_of(self, place: int | None, steps: Iterable[int]) -> Iterator[int]:
        """Those of `steps` that a row trained on is in the batch of."""
        planned = self.plan
        count, size = planned.prepared.train.rows, planned.recipe.batch_size
        window = planned.window
        of_epoch = lru_cache(2)(lambda epoch: list(batches(count, size, seed=planned.seed, epoch=epoch, window=window)))
        for step in steps:
            epoch, batch = divmod(step - 1, -(-count // size))
            if place is None or place in of_epoch(epoch)[batch]:
                yield step

    def _near(self, place: int, step: int) -> str:
        """Where the row is, around a step."""
        before, after = self._steps_of(place, range(step, 0, -1)), self._steps_of(place, range(step, self.steps + 1))
        found = [f"--step {each}" for each in (next(before, None), next(after, None)) if each is not None]
        return f"it is in that of {' and '.join(found)}" if found else "it has been in none yet"


def _units(targets: TargetEncoder) -> list[tuple[float, float]]:
    """For each output of a head what it is multiplied by, and what is added then."""
    if targets.classes:
        return [(1.0, 0.0)] * targets.outputs
    return list(zip(targets.spreads, targets.centers, strict=True)) * (len(targets.quantiles) or 1)


def _own_model(folder: Path, about: Mapping[str, Any]) -> Model:
    outcome, path = about.get("outcome", {}), run.scored(folder)
    refit = outcome.get("refit")
    return _ended_with(path, about, outcome.get("weights") if refit is None else refit["scored_weights"])


def _ended_with(path: Path, about: Mapping[str, Any], weights: str | None) -> Model:
    """The network in a file, which is to have these weights where the run is finished."""
    model = load(path)
    if about.get("state") == fields.FINISHED and weights not in (None, model.weights):
        raise UsageError(
            f"{path}: is not the network that this run ended with: its weights have another "
            "sha256: put that back, or train anew"
        )
    return model


def records_in(path: Path) -> list[dict[str, Any]]:
    """Those of a history.jsonl, none where it is not there; see `Run.history`. A line under way at its end is left."""
    try:
        lines = run.content_of(path, run.LARGEST_HISTORY).splitlines(keepends=True)
    except FileNotFoundError:
        return []
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if number == len(lines) and not line.endswith(b"\n"):
            break
        record: Any = None
        with suppress(ValueError, RecursionError):
            record = json.loads(line)
        if not fields.is_record(record):
            raise UsageError(f"{path}: line {number:,} is no record of an epoch: the file is damaged or was changed")
        records.append(record)
    return records


def open_run(folder: str | Path, *, table: str | None = None, test_table: str | None = None) -> Run:
    """A run in its folder, to look into; `table` and `test_table` say where its tables are now, if they were moved.

    Raises:
        UsageError: the folder holds no run.
    """
    found = Run(Path(folder), table, test_table)
    _ = found.about
    return found


@dataclass(frozen=True)
class Comparison:
    """A run and what came of doing it again.

    Attributes:
        same: whether all weights are equal, to the bit.
        sha256: of the weights, then and now.
        largest: the largest difference of two weights, infinite where they do not fit each other.
        epochs: how many there were, then and now.
        different: what of versions and machine is another, in words.
    """

    same: bool
    sha256: tuple[str, str]
    largest: float
    epochs: tuple[int, int]
    different: list[str]

    def lines(self) -> list[str]:
        if self.same:
            return [f"the same, bit for bit: {self.epochs[1]} epochs, and every weight is equal"]
        told = [f"not the same: weights differ by up to {self.largest:.3g}"]
        if self.epochs[0] != self.epochs[1]:
            told.append(f"  {self.epochs[0]} epochs then, {self.epochs[1]} now")
        told += [f"  {line}" for line in self.different]
        if not self.different:
            told.append("  versions and machine are the same: this should not be, please report it")
        return told

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"largest": self.largest if np.isfinite(self.largest) else None}


def compare(folder: Path, planned: Plan, *, progress: bool = False) -> Comparison:
    """Train by `planned` and compare with the network in the folder of a run.

    Raises:
        UsageError: the run is not finished.
        ModelFileError: its model cannot be read.
    """
    content = run.read(folder)
    if content.get("state") != fields.FINISHED:
        raise UsageError(f"{folder}: is not finished: go on with it first: backpass resume {folder}")
    if content.get("outcome", {}).get("stopped") == TIME_IS_OVER:
        raise UsageError(
            f"{folder}: was ended by the clock, and what that comes to is never the same: leave out --time"
        )
    then = _own_model(folder, content)
    trainer = planned.trainer()
    trainer.fit(
        epochs=planned.recipe.epochs, on_divergence=planned.on_divergence, progress=progress, **planned.arguments()
    )
    pairs = [(then, trainer.model())]
    if content.get("outcome", {}).get("refit") is not None:
        final = _ended_with(folder / run.MODEL, content, content["outcome"]["weights"])
        whole = planned.whole()
        trained = whole.trainer()
        trained.fit(
            epochs=trainer.history.kept,
            on_divergence=planned.on_divergence,
            progress=progress,
            **whole.arguments(),
        )
        pairs.append((final, trained.model()))
    old, new = ([np.asarray(value) for pair in pairs for value in flatten(pair[side].parameters)] for side in (0, 1))
    fit = [a.shape for a in old] == [b.shape for b in new]
    largest = (
        max((float(np.max(np.abs(a - b), initial=0.0)) for a, b in zip(old, new, strict=True)), default=0.0)
        if fit
        else np.inf
    )
    sums = pairs[-1][0].weights, pairs[-1][1].weights
    epochs = content.get("outcome", {}).get("epochs") or 0, len(trainer.history)
    return Comparison(
        all(then.weights == now.weights for then, now in pairs),
        sums,
        largest,
        epochs,
        _different(content, circumstances()),
    )


def _different(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What of versions and machine is another, and whether it may change bits."""
    told = []
    for kind in ("versions", "machine"):
        old = then.get(kind) or {}
        for name, value in now[kind].items():
            if name in old and old[name] != value and name != "threads":
                told.append(f"{name} was {old[name]}, is {value}")
    if any(line.startswith(("vector_bits", "features")) for line in told):
        told.append("sums along rows are made in the order of a machine's vectors: their last bits differ")
    return told
