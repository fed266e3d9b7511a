"""Every error that a user can meet.

    BackpassError                 one clear line; the command prints it and exits with status 2
    ├── UsageError                an option or argument that cannot be used as given (also a ValueError)
    ├── ShapeError                arrays or layers whose shapes or dtypes do not fit (also a ValueError)
    ├── TableError                a table that cannot be read, or does not hold what is needed (also a ValueError)
    ├── ModelFileError            a model file that cannot be trusted or read (also a ValueError)
    ├── CheckpointError           a checkpoint that cannot be trusted or read, or gone on from (also a ValueError)
    ├── OutputError               a place that cannot be written (also an OSError)
    │   └── NotSavedError         a training ended, and its run could not be written; it has the outcome
    └── NotFiniteError            training met a loss or weight that is not a finite number (also an ArithmeticError)

Anything else that escapes is a fault of backpass itself and keeps its traceback.
A message is one line: it names the file, column, row or option, says what was found, what was expected, and what to do.
"""

from typing import Any


class BackpassError(Exception):
    """The root: catch it to catch everything that a user can cause."""

    exit_status = 2


class UsageError(BackpassError, ValueError):
    """An option or argument, or a combination of them, that cannot be used."""


class ShapeError(BackpassError, ValueError):
    """Shapes or dtypes that do not fit one another."""


class TableError(BackpassError, ValueError):
    """A table that cannot be read, or does not hold what is needed of it."""


class ModelFileError(BackpassError, ValueError):
    """A file that is not a model, or one that is damaged, tampered with or of a newer format."""


class CheckpointError(BackpassError, ValueError):
    """A checkpoint that is damaged or of a newer format, or a training that cannot go on from it."""


class OutputError(BackpassError, OSError):
    """A file or folder that cannot be written."""


class NotSavedError(OutputError):
    """A training ended, and its run could not be written.

    Attributes:
        outcome: what the training gave, an Outcome.
    """

    def __init__(self, message: str, outcome: object) -> None:
        super().__init__(message)
        self.outcome = outcome


class NotFiniteError(BackpassError, ArithmeticError):
    """A loss, gradient or weight became infinite or not a number.

    Attributes:
        blame: of a training, the first number that was not finite, a `backpass.training.blame.Blame`; None where that
            is not known.
    """

    def __init__(self, message: str, blame: Any = None) -> None:
        super().__init__(message)
        self.blame = blame
