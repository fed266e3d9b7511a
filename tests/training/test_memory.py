"""What a training needs of memory: said before it starts, near to what it takes, and with what would need less."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from backpass import losses, nn, optimizers
from backpass.data.arrays import row_shape
from backpass.errors import UsageError
from backpass.forward import flatten
from backpass.ops import Key
from backpass.training import Trainer
from backpass.training.memory import Training, _Estimate, _total, check_memory
from backpass.training.rows import Rows

MIB = 1 << 20


def training(widths=(512, 512), features=32, rows=4096, batch_size=4096, **options):
    """A training of a network of dense layers with three classes."""
    rng = np.random.default_rng(0)
    layers = [layer for width in widths for layer in (nn.Dense(width), nn.ReLU())]
    data = Rows(rng.random((rows, features), np.float32), rng.integers(0, 3, rows), None, "float32")
    values = {
        "network": nn.Sequential(*layers, nn.Dense(3)),
        "loss": losses.CrossEntropy(),
        "optimizer": optimizers.Adam(),
        "data": data,
        "held_out": None,
        "row_shape": row_shape(data.inputs),
        "batch_size": batch_size,
        "precision": "float32",
        "executor": "native",
    }
    return Training(**(values | options))


@pytest.mark.parametrize("executor", ["native", "reference"])
def test_a_training_that_fits_is_let_through(executor):
    """Exactly what is needed is enough, and a limit that is not known is none."""
    work = training(executor=executor)
    check_memory(work, free=work.need().total)
    check_memory(work)


@pytest.mark.parametrize("executor", ["native", "reference"])
def test_one_that_does_not_fit_is_told_in_one_line_with_a_batch_that_would(executor):
    """The line says what is needed, what there is, and the largest batch that fits; that one then does."""
    work = training(executor=executor)
    need, small = work.need().total, work.need(512).total
    with pytest.raises(
        UsageError, match=r"needs about .* MiB, and .* MiB are free here: --batch-size 512 would"
    ) as told:
        check_memory(work, free=(small + work.need(1024).total) // 2)
    assert "\n" not in str(told.value)
    assert small < need
    check_memory(replace(work, batch_size=512), free=small)


def test_where_no_batch_helps_the_advice_is_another():
    """Many parameters want fewer layers, many rows fewer rows."""
    wide = training(widths=(4096, 4096), rows=64, batch_size=64)
    with pytest.raises(UsageError, match=r"choose fewer or smaller layers \(--hidden\)"):
        check_memory(wide, free=wide.need().total // 4)
    long = training(widths=(4,), features=2, rows=3_000_000, batch_size=64)
    with pytest.raises(UsageError, match="give fewer rows"):
        check_memory(long, free=long.need().rows // 2)


def test_a_network_that_no_machine_holds_is_told_without_being_made():
    """Weights of some 20 TiB are counted, not drawn."""
    rows = Rows(np.zeros((4, 3)), np.zeros((4, 1)), None, "float32")
    network = nn.Sequential(nn.Dense(1 << 21), nn.Dense(1 << 21), nn.Dense(1))
    work = training(network=network, loss=losses.Squared(), data=rows, row_shape=(3,))
    with pytest.raises(UsageError, match=r"training needs about \d+ TiB, and 64 GiB are free here: choose fewer"):
        check_memory(work, free=64 << 30)


@pytest.mark.parametrize(
    "optimizer",
    [optimizers.SGD(), optimizers.Adam(), optimizers.Groups({"*bias": optimizers.SGD(), "*": optimizers.Momentum()})],
    ids=str,
)
def test_the_optimizers_state_is_counted_as_it_is(optimizer):
    """As many bytes as its arrays really have."""
    work = training(optimizer=optimizer)
    real = optimizer.init(work.network.init(work.row_shape, Key.of(0)))
    counted = _total(_Estimate(work).state)
    assert counted * 2 == sum(np.asarray(leaf).nbytes for leaf in flatten(real))  # these are in float64


def test_each_part_grows_with_what_it_is_of():
    """Held-out rows, copies, precision, and parameters that are there already."""
    work = training()
    need = work.need()
    held_out = Rows(np.zeros((50_000, 32), np.float32), np.zeros(50_000, int), None, "float32")
    assert replace(work, held_out=held_out).need().validation > need.validation == 0
    assert replace(work, copies=3).need().learned > need.learned
    assert replace(work, precision="float64").need().step > 1.7 * need.step
    assert replace(work, parameters=work.network.init((32,), Key.of(0))).need().start == 0 < need.start


def test_what_a_training_before_has_left_is_not_counted_again():
    """Its program where the batch is the same, and its parameters and state."""
    work = training()
    need = work.need()
    begun = replace(work, parameters=work.network.init((32,), Key.of(0)), copies=2)
    learned = 3 * _total(_Estimate(begun).parameters)  # and Adam's two
    assert begun.need().learned == replace(begun, copies=3).need().learned - learned
    again = replace(begun, running=True)
    assert (again.need().step, again.need().code) == (0, 0) < (need.step, need.code)
    assert again.need(512).step == begun.need(512).step > 0
    check_memory(again, free=again.need().total)
    with pytest.raises(UsageError, match="training needs about"):
        check_memory(begun, free=again.need().total)
    reference = replace(again, executor="reference")
    assert reference.need().step == replace(reference, running=False).need().step > 0


def test_a_layer_of_ones_own_that_cannot_be_looked_into_is_tried():
    """Where the first weights cannot be known without being made, nothing is claimed."""

    class Own(nn.Dense):
        def init(self, shape, key, after=None):
            return {"weight": np.linalg.qr(super().init(shape, key, after)["weight"])[0]}

    check_memory(training(network=Own(2)), free=1)


MEASURED = """
import json, re, sys
import numpy as np
import backpass as bp
from backpass import losses, nn, optimizers
from backpass.data.arrays import row_shape
from backpass.training import EarlyStopping
from backpass.training import Trainer
from backpass.training.memory import Training
from backpass.training.rows import Rows

def status(name):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

rng = np.random.default_rng(0)
shape, executor = sys.argv[1:]
widths, features, rows, batch, held = {
    "wide": ((2000, 1500), 800, 128, 64, 0),
    "batch": ((512, 512), 64, 10_000, 10_000, 0),
    "rows": ((16,), 10, 2_000_000, 8192, 2_000_000),
    "deep": ((500,) * 6, 50, 4096, 4096, 4096),
}[shape]
x, y = rng.random((rows, features), np.float32), rng.integers(0, 3, rows)
v = (rng.random((held, features), np.float32), rng.integers(0, 3, held)) if held else None
network = nn.Sequential(*(layer for n in widths for layer in (nn.Dense(n), nn.ReLU())), nn.Dense(3))
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
data, held_out = Rows(x, y, None, "float32"), None if v is None else Rows(*v, None, "float32")
need = Training(
    network, losses.CrossEntropy(), optimizers.Adam(), data, held_out, row_shape(data.inputs), batch, "float32",
    executor, copies=2 if held else 1,
).need()
trainer = bp.Trainer(network, losses.CrossEntropy(), batch_size=batch, executor=executor)
trainer.fit(x, y, epochs=2, validation=v, stopping=EarlyStopping(3) if held else None)
print(json.dumps([need.total, status("VmHWM") - before]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of memory is read from Linux's /proc")
@pytest.mark.parametrize(
    ("shape", "executor"),
    [
        *((shape, "native") for shape in ("wide", "batch", "rows", "deep")),
        ("wide", "reference"),
        ("batch", "reference"),
    ],
)
def test_the_estimate_is_near_what_a_training_takes(shape, executor):
    """Between 0.7 and 1.5 times the growth of the process to its peak, in a process of its own."""
    arguments = [sys.executable, "-c", MEASURED, shape, executor]
    found = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert not found.returncode, found.stderr
    need, measured = json.loads(found.stdout)
    assert 0.7 < need / measured < 1.5, f"estimated {need / MIB:.0f} MiB, measured {measured / MIB:.0f} MiB"


def test_a_training_of_the_size_of_the_last_is_let_through_unseen(monkeypatch):
    """It has all that one left; another number of rows, or another program, is looked at again."""
    looked = []
    monkeypatch.setattr("backpass.training.trainer.check_memory", lambda work: looked.append(work.data.count))
    trainer = Trainer(nn.Dense(1), losses.Squared(), batch_size=4)
    x, y = np.ones((12, 2)), np.ones(12)
    for count in (12, 12, 8, 8, 12):
        trainer.fit(x[:count], y[:count], epochs=1)
    assert looked == [12, 8, 12]
    trainer.optimizer = optimizers.SGD(0.1)
    trainer.fit(x, y, epochs=1)
    trainer.batch_size = 6
    trainer.fit(x, y, epochs=1)
    assert looked == [12, 8, 12, 12, 12]
