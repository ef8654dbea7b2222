"""The way of an activity: stored, counted, entered in the book, told on the live feed, and then acknowledged.

Owns the accounts' life besides: who falls silent is told offline, who was not heard for long is forgotten, in the
journal first.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from uuid import uuid4

import orjson

from fleetpulse.accounts.book import Account, Book
from fleetpulse.errors import OverloadedError
from fleetpulse.journal import ACTIVITIES, ActivityRow, ForgetAccounts, Journal, Row, Table
from fleetpulse.pipeline import Pipeline, Receipt
from fleetpulse.signals import Activity

SWEEP_SECONDS = 1.0
SWEEP_ACCOUNTS = 250  # in one step, which holds up nobody
PAUSE_SECONDS = 0.01
AGAIN_SECONDS = 60.0  # until it is tried again to forget an account
TOPIC = "accounts"
Reported = tuple[str, Activity]
"""An account's id and what it did."""
log = logging.getLogger(__name__)


class Publisher(Protocol):
    """The live hub, as far as it is needed."""

    def publish_many(self, topic: str, items: Sequence[tuple[str | None, object]], *, kind: str = "event") -> None:
        """Tells a topic's listeners of many things; never waits."""


class Happened(Protocol):
    """The event log's `tell`."""

    def __call__(self, category: str, kind: str, *, subject: str, detail: Mapping[str, Any]) -> None:
        """Tells of an event; never waits, never raises."""


class Ledger:
    """Takes activities in, and keeps the book."""

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        book: Book,
        pipeline: Pipeline,
        journal: Journal,
        hub: Publisher,
        happened: Happened,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.book = book
        self._pipeline = pipeline
        self._journal = journal
        self._hub = hub
        self._happened = happened
        self._clock = clock
        self._watchers: list[Callable[[Sequence[str]], None]] = []

    def watch(self, watcher: Callable[[Sequence[str]], None]) -> None:
        """Calls `watcher` with the ids of accounts that changed or were forgotten; it must not wait or raise."""
        self._watchers.append(watcher)

    def room(self, account_ids: Sequence[str]) -> list[bool]:
        """For each whether its account is known or may become so. Who is under way is not counted."""
        newcomers: set[str] = set()
        fits = []
        for account_id in account_ids:
            fits.append(account_id in newcomers or self.book.has_room(account_id, len(newcomers)))
            if fits[-1] and self.book.get(account_id) is None:
                newcomers.add(account_id)
        return fits

    async def store(self, reported: Sequence[Reported]) -> Receipt:
        """Stores activities; returns after the commit, with the book up to date.

        Raises OverloadedError (also StorageFullError): nothing was kept.
        """
        now = self._clock()
        return await self._pipeline.activities([_row(account_id, each, now) for account_id, each in reported])

    def count(self, outcome: str, number: int) -> None:
        """Counts activities that leave no row: rejected, refused."""
        if number:
            self._pipeline.count("activity", outcome, number)

    def stored(self, table: Table, rows: Sequence[Row], first_id: int) -> None:
        """Hears of what a commit has just made durable, before the submitters do."""
        if table is not ACTIVITIES:
            return
        activities = [row for row in rows if isinstance(row, ActivityRow)]
        self._tell(self.book.stored(activities, first_id, self._clock()))

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            more = await self.sweep()
            await asyncio.sleep(PAUSE_SECONDS if more else SWEEP_SECONDS)

    async def sweep(self) -> bool:
        """Tells who fell silent, forgets who was not heard for long; whether there may be more at once."""
        swept = self.book.sweep(self._clock(), SWEEP_ACCOUNTS)
        self._tell(swept.silent)
        if swept.forgettable:
            await self._forget(swept.forgettable)
        return len(swept.silent) + len(swept.forgettable) == SWEEP_ACCOUNTS

    async def _forget(self, accounts: Sequence[tuple[str, int]]) -> None:
        try:
            forgotten = await self._journal.submit(ForgetAccounts(accounts))
        except OverloadedError as error:
            log.warning("accounts are not forgotten: %s", error.detail)
            forgotten = set()
        assert isinstance(forgotten, set)  # noqa: S101 - what ForgetAccounts returns
        now = self._clock()
        for account_id, newest_id in accounts:
            if account_id not in forgotten:
                self.book.put_off(account_id, now + AGAIN_SECONDS)
            else:
                self._forgot(account_id, newest_id, now)

    def _forgot(self, account_id: str, newest_id: int, now: float) -> None:
        """Leaves an account out; where it was heard right afterwards, it is there again, from then on."""
        account = self.book.get(account_id)
        self.book.forget(account_id)
        if account is not None and account.state.newest_id != newest_id:
            state = self._journal.saved_account(account_id)
            if state is not None:
                self.book.replace(state, now)
        else:
            self._publish([(account_id, {"account_id": account_id})], "forgotten")

    def _tell(self, accounts: Sequence[Account]) -> None:
        for account in accounts:
            if account.online != account.told:
                account.told = account.online
                kind = "account_online" if account.online else "account_offline"
                self._happened("account", kind, subject=account.account_id, detail={"silent": account.silent})
        self._publish([(account.account_id, account) for account in accounts], "update")

    def _publish(self, items: Sequence[tuple[str | None, object]], kind: str) -> None:
        """Publishes. What is stored is stored: a live feed that fails changes nothing for who reports."""
        for watcher in self._watchers:
            watcher([str(account_id) for account_id, _ in items])
        try:
            self._hub.publish_many(TOPIC, items, kind=kind)
        except Exception:
            log.exception("the live feed could not be told of accounts")


def _row(account_id: str, activity: Activity, now: float) -> ActivityRow:
    return ActivityRow(
        activity.activity_id or uuid4().hex,
        now,
        activity.timestamp.timestamp() if activity.timestamp else None,
        account_id,
        activity.kind,
        activity.count,
        activity.reply_time,
        None if activity.online is None else int(activity.online),
        activity.text,
        orjson.dumps(activity.metadata).decode() if activity.metadata else None,
        activity.account_name,
    )
