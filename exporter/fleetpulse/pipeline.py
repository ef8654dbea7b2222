"""The one way in: every signal passes here, whichever door it came through.

Durable signals are stored, counted and only then acknowledged; the live feed hears of them after the commit.
Heartbeats update the fleet at once and are saved every few seconds and at stop.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import orjson

from fleetpulse import catalogue
from fleetpulse.budgets import Budgets
from fleetpulse.config import Settings
from fleetpulse.errors import FleetpulseError, OverloadedError
from fleetpulse.fleet import Change, Fleet
from fleetpulse.journal import (
    ACTIVITIES,
    ALERTS,
    EVENTS,
    MESSAGES,
    REQUESTS,
    ActivityRow,
    AlertRow,
    Journal,
    Key,
    MessageRow,
    RequestRow,
    Row,
    SaveAgents,
    Table,
    Total,
)
from fleetpulse.journal.history import (
    ACTIVITY_STREAM,
    ALERT_STREAM,
    EVENT_STREAM,
    MESSAGE_STREAM,
    REQUEST_STREAM,
    Stored,
)
from fleetpulse.otlp.checked import CheckedLog
from fleetpulse.pricing import Pricer
from fleetpulse.series.store import REMEMBERED, SeriesStore
from fleetpulse.signals import AgentHeartbeat, AlertEvent, Heartbeat, RequestLog
from fleetpulse.spending import settle_budgets

SWEEP_SECONDS = 1.0
SWEEP_AGENTS = 250  # agents looked at in one step of a sweep, and states saved in one write: each holds up nobody
SAVE_AGENTS = 250
PAUSE_SECONDS = 0.01  # between such steps
# What a table's rows are in the live feed.
STREAMS = {
    ALERTS: (ALERT_STREAM,),
    REQUESTS: (REQUEST_STREAM,),
    EVENTS: (EVENT_STREAM,),
    ACTIVITIES: (ACTIVITY_STREAM,),
    MESSAGES: (MESSAGE_STREAM,),
}
Watcher = Callable[[Sequence[Change]], None]
log = logging.getLogger(__name__)


class Publisher(Protocol):
    """The live hub, as far as the pipeline knows it."""

    def publish_many(self, topic: str, items: Sequence[tuple[str | None, object]], *, kind: str = "event") -> None:
        """Tells a topic's listeners of many things in order; never waits."""

    def publish_rows(self, family: str, rows: Sequence[Stored]) -> object:
        """Tells of rows that are stored, with their ids; never waits."""


class Receipt(NamedTuple):
    """What became of a batch that was acknowledged."""

    stored: int
    duplicates: int


class Pipeline:
    """Takes signals in; owns the background work between the fleet, the journal and the hub."""

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        settings: Settings,
        journal: Journal,
        store: SeriesStore,
        fleet: Fleet,
        hub: Publisher,
        clock: Callable[[], float] = time.time,
        pricer: Pricer | None = None,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._store = store
        self._fleet = fleet
        self._hub = hub
        self._clock = clock
        self._pricer = pricer or Pricer(settings.prices)
        self._local: dict[Key, Total] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._watchers: list[Watcher] = []

    def watch(self, watcher: Watcher) -> None:
        """Adds one who hears of changes of agents; called on the loop, must neither wait nor raise."""
        self._watchers.append(watcher)

    async def settle_budgets(self) -> None:
        """Brings the budgets' spend in line with the configuration. Call once, before anything is stored."""
        budgets = Budgets(self._settings.budgets, self._settings.timezone)
        try:
            await settle_budgets(self._journal, self._store, budgets, self._clock())
        except OverloadedError as error:  # a full disk: what is stored from now on is counted all the same
            log.warning("budgets that are new begin at zero: %s", error.detail)

    def start(self) -> None:
        """Starts the sweep for silent agents and the saving of agents' state."""
        self._tasks = [asyncio.create_task(self._sweep()), asyncio.create_task(self._save_regularly())]

    async def drain(self) -> None:
        """Stops the background work and saves the agents' newest state."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while await self._save():
            pass

    async def requests(self, logs: Sequence[RequestLog | CheckedLog]) -> Receipt:
        """Stores request logs; returns after the commit.

        Raises OverloadedError (also StorageFullError): nothing was kept.
        """
        now = self._clock()
        rows = [self._request_row(item, now) for item in logs]
        return await self._store_rows("request", REQUESTS, rows)

    async def alerts(self, events: Sequence[AlertEvent]) -> Receipt:
        """Stores alert events, each change of each alert once, and pushes the new ones."""
        now = self._clock()
        return await self._store_rows("alert", ALERTS, [_alert_row(event, now) for event in events])

    async def activities(self, rows: Sequence[ActivityRow]) -> Receipt:
        """Stores activities of group accounts; returns after the commit, raises as `requests` does."""
        return await self._store_rows("activity", ACTIVITIES, rows)

    async def messages(self, rows: Sequence[MessageRow]) -> Receipt:
        """Stores recorded messages; returns after the commit, raises as `requests` does."""
        return await self._store_rows("message", MESSAGES, rows)

    def stored(self, table: Table, rows: Sequence[Row], first_id: int) -> None:
        """Hears of the rows that a commit has just made durable: tells the live feed, before the submitters."""
        if table is REQUESTS:
            self._store.remember([row for row in rows[-REMEMBERED:] if isinstance(row, RequestRow)])
        for stream in STREAMS.get(table, ()):
            try:
                self._hub.publish_rows(stream.family, stream.stored(rows, first_id))
            except Exception:
                log.exception("the live feed could not be told of %s", stream.family)

    def heartbeat(self, agent_id: str, heartbeat: Heartbeat, pool_id: str | None = None) -> None:
        """Takes one heartbeat in. Raises OverloadedError for a new agent past the limits."""
        try:
            changes = self._fleet.beat(agent_id, heartbeat, pool_id, self._clock())
        except OverloadedError:
            self.count("heartbeat", "refused", 1)
            raise
        self.count("heartbeat", "stored", 1)
        if self._fleet.status_label(heartbeat.status) != heartbeat.status:
            self._count(Key(catalogue.FOLDED_LABELS.name, ("agent_status",)), 1)
        self._publish(changes)

    def heartbeats(
        self, beats: Sequence[AgentHeartbeat], pool_id: str | None = None
    ) -> list[FleetpulseError | None]:
        """Takes many in; says for each why it was refused, or None."""
        refused: list[FleetpulseError | None] = []
        for beat in beats:
            try:
                self.heartbeat(beat.agent_id, beat, pool_id)
            except OverloadedError as error:
                refused.append(error)
            else:
                refused.append(None)
        return refused

    def tell_agents(self, changes: Sequence[Change]) -> None:
        """Tells the live feed of agents that other replicas heard."""
        self._publish(changes)

    def count(self, kind: str, outcome: str, number: int) -> None:
        """Counts signals that leave no row (heartbeats, rejected, refused): these begin at zero at every start."""
        self._count(Key(catalogue.SIGNALS.name, (kind, outcome)), number)

    def _count(self, key: Key, number: int) -> None:
        before = self._local.get(key) or Total(0.0, self._clock())
        self._local[key] = Total(before.value + number, before.created)
        self._store.apply({key: self._local[key]})

    async def _store_rows(self, kind: str, table: Table, rows: Sequence[Row]) -> Receipt:
        try:
            outcome = await self._journal.store(table, rows)
        except OverloadedError:
            self.count(kind, "refused", len(rows))
            raise
        return Receipt(len(outcome.new), outcome.duplicates)

    def _request_row(self, item: RequestLog | CheckedLog, now: float) -> RequestRow:
        cost = self._pricer.cost(item)
        return RequestRow(
            item.request_id,
            now,
            item.timestamp.timestamp() if item.timestamp else None,
            item.source,
            item.user_id,
            item.command,
            item.status,
            item.model,
            item.provider,
            item.execution_time,
            item.total_tokens,
            item.input_tokens,
            item.output_tokens,
            item.cached_tokens,
            cost.usd,
            cost.source,
            item.error,
            item.session_id,
            item.trace_id,
            orjson.dumps(item.metadata).decode() if item.metadata else None,
            item.account_id,
        )

    def _publish(self, changes: Sequence[Change]) -> None:
        for watcher in self._watchers:
            watcher(changes)
        for agent, offline in changes:
            if offline:
                item: object = {"agent_id": agent.agent_id, "status": "offline"}
            else:
                item = agent
            kind = "offline" if offline else "update"
            self._tell(f"agents/{agent.pool_id}", [(agent.agent_id, item)], kind)

    def _tell(self, topic: str, items: Sequence[tuple[str | None, object]], kind: str = "event") -> None:
        """Publishes. What is stored is stored: a live feed that fails changes nothing for who reports."""
        try:
            self._hub.publish_many(topic, items, kind=kind)
        except Exception:
            log.exception("the live feed could not be told of %s", topic)

    async def _sweep(self) -> None:
        while True:
            now = self._clock()
            self._publish(self._fleet.sweep(now, SWEEP_AGENTS))
            await asyncio.sleep(PAUSE_SECONDS if self._fleet.overdue(now) else SWEEP_SECONDS)

    async def _save_regularly(self) -> None:
        while True:
            more = await self._save()
            await asyncio.sleep(PAUSE_SECONDS if more else self._settings.agents.save_interval_seconds)

    async def _save(self) -> bool:
        """Saves some of what changed; False when nothing is left, or it failed: the next save has it again."""
        states, forgotten = self._fleet.take_unsaved(SAVE_AGENTS)
        saved = False
        try:
            if states or forgotten:
                await self._journal.submit(SaveAgents(states, forgotten))
                saved = True
        except Exception as error:  # noqa: BLE001 - a full disk, most likely; the saving must outlive anything
            log.warning("agents' state is not saved: %s", error)
        finally:
            if not saved:  # also when cancelled, by `drain`
                self._fleet.put_back(states, forgotten)
        return saved


def alert_json(row: AlertRow) -> dict[str, object]:
    """An alert event as the documents show it, with what Alertmanager says besides."""
    return row.as_json()


def _alert_row(event: AlertEvent, now: float) -> AlertRow:
    starts_at = event.starts_at.isoformat()
    # Alertmanager repeats a firing alert at every repeat_interval; one change of one alert is one event.
    return AlertRow(
        f"{event.fingerprint}/{starts_at}/{event.status}",
        now,
        event.fingerprint,
        event.alertname,
        event.status,
        event.severity,
        starts_at,
        event.ends_at.isoformat() if event.ends_at and event.status == "resolved" else None,
        json.dumps(event.labels, ensure_ascii=False),
        json.dumps(event.annotations, ensure_ascii=False),
        event.generator_url,
    )
