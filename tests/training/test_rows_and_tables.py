"""The Trainer on tables, and what weights of rows and classes mean in its history."""

import numpy as np
import polars as pl
import pytest

from backpass import Trainer, losses, nn, optimizers
from backpass.errors import UsageError


def table(rows=120):
    rng = np.random.default_rng(0)
    x = rng.normal(size=rows)
    return pl.DataFrame({"x": x, "z": rng.normal(size=rows), "y": np.where(x > 0, "yes", "no")})


def logistic(**options):
    return Trainer(nn.Sequential(nn.Dense(1)), losses.BinaryCrossEntropy(), optimizers.Adam(0.05), **options)


def test_a_trainer_takes_a_table_and_answers_in_its_labels():
    trainer = logistic()
    trainer.fit(table(), "y", epochs=30, validation=table())
    answers = trainer.model().predict(table())
    assert set(answers) == {"yes", "no"}
    assert (answers == table()["y"].to_numpy()).mean() > 0.9


def test_a_trainer_that_learned_one_target_refuses_another():
    trainer = logistic()
    trainer.fit(table(), "y", epochs=1)
    with pytest.raises(UsageError, match='learns "y", found "x"'):
        trainer.fit(table(), "x", epochs=1)


def test_the_loss_of_an_epoch_is_the_mean_over_rows_by_their_weights_whatever_the_batches():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(200, 3)), rng.integers(0, 2, 200)
    weights = np.where(np.arange(200) < 190, 1e-3, 1.0)
    trainer = Trainer(nn.Sequential(nn.Dense(1)), losses.BinaryCrossEntropy(), optimizers.SGD(1e-12), batch_size=64)
    history = trainer.fit(X, y, weights=weights, epochs=1)
    outputs = trainer.outputs(X)
    assert history[0]["loss"] == pytest.approx(float(losses.BinaryCrossEntropy()(outputs, y, weights)), rel=1e-5)


def test_class_weights_weigh_the_validation_loss_as_they_weigh_training():
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(100, 2)), (np.arange(100) < 20).astype(int)
    trainer = Trainer(nn.Sequential(nn.Dense(1)), losses.BinaryCrossEntropy(), optimizers.SGD(1e-12), batch_size=100)
    history = trainer.fit(X, y, epochs=1, validation=(X, y), class_weights={0: 1.0, 1: 4.0})
    assert history[0]["validation_loss"] == pytest.approx(history[0]["loss"], rel=1e-5)


def test_without_validation_rows_a_plateau_is_seen_in_the_training_loss():
    X, y = np.zeros((8, 1)), np.zeros(8, int)
    rate = optimizers.ReduceOnPlateau(1e-12, factor=0.5, patience=0, minimum=0.0)
    trainer = Trainer(nn.Sequential(nn.Dense(1)), losses.BinaryCrossEntropy(), optimizers.SGD(rate), batch_size=8)
    trainer.fit(X, y, epochs=6)
    assert any(0 < value < 1e-12 for value in _numbers(trainer._state.optimizer))


def _numbers(structure):
    if isinstance(structure, dict):
        return [number for part in structure.values() for number in _numbers(part)]
    if isinstance(structure, (list, tuple)):
        return [number for part in structure for number in _numbers(part)]
    return [float(structure)] if np.ndim(structure) == 0 else []
