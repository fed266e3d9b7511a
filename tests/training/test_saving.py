"""When a training is saved."""

import pytest

from backpass.training.saving import Checkpoints, Keeper


@pytest.fixture
def keeper(tmp_path, monkeypatch):
    """Makes a Keeper whose clock stands still, until `keeper.now` is set."""

    def made(**options):
        found = Keeper(Checkpoints(tmp_path, **options), {}, fresh=True)
        found.now = found._saved
        monkeypatch.setattr("backpass.training.saving.time.monotonic", lambda: found.now)
        return found

    return made


def test_it_is_due_after_every_so_many_epochs(keeper):
    """With epochs=3 a checkpoint is due after epochs 3, 6 and 9, and no epochs run at once across one of these."""
    kept = keeper(epochs=3)
    assert [epoch for epoch in range(1, 10) if kept.due_after(epoch)] == [3, 6, 9]
    assert [kept.epochs_until(epoch) for epoch in range(7)] == [3, 2, 1, 3, 2, 1, 3]
    kept.close()


def test_it_is_due_when_the_time_is_over(keeper):
    """With seconds alone the time since the last one decides, and any number of epochs may run at once."""
    kept = keeper(seconds=5)
    assert kept.epochs_until(4) is None
    begun = kept.now
    for passed, due in ((0, False), (4.9, False), (5, True), (60, True)):
        kept.now = begun + passed
        assert (kept.due(), kept.due_after(1)) == (due, due)
    kept.close()
