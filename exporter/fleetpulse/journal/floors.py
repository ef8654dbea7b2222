"""What is kept of single streams of messages for a shorter time: what of each is gone, and how many rows are left.

Where streams are not kept equally long, the ids of `messages` have holes. So it is kept, in the transaction that
deletes: of each stream up to which id its rows are gone (its floor, which only grows), and how many rows the table
has lost in all. Nothing else tells a deleted row from one that was another stream's.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from fleetpulse.journal.following import newest_id, oldest_id
from fleetpulse.journal.notes import keep_note, read_note
from fleetpulse.journal.rows import MESSAGES, Table

FLOOR_NOTE = "floor.messages/"
DELETED_NOTE = "deleted."


@dataclass(frozen=True)
class DeleteOldestOf:
    """Deletes at most `limit` of a stream's oldest messages, those received before a time (Unix seconds).

    The result is how many were deleted.
    """

    stream: str
    limit: int
    before: float
    size: int = 0

    def run(self, connection: sqlite3.Connection) -> int:
        """Deletes them by the index on streams; the stream's floor and the count are of the same transaction."""
        _begin_counting(connection, MESSAGES)
        deleted = connection.execute(
            "DELETE FROM messages WHERE id IN (SELECT id FROM messages WHERE stream = ? ORDER BY id LIMIT ?) "
            "AND received_at < ? RETURNING id",
            (self.stream, self.limit, self.before),
        ).fetchall()
        if deleted:
            _save(connection, FLOOR_NOTE + self.stream, max(floor_of(connection, self.stream), *max(deleted)))
            count_deleted(connection, MESSAGES, len(deleted))
        return len(deleted)


def count_deleted(connection: sqlite3.Connection, table: Table, rows: int) -> None:
    """Adds to what a table has lost, where that is counted."""
    lost = read_note(connection, DELETED_NOTE + table.name)
    if lost is not None:
        _save(connection, DELETED_NOTE + table.name, int(lost) + rows)


def kept_rows(connection: sqlite3.Connection, table: Table) -> int:
    """How many rows a table keeps: all that there ever were, without those that are gone."""
    lost = read_note(connection, DELETED_NOTE + table.name)
    gone = oldest_id(connection, table) - 1 if lost is None else int(lost)
    return newest_id(connection, table) - gone


def floor_of(connection: sqlite3.Connection, stream: str) -> int:
    """The rows of a stream of messages with ids up to this one are gone for ever; 0 where none is."""
    return max(oldest_id(connection, MESSAGES) - 1, int(read_note(connection, FLOOR_NOTE + stream) or 0))


def highest_floor(connection: sqlite3.Connection, but: str) -> int:
    """The highest floor of any stream but one: up to there a missing id may have been a row of theirs."""
    found = connection.execute(
        "SELECT value FROM notes WHERE substr(name, 1, ?) = ? AND name != ?",
        (len(FLOOR_NOTE), FLOOR_NOTE, FLOOR_NOTE + but),
    )
    return max((int(value) for (value,) in found), default=0)


def missing_ids(connection: sqlite3.Connection, table: Table, after: int, upto: int) -> Sequence[tuple[int, int]]:
    """The runs of ids in (after, upto] that no row has: the first and the last of each, in order."""
    found: list[tuple[int, int]] = connection.execute(
        "SELECT id + 1, next - 1 FROM (SELECT id, lead(id, 1, ?) OVER (ORDER BY id) AS next FROM "  # noqa: S608 - our names
        f"(SELECT ? AS id UNION ALL SELECT id FROM {table.name} WHERE id > ? AND id <= ?)) "
        "WHERE next > id + 1 ORDER BY id",
        (upto + 1, after, after, upto),
    ).fetchall()
    return found


def _begin_counting(connection: sqlite3.Connection, table: Table) -> None:
    """Counts what a table loses from now on; what it lost before is what its ids say, which have no holes yet."""
    if read_note(connection, DELETED_NOTE + table.name) is None:
        _save(connection, DELETED_NOTE + table.name, oldest_id(connection, table) - 1)


def _save(connection: sqlite3.Connection, name: str, number: int) -> None:
    keep_note(connection, name, b"%d" % number)
