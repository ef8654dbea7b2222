"""What requests cost since a moment, from the rows: what a budget that is new in its period begins with."""

import sqlite3


def spent_since(connection: sqlite3.Connection, start: float, source: str | None, model: str | None) -> float:
    """Sum of known costs of the rows received since `start` (Unix seconds), of one source or model where named.

    Reads no more than these rows: ids grow with the time of receipt, so the first of them is found by halving.
    """
    (spent,) = connection.execute(
        "SELECT total(cost) FROM requests WHERE id >= ?1 AND received_at >= ?2 AND (?3 IS NULL OR source = ?3) "
        "AND (?4 IS NULL OR model = ?4)",
        (_first_since(connection, start), start, source, model),
    ).fetchone()
    return float(spent)


def _first_since(connection: sqlite3.Connection, start: float) -> int:
    """The least id of a row received since `start`, or one past the last."""
    low, last = connection.execute("SELECT coalesce(min(id), 1), coalesce(max(id), 0) FROM requests").fetchone()
    high = last + 1
    while low < high:
        middle = (low + high) // 2
        (since,) = connection.execute(
            "SELECT received_at >= ? FROM requests WHERE id >= ? ORDER BY id LIMIT 1", (start, middle)
        ).fetchone()
        low, high = (low, middle) if since else (middle + 1, high)
    return int(low)
