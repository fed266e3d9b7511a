"""What stands in the repository's files."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("src", "tests", "docs", "examples", "benchmarks", ".ci")
TEXT = {".py", ".md", ".toml", ".csv", ".yaml", ""}
# In parts, so that this file is free of them too.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:" + "|".join(["ho" + "me", "ro" + "ot", "wo" + "rk", "Us" + "ers"]) + r")/\w")


def written_files():
    """Every file of the repository that holds text; caches and environments are no part of it."""
    inside = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    files = [path for path in [*ROOT.iterdir(), *inside] if path.is_file() and path.suffix in TEXT]
    return [path for path in files if "__pycache__" not in path.parts and path.name != ".coverage"]


def test_no_file_names_a_place_on_one_machine():
    """No absolute path into somebody's home or checkout."""
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in written_files()
        for match in MACHINE_PATH.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_every_dependency_has_its_reason():
    """Each package that pyproject.toml names stands in docs/decisions.md."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"\ndependencies = (.*?)\n\[project\.scripts\]", text, re.DOTALL)
    names = set(re.findall(r'"([a-z-]+)(?:[><=]=)', listed[1]))
    assert {"click", "numpy", "polars", "hypothesis", "torch", "ruff"} <= names
    decisions = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    assert [name for name in sorted(names) if name not in decisions] == []


def test_the_version_is_one():
    """pyproject.toml, the package and the changelog agree on the version."""
    from backpass import __version__

    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
