"""The search index's file: tokens of a table's rows by id, derived from the journal, made again whenever in doubt.

One SQLite file beside the journal. Runs of consecutive ids have an FTS5 table each, so the newest are searched
first, and what retention deletes goes table by table. The tables hold no texts: a row is read from the journal. How
far the index has come is kept in the transaction of what it holds, so after a crash it goes on from there.

Source: https://www.sqlite.org/fts5.html (contentless tables).
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

PARTITION_IDS = 131_072
VERSION = 2
CACHE_KIB = 8 * 1024
PASSING = {  # storage refuses for now, or someone asked to stop; whatever else fails is a file to be made again
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
}
NAME = "rows_"


class Position(NamedTuple):
    """How far the index has come: the id of the last row in it (0: none), and that one's key."""

    last: int
    key: str


def supported() -> bool:
    """Whether this SQLite can search texts."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE trial USING fts5(text)")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def is_passing(error: sqlite3.Error) -> bool:
    """Whether an error says nothing about the file, and may be gone when it is tried again."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in PASSING


def files(path: Path) -> list[Path]:
    """The files of an index."""
    return [path, Path(f"{path}-wal"), Path(f"{path}-shm")]


def size(path: Path) -> int:
    """Bytes of an index's files on disk."""
    return sum(file.stat().st_size for file in files(path) if file.exists())


def open_index(path: Path) -> sqlite3.Connection:
    """Opens the index for its one writer, and makes it where it is missing. Raises sqlite3.Error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect on a new file only
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "PRAGMA synchronous = NORMAL"
        )  # power loss takes the newest rows: they are indexed again
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA busy_timeout = 5000")
        if version(connection) == 0:
            _make(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _make(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE position (last INTEGER NOT NULL, key TEXT NOT NULL)")
    connection.execute("INSERT INTO position VALUES (0, '')")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def version(connection: sqlite3.Connection) -> int:
    """The layout of the file; 0 where it is new."""
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    return int(number)


def is_sound(connection: sqlite3.Connection) -> bool:
    """Whether the file passes SQLite's check. Reads all of it."""
    return [*connection.execute("PRAGMA quick_check(1)")] == [("ok",)]


def position(connection: sqlite3.Connection) -> Position:
    """How far the index has come."""
    return Position(*connection.execute("SELECT last, key FROM position").fetchone())


def partitions(connection: sqlite3.Connection) -> list[int]:
    """The numbers of the tables, in order; table n holds the ids from n times PARTITION_IDS."""
    names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL%'")
    return sorted(int(name.removeprefix(NAME)) for (name,) in names)


# Writing ------------------------------------------------------------------------------------------------------
def add(connection: sqlite3.Connection, documents: Sequence[tuple[int, str]]) -> None:
    """Adds the tokens of rows, by id in order, to the open transaction."""
    by_partition: dict[int, list[tuple[int, str]]] = {}
    for pair in documents:
        by_partition.setdefault(pair[0] // PARTITION_IDS, []).append(pair)
    for number, some in by_partition.items():
        connection.execute(
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {NAME}{number} "
            "USING fts5(text, content='', columnsize=0, tokenize='ascii')"
        )
        connection.executemany(f"INSERT INTO {NAME}{number} (rowid, text) VALUES (?, ?)", some)  # noqa: S608 - our own names


def save_position(connection: sqlite3.Connection, reached: Position) -> None:
    """Says in the open transaction how far it brings the index."""
    connection.execute("UPDATE position SET last = ?, key = ?", reached)


def merge(connection: sqlite3.Connection, number: int, pages: int) -> bool:
    """Merges a part of a complete table, so that a token is in one place; False when nothing is left to merge.

    A negative number of pages begins it, as FTS5 has it.
    """
    before = connection.total_changes
    table = f"{NAME}{number}"
    connection.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('merge', ?)", (pages,))  # noqa: S608 - our own names
    return connection.total_changes - before > 1


def drop(connection: sqlite3.Connection, number: int) -> None:
    """Forgets the ids of a table."""
    connection.execute(f"DROP TABLE {NAME}{number}")


def free(connection: sqlite3.Connection, pages: int) -> bool:
    """Hands at most so many free pages back to the file system; True while there are more."""
    (unused,) = connection.execute("PRAGMA freelist_count").fetchone()
    for _ in range(min(unused, pages)):
        connection.execute("PRAGMA incremental_vacuum(1)")  # Python's sqlite3 frees one page a call, whatever N
    return bool(unused > pages)


def settle(connection: sqlite3.Connection) -> None:
    """Writes everything to the main file, so that nothing is left beside it when nobody has it open any more.

    Closing does so by itself, but not after an interruption.
    """
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


# Reading ------------------------------------------------------------------------------------------------------
def find(
    connection: sqlite3.Connection, number: int, expression: str, ids: tuple[int, int], *, newest_first: bool
) -> Iterator[int]:
    """The ids in a table, of those from one up to and with another, that an expression proposes, in order."""
    table, order = f"{NAME}{number}", "DESC" if newest_first else "ASC"
    found = connection.execute(
        f"SELECT rowid FROM {table} WHERE {table} MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid {order}",  # noqa: S608
        (expression, *ids),
    )
    return (number for (number,) in found)
