"""Reads pages and parts of exports, on the thread that calls it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple

from fleetpulse.query.leases import Leases, SearchIndex
from fleetpulse.query.subject import Filter, R
from fleetpulse.query.sweep import BATCH_ROWS, Found, IndexFailedError, Sweep, TooSlowError, deadline, extent

PAGE_CHARACTERS = 2**20
CHUNK_ROWS = 2_000
CHUNK_CHARACTERS = 2**20
CHUNK_SECONDS = 0.5  # then a part is handed on, full or not
STEP_SECONDS = 60.0  # for one step of an export

Encode = Callable[[Sequence[R]], bytes]


class Page(NamedTuple, Generic[R]):
    """Rows, the newest first; the next page has those before the id `next_id`. None: there is no more.

    A page may be shorter than was asked for, even empty, and have a next one: its time was over.
    """

    rows: Sequence[R]
    next_id: int | None


class Chunk(NamedTuple):
    """A part of an export, up to and with the id `reached`."""

    data: bytes
    rows: int
    reached: int


@dataclass(frozen=True)
class Bounds:
    """When it is enough: so many rows or characters, or a moment of the monotonic clock; by `end` a step is cut."""

    rows: int
    characters: int
    soft_end: float
    end: float


class Reader:
    """Reads what is asked for. May be called on several threads at once."""

    def __init__(self, journal: Leases, index: SearchIndex | None, seconds: float) -> None:
        """A page takes no longer than `seconds`."""
        self._journal = journal
        self._index = index
        self._seconds = seconds

    def one(self, wanted: Filter[R], key: str) -> R | None:
        """The row of a key, where it is one of those that are wanted."""
        subject = wanted.subject
        conditions, values = wanted.conditions()
        with self._journal.lease() as journal:
            found = journal.execute(
                f"SELECT {wanted.columns} FROM {subject.table.name} WHERE {subject.key} = ?{conditions}",  # noqa: S608
                [key, *values],
            ).fetchone()
        return subject.row(*found) if found else None

    def extent(self, wanted: Filter[R]) -> tuple[int, int]:
        """The least and the greatest id that may be wanted; the first is greater where none may."""
        with self._journal.lease() as journal:
            return extent(journal, wanted)

    def page(self, wanted: Filter[R], limit: int, before: int | None) -> Page[R]:
        """The newest wanted rows before an id. Raises TooSlowError where not one step was made in time."""
        end = time.monotonic() + self._seconds
        low, high = self.extent(wanted)
        high = high if before is None else min(high, before - 1)
        found, reached = self._gather(wanted, (low, high), Bounds(limit + 1, PAGE_CHARACTERS, end, end))
        rows = [each.row for each in found[:limit]]
        if len(found) > limit:
            return Page(rows, found[limit - 1].id)
        return Page(rows, reached if reached > low else None)

    def chunk(self, wanted: Filter[R], low: int, high: int, encode: Encode[R]) -> Chunk:
        """The next part of an export of these ids."""
        now = time.monotonic()
        bounds = Bounds(CHUNK_ROWS, CHUNK_CHARACTERS, now + CHUNK_SECONDS, now + STEP_SECONDS)
        found, reached = self._gather(wanted, (low, high), bounds, newest_first=False)
        data = encode([each.row for each in found]) if found else b""
        return Chunk(data, len(found), reached)

    def _gather(
        self, wanted: Filter[R], ids: tuple[int, int], bounds: Bounds, *, newest_first: bool = True
    ) -> tuple[list[Found[R]], int]:
        """What is found until it is enough, and how far that came; without the index where it fails."""
        with self._journal.lease() as journal:
            if self._index is not None:
                try:
                    with self._index.lease() as index:
                        return _take(Sweep(journal, index, wanted, *ids, newest_first, _batch(bounds)), bounds)
                except IndexFailedError as error:
                    if not error.passing:
                        self._index.doubt()
            return _take(Sweep(journal, None, wanted, *ids, newest_first, _batch(bounds)), bounds)


def _batch(bounds: Bounds) -> int:
    return min(bounds.rows, BATCH_ROWS)


def _take(sweep: Sweep[R], bounds: Bounds) -> tuple[list[Found[R]], int]:
    found: list[Found[R]] = []
    characters, weight = 0, sweep.wanted.subject.weight
    nowhere = sweep.high + 1 if sweep.newest_first else sweep.low - 1
    reached = nowhere
    with deadline(bounds.end, sweep.journal, sweep.index):
        try:
            for step in sweep.steps():
                found += step.rows
                reached = step.reached
                characters += sum(weight(each.row) for each in step.rows)
                enough = len(found) >= bounds.rows or characters >= bounds.characters
                if enough or time.monotonic() >= bounds.soft_end:
                    break
        except TooSlowError:
            if reached == nowhere:
                raise
    return found, reached
