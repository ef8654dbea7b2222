"""Notes: small durable state of single parts, such as how far a follower has come. One value for each name."""

import sqlite3
from dataclasses import dataclass

from fleetpulse.journal.writes import Adjustment


@dataclass(frozen=True)
class SaveNote(Adjustment):
    """Keeps a note, in one transaction with the totals that go with it: both are as old after any crash."""

    name: str
    value: bytes

    @property
    def size(self) -> int:
        """None: a full queue is for rows."""
        return 0

    def run(self, connection: sqlite3.Connection) -> None:
        """Keeps the value; the writer adds the increments."""
        connection.execute("INSERT OR REPLACE INTO notes (name, value) VALUES (?,?)", (self.name, self.value))


def read_note(connection: sqlite3.Connection, name: str) -> bytes | None:
    """The value that was kept last; None where there is none."""
    row = connection.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
    return bytes(row[0]) if row else None
