"""The journal's database file: one owner, settings, schema version, migrations, integrity check.

One file, `journal.db`, in WAL mode, and beside it `journal.db.lock`, which its one writer holds: two writers would
each keep totals of their own. Each migration runs in a transaction with its version number, so a start that is cut
off half-way leaves the old version, which the next start migrates again.
"""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from fleetpulse.errors import ConfigError, JournalDamagedError

PAGE_BYTES = 8_192  # halves the pages that random request ids touch in the unique index, compared with 4 KiB
CACHE_KIB = 128 * 1024
WAL_PAGES = 4_000
STORAGE_CODES = {  # the write was sound and storage refused it; BUSY: someone else's transaction holds the file
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY,
}

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE requests (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        request_id TEXT NOT NULL UNIQUE,
        received_at REAL NOT NULL,
        timestamp REAL,
        source TEXT NOT NULL,
        user_id TEXT NOT NULL,
        command TEXT NOT NULL,
        status TEXT NOT NULL,
        model TEXT,
        provider TEXT,
        execution_time REAL NOT NULL,
        tokens_used INTEGER NOT NULL,
        input_tokens INTEGER,
        output_tokens INTEGER,
        cached_tokens INTEGER,
        cost REAL,
        cost_source TEXT,
        error TEXT,
        session_id TEXT,
        trace_id TEXT,
        metadata TEXT
    );
    CREATE TABLE alert_events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        event_key TEXT NOT NULL UNIQUE,
        received_at REAL NOT NULL,
        fingerprint TEXT NOT NULL,
        alertname TEXT NOT NULL,
        status TEXT NOT NULL,
        severity TEXT NOT NULL,
        starts_at TEXT NOT NULL,
        ends_at TEXT,
        labels TEXT NOT NULL,
        annotations TEXT NOT NULL,
        generator_url TEXT NOT NULL
    );
    CREATE TABLE totals (
        metric TEXT NOT NULL,
        labels TEXT NOT NULL,
        value REAL NOT NULL,
        created REAL NOT NULL,
        PRIMARY KEY (metric, labels)
    ) WITHOUT ROWID;
    CREATE TABLE agents (
        agent_id TEXT PRIMARY KEY,
        received_at REAL NOT NULL,
        state TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    ALTER TABLE requests ADD COLUMN account_id TEXT;
    CREATE TABLE prices (
        model TEXT NOT NULL,
        provider TEXT NOT NULL,
        set_at REAL NOT NULL,
        set_by TEXT NOT NULL,
        price TEXT NOT NULL,
        PRIMARY KEY (model, provider)
    ) WITHOUT ROWID;
    CREATE INDEX requests_unpriced ON requests (model) WHERE cost_source = 'unknown';
    CREATE TABLE corrections (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id TEXT NOT NULL,
        made_at REAL NOT NULL,
        made_by TEXT NOT NULL,
        source TEXT NOT NULL,
        model TEXT NOT NULL,
        provider TEXT NOT NULL,
        price TEXT NOT NULL,
        requests INTEGER NOT NULL,
        cost REAL NOT NULL,
        UNIQUE (run_id, source, model, provider, price)
    );
    CREATE TABLE notes (
        name TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        message_id TEXT NOT NULL UNIQUE,
        received_at REAL NOT NULL,
        timestamp REAL,
        stream TEXT NOT NULL,
        kind TEXT NOT NULL,
        session_id TEXT,
        user_id TEXT NOT NULL,
        text TEXT NOT NULL,
        metadata TEXT,
        recipient TEXT
    );
    CREATE INDEX messages_session ON messages (session_id, id) WHERE session_id IS NOT NULL;
    CREATE TABLE receipts (
        message INTEGER PRIMARY KEY,
        delivered_at REAL,
        delivered_to TEXT,
        read_at REAL,
        read_by TEXT
    );
    CREATE TRIGGER messages_receipts AFTER DELETE ON messages BEGIN
        DELETE FROM receipts WHERE message = old.id;
    END;
    CREATE TABLE activities (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        activity_id TEXT NOT NULL UNIQUE,
        received_at REAL NOT NULL,
        timestamp REAL,
        account_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        number INTEGER NOT NULL,
        reply_time REAL,
        online INTEGER,
        text TEXT,
        metadata TEXT,
        account_name TEXT
    );
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        event_id TEXT NOT NULL UNIQUE,
        received_at REAL NOT NULL,
        category TEXT NOT NULL,
        kind TEXT NOT NULL,
        actor TEXT NOT NULL,
        subject TEXT NOT NULL,
        detail TEXT NOT NULL
    );
    CREATE INDEX events_category ON events (category, id);
    CREATE TABLE mailbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        delivery_id TEXT NOT NULL UNIQUE,
        received_at REAL NOT NULL,
        user_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        payload TEXT NOT NULL
    );
    CREATE INDEX mailbox_user ON mailbox (user_id, id);
    CREATE TABLE accounts (
        account_id TEXT PRIMARY KEY,
        account_name TEXT,
        messages INTEGER NOT NULL,
        replies INTEGER NOT NULL,
        redpackets INTEGER NOT NULL,
        errors INTEGER NOT NULL,
        timed_replies INTEGER NOT NULL,
        reply_seconds REAL NOT NULL,
        online INTEGER,
        told_at REAL NOT NULL,
        last_activity REAL NOT NULL,
        heard_at REAL NOT NULL,
        newest_id INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TRIGGER activities_accounts AFTER INSERT ON activities BEGIN
        INSERT INTO accounts VALUES (
            new.account_id,
            new.account_name,
            iif(new.kind = 'message', new.number, 0),
            iif(new.kind = 'reply', new.number, 0),
            iif(new.kind = 'redpacket', new.number, 0),
            iif(new.kind = 'error', new.number, 0),
            iif(new.kind = 'reply' AND new.reply_time IS NOT NULL, new.number, 0),
            iif(new.kind = 'reply' AND new.reply_time IS NOT NULL, new.number * new.reply_time, 0.0),
            coalesce(new.online, iif(new.kind IN ('message', 'reply', 'redpacket'), 1, NULL)),
            min(coalesce(new.timestamp, new.received_at), new.received_at),
            min(coalesce(new.timestamp, new.received_at), new.received_at),
            new.received_at,
            new.id
        ) ON CONFLICT (account_id) DO UPDATE SET
            account_name = coalesce(excluded.account_name, account_name),
            messages = messages + excluded.messages,
            replies = replies + excluded.replies,
            redpackets = redpackets + excluded.redpackets,
            errors = errors + excluded.errors,
            timed_replies = timed_replies + excluded.timed_replies,
            reply_seconds = reply_seconds + excluded.reply_seconds,
            online = iif(excluded.online IS NULL OR (online IS NOT NULL AND excluded.told_at < told_at),
                online, excluded.online),
            told_at = iif(excluded.online IS NULL, told_at,
                iif(online IS NULL, excluded.told_at, max(told_at, excluded.told_at))),
            last_activity = max(last_activity, excluded.last_activity),
            heard_at = max(heard_at, excluded.heard_at),
            newest_id = excluded.newest_id;
    END;
    CREATE TABLE notifications (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        notification_id TEXT NOT NULL UNIQUE,
        created_at REAL NOT NULL,
        level TEXT NOT NULL,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        actor TEXT NOT NULL,
        repeats INTEGER NOT NULL DEFAULT 0,
        document TEXT NOT NULL
    );
    CREATE TABLE notification_outcomes (
        number INTEGER NOT NULL REFERENCES notifications (id),
        audience TEXT NOT NULL,
        recipient TEXT NOT NULL,
        channel TEXT NOT NULL,
        outcome TEXT NOT NULL,
        detail TEXT NOT NULL,
        changed_at REAL NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        due_at REAL,
        expires_at REAL,
        PRIMARY KEY (number, audience, recipient, channel)
    ) WITHOUT ROWID;
    CREATE INDEX notification_outcomes_due ON notification_outcomes (due_at) WHERE due_at IS NOT NULL;
    CREATE INDEX notification_outcomes_recipient ON notification_outcomes (audience, recipient, number);
    CREATE TABLE notification_keys (
        dedup_key TEXT NOT NULL,
        audience TEXT NOT NULL,
        recipient TEXT NOT NULL,
        number INTEGER NOT NULL,
        until REAL NOT NULL,
        PRIMARY KEY (dedup_key, audience, recipient)
    ) WITHOUT ROWID;
    CREATE INDEX notification_keys_until ON notification_keys (until);
    CREATE TABLE notification_preferences (
        user_id TEXT PRIMARY KEY,
        changed_at REAL NOT NULL,
        changed_by TEXT NOT NULL,
        preferences TEXT NOT NULL
    ) WITHOUT ROWID;
    INSERT OR IGNORE INTO notes (name, value) VALUES ('journal.epoch', CAST(lower(hex(randomblob(6))) AS BLOB));
    """,
    """
    ALTER TABLE messages ADD COLUMN raw;
    ALTER TABLE messages ADD COLUMN opcode INTEGER;
    ALTER TABLE messages ADD COLUMN size INTEGER;
    ALTER TABLE messages ADD COLUMN clock REAL;
    ALTER TABLE messages ADD COLUMN connection TEXT;
    ALTER TABLE messages ADD COLUMN rules TEXT;
    CREATE INDEX messages_stream ON messages (stream, id);
    CREATE TABLE message_quarters (
        quarter INTEGER NOT NULL,
        stream TEXT NOT NULL,
        messages INTEGER NOT NULL,
        users INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (quarter, stream)
    ) WITHOUT ROWID;
    CREATE TABLE message_users (
        hour INTEGER NOT NULL,
        stream TEXT NOT NULL,
        user_id TEXT NOT NULL,
        messages INTEGER NOT NULL,
        PRIMARY KEY (hour, stream, user_id)
    ) WITHOUT ROWID;
    INSERT INTO message_quarters (quarter, stream, messages)
        SELECT CAST(received_at / 900 AS INTEGER), stream, count(*) FROM messages GROUP BY 1, 2;
    INSERT INTO message_users
        SELECT CAST(received_at / 3600 AS INTEGER), stream, user_id, count(*) FROM messages
        WHERE user_id != '' AND received_at > (SELECT max(received_at) FROM messages) - 172800 GROUP BY 1, 2, 3;
    """,
)


class _Owned(sqlite3.Connection):
    """A connection that holds the journal's lock until it is closed or the process ends, however it ends."""

    lock: IO[bytes]

    def close(self) -> None:
        super().close()
        self.lock.close()


def open_writer(path: Path, synchronous: Literal["full", "normal"]) -> sqlite3.Connection:
    """Opens (or makes) the journal for its one writer; checks it and brings its schema up to date.

    The connection may be handed to another thread once. Raises JournalDamagedError, or ConfigError where the file
    cannot be opened, is in use by another Fleetpulse or was written by a newer one. A file that is refused was not
    written to.
    """
    lock = _lock(path)
    try:
        if path.exists():
            examine(path)
        connection = _connect(path)
    except BaseException:
        lock.close()
        raise
    connection.lock = lock
    try:
        _configure(connection, synchronous)
        _migrate(connection, path)
    except sqlite3.OperationalError as error:
        connection.close()
        if not is_refusal(error):
            raise
        raise ConfigError(f"the journal {path} cannot be written: {error}; make room, or see data_dir") from error
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def owned(path: Path) -> Iterator[None]:
    """Nobody else writes the journal within, or begins to; raises ConfigError where somebody does already."""
    with _lock(path):
        yield


def is_refusal(error: sqlite3.Error) -> bool:
    """Whether storage refuses to be written now (full, locked, read-only), which may pass by itself."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in STORAGE_CODES


def _lock(path: Path) -> IO[bytes]:
    """Makes this process the journal's owner; the file that holds the lock while it is open."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = Path(f"{path}.lock").open("ab")  # noqa: SIM115 - open for as long as the journal is
    except OSError as error:
        raise ConfigError(f"the journal {path} cannot be opened: {error.strerror}; see data_dir") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise ConfigError(
            f"the journal {path} is in use by another Fleetpulse: stop that one, or give this one its own data_dir"
        ) from error
    return lock


def _connect(path: Path) -> _Owned:
    try:
        return sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=512, factory=_Owned
        )
    except sqlite3.OperationalError as error:
        raise ConfigError(f"the journal {path} cannot be opened: {error}; see data_dir") from error


def open_reader(path: Path) -> sqlite3.Connection:
    """Opens the journal read-only; it sees each commit as soon as it is acknowledged."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA query_only = 1")
    connection.execute("PRAGMA busy_timeout = 5000")
    return connection


def _configure(connection: sqlite3.Connection, synchronous: str) -> None:
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect on a new file only
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {4 * WAL_PAGES * PAGE_BYTES}")
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA temp_store = MEMORY")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    try:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        verdict = str(error)
    if verdict != "ok":
        raise JournalDamagedError(
            f"the journal {path} is damaged ({verdict}). Nothing was changed. Restore a backup, or move the file "
            f"(with its -wal and -shm) away to start a new one; `sqlite3 {path} .recover` saves what is readable."
        )


def examine(path: Path) -> None:
    """Looks an existing journal over without changing it; raises as `open_writer` would."""
    try:
        connection = open_reader(path)
    except sqlite3.OperationalError as error:
        raise ConfigError(f"the journal {path} cannot be opened: {error}; see data_dir") from error
    try:
        _check(connection, path)
        _version(connection, path)
    finally:
        connection.close()


def _version(connection: sqlite3.Connection, path: Path) -> int:
    version: int
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise ConfigError(
            f"the journal {path} has schema {version}, this Fleetpulse knows {len(MIGRATIONS)}: use the newer "
            "Fleetpulse that wrote it, or another data_dir"
        )
    return version


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection, path)
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
