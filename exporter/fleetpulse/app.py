"""The exporter's wiring and life: what is made from what, in which order it starts, in which order it stops.

Start: read the journal, restore series and agents, serve, then be ready. Stop (SIGTERM, SIGINT): be unready, close
sockets, finish requests under way, save agents, write what is queued, close the journal.
"""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from zoneinfo import ZoneInfo

import uvloop
from aiohttp import web

from fleetpulse.auth import Authenticator, ensure_safe
from fleetpulse.budgets import Budgets
from fleetpulse.config import Settings, otel_variables
from fleetpulse.errors import ConfigError
from fleetpulse.fleet import Fleet
from fleetpulse.instruments import Instruments
from fleetpulse.journal import REQUESTS, Journal, Retention, Row, Table
from fleetpulse.live import Hub, Policy
from fleetpulse.pipeline import Pipeline, alert_json
from fleetpulse.pricing import Pricer
from fleetpulse.query.alertmanager import Alertmanager
from fleetpulse.query.budget_lines import BudgetBook
from fleetpulse.query.indexer import search_indexer
from fleetpulse.query.logs import RequestLogs
from fleetpulse.query.promql import Prometheus
from fleetpulse.query.reports import Reports
from fleetpulse.query.statistics import Statistics
from fleetpulse.query.upstream import Upstream
from fleetpulse.reports.delivery import Deliveries
from fleetpulse.reports.mail import Mailer
from fleetpulse.repricing import Repricing
from fleetpulse.series.agents import AgentSeries
from fleetpulse.series.corrections import CorrectionFold
from fleetpulse.series.exposition import Exposition
from fleetpulse.series.fold import SeriesFold
from fleetpulse.series.store import SeriesStore
from fleetpulse.sinks.outlets import Outlets
from fleetpulse.spending import Forecasts
from fleetpulse.users import Users
from fleetpulse.web.agents import AgentEndpoints
from fleetpulse.web.alert_list import AlertListEndpoints
from fleetpulse.web.alerts import AlertEndpoints
from fleetpulse.web.budgets import BudgetEndpoints
from fleetpulse.web.docs import DocsEndpoints
from fleetpulse.web.entry import Entry
from fleetpulse.web.guard import Guard
from fleetpulse.web.ingest import IngestEndpoints
from fleetpulse.web.landing import LandingEndpoints, Sources
from fleetpulse.web.live import LiveEndpoints
from fleetpulse.web.logs import configure_logging
from fleetpulse.web.ops import LoopLag, OpsEndpoints
from fleetpulse.web.otlp import OtlpEndpoints
from fleetpulse.web.pages import StaticEndpoints
from fleetpulse.web.prices import PriceEndpoints
from fleetpulse.web.reports import ReportEndpoints
from fleetpulse.web.requests import RequestEndpoints
from fleetpulse.web.spans import RequestSpans
from fleetpulse.web.statistics import StatisticsEndpoints
from fleetpulse.web.unpriced import UnpricedEndpoints

DRAIN_SECONDS = 3.0  # for requests whose body is still arriving
SHUTDOWN_SECONDS = 5.0
SWITCH_SECONDS = 0.0003  # the journal's writer gets the interpreter sooner than by default: shorter commits
RECENT_ALERTS = 10
log = logging.getLogger(__name__)


class Background(Protocol):
    """A part that works by itself."""

    async def run(self) -> None:
        """Works until cancelled."""


@dataclass(frozen=True)
class Parts:
    """Everything that lives as long as the exporter."""

    settings: Settings
    instruments: Instruments
    journal: Journal
    pipeline: Pipeline
    hub: Hub
    users: Users
    ops: OpsEndpoints
    retention: Retention
    outlets: Outlets
    entry: Entry
    web: web.Application
    upstreams: tuple[Upstream, ...] = ()
    background: tuple[Background, ...] = ()  # run until the exporter stops


def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Raises ConfigError for what cannot work."""
    configure_logging(settings)
    ensure_safe(settings)
    sys.setswitchinterval(SWITCH_SECONDS)
    uvloop.run(serve(settings))


async def serve(settings: Settings, on_ready: Callable[[str], Awaitable[None]] | None = None) -> None:
    """Runs the exporter on this loop until it is told to stop by a signal; `on_ready` gets its address."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    parts = build(settings)
    # web/body.py decompresses, with a bound of its own
    runner = web.AppRunner(parts.web, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS, auto_decompress=False)
    gc.freeze()  # what was restored stays: the collector need not walk it again and stall the loop
    background = await start(parts, runner)
    try:
        address = await _listen(runner, settings)
        parts.ops.ready = True
        log.info("serving %s, journal %s", address, settings.journal_path)
        if on_ready is not None:
            await on_ready(address)
        await stop.wait()
    finally:
        await shut_down(parts, runner, background)


def build(settings: Settings) -> Parts:
    """Makes every part and restores what was kept. Blocks while the journal is checked."""
    instruments = Instruments()
    budgets = Budgets(settings.budgets, settings.timezone)
    fold = SeriesFold(settings.limits, budgets)
    store = SeriesStore()
    journal = Journal(settings.journal_path, settings.journal, fold, instruments, store.apply)
    fold.restore(journal.totals)
    store.apply(journal.totals)
    agents = AgentSeries(settings.limits.agent_series)
    fleet = Fleet(settings.agents, settings.limits, settings.thresholds.heartbeat_silence_seconds, agents)
    fleet.restore(journal.saved_agents())
    hub = Hub(settings.live, instruments)
    pricer = Pricer(settings.prices)
    repricing = Repricing(journal, pricer, CorrectionFold(budgets))
    pipeline = Pipeline(settings, journal, store, fleet, hub, pricer=pricer)
    exposition = Exposition(store, agents, budgets, settings.thresholds, instruments)
    ops = OpsEndpoints(exposition, journal)
    _declare_topics(hub, fleet, journal)
    users = Users(settings.limits.top_users, instruments)
    retention = Retention(journal, settings.journal, instruments)
    authenticator = Authenticator.from_settings(settings)
    guard = Guard(authenticator, settings)
    outlets = Outlets(settings.otlp_out, otel_variables(), journal, instruments)
    entry = Entry(guard, instruments, RequestSpans(outlets.tracer) if outlets.tracer else None)
    app = web.Application(client_max_size=settings.limits.body_bytes)
    routes = _routes(settings, guard, hub, pipeline, fleet, ops)
    routes += OtlpEndpoints(pipeline, settings, instruments).routes()
    prometheus = Prometheus(settings.prometheus_internal_url, settings.stack.prometheus_token_file)
    alertmanager = Alertmanager(settings.alertmanager_internal_url, settings.stack.alertmanager_token_file)
    statistics = Statistics(prometheus, ZoneInfo(settings.timezone))
    routes += [*StatisticsEndpoints(statistics).routes(), *AlertListEndpoints(alertmanager, journal).routes()]
    reports = Reports(statistics, journal, BudgetBook(budgets, store), statistics.zone)
    deliveries = Deliveries(reports, Mailer(settings.reports), journal, settings.reports, instruments)
    routes += ReportEndpoints(reports, deliveries, settings.reports.lang).routes()
    routes += PriceEndpoints(repricing, journal, settings.limits).routes()
    routes += UnpricedEndpoints(repricing, journal, settings.limits).routes()
    routes += BudgetEndpoints(budgets, store, Forecasts(journal, budgets)).routes()
    indexer = search_indexer(journal, settings.search_path, instruments) if settings.search.index else None
    logs = RequestLogs(journal, indexer.shared if indexer else None, settings.search, instruments)
    app.on_cleanup.append(lambda _app: logs.close())
    requests = RequestEndpoints(logs, statistics.zone)
    routes += requests.routes()
    sources = Sources(journal, fleet, budgets, store, alertmanager)
    landing = LandingEndpoints(settings, guard, sources, lambda: ops.ready)
    app.on_cleanup.append(lambda _app: landing.close())
    routes += landing.routes()
    docs = DocsEndpoints(routes, lambda: authenticator.enabled)
    entry.install(app, [*routes, *docs.routes()])
    return Parts(
        settings,
        instruments,
        journal,
        pipeline,
        hub,
        users,
        ops,
        retention,
        outlets,
        entry,
        app,
        (prometheus, alertmanager),
        (deliveries, repricing, requests, *([indexer] if indexer else [])),
    )


def _declare_topics(hub: Hub, fleet: Fleet, journal: Journal) -> None:
    def agents(topic: str) -> list[object]:
        pool = topic.partition("/")[2]
        return list(fleet.agents(pool)) if pool else [agent.in_pool() for agent in fleet.everyone()]

    def alerts(_topic: str) -> list[object]:
        return [alert_json(row) for row in journal.recent_alerts(RECENT_ALERTS)]

    hub.declare("agents", policy=Policy.STATE, snapshot=agents)
    hub.declare("alerts", policy=Policy.EVENT, snapshot=alerts)
    hub.declare("requests", policy=Policy.EVENT)


def _routes(  # noqa: PLR0913 - what the handlers work on
    settings: Settings,
    guard: Guard,
    hub: Hub,
    pipeline: Pipeline,
    fleet: Fleet,
    ops: OpsEndpoints,
) -> list[web.RouteDef]:
    endpoints = (
        ops,
        IngestEndpoints(pipeline, settings.limits),
        AgentEndpoints(fleet),
        AlertEndpoints(pipeline, settings.limits),
        LiveEndpoints(hub, settings, guard),
        StaticEndpoints(),
    )
    return [route for group in endpoints for route in group.routes()]


async def _listen(runner: web.AppRunner, settings: Settings) -> str:
    """Opens the port; returns the address that answers."""
    site = web.TCPSite(runner, settings.host, settings.port, backlog=1_024)
    try:
        await site.start()
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; FLEETPULSE_HOST and "
            "FLEETPULSE_PORT choose another address"
        ) from error
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in str(host) else f"http://{host}:{port}"


async def start(parts: Parts, runner: web.AppRunner) -> list[asyncio.Task[None]]:
    """Starts the parts in order; returns the background tasks that `shut_down` ends."""
    known = parts.journal.newest_id(REQUESTS)
    parts.journal.start(lambda table, rows: _stored(parts, table, rows))
    await parts.pipeline.settle_budgets()
    await parts.outlets.start()
    parts.pipeline.start()
    await parts.hub.start()
    await runner.setup()
    lag = LoopLag(parts.instruments)
    background = (parts.retention.run(), lag.run(), parts.users.restore(parts.journal, known))
    own = (part.run() for part in parts.background)
    return [asyncio.create_task(work) for work in (*background, *own)]


def _stored(parts: Parts, table: Table, rows: Sequence[Row]) -> None:
    """Tells whoever follows what has just become durable."""
    parts.pipeline.stored(table, rows)
    parts.users.stored(table, rows)


async def shut_down(parts: Parts, runner: web.AppRunner, background: list[asyncio.Task[None]]) -> None:
    """Stops the parts in order, losing nothing that was acknowledged."""
    parts.ops.ready = False
    for task in background:
        task.cancel()
    await asyncio.gather(*background, return_exceptions=True)
    await asyncio.gather(parts.entry.drain(DRAIN_SECONDS), parts.hub.stop())
    await runner.cleanup()
    for upstream in parts.upstreams:
        await upstream.close()
    await parts.pipeline.drain()
    await parts.outlets.stop()
    await parts.journal.stop()
    log.info("stopped")
