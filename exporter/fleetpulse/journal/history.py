"""A table as a stream of messages: what was published of it once, read back by id.

Owns how rows become messages of the live feed, so that what is read back equals what was published, and what is
gone is said. A page is one short transaction; what it costs is bounded by its rows and by the ids it looks at.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from fleetpulse.journal.floors import floor_of, highest_floor, missing_ids
from fleetpulse.journal.following import oldest_id
from fleetpulse.journal.journal import Journal
from fleetpulse.journal.rows import ACTIVITIES, ALERTS, EVENTS, MAILBOX, MESSAGES, REQUESTS, Row, Table

SPAN = 100_000  # ids that one page looks at: where few of them are a topic's, it still ends soon


class Stored(NamedTuple):
    """A row of a journalled family: `offset` is its id in the journal of its origin.

    `topics` are the topics it belongs to besides the family's bare one, such as `chat/{session}`. `at` is when it
    was received (Unix seconds); None is now.
    """

    offset: int
    key: str | None
    data: Any
    topics: Sequence[str] = ()
    at: float | None = None


class Gone(NamedTuple):
    """Ids, the first and the last of a run, that no row has any more."""

    begin: int
    offset: int


class Page(NamedTuple):
    """A topic's rows after an offset, in order; `upto` is the last id that they speak for.

    Rows with ids up to `floor` are gone for ever: 0 where nothing is. `gone` are ids after it that are gone as
    well, between the rows: those of a topic whose parts are not kept equally long.
    """

    rows: Sequence[Stored]
    upto: int
    floor: int
    gone: Sequence[Gone] = ()


class History(Protocol):
    """The journal's side of one family. `after` is called on a thread, the others on the loop: they are quick."""

    @property
    def epoch(self) -> str:
        """The journal's epoch."""

    def newest(self) -> int:
        """The id of the newest row that there ever was; 0 before the first."""

    def floor(self, topic: str) -> int:
        """The topic's rows up to this id are gone for ever; 0 where none is."""

    def after(self, topic: str, offset: int, upto: int, limit: int) -> Page:
        """The topic's rows with ids in (offset, upto], `limit` of them at most."""


@dataclass(frozen=True)
class Stream:
    """Which rows of a table are which messages.

    `key` is the column of a message's key. `rest` is the column that names sub-topics: `family/{rest}`. `only` is a
    column and the value that a family's rows have there, `but` one that they have not. Rows of a table with `gaps`
    go in any order, one by one, when nobody needs them any more: that they are gone is no loss. `kept_as` is the
    stream of messages whose retention a family of them shares, where it is that of one.
    """

    family: str
    table: Table
    key: str
    rest: str | None = None
    only: tuple[str, str] | None = None
    but: tuple[str, str] | None = None
    gaps: bool = False
    kept_as: str | None = None

    def kept_with(self, topic: str) -> str | None:
        """The stream of messages whose floor holds for a topic; None where it is of several, or of no messages."""
        return self.kept_as or (topic.partition("/")[2] or None if self.rest == "stream" else None)

    def holds(self, row: Row) -> bool:
        """Whether a row of the table is one of the family's."""
        if self.but is not None and getattr(row, self.but[0]) == self.but[1]:
            return False
        return self.only is None or getattr(row, self.only[0]) == self.only[1]

    def stored(self, rows: Iterable[Row], first_id: int) -> list[Stored]:
        """Rows that were stored just now, with consecutive ids, as messages; those of other families left out."""
        return [self.message(number, row) for number, row in enumerate(rows, first_id) if self.holds(row)]

    def message(self, number: int, row: Row, at: float | None = None) -> Stored:
        """One row as a message."""
        rest = None if self.rest is None else getattr(row, self.rest)
        topics = () if rest is None else (f"{self.family}/{rest}",)
        return Stored(number, getattr(row, self.key), row, topics, at)


REQUEST_STREAM = Stream("requests", REQUESTS, "request_id")
ALERT_STREAM = Stream("alerts", ALERTS, "fingerprint")
CHAT_STREAM = Stream("chat", MESSAGES, "message_id", rest="session_id", only=("stream", "chat"), kept_as="chat")
MESSAGE_STREAM = Stream("messages", MESSAGES, "message_id", rest="stream", but=("stream", "chat"))
ACTIVITY_STREAM = Stream("activities", ACTIVITIES, "account_id", rest="account_id")
EVENT_STREAM = Stream("events", EVENTS, "event_id", rest="category")
INBOX_STREAM = Stream("inbox", MAILBOX, "delivery_id", rest="user_id", gaps=True)


class JournalHistory:
    """Reads a stream back. `after` may be called on any thread, several at once."""

    def __init__(self, journal: Journal, stream: Stream) -> None:
        self._journal = journal
        self._stream = stream
        self.epoch = journal.epoch

    def newest(self) -> int:
        """The id of the newest row that there ever was."""
        return self._journal.newest_id(self._stream.table)

    def floor(self, topic: str) -> int:
        """The topic's rows up to this id are gone for ever."""
        if self._stream.gaps:
            return 0
        kept_with = self._stream.kept_with(topic)
        if kept_with is None:
            return self._journal.oldest_id(self._stream.table) - 1
        return self._journal.floor_of(kept_with)

    def after(self, topic: str, offset: int, upto: int, limit: int) -> Page:
        """The topic's rows with ids in (offset, upto]; a page ends early where it looked at many."""
        stream, table = self._stream, self._stream.table
        where, values = self._where(topic)
        end = min(upto, offset + SPAN)
        with closing(self._journal.reader()) as connection:
            connection.execute("BEGIN")  # rows and what is gone as of one moment
            floor = self._floor(connection, topic)
            end = max(end, min(floor, upto))
            found = connection.execute(
                f"SELECT id,{','.join(table.columns)} FROM {table.name} "  # noqa: S608 - our own names
                f"WHERE id > ? AND id <= ?{where} ORDER BY id LIMIT ?",
                (max(offset, floor), end, *values, limit),
            ).fetchall()
            end = found[-1][0] if len(found) == limit else end
            gone = self._gone(connection, topic, max(offset, floor), end)[:limit]
        end = gone[-1].offset if len(gone) == limit else end  # of one or the other no more than asked for
        kept = [(number, table.row(*columns)) for number, *columns in found if number <= end]
        return Page([stream.message(number, row, row.received_at) for number, row in kept], end, floor, gone)

    def _floor(self, connection: sqlite3.Connection, topic: str) -> int:
        if self._stream.gaps:
            return 0
        kept_with = self._stream.kept_with(topic)
        if kept_with is None:
            return oldest_id(connection, self._stream.table) - 1
        return floor_of(connection, kept_with)

    def _gone(self, connection: sqlite3.Connection, topic: str, after: int, upto: int) -> list[Gone]:
        """What is gone after the floor: of a topic that has several streams of messages, each with its own."""
        if self._stream.rest != "stream" or self._stream.kept_with(topic) is not None:
            return []
        upto = min(upto, highest_floor(connection, but=self._stream.but[1] if self._stream.but else ""))
        if after >= upto:
            return []
        return [Gone(*run) for run in missing_ids(connection, self._stream.table, after, upto)]

    def _where(self, topic: str) -> tuple[str, list[str]]:
        stream, rest = self._stream, topic.partition("/")[2]
        wanted = [("=", *stream.only)] if stream.only else []
        if stream.but:
            wanted.append(("!=", *stream.but))
        if rest and stream.rest:
            wanted.append(("=", stream.rest, rest))
        return "".join(f" AND {column} {sign} ?" for sign, column, _ in wanted), [value for *_, value in wanted]
