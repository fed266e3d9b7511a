"""The same bits at any number of threads, from run to run, and with compiled code made now or kept from before."""

from dataclasses import replace

import numpy as np
import pytest
from native_helpers import Work, differences, digest, trained

from backpass import losses, nn, optimizers
from backpass.native import NativeProgram

rng = np.random.default_rng(11)
THREADS = (1, 2, 3, 4, 7)


def plain():
    net = nn.Sequential(nn.Dense(33), nn.ReLU(), nn.Dropout(0.3), nn.Dense(17), nn.Tanh(), nn.Dropout(0.1), nn.Dense(5))
    return Work(
        net, losses.CrossEntropy(), optimizers.Adam(0.01), rng.normal(size=(201, 13)), rng.integers(0, 5, 201), None, 64
    )


def of_many_kinds():
    inputs = {"x": rng.normal(size=(201, 3)), "level": rng.integers(0, 11, 201), "other": rng.integers(0, 4, 201)}
    net = nn.Sequential(
        nn.Concatenate(x=nn.Dense(7), level=nn.Embedding(11, 5), other=nn.Embedding(4, 2)),
        nn.Residual(nn.Dense(14), nn.GELU(), nn.Dropout(0.2)),
        nn.Dense(1),
    )
    rule = optimizers.Chain(optimizers.ClipByGlobalNorm(0.1), optimizers.WeightDecay(0.01), optimizers.Nesterov(0.02))
    return Work(net, losses.Huber(), rule, inputs, rng.normal(size=201), rng.uniform(0.1, 2, 201), 48)


WORKS = {"plain": plain(), "of many kinds": of_many_kinds()}


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", WORKS)
def test_any_number_of_threads_gives_the_same_bits(name, precision):
    """Parameters and optimizer state after three epochs, with dropout, and a smaller batch at the end of each."""
    digests = {
        threads: digest(trained(WORKS[name], "native", threads=threads, precision=precision)) for threads in THREADS
    }
    assert len(set(digests.values())) == 1, digests


def test_batches_smaller_than_the_threads_are_many():
    """Then some threads have no rows."""
    work = replace(WORKS["plain"], batch_size=2)
    assert len({digest(trained(work, "native", threads=threads, epochs=1)) for threads in (1, 3, 7)}) == 1


def test_code_kept_from_before_gives_the_bits_of_code_made_now(tmp_path, monkeypatch):
    """Made without a folder, made into one, and found there."""
    found = []
    for folder in ("off", str(tmp_path / "kept"), str(tmp_path / "kept")):
        monkeypatch.setenv("BACKPASS_CACHE", folder)
        found.append(digest(trained(WORKS["of many kinds"], "native", threads=2, precision="float32")))
    assert len(set(found)) == 1
    assert list((tmp_path / "kept").rglob("*.object"))


def test_the_number_of_threads_chosen_by_itself_gives_the_same_bits_too():
    work = WORKS["plain"]
    assert digest(trained(work, "native")) == digest(trained(work, "native", threads=1))


def test_losses_of_epochs_are_equal_too():
    one, three = (trained(WORKS["of many kinds"], "native", threads=threads) for threads in (1, 3))
    assert max(differences(one, three).values()) == 0


def test_predictions_do_not_depend_on_threads():
    trainer = trained(WORKS["plain"], "native", epochs=1)
    inputs = rng.normal(size=(301, 13))
    forward = trainer._forward
    found = []
    for threads in (1, 2, 5):
        program = NativeProgram(forward._graph, threads=threads)
        parameters = [trainer.parameters[name][key] for name in trainer.parameters for key in trainer.parameters[name]]
        found.append(program(*parameters, inputs)[0].tobytes())
    assert len(set(found)) == 1
