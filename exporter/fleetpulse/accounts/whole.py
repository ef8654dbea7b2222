"""Group accounts over all replicas: what each of them counted, added up.

Every replica tells the others the newest state of its accounts, a moment after it changed, and its sums; who joins
is told everything. Of each origin (a replica's journal) the newest state of an account counts; counters add up over
origins. What a replica that vanished said last is kept, until its accounts would be forgotten. Nothing of this is
stored: each replica's own is in its journal. Refuses more than `limit` accounts of an origin, and MAX_ORIGINS.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from heapq import nlargest
from typing import Any, Protocol

from pydantic import TypeAdapter

from fleetpulse import config
from fleetpulse.accounts.book import Account, Book, Sums
from fleetpulse.journal import AccountState
from fleetpulse.live.bus import Bus

STATES = "accounts.states"
TELL_SECONDS = 0.25
BATCH_ACCOUNTS = 100
EXPIRE_SECONDS = 60.0
MAX_ORIGINS = 64
_STATE = TypeAdapter(AccountState)
_SUMS = TypeAdapter(Sums)


class Figures(Protocol):
    """What is known of accounts, of one replica or of all."""

    def everyone(self) -> list[Account]:
        """All accounts by id."""

    def chosen(self, wanted: Iterable[str]) -> list[Account]:
        """Those of the wanted accounts that are known, by id."""

    def latest(self, most: int) -> list[Account]:
        """The accounts heard last, `most` at most, by id."""

    def system(self) -> dict[str, float]:
        """The sums as the document has them."""


class _Origin:
    """What another replica said."""

    __slots__ = ("accounts", "sums")

    def __init__(self) -> None:
        self.accounts: dict[str, AccountState] = {}
        self.sums = Sums()


class Whole:
    """`Figures` over all replicas, and the one who shares them. Belongs to the event loop's thread."""

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        bus: Bus,
        book: Book,
        epoch: str,
        settings: config.Accounts,
        limit: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._book = book
        self._epoch = epoch
        self._settings = settings
        self._limit = limit
        self._clock = clock
        self._origins: dict[str, _Origin] = {}
        self._news: dict[str, None] = {}
        self._greet = False
        self._counted: tuple[float, int, int] = (0.0, 0, 0)
        self._expire_at = 0.0
        bus.on(STATES, self._heard)

    # Telling -------------------------------------------------------------------------------------------------
    def changed(self, account_ids: Iterable[str]) -> None:
        """Accounts of this replica changed, or are forgotten; never waits."""
        self._news.update(dict.fromkeys(account_ids))

    def joined(self, _peer: object) -> None:
        """Another replica came: it is told everything, as the others are again."""
        self._greet = True
        self.changed(account.account_id for account in self._book.everyone())

    def announced(self, peer: object) -> None:
        """Nothing new."""

    def left(self, peer: object) -> None:
        """What it said still counts."""

    async def run(self) -> None:
        """Tells and expires, until cancelled."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            while self._news or self._greet:
                self._greet = False
                self._tell([self._news.popitem()[0] for _ in range(min(BATCH_ACCOUNTS, len(self._news)))])
                await asyncio.sleep(0)
            if self._clock() >= self._expire_at:
                self._expire_at = self._clock() + EXPIRE_SECONDS
                self.expire()

    def expire(self) -> None:
        """Forgets accounts that nobody was told of for long, as their replica does or would."""
        before = self._clock() - self._settings.forget_after_seconds
        for origin in self._origins.values():
            origin.accounts = {name: state for name, state in origin.accounts.items() if state.heard_at >= before}

    def _tell(self, account_ids: Sequence[str]) -> None:
        found = {account_id: self._book.get(account_id) for account_id in account_ids}
        states = [asdict(account.state) for account in found.values() if account is not None]
        gone = [account_id for account_id, account in found.items() if account is None]
        told = {"epoch": self._epoch, "states": states, "gone": gone, "sums": asdict(self._book.sums)}
        self._bus.send(STATES, told)

    def _heard(self, payload: Mapping[str, Any]) -> None:
        """Raises what is wrong with a message, of which nothing counts then."""
        states = [_state(each) for each in payload["states"][:BATCH_ACCOUNTS]]
        sums, epoch = _SUMS.validate_python(payload["sums"]), str(payload["epoch"])
        gone = [str(each) for each in payload["gone"][:BATCH_ACCOUNTS]]
        if epoch not in self._origins and len(self._origins) >= MAX_ORIGINS:
            raise ValueError("accounts of too many replicas")
        origin = self._origins.setdefault(epoch, _Origin())
        origin.sums = sums
        for account_id in gone:
            origin.accounts.pop(account_id, None)
        for state in states:
            known = origin.accounts.get(state.account_id)
            if known is None and len(origin.accounts) >= self._limit:
                raise ValueError("limits.known_accounts: another replica has more accounts")
            if known is None or known.newest_id <= state.newest_id:
                origin.accounts[state.account_id] = state

    # Figures -------------------------------------------------------------------------------------------------
    def everyone(self) -> list[Account]:
        """All accounts by id."""
        return self.chosen({account.account_id for account in self._book.everyone()} | self._elsewhere())

    def chosen(self, wanted: Iterable[str]) -> list[Account]:
        """Those of the wanted accounts that are known, by id."""
        return [account for each in sorted(wanted) if (account := self._merged(each)) is not None]

    def latest(self, most: int) -> list[Account]:
        """The accounts heard last, `most` at most, by id."""
        heard = {account.account_id: account.state.heard_at for account in self._book.latest(most)}
        for origin in self._origins.values():
            for account_id, state in origin.accounts.items():
                heard[account_id] = max(state.heard_at, heard.get(account_id, 0.0))
        return self.chosen(nlargest(most, heard, key=lambda account_id: heard[account_id]))

    def system(self) -> dict[str, float]:
        """The sums as the document has them; seconds, 0 before the first reply whose time is known."""
        whole = self._book.system()
        sums = _added([self._book.sums, *(origin.sums for origin in self._origins.values())])
        more, online = self._counts()
        whole["total_accounts"] += more
        whole["online_accounts"] = max(whole["online_accounts"] + online, 0)
        return whole | sums.as_json()

    def _counts(self) -> tuple[int, int]:
        """How many more accounts there are than here, and how many more are online; looked up anew at times."""
        until, more, online = self._counted
        now = self._clock()
        if not until - TELL_SECONDS <= now < until:
            more = online = 0
            for account_id in self._elsewhere():
                here, both = self._book.get(account_id), self._merged(account_id)
                more += here is None
                online += (both is not None and both.online) - (here is not None and here.online)
            self._counted = now + TELL_SECONDS, more, online
        return more, online

    def _elsewhere(self) -> set[str]:
        return {account_id for origin in self._origins.values() for account_id in origin.accounts}

    def _merged(self, account_id: str) -> Account | None:
        here = self._book.get(account_id)
        states = [] if here is None else [here.state]
        states += [found for each in self._origins.values() if (found := each.accounts.get(account_id))]
        if not states or (here is not None and len(states) == 1):
            return here
        state = merged(states)
        return Account(state, silent=self._clock() - state.last_activity > self._settings.offline_after_seconds)


ADDED = ("messages", "replies", "redpackets", "errors", "timed_replies", "reply_seconds")


def merged(states: Sequence[AccountState]) -> AccountState:
    """One account's state from those of several replicas."""
    newest = max(states, key=lambda state: state.heard_at)
    told = max(states, key=lambda state: (state.online is not None, state.told_at))
    named = [state for state in states if state.account_name]
    return replace(
        newest,
        account_name=max(named, key=lambda state: state.heard_at).account_name if named else None,
        online=told.online,
        told_at=told.told_at,
        last_activity=max(state.last_activity for state in states),
        **{name: sum(getattr(state, name) for state in states) for name in ADDED},
    )


def _added(sums: Sequence[Sums]) -> Sums:
    return Sums(**{each.name: sum(getattr(one, each.name) for one in sums) for each in fields(Sums)})


def _state(value: Any) -> AccountState:
    state = _STATE.validate_python(value)
    if not state.account_id:
        raise ValueError("an account without an id")
    return state
