"""What the documents say is run: every command, every Python snippet, every output that is shown."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from document_blocks import DOCUMENTS, ROOT, SHELLS, Block, blocks, first_lacking, run


@pytest.fixture
def checkout(tmp_path):
    """A folder that looks like a checkout that was set up."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    return tmp_path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_of_a_document_runs(document, checkout):
    """Commands do what is shown (numbers aside); then the Python snippets run, one after another, as one program."""
    wanted = [block for block in blocks(document) if not block.reason_not_to_run]
    for block in wanted:
        if block.language in SHELLS:
            run_commands(document, block, checkout)
    snippets = ["\n".join(block.lines) for block in wanted if block.language == "python"]
    (checkout / "snippets.py").write_text("\n\n".join(snippets), encoding="utf-8")
    finished = run("python -W error snippets.py", checkout)
    assert finished.returncode == 0, f"{document.name}: {finished.stdout}"


def run_commands(document, block, checkout):
    for command, shown in block.commands():
        # Setting up is what .ci/run does, literally; what comes of it is looked at here.
        own = command.rpartition("&& ")[2] if block.is_set_up else command
        if "pytest" in own:
            continue
        finished = run(own, checkout)
        place = f"{document.name}, line {block.line}: {own}"
        expected = 2 if any(line.startswith("backpass: ") for line in shown) else 0
        assert finished.returncode == expected, f"{place}\n{finished.stdout}"
        lacking = first_lacking(shown, finished.stdout)
        assert lacking is None, f"{place}\nis shown to print: {lacking}\nprinted:\n{finished.stdout}"


def test_two_commands_set_everything_up():
    """The README has exactly two set-up commands, one line each: the first trains, the second runs the tests."""
    set_up = [block for block in blocks(ROOT / "README.md") if block.is_set_up]
    assert [len(block.lines) for block in set_up] == [1, 1]
    first, second = (block.lines[0] for block in set_up)
    assert "python3 -m venv .venv" in first
    assert first.endswith("backpass train examples/data/penguins.csv --target species")
    assert second == ".venv/bin/python -m pytest"


def test_what_is_not_run_says_why():
    """Fewer than four blocks of all documents are not run, each for a reason; every block names its language."""
    every = [block for document in DOCUMENTS for block in blocks(document)]
    assert all(block.language in (*SHELLS, "python", "text") for block in every)
    reasons = [block.reason_not_to_run for block in every if block.comment.startswith("not run")]
    assert len(reasons) < 4
    assert all(reasons)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    """Every relative link is to a file that is there."""
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_shown_output_is_compared_without_its_numbers():
    """Numbers and widths may differ, words may not; lines may be left out, but not change places."""
    assert first_lacking(["loss 0.5  at 3"], "note\nloss 0.25 at 17\n") is None
    assert first_lacking(["loss 0.5", "epochs 3"], "epochs 4\nloss 1.0") == "epochs 3"
    assert first_lacking(["loss 0.5"], "lost 0.5") == "loss 0.5"


def test_commands_are_told_from_output():
    """In a console block `$ ` begins a command; a backslash at the end of a line joins the next to it."""
    block = Block("console", ("$ a \\", "    --b", "out", "...", "$ c"), 1, "")
    assert list(block.commands()) == [("a --b", ["out"]), ("c", [])]
