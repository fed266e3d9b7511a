import pytest
from cli_helpers import IRIS, QUICK, Ran, status_of


@pytest.fixture
def run(tmp_path, monkeypatch, capfdbinary):
    """Runs the command in an empty folder, and says what it did."""
    monkeypatch.chdir(tmp_path)

    def ran(*arguments):
        capfdbinary.readouterr()
        status = status_of(arguments)
        out, err = capfdbinary.readouterr()
        return Ran(status, out.decode(), err.decode())

    return ran


@pytest.fixture(scope="session")
def iris_run(tmp_path_factory):
    """The folder of a run on iris, trained for two epochs."""
    folder = tmp_path_factory.mktemp("runs") / "iris"
    assert status_of(["train", IRIS, "--target", "species", "--quiet", "--out", folder, *QUICK]) == 0
    return folder
