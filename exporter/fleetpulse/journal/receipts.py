"""What became of stored chat messages after they were sent: delivered to somebody's client, and read.

One row for each message that got so far; it goes with the message.
"""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fleetpulse.journal.conversations import CHAT

Fate = Literal["sent", "delivered", "read"]
SPAN = 100_000  # ids that are looked at for messages that nobody has yet


class Sent(NamedTuple):
    """A stored message as its receipts know it: to a session, or to a `recipient`."""

    number: int
    message_id: str
    session_id: str | None
    sender: str
    recipient: str | None


class Receipt(NamedTuple):
    """A user has received a message, or read it, at a time (Unix seconds)."""

    message: Sent
    fate: Literal["delivered", "read"]
    user_id: str
    at: float


@dataclass(frozen=True)
class SaveReceipts:
    """Notes receipts; the first of each kind counts. The result is those that were new, in order."""

    receipts: Sequence[Receipt]

    @property
    def size(self) -> int:
        """Rows it adds to the queue."""
        return len(self.receipts)

    def run(self, connection: sqlite3.Connection) -> list[Receipt]:
        """Adds them; of a message that is deleted there is nothing to note."""
        return [each for each in self.receipts if _save(connection, each)]


@dataclass(frozen=True)
class SaveReading:
    """A user has read a session's messages up to an id, the last `limit` of them; the result is what was new."""

    session_id: str
    upto: int
    user_id: str
    at: float
    limit: int
    size: int = 1

    def run(self, connection: sqlite3.Connection) -> list[Receipt]:
        """Notes it of those of others."""
        found = connection.execute(
            "SELECT id,message_id,session_id,user_id,recipient FROM messages "
            "WHERE session_id = ? AND id <= ? AND stream = ? ORDER BY id DESC LIMIT ?",
            (self.session_id, self.upto, CHAT, self.limit),
        ).fetchall()
        read = [Receipt(Sent(*row), "read", self.user_id, self.at) for row in reversed(found)]
        return [each for each in read if each.message.sender != self.user_id and _save(connection, each)]


def undelivered(connection: sqlite3.Connection) -> list[Sent]:
    """The newest messages of sessions that nobody else's client is known to have, in order."""
    found = connection.execute(
        "SELECT id,message_id,session_id,user_id,recipient FROM messages LEFT JOIN receipts ON message = id "
        "WHERE id > (SELECT coalesce(max(id), 0) FROM messages) - ? AND stream = ? AND session_id IS NOT NULL "
        "AND delivered_at IS NULL AND read_at IS NULL ORDER BY id",
        (SPAN, CHAT),
    )
    return [Sent(*row) for row in found]


def fates(connection: sqlite3.Connection, numbers: Collection[int]) -> dict[int, Fate]:
    """What became of messages, by their ids."""
    marks = ",".join("?" * len(numbers))
    found = connection.execute(
        f"SELECT message, read_at IS NOT NULL FROM receipts WHERE message IN ({marks})",  # noqa: S608 - placeholders
        tuple(numbers),
    )
    became: dict[int, Fate] = dict.fromkeys(numbers, "sent")
    became.update({number: "read" if read else "delivered" for number, read in found})
    return became


def _save(connection: sqlite3.Connection, receipt: Receipt) -> bool:
    at, by = f"{receipt.fate}_at", f"{receipt.fate}_{'to' if receipt.fate == 'delivered' else 'by'}"
    saved = connection.execute(
        f"INSERT INTO receipts (message, {at}, {by}) SELECT id, ?, ? FROM messages WHERE id = ? "  # noqa: S608 - our own names
        f"ON CONFLICT (message) DO UPDATE SET {at} = excluded.{at}, {by} = excluded.{by} "
        f"WHERE {at} IS NULL AND read_at IS NULL",  # what was read was delivered
        (receipt.at, receipt.user_id, receipt.message.number),
    )
    return saved.rowcount > 0
