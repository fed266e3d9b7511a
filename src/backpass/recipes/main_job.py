"""The main job: a table in, a trained network out."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backpass import nn
from backpass.data import Table
from backpass.data.arrays import take_rows
from backpass.data.encoders.table import NUMBERS
from backpass.data.naming import split_names
from backpass.errors import BackpassError, NotFiniteError, NotSavedError, TableError, UsageError
from backpass.losses import Loss
from backpass.model import Model, Predictions
from backpass.model.calibration import Calibration
from backpass.model.model import open_table
from backpass.model.network import MOST_THREADS, require_count
from backpass.model.tabular import Tabular, answers
from backpass.optimizers import Adam, Cosine
from backpass.recipes import defaults, duration, fields, run, scores
from backpass.recipes.blending import Blended, best_shares
from backpass.recipes.calibrate import calibrate, class_weights_of, few_groups, numbered, require_rows, require_weights
from backpass.recipes.crossed import FAILURES, Fold, count_done, fit_folds, told, why
from backpass.recipes.defaults import Recipe
from backpass.recipes.prepare import Part, Prepared, prepare
from backpass.recipes.scores import Score
from backpass.records import dataclass
from backpass.training import Checkpoints, EarlyStopping, History, Listener, Steering, Trainer
from backpass.training.history import TIME_IS_OVER
from backpass.training.interrupts import Interrupted
from backpass.training.progress import on_terminal

if TYPE_CHECKING:
    from backpass.ledger import Words

LINEAR_ROWS = 20_000  # the linear baseline learns all it can from so many rows
LINEAR_STEPS = 3000  # in so many steps, as far as these are so many epochs: sure answers need large weights
LINEAR_EPOCHS = (30, 400)
LINEAR_SECONDS = 0.5  # of a time that is short it has so many
_READING = ("group", "order", "columns", "exclude", "task", "scale", "target_kind", "quantiles")
"""How a table is understood, whichever rows are held out."""


@dataclass(frozen=True, eq=False, repr=False)
class Outcome:
    """What a training gave.

    Attributes:
        model: the network with its encoders; it predicts, and saves itself.
        history: one record an epoch.
        scores: of this network, of a linear model, and of saying the same for every row, on the held-out rows.
        held_out: which rows the scores are of: "test", "validation" (which told when to stop, too), or None.
        seconds: from the first step to the last score.
        run: the folder where all was saved, or None.
        interrupted_by: the number of the signal that ended it, such as 2 for Ctrl-C; 0 for none.
        steps: made in all.
        finished: whether the network was trained to its end. A signal after that leaves out the linear model alone.
        folds: of a cross-validation, what came of each part: see `backpass.recipes.crossed`.
        scored: the network that `history` and `scores` tell of, where `model` was trained again on all rows.
        refit_failed: why it was not, where it was to be; otherwise empty.
    """

    model: Model
    history: History
    scores: tuple[Score, ...]
    held_out: str | None
    seconds: float
    run: Path | None
    interrupted_by: int = 0
    steps: int = 0
    finished: bool = True
    scored: Model | None = None
    refit_failed: str = ""
    folds: tuple[Fold, ...] = ()

    def __str__(self) -> str:
        return "\n".join(scores.table(self.scores, self.heads)) if self.scores else "no rows were held out: no score"

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of targets that are answered each in a way of its own; none where all are answered in one."""
        targets = self.model.tabular and self.model.tabular.targets
        return targets.schema.target_names if targets and targets.parts else ()

    @property
    def metrics(self) -> dict[str, float]:
        """The network's metrics on the held-out rows."""
        return self.scores[0].metrics if self.scores else {}

    @property
    def blend(self) -> dict[str, float]:
        """The share of each kind of network in the answer; empty where all are of one kind."""
        network, recipe = self.own_model.network, self.own_model.about.get("recipe", {})
        return dict(zip(recipe["kinds"], network.shares, strict=False)) if isinstance(network, nn.Blend) else {}

    @property
    def own_model(self) -> Model:
        """The network that `history` and `scores` tell of."""
        return self.scored or self.model


@dataclass(frozen=True, eq=False)
class Plan:
    """A table understood and a network chosen for it, before any step is made."""

    prepared: Prepared
    recipe: Recipe
    network: nn.Layer
    seed: int
    precision: str
    class_weights: dict[str, float] | str | None = None
    threads: int | None = None
    on_divergence: str = "stop"
    save_every: float = run.SECONDS
    seconds: float | None = None
    refit: bool = False
    folds: int = 0
    begun: float = field(default_factory=time.perf_counter)
    before: float = 0.0
    """Seconds that it took in earlier processes, of those that there are."""
    asked: dict[str, Any] = field(default_factory=dict)
    """The arguments of `plan` that make it again; a table is "-" where it was no file."""

    def fit(
        self,
        *,
        progress: bool = False,
        listeners: Sequence[Listener] = (),
        stop_on_interrupt: bool = False,
        checkpoints: Checkpoints | None = None,
        steering: Steering | None = None,
    ) -> Outcome:
        """Train, and measure on held-out rows. Where there are `checkpoints` already, it goes on from them."""
        started = time.perf_counter()
        trainer = self.trainer(listeners, steering)
        arguments = self.arguments() | {"progress": progress, "stop_on_interrupt": stop_on_interrupt}
        if self.seconds is not None:
            arguments["seconds"] = duration.left(self)
        if checkpoints is not None and checkpoints.store.steps():
            trainer.resume(checkpoints, **arguments)
        else:
            arguments |= {"epochs": self.recipe.epochs, "on_divergence": self.on_divergence}
            trainer.fit(checkpoints=checkpoints, **arguments)
        if trainer.interrupted_by and not trainer.steps:  # there is nothing to keep
            raise Interrupted(trainer.interrupted_by)
        return self._measured(trainer, started, stop_on_interrupt=stop_on_interrupt)

    def fit_again(
        self,
        outcome: Outcome,
        *,
        progress: bool = False,
        stop_on_interrupt: bool = False,
        checkpoints: Checkpoints | None = None,
        steering: Steering | None = None,
    ) -> Outcome:
        """Train again on all rows, for as many epochs as were kept: what is left is that network, with the scores and
        the calibration of the first. Where that is interrupted, or fails, the first one stays.
        """
        if outcome.interrupted_by:
            return replace(outcome, finished=False)
        if not outcome.history.kept:
            return replace(outcome, refit_failed="no whole epoch was trained in the time")
        started = time.perf_counter()
        try:
            whole = self.whole()
            trainer = whole.trainer()
            trainer.steering = steering  # its history stays that of the first
            arguments = whole.arguments() | {"progress": progress, "stop_on_interrupt": stop_on_interrupt}
            if self.seconds is not None:
                arguments["seconds"] = max(duration.LEAST, self.seconds - self.gone)
            if checkpoints is not None and checkpoints.store.steps():
                trainer.resume(checkpoints, **arguments)
            else:
                arguments |= {"epochs": outcome.history.kept, "on_divergence": self.on_divergence}
                trainer.fit(checkpoints=checkpoints, **arguments)
            made = len(trainer.history)
            if trainer.history.reason == TIME_IS_OVER:
                raise UsageError(f"the time was over in epoch {made + 1} of {outcome.history.kept}")
        except FAILURES as error:
            return replace(outcome, refit_failed=why(error), seconds=outcome.seconds + time.perf_counter() - started)
        seconds = outcome.seconds + time.perf_counter() - started
        if trainer.interrupted_by:
            return replace(outcome, seconds=seconds, interrupted_by=trainer.interrupted_by, finished=False)
        first, tabular = outcome.model, whole.prepared.tabular
        calibration = first.tabular.calibration if first.tabular else Calibration()
        of_class = [class_weights_of(head, self.class_weights) for head in whole.prepared.apart()]
        tabular = replace(tabular, calibration=calibration.weighed(of_class))
        if isinstance(first.network, nn.Blend) and isinstance(whole.network, nn.Blend):
            whole = replace(whole, network=replace(whole.network, shares=first.network.shares))
        model = whole.model(tabular, trainer, outcome.scores, outcome.held_out)
        return replace(outcome, model=model, scored=first, seconds=seconds)

    @property
    def gone(self) -> float:
        """Seconds since it was begun."""
        return time.perf_counter() - self.begun + self.before

    def fold(self, place: int) -> "Plan":
        """The same, tested by another part of its cross-validation: with its share of what is left of the time."""
        begun = time.perf_counter()
        seconds = None if self.seconds is None else (self.seconds - self.gone) * duration.part_of(self, place + 1)
        asked = {"class_weights": None, "recipe": {}} | self.asked
        names = (*_READING, "validation", "interval", "threshold")
        prepared = _prepared(
            self.prepared.table, None, asked, {name: asked[name] for name in names if name in asked}, place
        )
        recipe, network = _fitted(prepared, self.recipe)
        own = replace(self, prepared=prepared, recipe=recipe, network=network)
        return replace(own, seconds=seconds, refit=False, folds=0, begun=begun, before=0.0)

    def require_folds(self) -> None:
        """See, before any training, that every fold of its cross-validation can be made.

        Raises:
            UsageError, TableError: one cannot; the message says which.
        """
        for place in range(self.folds - 1):
            try:
                self.fold(place)
            except (UsageError, TableError) as error:
                raise type(error)(f"--folds {self.folds}: in fold {place + 1} {error}") from None

    def whole(self) -> "Plan":
        """The same with no row held out: columns are understood and encoded by all rows; the recipe stays."""
        reading = {name: self.asked[name] for name in _READING if name in self.asked}
        asked = {"class_weights": None, "recipe": {}} | self.asked | {"folds": None}
        prepared = _prepared(self.prepared.table, None, asked, reading | {"test": 0.0, "validation": 0.0})
        recipe, network = _fitted(prepared, self.recipe)
        return replace(self, prepared=prepared, recipe=recipe, network=network)

    def arguments(self) -> dict[str, Any]:
        """Of the Trainer's `fit`, `resume` and `replay`: what this is trained on."""
        train, validation = self.prepared.train, self.prepared.validation
        return {
            "inputs": train.inputs,
            "targets": train.targets,
            "validation": None if validation is None else (validation.inputs, validation.targets),
            "class_weights": self._class_weights,
            "stopping": None if validation is None else EarlyStopping(self.recipe.patience),
        }

    @property
    def _class_weights(self) -> dict[int, float] | str | None:
        """As the Trainer takes them: by the numbers of the classes. Of several heads they are in the loss."""
        targets = self.prepared.tabular.targets
        return None if self.class_weights is None or targets.parts else numbered(self.class_weights, targets)

    def loss(self, recipe: Recipe | None = None) -> Loss:
        """What is made small: what the recipe says, or without one what is usual."""
        prepared = self.prepared
        weights = [class_weights_of(head, self.class_weights) for head in prepared.apart()]
        return defaults.heads(prepared.tabular.targets, recipe, prepared.train.targets, weights)

    def _calibration(self, trainer: "Trainer | Blended") -> Calibration:
        asked = {name: self.asked.get(name) for name in ("class_weights", "interval", "threshold")}
        return calibrate(self.prepared, trainer, **asked)

    def _measured(self, trainer: Trainer, started: float, *, stop_on_interrupt: bool) -> Outcome:
        validation = self.prepared.validation
        held_out = "test" if self.prepared.test is not None else "validation" if validation is not None else None
        part, signalled = self.prepared.test or validation, trainer.interrupted_by
        # Of rows that train and validate in turn there are none that a linear model has not seen.
        compared = part is not None and not signalled and not (self.prepared.folds and self.prepared.test is None)
        linear = self._linear_model(stop_on_interrupt=stop_on_interrupt) if compared else None
        came_late = 0 if linear is None else linear.interrupted_by
        own, answering = self._weighed(trainer)
        tabular = replace(self.prepared.tabular, calibration=self._calibration(answering))
        found = self._scores(tabular, answering, None if came_late else linear, part)
        if not signalled:
            duration.note_made(self)
        return Outcome(
            own.model(tabular, trainer, found, held_out),
            trainer.history,
            found,
            held_out,
            time.perf_counter() - started,
            run=None,
            interrupted_by=signalled or came_late,
            steps=trainer.steps,
            finished=not signalled,
        )

    def _weighed(self, trainer: Trainer) -> "tuple[Plan, Trainer | Blended]":
        """The plan with the shares of its kinds of networks, where it has several, and what answers with them."""
        validation, network = self.prepared.validation, self.network
        if not isinstance(network, nn.Blend) or validation is None:
            return self, trainer
        of_class = () if self.prepared.tabular.targets.parts else class_weights_of(self.prepared, self.class_weights)
        shares = best_shares(
            trainer.outputs_of_groups(validation.inputs),
            validation.targets,
            self.loss(replace(self.recipe, label_smoothing=0.0)),
            np.array(of_class)[validation.targets] if of_class else None,
        )
        return replace(self, network=replace(network, shares=shares)), Blended(trainer, shares)

    def trainer(self, listeners: Sequence[Listener] = (), steering: Steering | None = None) -> Trainer:
        """A new Trainer for it."""
        steps = self.recipe.epochs * -(-self.prepared.train.rows // self.recipe.batch_size)
        trainer = Trainer(
            self.trained_network(),
            self.loss(self.recipe),
            defaults.optimizer(self.recipe, steps),
            batch_size=self.recipe.batch_size,
            seed=self.seed,
            precision=self.precision,
            window=self.window,
            threads=self.threads,
            listeners=listeners,
            steering=steering,
        )
        trainer.words = self._words
        return trainer

    def _words(self, held_out: bool) -> "Words":
        """What messages call the columns and rows."""
        from backpass.recipes.words import words_of

        return words_of(self.prepared, held_out=held_out)

    def trained_network(self) -> nn.Layer:
        """The network as it is trained: its members each with rows held out, where there are folds."""
        prepared, network = self.prepared, self.network
        if not prepared.folds or not isinstance(network, nn.Ensemble):
            return network
        alone = None if isinstance(prepared.plain(prepared.train), dict) else NUMBERS
        return nn.CrossFitted(network, prepared.folds, prepared.fold, alone)

    @property
    def window(self) -> int | None:
        """Of rows on the disk, how many are looked at together, by whole batches."""
        window, batch = self.prepared.train.window, self.recipe.batch_size
        return None if window is None else max(batch, window // batch * batch)

    def model(self, tabular: Tabular, trainer: Trainer, found: tuple[Score, ...], held_out: str | None) -> Model:
        about = {
            "epochs": len(trainer.history),
            "scores": [each.to_json() for each in found],
            "scored_on": held_out,
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "rows": self.prepared.train.rows,
        }
        return Model(
            self.network,
            trainer.parameters,
            trainer.loss,
            self.prepared.row_shape,
            self.precision,
            tabular,
            about,
        )

    def _scores(
        self, tabular: Tabular, trainer: "Trainer | Blended", linear: Trainer | None, part: Part | None
    ) -> tuple[Score, ...]:
        if part is None:
            return ()
        ours = answers(tabular, tabular.calibration.predictions(trainer.loss, trainer.outputs(part.inputs)))
        targets = tabular.targets
        actual, learned = targets.actual(part.targets), targets.actual(self.prepared.train.targets)
        return (
            scores.score("this network", ours, actual),
            *([scores.score("linear model", self._plain_answers(linear, part), actual)] if linear else []),
            scores.baseline_of_all(ours, learned, actual, tabular.calibration),
        )

    def _plain_answers(self, trainer: Trainer, part: Part) -> Predictions:
        return answers(self.prepared.tabular, trainer.predict(self.prepared.plain(part)))

    def _linear_model(self, *, stop_on_interrupt: bool) -> Trainer | None:
        """The same columns without hidden layers, trained by the same Trainer.

        None where it did not stay finite or finds no memory, which is no reason to lose the network.
        """
        prepared, tabular = self.prepared, self.prepared.tabular
        train, validation = prepared.train.sample, prepared.validation
        inputs, rows = prepared.plain(train), np.arange(train.rows)
        held_out = None if validation is None else (validation.inputs, validation.targets)
        if prepared.folds:  # what the networks each do with one of the folds, this does with the first
            first = train.inputs[prepared.fold] == 0
            held_out, rows = (take_rows(inputs, first), train.targets[first]), np.flatnonzero(~first)
        trainer = Trainer(
            defaults.linear_network(tabular.inputs, tabular.targets),
            self.loss(),
            Adam(Cosine(0.03, final_fraction=0.01)),
            batch_size=min(256, max(32, len(rows) // 8)),
            seed=self.seed,
            precision=self.precision,
            threads=self.threads,
        )
        seconds = None
        if self.seconds is not None:
            seconds = max(LINEAR_SECONDS, self.seconds * duration.part_of(self) - self.gone)
        chosen = rows[np.random.Generator(np.random.Philox(self.seed)).permutation(len(rows))[:LINEAR_ROWS]]
        least, most = LINEAR_EPOCHS
        epochs = min(most, max(least, -(-LINEAR_STEPS // -(-len(chosen) // trainer.batch_size))))
        with suppress(NotFiniteError, UsageError, MemoryError):
            trainer.fit(
                take_rows(inputs, chosen),
                train.targets[chosen],
                epochs=epochs,
                validation=held_out,
                stopping=None if held_out is None else EarlyStopping(epochs // 4),
                class_weights=self._class_weights,
                stop_on_interrupt=stop_on_interrupt,
                seconds=seconds,
            )
            return trainer
        return None


def plan(
    table: str | Path | Table | Any,
    target: str | Sequence[str],
    *,
    effort: str = defaults.STANDARD,
    seconds: float | None = None,
    seed: int = 0,
    precision: str = "float32",
    class_weights: Mapping[Any, float] | str | None = None,
    threads: int | None = None,
    on_divergence: str = "stop",
    save_every: float = run.SECONDS,
    recipe: Mapping[str, Any] | None = None,
    refit: bool = False,
    folds: int | None = None,
    named: Callable[[str], str] = fields.option,
    **reading: Any,
) -> Plan:
    """Read and understand the table, and choose a network for it; see `train` for the arguments.

    What an argument is called in messages that one is not what it must be is up to `named`: an option of the command.

    Raises:
        UsageError: an argument is not what it must be, or does not fit the table.
        TableError: a table cannot be read or does not hold what is needed.
    """
    begun, test_table = time.perf_counter(), reading.pop("test_table", None)
    given = {
        "target": target,
        "effort": effort,
        "seconds": seconds,
        "seed": seed,
        "precision": precision,
        "class_weights": _by_label(class_weights),
        "threads": threads,
        "on_divergence": on_divergence,
        "save_every": save_every,
        "recipe": recipe,
        "refit": refit,
        "folds": folds,
        **reading,
    }
    # What a run.json will hold is what is used: of another type a number may be another, and the network with it.
    asked = {name: fields.plain(value) for name, value in given.items()}
    fields.check_asked(asked, named=named)
    if asked.get("quantiles"):
        asked["quantiles"] = sorted(map(float, asked["quantiles"]))
    asked["recipe"] = {name: value for name, value in (asked["recipe"] or {}).items() if value is not None}
    _check(asked, own_test=test_table is not None)
    # Opened once: standard input is there only once.
    opened = open_table(table, asked.get("delimiter"), stream=asked.get("stream"))
    tested = None if test_table is None else open_table(test_table, asked.get("delimiter"))
    reading = {name: asked[name] for name in reading if name != "stream"}
    prepared = _prepared(opened, tested, asked, dict(reading))
    asked["stream"] = prepared.train.window is not None  # what goes on with it must do the same

    def chosen() -> Plan:
        usual = defaults.recipe(prepared.train.rows, asked["effort"], **asked["recipe"])
        if "kinds" not in asked["recipe"]:
            usual = defaults.of_one_kind_where_wide(usual, prepared.tabular.inputs)
        own, network = _fitted(prepared, usual)
        return Plan(
            prepared,
            own,
            network,
            **{name: asked[name] for name in ("seed", "precision", "class_weights", "threads")},
            **{name: asked[name] for name in ("on_divergence", "save_every", "seconds", "refit")},
            folds=folds or 0,
            begun=begun,
            asked=_kept(table, test_table, asked),
        )

    planned = chosen()
    if refit and prepared.validation is None and not len(prepared.division.split.test):
        raise UsageError("--refit trains again with the rows that were held out, and none are: leave it out")
    if seconds is not None and not duration.FITTED & asked["recipe"].keys():
        # What this machine can do in that time is now part of what was asked: another will do the same, if later.
        before, asked["recipe"] = _folds(asked), asked["recipe"] | duration.fitting(planned, seconds - planned.gone)
        if before != _folds(asked):
            prepared = _prepared(opened, tested, asked, dict(reading))
        planned = chosen()
    return planned


def _fitted(prepared: Prepared, recipe: Recipe) -> tuple[Recipe, nn.Layer]:
    """A recipe and its network as they fit what was understood.

    Raises:
        UsageError: the recipe does not.
    """
    inputs, targets = prepared.tabular.inputs, prepared.tabular.targets
    places = defaults.places_of_waves(recipe, inputs, prepared.train.sample.inputs)
    recipe = recipe if places else replace(recipe, waves=0)
    defaults.loss(targets, recipe)  # of a recipe that does not fit it is told before any work
    return recipe, defaults.network(recipe, inputs, targets, places)


def _check(asked: dict[str, Any], *, own_test: bool) -> None:
    """What does not hang on a table, before one is read."""
    if not 0 <= asked["seed"] < 1 << 63:
        raise UsageError(f"--seed is {asked['seed']}, expected a whole number from 0 to 2^63 - 1")
    if own_test and asked.get("test") is not None:
        raise UsageError("--test and --test-part both say which rows are scored: give one of them")
    if asked["folds"] is not None and (own_test or asked.get("test") is not None):
        other = "--test" if own_test else "--test-part"
        raise UsageError(f"--folds and {other} both say which rows are scored: give one of them")
    require_count("threads", asked["threads"], MOST_THREADS)
    if asked.get("quantiles"):
        _check_quantiles(asked)
    if asked["refit"] and asked.get("interval") is not None:
        raise UsageError("--refit trains on the rows that --interval calibrates with: give one of them")
    if asked.get("target_kind") not in (None, "number") and asked.get("task") == "classification":
        raise UsageError("--target-kind goes with numbers, and --task says that the target is classes: leave one out")


def _check_quantiles(asked: dict[str, Any]) -> None:
    if asked.get("task") == "classification":
        raise UsageError("--quantiles goes with numbers, and --task says that the target is classes: leave one out")
    if asked.get("target_kind") == "count":
        raise UsageError("--quantiles goes with --target-kind number or positive: of counts the rate is learned")
    if asked.get("interval") is not None:
        raise UsageError("--quantiles and --interval both say how far a number may be off: give one of them")


def _prepared(
    opened: Table,
    test_table: Table | None,
    asked: dict[str, Any],
    reading: dict[str, Any],
    place: int | None = None,
) -> Prepared:
    """The table, understood as was asked; of a cross-validation part `place` tests, by default the last."""
    target = asked["target"]
    interval, threshold = (reading.pop(name, None) for name in ("interval", "threshold"))
    targets = (target,) if target in opened.columns else split_names(target) if isinstance(target, str) else target
    chosen = {name: value for name, value in reading.items() if value is not None}
    chosen |= {"seed": asked["seed"], "precision": asked["precision"], "calibrated": interval is not None}
    chosen["folds"], count = _folds(asked), asked["folds"]
    if count is not None:
        chosen["fold"] = (count - 1 if place is None else place, count)
    prepared = prepare(opened, tuple(targets), test_table=test_table, **chosen)
    require_rows(prepared, interval, threshold)
    if asked["class_weights"] is not None:
        require_weights(asked["class_weights"], prepared.tabular.targets)
    return replace(prepared, notes=(*prepared.notes, *few_groups(prepared, interval)))


def _folds(asked: dict[str, Any]) -> int:
    return defaults.folds(asked["effort"], **asked["recipe"])


def _by_label(class_weights: Mapping[Any, float] | str | None) -> dict[str, float] | str | None:
    """Labels as text, which is what a run.json can have as names."""
    if not isinstance(class_weights, Mapping):
        return class_weights
    return {str(label): weight for label, weight in fields.plain(class_weights).items()}


def _kept(table: Any, test_table: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """What a run.json keeps of the arguments: what was given."""
    tables = {"table": table} | ({} if test_table is None else {"test_table": test_table})
    paths = {role: str(each) if isinstance(each, (str, Path)) else fields.NO_FILE for role, each in tables.items()}
    return paths | {name: value for name, value in asked.items() if value not in (None, [], {})}


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
    stream: bool | None = None,
    scale: bool = True,
    effort: str = defaults.STANDARD,
    seconds: float | None = None,
    seed: int = 0,
    precision: str = "float32",
    class_weights: Mapping[Any, float] | str | None = None,
    target_kind: str | None = None,
    quantiles: Sequence[float] | None = None,
    interval: float | None = None,
    threshold: float | str | None = None,
    threads: int | None = None,
    recipe: Mapping[str, Any] | None = None,
    refit: bool = False,
    folds: int | None = None,
    on_divergence: str = "stop",
    save_every: float = run.SECONDS,
    out: str | Path | None = None,
    page: bool = True,
    plots: str | None = None,
    progress: bool | None = None,
) -> Outcome:
    """What `backpass train` does, from Python.

    Args:
        table: a path, "-", a Table, a dictionary of columns, or a data frame.
        target: the column to predict, or several ("Y1,Y2", or a list), of whatever kinds.
        test_table: rows to measure on; without it some rows of `table` are held out.
        test, validation: the parts of the rows held out, such as 0.1; None chooses by the number of rows, 0 for none.
        group: a column whose equal rows stay in one part.
        order: a column of time or numbers; the latest rows test.
        columns: kinds to use in place of inferred ones, as {"zip": "category"}.
        exclude: columns to leave out.
        task: "classification" or "regression"; None infers it.
        delimiter: of a text table; None finds it.
        stream: whether the table, a Parquet or Arrow file, is left there and its rows are trained on from the disk;
            None where it may not fit into memory.
        scale: whether numbers are scaled.
        effort: "fast" trains one network, "standard" several side by side and "best" many of several
            kinds; see `defaults.recipe`.
        seconds: the time there is for all: as many networks and epochs as fit are trained, and ended by the clock.
        seed: of the split, the first weights, the order of the rows and the dropout.
        precision: "float32" or "float64".
        class_weights: how much a row of each class counts, as {"yes": 5, "no": 1}; "balanced" makes all classes count
            the same.
        target_kind: "count" for whole numbers from 0 up, "positive" for numbers above 0 that vary by factors.
        quantiles: of a number, such as (0.1, 0.5, 0.9), to be learned and predicted in its place.
        interval: the part of the cases, such as 0.9, that intervals around numbers are to hold.
        threshold: of two classes, the probability from which on the second is the answer; or what it is to be best
            for on the rows that validate: "f1", "balanced_accuracy" or "youden".
        threads: how many share the work, at most 256; None for as many as pay. The weights do not depend on it.
        recipe: choices in place of defaults: hidden, activation, dropout, learning_rate, weight_decay, batch_size,
            epochs, patience, members, waves, clip, averaging, label_smoothing, optimizer, loss, kinds.
        refit: whether the network is at the end trained again on all rows, for as many epochs as were best; the scores
            are those of the first.
        folds: of how many parts each tests once a network that was trained on others; the model is that of the last.
        on_divergence: "stop", or "rollback": go back to the best epoch and on with half the learning rate.
        save_every: seconds from one checkpoint to the next, where there is a folder for them.
        out: a new or empty folder to save the run in; None saves nothing.
        page: whether report.html is written into that folder.
        plots: "png" or "svg" to have the pictures of the report as files in its folder "plots", by matplotlib.
        progress: whether to show progress on standard error; None shows it where that is a terminal.

    Raises:
        TableError, UsageError, OutputError, NotFiniteError: see `backpass.errors`. An OutputError after the training
            ended is a `NotSavedError`: its `outcome` is what this would have returned.
    """
    if out is not None:
        run.check_free(Path(out))
    if plots is not None:
        from backpass.recipes.plots import require_matplotlib

        require_matplotlib()
        if out is None:
            raise UsageError(f"plots={plots!r} writes files into the folder of a run: name one with out=")
    planned = plan(
        table,
        target,
        effort=effort,
        seconds=seconds,
        seed=seed,
        precision=precision,
        class_weights=class_weights,
        target_kind=target_kind,
        quantiles=quantiles,
        interval=interval,
        threshold=threshold,
        threads=threads,
        on_divergence=on_divergence,
        save_every=save_every,
        recipe=recipe,
        refit=refit,
        folds=folds,
        test_table=test_table,
        test=test,
        validation=validation,
        group=group,
        order=order,
        columns=columns,
        exclude=exclude,
        task=task,
        delimiter=delimiter,
        stream=stream,
        scale=scale,
        named=str,
    )
    planned.require_folds()
    shown = on_terminal() if progress is None else progress
    if out is None:
        outcome = planned.fit(progress=shown)
        outcome = fit_folds(planned, outcome, progress=shown) if planned.folds else outcome
        return planned.fit_again(outcome, progress=shown) if planned.refit else outcome
    with run.folder_for(Path(out), planned.prepared.table.name, str(target)) as folder:
        return fit_into(folder, planned, progress=shown, page=page, plots=plots)


def fit_into(
    folder: Path,
    planned: Plan,
    *,
    progress: bool = False,
    stop_on_interrupt: bool = False,
    begins: bool = True,
    page: bool = True,
    plots: str | None = None,
    steering: Steering | None = None,
) -> Outcome:
    """Train, saving all in the folder of a run while it goes on; what was begun there before goes on.

    At the end a page tells of it, unless that is not wanted, and pictures of the kind `plots`, if these are wanted. By
    `steering` another thread can hold and stop it.

    Raises:
        NotSavedError: the training ended, and what came of it could not be written; it has the outcome.
        OutputError: it could not begin.
        NotFiniteError: as `Trainer.fit`.
    """
    if begins:
        run.begin(folder, planned.asked, planned.recipe.to_json(), planned.prepared.table)
    checkpoints = run.checkpoints(folder, planned.save_every)
    planned = replace(planned, before=_taken_before(folder, planned))
    steering = steering or Steering()
    with run.noting(folder, steering):
        outcome = planned.fit(
            progress=progress, stop_on_interrupt=stop_on_interrupt, checkpoints=checkpoints, steering=steering
        )
    outcome = replace(outcome, run=folder)
    if planned.folds and outcome.finished:
        _save(folder, planned, outcome, fields.TRAINING)
        kept = folder / run.FOLDS
        outcome = fit_folds(planned, outcome, kept=kept, progress=progress, stop_on_interrupt=stop_on_interrupt)
    if planned.refit and outcome.finished:
        _save(folder, planned, outcome, fields.TRAINING)
        outcome = planned.fit_again(
            outcome,
            progress=progress,
            stop_on_interrupt=stop_on_interrupt,
            checkpoints=run.checkpoints_again(folder, planned.save_every),
            steering=steering,
        )
    _save(folder, planned, outcome, fields.FINISHED if outcome.finished else fields.INTERRUPTED, page=page, plots=plots)
    return outcome


def _taken_before(folder: Path, planned: Plan) -> float:
    """Seconds that a run that goes on has had of its time; of a fold that is done as many as of the first training."""
    if planned.seconds is None:
        return 0.0
    first, again = map(duration.trained_before, (run.checkpoints(folder), run.checkpoints_again(folder)))
    return first * (1 + count_done(folder / run.FOLDS, planned)) + again


def _save(
    folder: Path, planned: Plan, outcome: Outcome, state: str, *, page: bool = False, plots: str | None = None
) -> None:
    """The files of a run as it stands, with a page and pictures of it where they are wanted."""
    try:
        run.keep(folder, outcome.model, outcome.history, scored=outcome.scored)
        about = {**run.read(folder), "state": state, "outcome": report(planned, outcome, folder)}
        if page or plots:
            from backpass.recipes.report_page import write_report

            write_report(folder, about, planned, outcome, html=page, plots=plots)
        run.end(folder, about)
    except (BackpassError, MemoryError) as error:
        what = str(error) or f"{folder}: there is not enough memory to write it"
        raise NotSavedError(f"{what}; {_how_it_stands(folder)}", outcome) from error


def _how_it_stands(folder: Path) -> str:
    """What is left of a run that could not be written at its end, and what to do."""
    if not run.can_be_resumed(folder):
        return "the training ended, and cannot be gone on with from there"
    if not run.has_saved(folder):
        return f"the training ended, and no checkpoint could be saved: backpass resume {folder} begins anew"
    return f"the training ended, and its checkpoints stay: then backpass resume {folder}"


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
        "blend": outcome.blend or None,
        "refit": _of_refit(outcome),
        "refit_failed": outcome.refit_failed or None,
        "folds": told(outcome.folds) if outcome.folds else None,
        "run": None if folder is None else str(folder),
        "steps": outcome.steps,
        "kept_epoch": outcome.history.kept,
        "calibration": outcome.model.tabular.calibration.to_json() if outcome.model.tabular else None,
        "stopped": outcome.history.reason,
        "interrupted_by": outcome.interrupted_by,
        "table": planned.prepared.summary(),
    }


def _of_refit(outcome: Outcome) -> dict[str, Any] | None:
    """How the network was trained again on all rows, and the weights of the one that was scored."""
    if outcome.scored is None:
        return None
    return {
        "rows": outcome.model.about["rows"],
        "epochs": outcome.model.about["epochs"],
        "scored_weights": outcome.scored.weights,
    }
