"""Reports over HTTP: read in any form, or sent by e-mail to those who are configured."""

import asyncio
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from fleetpulse.auth import Role
from fleetpulse.errors import InvalidInputError, NotFoundError
from fleetpulse.query.periods import KINDS, Kind
from fleetpulse.query.report import Report
from fleetpulse.query.reports import Reports
from fleetpulse.query.windows import DATE
from fleetpulse.reports.delivery import Deliveries
from fleetpulse.reports.layout import Format, file_name, render
from fleetpulse.reports.words import Lang
from fleetpulse.signals import Label
from fleetpulse.web.answers import json_answer
from fleetpulse.web.guard import requires
from fleetpulse.web.operations import CSV, HTML, JSON, MARKDOWN, Query, operation, read_query

MEDIA: Mapping[Format, str] = {"json": JSON, "md": MARKDOWN, "html": HTML, "csv": CSV}
FIRST_DAY = date(2000, 1, 1)
# As the page's own: a report shows what programs sent, and must not be able to do anything.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def _day(value: Any) -> Any:
    """Pydantic reads Unix seconds as dates, too."""
    if isinstance(value, str) and not DATE.fullmatch(value):
        raise ValueError("is no date such as 2025-01-31")
    return value


Day = Annotated[date, BeforeValidator(_day)]


class PeriodQuery(Query):
    """Which day, week or month: the one that `date` lies in, or the one under way, or the last whole one."""

    date: Day | None = Field(None, description="A local day within it.", ge=FIRST_DAY)
    period: Literal["current", "previous"] | None = Field(
        None,
        description="`current`, the default, is the one under way, up to now; `previous` the last whole one.",
    )
    source: Label | None = Field(None, description="Only requests of this source; default: all.")


class ReportQuery(PeriodQuery):
    """Which report, and in which form."""

    format: Format | None = Field(
        None, description="Default: what `Accept` prefers of these (so browsers get the page), else JSON."
    )
    lang: Lang | None = Field(None, description="Language of Markdown and the page; default: `reports.lang`.")


class Sending(TypedDict):
    """What was sent; `refused` are recipients that the mail server would not take."""

    report: Kind
    first_day: date
    last_day: date
    recipients: int
    refused: list[str]


class ReportEndpoints:
    """CONTRACT B: reports."""

    def __init__(self, reports: Reports, deliveries: Deliveries, lang: Lang) -> None:
        self._reports = reports
        self._deliveries = deliveries
        self._lang = lang

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.get("/api/report/{kind}", self.report),
            web.post("/api/report/{kind}/send", self.send),
        ]

    @requires(Role.VIEWER)
    @operation(
        "Statistics",
        answer=Report,
        query=ReportQuery,
        path={"kind": Kind},
        media=tuple(MEDIA.values()),
        problems=(404,),
        upstream="Prometheus",
    )
    async def report(self, request: web.Request) -> web.Response:
        """A daily, weekly or monthly report, as JSON, Markdown, a page for people, or CSV.

        Days begin at midnight in the configured time zone, weeks on Monday. A period that is under way is compared
        with the same part of the one before it.
        """
        kind, query = _kind(request), read_query(request, ReportQuery)
        form = query.format or preferred(request.headers.get("Accept", ""))
        report = await self._make(kind, query)
        text = await asyncio.to_thread(render, report, form, query.lang or self._lang)
        disposition = "attachment" if form in ("csv", "md") else "inline"
        headers = {"Vary": "Accept", "Content-Disposition": f'{disposition}; filename="{file_name(report)}.{form}"'}
        if form == "html":
            headers["Content-Security-Policy"] = POLICY
        return web.Response(text=text, content_type=MEDIA[form], headers=headers)

    @requires(Role.OPERATOR)
    @operation(
        "Statistics", answer=Sending, query=PeriodQuery, path={"kind": Kind}, problems=(404,), upstream="Prometheus"
    )
    async def send(self, request: web.Request) -> web.Response:
        """Sends a report by e-mail now, to the configured recipients.

        422 where e-mail is not set up, 503 where the mail server does not take it. A scheduled report that is due
        and was not sent yet counts as sent by this.
        """
        kind, query = _kind(request), read_query(request, PeriodQuery)
        self._deliveries.require()
        delivered = await self._deliveries.send(await self._make(kind, query))
        report = delivered.report
        answer = {"report": kind, "first_day": report.first_day, "last_day": report.last_day}
        return json_answer(answer | {"recipients": delivered.recipients, "refused": list(delivered.refused)})

    async def _make(self, kind: Kind, query: PeriodQuery) -> Report:
        if query.date is not None:
            if query.period is not None:
                raise _wrong("period", "cannot go with date")
            if query.date > self._reports.now.date():
                raise _wrong("date", "lies in the future")
            return await self._reports.of(kind, query.date, query.source)
        make = self._reports.previous if query.period == "previous" else self._reports.current
        return await make(kind, query.source)


def preferred(accept: str) -> Format:
    """The form that an Accept header prefers, JSON where it has no preference (RFC 9110, 12.5.1)."""
    best: tuple[float, Format] = (0.0, "json")
    for part in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        form = next((each for each, name in MEDIA.items() if name == media), None)
        if form is not None and (quality := _quality(parameters)) > best[0]:
            best = (quality, form)
    return best[1]


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _kind(request: web.Request) -> Kind:
    kind = request.match_info["kind"]
    if kind not in KINDS:
        raise NotFoundError(f"there are the reports {', '.join(KINDS)}; no other")
    return kind


def _wrong(name: str, message: str) -> InvalidInputError:
    return InvalidInputError("the query does not validate", [{"loc": ["query", name], "msg": message}])
