"""Notifications as they are kept: what was told, to whom over which channel, what waits, who was told already.

A notification and everything that is to be delivered of it are entered in one transaction, in which what was told
already is found, too: two senders of the same notification cannot both be the first. A delivery that is `due_at`
some time waits in the outbox; one without is settled.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fleetpulse.journal.totals import Deltas, Key
from fleetpulse.journal.writes import Counted

PENDING = "pending"
MOST_KEYS = 200_000  # what was told already is remembered of the newest


class NoticeRow(NamedTuple):
    """A notification; `document` is JSON. Times are Unix seconds."""

    notification_id: str
    created_at: float
    level: str
    kind: str
    subject: str
    actor: str
    document: str


class Target(NamedTuple):
    """Whom a delivery is for: a user, whoever is in a session, or all; the last has no name."""

    audience: str
    recipient: str


class Delivery(NamedTuple):
    """One notification to one target over one channel.

    `due_at` is None once nothing more is to be done; after `expires_at`, if any, it is not to be made any more.
    """

    target: Target
    channel: str
    outcome: str
    detail: str
    due_at: float | None
    expires_at: float | None = None
    attempts: int = 0


class Open(NamedTuple):
    """A delivery that waits, with its notification, whose key in the journal is `number`."""

    number: int
    notice: NoticeRow
    delivery: Delivery


class Settled(NamedTuple):
    """What became of a delivery: it replaces outcome, detail, attempts and due time."""

    number: int
    level: str
    before: Delivery
    after: Delivery


@dataclass(frozen=True)
class Entered(Counted):
    """A notification that was entered. `first` names what those were told whom it was no news to, by target.

    `number` is None where it was no news to anyone: then it was only counted with what they were told.
    """

    number: int | None
    first: dict[Target, str]
    waiting: int


@dataclass(frozen=True)
class EnterNotice:
    """Enters a notification with its deliveries; the result is an Entered.

    With `told_until`, each target is told the same `dedup_key` once until then. `metric` counts outcomes.
    """

    notice: NoticeRow
    deliveries: Sequence[Delivery]
    dedup_key: str
    told_until: float | None
    metric: str

    @property
    def size(self) -> int:
        """Rows it adds to the queue."""
        return 1 + len(self.deliveries)

    def run(self, connection: sqlite3.Connection) -> Entered:
        """Finds who was told already, then writes what is news."""
        targets = list(dict.fromkeys(each.target for each in self.deliveries))
        known = self._known(connection, targets) if self.told_until is not None else {}
        if targets and len(known) == len(targets):
            numbers = [(number,) for number in {number for number, _ in known.values()}]
            connection.executemany("UPDATE notifications SET repeats = repeats + 1 WHERE id = ?", numbers)
            first = {target: name for target, (_, name) in known.items()}
            return Entered(self._deltas(self._judged(first)), None, first, 0)
        return self._enter(connection, {target: name for target, (_, name) in known.items()}, targets)

    def _known(self, connection: sqlite3.Connection, targets: Sequence[Target]) -> dict[Target, tuple[int, str]]:
        found = {}
        for target in targets:
            row = connection.execute(_TOLD, (self.dedup_key, *target, self.notice.created_at)).fetchone()
            if row is not None:
                found[target] = (int(row[0]), str(row[1]))
        return found

    def _enter(self, connection: sqlite3.Connection, first: dict[Target, str], targets: list[Target]) -> Entered:
        number = _insert_notice(connection, self.notice)
        if self.told_until is not None:
            keys = [(self.dedup_key, *each, number, self.told_until) for each in targets if each not in first]
            connection.executemany("INSERT OR REPLACE INTO notification_keys VALUES (?,?,?,?,?)", keys)
        judged = self._judged(first)
        _insert_deliveries(connection, number, self.notice.created_at, judged)
        waiting = sum(each.due_at is not None for each in judged)
        return Entered(self._deltas(judged), number, first, waiting)

    def _judged(self, first: dict[Target, str]) -> list[Delivery]:
        return [
            each._replace(outcome="duplicate", detail=first[each.target], due_at=None)
            if each.target in first
            else each
            for each in self.deliveries
        ]

    def _deltas(self, judged: Sequence[Delivery]) -> Deltas:
        return _counted(self.metric, ((each.channel, self.notice.level, each.outcome) for each in judged))


@dataclass(frozen=True)
class Closed(Counted):
    """How many deliveries left the outbox, less how many joined it."""

    waiting: int


@dataclass(frozen=True)
class SettleNotices:
    """Keeps what became of deliveries that waited; those that were settled meanwhile are left as they are."""

    settled: Sequence[Settled]
    now: float
    metric: str
    size: int = 0

    def run(self, connection: sqlite3.Connection) -> Closed:
        """Updates each, and counts those whose outcome is another than before."""
        closed = 0
        changed = []
        for each in self.settled:
            after = each.after
            values = (after.outcome, after.detail, self.now, after.attempts, after.due_at)
            key = (each.number, *after.target, after.channel)
            if not connection.execute(_SETTLE, (*values, *key)).rowcount:
                continue
            closed += after.due_at is None
            if after.outcome != each.before.outcome:
                changed.append((after.channel, each.level, after.outcome))
        return Closed(_counted(self.metric, changed), -closed)


@dataclass(frozen=True)
class DigestNotices:
    """Puts one notification in the place of many that wait for the same target over the same channel."""

    notice: NoticeRow
    delivery: Delivery
    folded: Sequence[Settled]
    metric: str
    size: int = 0

    def run(self, connection: sqlite3.Connection) -> Entered:
        """Settles them, and enters the one in the same transaction."""
        closed = SettleNotices(self.folded, self.notice.created_at, self.metric).run(connection)
        number = _insert_notice(connection, self.notice)
        _insert_deliveries(connection, number, self.notice.created_at, [self.delivery])
        return Entered(closed.deltas, number, {}, closed.waiting + 1)


@dataclass(frozen=True)
class ReceiveNotices:
    """Marks notifications as delivered that users have proved to have received: ids, each with its user."""

    received: Sequence[tuple[str, str]]
    channel: str
    now: float
    metric: str
    size: int = 0

    def run(self, connection: sqlite3.Connection) -> Counted:
        """Updates those that were stored for the user."""
        levels = [
            (self.channel, str(level), "delivered")
            for name, user in self.received
            for (level,) in connection.execute("SELECT level FROM notifications WHERE notification_id = ?", (name,))
            if connection.execute(_RECEIVE, (self.now, name, user, self.channel)).rowcount
        ]
        return Counted(_counted(self.metric, levels))


@dataclass(frozen=True)
class PurgeNotices:
    """Deletes keys that mean nothing any more, and of the oldest settled notifications `limit` at most.

    Those go that are from before `before`, or more than `kept`. The result is how many went.
    """

    now: float
    before: float
    kept: int
    limit: int
    size: int = 0

    def run(self, connection: sqlite3.Connection) -> int:
        """Deletes by id, which grows with time."""
        connection.execute("DELETE FROM notification_keys WHERE until <= ?", (self.now,))
        _drop_first_keys(connection, self.limit)
        rows = connection.execute(_OLDEST, (self.limit, self.before, self.kept)).fetchall()
        connection.executemany("DELETE FROM notification_outcomes WHERE number = ?", rows)
        connection.executemany("DELETE FROM notifications WHERE id = ?", rows)
        return len(rows)


@dataclass(frozen=True)
class SavePreferences:
    """Keeps a user's preferences (JSON) in place of those before; None forgets them."""

    user_id: str
    changed_at: float
    changed_by: str
    preferences: str | None
    size: int = 0

    def run(self, connection: sqlite3.Connection) -> None:
        """Writes or deletes the row."""
        if self.preferences is None:
            connection.execute("DELETE FROM notification_preferences WHERE user_id = ?", (self.user_id,))
            return
        values = (self.user_id, self.changed_at, self.changed_by, self.preferences)
        connection.execute("INSERT OR REPLACE INTO notification_preferences VALUES (?,?,?,?)", values)


def due_deliveries(connection: sqlite3.Connection, now: float, limit: int) -> list[Open]:
    """What waits and is due at `now` (Unix seconds), the longest due first."""
    rows = connection.execute(f"{_WAITING} WHERE o.due_at <= ? ORDER BY o.due_at, n.id LIMIT ?", (now, limit))
    return [_open(row) for row in rows]


def abandoned_deliveries(connection: sqlite3.Connection, upto: int, limit: int) -> list[Open]:
    """What was under way, of notifications up to and with `upto`, when the process before this one ended."""
    rows = connection.execute(
        f"{_WAITING} WHERE o.due_at IS NOT NULL AND o.outcome = ? AND n.id <= ? ORDER BY n.id LIMIT ?",
        (PENDING, upto, limit),
    )
    return [_open(row) for row in rows]


def newest_notice(connection: sqlite3.Connection) -> int:
    """The id of the newest notification; 0 where there is none."""
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM notifications").fetchone()
    return int(newest)


def next_due(connection: sqlite3.Connection) -> float | None:
    """When the next waiting delivery is due (Unix seconds); None where none waits."""
    (due,) = connection.execute("SELECT min(due_at) FROM notification_outcomes WHERE due_at IS NOT NULL").fetchone()
    return None if due is None else float(due)


def waiting(connection: sqlite3.Connection) -> int:
    """How many deliveries wait."""
    (number,) = connection.execute("SELECT count(*) FROM notification_outcomes WHERE due_at IS NOT NULL").fetchone()
    return int(number)


def told_already(connection: sqlite3.Connection, dedup_key: str, target: Target, now: float) -> str | None:
    """The id of the notification by which a target was told this already, if it was."""
    row = connection.execute(_TOLD, (dedup_key, *target, now)).fetchone()
    return None if row is None else str(row[1])


def read_preferences(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Every user with preferences, and these as JSON."""
    rows = connection.execute("SELECT user_id, preferences FROM notification_preferences ORDER BY user_id")
    return [(str(user), str(preferences)) for user, preferences in rows]


_TOLD = """
    SELECT k.number, n.notification_id FROM notification_keys k JOIN notifications n ON n.id = k.number
    WHERE k.dedup_key = ? AND k.audience = ? AND k.recipient = ? AND k.until > ?
"""
_SETTLE = """
    UPDATE notification_outcomes SET outcome = ?, detail = ?, changed_at = ?, attempts = ?, due_at = ?
    WHERE number = ? AND audience = ? AND recipient = ? AND channel = ? AND due_at IS NOT NULL
"""
_RECEIVE = """
    UPDATE notification_outcomes SET outcome = 'delivered', changed_at = ?, due_at = NULL
    WHERE number = (SELECT id FROM notifications WHERE notification_id = ?)
        AND audience = 'user' AND recipient = ? AND channel = ? AND outcome IN ('stored', 'pending')
"""
_WAITING = f"""
    SELECT n.id, {",".join(f"n.{name}" for name in NoticeRow._fields)},
        o.audience, o.recipient, o.channel, o.outcome, o.detail, o.due_at, o.expires_at, o.attempts
    FROM notification_outcomes o JOIN notifications n ON n.id = o.number
"""  # noqa: S608 - our own names
_OLDEST = """
    SELECT id FROM (SELECT id, created_at FROM notifications ORDER BY id LIMIT ?) AS n
    WHERE (created_at < ? OR id <= (SELECT max(id) FROM notifications) - ?)
        AND NOT EXISTS (SELECT 1 FROM notification_outcomes o WHERE o.number = n.id AND o.due_at IS NOT NULL)
"""


def _open(row: tuple[Any, ...]) -> Open:
    width = 1 + len(NoticeRow._fields)
    target, rest = Target(*row[width : width + 2]), row[width + 2 :]
    return Open(row[0], NoticeRow(*row[1:width]), Delivery(target, *rest))


def _insert_notice(connection: sqlite3.Connection, notice: NoticeRow) -> int:
    names, marks = ",".join(NoticeRow._fields), ",".join("?" * len(NoticeRow._fields))
    cursor = connection.execute(f"INSERT INTO notifications ({names}) VALUES ({marks})", notice)  # noqa: S608
    number = cursor.lastrowid
    assert number is not None  # noqa: S101 - what an INSERT of one row gives
    return number


def _insert_deliveries(
    connection: sqlite3.Connection, number: int, now: float, deliveries: Sequence[Delivery]
) -> None:
    rows = [
        (number, *each.target, each.channel, each.outcome, each.detail, now, each.due_at, each.expires_at)
        for each in deliveries
    ]
    connection.executemany(
        "INSERT INTO notification_outcomes (number, audience, recipient, channel, outcome, detail, changed_at, "
        "due_at, expires_at) VALUES (?,?,?,?,?,?,?,?,?)",
        rows,
    )


def _drop_first_keys(connection: sqlite3.Connection, limit: int) -> None:
    (keys,) = connection.execute("SELECT count(*) FROM notification_keys").fetchone()
    surplus = min(limit, keys - MOST_KEYS)
    if surplus > 0:
        connection.execute(
            "DELETE FROM notification_keys WHERE (dedup_key, audience, recipient) IN "
            "(SELECT dedup_key, audience, recipient FROM notification_keys ORDER BY until LIMIT ?)",
            (surplus,),
        )


def _counted(metric: str, labels: Iterable[tuple[str, str, str]]) -> Deltas:
    """Increments by channel, level and outcome; what is under way has none yet."""
    deltas: dict[Key, float] = {}
    for each in labels:
        if each[2] != PENDING:
            key = Key(metric, (each[0].lower(), each[1].lower(), each[2]))
            deltas[key] = deltas.get(key, 0.0) + 1
    return deltas
