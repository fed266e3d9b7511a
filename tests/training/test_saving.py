"""When a training is saved, and where."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backpass.errors import OutputError
from backpass.training.checkpoints import ABSENT
from backpass.training.history import History
from backpass.training.saving import Checkpoints, Keeper, _Table


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


RECORDS = st.lists(st.dictionaries(st.sampled_from(["epoch", "loss", "m"]), st.floats(allow_nan=False)), max_size=9)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 9), RECORDS), max_size=6))
@example([(0, [{"loss": 1.0}, {"loss": 2.0}]), (0, [{"loss": 3.0}]), (0, [{"loss": 4.0}])])
@example([(0, [{"loss": float(i)} for i in range(65)]), (63, [{"loss": 0.5}] * 80), (65, [{"m": 1.0}])])
def test_the_table_of_a_history_that_grows_or_goes_back_is_that_of_a_new_one(changes):
    """However many records are taken away and come, with whatever names; and no row handed out before changes."""
    table, history, earlier = _Table(), History(), []
    for kept, more in changes:
        del history[kept:]
        history += more
        names, rows = table.of(history)
        fresh, expected = _Table().of(history)
        assert set(fresh) <= set(names)
        for name in names:
            column = expected[:, fresh.index(name)] if name in fresh else np.full(len(history), ABSENT)
            assert rows[:, names.index(name)].tobytes() == column.tobytes()
        assert rows.shape == (len(history), len(names))
        earlier.append((rows, rows.copy()))
        assert all(now.tobytes() == then.tobytes() for now, then in earlier)


def test_a_training_that_may_not_begin_leaves_the_folder_free(tmp_path):
    """A folder that holds checkpoints is not locked by who was refused; a place that is no folder is told."""
    Keeper(Checkpoints(tmp_path / "c"), {}, fresh=True).close()
    (tmp_path / "c" / "step-000000000001.safetensors").touch()
    with pytest.raises(OutputError, match="holds checkpoints already"):
        Keeper(Checkpoints(tmp_path / "c"), {}, fresh=True)
    Keeper(Checkpoints(tmp_path / "c"), {}, fresh=False).close()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file: cannot be made a folder \(File exists\): choose another place"):
        Keeper(Checkpoints(tmp_path / "file"), {}, fresh=True)
    Keeper(Checkpoints(tmp_path / "new" / "folder"), {}, fresh=True).close()
    assert (tmp_path / "new" / "folder").is_dir()
