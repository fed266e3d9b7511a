"""A disk that fails: any operation of `storage.disk` can be made to fail, or to be the last of the process."""

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

from backpass.storage import disk

WRITING = ("create", "write", "sync", "close", "rename", "sync_folder", "remove", "make_folder")
READING = ("names", "read")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES)
MOST_AT_ONCE = 1500  # bytes: so that files take several writes


class Died(BaseException):
    """The process is dead: nothing that it does from now on reaches the disk."""


@dataclass
class FaultyDisk:
    """Stands in for the functions of `storage.disk`, which it calls, and counts.

    At operation number `at`, counted from 0: an OSError with `error` is raised, and with `lasting` at each one after
    it too; or without `error` the process dies, before the operation (`half` of a write is done) or `after` it.
    """

    at: int | None = None
    error: int | None = None
    lasting: bool = False
    after: bool = False
    operations: tuple[str, ...] = WRITING
    log: list[tuple] = field(default_factory=list)
    dead: bool = False
    handles: set[int] = field(default_factory=set)

    def install(self, monkeypatch) -> "FaultyDisk":
        for name in self.operations:
            monkeypatch.setattr(disk, name, self._wrapped(name, getattr(disk, name)))
        return self

    def _wrapped(self, name, real):
        def operation(*arguments):
            if self.dead:
                raise Died
            number = len(self.log)
            self.log.append((name, *arguments))
            hit = self.at is not None and (number == self.at or (self.lasting and number > self.at))
            if hit and not (self.error is None and self.after):
                self._half(name, real, arguments)
                self._fail()
            result = real(*self._shortened(name, arguments))
            if name == "create":
                self.handles.add(result)
                self.log[-1] = (name, *arguments, result)
            if name == "write":
                self.log[-1] = (name, arguments[0], bytes(arguments[1][:result]))
            if name == "close":
                self.handles.discard(arguments[0])
            if hit:
                self._fail()
            return result

        return operation

    @staticmethod
    def _shortened(name, arguments):
        return (arguments[0], arguments[1][:MOST_AT_ONCE]) if name == "write" else arguments

    @staticmethod
    def _half(name, real, arguments):
        """What fails may have been done in part."""
        if name == "write":
            real(arguments[0], arguments[1][: len(arguments[1]) // 2])

    def _fail(self):
        if self.error is None:
            self.dead = True
            raise Died
        raise OSError(self.error, os.strerror(self.error))

    def bury(self):
        """Close what the dead process had open, as the system does."""
        for handle in self.handles:
            os.close(handle)
        self.handles.clear()


def parts(folder: Path) -> list[str]:
    """The unfinished files that lie there."""
    return [path.name for path in folder.iterdir() if path.name.endswith(".part")]
