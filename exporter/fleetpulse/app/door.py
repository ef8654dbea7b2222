"""The front door: every handler, what stands before all of them, and the application that they make up."""

from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from fleetpulse.app.accounts import Accounts
from fleetpulse.app.administration import Administration
from fleetpulse.app.core import Core
from fleetpulse.app.desk import Desk
from fleetpulse.app.notifications import Notifications
from fleetpulse.auth import Authenticator
from fleetpulse.sinks.outlets import Outlets
from fleetpulse.spending import Forecasts
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
from fleetpulse.web.messages import MessageEndpoints
from fleetpulse.web.ops import OpsEndpoints
from fleetpulse.web.otlp import OtlpEndpoints
from fleetpulse.web.pages import StaticEndpoints
from fleetpulse.web.prices import PriceEndpoints
from fleetpulse.web.replays import ReplayEndpoints
from fleetpulse.web.reports import ReportEndpoints
from fleetpulse.web.requests import RequestEndpoints
from fleetpulse.web.spans import RequestSpans
from fleetpulse.web.sse import EventStreamEndpoints
from fleetpulse.web.statistics import StatisticsEndpoints
from fleetpulse.web.unpriced import UnpricedEndpoints


class Endpoints(Protocol):
    """A group of handlers."""

    def routes(self) -> list[web.RouteDef]:
        """Where they live."""


class Door:
    """`web` is the application; `entry` counts and drains its requests, `ops` says how the exporter is."""

    def __init__(
        self, core: Core, desk: Desk, notifications: Notifications, administration: Administration, outlets: Outlets
    ) -> None:
        authenticator = Authenticator.from_settings(core.settings)
        guard = Guard(authenticator, core.settings)
        self.entry = Entry(guard, core.instruments, RequestSpans(outlets.tracer) if outlets.tracer else None)
        self.ops = OpsEndpoints(core.exposition, core.journal)
        self.requests = RequestEndpoints(desk.logs, desk.statistics.zone)
        self.messages = MessageEndpoints(desk.messages, desk.statistics.zone, core.settings.tap.streams)
        landing = _landing(core, desk, guard, lambda: self.ops.ready)
        groups: tuple[Endpoints, ...] = (
            self.ops,
            Accounts(core, desk, guard, administration.log),
            notifications,
            administration,
            *_writing(core, guard),
            *_reading(core, desk),
            self.requests,
            self.messages,
            ReplayEndpoints(desk.replays, core.hub, guard, core.settings.limits, desk.statistics.zone),
            landing,
            StaticEndpoints(),
        )
        routes = [route for group in groups for route in group.routes()]
        documented = [*routes, *DocsEndpoints(routes, lambda: authenticator.enabled).routes()]
        self.web = web.Application(client_max_size=core.settings.limits.body_bytes)
        self.web.on_cleanup.append(lambda _app: desk.room.close())
        self.web.on_cleanup.append(lambda _app: landing.close())
        self.web.on_cleanup.append(lambda _app: administration.close())
        self.entry.install(self.web, documented)


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
