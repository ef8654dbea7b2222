"""Everything that lives as long as the exporter, and the handlers that stand before it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from fleetpulse.accounts.ledger import Ledger
from fleetpulse.app.accounts import Accounts
from fleetpulse.app.administration import Administration, make_plugins
from fleetpulse.app.core import Core, make_core
from fleetpulse.app.desk import Desk, make_desk
from fleetpulse.app.notifications import Notifications
from fleetpulse.app.replicas import make_cluster
from fleetpulse.app.watching import make_stats
from fleetpulse.auth import Authenticator
from fleetpulse.chat.service import Chat
from fleetpulse.cluster import Cluster
from fleetpulse.config import Settings, otel_variables
from fleetpulse.events import Events, Plugins
from fleetpulse.instruments import Instruments
from fleetpulse.journal import Journal, Retention
from fleetpulse.live import Hub
from fleetpulse.pipeline import Pipeline
from fleetpulse.query.upstream import Upstream
from fleetpulse.sinks.outlets import Outlets
from fleetpulse.spending import Forecasts
from fleetpulse.users import Users
from fleetpulse.web.agents import AgentEndpoints
from fleetpulse.web.alert_list import AlertListEndpoints
from fleetpulse.web.alerts import AlertEndpoints
from fleetpulse.web.budgets import BudgetEndpoints
from fleetpulse.web.chat import ChatEndpoints
from fleetpulse.web.docs import DocsEndpoints
from fleetpulse.web.entry import Entry
from fleetpulse.web.guard import Guard
from fleetpulse.web.ingest import IngestEndpoints
from fleetpulse.web.landing import LandingEndpoints, Sources
from fleetpulse.web.live import LiveEndpoints
from fleetpulse.web.ops import OpsEndpoints
from fleetpulse.web.otlp import OtlpEndpoints
from fleetpulse.web.pages import StaticEndpoints
from fleetpulse.web.prices import PriceEndpoints
from fleetpulse.web.reports import ReportEndpoints
from fleetpulse.web.requests import RequestEndpoints
from fleetpulse.web.spans import RequestSpans
from fleetpulse.web.sse import EventStreamEndpoints
from fleetpulse.web.statistics import StatisticsEndpoints
from fleetpulse.web.unpriced import UnpricedEndpoints


class Background(Protocol):
    """A part that works by itself."""

    async def run(self) -> None:
        """Works until cancelled."""


class Endpoints(Protocol):
    """A group of handlers."""

    def routes(self) -> list[web.RouteDef]:
        """Where they live."""


@dataclass(frozen=True)
class Parts:
    """What starting and stopping deals with; `background` runs until the exporter stops."""

    settings: Settings
    instruments: Instruments
    journal: Journal
    pipeline: Pipeline
    hub: Hub
    events: Events
    plugins: Plugins
    users: Users
    ledger: Ledger
    chat: Chat
    notifications: Notifications
    cluster: Cluster | None
    ops: OpsEndpoints
    outlets: Outlets
    entry: Entry
    web: web.Application
    upstreams: tuple[Upstream, ...]
    background: tuple[Background, ...]


def build(settings: Settings) -> Parts:
    """Makes every part and restores what was kept. Blocks while the journal is checked."""
    core = make_core(settings)
    desk = make_desk(core)
    notifications = Notifications(core, desk)
    administration = Administration(core, notifications)
    authenticator = Authenticator.from_settings(settings)
    guard = Guard(authenticator, settings)
    outlets = Outlets(settings.otlp_out, otel_variables(), core.journal, core.instruments)
    entry = Entry(guard, core.instruments, RequestSpans(outlets.tracer) if outlets.tracer else None)
    ops = OpsEndpoints(core.exposition, core.journal)
    requests = RequestEndpoints(desk.logs, desk.statistics.zone)
    landing = _landing(core, desk, guard, lambda: ops.ready)
    groups: tuple[Endpoints, ...] = (
        ops,
        Accounts(core, desk, guard, administration.log),
        notifications,
        administration,
        *_writing(core, guard),
        *_reading(core, desk),
        requests,
        landing,
        StaticEndpoints(),
    )
    routes = [route for group in groups for route in group.routes()]
    app = web.Application(client_max_size=settings.limits.body_bytes)
    app.on_cleanup.append(lambda _app: desk.logs.close())
    app.on_cleanup.append(lambda _app: landing.close())
    app.on_cleanup.append(lambda _app: administration.close())
    entry.install(app, [*routes, *DocsEndpoints(routes, lambda: authenticator.enabled).routes()])
    retention = Retention(core.journal, settings.journal, core.instruments)
    indexers = [desk.indexer] if desk.indexer else []
    cluster = make_cluster(core)
    administration.know(cluster)
    replicas = [cluster] if cluster else []
    return Parts(
        settings,
        core.instruments,
        core.journal,
        core.pipeline,
        core.hub,
        core.events,
        make_plugins(core, notifications),
        core.users,
        core.ledger,
        core.chat,
        notifications,
        cluster,
        ops,
        outlets,
        entry,
        app,
        upstreams=(desk.prometheus, desk.alertmanager),
        background=(
            retention,
            core.ledger,
            core.chat,
            desk.deliveries,
            desk.repricing,
            requests,
            notifications,
            administration,
            make_stats(core, cluster),
            *indexers,
            *replicas,
        ),
    )


def _writing(core: Core, guard: Guard) -> tuple[Endpoints, ...]:
    """What programs report to, and the live feed."""
    settings, limits = core.settings, core.settings.limits
    return (
        IngestEndpoints(core.pipeline, limits),
        AgentEndpoints(core.fleet),
        AlertEndpoints(core.pipeline, limits),
        OtlpEndpoints(core.pipeline, settings, core.instruments),
        LiveEndpoints(core.hub, settings, guard),
        EventStreamEndpoints(core.hub, settings),
        ChatEndpoints(core.chat, guard),
    )


def _reading(core: Core, desk: Desk) -> tuple[Endpoints, ...]:
    """What people and programs ask."""
    journal, limits = core.journal, core.settings.limits
    return (
        StatisticsEndpoints(desk.statistics),
        AlertListEndpoints(desk.alertmanager, journal),
        ReportEndpoints(desk.reports, desk.deliveries, core.settings.reports.lang),
        PriceEndpoints(desk.repricing, journal, limits),
        UnpricedEndpoints(desk.repricing, journal, limits),
        BudgetEndpoints(core.budgets, core.store, Forecasts(journal, core.budgets)),
    )


def _landing(core: Core, desk: Desk, guard: Guard, ready: Callable[[], bool]) -> LandingEndpoints:
    sources = Sources(core.journal, core.fleet, core.budgets, core.store, desk.alertmanager)
    return LandingEndpoints(core.settings, guard, sources, ready)
