"""Notes: small durable state of single parts, such as how far a follower has come. One value for each name."""

import sqlite3


def read_note(connection: sqlite3.Connection, name: str) -> bytes | None:
    """The value that was kept last; None where there is none."""
    row = connection.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
    return bytes(row[0]) if row else None


def keep_note(connection: sqlite3.Connection, name: str, value: bytes) -> None:
    """Keeps a value in the open transaction."""
    connection.execute("INSERT OR REPLACE INTO notes (name, value) VALUES (?,?)", (name, value))
