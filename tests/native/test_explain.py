"""What a native program says of itself."""

from itertools import chain

import numpy as np
import pytest

import backpass as bp
from backpass import losses, nn
from backpass.errors import UsageError
from backpass.forward import Spec
from backpass.graph import BATCH, size
from backpass.native import Job, Machine
from backpass.native.explain import Explanation, calculated
from backpass.native.target import host, named
from backpass.native.timing import Parts
from backpass.ops import exp
from backpass.ops import sum as sum_

ROWS = 24
X = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
Y = np.arange(60) % 3
WEIGHTS = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)


def small_job(**options):
    """A product, something done with it, a sum over rows."""

    def function(w, x):
        hidden = exp(x @ w)
        return hidden, sum_(hidden, 0)

    traced = bp.trace(function, WEIGHTS, Spec((BATCH, 5)), names=("w", "x"))
    return Job(traced.graph, rows=ROWS, **options)


@pytest.fixture(scope="module")
def trainer():
    network = nn.Sequential(hidden=nn.Dense(16), relu=nn.ReLU(), output=nn.Dense(3))
    trainer = bp.Trainer(network, losses.CrossEntropy(), batch_size=20)
    trainer.fit(X, Y, epochs=2)
    return trainer


@pytest.fixture(scope="module")
def explained(trainer):
    return trainer.explanation()


def test_every_node_of_the_graph_is_calculated_somewhere(explained):
    """Each node but inputs, constants and the numbers of every thread stands under a kernel; none is made up."""
    compiler = explained._compiler
    found = set(chain.from_iterable(calculated(compiler.plan, kernel) for kernel in compiler.plan.kernels))
    given = set(compiler.graph.inputs) | {node for node in compiler.graph.nodes if not node.inputs}
    early = {node for node in compiler.graph.nodes if size(node.shape) == 1 and BATCH not in node.shape}
    assert set(compiler.graph.nodes) - given - early <= found
    assert not found & given


def test_a_node_stands_after_what_it_is_made_of(explained):
    plan = explained._compiler.plan
    for kernel in plan.kernels:
        nodes = calculated(plan, kernel)
        places = {node: place for place, node in enumerate(nodes)}
        assert all(places.get(x, -1) < places[node] for node in nodes for x in node.inputs)
        assert set(kernel.nodes) <= set(nodes)


def test_the_times_of_all_parts_are_those_of_a_step(explained):
    """Kernels, rows, numbers and waiting add up to the whole; each kernel takes some time."""
    times = explained.times
    assert sum(times.parts) == pytest.approx(times.whole)
    assert all(each.seconds > 0 for each in explained.kernels)
    assert all(part >= 0 for part in times.parts)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_time_stamps_change_no_bit_and_count_every_thread(threads):
    found = []
    for timed in (False, True):
        machine = Machine(small_job(threads=threads, timed=timed))
        machine.put(0, WEIGHTS)
        machine.data([X[:ROWS]], count=ROWS)
        machine.run(batch=ROWS)
        found.append([machine.take_output(place, ROWS) for place in range(2)])
        assert machine.times.shape == (threads, machine.compiler.parts.count if timed else 0)
    assert all((a == b).all() for a, b in zip(*found, strict=True))
    assert (machine.times.sum(1) > 0).all()
    assert (machine.times[:, Parts.ROWS] > 0).any()


def test_a_program_without_time_stamps_reads_no_clock():
    """Nobody pays for what nobody asked for."""
    from backpass.native.compile import Compiler

    texts = [Compiler(small_job(timed=timed), host()).compile() for timed in (False, True)]
    assert ["counter" in text for text in texts] == [False, True]


@pytest.mark.parametrize("name", ["sse2", "avx2", "avx512", "arm64"])
def test_code_for_any_target_can_be_read(name):
    """The IR of a kernel, with remarks on its nodes, and its assembly; times only on this machine."""
    found = Explanation(small_job(), "small", target=named(name))
    assert f"{found._compiler.lanes} float32" in str(found)
    product = found.kernels[0]
    assert product.kind == "product of rows"
    assert "; without a name: exp" in found.llvm(product.name)
    assert f"define internal void @{product.function}(" in found.llvm(product.name)
    listing = found.assembly(product.name).splitlines()
    assert product.function in listing[0]
    assert sum(product.function in line for line in listing) == 1
    assert len(listing) > 20
    if named(name) != host():
        assert found.times is None
        assert product.seconds is None


def test_remarks_change_no_code():
    """Comments say which node is calculated, and that is all they do."""
    from backpass.native.compile import Compiler
    from backpass.native.engine import compile_text

    compilers = [Compiler(small_job(), host()) for _ in range(2)]
    compilers[1].remarks = True
    plain, remarked = (compiler.compile() for compiler in compilers)
    assert plain != remarked
    assert compile_text(plain, host()) == compile_text(remarked, host())


@pytest.mark.parametrize("name", ["a\nret void", "a\0b", "a\r;", "é\u2028"])
def test_no_name_of_a_layer_gets_into_the_code(name):
    """Whatever it holds, it stays one line of a comment."""
    trainer = bp.Trainer(nn.Sequential(**{name: nn.Dense(3)}), losses.CrossEntropy()).build(X)
    found = trainer.explanation(batch_size=16)
    assert name.encode("unicode_escape").decode() in found.llvm(found.kernels[0].name)
    trainer.fit(X, Y, epochs=1)


def test_memory_is_told_of_every_value_once(explained):
    """Places do not overlap, and lie in the arena."""
    values = [each for each in explained.values if not each.private]
    ends = [each.offset + each.bytes for each in values]
    assert all(end <= later.offset for end, later in zip(ends, values[1:], strict=False))
    assert ends[-1] <= explained._compiler.arena_bytes
    assert {"hidden.weight", "output.bias", "x", "y"} <= {each.name for each in values}


def test_text_for_people_is_80_columns_wide(explained):
    lines = explained.text(memory=True).splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line == line.rstrip() for line in lines)
    text = explained.text()
    assert "a training step on 20 rows" in text
    assert all(each.name in text for each in explained.kernels)
    assert "hidden: contract, add; relu: relu" in text


def test_one_kernel_by_its_name_or_a_layers(explained):
    assert [each.name for each in explained.chosen("0.0")] == ["0.0"]
    assert all("hidden'" in {node["name"] for node in each.nodes} for each in explained.chosen("hidden'"))
    with pytest.raises(UsageError, match=r"no kernel is called '9\.9'.*0\.0"):
        explained.text(kernel="9.9")


def test_a_trainer_explains_itself_before_and_after_training(trainer):
    """As soon as it knows its inputs; targets are then those that the loss takes."""
    fresh = bp.Trainer(nn.Dense(2), losses.Squared())
    with pytest.raises(UsageError, match="call build or fit first"):
        fresh.explain()
    assert "training step on 32 rows" in fresh.build(X).explain()
    assert "training step on 7 rows" in trainer.explain(batch_size=7)


@pytest.mark.parametrize(
    ("loss", "outputs"),
    [
        (losses.CrossEntropy(), 4),
        (losses.BinaryCrossEntropy(), 1),
        (losses.Squared(), 1),
        (losses.Squared(), 3),
        (losses.Hinge(), 1),
        (losses.Hinge(), 3),
        (losses.Poisson(), 1),
    ],
    ids=repr,
)
def test_targets_need_not_be_known(loss, outputs):
    """Of a model alone a training step can be built, whatever its loss."""
    trainer = bp.Trainer(nn.Dense(outputs), loss).build(X)
    assert trainer.explanation().times.whole > 0
    assert trainer.model().explanation(batch_size=9).job.rows == 9


def test_a_reference_trainer_and_a_weighted_one_explain_the_native_program():
    trainer = bp.Trainer(nn.Dense(3), losses.CrossEntropy(), executor="reference", precision="float64")
    trainer.fit(X, Y, epochs=1, weights=np.linspace(0, 1, 60))
    text = trainer.explain(memory=True)
    assert "float64" in text
    assert "\n  weights " in text


def test_a_program_that_cannot_run_a_step_is_explained_without_times():
    """Values that do not stay finite end the first step: nothing was measured."""
    trainer = bp.Trainer(nn.Dense(1), losses.Squared()).build(X)
    trainer._state.parameters["weight"] = np.full((5, 1), np.inf, np.float32)
    found = trainer.explanation()
    assert found.times is None
    assert "expected" in found.text()
