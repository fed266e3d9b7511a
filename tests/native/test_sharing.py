"""What threads share out: whole networks, columns of first layers, rows; and that none of it changes what comes out."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_helpers import Work, digest, trained

from backpass import losses, nn, ops, optimizers
from backpass.errors import NotFiniteError
from backpass.forward import flatten, map_structure, unflatten
from backpass.native.compile import Compiler
from backpass.native.ir import F32
from backpass.native.plan import EVERYONES
from backpass.native.shares import columns_of, largest_load, owners_of, pieces_of
from backpass.native.target import host
from backpass.native.tiles import Panels

rng = np.random.default_rng(7)
ROWS, FEATURES = 161, 13
X, LABELS = rng.normal(size=(ROWS, FEATURES)), rng.integers(0, 3, ROWS)


def work_of(network, rule=None, weights=None, batch_size=48):
    return Work(network, losses.CrossEntropy(), rule or optimizers.Adam(0.01), X, LABELS, weights, batch_size)


def dense(*widths):
    hidden = [layer for width in widths for layer in (nn.Dense(width), nn.Tanh())]
    return nn.Sequential(*hidden, nn.Dense(3))


def ensemble(count, dropout=0.2):
    member = nn.Sequential(nn.Dense(37), nn.ReLU(), nn.Dropout(dropout), nn.Dense(18), nn.Tanh(), nn.Dense(3))
    return nn.Ensemble(member, count)


def blend():
    kinds = [nn.Sequential(nn.Dense(24), nn.ReLU(), nn.Dense(3)), nn.Sequential(nn.Dense(3))]
    return nn.Blend(kinds[0], 4, others=(kinds[1],))


def machine_of(network, threads, **options):
    """The program of a training."""
    trainer = trained(work_of(network, **options), "native", epochs=1, threads=threads)
    ((_, machine, _),) = trainer._kept.held
    return machine


# The bits


@pytest.mark.parametrize("widths", [(16, 9), (33,), (48, 48), (64, 10, 31), (97, 16), (130, 65)])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_first_layers_of_any_width_give_the_same_bits_at_any_number_of_threads(widths, precision):
    """Also where the last batch has one row, and where there is no part for some thread."""
    work = work_of(dense(*widths), batch_size=32)
    found = {digest(trained(work, "native", threads=threads, precision=precision)) for threads in (1, 2, 3, 5)}
    assert len(found) == 1


def test_a_linear_model_of_many_outputs_gives_the_same_bits_at_any_number_of_threads():
    """Its columns belong to the first layer, and its loss goes by rows."""
    work = work_of(nn.Sequential(nn.Dense(130)))
    assert len({digest(trained(work, "native", threads=threads)) for threads in (1, 2, 3)}) == 1


@pytest.mark.parametrize("network", [ensemble(2), ensemble(3), ensemble(4), blend()], ids=("2", "3", "4", "blend"))
def test_networks_side_by_side_give_the_same_bits_at_any_number_of_threads(network):
    work = work_of(network, weights=rng.uniform(0.1, 2, ROWS))
    assert len({digest(trained(work, "native", threads=threads)) for threads in (1, 2, 3, 4, 7)}) == 1


def test_networks_that_a_common_norm_joins_give_the_same_bits_too():
    rule = optimizers.Chain(optimizers.ClipByGlobalNorm(0.1), optimizers.Adam(0.01))
    work = work_of(ensemble(4), rule=rule)
    assert len({digest(trained(work, "native", threads=threads)) for threads in (1, 2, 4)}) == 1


def numbers_read_first():
    """A gain that is learned; each thread calculates its exponential for itself before anything else."""
    gain = nn.Function(lambda p, x: x * ops.exp(-p["s"]), {"s": np.array(0.1)})
    network = nn.Sequential(nn.Dense(96), nn.Tanh(), nn.Dense(16), nn.Tanh(), gain, nn.Dense(3))
    return work_of(network, rule=optimizers.SGD(0.05), batch_size=8)


def types_of_two_widths():
    """Levels in float32 beside a first layer in float64, whose vectors have half as many lanes."""
    rows = {"a": X, "s": rng.integers(0, 4, ROWS)}
    parts = {"a": nn.Sequential(nn.Dense(96), nn.Tanh(), nn.Dense(16)), "s": nn.OneHot(4, "float32")}
    network = nn.Sequential(nn.Concatenate(**parts), nn.Tanh(), nn.Dense(3))
    return Work(network, losses.CrossEntropy(), optimizers.Adam(0.01), rows, LABELS, None, 8)


def weights_that_nothing_reads():
    """They and the network are as good as two networks; the loss belongs to one of them."""
    idle = nn.Function(lambda _, x: x, {"unused": rng.normal(size=20_000)})
    rule = optimizers.Chain(optimizers.WeightDecay(0.01), optimizers.SGD(0.05))
    return work_of(nn.Sequential(nn.Dense(64), nn.Tanh(), idle, nn.Dense(3)), rule=rule)


def weights_read_both_ways():
    """Their gradients add up, of which one would be split by columns and the other by rows."""

    def there_and_back(p, x):
        return ops.matmul(ops.tanh(ops.matmul(x, p["w"])), ops.transpose(p["w"], (1, 0)))

    tied = nn.Function(there_and_back, {"w": rng.normal(size=(FEATURES, 96)) * 0.1})
    return Work(nn.Sequential(tied), losses.Squared(), optimizers.Adam(0.003), X, np.sin(X), None, 32)


@dataclass(frozen=True)
class OneForAll(optimizers.Optimizer):
    """Steps whose size follows from the momentum of a weight that is a single number."""

    def init(self, parameters):
        return {"m": map_structure(np.zeros_like, parameters)}

    def update(self, gradients, state, parameters, step):
        del parameters, step
        moved = [0.9 * m + g for m, g in zip(flatten(state["m"]), flatten(gradients), strict=True)]
        single = ops.reshape(next(m for m in moved if np.prod(m.shape) == 1), ())
        changes = [-0.02 * g / (1 + ops.exp(single)) for g in flatten(gradients)]
        return unflatten(gradients, changes), {"m": unflatten(state["m"], moved)}


def numbers_of_every_thread_that_are_carried():
    large = nn.Sequential(nn.Dense(64), nn.Tanh(), nn.Dense(1))
    network = nn.Blend(nn.Dense(1), 3, others=(large, large))
    return Work(network, losses.Squared(), OneForAll(), X[:, :1], np.sin(X[:, 0]), None, 32)


SPECIAL = (
    *(numbers_read_first, types_of_two_widths, weights_that_nothing_reads),
    *(weights_read_both_ways, numbers_of_every_thread_that_are_carried),
)


@pytest.mark.parametrize("work", SPECIAL)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_nothing_is_read_too_early_and_nothing_written_twice(work, precision):
    """Again and again with threads, for it would not show every time; losses too are those of one thread."""
    work = work()
    found, told = set(), set()
    for threads in (1, 2, 3, 2, 2):
        trainer = trained(work, "native", threads=threads, precision=precision, epochs=12)
        found.add(digest(trainer))
        told.add(tuple(record["loss"] for record in trainer.history))
    assert len(found) == len(told) == 1


def test_what_changes_weights_first_does_not_run_on():
    """Else a program that is stopped would have changed them once more."""

    @dataclass(frozen=True)
    class Outputs(losses.Loss):
        def rows(self, outputs, targets):
            del targets
            return ops.sum(outputs, axis=1)

        def check_targets(self, targets, outputs): ...

    squares = nn.Function(lambda _, x: ops.sum(x * x, axis=1, keepdims=True))
    work = Work(nn.Sequential(nn.Dense(96), squares), Outputs(), optimizers.Momentum(0.001), X, X[:, :1], None, 32)
    trainer = trained(work, "native", threads=2)
    ((_, machine, _),) = trainer._kept.held
    assert not machine.compiler.runs_on


# What is shared out how


def test_a_first_layer_is_split_by_columns_and_the_others_by_rows():
    compiler = machine_of(dense(130, 33), 2).compiler
    cut = {node.name for kernel in compiler.plan.kernels if kernel.cut for node in kernel.nodes}
    assert {"dense_1", "dense_1'", "update.dense_1.weight", "update.dense_1.bias", "dense_2'"} <= cut
    assert "dense_2" not in cut
    assert "dense_3'" not in cut
    assert compiler.runs_on
    assert [node.name for node in compiler.plan.taken] == ["x"]


def test_where_there_are_fewer_columns_than_threads_they_are_not_split():
    assert not machine_of(dense(9), 2).compiler.plan.cuts
    assert not machine_of(dense(130), 1).compiler.plan.cuts


def test_networks_are_done_one_after_the_other_in_one_phase():
    compiler = machine_of(ensemble(4), 2).compiler
    order = [kernel.network for kernel in compiler.plan.phases[0]]
    assert order == sorted(order)
    assert set(order) - {EVERYONES} == {0, 1, 2, 3}
    assert all(kernel.network is None for phase in compiler.plan.phases[1:] for kernel in phase)


def test_networks_that_a_common_norm_joins_are_not_shared_out():
    rule = optimizers.Chain(optimizers.ClipByGlobalNorm(0.1), optimizers.Adam(0.01))
    assert not machine_of(ensemble(4), 2, rule=rule).compiler.plan.networks


@pytest.mark.parametrize(("threads", "whole"), [(1, True), (2, True), (3, False), (4, True), (5, True), (6, False)])
def test_networks_are_shared_out_where_no_thread_has_much_more_than_its_part(threads, whole):
    assert bool(machine_of(ensemble(4), threads).compiler.plan.networks) == whole


@pytest.mark.parametrize(("count", "whole"), [(3, True), (5, True), (7, True)])
def test_of_an_odd_number_of_networks_one_thread_has_one_more(count, whole):
    """Two thirds of the time of one thread are less than two threads by rows take."""
    compiler = machine_of(ensemble(count), 2).compiler
    assert bool(compiler.plan.networks) == whole


def test_a_large_batch_is_not_taken_by_every_thread():
    """Each would have to copy all of it, and none would find it in a near cache."""
    trainer = trained(work_of(dense(130, 33)), "native", epochs=1, threads=2)
    ((_, machine, _),) = trainer._kept.held
    assert Compiler(machine.job, host()).plan.taken
    assert not Compiler(replace(machine.job, rows=100_000), host()).plan.taken


def test_where_threads_are_not_given_some_may_be_left_out():
    """Four networks keep four of six threads busy; of twenty that would be too few."""
    trainer = trained(work_of(ensemble(4)), "native", epochs=1, threads=1)
    ((_, machine, _),) = trainer._kept.held
    chosen = {}
    for available in (6, 20):
        job = replace(machine.job, threads=0, available=available, rows=4096)
        chosen[available] = Compiler(job, host())
    assert chosen[6].threads == 4
    assert chosen[6].plan.networks
    assert not chosen[20].plan.networks


# Memory


def test_values_that_pass_have_no_place_in_common_while_they_are_needed():
    """Of each network, in the order of its kernels."""
    compiler = machine_of(ensemble(4), 2).compiler
    plan, count = compiler.plan, 0
    spans = []
    for node, number in plan.networks.items():
        buffer = compiler.buffers.get(node)
        if buffer is None or not buffer.private or node not in plan.home or number < 0:
            continue
        readers = [plan.home[reader].order for reader, uses in plan.uses.items() if any(u.node is node for u in uses)]
        made, end = plan.home[node].order, buffer.offset + buffer.bytes
        spans.append((number, made, max([made, *readers]), buffer.offset, end))
    for a in spans:
        for b in spans:
            if a is not b and a[0] == b[0] and a[1] <= b[2] and b[1] <= a[2]:
                assert a[4] <= b[3] or b[4] <= a[3]
                count += 1
    assert count > 20
    assert len({span[3] for span in spans}) < len(spans) / 3  # and places are used again and again


def test_every_address_of_a_checked_program_lies_inside(monkeypatch):
    monkeypatch.setenv("BACKPASS_CHECKED", "1")
    for network in (ensemble(4), dense(97, 33)):
        assert len({digest(trained(work_of(network), "native", threads=threads)) for threads in (1, 2)}) == 1


# Where a step is the last


@pytest.mark.parametrize("network", [dense(97, 33), ensemble(4)], ids=["columns", "networks"])
def test_a_program_stops_after_the_step_that_is_asked_for(network):
    """With the same weights, sums and place in the epoch at any number of threads; an epoch has four steps."""
    found = []
    for threads in (1, 2, 4):
        machine = machine_of(network, threads)
        carried = range(machine.job.moment)
        if not found:
            first = [machine.take_input(place) for place in carried]
        outcomes = []
        for last in range(1, 10):
            for place in carried:
                machine.put(place, first[place])
            machine.data([X, LABELS], count=ROWS)
            machine.shuffled(shuffle=True)
            machine.weigh(None)
            machine.run(seed=3, epochs=3, batch=48, last=last)
            outcomes.append((last, machine.steps_done, machine.epochs_done, machine.reason, machine.running))
            outcomes += [machine.take_input(place).tobytes() for place in carried]
        found.append(outcomes)
    assert [each[1] for each in found[0] if isinstance(each, tuple)] == list(range(1, 10))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("network", [dense(97, 33), ensemble(4)], ids=["columns", "networks"])
@pytest.mark.parametrize("row", [0, 77, ROWS - 1])
def test_the_first_step_that_is_not_finite_is_named_at_any_number_of_threads(network, row):
    """The row with a target that is too large is met in some step of the first epoch."""
    targets = X[:, :3].copy()
    targets[row, 1] = 1e200
    named = set()
    for threads in (1, 2, 4):
        work = Work(network, losses.Squared(), optimizers.SGD(0.1), X, targets, None, 48)
        with pytest.raises(NotFiniteError) as error:
            trained(work, "native", threads=threads)
        named.add(str(error.value))
    assert len(named) == 1


# Tables of shares

WORKS = st.lists(st.floats(0.1, 1e6), min_size=1, max_size=40)


@given(WORKS, st.integers(1, 9))
def test_the_thread_with_most_has_at_most_one_work_more_than_its_part(works, threads):
    owners = owners_of(works, threads)
    assert all(0 <= owner < threads for owner in owners)
    assert largest_load(works, threads) <= sum(works) / threads + max(works)


@given(WORKS, st.data(), st.integers(1, 9))
def test_pieces_follow_each_other_and_leave_nothing_out(works, data, most):
    units = [data.draw(st.integers(1, 50)) for _ in works]
    for table, count in zip(pieces_of(works, units, most), units, strict=True):
        assert len(table) == most * (most + 1)
        for threads in range(1, most + 1):
            bounds = table[(threads - 1) * (most + 1) :][: threads + 1]
            assert (bounds[0], bounds[-1]) == (0, count)
            assert bounds == sorted(bounds)


@given(st.integers(1, 500), st.integers(1, 3), st.integers(1, 9))
def test_columns_are_shared_out_whole_and_evenly(columns, vectors, most):
    panels = Panels(F32, 8, vectors, 4, columns)
    table = columns_of(panels, most)
    for threads in range(1, most + 1):
        bounds = table[(threads - 1) * (most + 1) :][: threads + 1]
        assert (bounds[0], bounds[-1]) == (0, panels.count)
        assert all(0 <= b - a <= -(-panels.count // threads) + 1 for a, b in pairwise(bounds))
