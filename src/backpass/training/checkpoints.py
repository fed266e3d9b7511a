"""Checkpoints: all that a training needs to go on, in files that are whole or not there.

The folder of a run's checkpoints holds files such as `step-000000001234.safetensors`. Each holds one Snapshot, with a
sha256 over every byte. See `storage/` for what a crash can leave, and why that is never half a checkpoint.
"""

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import Any, Self

import numpy as np

from backpass.data.arrays import Array
from backpass.errors import BackpassError, CheckpointError, OutputError
from backpass.records import dataclass
from backpass.storage import atomic, disk, tensors

FORMAT = 1
_NAME = re.compile(r"step-(\d{12,19})\.safetensors", re.ASCII)
_LISTS = ("parameters", "optimizer", "best", "good")
_OPTIONAL = {"best", "good"}
ABSENT = float(np.array(0x7FF8_0000_0000_0BAD, np.int64).view(np.float64))
"""A number that is not there: a NaN that no calculation gives."""
_NUMBERS = ("step", "epoch", "batch")
_FORGED = "no checkpoint, or not all of one: the file was changed"


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All that a training needs to go on, between two steps.

    Attributes:
        step: steps made in all.
        epoch: whole epochs made.
        batch: steps made of the epoch under way, 0 at its beginning.
        sums: of that epoch, the sums of losses times weights and of weights.
        parameters: flat, in the order of `forward.flatten`.
        optimizer: the optimizer's state, flat.
        best: the parameters of the best epoch so far, flat, if early stopping keeps them.
        good: parameters and optimizer's state of the best epoch, flat, if a divergence goes back to them.
        history: the names of what is known of an epoch, and a row of numbers an epoch, float64; ABSENT where none is.
        about: plain data as JSON has it, for the training loop: history, plan, fingerprints.
    """

    step: int
    epoch: int
    batch: int
    sums: tuple[float, float]
    parameters: list[Array]
    optimizer: list[Array]
    best: list[Array] | None
    about: dict[str, Any]
    good: list[Array] | None = None
    history: tuple[list[str], Array] = ([], np.empty((0, 0)))


@dataclass
class Found:
    """What a search found: a snapshot, or None; and of each newer file that is damaged one line that names it."""

    snapshot: Snapshot | None
    damaged: list[str] = field(default_factory=list)


class CheckpointFolder:
    """The folder of checkpoints of one run.

    It is made when first written to. One process at a time may write (see `storage.locks`), with any of its threads.

    Args:
        folder: where.
        keep: how many checkpoints stay. While one is written there is room needed for one more.
    """

    def __init__(self, folder: Path, *, keep: int = 3) -> None:
        if keep < 1:
            raise ValueError(f"keep is {keep}, at least one checkpoint is kept")
        self.folder = folder
        self.keep = keep
        self._writing = threading.Lock()

    def write(self, snapshot: Snapshot) -> Path:
        """Write a checkpoint, and when it stands on the disk remove those before it but the newest `keep`.

        Raises:
            OutputError: it cannot be written; those that are there stay.
        """
        with self._writing:
            path = self._path(snapshot.step)
            self._make()
            atomic.remove_leftovers(self.folder)
            atomic.write_whole(
                path, tensors.pieces(*_apart(snapshot), version=FORMAT), links=False, advice="see to the disk"
            )
            for step in [step for step in self.steps() if step <= snapshot.step][: -self.keep]:
                self._remove(step)
            return path

    def newest(self) -> Found:
        """The snapshot of the newest checkpoint that is whole."""
        return self._first(self.steps()[::-1])

    def before(self, step: int) -> Found:
        """The snapshot of the newest checkpoint that is whole and of this step or an earlier one."""
        return self._first([each for each in self.steps()[::-1] if each <= step])

    def steps(self) -> list[int]:
        """Those of which there is a checkpoint, whole or not, in ascending order.

        Raises:
            CheckpointError: the folder cannot be read.
        """
        try:
            names = disk.names(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CheckpointError(f"{self.folder}: cannot be read ({atomic.reason(error)})") from None
        found = (_NAME.fullmatch(name) for name in names)
        return sorted(step for name in found if name and self._path(step := int(name[1])).name == name[0])

    def forget_after(self, step: int) -> None:
        """Remove what comes after `step`: a training that goes on from there, in another way, will not come by it.

        Raises:
            OutputError: one cannot be removed.
        """
        with self._writing:
            for each in [each for each in self.steps()[::-1] if each > step]:
                try:
                    disk.remove(self._path(each))
                except OSError as error:
                    raise OutputError(f"{self._path(each)}: cannot be removed ({atomic.reason(error)})") from None

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:012}.safetensors"

    def _make(self) -> None:
        try:
            if not self.folder.is_dir():
                disk.make_folder(self.folder)
                disk.sync_folder(self.folder.parent)
        except OSError as error:
            raise atomic.failure(f"{self.folder}: cannot be made ({atomic.reason(error)})", error) from None

    def _remove(self, step: int) -> None:
        with suppress(OSError):  # the next write tries again
            disk.remove(self._path(step))

    def _first(self, steps: list[int]) -> Found:
        found = Found(None)
        for step in steps:
            try:
                found.snapshot = self._read(step)
            except CheckpointError as error:
                found.damaged.append(f"{self._path(step)}: {error}")
            else:
                break
        return found

    def _read(self, step: int) -> Snapshot:
        snapshot = _together(*tensors.unpack(self._path(step), version=FORMAT))
        if snapshot.step != step:
            raise CheckpointError(f"damaged: it is of step {snapshot.step:,}, and its name says another")
        return snapshot


def _apart(snapshot: Snapshot) -> tuple[dict[str, Array], dict[str, Any]]:
    """A snapshot as tensors and plain data."""
    lists = {name: values for name in _LISTS if (values := getattr(snapshot, name)) is not None}
    arrays = {f"{name}.{place}": np.asarray(value) for name in lists for place, value in enumerate(lists[name])}
    counts = {name: len(values) for name, values in lists.items()}
    numbers = {name: int(getattr(snapshot, name)) for name in _NUMBERS}
    names, rows = snapshot.history
    arrays |= {"sums": np.array(snapshot.sums, np.float64), "history": np.ascontiguousarray(rows, np.float64)}
    return arrays, numbers | {"counts": counts, "columns": list(names), "about": snapshot.about}


def _together(arrays: dict[str, Array], content: dict[str, Any]) -> Snapshot:
    """The snapshot again.

    Raises:
        CheckpointError: it is none, or something is lacking or left over.
    """
    try:
        counts = {name: _whole(count) for name, count in content.pop("counts").items()}
        numbers = {name: _whole(content.pop(name)) for name in _NUMBERS}
        about, sums = content.pop("about"), arrays.pop("sums")
        names, rows = content.pop("columns"), arrays.pop("history")
        right = (
            sums.dtype == rows.dtype == np.float64,
            sums.shape == (2,),
            isinstance(about, dict),
            {*counts} | _OPTIONAL == {*_LISTS},
            isinstance(names, list) and all(isinstance(name, str) for name in names),
            rows.ndim == 2 and isinstance(names, list) and rows.shape[1:] == (len(names),),
        )
        if not all(right) or content or sum(counts.values()) != len(arrays):
            raise CheckpointError(_FORGED)
        lists = {name: [arrays[f"{name}.{place}"] for place in range(count)] for name, count in counts.items()}
    except (KeyError, AttributeError):
        raise CheckpointError(_FORGED) from None
    return Snapshot(
        **numbers,
        sums=(float(sums[0]), float(sums[1])),
        parameters=lists["parameters"],
        optimizer=lists["optimizer"],
        best=lists.get("best"),
        good=lists.get("good"),
        history=(names, rows),
        about=about,
    )


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise CheckpointError(_FORGED)
    return value


class BackgroundWriter:
    """Writes the newest snapshot handed to it, while training goes on.

    A thread lives only while there is something to write. So nothing keeps the process at its end but the snapshot
    at work, which is written to its end. Also a context manager, which closes.

    Args:
        folder: where to.
        on_problem: called with one line when a snapshot cannot be written, in the writing thread, once for each kind of
            problem; and again after a snapshot could be written.
    """

    def __init__(self, folder: CheckpointFolder, on_problem: Callable[[str], None]) -> None:
        self._folder = folder
        self._on_problem = on_problem
        self._guard = threading.Lock()
        self._next: Snapshot | None = None
        self._thread: threading.Thread | None = None
        self._told: set[object] = set()

    def submit(self, snapshot: Snapshot) -> None:
        """Have it written soon; one that waits, not yet begun, is dropped for it. Nothing in it may change any more."""
        with self._guard:
            self._next = snapshot
        self._start()

    def close(self) -> None:
        """Returns when the last snapshot is written, or could not be."""
        while (thread := self._start()) is not None:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> threading.Thread | None:
        """The thread at work; a new one where there is none and something to write."""
        with self._guard:
            if self._thread is not None and self._thread.is_alive():  # an error of `on_problem` may have ended it
                return self._thread
            if self._next is None:
                return None
            self._thread = threading.Thread(target=self._work, name="backpass checkpoints")
            with suppress(RuntimeError):  # the system gives no thread
                self._thread.start()
                return self._thread
        self._work()  # slower, but written
        return None

    def _work(self) -> None:
        while (snapshot := self._take()) is not None:
            try:
                self._folder.write(snapshot)
            except Exception as error:  # noqa: BLE001 - whatever it is, training goes on, and it is told
                self._tell(error)
            else:
                self._told.clear()

    def _take(self) -> Snapshot | None:
        with self._guard:
            snapshot, self._next = self._next, None
            if snapshot is None:
                self._thread = None
            return snapshot

    def _tell(self, error: Exception) -> None:
        kind = (type(error), getattr(error, "errno", None))
        if kind not in self._told:
            self._told.add(kind)
            what = str(error) if isinstance(error, BackpassError) else f"no checkpoint was written: {error!r}"
            self._on_problem(f"{' '.join(what.split())}; training goes on, and tries again")
