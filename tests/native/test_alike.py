"""Kernels that are alike have one function, and are written once."""

import numpy as np
import pytest

import backpass as bp
from backpass import losses, nn, ops, optimizers
from backpass.forward import flatten
from backpass.native import Machine
from backpass.native.compile import Compiler
from backpass.native.target import host
from backpass.ops.kinds import Pointwise

rng = np.random.default_rng(5)
ROWS = 40
X = {
    "numbers": rng.normal(size=(ROWS, 3)),
    "level": rng.integers(0, 4, ROWS),
    "fold": rng.integers(0, 2, ROWS),
}
Y = rng.integers(0, 3, ROWS)


def sequence(units):
    inputs = nn.Concatenate(numbers=nn.Periodic((0, 1), 4), level=nn.Embedding(4, 2))
    return nn.Sequential(
        inputs=inputs, hidden=nn.Dense(units), mish=nn.Mish(), dropout=nn.Dropout(0.3), output=nn.Dense(3)
    )


def blend(count, units=20):
    """As `--effort best` has it: kinds side by side, with dropout, each with the rows of a fold left out."""
    plain = nn.Sequential(inputs=nn.Concatenate(numbers=nn.Identity(), level=nn.Embedding(4, 2)), output=nn.Dense(3))
    return nn.CrossFitted(nn.Blend(sequence(units), 2 * count, others=(plain,)), 2)


def trainer(network, **options):
    rule = optimizers.Averaged(optimizers.AdamW(0.01), 0.9)
    return bp.Trainer(network, losses.CrossEntropy(), rule, batch_size=16, seed=3, **options)


def jobs_of(network, monkeypatch, **options):
    """Those of a training's two programs."""
    jobs = []

    class Noting(Machine):
        def __init__(self, job, *target):
            jobs.append(job)
            super().__init__(job, *target)

    for module in ("backpass.native", "backpass.native.program"):
        monkeypatch.setattr(f"{module}.Machine", Noting)
    trainer(network, **options).fit(X, Y, epochs=1, validation=(X, Y))
    return jobs


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_kernel_that_is_like_another_would_be_written_in_the_same_words(precision, threads, monkeypatch):
    """The text of a program is the same where each kernel is written, and those of equal text are found after that."""
    for job in jobs_of(blend(5), monkeypatch, precision=precision, threads=threads):
        once, each = Compiler(job, host()), Compiler(job, host())
        forms = {}
        monkeypatch.setattr(each, "_forms", type("Forgetful", (dict,), {"__contains__": lambda *_: False})(forms))
        texts = once.compile(), each.compile()
        assert texts[0] == texts[1]
        assert len(once._forms) < len(once.calls) / 2


def test_networks_side_by_side_share_their_functions(monkeypatch):
    """However many there are: a program of eight of each kind has no more functions than one of four."""
    counts = []
    for count in (4, 8):
        step, forward = (Compiler(job, host()) for job in jobs_of(blend(count), monkeypatch))
        counts.append([len((program.compile(), program.module.functions)[1]) for program in (step, forward)])
    assert counts[0] == counts[1]


def test_what_differs_in_a_number_alone_is_given_it():
    """Dropout has a stream of its own in each network, and a fold: in both executors it is the same training."""
    network, found = blend(4), []
    for executor in ("native", "reference"):
        one = trainer(network, precision="float64", executor=executor)
        one.fit(X, Y, epochs=3)
        found.append([*flatten(one.parameters), one.outputs(X | {"fold": X["fold"] - 1})])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


def test_parts_of_a_kernel_that_have_little_in_common_stay_one_function(monkeypatch):
    """Those of a network alone do. What eight side by side make of their inputs has one function for all of them."""
    kernels = []
    for network in (sequence(20), blend(8)):
        forward = Compiler(jobs_of(network, monkeypatch)[1], host())
        forward.compile()
        kernels.append({call.function for call in forward.calls if call.function.startswith("kernel.0.0")})
    alone, beside = kernels
    assert alone == {"kernel.0.0"}
    assert beside == {"kernel.0.0.0", "kernel.0.0.8"}


class Amount:
    """A number that shows itself as all others do."""

    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return "an amount"


TIMES = Pointwise(
    name="times",
    forward=lambda x, by: x * by.value,
    derivative=lambda dy, y, x, by: (dy * by.value,),
    takes="real",
    lower=lambda write, x, by: write.multiply(x, by.value),
)


def test_operations_with_other_objects_are_not_alike_however_these_show_themselves():
    """Six networks side by side, each with a factor of its own in an operation from elsewhere."""
    found, x = [], rng.normal(size=(ROWS, 4))
    for executor in ("native", "reference"):
        amounts = [Amount(number + 1.0) for number in range(6)]
        scaled = [nn.Function(lambda _, x, by=by: ops.apply(TIMES, x, by=by)) for by in amounts]
        kinds = [nn.Sequential(nn.Dense(8), times, nn.Dense(2)) for times in scaled]
        network = nn.Sequential(nn.Concatenate(*kinds), nn.Dense(1))
        options = {"batch_size": 16, "seed": 1, "precision": "float64", "executor": executor}
        own = bp.Trainer(network, losses.Squared(), optimizers.SGD(0.001), **options)
        own.fit(x, x[:, 0], epochs=2)
        found.append(own.outputs(x))
    np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-12)
