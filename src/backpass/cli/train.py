"""`backpass train`: a table in, a trained network out."""

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backpass.cli.options import (
    delimiter_option,
    duration,
    json_option,
    kinds,
    names,
    part,
    plots_option,
    quantiles,
    quiet_option,
    report_option,
    sizes,
    table_argument,
    threads_option,
    threshold,
    weights,
)
from backpass.cli.output import SIGNALLED, WIDTH, Voice, uninterrupted, working, wrapped
from backpass.cli.show import page_options, shown, wait
from backpass.errors import NotFiniteError, NotSavedError, OutputError, UsageError

if TYPE_CHECKING:
    from backpass.recipes.main_job import Outcome, Plan
    from backpass.training import Steering

EPILOG = """\b
Examples:
  backpass train loans.csv --target default
  backpass train train.csv --target price --test test.csv --exclude id,comment
  backpass train sales.parquet --target Y1,Y2 --order date --time 5m
  backpass train flats.csv --target rent --target-kind positive --interval 0.9
  backpass train bank.csv --target bad --class-weights balanced --threshold f1
"""


_PARTS = {"validation": "validating", "calibration": "calibrating", "test": "testing"}
ENOUGH = 0.5  # of the usual epochs: with fewer, made in a time that was given, a score may be low for it
FEWEST = 10  # rows: fewer are all answered right by chance
SOME = 3  # rows of a class, of which none is answered so
NOTHING_LEARNED = "it finds nothing to mend: the columns may tell nothing of the target"
NEARLY_PERFECT = 0.995  # of accuracy or R², where a column that tells the answer is likelier than so good a network


@click.command(epilog=EPILOG, short_help="Train a network on a table to predict a column.")
@table_argument
@click.option(
    "--target", required=True, multiple=True, metavar="COLUMN", help="What to predict; several columns as Y1,Y2."
)
@click.option("--test", "test_table", metavar="TABLE", help="Rows to score on, in place of some held out of TABLE.")
@click.option(
    "--effort",
    type=click.Choice(["fast", "standard", "best"]),
    default="standard",
    show_default=True,
    help="One network, the mean of several trained side by side, or of many.",
)
@click.option("--time", metavar="TIME", help="As many networks as 90s, 5m or 1h allow; steps end then.")
@click.option("--out", metavar="RUN", type=click.Path(path_type=Path), help="The run's folder; runs/NAME otherwise.")
@report_option
@plots_option
@click.option(
    "--live", is_flag=True, help="Watch it in a browser while it trains: curves, the network, pause, step, stop."
)
@page_options
@click.option("--epochs", type=int, help="How often every row is seen, at most.")
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same table: the same network.")
@click.option("--exclude", multiple=True, metavar="COLUMNS", help="Leave out these columns.")
@click.option(
    "--column", "columns", multiple=True, metavar="NAME=KIND", help="number, category, boolean, date or skip."
)
@click.option("--task", type=click.Choice(["classification", "regression"]), help="What the target is, if in doubt.")
@click.option("--group", metavar="COLUMN", help="Rows of one group stay together when rows are held out.")
@click.option("--order", metavar="COLUMN", help="Hold out the latest rows by this column, a date or number.")
@click.option("--test-part", type=float, help="The part of the rows held out for the score, such as 0.2.")
@click.option("--folds", type=int, metavar="K", help="Score K times: each of K parts tests once what others trained.")
@click.option("--validation-part", type=float, help="The part held out to know when to stop.")
@click.option("--hidden", metavar="SIZES", help="Nodes of each hidden layer, such as 256,128; 0 for none.")
@click.option(
    "--activation",
    help="Of the hidden layers: relu, leaky_relu, elu, selu, gelu, silu, mish, softplus, sigmoid, tanh or softmax; "
    "or one for each, as tanh,relu.",
)
@click.option("--dropout", type=float, help="The part of hidden nodes left out while training.")
@click.option("--learning-rate", type=float, help="How far a step goes, at most.")
@click.option("--weight-decay", type=float, help="How strongly weights are pulled to 0.")
@click.option("--clip", type=float, metavar="NORM", help="Hold the norm of a step's gradients to at most this, as 1.")
@click.option("--averaging", type=float, metavar="EPOCHS", help="Over how many the mean of the weights is taken.")
@click.option("--label-smoothing", type=float, help="The share of each class's target that goes to all, as 0.05.")
@click.option("--batch-size", type=int, help="Rows a step.")
@click.option("--patience", type=int, help="Epochs without a better validation loss before it stops.")
@click.option(
    "--class-weights",
    "--class-weight",
    metavar="WEIGHTS",
    help="How much a row of each class counts, as yes=5,no=1; balanced lets every class count the same.",
)
@click.option(
    "--target-kind",
    type=click.Choice(["number", "count", "positive"]),
    help="Count: whole numbers from 0 up; positive: numbers above 0 that vary by factors, such as prices.",
)
@click.option("--quantiles", metavar="PARTS", help="Of a number, predict these quantiles in its place: 0.1,0.5,0.9.")
@click.option("--interval", metavar="PART", help="Around numbers, intervals that hold this part of the cases: 0.9.")
@click.option(
    "--refit", is_flag=True, help="At the end train again on all rows; the scores stay those of held-out rows."
)
@click.option(
    "--threshold",
    metavar="CHOICE",
    help="Of two classes: answer the second from this probability on; or best for f1, balanced_accuracy or youden.",
)
@click.option(
    "--stream/--no-stream",
    default=None,
    help="Leave the table (Parquet or Arrow) in its file, and train from the disk; by itself where memory is short.",
)
@click.option("--no-scale", is_flag=True, help="Leave numbers as they are.")
@click.option("--precision", type=click.Choice(["float32", "float64"]), default="float32", show_default=True)
@click.option(
    "--on-divergence",
    type=click.Choice(["stop", "rollback"]),
    default="stop",
    show_default=True,
    help="When the loss is no longer finite: stop, or go back to the best epoch and on with half the learning rate.",
)
@click.option(
    "--save-every",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How often all that it takes to go on is saved.",
)
@threads_option
@delimiter_option
@json_option
@quiet_option
def train(table: str, **options: Any) -> None:
    """Train a network on TABLE to predict a column.

    TABLE is CSV of any delimiter, TSV or JSON lines (.gz too), Parquet, Arrow, or - for standard input. The network,
    its score on rows it never saw and all that it takes to predict are saved in the folder of a run.
    """
    options["target"] = ",".join(options["target"])
    voice = Voice(as_json=options["as_json"], quiet=options["quiet"])
    out: Path | None = options["out"]
    from backpass.recipes import run
    from backpass.recipes.main_job import fit_into

    if out is not None:
        run.check_free(out)
    if options["plots"]:
        from backpass.recipes.plots import require_matplotlib

        require_matplotlib()
    with working(f"reading {table}", quiet=options["quiet"]):
        planned = _plan(table, options)
        planned.require_folds()
    voice.say([*_understood(planned), ""])
    given = {"progress": not options["quiet"], "stop_on_interrupt": True, "page": options["report"]}
    given["plots"] = options["plots"]
    name, steering = planned.prepared.table.name, None
    with ExitStack() as page:  # which is there longer than the folder is locked
        with run.folder_for(out, name, options["target"]) as folder, going_on_told(folder, voice):
            if options["live"]:
                steering = page.enter_context(_live(folder, planned, options))
            outcome = fit_into(folder, planned, **given, steering=steering)
        tell_outcome(voice, planned, outcome, folder, ends=steering is None)
        if steering is not None and (steering.stopped or not outcome.interrupted_by):
            wait()


@contextmanager
def _live(folder: Path, planned: "Plan", options: dict[str, Any]) -> "Iterator[Steering]":
    """Within this a page shows the training, and steers it."""
    from backpass.live.server import Page, Watched
    from backpass.training import Steering

    steering = Steering(measures=True)
    with shown(Page([Watched(folder, planned=planned, steering=steering)]), options):
        yield steering


@contextmanager
def going_on_told(folder: Path, voice: Voice) -> Iterator[None]:
    """Where training is broken off at once, or fails, say how to go on, if it can."""
    from backpass.recipes import run

    try:
        yield
    except KeyboardInterrupt as error:
        saved = run.has_saved(folder)
        told = f"stopped at once; what was saved before stays: backpass resume {folder}"
        told = told if saved else "stopped before anything was saved: nothing is left of this run"
        click.echo(f"backpass: {told}", err=True)
        sys.exit(SIGNALLED + getattr(error, "signal", signal.SIGINT))
    except NotSavedError:  # which says it
        raise
    except NotFiniteError as error:
        stays = f"; what was saved stays in {folder}: backpass doctor {folder}" if run.has_saved(folder) else ""
        options = "options of backpass train: --learning-rate, --clip, --no-scale"
        failed = NotFiniteError(f"{error} ({options}){stays}", error.blame)
        if error.blame is not None:
            voice.result({"error": str(failed), "not_finite": error.blame.to_json()})
        raise failed from None
    except (OutputError, MemoryError) as error:
        if not run.has_saved(folder):
            raise
        what = error if isinstance(error, OutputError) else "there is not enough memory to go on"
        raise OutputError(f"{what}; what was saved before stays: backpass resume {folder}") from None


def tell_outcome(voice: Voice, planned: "Plan", outcome: "Outcome", folder: Path, *, ends: bool = True) -> None:
    """Say what a training came to; one that a signal ended `ends` with the status that shells expect."""
    from backpass.recipes.main_job import report

    with uninterrupted(for_good=ends):
        voice.say(_result(planned, outcome, folder))
        if not voice.quiet:
            voice.say(_doctor(planned, outcome, folder))
        voice.result(report(planned, outcome, folder))
    if outcome.interrupted_by and ends:
        sys.exit(SIGNALLED + outcome.interrupted_by)


def _plan(table: str, options: dict[str, Any]) -> "Plan":
    from backpass.recipes.main_job import plan

    floats = ("dropout", "learning_rate", "weight_decay", "clip", "averaging", "label_smoothing")
    numbers = (*floats, "batch_size", "epochs", "patience")
    if table == "-" and options["test_table"] == "-":
        raise UsageError("both TABLE and --test are standard input: at most one of them can be")
    return plan(
        table,
        options["target"],
        effort=options["effort"],
        seconds=duration(options["time"]),
        seed=options["seed"],
        precision=options["precision"],
        class_weights=weights(options["class_weights"]),
        target_kind=options["target_kind"],
        quantiles=quantiles(options["quantiles"]),
        interval=part(options["interval"]),
        threshold=threshold(options["threshold"]),
        threads=options["threads"],
        refit=options["refit"],
        folds=options["folds"],
        on_divergence=options["on_divergence"],
        save_every=options["save_every"],
        recipe={"hidden": sizes(options["hidden"])} | {name: options[name] for name in ("activation", *numbers)},
        test_table=options["test_table"],
        test=options["test_part"],
        validation=options["validation_part"],
        group=options["group"],
        order=options["order"],
        columns=kinds(options["columns"]),
        exclude=names(options["exclude"]),
        task=options["task"],
        delimiter=options["delimiter"],
        stream=options["stream"],
        scale=not options["no_scale"],
    )


def _understood(planned: "Plan") -> list[str]:
    """What the table was understood to be, and the network chosen for it."""
    from backpass import nn
    from backpass.ops import Key
    from backpass.recipes import defaults, duration

    shape = planned.prepared.row_shape
    parameters = nn.count(planned.network.init(shape, Key.of(0)))
    inputs = len(planned.prepared.tabular.inputs.feature_names)
    embedded = len(planned.prepared.tabular.inputs.embeddings)
    first = _several(inputs, "input") + (f" and {_several(embedded, 'embedded column')}" if embedded else "")
    recipe, outputs = planned.recipe, planned.prepared.tabular.targets.outputs
    if recipe.kinds:
        sizes = {kind: "-".join(map(str, defaults.hidden_of(recipe, kind))) for kind in recipe.kinds}
        between = [", ".join(f"{kind} {own}".rstrip() for kind, own in sizes.items())]
    else:
        first += f", each number also as {_several(recipe.waves, 'cosine')}" if recipe.waves else ""
        between = list(map(str, recipe.hidden))
    sizes_shown = " -> ".join([first, *between, str(outputs)])
    rows = planned.prepared.rows()
    parts = [f"training on {rows['train']:,} rows"]
    folds = planned.prepared.folds
    parts += [f"1 in {folds} left out by each network to validate"] if folds else []
    parts += [f"{verb} on {rows[name]:,}" for name, verb in _PARTS.items() if rows.get(name)]
    parts += [f"then as often anew for the other {planned.folds - 1} of {planned.folds} folds"] if planned.folds else []
    again = duration.rows_again(planned)
    parts += [f"then training again on all {again:,}"] if again else []
    from backpass.recipes.provenance import sha256

    tested = planned.asked.get("test_table")
    same = tested is not None and sha256(tested) is not None and sha256(tested) == sha256(planned.asked["table"])
    return [
        *planned.prepared.describe(),
        *(["  note: --test is the same file as TABLE: the score will be of rows trained on"] if same else []),
        *wrapped([f"network     {sizes_shown}    {parameters:,} parameters", f"effort      {_effort(planned)}"], 12),
        *wrapped([", ".join(parts)]),
    ]


def _effort(planned: "Plan") -> str:
    """What is going to be done, and how long it may take."""
    from backpass.recipes.duration import MOST_MEMBERS, most_seconds

    members = planned.recipe.members
    what = "one network" if members == 1 else f"mean of {members} networks"
    if planned.recipe.kinds:
        what = f"blend of {members} networks of {len(planned.recipe.kinds)} kinds ({', '.join(planned.recipe.kinds)})"
    epochs = _several(planned.recipe.epochs, "epoch")
    if planned.seconds is not None:
        most = " (never more)" if members >= MOST_MEMBERS[0] else ""
        sooner = most_seconds(planned)
        over = f": over after about {_rounded(sooner)} s" if sooner < planned.seconds / 2 else ""
        return f"what fits into {planned.seconds:,.4g} s: {what}{most}, up to {epochs}{over}"
    takes = f"about {_rounded(most_seconds(planned))} s for all"
    return f"{planned.asked['effort']}: {what}, up to {epochs}: {takes}"


def _rounded(seconds: float) -> str:
    """With as many digits as a guess has."""
    return f"{float(f'{max(1.0, seconds):.2g}'):,.0f}"


def _several(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _result(planned: "Plan", outcome: "Outcome", folder: Path) -> list[str]:
    from backpass.training.history import INTERRUPTED

    history = outcome.history
    lines = [f"stopped at epoch {len(history)} after {outcome.seconds:.1f} s: {history.reason}"]
    if not outcome.finished:
        name = "Ctrl-C" if outcome.interrupted_by == signal.SIGINT else "a signal to end"
        stopped = f"stopped by {name} after step {outcome.steps:,}, with {len(history)} epochs done; all is saved"
        late = f"what was to come after that was stopped by {name}: the model is the one that is scored here"
        lines = [*lines, late] if (planned.refit or planned.folds) and history.reason != INTERRUPTED else [stopped]
    lines += wrapped(_hurry(planned, outcome))
    if outcome.blend:
        lines += wrapped(
            [
                "blended by the rows that validate: "
                + ", ".join(f"{kind} {part} %" for kind, part in _percent(outcome.blend).items())
            ]
        )
    if history.kept != len(history):
        lines += [f"the weights of epoch {history.kept} are kept"]
    if outcome.scores:
        lines += [f"on the {outcome.held_out} rows, with what chance may add or take (95 %):", *_indented(outcome)]
        if outcome.held_out == "validation":
            lines += ["  these rows told when to stop, too: no others were held out to test"]
        if outcome.finished and outcome.interrupted_by:
            lines += ["  the linear model was left out: interrupted"]
        lines += wrapped((f"  {line}" for line in outcome.model.calibration_told(outcome.metrics)), 4)
        lines += _doubt(planned, outcome)
    else:
        lines += ["no rows were held out: there is no score"]
    lines += _of_folds(outcome)
    if outcome.scored is not None:
        rows, epochs = (outcome.model.about[name] for name in ("rows", "epochs"))
        lines += wrapped([f"trained again on all {rows:,} rows, for {_several(epochs, 'epoch')}: that is the model"])
    if outcome.refit_failed:
        kept = "the model is the one that is scored here"
        lines += wrapped([f"--refit: not trained again on all rows: {outcome.refit_failed}: {kept}"])
    plots = "  plots/" if (folder / "plots").exists() else ""
    return [
        *lines,
        "",
        *wrapped([f"{folder}/  model.safetensors  history.jsonl  run.json  checkpoints/{plots}"]),
        *(_look(folder / "report.html") if (folder / "report.html").exists() else []),
        *([f"go on: backpass resume {folder}"] if not outcome.finished else []),
        *_next(f"backpass predict {folder} NEW.csv", f"backpass evaluate {folder} LABELLED.csv"),
    ]


def _percent(shares: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers that are 100 together: what is cut off goes to those that lose most by it."""
    cut = {name: int(100 * share) for name, share in shares.items()}
    for name in sorted(shares, key=lambda name: cut[name] - 100 * shares[name])[: 100 - sum(cut.values())]:
        cut[name] += 1
    return cut


def _hurry(planned: "Plan", outcome: "Outcome") -> list[str]:
    """Whether the time was too short for what such a table usually gets."""
    from backpass.recipes import defaults, duration
    from backpass.training.history import TIME_IS_OVER

    if planned.seconds is None or not outcome.finished or "epochs" not in planned.asked["recipe"]:
        return []
    rest = {name: value for name, value in planned.asked["recipe"].items() if name not in duration.FITTED}
    usual = defaults.recipe(planned.prepared.train.rows, planned.asked["effort"], **rest).epochs
    made, over = len(outcome.history), outcome.history.reason == TIME_IS_OVER
    fitted = planned.asked["recipe"].keys() >= {"members", "epochs"}  # otherwise a person asked for so many epochs
    if made >= usual * ENOUGH or not (over or (fitted and made == planned.recipe.epochs)):
        return []
    most = "no whole epoch" if not made else _several(made, "epoch")
    return [f"the time was short, and the score may be low for it: {most} of the usual {usual:,}; give more --time"]


def _of_folds(outcome: "Outcome") -> list[str]:
    """The means over the folds of a cross-validation, and how they differ."""
    from backpass.recipes.crossed import means, spreads
    from backpass.recipes.scores import table

    if not outcome.folds:
        return []
    failed = [(place, each.failed) for place, each in enumerate(outcome.folds, start=1) if each.failed]
    lines = wrapped((f"  fold {place} failed: {why}" for place, why in failed), 4)
    found = means(outcome.folds)
    if not found:
        return ["no mean of folds: of fewer than two there are scores", *lines]
    count = f"{len(outcome.folds) - len(failed)} of {len(outcome.folds)}" if failed else f"{len(outcome.folds)}"
    return [
        f"mean of {count} folds, with what chance may add or take (95 %):",
        *(f"  {line}" for line in table(found, outcome.heads)),
        *wrapped([f"  this network from fold to fold: {', '.join(spreads(outcome.folds, outcome.heads))}"], 4),
        *lines,
    ]


def _look(page: Path) -> list[str]:
    line = f"look:  {page}"
    return [line] if len(line) <= WIDTH else ["look:", str(page)]


def _next(first: str, second: str) -> list[str]:
    """Commands to go on with; long ones on lines of their own, whole."""
    lines = [f"next:  {first}", f"       {second}"]
    return lines if max(map(len, lines)) <= WIDTH else ["next:", first, second]


def _doctor(planned: "Plan", outcome: "Outcome", folder: Path) -> list[str]:
    """After a bad training one line of what the doctor finds first. A good one costs the question alone."""
    from backpass.recipes import examination

    if not outcome.finished or outcome.interrupted_by or outcome.heads or not examination.is_bad(outcome):
        return []
    with working("asking the doctor why") as tell:
        own = outcome.own_model
        calibration = None if own.tabular is None else own.tabular.calibration
        found = examination.examine(
            planned, own.parameters, outcome.history, calibration=calibration, telling=tell, first=True
        ).findings
    if not found:
        return wrapped([f"doctor: {NOTHING_LEARNED}"]) if examination.learned_nothing(outcome) else []
    what = found[0].advice if found[0].remedy is None else f"try {found[0].advice}"
    return wrapped([f"doctor: {found[0].name}; {what}: backpass doctor {folder}"])


def _indented(outcome: "Outcome") -> list[str]:
    from backpass.recipes.scores import table

    return [f"  {line}" for line in table(outcome.scores, outcome.heads)]


def _unanswered(planned: "Plan", outcome: "Outcome") -> list[str]:
    """Classes that are never answered, though some rows have them: mostly they are rare."""
    from backpass.data.naming import listed

    score, names = outcome.scores[0], planned.prepared.tabular.targets.schema.classes
    rare = [(names[label], rows) for label, rows in score.unanswered if rows >= SOME]
    if not rare:
        return []
    rows = sum(rows for _, rows in rare)
    remedy = "" if planned.class_weights else ": --class-weights balanced lets them count more"
    return wrapped([f"  never answered: {listed(name for name, _ in rare)}, {rows} of these rows{remedy}"], 4)


def _doubt(planned: "Plan", outcome: "Outcome") -> list[str]:
    """A score too good to be true is worth a question, and one surely below the linear model's a hint."""
    from backpass.model.metrics import of_target
    from backpass.recipes import examination
    from backpass.recipes.scores import surely_better

    lines = []
    own = [of_target(outcome.metrics, name) for name in outcome.heads] or [outcome.metrics]
    best = max(each.get(name, 0.0) for each in own for name in ("accuracy", "r2"))
    if best >= NEARLY_PERFECT and len(outcome.scores[0].losses) >= FEWEST:
        lines.append("  nearly perfect: --exclude columns that are known only after the answer")
    lines += _unanswered(planned, outcome)
    linear = next((each for each in outcome.scores if each.label == "linear model"), None)
    asked = not outcome.heads and examination.is_bad(outcome)  # then the doctor says why
    if planned.recipe.hidden and linear is not None and not asked and surely_better(linear, outcome.scores[0]):
        lines.append("  the linear model is better here: --hidden 0 trains such a one")
    return lines
