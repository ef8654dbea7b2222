"""The way of a signal: what takes it in, keeps it, counts it and tells of it."""

import time
from dataclasses import dataclass

from fleetpulse import catalogue
from fleetpulse.accounts.book import Book
from fleetpulse.accounts.ledger import Ledger
from fleetpulse.accounts.whole import Whole
from fleetpulse.app.joining import make_bus, make_claims, make_whole
from fleetpulse.auth import Role
from fleetpulse.budgets import Budgets
from fleetpulse.chat.service import Chat
from fleetpulse.cluster import RedisClaims
from fleetpulse.config import Settings
from fleetpulse.events import Events
from fleetpulse.events.plugin import TOPIC as PLUGIN_TOPIC
from fleetpulse.fleet import Fleet
from fleetpulse.instruments import Instruments
from fleetpulse.journal import Journal
from fleetpulse.journal.history import (
    ACTIVITY_STREAM,
    ALERT_STREAM,
    EVENT_STREAM,
    MESSAGE_STREAM,
    REQUEST_STREAM,
    JournalHistory,
)
from fleetpulse.live import Hub, Policy
from fleetpulse.live.bus import Bus
from fleetpulse.pipeline import Pipeline, alert_json
from fleetpulse.pricing import Pricer
from fleetpulse.series.accounts import AccountSeries
from fleetpulse.series.agents import AgentSeries
from fleetpulse.series.exposition import Exposition
from fleetpulse.series.fold import SeriesFold
from fleetpulse.series.store import SeriesStore
from fleetpulse.users import Users

RECENT_ALERTS = 50


@dataclass(frozen=True)
class Core:
    """The parts that every signal passes, restored from the journal."""

    settings: Settings
    instruments: Instruments
    budgets: Budgets
    store: SeriesStore
    journal: Journal
    fleet: Fleet
    hub: Hub
    bus: Bus
    claims: RedisClaims | None
    events: Events
    pricer: Pricer
    pipeline: Pipeline
    exposition: Exposition
    users: Users
    ledger: Ledger
    chat: Chat
    whole: Whole | None


def make_core(settings: Settings) -> Core:
    """Makes them. Blocks while the journal is checked."""
    instruments = Instruments()
    budgets = Budgets(settings.budgets, settings.timezone)
    fold = SeriesFold(settings.limits, budgets)
    store = SeriesStore()
    journal = Journal(settings.journal_path, settings.journal, fold, instruments, store.apply)
    fold.restore(journal.totals)
    store.apply(journal.totals)
    agents = AgentSeries(settings.limits.agent_series)
    accounts = AccountSeries()
    book = make_book(settings, journal, store, accounts)
    fleet = Fleet(settings.agents, settings.limits, settings.thresholds.heartbeat_silence_seconds, agents)
    fleet.restore(journal.saved_agents())
    hub = Hub(settings.live, instruments)
    declare_topics(hub, fleet, journal)
    hub.declare("accounts", policy=Policy.STATE, snapshot=lambda _topic: book.everyone())
    bus = make_bus(settings, instruments)
    claims = make_claims(settings, bus)
    events = Events(journal, bus.replica, instruments)
    pricer = Pricer(settings.prices)
    pipeline = Pipeline(settings, journal, store, fleet, hub, pricer=pricer)
    exposition = Exposition(store, agents, budgets, settings.thresholds, instruments, accounts=accounts)
    ledger = Ledger(book, pipeline, journal, hub, events.tell)
    users = Users(settings.limits.top_users, instruments)
    return Core(
        settings,
        instruments,
        budgets,
        store,
        journal,
        fleet,
        hub,
        bus,
        claims,
        events,
        pricer,
        pipeline,
        exposition,
        users,
        ledger,
        Chat(settings, journal, hub, bus, instruments, events.tell, claims=claims),
        make_whole(settings, bus, ledger, journal),
    )


def make_book(settings: Settings, journal: Journal, store: SeriesStore, series: AccountSeries) -> Book:
    """The book of group accounts, as the journal has it."""

    def has_series(account_id: str) -> bool:
        return store.has(catalogue.ACCOUNT_MESSAGES, (account_id,))

    book = Book(settings.accounts, settings.limits.known_accounts, series, has_series)
    book.restore(journal.saved_accounts(), journal.totals, time.time())
    return book


def declare_topics(hub: Hub, fleet: Fleet, journal: Journal) -> None:
    """The topics of the live feed, and what a new listener is shown first."""

    def agents(topic: str) -> list[object]:
        pool = topic.partition("/")[2]
        return list(fleet.agents(pool)) if pool else [agent.in_pool() for agent in fleet.everyone()]

    def alerts(_topic: str) -> list[object]:
        return [alert_json(row) for row in journal.recent_alerts(RECENT_ALERTS)]

    hub.declare("agents", policy=Policy.STATE, snapshot=agents)
    hub.declare("alerts", Policy.EVENT, alerts, history=JournalHistory(journal, ALERT_STREAM))
    hub.declare("activities", Policy.EVENT, history=JournalHistory(journal, ACTIVITY_STREAM))
    hub.declare("messages", Policy.EVENT, history=JournalHistory(journal, MESSAGE_STREAM))
    hub.declare("requests", Policy.EVENT, history=JournalHistory(journal, REQUEST_STREAM))
    hub.declare(
        "events",
        Policy.EVENT,
        history=JournalHistory(journal, EVENT_STREAM),
        admits=lambda principal, _topic: principal.may(Role.OPERATOR),
    )
    hub.declare(PLUGIN_TOPIC, Policy.EVENT)
