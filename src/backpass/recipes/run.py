"""The folder of a run: what was asked, how it went, its checkpoints, and the model.

run.json            what was asked, of which data, on which machine, how far it came, and what came of it
history.jsonl       one line an epoch
checkpoints/        what it takes to go on, or to make any step again
model.safetensors   the network; `backpass predict` reads it
folds.json          of a cross-validation, what came of each part
scored.safetensors  where that was trained again on all rows, the network that was scored
report.html         all of it to look at; nothing reads it
"""

import json
import os
import shutil
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from backpass.data import Table
from backpass.errors import BackpassError, NotSavedError, OutputError, UsageError
from backpass.model import Model
from backpass.model.file import to_bytes
from backpass.recipes import fields
from backpass.recipes.fields import NO_FILE, TRAINING
from backpass.recipes.provenance import circumstances, fingerprint
from backpass.storage import disk
from backpass.storage.atomic import reason, write_whole
from backpass.storage.locks import NAME as LOCK
from backpass.storage.locks import FolderLock
from backpass.training import Checkpoints, History, Steering

FORMAT = 4
CHECKPOINTS, AGAIN = "checkpoints", "checkpoints-again"
FOLDS = "folds.json"
MODEL, SCORED = "model.safetensors", "scored.safetensors"
HISTORY = "history.jsonl"
SECONDS = 60.0  # from one checkpoint to the next
NOTED = 0.5  # seconds from one look for new epochs to the next
FILES = ("run.json", HISTORY, FOLDS, MODEL, SCORED, "report.html")
LARGEST = 1 << 26  # bytes of a run.json
LARGEST_HISTORY = 1 << 28


@contextmanager
def folder_for(out: Path | None, table: str, target: str) -> Iterator[Path]:
    """The folder for a run, `out` or a new one in runs/, locked. Where the run fails before anything was saved that
    took work, and before its training ended, nothing of it is left behind.

    Raises:
        OutputError: it holds something already, or cannot be made.
    """
    wanted = Path("runs") if out is None else out
    absent = _absent(wanted)
    made: list[Path] = []
    lock: FolderLock | None = None
    try:
        made.append(new_folder(table, target, wanted) if out is None else _named_folder(out))
        lock = FolderLock(made[0])
        check_free(made[0])  # another may have been there in between
        yield made[0]
    except BaseException as error:
        if made and lock is not None and not has_saved(made[0]) and not isinstance(error, NotSavedError):
            _remove_all(made[0])
        if lock is not None:
            lock.release()
        _remove_empty(dict.fromkeys([*(made if out is None else ()), *absent]))
        raise
    else:
        lock.release()


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


def _named_folder(path: Path) -> Path:
    """The folder the user named, made if it is not there.

    Raises:
        OutputError: it holds something already, or cannot be made.
    """
    check_free(path)
    _make(path)
    return path


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be made a folder ({error.strerror}): choose another --out") from None


def _absent(path: Path) -> list[Path]:
    """Of a place and the folders that it is in those that are not there, the innermost first."""
    return [place for place in (path, *path.parents) if not os.path.lexists(place)]


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def check_free(path: Path) -> None:
    """See, before any work is done, that a folder named by the user can be made, and would not be written over.

    Raises:
        OutputError: it is there and holds something, is no folder, or cannot be made.
    """
    try:
        occupied = path.exists() and any(each.name != LOCK for each in path.iterdir())
    except OSError as error:
        raise OutputError(f"{path}: cannot be made a folder ({error.strerror}): choose another --out") from None
    if occupied and (path / "run.json").is_file():
        going_on = f", or backpass resume {path}" if can_be_resumed(path) else ""
        raise OutputError(f"{path}: holds a run, and nothing is written over: choose another --out{going_on}")
    if occupied:
        raise OutputError(f"{path}: is a folder with something in it: choose another --out, nothing is written over")
    absent = _absent(path)
    try:  # the only way to know
        _make(path)
    finally:
        _remove_empty(absent)


def checkpoints(folder: Path, seconds: float = SECONDS) -> Checkpoints:
    """Those of a run, one every so many seconds at least.

    Raises:
        UsageError: their folder is a link, which may lead anywhere.
    """
    return _checkpoints(folder / CHECKPOINTS, seconds)


def checkpoints_again(folder: Path, seconds: float = SECONDS) -> Checkpoints:
    """Those of the training on all rows, where it is trained again at the end; see `checkpoints`."""
    return _checkpoints(folder / AGAIN, seconds)


def _checkpoints(folder: Path, seconds: float) -> Checkpoints:
    if folder.is_symlink():
        raise UsageError(f"{folder}: is a link, expected a folder")
    return Checkpoints(folder, seconds)


def scored(folder: Path) -> Path:
    """The file of the network that the scores, the history and the checkpoints are of."""
    return folder / SCORED if (folder / SCORED).exists() else folder / MODEL


def can_be_resumed(folder: Path) -> bool:
    """Is it a run that `backpass resume` goes on with, or begins anew where nothing was saved yet?"""
    with suppress(BackpassError):
        return read(folder).get("state") != fields.FINISHED
    return False


def has_saved(folder: Path) -> bool:
    """Is there anything in the folder of a run that took work: a checkpoint after its beginning, or a network?"""
    with suppress(BackpassError, OSError):
        return (folder / MODEL).exists() or any(checkpoints(folder).store.steps())
    return True  # what cannot be looked into may be anything


def begin(folder: Path, asked: dict[str, Any], recipe: dict[str, Any], table: Table) -> None:
    """Note what a run is to be, before its first step.

    All of the recipe, too: what it is by default may be another in a later version.
    """
    given = {role: asked.get(role, NO_FILE) for role in fields.TABLES}
    content = {
        "state": TRAINING,
        "asked": asked,
        "recipe": recipe,
        "paths": {role: str(Path(path).absolute()) for role, path in given.items() if path != NO_FILE},
        "data": fingerprint(asked, table),
    }
    _write(folder, content | circumstances(), advice="choose another place")


@contextmanager
def noting(folder: Path, steering: Steering) -> Iterator[None]:
    """Within this, epochs are written down as they are made, for who looks on; the whole history comes at the end."""
    over = threading.Event()
    thread = threading.Thread(target=_note, args=(folder / HISTORY, steering, over), name="backpass history")
    thread.daemon = True
    try:
        thread.start()
        yield
    finally:
        over.set()
        if thread.ident is not None:
            thread.join()


def _note(path: Path, steering: Steering, over: threading.Event) -> None:
    """What cannot be written is left: the training is what counts, and its checkpoints have the history, too."""
    written, last = 0, None
    with suppress(OSError):
        while not over.wait(NOTED):
            records = list(steering.history or ())
            if not records or records[-1] is last:
                continue
            goes_on = 0 < written <= len(records) and records[written - 1] is last  # and did not go back
            lines = "".join(json.dumps(each) + "\n" for each in records[written if goes_on else 0 :]).encode()
            if goes_on:
                with path.open("ab") as file:
                    file.write(lines)
            else:
                write_whole(path, lines, links=False)
            written, last = len(records), records[-1]


def keep(folder: Path, model: Model, history: History, *, scored: Model | None = None) -> None:
    """What came of a training: the networks, and the history.

    Raises:
        OutputError: a file cannot be written.
    """
    records = "".join(json.dumps(record) + "\n" for record in history)
    if scored is not None:
        write_whole(folder / SCORED, to_bytes(scored), links=False, advice="see to the disk")
    write_whole(folder / MODEL, to_bytes(model), links=False, advice="see to the disk")
    write_whole(folder / HISTORY, records.encode(), links=False, advice="see to the disk")


def end(folder: Path, about: dict[str, Any]) -> None:
    """Note that a run has ended, for now or for good, when all else of it is there: killed before, it is resumed.

    Raises:
        OutputError: it cannot be written.
    """
    _write(folder, about, advice="see to the disk")
    if about["state"] == fields.FINISHED:
        tidy(folder)


def tidy(folder: Path) -> bool:
    """Take away what a finished run needs no more, and say whether there was anything: a kill may have left it."""
    there = (folder / AGAIN).is_dir()
    shutil.rmtree(folder / AGAIN, ignore_errors=True)  # no step of theirs is looked into
    return there


def read(folder: Path) -> dict[str, Any]:
    """The content of a run's run.json, every field of its kind.

    Raises:
        UsageError: it is no run, or not one that this version understands.
    """
    path = folder / "run.json"
    if not folder.is_dir():
        raise UsageError(f"{folder}: is no folder, expected that of a run, such as runs/loans-default-1")
    try:
        content = json.loads(content_of(path, LARGEST))
    except FileNotFoundError:
        raise UsageError(f"{folder}: holds no run.json, expected the folder of a run") from None
    except UsageError:
        raise
    except (ValueError, RecursionError):
        raise UsageError(f"{path}: is damaged, expected JSON as `backpass train` writes it") from None
    version = content.get("format") if isinstance(content, dict) else None
    if type(version) is not int or not isinstance(content.get("asked"), dict):
        raise UsageError(f"{path}: is no run's: it lacks what was asked")
    if version > FORMAT:
        shown = str(version)[:20]
        raise UsageError(f"{path}: is of format {shown}, this version reads up to {FORMAT}: update backpass")
    return fields.check_run(content, path)


def content_of(path: Path, most: int) -> bytes:
    """The bytes of a plain file, at most so many: a link may lead anywhere, and a pipe has no end.

    Raises:
        FileNotFoundError: there is none.
        UsageError: it is something else, or larger, or cannot be read.
    """
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path}: is a link, a folder or a device, expected a file")
        if status.st_size > most:
            raise UsageError(f"{path}: has {status.st_size:,} bytes, more than any such file: it is none")
        return disk.read(path).tobytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({reason(error)})") from None


def _write(folder: Path, content: dict[str, Any], *, advice: str) -> None:
    text = json.dumps({"format": FORMAT, **{name: x for name, x in content.items() if name != "format"}}, indent=2)
    write_whole(folder / "run.json", (text + "\n").encode(), links=False, advice=advice)


def _remove_all(folder: Path) -> None:
    for file in (folder / name for name in FILES):
        with suppress(OSError):
            file.unlink()
    for checkpoints in (CHECKPOINTS, AGAIN):
        shutil.rmtree(folder / checkpoints, ignore_errors=True)


def _plain(name: str) -> str:
    """`name` as part of a folder's name: letters, digits, _ and - alone."""
    return "".join(c if c.isalnum() or c in "_-" else "-" for c in name).strip("-")[:40]
