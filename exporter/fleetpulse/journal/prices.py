"""Prices given at run time, and the runs that price stored requests: what of them outlives a restart.

A price and the run it begins are kept in one transaction: a price that is in force after a crash is one that the
stored requests get, too, by whoever takes up the unfinished runs.
"""

import sqlite3
from dataclasses import dataclass
from typing import NamedTuple

RUN = "pricing/"  # the names of the notes of unfinished runs begin with it


class GivenPrice(NamedTuple):
    """A price as it was given: `price` is JSON, `set_at` in Unix seconds; provider "" stands for any."""

    model: str
    provider: str
    set_at: float
    set_by: str
    price: str


class UnfinishedRun(NamedTuple):
    """A run that is to be taken up; `order` is JSON."""

    run_id: str
    order: str


@dataclass(frozen=True)
class BeginRun:
    """Keeps a run as unfinished; with a price, that too, in place of the one before."""

    run_id: str
    order: str
    price: GivenPrice | None = None
    size: int = 0

    def run(self, connection: sqlite3.Connection) -> None:
        """Writes both."""
        note = (RUN + self.run_id, self.order.encode())
        connection.execute("INSERT INTO notes (name, value) VALUES (?,?)", note)
        if self.price is not None:
            connection.execute(
                "INSERT OR REPLACE INTO prices (model, provider, set_at, set_by, price) VALUES (?,?,?,?,?)",
                self.price,
            )


@dataclass(frozen=True)
class EndRun:
    """Forgets a run: it is done."""

    run_id: str
    size: int = 0

    def run(self, connection: sqlite3.Connection) -> None:
        """Deletes its note."""
        connection.execute("DELETE FROM notes WHERE name = ?", (RUN + self.run_id,))


@dataclass(frozen=True)
class DeletePrice:
    """Takes a price back; the result is whether there was one."""

    model: str
    provider: str
    size: int = 0

    def run(self, connection: sqlite3.Connection) -> bool:
        """Deletes it."""
        key = (self.model, self.provider)
        return connection.execute("DELETE FROM prices WHERE model = ? AND provider = ?", key).rowcount > 0


def read_prices(connection: sqlite3.Connection) -> list[GivenPrice]:
    """Every price that was given and not taken back, by model and provider."""
    rows = connection.execute("SELECT model, provider, set_at, set_by, price FROM prices ORDER BY 1, 2")
    return [GivenPrice(*row) for row in rows]


def unfinished_runs(connection: sqlite3.Connection) -> list[UnfinishedRun]:
    """The runs that were begun and not ended."""
    rows = connection.execute("SELECT name, value FROM notes WHERE name GLOB ? ORDER BY name", (f"{RUN}*",))
    return [UnfinishedRun(name.removeprefix(RUN), value.decode()) for name, value in rows]
