"""What is installed: the package, its marker of types, its sample, and nothing else."""

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import backpass

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not there: pip install '.[test]'")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as opened:
        yield opened


def test_the_wheel_holds_what_is_needed(wheel):
    """Types, the sample table, what pages are made of, and licences are installed; tests, caches and runs are not."""
    names = set(wheel.namelist())
    needed = {"py.typed", "cli/main.py", "data/samples/iris.csv", "data/samples/LICENCES.md", "ledger/page.html"} | {
        "live/assets/index.html",
        "live/assets/main.js",
    }
    assets = {"charts.js", "style.css", "uPlot.LICENSE", "uPlot.iife.min.js", "uPlot.min.css"}
    assert {f"backpass/{name}" for name in needed | {f"pages/assets/{name}" for name in assets}} <= names
    assert {name.split("/")[0] for name in names} == {"backpass", f"backpass-{backpass.__version__}.dist-info"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_the_wheel_says_what_it_is(wheel):
    """Version, licence and the least Python stand in the metadata; the command has its entry."""
    information = f"backpass-{backpass.__version__}.dist-info"
    metadata = Parser().parsestr(wheel.read(f"{information}/METADATA").decode())
    assert metadata["Version"] == backpass.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "backpass = backpass.cli.main:main" in wheel.read(f"{information}/entry_points.txt").decode()
