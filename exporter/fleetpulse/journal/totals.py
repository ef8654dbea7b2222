"""The persisted totals: one row per series, changed in the transaction of the rows behind it.

A total's key is the metric's name and its label values in catalogue order. Histograms are kept as the counts of
each bucket alone (`…_bucket`, upper bound as the last label value) and the `…_sum`; exposition adds them up.
"""

import json
import sqlite3
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import NamedTuple

from fleetpulse.journal.rows import chunks


class Key(NamedTuple):
    """Which series: metric name and label values."""

    metric: str
    labels: tuple[str, ...]


class Total(NamedTuple):
    """A series' value, and when it first existed (Unix seconds)."""

    value: float
    created: float


Deltas = Mapping[Key, float]
Changes = dict[Key, Total]


class Totals:
    """The writer's own copy of every total. `stage` writes, `settle` after the commit makes it the new truth.

    A rolled-back transaction needs no call: what was staged is simply never settled.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        rows = connection.execute("SELECT metric, labels, value, created FROM totals")
        self.values: Changes = {
            Key(metric, tuple(json.loads(labels))): Total(value, created) for metric, labels, value, created in rows
        }

    def stage(self, deltas: Deltas, now: float) -> Changes:
        """Writes the sums of the totals and these increments into the open transaction; returns them."""
        changes = {}
        for key, delta in deltas.items():
            before = self.values.get(key)
            if before is None:
                changes[key] = Total(delta, now)
            elif delta:
                changes[key] = Total(before.value + delta, before.created)
        for chunk in chunks([(key.metric, _labels(key.labels), *total) for key, total in changes.items()]):
            self._connection.execute(_upsert(len(chunk)), [value for row in chunk for value in row])
        return changes

    def settle(self, changes: Changes) -> None:
        """Takes over what a committed transaction staged."""
        self.values.update(changes)


def read_total(connection: sqlite3.Connection, key: Key) -> float:
    """A total as the open transaction has it so far; 0 where there is none."""
    row = connection.execute(
        "SELECT value FROM totals WHERE metric = ? AND labels = ?", (key.metric, _labels(key.labels))
    ).fetchone()
    return float(row[0]) if row else 0.0


@lru_cache(maxsize=65_536)  # the same few series change in every transaction
def _labels(labels: tuple[str, ...]) -> str:
    return json.dumps(labels, ensure_ascii=False, separators=(",", ":"))


@cache
def _upsert(rows: int) -> str:
    return f"INSERT OR REPLACE INTO totals (metric, labels, value, created) VALUES {','.join(['(?,?,?,?)'] * rows)}"  # noqa: S608
