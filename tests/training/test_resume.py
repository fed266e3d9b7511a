"""Trainings that are saved as they go: they go on to the bit, whatever ended them, and any step is made again."""

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from backpass import Trainer, losses, nn, optimizers
from backpass.errors import CheckpointError, NotFiniteError, OutputError, UsageError
from backpass.forward import flatten
from backpass.training import Checkpoints, EarlyStopping, RolledBack
from backpass.training.events import EpochFinished, StepFinished, TrainingStarted
from backpass.training.executors import EXECUTORS
from backpass.training.fingerprints import described, fingerprint
from backpass.training.rows import Rows

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(230, 6)).astype(np.float32), RANDOM.integers(0, 3, 230)
BATCH = 16  # 15 steps an epoch, the last of 6 rows


def new(**options):
    network = nn.Sequential(nn.Dense(13), nn.Tanh(), nn.Dropout(0.2), nn.Dense(3))
    options = {"optimizer": optimizers.Adam(optimizers.Cosine(1e-2)), "seed": 3, **options}
    return Trainer(network, losses.CrossEntropy(), batch_size=BATCH, **options)


def equal(first, second):
    pairs = zip(flatten(first), flatten(second), strict=True)
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def without_times(history):
    times = ("seconds", "rows_per_second")
    return [{name: value for name, value in record.items() if name not in times} for record in history]


def stop_at(step):
    """A listener that sends the signal of Ctrl-C at a step."""

    def listener(event):
        if isinstance(event, StepFinished) and event.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return listener


def interrupted(folder, step, executor="native", **options):
    """A training that Ctrl-C ended after `step`, or somewhat later."""
    trainer = new(executor=executor, listeners=[stop_at(step)])
    trainer.fit(X, Y, epochs=20, checkpoints=folder, stop_on_interrupt=True, **options)
    assert trainer.interrupted_by == signal.SIGINT
    assert trainer.history.reason == "interrupted"
    return trainer


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_training_goes_on_in_mid_epoch_and_ends_with_the_weights_of_one_without_interruption(tmp_path, executor):
    whole = new(executor=executor)
    whole.fit(X, Y, epochs=20)
    first = interrupted(tmp_path / "c", 40, executor)
    assert 40 <= first.steps <= 300
    other = new(executor=executor, threads=3)
    history = other.resume(tmp_path / "c", X, Y)
    assert equal(whole.parameters, other.parameters)
    assert without_times(history) == without_times(whole.history)
    assert history.reason == "all 20 epochs done"


def test_with_early_stopping_the_best_weights_and_the_patience_go_on_too(tmp_path):
    held_out = (X[:40], Y[:40])
    stopping = EarlyStopping(3)
    given = {"validation": held_out, "stopping": stopping}
    whole = new(listeners=[lambda event: None])
    whole.fit(X, Y, epochs=20, **given)
    interrupted(tmp_path, 47, **given)
    other = new()
    other.resume(tmp_path, X, Y, **given)
    assert equal(whole.parameters, other.parameters)
    assert without_times(other.history) == without_times(whole.history)
    assert (other.history.reason, other.history.kept) == (whole.history.reason, whole.history.kept)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_without_checkpoints_the_next_fit_goes_on_with_the_step_after(executor):
    whole = new(executor=executor, optimizer=optimizers.Adam(1e-2))
    whole.fit(X, Y, epochs=12)
    trainer = new(executor=executor, optimizer=optimizers.Adam(1e-2), listeners=[stop_at(22)])
    trainer.fit(X, Y, epochs=12, stop_on_interrupt=True)
    trainer.listeners.clear()
    left = 12 - len(trainer.history)
    assert left > 0
    trainer.fit(X, Y, epochs=left)
    assert equal(whole.parameters, trainer.parameters)
    assert without_times(trainer.history) == without_times(whole.history)


def test_ctrl_c_is_raised_after_the_state_is_saved_where_nobody_asked_for_good_order(tmp_path):
    trainer = new(listeners=[stop_at(33)])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, Y, epochs=20, checkpoints=tmp_path)
    other = new()
    other.resume(tmp_path, X, Y)
    whole = new()
    whole.fit(X, Y, epochs=20)
    assert equal(whole.parameters, other.parameters)


def test_a_second_ctrl_c_leaves_at_once_and_what_was_saved_before_serves(tmp_path):
    def twice(event):
        if isinstance(event, StepFinished) and event.step == 100:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    trainer = new(listeners=[twice], executor="reference")
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(X, Y, epochs=20, checkpoints=Checkpoints(tmp_path, epochs=2), stop_on_interrupt=True)
    other = new(executor="reference")
    other.resume(tmp_path, X, Y)
    whole = new(executor="reference")
    whole.fit(X, Y, epochs=20)
    assert equal(whole.parameters, other.parameters)


def test_the_handlers_of_signals_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    new().fit(X, Y, epochs=1)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_training_in_another_thread_leaves_signals_alone():
    errors = []

    def train():
        try:
            new().fit(X, Y, epochs=1)
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert not errors


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(tmp_path):
    def wait_for_the_writer(event):
        if isinstance(event, EpochFinished):
            time.sleep(0.1)  # it passes over a checkpoint when the next one comes before it has begun

    trainer = new(listeners=[wait_for_the_writer])
    trainer.fit(X, Y, epochs=4, checkpoints=Checkpoints(tmp_path, epochs=1))
    files = sorted(tmp_path.glob("step-*"))
    assert len(files) > 1
    content = bytearray(files[-1].read_bytes())
    content[-9] ^= 1
    files[-1].write_bytes(content)
    other = new()
    with pytest.warns(RuntimeWarning, match=rf"{files[-1].name}: .*; the one before it is taken"):
        other.resume(tmp_path, X, Y)
    assert equal(trainer.parameters, other.parameters)


def test_where_every_checkpoint_is_damaged_all_are_named_and_nothing_is_trained(tmp_path):
    new().fit(X, Y, epochs=1, checkpoints=tmp_path)
    damaged = (tmp_path / "step-000000000015.safetensors").read_bytes()[:-3]
    for step in (0, 15):  # that of step 0 is passed over where the next one comes before it is written
        (tmp_path / f"step-{step:012}.safetensors").write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"step-000000000015.*; .*step-000000000000"):
        new().resume(tmp_path, X, Y)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda: (new(), X[:-1], Y[:-1]), "rows inputs had 230 rows, has 229"),
        (lambda: (new(), X + 1, Y), "rows inputs has other values"),
        (lambda: (new(), X, (Y + 1) % 3), "rows targets has other values"),
        (lambda: (new(seed=4), X, Y), "seed was 3, is 4"),
        (lambda: (new(optimizer=optimizers.SGD(0.1)), X, Y), "optimizer was .*Adam.*, is .*SGD"),
    ],
)
def test_another_training_does_not_go_on_and_the_difference_is_named(tmp_path, change, told):
    new().fit(X, Y, epochs=2, checkpoints=tmp_path)
    trainer, inputs, targets = change()
    with pytest.raises(CheckpointError, match=told):
        trainer.resume(tmp_path, inputs, targets)


def test_a_folder_with_checkpoints_is_not_begun_anew_in(tmp_path):
    new().fit(X, Y, epochs=1, checkpoints=tmp_path)
    with pytest.raises(OutputError, match=r"holds checkpoints already: go on from them with Trainer\.resume"):
        new().fit(X, Y, epochs=1, checkpoints=tmp_path)


def test_an_empty_folder_cannot_be_gone_on_from(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        new().resume(tmp_path, X, Y)


def test_a_finished_training_that_is_resumed_makes_no_step(tmp_path):
    trainer = new()
    trainer.fit(X, Y, epochs=3, checkpoints=tmp_path)
    other = new()
    history = other.resume(tmp_path, X, Y)
    assert other.steps == trainer.steps == 45
    assert equal(trainer.parameters, other.parameters)
    assert history.reason == "all 3 epochs done"


def test_of_two_trainings_in_one_folder_the_second_gets_a_clear_line(tmp_path):
    told = []

    def second(event):
        if isinstance(event, StepFinished) and event.step == 5:
            try:
                new().resume(tmp_path, X, Y)
            except OutputError as error:
                told.append(str(error))

    new(listeners=[second], executor="reference").fit(X, Y, epochs=1, checkpoints=tmp_path)
    assert len(told) == 1
    assert re.search("is being trained by", told[0])


def test_a_disk_that_takes_no_more_is_told_of_and_training_goes_on(tmp_path, monkeypatch):
    from backpass.storage import disk

    def full(_handle, _data):
        raise OSError(28, "No space left on device")

    trainer = new()

    def fill(event):
        if isinstance(event, TrainingStarted):
            monkeypatch.setattr(disk, "write", full)

    trainer.listeners.append(fill)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trainer.fit(X, Y, epochs=3, checkpoints=Checkpoints(tmp_path, epochs=1))
    assert any("No space left on device" in str(each.message) for each in told)
    assert len(trainer.history) == 3
    assert not list(tmp_path.glob("*.safetensors"))


def test_an_epoch_under_way_is_not_ended_with_other_rows_or_batches():
    more = np.tile(X, (20, 1)), np.tile(Y, 20)
    for change in ("rows", "batch"):
        trainer = new(listeners=[stop_at(100)], executor="reference")
        trainer.fit(*more, epochs=2, stop_on_interrupt=True)
        assert trainer.steps == 100
        trainer.listeners.clear()
        if change == "batch":
            trainer.batch_size = 50
        given = (X, Y) if change == "rows" else more
        history = trainer.fit(*given, epochs=1)
        assert trainer.steps == 100 + -(-len(given[0]) // trainer.batch_size)
        assert 0 < history[-1]["loss"] < 3


@pytest.mark.parametrize("wrong", [{"batch": 15}, {"batch": 10**6}, {"step": 3, "batch": 4}, {"sums": (np.nan, 1.0)}])
def test_a_checkpoint_that_no_training_made_is_refused(tmp_path, wrong):
    new().fit(X, Y, epochs=2, checkpoints=tmp_path)
    store = Checkpoints(tmp_path).store
    snapshot = store.newest().snapshot
    for file in tmp_path.glob("step-*"):
        file.unlink()
    store.write(replace(snapshot, **{"batch": 1, **wrong}))
    trainer = new()
    with pytest.raises(CheckpointError):
        trainer.resume(tmp_path, X, Y)
    assert (trainer.steps, list(trainer.history)) == (0, [])


@pytest.mark.parametrize("change", [{"last": np.inf}, {"rates": [[1, 2, 3]]}, {"first": -5}, {"best": 3}, None])
def test_a_checkpoint_whose_progress_is_none_is_refused(tmp_path, change):
    new().fit(X, Y, epochs=2, checkpoints=tmp_path)
    store = Checkpoints(tmp_path).store
    snapshot = store.newest().snapshot
    progress = None if change is None else snapshot.about["progress"] | change
    store.write(replace(snapshot, about=snapshot.about | {"progress": progress}))
    with pytest.raises(CheckpointError):
        new().resume(tmp_path, X, Y)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_error_between_an_epoch_and_its_record_costs_no_epoch_when_it_goes_on(tmp_path, executor):
    calls = []

    def fails_once(*_):
        calls.append(1)
        if len(calls) == 3:
            raise ZeroDivisionError
        return 0.0

    def fine(*_):
        return 0.0

    given = {"validation": (X[:20], Y[:20])}
    trainer = new(executor=executor, metrics={"m": fails_once})
    with pytest.raises(ZeroDivisionError):
        trainer.fit(X, Y, epochs=8, checkpoints=Checkpoints(tmp_path, epochs=1), **given)
    other, whole = (new(executor=executor, metrics={"m": fine}) for _ in range(2))
    other.resume(tmp_path, X, Y, **given)
    whole.fit(X, Y, epochs=8, **given)
    assert without_times(other.history) == without_times(whole.history)
    assert equal(whole.parameters, other.parameters)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_ends_by_its_own_signals():
    ended = []

    def forks(event):
        if isinstance(event, StepFinished) and event.step == 3:
            child = os.fork()
            if not child:
                time.sleep(60)
                os._exit(0)
            time.sleep(1)  # Python forgets signals that come while a fork is under way
            os.kill(child, signal.SIGTERM)
            ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    new(listeners=[forks], executor="reference").fit(X, Y, epochs=1)
    assert ended == [-signal.SIGTERM]


def test_long_histories_are_saved_and_come_back(tmp_path):
    trainer = new(optimizer=optimizers.SGD(1e-3), metrics={"m": lambda *_: float("nan")})
    trainer.fit(X[:16], Y[:16], epochs=3, validation=(X, Y))
    trainer.fit(X[:16], Y[:16], epochs=20_000, checkpoints=tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 10_000_000
    other = new(optimizer=optimizers.SGD(1e-3))
    history = other.resume(tmp_path, X[:16], Y[:16])
    assert [list(record) for record in history] == [list(record) for record in trainer.history]
    assert np.array_equal(history.column("loss"), trainer.history.column("loss"))
    assert all(type(epoch) is int for epoch in history.column("epoch"))


def test_an_error_before_the_first_step_leaves_no_lock(tmp_path, monkeypatch):
    trainer = new()
    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(Trainer, "_loop", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                trainer.fit(X, Y, epochs=1, checkpoints=tmp_path)
    trainer.fit(X, Y, epochs=1, checkpoints=tmp_path)


@dataclass(frozen=True)
class Weighted(losses.CrossEntropy):
    """A loss that holds a long array."""

    costs: object = None


def test_what_layers_losses_and_optimizers_hold_is_compared_to_the_last_number():
    costs = np.zeros(5000)
    other = costs.copy()
    other[2500] = 1e-9
    assert described(Weighted(costs=costs)) == described(Weighted(costs=costs.copy()))
    assert described(Weighted(costs=costs)) != described(Weighted(costs=other))


def test_inputs_named_as_other_rows_are_compared_too():
    inputs = {"targets": X, "weights": X}
    rows = [Rows(given, Y, None, "float32") for given in (inputs, {**inputs, "targets": X + 1})]
    assert fingerprint(rows[0]) != fingerprint(rows[1])


@pytest.mark.parametrize(
    "options", [{"keep": 1.5}, {"keep": True}, {"keep": 0}, {"epochs": 1.5}, {"seconds": None}, {"seconds": "5"}]
)
def test_checkpoints_take_whole_numbers_and_seconds(options):
    with pytest.raises(UsageError, match=f"{next(iter(options))} is .*, expected"):
        Checkpoints("c", **options)


def test_a_mistyped_folder_is_not_made(tmp_path):
    with pytest.raises(CheckpointError, match="is no folder"):
        new().resume(tmp_path / "not" / "there", X, Y)
    assert not list(tmp_path.iterdir())


# Replay


@pytest.mark.parametrize("executor", EXECUTORS)
def test_any_step_is_made_again_with_the_weights_before_and_after_it(tmp_path, executor):
    trainer = new(executor=executor)
    trainer.fit(X, Y, epochs=6, checkpoints=Checkpoints(tmp_path, epochs=2, keep=2))
    other = new(executor=executor)
    steps = {step: other.replay(step, tmp_path, X, Y) for step in (1, 2, 44, 45, 46, 89, 90)}
    assert equal(steps[1].before, new().build(X).parameters)
    for step in (1, 44, 45, 89):
        assert equal(steps[step].after, steps[step + 1].before)
        assert equal(steps[step].optimizer_after, steps[step + 1].optimizer_before)
    assert equal(steps[90].after, trainer.parameters)
    assert (steps[46].epoch, steps[46].batch) == (4, 0)
    assert (steps[90].epoch, steps[90].batch, len(steps[90].rows)) == (6, 14, 6)
    assert other.parameters is not None
    assert not other.history


def test_a_replayed_step_holds_every_value_and_they_are_those_of_the_step(tmp_path):
    trainer = new(optimizer=optimizers.SGD(0.5))
    trainer.fit(X, Y, epochs=2, checkpoints=tmp_path)
    found = new(optimizer=optimizers.SGD(0.5)).replay(20, tmp_path, X, Y)
    assert set(found.values) == set(found.traced.graph.nodes)
    gradient = [array for array in found.named("dense_1'") if array.shape == (6, 13)][-1]
    weights = found.before["dense_1"]["weight"]
    assert np.allclose(weights - 0.5 * gradient, found.after["dense_1"]["weight"], atol=1e-6)
    assert np.array_equal(found.named("x")[0], X[found.rows])


def test_steps_that_were_not_made_are_not_made_up(tmp_path):
    new().fit(X, Y, epochs=2, checkpoints=tmp_path)
    with pytest.raises(CheckpointError, match="step 31 was not made"):
        new().replay(31, tmp_path, X, Y)


# Divergence


def diverging(**options):
    """A rate so high that the loss is soon no longer finite, and less so is enough."""
    network = nn.Sequential(nn.Dense(8), nn.ReLU(), nn.Dense(1))
    return Trainer(network, losses.Squared(), optimizers.SGD(8.0), batch_size=BATCH, **options)


def test_a_divergence_goes_back_to_the_best_state_and_on_more_slowly_if_asked(tmp_path):
    targets = X[:, :1] * 2
    with pytest.raises(NotFiniteError):
        diverging().fit(X, targets, epochs=30)
    told = []
    trainer = diverging(listeners=[lambda event: told.append(event) if isinstance(event, RolledBack) else None])
    history = trainer.fit(X, targets, epochs=30, on_divergence="rollback", checkpoints=tmp_path)
    assert told
    assert told[0].rate == 0.5
    stopped = diverging(listeners=[stop_at(trainer.steps - 60)])
    stopped.fit(X, targets, epochs=30, on_divergence="rollback", checkpoints=tmp_path / "s", stop_on_interrupt=True)
    resumed = diverging()
    resumed.resume(tmp_path / "s", X, targets)
    assert equal(resumed.parameters, trainer.parameters)
    assert [record["epoch"] for record in history] == list(range(1, 31))
    assert history[-1]["loss"] < 1.0
    other = diverging()
    found = other.replay(trainer.steps, tmp_path, X, targets)
    assert equal(found.after, trainer.parameters)


# Killed


CHILD = """
    import sys, numpy as np
    sys.path.insert(0, {folder!r})
    import test_resume as t
    from backpass.training import Checkpoints
    from pathlib import Path
    folder = Path(sys.argv[1])
    given = Checkpoints(folder, seconds=0.0)
    trainer = t.new(threads=int(sys.argv[2]))
    run = trainer.resume if given.store.steps() else lambda c, x, y: trainer.fit(x, y, epochs=20, checkpoints=c)
    run(given, t.X, t.Y)
    trainer.save(folder / "model.safetensors")
"""


def test_a_training_that_is_killed_again_and_again_ends_with_the_same_weights(tmp_path):
    whole = new()
    whole.fit(X, Y, epochs=20)
    script = tmp_path / "child.py"
    script.write_text(textwrap.dedent(CHILD.format(folder=str(Path(__file__).parent))))
    folder = tmp_path / "c"
    kills = 0
    for threads in (1, 2, 3, 1, 2, 3, 1):
        process = subprocess.Popen([sys.executable, str(script), str(folder), str(threads)])
        before = set(folder.glob("step-*")) if folder.exists() else set()
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            now = set(folder.glob("step-*")) if folder.exists() else set()
            if len(now - before) >= 1:
                process.kill()
                kills += process.wait() != 0
                break
            time.sleep(0.001)
    assert kills >= 3
    assert subprocess.run([sys.executable, str(script), str(folder), "2"], check=True).returncode == 0
    other = new()
    other.resume(folder, X, Y)
    assert equal(whole.parameters, other.parameters)
    assert not shutil.rmtree(folder)
