"""`/`: what this is, how it is, and where to go from here. The same in JSON for who prefers that.

Public, and the first page that anyone sees: so it waits for nobody (`probes`), and tells numbers only where nobody
is asked for credentials anyway, and only to the exporter's own page.
"""

import re
import time
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from typing_extensions import TypedDict

import fleetpulse
from fleetpulse.budgets import Budgets, Usage, state
from fleetpulse.budgets import State as BudgetState
from fleetpulse.config import Settings
from fleetpulse.errors import UpstreamError
from fleetpulse.fleet import Fleet
from fleetpulse.journal import REQUESTS, Journal
from fleetpulse.query.alertmanager import FiringAlert
from fleetpulse.series.store import SeriesStore
from fleetpulse.web.answers import json_answer
from fleetpulse.web.guard import Guard, public
from fleetpulse.web.operations import HTML, JSON, operation
from fleetpulse.web.pages import html_page
from fleetpulse.web.probes import Probes, Recent, State
from fleetpulse.web.words import words_for

COUNTED_SECONDS = 1.0
UNTOLD = "none"  # the severity of the watchdog, which always fires
HOST = re.compile(r"[\w.:\[\]-]{1,255}", re.ASCII)


class ServiceShown(TypedDict):
    """A service beside the exporter: where browsers find it, and what it is doing."""

    name: str
    url: str
    state: State


class BudgetShown(TypedDict):
    """A budget in its current period."""

    name: str
    period: Literal["day", "week", "month"]
    limit_usd: float
    spent_usd: float
    state: BudgetState


class LandingFigures(TypedDict):
    """What there is at this moment. `firing_alerts` is null where Alertmanager does not say."""

    requests_stored: int
    agents: int
    agents_online: int
    firing_alerts: int | None
    budgets: list[BudgetShown]


class Landing(TypedDict):
    """The exporter and what is around it. `figures` are null where credentials are asked for."""

    name: Literal["Fleetpulse"]
    version: str
    status: Literal["ready", "starting", "degraded"]
    uptime_seconds: float
    services: list[ServiceShown]
    links: dict[str, str]
    figures: LandingFigures | None


class Alerts(Protocol):
    """What the page needs of Alertmanager's client."""

    async def firing(self) -> list[FiringAlert]:
        """Every alert that fires now."""


class Sources(NamedTuple):
    """Where the numbers come from."""

    journal: Journal
    fleet: Fleet
    budgets: Budgets
    store: SeriesStore
    alertmanager: Alerts


class Figurer:
    """Counts what there is, at most once in `COUNTED_SECONDS` however many look."""

    def __init__(self, sources: Sources, clock: Callable[[], float] = time.time) -> None:
        self._sources = sources
        self._clock = clock
        self._firing: Recent[int | None] = Recent(self._count_firing, None)
        self._counted: tuple[float, tuple[int, int, int]] = (0.0, (0, 0, 0))

    async def figures(self) -> LandingFigures:
        """The numbers of now."""
        firing = await self._firing.value()
        requests, agents, online = self._count()
        budgets = [self._budget(index) for index in range(len(self._sources.budgets.budgets))]
        return {
            "requests_stored": requests,
            "agents": agents,
            "agents_online": online,
            "firing_alerts": firing,
            "budgets": budgets,
        }

    async def close(self) -> None:
        """Ends what is under way."""
        await self._firing.close()

    def _count(self) -> tuple[int, int, int]:
        counted_at, counts = self._counted
        if abs(self._clock() - counted_at) < COUNTED_SECONDS:
            return counts
        everyone = self._sources.fleet.everyone()
        requests = self._sources.journal.extent(REQUESTS)[0]
        counts = (requests, len(everyone), sum(agent.up for agent in everyone))
        self._counted = (self._clock(), counts)
        return counts

    def _budget(self, index: int) -> BudgetShown:
        budgets, store = self._sources.budgets, self._sources.store
        budget = budgets.budgets[index]
        labels = budgets.spend_labels(budget, self._clock())
        usage = Usage(store.spent(labels), store.unpriced(labels))
        return {
            "name": budget.name,
            "period": budget.period,
            "limit_usd": budget.limit_usd,
            "spent_usd": usage.spent,
            "state": state(budget, usage),
        }

    async def _count_firing(self) -> int | None:
        try:
            alerts = await self._sources.alertmanager.firing()
        except UpstreamError:
            return None
        return sum(alert.status.state == "active" and alert.labels.get("severity") != UNTOLD for alert in alerts)


class LandingEndpoints:
    """Serves `/`. `ready` tells whether traffic is welcome by now."""

    def __init__(self, settings: Settings, guard: Guard, sources: Sources, ready: Callable[[], bool]) -> None:
        self._settings = settings
        self._guard = guard
        self._journal = sources.journal
        self._figurer = Figurer(sources)
        self._ready = ready
        self._probes = Probes(
            {
                "Grafana": f"{settings.grafana_internal_url.rstrip('/')}/api/health",
                "Prometheus": f"{settings.prometheus_internal_url.rstrip('/')}/-/ready",
                "Alertmanager": f"{settings.alertmanager_internal_url.rstrip('/')}/-/ready",
            }
        )
        self._started = time.monotonic()
        self._page = Environment(
            loader=PackageLoader("fleetpulse.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        ).get_template("landing.html")

    def routes(self) -> list[web.RouteDef]:
        """Where the handler lives."""
        return [web.get("/", self.landing)]

    async def close(self) -> None:
        """Ends what is under way."""
        await self._probes.close()
        await self._figurer.close()

    @public
    @operation("Pages", answer=Landing, media=(HTML, JSON))
    async def landing(self, request: web.Request) -> web.Response:
        """What this is, how it is, and where to go from here.

        A page in English or Chinese, or JSON where that is what is accepted.
        """
        now = await self._now(request)
        if _prefers_json(request.headers.get("Accept", "")):
            answer = json_answer(now)
            answer.headers["Vary"] = "Accept"
            return answer
        words = words_for(request.headers.get("Accept-Language", ""))
        text = self._page.render(now, w=words, uptime=_span(now["uptime_seconds"], words), here=_address(request))
        return html_page(text, vary="Accept, Accept-Language")

    async def _now(self, request: web.Request) -> Landing:
        states = await self._probes.states()
        return {
            "name": "Fleetpulse",
            "version": fleetpulse.__version__,
            "status": self._status(),
            "uptime_seconds": round(time.monotonic() - self._started, 1),
            "services": [{"name": name, "url": self._url(name), "state": state} for name, state in states.items()],
            "links": {
                "docs": "/docs",
                "openapi": "/openapi.json",
                "asyncapi": "/asyncapi.yaml",
                "metrics": "/metrics",
                "health": "/health",
                "live": "/ws/live",
                "live_page": "/live",
                "report": "/api/report/daily",
            },
            "figures": await self._figurer.figures() if self._guard.tells_anyone(request) else None,
        }

    def _status(self) -> Literal["ready", "starting", "degraded"]:
        if not self._ready():
            return "starting"
        return "ready" if self._journal.writable else "degraded"

    def _url(self, service: str) -> str:
        settings = self._settings
        urls = {
            "Grafana": settings.grafana_url,
            "Prometheus": settings.prometheus_url,
            "Alertmanager": settings.alertmanager_url,
        }
        return urls[service].rstrip("/")


def _prefers_json(accept: str) -> bool:
    """Whether JSON is named before HTML; browsers name HTML first, `curl` names neither."""
    named = [item.partition(";")[0].strip().lower() for item in accept.split(",")]
    return next((media == JSON for media in named if media in (JSON, HTML)), False)


def _address(request: web.Request) -> str:
    """This exporter as the browser found it; fit to stand in a command, whatever Host holds."""
    host = request.host if HOST.fullmatch(request.host) else "127.0.0.1:8001"
    return f"{request.scheme}://{host}"


def _span(seconds: float, words: dict[str, str]) -> str:
    """A time span with its two largest units."""
    minutes = int(seconds // 60)
    days, hours = minutes // 1_440, minutes // 60 % 24
    if days:
        return f"{days} {words['days']} {hours} {words['hours']}"
    if hours:
        return f"{hours} {words['hours']} {minutes % 60} {words['minutes']}"
    return f"{minutes} {words['minutes']}"
