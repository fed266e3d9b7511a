import pytest
from live_helpers import trained


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The folder of a run on iris: 6 epochs, 4 hidden nodes, one network."""
    return trained(tmp_path_factory.mktemp("runs") / "iris", epochs=6, hidden=[4])
