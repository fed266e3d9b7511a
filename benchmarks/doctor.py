"""The doctor's ward: networks made sick on purpose, healthy ones, and what the doctor says of each.

    python benchmarks/doctor.py
    python benchmarks/doctor.py --quick --seed 3
    python benchmarks/doctor.py --part 1/2 --lines one.jsonl        (what is there already is not done again)
    python benchmarks/doctor.py --read one.jsonl two.jsonl --write  (the table of both parts)

Each patient is a healthy network (its twin) with one thing spoiled, or two. A network that learns nearly as well as its
twin in spite of that (within 0.15 of skill on held-out rows) is not sick, and is left out; how many these were is told.
Skill is 1 where nothing is wrong and 0 for the best answer that is the same for every row. Rows that are spoiled so
that the score does not show it (leakage, duplicates, shifted columns, wrong labels) are all counted. Of imbalance it is
the mean over classes of the part of their rows that are answered right, in the place of skill; sick are those that
answer less than a tenth of the rare class right.

Named: the sickness stands first or second among the findings; where two things are spoiled, both do, or a finding that
says that something must be wrong of the network. Cured: the treated network is not found to have the sickness any more,
and its skill on held-out rows is at most 0.1 below its twin's; how many are within 0.05 is told too. Where the doctor
says that a person must act, as where there are too few rows, there is no cure to count. A finding of any kind about a
healthy network is a false alarm. Healthy are good settings of the ward and the defaults of `backpass train` on tables
of `--data`. A good setting is trained until twice as many epochs, with twice the patience, bring next to nothing, for a
network that more of them make much better is not healthy; nor is one that learns nothing, or lacks 0.15 of skill beside
a tenth of its rate.
"""

import argparse
import json
import math
import platform
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backpass import Trainer, __version__, losses, nn, optimizers
from backpass.doctor import Diagnosis, Remedy
from backpass.doctor.case import Case, case_of
from backpass.doctor.diagnosis import examined, trained
from backpass.doctor.dial import Dial
from backpass.recipes import examination, plan
from backpass.recipes.prepare import prepare

EXAMPLES = Path(__file__).parents[1] / "examples" / "data"
RESULTS = Path(__file__).parent / "results"
BESIDE = Path(__file__).parents[2] / "shared" / "data"
SICK, NEAR, CLOSE = 0.15, 0.1, 0.05  # of skill: what makes a network sick, and what a cured one may lack of its twin
DOUBLED, LITTLE = 5, 0.03  # how often the epochs of a healthy network are, while that brings as much skill
NEVER = 0.1  # of the rows of a rare class that are answered right, where it is sick
ROWS, HELD = 500, 250
MANY = 2000  # held-out rows where a rare class is to be judged
STEPS = 1250  # of a healthy training, at most

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Rows:
    """Of a table: columns scaled, numbers to predict scaled."""

    inputs: Array
    targets: Array
    held_inputs: Array
    held_targets: Array
    classes: int


def table(name: str, seed: int, most_held: int = HELD) -> Rows:
    """One of the six, its rows drawn by the seed."""
    rng = np.random.default_rng((seed, 7))
    if name in GENERATED:
        X, y = GENERATED[name](rng, ROWS + most_held)
    else:
        file, target = FILES[name]
        task = "regression" if name in ("abalone", "wine") else None
        prepared = prepare(EXAMPLES / file, (target,), test=0.0, validation=0.0, task=task, seed=0)
        X, y = np.asarray(prepared.train.inputs), np.asarray(prepared.train.targets)
    chosen = rng.permutation(len(X))[: ROWS + most_held]
    cut = len(chosen) * ROWS // (ROWS + most_held)
    own, held = chosen[:cut], chosen[cut:]
    classes = int(y.max()) + 1 if y.dtype.kind == "i" else 0
    if not classes:
        y = ((y - y[own].mean(axis=0)) / y[own].std(axis=0)).reshape(len(y), 1).astype(np.float32)
    X = X.astype(np.float32)
    return Rows(X[own], y[own], X[held], y[held], classes)


def _rings(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Three rings in a plane, and two columns that tell nothing."""
    labels = rng.integers(0, 3, rows)
    angle, radius = rng.uniform(0, 2 * np.pi, rows), 0.6 * (labels + 0.5) + rng.normal(0, 0.12, rows)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), *rng.normal(size=(2, rows))], 1), labels


def _waves(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """The function of Friedman, Multivariate adaptive regression splines, 1991, equation 61, of scaled columns."""
    x = rng.uniform(size=(rows, 8))
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    return (x - 0.5) * math.sqrt(12), y + rng.normal(size=rows)


FILES = {
    "iris": ("iris.csv", "species"),
    "penguins": ("penguins.csv", "species"),
    "abalone": ("abalone.csv", "Rings"),
    "wine": ("winequality-red.csv", "quality"),
}
GENERATED: dict[str, Callable[[np.random.Generator, int], tuple[Array, Array]]] = {"rings": _rings, "waves": _waves}
TABLES = (*FILES, *GENERATED)


def _through_nothing(_: Any, x: Any) -> Any:
    """A layer that lets nothing through."""
    return x * 0.0


@dataclass(frozen=True)
class Setting:
    """How a network of the ward is built and trained."""

    table: str
    seed: int
    depth: int
    width: int
    activation: str
    rule: str
    rate: float
    patience: int | None = 10
    epochs: int = 0
    dropout: float = 0.0
    decay: float = 0.0
    start: nn.Initializer | None = None
    bias: float = 0.0
    last: nn.Initializer | None = None
    ends: str = ""
    batch: int = 16
    wall: str = ""
    spoil: tuple[str, float] = ("", 0.0)

    def __str__(self) -> str:
        return f"{self.table} {self.depth}x{self.width} {self.activation} {self.rule} {self.seed}"

    def network(self, outputs: int) -> nn.Layer:
        layers: list[nn.Layer] = []
        for _ in range(self.depth):
            layers += [
                nn.Dense(self.width, initializer=self.start, bias_initializer=nn.Constant(self.bias)),
                nn.ACTIVATIONS[self.activation](),
                *([nn.Dropout(self.dropout)] if self.dropout else []),
            ]
        if self.wall:
            layers.insert(0 if self.wall == "first" else len(layers), nn.Function(_through_nothing))
        last = self.last or (self.start if isinstance(self.start, nn.Constant) else None)
        layers += [nn.Dense(outputs, initializer=last), *([nn.ACTIVATIONS[self.ends]()] if self.ends else [])]
        return nn.Sequential(*layers)

    def optimizer(self) -> optimizers.Optimizer:
        rate = Dial(1.0, self.rate)  # so that networks that differ in it alone share a program
        if self.rule == "adam":
            return optimizers.AdamW(rate, weight_decay=self.decay) if self.decay else optimizers.Adam(rate)
        return optimizers.Momentum(rate) if self.rule == "momentum" else optimizers.SGD(rate)

    def rows(self) -> Rows:
        kind, degree = self.spoil
        found = table(self.table, self.seed, MANY if kind == "rare" else HELD)
        return SPOILS[kind](found, degree, np.random.default_rng((self.seed, 11))) if kind else found

    def case(self) -> Case:
        """Not yet trained."""
        rows = self.rows()
        loss = losses.CrossEntropy() if rows.classes else losses.Squared()
        trainer = Trainer(
            self.network(rows.classes or 1), loss, self.optimizer(), batch_size=self.batch, seed=self.seed, threads=1
        )
        return case_of(
            trainer,
            rows.inputs,
            rows.targets,
            validation=(rows.held_inputs, rows.held_targets),
            epochs=self.epochs or math.ceil(STEPS * self.batch / len(rows.inputs)),
            patience=self.patience,
        )


def _columns(rows: Rows, degree: float, rng: np.random.Generator) -> Rows:
    """A third of the columns, at least one, in other units, and far from 0."""
    X, held = rows.inputs.copy(), rows.held_inputs.copy()
    for place in rng.permutation(X.shape[1])[: max(1, X.shape[1] // 3)]:
        for each in (X, held):
            each[:, place] = (each[:, place] + 1) * degree
    return replace(rows, inputs=X, held_inputs=held)


def _targets(rows: Rows, degree: float, rng: np.random.Generator) -> Rows:
    """Numbers to predict in other units, and far from 0."""
    far = rng.uniform(2, 5)
    return replace(rows, targets=(rows.targets + far) * degree, held_targets=(rows.held_targets + far) * degree)


def _few(rows: Rows, degree: float, rng: np.random.Generator) -> Rows:
    chosen = rng.permutation(len(rows.inputs))[: int(degree)]
    return replace(rows, inputs=rows.inputs[chosen], targets=rows.targets[chosen])


def _leak(rows: Rows, degree: float, rng: np.random.Generator) -> Rows:
    """A column that is the answer, in other units, give or take a little."""

    def beside(X: Array, y: Array) -> Array:
        answer = y.reshape(-1).astype(np.float64)
        return np.column_stack([X, answer + degree * rng.normal(size=len(y))]).astype(np.float32)

    return replace(
        rows, inputs=beside(rows.inputs, rows.targets), held_inputs=beside(rows.held_inputs, rows.held_targets)
    )


def _twice(rows: Rows, degree: float, rng: np.random.Generator) -> Rows:
    """So large a part of the held-out rows stands among those learned from."""
    chosen = rng.permutation(len(rows.held_inputs))[: math.ceil(degree * len(rows.held_inputs))]
    inputs = np.concatenate([rows.inputs, rows.held_inputs[chosen]])
    return replace(rows, inputs=inputs, targets=np.concatenate([rows.targets, rows.held_targets[chosen]]))


def _shift(rows: Rows, degree: float, rng: np.random.Generator) -> Rows:
    """A column that goes with the answer in the rows learned from, and is moved and mixed up in those held out."""
    answer = rows.targets.reshape(-1).astype(np.float64)
    own = answer - answer.mean() + 0.5 * answer.std() * rng.normal(size=len(answer))
    held = rng.permutation(own)[: len(rows.held_inputs)] + degree * own.std()
    held = np.resize(held, len(rows.held_inputs))
    inputs, held_inputs = (
        np.column_stack(pair).astype(np.float32) for pair in ((rows.inputs, own), (rows.held_inputs, held))
    )
    return replace(rows, inputs=inputs, held_inputs=held_inputs)


def _empty(rows: Rows, degree: float, _rng: np.random.Generator) -> Rows:
    """Columns that are the same in every row; or so far from 0 that float32 cannot tell rows apart."""
    if degree:
        far = (rows.inputs + np.float32(degree)), (rows.held_inputs + np.float32(degree))
        return replace(rows, inputs=far[0], held_inputs=far[1])
    return replace(rows, inputs=np.ones_like(rows.inputs), held_inputs=np.ones_like(rows.held_inputs))


def _rare(rows: Rows, degree: float, _rng: np.random.Generator) -> Rows:
    """Two classes of a number to predict: so large a part of the rows has more than that."""
    bound = np.quantile(rows.targets, 1 - degree)
    own, held = ((y.reshape(-1) > bound).astype(np.int64) for y in (rows.targets, rows.held_targets))
    return replace(rows, targets=own, held_targets=held, classes=2)


def _mislabelled(rows: Rows, degree: float, rng: np.random.Generator) -> Rows:
    """So many of the labels learned from are others than they should be."""
    labels = rows.targets.copy()
    chosen = rng.permutation(len(labels))[: int(degree * len(labels))]
    labels[chosen] = (labels[chosen] + rng.integers(1, rows.classes, len(chosen))) % rows.classes
    return replace(rows, targets=labels)


SPOILS: dict[str, Callable[[Rows, float, np.random.Generator], Rows]] = {
    "columns": _columns,
    "targets": _targets,
    "few": _few,
    "leak": _leak,
    "twice": _twice,
    "shift": _shift,
    "mislabelled": _mislabelled,
    "empty": _empty,
    "rare": _rare,
}


@dataclass(frozen=True)
class Sickness:
    """What is spoiled, by degree; and the names of findings that say so."""

    names: tuple[str, ...]
    degrees: tuple[Any, ...]
    make: Callable[[Setting, Any], Setting | None]
    twin: Callable[[Setting, Any], Setting] = field(default=lambda healthy, _: healthy)
    all_of: dict[Any, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    """Of a degree that spoils several things: the names that say each; all of them together say it, too."""
    of_rows: bool = False
    """Whether rows are spoiled so that the score does not tell: then all are sick, whatever they seem to learn."""
    a_person: bool = False
    """Whether only a person can do something about it."""
    rare: bool = False
    """Whether the rows of a rare class tell how well a network does."""

    def said(self, degree: Any, found: list[str]) -> bool:
        """Whether these findings say what is spoiled."""
        parts = self.all_of.get(degree, ())
        every = bool(parts) and all(any(name in found for name in names) for names in parts)
        return every or any(each in self.names for each in found)


def _with(name: str) -> Callable[[Setting, Any], Setting]:
    return lambda healthy, degree: replace(healthy, **{name: degree})


def _deep(setting: Setting, _: Any = None) -> Setting:
    return replace(setting, depth=max(4, setting.depth))


def _fading(setting: Setting, degree: Any) -> Setting:
    """Starts next to 0, or sigmoids in the place of what lets errors through."""
    if degree == "sigmoid":
        return replace(_twin_of_fading(setting, degree), activation="sigmoid")
    return replace(_deep(setting), start=nn.Normal(degree))


def _twin_of_fading(setting: Setting, degree: Any) -> Setting:
    if degree == "sigmoid":
        return replace(setting, depth=6, activation="relu" if setting.activation == "sigmoid" else setting.activation)
    return _deep(setting)


def _tanh(setting: Setting, _: Any = None) -> Setting:
    return replace(setting, activation="tanh", depth=max(2, setting.depth))


def _relu(setting: Setting, _: Any = None) -> Setting:
    return replace(setting, activation="relu")


def _only(condition: Callable[[Setting], bool], make: Callable[[Setting, Any], Setting]) -> Any:
    return lambda healthy, degree: make(healthy, degree) if condition(healthy) else None


def _large(setting: Setting, degree: float) -> Setting:
    """A large network that learns few rows for long."""
    return replace(setting, width=64, rule="adam", rate=0.01, epochs=150, spoil=("few", degree))


def _slow(setting: Setting) -> Setting:
    return replace(setting, rate=setting.rate * 1e-5)


def _dead(setting: Setting) -> Setting:
    return replace(_relu(setting), bias=-20.0)


def _saturated(setting: Setting) -> Setting:
    return replace(_tanh(setting), start=nn.Normal(30.0))


def _alike(setting: Setting) -> Setting:
    return replace(setting, start=nn.Constant(0.1))


def _apart(setting: Setting) -> Setting:
    return replace(setting, spoil=("columns", 1e4))


TWO: dict[str, tuple[Callable[[Setting], Setting], Callable[[Setting], Setting]]] = {
    "dead, and the rate far too low": (_dead, _slow),
    "saturated, and columns apart": (_saturated, _apart),
    "identical, and the rate far too low": (_alike, _slow),
}


def _two_at_once(setting: Setting, which: str) -> Setting | None:
    """Two things are spoiled, each of which makes the network sick by itself, so that no single change helps."""
    one, other = TWO[which]
    healthy = _twin_of_two(setting, which)
    twin = skill(healthy)
    if any(max(skill(spoil(healthy)), 0.0) > twin - SICK for spoil in (one, other)):
        return None
    return other(one(healthy))


def _twin_of_two(setting: Setting, which: str) -> Setting:
    return {"d": _relu, "s": _tanh}.get(which[0], lambda same: same)(setting)


def _constant(setting: Setting, which: str) -> Setting:
    if which in ("first", "last"):
        return replace(setting, wall=which)
    return replace(setting, spoil=("empty", 1e9 if which == "far" else 0.0))


REGRESSIONS = ("abalone", "wine", "waves")
START = ("loss at the start", "exploding errors", "saturated units")
SICKNESSES: dict[str, Sickness] = {
    "rate too high": Sickness(
        ("learning rate too high",),
        (100.0, 1e3, 1e5),
        lambda s, d: replace(s, rate=s.rate * d, patience=None),
        lambda s, _: replace(s, patience=None),
    ),
    "rate too low": Sickness(("learning rate too low",), (1e-3, 1e-4, 1e-6), lambda s, d: replace(s, rate=s.rate * d)),
    "vanishing errors": Sickness(
        ("vanishing errors",),
        (0.05, 0.01, "sigmoid"),
        _fading,
        _twin_of_fading,
    ),
    "exploding errors": Sickness(
        START[:2],
        (1.0, 2.0, 4.0),
        _only(
            lambda s: s.activation not in ("sigmoid", "tanh"),
            lambda s, d: replace(_deep(s), start=nn.Normal(d), last=nn.Normal(d)),
        ),
        _deep,
    ),
    "dead units": Sickness(("dead units",), (-5.0, -20.0, -100.0), lambda s, d: replace(_relu(s), bias=d), _relu),
    "saturated units": Sickness(
        ("saturated units",),
        (10.0, 30.0, 100.0),
        lambda s, d: replace(_tanh(s), start=nn.Normal(d)),
        _tanh,
    ),
    "unscaled inputs": Sickness(("unscaled inputs",), (100.0, 1e3, 1e5), lambda s, d: replace(s, spoil=("columns", d))),
    "unscaled targets": Sickness(
        ("unscaled targets",),
        (30.0, 1e3, 1e5),
        _only(lambda s: s.table in REGRESSIONS, lambda s, d: replace(s, spoil=("targets", d))),
    ),
    "loss at the start": Sickness(
        ("loss at the start",), (10.0, 100.0, 1000.0), lambda s, d: replace(s, last=nn.Normal(d))
    ),
    "identical units": Sickness(("identical units",), (0.0, 0.1, 1.0), lambda s, d: replace(s, start=nn.Constant(d))),
    "activation at the output": Sickness(
        ("activation at the output",), ("softmax", "relu", "sigmoid", "tanh"), _with("ends")
    ),
    "held back": Sickness(
        ("held back too strongly",),
        (("dropout", 0.9), ("dropout", 0.97), ("decay", 10.0), ("decay", 30.0)),
        lambda s, d: replace(s, **{d[0]: d[1]}, rule="adam", rate=0.01),
        lambda s, _: replace(s, rule="adam", rate=0.01),
    ),
    "network too small": Sickness(("network too small",), (1, 2), _with("width")),
    "too few epochs": Sickness(("too few epochs", "learning rate too low"), (1, 2, 3), _with("epochs")),
    "overfitting": Sickness(
        ("overfitting",),
        (40, 80, 160),
        lambda s, d: replace(_large(s, d), patience=None),
        _large,
    ),
    "leakage": Sickness(("leakage",), (0.0, 0.001, 0.005), lambda s, d: replace(s, spoil=("leak", d)), of_rows=True),
    "duplicates": Sickness(
        ("duplicates",), (0.55, 0.8, 1.0), lambda s, d: replace(s, spoil=("twice", d)), of_rows=True
    ),
    "shifted columns": Sickness(
        ("shifted columns",), (1.5, 3.0, 10.0), lambda s, d: replace(s, spoil=("shift", d)), of_rows=True
    ),
    "wrong labels": Sickness(
        ("wrong labels",),
        (0.1, 0.15, 0.2),
        _only(lambda s: s.table not in REGRESSIONS, lambda s, d: replace(s, spoil=("mislabelled", d))),
        of_rows=True,
    ),
    "imbalance": Sickness(
        ("imbalance",),
        (0.08, 0.05, 0.03),
        _only(lambda s: s.table in ("abalone", "waves"), lambda s, d: replace(s, spoil=("rare", d))),
        lambda s, _: replace(s, spoil=("rare", 0.5)),
        rare=True,
    ),
    "too few rows": Sickness(("too few rows",), (8, 16, 32), lambda s, d: replace(s, spoil=("few", d)), a_person=True),
    "constant predictions": Sickness(
        ("constant predictions",), ("first", "last", "empty", "far"), _constant, a_person=True
    ),
    "cannot overfit one batch": Sickness(
        ("cannot overfit one batch", "constant predictions"),
        ("dead, and the rate far too low", "saturated, and columns apart", "identical, and the rate far too low"),
        _two_at_once,
        _twin_of_two,
        {
            "dead, and the rate far too low": (("dead units",), ("learning rate too low",)),
            "saturated, and columns apart": (("saturated units",), ("unscaled inputs",)),
            "identical, and the rate far too low": (("identical units",), ("learning rate too low",)),
        },
    ),
}


def settings(seed: int) -> Iterator[Setting]:
    """Good settings without end, drawn by the seed."""
    rng = np.random.default_rng(seed)
    number = 0
    while True:
        rule, rate = (("adam", 0.01), ("adam", 0.003), ("momentum", 0.02), ("sgd", 0.1))[int(rng.integers(4))]
        activation = ("relu", "tanh", "leaky_relu", "elu", "sigmoid")[int(rng.integers(5))]
        depth = int(rng.integers(1, 5)) if activation != "sigmoid" else 1
        yield Setting(
            TABLES[number % len(TABLES)],
            seed=int(rng.integers(1 << 16)) * 2 + seed % 2,
            depth=depth,
            width=int(rng.choice([16, 32])),
            activation=activation,
            rule=rule,
            rate=rate,
        )
        number += 1


_twins: dict[tuple[Setting, bool], float] = {}


def skill(setting: Setting, *, rare: bool = False) -> float:
    """Of the network on held-out rows, once trained."""
    if (setting, rare) not in _twins:
        _twins[setting, rare] = measured(treated_case(setting.case()), rare=rare)
    return _twins[setting, rare]


def measured(case: Case, *, rare: bool) -> float:
    """Skill on held-out rows, or the mean over classes of the part of their rows that are answered right."""
    return float(np.mean(answered(case))) if rare else case.own[1]


def answered(case: Case) -> list[float]:
    """Of each class, the part of its held-out rows that are answered right."""
    inputs, targets, _ = case.held_out
    if case.model is None:
        return [0.0]
    answers = case.answers(case.model.outputs(inputs))
    return [float(np.mean(answers[targets == label] == label)) for label in np.unique(targets)]


def treated_case(case: Case) -> Case:
    trainer = trained(case)
    return replace(case, history=list(trainer.history), parameters=trainer.parameters)


def sick(name: str, sickness: Sickness, healthy: Setting, degree: Any) -> dict[str, Any] | None:
    """What the doctor says of one patient; None where it is not sick."""
    made = sickness.make(healthy, degree)
    if made is None:
        return None
    twin = skill(sickness.twin(healthy, degree), rare=sickness.rare)
    case = treated_case(made.case())
    own = measured(case, rare=sickness.rare)
    if twin < 0.2 or not (sickness.of_rows or _is_sick(case, own, twin, rare=sickness.rare)):
        return None
    started = time.process_time()
    diagnosis = examined(case)
    seconds = time.process_time() - started
    found = [finding.name for finding in diagnosis.findings]
    after, gone = -math.inf, False
    if any(finding.remedy for finding in diagnosis.findings) and not sickness.a_person:
        treated = diagnosis.treat()
        after = measured(treated.case, rare=sickness.rare)
        gone = not sickness.said(degree, [each.name for each in examined(treated.case).findings[:2]])
    return {
        "sickness": name,
        "degree": str(degree),
        "setting": str(healthy),
        "twin": twin,
        "sick": own,
        "after": after,
        "found": found,
        "named": sickness.said(degree, found[:2]),
        "cured": None if sickness.a_person else gone and after >= twin - NEAR,
        "close": None if sickness.a_person else gone and after >= twin - CLOSE,
        "seconds": seconds,
    }


def _is_sick(case: Case, own: float, twin: float, *, rare: bool) -> bool:
    return answered(case)[-1] < NEVER if rare else max(own, 0.0) <= twin - SICK


def well(setting: Setting) -> dict[str, Any] | None:
    """What the doctor says of a healthy network; None where it is not.

    It is trained until twice as many epochs, with twice the patience, bring next to nothing: before that, more of them
    are what it needs. It is not healthy where it does not learn, or where a tenth of its rate makes so much more that
    it is sick beside that.
    """
    case = treated_case(setting.case())
    for _ in range(DOUBLED):
        longer = treated_case(Remedy(epochs=2).applied(case))
        gained = [now - before for now, before in zip(longer.own, case.own, strict=True)]
        if max(gained) < LITTLE:
            break
        case = longer
    slower = Remedy(rate=0.1).applied(case).tried()
    if case.own[1] < 0.2 or slower[1] >= case.own[1] + SICK:
        return None
    return _told(str(setting), case.own[1], lambda: examined(case))


def _told(setting: str, score: float, ask: Callable[[], Diagnosis]) -> dict[str, Any]:
    started = time.process_time()
    found = [finding.name for finding in ask().findings]
    return {"setting": setting, "skill": score, "found": found, "seconds": time.process_time() - started}


DEFAULTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "iris": ("iris.csv", "species", ()),
    "penguins": ("penguins.csv", "species", ()),
    "abalone": ("abalone.csv", "Rings", ()),
    "red wine": ("winequality-red.csv", "quality", ()),
    "white wine": ("winequality-white.csv", "quality", ()),
    "titanic": ("titanic.csv", "survived", ("alive",)),
    "adult": ("adult_train.csv.gz", "income", ()),
    "letters": ("letter_recognition.csv", "lettr", ()),
    "housing": ("california_housing.csv", "median_house_value", ()),
    "bicycles": ("bike_sharing_hour.csv", "cnt", ("casual", "registered", "instant", "dteday")),
    "diamonds": ("diamonds.csv.gz", "price", ()),
    "cover types": ("covertype.csv.gz", "Cover_Type", ()),
}
LARGE = 10_000  # rows, from which on a table is trained on with little effort


def by_default(name: str, folder: Path) -> dict[str, Any] | None:
    """What the doctor says of `backpass train TABLE --target COLUMN`, whose first metric stands for its skill.

    None where the table is not there.
    """
    file, target, exclude = DEFAULTS[name]
    if not (folder / file).exists():
        return None
    planned = plan(folder / file, target, exclude=list(exclude), threads=1)
    if planned.prepared.table.rows > LARGE:
        planned = plan(folder / file, target, exclude=list(exclude), threads=1, effort="fast")
    outcome = planned.fit()
    score = next(iter(outcome.metrics.values()))
    setting = f"{name}, {planned.asked['effort']} effort"
    return _told(setting, score, lambda: examination.examine(planned, outcome.model.parameters, outcome.history))


class Lines:
    """What is known of patients, by their names, each a line of a file as soon as it is."""

    def __init__(self, *files: Path) -> None:
        self.files = files
        self.known: dict[str, dict[str, Any] | None] = {}
        for file in files:
            if file.exists():
                self.known |= {
                    each["patient"]: each["told"] for each in map(json.loads, file.read_text("utf-8").splitlines())
                }

    def of(self, patient: str, ask: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
        if patient not in self.known:
            told = self.known[patient] = ask()
            if self.files:
                with self.files[0].open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"patient": patient, "told": told}) + "\n")
        return self.known[patient]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the ward; rules were made on odd ones")
    parser.add_argument("--sick", type=int, default=828, help="how many sick networks, about")
    parser.add_argument("--healthy", type=int, default=300)
    parser.add_argument("--quick", action="store_true", help="a tenth of both")
    parser.add_argument("--only", nargs="*", metavar="SICKNESS", help="these; healthy, defaults")
    parser.add_argument("--data", type=Path, default=BESIDE if BESIDE.is_dir() else EXAMPLES, help="tables")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="every Nth sickness, and healthy network")
    parser.add_argument("--lines", type=Path, help="a file that what is known is added to, and gone on with")
    parser.add_argument("--read", type=Path, nargs="*", default=(), help="such files: only their table")
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    asked = parser.parse_args()
    if asked.quick:
        asked.sick, asked.healthy = asked.sick // 10, asked.healthy // 10
    lines = Lines(*asked.read) if asked.read else Lines(*([asked.lines] if asked.lines else []))
    began = time.process_time()
    if not asked.read:
        _go_round(asked, lines)
    sick_ones, left_out, healthy = _sorted(lines)
    told = [*report(sick_ones, left_out, healthy), ""]
    told.append(
        f"seed {asked.seed}" + ("" if asked.read else f", {time.process_time() - began:,.0f} s of processor time")
    )
    print("\n".join(told))
    if asked.write:
        _write(asked, sick_ones, left_out, healthy, told)
    cures = [each["cured"] for each in sick_ones if each["cured"] is not None]
    missed = sum(not each["named"] for each in sick_ones) + sum(bool(each["found"]) for each in healthy)
    return int(missed > 0 or sum(cures) < 0.985 * len(cures))


def _go_round(asked: argparse.Namespace, lines: Lines) -> None:
    """Ask the doctor about every patient of the part, a few of each kind in turn: so what is known early is of all."""
    part, parts = map(int, asked.part.split("/"))
    names = [*SICKNESSES, "healthy", "defaults"]
    wanted = asked.only or [*names[part - 1 : len(SICKNESSES) : parts], "healthy", "defaults"]
    queues = {name: _patients(name, names.index(name), asked, lines, part, parts) for name in wanted}
    most = {"healthy": -(-asked.healthy // parts), "defaults": len(DEFAULTS)}
    had = dict.fromkeys(wanted, 0)
    while queues:
        for name in list(queues):
            for _ in range(12 if name == "healthy" else 1 if name == "defaults" else 3):
                each = most.get(name, -(-asked.sick // len(SICKNESSES)))
                told = next(queues[name], False) if had[name] < each else False
                if told is False:
                    del queues[name]
                    break
                had[name] += told is not None
            _bar(f"{name} {had[name]}", 1 - len(queues) / len(wanted))


def _patients(
    name: str, place: int, asked: argparse.Namespace, lines: Lines, part: int, parts: int
) -> Iterator[dict[str, Any] | None]:
    """What is told of each patient of a kind; None of one that is none."""
    if name == "defaults":
        for table in [*DEFAULTS][part - 1 :: parts]:
            yield lines.of(f"defaults/{table}", partial(by_default, table, asked.data))
        return
    tries = 5 * (asked.healthy if name == "healthy" else -(-asked.sick // len(SICKNESSES)))
    drawn = settings(asked.seed * 1000 + 10 * place + asked.seed % 2)
    for attempt, setting in zip(range(tries), drawn, strict=False):
        if name != "healthy":
            sickness = SICKNESSES[name]
            degree = sickness.degrees[attempt // len(TABLES) % len(sickness.degrees)]
            ask = partial(sick, name, sickness, setting, degree)
            yield lines.of(f"{name}/{attempt}", ask)
        elif attempt % parts == part - 1:
            yield lines.of(f"healthy/{attempt}", partial(well, setting))


def _sorted(lines: Lines) -> tuple[list[dict[str, Any]], Counter[str], list[dict[str, Any]]]:
    """Sick ones, how many were not sick by what was tried, and healthy ones."""
    sick_ones, left_out, healthy = [], Counter[str](), []
    for patient, told in lines.known.items():
        kind = patient.split("/")[0]
        if told is None:
            left_out[kind] += 1
        elif kind in ("healthy", "defaults"):
            healthy.append(told)
        else:
            sick_ones.append(told)
    return sick_ones, left_out, healthy


def _bar(what: str, part: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{'#' * int(40 * part):40} {what:40}", end="", file=sys.stderr, flush=True)


def report(patients: list[dict[str, Any]], left_out: Counter[str], healthy: list[dict[str, Any]]) -> list[str]:
    by_name = defaultdict(list)
    for each in patients:
        by_name[each["sickness"]].append(each)
    lines = [
        "| sickness | networks | named first or second | cured | within 0.05 | not sick, left out |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, group in (*sorted(by_name.items()), ("all", patients)):
        named = sum(each["named"] for each in group)
        cures = [(each["cured"], each["close"]) for each in group if each["cured"] is not None]
        cured, close = (f"{sum(each[place] for each in cures)} of {len(cures)}" for place in (0, 1))
        out = left_out[name] if name != "all" else sum(left_out[each] for each in by_name)
        shown = f"{cured} | {close}" if cures else "a person's | "
        lines.append(f"| {name} | {len(group)} | {named} | {shown} | {out} |")
    alarms = sum(bool(each["found"]) for each in healthy)
    lines += [
        "",
        f"healthy networks {len(healthy)}, false alarms {alarms}, not healthy, left out {left_out['healthy']}",
    ]
    lines += [
        f"- {each['setting']} (skill {each['skill']:.2f}): {', '.join(each['found'])}"
        for each in healthy
        if each["found"]
    ]
    lines += ["", "not named, or not cured:", ""]
    lines += [
        f"- {each['sickness']} {each['degree']}, {each['setting']}: found {', '.join(each['found']) or 'nothing'}; "
        f"skill {each['sick']:.2f}, treated {each['after']:.2f}, twin {each['twin']:.2f}"
        for each in patients
        if not each["named"] or each["cured"] is False
    ]
    seconds = sorted(each["seconds"] for each in (*patients, *healthy))
    if seconds:
        lines += ["", f"seconds of a diagnosis: median {seconds[len(seconds) // 2]:.2f}, largest {seconds[-1]:.2f}"]
    return lines


def _write(asked: Any, patients: Any, left_out: Any, healthy: Any, lines: list[str]) -> None:
    stem = RESULTS / f"{time.strftime('%Y-%m-%d')}-doctor"
    about = {"backpass": __version__, "python": platform.python_version(), "seed": asked.seed}
    # What was not treated, or did not stay finite, has no number, for JSON has none for that.
    told = [{k: None if v in (math.inf, -math.inf) else v for k, v in each.items()} for each in patients]
    content = {"about": about, "sick": told, "healthy": healthy, "not sick": dict(left_out)}
    stem.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text("\n".join(["# The doctor's ward", "", *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
