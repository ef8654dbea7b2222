"""A table as a stream of messages: what was published of it once, read back by id.

Owns how rows become messages of the live feed, so that what is read back equals what was published. A page is one
short transaction; what it costs is bounded by its rows and by the ids it looks at.
"""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

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


class Page(NamedTuple):
    """A topic's rows after an offset, in order; `upto` is the last id that they speak for.

    Rows with ids up to `floor` are gone for ever: 0 where nothing is.
    """

    rows: Sequence[Stored]
    upto: int
    floor: int


class History(Protocol):
    """The journal's side of one family. `after` is called on a thread, the others on the loop: they are quick."""

    @property
    def epoch(self) -> str:
        """The journal's epoch."""

    def newest(self) -> int:
        """The id of the newest row that there ever was; 0 before the first."""

    def floor(self) -> int:
        """The rows up to this id are gone for ever; 0 where none is."""

    def after(self, topic: str, offset: int, upto: int, limit: int) -> Page:
        """The topic's rows with ids in (offset, upto], `limit` of them at most."""


@dataclass(frozen=True)
class Stream:
    """Which rows of a table are which messages.

    `key` is the column of a message's key. `rest` is the column that names sub-topics: `family/{rest}`. `only` is a
    column and the value that a family's rows have there, `but` one that they have not. Rows of a table with `gaps`
    go in any order, one by one, when nobody needs them any more: that they are gone is no loss.
    """

    family: str
    table: Table
    key: str
    rest: str | None = None
    only: tuple[str, str] | None = None
    but: tuple[str, str] | None = None
    gaps: bool = False

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
CHAT_STREAM = Stream("chat", MESSAGES, "message_id", rest="session_id", only=("stream", "chat"))
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

    def floor(self) -> int:
        """The rows up to this id are gone for ever."""
        return 0 if self._stream.gaps else self._journal.oldest_id(self._stream.table) - 1

    def after(self, topic: str, offset: int, upto: int, limit: int) -> Page:
        """The topic's rows with ids in (offset, upto]; a page ends early where it looked at many."""
        stream, table = self._stream, self._stream.table
        where, values = self._where(topic)
        end = min(upto, offset + SPAN)
        with closing(self._journal.reader()) as connection:
            connection.execute("BEGIN")  # rows and the oldest id as of one moment
            oldest = 1 if stream.gaps else oldest_id(connection, table)
            end = max(end, min(oldest - 1, upto))
            found = connection.execute(
                f"SELECT id,{','.join(table.columns)} FROM {table.name} "  # noqa: S608 - our own names
                f"WHERE id > ? AND id <= ?{where} ORDER BY id LIMIT ?",
                (offset, end, *values, limit),
            ).fetchall()
        kept = [(number, table.row(*columns)) for number, *columns in found]
        rows = [stream.message(number, row, row.received_at) for number, row in kept]
        return Page(rows, rows[-1].offset if len(rows) == limit else end, oldest - 1)

    def _where(self, topic: str) -> tuple[str, list[str]]:
        stream, rest = self._stream, topic.partition("/")[2]
        wanted = [("=", *stream.only)] if stream.only else []
        if stream.but:
            wanted.append(("!=", *stream.but))
        if rest and stream.rest:
            wanted.append(("=", stream.rest, rest))
        return "".join(f" AND {column} {sign} ?" for sign, column, _ in wanted), [value for *_, value in wanted]
