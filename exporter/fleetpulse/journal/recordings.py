"""What is asked of recorded streams: how each of them ended."""

import sqlite3

from fleetpulse.journal.rows import EVENTS, MESSAGES, EventRow, MessageRow


def last_event(connection: sqlite3.Connection, category: str, stream: str) -> EventRow | None:
    """The newest event of a category about a stream."""
    columns = ",".join(EVENTS.columns)
    found = connection.execute(
        f"SELECT {columns} FROM events INDEXED BY events_category "  # noqa: S608 - our own names
        "WHERE category = ? AND subject = ? ORDER BY id DESC LIMIT 1",
        (category, stream),
    ).fetchone()
    return EventRow(*found) if found else None


def last_message(connection: sqlite3.Connection, stream: str) -> MessageRow | None:
    """The newest message of a stream."""
    columns = ",".join(MESSAGES.columns)
    found = connection.execute(
        f"SELECT {columns} FROM messages WHERE stream = ? ORDER BY id DESC LIMIT 1",  # noqa: S608 - our own names
        (stream,),
    ).fetchone()
    return MessageRow(*found) if found else None
