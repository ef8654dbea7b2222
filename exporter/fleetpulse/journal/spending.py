"""What requests cost since a moment, from the rows: what a budget that is new in its period begins with."""

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from fleetpulse.journal.positions import first_since
from fleetpulse.journal.rows import chunks

COLUMNS = {"total": "''", "source": "source", "model": "model", "user": "user_id", "account": "account_id"}


class Scope(NamedTuple):
    """Which requests are meant: all, or those of one source, model, user or account."""

    kind: str
    target: str


class Spent(NamedTuple):
    """The sum of known costs in USD, and how many requests have none."""

    cost: float
    unpriced: int


def spent_since(connection: sqlite3.Connection, start: float, scopes: Sequence[Scope]) -> list[Spent]:
    """What was spent by the rows received since `start` (Unix seconds), for each scope.

    Reads no more than these rows, once for every 128 scopes.
    """
    first = first_since(connection, start)
    return [spent for chunk in chunks(scopes) for spent in _spent(connection, first, start, chunk)]


def _spent(connection: sqlite3.Connection, first: int, start: float, scopes: Sequence[Scope]) -> Iterator[Spent]:
    wanted = (f"{COLUMNS[scope.kind]} = ?" for scope in scopes)
    sums = [
        f"total(cost) FILTER (WHERE {each}), count(*) FILTER (WHERE {each} AND cost_source = 'unknown')"
        for each in wanted
    ]
    values = chain.from_iterable((scope.target, scope.target) for scope in scopes)
    row = connection.execute(
        f"SELECT {','.join(sums)} FROM requests WHERE id >= ? AND received_at >= ?",  # noqa: S608 - our own names
        (*values, first, start),
    ).fetchone()
    return (Spent(float(row[at]), int(row[at + 1])) for at in range(0, len(row), 2))
