"""What users' own functions close over may change between trainings: the next one is by what it is then."""

import numpy as np
import pytest

import backpass as bp
from backpass import losses, nn, optimizers
from backpass.forward import flatten
from backpass.training.fingerprints import is_ours

X = np.linspace(-1, 1, 64).reshape(64, 1)


def _fitted_twice(make, change, executor):
    trainer = bp.Trainer(make(), losses.Squared(), optimizers.SGD(0.01), executor=executor, precision="float64")
    trainer.fit(X, X[:, 0], epochs=1, progress=False)
    change()
    trainer.fit(X, X[:, 0], epochs=1, progress=False)
    return [record["loss"] for record in trainer.history], trainer.predict(X[:3])


@pytest.mark.parametrize("kind", ["an array that is changed in place", "a number"])
def test_a_changed_closure_is_trained_with_by_both_executors(kind):
    found = []
    for executor in ("native", "reference"):
        held = np.array([1.0]) if kind.startswith("an") else [1.0]

        def network(held=held):
            def scaled(_, x):
                return x * (held if isinstance(held, np.ndarray) else held[0])

            return nn.Sequential(nn.Function(scaled), nn.Dense(1))

        def change(held=held):
            held[0] = 10.0

        found.append(_fitted_twice(network, change, executor))
    (losses_, predicted), (others, expected) = found
    np.testing.assert_allclose(losses_, others, rtol=1e-12)
    np.testing.assert_allclose(predicted, expected, rtol=1e-12)
    assert losses_[1] > 5 * losses_[0]


@pytest.mark.parametrize("executor", ["native", "reference"])
def test_after_a_change_answers_and_validation_are_of_what_was_trained(executor):
    """The answer is 10 x w + b, worked out here, though the network was asked before, when it was x w + b."""
    factor = [1.0]
    network = nn.Sequential(nn.Function(lambda _, x: x * factor[0]), last=nn.Dense(1))
    trainer = bp.Trainer(network, losses.Squared(), optimizers.SGD(0.01), executor=executor, precision="float64")
    held_out = (X, X[:, 0])
    trainer.fit(*held_out, epochs=1, progress=False, validation=held_out)
    trainer.predict(X)
    factor[0] = 10.0
    trainer.fit(*held_out, epochs=1, progress=False, validation=held_out)
    bias, weight = sorted(flatten(trainer.parameters), key=np.ndim)
    expected = 10 * X @ weight + bias
    np.testing.assert_allclose(trainer.predict(X).reshape(-1), expected[:, 0], rtol=1e-12)
    loss = np.mean((expected[:, 0] - X[:, 0]) ** 2)
    assert trainer.history[-1]["validation_loss"] == pytest.approx(loss, rel=1e-12)


def test_a_program_of_code_from_elsewhere_that_did_not_change_is_kept():
    def scaled(_, x):
        return x * 2.0

    network = nn.Sequential(nn.Function(scaled), nn.Dense(1))
    trainer = bp.Trainer(network, losses.Squared(), optimizers.SGD(0.01))
    machines = []
    for _ in range(2):
        trainer.fit(X, X[:, 0], epochs=1, progress=False)
        ((_, machine, _),) = trainer._kept.held
        machines.append(machine)
    assert machines[0] is machines[1]


def test_what_is_ours_is_known():
    """So that programs of usual networks are found again without a trace."""
    own = (
        nn.Sequential(nn.Dense(3, initializer=nn.Uniform(-1, 1)), nn.Dropout(0.1), nn.Residual(nn.Tanh()), nn.Dense(1)),
        nn.Ensemble(nn.Dense(2), 3),
        losses.CrossEntropy(),
        optimizers.Groups({"*.bias": optimizers.SGD(0.1), "*": optimizers.Adam(optimizers.Cosine(0.1))}),
        optimizers.Averaged(optimizers.Chain(optimizers.ClipByGlobalNorm(1.0), optimizers.AdamW())),
    )
    assert is_ours(own)
    assert not is_ours(nn.Sequential(nn.Function(lambda _, x: x)))
    assert not is_ours((np.ones(2),))
