"""Read-only connections on loan: to the journal, and to the search index, which may be withdrawn."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fleetpulse.journal.schema import open_reader


class Leases:
    """Connections to one file. As many are open as were ever on loan at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._on_loan = 0
        self._idle: list[sqlite3.Connection] = []
        self._changed = threading.Condition()

    @contextmanager
    def lease(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own for a while. Raises sqlite3.Error."""
        connection = self._take()
        try:
            yield connection
        finally:
            self._give_back(connection)

    def close(self) -> None:
        """Closes every connection, those on loan when they come back: returns then."""
        with self._changed:
            self._changed.wait_for(lambda: self._on_loan == 0)
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> sqlite3.Connection:
        with self._changed:
            self._on_loan += 1
            if self._idle:
                return self._idle.pop()
        try:
            return open_reader(self.path)
        except BaseException:
            self._came_back(None)
            raise

    def _give_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            connection.close()
            self._came_back(None)
        else:
            self._came_back(connection)

    def _came_back(self, connection: sqlite3.Connection | None) -> None:
        with self._changed:
            self._on_loan -= 1
            if connection is not None:
                self._idle.append(connection)
            self._changed.notify_all()


class SearchIndex:
    """The index as searches share it with the thread that writes it, which lets them read and stops them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reached = 0  # the id of the last row in it
        self.doubted = False  # a search has found it damaged
        self._leases = Leases(path)
        self._usable = False
        self._lock = threading.Lock()

    @contextmanager
    def lease(self) -> Iterator[sqlite3.Connection | None]:
        """A connection that sees the index as of one moment; None while there is no index to be read."""
        with ExitStack() as loan:
            yield self._borrow(loan)

    def publish(self) -> None:
        """Lets searches read it."""
        with self._lock:
            self._usable = True

    def doubt(self) -> None:
        """Hears from a search that the file is damaged; it is made again soon."""
        self.doubted = True

    def withdraw(self) -> None:
        """Lets nobody read any more. Returns when the last one has finished."""
        with self._lock:
            self._usable = False
        self._leases.close()

    def _borrow(self, loan: ExitStack) -> sqlite3.Connection | None:
        with self._lock, suppress(sqlite3.Error):  # it cannot be opened: the rows can be read
            if self._usable and not self.doubted:
                connection = loan.enter_context(self._leases.lease())
                connection.execute("BEGIN")
                return connection
        return None
