"""Who watches a long piece of work: hears how far it is, and may stop it from another thread."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from enum import StrEnum

from fleetpulse.errors import FleetpulseError


class BackupError(FleetpulseError):
    """A backup cannot be made, or is none; the detail says why and what to do."""


class BusyError(BackupError):
    """Another backup of the same journal is being made."""


class StoppedError(Exception):
    """Whoever watches has stopped the work."""


class Stage(StrEnum):
    """What is being done."""

    COPY = "copying"
    CHECK = "checking"
    SUM = "summing"


class Watch:
    """Stops within a step of the work, also within one statement of SQL."""

    def __init__(self, tell: Callable[[Stage, int, int], None] | None = None) -> None:
        """`tell` hears of each step, on the thread that works: the stage, what is done, of what (0: unknown)."""
        self._tell = tell
        self._stopped = threading.Event()
        self._connection: sqlite3.Connection | None = None

    def step(self, stage: Stage, done: int, whole: int) -> None:
        """Says how far the work is. Raises StoppedError."""
        if self._tell is not None:
            self._tell(stage, done, whole)
        self.rest(0.0)

    def rest(self, seconds: float) -> None:
        """Leaves the machine to others. Raises StoppedError."""
        if self._stopped.wait(seconds):
            raise StoppedError

    def stop(self) -> None:
        """Stops the work; on any thread."""
        self._stopped.set()
        with suppress(AttributeError, sqlite3.ProgrammingError):  # there is none now, or it was closed just now
            self._connection.interrupt()  # type: ignore[union-attr]

    @contextmanager
    def over(self, connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
        """A connection whose statements are interrupted as well; closes it."""
        with closing(connection):
            self._connection = connection
            try:
                self.rest(0.0)
                yield connection
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                    raise StoppedError from error
                raise
            finally:
                self._connection = None
