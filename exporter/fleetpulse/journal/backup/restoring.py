"""Bringing a backup back: beside the journal, whole and on disk, before the journal makes room for it.

A restored journal is another stream: rows that came after the backup are gone, and their ids will be given to other
rows. So it gets an epoch of its own, and nobody who stood in the old one goes on in it as if nothing had happened:
live clients are told of a gap, other replicas follow it anew. Its totals are those of the backup, and go on.
"""

import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fleetpulse.errors import ConfigError
from fleetpulse.journal.backup.contents import LINEAGE_NOTE, Contents, identity, open_file
from fleetpulse.journal.backup.copying import copy, sync
from fleetpulse.journal.backup.folder import PART
from fleetpulse.journal.backup.making import ensure_room, trouble, verify
from fleetpulse.journal.backup.watch import BackupError, Watch
from fleetpulse.journal.following import newest_id
from fleetpulse.journal.journal import EPOCH_NOTE
from fleetpulse.journal.notes import keep_note
from fleetpulse.journal.rows import TABLES
from fleetpulse.journal.schema import owned

EPOCH_BYTES = 6
SIDES = ("", "-wal", "-shm")  # of a database


@dataclass(frozen=True)
class Loss:
    """What the journal has that a backup has not: rows by table; None where the journal cannot be read."""

    rows: Mapping[str, int] | None
    other: bool = False
    """It is another journal altogether: all of its rows."""


@dataclass(frozen=True)
class Restored:
    """What was done: the journal's new epoch, and the name that the old one has now, where there was one."""

    epoch: str
    set_aside: Path | None


def restore(backup: Path, journal: Path, watch: Watch) -> Restored:
    """Puts a backup in the place of a journal that is not in use, which is kept under another name.

    Raises BackupError where the backup does not hold what it should, where there is no room, and where an exporter
    runs on the journal; StoppedError. The journal is as it was, then.
    """
    with trouble(f"{backup} cannot be restored"), _owned(journal):
        verify(backup, watch)
        ensure_room(journal.parent, backup.stat().st_size)
        part = Path(f"{journal}.restored{PART}")
        part.unlink(missing_ok=True)  # of one that was killed
        try:
            copy(backup, part, watch)
            epoch = _begin_anew(part)
            sync(part)
            set_aside = _set_aside(journal)
            part.replace(journal)
        finally:
            part.unlink(missing_ok=True)
        sync(journal.parent)
    return Restored(epoch, set_aside)


def ensure_unused(journal: Path) -> None:
    """Raises BackupError where an exporter runs on the journal."""
    with _owned(journal):
        pass


def loss(contents: Contents, journal: Path) -> Loss:
    """What would be lost. Other journals' rows are all lost; of the backup's own, those that came after it."""
    if not journal.exists():
        return Loss({})
    try:
        with closing(open_file(journal)) as connection:
            other = identity(connection)[1] != contents.lineage
            newest = {table.name: newest_id(connection, table) for table in TABLES}
    except (sqlite3.Error, BackupError):
        return Loss(None)
    before = {name: 0 if other else extent.newest_id for name, extent in contents.tables.items()}
    return Loss({name: max(0, number - before.get(name, 0)) for name, number in newest.items()}, other)


@contextmanager
def _owned(journal: Path) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(owned(journal))
        except ConfigError as error:
            raise BackupError(f"{error}; restore once it has stopped") from error
        yield


def _begin_anew(path: Path) -> str:
    """Gives a copy of a journal an epoch of its own, and keeps what it descends from."""
    epoch = secrets.token_hex(EPOCH_BYTES)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        lineage = identity(connection)[1]
        keep_note(connection, LINEAGE_NOTE, (lineage or epoch).encode())
        keep_note(connection, EPOCH_NOTE, epoch.encode())
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = DELETE")
    return epoch


def _set_aside(journal: Path) -> Path | None:
    """Renames the journal's files, the database first: what is left of it without that, nobody would read."""
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = journal.with_name(f"{journal.stem}-replaced-{moment}{journal.suffix}")
    number = 1
    while aside.exists():
        number += 1
        aside = journal.with_name(f"{journal.stem}-replaced-{moment}-{number}{journal.suffix}")
    was_there = journal.exists()
    for side in SIDES:
        with suppress(FileNotFoundError):
            Path(f"{journal}{side}").replace(f"{aside}{side}")
    return aside if was_there else None
