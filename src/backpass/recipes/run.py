"""The folder of a run: what was asked, how it went, and the model."""

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from backpass.errors import OutputError
from backpass.model import Model
from backpass.model.atomic import write_whole
from backpass.training import History

FORMAT = 1
CLAIM = ".training"  # stands in a folder of the user's while a run is on its way
FILES = ("run.json", "history.jsonl", "model.safetensors")


@contextmanager
def folder_for(out: Path | None, table: str, target: str) -> Iterator[Path]:
    """The folder for a run, `out` or a new one in runs/. Where the run fails, nothing of it is left behind.

    Raises:
        OutputError: it holds something already, or cannot be made.
    """
    wanted = Path("runs") if out is None else out
    absent = [place for place in (wanted, *wanted.parents) if not os.path.lexists(place)]
    made: list[Path] = []
    try:
        made.append(new_folder(table, target, wanted) if out is None else named_folder(out))
        yield made[0]
        (made[0] / CLAIM).unlink(missing_ok=True)
    except BaseException:
        for file in (folder / name for folder in made for name in (*FILES, CLAIM)):
            file.unlink(missing_ok=True)
        for folder in dict.fromkeys([*(made if out is None else ()), *absent]):
            with suppress(OSError):
                folder.rmdir()
        raise


def new_folder(table: str, target: str, parent: Path = Path("runs")) -> Path:
    """A new folder for a run, as runs/loans-default-3: the first number that is free.

    Raises:
        OutputError: no folder can be made there.
    """
    stem = "-".join(filter(None, (_plain(table.partition(".")[0]), _plain(target)))) or "run"
    if os.path.lexists(parent) and not parent.is_dir():
        raise OutputError(f"{parent}: is a file, expected a folder for runs: give --out FOLDER")
    for number in range(1, 1_000_000):
        folder = parent / f"{stem}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({error.strerror}): give --out FOLDER") from None
        return folder
    raise OutputError(f"{parent}: holds a million runs of {stem}: give --out FOLDER")


def named_folder(path: Path) -> Path:
    """The folder the user named, made if it is not there.

    Raises:
        OutputError: it holds something already, or cannot be made.
    """
    check_free(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / CLAIM).touch(exist_ok=False)  # of two trainings that begin at once, one finds it there
    except FileExistsError:
        raise OutputError(f"{path}: another training is writing there: choose another --out") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be made a folder ({error.strerror}): choose another --out") from None
    return path


def check_free(path: Path) -> None:
    """See, before any work is done, that a folder named by the user would not be written over.

    Raises:
        OutputError: it is there and holds something, or is no folder.
    """
    try:
        occupied = path.exists() and any(path.iterdir())
    except OSError as error:
        raise OutputError(f"{path}: cannot be made a folder ({error.strerror}): choose another --out") from None
    if occupied:
        raise OutputError(f"{path}: is a folder with something in it: choose another --out, nothing is written over")


def write_run(folder: Path, model: Model, history: History, asked: dict[str, Any], outcome: dict[str, Any]) -> None:
    """The files of a finished run. The model comes last: where it is, the others are."""
    from backpass import __version__

    versions = {"backpass": __version__, "python": platform.python_version(), "numpy": np.__version__}
    content = {"format": FORMAT, "asked": asked, "versions": versions, "outcome": outcome}
    write_whole(folder / "run.json", (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
    write_whole(folder / "history.jsonl", "".join(json.dumps(record) + "\n" for record in history).encode())
    model.save(folder / "model.safetensors")


def fingerprint(path: str) -> str | None:
    """The sha256 of a file's bytes; None where they cannot be read a second time, as those of standard input."""
    with suppress(OSError):
        if path != "-" and Path(path).is_file():
            with Path(path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def _plain(name: str) -> str:
    """`name` as part of a folder's name: letters, digits, _ and - alone."""
    return "".join(c if c.isalnum() or c in "_-" else "-" for c in name).strip("-")[:40]
