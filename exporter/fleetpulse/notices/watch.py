"""Notifications that make themselves: agents that come and go, budgets, alerts of accounts, chats in need.

Promises: each kind can be turned off, and is for whom the configuration says. What is noticed at once about many
agents is one notification. What is noticed waits in a bounded queue and never holds up whoever reports. A budget's
level is told once in its period, through restarts; of levels passed at once, the highest.
Refuses: alerts that are notifications themselves, or one would make the next.
"""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

from fleetpulse import catalogue, config
from fleetpulse.auth import Role
from fleetpulse.budgets import CRITICAL, EXCEEDED, WARNING, Budgets
from fleetpulse.config import AutomaticKind, Budget
from fleetpulse.errors import FleetpulseError
from fleetpulse.events import Event, Events
from fleetpulse.fleet import Agent, Change, Fleet
from fleetpulse.instruments import Instruments
from fleetpulse.journal import ALERTS, AlertRow, Journal, Row, SaveNote, Table, read_note
from fleetpulse.notices import kinds
from fleetpulse.notices.carrier import ALERTNAME
from fleetpulse.notices.model import Channel, NotificationRequest, Recipients
from fleetpulse.notices.notices import Notices
from fleetpulse.series.store import SeriesStore
from fleetpulse.spending import usage

NOTE = "notices.budgets"
LOOK_SECONDS = 1.0
QUEUED = 1_000
TURNED = 50_000  # agents that changed since the last look
CROWD = 3  # agents that changed to the same state since the last look; past it one notification tells of all
LEVELS = ((EXCEEDED, 100), (CRITICAL, 95), (WARNING, 80))
ACTOR = "fleetpulse"
Told = dict[str, tuple[float, int]]
Make = Callable[[], NotificationRequest]
log = logging.getLogger(__name__)


class Watch:
    """Notices what happens, and sends what is to be told of it."""

    def __init__(  # noqa: PLR0913 - what it watches, and whom it tells
        self,
        notices: Notices,
        settings: config.Notifications,
        journal: Journal,
        fleet: Fleet,
        budgets: Budgets,
        store: SeriesStore,
        instruments: Instruments,
        clock: Callable[[], float] = time.time,
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._notices = notices
        self._settings = settings
        self._journal = journal
        self._fleet = fleet
        self._budgets = budgets
        self._store = store
        self._clock = clock
        self._look_seconds = look_seconds
        self._watches_agents = settings.automatic("device_status").enabled
        self._states: dict[str, str] = {agent.agent_id: _state(agent) for agent in fleet.everyone()}
        self._turned: dict[str, tuple[str, str, str]] = {}  # agent: its name, state before, state now
        self._queue: deque[Make] = deque()
        self._told: Told = {}
        self._dropped = instruments.counter(catalogue.NOTIFICATIONS_DROPPED)
        for reason in ("full", "refused"):
            self._dropped.labels(reason)

    # What is heard, on the loop -----------------------------------------------------------------------------------
    def agents(self, changes: Sequence[Change]) -> None:
        """Hears of heartbeats and of who fell silent. An agent that is new came from nowhere."""
        if not self._watches_agents:
            return
        for agent in {change.agent.agent_id: change.agent for change in changes}.values():  # the last of each
            state = _state(agent)
            before = self._states.get(agent.agent_id)
            if before == state:
                continue
            self._states[agent.agent_id] = state
            if before is not None or state in (kinds.RISK, kinds.BLOCKED):
                self._turn(agent, before or kinds.ONLINE, state)

    def stored(self, table: Table, rows: Sequence[Row]) -> None:
        """Hears of what was stored: alerts of group accounts."""
        if table is not ALERTS or not self._settings.automatic("risk_control").enabled:
            return
        for row in rows:
            if isinstance(row, AlertRow) and _is_of_an_account(row):
                self._put(partial(self._account_alert, row))

    def listen(self, events: Events) -> None:
        """Hears of chats that need a person, and of AIs that fail."""
        events.on("takeover_requested", self._takeover, "notices.takeover")
        events.on("ai_processing_failed", self._ai_failed, "notices.ai_processing")

    async def _takeover(self, event: Event) -> None:
        self._about_chat("takeover", event, "Somebody asked for a person.")

    async def _ai_failed(self, event: Event) -> None:
        self._about_chat("ai_processing", event, "The AI could not answer.")

    def _about_chat(self, kind: AutomaticKind, event: Event, default: str) -> None:
        if self._settings.automatic(kind).enabled and event.subject:
            make = kinds.takeover if kind == "takeover" else kinds.ai_processing
            text = str(event.detail.get("message") or default)
            self._put(lambda: self._addressed(kind, make(event.subject, text, self._recipients(kind))))

    def _account_alert(self, row: AlertRow) -> NotificationRequest:
        labels, annotations = json.loads(row.labels), json.loads(row.annotations)
        text = annotations.get("description") or annotations.get("summary") or row.alertname
        which = f"{row.fingerprint}/{row.starts_at}"
        request = kinds.risk_control(labels["account_id"], text, which, self._recipients("risk_control"))
        return self._addressed("risk_control", request)

    def _turn(self, agent: Agent, before: str, state: str) -> None:
        """Since the last look it may have turned more than once: back where it was is nothing."""
        first = self._turned.pop(agent.agent_id, ("", before, ""))[1]
        if first == state:
            return
        if len(self._turned) >= TURNED:
            self._dropped.labels("full").inc()
            return
        self._turned[agent.agent_id] = (agent.agent_name, first, state)

    # What is told, in the background ------------------------------------------------------------------------------
    async def run(self) -> None:
        """Looks, and tells; until cancelled."""
        await self.recall()
        while True:
            try:
                await self.look()
            except Exception:
                log.exception("notifications that make themselves are late")
            await asyncio.sleep(self._look_seconds)

    async def recall(self) -> None:
        """Reads which levels of budgets were told; before the first look."""
        self._told = await asyncio.to_thread(self._recall)

    @property
    def queued(self) -> int:
        """How much the next look tells."""
        return len(self._queue)

    async def look(self) -> None:
        """Tells what was noticed since the last look."""
        self._gather_agents()
        while self._queue:
            make = self._queue.popleft()
            try:
                await self._send(make())
            except Exception:  # one that cannot be made must not cost the others theirs
                log.exception("a notification could not be made")
                self._dropped.labels("refused").inc()
        await self._look_at_budgets()

    def _gather_agents(self) -> None:
        if len(self._states) > 2 * len(self._fleet.everyone()) + QUEUED:  # most of them are forgotten
            self._states = {agent.agent_id: _state(agent) for agent in self._fleet.everyone()}
        turned, self._turned = self._turned, {}
        groups: dict[str, list[tuple[str, str, str]]] = {}
        for agent_id, (name, before, state) in turned.items():
            groups.setdefault(state, []).append((agent_id, name, before))
        recipients = self._recipients("device_status") if groups else None
        for state, group in groups.items():
            assert recipients is not None  # noqa: S101 - as there are groups
            if len(group) > CROWD:
                requests = [kinds.devices_status([name for _, name, _ in group], state, recipients)]
            else:
                requests = [kinds.device_status(*each, state, recipients) for each in group]
            for request in requests:
                self._put(partial(self._addressed, "device_status", request))

    def _put(self, make: Make) -> None:
        if len(self._queue) >= QUEUED:
            self._dropped.labels("full").inc()
            return
        self._queue.append(make)

    async def _send(self, request: NotificationRequest) -> bool:
        try:
            await self._notices.send(request, actor=ACTOR)
        except FleetpulseError as error:
            log.warning("a notification of %s is not sent: %s", request.kind, error.detail)
            self._dropped.labels("refused").inc()
            return False
        return True

    # Budgets ------------------------------------------------------------------------------------------------------
    async def _look_at_budgets(self) -> None:
        if not self._settings.automatic("cost_warning").enabled:
            return
        now = self._clock()
        passed = [(budget, percent) for budget in self._budgets.budgets if (percent := self._news(budget, now))]
        for budget, percent in passed:
            if not await self._send(self._cost(budget, percent, now)):
                return
            self._told[budget.name] = (self._budgets.period_start(budget, now).timestamp(), percent)
            await self._keep()

    def _news(self, budget: Budget, now: float) -> int:
        """The level that is passed and was not told in this period yet, else 0."""
        used = usage(self._store, self._budgets, budget, now).spent / budget.limit_usd
        percent = next((percent for ratio, percent in LEVELS if used >= ratio), 0)
        start = self._budgets.period_start(budget, now).timestamp()
        told_start, told = self._told.get(budget.name, (0.0, 0))
        return percent if percent > (told if told_start == start else 0) else 0

    def _cost(self, budget: Budget, percent: int, now: float) -> NotificationRequest:
        spent = usage(self._store, self._budgets, budget, now).spent
        end: datetime = self._budgets.period(budget, now).end
        recipients = self._recipients("cost_warning")
        request = kinds.cost_warning(budget, percent, spent, end, datetime.fromtimestamp(now, UTC), recipients)
        return self._addressed("cost_warning", request)

    def _recall(self) -> Told:
        with closing(self._journal.reader()) as reader:
            note = read_note(reader, NOTE)
        return {} if note is None else {name: (start, level) for name, (start, level) in json.loads(note).items()}

    async def _keep(self) -> None:
        """What is not kept is told again after a restart, and known as the same then."""
        configured = {budget.name for budget in self._budgets.budgets}
        kept = {name: told for name, told in self._told.items() if name in configured}
        try:
            await self._journal.submit(SaveNote({}, NOTE, json.dumps(kept).encode()))
        except FleetpulseError as error:
            log.warning("which levels of budgets were told is not kept: %s", error.detail)

    # For whom -----------------------------------------------------------------------------------------------------
    def _recipients(self, kind: AutomaticKind) -> Recipients:
        auto = self._settings.automatic(kind)
        if auto.everyone:
            return Recipients(everyone=True)
        roles = tuple(Role(each) for each in auto.roles)
        return Recipients(users=auto.users, roles=roles, sessions=auto.sessions)

    def _addressed(self, kind: AutomaticKind, request: NotificationRequest) -> NotificationRequest:
        channels = self._settings.automatic(kind).channels
        if channels is None:
            return request
        return request.model_copy(update={"channels": tuple(Channel(each.upper()) for each in channels)})


def _is_of_an_account(row: AlertRow) -> bool:
    """Whether it is to be told of: it fires, is no notification itself, and names an account."""
    fires = row.status == "firing" and row.alertname != ALERTNAME
    return fires and '"account_id"' in row.labels and bool(json.loads(row.labels).get("account_id"))


def _state(agent: Agent) -> str:
    return kinds.device_state(agent.status, up=agent.up)
