"""The two executors by themselves: what a call of `run` makes, returns and tells, and how it counts time."""

import gc
import itertools
import weakref
from collections import deque
from dataclasses import dataclass

import numpy as np
import pytest

from backpass import Trainer, losses, nn, optimizers
from backpass.errors import NotFiniteError
from backpass.forward import Spec, flatten
from backpass.graph import BATCH
from backpass.ops import Key
from backpass.training.executors import (
    EXECUTORS,
    Kept,
    NativeExecutor,
    ReferenceExecutor,
    State,
    Work,
    _lengths,
    _Pace,
)
from backpass.training.rows import Rows
from backpass.training.step import training_step

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(50, 3)), RANDOM.normal(size=(50, 1))
BATCH_SIZE = 16  # 4 steps an epoch, the last of 2 rows


def new(executor, *, tell=None, pause=False, threads=1, kept=None, data=None, rate=0.05, shuffle=True):
    """An executor at the beginning of a training, and its State."""
    data = data or Rows(X, Y, None, "float64")
    network, rule = nn.Dense(1), optimizers.Momentum(rate)
    parameters = network.init((3,), Key.of(0))
    state = State(parameters, rule.init(parameters))

    def traced():
        return training_step(
            network,
            losses.Squared(),
            rule,
            parameters=parameters,
            state=state.optimizer,
            inputs=Spec((BATCH, 3), np.float64),
            targets=Spec((BATCH, 1), np.float64),
            weights=None if data.weights is None else Spec((BATCH,), np.float64),
        )

    work = Work(traced, "a key", data, BATCH_SIZE, 3, shuffle, tell, lambda: pause)
    if executor == "reference":
        return ReferenceExecutor(work, state), state
    return NativeExecutor(work, state, threads, kept or Kept()), state


def at_hand(state):
    return state.step, state.epoch, state.batch


def weights(parameters, optimizer):
    """What to take of all that an executor carries from step to step."""
    del optimizer
    return parameters


def at(executor, state):
    executor.fetch()
    return at_hand(state)


@pytest.fixture
def clock(monkeypatch):
    """Each look at the clock is a second after the one before."""
    ticks = itertools.count()
    monkeypatch.setattr("backpass.training.executors.time.perf_counter", lambda: float(next(ticks)))


@pytest.mark.parametrize("name", EXECUTORS)
def test_a_run_ends_with_the_epoch_or_after_so_many_steps(name):
    """An epoch made in pieces comes to the same as one made at once, to the bit."""
    (whole, _), (pieces, state) = new(name), new(name)
    ((loss, weight, _),) = whole.run(1)
    assert weight == len(X)
    assert not len(pieces.run(1, steps=1))
    assert at(pieces, state) == (1, 0, 1)
    assert not len(pieces.run(1, steps=2))
    assert at(pieces, state) == (3, 0, 3)
    ((again, rows, _),) = pieces.run(1, steps=9)
    assert (again, rows) == (loss, weight)
    assert at(pieces, state) == (4, 1, 0)
    assert state.sums == (0.0, 0.0)
    for ours, theirs in zip(flatten(whole.values(weights)), flatten(pieces.values(weights)), strict=True):
        assert np.array_equal(ours, theirs)
    assert pieces.run(1, steps=4)[0, :2].tolist() == whole.run(1)[0, :2].tolist()


@pytest.mark.parametrize("pause", [True, False])
def test_a_pause_is_made_after_the_step(monkeypatch, pause):
    """A native program is told to stop where it is looked after as it runs."""
    executor, state = new("reference", pause=pause)
    assert len(executor.run(1)) == (not pause)
    assert at(executor, state) == ((1, 0, 1) if pause else (4, 1, 0))
    executor, _ = new("native", pause=pause)
    stopped = []
    monkeypatch.setattr(executor._machine, "stop", lambda: stopped.append(True))
    executor._look()
    assert stopped == [True] * pause


@pytest.mark.parametrize("name", EXECUTORS)
def test_an_epoch_made_in_pieces_is_told_of_as_one(name):
    """Steps, epochs and rows go on, and the loss is the mean over the epoch so far."""
    told, at_once = [], []
    executor, _ = new(name, tell=lambda *step: told.append(step))
    executor.run(1, steps=2)
    executor.run(1)
    executor.run(1)
    whole, _ = new(name, tell=lambda *step: at_once.append(step))
    ((loss, weight, _),) = whole.run(1)
    whole.run(1)
    rows = [16, 32, 48, 50]
    assert [(step, epoch, seen) for step, epoch, _, seen in told] == [
        (1 + step, 1 + step // 4, rows[step % 4]) for step in range(8)
    ]
    assert told == at_once
    assert told[3][2] == pytest.approx(loss / weight, rel=1e-14)


@pytest.mark.parametrize("name", EXECUTORS)
@pytest.mark.usefixtures("clock")
def test_the_seconds_of_an_epoch_are_those_of_all_calls_that_made_it(name):
    """Each of these calls takes one second."""
    executor, _ = new(name)
    executor.run(1, steps=1)
    executor.run(1, steps=2)
    seconds = [total[2] for _ in range(2) for total in executor.run(1)]
    assert seconds == pytest.approx([3.0, 1.0])


@pytest.mark.usefixtures("clock")
def test_the_seconds_of_epochs_made_at_once_add_up_to_those_of_the_calls():
    """Of a call that ends in mid-epoch, the steps of that epoch take their part to the next call."""
    executor, _ = new("native")
    executor._pace.epoch = 1e-9
    first = executor.run(5, steps=10)  # two epochs and a half
    assert len(first) == 2
    assert all(seconds > 0 for *_, seconds in first)
    assert sum(seconds for *_, seconds in first) == pytest.approx(0.8)
    assert [seconds for *_, seconds in executor.run(1)] == pytest.approx([1.2])


def test_the_length_of_each_epoch_is_from_the_end_of_the_one_before():
    """The first has what is left of the time; without a clock all have the same."""
    ended = np.array([10.0, 12.0, 15.0])
    assert _lengths(ended, 9.0).tolist() == [4.0, 2.0, 3.0]
    assert _lengths(ended, 4.0).tolist() == [0.0, 2.0, 3.0]
    assert _lengths(ended[:1], 9.0).tolist() == [9.0]
    assert _lengths(np.zeros(3), 9.0) == 3.0


@pytest.mark.parametrize("name", EXECUTORS)
def test_while_no_row_had_a_weight_a_loss_of_0_is_told(name):
    """And from the first row on that has one, the loss is that of the rows with a weight."""
    data = Rows(X, Y, (np.arange(len(X)) >= 2 * BATCH_SIZE).astype(float), "float64")
    told = []
    executor, _ = new(name, tell=lambda *step: told.append(step), data=data, shuffle=False)
    executor.run(1)
    assert [loss == 0 for _, _, loss, _ in told] == [True, True, False, False]


def far_on(rate=0.05, tell=None):
    """A native executor that makes all epochs of a run in one call, after 2 that were made and not fetched."""
    executor, state = new("native", rate=rate, tell=tell)
    executor._pace.fetched = np.inf
    executor._pace.epoch = 1e-9
    executor.run(2)
    assert at_hand(state) == (0, 0, 0)
    executor._pace.epoch = 1e-9
    return executor, state


def test_a_divergence_many_epochs_into_a_call_is_that_of_the_reference():
    """Both name the same step of the same epoch, and the state is that before this epoch."""
    told = []
    for name in EXECUTORS:
        executor, state = far_on(rate=5.0) if name == "native" else new(name, rate=5.0)
        with pytest.raises(NotFiniteError) as error:
            deque((executor.run(200) for _ in range(200)), maxlen=0)
        told.append((error.value.what, error.value.step, error.value.epoch, at(executor, state)))
    assert told[0] == told[1]
    what, step, epoch, place = told[0]
    assert what == "the loss"
    assert 5 < epoch == -(-step // 4)
    assert place == (4 * epoch - 4, epoch - 1, 0)


@pytest.mark.usefixtures("clock")
def test_epochs_that_were_over_at_an_error_took_no_longer_than_the_call():
    """The call takes one second here; a listener's error ends it in the third of its epochs."""

    def tell(step, *_):
        if step == 8 + 11:
            raise KeyError

    executor, state = far_on(tell=tell)
    with pytest.raises(KeyError):
        executor.run(5)
    assert at_hand(state) == (16, 4, 0)
    assert len(executor.finished) == 2
    assert 0 < sum(seconds for *_, seconds in executor.finished) <= 1


def test_no_step_is_told_of_twice_when_a_run_goes_back(monkeypatch):
    """To come to the end of the last epoch that is over, steps are made again that were told of."""
    told = []

    def tell(step, *_):
        told.append(step)
        if step == 8 + 5:
            raise KeyError

    executor, state = far_on(tell=tell)
    run = executor._machine.run

    def looked_after(**given):
        run(**given)
        given["poll"]()

    monkeypatch.setattr(executor._machine, "run", looked_after)
    with pytest.raises(KeyError):
        executor.run(5)
    assert at_hand(state) == (12, 3, 0)
    assert told == list(range(1, 14))


def test_as_many_epochs_run_at_once_as_fit_into_a_tenth_of_a_second():
    """One at least, and not more than there are; one where it is not known how long they take."""
    assert [_Pace(seconds).epochs(30) for seconds in (0.0, 0.001, 0.02, 0.048, 0.1, 3.0)] == [1, 30, 5, 2, 1, 1]


@pytest.mark.parametrize(("epoch", "alone"), [(0.0, False), (1e-5, False), (2e-3, True), (4e-3, True), (1.0, False)])
def test_short_work_is_run_by_the_calling_thread_alone(monkeypatch, epoch, alone):
    """Of what takes less than a two hundredth of a second as a whole; many short epochs at once are no short work."""
    executor, _ = new("native")
    executor._pace.epoch = epoch
    said, run = [], executor._machine.run
    monkeypatch.setattr(executor._machine, "run", lambda **given: said.append(given["alone"]) or run(**given))
    executor.run(2000 if epoch == 1e-5 else 1)
    assert said == [alone]


def test_the_quickest_number_of_threads_is_found_by_trying():
    """Each is tried three times, and every 32nd call tries another, in turns; the best of the last three counts."""
    pace, seconds = _Pace(), {1: 3.0, 2: 2.0, 4: 5.0}

    def next_calls(number):
        chosen = []
        for _ in range(number):
            chosen.append(pace.threads((1, 2, 4)))
            pace.took(chosen[-1], seconds[chosen[-1]])
        return chosen

    assert sorted(next_calls(9)) == [1, 1, 1, 2, 2, 2, 4, 4, 4]
    assert next_calls(22) == [2] * 22
    assert sorted(next_calls(1) + next_calls(32)) == [1] + [2] * 31 + [4]
    seconds |= {2: 4.0}  # other work came
    assert next_calls(6) == [2, 2, 2, 1, 1, 1]


def test_a_call_runs_on_the_threads_that_are_chosen_for_it(monkeypatch):
    """Of those that the program can run on; how long a step took is noted for them."""
    executor, _ = new("native", threads=2)
    chosen, took, run = [], [], executor._machine.run
    monkeypatch.setattr(executor._pace, "threads", lambda choices: chosen.append(choices) or 1)
    monkeypatch.setattr(executor._pace, "took", lambda threads, _: took.append(threads))
    monkeypatch.setattr(executor._machine, "run", lambda **given: chosen.append(given["threads"]) or run(**given))
    executor.run(1)
    assert chosen == [(2,), 1]
    assert took == [1]


def test_where_there_is_no_choice_of_threads_none_is_tried():
    """And nothing is noted of a number that is no choice."""
    pace = _Pace()
    assert [pace.threads((4,)) for _ in range(70)] == [4] * 70
    pace.took(4, 1.0)
    assert pace.steps == {}


@pytest.mark.usefixtures("clock")
def test_a_call_is_measured_by_its_steps(monkeypatch):
    """How long an epoch takes is known from a part of one too, and how long a step takes with so many threads."""
    executor, _ = new("native")
    took = []
    monkeypatch.setattr(executor._pace, "took", lambda *step: took.append(step))
    executor.run(1, steps=1)
    assert executor._pace.epoch == pytest.approx(4.0, rel=1e-3)  # less what the call itself takes
    executor.run(1)
    assert executor._pace.epoch == pytest.approx(4 / 3, rel=1e-3)
    assert took == [(1, 1.0), (1, pytest.approx(1 / 3))]


def test_values_are_fetched_as_seldom_as_a_twentieth_of_the_time_allows(monkeypatch):
    """And always in mid-epoch. A fetch takes a second here, and an epoch none."""
    now = [100.0]
    monkeypatch.setattr("backpass.training.executors.time.perf_counter", lambda: now[0])
    executor, state = new("native")
    take = executor._machine.take_input

    def slowly(place):
        now[0] += place == 0
        return take(place)

    monkeypatch.setattr(executor._machine, "take_input", slowly)
    executor.fetch()
    for passed, step in ((0, 0), (20, 0), (1, 12), (1, 12), (19, 12), (1, 24)):
        now[0] += passed
        executor.run(1)
        assert state.step == step
    executor.run(1, steps=1)
    assert (state.step, state.batch) == (25, 1)


def test_a_program_is_made_once_for_trainings_that_need_the_same(monkeypatch):
    """Another network, batch or number of threads needs another, another seed does not."""
    made, compiled = [], NativeExecutor._compiled
    monkeypatch.setattr(NativeExecutor, "_compiled", lambda self, *need: made.append(need) or compiled(self, *need))
    trainer = Trainer(nn.Sequential(nn.Dense(1)), losses.Squared(), batch_size=16, threads=1)
    changes = {"seed": 4, "batch_size": 7, "threads": 2, "network": nn.Sequential(nn.Dense(1), nn.Tanh())}
    numbers = []
    for name, value in changes.items():
        trainer.fit(X, Y, epochs=1)
        setattr(trainer, name, value)
        trainer.fit(X, Y, epochs=2)
        numbers.append(len(made))
    assert numbers == [1, 2, 3, 4]
    assert made == [(16, 1), (7, 1), (7, 2), (7, 2)]


def test_a_program_that_is_kept_fits_steps_of_its_rows_and_threads():
    """And of no others; while it is away it fits nothing."""
    kept = Kept()
    assert not kept.fits(16, 1)
    executor, _ = new("native", kept=kept)
    assert not kept.fits(16, 1)
    executor.close()
    assert [kept.fits(*need) for need in ((16, 1), (16, 2), (8, 1), (16, None))] == [True, False, False, False]


def test_a_program_that_is_kept_holds_no_rows():
    """What a training read may go when it is over."""
    data = Rows(X.copy(), Y.copy(), None, "float64")
    rows = weakref.ref(data.inputs)
    kept = Kept()
    executor, _ = new("native", kept=kept, data=data)
    executor.run(1)
    executor.close()
    del data, executor
    gc.collect()
    assert kept.fits(16, 1)
    assert rows() is None


def test_one_thread_is_tried_where_epochs_are_short_and_kept_where_it_is_quicker():
    """As where other programs take the processors, and threads that wait for each other wait for those."""
    pace, seconds = _Pace(epoch=0.01), {2: 10.0, 1: 1.0}
    called = []
    for _ in range(10):
        called.append(pace.threads((2, 1)))
        pace.took(called[-1], seconds[called[-1]])
    assert called == [2] + [1] * 9


def test_no_epoch_of_seconds_is_spent_on_a_try_with_one_thread():
    pace = _Pace()
    assert pace.threads((2, 1)) == 2
    pace.took(2, 1.0)
    pace.epoch = 5.0
    assert [pace.threads((2, 1)) for _ in range(100)] == [2] * 100


@pytest.mark.parametrize("executor", ["native", "reference"])
def test_weights_that_are_changed_in_place_are_those_that_answer(executor):
    trainer = Trainer(nn.Sequential(nn.Dense(1)), losses.Squared(), batch_size=16, executor=executor)
    trainer.fit(X, Y, epochs=1)
    before = trainer.outputs(X)
    *_, bias = [leaf for leaf in flatten(trainer.parameters) if leaf.shape == (1,)]
    bias.flags.writeable = True
    bias += 1.0
    np.testing.assert_allclose(trainer.outputs(X), before + 1.0, rtol=1e-5)


def test_a_layer_of_ones_own_may_call_its_fields_as_it_likes():
    """Ensembles ask a network how its members are grouped; no other layer is taken for one."""

    @dataclass(frozen=True)
    class Grouped(nn.Layer):
        groups: int = 2

        def __call__(self, parameters, x, key=None):
            del parameters, key
            return x * float(self.groups)

    trainer = Trainer(nn.Sequential(nn.Dense(1), Grouped()), losses.Squared(), batch_size=16)
    trainer.fit(X, Y, epochs=1)
    assert trainer.outputs(X).shape == (len(X), 1)
