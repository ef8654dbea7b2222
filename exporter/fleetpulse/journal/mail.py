"""What waits in the mailbox, and how its rows go: on receipt, or by age."""

import sqlite3
from dataclasses import dataclass
from typing import NamedTuple

from fleetpulse.journal.following import Numbered
from fleetpulse.journal.rows import MAILBOX, MailRow

_COLUMNS = ",".join(MAILBOX.columns)


class Box(NamedTuple):
    """What waits for one user: how much, and the id of the first."""

    user_id: str
    first: int
    waiting: int


@dataclass(frozen=True)
class ReceiveMail:
    """A user has received everything up to an id; the result is the rows that were deleted for it, in order."""

    user_id: str
    upto: int
    size: int = 0

    def run(self, connection: sqlite3.Connection) -> list[Numbered]:
        """Deletes them."""
        found = connection.execute(
            f"DELETE FROM mailbox WHERE user_id = ? AND id <= ? RETURNING id,{_COLUMNS}",  # noqa: S608 - our own names
            (self.user_id, self.upto),
        ).fetchall()
        gone = [Numbered(number, MailRow(*values)) for number, *values in found]
        return sorted(gone, key=lambda each: each.number)


@dataclass(frozen=True)
class ExpireMail:
    """Deletes at most `limit` of the oldest rows that came before a moment; the result is whose they were."""

    before: float
    limit: int
    size: int = 0

    def run(self, connection: sqlite3.Connection) -> list[str]:
        """Deletes by id, which grows with time."""
        found = connection.execute(
            "DELETE FROM mailbox WHERE id IN (SELECT id FROM mailbox ORDER BY id LIMIT ?) AND received_at < ? "
            "RETURNING user_id",
            (self.limit, self.before),
        ).fetchall()
        return [user_id for (user_id,) in found]


def boxes(connection: sqlite3.Connection) -> list[Box]:
    """Every user for whom something waits."""
    found = connection.execute("SELECT user_id, min(id), count(*) FROM mailbox GROUP BY user_id")
    return [Box(*row) for row in found]
