"""Messages counted as they are stored, in the same transaction: by quarter of an hour, and users by hour.

Counted in one go for all rows of a statement, which costs a fraction of what triggers would. Quarters are kept for
ever, users for USER_HOURS. New users of a stream past USERS in an hour are not told apart.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

QUARTER_SECONDS, HOUR_SECONDS, HOUR_QUARTERS = 900, 3_600, 4
USERS = 100_000
USER_HOURS = 48


def count_messages(connection: sqlite3.Connection, rows: Sequence[Any]) -> None:
    """Adds message rows that are new to the counts, within the open transaction."""
    quarters = Counter((int(row.received_at // QUARTER_SECONDS), row.stream) for row in rows)
    users = Counter((int(row.received_at // HOUR_SECONDS), row.stream, row.user_id) for row in rows if row.user_id)
    if quarters:
        _forget(connection, max(quarters)[0])
    connection.executemany(
        "INSERT INTO message_quarters (quarter, stream, messages) VALUES (?, ?, ?) "
        "ON CONFLICT (quarter, stream) DO UPDATE SET messages = messages + excluded.messages",
        [(*key, count) for key, count in quarters.items()],
    )
    _count_users(connection, users)


def _forget(connection: sqlite3.Connection, quarter: int) -> None:
    """Forgets users of long ago, when another quarter begins."""
    (newest,) = connection.execute("SELECT max(quarter) FROM message_quarters").fetchone()
    if newest is None or quarter > newest:
        oldest = quarter // HOUR_QUARTERS - USER_HOURS
        connection.execute("DELETE FROM message_users WHERE hour < ?", (oldest,))


def _count_users(connection: sqlite3.Connection, users: Counter[tuple[int, str, str]]) -> None:
    unknown: defaultdict[tuple[int, str], list[tuple[int, str, str, int]]] = defaultdict(list)
    for key, count in users.items():
        known = connection.execute(
            "UPDATE message_users SET messages = messages + ? WHERE hour = ? AND stream = ? AND user_id = ?",
            (count, *key),
        ).rowcount
        if not known:
            unknown[key[:2]].append((*key, count))
    for (hour, stream), new in unknown.items():
        _add_users(connection, hour, stream, new)


def _add_users(
    connection: sqlite3.Connection, hour: int, stream: str, new: Sequence[tuple[int, str, str, int]]
) -> None:
    """Adds users of one hour and stream, as far as there is room."""
    quarters = hour * HOUR_QUARTERS, (hour + 1) * HOUR_QUARTERS - 1
    last, known = connection.execute(
        "SELECT max(quarter), sum(users) FROM message_quarters WHERE stream = ? AND quarter BETWEEN ? AND ?",
        (stream, *quarters),
    ).fetchone()
    added = new[: max(0, USERS - known)]
    connection.executemany("INSERT INTO message_users VALUES (?, ?, ?, ?)", added)
    connection.execute(
        "UPDATE message_quarters SET users = users + ? WHERE quarter = ? AND stream = ?", (len(added), last, stream)
    )
