"""Stored request logs: pages with filters and search, single ones, and exports that stream."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired
from zoneinfo import ZoneInfo

from aiohttp import web
from pydantic import AfterValidator, BeforeValidator, Field
from typing_extensions import TypedDict

from fleetpulse.auth import Role
from fleetpulse.journal import RequestRow
from fleetpulse.query.filters import EQUAL, RequestFilter
from fleetpulse.query.logs import Logs
from fleetpulse.web.answers import json_answer
from fleetpulse.web.downloads import Download, Downloads, attachment
from fleetpulse.web.exports import Csv, Encoder, JsonLines
from fleetpulse.web.guard import requires
from fleetpulse.web.operations import CSV, NDJSON, Answer, Query, operation, read_query
from fleetpulse.web.searching import (
    END,
    START,
    Cursor,
    Exactly,
    Limit,
    Moment,
    absent,
    before,
    cursor,
    searched,
    seconds,
)

TEXTS = (
    "Search: all of these words (each may be the beginning of one), Chinese and other characters wherever they "
    'follow each other, and "quoted phrases", in command, error, ids, source, model, provider and metadata.'
)


def _lower(text: str | None) -> str | None:
    return text and text.strip().lower()


Least = Annotated[Annotated[float, Field(ge=0, allow_inf_nan=False)] | None, BeforeValidator(absent)]
Flag = Annotated[bool | None, BeforeValidator(absent)]


class FilterQuery(Query):
    """Which requests; all that is given must hold, what is empty counts for nothing."""

    source: Exactly = Field(None, description="Exactly this source.")
    status: Annotated[Exactly, AfterValidator(_lower)] = Field(None, description="Exactly this status.")
    failed: Flag = Field(None, description="Whether the status is another than `success`.")
    user_id: Exactly = Field(None, description="Exactly this user.")
    model: Exactly = Field(None, description="Exactly this model.")
    account_id: Exactly = Field(None, description="Exactly this account.")
    session_id: Exactly = Field(None, description="Exactly this session.")
    trace_id: Exactly = Field(None, description="Exactly this trace.")
    q: Exactly = Field(None, description=TEXTS)
    start: Moment = Field(None, description=START)
    end: Moment = Field(None, description=END)
    min_cost: Least = Field(None, description="A known cost of so much or more, in USD.")
    min_time: Least = Field(None, description="It took so long or longer, in seconds.")

    def wanted(self, now: datetime) -> RequestFilter:
        """The filter; `now` is in the configured time zone. Raises InvalidInputError."""
        return RequestFilter(
            text=searched(self.q or ""),
            equal=tuple((name, value) for name in EQUAL if (value := getattr(self, name)) is not None),
            failed=self.failed,
            start=seconds("start", self.start, now),
            end=seconds("end", self.end, now),
            min_cost=self.min_cost,
            min_time=self.min_time,
        )


class PageQuery(FilterQuery):
    """Which requests, and which page of them."""

    limit: Limit = 50
    cursor: Cursor = ""


class ExportQuery(FilterQuery):
    """Which requests, and how they are written."""

    format: Literal["csv", "jsonl"] = Field("csv", description="CSV (RFC 4180), or a JSON object a line.")
    bom: bool = Field(False, description="Begin the CSV with a byte order mark, by which Excel knows UTF-8.")
    guard: bool = Field(
        True,
        description="Put an apostrophe before texts of the CSV that a spreadsheet would take for a formula, and "
        "before those that begin with one.",
    )


class StoredRequest(TypedDict):
    """A stored request; what it does not have is left out.

    `timestamp` is when it happened, as reported; else when it was received. Seconds and USD; `input_tokens` include
    `cached_tokens`. `cost_source` is `reported`, `computed`, `corrected` (given afterwards) or `unknown`.
    """

    request_id: str
    received_at: datetime
    timestamp: datetime
    source: str
    user_id: str
    command: str
    status: str
    execution_time: float
    tokens_used: int
    model: NotRequired[str]
    provider: NotRequired[str]
    input_tokens: NotRequired[int]
    output_tokens: NotRequired[int]
    cached_tokens: NotRequired[int]
    cost: NotRequired[float]
    cost_source: NotRequired[str]
    error: NotRequired[str]
    session_id: NotRequired[str]
    trace_id: NotRequired[str]
    metadata: NotRequired[dict[str, Any]]
    account_id: NotRequired[str]


class StoredRequests(TypedDict):
    """Requests, the newest first. `next_cursor` is null on the last page.

    A page may have fewer than were asked for, even none, and a next one: the time for one call was over.
    """

    requests: list[StoredRequest]
    next_cursor: str | None


class RequestEndpoints:
    """CONTRACT B: rows."""

    def __init__(self, logs: Logs[RequestRow], zone: ZoneInfo, clock: Callable[[], float] = time.time) -> None:
        self._logs = logs
        self._zone = zone
        self._clock = clock
        self._downloads = Downloads()

    async def run(self) -> None:
        """Lives until cancelled, which breaks off the exports that run: the exporter does not wait for them."""
        await self._downloads.run()

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.get("/api/requests", self.page),
            web.get("/api/requests/export", self.export),
            web.get("/api/requests/{request_id}", self.one),
        ]

    @requires(Role.VIEWER)
    @operation("Requests", answer=StoredRequests, query=PageQuery)
    async def page(self, request: web.Request) -> web.Response:
        """Stored requests, the newest first, by filters and search."""
        query = read_query(request, PageQuery)
        found = await self._logs.page(query.wanted(self._now()), query.limit, before(query.cursor))
        shown = [row.as_json() for row in found.rows]
        return json_answer({"requests": shown, "next_cursor": cursor(found.next_id)})

    @requires(Role.VIEWER)
    @operation("Requests", answer=StoredRequest)
    async def one(self, request: web.Request) -> web.Response:
        """One stored request."""
        row = await self._logs.one(RequestFilter(), request.match_info["request_id"])
        return json_answer(row.as_json())

    @requires(Role.VIEWER)
    @operation(
        "Requests",
        answer=StoredRequest,
        media=(CSV, NDJSON),
        query=ExportQuery,
        answers={200: Answer("The file", media=(CSV,), headers={"Content-Disposition": "The file's name."})},
    )
    async def export(self, request: web.Request) -> web.StreamResponse:
        """Stored requests as a file, the oldest first: those that are stored when it begins.

        It is compressed where gzip is accepted. 503 while `search.exports` others run. A file that broke off ends
        without the last chunk of HTTP, so clients know it.
        """
        query = read_query(request, ExportQuery)
        wanted = query.wanted(self._now())
        headers = attachment("requests", query.format, self._now())
        file = Download(lambda encode: self._logs.export(wanted, encode), _encoder(query), headers)
        return await self._downloads.answer(request, file)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), self._zone)


def _encoder(query: ExportQuery) -> Encoder[RequestRow]:
    return Csv(guarded=query.guard, bom=query.bom) if query.format == "csv" else JsonLines()
