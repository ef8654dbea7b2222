"""Sent notifications, newest first, a page at a time, with what became of each. Reads the journal."""

import json
from collections.abc import Sequence
from contextlib import closing
from typing import Any, NamedTuple

from fleetpulse.journal import Journal, rfc3339
from fleetpulse.journal.notices import NoticeRow

SHOWN_OUTCOMES = 100  # of one notification; the sums count all
_MINE = """(o.audience = 'user' AND o.recipient = :user) OR o.audience = 'all' OR (o.audience = 'session' AND (
    :sessions IS NULL OR o.recipient IN (SELECT value FROM json_each(:sessions))))"""
_PAGE = f"""
    SELECT n.id, n.repeats, {",".join(f"n.{name}" for name in NoticeRow._fields)} FROM notifications n
    WHERE (:before IS NULL OR n.id < :before) AND (:level IS NULL OR n.level = :level)
        AND (:kind IS NULL OR n.kind = :kind)
        AND (:user IS NULL OR EXISTS (
            SELECT 1 FROM notification_outcomes o WHERE o.number = n.id AND ({_MINE})))
    ORDER BY n.id DESC LIMIT :limit
"""  # noqa: S608 - our own names
_OUTCOMES = f"""
    SELECT audience, recipient, channel, outcome, detail, changed_at, attempts, due_at FROM notification_outcomes o
    WHERE o.number = :number AND (:user IS NULL OR {_MINE})
    ORDER BY audience, recipient, channel LIMIT {SHOWN_OUTCOMES}
"""  # noqa: S608
_SUMS = f"""
    SELECT outcome, count(*) FROM notification_outcomes o
    WHERE o.number = :number AND (:user IS NULL OR {_MINE}) GROUP BY outcome ORDER BY outcome
"""  # noqa: S608


class View(NamedTuple):
    """Whose notifications: a user's, with those to the sessions they may enter (None: any); without a user, all."""

    user: str | None = None
    sessions: Sequence[str] | None = None


class Page(NamedTuple):
    """Notifications as the API shows them; `after` is what the next page begins after, None: there is none."""

    shown: list[dict[str, Any]]
    after: int | None


def sent(  # noqa: PLR0913 - the filters
    journal: Journal,
    view: View,
    limit: int,
    before: int | None = None,
    level: str | None = None,
    kind: str | None = None,
) -> Page:
    """At most `limit` notifications older than the one `before`. Reads a file: call it on another thread."""
    sessions = None if view.sessions is None else json.dumps(list(view.sessions))
    whose = {"user": view.user, "sessions": sessions}
    wanted = whose | {"before": before, "level": level, "kind": kind, "limit": limit + 1}
    with closing(journal.reader()) as connection:
        found = connection.execute(_PAGE, wanted).fetchall()
        shown = []
        for number, repeats, *row in found[:limit]:
            about = whose | {"number": number}
            outcomes = [_outcome(each) for each in connection.execute(_OUTCOMES, about)]
            sums = dict(connection.execute(_SUMS, about).fetchall())
            shown.append(_notice(NoticeRow(*row), repeats) | {"outcomes": outcomes, "summary": sums})
    return Page(shown, found[limit - 1][0] if len(found) > limit else None)


def _notice(row: NoticeRow, repeats: int) -> dict[str, Any]:
    document = json.loads(row.document)
    return {
        "id": row.notification_id,
        "timestamp": rfc3339(row.created_at),
        "level": row.level,
        "kind": row.kind,
        "subject": row.subject,
        "actor": row.actor,
        "title": document["title"],
        "message": document["message"],
        "action_url": document["action_url"],
        "auto_close": document["auto_close"],
        "metadata": document["metadata"],
        "repeats": repeats,
    }


def _outcome(row: tuple[Any, ...]) -> dict[str, Any]:
    audience, recipient, channel, outcome, detail, changed_at, attempts, due_at = row
    return {
        "audience": audience,
        "recipient": recipient,
        "channel": channel,
        "outcome": outcome,
        "detail": detail,
        "changed_at": rfc3339(changed_at),
        "attempts": attempts,
        "retry_at": None if due_at is None else rfc3339(due_at),
    }
