"""What is asked of stored chat messages: a page of a session, where its last ones begin, one of them."""

import sqlite3
from collections.abc import Sequence

from fleetpulse.journal.following import Numbered
from fleetpulse.journal.rows import MESSAGES, MessageRow

CHAT = "chat"
_COLUMNS = ",".join(MESSAGES.columns)


def messages_before(
    connection: sqlite3.Connection, session_id: str, before: int, limit: int, text: str | None = None
) -> Sequence[Numbered]:
    """A session's messages with ids less than `before` that hold `text` (ASCII in any case), newest first."""
    pattern = None if text is None else f"%{_escaped(text)}%"
    found = connection.execute(
        f"SELECT id,{_COLUMNS} FROM messages WHERE session_id = ?1 AND id < ?2 AND stream = ?3 "  # noqa: S608 - our own names
        "AND (?4 IS NULL OR text LIKE ?4 ESCAPE '!') ORDER BY id DESC LIMIT ?5",
        (session_id, before, CHAT, pattern, limit),
    )
    return _numbered(found)


def before_last(connection: sqlite3.Connection, session_id: str, count: int) -> int:
    """The id after which a session's last `count` messages come; 0 where there are no more than that."""
    row = connection.execute(
        "SELECT id FROM messages WHERE session_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?", (session_id, count)
    ).fetchone()
    return int(row[0]) if row else 0


def message_by_id(connection: sqlite3.Connection, message_id: str) -> Numbered | None:
    """One message and its id."""
    found = connection.execute(
        f"SELECT id,{_COLUMNS} FROM messages WHERE message_id = ? AND stream = ?",  # noqa: S608 - our own names
        (message_id, CHAT),
    )
    return next(iter(_numbered(found)), None)


def _numbered(found: sqlite3.Cursor) -> Sequence[Numbered]:
    return [Numbered(number, MessageRow(*values)) for number, *values in found]


def _escaped(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
