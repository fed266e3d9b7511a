"""How long a training may take, guessed before its first step."""

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from backpass.forward import flatten, labels, one_thread
from backpass.native import available_threads
from backpass.native.cache import open_cache
from backpass.native.llvm import key_of
from backpass.native.target import host
from backpass.nn import Blend, Ensemble
from backpass.ops import Key
from backpass.records import dataclass
from backpass.training.fingerprints import described
from backpass.training.snapshots import newest, records_of

if TYPE_CHECKING:
    from backpass.recipes.defaults import Recipe
    from backpass.recipes.main_job import Plan
    from backpass.training import Checkpoints

PROBE = 192  # rows and columns of the matrices whose product tells how fast this machine is
TURNS = 20_000  # of a loop of Python's, whose time tells how fast it is at all that is no such product
SPIN = 0.1  # seconds, in which both are found, and how much of a processor there is for this
MOST_MEMBERS = (32, 16, 8, 4, 2, 1)  # of which as many as the time allows are trained
OF_EACH_KIND = (8, 4)  # where they are of several
FITTED = {"members", "epochs", "kinds"}
LEAST = 0.1  # seconds: a training gets so many in any case

# As measured on eleven tables of 100 to 43,000 rows at every effort, in processor time, where a turn took 20 ns.
TURN = 2e-8
PART = 0.77  # of the speed of the product of two matrices is what whole steps come to
WAVE = 265  # multiplications: as long as one takes a cosine with all that is learned of it
OF_KINDS = 1.5  # times as long take networks of several kinds, for Mish and pieces are no products
STEP, STEP_OF_MEMBER = 5e-6, 3e-6  # seconds: what a step takes, however few its rows are
EPOCH = 1e-3  # and what an epoch takes, however few its steps are
MORE_THREADS, SHARED = 0.8, 1e-5  # of its speed each further thread adds; and takes seconds of each step
BEGIN, BEGIN_A_KIND, BEGIN_A_MEMBER, BEGIN_WAVES = 0.25, 0.25, 0.1, 0.75  # seconds: to make the programs
PLAIN = 0.3  # of that a network without hidden layers takes
MADE = 0.05  # of that time is left where an earlier training has made them
END, END_A_ROW = 0.45, 2e-5  # seconds: the linear model, the scores and the report
END_OF_FOLDS = 0.15  # and of what it takes to make the programs, where each network leaves rows out


@dataclass(frozen=True)
class Guess:
    """Seconds that the parts of a training take.

    Attributes:
        begin: until its programs are made.
        learn: the steps of an epoch.
        validate: what is looked at after an epoch.
        end: what comes after the last: a linear model, scores, a report.
    """

    begin: float
    learn: float
    validate: float
    end: float


@dataclass(frozen=True)
class Speed:
    """What this machine has for a training now.

    Attributes:
        products: multiplications, each with an addition, that one thread makes in a second of its processor.
        slow: how many times longer other work takes than where the constants above were measured.
        busy: how many times longer all takes since others use the processors, too: 1 where nobody does.
    """

    products: float
    slow: float
    busy: float


def speed() -> Speed:
    """As it is in the next tenth of a second."""
    matrix = np.ones((PROBE, PROBE), np.float32)
    made = turned = 0
    in_products = in_turns = 0.0
    with one_thread():
        started, used = time.perf_counter(), time.thread_time()
        while time.perf_counter() - started < SPIN:
            before = time.thread_time()
            for _ in range(5):
                np.matmul(matrix, matrix)
            between = time.thread_time()
            for _ in range(TURNS):
                pass
            in_products, in_turns = in_products + between - before, in_turns + time.thread_time() - between
            made, turned = made + 5, turned + TURNS
        gone, worked = time.perf_counter() - started, time.thread_time() - used
    return Speed(made * PROBE**3 / in_products, in_turns / turned / TURN, max(1.0, gone / max(1e-6, worked)))


def guess(planned: "Plan", recipe: "Recipe | None" = None, now: Speed | None = None) -> Guess:
    """For the first of the plan's trainings; `recipe` is its own, or that with another number of networks, `now` the
    machine, if it is known.
    """
    recipe, prepared, now = recipe or planned.recipe, planned.prepared, now or speed()
    members, rows = recipe.members, prepared.train.rows
    sizes = _sizes(planned)
    of_each = members / len(sizes)
    product = 1 / (PART * now.products)
    row = of_each * sum(3 * weights + WAVE * waves for weights, waves, _ in sizes) * product
    row *= OF_KINDS if recipe.kinds else 1.0
    steps = math.ceil(rows / recipe.batch_size)
    threads = planned.threads or available_threads()
    learned = [rows * row / (1 + MORE_THREADS * (count - 1)) + steps * SHARED * (count > 1) for count in {1, threads}]
    held_out = 0 if prepared.validation is None else prepared.validation.rows
    begin = sum(
        (BEGIN_A_KIND + of_each * BEGIN_A_MEMBER) * (1.0 if layers > 1 else PLAIN) + BEGIN_WAVES * (waves > 0)
        for _, waves, layers in sizes
    )
    left = MADE if recipe == planned.recipe and _are_made(planned) else 1.0
    step, epoch = STEP + STEP_OF_MEMBER * members, EPOCH if held_out else 0.0
    alone = Guess(
        now.slow * left * (BEGIN + begin),
        min(learned) + now.slow * (steps * step + epoch),
        held_out * row / 3 / (1 + MORE_THREADS * (threads - 1)),
        now.slow * (END + END_A_ROW * held_out + (END_OF_FOLDS * begin if prepared.folds else 0.0)),
    )
    return Guess(**{name: now.busy * seconds for name, seconds in vars(alone).items()})


def note_made(planned: "Plan") -> None:
    """Remember beside the programs of a training that they are made."""
    open_cache().put(_of_programs(planned), b"", {})


def _are_made(planned: "Plan") -> bool:
    return open_cache().get(_of_programs(planned)) is not None


def _of_programs(planned: "Plan") -> str:
    """What tells the programs of one training from those of another."""
    trainer = planned.trainer()
    held_out = [part is not None for part in (planned.prepared.validation, planned.prepared.test)]
    circumstances = (trainer.batch_size, trainer.precision, trainer.threads, available_threads(), held_out)
    parts = [described(part) for part in (trainer.network, trainer.loss, trainer.optimizer, circumstances)]
    return key_of("\n".join(["a training", str(planned.prepared.row_shape), *parts]), host())


def most_seconds(planned: "Plan", recipe: "Recipe | None" = None, now: Speed | None = None) -> float:
    """Those that all take if no training stops before its last epoch; `recipe` and `now` are as in `guess`."""
    recipe, each = recipe or planned.recipe, guess(planned, recipe, now)
    one = each.begin + recipe.epochs * (each.learn + each.validate) + each.end
    again, epochs = rows_again(planned) / planned.prepared.train.rows, recipe.epochs
    return (planned.folds or 1) * one + (each.begin + again * epochs * each.learn if again else 0.0)


def rows_again(planned: "Plan") -> int:
    """How many rows it is trained on again at the end."""
    split = planned.prepared.division.split
    return len(split.train) + len(split.validation) + len(split.test) if planned.refit else 0


def part_of(planned: "Plan", done: int = 0) -> float:
    """Of the time that is left for all after `done` folds, the part of the next training: that on all rows has no more
    epochs, nor has any of the other folds.
    """
    rows = planned.prepared.train.rows
    return rows / (rows * ((planned.folds or 1) - done) + rows_again(planned))


def trained_before(checkpoints: "Checkpoints") -> float:
    """Seconds that the epochs of a training took which goes on: they are not given anew."""
    if not checkpoints.store.steps():
        return 0.0
    return sum(float(record.get("seconds") or 0.0) for record in records_of(newest(checkpoints.store)))


def left(planned: "Plan") -> float:
    """Of the seconds that a training of its own has, those for its steps: what is gone, and what comes after, apart."""
    if planned.seconds is None:
        raise AssertionError("asked where there is an end")
    rest = planned.seconds * part_of(planned) - planned.gone
    return max(LEAST, rest - min(guess(planned).end, rest / 3))


def fitting(planned: "Plan", seconds: float) -> dict[str, Any]:
    """The choices of a recipe with which the training is over in so many seconds, as far as can be guessed.

    As many networks as fit, of several kinds where these are wanted and enough of each fit; and fewer epochs where one
    is too much.
    """
    seconds, now, kinds = max(LEAST, seconds), speed(), planned.recipe.kinds
    blends = [(kinds, count * len(kinds)) for count in OF_EACH_KIND if kinds]
    for own, members in [*blends, *(((), count) for count in MOST_MEMBERS if not kinds or count < blends[-1][1])]:
        one = replace(planned.recipe, members=members, kinds=own)
        takes = most_seconds(planned, one, now)
        if takes <= seconds or members == 1:
            break
    each, epochs = guess(planned, one, now), planned.recipe.epochs
    fixed = (planned.folds or 1) * (each.begin + each.end) + (each.begin if planned.refit else 0.0)
    # However long all else may take: when the time is over the clock ends the training, not this guess.
    fit = int(epochs * max(seconds / 3, seconds - fixed) / max(1e-9, takes - fixed))
    fitted = {"members": members, "epochs": max(1, min(epochs, fit))}
    return fitted | {"kinds": list(own)} if kinds else fitted


def _sizes(planned: "Plan") -> list[tuple[int, int, int]]:
    """Of one network of each kind the weights that a row is multiplied by, its waves, and its layers with weights."""
    whole, sizes = planned.network, []
    kinds = whole.kinds if isinstance(whole, Blend) else [whole.member if isinstance(whole, Ensemble) else whole]
    for kind in kinds:
        start = kind.init(planned.prepared.row_shape, Key.of(0))
        found: dict[str, list[int]] = {"weight": [], "frequency": []}
        for label, value in zip(labels(start), flatten(start), strict=True):
            found.get(label.rpartition(".")[2], []).append(value.size)
        sizes.append((sum(found["weight"]), sum(found["frequency"]), len(found["weight"])))
    return sizes
