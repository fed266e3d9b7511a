"""The main job: a table in, a trained network out."""

import json
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from backpass import nn
from backpass.data import Table
from backpass.data.arrays import Array, row_shape, take_rows
from backpass.errors import NotFiniteError, UsageError
from backpass.model import Model, Predictions
from backpass.model.model import open_table
from backpass.model.network import MOST_THREADS, require_count
from backpass.model.tabular import answers
from backpass.optimizers import Adam, Cosine
from backpass.recipes import defaults, run, scores
from backpass.recipes.defaults import Recipe
from backpass.recipes.prepare import Part, Prepared, prepare
from backpass.recipes.scores import Score
from backpass.training import Checkpoints, EarlyStopping, History, Listener, Trainer
from backpass.training.progress import on_terminal

LINEAR_ROWS = 20_000  # the linear baseline learns all it can from so many rows
LINEAR_EPOCHS = 30


@dataclass(frozen=True, eq=False, repr=False)
class Outcome:
    """What a training gave.

    Attributes:
        model: the network with its encoders; it predicts, and saves itself.
        history: one record an epoch.
        scores: of this network, of a linear model, and of saying the same for every row, on the held-out rows.
        held_out: which rows the scores are of: "test", "validation" (which told when to stop, too), or None.
        seconds: from the first step to the last score.
        interrupted_by: the number of the signal that ended the training, such as 2 for Ctrl-C; 0 for none.
        steps: made in all.
        run: the folder where all was saved, or None.
    """

    model: Model
    history: History
    scores: tuple[Score, ...]
    held_out: str | None
    seconds: float
    run: Path | None
    interrupted_by: int = 0
    steps: int = 0

    def __str__(self) -> str:
        return "\n".join(scores.table(list(self.scores))) if self.scores else "no rows were held out: no score"

    @property
    def metrics(self) -> dict[str, float]:
        """The network's metrics on the held-out rows."""
        return self.scores[0].metrics if self.scores else {}


@dataclass(frozen=True, eq=False)
class Plan:
    """A table understood and a network chosen for it, before any step is made."""

    prepared: Prepared
    recipe: Recipe
    network: nn.Layer
    seed: int
    precision: str
    class_weights: str | None = None
    threads: int | None = None
    on_divergence: str = "stop"
    save_every: float = run.SECONDS
    asked: dict[str, Any] = field(default_factory=dict)
    """The arguments of `plan` that make it again; "table" is None where that was no file."""

    def fit(
        self,
        *,
        progress: bool = False,
        listeners: Sequence[Listener] = (),
        stop_on_interrupt: bool = False,
        checkpoints: Checkpoints | None = None,
    ) -> Outcome:
        """Train, and measure on held-out rows. Where there are `checkpoints` already, it goes on from them."""
        started = time.perf_counter()
        trainer = self.trainer(listeners)
        arguments = self.arguments() | {"progress": progress, "stop_on_interrupt": stop_on_interrupt}
        arguments["on_divergence"] = self.on_divergence
        if checkpoints is not None and checkpoints.store.steps():
            trainer.resume(checkpoints, **arguments)
        else:
            trainer.fit(epochs=self.recipe.epochs, checkpoints=checkpoints, **arguments)
        if trainer.interrupted_by and not trainer.steps:  # there is nothing to keep
            raise (
                KeyboardInterrupt
                if trainer.interrupted_by == signal.SIGINT
                else SystemExit(128 + trainer.interrupted_by)
            )
        return self._measured(trainer, started, stop_on_interrupt=stop_on_interrupt)

    def arguments(self) -> dict[str, Any]:
        """Of the Trainer's `fit`, `resume` and `replay`: what this is trained on."""
        train, validation = self.prepared.train, self.prepared.validation
        return {
            "inputs": train.inputs,
            "targets": train.targets,
            "validation": None if validation is None else (validation.inputs, validation.targets),
            "class_weights": self.class_weights,
            "stopping": None if validation is None else EarlyStopping(self.recipe.patience),
        }

    def _measured(self, trainer: Trainer, started: float, *, stop_on_interrupt: bool) -> Outcome:
        validation = self.prepared.validation
        held_out = "test" if self.prepared.test is not None else "validation" if validation is not None else None
        part = self.prepared.test or validation
        found = self._scores(trainer, part, stop_on_interrupt=stop_on_interrupt, quick=bool(trainer.interrupted_by))
        model = self._model(trainer, found, held_out)
        seconds = time.perf_counter() - started
        return Outcome(model, trainer.history, found, held_out, seconds, None, trainer.interrupted_by, trainer.steps)

    def trainer(self, listeners: Sequence[Listener] = ()) -> Trainer:
        """A new Trainer for it."""
        steps = self.recipe.epochs * -(-self.prepared.train.rows // self.recipe.batch_size)
        return Trainer(
            self.network,
            defaults.loss(self.prepared.tabular.targets),
            defaults.optimizer(self.recipe, steps),
            batch_size=self.recipe.batch_size,
            seed=self.seed,
            precision=self.precision,
            threads=self.threads,
            listeners=listeners,
        )

    def _model(self, trainer: Trainer, found: tuple[Score, ...], held_out: str | None) -> Model:
        about = {
            "epochs": len(trainer.history),
            "scores": [each.to_json() for each in found],
            "scored_on": held_out,
            "recipe": vars(self.recipe) | {"hidden": list(self.recipe.hidden)},
            "seed": self.seed,
        }
        return Model(
            self.network,
            trainer.parameters,
            trainer.loss,
            row_shape(self.prepared.train.inputs),
            self.precision,
            self.prepared.tabular,
            about,
        )

    def _scores(
        self, trainer: Trainer, part: Part | None, *, stop_on_interrupt: bool, quick: bool = False
    ) -> tuple[Score, ...]:
        """`quick` leaves out the linear model, which must be trained."""
        if part is None:
            return ()
        ours = self._answers(trainer, part)
        actual = self._actual(part.targets)
        constant = scores.constant_predictions(ours, self._actual(self.prepared.train.targets), part.rows)
        label = f'always "{constant.values[0]}"' if ours.classes else "always the mean"
        return (
            scores.score("this network", ours, actual),
            *(() if quick else self._linear_score(part, actual, stop_on_interrupt=stop_on_interrupt)),
            scores.score(label, constant, actual),
        )

    def _linear_score(self, part: Part, actual: Array, *, stop_on_interrupt: bool) -> list[Score]:
        """The linear model's; none where it did not stay finite, which is no reason to lose the network."""
        with suppress(NotFiniteError):
            linear = self._linear_model(stop_on_interrupt=stop_on_interrupt)
            return [scores.score("linear model", self._answers(linear, part), actual)]
        return []

    def _answers(self, trainer: Trainer, part: Part) -> Predictions:
        return answers(self.prepared.tabular, trainer.predict(part.inputs))

    def _actual(self, targets: Array) -> Array:
        """Class numbers as they are, numbers in the table's units."""
        encoder = self.prepared.tabular.targets
        return targets if encoder.classes else np.asarray(encoder.decode(targets))

    def _linear_model(self, *, stop_on_interrupt: bool) -> Trainer:
        """The same columns without hidden layers, trained by the same Trainer."""
        tabular, train, validation = self.prepared.tabular, self.prepared.train, self.prepared.validation
        trainer = Trainer(
            defaults.linear_network(tabular.inputs, tabular.targets),
            defaults.loss(tabular.targets),
            Adam(Cosine(0.02, final_fraction=0.01)),
            batch_size=min(256, max(32, train.rows // 8)),
            seed=self.seed,
            precision=self.precision,
            threads=self.threads,
        )
        chosen = np.random.Generator(np.random.Philox(self.seed)).permutation(train.rows)[:LINEAR_ROWS]
        trainer.fit(
            take_rows(train.inputs, chosen),
            train.targets[chosen],
            epochs=LINEAR_EPOCHS if train.rows >= 2000 else 2 * LINEAR_EPOCHS,
            validation=None if validation is None else (validation.inputs, validation.targets),
            stopping=None if validation is None else EarlyStopping(8),
            class_weights=self.class_weights,
            stop_on_interrupt=stop_on_interrupt,
        )
        return trainer


def plan(
    table: str | Path | Table | Any,
    target: str | Sequence[str],
    *,
    seed: int = 0,
    precision: str = "float32",
    class_weights: str | None = None,
    threads: int | None = None,
    on_divergence: str = "stop",
    save_every: float = run.SECONDS,
    recipe: Mapping[str, Any] | None = None,
    **reading: Any,
) -> Plan:
    """Read and understand the table, and choose a network for it; see `train` for the arguments."""
    asked = dict(locals())
    if not 0 <= seed < 1 << 63:
        raise UsageError(f"--seed is {seed}, expected a whole number from 0 to 2^63 - 1")
    if reading.get("test_table") is not None and reading.get("test") is not None:
        raise UsageError("--test and --test-part both say which rows are scored: give one of them")
    require_count("threads", threads, MOST_THREADS)
    opened = open_table(table, reading.get("delimiter"))
    targets = (target,) if target in opened.columns else split_names(target) if isinstance(target, str) else target
    prepared = prepare(opened, tuple(targets), seed=seed, precision=precision, **reading)
    if class_weights is not None and prepared.division.schema.task != "classification":
        raise UsageError("--class-weights goes with classes, and the target is a number: leave it out")
    chosen = defaults.recipe(prepared.train.rows, **(recipe or {}))
    network = defaults.network(chosen, prepared.tabular.inputs, prepared.tabular.targets)
    return Plan(
        prepared, chosen, network, seed, precision, class_weights, threads, on_divergence, save_every, _plain(asked)
    )


def _plain(asked: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `plan` as JSON has them, without those that were left out."""
    asked |= asked.pop("reading")
    asked["recipe"] = {name: x for name, x in (asked["recipe"] or {}).items() if x is not None}
    for role in ("table", "test_table"):
        given = asked.get(role)
        asked[role] = str(given) if isinstance(given, (str, Path)) else None
    asked["target"] = asked["target"] if isinstance(asked["target"], str) else list(asked["target"])
    empty: tuple[Any, ...] = (None, (), [], {})
    kept = {
        name: x for name, x in asked.items() if name == "table" or not any(x is each or x == each for each in empty)
    }
    found: dict[str, Any] = json.loads(json.dumps(kept, default=list))
    return found


def train(
    table: str | Path | Table | Any,
    target: str | Sequence[str],
    *,
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
    seed: int = 0,
    precision: str = "float32",
    class_weights: str | None = None,
    threads: int | None = None,
    recipe: Mapping[str, Any] | None = None,
    on_divergence: str = "stop",
    save_every: float = run.SECONDS,
    out: str | Path | None = None,
    progress: bool | None = None,
) -> Outcome:
    """What `backpass train` does, from Python.

    Args:
        table: a path, "-", a Table, a dictionary of columns, or a data frame.
        target: the column to predict, or several numeric ones ("Y1,Y2", or a list).
        test_table: rows to measure on; without it some rows of `table` are held out.
        test, validation: the parts of the rows held out, such as 0.1; None chooses by the number of rows, 0 for none.
        group: a column whose equal rows stay in one part.
        order: a column of time or numbers; the latest rows test.
        columns: kinds to use in place of inferred ones, as {"zip": "category"}.
        exclude: columns to leave out.
        task: "classification" or "regression"; None infers it.
        delimiter: of a text table; None finds it.
        scale: whether numbers are scaled.
        seed: of the split, the first weights, the order of the rows and the dropout.
        precision: "float32" or "float64".
        class_weights: "balanced" makes all classes count the same.
        threads: how many share the work, at most 256; None for as many as pay. The weights do not depend on it.
        recipe: choices in place of defaults: hidden, activation, dropout, learning_rate, weight_decay, batch_size,
            epochs, patience.
        on_divergence: "stop", or "rollback": go back to the best epoch and on with half the learning rate.
        save_every: seconds from one checkpoint to the next, where there is a folder for them.
        out: a new or empty folder to save the run in; None saves nothing.
        progress: whether to show progress on standard error; None shows it where that is a terminal.

    Raises:
        TableError, UsageError, OutputError, NotFiniteError: see `backpass.errors`.
    """
    if out is not None:
        run.check_free(Path(out))
    planned = plan(
        table,
        target,
        seed=seed,
        precision=precision,
        class_weights=class_weights,
        threads=threads,
        on_divergence=on_divergence,
        save_every=save_every,
        recipe=recipe,
        test_table=test_table,
        test=test,
        validation=validation,
        group=group,
        order=order,
        columns=columns,
        exclude=exclude,
        task=task,
        delimiter=delimiter,
        scale=scale,
    )
    shown = on_terminal() if progress is None else progress
    if out is None:
        return planned.fit(progress=shown)
    with run.folder_for(Path(out), planned.prepared.table.name, str(target)) as folder:
        return fit_into(folder, planned, progress=shown)


def fit_into(
    folder: Path, planned: Plan, *, progress: bool = False, stop_on_interrupt: bool = False, begins: bool = True
) -> Outcome:
    """Train, saving all in the folder of a run while it goes on; what was begun there before goes on."""
    if begins:
        run.begin(folder, planned.asked, planned.prepared.table)
    checkpoints = run.checkpoints(folder, planned.save_every)
    outcome = planned.fit(progress=progress, stop_on_interrupt=stop_on_interrupt, checkpoints=checkpoints)
    outcome = replace(outcome, run=folder)
    state = run.INTERRUPTED if outcome.interrupted_by else run.FINISHED
    run.end(folder, state, outcome.model, outcome.history, report(planned, outcome, folder))
    return outcome


def report(planned: Plan, outcome: Outcome, folder: Path | None) -> dict[str, Any]:
    """The outcome as plain data: what `--json` prints."""
    table = planned.prepared.table
    return {
        "rows": table.rows,
        "columns": len(table.columns),
        "seconds": round(outcome.seconds, 3),
        "epochs": len(outcome.history),
        "parameters": outcome.model.parameter_count,
        "metrics": scores.finite(outcome.metrics),
        "scored_on": outcome.held_out,
        "baselines": [each.to_json() for each in outcome.scores[1:]],
        "weights": outcome.model.weights,
        "run": None if folder is None else str(folder),
        "steps": outcome.steps,
        "kept_epoch": outcome.history.kept,
        "stopped": outcome.history.reason,
        "table": planned.prepared.summary(),
    }


def split_names(text: str) -> tuple[str, ...]:
    """Two names for "Y1,Y2"; a comma inside double quotes belongs to the name."""
    import csv

    with suppress(csv.Error):
        names = (name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))
        return tuple(name for name in names if name)
    raise UsageError(f"{text!r} is no list of names: separate them by commas")
