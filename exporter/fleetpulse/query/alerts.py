"""Stored changes of alerts, newest first, a page at a time. Reads the journal; a page never changes once given."""

import json
from collections.abc import Collection
from contextlib import closing
from typing import Literal, NamedTuple

from fleetpulse.journal import ALERTS, AlertRow, Journal

Status = Literal["firing", "resolved"]
_PAGE = f"""
    SELECT id, {",".join(ALERTS.columns)} FROM alert_events
    WHERE (:before IS NULL OR id < :before)
        AND (:status IS NULL OR status = :status) AND (:alertname IS NULL OR alertname = :alertname)
        AND (:accounts IS NULL OR iif(:accounts = '[]',
            json_extract(labels, '$.account_id') IS NOT NULL,
            json_extract(labels, '$.account_id') IN (SELECT value FROM json_each(:accounts))))
    ORDER BY id DESC LIMIT :limit
"""  # noqa: S608 - our own names


class Page(NamedTuple):
    """Changes of alerts; `after` is what the next page begins after, None where this is the last."""

    rows: list[AlertRow]
    after: int | None


def recent(  # noqa: PLR0913 - one argument a filter
    journal: Journal,
    limit: int,
    after: int | None = None,
    status: Status | None = None,
    alertname: str | None = None,
    accounts: Collection[str] | None = None,
) -> Page:
    """At most `limit` changes older than the one `after`. Reads a file: call it on another thread.

    With `accounts` only alerts about these group accounts; where it is empty, about any.
    """
    wanted = {"before": after, "status": status, "alertname": alertname, "limit": limit + 1}
    wanted["accounts"] = None if accounts is None else json.dumps(sorted(accounts))
    with closing(journal.reader()) as connection:
        found = connection.execute(_PAGE, wanted).fetchall()
    rows = [AlertRow(*row[1:]) for row in found[:limit]]
    return Page(rows, found[limit - 1][0] if len(found) > limit else None)


def known(journal: Journal, alert_id: str) -> AlertRow | None:
    """The newest change of an alert, by the id that `AlertRow.as_json` gives it. Reads a file."""
    fingerprint = alert_id.split("_")[-2] if alert_id.count("_") > 1 else ""
    statement = f"SELECT {','.join(ALERTS.columns)} FROM alert_events WHERE event_key >= ? AND event_key < ?"  # noqa: S608 - ours
    with closing(journal.reader()) as connection:
        found = connection.execute(
            f"{statement} ORDER BY id DESC", (f"{fingerprint}/", f"{fingerprint}0")
        ).fetchall()
    rows = (AlertRow(*columns) for columns in found)
    return next((row for row in rows if row.as_json()["alert_id"] == alert_id), None)
