"""The accounts' newest state, which a trigger of the database raises in the transaction of each activity's row.

So state and rows cannot disagree, whatever ends the process, and an activity that is a duplicate changes neither.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, fields

from fleetpulse.journal.rows import ActivityRow

PRESENT = frozenset({"message", "reply", "redpacket"})  # who does such is online, unless it says otherwise


@dataclass(slots=True)
class AccountState:
    """What one account did since it is known. Times are Unix seconds.

    `timed_replies` are the replies whose time was told, `reply_seconds` the sum of those times. `online` is what
    was last told, 0 or 1, at `told_at`; None where nothing told it. `last_activity` is when something last
    happened, `heard_at` when something last came. `newest_id` is the row that is counted last.
    """

    account_id: str
    account_name: str | None
    messages: int
    replies: int
    redpackets: int
    errors: int
    timed_replies: int
    reply_seconds: float
    online: int | None
    told_at: float
    last_activity: float
    heard_at: float
    newest_id: int

    @classmethod
    def of(cls, row: ActivityRow, row_id: int) -> "AccountState":
        """The state after an account's first activity."""
        moment = _moment(row)
        state = cls(row.account_id, None, 0, 0, 0, 0, 0, 0.0, None, moment, moment, row.received_at, 0)
        state.add(row, row_id)
        return state

    def add(self, row: ActivityRow, row_id: int) -> None:
        """What the trigger does, in memory. A row that is counted already changes nothing."""
        if row_id <= self.newest_id:
            return
        self.newest_id = row_id
        self.account_name = row.account_name or self.account_name
        self.last_activity = max(self.last_activity, _moment(row))
        self.heard_at = max(self.heard_at, row.received_at)
        self._count(row)
        online = row.online if row.online is not None else 1 if row.kind in PRESENT else None
        if online is not None and (self.online is None or _moment(row) >= self.told_at):
            self.online, self.told_at = online, _moment(row)

    def _count(self, row: ActivityRow) -> None:
        if row.kind == "message":
            self.messages += row.number
        elif row.kind == "redpacket":
            self.redpackets += row.number
        elif row.kind == "error":
            self.errors += row.number
        elif row.kind == "reply":
            self.replies += row.number
            if row.reply_time is not None:
                self.timed_replies += row.number
                self.reply_seconds += row.number * row.reply_time


def _moment(row: ActivityRow) -> float:
    """When it happened; a clock that is ahead does not make it later than it came."""
    return row.received_at if row.timestamp is None else min(row.timestamp, row.received_at)


_COLUMNS = ",".join(column.name for column in fields(AccountState))


def read_accounts(connection: sqlite3.Connection) -> list[AccountState]:
    """Every account's state."""
    return [AccountState(*row) for row in connection.execute(f"SELECT {_COLUMNS} FROM accounts")]  # noqa: S608 - ours


def read_account(connection: sqlite3.Connection, account_id: str) -> AccountState | None:
    """One account's state."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM accounts WHERE account_id = ?",  # noqa: S608 - our own names
        (account_id,),
    ).fetchone()
    return AccountState(*row) if row else None


@dataclass(frozen=True)
class ForgetAccounts:
    """Forgets accounts that have done nothing since: each with its newest row. The result: the ids forgotten."""

    accounts: Sequence[tuple[str, int]]

    @property
    def size(self) -> int:
        """Rows it adds to the queue."""
        return len(self.accounts)

    def run(self, connection: sqlite3.Connection) -> set[str]:
        """Deletes those whose newest row still is what it was."""
        statement = "DELETE FROM accounts WHERE account_id = ? AND newest_id = ?"
        return {account[0] for account in self.accounts if connection.execute(statement, account).rowcount}
