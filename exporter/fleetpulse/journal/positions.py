"""Where in a table a moment lies: ids grow with the time of receipt, so it is found by halving."""

import sqlite3

from fleetpulse.journal.rows import REQUESTS, Table


def first_since(connection: sqlite3.Connection, moment: float, table: Table = REQUESTS) -> int:
    """The least id of a row received since `moment` (Unix seconds), or one past the last."""
    low, last = bounds(connection, table)
    high = last + 1
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(
            f"SELECT received_at >= ? FROM {table.name} WHERE id >= ? ORDER BY id LIMIT 1",  # noqa: S608 - our own names
            (moment, middle),
        ).fetchone()
        since = row is None or row[0]  # none: retention deleted them meanwhile
        low, high = (low, middle) if since else (middle + 1, high)
    return low


def bounds(connection: sqlite3.Connection, table: Table = REQUESTS) -> tuple[int, int]:
    """The ids of the oldest and the newest row that are kept; `(1, 0)` where none is."""
    (oldest,) = connection.execute(f"SELECT coalesce(min(id), 1) FROM {table.name}").fetchone()  # noqa: S608 - our own names
    (newest,) = connection.execute(f"SELECT coalesce(max(id), 0) FROM {table.name}").fetchone()  # noqa: S608
    return int(oldest), int(newest)
