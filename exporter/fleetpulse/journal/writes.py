"""What can be written: each kind of write is one small class the writer runs inside its transaction."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fleetpulse.journal.floors import count_deleted
from fleetpulse.journal.notes import keep_note
from fleetpulse.journal.rows import Row, Table
from fleetpulse.journal.totals import Deltas


@dataclass(slots=True, eq=False)
class Outcome:
    """What became of a batch: the rows that were new, in order, and how many were duplicates."""

    new: Sequence[Row]
    duplicates: int


@dataclass(slots=True, eq=False)
class Batch:
    """Rows to store once each, counted in the totals; the result is an Outcome."""

    table: Table
    rows: Sequence[Row]

    @property
    def size(self) -> int:
        """Rows it adds to the queue."""
        return len(self.rows)


@dataclass(frozen=True)
class Adjustment:
    """Increments of totals that no new rows stand for."""

    deltas: Deltas

    @property
    def size(self) -> int:
        """Rows it adds to the queue."""
        return len(self.deltas)

    def run(self, _connection: sqlite3.Connection) -> None:
        """Writes nothing itself: the writer adds the increments to those of the transaction."""


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
        keep_note(connection, self.name, self.value)


@dataclass(frozen=True)
class Counted:
    """Base of the results of statements that change totals: the writer adds these increments to the transaction."""

    deltas: Deltas


class Statement(Protocol):
    """A write of its own. It touches totals only through a result that is Counted.

    It may be run twice, the first time in vain, so all it does is in the transaction and in its result.
    """

    @property
    def size(self) -> int:
        """Rows it adds to the queue."""

    def run(self, connection: sqlite3.Connection) -> object:
        """Runs inside the open transaction; the result goes to the submitter."""


@dataclass(frozen=True)
class Barrier:
    """Writes nothing: it is done when all that was submitted before it is."""

    size: int = 0

    def run(self, _connection: sqlite3.Connection) -> None:
        """Nothing."""


@dataclass(frozen=True)
class AgentState:
    """An agent's newest state as it is saved; `state` is JSON."""

    agent_id: str
    received_at: float
    state: str


@dataclass(frozen=True)
class SaveAgents:
    """Keeps the newest state of some agents and forgets others."""

    states: Sequence[AgentState]
    forgotten: Sequence[str] = field(default_factory=tuple)

    @property
    def size(self) -> int:
        """Rows it adds to the queue."""
        return len(self.states) + len(self.forgotten)

    def run(self, connection: sqlite3.Connection) -> None:
        """Upserts and deletes."""
        rows = [(state.agent_id, state.received_at, state.state) for state in self.states]
        connection.executemany("INSERT OR REPLACE INTO agents (agent_id, received_at, state) VALUES (?,?,?)", rows)
        connection.executemany("DELETE FROM agents WHERE agent_id = ?", [(agent,) for agent in self.forgotten])


@dataclass(frozen=True)
class DeleteOldest:
    """Deletes at most `limit` of the oldest rows; with `before`, only those received before then (Unix seconds).

    The result is how many were deleted.
    """

    table: Table
    limit: int
    before: float | None = None
    size: int = 0

    def run(self, connection: sqlite3.Connection) -> int:
        """Deletes by id, which grows with time."""
        name = self.table.name
        deleted = connection.execute(
            f"DELETE FROM {name} WHERE id IN (SELECT id FROM {name} ORDER BY id LIMIT ?) "  # noqa: S608 - our names
            "AND (? IS NULL OR received_at < ?)",
            (self.limit, self.before, self.before),
        ).rowcount
        count_deleted(connection, self.table, deleted)
        return deleted


@dataclass(frozen=True)
class FreePages:
    """Hands at most `limit` free pages back to the file system; True while more than that are free.

    The last few stay for the rows to come. The file itself shrinks at the next checkpoint.
    """

    limit: int
    size: int = 0

    def run(self, connection: sqlite3.Connection) -> bool:
        """Frees pages from the end of the file."""
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        for _ in range(min(free, self.limit)):
            connection.execute("PRAGMA incremental_vacuum(1)")  # Python's sqlite3 frees one page a call, whatever N
        return bool(free > 2 * self.limit)


Write = Batch | Statement
