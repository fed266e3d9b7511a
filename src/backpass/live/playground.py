"""The playground: a table, some settings, and a network that trains while one looks."""

import shutil
import tempfile
import threading
import traceback
import zlib
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from backpass import nn
from backpass.data import Table, infer_schema
from backpass.data.kinds import Schema
from backpass.data.naming import split_names
from backpass.data.ranks import ranks
from backpass.data.values import Reader
from backpass.errors import BackpassError, UsageError
from backpass.live.watched import Watched
from backpass.model.model import open_table
from backpass.recipes import defaults
from backpass.recipes.command import call_of
from backpass.recipes.main_job import fit_into, plan
from backpass.recipes.prepare import Prepared
from backpass.storage.locks import FolderLock
from backpass.training import Steering

SAMPLE = Path(str(files("backpass.data") / "samples" / "iris.csv"))
LARGEST = 32 << 20  # bytes of a table that is dropped in
MOST_ROWS = 100_000
GRID = 60  # points along each side of the decision regions
DRAWN = 400  # rows drawn in them
LOOKED_AT, BINS = 2000, 10  # rows, and parts of a column, by which it is judged what tells of the target
MOST_LAYERS = 32
RECIPE = (
    "hidden",
    "activation",
    "loss",
    "optimizer",
    "learning_rate",
    "weight_decay",
    "dropout",
    "batch_size",
    "epochs",
)
START = {
    "hidden": [8],
    "activation": "tanh",
    "optimizer": "adam",
    "learning_rate": 0.01,
    "epochs": 300,
    "batch_size": 16,
}
STORY = {
    "target": "species",
    "hidden": [3],
    "activation": "sigmoid",
    "loss": "brier",
    "optimizer": "sgd",
    "learning_rate": 0.2,
    "batch_size": 1,
    "epochs": 100,
    "seed": 282,
}
"""The network of docs/story.md, as near to it as a network for a table is: its inputs are scaled, and its outputs
probabilities."""


class Playground:
    """What one can do there, one at a time.

    Attributes:
        watched: the training under way or the last one; None before the first.
        error: why the last training failed, in a line.
    """

    def __init__(self, table: str | Path | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="backpass-playground-"))
        self._thread: threading.Thread | None = None
        self._runs = 0
        self.watched: Watched | None = None
        self.error = ""
        self._table: Table
        self._path: Path
        self._asked: dict[str, Any] = {}
        self._use(Path(table) if table is not None else SAMPLE)

    @property
    def name(self) -> str:
        """That of the table."""
        return self._path.name

    def _use(self, path: Path) -> None:
        """Take a table in the place of the one that was there, and forget what was trained on that."""
        found = open_table(str(path))
        if found.rows > MOST_ROWS:
            raise UsageError(
                f"{found.name} has {found.rows:,} rows, the playground takes {MOST_ROWS:,}: backpass train"
            )
        self.end()
        self._table, self._path, self.watched, self.error = found, path, None, ""

    def sample(self) -> dict[str, Any]:
        """Use iris, which comes along."""
        if self._path != SAMPLE:
            self._use(SAMPLE)
        return self.about()

    def take(self, name: str, content: bytes) -> dict[str, Any]:
        """Use a table that was dropped in. It is read as data and as nothing else.

        Raises:
            TableError: it is none.
        """
        if len(content) > LARGEST or _unpacked_is_larger(content):
            raise UsageError(f"{name[:80]} is larger than {LARGEST >> 20} MB: train on it with backpass train")
        self._runs += 1
        path = self._folder / f"table-{self._runs}" / _own_name(name)
        path.parent.mkdir()
        path.write_bytes(content)
        try:
            self._use(path)
        except BaseException:
            shutil.rmtree(path.parent)
            raise
        return self.about()

    def about(self, target: str | None = None) -> dict[str, Any]:
        """The table and what can be chosen, for a target; None for the last column."""
        table = self._table
        chosen = target if target in table.columns else table.columns[-1]
        told: dict[str, Any] = {"name": self.name, "rows": table.rows, "columns": table.columns, "target": chosen}
        try:
            schema = infer_schema(table, [chosen])
        except BackpassError as error:
            return told | {"error": str(error), "numbers": [], "telling": [], "kind": ""}
        kind = "number" if schema.task == "regression" else "two classes" if len(schema.classes) == 2 else "classes"
        return told | {
            "numbers": _numbers(schema),
            "telling": _telling(table, schema),
            "kind": kind,
            "losses": list(defaults.LOSSES[kind]),
            "optimizers": list(defaults.OPTIMIZERS),
            "activations": [name for name in nn.ACTIVATIONS if name != "softmax"],
            "start": START | {"loss": defaults.LOSSES[kind][0], "weight_decay": 0.0, "dropout": 0.0, "seed": 0},
            "largest": LARGEST,
            "story": STORY if self._path == SAMPLE else None,
        }

    def asked(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of `backpass.train` that the settings stand for.

        Raises:
            UsageError: there is a setting that is none.
        """
        if not isinstance(settings, Mapping):
            raise UsageError("settings are no JSON object with names and values")
        unknown = [name for name in settings if name not in (*RECIPE, "target", "seed")]
        if unknown or not isinstance(settings.get("target"), str):
            what = str(unknown[0])[:40] if unknown else "target"
            raise UsageError(f"{what} is no setting of the playground, or not given")
        target = settings["target"]
        if target not in self._table.columns and len(split_names(target)) > 1:
            raise UsageError(f"the playground learns one target, and {target[:80]} are several: backpass train")
        hidden = settings.get("hidden")
        if isinstance(hidden, list) and not all(type(each) is int for each in hidden):
            shown = ",".join(map(str, hidden))[:40]
            raise UsageError(f"--hidden is {shown}, expected whole numbers from 1 to 65,536, such as 8,4; 0 for none")
        if isinstance(hidden, list) and len(hidden) > MOST_LAYERS:
            raise UsageError(f"--hidden has {len(hidden):,} layers, the playground takes {MOST_LAYERS}: backpass train")
        recipe = {name: settings[name] for name in RECIPE if settings.get(name) is not None}
        recipe |= {"averaging": 0.0, "label_smoothing": 0.0}  # what trains is what is told
        recipe["patience"] = recipe.get("epochs", START["epochs"])
        seed = settings.get("seed", 0)
        return {"target": target, "effort": defaults.FAST, "seed": seed, "recipe": recipe}

    def train(self, settings: Mapping[str, Any], *, steps: int | None = None) -> Watched:
        """Begin anew by the settings; after so many `steps` it waits, if that is not None.

        Raises:
            UsageError: a setting cannot be used, or that is no number of steps.
            TableError: the table does not hold what is needed.
        """
        steering = Steering(measures=True)
        if steps is not None:
            steering.make(steps)
        asked = self.asked(settings)
        planned = plan(str(self._path), **asked)
        self.end()
        self._runs += 1
        folder = self._folder / f"run-{self._runs}"
        folder.mkdir()
        self.error = ""
        watched = Watched(folder, planned=planned, steering=steering)
        self.watched, self._asked = watched, asked

        def work() -> None:
            try:
                with FolderLock(folder):
                    fit_into(folder, planned, stop_on_interrupt=True, page=False, steering=steering)
            except BackpassError as error:
                self.error = str(error)
            except KeyboardInterrupt:  # stopped before its first step
                pass
            except MemoryError:
                self.error = "the training ended: there is not enough memory for it: choose fewer or smaller layers"
            except Exception as error:  # noqa: BLE001 - nobody is above this thread to be told
                traceback.print_exc()
                self.error = f"the training ended by a mistake in backpass, {_in_a_line(error)}: see the terminal"

        self._thread = threading.Thread(target=work, name="backpass playground", daemon=True)
        self._thread.start()
        return watched

    def end(self) -> None:
        """End the training under way."""
        if self.watched is not None and self.watched.steering is not None:
            self.watched.steering.stop()
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """End it all, and remove what was made."""
        self.end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def script(self) -> str:
        """A Python program that trains the same network, to the bit.

        Raises:
            UsageError: nothing was trained yet.
        """
        self._trained()
        call = call_of({"table": self.name, **self._asked})
        return (
            f'"""The network of the playground, trained again: the same weights, bit for bit."""\n\nimport backpass\n\n'
            f'outcome = {call}\nprint(outcome)\noutcome.model.save("model.safetensors")\nprint(outcome.model.weights)\n'
        )

    def model(self) -> bytes:
        """The file of the network as it is now.

        Raises:
            UsageError: nothing was trained yet.
        """
        from backpass.model.file import to_bytes

        return to_bytes(self._trained().run.kept_model())

    def regions(self, x: str, y: str) -> dict[str, Any]:
        """What the network answers over two columns, the others being as they are in the middle.

        Raises:
            UsageError: nothing was trained yet, or a column is no number.
        """
        watched = self._trained()
        prepared, model = watched.run.plan.prepared, watched.run.kept_model()
        schema, train = prepared.division.schema, prepared.division.train
        for name in (x, y):
            if name not in _numbers(schema):
                raise UsageError(f'"{name[:80]}" is no number that the network is given: choose two that are')
        reader = Reader(train)
        columns = {column.name: column for column in schema.inputs}
        xs, ys = (_around(reader.numbers(columns[name])) for name in (x, y))
        across, up = np.meshgrid(xs, ys)
        data = {name: _middle(train, column, across.size) for name, column in columns.items()}
        data |= {x: across.ravel(), y: up.ravel()} if x != y else {x: across.ravel()}
        answered = model.predict_table(data)
        told = {
            "x": x,
            "y": y,
            "target": self._asked["target"],
            "xs": xs.tolist(),
            "ys": ys.tolist(),
            **_points(prepared, reader, columns, (x, y)),
        }
        if answered.probabilities is None:
            return told | {"values": answered.values[:, 0].astype(float).tolist()}
        p = answered.probabilities
        return told | {"classes": list(answered.classes), "answers": p.argmax(1).tolist(), "sure": p.max(1).tolist()}

    def _trained(self) -> Watched:
        if self.watched is None:
            raise UsageError("nothing was trained yet: press Train")
        return self.watched


def _own_name(name: str) -> str:
    """What a file that is dropped in is called where it is kept: its name, without what a file cannot be called."""
    shown = "".join("_" if c in '<>:"|?*\\' else c for c in Path(name).name if c.isprintable())
    return shown.encode()[-100:].decode(errors="ignore").strip(". ") or "table.csv"


def _in_a_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _numbers(schema: Schema) -> list[str]:
    return [column.name for column in schema.inputs if column.kind == "number"]


def _telling(table: Table, schema: Schema) -> list[str]:
    """The two columns of numbers that tell most of the target, each alone, in their order in the table."""
    names, reader = _numbers(schema), Reader(table)
    columns = {column.name: column for column in schema.inputs}
    places = np.unique(np.linspace(0, table.rows - 1, min(LOOKED_AT, table.rows)).astype(int))
    try:
        target = _target(reader, schema)[places]
        shares = {name: _share(reader.numbers(columns[name])[places], target) for name in names}
    except BackpassError:  # the training says what it is
        return names[:2]
    return sorted(sorted(names, key=lambda name: -shares[name])[:2], key=names.index)


def _target(reader: Reader, schema: Schema) -> Any:
    """(rows, classes) whether it is the class, or (rows, 1) numbers; NaN where it is missing."""
    (column,) = schema.targets
    if schema.task == "regression":
        return reader.numbers(column)[:, None]
    texts = reader.texts(column).to_numpy()
    known = texts != None  # noqa: E711 - of each element
    _, labels = np.unique(texts[known].astype(str), return_inverse=True)
    found = np.full((len(texts), int(labels.max(initial=0)) + 1), np.nan)
    found[known] = labels[:, None] == np.arange(found.shape[1])
    return found


def _share(values: Any, target: Any) -> float:
    """The part of the target's variance that is between the means of the tenths of a column."""
    known = np.isfinite(values) & np.isfinite(target).all(axis=1)
    if not known.any():
        return 0.0
    off, own = target[known] - target[known].mean(axis=0), ranks(values[known])
    tenth = np.minimum(own * BINS / known.sum(), BINS - 1).astype(int)
    between = sum(len(each) * (each.mean(axis=0) ** 2).sum() for k in range(BINS) if len(each := off[tenth == k]))
    return float(between / max((off**2).sum(), 1e-300))


def _around(values: Any) -> Any:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    edge = 0.08 * (high - low) or 1.0
    return np.linspace(low - edge, high + edge, GRID)


def _middle(train: Table, column: Any, count: int) -> Any:
    """The median of a number, the most common of anything else, so many times."""
    if column.kind == "number":
        with suppress(BackpassError):
            return np.full(count, float(np.nanmedian(Reader(train).numbers(column))))
    values = train.column(column.name).drop_nulls()
    common = values.mode().sort()[0] if len(values) else None
    return [common] * count


def _points(prepared: Prepared, reader: Reader, columns: Mapping[str, Any], names: tuple[str, str]) -> dict[str, Any]:
    places = np.unique(np.linspace(0, prepared.train.rows - 1, min(DRAWN, prepared.train.rows)).astype(int))
    px, py = (reader.numbers(columns[name])[places] for name in names)
    targets = prepared.tabular.targets
    actual = prepared.train.targets[places]
    shown = actual.ravel() if targets.classes else np.asarray(targets.decode(actual))[:, 0]
    known = np.isfinite(px) & np.isfinite(py)
    return {"points": [px[known].tolist(), py[known].tolist(), shown[known].tolist()]}


def _unpacked_is_larger(content: bytes) -> bool:
    """Whether gzip makes more of it than may be dropped in; no more than that is unpacked."""
    if not content.startswith(b"\x1f\x8b"):
        return False
    try:
        return len(zlib.decompressobj(wbits=31).decompress(content, LARGEST + 1)) > LARGEST
    except zlib.error:
        return False  # what it is instead, the reader says
