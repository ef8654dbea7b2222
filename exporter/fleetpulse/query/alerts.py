"""Stored changes of alerts, newest first, a page at a time. Reads the journal; a page never changes once given."""

from contextlib import closing
from typing import Literal, NamedTuple

from fleetpulse.journal import ALERTS, AlertRow, Journal

Status = Literal["firing", "resolved"]
_PAGE = f"""
    SELECT id, {",".join(ALERTS.columns)} FROM alert_events
    WHERE (:before IS NULL OR id < :before)
        AND (:status IS NULL OR status = :status) AND (:alertname IS NULL OR alertname = :alertname)
    ORDER BY id DESC LIMIT :limit
"""  # noqa: S608 - our own names


class Page(NamedTuple):
    """Changes of alerts; `after` is what the next page begins after, None where this is the last."""

    rows: list[AlertRow]
    after: int | None


def recent(
    journal: Journal,
    limit: int,
    after: int | None = None,
    status: Status | None = None,
    alertname: str | None = None,
) -> Page:
    """At most `limit` changes older than the one `after`. Reads a file: call it on another thread."""
    wanted = {"before": after, "status": status, "alertname": alertname, "limit": limit + 1}
    with closing(journal.reader()) as connection:
        found = connection.execute(_PAGE, wanted).fetchall()
    rows = [AlertRow(*row[1:]) for row in found[:limit]]
    return Page(rows, found[limit - 1][0] if len(found) > limit else None)
