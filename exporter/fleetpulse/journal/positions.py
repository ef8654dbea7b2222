"""Where in a table a moment lies: ids grow with the time of receipt, so it is found by halving."""

import sqlite3


def first_since(connection: sqlite3.Connection, moment: float) -> int:
    """The least id of a request received since `moment` (Unix seconds), or one past the last."""
    low, last = bounds(connection)
    high = last + 1
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(
            "SELECT received_at >= ? FROM requests WHERE id >= ? ORDER BY id LIMIT 1", (moment, middle)
        ).fetchone()
        since = row is None or row[0]  # none: retention deleted them meanwhile
        low, high = (low, middle) if since else (middle + 1, high)
    return low


def bounds(connection: sqlite3.Connection) -> tuple[int, int]:
    """The ids of the oldest and the newest request that are kept; `(1, 0)` where none is."""
    (oldest,) = connection.execute("SELECT coalesce(min(id), 1) FROM requests").fetchone()
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM requests").fetchone()
    return int(oldest), int(newest)
