"""Making a backup: copy, look over, sum up, and only then give it its name."""

import hashlib
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import fleetpulse
from fleetpulse.journal.backup.contents import Contents, identity, open_file, read_contents
from fleetpulse.journal.backup.copying import copy, sync
from fleetpulse.journal.backup.folder import (
    PART,
    Manifest,
    clear,
    lock,
    manifest_path,
    name_of,
    read_manifest,
    rotate,
)
from fleetpulse.journal.backup.watch import BackupError, Stage, Watch
from fleetpulse.journal.rows import rfc3339

SPARE_BYTES = 64 * 2**20  # that stay free besides
SPARE_SHARE = 0.05
CHUNK_BYTES = 2**20
Namer = Callable[[float], Path]
"""Where a backup of a moment is put."""


@dataclass(frozen=True)
class Made:
    """A backup that was made just now, and the older ones that were deleted for it."""

    path: Path
    manifest: Manifest
    deleted: tuple[Path, ...] = ()


def make_in(folder: Path, journal: Path, keep: int | None, watch: Watch) -> Made:
    """Makes a backup in a folder, and deletes the journal's oldest there past `keep`; None keeps all.

    Raises BackupError where it cannot be made, StoppedError; nothing that counts is left then.
    """
    _ensure_there(journal)
    with trouble(f"the backup of {journal} failed"), lock(journal):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lineage = _lineage(journal)
        clear(folder, lineage)
        made = _make(journal, lambda moment: folder / name_of(moment, lineage), folder, watch)
        return Made(made.path, made.manifest, () if keep is None else tuple(rotate(folder, lineage, keep)))


def make_at(path: Path, journal: Path, watch: Watch) -> Made:
    """Makes a backup of this name, which no file may have yet; nothing else is deleted. Raises as `make_in`."""
    for each in (path, manifest_path(path)):
        if each.exists():
            raise BackupError(f"{each} is there already: name another file, or a folder")
    _ensure_there(journal)
    with trouble(f"the backup of {journal} failed"), lock(journal):
        return _make(journal, lambda _: path, path.parent, watch)


def verify(path: Path, watch: Watch) -> Contents:
    """Looks a backup over: whole by its manifest's sum where it has one, sound, and its books right or not.

    Raises BackupError, StoppedError.
    """
    with trouble(f"{path} cannot be verified"):
        manifest = read_manifest(path)
        if manifest is not None and path.is_file() and summed(path, watch) != manifest.get("sha256"):
            raise BackupError(f"{path} is not the file that its manifest tells of: its SHA-256 is another")
        return read_contents(path, watch)


def summed(path: Path, watch: Watch) -> str:
    """A file's SHA-256, in hexadecimal."""
    digest, done, whole = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            watch.step(Stage.SUM, done, whole)
    return digest.hexdigest()


def ensure_room(folder: Path, size: int) -> None:
    """Raises BackupError where a file of so many bytes has no room."""
    needed = int(size * (1 + SPARE_SHARE)) + SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BackupError(f"{folder} has {free:,} bytes free, {needed:,} are needed: make room first")


def _make(journal: Path, name: Namer, folder: Path, watch: Watch) -> Made:
    began = time.perf_counter()
    ensure_room(folder, _size(journal))
    part = name(time.time())
    part = part.with_name(part.name + PART)
    part.unlink(missing_ok=True)  # of one that was killed
    try:
        moment = copy(journal, part, watch)
        contents = read_contents(part, watch)
        manifest = _manifest(part, contents, moment, began, summed(part, watch))
        path = name(moment)
        manifest.write(manifest_path(path))
        part.replace(path)  # from here on it counts
    except BaseException:
        for left in (part, *(part.with_name(part.name + end) for end in ("-journal", "-wal", "-shm"))):
            left.unlink(missing_ok=True)
        raise
    sync(folder)
    return Made(path, manifest)


def _manifest(part: Path, contents: Contents, moment: float, began: float, digest: str) -> Manifest:
    return Manifest(
        made_at=rfc3339(moment),
        fleetpulse=fleetpulse.__version__,
        schema=contents.schema,
        epoch=contents.epoch,
        lineage=contents.lineage,
        rows=contents.rows,
        bytes=part.stat().st_size,
        sha256=digest,
        seconds=round(time.perf_counter() - began, 3),
        findings=contents.findings,
    )


def _ensure_there(journal: Path) -> None:
    if not journal.is_file():
        raise BackupError(f"there is no journal {journal}: is data_dir the exporter's?")


def _lineage(journal: Path) -> str:
    with closing(open_file(journal)) as connection:
        return identity(connection)[1]


def _size(journal: Path) -> int:
    with closing(open_file(journal)) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages * size)


@contextmanager
def trouble(what: str) -> Iterator[None]:
    """Within, what the disk or SQLite refuses is a BackupError."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"{what}: {error}") from error
