"""Files that recordings go to: whole lines or nothing, one writer, and a bound on their size.

Promises: what `write` raises for is not in the file, not even in part; what it returned for is, in order, and is on
disk once the file is closed. A second writer is refused. With a limit, a file that has reached it becomes `FILE.1`,
that one `FILE.2`, and so on; the oldest go.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from fleetpulse.errors import InvalidInputError
from fleetpulse.tap.output import Form, Item


class Output(Protocol):
    """Where a recording goes. Blocks: it has a thread of its own (cli/tap_session.py)."""

    def write(self, items: Sequence[Item]) -> int:
        """Writes the first of them, one at least, as many as go together; returns how many.

        Raises OSError (a full disk, a closed pipe): then none of them is written.
        """

    def close(self) -> None:
        """Brings what was written to disk."""


class Stream:
    """Lines to a file descriptor that is somebody else's, such as standard output."""

    def __init__(self, descriptor: int, form: Form) -> None:
        self._descriptor = descriptor
        self._form = form

    def write(self, items: Sequence[Item]) -> int:
        """Writes all of them; raises BrokenPipeError where nobody reads any more."""
        found = os.fstat(self._descriptor)
        try:
            write_all(self._descriptor, b"".join(map(self._form, items)))
        except OSError:
            if stat.S_ISREG(found.st_mode):  # it was redirected to a file: half a line is no line there either
                os.ftruncate(self._descriptor, found.st_size)
                os.lseek(self._descriptor, found.st_size, os.SEEK_SET)
            raise
        return len(items)

    def close(self) -> None:
        """Nothing is held back."""


class LineFile:
    """Lines in a file that grows at its end, and is rotated at `limit` bytes (0: never) with `keep` older ones."""

    def __init__(self, path: Path, form: Form, *, limit: int = 0, keep: int = 0) -> None:
        self._path, self._form = path, form
        self._limit, self._keep = limit, keep
        self._descriptor = open_alone(path)
        self._size = os.fstat(self._descriptor).st_size
        self._mend()

    def write(self, items: Sequence[Item]) -> int:
        """Appends as many lines as fit; before one that does not, the file is rotated."""
        first = self._form(items[0])
        if self._limit and self._size and self._size + len(first) > self._limit:
            self._rotate()
        lines, room = [first], self._limit - self._size - len(first)
        for line in map(self._form, items[1:]):
            room -= len(line)
            if self._limit and room < 0:
                break
            lines.append(line)
        self._append(b"".join(lines))
        return len(lines)

    def close(self) -> None:
        """To disk; the lock goes with the descriptor."""
        finish(self._descriptor)

    def _append(self, data: bytes) -> None:
        try:
            write_all(self._descriptor, data)
        except OSError:
            if os.fstat(self._descriptor).st_size > self._size:
                os.ftruncate(self._descriptor, self._size)  # half a line is no line
            raise
        self._size += len(data)

    def _mend(self) -> None:
        """Ends a line that a crash cut short, so that the next one is whole."""
        if self._size and os.pread(self._descriptor, 1, self._size - 1) != b"\n":
            self._append(b"\n")

    def _rotate(self) -> None:
        if self._keep == 0:
            os.ftruncate(self._descriptor, 0)
            self._size = 0
            return
        for number in range(self._keep - 1, 0, -1):
            older = numbered(self._path, number)
            if older.exists():
                older.replace(numbered(self._path, number + 1))
        self._path.replace(numbered(self._path, 1))
        fresh = open_alone(self._path)
        finish(self._descriptor)
        self._descriptor, self._size = fresh, 0


def numbered(path: Path, number: int) -> Path:
    """The name of a rotated file."""
    return path.with_name(f"{path.name}.{number}")


def open_alone(path: Path, flags: int = os.O_APPEND) -> int:
    """A descriptor of a file of this user's own, locked against other writers; raises InvalidInputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
    except OSError as error:
        raise InvalidInputError(f"--output {path}: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise InvalidInputError(f"--output {path}: another program writes to it") from error
    return descriptor


def finish(descriptor: int) -> None:
    """To disk, and closed. What is no file of a disk, such as a pipe, has nothing to bring there."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes every byte; raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
