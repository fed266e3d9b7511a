"""The progress of a training, on standard error: epoch, loss, rows a second, time left."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from backpass.training.events import EpochFinished, Event, Listener, RolledBack, StepFinished, TrainingStarted

GUESSING = 10.0  # seconds, until the time left is told, where a quarter of an epoch takes longer
THOUSANDS = 1e4  # rows a second from which on they are told in thousands
LARGE = 1e5  # a loss beyond this is shown by its size
WIDE = 100  # columns of a terminal, from which on all numbers fit in a line
SECONDS_BETWEEN_LINES = 5.0  # where there is no terminal, and so no bar


@contextmanager
def showing(*, progress: bool) -> Iterator[list[Listener]]:
    """Listeners that show progress where it is wanted: a live bar on a terminal, a line now and then elsewhere."""
    if not progress or sys.stderr is None:  # there is none where a shell closed it
        yield []
    elif on_terminal():
        with _bar() as show:
            yield [Watch(show)]
    else:
        yield [Watch(_lines())]


def on_terminal() -> bool:
    """Whether standard error is a terminal, where a line can be written over."""
    return sys.stderr is not None and sys.stderr.isatty()


class Watch:
    """Listens to a training and hands what is worth showing to `show`."""

    def __init__(self, show: Callable[["Watch"], None]) -> None:
        self._show = show
        self._started = time.monotonic()
        self._limit: float | None = None
        self.epochs = self.epoch = self.rows = self.seen = 0
        self._before = 0
        self._speed = 0.0
        self._first: tuple[float, int] | None = None
        self.loss = self._of_epoch = math.nan  # that of the last whole epoch: a few batches tell little of the next
        self.validation = self._best = self._best_epoch = ""

    def __call__(self, event: Event) -> None:
        if isinstance(event, TrainingStarted):
            self._started, self._limit = time.monotonic(), event.seconds
            self.epochs, self.rows, self.epoch = event.epochs, event.rows, event.done
            self.seen = self._before = event.done * event.rows
        elif isinstance(event, StepFinished):
            self.loss = event.loss if math.isnan(self._of_epoch) else self._of_epoch
            self.seen = self.epoch * self.rows + event.rows
            self._show(self)
        elif isinstance(event, RolledBack):
            told = f"diverged: back to step {event.step:,}, and on with {event.rate:.2g} of the learning rate"
            told += "" if event.blame is None else f" ({event.blame})"
            print(told, file=sys.stderr, flush=True)  # noqa: T201
        elif isinstance(event, EpochFinished):
            self.epoch += 1
            self._of_epoch = self.loss = event.record.get("loss", math.nan)
            self._note_speed()
            self._note_validation(event)

    def _note_speed(self) -> None:
        """Of whole epochs, without the first where there are others: in that also the validation's program is made."""
        now, first = time.monotonic(), self._first
        since, before = (self._started, self._before) if first is None else first
        self._speed = (self.seen - before) / max(1e-9, now - since)
        self._first = (now, self.seen) if first is None else first

    def _note_validation(self, event: EpochFinished) -> None:
        loss = event.record.get("validation_loss")
        if loss is not None:
            if event.best:
                self._best, self._best_epoch = f" (best {loss:.4f} at {self.epoch})", f" (best at {self.epoch})"
            self.validation = f" validation {loss:.4f}"

    @property
    def total(self) -> int:
        """Rows to be seen in all."""
        return self.epochs * self.rows

    @property
    def rows_per_second(self) -> float:
        return self._speed or (self.seen - self._before) / max(1e-9, time.monotonic() - self._started)

    @property
    def left(self) -> str:
        """Time left if no epoch is saved, or until the time is over, as minutes and seconds; nothing while it is a
        guess.
        """
        gone = time.monotonic() - self._started
        guess = self.seen - self._before < self.rows / 4 and gone < GUESSING
        left = math.inf if guess else (self.total - self.seen) / max(1e-9, self.rows_per_second)
        if self._limit is not None:
            left = min(left, max(0.0, self._limit - gone))
        if left == math.inf:
            return ""
        seconds = round(left)
        return f"{seconds // 60}:{seconds % 60:02d} left  "

    @property
    def speed(self) -> str:
        """Rows a second, in thousands where they are many."""
        speed = self.rows_per_second
        return f"{speed / 1000:,.0f}k rows/s" if speed >= THOUSANDS else f"{speed:,.0f} rows/s"

    @property
    def numbers(self) -> str:
        return f"{self._losses}{self._best}  {self.speed}"

    @property
    def fewer_numbers(self) -> str:
        """What a line of 80 columns has room for."""
        return f"{self._losses}{self._best_epoch}"

    @property
    def _losses(self) -> str:
        loss = f"{self.loss:.4f}" if abs(self.loss) < LARGE else f"{self.loss:.3g}"
        return f"{self.left}loss {loss}{self.validation}"


def _lines() -> Callable[[Watch], None]:
    """Shows by printing a line every few seconds."""
    last = time.monotonic()

    def show(watch: Watch) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            line = f"epoch {watch.epoch + 1}/{watch.epochs}  {watch.fewer_numbers}  {watch.speed}"
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    return show


@contextmanager
def _bar() -> Iterator[Callable[[Watch], None]]:
    """Shows by a live bar, that goes away when training is over."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=6), TextColumn("{task.fields[numbers]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=8) as progress:
        task = progress.add_task("making the program", total=None, numbers="")
        last = 0.0

        def show(watch: Watch) -> None:
            nonlocal last
            if time.monotonic() - last > 0.1:
                last = time.monotonic()
                epoch = f"epoch {min(watch.epoch + 1, watch.epochs)}/{watch.epochs}"
                numbers = watch.numbers if progress.console.width >= WIDE else watch.fewer_numbers
                progress.update(task, completed=watch.seen, total=watch.total, description=epoch, numbers=numbers)

        yield show
