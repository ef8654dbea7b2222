"""The log of what happened in the service, newest first, a page at a time. Reads the journal."""

from collections.abc import Mapping
from contextlib import closing
from typing import NamedTuple

from fleetpulse.journal import EVENTS, EventRow, Journal

SPAN = 200_000  # rows that one page looks at: where few of them match, it still ends soon
_PAGE = f"""
    SELECT id, {",".join(EVENTS.columns)} FROM events
    WHERE id <= :last AND id > :last - {SPAN}
        AND (:category IS NULL OR category = :category) AND (:kind IS NULL OR kind = :kind)
        AND (:subject IS NULL OR subject = :subject) AND (:actor IS NULL OR actor = :actor)
    ORDER BY id DESC LIMIT :limit
"""  # noqa: S608 - our own names
WANTED = ("category", "kind", "subject", "actor")


class Page(NamedTuple):
    """Events; `after` is what the next page begins after, None where this is the last."""

    rows: list[EventRow]
    after: int | None


def events(journal: Journal, limit: int, after: int | None, wanted: Mapping[str, str | None]) -> Page:
    """At most `limit` events older than the one `after`; `wanted` are values of the columns in WANTED.

    A page may have fewer, or none, and another one follow. Reads a file: call it on another thread.
    """
    with closing(journal.reader()) as connection:
        oldest, newest = connection.execute("SELECT min(id), max(id) FROM events").fetchone()
        last = (newest or 0) if after is None else after - 1
        filters = {name: wanted.get(name) for name in WANTED}
        found = connection.execute(_PAGE, {"last": last, "limit": limit, **filters}).fetchall()
    seen = found[-1][0] if len(found) == limit else last - SPAN + 1
    more = oldest is not None and seen > oldest
    return Page([EventRow(*row[1:]) for row in found], seen if more else None)
