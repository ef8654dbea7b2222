"""Goes through a table's rows in order of their ids, by the index where it helps and row by row where it does not.

What the index has not come to yet (the newest rows, or all while it is made again) is read and tested, so a
row is found as soon as it is acknowledged. Work is done in small steps that each say how far they came: a
caller may stop after any of them and go on from there another time.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, NamedTuple

from fleetpulse.journal.positions import bounds, first_since
from fleetpulse.query import index
from fleetpulse.query.subject import Filter, R

SCAN_IDS = 8_192  # read as one question; a read transaction lasts no longer
BATCH_ROWS = 256
FEW_ROWS = 200
OPCODES = 4_000  # of SQLite's virtual machine between two looks at the clock


class Found(NamedTuple, Generic[R]):
    """A row and its place in the order of receipt."""

    id: int
    row: R


class Step(NamedTuple, Generic[R]):
    """What a step has found, in order; every id up to and with `reached` has been looked at."""

    rows: list[Found[R]]
    reached: int


class IndexFailedError(Exception):
    """The index cannot be read; `passing` where that says nothing about its file."""

    def __init__(self, error: sqlite3.Error) -> None:
        super().__init__(str(error))
        self.passing = index.is_passing(error)


class TooSlowError(Exception):
    """A step took longer than it may."""


@dataclass(frozen=True)
class Sweep(Generic[R]):
    """One way through the ids from `low` to `high`. `batch` is how many rows to read at once at first."""

    journal: sqlite3.Connection
    index: sqlite3.Connection | None
    wanted: Filter[R]
    low: int
    high: int
    newest_first: bool = True
    batch: int = BATCH_ROWS

    def steps(self) -> Iterator[Step[R]]:
        """Every step of the way. Raises IndexFailedError, TooSlowError or sqlite3.Error."""
        with _failures_of_the_index():
            border = self._border()
        indexed, rest = (self.low, min(self.high, border)), (max(self.low, border + 1), self.high)
        if self.newest_first:
            yield from self._scan(*rest)
            yield from self._look_up(*indexed)
        else:
            yield from self._look_up(*indexed)
            yield from self._scan(*rest)

    def _border(self) -> int:
        """Up to which id the index is to be asked."""
        if self.index is None or self.wanted.expression() is None:
            return 0
        return index.position(self.index).last

    # By the index ---------------------------------------------------------------------------------------------
    def _look_up(self, low: int, high: int) -> Iterator[Step[R]]:
        if self.index is None or low > high:
            return
        with _failures_of_the_index():
            numbers = index.partitions(self.index)
        for number in reversed(numbers) if self.newest_first else numbers:
            first = number * index.PARTITION_IDS
            part = max(low, first), min(high, first + index.PARTITION_IDS - 1)
            if part[0] <= part[1]:
                yield from self._partition(number, part)

    def _partition(self, number: int, part: tuple[int, int]) -> Iterator[Step[R]]:
        few = self._few(number, part)
        found = self._proposed(number, part, self.wanted.expression()) if few is None else iter(few)
        size = min(self.batch, self.wanted.most)
        while True:
            with _failures_of_the_index():
                ids = list(islice(found, size))
            if ids:
                yield Step(self._fetch(ids), ids[-1])
            if len(ids) < size:
                break
            size = min(BATCH_ROWS, self.wanted.most)
        yield Step([], part[0] if self.newest_first else part[1])

    def _few(self, number: int, part: tuple[int, int]) -> list[int] | None:
        """What a cheaper question proposes, where that is few enough to look at each; None otherwise."""
        cheap = self.wanted.cheap_expression()
        if cheap is None:
            return None
        with _failures_of_the_index():
            ids = list(islice(self._proposed(number, part, cheap), FEW_ROWS + 1))
        return ids if len(ids) <= FEW_ROWS else None

    def _proposed(self, number: int, part: tuple[int, int], expression: str | None) -> Iterator[int]:
        assert self.index is not None  # noqa: S101 - `_look_up` has seen to both
        assert expression is not None  # noqa: S101
        with _failures_of_the_index():
            return index.find(self.index, number, expression, part, newest_first=self.newest_first)

    def _fetch(self, ids: list[int]) -> list[Found[R]]:
        """The rows of these ids that are still there and are asked for."""
        marks = ",".join("?" * len(ids))
        conditions, values = self.wanted.conditions()
        with _too_slow():
            rows = self.journal.execute(
                f"{self._select} id IN ({marks}){conditions} ORDER BY id {self._order}",
                [*ids, *values],
            ).fetchall()
        return self._matching(rows)

    # Row by row -----------------------------------------------------------------------------------------------
    def _scan(self, low: int, high: int) -> Iterator[Step[R]]:
        starts = range(low, high + 1, SCAN_IDS)
        for first in reversed(starts) if self.newest_first else starts:
            yield from self._range(first, min(first + SCAN_IDS - 1, high))

    def _range(self, low: int, high: int) -> Iterator[Step[R]]:
        conditions, values = self.wanted.conditions()
        with _too_slow():
            cursor = self.journal.execute(
                f"{self._select} id BETWEEN ? AND ?{conditions} ORDER BY id {self._order}",
                [low, high, *values],
            )
        size = min(self.batch, self.wanted.most)
        while True:
            with _too_slow():
                rows = cursor.fetchmany(size)
            if len(rows) < size:
                break
            yield Step(self._matching(rows), rows[-1][0])
            size = min(BATCH_ROWS, self.wanted.most)
        yield Step(self._matching(rows), low if self.newest_first else high)

    @property
    def _select(self) -> str:
        return f"SELECT id,{self.wanted.columns} FROM {self.wanted.subject.table.name} WHERE"  # noqa: S608 - our own names

    @property
    def _order(self) -> str:
        return "DESC" if self.newest_first else "ASC"

    def _matching(self, rows: list[tuple[Any, ...]]) -> list[Found[R]]:
        make = self.wanted.subject.row
        found = (Found(number, make(*values)) for number, *values in rows)
        return [each for each in found if self.wanted.matches(each.row)]


def extent(journal: sqlite3.Connection, wanted: Filter[R]) -> tuple[int, int]:
    """The least and the greatest id that may be asked for; the first is greater where none may."""
    table = wanted.subject.table
    low, high = bounds(journal, table)
    if wanted.start is not None:
        low = max(low, first_since(journal, wanted.start, table))
    if wanted.end is not None:
        high = min(high, first_since(journal, wanted.end, table) - 1)
    return low, high


@contextmanager
def deadline(moment: float, *connections: sqlite3.Connection | None) -> Iterator[None]:
    """Interrupts what these connections do past a moment of the monotonic clock."""
    used = [connection for connection in connections if connection is not None]
    for connection in used:
        connection.set_progress_handler(lambda: time.monotonic() > moment, OPCODES)
    try:
        yield
    finally:
        for connection in used:
            connection.set_progress_handler(None, 0)


@contextmanager
def _too_slow() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise TooSlowError from error
        raise


@contextmanager
def _failures_of_the_index() -> Iterator[None]:
    try:
        with _too_slow():
            yield
    except sqlite3.Error as error:
        raise IndexFailedError(error) from error
