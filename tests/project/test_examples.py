"""The examples run, and each checks its own result."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(example, tmp_path):
    """From any folder, without a warning, with status 0: an example exits with another one where its result is off."""
    finished = subprocess.run(
        [sys.executable, "-W", "error", example], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_data_file_has_its_licence():
    """Each table in the repository, and each shipped with the package, stands in the licences beside it."""
    for folder in (ROOT / "examples" / "data", ROOT / "src" / "backpass" / "data" / "samples"):
        licences = (folder / "LICENCES.md").read_text(encoding="utf-8")
        tables = sorted(path.name for path in folder.glob("*.csv"))
        assert tables
        assert [name for name in tables if name not in licences] == []
