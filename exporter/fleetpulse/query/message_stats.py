"""Statistics of messages: how many, when, by whom.

Counts are kept as rows are stored (`message_quarters`, `message_users`), in the same transaction: they are exact,
cost the same for a thousand rows and for a million, and what retention deletes stays counted.

Messages are counted by quarters of an hour, whose bounds are those of the hours of every time zone in use. Users
are counted by hours, for two days, so many of a stream in an hour and no more.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from fleetpulse import catalogue
from fleetpulse.journal import message_counts
from fleetpulse.journal.message_counts import HOUR_QUARTERS, HOUR_SECONDS
from fleetpulse.query.messages import CHAT
from fleetpulse.query.room import ReadingRoom
from fleetpulse.query.windows import QUARTER_SECONDS, midnight


class Speaker(NamedTuple):
    """Somebody who says something in a stream, and how much."""

    stream: str
    user_id: str
    messages: int


@dataclass(frozen=True)
class MessageStats:
    """`days` and `hours` (of the day, 0 to 23) are of the last days, by local time; users are those of today.

    `complete`: every user of today is counted. `kinds` are streams and kinds as series have them: past the label's
    cap they are `other`.
    """

    total: int
    today: int
    users: int
    complete: bool
    days: Sequence[tuple[str, int]]
    hours: Sequence[int]
    top: Sequence[Speaker]
    streams: Sequence[tuple[str, int]]
    kinds: Sequence[tuple[str, str, int]]


@dataclass(frozen=True)
class Asked:
    """Of which stream (None: all), seen from when (in the zone), over how many days; so many users are named.

    `chat`: users of the own chat are counted and named, too.
    """

    now: datetime
    stream: str | None = None
    days: int = 30
    top: int = 10
    chat: bool = True

    @property
    def today(self) -> datetime:
        """When the day began."""
        return midnight(self.now.date(), self.now)

    @property
    def first(self) -> datetime:
        """When the first of the days began."""
        return midnight(self.now.date() - timedelta(days=self.days - 1), self.now)


async def message_stats(room: ReadingRoom, asked: Asked) -> MessageStats:
    """Reads the counts. Raises OverloadedError."""

    def read() -> MessageStats:
        with room.leases.lease() as journal:
            journal.execute("BEGIN")  # all as of one moment
            return _read(journal, asked)

    return await room.in_turn(read)


async def recorded_streams(room: ReadingRoom) -> list[str]:
    """The streams that were ever recorded, by name. Raises OverloadedError."""

    def read() -> list[str]:
        with room.leases.lease() as journal:
            found = journal.execute("SELECT DISTINCT stream FROM message_quarters ORDER BY 1")
            return [stream for (stream,) in found if stream != CHAT]

    return await room.in_turn(read)


def _read(journal: sqlite3.Connection, asked: Asked) -> MessageStats:
    streams = _streams(journal, asked)
    days, hours = _by_time(journal, asked)
    users, top = _users(journal, asked)
    return MessageStats(
        total=sum(messages for _, messages in streams),
        today=days[-1][1],
        users=users,
        complete=_complete(journal, asked),
        days=days,
        hours=hours,
        top=top,
        streams=streams,
        kinds=_kinds(journal, asked),
    )


def _streams(journal: sqlite3.Connection, asked: Asked) -> list[tuple[str, int]]:
    return journal.execute(
        "SELECT stream, sum(messages) FROM message_quarters WHERE ?1 IS NULL OR stream = ?1 "
        "GROUP BY stream ORDER BY 2 DESC, 1",
        (asked.stream,),
    ).fetchall()


def _kinds(journal: sqlite3.Connection, asked: Asked) -> list[tuple[str, str, int]]:
    """The durable counters of the series."""
    found = journal.execute(
        "SELECT labels ->> 0, labels ->> 1, CAST(value AS INTEGER) FROM totals "
        "WHERE metric = ?1 AND (?2 IS NULL OR labels ->> 0 = ?2) ORDER BY 1, 3 DESC, 2",
        (catalogue.CHAT_MESSAGES.name, asked.stream),
    )
    return found.fetchall()


def _by_time(journal: sqlite3.Connection, asked: Asked) -> tuple[list[tuple[str, int]], list[int]]:
    """By local day, without holes, and by hour of the local day."""
    found = journal.execute(
        "SELECT quarter, sum(messages) FROM message_quarters WHERE quarter >= ?1 AND (?2 IS NULL OR stream = ?2) "
        "GROUP BY quarter",
        (asked.first.timestamp() // QUARTER_SECONDS, asked.stream),
    )
    days, hours = Counter[str](), [0] * 24
    for quarter, messages in found:
        local = datetime.fromtimestamp(quarter * QUARTER_SECONDS, asked.now.tzinfo)
        days[local.date().isoformat()] += messages
        hours[local.hour] += messages
    dates = [(asked.first.date() + timedelta(days=each)).isoformat() for each in range(asked.days)]
    return [(date, days[date]) for date in dates], hours


def _users(journal: sqlite3.Connection, asked: Asked) -> tuple[int, list[Speaker]]:
    """How many said something today, and who said most."""
    found = journal.execute(
        "WITH users AS MATERIALIZED (SELECT stream, user_id, sum(messages) AS messages FROM message_users "
        "WHERE hour >= ?1 AND (?2 IS NULL OR stream = ?2) AND (?3 OR stream != ?4) GROUP BY stream, user_id) "
        "SELECT (SELECT count(*) FROM users), * FROM users ORDER BY messages DESC, user_id, stream LIMIT ?5",
        (asked.today.timestamp() // HOUR_SECONDS, asked.stream, asked.chat, CHAT, max(asked.top, 1)),
    ).fetchall()
    return (found[0][0] if found else 0), [Speaker(*values) for _, *values in found[: asked.top]]


def _complete(journal: sqlite3.Connection, asked: Asked) -> bool:
    most = journal.execute(
        "SELECT sum(users) FROM message_quarters WHERE quarter >= ?1 * ?3 AND (?2 IS NULL OR stream = ?2) "
        "GROUP BY quarter / ?3, stream ORDER BY 1 DESC LIMIT 1",
        (asked.today.timestamp() // HOUR_SECONDS, asked.stream, HOUR_QUARTERS),
    ).fetchone()
    return most is None or most[0] < message_counts.USERS
