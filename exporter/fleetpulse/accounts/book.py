"""The book of accounts: the newest state of every group account, in memory.

It holds what the journal holds: at start it is read from there, and then it hears of every stored row. So after any
end of the process it begins with exactly what was acknowledged. Nothing here waits.

An account is online when it last said so, or does something only who is online does, until it is not heard for
`accounts.offline_after_seconds`. Sums over all accounts are those of the counters: they never fall, also where an
account is forgotten.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from fleetpulse import config
from fleetpulse.deadlines import Deadlines
from fleetpulse.journal import AccountState, ActivityRow, Key, Total, rfc3339
from fleetpulse.series.accounts import AccountSeries
from fleetpulse.series.activities import BUCKET, COUNTED, SUM


class Account:
    """One account as others see it; `silent` says that it was not heard for too long.

    `told` is whether others were last told that it is online.
    """

    __slots__ = ("silent", "state", "told")

    def __init__(self, state: AccountState, *, silent: bool) -> None:
        self.state = state
        self.silent = silent
        self.told = self.online

    @property
    def account_id(self) -> str:
        """Its id."""
        return self.state.account_id

    @property
    def online(self) -> bool:
        """Whether it is online."""
        return bool(self.state.online) and not self.silent

    def counts(self) -> dict[str, int]:
        """Its counts as the document names them."""
        state = self.state
        return {
            "message_count": state.messages,
            "reply_count": state.replies,
            "redpacket_count": state.redpackets,
            "error_count": state.errors,
        }

    def as_json(self) -> dict[str, object]:
        """The account as the API and the live feed show it."""
        state = self.state
        done = state.messages + state.replies + state.redpackets + state.errors
        return {
            "account_id": state.account_id,
            "account_name": state.account_name or state.account_id,
            "online": self.online,
            **self.counts(),
            "average_reply_time": state.reply_seconds / state.timed_replies if state.timed_replies else None,
            "error_rate": state.errors / done if done else None,
            "last_activity": rfc3339(state.last_activity),
        }


@dataclass
class Sums:
    """What all accounts did, those too that are forgotten."""

    messages: float = 0
    replies: float = 0
    redpackets: float = 0
    errors: float = 0
    timed_replies: float = 0
    reply_seconds: float = 0.0

    @classmethod
    def of(cls, totals: Mapping[Key, Total]) -> "Sums":
        """The sums that the counters stand for."""
        names = dict(zip(COUNTED.values(), ("messages", "replies", "redpackets", "errors"), strict=True))
        names |= {BUCKET: "timed_replies", SUM: "reply_seconds"}
        sums = cls()
        for key, total in totals.items():
            if key.metric in names:
                name = names[key.metric]
                setattr(sums, name, getattr(sums, name) + total.value)
        return sums

    def as_json(self) -> dict[str, float]:
        """The sums as the document names them; seconds, 0 before the first reply whose time is known."""
        return {
            "total_messages": int(self.messages),
            "total_replies": int(self.replies),
            "total_redpackets": int(self.redpackets),
            "total_errors": int(self.errors),
            "average_reply_time": self.reply_seconds / self.timed_replies if self.timed_replies else 0.0,
        }

    def add(self, row: ActivityRow) -> None:
        """Counts a row."""
        self.messages += row.number * (row.kind == "message")
        self.redpackets += row.number * (row.kind == "redpacket")
        self.errors += row.number * (row.kind == "error")
        if row.kind == "reply":
            self.replies += row.number
            if row.reply_time is not None:
                self.timed_replies += row.number
                self.reply_seconds += row.number * row.reply_time


class Swept(NamedTuple):
    """What a sweep found: accounts that fell silent, and (id, newest row) of those that may be forgotten."""

    silent: Sequence[Account]
    forgettable: Sequence[tuple[str, int]]


class Book:
    """Every known account, the one that was heard last at the end."""

    def __init__(
        self, settings: config.Accounts, limit: int, series: AccountSeries, has_series: Callable[[str], bool]
    ) -> None:
        """`has_series` says whether an account has counters of its own."""
        self._settings = settings
        self._limit = limit
        self._series = series
        self._has_series = has_series
        self._accounts: OrderedDict[str, Account] = OrderedDict()
        self._deadlines = Deadlines()
        self._sums = Sums()

    def __len__(self) -> int:
        return len(self._accounts)

    def restore(self, states: Iterable[AccountState], totals: Mapping[Key, Total], now: float) -> None:
        """Loads what the journal holds."""
        self._sums = Sums.of(totals)
        for state in sorted(states, key=lambda state: state.heard_at):
            self._keep(Account(state, silent=self._is_silent(state, now)))

    @property
    def sums(self) -> Sums:
        """What all accounts did here."""
        return self._sums

    def has_room(self, account_id: str, newcomers: int) -> bool:
        """Whether an account is known, or may become so after this many others."""
        return account_id in self._accounts or len(self._accounts) + newcomers < self._limit

    def stored(self, rows: Sequence[ActivityRow], first_id: int, now: float) -> list[Account]:
        """Takes in rows that are stored, with consecutive ids; the accounts that changed."""
        changed: dict[str, Account] = {}
        for row_id, row in enumerate(rows, first_id):
            self._sums.add(row)
            account = changed[row.account_id] = self._added(row, row_id)
            account.silent = self._is_silent(account.state, now)
        for account in changed.values():
            self._keep(account)
        return list(changed.values())

    def sweep(self, now: float, limit: int) -> Swept:
        """Looks at `limit` accounts at most whose time has come."""
        silent: list[Account] = []
        forgettable = []
        for _ in range(limit):
            account_id = self._deadlines.past(now)
            if account_id is None:
                break
            account = self._accounts[account_id]
            if self._deadline(account) >= now:  # it was heard meanwhile
                self._deadlines.set(account_id, self._deadline(account))
            elif account.online:
                silent.append(account)
                self._fall_silent(account)
            else:
                forgettable.append((account_id, account.state.newest_id))
        return Swept(silent, forgettable)

    def put_off(self, account_id: str, until: float) -> None:
        """Looks at an account again then."""
        if account_id in self._accounts:
            self._deadlines.set(account_id, until)

    def forget(self, account_id: str) -> None:
        """Leaves an account out from now on."""
        if self._accounts.pop(account_id, None) is not None:
            self._deadlines.discard(account_id)
            self._series.remove(account_id)

    def replace(self, state: AccountState, now: float) -> None:
        """Takes an account's state from the journal in place of what is here."""
        self._keep(Account(state, silent=self._is_silent(state, now)))

    def get(self, account_id: str) -> Account | None:
        """One account."""
        return self._accounts.get(account_id)

    def everyone(self) -> list[Account]:
        """All accounts by id."""
        return [self._accounts[account_id] for account_id in sorted(self._accounts)]

    def chosen(self, wanted: Iterable[str]) -> list[Account]:
        """Those of the wanted accounts that are known, by id."""
        return [self._accounts[account_id] for account_id in sorted(wanted) if account_id in self._accounts]

    def latest(self, most: int) -> list[Account]:
        """The accounts heard last, `most` at most, by id."""
        return sorted(islice(reversed(self._accounts.values()), most), key=lambda account: account.account_id)

    def system(self) -> dict[str, float]:
        """The sums as the document has them; seconds, 0 before the first reply whose time is known."""
        counts = {"total_accounts": len(self._accounts), "online_accounts": self._series.counts["online"]}
        return counts | self._sums.as_json()

    def _added(self, row: ActivityRow, row_id: int) -> Account:
        account = self._accounts.get(row.account_id)
        if account is None:
            account = self._accounts[row.account_id] = Account(AccountState.of(row, row_id), silent=False)
            account.told = False
        else:
            account.state.add(row, row_id)
        return account

    def _keep(self, account: Account) -> None:
        self._accounts[account.account_id] = account
        self._accounts.move_to_end(account.account_id)
        self._deadlines.set(account.account_id, self._deadline(account))
        self._show(account)

    def _fall_silent(self, account: Account) -> None:
        account.silent = True
        self._deadlines.set(account.account_id, self._deadline(account))
        self._show(account)

    def _show(self, account: Account) -> None:
        shown = self._has_series(account.account_id)
        seen = account.state.last_activity
        self._series.set(account.account_id, online=account.online, seen=seen, shown=shown)

    def _is_silent(self, state: AccountState, now: float) -> bool:
        return now - state.last_activity > self._settings.offline_after_seconds

    def _deadline(self, account: Account) -> float:
        """Until when nothing happens to the account unless it is heard."""
        if account.online:
            return account.state.last_activity + self._settings.offline_after_seconds
        return account.state.heard_at + self._settings.forget_after_seconds
