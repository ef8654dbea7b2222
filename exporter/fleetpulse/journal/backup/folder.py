"""The folder of backups: their names, their manifests, which are kept.

A backup is `journal-{moment}-{lineage}.db` and, beside it, its manifest: the same name with `.json`. It counts once
it has its name, which it gets last; whatever is unfinished ends in `.part`. Nothing that is named otherwise is ever
touched, and backups of other journals in the same folder are left alone.
"""

import fcntl
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fleetpulse.journal.backup.copying import sync
from fleetpulse.journal.backup.watch import BusyError

NAME = re.compile(r"journal-(\d{8}T\d{6}\.\d{3}Z)-([0-9a-f]+)\.db")
MOMENT = "%Y%m%dT%H%M%S.%f"
PART = ".part"
FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What a backup is: of which moment, of which journal, how many rows, and how its file is told to be whole.

    `findings` say where totals are not the sums of the rows; `seconds` is how long it took.
    """

    made_at: str
    fleetpulse: str
    schema: int
    epoch: str
    lineage: str
    rows: Mapping[str, int]
    bytes: int
    sha256: str
    seconds: float
    findings: tuple[str, ...] = ()
    format: int = FORMAT

    def write(self, path: Path) -> None:
        """Puts it on disk, all of it or nothing."""
        part = Path(f"{path}{PART}")
        part.write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")
        sync(part)
        part.replace(path)


@dataclass(frozen=True)
class Backup:
    """A backup that is kept: its file, the moment that it is of (Unix seconds), bytes, and whose it is."""

    path: Path
    at: float
    bytes: int
    lineage: str


def name_of(at: float, lineage: str) -> str:
    """The name of a backup's file."""
    moment = datetime.fromtimestamp(at, UTC).strftime(MOMENT)[:-3]
    return f"journal-{moment}Z-{lineage}.db"


def manifest_path(path: Path) -> Path:
    """Where the manifest of a backup lies."""
    return path.with_suffix(".json")


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of a backup; None where there is none that can be read."""
    try:
        found = json.loads(manifest_path(path).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def backups(folder: Path, lineage: str | None = None) -> list[Backup]:
    """The backups in a folder, of one journal or of any, the newest first. Raises OSError."""
    if not folder.is_dir():
        return []
    found = [backup for path in folder.iterdir() if (backup := _backup(path)) is not None]
    kept = [each for each in found if lineage in (None, each.lineage)]
    return sorted(kept, key=lambda each: each.at, reverse=True)


def rotate(folder: Path, lineage: str, keep: int) -> list[Path]:
    """Deletes the oldest backups of a journal past `keep`; says which."""
    gone = [each.path for each in backups(folder, lineage)[keep:]]
    for path in gone:
        path.unlink(missing_ok=True)
        manifest_path(path).unlink(missing_ok=True)
    return gone


def clear(folder: Path, lineage: str) -> None:
    """Deletes what was left unfinished. Call it under the lock: nothing unfinished is anybody's then."""
    for path in folder.glob(f"journal-*-{lineage}.*{PART}*"):
        path.unlink(missing_ok=True)
    for path in folder.glob(f"journal-*-{lineage}.json"):
        if NAME.fullmatch(path.with_suffix(".db").name) and not path.with_suffix(".db").exists():
            path.unlink(missing_ok=True)


@contextmanager
def lock(journal: Path) -> Iterator[None]:
    """One backup of a journal is made at a time, by whatever process; raises BusyError where one is."""
    with Path(f"{journal}.backup.lock").open("ab") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError("another backup of this journal is being made") from error
        yield


def _backup(path: Path) -> Backup | None:
    match = NAME.fullmatch(path.name)
    if match is None:
        return None
    at = datetime.strptime(match[1][:-1], MOMENT).replace(tzinfo=UTC).timestamp()
    return Backup(path, at, path.stat().st_size, match[2])
