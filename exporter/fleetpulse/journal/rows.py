"""The rows of the durable tables, and the SQL that stores them once.

Rows are tuples in column order. A row whose unique key is already stored is a duplicate and changes nothing.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from fleetpulse.journal.message_counts import count_messages

# Rows per statement. Each statement gives up the interpreter's lock and waits to get it back from the busy event
# loop, so a group commit uses as few as it can: whole chunks, and one statement for the rest.
CHUNK_ROWS = 128

T = TypeVar("T")


class RequestRow(NamedTuple):
    """One stored request log. Times are Unix seconds.

    `cost_source` is reported, computed or unknown; None where there is nothing to price.
    """

    request_id: str
    received_at: float
    timestamp: float | None
    source: str
    user_id: str
    command: str
    status: str
    model: str | None
    provider: str | None
    execution_time: float
    tokens_used: int
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cost: float | None
    cost_source: str | None
    error: str | None
    session_id: str | None
    trace_id: str | None
    metadata: str | None
    account_id: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The request as the API and the live feed show it: documented names, RFC 3339 times, no empty fields."""
        return _shown(self)


class AlertRow(NamedTuple):
    """One stored alert event; `event_key` is the same for every repetition of one change of one alert."""

    event_key: str
    received_at: float
    fingerprint: str
    alertname: str
    status: str
    severity: str
    starts_at: str
    ends_at: str | None
    labels: str
    annotations: str
    generator_url: str

    def as_json(self) -> dict[str, object]:
        """The alert event as the documents show it, with what Alertmanager says besides."""
        labels = json.loads(self.labels)
        annotations = json.loads(self.annotations)
        began = int(datetime.fromisoformat(self.starts_at).timestamp())
        return {
            "alert_id": f"{self.alertname}_{self.fingerprint}_{began}",
            "alert_type": labels.get("alert_type", self.alertname),
            "account_id": labels.get("account_id"),
            "message": annotations.get("description") or annotations.get("summary") or self.alertname,
            "resolved": self.status == "resolved",
            "alertname": self.alertname,
            "status": self.status,
            "severity": self.severity,
            "summary": annotations.get("summary"),
            "starts_at": self.starts_at,
            "ends_at": self.ends_at,
            "labels": labels,
            "annotations": annotations,
            "runbook_url": annotations.get("runbook_url"),
            "fingerprint": self.fingerprint,
            "received_at": self.received_at,
        }


class MessageRow(NamedTuple):
    """One stored message of a chat or of a recorded stream. Times are Unix seconds.

    `stream` is `chat` for Fleetpulse's own chat; `session_id` is the chat session or room, None where it is to one
    user or to all (`recipient` names who, or is `*`). `metadata` is JSON.

    Of recorded messages besides: `raw`, the payload as it came where `text` is but a part of it, bytes where it was
    binary; `opcode`, WebSocket's (1 text, 2 binary); `size`, its bytes; `connection`, which one of the recorder's,
    and `clock`, seconds of the monotonic clock since that opened; `rules`, the names of those that it matched, a
    comma before and after each.
    """

    message_id: str
    received_at: float
    timestamp: float | None
    stream: str
    kind: str
    session_id: str | None
    user_id: str
    text: str
    metadata: str | None = None
    recipient: str | None = None
    raw: str | bytes | None = None
    opcode: int | None = None
    size: int | None = None
    clock: float | None = None
    connection: str | None = None
    rules: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The message as the API and the live feed show it; without its payload."""
        shown = _shown(self)
        shown.pop("raw", None)
        if self.rules is not None:
            shown["rules"] = self.rules.strip(",").split(",")
        return shown


class ActivityRow(NamedTuple):
    """One stored activity of a group account. Times are Unix seconds, `reply_time` seconds; `online` 0 or 1.

    `number` is how many of the kind it stands for, `count` in JSON.
    """

    activity_id: str
    received_at: float
    timestamp: float | None
    account_id: str
    kind: str
    number: int
    reply_time: float | None
    online: int | None
    text: str | None = None
    metadata: str | None = None
    account_name: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The activity as the API and the live feed show it."""
        shown = _shown(self)
        shown["count"] = shown.pop("number")
        if self.online is not None:
            shown["online"] = bool(self.online)
        return shown


class EventRow(NamedTuple):
    """One thing that happened: `category` says of which sort, `actor` who did it; `detail` is JSON."""

    event_id: str
    received_at: float
    category: str
    kind: str
    actor: str
    subject: str
    detail: str

    def as_json(self) -> dict[str, Any]:
        """The event as the API and the live feed show it."""
        return self._asdict() | {"received_at": rfc3339(self.received_at), "detail": json.loads(self.detail)}


class MailRow(NamedTuple):
    """Something addressed to one user that waits until it is received. `payload` is the JSON text to send."""

    delivery_id: str
    received_at: float
    user_id: str
    kind: str
    payload: str

    def as_json(self) -> dict[str, Any]:
        """What the user is sent."""
        shown: dict[str, Any] = json.loads(self.payload)
        return shown


Row = RequestRow | AlertRow | MessageRow | ActivityRow | EventRow | MailRow


@dataclass(frozen=True)
class Table:
    """A durable table; the first column of its rows is the unique key. `row` makes a row of its columns' values.

    `count` counts rows that are new, in their transaction.
    """

    name: str
    columns: tuple[str, ...]
    row: Callable[..., Row]
    count: Callable[[sqlite3.Connection, Sequence[Any]], None] | None = None


REQUESTS = Table("requests", RequestRow._fields, RequestRow)
ALERTS = Table("alert_events", AlertRow._fields, AlertRow)
MESSAGES = Table("messages", MessageRow._fields, MessageRow, count_messages)
ACTIVITIES = Table("activities", ActivityRow._fields, ActivityRow)
EVENTS = Table("events", EventRow._fields, EventRow)
MAILBOX = Table("mailbox", MailRow._fields, MailRow)
KEPT = (REQUESTS, ALERTS, MESSAGES, ACTIVITIES, EVENTS)  # until retention deletes the oldest
TABLES = (*KEPT, MAILBOX)
KINDS = {  # what the signals of a table are called
    REQUESTS: "request",
    ALERTS: "alert",
    MESSAGES: "message",
    ACTIVITIES: "activity",
    EVENTS: "event",
    MAILBOX: "mail",
}


class DuplicateError(Exception):
    """Rows that were expected to be new are not; the transaction has to be undone."""


def insert_new(connection: sqlite3.Connection, table: Table, rows: Sequence[Row]) -> None:
    """Inserts rows that are expected to be new. Raises DuplicateError where any of them is not."""
    for chunk in chunks(rows):
        statement = _insert(table, len(chunk))
        if connection.execute(statement, list(chain.from_iterable(chunk))).rowcount < len(chunk):
            raise DuplicateError
    if table.count is not None:
        table.count(connection, rows)


def insert_each(connection: sqlite3.Connection, table: Table, rows: Sequence[Row]) -> list[bool]:
    """Inserts the rows whose key is not stored yet, the first of equal ones; says for each whether it was new.

    Duplicates are looked up before, not left to the conflict, which would use up an id each: ids have no holes.
    """
    known = _stored_keys(connection, table, rows)
    new = []
    for row in rows:
        new.append(row[0] not in known)
        known.add(row[0])
    insert_new(connection, table, [row for row, is_new in zip(rows, new, strict=True) if is_new])
    return new


def _stored_keys(connection: sqlite3.Connection, table: Table, rows: Sequence[Row]) -> set[str]:
    known: set[str] = set()
    for chunk in chunks(rows):
        found = connection.execute(_lookup(table, len(chunk)), [row[0] for row in chunk])
        known.update(key for (key,) in found)
    return known


def _shown(row: RequestRow | MessageRow | ActivityRow) -> dict[str, Any]:
    """A signal without its empty fields, with times of RFC 3339; `timestamp` is when it came where nobody said."""
    shown = {name: value for name, value in row._asdict().items() if value is not None}
    shown["timestamp"] = rfc3339(row.received_at if row.timestamp is None else row.timestamp)
    shown["received_at"] = rfc3339(row.received_at)
    if row.metadata is not None:
        shown["metadata"] = json.loads(row.metadata)
    return shown


def rfc3339(seconds: float) -> str:
    """Unix seconds as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@cache
def _insert(table: Table, rows: int) -> str:
    marks = "(" + ",".join("?" * len(table.columns)) + ")"
    columns = ",".join(table.columns)
    # The conflict target is named: any other broken constraint is an error, never a silent duplicate.
    return (
        f"INSERT INTO {table.name} ({columns}) VALUES {','.join([marks] * rows)} "  # noqa: S608 - our own names
        f"ON CONFLICT ({table.columns[0]}) DO NOTHING"
    )


@cache
def _lookup(table: Table, rows: int) -> str:
    key, marks = table.columns[0], ",".join("?" * rows)
    return f"SELECT {key} FROM {table.name} WHERE {key} IN ({marks})"  # noqa: S608 - our own names


def chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cuts rows into runs of CHUNK_ROWS, and a shorter last one."""
    for start in range(0, len(rows), CHUNK_ROWS):
        yield rows[start : start + CHUNK_ROWS]
