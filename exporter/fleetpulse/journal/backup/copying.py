"""Copying a database as of one moment, while it is written to.

SQLite's backup API begins anew whenever another connection writes to the source, so that under load it would never
end. Within a read transaction of the write-ahead log the source does not change: the copy is of the moment at which
that began, writers go on, and it takes as long as the pages do. What it costs is that the log cannot be emptied
meanwhile, so it grows by what is written.

Sources: https://www.sqlite.org/c3ref/backup_finish.html, https://www.sqlite.org/isolation.html
"""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Self

from fleetpulse.journal.backup.contents import open_file
from fleetpulse.journal.backup.watch import Stage, Watch

STEP_PAGES = 256
SYNC_PAGES = 4_096  # written to disk at once: a flood of them at the end would hold up the journal's own
SHARE = 0.5  # pause after a step, as a share of the time it took


def copy(source: Path, target: Path, watch: Watch) -> float:
    """Copies a database that may be in use to a new file, on disk; returns the moment that it is of (Unix seconds).

    The file is complete in itself. Raises StoppedError, sqlite3.Error or OSError; what is there then is of no use.
    """
    target.touch(mode=source.stat().st_mode & 0o777)
    with watch.over(open_file(source)) as reader, closing(_scratch(target)) as writer:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # from here on it sees one moment
        moment = time.time()
        with _Pace(target, watch) as pace:
            reader.backup(writer, pages=STEP_PAGES, progress=pace)
    _make_whole(target)
    return moment


class _Pace:
    """Hears of each step of copying: syncs now and then, and rests."""

    def __init__(self, target: Path, watch: Watch) -> None:
        self._watch = watch
        self._file = os.open(target, os.O_RDWR)
        self._synced = 0
        self._began = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def __call__(self, _status: int, remaining: int, pages: int) -> None:
        done = pages - remaining
        if done - self._synced >= SYNC_PAGES:
            os.fdatasync(self._file)
            self._synced = done
        self._watch.step(Stage.COPY, done, pages)
        if remaining:
            self._watch.rest(SHARE * (time.perf_counter() - self._began))
        self._began = time.perf_counter()


def _scratch(target: Path) -> sqlite3.Connection:
    """A connection to a file that is of no use until it is whole: nothing of it need outlive a crash."""
    connection = sqlite3.connect(target, isolation_level=None)
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def _make_whole(target: Path) -> None:
    """Lets the copy be without a write-ahead log, so that any SQLite reads it wherever it lies; and syncs it."""
    with closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = DELETE")
    sync(target)


def sync(path: Path) -> None:
    """Puts a file, or a folder's names, on disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
