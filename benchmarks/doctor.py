"""The doctor's ward: networks made sick on purpose, healthy ones, and what the doctor says of each.

    python benchmarks/doctor.py
    python benchmarks/doctor.py --quick --seed 3

Each patient is a healthy network (its twin) with one thing spoiled. A network that learns nearly as well as its twin
in spite of that (within 0.15 of skill on held-out rows) is not sick, and is left out; how many these were is told.
Skill is 1 where nothing is wrong and 0 for the best answer that is the same for every row. Rows that are spoiled so
that the score does not show it (leakage, duplicates, shifted columns, wrong labels) are all counted.

Named: the sickness stands first or second among the findings. Cured: the treated network is not found to have the
sickness any more, and its skill on held-out rows is at most 0.1 below its twin's. A finding of any kind about a healthy
network is a false alarm.
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
from pathlib import Path
from typing import Any

import numpy as np

from backpass import Trainer, __version__, losses, nn, optimizers
from backpass.doctor.case import Case, case_of
from backpass.doctor.diagnosis import examined, trained
from backpass.doctor.dial import Dial
from backpass.recipes.prepare import prepare

EXAMPLES = Path(__file__).parents[1] / "examples" / "data"
RESULTS = Path(__file__).parent / "results"
SICK, NEAR = 0.15, 0.1  # of skill: what makes a network sick, and what a cured one may lack of its twin
ROWS, HELD = 500, 250
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


def table(name: str, seed: int) -> Rows:
    """One of the six, its rows drawn by the seed."""
    rng = np.random.default_rng((seed, 7))
    if name in GENERATED:
        X, y = GENERATED[name](rng, ROWS + HELD)
    else:
        file, target = FILES[name]
        task = "regression" if name in ("abalone", "wine") else None
        prepared = prepare(EXAMPLES / file, (target,), test=0.0, validation=0.0, task=task, seed=0)
        X, y = np.asarray(prepared.train.inputs), np.asarray(prepared.train.targets)
    chosen = rng.permutation(len(X))[: ROWS + HELD]
    cut = len(chosen) * ROWS // (ROWS + HELD)
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
        last = self.last or (self.start if isinstance(self.start, nn.Constant) else None)
        layers += [nn.Dense(outputs, initializer=last), *([nn.ACTIVATIONS[self.ends]()] if self.ends else [])]
        return nn.Sequential(*layers)

    def optimizer(self) -> optimizers.Optimizer:
        rate = Dial(1.0, self.rate)  # so that networks that differ in it alone share a program
        if self.rule == "adam":
            return optimizers.AdamW(rate, weight_decay=self.decay) if self.decay else optimizers.Adam(rate)
        return optimizers.Momentum(rate) if self.rule == "momentum" else optimizers.SGD(rate)

    def rows(self) -> Rows:
        found = table(self.table, self.seed)
        kind, degree = self.spoil
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
}


@dataclass(frozen=True)
class Sickness:
    """What is spoiled, by degree; and the names of findings that say so."""

    names: tuple[str, ...]
    degrees: tuple[Any, ...]
    make: Callable[[Setting, Any], Setting | None]
    twin: Callable[[Setting, Any], Setting] = field(default=lambda healthy, _: healthy)
    of_rows: bool = False
    """Whether rows are spoiled so that the score does not tell: then all are sick, whatever they seem to learn."""


def _with(name: str) -> Callable[[Setting, Any], Setting]:
    return lambda healthy, degree: replace(healthy, **{name: degree})


def _deep(setting: Setting, _: Any = None) -> Setting:
    return replace(setting, depth=max(4, setting.depth))


def _only(condition: Callable[[Setting], bool], make: Callable[[Setting, Any], Setting]) -> Any:
    return lambda healthy, degree: make(healthy, degree) if condition(healthy) else None


def _large(setting: Setting, degree: float) -> Setting:
    """A large network that learns few rows for long."""
    return replace(setting, width=64, rule="adam", rate=0.01, epochs=150, spoil=("few", degree))


REGRESSIONS = ("abalone", "wine", "waves")
START = ("loss at the start", "exploding errors", "saturated units")
SICKNESSES: dict[str, Sickness] = {
    "rate too high": Sickness(
        ("learning rate too high",), (100.0, 1e3, 1e5), lambda s, d: replace(s, rate=s.rate * d, patience=None)
    ),
    "rate too low": Sickness(("learning rate too low",), (1e-3, 1e-4, 1e-6), lambda s, d: replace(s, rate=s.rate * d)),
    "vanishing errors": Sickness(
        ("vanishing errors",),
        (0.05, 0.01, "sigmoid"),
        lambda s, d: (
            replace(s, activation="sigmoid", depth=6) if d == "sigmoid" else replace(_deep(s), start=nn.Normal(d))
        ),
        _deep,
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
    "dead units": Sickness(("dead units",), (-5.0, -20.0, -100.0), lambda s, d: replace(s, activation="relu", bias=d)),
    "saturated units": Sickness(
        ("saturated units",),
        (10.0, 30.0, 100.0),
        lambda s, d: replace(s, activation="tanh", depth=max(2, s.depth), start=nn.Normal(d)),
        lambda s, _: replace(s, activation="tanh", depth=max(2, s.depth)),
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


_twins: dict[Setting, float] = {}


def skill(setting: Setting) -> float:
    """Of the network on held-out rows, once trained."""
    if setting not in _twins:
        _twins[setting] = treated_case(setting.case()).own[1]
    return _twins[setting]


def treated_case(case: Case) -> Case:
    trainer = trained(case)
    return replace(case, history=list(trainer.history), parameters=trainer.parameters)


def sick(name: str, sickness: Sickness, healthy: Setting, degree: Any) -> dict[str, Any] | None:
    """What the doctor says of one patient; None where it is not sick."""
    made = sickness.make(healthy, degree)
    if made is None:
        return None
    twin = skill(sickness.twin(healthy, degree))
    case = treated_case(made.case())
    if twin < 0.2 or (not sickness.of_rows and max(case.own[1], 0.0) > twin - SICK):
        return None
    started = time.process_time()
    diagnosis = examined(case)
    seconds = time.process_time() - started
    found = [finding.name for finding in diagnosis.findings]
    named = any(each in sickness.names for each in found[:2])
    after, cured = -math.inf, False
    if any(finding.remedy for finding in diagnosis.findings):
        treated = diagnosis.treat()
        after = treated.skills[1]
        again = {each.name for each in examined(treated.case).findings[:2]}
        cured = after >= twin - NEAR and not again & set(sickness.names)
    return {
        "sickness": name,
        "degree": str(degree),
        "setting": str(healthy),
        "twin": twin,
        "sick": case.own[1],
        "after": after,
        "found": found,
        "named": named,
        "cured": cured,
        "seconds": seconds,
    }


def well(setting: Setting) -> dict[str, Any] | None:
    """What the doctor says of a healthy network; None where it is not: it does not learn, or overfits."""
    case = treated_case(setting.case())
    if case.own[1] < 0.2:
        return None
    started = time.process_time()
    found = [finding.name for finding in examined(case).findings]
    return {
        "setting": str(setting),
        "skill": case.own[1],
        "found": found,
        "seconds": time.process_time() - started,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the ward; rules were made on odd ones")
    parser.add_argument("--sick", type=int, default=840, help="how many sick networks, about")
    parser.add_argument("--healthy", type=int, default=300)
    parser.add_argument("--quick", action="store_true", help="a tenth of both")
    parser.add_argument("--only", help="one sickness")
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results")
    asked = parser.parse_args()
    if asked.quick:
        asked.sick, asked.healthy = asked.sick // 10, asked.healthy // 10
    began = time.process_time()
    patients, left_out = _ward(asked.seed, asked.sick, asked.only)
    healthy = [] if asked.only else _healthy(asked.seed, asked.healthy)
    lines = report(patients, left_out, healthy)
    lines.append(f"seed {asked.seed}, {time.process_time() - began:,.0f} s of processor time")
    print("\n".join(lines))
    if asked.write:
        _write(asked, patients, left_out, healthy, lines)
    missed = sum(not each["named"] for each in patients) + sum(bool(each["found"]) for each in healthy)
    return int(missed > 0 or sum(each["cured"] for each in patients) < 0.985 * len(patients))


def _ward(seed: int, number: int, only: str | None) -> tuple[list[dict[str, Any]], Counter[str]]:
    patients: list[dict[str, Any]] = []
    left_out: Counter[str] = Counter()
    chosen = {only: SICKNESSES[only]} if only else SICKNESSES
    each = -(-number // len(SICKNESSES))
    for place, (name, sickness) in enumerate(chosen.items()):
        drawn, had = settings(seed * 1000 + 10 * list(SICKNESSES).index(name) + seed % 2), 0
        for attempt, healthy in enumerate(drawn):
            if had >= each or attempt > 5 * each:
                break
            found = sick(name, sickness, healthy, sickness.degrees[attempt // len(TABLES) % len(sickness.degrees)])
            had += found is not None
            left_out[name] += found is None
            patients += [found] if found is not None else []
            _bar(f"{name} {had}/{each}", (place + had / each) / len(chosen))
    return patients, left_out


def _healthy(seed: int, number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for setting in settings(seed * 1000 + 990 + seed % 2):
        if len(found) >= number:
            break
        each = well(setting)
        found += [each] if each is not None else []
        _bar(f"healthy {len(found)}/{number}", len(found) / number)
    return found


def _bar(what: str, part: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{'#' * int(40 * part):40} {what:40}", end="\n" if part >= 1 else "", file=sys.stderr, flush=True)


def report(patients: list[dict[str, Any]], left_out: Counter[str], healthy: list[dict[str, Any]]) -> list[str]:
    by_name = defaultdict(list)
    for each in patients:
        by_name[each["sickness"]].append(each)
    lines = [
        "| sickness | networks | named first or second | cured | not sick, left out |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, group in (*by_name.items(), ("all", patients)):
        named, cured = (sum(each[what] for each in group) for what in ("named", "cured"))
        out = left_out[name] if name != "all" else left_out.total()
        lines.append(f"| {name} | {len(group)} | {named} | {cured} | {out} |")
    lines += ["", f"healthy networks {len(healthy)}, false alarms {sum(bool(each['found']) for each in healthy)}"]
    seconds = sorted(each["seconds"] for each in (*patients, *healthy))
    lines.append(f"seconds of a diagnosis: median {seconds[len(seconds) // 2]:.2f}, largest {seconds[-1]:.2f}")
    return lines


def _write(asked: Any, patients: Any, left_out: Any, healthy: Any, lines: list[str]) -> None:
    stem = RESULTS / f"{time.strftime('%Y-%m-%d')}-doctor"
    about = {"backpass": __version__, "python": platform.python_version(), "seed": asked.seed}
    content = {"about": about, "sick": patients, "healthy": healthy, "not sick": dict(left_out)}
    stem.with_suffix(".json").write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text("\n".join(["# The doctor's ward", "", *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
