"""Following a table: its rows after a position, in the order in which they were committed.

Ids grow by one with every row that is committed, so a position is an id, and an id that is missing is a row that
was deleted before it was read. Every question is a transaction of its own, and short: a reader that stays in one
keeps the write-ahead log from being emptied.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from fleetpulse.journal.rows import Row, Table


@dataclass(frozen=True)
class Numbered:
    """A row and its id."""

    number: int
    row: Row


@dataclass(frozen=True)
class Page:
    """The rows after a position, at most as many as were asked for.

    `upto` is the last id it speaks for: that of its last row, or the newest there ever was where it holds all.
    """

    rows: Sequence[Numbered]
    upto: int


def rows_after(connection: sqlite3.Connection, table: Table, position: int, limit: int) -> Page:
    """Reads on from a position."""
    columns = ",".join(table.columns)
    connection.execute("BEGIN")  # rows and the newest id as of one moment
    try:
        found = connection.execute(
            f"SELECT id,{columns} FROM {table.name} WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608 - our own names
            (position, limit),
        ).fetchall()
        newest = newest_id(connection, table)
    finally:
        connection.execute("COMMIT")
    rows = [Numbered(number, table.row(*values)) for number, *values in found]
    return Page(rows, rows[-1].number if len(rows) == limit else max(newest, position))


def newest_id(connection: sqlite3.Connection, table: Table) -> int:
    """The id of the row that was stored last, kept or not; 0 before the first."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table.name,)).fetchone()
    return int(row[0]) if row else 0


def oldest_id(connection: sqlite3.Connection, table: Table) -> int:
    """The id of the oldest row that is kept, or of the next one to come."""
    (oldest,) = connection.execute(f"SELECT min(id) FROM {table.name}").fetchone()  # noqa: S608 - our own names
    return newest_id(connection, table) + 1 if oldest is None else int(oldest)


def received_after(connection: sqlite3.Connection, table: Table, position: int) -> float | None:
    """When the first row after a position was received (Unix seconds); None where there is none."""
    row = connection.execute(
        f"SELECT received_at FROM {table.name} WHERE id > ? ORDER BY id LIMIT 1",  # noqa: S608 - our own names
        (position,),
    ).fetchone()
    return float(row[0]) if row else None
