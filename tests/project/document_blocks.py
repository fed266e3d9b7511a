"""The fenced blocks of the documents, and running them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELLS = ("sh", "console")
NUMBER = re.compile(r"\d[\d,.]*(e[-+]?\d+)?")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its lines, where it begins, and the comment right above it."""

    language: str
    lines: tuple[str, ...]
    line: int
    comment: str

    @property
    def is_set_up(self) -> bool:
        return self.comment.startswith("set-up")

    @property
    def reason_not_to_run(self) -> str:
        """Given in a comment `<!-- not run: REASON -->`, else empty."""
        return self.comment.removeprefix("not run:").strip() if self.comment.startswith("not run:") else ""

    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """Each command with the output that is shown for it; a line that ends in \\ goes on in the next."""
        if self.language == "sh":
            yield "\n".join(self.lines), []
            return
        for part in re.split(r"^\$ ", "\n".join(self.lines), flags=re.MULTILINE)[1:]:
            command, _, shown = re.sub(r"\\\n>? *", "", part).partition("\n")
            yield command, [line for line in shown.splitlines() if line.strip() and line.strip() != "..."]


def blocks(document: Path) -> list[Block]:
    found, lines = [], document.read_text(encoding="utf-8").splitlines()
    place = 0
    while place < len(lines):
        fence = re.fullmatch(r"```(\w*)", lines[place])
        if fence is None:
            place += 1
            continue
        end = lines.index("```", place + 1)
        comment = re.fullmatch(r"<!-- (.*) -->", lines[place - 1]) if place else None
        found.append(Block(fence[1], tuple(lines[place + 1 : end]), place + 1, comment[1] if comment else ""))
        place = end + 1
    return found


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command in `folder`, with the programs of this environment on the path, and both outputs together."""
    programs = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    return subprocess.run(  # noqa: PLW1510 - the status is looked at by who calls
        ["bash", "-euo", "pipefail", "-c", command],  # noqa: S607
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )


def masked(line: str) -> str:
    """A line without what differs from machine to machine: numbers and widths of columns."""
    return " ".join(NUMBER.sub("#", line).split())


def first_lacking(shown: list[str], output: str) -> str | None:
    """The first shown line that the output does not have after those before it; None where it has all."""
    actual = iter([masked(line) for line in output.splitlines()])
    return next((line for line in shown if masked(line) not in actual), None)
