"""The outbox: deliveries that wait in the journal, and making them when they are due.

Promises: what was entered is made, or the journal says why not: after a restart what was under way is made again,
what Alertmanager did not take is tried again with growing pauses until it is given up, what is held is made when
its time comes. At least once: a process that dies between a delivery and the journal's commit makes it again, with
the same id, which a mailbox and Alertmanager know. What was held because there was too much becomes one digest.
"""

import asyncio
import json
import logging
import random
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from fleetpulse import catalogue, config
from fleetpulse.errors import OverloadedError
from fleetpulse.instruments import Instruments
from fleetpulse.journal import Journal
from fleetpulse.journal.notices import (
    PENDING,
    Closed,
    Delivery,
    DigestNotices,
    Entered,
    EnterNotice,
    NoticeRow,
    Open,
    Settled,
    SettleNotices,
    Target,
    abandoned_deliveries,
    due_deliveries,
    newest_notice,
    next_due,
    waiting,
)
from fleetpulse.notices.carrier import Carrier, Fate, Load
from fleetpulse.notices.model import DIGEST_KIND, Channel, Level
from fleetpulse.notices.plan import RATE, Planner, Step

LEASE_SECONDS = 60.0  # for whoever makes a delivery; then it is made by the outbox
STEP_ROWS = 200
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
LOOK_SECONDS = 5.0  # clocks may be set, and machines sleep
SHORTEST_WAIT = 0.05
METRIC = catalogue.NOTIFICATIONS.name
log = logging.getLogger(__name__)


class Outbox:
    """Enters notifications, makes their deliveries, and keeps what became of them."""

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        journal: Journal,
        planner: Planner,
        carrier: Carrier,
        settings: config.Notifications,
        instruments: Instruments,
        clock: Callable[[], float] = time.time,
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._journal = journal
        self._planner = planner
        self._carrier = carrier
        self._settings = settings
        self._clock = clock
        self._look_seconds = look_seconds
        self._waiting = 0
        self._abandoned = 0  # notifications up to this one may have been under way when the last process ended
        self._unsettled: list[Settled] = []  # made, and to be kept yet: nothing else is made meanwhile
        self._more = asyncio.Event()
        instruments.gauge(catalogue.NOTIFICATIONS_WAITING).set_function(lambda: self._waiting)
        instruments.gauge(catalogue.NOTIFICATIONS_LIMIT).set(settings.outbox)

    def restore(self) -> None:
        """Counts what waits. Call once, before anything is sent. Blocks for a moment."""
        with closing(self._journal.reader()) as reader:
            self._waiting = waiting(reader)
            self._abandoned = newest_notice(reader)

    async def enter(
        self, notice: NoticeRow, deliveries: Sequence[Delivery], key: str, told_until: float | None
    ) -> Entered:
        """Keeps a notification and what is to be made of it; returns after the commit.

        The deliveries are the caller's to make within LEASE_SECONDS. Raises OverloadedError: nothing was kept.
        """
        if self._waiting + len(deliveries) > self._settings.outbox:
            raise OverloadedError(f"notifications.outbox: {self._waiting} deliveries wait", retry_after=30)
        self._waiting += len(deliveries)  # before anything is awaited
        try:
            entered = await self._journal.submit(EnterNotice(notice, deliveries, key, told_until, METRIC))
        except BaseException:
            self._waiting -= len(deliveries)
            raise
        assert isinstance(entered, Entered)  # noqa: S101 - what EnterNotice returns
        self._waiting += entered.waiting - len(deliveries)
        return entered

    async def make(self, opened: Sequence[Open]) -> list[Delivery]:
        """Makes deliveries, each as it is to be now; what became of them, in order, is kept."""
        now = self._clock()
        steps = [self._step(each, now) for each in opened]
        going = [at for at, step in enumerate(steps) if step.outcome == PENDING]
        loads = [_load(opened[at], steps[at]) for at in going]
        fates = dict(zip(going, await self._carrier.carry(loads, now), strict=True))
        after = [
            self._after(each.delivery, fates[at], now) if at in fates else _held(each.delivery, steps[at])
            for at, each in enumerate(opened)
        ]
        self._unsettled += [_settled(each, made) for each, made in zip(opened, after, strict=True)]
        await self._settle()
        return after

    async def run(self) -> None:
        """Makes what is due, until cancelled."""
        while True:
            try:
                wait = await self._turn()
            except Exception:  # a full disk, most likely; the rest of the exporter must not notice
                log.exception("notifications that wait could not be delivered")
                wait = self._look_seconds
            if wait:
                await self._sleep(wait)

    def nudge(self) -> None:
        """Has `run` look at once."""
        self._more.set()

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._more.wait()
        except TimeoutError:
            return
        self._more.clear()

    async def _turn(self) -> float:
        """Makes some of what is due; how long to wait for the next, 0 where more may be due already."""
        await self._settle()
        if self._unsettled:
            return self._look_seconds
        opened, following = await asyncio.to_thread(self._due)
        alone, floods = _sorted(opened)
        for flood in floods:
            alone.append(await self._digest(flood))
        if alone:
            await self.make(alone)
        if self._abandoned and not opened:
            self._abandoned = 0
            return SHORTEST_WAIT
        if self._abandoned or len(opened) == STEP_ROWS:
            return 0.0
        wait = self._look_seconds if following is None else following - self._clock()
        return min(max(wait, SHORTEST_WAIT), self._look_seconds)

    def _due(self) -> tuple[list[Open], float | None]:
        """What is to be made, and when the next is due. What was abandoned comes first."""
        with closing(self._journal.reader()) as reader:
            if self._abandoned:
                return abandoned_deliveries(reader, self._abandoned, STEP_ROWS), None
            return due_deliveries(reader, self._clock(), STEP_ROWS), next_due(reader)

    # One delivery -------------------------------------------------------------------------------------------------
    def _step(self, opened: Open, now: float) -> Step:
        notice, delivery = opened.notice, opened.delivery
        if delivery.expires_at is not None and now >= delivery.expires_at:
            return Step("expired")
        counted = delivery.attempts == 0  # once, not at each attempt
        channel, level = Channel(delivery.channel), Level(notice.level)
        return self._planner.step(delivery.target, channel, level, notice.kind, now, limited=counted)

    def _after(self, before: Delivery, fate: Fate, now: float) -> Delivery:
        attempts = before.attempts + 1
        made = before._replace(outcome=fate.outcome, detail=fate.detail, attempts=attempts, due_at=None)
        if not fate.again:
            return made
        if _tried_for(attempts) > self._settings.give_up_seconds:
            return made._replace(outcome="given_up")
        return made._replace(due_at=now + _pause(attempts) * random.uniform(0.8, 1.2))  # noqa: S311 - no secret

    async def _settle(self) -> None:
        """Keeps what became of deliveries. While storage refuses, they wait for the next turn: they are made."""
        settled, self._unsettled = self._unsettled, []
        if not settled:
            return
        try:
            closed = await self._journal.submit(SettleNotices(settled, self._clock(), METRIC))
        except OverloadedError as error:
            log.warning("what became of %d notifications is not kept yet: %s", len(settled), error.detail)
            self._unsettled += settled
            return
        assert isinstance(closed, Closed)  # noqa: S101 - what SettleNotices returns
        self._waiting += closed.waiting
        if any(each.after.due_at is not None for each in settled):
            self.nudge()

    # Digests ------------------------------------------------------------------------------------------------------
    async def _digest(self, flood: Sequence[Open]) -> Open:
        """One notification in the place of many to the same recipient, which `make` then delivers."""
        now = self._clock()
        notice = _digest_of(flood, f"notify_{int(now)}_{secrets.token_hex(6)}", now)
        first = flood[0].delivery
        delivery = Delivery(first.target, first.channel, PENDING, "", now + LEASE_SECONDS)
        folded = [
            _settled(each, each.delivery._replace(outcome="digested", detail=notice.notification_id, due_at=None))
            for each in flood
        ]
        entered = await self._journal.submit(DigestNotices(notice, delivery, folded, METRIC))
        assert isinstance(entered, Entered)  # noqa: S101 - what DigestNotices returns
        assert entered.number is not None  # noqa: S101
        self._waiting += entered.waiting
        return Open(entered.number, notice, delivery)


def _load(opened: Open, step: Step) -> Load:
    return Load(opened.notice, opened.delivery.target, Channel(opened.delivery.channel), step.quiet)


def _held(before: Delivery, step: Step) -> Delivery:
    """Held until a time, or settled without being made."""
    return before._replace(outcome=step.outcome, detail=step.detail, due_at=step.until)


def _settled(opened: Open, after: Delivery) -> Settled:
    return Settled(opened.number, opened.notice.level, opened.delivery, after)


def _pause(attempts: int) -> float:
    """Seconds before the next attempt."""
    return float(min(FIRST_PAUSE * 2.0 ** min(attempts - 1, 10), LONGEST_PAUSE))


def _tried_for(attempts: int) -> float:
    """About how long something was tried in so many attempts."""
    growing = [_pause(each) for each in range(1, min(attempts, 8))]
    return sum(growing) + LONGEST_PAUSE * max(0, attempts - 8)


def _sorted(opened: Sequence[Open]) -> tuple[list[Open], list[list[Open]]]:
    """What is to be made one by one, and what is too much for one recipient over one channel."""
    floods: dict[tuple[Target, str], list[Open]] = {}
    alone: list[Open] = []
    for each in opened:
        if each.delivery.outcome == "held" and each.delivery.detail == RATE:
            floods.setdefault((each.delivery.target, each.delivery.channel), []).append(each)
        else:
            alone.append(each)
    return [*alone, *(one for (one, *more) in floods.values() if not more)], [
        flood for flood in floods.values() if len(flood) > 1
    ]


def _digest_of(flood: Sequence[Open], notification_id: str, now: float) -> NoticeRow:
    """The most important of them, the newest of these, and how many more there are, by kind."""
    chief = max(flood, key=lambda each: (Level(each.notice.level).rank, each.number)).notice
    shown = json.loads(chief.document)
    lines = [shown["message"], *_more_lines(flood, chief)]
    document = {
        "title": f"{shown['title']} (and {len(flood) - 1} more)"[:250],
        "message": "\n".join(line for line in lines if line),
        "action_url": shown["action_url"],
        "auto_close": False,
        "metadata": {},
    }
    text = json.dumps(document, ensure_ascii=False)
    return NoticeRow(notification_id, now, chief.level, DIGEST_KIND, "", "fleetpulse", text)


def _more_lines(flood: Sequence[Open], chief: NoticeRow) -> Iterator[str]:
    kinds: dict[str, int] = {}
    for each in flood:
        if each.notice.notification_id != chief.notification_id:
            kinds[each.notice.kind] = kinds.get(each.notice.kind, 0) + 1
    parts = [f"{number} {kind}" for kind, number in sorted(kinds.items(), key=lambda pair: -pair[1])[:10]]
    yield f"… and {len(flood) - 1} more: {', '.join(parts)}"
