"""What a journal holds, and whether its books are right: its totals against its rows.

Every row that was ever stored raised the totals in its own transaction, and ids are given once and without holes.
So the newest id of a table is how many of its signals were stored, whatever retention has deleted since; and where
it has deleted nothing, sums over the rows are the totals themselves.
"""

import json
import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fleetpulse import catalogue
from fleetpulse.journal.backup.watch import BackupError, Stage, Watch
from fleetpulse.journal.floors import kept_rows
from fleetpulse.journal.following import newest_id
from fleetpulse.journal.journal import EPOCH_NOTE
from fleetpulse.journal.notes import read_note
from fleetpulse.journal.rows import ALERTS, KINDS, MESSAGES, REQUESTS, TABLES, Table
from fleetpulse.journal.schema import MIGRATIONS

LINEAGE_NOTE = "journal.lineage"
COUNTED = {  # tables whose every row is one of a counter
    REQUESTS: catalogue.REQUESTS.name,
    ALERTS: catalogue.ALERT_EVENTS.name,
    MESSAGES: catalogue.CHAT_MESSAGES.name,
}
STORED = "stored"
COUNTED_SINCE = 4  # the schema: older journals have what was not counted yet
COST_TOLERANCE = 1e-9  # sums of floats, in another order


class Extent(NamedTuple):
    """Of a table: how many rows it holds, the newest id that it ever gave, and when its newest row came."""

    rows: int
    newest_id: int
    newest_at: float | None


@dataclass(frozen=True)
class Contents:
    """What is in a journal. `findings` say where its totals are not its rows; nothing where they are.

    `lineage` is what it has in common with the journals that it was restored from, and they with it.
    """

    schema: int
    epoch: str
    lineage: str
    tables: Mapping[str, Extent]
    findings: tuple[str, ...]

    @property
    def rows(self) -> dict[str, int]:
        """Rows by table."""
        return {name: extent.rows for name, extent in self.tables.items()}


def read_contents(path: Path, watch: Watch) -> Contents:
    """Looks a file over, whole. Raises BackupError where it is damaged, or no journal that this version knows."""
    try:
        with watch.over(open_file(path)) as connection:
            watch.step(Stage.CHECK, 0, 0)
            _check(connection, path)
            return _read(connection, path)
    except sqlite3.DatabaseError as error:
        raise BackupError(f"{path} cannot be read as a journal: {error}") from error


def open_file(path: Path) -> sqlite3.Connection:
    """Opens a database to read it, whatever its name; raises BackupError where there is none."""
    if not path.is_file():
        raise BackupError(f"there is no file {path}")
    return sqlite3.connect(
        f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )


def identity(connection: sqlite3.Connection) -> tuple[str, str]:
    """A journal's epoch and lineage."""
    epoch = (read_note(connection, EPOCH_NOTE) or b"").decode()
    return epoch, (read_note(connection, LINEAGE_NOTE) or epoch.encode()).decode()


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise BackupError(f"{path} is damaged: {verdict}")


def _read(connection: sqlite3.Connection, path: Path) -> Contents:
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not {"requests", "totals", "notes"} <= names:
        raise BackupError(f"{path} is no journal of Fleetpulse")
    if schema > len(MIGRATIONS):
        raise BackupError(f"{path} has schema {schema}, this Fleetpulse knows {len(MIGRATIONS)}: use the newer one")
    tables = {table: _extent(connection, table) for table in TABLES if table.name in names}
    epoch, lineage = identity(connection)
    findings = tuple(_findings(connection, tables)) if schema >= COUNTED_SINCE else ()
    return Contents(schema, epoch, lineage, {table.name: extent for table, extent in tables.items()}, findings)


def _extent(connection: sqlite3.Connection, table: Table) -> Extent:
    (rows,) = connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()  # noqa: S608 - our own names
    newest = connection.execute(
        f"SELECT received_at FROM {table.name} ORDER BY id DESC LIMIT 1"  # noqa: S608 - our own names
    ).fetchone()
    return Extent(rows, newest_id(connection, table), newest[0] if newest else None)


def _findings(connection: sqlite3.Connection, tables: Mapping[Table, Extent]) -> Iterator[str]:
    """Where the books are wrong."""
    totals, stored = _totals(connection)
    for table, extent in tables.items():
        yield from _differ(f"{table.name} ever stored", extent.newest_id, stored[KINDS[table]])
        if table in COUNTED:
            yield from _differ(COUNTED[table], extent.newest_id, totals[COUNTED[table]])
        if table.name != "mailbox":  # where rows go in any order
            yield from _differ(f"{table.name} kept", extent.rows, kept_rows(connection, table))
    requests = tables[REQUESTS]
    if requests.rows == requests.newest_id:
        tokens, cost = connection.execute("SELECT total(tokens_used), total(cost) FROM requests").fetchone()
        yield from _differ(catalogue.TOKENS.name, tokens, totals[catalogue.TOKENS.name])
        yield from _differ(catalogue.COST.name, cost, totals[catalogue.COST.name], COST_TOLERANCE)


def _differ(what: str, rows: float, totals: float, tolerance: float = 0.0) -> Iterator[str]:
    if not math.isclose(rows, totals, rel_tol=tolerance, abs_tol=tolerance):
        yield f"{what}: {rows:,.15g} by the rows, {totals:,.15g} by the totals"


def _totals(connection: sqlite3.Connection) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """The totals summed by metric, and how many signals of each kind were stored."""
    sums: dict[str, float] = defaultdict(float)
    stored: dict[str, float] = defaultdict(float)
    for metric, labels, value in connection.execute("SELECT metric, labels, value FROM totals"):
        sums[metric] += value
        if metric == catalogue.SIGNALS.name:
            kind, outcome = json.loads(labels)
            stored[kind] += value if outcome == STORED else 0.0
    return sums, stored
