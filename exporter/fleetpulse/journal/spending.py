"""What requests cost since a moment, from the rows: what a budget that is new in its period begins with."""

import sqlite3

from fleetpulse.journal.positions import first_since


def spent_since(connection: sqlite3.Connection, start: float, source: str | None, model: str | None) -> float:
    """Sum of known costs of the rows received since `start` (Unix seconds), of one source or model where named.

    Reads no more than these rows.
    """
    (spent,) = connection.execute(
        "SELECT total(cost) FROM requests WHERE id >= ?1 AND received_at >= ?2 AND (?3 IS NULL OR source = ?3) "
        "AND (?4 IS NULL OR model = ?4)",
        (first_since(connection, start), start, source, model),
    ).fetchone()
    return float(spent)
