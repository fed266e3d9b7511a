"""Running the command: in this process for most tests, in a process of its own where that matters."""

import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from backpass.cli.main import main

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "data"
SHARED = ROOT.parent / "shared" / "data"
IRIS = str(EXAMPLES / "iris.csv")
PENGUINS = str(EXAMPLES / "penguins.csv")
ABALONE = str(EXAMPLES / "abalone.csv")
QUICK = ["--effort", "fast", "--epochs", "2", "--hidden", "4"]
BRIEF = ["--batch-size", "128"]
"""With QUICK so few steps of abalone that the doctor is not asked why it is no better, which takes seconds."""

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the folder ../shared/data with large tables is not here")


class Ran(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def rows(self):
        """Standard output as the rows of a CSV file, header first."""
        return list(csv.reader(io.StringIO(self.out)))


def status_of(arguments):
    """The exit status of the command, run in this process."""
    try:
        main([str(each) for each in arguments])
    except SystemExit as end:
        return 0 if end.code is None else end.code
    return 0


def process(*arguments, **options):
    """The command in a process of its own."""
    found = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )
    return Ran(found.returncode, found.stdout, found.stderr)


def command(*arguments):
    """The words that start the command, wherever it is installed."""
    return [sys.executable, "-c", "from backpass.cli.main import main; main()", *map(str, arguments)]


def write(path, header, rows, delimiter=","):
    """A CSV file, quoted where it must be."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return str(path)
