"""The log of events on demand, the newest first, page by page. Reads on a thread of its own.

Paging goes by the rows' ids, so what is logged or deleted meanwhile neither repeats nor hides others. Bounded in
time, and in how many may ask at once. Where no category is wanted, there is no index to go by: a page then looks at
so many rows, and may have fewer than asked for, or none, while another one follows.
"""

import asyncio
import heapq
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from fleetpulse.errors import OverloadedError
from fleetpulse.journal import EVENTS, EventRow, Journal, Numbered
from fleetpulse.query.sweep import deadline

SECONDS = 2.0
MAX_ASKED = 32
RETRY_SECONDS = 5
SPAN = 200_000  # rows that a page of all categories looks at
COLUMNS = ",".join(("id", *EVENTS.columns))
EQUAL = ("kind", "actor", "subject")


@dataclass(frozen=True)
class EventFilter:
    """All that is given must hold: one of the categories; received from `start` up to `end` (Unix seconds).

    Without categories, all are wanted.
    """

    categories: tuple[str, ...] = ()
    kind: str | None = None
    actor: str | None = None
    subject: str | None = None
    start: float | None = None
    end: float | None = None

    def conditions(self) -> tuple[str, list[object]]:
        """The SQL conditions, each after AND, and their values."""
        found: list[tuple[str, object]] = [
            (f"{name} = ?", value) for name in EQUAL if (value := getattr(self, name)) is not None
        ]
        found += [("received_at >= ?", self.start)] if self.start is not None else []
        found += [("received_at < ?", self.end)] if self.end is not None else []
        return "".join(f" AND {condition}" for condition, _ in found), [value for _, value in found]


@dataclass(frozen=True)
class EventPage:
    """Events, the newest first; the next page has those before the id `next_id`. None: there is no more."""

    events: Sequence[Numbered]
    next_id: int | None


class EventLog:
    """Answers questions about stored events. `close` it before the journal is closed."""

    def __init__(self, journal: Journal, *, span: int = SPAN) -> None:
        """`span` is how many rows a page of all categories looks at."""
        self._journal = journal
        self._span = span
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="events")
        self._asked = 0

    async def page(self, wanted: EventFilter, limit: int, before: int | None = None) -> EventPage:
        """The newest wanted events, of those before an id. Raises OverloadedError."""
        if self._asked >= MAX_ASKED:
            raise OverloadedError(f"{self._asked} questions about events are under way already")
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, wanted, limit, before)
        except sqlite3.OperationalError as error:
            raise OverloadedError(
                f"the events could not be read in {SECONDS:g} s: {error}; narrow the time", RETRY_SECONDS
            ) from error
        finally:
            self._asked -= 1

    async def close(self) -> None:
        """Ends the thread; nobody may ask any more."""
        await asyncio.to_thread(self._thread.shutdown)

    def _read(self, wanted: EventFilter, limit: int, before: int | None) -> EventPage:
        """Each category by itself, in the order of its index; together they are put in order."""
        end = time.monotonic() + SECONDS
        with closing(self._journal.reader()) as connection, deadline(end, connection):
            if not wanted.categories:
                return self._of_all(connection, wanted, limit, before)
            parts = [_newest(connection, category, wanted, limit + 1, before) for category in wanted.categories]
        found = list(islice(heapq.merge(*parts, key=lambda each: -each.number), limit + 1))
        return EventPage(found[:limit], found[limit - 1].number if len(found) > limit else None)

    def _of_all(
        self, connection: sqlite3.Connection, wanted: EventFilter, limit: int, before: int | None
    ) -> EventPage:
        """A page of all categories, which looks at the newest rows before an id."""
        oldest, newest = connection.execute("SELECT min(id), max(id) FROM events").fetchone()
        end = min(2**63 - 1 if before is None else before, (newest or 0) + 1)
        conditions, values = wanted.conditions()
        found = _numbered(
            connection.execute(
                f"SELECT {COLUMNS} FROM events NOT INDEXED "  # noqa: S608 - our own names
                f"WHERE id >= ? AND id < ?{conditions} ORDER BY id DESC LIMIT ?",
                (end - self._span, end, *values, limit),
            )
        )
        seen = found[-1].number if len(found) == limit else end - self._span
        return EventPage(found, seen if oldest is not None and seen > oldest else None)


def _newest(
    connection: sqlite3.Connection, category: str, wanted: EventFilter, limit: int, before: int | None
) -> list[Numbered]:
    conditions, values = wanted.conditions()
    rows = connection.execute(
        f"SELECT {COLUMNS} FROM events INDEXED BY events_category "  # noqa: S608 - our own names
        f"WHERE category = ? AND id < ?{conditions} ORDER BY id DESC LIMIT ?",
        (category, 2**63 - 1 if before is None else before, *values, limit),
    )
    return _numbered(rows)


def _numbered(rows: sqlite3.Cursor) -> list[Numbered]:
    return [Numbered(number, EventRow(*columns)) for number, *columns in rows]
