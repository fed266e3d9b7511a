"""How far a training has come, as a Snapshot and back: nothing is lost, and what no training made is refused."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from backpass.errors import CheckpointError
from backpass.forward import flatten
from backpass.training.checkpoints import CheckpointFolder
from backpass.training.executors import State
from backpass.training.history import History
from backpass.training.saving import _Table
from backpass.training.snapshots import Progress, newest, restored, snapshot_of
from backpass.training.stopping import BestSoFar

STEPS = 5  # of an epoch


def weights(start):
    return {"a": np.arange(start, start + 6.0).reshape(2, 3), "b": np.full(3, start, np.float32)}


def moments(start):
    return {"m": weights(start), "count": np.array(start)}


def at(step, start):
    return State(weights(start), moments(start + 1), step, step // STEPS, step % STEPS, (0.5 * start, 2.0 * start))


def progress(**changes):
    """Every field has a value of its own."""
    history = History()
    history += [{"epoch": 3, "loss": 0.5}, {"epoch": 4, "loss": 0.25, "m": math.nan}, {"epoch": 5, "loss": 0.125}]
    history.reason, history.kept = "why", 4
    best = BestSoFar(0.01)
    best.epoch, best.loss = 4, 0.25
    given = {"best": best, "kept": weights(30), "begun": 11, "on_divergence": "rollback", "finished": True}
    given |= {"rates": [(15, 0.5), (20, 0.25)], "good": (at(20, 40), 2)}
    return Progress(2, 9, 45, history, **{**given, **changes})


def saved(of=None):
    of = of or progress()
    return snapshot_of(at(27, 7), of, {"seed": 1}, _Table().of(of.history))


def known(value):
    """All that a value holds, down to bits."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, float):
        return np.float64(value).tobytes()
    if isinstance(value, History):
        return value.reason, value.kept, [known(record) for record in value]
    if isinstance(value, dict):
        return {name: known(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [known(each) for each in value]
    return known(vars(value)) if isinstance(value, (State, Progress, BestSoFar)) else value


def changed(snapshot, **changes):
    return replace(snapshot, about=snapshot.about | {"progress": snapshot.about["progress"] | changes})


@pytest.mark.parametrize("changes", [{}, {"kept": None, "good": None, "finished": False}, {"best": BestSoFar(0.01)}])
def test_state_and_progress_come_back(changes):
    """To the bit, in the form of a new State; what came back is not to be written into."""
    before = progress(**changes)
    snapshot = saved(before)
    snapshot = replace(snapshot, about=json.loads(json.dumps(snapshot.about, allow_nan=False)))
    state, after = restored(snapshot, at(0, 0), STEPS, 0.01)
    assert known(state) == known(at(27, 7))
    assert known(after) == known(before)
    assert not any(array.flags.writeable for array in [*flatten(state.parameters), *flatten(state.optimizer)])
    assert known(restored(snapshot, at(0, 0), STEPS)[1].best) == known(before.best) | {"_improvement": known(0.0)}


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("parameters", "parameters"),
        ("optimizer", "state of the optimizer"),
        ("best", "best parameters"),
        ("good", "state of the best epoch"),
    ],
)
def test_arrays_of_another_network_or_optimizer_are_refused(part, told):
    """The line says of which they are, and tells their number, or the first of another shape or type."""
    arrays = getattr(saved(), part)
    others = {
        rf"\d arrays as {told}": arrays[:-1],
        rf"{told}: .* is float64 \(1, 7\) in the checkpoint, \w+ \(.*\) in this Trainer": [
            *arrays[:-1],
            np.ones((1, 7)),
        ],
        rf"{told}: .* is uint8 ": [*arrays[:-1], arrays[-1].astype(np.uint8)],
    }
    if part == "good":
        others["parameters of the best epoch: a is uint8 "] = [arrays[0].astype(np.uint8), *arrays[1:]]
    for message, values in others.items():
        with pytest.raises(CheckpointError, match=f"{message}.*another network or optimizer"):
            restored(replace(saved(), **{part: values}), at(0, 0), STEPS)


@pytest.mark.parametrize("name", ["first", "last", "steps", "begun", "kept"])
@pytest.mark.parametrize("value", [-1, 1 << 62, 1.0, True, None, "1"])
def test_what_is_no_count_is_refused(name, value):
    """Counts are whole numbers from 0 to 2^62 - 1."""
    state, _ = restored(changed(saved(), **{name: (1 << 62) - 1}), at(0, 0), STEPS)
    assert state.step == 27
    with pytest.raises(CheckpointError, match="where a count is expected"):
        restored(changed(saved(), **{name: value}), at(0, 0), STEPS)


@pytest.mark.parametrize("name", sorted(progress().to_json()))
def test_progress_without_one_of_its_fields_is_refused(name):
    """Whatever lacks, it is told in one line."""
    snapshot = saved()
    left = {key: value for key, value in snapshot.about["progress"].items() if key != name}
    with pytest.raises(CheckpointError, match=f"lacks what a training needs to go on.*{name}"):
        restored(replace(snapshot, about={"progress": left}), at(0, 0), STEPS)


@pytest.mark.parametrize(
    "place",
    [
        {"batch": STEPS},
        {"step": 3, "batch": 4, "epoch": 0},
        {"epoch": 28},
        {"sums": (math.nan, 1.0)},
        {"sums": (1.0, math.inf)},
    ],
)
def test_a_place_where_no_training_stands_is_refused(place):
    """Neither the state itself nor the one to go back to stands there."""
    there = {"step": 27, "epoch": 5, "batch": 2, "sums": (1.0, 2.0)} | place
    for snapshot in (replace(saved(), **there), changed(saved(), good=there | {"records": 2})):
        with pytest.raises(CheckpointError, match=f"at step {there['batch']} of an epoch of {STEPS} steps"):
            restored(snapshot, at(0, 0), STEPS)


@pytest.mark.parametrize("place", [{"batch": 4, "epoch": 4}, {"step": 3, "batch": 3, "epoch": 0}, {"epoch": 27}])
def test_a_place_where_a_training_may_stand_is_taken(place):
    """The last step of an epoch, the first epoch, and epochs of one step each."""
    state, _ = restored(replace(saved(), **place), at(0, 0), STEPS)
    assert {name: getattr(state, name) for name in place} == place


def test_a_history_must_number_its_epochs():
    """An empty one need not."""
    with pytest.raises(CheckpointError, match="does not number its epochs"):
        restored(replace(saved(), history=(["loss"], np.ones((1, 1)))), at(0, 0), STEPS)
    _, found = restored(replace(saved(), history=([], np.empty((0, 0)))), at(0, 0), STEPS)
    assert list(found.history) == []


@pytest.mark.parametrize(
    ("history", "first", "epoch"), [([], 4, 4), ([{"epoch": 6}], 4, 6), ([{"epoch": 3}], 4, 4), ([{"epoch": 4}], 0, 4)]
)
def test_the_last_whole_epoch_is_that_of_the_history_but_not_before_the_first(history, first, epoch):
    """A history that goes further back than this call of `fit` does not count."""
    found = replace(progress(), first=first, history=History())
    found.history += history
    assert found.epoch == epoch


def test_after_each_rollback_the_steps_have_the_rate_of_it():
    """From the step after the one that it went back to; the last that does counts."""
    found = progress(rates=[(10, 0.5), (20, 0.25), (15, 0.125)])
    assert [found.rate_after(step) for step in (0, 9, 10, 14, 15, 30)] == [1.0, 1.0, 0.5, 0.5, 0.125, 0.125]


def test_the_newest_checkpoint_is_found_and_damage_is_told(tmp_path):
    """Damaged ones are warned of while there is a whole one, and all named where there is none."""
    store = CheckpointFolder(tmp_path)
    with pytest.raises(CheckpointError, match="holds no checkpoint, expected files such as step-"):
        newest(store)
    paths = [store.write(replace(saved(), step=step)) for step in (27, 28)]
    paths[1].write_bytes(b"")
    with pytest.warns(RuntimeWarning, match="000028.*; the one before it is taken"):
        assert newest(store).step == 27
    paths[0].write_bytes(b"")
    lines = store.newest().damaged
    with pytest.raises(CheckpointError) as error:
        newest(store)
    assert str(error.value) == "; ".join(lines) + "; where these are removed the training begins anew"
    assert len(lines) == 2
